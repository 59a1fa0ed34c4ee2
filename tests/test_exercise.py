"""What `attempt` says of an open, a right and a wrong solution, in a line or two and without a traceback."""

import ast
import linecache
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from duonet.exercise import attempt, full_run

ROOT = Path(__file__).resolve().parents[1]


def cell(body, **names):
    """A check written in a cell, as a notebook has it: its lines can be read, and nobody rewrites its asserts."""
    text = "def check():\n    " + body.replace("\n", "\n    ")
    name = f"<cell {abs(hash(text))}>"
    linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
    namespace = {"np": np, **names}
    exec(compile(text, name, "exec"), namespace)
    return namespace["check"]


CASES = {
    "words and both sides": ("assert f(3) == 6, 'twice 3'", "twice 3\n    expected 6, got 9"),
    "no words": ("assert f(3) == 6", "f(3) == 6 does not hold\n    expected 6, got 9"),
    "several lines": ("x = 3\nassert (\n    f(x)\n    == 6\n), 'twice'", "twice\n    expected 6, got 9"),
    "the second of two": ("assert f(0) == 0 and f(1) == 2, 'twice'", "twice\n    expected 2, got 3"),
    "an inequality": ("assert f(1) < 2.5, 'small'", "small\n    expected f(1) < 2.5, got 3"),
    "in a loop": ("for k in (0, 4):\n    assert f(k) == 2 * k, 'twice'", "twice\n    expected 8, got 12"),
    "arrays": ("assert np.allclose(f(np.arange(2)), [0, 2]), 'twice'", "twice\n    expected [0, 2], got [0 3]"),
    "a shape": (
        "assert np.array_equal(f(np.ones(3)), np.ones(2)), 'two'",
        "two\n    expected the shape (2,), got (3,)",
    ),
    "no return": ("assert np.array_equal(None, np.ones(2)), 'two'", "two\n    expected the shape (2,), got None"),
    "many places": (
        "assert np.array_equal(f(np.arange(9)), 2 * np.arange(9)), 'twice'",
        "twice\n    expected 2, got 3 at [1], one of 8 places",
    ),
    "NumPy's own": ("np.testing.assert_allclose(f(2), 4, err_msg='twice')", "twice\n    expected 4, got 6"),
    "NumPy's, without words": (
        "np.testing.assert_array_equal(f(np.ones(2)), np.ones(3))",
        "another result than expected\n    expected the shape (3,), got (2,)",
    ),
    "neither holds when asked again": ("assert seen.pop() == 1, 'one'", "one"),
    "a generator": ("c = 2\nassert all(f(k) == c * k for k in (0, 1)), 'twice'", "twice"),
    "an error": ("{}['key']", "KeyError: 'key'\n    in check, line 2"),
    "an error without text": ("raise KeyError", "KeyError\n    in check, line 2"),
    "raised by hand": ("raise AssertionError('line one\\nline two')", "line one line two"),
}


@pytest.mark.parametrize("name", CASES)
def test_a_wrong_answer_is_told_what_was_expected_and_what_came(capsys, name):
    body, said = CASES[name]

    def f(x):
        return 3 * x

    attempt(cell(body, f=f, seen=[1, 2]))
    printed = capsys.readouterr().out
    assert printed.startswith("check: not right yet: ") and printed.count("\n") <= 2
    assert "Traceback" not in printed
    assert printed == f"check: not right yet: {said}\n"


def test_an_open_and_a_right_answer(capsys):
    attempt(cell("raise NotImplementedError"))
    attempt(cell("pass"))
    assert capsys.readouterr().out == "check: the exercise is still open\ncheck: solved\n"


def test_the_traceback_is_there_for_who_asks(capsys):
    with pytest.raises(ZeroDivisionError):
        attempt(cell("1 / 0"), traceback=True)
    assert capsys.readouterr().out == ""


def test_long_values_stay_short(capsys):
    attempt(cell("assert list(range(9999)) == [0], 'x' * 999"))
    assert max(map(len, capsys.readouterr().out.splitlines())) < 300


def reached():
    """The functions that check an exercise: those of tutorials that `attempt` gets, and all of public tests."""
    for path in sorted((ROOT / "tutorials" / "src").glob("*.py")):
        text = path.read_text(encoding="utf-8")
        names = set(re.findall(r"^attempt\((\w+)\)", text, re.M))
        assert len(names) >= 3, path
        yield from ((path, f) for f in ast.parse(text).body if getattr(f, "name", None) in names)
    for path in sorted((ROOT / "tutorials" / "assignments").glob("*/test_public.py")):
        yield from ((path, f) for f in ast.parse(path.read_bytes()).body if isinstance(f, ast.FunctionDef))


def wordless(path, node):
    """Whether a check fails without words of its own: pytest shows what NumPy compares, `attempt` does not."""
    if isinstance(node, ast.Assert):
        return node.msg is None or isinstance(node.msg, ast.Tuple)
    compares = isinstance(node, ast.Call) and ast.unparse(node.func).startswith("np.testing.assert_")
    return compares and "test_" not in path.name and "err_msg" not in [word.arg for word in node.keywords]


def test_every_assert_that_an_exercise_can_reach_has_words():
    bare = [
        f"{path.name}:{node.lineno}"
        for path, function in reached()
        for node in ast.walk(function)
        if wordless(path, node)
    ]
    assert not bare


@pytest.mark.parametrize(
    ("platform", "full"), [("linux", True), ("win32", True), ("emscripten", False), ("wasi", False)]
)
def test_a_notebook_trains_less_in_webassembly_unless_it_is_told_otherwise(monkeypatch, platform, full):
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.delenv("DUONET_TUTORIALS", raising=False)
    assert full_run() is full
    for word in ("full", "small"):
        monkeypatch.setenv("DUONET_TUTORIALS", word)
        assert full_run() is (word == "full")
    monkeypatch.setenv("DUONET_TUTORIALS", "smal")
    with pytest.raises(ValueError, match="full_run: DUONET_TUTORIALS must be one of .*did you mean 'small'"):
        full_run()
