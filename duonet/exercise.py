"""Notebooks: a missing answer is not an error, a wrong answer gets a hint, and a browser gets less work."""

import ast
import linecache
import os
import sys
import traceback as tracebacks
from collections.abc import Callable
from types import FrameType
from typing import Any

import numpy as np

from duonet.arguments import one_of

LONGEST = 240  # characters of a hint
COMPARED = ("allclose", "array_equal", "isclose")  # NumPy's functions of an answer and the expected value


def attempt(check: Callable[[], object], traceback: bool = False) -> None:
    """Run the check of an exercise, and print that it is still open or solved, or the mistake.

    Parameters
    ----------
    check : callable
        Takes no argument; calls the reader's code, and raises an error if the code is wrong. The hint is the text
        of its `assert`, or of the error.
    traceback : bool
        Raise the error of a wrong answer, so that Python shows its origin.

    Raises
    ------
    Exception
        From `check`, only with `traceback`; NotImplementedError always means "not done yet".

    Examples
    --------
    >>> def double(x):
    ...     raise NotImplementedError
    >>> def check_double():
    ...     assert double(3) == 6, "twice 3"
    >>> attempt(check_double)
    check_double: the exercise is still open
    >>> double = lambda x: 3 * x
    >>> attempt(check_double)
    check_double: not right yet: twice 3
        expected 6, got 9
    >>> double = lambda x: 2 * x
    >>> attempt(check_double)
    check_double: solved
    """
    try:
        check()
    except NotImplementedError:
        print(f"{check.__name__}: the exercise is still open")
    except Exception as error:
        if traceback:
            raise
        print(f"{check.__name__}: not right yet: {_explained(error)}")
    else:
        print(f"{check.__name__}: solved")


def full_run() -> bool:
    """Return whether a notebook trains as long as its text states; in WebAssembly, in a browser, it trains less.

    The environment variable `DUONET_TUTORIALS` overrides this with `full` or `small`.

    Returns
    -------
    bool

    Raises
    ------
    ValueError
        If the variable has another value.

    Examples
    --------
    >>> EPOCHS = 6 if full_run() else 1
    """
    here = "small" if sys.platform in ("emscripten", "wasi") else "full"
    asked = os.environ.get("DUONET_TUTORIALS", here)
    return one_of("full_run", "DUONET_TUTORIALS", asked, ("full", "small")) == "full"


def _explained(error: Exception) -> str:
    """Return the hint and, where a comparison failed, the expected value and the answer."""
    frame, line = list(tracebacks.walk_tb(error.__traceback__))[-1]
    for caller, _ in tracebacks.walk_tb(error.__traceback__):
        if {"actual", "desired", "err_msg"} <= caller.f_locals.keys():  # one of numpy.testing
            found = caller.f_locals
            hint = found["err_msg"] or "another result than expected"
            return f"{hint}\n    {_difference(found['desired'], found['actual'])}"
    text = " ".join(str(error).split())[:LONGEST]
    if not isinstance(error, AssertionError):
        return f"{type(error).__name__}{': ' * bool(text)}{text}\n    in {frame.f_code.co_name}, line {line}"
    test = _asserted(frame, line)
    if test is None:
        return text or "a condition does not hold"
    values = _values(test, frame)
    return "\n    ".join(filter(None, [text or f"{ast.unparse(test)[:LONGEST]} does not hold", values]))


def _asserted(frame: FrameType, line: int) -> ast.expr | None:
    """Return the condition of the `assert` at this line, or None if its source cannot be read."""
    try:
        tree = ast.parse("".join(linecache.getlines(frame.f_code.co_filename)))
    except SyntaxError:
        return None
    at = (n for n in ast.walk(tree) if isinstance(n, ast.Assert) and n.lineno <= line <= (n.end_lineno or 0))
    return next((node.test for node in at), None)


def _values(test: ast.expr, frame: FrameType) -> str:
    """Name the expected value and the answer; "" if the condition holds when it is computed again."""

    def value(node: ast.expr) -> Any:
        return eval(compile(ast.Expression(node), "<assert>", "eval"), frame.f_globals | frame.f_locals)

    try:
        if isinstance(test, ast.BoolOp) and isinstance(test.op, ast.And):
            return next((_values(part, frame) for part in test.values if not value(part)), "")
        if value(test):
            return ""
        if isinstance(test, ast.Compare) and len(test.ops) == 1:
            got, expected = value(test.left), value(test.comparators[0])
            if isinstance(test.ops[0], ast.Eq):
                return _difference(expected, got)
            return f"expected {ast.unparse(test)[:LONGEST]}, got {_short(got)}"
        if isinstance(test, ast.Call) and getattr(test.func, "attr", "") in COMPARED and len(test.args) == 2:
            return _difference(value(test.args[1]), value(test.args[0]))
    except Exception:  # any error of the reader's code in its second call
        pass
    return ""


def _difference(expected: Any, got: Any) -> str:
    """Name the expected value and the answer; for large arrays, those at the first difference."""
    try:
        a, b = np.asarray(expected), np.asarray(got)
        if a.shape != b.shape and a.ndim:
            return f"expected the shape {a.shape}, got {b.shape if b.ndim else _short(got)}"
        if a.size > 6:
            apart = np.argwhere(~np.isclose(a, b, rtol=1e-9, atol=1e-12, equal_nan=True))
            place = tuple(apart[0].tolist())
            places = f"at {list(place)}, one of {len(apart)} places"
            return f"expected {_short(a[place])}, got {_short(b[place])} {places}"
    except (TypeError, ValueError, IndexError):
        pass
    return f"expected {_short(expected)}, got {_short(got)}"


def _short(value: Any) -> str:
    """Return a value in one line."""
    with np.printoptions(precision=6, threshold=6):
        text = str(value) if isinstance(value, (np.ndarray, np.generic)) else repr(value)
    return " ".join(text.split())[:80]
