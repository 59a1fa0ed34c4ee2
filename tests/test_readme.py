"""What the README shows is what the code prints."""

import contextlib
import io
import json
import re
from pathlib import Path

import pytest

from duonet.experiments import table

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()


def test_the_example_prints_what_it_says():
    program, printed = re.search(r"```python\n(.*?)```\n\n```text\n(.*?)```", README, re.S).groups()
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(program, {})
    assert out.getvalue() == printed
    assert len([line for line in program.splitlines() if line.strip()]) <= 15


@pytest.mark.parametrize("name", ["compare"])
def test_the_table_is_that_of_the_kept_results(name):
    results = json.loads((ROOT / "docs" / f"{name}.json").read_text())
    assert results["complete"] and results["settings"]["seeds"] >= 3
    assert table(results) in README


def test_it_is_short_and_its_links_lead_somewhere():
    assert README.count("\n") <= 120
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target
    assert "pip install -r requirements.txt && duonet compare" in README
    assert "pip install -r requirements.txt && pytest" in README
