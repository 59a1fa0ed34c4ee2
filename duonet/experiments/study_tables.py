"""The mismatch study as aligned tables."""

import math
import statistics
from typing import Any

from duonet.experiments.records import rows_of, spread
from duonet.experiments.toy import HIDDEN, REFERENCE_STEP
from duonet.mismatch.statistics import DEVIATIONS, divide
from duonet.text import aligned


def mismatch_tables(results: dict[str, Any]) -> dict[str, str]:
    """Lay the study out as tables.

    Parameters
    ----------
    results : dict
        The result of `mismatch`, finished or not.

    Returns
    -------
    dict
        From a short name to the text of a table under its title.

    Examples
    --------
    >>> print(mismatch_tables(results)["toy_start"])  # doctest: +SKIP
    """
    states = {"start": "at initialisation", "trained": f"after {results['settings']['training_steps']} steps"}
    texts = {}
    for state, words in states.items():
        texts[f"toy_{state}"] = _precision(results, state, words)
        texts[f"surrogates_{state}"] = _surrogates(results, state, words)
    texts["evolution"] = _evolution(results)
    texts["truth"] = _truth(results)
    for step in results["settings"]["network_steps"]:
        texts[f"network_{step:g}"] = _network(results, step, cell, "cosine")
        texts[f"network_{step:g}_raw"] = _network(results, step, raw_cell, "cosine with the noise in it")
    return texts


def cell(rows: list[dict[str, Any]]) -> str:
    """Format mean ± standard deviation over seeds, with the number of seeds if noise hides some of them.

    Parameters
    ----------
    rows : list of dict
        Records, one for each seed.

    Returns
    -------
    str
        A dot if noise hides the value.

    Examples
    --------
    >>> row = {"cosine": 0.5, "low": 0.4, "high": 0.6, "coarse_noise": 0.1, "noise": 0.3}
    >>> cell([row, row | {"cosine": 0.6}]), cell([row, row | {"noise": 0.9}]), cell([row | {"noise": 0.9}])
    ('0.55 ±0.07', '0.50 (1)', '·')
    """
    mean, deviation, count = spread(rows)
    if not count:
        return "·"
    text = f"{mean:.2f}" + ("" if math.isnan(deviation) else f" ±{deviation:.2f}")
    return text if count == len(rows) else f"{text} ({count})"


def raw_cell(rows: list[dict[str, Any]]) -> str:
    """Format mean ± standard deviation over seeds of the cosine with the noise in it.

    Parameters
    ----------
    rows : list of dict
        Records, one for each seed.

    Returns
    -------
    str
    """
    values = [row["raw"] for row in rows if row["raw"] is not None]
    deviation = f" ±{statistics.stdev(values):.2f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.2f}{deviation}" if values else "·"


def _precision(results, state, words):
    lines = [["activation", "ε", *HIDDEN]]
    toy = rows_of(results, "toy", surrogate="clip", state=state)
    for activation in _different(toy, "activation"):
        for step in results["settings"]["steps"]:
            rows = [row for row in toy if row["activation"] == activation and row["step"] == step]
            lines.append([activation, f"{step:g}", *_by_layer(rows)])
    return _table(f"Toy, {words}: cosine of each hidden layer by precision", lines)


def _surrogates(results, state, words):
    lines = [["binary with", *HIDDEN, "area"]]
    for row in results["areas"]:
        if row["activation"] in ("binary", "ternary"):
            pair = {"activation": row["activation"], "surrogate": row["surrogate"]}
            name = row["surrogate"] if row["activation"] == "binary" else f"({row['activation']}, clip)"
            area = "∞" if row["area"] is None else f"{row['area']:.3f}"
            rows = rows_of(results, "toy", state=state, step=REFERENCE_STEP, **pair)
            lines.append([name, *_by_layer(rows), area])
    return _table(f"Toy, {words}: cosine by surrogate, ε = {REFERENCE_STEP}", lines)


def _evolution(results):
    lines = [["estimator", "step", "losses", "noise", "raw cosine", "cosine"]]
    records = rows_of(results, "evolution")
    for name, step, losses in _different(records, "estimator", "step", "losses"):
        rows = rows_of(results, "evolution", estimator=name, step=step, losses=losses)
        noise = [row["noise"] for row in rows if row["noise"] is not None]
        share = f"{100 * statistics.mean(noise):.0f} %" if noise else "·"
        lines.append([name, f"{step:.2g}", f"{losses:,}", share, raw_cell(rows), cell(rows)])
    return _table("Toy, binary, second layer: estimators at equal samples", lines)


def _truth(results):
    lines = [["surrogate", "angles", "largest |z|", "rms z"]]
    known = ("cosine", "low", "high")
    records = [row for row in rows_of(results, "truth") if all(row[name] is not None for name in known)]
    for name in _different(records, "surrogate"):
        z = [_z(row) for row in records if row["surrogate"] == name]
        largest, rms = max(map(abs, z)), math.sqrt(statistics.mean(v * v for v in z))
        lines.append([name, str(len(z)), f"{largest:.1f}", f"{rms:.2f}"])
    return _table("Ground truth: measured minus exact cosine, in standard errors", lines)


def _network(results, step, write, words):
    records = rows_of(results, "network", step=step)
    columns = _different(records, "network", "state")
    lines = [["layer", *(f"{network}, {state}" for network, state in columns)]]
    for layer in _different(records, "layer"):
        rows = [rows_of(results, "network", step=step, layer=layer, network=n, state=s) for n, s in columns]
        lines.append([layer, *(write(cells) for cells in rows)])
    return _table(f"Deep VGG on real images: {words}, ε = {step:g}", lines)


def _by_layer(rows):
    return [cell([row for row in rows if row["layer"] == layer]) for layer in HIDDEN]


def _different(rows, *columns):
    """List the different values of a column, or tuples of several, in the order in which they come."""
    values = (tuple(row[column] for column in columns) for row in rows)
    return list(dict.fromkeys(value[0] if len(columns) == 1 else value for value in values))


def _z(row):
    """Return how many of its own standard errors a measured cosine lies from the exact one."""
    return divide(row["cosine"] - row["exact"], (row["high"] - row["low"]) / (2 * DEVIATIONS))


def _table(title, rows):
    return f"{title}\n{aligned(rows)}"
