"""Output that any terminal, file or missing stream can take, while a command runs."""

import codecs
import contextlib
import io
import os
import sys
from collections.abc import Iterator

READABLE = {
    "±": "+-", "×": "x", "·": ".", "½": "1/2", "¼": "1/4", "¾": "3/4", "ε": "eps", "σ": "sigma", "∞": "inf",
    "−": "-", "–": "-", "—": "-", "…": "...", "→": "->", "≤": "<=", "≥": ">=", "█": "#",
}  # fmt: skip


def _readable(error):
    """Stand in for characters that an encoding lacks: by words where there are some, else by their escape."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(READABLE.get(c) or c.encode("unicode_escape").decode("ascii") for c in lacking), error.end


codecs.register_error("duonet.readable", _readable)


@contextlib.contextmanager
def usable() -> Iterator[None]:
    """Let stdout and stderr take all text; closed or missing, they swallow it. Both are put back afterwards.

    Yields
    ------
    None
    """
    with contextlib.ExitStack() as stack:
        # A closed descriptor 1 or 2 would go to the next file that is opened, and receive what others print.
        while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
            stack.callback(os.close, descriptor)
        os.close(descriptor)
        for name in ("stdout", "stderr"):
            stack.enter_context(_usable(name))
        yield


@contextlib.contextmanager
def _usable(name):
    stream = getattr(sys, name)
    if stream is None or stream.closed:
        with open(os.devnull, "w", encoding="utf-8") as sink:
            setattr(sys, name, sink)
            try:
                yield
            finally:
                setattr(sys, name, stream)
    elif isinstance(stream, io.TextIOWrapper):
        errors = stream.errors
        stream.reconfigure(errors="duonet.readable")
        try:
            yield
        finally:
            _restore(stream, errors)
    else:  # a notebook's, which takes everything
        yield


def _restore(stream, errors):
    """Flush, and let a stream whose reader is gone or whose disk is full lose the rest without a word at exit."""
    if stream.closed:
        return
    try:
        stream.reconfigure(errors=errors)
    except OSError:
        with open(os.devnull, "w") as sink:
            os.dup2(sink.fileno(), stream.fileno())
        stream.reconfigure(errors=errors)


def complain(text: str) -> None:
    """Print a line to stderr, unless nobody can hear it.

    Parameters
    ----------
    text : str
    """
    with contextlib.suppress(OSError):
        print(text, file=sys.stderr, flush=True)
