"""A run folder that was damaged or edited is refused in one sentence that names it, whoever reads it."""

import csv
import functools
import json
import shutil

import numpy as np
import pytest

from duonet import data
from duonet.checkpoint import load_checkpoint, save_checkpoint
from duonet.experiments import RunSettings, collect, predict, runs_table, score, train
from duonet.experiments.run_folder import read_result
from duonet.experiments.training import saved_settings

ODD = [
    None,
    True,
    -1,
    0,
    10**400,
    1e308,
    float("nan"),
    float("inf"),
    "",
    "x",
    [],
    [None],
    {},
    {"a": 1},
    [1, 2, 3, 4],
]
MUTATIONS = 120


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    Image = pytest.importorskip("PIL.Image")
    root = tmp_path_factory.mktemp("fuzzed")
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        (root / "set" / name).mkdir(parents=True)
        for i in range(20):
            Image.fromarray(rng.integers(0, 255, (6, 6), dtype=np.uint8)).save(root / "set" / name / f"{i}.png")
    train(RunSettings("mlp", str(root / "set"), epochs=4, width=6), root / "run", progress=False)
    return root


def odd(rng):
    return ODD[rng.integers(len(ODD))]


def in_dict(rng, values):
    """Change or drop one entry, at any depth."""
    key = sorted(values)[rng.integers(len(values))]
    if isinstance(values[key], dict) and values[key] and rng.random() < 0.5:
        in_dict(rng, values[key])
    elif rng.random() < 0.25:
        del values[key]
    else:
        values[key] = odd(rng)


def result(rng, path):
    values = json.loads(path.read_text())
    in_dict(rng, values)
    path.write_text(json.dumps(values if rng.random() < 0.9 else odd(rng)))


def history(rng, path):
    with open(path, newline="") as file:
        rows = list(csv.reader(file))
    row, column = rng.integers(len(rows)), rng.integers(len(rows[0]))
    what = rng.integers(4)
    if what == 0:
        rows = [line[:column] + line[column + 1 :] for line in rows]
    elif what == 1:
        del rows[row]
    elif what == 2:
        rows[row].append("1")
    else:
        rows[row][column] = str(odd(rng))
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows(rows)


def settings(rng, path):
    lines = path.read_text().splitlines()
    i = rng.integers(len(lines))
    name = lines[i].partition(" ")[0]
    choices = ["", f"{name} = 7", f"{name} = nan", f'{name} = "x"', f"{name} = []", f"{name} = true", "a = 1", "="]
    lines[i] = choices[rng.integers(len(choices))]
    path.write_text("\n".join(lines))


def checkpoint(rng, path):
    saved = load_checkpoint(path)
    about, optimizer, rows, generators = saved.about, saved.optimizer, saved.history, saved.generators
    what = rng.integers(8)
    if what == 0:
        about = odd(rng)
    elif what == 1:
        optimizer = None
    elif what == 2:
        generators = {}
    elif what == 3:
        rows.rows = rows.rows[1:] if rng.random() < 0.5 else [odd(rng)]
    elif what == 4 and rows.rows:
        in_dict(rng, rows.rows[0])
    elif what == 5 and about["earlier"]:
        in_dict(rng, about["earlier"][0])
    else:
        in_dict(rng, about)
    save_checkpoint(
        path,
        saved.model,
        optimizer=optimizer,
        schedule=saved.schedule,
        generators=generators,
        history=rows,
        about=about,
    )


def bytes_of(rng, path):
    raw = bytearray(path.read_bytes())
    what = rng.integers(3)
    if what == 0:
        raw = raw[: rng.integers(len(raw))]
    elif what == 1:
        raw[rng.integers(len(raw))] ^= 1 << rng.integers(8)
    else:
        raw = b"\xff\xfe" + raw
    path.write_bytes(raw)


WAYS = [
    (result, "result.json", ("runs",)),
    (history, "history.csv", ("runs",)),
    (settings, "settings.toml", ("runs", "resume")),
    (checkpoint, "best.npz", ("runs", "evaluate", "predict")),
    (checkpoint, "last.npz", ("resume",)),
    (bytes_of, "result.json", ("runs",)),
    (bytes_of, "history.csv", ("runs",)),
    (bytes_of, "settings.toml", ("runs", "resume")),
]


def readers(folder, image):
    """Everybody who reads a run folder."""
    return {
        "runs": lambda: runs_table(collect([folder])),
        "evaluate": lambda: score(folder, str(folder.parent / "set")),
        "predict": lambda: predict(folder, [image]),
        "resume": lambda: train(saved_settings(folder), folder, resume=True, progress=False),
    }


def test_every_damaged_folder_is_read_or_refused_in_one_sentence(whole, monkeypatch):
    monkeypatch.setattr(data, "load", functools.cache(data.load))
    refused = 0
    folder, image = whole / "spoilt", whole / "set" / "a" / "0.png"
    for seed in range(MUTATIONS):
        rng = np.random.default_rng(seed)
        spoil, name, readers_of_it = WAYS[seed % len(WAYS)]
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(whole / "run", folder)
        try:
            spoil(rng, folder / name)
        except (ValueError, TypeError):  # what not even save_checkpoint writes
            continue
        for who in readers_of_it:
            try:
                readers(folder, image)[who]()
            except (ValueError, OSError, RuntimeError) as error:
                refused += 1
                said = str(error)
                assert str(folder) in said or "evaluate: " in said, f"{seed} {who} {name}: {said}"
                assert said.count("\n") == 0 and len(said) < 600, f"{seed} {who} {name}: {said}"
            except Exception as error:
                raise AssertionError(f"{seed}: {who} of a spoilt {name} ends in {error!r}") from error
    assert refused > MUTATIONS // 2


@pytest.mark.parametrize("name", ["best.npz", "last.npz"])
def test_settings_of_another_width_are_refused(whole, tmp_path, name):
    shutil.copytree(whole / "run", tmp_path / "run")
    path = tmp_path / "run" / "settings.toml"
    path.write_text(path.read_text().replace("width = 6", "width = 12"))
    read = readers(tmp_path / "run", None)["runs" if name == "best.npz" else "resume"]
    with pytest.raises(
        ValueError, match="(npz|json) does not belong to the run beside it: width 12, the run has 6"
    ):
        read()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"model": "mlp"}, "lack dataset"),
        ({"model": "mlp", "dataset": "mnist", "pace\n": 2}, r"have an unknown 'pace\\n'"),
    ],
)
def test_settings_that_lack_or_add_a_name_are_refused_by_that_name(tmp_path, settings, words):
    path = tmp_path / "result.json"
    path.write_text(json.dumps({"settings": settings}))
    with pytest.raises(ValueError, match=f"result.json is damaged: its settings {words}"):
        read_result(path, RunSettings("mlp", "mnist").resolved())
