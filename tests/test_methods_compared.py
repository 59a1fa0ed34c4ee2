"""The page of the comparison shows what was kept, table by table."""

import importlib.util
from pathlib import Path

import pytest

import duonet
from duonet.experiments import contest_tables

ROOT = Path(duonet.__file__).parent.parent
PAGE = ROOT / "docs" / "methods_compared.md"


@pytest.fixture
def tool():
    spec = importlib.util.spec_from_file_location("render_contest", ROOT / "tools" / "render_contest.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_shows_what_was_kept(tool):
    studies, text = tool.kept(), PAGE.read_text(encoding="utf-8")
    assert studies and tool.page(text, studies) == text, "stale: python tools/render_contest.py"
    for name, results in studies:
        assert results["complete"] and not results["failed"]
        for table in contest_tables(results).values():
            assert table in text, name
        assert f"(methods_compared_{name}.png)" in text and f"(methods_compared_{name}.json)" in text


def test_a_table_takes_the_place_of_an_old_one_and_no_more(tool, monkeypatch):
    monkeypatch.setattr(tool, "contest_tables", lambda results: {"costs": results, "rates": "none"})
    page = "above\n<!-- a costs -->\nold\n<!-- end -->\nbelow\n<!-- b costs -->\nkept\n<!-- end -->\n"
    once = tool.page(page, [("a", "1  2")])
    assert once == page.replace("old", "```text\n1  2\n```")
    assert tool.page(once, [("a", "1  2")]) == once
