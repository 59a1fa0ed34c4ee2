"""Output that any terminal, file or missing stream can take, while a command runs."""

import codecs
import contextlib
import io
import json
import os
import sys
import unicodedata
from collections.abc import Iterator
from typing import Any

READABLE = {
    "±": "+-", "×": "x", "·": ".", "½": "1/2", "¼": "1/4", "¾": "3/4", "ε": "eps", "σ": "sigma", "∞": "inf",
    "−": "-", "–": "-", "—": "-", "…": "...", "→": "->", "≤": "<=", "≥": ">=", "█": "#",
    "√": "sqrt ", "∂": "d", "←": "<-", "⌈": "ceil(", "⌉": ")", "⌊": "floor(", "⌋": ")", "‖": "||", "°": " degrees",
    "∗": "*", "∫": "integral ", "∓": "-+", "ŵ": "w^", "Ŵ": "W^", "\u0302": "^", "\u0303": "~",
}  # fmt: skip

MARKS = {"<super>": "^", "<sub>": "_", "<fraction>": ""}


def _readable(error):
    """Replace characters that an encoding lacks: by words if there are some, else by an escape."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(map(_in_words, lacking)), error.end


def _in_words(character):
    if character in READABLE:
        return READABLE[character]
    kind, *parts = unicodedata.decomposition(character).split() or [""]
    if kind in MARKS:
        text = "".join(chr(int(part, 16)) for part in parts)
        return MARKS[kind] + text.replace("\u2044", "/").replace("\u2212", "-")
    name = unicodedata.name(character, "")
    if name.startswith("GREEK"):
        return name.split()[-1].lower() if "SMALL" in name else name.split()[-1].capitalize()
    return character.encode("unicode_escape").decode("ascii")


codecs.register_error("duonet.readable", _readable)


@contextlib.contextmanager
def usable() -> Iterator[None]:
    """Let stdout and stderr take all text; a closed or missing one swallows it. Both are restored afterwards.

    Yields
    ------
    None
    """
    with contextlib.ExitStack() as stack:
        # The next file to be opened would get a closed descriptor 1 or 2, and receive what other code prints.
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
    """Flush; if the stream's reader is gone or the disk is full, the rest is lost without a message at exit."""
    if stream.closed:
        return
    try:
        stream.reconfigure(errors=errors)
    except OSError:
        with open(os.devnull, "w") as sink:
            os.dup2(sink.fileno(), stream.fileno())
        stream.reconfigure(errors=errors)


def complain(text: str) -> None:
    """Print a line to stderr, if it can be written to.

    Parameters
    ----------
    text : str
    """
    with contextlib.suppress(OSError):
        print(text, file=sys.stderr, flush=True)


def answer(as_json: bool, values: Any, text: str | None) -> None:
    """Print the result of a command, as text or as JSON.

    Parameters
    ----------
    as_json : bool
    values : object
        The result, of types that JSON has.
    text : str or None
        The result as text; None prints nothing.

    Examples
    --------
    >>> answer(True, {"images": 600}, "600 images")
    {
     "images": 600
    }
    >>> answer(False, {"images": 600}, "600 images")
    600 images
    """
    if as_json:
        print(json.dumps(values, indent=1), flush=True)
    elif text is not None:
        print(text, flush=True)
