"""Paired differences with their 95 % intervals: written, counted, and judged together."""

import math


def points(gap):
    """Write a paired difference in points, with its 95 % interval."""
    if gap.seeds == 1:
        return f"{100 * gap.mean:+.1f} (one seed)"
    return interval(gap, 100, 1) if gap.seeds else "-"


def interval(gap, times=1, digits=2):
    """Write a paired difference with its 95 % interval."""
    low, high = gap.mean - gap.half, gap.mean + gap.half
    return f"{times * gap.mean:+.{digits}f} ({times * low:+.{digits}f} to {times * high:+.{digits}f})"


def above(gap):
    """Return whether the whole interval lies above 0."""
    return gap.mean > gap.half


def below(gap):
    """Return whether the whole interval lies below 0."""
    return -gap.mean > gap.half


def sure(gap, intervals):
    """Return whether the interval excludes 0 even if all intervals must be right together (Bonferroni)."""
    return gap.seeds > 1 and intervals * chance(abs(gap.mean) / max(gap.error, 1e-12), gap.seeds - 1) < 0.05


def chance(t, freedom):
    """Return the probability of a larger abs(t) by Student's distribution, a finite series in θ = atan(t / √ν)."""
    theta = math.atan2(t, math.sqrt(freedom))
    odd, term, total = freedom % 2, 1.0, 0.0
    for k in range(odd, freedom - 1, 2):
        total += term * math.cos(theta) ** k
        term *= (k + 1) / (k + 2)
    inside = 2 / math.pi * (theta + math.sin(theta) * total) if odd else math.sin(theta) * total
    return 1 - inside


def verdict(gaps):
    """Return the word on the claim that these differences are above 0; the page explains it."""
    if all(map(above, gaps)):
        return "holds"
    return "holds in part" if any(above(gap) and sure(gap, len(gaps)) for gap in gaps) else "not seen"


def counted(gaps):
    """Write in how many differences the interval excludes 0, on either side."""
    return f"above 0 in {sum(map(above, gaps))} of {len(gaps)}, below 0 in {sum(map(below, gaps))}"
