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
    """Stand in for characters that an encoding lacks: by words where there are some, else by their escape."""
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


def answer(as_json: bool, values: Any, text: str | None) -> None:
    """Print what a command found, as text or as JSON.

    Parameters
    ----------
    as_json : bool
    values : object
        What JSON can hold.
    text : str or None
        None prints nothing.
    """
    if as_json:
        print(json.dumps(values, indent=1), flush=True)
    elif text is not None:
        print(text, flush=True)
