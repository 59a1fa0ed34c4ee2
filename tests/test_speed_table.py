"""The table of docs/speed.md is made from docs/speed.json."""

import importlib.util
import json
from pathlib import Path

import pytest

import duonet

ROOT = Path(duonet.__file__).parent.parent


@pytest.fixture
def speed_table():
    spec = importlib.util.spec_from_file_location("speed_table", ROOT / "benchmarks" / "speed_table.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_shows_what_was_measured(speed_table):
    if not (ROOT / "docs" / "speed.json").exists():
        pytest.skip("docs/speed.json has not been measured")
    page = (ROOT / "docs" / "speed.md").read_text(encoding="utf-8")
    assert speed_table.rendered(page, json.loads((ROOT / "docs" / "speed.json").read_text())) == page


def test_a_table_holds_every_network_and_setting(speed_table):
    rows = [
        {"network": name, "batch": 8, "side": side, "ms": 12.34, "ratio": ratio}
        for name in ("vgg7:baseline", "vgg7:coupled")
        for side, ratio in [("torch channels_last", 0.7), ("torch", 0.6), ("duonet numpy", 0.55), ("duonet", 1.0)]
    ]
    measured = {
        "machine": "a machine",
        "date": "2026-01-01",
        "cores": [1.9, 2.0],
        "steps": [{"threads": n, "allocator": a, **row} for n, a in speed_table.SETTINGS for row in rows],
        "memory": rows,
    }
    text = speed_table.table(measured)
    assert "| vgg7, 8 | 12.3 | " + "0.70 / 0.60 / 0.55 | " * 4 + "0.70 / 0.60 |" in text
    assert "| vgg7 coupled, 8 |" in text and "1.90 to 2.00 of 2 cores" in text
    page = f"above\n{speed_table.BEGIN}old\n{speed_table.END}below\n"
    once = speed_table.rendered(page, measured)
    assert once.startswith("above\n") and once.endswith("below\n") and "old" not in once
    assert speed_table.rendered(once, measured) == once
