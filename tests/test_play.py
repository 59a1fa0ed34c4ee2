"""The tables of the page Play are the engine's: held against the estimators, and against what the tutorials derive."""

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from duonet import functional as F
from duonet.experiments.toy import Lesson
from duonet.mismatch import measure

DOCS = Path(__file__).resolve().parents[1] / "docs"
sys.path.insert(0, str(DOCS))
import play  # noqa: E402

PAGE = (DOCS / "play.md").read_text(encoding="utf-8")
SCRIPT = (DOCS / "static" / "play.js").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def figures():
    """All three, smaller."""
    return {
        "mismatch": play.mismatch((0.5,), (0.1,), 600),
        "split": play.split(),
        "walk": play.walk(6, (1, 5)),
    }


def drawn(panel, label):
    return next(line["y"]["data"] for line in panel["lines"] if line["label"] == label)


def test_every_table_has_a_value_for_every_position_of_the_sliders_that_it_is_looked_up_by(figures):
    for figure in figures.values():
        sizes = {slider["name"]: len(slider["values"]) for slider in figure["sliders"]}
        assert all(0 <= slider["start"] < sizes[slider["name"]] for slider in figure["sliders"])
        tables = [
            (figure["said"]["numbers"][key], None) for key in re.findall(r"\{(\w+)\}", figure["said"]["text"])
        ]
        for panel in figure["panels"]:
            tables += [(line["y"], len(panel["x"]["values"])) for line in panel["lines"]]
            tables += [(line["only"], None) for line in panel["lines"] if "only" in line]
            assert panel["describe"].endswith(".") and panel["x"]["title"] and panel["y"]["title"]
        for table, length in tables:
            found = [table["data"]]
            for name in table["by"]:
                assert {len(part) for part in found} == {sizes[name]}
                found = [part for parts in found for part in parts]
            assert length is None or {len(part) for part in found} == {length}


def test_the_cosines_are_those_that_measure_finds(figures):
    lesson = Lesson(0, width=16)
    found = measure(
        lesson.student("binary"), F.mse_loss, lesson.batch(600), step=0.1, layers=list(play.LAYERS), parts=6
    )
    said = figures["mismatch"]["said"]["numbers"]
    for layer in play.LAYERS:
        assert said[layer]["data"] == [[play.signed(found[layer].cosine)]]


def test_the_mean_of_two_binary_staircases_is_the_ternary_one_at_a_quarter_and_its_gradient_is_not(figures):
    forwards, backwards = figures["split"]["panels"]
    means, ternary = drawn(forwards, "mean of two binary ones"), drawn(forwards, "ternary staircase")
    assert [mean == ternary for mean in means] == [k == 4 for k in range(9)]
    h = np.array(backwards["x"]["values"])
    assert drawn(backwards, "ternary activation") == ((0 < h) & (h < 1)).astype(float).tolist()
    windows = ((0.25 < h) & (h < 1.25)) / 2 + ((-0.25 < h) & (h < 0.75)) / 2
    assert drawn(backwards, "two binary ones")[4] == windows.tolist()


def test_the_discrete_gradient_is_the_slope_of_the_chord_and_of_the_averaged_loss(figures):
    above, below = figures["walk"]["panels"]
    loss, averages = np.array(drawn(above, "loss")), drawn(above, "averaged over the window")
    x, discrete = np.array(above["x"]["values"]), drawn(below, "discrete gradient")
    ends = next(line["only"]["data"] for line in above["lines"] if line.get("joined"))
    for average, gradients, chords in zip(averages, discrete, ends):
        for shift, gradient, (left, right) in zip(below["x"]["values"], gradients, chords):
            assert x[left] + x[right] == pytest.approx(2 * shift)
            assert gradient == pytest.approx((loss[right] - loss[left]) / (x[right] - x[left]), abs=0.02)
        rise = [np.nan if None in (a, b) else b - a for a, b in zip(average, average[1:])]
        rise = np.array(rise)[~np.isnan(rise)]
        assert rise.sum() == pytest.approx(
            0.04 * (np.sum(gradients) - (gradients[0] + gradients[-1]) / 2), abs=0.03
        )


def test_the_coarse_gradient_is_the_chain_rules(figures):
    rng = np.random.default_rng(0)
    x, (weights, teacher), v = (
        rng.standard_normal((24, 4)),
        rng.standard_normal((2, 4, 3)),
        np.array([1, -1.5, 0.8]),
    )
    z, target = x @ weights, (x @ teacher >= 0.5) @ v
    dz = np.outer(2 / 24 * ((z >= 0.5) @ v - target), v) * ((z > 0) & (z < 1))
    assert drawn(figures["walk"]["panels"][1], "coarse gradient")[6] == pytest.approx((x.T @ dz)[2, 2], abs=1e-3)


def test_the_tables_are_small_json_that_a_page_can_hold(figures):
    text = json.dumps(figures, ensure_ascii=False, allow_nan=False)
    assert len(text) < 30_000 and "</" not in text


def test_the_page_shows_every_figure_and_the_script_knows_no_formula(figures):
    assert set(re.findall(r'data-figure="(\w+)"', PAGE)) == set(figures)
    assert "Math." not in SCRIPT and not re.search(
        r"[\w)\]] [-*/] [\w(]", re.sub(r"//.*", "", SCRIPT).replace("length - 1", "")
    )
    assert "\nplay\n" in (DOCS / "index.md").read_text(encoding="utf-8")


def test_the_plotting_library_comes_with_its_licence_and_its_version(figures):
    folder = DOCS / "static" / "uplot"
    version = re.match(
        r"/\*! https://github.com/leeoniya/uPlot \(v([\d.]+)\) \*/", (folder / "uPlot.iife.min.js").read_text()
    )
    assert f"uPlot) {version[1]}," in PAGE and "The MIT License" in (folder / "LICENSE").read_text()
