"""Figures of runs: each thing they say leaves a mark."""

import numpy as np
import pytest

from duonet.experiments.figures import contest, plot_confusion, plot_history, plot_runs

ROWS = [
    {
        "stage": 1 + (i > 2),
        "lr": 0.1 / i,
        "loss": 1 / i,
        "val_loss": 2 / i,
        "accuracy": i / 9,
        "val_accuracy": i / 8,
    }
    for i in range(1, 6)
]


FIRST = {}  # pictures that several tests compare with


def first(plot, what, tmp_path):
    """Draw once, however many tests ask."""
    key = (plot, str(what))
    if key not in FIRST:
        FIRST[key] = drawn(plot, what, tmp_path)
    return FIRST[key]


def drawn(plot, what, tmp_path):
    path = plot(what, tmp_path / "figure.png")
    assert [p.name for p in tmp_path.iterdir()] == ["figure.png"]
    return path.read_bytes()


def runs(rows, seeds=2, methods=("baseline", "binaryduo")):
    return {
        "settings": {"model": "vgg7", "dataset": "mnist"},
        "costs": dict.fromkeys(methods),
        "runs": [{"method": m, "seed": s, "history": rows} for m in methods for s in range(seeds)],
    }


def scores(classes, hits=3):
    confusion = [[hits * (i == j) + (j == 0) for j in range(classes)] for i in range(classes)]
    return {
        "class_names": [f"class {i}" for i in range(classes)],
        "confusion": confusion,
        "top1": 0.75,
        "part": "test",
    }


@pytest.mark.parametrize(
    "plot, what, other",
    [
        (plot_history, ROWS, [{**row, "stage": 1} for row in ROWS]),
        (plot_history, ROWS, [{**row, "val_accuracy": 0.5} for row in ROWS]),
        (plot_history, ROWS, ROWS[:1]),
        (plot_runs, runs(ROWS), runs([{**row, "stage": 1} for row in ROWS[:3]] + ROWS[3:])),
        (plot_runs, runs(ROWS), runs(ROWS, methods=("baseline",))),
        (plot_runs, runs(ROWS), runs([{**row, "val_accuracy": 0.5} for row in ROWS])),
        (plot_confusion, scores(3), scores(3, hits=1)),
        (plot_confusion, scores(40), scores(40, hits=1)),
    ],
)
def test_what_differs_is_drawn_differently(plot, what, other, tmp_path):
    picture = first(plot, what, tmp_path)
    assert picture.startswith(b"\x89PNG") and picture != drawn(plot, other, tmp_path)


@pytest.mark.parametrize(
    "plot, what", [(plot_history, ROWS), (plot_runs, runs(ROWS)), (plot_confusion, scores(3))]
)
def test_the_same_is_drawn_the_same(plot, what, tmp_path):
    assert first(plot, what, tmp_path) == drawn(plot, what, tmp_path)


def test_the_path_may_be_a_string(tmp_path):
    assert plot_history(ROWS, str(tmp_path / "figure.png")) == tmp_path / "figure.png"


def test_names_are_words_and_never_formulas_or_codes(tmp_path):
    for name in ("a$\\frac$b", "$5 to $10", "\x1b[2J"):
        named = {**scores(3), "class_names": [name, "b", "c"]}
        assert drawn(plot_confusion, named, tmp_path) != first(plot_confusion, scores(3), tmp_path)
        titled = runs(ROWS)
        titled["settings"]["dataset"] = name
        drawn(plot_runs, titled, tmp_path)


def test_the_numbers_of_crowded_points_keep_apart():
    points = np.array([(0.926, 0.7), (0.927, 0.5), (1.03, -25.7), (1.035, -24.2), (0.9, 3.0)])
    reach = np.ptp(points, axis=0)
    numbers = points / reach * contest.PANEL + contest._offsets(points)
    apart = np.abs(numbers[:, None] - numbers).max(axis=2) + 99 * np.eye(5)
    assert apart.min() > 8
    assert len(contest._offsets(np.array([(1.0, 2.0)]))) == 1
