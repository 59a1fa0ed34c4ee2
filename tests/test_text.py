import io
import sys
from types import SimpleNamespace

import pytest

from duonet.text import aligned, in_notebook, tell, visible, watched


@pytest.mark.parametrize(
    "text, shown",
    [
        ("cat", "cat"),
        ("naïve 犬 ½", "naïve 犬 ½"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("\x9b2J", "\\x9b2J"),
        ("a\rb\nc\td\0\x7f\x08", "a\\rb\\nc\\td\\x00\\x7f\\x08"),
        ("\u202egnp.exe\u2066", "\\u202egnp.exe\\u2066"),
        ("\udcff.png", "\\udcff.png"),
        ("a\\b", "a\\b"),
    ],
)
def test_what_does_not_print_is_made_visible(text, shown):
    assert visible(text) == shown and shown.isprintable()


def test_a_table_of_names_that_would_move_the_cursor_stays_a_table():
    lines = aligned([("class", "right"), ("\x1b[2Jcat", "1"), ("dog\nbird", "22")]).splitlines()
    assert len(lines) == 4 and len({len(line) for line in lines}) == 1
    assert lines[2].startswith("\\x1b[2Jcat ") and lines[3].startswith("dog\\nbird ")


def test_wide_letters_and_accents_do_not_shift_the_columns():
    lines = aligned([("class", "right"), ("犬", "1"), ("e\u0301", "22"), ("naïve", "ﾈｺ")]).splitlines()
    assert lines[1:] == ["-" * 12, "犬         1", "e\u0301         22", "naïve     ﾈｺ"]


def test_streams_that_are_closed_or_missing_are_not_watched(capsys, monkeypatch):
    closed = io.StringIO()
    closed.close()
    assert not watched(None) and not watched(closed) and not watched(io.StringIO())
    for stream in (None, closed):
        monkeypatch.setattr("sys.stdout", stream)
        tell("nobody hears this")
    monkeypatch.undo()
    tell("\x1b[1mheard")
    assert capsys.readouterr().out == "\\x1b[1mheard\n"


def test_only_a_kernel_that_runs_makes_a_notebook(monkeypatch):
    monkeypatch.setitem(sys.modules, "ipykernel", SimpleNamespace())
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    assert not in_notebook()
    for shell, found in ((None, False), (SimpleNamespace(), True)):
        monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda shell=shell: shell))
        assert in_notebook() is found
