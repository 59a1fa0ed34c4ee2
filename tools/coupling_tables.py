"""Table and figure of what tools/coupling.py finds."""

import statistics

from intervals import above, below, points, sure

from duonet.experiments.competition_tables import against
from duonet.text import aligned
from duonet.viz.canvas import blank, save, tidy

FAR = 0.05  # a training that ends this far below the median of its seeds is named
AGAIN = " (again)"
PAIRS = (("binaryduo", "baseline"), ("binaryduo", "control"), ("control", "baseline"))


def conditions(found):
    """Lay out BinaryDuo's differences to its baseline and its control under every condition.

    Parameters
    ----------
    found : dict
        From condition to {"methods": {method: {"seeds": [...], "accuracy": [...]}}}. A second training of a
        condition has AGAIN behind its name.
    """
    rows = [("condition", "baseline %", "seeds", "minus baseline", "minus control", "control minus baseline")]
    for condition in found:
        accuracy = found[condition]["methods"]["baseline"]["accuracy"]
        gaps = [against(found[condition], *pair) for pair in PAIRS]
        mean = f"{100 * sum(accuracy) / len(accuracy):.1f}"
        rows.append((condition, mean, str(gaps[0].seeds), *map(points, gaps)))
    return "\n".join([aligned(rows), "", *significant(found), *collapsed(found), *both(found)])


def significant(found):
    """Say where an interval of the conditions excludes 0, and where it does so even among so many."""
    gaps = {(pair, condition): against(found[condition], *pair) for pair in PAIRS[:2] for condition in found}
    lines = []
    for pair in PAIRS[:2]:
        for word, beyond in (("beats", above), ("loses to", below)):
            names = [condition for condition in found if beyond(gaps[pair, condition])]
            where = ", ".join(names) or "nowhere"
            lines.append(f"BinaryDuo {word} its {pair[1]}, with an interval that excludes 0: {where}.")
    still = [f"{condition} (minus {pair[1]})" for (pair, condition), gap in gaps.items() if sure(gap, len(gaps))]
    lines.append(f"Of {len(gaps)} intervals {0.05 * len(gaps):.1f} exclude 0 by chance, on average.")
    lines.append(f"Even if all are to be right together (Bonferroni): {', '.join(still) or 'nowhere'}.")
    return lines


def collapsed(found):
    """Say which trainings ended far below the others of their method, and the differences without their seeds."""
    lines = []
    for condition, row in found.items():
        ended, far = [], set()
        for method, run in row["methods"].items():
            usual = statistics.median(run["accuracy"])
            for seed, accuracy in zip(run["seeds"], run["accuracy"]):
                if accuracy < usual - FAR:
                    far.add(seed)
                    ended.append(f"{method}, seed {seed}, at {100 * accuracy:.1f} % (median {100 * usual:.1f} %)")
        if ended:
            gaps = ", ".join(differences(without(row, far)))
            left_out = "it" if len(far) == 1 else "them"
            lines.append(f"Collapsed, {condition}: {'; '.join(ended)}.\n  Without {left_out}: {gaps}.")
    return lines


def without(row, far):
    """Leave out these seeds."""
    methods = {}
    for method, run in row["methods"].items():
        kept = [(seed, value) for seed, value in zip(run["seeds"], run["accuracy"]) if seed not in far]
        methods[method] = {"seeds": [seed for seed, _ in kept], "accuracy": [value for _, value in kept]}
    return {"methods": methods}


def both(found):
    """Average the two trainings of a condition by seed, and say the differences."""
    lines = []
    for condition, row in found.items():
        if condition + AGAIN in found:
            methods = {}
            for method, run in row["methods"].items():
                second = found[condition + AGAIN]["methods"][method]
                again = dict(zip(second["seeds"], second["accuracy"]))
                pairs = [(s, (a + again[s]) / 2) for s, a in zip(run["seeds"], run["accuracy"]) if s in again]
                methods[method] = {"seeds": [s for s, _ in pairs], "accuracy": [a for _, a in pairs]}
            lines.append(f"{condition}, mean of both trainings: {', '.join(differences({'methods': methods}))}.")
    return lines


def differences(row):
    """Write BinaryDuo's differences under a condition."""
    return [f"minus {pair[1]} {points(against(row, *pair))}" for pair in PAIRS[:2]]


def draw(path, found):
    """Draw both differences under every condition, with 95 % intervals."""
    order = list(found)
    figure = blank(8.4, 5.2)
    left, right = figure.subplots(1, 2, sharey=True, sharex=True)
    for axes, pair, color, title in (
        (left, PAIRS[0], "#b2500f", "BinaryDuo minus binary baseline"),
        (right, PAIRS[1], "#5d8a3a", "BinaryDuo minus its architecture from scratch"),
    ):
        for i, condition in enumerate(order[::-1]):
            gap = against(found[condition], *pair)
            axes.errorbar(100 * gap.mean, i, xerr=100 * gap.half, fmt="o", color=color, markersize=5, capsize=3)
        axes.axvline(0, color="0.7", linewidth=1, zorder=0)
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("points of test accuracy, with 95 % interval")
        tidy(axes, "x")
    left.set_xticks(range(-8, 9, 4))
    left.set_xlim(-8, 8)  # where a network collapsed, an interval may go on
    left.set_yticks(range(len(order)), order[::-1])
    return save(figure, path)
