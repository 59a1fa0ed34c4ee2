"""Text for a terminal: tables, lines, and names without control codes."""

import sys
import unicodedata
from collections.abc import Iterable, Sequence
from typing import TextIO


def visible(text: str) -> str:
    r"""Write unprintable characters as escapes: a name from elsewhere may hold codes that move the cursor.

    Parameters
    ----------
    text : str

    Returns
    -------
    str
        One line; a line break becomes an escape as well.

    Examples
    --------
    >>> print(visible("\x1b[2Jcat"))
    \x1b[2Jcat
    >>> visible("naïve, 犬")
    'naïve, 犬'
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def watched(stream: TextIO | None) -> bool:
    """Return whether a stream is an open terminal, which can show progress.

    Parameters
    ----------
    stream : file or None
        Such as `sys.stderr`, which is None in a program without a console.

    Returns
    -------
    bool

    Examples
    --------
    >>> watched(None)
    False
    """
    return stream is not None and not stream.closed and stream.isatty()


def in_notebook() -> bool:
    """Return whether a kernel of Jupyter runs this program; to import one is not enough.

    Returns
    -------
    bool

    Examples
    --------
    >>> in_notebook()
    False
    """
    shell = getattr(sys.modules.get("IPython"), "get_ipython", None)
    return "ipykernel" in sys.modules and shell is not None and shell() is not None


def tell(line: str) -> None:
    """Print a line at once, unless standard output is missing or closed.

    Parameters
    ----------
    line : str

    Examples
    --------
    >>> tell("epoch 1")
    epoch 1
    """
    if sys.stdout is not None and not sys.stdout.closed:
        print(visible(line), flush=True)


def aligned(rows: Iterable[Sequence[str]]) -> str:
    """Lay out rows of words as a table: first column flush left, the others flush right, a rule under the header.

    Parameters
    ----------
    rows : list of sequence of str
        The first row is the header.

    Returns
    -------
    str

    Examples
    --------
    >>> print(aligned([("layer", "cosine"), ("conv1", "0.9")]))
    layer  cosine
    -------------
    conv1     0.9
    """
    rows = [[visible(word) for word in row] for row in rows]
    widths = [max(map(_columns, column)) for column in zip(*rows)]
    lines = []
    for row in rows:
        (first, space), *rest = [(word, " " * (width - _columns(word))) for word, width in zip(row, widths)]
        lines.append("  ".join([first + space, *(space + word for word, space in rest)]))
    lines.insert(1, "-" * _columns(lines[0]))
    return "\n".join(lines)


def _columns(text):
    """Return how many columns a terminal needs: two for a wide letter, none for an accent on the one before."""
    return sum(
        0 if unicodedata.category(c) in ("Mn", "Me") else 1 + (unicodedata.east_asian_width(c) in "WF")
        for c in text
    )


def printable(text: str, limit: int = 400) -> str:
    r"""Make text from elsewhere safe for a terminal: one line, no control codes.

    Parameters
    ----------
    text : str
    limit : int
        Characters to keep.

    Returns
    -------
    str

    Examples
    --------
    >>> print(printable("404\x1b[2J Not\n Found"))
    404\x1b[2J Not Found
    """
    line = visible(" ".join(text.split()))
    return line if len(line) <= limit else f"{line[:limit]}..."
