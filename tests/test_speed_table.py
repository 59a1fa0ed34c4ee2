"""The table of docs/speed.md is made from docs/speed.json."""

import importlib.util
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


def test_the_pages_show_what_was_measured(speed_table):
    found = speed_table.pages()
    if not found:
        pytest.skip("docs/speed.json and docs/inference.json have not been measured")
    for path, text in found.items():
        assert text == path.read_text(encoding="utf-8"), (
            f"stale: python benchmarks/speed_table.py --render ({path})"
        )


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
    page = "above\n<!-- speed.json -->\nold\n<!-- end -->\nbelow\n<!-- gain -->\nkept\n<!-- end -->\n"
    once = speed_table.filled(page, "speed.json", text)
    assert once.startswith("above\n") and "old" not in once and once.endswith("kept\n<!-- end -->\n")
    assert speed_table.filled(once, "speed.json", text) == once


def test_packed_networks_and_gains_are_those_of_the_rows(speed_table):
    sides = {"torch": 9.0, "torch channels_last": 7.5, "onnxruntime": 2.0, "fold": 8.0, "packed": 1.0}
    sides |= {"fold numpy": 8.0, "packed numpy": 6.4, "C": 3.0}
    packed = {
        "cores": [1.9, 2.0],
        "bytes": {"vgg7": [1000, 27_000]},
        "rows": [
            {"network": "vgg7", "batch": batch, "threads": n, "side": side, "ms": ms, "packed_is_faster": ms}
            for batch in (1, 256)
            for n in (2, 1)
            for side, ms in sides.items()
            if side != "C" or (batch, n) == (1, 1)
        ],
    }
    text = speed_table.packed_table(packed)
    assert "| vgg7, 1 | 1.00 | 9.0 / 7.5 / 2.0 / 8.0 | 9.0 / 7.5 / 2.0 / 8.0 | 1.25 / 1.25 | 3.00 |" in text
    assert "| vgg7, 256 | 1.00 |" in text and text.endswith("| 1.25 / 1.25 |  |\n")
    steps = [
        {"threads": 2, "allocator": "raised", "network": "vgg7:baseline", "side": side, "ratio": ratio}
        for side, ratio in [("torch channels_last", 0.7), ("torch", 0.6)]
    ]
    gain = speed_table.gain_table({"steps": steps}, packed)
    assert gain.endswith("| `vgg7` | 0.70 / 0.60 | 9.0 | 9.0 | 27 |\n")
