"""Say how far the grading of a class is: by a bar for whoever watches, by lines for whoever reads later."""

import contextlib
import sys
import time

from duonet.progress import tqdm_bar
from duonet.text import watched

SECONDS = 5.0  # between two lines


class Progress:
    """Count submissions on standard error; with one submission alone, say nothing.

    Parameters
    ----------
    total : int
        Submissions.
    """

    def __init__(self, total):
        self.total, self.done, self.said = total, 0, time.monotonic()
        seen = total > 1 and watched(sys.stderr)
        self.bar = tqdm_bar(total=total, desc="graded", unit="", leave=False, file=sys.stderr) if seen else None

    def __enter__(self):
        return self

    def __exit__(self, *error):
        if self.bar is not None:
            self.bar.close()

    def advance(self):
        """Count a submission; any thread may."""
        self.done += 1
        if self.bar is not None:
            self.bar.update()
        elif self.total > 1 and (self.done == self.total or time.monotonic() - self.said >= SECONDS):
            self.said = time.monotonic()
            with contextlib.suppress(OSError, ValueError, AttributeError):  # a closed stream, or none
                print(f"graded {self.done} of {self.total}", file=sys.stderr, flush=True)

    def aside(self):
        """Give a context in which something else can be printed."""
        return contextlib.nullcontext() if self.bar is None else self.bar.external_write_mode(file=sys.stdout)
