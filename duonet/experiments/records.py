"""What the mismatch study keeps and prints: flat records, and tables of their mean and spread over seeds."""

import contextlib
import dataclasses
import json
import math
import statistics

from duonet.experiments.results import peak_memory_mib, versions
from duonet.files import replacing
from duonet.mismatch import Mismatch
from duonet.mismatch.statistics import DEVIATIONS

HALF_WIDTH, NOISE = 0.25, 0.8  # a cosine counts with an interval and a share of noise no larger than these


class Records:
    """Rows of every measurement, written whole to results.json.

    Parameters
    ----------
    settings : dataclass
    out : Path
        An existing folder.
    """

    def __init__(self, settings, out):
        self.out = out
        self.values = {
            "complete": False,
            "settings": dataclasses.asdict(settings),
            "versions": versions(),
            "records": [],
        }

    def add(self, kind, row, **where):
        """Keep one layer's mismatch, and where it was measured."""
        (values,) = Mismatch([row]).to_dict()["layers"]
        record = {"kind": kind, **where, **values}
        # Six digits: more than the noise leaves, and a file half the size.
        self.values["records"].append(
            {name: float(f"{v:.6g}") if isinstance(v, float) else v for name, v in record.items()}
        )

    @contextlib.contextmanager
    def bar(self, label, progress):
        """Show a bar, where someone watches, that the yielded function moves on by shares of the whole."""
        from tqdm.auto import tqdm

        form = "{desc} {percentage:3.0f}%|{bar:30}| {elapsed}"
        with tqdm(total=1.0, desc=label, bar_format=form, disable=None if progress else True, leave=False) as bar:
            yield bar.update

    def finish(self, seconds):
        """Mark the study complete and return what results.json holds."""
        self.values |= {"complete": True, "seconds": seconds, "peak_memory_mib": peak_memory_mib()}
        self.save()
        return self.values

    def save(self):
        """Write results.json, whole."""
        with replacing(self.out / "results.json") as part:
            part.write_text(json.dumps(self.values) + "\n")


def select(results, kind, **where):
    """List the records of a kind that agree with `where`.

    Parameters
    ----------
    results : dict
        As results.json holds.
    kind : {"truth", "toy", "evolution", "network"}

    Returns
    -------
    list of dict
    """
    return [
        row
        for row in results["records"]
        if row["kind"] == kind and all(row[name] == value for name, value in where.items())
    ]


def resolved(row):
    """Say whether a record's cosine can be told from noise, by its interval and by the gradients' own noise.

    Parameters
    ----------
    row : dict

    Returns
    -------
    bool
    """
    if row["cosine"] is None or row["low"] is None:
        return False
    wide = max(row["cosine"] - row["low"], row["high"] - row["cosine"]) > HALF_WIDTH
    return not wide and max(row["coarse_noise"], row["noise"]) <= NOISE


def spread(rows, column="cosine"):
    """Return mean, standard deviation (NaN for one seed) and number over the resolved records.

    Parameters
    ----------
    rows : list of dict
        One for each seed.
    column : str

    Returns
    -------
    tuple
        (NaN, NaN, 0) where fewer than half of the records are resolved.
    """
    values = [row[column] for row in rows if resolved(row) and row[column] is not None]
    if not values or 2 * len(values) < len(rows):
        return math.nan, math.nan, 0
    return statistics.mean(values), statistics.stdev(values) if len(values) > 1 else math.nan, len(values)


def cell(rows, column="cosine"):
    """Write mean ± standard deviation over seeds, and how many were resolved where not all were.

    Parameters
    ----------
    rows : list of dict
    column : str

    Returns
    -------
    str
        A dot where noise hides the value.
    """
    mean, deviation, count = spread(rows, column)
    if not count:
        return "·"
    text = f"{mean:.2f}" + ("" if math.isnan(deviation) else f" ±{deviation:.2f}")
    return text if count == len(rows) else f"{text} ({count})"


def tables(results):
    """Lay the study out as aligned tables.

    Parameters
    ----------
    results : dict
        As `mismatch` returns.

    Returns
    -------
    dict
        From a short name to the text of a table with its title.
    """
    settings = results["settings"]
    reference = 0.1
    hidden = ["linear1", "linear2", "linear3"]
    texts = {}
    toy = select(results, "toy", surrogate="clip")
    activations = list(dict.fromkeys(row["activation"] for row in toy))
    for state, words in (("start", "at initialisation"), ("trained", f"after {settings['training_steps']} steps")):
        lines = [["activation", "ε", *hidden]]
        for activation in activations:
            for step in settings["steps"]:
                rows = select(results, "toy", surrogate="clip", state=state, activation=activation, step=step)
                lines.append(
                    [activation, f"{step:g}", *(cell([r for r in rows if r["layer"] == k]) for k in hidden)]
                )
        texts[f"toy_{state}"] = _table(f"Toy, {words}: cosine of each hidden layer by precision", lines)
        lines = [["binary with", *hidden, "area"]]
        for row in results["areas"]:
            if row["activation"] not in ("binary", "ternary"):
                continue
            where = {
                "activation": row["activation"],
                "surrogate": row["surrogate"],
                "state": state,
                "step": reference,
            }
            rows = select(results, "toy", **where)
            name = row["surrogate"] if row["activation"] == "binary" else f"({row['activation']}, clip)"
            area = "∞" if row["area"] is None else f"{row['area']:.3f}"
            lines.append([name, *(cell([r for r in rows if r["layer"] == k]) for k in hidden), area])
        texts[f"surrogates_{state}"] = _table(f"Toy, {words}: cosine by surrogate, ε = {reference}", lines)
    lines = [["estimator", "step", "losses", "noise", "raw cosine", "cosine"]]
    runs = dict.fromkeys((r["estimator"], r["step"], r["losses"]) for r in select(results, "evolution"))
    for name, step, losses in runs:
        rows = select(results, "evolution", estimator=name, step=step, losses=losses)
        noise, raw = (statistics.mean(r[k] for r in rows) for k in ("noise", "raw"))
        lines.append([name, f"{step:.2g}", f"{losses:,}", f"{100 * noise:.0f} %", f"{raw:.2f}", cell(rows)])
    texts["evolution"] = _table("Toy, binary, second layer: estimators at equal samples", lines)
    truth = select(results, "truth")
    lines = [["surrogate", "angles", "largest |z|", "rms z"]]
    for name in dict.fromkeys(row["surrogate"] for row in truth):
        z = [_z(row) for row in truth if row["surrogate"] == name and row["low"] is not None]
        lines.append(
            [name, str(len(z)), f"{max(map(abs, z)):.1f}", f"{math.sqrt(sum(v * v for v in z) / len(z)):.2f}"]
        )
    texts["truth"] = _table("Ground truth: measured minus exact cosine, in standard errors", lines)
    network = select(results, "network")
    columns = list(dict.fromkeys((r["network"], r["state"]) for r in network))
    for step in settings["network_steps"]:
        lines = [["layer", *(f"{name}, {state}" for name, state in columns)]]
        for layer in dict.fromkeys(row["layer"] for row in network):
            cells = [
                cell(select(results, "network", network=name, state=state, step=step, layer=layer))
                for name, state in columns
            ]
            lines.append([layer, *cells])
        texts[f"network_{step:g}"] = _table(f"Deep VGG on real images: cosine of each layer, ε = {step:g}", lines)
    return texts


def _z(row):
    """Return how many of its own standard errors a measured cosine lies from the exact one."""
    return (row["cosine"] - row["exact"]) / ((row["high"] - row["low"]) / (2 * DEVIATIONS))


def _table(title, lines):
    widths = [max(len(line[k]) for line in lines) for k in range(len(lines[0]))]
    text = [
        "  ".join([line[0].ljust(widths[0])] + [c.rjust(w) for c, w in zip(line[1:], widths[1:])])
        for line in lines
    ]
    return "\n".join([title, *text[:1], "-" * len(text[0]), *text[1:]])
