"""The record of a training: one row of figures for each epoch."""

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from duonet.files import replacing


class History:
    """One row of figures for every finished epoch.

    Parameters
    ----------
    rows : iterable of dict
        The epochs so far.

    Examples
    --------
    >>> history = History()
    >>> history.append(epoch=1, loss=0.5)
    >>> history.append(epoch=2, loss=0.25)
    >>> history["loss"], len(history)
    ([0.5, 0.25], 2)
    """

    def __init__(self, rows: Iterable[dict[str, Any]] = ()):
        self.rows = list(rows)

    def append(self, **row: Any) -> None:
        """Add the figures of one epoch."""
        self.rows.append(row)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, name: str) -> list[Any]:
        """Return a column: a list with an entry, or None, for each epoch. KeyError if no epoch has the column."""
        if self.rows and not any(name in row for row in self.rows):
            raise KeyError(name)
        return [row.get(name) for row in self.rows]

    def save(self, path: str | Path) -> None:
        """Write the rows as CSV; the complete new file replaces an older file. A missing figure stays empty.

        Parameters
        ----------
        path : str or Path

        Raises
        ------
        OSError
            If the file cannot be written; an older file then stays.
        """
        columns = dict.fromkeys(name for row in self.rows for name in row)
        with replacing(path) as part, open(part, "w", newline="", encoding="utf-8") as file:
            if columns:
                writer = csv.DictWriter(file, columns)
                writer.writeheader()
                writer.writerows(self.rows)
