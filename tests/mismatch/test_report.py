import json

import matplotlib
import numpy as np
import pytest

from duonet import functional as F
from duonet import nn
from duonet.mismatch import Estimate, Mismatch, cosine, measure
from duonet.models import mlp

matplotlib.use("Agg")


def estimates(*vectors, **kinds):
    return {
        f"layer{i}": Estimate(np.array(v, float), np.arange(len(v)), len(v), **kinds)
        for i, v in enumerate(vectors)
    }


def test_the_columns_are_what_they_say():
    row = Mismatch.between(estimates([3.0, 4.0, 0.0]), estimates([0.0, 2.0, 0.0]))["layer0"]
    assert row.cosine == pytest.approx(0.8) and row.ratio == 2.5 and row.opposite == 0 and row.low is None
    row = Mismatch.between(estimates([1.0, -1.0, 1.0, 0.0]), estimates([1.0, 1.0, -1.0, 9.0]))["layer0"]
    assert row.opposite == 0.5 and (row.measured, row.size) == (4, 4)
    row = Mismatch.between(estimates([1.0, 1.0]), estimates([1.0, 1.0], stderr=np.array([0.5, 0.5])))["layer0"]
    assert row.noise == pytest.approx(0.25)


def test_a_gradient_of_zero_has_no_direction():
    result = Mismatch.between(estimates([0.0, 0.0]), estimates([0.0, 1.0]))
    assert np.isnan(result["layer0"].cosine) and " - " in str(result)
    assert json.loads(json.dumps(result.to_dict()))["layers"][0]["cosine"] is None
    assert np.isnan(cosine(np.zeros(2), np.ones(2)))


def test_the_interval_covers_the_cosine_of_all_weights(rng):
    """Of samples of 60 out of 2,000 coordinates, about 95 % have an interval around the truth."""
    c = rng.standard_normal(2000)
    g = c + rng.standard_normal(2000)
    truth = float(cosine(c, g))
    hits = 0
    for _ in range(100):
        chosen = rng.choice(2000, 60, replace=False)
        smoothed = {"w": Estimate(g[chosen], chosen, 2000)}
        row = Mismatch.between({"w": Estimate(c, np.arange(2000), 2000)}, smoothed, rng)["w"]
        assert row.low < row.cosine < row.high
        hits += row.low <= truth <= row.high
    assert 87 <= hits <= 99


def test_it_prints_aligned_saves_and_draws(rng):
    model = mlp("ternary", inputs=6, widths=(8, 8), classes=3, rng=rng).eval()
    batch = rng.standard_normal((60, 6), dtype="f4"), rng.integers(0, 3, 60)
    result = measure(model, F.softmax_cross_entropy, batch, coordinates=20, rng=rng)
    lines = str(result).splitlines()
    assert len(lines) == 2 + len(result) and len({len(line) for line in lines}) == 1
    assert "20 of 48" in lines[2] and "95 %" in lines[0] and "noise" not in lines[0]
    saved = result.to_dict()
    assert json.loads(json.dumps(saved)) == saved and saved["layers"][0]["layer"] == "linear1"
    axes = result.plot()
    assert [t.get_text() for t in axes.get_xticklabels()] == ["linear1", "linear2", "classifier"]
    assert [bar.get_height() for bar in axes.patches] == [row.cosine for row in result.rows]
    with pytest.raises(KeyError):
        result["linear9"]


def test_evolution_strategies_report_their_noise(rng):
    model = nn.Sequential(nn.Linear(6, 3, rng=rng)).eval()
    batch = rng.standard_normal((60, 6), dtype="f4"), rng.standard_normal((60, 3), dtype="f4")
    few, many = (
        measure(model, F.mse_loss, batch, estimator="evolution", samples=k, rng=rng)["0"] for k in (20, 2000)
    )
    assert few.noise > 0.2 > 0.03 > many.noise and "noise" in str(Mismatch([few]))
    for row in (few, many):  # the float layer has no mismatch, so the cosine is what the noise leaves
        assert row.cosine == pytest.approx(np.sqrt(1 - row.noise), abs=0.12)
