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
    return [
        {
            f"layer{i}": Estimate(np.array(v, float), np.arange(len(v)), len(v), **kinds)
            for i, v in enumerate(vectors)
        }
    ]


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
        smoothed = [{"w": Estimate(g[chosen], chosen, 2000)}]
        row = Mismatch.between([{"w": Estimate(c, np.arange(2000), 2000)}], smoothed, rng)["w"]
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


def noisy_parts(rng, parts, size=400, noise=3.0):
    """Estimates of two vectors at cosine 0.8, with noise that both share in each part, as sampling noise is."""
    a, b = rng.standard_normal((2, size))
    b -= a * (a @ b) / (a @ a)
    c, g = a / np.linalg.norm(a), 0.8 * a / np.linalg.norm(a) + 0.6 * b / np.linalg.norm(b)
    for _ in range(parts):
        common, own = rng.standard_normal((2, size)) * noise / np.sqrt(size)
        yield (
            {"w": Estimate(c + 0.3 * common, np.arange(size), size)},
            {"w": Estimate(g + common + own, np.arange(size), size)},
        )


def test_parts_take_the_noise_out(rng):
    rows = []
    for _ in range(60):
        coarse, smoothed = zip(*noisy_parts(rng, 8))
        rows.append(Mismatch.between(list(coarse), list(smoothed))["w"])
    cosines = np.array([row.cosine for row in rows])
    assert abs(cosines.mean() - 0.8) < 4 * cosines.std() / np.sqrt(60) + 0.01
    assert np.mean([row.raw for row in rows]) < 0.65 and np.mean([row.noise for row in rows]) > 0.5
    assert np.mean([row.smoothed_norm for row in rows]) == pytest.approx(1, abs=0.05)
    assert np.mean([row.low <= 0.8 <= row.high for row in rows]) > 0.85


def test_parts_of_a_batch_are_measured_and_noise_alone_is_told(rng):
    model = mlp("ternary", inputs=6, widths=(8, 8), classes=3, rng=rng).eval()
    batch = rng.standard_normal((61, 6), dtype="f4"), rng.integers(0, 3, 61)
    result = measure(model, F.softmax_cross_entropy, batch, parts=6, coordinates=20, rng=rng)
    assert "raw" in str(result) and result["linear1"].measured == 20 and result["linear1"].noise is not None
    zero = [{"w": Estimate(v, np.arange(2), 2)} for v in (np.array([1.0, 0.0]), np.array([-1.0, 0.0]))]
    row = Mismatch.between(zero, zero)["w"]
    assert np.isnan(row.cosine) and np.isnan(row.coarse_norm)


@pytest.mark.parametrize("parts", [0, -1, 62])
def test_a_batch_too_small_for_the_parts_is_refused(parts, rng):
    model = mlp(inputs=6, widths=(8,), classes=3, rng=rng).eval()
    batch = rng.standard_normal((61, 6), dtype="f4"), rng.integers(0, 3, 61)
    with pytest.raises(ValueError, match="parts must be an int at least 1"):
        measure(model, F.softmax_cross_entropy, batch, parts=parts)
    with pytest.raises(ValueError, match="target has 60 rows for 61 samples"):
        measure(model, F.softmax_cross_entropy, (batch[0], batch[1][:60]), parts=2)


def test_only_estimates_of_the_same_parts_layers_and_coordinates_are_paired():
    one, two = estimates([1.0, 2.0]), estimates([1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match="coarse has 1 parts, smoothed 2"):
        Mismatch.between(one, one * 2)
    with pytest.raises(ValueError, match="coarse has 0 parts, smoothed 0"):
        Mismatch.between([], [])
    with pytest.raises(ValueError, match="smoothed has other coordinates of 'layer0' in another part"):
        Mismatch.between(two * 2, one + two)
    with pytest.raises(ValueError, match="coarse lacks some of smoothed's coordinates of 'layer0'"):
        Mismatch.between(one, two)
    with pytest.raises(ValueError, match="layer 'layer0' is missing"):
        Mismatch.between([{}], one)
    with pytest.raises(TypeError, match="rng must be"):
        Mismatch.between(one, one, 3)


def test_the_cosine_of_integers_does_not_wrap_and_shapes_must_agree():
    a = np.array([200, 100], np.uint8)
    assert cosine(a, a) == pytest.approx(1) and cosine([1, 0], [1, 1]) == pytest.approx(0.5**0.5)
    for b in (np.ones(1), np.ones((2, 2)), np.float64(1)):
        with pytest.raises(ValueError, match="cosine: expected two arrays of equal shape"):
            cosine(np.ones(2), b)
