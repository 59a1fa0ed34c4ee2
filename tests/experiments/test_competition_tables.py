"""Differences by seed, and rank correlations, against numbers worked out by hand."""

import math

import pytest

from duonet.experiments.competition_tables import against, contest_tables, correlations, rank_correlation
from duonet.experiments.figures import plot_contest


def results(**methods):
    """Methods by (seeds, accuracies, cosine at the start)."""
    costs = {"weights": 10, "operations": 10.0, "mbit": 0.1, "extra": 3, "weight_bits": 32, "activation_bits": 1}
    rows = {}
    for name, (seeds, accuracy, cosine) in methods.items():
        measured = {"layer": "a", "cosine": cosine, "raw": cosine, "low": cosine, "high": cosine}
        measured |= {"coarse_noise": 0.1, "noise": 0.1}
        mismatch = [{"seed": [*seeds, 0][0], "start": [measured], "trained": [measured | {"noise": 0.9}]}]
        rows[name] = {"label": name, "reference": None, "seeds": seeds, "accuracy": accuracy, "mismatch": mismatch}
        rows[name] |= {"cpu_seconds": [2.0 + len(rows)] * len(seeds), **costs}
    settings = {"model": "mlp", "weights": "float", "tuning_seeds": 2, "rates": [0.1]}
    rates = {name: {"rate": 0.1, "means": [0.5], "diverged": 0} for name in rows}
    return {"settings": settings, "methods": rows, "rates": rates}


SOME = results(
    baseline=([2, 3, 4], [0.5, 0.6, 0.7], 0.1),
    up=([2, 3, 4], [0.6, 0.7, 0.8], 0.2),
    apart=([4, 3], [0.72, 0.66], 0.3),
    once=([3], [0.4], 0.4),
    binaryduo=([2, 3], [0.5, 0.7], 0.5),
    control=([2, 3], [0.5, 0.65], 0.6),
)


def test_differences_are_paired_by_seed():
    assert against(SOME, "up") == pytest.approx((0.1, 0, 0, 3), abs=1e-12)
    # By hand: gaps 0.02 and 0.06, mean 0.04, standard deviation 0.02 √2, error 0.02, t of one degree 12.706.
    assert against(SOME, "apart") == pytest.approx((0.04, 0.02, 0.25412, 2))
    mean, error, half, seeds = against(SOME, "once")
    assert mean == pytest.approx(-0.2) and math.isnan(error) and math.isnan(half) and seeds == 1
    assert against(SOME, "binaryduo", "control").mean == pytest.approx(0.025)


def test_the_table_goes_by_the_difference_and_says_what_is_told_apart():
    tables = contest_tables(SOME)
    names = [line.split()[0] for line in tables["accuracy"].splitlines()[3:]]
    assert names == ["up", "binaryduo", "apart", "control", "baseline", "once"]
    assert tables["verdict"].splitlines()[:2] == ["Significantly better: up", "Significantly worse: none"]
    assert tables["coupling"].splitlines()[3].split() == [
        "binaryduo",
        "+2.50",
        "±",
        "2.50",
        *"-29.3 .. +34.3 2 2".split(),
    ]
    up = next(line for line in tables["accuracy"].splitlines() if line.startswith("up"))
    assert up.split()[-1] == "1.33", "four seconds to the baseline's three"


def test_three_copies_are_held_against_three_copies():
    rows = {"baseline": ([2, 3], [0.5, 0.5], 0), "control3": ([2, 3], [0.6, 0.6], 0), "control": ([2], [0.1], 0)}
    table = contest_tables(results(**rows, **{"pact-coupled": ([2, 3], [0.7, 0.8], 0)}))["coupling"]
    assert table.splitlines()[3].split()[:2] == ["pact-coupled", "+15.00"]
    assert "coupling" not in contest_tables(results(**rows)), "nothing was coupled"


@pytest.mark.parametrize(
    "x, y, value",
    [
        ([1, 2, 3, 4, 5], [2, 4, 6, 8, 9], 1),
        ([1, 2, 3, 4, 5], [5, 4, 3, 2, 1], -1),
        ([1, 2, 3, 4, 5], [1, 3, 2, 5, 4], 0.8),
        ([1, 1, 2, 3, 4], [1, 1, 2, 3, 4], 1),  # equals share the mean of their ranks
        ([1, 2, 3, 4, 5, 6], [1, 1, 1, 2, 2, 2], 0.878310),
    ],
)
def test_rank_correlations_are_spearmans(x, y, value):
    found, low, high = rank_correlation(x, y)
    assert found == pytest.approx(value, abs=1e-6) and low <= found + 1e-6 and found - 1e-6 <= high


def test_few_methods_or_equal_numbers_have_none():
    for x, y in (([1, 2, 3, 4], [1, 2, 3, 4]), ([1, 1, 1, 1, 1], [1, 2, 3, 4, 5])):
        assert all(map(math.isnan, rank_correlation(x, y)))


def test_what_noise_hides_takes_no_part_in_a_correlation():
    start, trained = correlations(SOME)
    assert (start.methods, trained.methods) == (6, 0) and math.isnan(trained.value)
    # By hand: cosines rise in this order, gains are 0, 0.1, 0.04, −0.2, 0.05, 0.025: ranks 2 6 4 1 5 3.
    assert start.value == pytest.approx(1 - 6 * (1 + 16 + 1 + 9 + 0 + 9) / (6 * 35))


@pytest.mark.parametrize("baseline", [None, ([], [], 0.1), ([9], [0.5], 0.1)])
def test_without_a_seed_of_the_baselines_no_gain_is_told(baseline, tmp_path):
    """It failed or diverged, or is not finished yet."""
    few = results(
        **{} if baseline is None else {"baseline": baseline}, up=([2], [0.6], 0.2), off=([3], [0.4], 0.3)
    )
    tables = contest_tables(few)
    assert "nan" not in "".join(tables.values()) and "up" in tables["mismatch"]
    assert {row.methods for row in correlations(few)} == {int(baseline == ([9], [0.5], 0.1)), 0}
    assert plot_contest(few, tmp_path / "a.png").exists()
