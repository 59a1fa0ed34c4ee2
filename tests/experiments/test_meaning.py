"""Two sentences say what a comparison's table means for its numbers."""

import json
import re
import statistics
from pathlib import Path

import pytest

from duonet.experiments import verdict
from duonet.experiments.competition_tables import against

KEPT = Path(__file__).parents[2] / "docs"


def sentences(results):
    """The two sentences, each on one line."""
    text = " ".join(verdict(results).split())
    return re.fullmatch(r"(.*\.) ((?:One seed|These seeds) .*)", text).groups()


def study(binaryduo, baseline, control):
    named = {"binaryduo": binaryduo, "baseline": baseline, "control": control}
    return {"methods": {name: {"accuracy": shares} for name, shares in named.items()}}


@pytest.mark.parametrize(
    "rows, words",
    [
        (([0.82], [0.81], [0.83]), ["1.00 points ahead of the binary baseline", "1.00 points behind its own"]),
        (([0.82], [0.82], [0.82]), ["level with the binary baseline", "level with its own architecture"]),
        (([0.8], [0.9], [0.7]), ["10.00 points behind the binary baseline", "10.00 points ahead of its own"]),
    ],
)
def test_one_seed_is_told_as_one_seed(rows, words):
    first, second = sentences(study(*rows))
    assert first.startswith("With this seed BinaryDuo is ") and all(word in first for word in words)
    assert "One seed cannot tell" in second and "interval " not in first


@pytest.mark.parametrize(
    "baseline, control, said",
    [
        (
            [0.70, 0.71],
            [0.79, 0.83],
            "show that it is better than the baseline, and leave open whether it is better than the control",
        ),
        ([0.90, 0.91], [0.70, 0.71], "show that it is worse than the baseline and better than the control"),
        ([0.79, 0.83], [0.83, 0.79], "leave open whether it is better than the baseline or the control"),
    ],
)
def test_several_seeds_are_paired(baseline, control, said):
    first, second = sentences(study([0.80, 0.81], baseline, control))
    assert first.startswith("Over 2 seeds BinaryDuo is ") and second == f"These seeds {said}."


def test_the_interval_is_students():
    rows = json.loads((KEPT / "compare_seeds.json").read_text())["methods"]
    gaps = [100 * (a - b) for a, b in zip(rows["binaryduo"]["accuracy"], rows["baseline"]["accuracy"])]
    mean, half = statistics.mean(gaps), 2.365 * statistics.stdev(gaps) / 8**0.5
    text = sentences({"methods": rows})[0]
    assert (
        f"{mean:.2f} points ahead of the binary baseline (95 % interval {mean - half:.2f} to {mean + half:.2f})"
        in text
    )


@pytest.mark.parametrize(
    "seeds, t", [(2, 12.706), (10, 2.262), (11, 2.228), (13, 2.179), (21, 2.086), (61, 2.000)]
)
def test_students_t(seeds, t):
    shares = {"seeds": range(seeds), "accuracy": [0.01 * (i % 2) for i in range(seeds)]}
    found = against({"methods": {"a": shares, "baseline": shares | {"accuracy": [0.0] * seeds}}}, "a")
    assert found.half / found.error == pytest.approx(t, abs=0.004)


def test_a_study_that_stopped_early_has_no_verdict():
    results = study([0.8], [0.7], [0.6])
    del results["methods"]["control"]
    assert verdict(results) == ""
