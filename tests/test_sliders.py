"""Sliders in a notebook: a slider moves the figure; without ipywidgets there is one picture; words for a reader that cannot see."""

import base64
import sys

import matplotlib.pyplot as plt
import pytest

from duonet.viz import sliders

pytest.importorskip("IPython", reason="a notebook is what sliders are for")


def show(shift=0.5, half_width=1):
    """Draw a line, which ends at the <shift>."""
    figure, axes = plt.subplots(figsize=(1, 1))
    axes.plot([0, shift * half_width])
    return figure


@pytest.fixture
def shown(monkeypatch):
    bundles = []
    monkeypatch.setattr("IPython.display.display", lambda bundle, raw: bundles.append(bundle))
    return bundles


def test_a_slider_moves_the_figure(shown, monkeypatch):
    ipywidgets = pytest.importorskip("ipywidgets")
    boxes, box, before = [], ipywidgets.VBox, plt.get_fignums()
    monkeypatch.setattr(ipywidgets, "VBox", lambda children: boxes.append(box(children)) or boxes[-1])
    sliders(show, shift=[0, 0.5, 1], half_width=[1, 2])
    (bundle,), (first, second, picture) = shown, boxes[0].children
    assert bundle["text/plain"] == "shift = 0.5, half_width = 1" and len(bundle) == 3
    assert (
        bundle["image/png"] in picture.value
        and 'alt="Draw a line, which ends at the &lt;shift&gt;."' in picture.value
    )
    assert (first.description, second.description) == ("shift", "half width") and first.value == 0.5
    assert [label for label, _ in first.options] == ["0", "0.5", "1"]
    seen = {picture.value}
    first.value = 1
    seen.add(picture.value)
    second.value = 2
    assert len(seen | {picture.value}) == 3 and plt.get_fignums() == before, (
        "another figure each time, none left open"
    )
    first.value, second.value = 0.5, 1
    assert bundle["image/png"] in picture.value, "the same settings draw the same picture"


def test_without_ipywidgets_there_is_one_picture(shown, monkeypatch):
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    sliders(show, shift=[0, 0.5])
    assert shown[0].keys() == {"image/png", "text/plain"}
    assert base64.b64decode(shown[0]["image/png"]).startswith(b"\x89PNG")


@pytest.mark.parametrize("choices", [{"shift": [0, 1]}, {"width": [0.5]}])
def test_an_argument_needs_a_default_that_is_on_offer(shown, choices):
    with pytest.raises(ValueError, match=f"show has no argument {next(iter(choices))} with a default in"):
        sliders(show, **choices)
