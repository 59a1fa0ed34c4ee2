"""The page of findings: its tables are those of the kept results, whose trainings are those of the tool."""

import importlib.util
import json
import re
from pathlib import Path

import duonet

ROOT = Path(duonet.__file__).parent.parent


def tool(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def test_the_page_is_that_of_the_kept_results(tmp_path):
    findings = tool("render_findings")
    text = (ROOT / "docs" / "findings.md").read_text(encoding="utf-8")
    assert findings.page(text) == text, "stale: python tools/render_findings.py"
    assert findings.draw(tmp_path / "a.png").stat().st_size > 10_000
    assert text.count(" holds |") and text.count(" not seen |") and text.count(" not tried |")


def test_the_readme_quotes_the_page():
    page = (ROOT / "docs" / "findings.md").read_text(encoding="utf-8").replace("-", "−")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    quoted = re.search(r"## What became of the paper's claims\n.*?\n## ", readme, re.S).group()
    numbers = re.findall(r"[−+]?\d+\.\d+", quoted)
    assert len(numbers) >= 7 and all(re.search(rf"[+ (]?{re.escape(n)}", page) for n in numbers), numbers
    binary, place, all_float = re.search(r"first of (\d+) methods.*? (\d+)th of\s+(\d+)", quoted, re.S).groups()
    assert (
        f"Float weights: place {place} of {all_float};" in page
        and f"Binary weights: place 1 of {binary} |" in page
    )


def test_the_words_on_coupling_have_the_numbers_of_the_table():
    page = (ROOT / "docs" / "findings.md").read_text(encoding="utf-8")
    table, words = re.search(r"<!-- conditions -->(.*?)<!-- end -->(.*?)\n## ", page, re.S).groups()
    numbers = re.findall(r"[+-]\d+\.\d", words)
    assert len(numbers) >= 10 and not [number for number in numbers if number not in table]


def test_every_condition_is_trained_with_the_same_seeds_and_methods():
    coupling = tool("coupling")
    kept = json.loads((ROOT / "docs" / "coupling.json").read_text())
    assert kept["settings"] == coupling.STANDARD
    assert {name: row["changes"] for name, row in kept["conditions"].items()} == coupling.CONDITIONS
    seeds = {tuple(row["seeds"]) for of in kept["conditions"].values() for row in of["methods"].values()}
    assert len(seeds) == 1 and len(*seeds) >= 3
    assert all(list(row["methods"]) == coupling.METHODS for row in kept["conditions"].values())


def test_trainings_are_continued_and_kept(tmp_path, monkeypatch):
    coupling = tool("coupling")
    tiny = {"epochs": 2, "images": 64, "validation_images": 16, "width": 4, "test": True}
    monkeypatch.setattr(coupling, "STANDARD", coupling.STANDARD | tiny | {"model": "mlp"})
    monkeypatch.setattr(coupling, "CONDITIONS", {"standard": {}, "low rates": {"lr": 1e-3}})
    monkeypatch.setattr(coupling, "DOCS", tmp_path)
    coupling.train(tmp_path / "runs", 1, 1)
    before = sorted(path.stat().st_mtime_ns for path in tmp_path.rglob("best.npz"))
    coupling.train(tmp_path / "runs", 1, 1)
    assert sorted(path.stat().st_mtime_ns for path in tmp_path.rglob("best.npz")) == before and len(before) == 6
    coupling.keep(tmp_path / "runs")
    kept = json.loads((tmp_path / "coupling.json").read_text())
    assert kept["conditions"]["low rates"]["methods"]["control"]["seeds"] == [0]
