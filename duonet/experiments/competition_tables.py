"""The results of `contest` as tables: accuracy, costs, mismatch, and whether mismatch predicts accuracy."""

import math
import statistics
import textwrap
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from duonet.experiments.contestants import COUPLED
from duonet.experiments.records import spread
from duonet.experiments.study_tables import cell
from duonet.text import aligned

# Half the width of a 95 % interval in standard errors: of the normal distribution, and of Student's t with 1, 2
# and more degrees of freedom.
NORMAL = 1.959964
STUDENT = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)
FEWEST = 5  # methods for which a correlation is worth computing
SIDES = {"better": "Significantly better", "worse": "Significantly worse", "open": "No significant difference"}
STATES = {"start": "at the start", "trained": "after training"}


class Difference(NamedTuple):
    """A method minus another, seed by seed, in shares of the test images.

    Attributes
    ----------
    mean, error : float
        Mean of the differences, and its standard error, NaN for a single seed.
    half : float
        Half the width of the 95 % interval by Student's t.
    seeds : int
        Number of seeds that both methods have.
    """

    mean: float
    error: float
    half: float
    seeds: int


class Correlation(NamedTuple):
    """Spearman's rank correlation, over methods, of a layer's cosine and the gain in accuracy over the baseline.

    Attributes
    ----------
    state, layer : str
    value, low, high : float
        The correlation and its 95 % interval; NaN for too few methods.
    methods : int
        Number of methods whose cosine stands out from noise.
    """

    state: str
    layer: str
    value: float
    low: float
    high: float
    methods: int


def against(results: dict[str, Any], name: str, other: str = "baseline") -> Difference:
    """Compare two methods seed by seed.

    Parameters
    ----------
    results : dict
        The result of `contest`.
    name, other : str

    Returns
    -------
    Difference
        NaN if the methods share no seed.

    Examples
    --------
    >>> shares = {"pact": 0.5, "baseline": 0.25}
    >>> against({"methods": {k: {"seeds": [0], "accuracy": [v]} for k, v in shares.items()}}, "pact")
    Difference(mean=0.25, error=nan, half=nan, seeds=1)
    """
    rows = (results["methods"].get(key, {"seeds": [], "accuracy": []}) for key in (name, other))
    own, base = (dict(zip(row["seeds"], row["accuracy"])) for row in rows)
    gaps = [own[seed] - base[seed] for seed in own if seed in base]
    if len(gaps) < 2:
        return Difference(gaps[0] if gaps else math.nan, math.nan, math.nan, len(gaps))
    error = statistics.stdev(gaps) / len(gaps) ** 0.5
    return Difference(statistics.mean(gaps), error, _student(len(gaps) - 1) * error, len(gaps))


def _student(freedom):
    """Return the 97.5 % point of Student's t; beyond the table by its series in 1 / freedom, right to 0.003."""
    if freedom <= len(STUDENT):
        return STUDENT[freedom - 1]
    z = NORMAL
    return z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)


def rank_correlation(x: Sequence[float], y: Sequence[float]) -> tuple[float, float, float]:
    """Compute Spearman's rank correlation and its 95 % interval.

    ρ is the correlation of the ranks; equal values share the mean of their ranks. The interval is Fisher's,
    tanh(artanh ρ ± 1.96 s), with the variance of Bonett and Wright (2000), s² = (1 + ρ²/2) / (n − 3).

    Parameters
    ----------
    x, y : sequence of float
        The two values of n pairs.

    Returns
    -------
    value, low, high : float
        NaN if n < 5, or if all x or all y are equal.

    Examples
    --------
    >>> [round(v, 3) for v in rank_correlation([1, 2, 3, 4, 5], [1, 3, 2, 5, 4])]
    [0.8, -0.457, 0.991]
    """
    if len(x) < FEWEST or len(set(x)) < 2 or len(set(y)) < 2:
        return math.nan, math.nan, math.nan
    value = float(np.corrcoef(_ranks(x), _ranks(y))[0, 1])
    centre = math.atanh(max(-1 + 1e-9, min(1 - 1e-9, value)))
    half = NORMAL * math.sqrt((1 + value**2 / 2) / (len(x) - 3))
    return value, math.tanh(centre - half), math.tanh(centre + half)


def _ranks(values):
    array = np.asarray(values, float)
    return [(np.sum(array < v) + np.sum(array <= v) + 1) / 2 for v in array]


def measured_layers(results: dict[str, Any]) -> list[str]:
    """List the layers whose mismatch was measured, in the order of the network.

    Parameters
    ----------
    results : dict

    Returns
    -------
    list of str
    """
    rows = [row for method in results["methods"].values() for m in method["mismatch"] for row in m["start"]]
    return list(dict.fromkeys(row["layer"] for row in rows))


def cosines(results: dict[str, Any], name: str, state: str, layer: str) -> list[dict[str, Any]]:
    """List the measurements of one layer of a method's network, one for each seed.

    Parameters
    ----------
    results : dict
    name : str
    state : {"start", "trained"}
    layer : str

    Returns
    -------
    list of dict
    """
    measured = results["methods"][name]["mismatch"]
    return [row for seed in measured for row in seed[state] if row["layer"] == layer]


def correlations(results: dict[str, Any]) -> list[Correlation]:
    """Compute, for each measured layer, whether methods with less mismatch end at higher accuracy.

    Parameters
    ----------
    results : dict

    Returns
    -------
    list of Correlation
    """
    found = []
    for state in STATES:
        for layer in measured_layers(results):
            points = points_of(results, state, layer)
            value = rank_correlation([x for _, x, _ in points], [y for _, _, y in points])
            found.append(Correlation(state, layer, *value, len(points)))
    return found


def points_of(results: dict[str, Any], state: str, layer: str) -> list[tuple[str, float, float]]:
    """List (name, mean cosine, mean gain over the baseline) of the methods whose cosine stands out from noise.

    Parameters
    ----------
    results : dict
    state : {"start", "trained"}
    layer : str

    Returns
    -------
    list of tuple
    """
    found = [(name, spread(cosines(results, name, state, layer))[0]) for name in results["methods"]]
    points = [(name, cosine, against(results, name).mean) for name, cosine in found]
    return [point for point in points if not any(map(math.isnan, point[1:]))]


def contest_tables(results: dict[str, Any]) -> dict[str, str]:
    """Lay the comparison out as tables.

    Parameters
    ----------
    results : dict
        The result of `contest`, finished or not.

    Returns
    -------
    dict
        From a short name to the text of a table under its title.

    Examples
    --------
    >>> print(contest_tables(results)["accuracy"])  # doctest: +SKIP
    """
    texts = {"rates": _rates(results)} if results["rates"] else {}
    if results["methods"].get("baseline", {}).get("accuracy"):
        texts |= {"accuracy": _accuracy(results), "verdict": _verdict(results)}
        texts |= {"coupling": coupling} if (coupling := _coupling(results)) else {}
        texts |= {"costs": _costs(results)}
    if measured_layers(results):
        texts |= {"mismatch": _mismatch(results), "correlation": _correlation(results)}
    return texts


def ranked(results: dict[str, Any]) -> list[str]:
    """Sort the scored methods by their difference from the baseline, best first.

    A method that shares no seed with the baseline comes last: means over different seeds cannot be compared.

    Parameters
    ----------
    results : dict

    Returns
    -------
    list of str
    """
    gains = {name: against(results, name).mean for name, row in results["methods"].items() if row["accuracy"]}
    return sorted(gains, key=lambda name: math.inf if math.isnan(gains[name]) else -gains[name])


def _best_first(results):
    return [(name, results["methods"][name]) for name in ranked(results)]


def _accuracy(results):
    lines = [("method", "reference", "test accuracy %", "seeds", "minus baseline", "95 %", "rate", "time")]
    base = results["methods"]["baseline"]
    for name, row in _best_first(results):
        difference = against(results, name)
        deviation = f" ± {100 * statistics.stdev(row['accuracy']):.2f}" if len(row["accuracy"]) > 1 else ""
        lines.append((
            row["label"], f"[{row['reference']}]" if row["reference"] else "",
            f"{100 * statistics.mean(row['accuracy']):.2f}{deviation}", f"{len(row['accuracy'])}",
            *(("", "") if name == "baseline" else _gap(difference)),
            f"{results['rates'][name]['rate']:g}" if name in results["rates"] else "", _time(row, base),
        ))  # fmt: skip
    return _titled(f"Test accuracy, {results['settings']['weights']} weights", lines)


def _verdict(results):
    """Sort the methods by whether their interval lies above 0, below 0, or on both sides."""
    sides: dict[str, list[str]] = {"better": [], "worse": [], "open": []}
    for name, row in _best_first(results):
        mean, _, half, _ = against(results, name)
        if name != "baseline":
            side = "better" if mean - half > 0 else "worse" if mean + half < 0 else "open"
            sides[side].append(row["label"])
    lines = [f"{words}: {', '.join(sides[side]) or 'none'}" for side, words in SIDES.items()]
    return "\n".join(textwrap.fill(line, 100, subsequent_indent="  ", break_on_hyphens=False) for line in lines)


def _coupling(results):
    """Pair each coupled method with its architecture from scratch, which shows what coupling itself gains."""
    lines = [("method", "minus from scratch", "95 %", "copies", "seeds")]
    for name, row in _best_first(results):
        copies = 2 if name == "binaryduo" else 3 if name == "binaryduo3" or name.endswith(COUPLED) else None
        difference = against(results, name, "control" if copies == 2 else "control3")
        if copies and difference.seeds:
            lines.append((row["label"], *_gap(difference), str(copies), str(difference.seeds)))
    return _titled("Coupled at first, against the same architecture from scratch", lines) if lines[1:] else ""


def _gap(difference):
    if math.isnan(difference.error):
        return "" if math.isnan(difference.mean) else f"{100 * difference.mean:+.2f}", ""
    mean, error, half = (100 * value for value in difference[:3])
    return f"{mean:+.2f} ± {error:.2f}", f"{mean - half:+.1f} .. {mean + half:+.1f}"


def _time(row, base):
    """Return the median over seeds of the processor's time, as a multiple of the baseline's."""
    other = dict(zip(base["seeds"], base["cpu_seconds"]))
    pairs = [(spent, other.get(seed)) for seed, spent in zip(row["seeds"], row["cpu_seconds"])]
    ratios = [mine / theirs for mine, theirs in pairs if mine and theirs]
    return f"{statistics.median(ratios):.2f}" if ratios else ""


def _costs(results):
    lines = [("method", "weights", "W/A bits", "operations", "Mbit", "extra")]
    extra = results["methods"]["baseline"]["extra"]
    for _, row in _best_first(results):
        lines.append((
            row["label"], f"{row['weights']:,}", f"{row['weight_bits']}/{row['activation_bits']}",
            f"{row['operations'] / 1e6:.3f} M", f"{row['mbit']:.3f}", f"{row['extra'] - extra:+,}",
        ))  # fmt: skip
    return _titled("Costs; extra: numbers besides the weights, minus the baseline's", lines)


def _rates(results):
    rates = results["settings"]["rates"]
    lines = [("validation accuracy % at rate", *(f"{rate:g}" for rate in rates), "diverged")]
    for name, row in results["rates"].items():
        means = [
            f"{100 * mean:.1f}" + ("*" if rate == row["rate"] else "") for rate, mean in zip(rates, row["means"])
        ]
        lines.append((name, *means, str(row["diverged"] or "")))
    seeds = results["settings"]["tuning_seeds"]
    return _titled(f"How the rates were chosen (*), by the mean of {seeds} seed{'s' * (seeds > 1)}", lines)


def _mismatch(results):
    layers = measured_layers(results)
    lines = [("cosine", *(f"{layer}, {words}" for words in STATES.values() for layer in layers))]
    for name, row in _best_first(results):
        found = [cosines(results, name, state, layer) for state in STATES for layer in layers]
        lines.append((row["label"], *(cell(rows) if rows else "" for rows in found)))
    return _titled("Gradient mismatch, corrected for noise; a dot: noise hides it", lines)


def _correlation(results):
    lines = [("Spearman's ρ of cosine and gain in accuracy", "ρ", "95 %", "methods")]
    for row in correlations(results):
        known = not math.isnan(row.value)
        words = (f"{row.value:+.2f}", f"{row.low:+.2f} .. {row.high:+.2f}") if known else ("too few", "")
        lines.append((f"{row.layer}, {STATES[row.state]}", *words, str(row.methods)))
    return _titled("Does mismatch predict accuracy?", lines)


def _titled(title, lines):
    return f"{title}\n{aligned(lines)}"
