"""What the mismatch study keeps: flat records, and their mean and spread over seeds."""

import contextlib
import dataclasses
import json
import math
import statistics
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from duonet.experiments.studies import Study
from duonet.mismatch import Mismatch
from duonet.mismatch.report import LayerMismatch
from duonet.progress import tqdm_bar
from duonet.text import watched

HALF_WIDTH, NOISE = 0.25, 0.8  # a cosine counts with an interval and a share of noise no larger than these


class Records(Study):
    """Rows of every measurement, kept part by part: a study that is stopped continues with the part it was at.

    Parameters
    ----------
    settings : dataclass
    out : str or Path
        A new folder, or one of a study with the same settings.
    fresh : dict
        As for `Study`.
    """

    def __init__(self, settings: Any, out: str | Path, fresh: dict[str, Any]) -> None:
        settings = json.loads(json.dumps(dataclasses.asdict(settings)))  # as a file holds them
        kept: dict[str, Any] = {"records": [], "finished": []}
        super().__init__("mismatch", out, settings, fresh, kept, indent=None)  # some thousand records
        self.rows: list[dict[str, Any]] = []

    def measure_part(self, part: str, task: Callable[..., None], progress: bool) -> None:
        """Keep what one part of the study finds, unless that is done.

        Parameters
        ----------
        part : str
        task : callable
            Takes these records, whose `add` it calls, and a function that it tells the share of its work done.
        progress : bool
            Show a bar where someone watches.
        """
        if part in self.values["finished"]:
            return
        self.rows = []
        with self.bar(part, progress) as tick:
            task(self, tick)
        self.values["records"] += self.rows
        self.values["finished"].append(part)
        self.save()

    def add(self, kind: str, row: LayerMismatch, **where: Any) -> None:
        """Keep one layer's mismatch, and where it was measured."""
        (values,) = Mismatch([row]).to_dict()["layers"]
        record = {"kind": kind, **where, **values}
        # Six digits: more than the noise leaves, and a file half the size.
        self.rows.append({name: float(f"{v:.6g}") if isinstance(v, float) else v for name, v in record.items()})

    @contextlib.contextmanager
    def bar(self, label: str, progress: bool) -> Iterator[Callable[[float], object]]:
        """Show a bar, where someone watches, that the yielded function moves on by shares of the whole."""
        form = "{desc} {percentage:3.0f}%|{bar:30}| {elapsed}"
        disable = not (progress and watched(sys.stderr))
        with tqdm_bar(total=1.0, desc=label, bar_format=form, disable=disable, leave=False) as bar:
            yield bar.update


def rows_of(results: dict[str, Any], kind: str, **where: Any) -> list[dict[str, Any]]:
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


def told_from_noise(row: dict[str, Any]) -> bool:
    """Say whether a record's cosine can be told from noise, by its interval and by the gradients' own noise.

    Parameters
    ----------
    row : dict

    Returns
    -------
    bool
    """
    if any(row[name] is None for name in ("cosine", "low", "high", "coarse_noise", "noise")):
        return False
    wide = max(row["cosine"] - row["low"], row["high"] - row["cosine"]) > HALF_WIDTH
    return not wide and max(row["coarse_noise"], row["noise"]) <= NOISE


def spread(rows: list[dict[str, Any]]) -> tuple[float, float, int]:
    """Return mean, standard deviation (NaN for one seed) and number of the resolved records' cosines.

    Parameters
    ----------
    rows : list of dict
        One for each seed.

    Returns
    -------
    tuple
        (NaN, NaN, 0) where fewer than half of the records are resolved.
    """
    values = [row["cosine"] for row in rows if told_from_noise(row)]
    if not values or 2 * len(values) < len(rows):
        return math.nan, math.nan, 0
    return statistics.mean(values), statistics.stdev(values) if len(values) > 1 else math.nan, len(values)
