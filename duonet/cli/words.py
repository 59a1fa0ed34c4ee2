"""The messages of commands when something goes wrong."""

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from duonet.text import visible

# One line tells of these errors; any other is a fault in the code.
EXPECTED = (ValueError, OSError, RuntimeError, ArithmeticError, MemoryError)
REASONS = {
    errno.ENOENT: "there is no such file or folder",
    errno.EISDIR: "is a folder, where a file is expected",
    errno.ENOTDIR: "cannot be there: a part of the path is a file, not a folder",
    errno.EACCES: "there is no permission to open it",
    errno.EPERM: "there is no permission to change it",
    errno.EEXIST: "exists already",
    errno.ENOSPC: "the disk is full",
    errno.EROFS: "the disk cannot be written to",
    errno.ENAMETOOLONG: "the name is too long",
    errno.ELOOP: "is a link that leads back to itself",
}


def said(error: BaseException, command: str = "") -> str:
    """Describe an error in one line of words, which is never empty.

    Parameters
    ----------
    error : Exception
    command : str
        The command's name, which begins the line, once.

    Returns
    -------
    str

    Examples
    --------
    >>> said(FileNotFoundError(errno.ENOENT, "No such file or directory", "nosuch"), "evaluate")
    'evaluate: nosuch: there is no such file or folder'
    >>> said(MemoryError())
    'memory is used up'
    """
    if isinstance(error, OSError) and error.errno is not None:
        text = ": ".join(filter(None, (command, str(error.filename or ""), _reason(error))))
    elif isinstance(error, MemoryError):
        text = _after(command, str(error) or "memory is used up")
    else:
        text = _after(command, str(error) or type(error).__name__)
    return visible(text)


def _after(command, text):
    return text if not command or text.startswith(f"{command}: ") else f"{command}: {text}"


def _reason(error):
    """Return the words for a number of the system's errors; words that the package chose stay."""
    if error.errno in REASONS and error.strerror in (None, os.strerror(error.errno)):
        return REASONS[error.errno]
    words = error.strerror or type(error).__name__
    return words[0].lower() + words[1:]


def check_figure(command: str, flag: str, path: Path | None) -> None:
    """Refuse the file of a figure if its format is unknown, before anything is computed.

    Parameters
    ----------
    command, flag : str
    path : Path or None
        A path without a suffix will be a PNG file.

    Raises
    ------
    ValueError
        If matplotlib has no format with the path's suffix.

    Examples
    --------
    >>> check_figure("methods", "--draw", Path("a.txt"))
    Traceback (most recent call last):
        ...
    ValueError: methods: --draw must end in .png, .pdf, .svg or the like, got a.txt
    """
    if path is not None and path.suffix:
        from matplotlib.backend_bases import FigureCanvasBase

        if path.suffix[1:].lower() not in FigureCanvasBase.get_supported_filetypes():
            raise ValueError(f"{command}: {flag} must end in .png, .pdf, .svg or the like, got {path}")


@contextlib.contextmanager
def words_for(command: str, out: Path) -> Iterator[None]:
    """Describe in words any problem with the folder of results.

    Parameters
    ----------
    command : str
    out : Path
        The folder.

    Yields
    ------
    None

    Raises
    ------
    ValueError
        In place of an OSError, except a broken pipe.

    Examples
    --------
    >>> with words_for("sweep", Path("grid")):
    ...     raise FileExistsError
    Traceback (most recent call last):
        ...
    ValueError: sweep: --out grid exists; give a new folder, so that no result is overwritten
    """
    try:
        yield
    except FileExistsError:
        raise ValueError(
            f"{command}: --out {out} exists; give a new folder, so that no result is overwritten"
        ) from None
    except BrokenPipeError:
        raise
    except OSError as error:
        raise ValueError(f"{command}: --out {out} cannot be written: {said(error)}") from None
