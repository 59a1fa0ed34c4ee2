"""The page of the comparison shows what was kept, table by table."""

import importlib.util
import json
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


@pytest.mark.parametrize(
    "words, said",
    [
        (["binary"], "contest: expected NAME=FOLDER, got 'binary'"),
        (["../a=runs"], "contest: expected NAME=FOLDER, got '../a=runs'"),
        (["new={kept}", "binary={bad}"], "bad is not a JSON file"),
        (["binary={short}"], "row binaryduo must have an accuracy for each of its seeds"),
        (["binary={kept}"], "methods_compared.md must end <!-- binary accuracy --> by <!-- end -->"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_written(words, said, tool, tmp_path, monkeypatch):
    files, docs = tmp_path / "files", tmp_path / "docs"
    files.mkdir(), docs.mkdir()
    kept = (ROOT / "docs" / "methods_compared_binary.json").read_text()
    short = json.loads(kept)
    del short["methods"]["binaryduo"]["seeds"][1:]
    for name, text in (("kept", kept), ("bad", kept[:99]), ("short", json.dumps(short))):
        (files / name).write_text(text)
    (docs / "methods_compared.md").write_text("<!-- binary accuracy -->\n")
    monkeypatch.setattr(tool, "DOCS", docs)
    with pytest.raises(SystemExit) as end:
        tool.main([word.format(**{path.name: path for path in files.iterdir()}) for word in words])
    assert said in end.value.code and "\n" not in end.value.code
    assert [path.name for path in docs.iterdir()] == ["methods_compared.md"]
