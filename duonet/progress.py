"""Progress of an epoch, shown while it runs."""

import sys
import time
from typing import Any

from duonet import workers
from duonet.text import in_notebook, tell, watched

REFRESH_SECONDS = 0.5
LINE_SECONDS = 30  # between lines in a file or a pipe, where no bar is drawn


class Bar:
    """Progress of an epoch: a tqdm bar in a terminal or notebook, else a line at its end and every half minute.

    Parameters
    ----------
    text : str
    images : int
        The number of images of the epoch.
    progress : bool
        If False, nothing is shown.
    """

    def __init__(self, text: str, images: int, progress: bool):
        self.text, self.images, self.progress = text, images, progress
        self.last = self.told = time.perf_counter()
        self.done = 0
        self.bar = None

    def __enter__(self) -> "Bar":
        seen = watched(sys.stderr) or in_notebook()
        if self.progress and seen:
            self.bar = tqdm_bar(total=self.images, desc=self.text, unit=" images", leave=False, mininterval=0)
        return self

    def __exit__(self, *error: object) -> None:
        if self.bar is not None:
            self.bar.close()

    def due(self) -> bool:
        """Return whether it is time to show new figures."""
        return time.perf_counter() - self.last > REFRESH_SECONDS

    def advance(self, images: int, totals: Any) -> None:
        """Count images, and show the score of `totals.read()` when it is time."""
        self.done += images
        if not self.due() and self.done < self.images:
            return
        self.last = time.perf_counter()
        if self.bar is None:
            if self.progress and self.last - self.told > LINE_SECONDS:
                self.told = self.last
                score = totals.read()
                tell(f"{self.text}: {self.done:,} of {self.images:,} images, {_said(score.loss, score.accuracy)}")
        else:
            score = totals.read()
            self.bar.set_postfix_str(_said(score.loss, score.accuracy), refresh=False)
            self.bar.update(self.done - self.bar.n)

    def summarise(self, row: dict[str, Any]) -> None:
        """Print the epoch's figures."""
        if not self.progress:
            return
        line = f"{self.text}: {_said(row['loss'], row['accuracy'])}"
        if row.get("val_accuracy") is not None:
            line += f", validation {100 * row['val_accuracy']:.1f} %"
        line += f", {self.images / row['seconds']:.0f} images/s"
        if self.bar is None:
            tell(line)
        else:
            self.bar.write(line)


class Tally:
    """The number of finished tasks: a tqdm bar in a terminal or notebook, else a line for each task.

    Parameters
    ----------
    title : str
    done, total : int
        The number of tasks that were finished before, and of all tasks.
    progress : bool
        If False, nothing is shown.

    Examples
    --------
    >>> with Tally("study", 1, 2, progress=True) as tally:
    ...     tally.add("float-1", failed=False)
    2 of 2: float-1
    """

    def __init__(self, title: str, done: int, total: int, progress: bool):
        self.done, self.total, self.progress = done, total, progress
        self.earlier, self.failed, self.started = done, 0, time.perf_counter()
        self.bar = None
        if progress and (watched(sys.stderr) or in_notebook()):
            self.bar = tqdm_bar(total=total, initial=done, desc=title, unit=" tasks", mininterval=0, smoothing=0)

    def __enter__(self) -> "Tally":
        return self

    def __exit__(self, *error: object) -> None:
        if self.bar is not None:
            self.bar.close()

    def show(self) -> None:
        """Update the clock of the bar."""
        if self.bar is not None:
            self.bar.refresh()

    def add(self, name: str, failed: bool) -> None:
        """Count a finished task, and show its name."""
        self.done += 1
        self.failed += failed
        if self.bar is not None:
            if failed:
                self.bar.set_postfix_str(f"{self.failed} failed", refresh=False)
            self.bar.update()
        elif self.progress:
            left = (time.perf_counter() - self.started) / (self.done - self.earlier) * (self.total - self.done)
            about = f"{left:.0f} s" if left < 100 else f"{left / 60:.0f} min"
            more = f"; about {about} left" if self.done < self.total else ""
            tell(f"{self.done} of {self.total}: {name}{' failed' if failed else ''}{more}")


def tqdm_bar(**options: Any) -> Any:
    """Return a tqdm bar, without its monitor thread if no thread can be started.

    Parameters
    ----------
    **options
        The arguments of `tqdm.tqdm`.

    Returns
    -------
    tqdm.tqdm

    Examples
    --------
    >>> with tqdm_bar(total=2, disable=True) as bar:
    ...     bar.total
    2
    """
    from tqdm.auto import tqdm

    if not workers.can_start():
        tqdm.monitor_interval = 0
    return tqdm(**options)


def _said(loss, accuracy):
    return f"loss {loss:.3f}" + ("" if accuracy is None else f", accuracy {100 * accuracy:.1f} %")
