"""The page of several machines: its commands are those that parse, its tables those of what was measured."""

import importlib.util
import json
import re
import shlex
import statistics
import sys
from pathlib import Path

import pytest

import duonet
from duonet.cli import _parser
from duonet.experiments.run_settings import RunSettings

ROOT = Path(duonet.__file__).parent.parent
PAGE = (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")
LAUNCHERS = ("mpiexec", "srun")


def commands(program):
    """The words after a program's name, in each line of a block and in each `command:` of Kubernetes."""
    for kind, block in re.findall(r"^```(\w+)\n(.*?)^```", PAGE, re.M | re.S):
        lines = [shlex.split(line, comments=True) for line in block.splitlines()] if kind == "bash" else []
        if kind == "yaml":
            lines = [json.loads(words) for words in re.findall(r"command: (\[.*\])$", block, re.M)]
        for words in lines:
            before = words[: words.index(program)] if program in words else []
            if program in words and all(
                "=" in word or word in LAUNCHERS or before[0] in LAUNCHERS for word in before
            ):
                yield [word for word in words[len(before) + 1 :] if word != "&"]


@pytest.mark.parametrize("words", [*commands("duonet")], ids=" ".join)
def test_every_command_of_the_page_is_one(words):
    options = _parser().parse_args(words)
    if options.word == "train" and options.resume is None:
        RunSettings(options.model, options.dataset, shards=vars(options).get("shards", options.processes))


def test_the_page_has_every_command_that_takes_workers():
    assert {words[0] for words in commands("duonet")} == {"compare", "mismatch", "contest", "sweep", "train"}
    assert {words[0] for words in commands("dask")} == {"scheduler", "worker"}
    with_flags = [
        name for name, command in choices() if {"--workers", "--processes"} & {*command._option_string_actions}
    ]
    assert set(with_flags) == {words[0] for words in commands("duonet")}


def choices():
    (commands,) = (action.choices for action in _parser()._actions if action.dest == "word")
    return commands.items()


@pytest.mark.parametrize("words", [*commands("dask")], ids=" ".join)
def test_every_command_of_dask_is_one(words):
    pytest.importorskip("distributed", reason="needs Dask: pip install duonet[scale]")
    module = importlib.import_module(f"distributed.cli.dask_{words[0]}")
    module.main.make_context("dask", words[1:])


@pytest.fixture
def scale(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(ROOT / "benchmarks"), *sys.path])
    return importlib.import_module("scale")


def measured(scale):
    rows = [
        {
            "network": name,
            "batch": 64,
            "side": side,
            "ms": 40.0 / ratio,
            "ratio": ratio,
            "bytes": sent,
            "exchange_ms": 0.4,
        }
        for name in ("vgg_deep", "mlp")
        for side, ratio, sent in zip(scale.SIDES, (1.0, 1.36, 1.79, 1.58, 1.83), (0, 0, 474_864, 474_864, 15_000))
    ]
    return {
        "machine": "a machine", "date": "2026-01-01", "cores": [1.9, 2.0], "turns": 5, "training": rows,
        "compare": "--seeds 2", "steps": [{"network": "vgg_deep", "batch": 64, "ms": 40.0}],
        "studies": [{"side": side, "seconds": 90 / ratio, "ratio": ratio} for side, ratio in zip(scale.STUDIES, (1.0, 1.2, 1.7))],
    }  # fmt: skip


def test_the_tables_are_those_of_what_was_measured(scale):
    found = measured(scale)
    text = scale.training_table(found)
    assert "| vgg_deep, 64 | 1,600 (1.00) | 2,176 (1.36) | 2,864 (1.79) | 2,528 (1.58) | 2,928 (1.83) |" in text
    assert "| vgg_deep | 475 kB, 1.8 % | 475 kB, 1.6 % | 15 kB, 1.8 % |" in text and "1.90 to 2.00 of 2" in text
    assert "| 2 workers of 1 thread | 52.9 | 1.70 |" in scale.studies_table(found)


def test_the_wire_is_arithmetic(scale):
    wire = scale.wire
    assert wire.sent(1000, 2) == 4000 and wire.sent(1000, 2, sign=True) == 125  # 32 times fewer
    assert wire.sent(1000, 64) == wire.sent(1000, 64, sign=True) == 7875
    assert wire.seconds(1.25e9, 10) == 1 and wire.fewest(1000, 0.01) == 100
    steps = measured(scale)["steps"]
    assert "| vgg_deep | 118,716 | 0.831 | 0.665 | 0.0665 | 0.1 | 0.083 |" in wire.wire_table(steps)
    assert "| vgg_deep, 64 | 40 | 0.017 | 11 | 0.0798 | 0.83 | 534 |" in wire.limits_table(steps)


def test_the_page_shows_what_was_measured(scale):
    assert scale.page() == PAGE, "stale: python benchmarks/scale.py --render"


@pytest.mark.parametrize("network", ["mlp", "vgg_deep"])
def test_the_page_of_shards_shows_what_gradients_of_one_bit_reached(network):
    measured = json.loads((ROOT / "docs" / f"one_bit_gradients_{network}.json").read_text())["gradients"]
    text = (ROOT / "docs" / "training_in_shards.md").read_text(encoding="utf-8")
    for label, row in zip(("full", "one bit"), measured.values()):
        found = [100 * accuracy for accuracy in row["test_accuracy"]]
        accuracy = f"{statistics.mean(found):.1f} ± {statistics.stdev(found):.1f} %"
        line = rf"\| {network}[^|]*\| {label} \| {row['bytes_a_step']:,}[^|]*\| {accuracy} \|"
        assert re.search(line, text), line
