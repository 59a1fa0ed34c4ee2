"""The flat records that the mismatch study keeps, and their mean and spread over seeds."""

import contextlib
import dataclasses
import functools
import json
import math
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from duonet.experiments.crew import Crew, Task
from duonet.experiments.studies import Study
from duonet.mismatch import Mismatch
from duonet.mismatch.report import LayerMismatch
from duonet.progress import tqdm_bar
from duonet.text import tell, watched

HALF_WIDTH, NOISE = 0.25, 0.8  # a cosine counts if its interval and its share of noise are no larger than these


@dataclasses.dataclass(frozen=True)
class Part:
    """An independent piece of the study: it can be pickled, and finds the same rows in any order and any process.

    Attributes
    ----------
    name : str
    where : dict
        Values that the part's rows have, and no other rows.
    work : callable
        Returns the part's rows, as `record` makes them. Takes the path of `folder`, if there is one, and `tick`, a
        function to call with each share of the work that is done.
    folder : str or None
        Folder of the run that the part measures.
    """

    name: str
    where: dict[str, Any]
    work: Callable[..., list[dict[str, Any]]]
    folder: str | None = None


class Records(Study):
    """Rows of every measurement, kept part by part: a study that was stopped continues with its missing parts.

    Parameters
    ----------
    settings : dataclass
    out : str or Path
        A new folder, or the folder of a study with the same settings.
    fresh : dict
        As in `Study`.
    parts : list of Part
        In the order of their rows in the results, whichever is finished first.
    progress : bool
        As in `Study`.
    """

    def __init__(
        self, settings: Any, out: str | Path, fresh: dict[str, Any], parts: list[Part], progress: bool = False
    ) -> None:
        settings = json.loads(json.dumps(dataclasses.asdict(settings)))  # as a file holds them
        kept: dict[str, Any] = {"records": [], "finished": []}
        super().__init__("mismatch", out, settings, fresh, kept, None, progress)  # some thousand records on a line
        self.parts = parts

    def measure(self, crew: Crew, progress: bool) -> dict[str, Any]:
        """Measure the parts that are not finished.

        Parameters
        ----------
        crew : Crew
        progress : bool
            Show a bar in a terminal; elsewhere print a line for each part.

        Returns
        -------
        dict
            The content of results.json; if a crew shared the parts, `failed` has the error of each failed part.

        Raises
        ------
        Exception
            The error of the first part that fails, if this process does all parts.
        """
        waiting = {part.name: part for part in self.parts if part.name not in self.values["finished"]}
        failed: dict[str, str] = {}
        self.values.pop("failed", None)
        done = len(self.parts) - len(waiting)
        for task, rows, error in crew.each(self._tasks(waiting, crew, progress), "mismatch", done, progress):
            if error is not None and crew.alone:
                raise error
            if error is not None:
                failed[task.name] = f"{type(error).__name__}: {error}"
            else:
                self.keep(waiting[task.name], rows)
        if not failed:
            return self.finish()
        self.values["failed"] = failed
        self.save()
        return self.values

    def _tasks(self, waiting, crew, progress):
        for i, part in enumerate(self.parts):
            if part.name in waiting:
                with _bar(f"{i + 1} of {len(self.parts)}: {part.name}", progress and crew.alone) as tick:
                    work = functools.partial(part.work, tick=tick) if crew.alone else part.work
                    yield Task(part.name, work, folder=part.folder and self.out / part.folder)

    def keep(self, part: Part, rows: list[dict[str, Any]]) -> None:
        """Keep the rows of one part, at its place among the others.

        Parameters
        ----------
        part : Part
        rows : list of dict
        """
        found = {"records": self.values["records"] + rows}
        done = {*self.values["finished"], part.name}
        self.values["records"] = [row for each in self.parts for row in rows_of(found, **each.where)]
        self.values["finished"] = [each.name for each in self.parts if each.name in done]
        self.save()


def unheard(share: float) -> None:
    """Ignore the share of a part's work that is done.

    Parameters
    ----------
    share : float
        From 0 to 1.
    """


def record(kind: str, row: LayerMismatch, **where: Any) -> dict[str, Any]:
    """Make a record of one layer's mismatch, and of where it was measured.

    Parameters
    ----------
    kind : {"truth", "toy", "evolution", "network"}
    row : LayerMismatch
    **where
        Seed, network, step and others.

    Returns
    -------
    dict
        Of types that JSON has.
    """
    (values,) = Mismatch([row]).to_dict()["layers"]
    # Six digits: more than the noise leaves, and a file half the size.
    return {
        name: float(f"{value:.6g}") if isinstance(value, float) else value
        for name, value in {"kind": kind, **where, **values}.items()
    }


@contextlib.contextmanager
def _bar(label, progress):
    """Show a bar that the yielded function advances by shares of the whole, or one line outside a terminal."""
    seen = watched(sys.stderr)
    if progress and not seen:
        tell(label)
    form = "{desc} {percentage:3.0f}%|{bar:30}| {elapsed}"
    with tqdm_bar(total=1.0, desc=label, bar_format=form, disable=not (progress and seen), leave=False) as bar:
        yield bar.update


def rows_of(results: dict[str, Any], kind: str, **where: Any) -> list[dict[str, Any]]:
    """List the records of a kind that agree with `where`.

    Parameters
    ----------
    results : dict
        The content of results.json.
    kind : {"truth", "toy", "evolution", "network"}
    **where
        Values that the records must have.

    Returns
    -------
    list of dict

    Examples
    --------
    >>> rows_of({"records": [{"kind": "toy", "seed": 0}, {"kind": "toy", "seed": 1}]}, "toy", seed=1)
    [{'kind': 'toy', 'seed': 1}]
    """
    return [
        row
        for row in results["records"]
        if row["kind"] == kind and all(row[name] == value for name, value in where.items())
    ]


def told_from_noise(row: dict[str, Any]) -> bool:
    """Tell whether a record's cosine stands out from noise, by its interval and by the gradients' own noise.

    Parameters
    ----------
    row : dict
        With `cosine`, `low`, `high`, `coarse_noise` and `noise`.

    Returns
    -------
    bool

    Examples
    --------
    >>> row = {"cosine": 0.5, "low": 0.4, "high": 0.6, "coarse_noise": 0.1, "noise": 0.3}
    >>> told_from_noise(row), told_from_noise(row | {"noise": 0.9})
    (True, False)
    """
    if any(row[name] is None for name in ("cosine", "low", "high", "coarse_noise", "noise")):
        return False
    wide = max(row["cosine"] - row["low"], row["high"] - row["cosine"]) > HALF_WIDTH
    return not wide and max(row["coarse_noise"], row["noise"]) <= NOISE


def spread(rows: list[dict[str, Any]]) -> tuple[float, float, int]:
    """Return mean, standard deviation (NaN for one seed) and number of the cosines that stand out from noise.

    Parameters
    ----------
    rows : list of dict
        Records, one for each seed.

    Returns
    -------
    tuple
        (NaN, NaN, 0) if fewer than half of the cosines stand out from noise.
    """
    values = [row["cosine"] for row in rows if told_from_noise(row)]
    if not values or 2 * len(values) < len(rows):
        return math.nan, math.nan, 0
    return statistics.mean(values), statistics.stdev(values) if len(values) > 1 else math.nan, len(values)
