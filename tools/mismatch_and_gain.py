"""Tables of the mismatch that tools/coupling_mismatch.py measures beside the gain that tools/coupling.py finds."""

import math

import numpy as np
from coupling import METHODS
from coupling_mismatch import CONDITIONS, NAMES

from duonet.experiments.competition_tables import STUDENT, Difference
from duonet.experiments.records import HALF_WIDTH
from duonet.experiments.study_file import check_shape, read_json
from duonet.mismatch.statistics import cosine_of
from duonet.text import aligned

PAIRS = {  # networks whose cosines are compared
    "coupled, start": "baseline, start",
    "coupled, trained": "baseline, trained",
    "BinaryDuo, trained": "baseline, trained",
}


def read(path):
    """Return c·g, c·c and g·g by condition and network, of shape (seeds, 3), and the accuracies by condition."""
    found = read_json("findings", path)
    run = {"seeds": [int], "accuracy": [float]}
    try:
        check_shape(found, {"seeds": [int], "sums": dict, "trained": dict}, "the file")
        check_shape(found["sums"], dict.fromkeys(CONDITIONS, dict), "sums")
        for condition, networks in found["sums"].items():
            check_shape(networks, {name: [[float]] for name in NAMES}, condition)
            if any(np.shape(networks[name]) != (len(found["seeds"]), 3) for name in NAMES):
                raise ValueError(f"{condition} must have three sums for each seed")
            check_shape(found["trained"], {condition: {"methods": dict.fromkeys(METHODS, run)}}, "trained")
            runs = found["trained"][condition]["methods"].values()
            if not all(len(run["seeds"]) == len(run["accuracy"]) > 0 for run in runs):
                raise ValueError(f"{condition} must have an accuracy for each seed")
    except ValueError as error:
        raise ValueError(f"findings: {path} has wrong contents: {error}") from None
    sums = {c: {name: np.array(row[name]) for name in NAMES} for c, row in found["sums"].items()}
    return sums, {c: found["trained"][c] for c in sums}


def cosine(sums, other=None):
    """Pool the seeds' cosine, or its difference to that of other networks with the same seeds.

    Sums of all seeds give one cosine, cos = Σ c·g / √(Σ c·c Σ g·g), which noise hides less than each seed's own.
    Its error is that of a jackknife, which leaves out one seed at a time.
    """

    def pooled(rows):
        here = cosine_of(sums[rows].sum(axis=0))
        return here if other is None else here - cosine_of(other[rows].sum(axis=0))

    n = len(sums)
    everyone = pooled(np.full(n, True))
    if n == 1:
        return Difference(everyone, math.nan, math.nan, n)
    error = math.sqrt((n - 1) * np.var([pooled(np.arange(n) != i) for i in range(n)]))
    return Difference(everyone, error, STUDENT[min(n - 1, len(STUDENT)) - 1] * error, n)


def hidden(found):
    """Say whether noise hides a cosine, or a difference of two."""
    return not found.half <= HALF_WIDTH


def networks(sums):
    """Lay out the cosine of every network, with its 95 % interval; a dot where noise hides it."""
    rows = [("cosine", "seeds", *NAMES)]
    for condition, row in sums.items():
        found = [cosine(row[name]) for name in NAMES]
        cells = ["·" if hidden(each) else f"{each.mean:.2f} ±{each.half:.2f}" for each in found]
        rows.append((condition, str(found[0].seeds), *cells))
    return aligned(rows)


def beside(sums, gains):
    """Lay out differences of cosines beside the gain under the same condition, and say which are told from noise.

    Parameters
    ----------
    sums : dict
        As `read` returns them.
    gains : dict
        From condition to BinaryDuo's written differences to its baseline and to its control.
    """
    rows, found = [("cosine minus the baseline's", "points over baseline", "over control", *PAIRS)], {}
    for condition, row in sums.items():
        found[condition] = [cosine(row[name], row[other]) for name, other in PAIRS.items()]
        cells = ["·" if hidden(each) else f"{each.mean:+.2f} ±{each.half:.2f}" for each in found[condition]]
        rows.append((condition, *gains[condition], *cells))
    lines = [aligned(rows), ""]
    for i, name in enumerate(PAIRS):
        seen = {condition: each[i] for condition, each in found.items() if not hidden(each[i])}
        words = {
            "larger": [condition for condition, gap in seen.items() if gap.mean > gap.half],
            "smaller": [condition for condition, gap in seen.items() if -gap.mean > gap.half],
            "hidden by noise": [condition for condition in found if condition not in seen],
        }
        told = "; ".join(f"{word}: {', '.join(where) or 'nowhere'}" for word, where in words.items())
        lines.append(f"{name}, against the baseline's cosine, with an interval that excludes 0: {told}.")
    return "\n".join(lines)
