"""The pages show what the code counts, what the kept runs found, and every public name."""

import contextlib
import functools
import importlib
import inspect
import json
import math
import re
import sys
from pathlib import Path

import numpy as np
import pytest

import duonet
from duonet import (
    data,
    decouple,
    experiments,
    functional,
    interop,
    methods,
    mismatch,
    models,
    nn,
    quant,
    summary,
    viz,
)
from duonet.experiments import runs_table
from duonet.models.catalogue import defaults
from duonet.text import aligned

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
PACKAGES = [duonet, functional, quant, methods, nn, mismatch, models, data, experiments, viz, interop]
NETWORKS = {
    "VGG-7": ("vgg7", {}),
    "AlexNet": ("alexnet", {}),
    "ResNet-18": ("resnet18", {}),
    "ResNet-18, per conv": ("resnet18", {"shortcut": "conv"}),
    "ResNet-20": ("resnet20", {}),
    "ResNet-20, binary weights": ("resnet20", {"weights": "binary"}),
}


def costs():
    """The table of the networks' costs."""
    rows = [("network", "binary weights", "float weights", "Mbit", "operations")]
    for name, (model, options) in NETWORKS.items():
        in_shape, classes = defaults(model)
        for variant in ("baseline", "decoupled"):
            asked = "coupled" if variant == "decoupled" else variant
            built = models.build(model, asked, in_shape, classes, rng=np.random.default_rng(0), **options)
            counted = summary(decouple(built) if variant == "decoupled" else built, in_shape)
            weights = counted.total.weights
            rows.append(
                (
                    f"{name}, {variant}", f"{weights.get(1, 0):,}", f"{weights[32]:,}",
                    f"{counted.mbit:.2f}", f"{counted.total.operations / 1e6:.2f} M",
                )
            )  # fmt: skip
    return aligned(rows)


def test_the_costs_are_those_that_summary_counts(nothing_drawn):
    assert costs() in PAGE


@pytest.mark.parametrize(
    "name, least",
    [("training_fashion", 3), ("training_cifar10", 1), ("training_cifar10_half", 3), ("training_cifar10_long", 1)],
)
def test_the_tables_are_those_of_the_kept_runs(name, least):
    kept = json.loads((ROOT / "docs" / f"{name}.json").read_text())
    assert runs_table(kept) in PAGE
    seeds = {method: [run["seed"] for run in kept["runs"] if run["method"] == method] for method in kept["costs"]}
    assert {"baseline", "binaryduo"} <= seeds.keys() and min(map(len, seeds.values())) >= least
    assert len({len(run["history"]) for run in kept["runs"]}) == 1, "every method has the same number of epochs"
    assert (ROOT / "docs" / f"{name}.png").exists()


def accuracies(name):
    """Test accuracies in % of kept runs, by method and seed."""
    kept = json.loads((ROOT / "docs" / f"{name}.json").read_text())["runs"]
    return {(run["method"], run["seed"]): 100 * run["test_accuracy"] for run in kept}


def test_the_words_on_a_longer_training_are_those_of_the_kept_runs():
    leads = [
        accuracy["binaryduo", 0] - accuracy[rival, 0]
        for accuracy in map(accuracies, ("training_cifar10_long", "training_cifar10_half"))
        for rival in ("baseline", "control")
    ]
    assert (
        "is {:.1f} points ahead of the binary baseline, and {:.1f} points behind its own architecture, trained from "
        "scratch. With this seed and 20 epochs the differences were {:+.1f} and {:+.1f}."
    ).format(leads[0], -leads[1], *leads[2:]) in " ".join(PAGE.split())


def test_the_words_on_cifar_10_are_those_of_the_kept_runs():
    accuracy = accuracies("training_cifar10_half")
    seeds = sorted(seed for method, seed in accuracy if method == "control")
    lead, coupling = (
        [accuracy["binaryduo", seed] - accuracy[rival, seed] for seed in seeds]
        for rival in ("baseline", "control")
    )
    words = " ".join(PAGE.split())
    mean, least = sum(lead) / len(lead), math.floor(10 * min(lead)) / 10
    assert (
        f"{mean:.1f} points ahead of the binary baseline on average, and by {least} or more in each seed" in words
    )
    level, *rest = sorted(coupling)
    mean = sum(coupling) / len(coupling)
    assert f"{mean:.1f} points ahead of it on average, by {rest[0]:.1f} and {rest[1]:.1f} points in two" in words
    assert "level in the third" in words and abs(level) < 0.05


def test_the_readmes_accuracies_are_those_of_the_kept_runs():
    rows = runs_table(json.loads((ROOT / "docs" / "training_fashion.json").read_text())).splitlines()[2:]
    shown = re.search(r"On the full Fashion-MNIST .*?\n\n", README, re.S).group()
    for row in rows:
        assert re.search(r"\d+\.\d+ ± \d+\.\d+", row).group() in shown, row


def test_the_accuracies_that_the_last_tutorial_quotes_are_those_of_the_pages():
    source = (ROOT / "tutorials" / "src" / "06_binaryduo.py").read_text(encoding="utf-8")
    quoted = re.findall(r"\d+\.\d+ ± \d+\.\d+", source.replace("\n# ", " "))
    pages = PAGE + (ROOT / "docs" / "compare.md").read_text(encoding="utf-8")
    assert len(quoted) >= 5 and all(accuracy in pages for accuracy in quoted), quoted


def test_links_lead_somewhere():
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", PAGE):
        assert (ROOT / "docs" / target).exists(), target


PAGES = sorted((ROOT / "docs").glob("*.md")) + sorted((ROOT / "docs" / "reference").glob("*.md"))


def resolved(name):
    """The thing that a dotted name means."""
    parts = name.split(".")
    for cut in range(1, len(parts) + 1):  # a name may hide the module it came from: duonet.decouple is a function
        with contextlib.suppress(AttributeError):
            return functools.reduce(getattr, parts[cut:], importlib.import_module(".".join(parts[:cut])))
    raise AttributeError(name)


def documented(page):
    """The full names that a page of the reference documents, an automodule with its imported members by their names."""
    module = ""
    for line in page.read_text(encoding="utf-8").splitlines():
        if match := re.match(r"\.\. (currentmodule|automodule|auto\w+):: (\S+)", line):
            kind, name = match.groups()
            if kind == "currentmodule":
                module = name + "."
            elif kind == "automodule":
                yield from (f"{name}.{member}" for member in vars(resolved(name)) if not member.startswith("_"))
            else:
                yield module + name if not name.startswith("duonet.") else name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_name_on_a_page_exists(page):
    text = page.read_text(encoding="utf-8")
    for name in re.findall(r"\{py:obj\}`([^`]+)`", text) + list(documented(page)):
        resolved(name)


def test_the_reference_holds_every_public_name():
    shown = {id(resolved(name)) for page in PAGES for name in documented(page)}
    for package in PACKAGES:
        for name in package.__all__:
            thing = getattr(package, name)
            assert inspect.ismodule(thing) or id(thing) in shown, f"{package.__name__}.{name}"


def test_the_citation_is_that_of_this_version_and_this_repository():
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {duonet.__version__}\n" in citation
    urls = re.search(r'^Repository = "(.+)"', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.M)
    assert f'repository-code: "{urls.group(1)}"' in citation


def test_the_badges_say_what_the_project_says():
    sys.path.insert(0, str(ROOT / "tools"))
    import make_badges

    for name, text in make_badges.badges().items():
        assert (ROOT / "docs" / "static" / name).read_text(encoding="utf-8") == text
        assert f"(docs/static/{name})" in README
