"""Weights on even grids: the values of the formulas, their errors, what they refuse."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from duonet import Tensor, check_gradients, check_quantizer
from duonet.methods import DoReFaWeights, SAWBWeights, WRPNWeights
from duonet.methods.weight_grids import CLIPS, CLIPS_WITH_ZERO, ScaledTanhThroughMax, clip_of_moments
from duonet.quant import LayerScaleSign

W = [-1, -0.4, -0.1, 0, 0.2, 0.6, 2]
DY = [1, -1, 2, 0.5, 1, -3, 0.7]
WIDE = [-1.3, -1, -0.6, -0.2, 0, 0.1, 0.3, 0.8, 1.5]
WEIGHTS = arrays(np.float64, 12, elements=st.floats(-3, 3, width=32)).filter(lambda w: np.abs(w).max() > 0.01)


def of(quantizer, w, dy=None):
    """The values and the gradient."""
    w = Tensor(np.array(w, np.float64), requires_grad=True)
    y = quantizer(w)
    y.backward(np.ones(w.shape) if dy is None else np.array(dy, np.float64))
    return y.data, w.grad


ALL = [
    *map(DoReFaWeights, (1, 2, 3, 5)),
    DoReFaWeights(2, through_max=True),
    *map(WRPNWeights, (2, 3, 4)),
    WRPNWeights(2, clipped=True),
    *map(SAWBWeights, CLIPS),
    *(SAWBWeights(bits, zero=True) for bits in CLIPS_WITH_ZERO),
    SAWBWeights(2, clipped=False),
]


@pytest.mark.parametrize("quantizer", ALL, ids=repr)
def test_each_keeps_its_promises(quantizer):
    check_quantizer(quantizer)


@pytest.mark.parametrize("quantizer", [ALL[1], ALL[5], ALL[9], ALL[14]], ids=repr)
def test_each_keeps_its_promises_on_a_gpu(quantizer, standin):
    check_quantizer(quantizer, (40, 3))


@pytest.mark.parametrize(
    "bits, expected",
    [
        (2, [-1, -1 / 3, -1 / 3, 1 / 3, 1 / 3, 1 / 3, 1]),
        (3, [-0.714286, -0.428571, -0.142857, 0.142857, 0.142857, 0.428571, 1]),
    ],
)
def test_dorefas_values_and_gradient(bits, expected):
    y, dw = of(DoReFaWeights(bits), W, DY)
    np.testing.assert_allclose(y, expected, atol=1e-6)
    np.testing.assert_allclose(
        dw, [0.435646, -0.887567, 2.054021, 0.518657, 0.996904, -2.21439, 0.051301], atol=1e-6
    )


def test_dorefas_gradient_through_the_maximum_differs_there_alone_and_is_a_true_one(rng):
    held, through = (of(DoReFaWeights(2, through_max=on), W, DY)[1] for on in (False, True))
    np.testing.assert_array_equal(held[:-1], through[:-1])
    assert through[-1] == pytest.approx(0.151645, abs=1e-6)
    check_gradients(ScaledTanhThroughMax.apply, rng.standard_normal((5, 3)))
    y, dw = of(DoReFaWeights(2, through_max=True), [1, -1, 0.5], [1, 1, 1])
    assert np.isfinite(dw).all() and dw[2] == pytest.approx((1 - np.tanh(0.5) ** 2) / np.tanh(1))


def test_dorefas_single_bit_has_one_scale_for_the_layer():
    w = [[0.5, -1.5], [-1, 0.25], [0.2, 0.8]]
    y, dw = of(DoReFaWeights(1), w, w)
    np.testing.assert_allclose(np.abs(y), 4.25 / 6)
    np.testing.assert_array_equal(dw, w)
    np.testing.assert_array_equal(y, of(LayerScaleSign(), w)[0])
    one, two = DoReFaWeights(1), DoReFaWeights(2)
    assert (one.homogeneous, one.two_valued, one.scales((3, 2))) == (True, True, 1)
    assert (two.homogeneous, two.two_valued, two.scales((3, 2))) == (False, False, 0)


@pytest.mark.parametrize("quantizer", [DoReFaWeights(2), SAWBWeights(2), SAWBWeights(4, zero=True)], ids=repr)
def test_weights_that_are_all_zero_give_numbers(quantizer):
    y, dw = of(quantizer, np.zeros(4))
    assert np.isfinite(y).all() and np.isfinite(dw).all()


@pytest.mark.parametrize(
    "bits, expected",
    [
        (2, [-1, -1, -1, 0, 0, 0, 0, 1, 1]),
        (3, [-1, -1, -2 / 3, -1 / 3, 0, 0, 1 / 3, 2 / 3, 1]),
        (4, [-1, -1, -0.571429, -0.142857, 0, 0.142857, 0.285714, 0.857143, 1]),
    ],
)
def test_wrpns_values_and_both_gradients(bits, expected):
    y, dw = of(WRPNWeights(bits), WIDE, np.arange(9))
    np.testing.assert_allclose(y, expected, atol=1e-6)
    np.testing.assert_array_equal(dw, np.arange(9))
    clipped = of(WRPNWeights(bits, clipped=True), WIDE, np.arange(9))
    np.testing.assert_array_equal(clipped[0], y)
    np.testing.assert_array_equal(clipped[1], [0, 1, 2, 3, 4, 5, 6, 7, 0])


@settings(max_examples=30)
@given(WEIGHTS)
def test_wrpn_is_odd_also_at_its_ties(w):
    for bits in (2, 3):
        q = WRPNWeights(bits)
        np.testing.assert_array_equal(of(q, -w)[0], -of(q, w)[0])
    np.testing.assert_array_equal(of(WRPNWeights(2), [-0.5, 0.5])[0], [-1, 1])


def test_sawbs_values_and_both_gradients():
    w, a = [-1, -0.3, 0.1, 0.4, 0.8, -0.05], 0.845277
    y, dw = of(SAWBWeights(2), w)
    np.testing.assert_allclose(y, [-a, -a / 3, a / 3, a / 3, a, -a / 3], atol=1e-6)
    np.testing.assert_array_equal(dw, [0, 1, 1, 1, 1, 1])
    np.testing.assert_array_equal(of(SAWBWeights(2, clipped=False), w)[1], np.ones(6))


def densities(rng, n=200_000):
    return {"normal": rng.standard_normal(n), "laplace": rng.laplace(size=n), "uniform": rng.uniform(-1, 1, n)}


@pytest.mark.parametrize("bits, name, best", [
    (2, "normal", 1.494), (2, "laplace", 1.631), (2, "uniform", 1.299), (3, "normal", 2.051), (3, "laplace", 2.558),
])  # fmt: skip
def test_sawbs_clip_is_near_the_best(bits, name, best, rng):
    w = densities(rng)[name]
    w /= w.std()

    def error(a):
        n = 2**bits - 1
        y = a * (2 * np.floor(n * np.clip(w / a / 2 + 0.5, 0, 1) + 0.5) / n - 1)
        return ((y - w) ** 2).mean()

    assert error(float(clip_of_moments(w, CLIPS[bits]))) <= 1.015 * error(best)
    tried = [error(a) for a in np.linspace(0.9, 1.1, 9) * best]
    assert min(tried) >= 0.998 * error(best), "the published optimum is one"


@pytest.mark.parametrize("bits", CLIPS_WITH_ZERO)
def test_sawbs_clip_with_zero_is_near_the_best_of_its_levels(bits, rng):
    w = rng.standard_normal(100_000)
    q = 2 ** (bits - 1) - 1

    def error(a):
        return ((a * np.round(np.clip(w / a, -1, 1) * q) / q - w) ** 2).mean()

    a = float(clip_of_moments(w, CLIPS_WITH_ZERO[bits]))
    assert error(a) <= 1.015 * min(error(c * a) for c in np.linspace(0.8, 1.2, 21))
    y = of(SAWBWeights(bits, zero=True), w)[0]
    assert len(np.unique(np.abs(y))) == q + 1 and ((y - w) ** 2).mean() == pytest.approx(error(a))


def test_sawb_falls_back_to_the_largest_weight():
    w = np.array([1.0, 1.0, -1.0, 1.0])  # c₁ − c₂ is below 0 for 4 bits
    np.testing.assert_allclose(of(SAWBWeights(4), w)[0], w)


@settings(max_examples=30)
@given(WEIGHTS, st.sampled_from(list(CLIPS)))
def test_sawb_scales_with_its_weights_and_has_at_most_2_to_the_bits_values(w, bits):
    y = of(SAWBWeights(bits), w)[0]
    np.testing.assert_array_equal(of(SAWBWeights(bits), 4 * w)[0], 4 * y)
    assert len(np.unique(y)) <= 2**bits


@pytest.mark.parametrize("make, message", [
    (lambda: DoReFaWeights(0), "DoReFaWeights: bits must be an int at least 1 and at most 8, got 0"),
    (lambda: DoReFaWeights(2.0), "DoReFaWeights: bits must be an int .*got float 2.0"),
    (lambda: WRPNWeights(1), "WRPNWeights: bits must be an int at least 2 and at most 8, got 1"),
    (lambda: SAWBWeights(1), "SAWBWeights: bits must be 2, 3, 4, 5 or 8, which have coefficients, got 1"),
    (lambda: SAWBWeights(3, zero=True), "SAWBWeights: bits must be 2 or 4 with zero=True, which have .*, got 3"),
    (lambda: SAWBWeights()(Tensor(np.ones((0, 3)))), r"SAWBWeights: w \(0, 3\) is empty"),
])  # fmt: skip
def test_bad_input_is_refused_in_a_sentence(make, message):
    with pytest.raises((ValueError, TypeError), match=f"^{message}"):
        make()
