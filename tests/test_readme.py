"""What the README shows is what the code prints."""

import contextlib
import io
import json
import re
from pathlib import Path

import pytest

from duonet.experiments import table

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGE = (ROOT / "docs" / "compare.md").read_text(encoding="utf-8")


def kept(name):
    return json.loads((ROOT / "docs" / f"{name}.json").read_text())


def flowed(text):
    """The text without its line breaks."""
    return " ".join(text.split())


def test_the_example_prints_what_it_says():
    program, printed = re.search(r"```python\n(.*?)```\n\n```text\n(.*?)```", README, re.S).groups()
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(program, {})
    assert out.getvalue() == printed
    assert len([line for line in program.splitlines() if line.strip()]) <= 15


@pytest.mark.parametrize(
    "name, pages", [("compare", (README, PAGE)), ("compare_vgg7", (PAGE,)), ("compare_mlp", (PAGE,))]
)
def test_the_tables_are_those_of_the_kept_results(name, pages):
    results = kept(name)
    assert results["complete"] and results["settings"]["seeds"] >= 3
    for page in pages:
        assert table(results) in page


def test_the_leads_in_the_text_are_those_of_the_table():
    means = {method: 100 * row["mean"] for method, row in kept("compare")["methods"].items()}
    lead = {method: f"{means['binaryduo'] - mean:.1f}" for method, mean in means.items()}
    assert f"ahead of the binary baseline by {lead['baseline']} points" in flowed(README)
    assert f"architecture trained from scratch by {lead['control']}, and of both" in flowed(README)
    assert min(lead["restarted"], lead["control_restarted"]) == "1.3" and "in the middle by 1.3 or more" in flowed(
        README
    )
    assert (
        f"leads the binary baseline by {lead['baseline']} points, the control by {lead['control']}, "
        f"the restarted control by {lead['control_restarted']}."
    ) in flowed(PAGE)


def test_decoupling_changed_nothing_in_the_kept_runs():
    for name in ("compare", "compare_vgg7", "compare_mlp"):
        for row in kept(name)["decoupling"]:
            assert row["float32_changed_predictions"] == row["float64_relative_difference"] == 0


def test_it_is_short_and_its_links_lead_somewhere():
    assert README.count("\n") <= 120
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target
    assert "pip install -r requirements.txt && duonet compare" in README
    assert "pip install -r requirements.txt && pytest" in README
