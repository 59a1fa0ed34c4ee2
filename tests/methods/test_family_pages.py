"""The pages of the families: each method stands on one of them, and what they show runs."""

import doctest
import re
from pathlib import Path

import pytest

from duonet import methods

DOCS = Path(__file__).parents[2] / "docs"
PAGES = {
    path.stem: path.read_text(encoding="utf-8")
    for path in sorted(DOCS.glob("methods_*.md"))
    if path.stem != "methods_compared"  # the comparison of all families
}


@pytest.mark.parametrize("name", PAGES)
def test_what_a_page_shows_runs(name):
    blocks = re.findall(r"^```python\n(.*?)^```", PAGES[name], re.M | re.S)
    assert blocks
    parser, runner = doctest.DocTestParser(), doctest.DocTestRunner()
    for block in blocks:
        runner.run(parser.get_doctest(block, {}, name, name, 0))
    assert runner.summarize().failed == 0


@pytest.mark.parametrize("name", PAGES)
def test_a_page_has_two_screens_at_most_a_picture_and_a_formula_for_each_method(name):
    text = PAGES[name]
    assert text.count("\n") <= 70 and (DOCS / f"{name}.png").exists() and f"]({name}.png)" in text
    assert name in (DOCS / "methods.md").read_text(encoding="utf-8").split("toctree")[1]


def test_every_method_stands_in_one_table():
    rows = [line.split("|")[1] for text in PAGES.values() for line in text.splitlines() if line.startswith("| `")]
    named = [name for row in rows for name in re.findall(r"`([^`]+)`", row)]
    assert sorted(named) == sorted(entry.name for entry in methods.entries())
