"""Weights of one bit: the values of the formulas, the draws, what they refuse."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from duonet import Tensor, check_gradients, check_quantizer, nn
from duonet.methods import BiRealWeights, BNNWeights, StochasticWeights, XNORWeights
from duonet.quant import FilterScaleSign

W = [[0.5, -1.5], [-1, 0.25], [0.2, 0.8]]
DY = [[1, 2], [-0.5, 1], [3, -2]]
DIAGONAL = np.array([[0.9, 0.666667], [-0.166667, 1.183333], [2.7, -2.366667]])


def of(quantizer, w=W, dy=DY):
    """The values and the gradient."""
    w = Tensor(np.array(w, np.float64), requires_grad=True)
    y = quantizer(w)
    y.backward(np.array(dy, np.float64))
    return y.data, w.grad


def stochastic(seed=0):
    return StochasticWeights(rng=np.random.default_rng(seed))


ALL = [XNORWeights(), XNORWeights("code"), BiRealWeights(), BiRealWeights(False), BNNWeights(), stochastic()]


@pytest.mark.parametrize("quantizer", ALL, ids=repr)
def test_each_keeps_its_promises(quantizer):
    check_quantizer(quantizer)


@pytest.mark.parametrize("quantizer", ALL[::2], ids=repr)
def test_each_keeps_its_promises_on_a_gpu(quantizer, standin):
    check_quantizer(quantizer, (40, 3))


@pytest.mark.parametrize(
    "quantizer, expected",
    [
        (FilterScaleSign(), DIAGONAL),
        (XNORWeights(), [[2.066667, 1], [-1.5, -0.15], [3.2, -2.7]]),
        (XNORWeights("code"), DIAGONAL * 3 * (1 - 1 / 3)),
        (BiRealWeights(), [[0.566667, 0], [-0.283333, 0.85], [1.7, -1.7]]),
        (BiRealWeights(False), [[1, 0], [-0.5, 1], [3, -2]]),
        (BNNWeights(), DY),
        (stochastic().eval(), DY),
    ],
    ids=repr,
)
def test_values_and_gradients(quantizer, expected):
    y, dw = of(quantizer)
    scale = 1 if quantizer.scales((3, 2)) == 0 else np.array([1.7 / 3, 2.55 / 3])
    np.testing.assert_allclose(y, np.where(np.array(W) >= 0, 1, -1) * scale)
    np.testing.assert_allclose(dw, expected, atol=1e-6)


def test_the_codes_factor_counts_the_channels_of_a_convolution():
    w = np.random.default_rng(0).normal(0, 0.1, (3, 3, 4, 2))
    dy = np.ones_like(w)
    np.testing.assert_allclose(of(XNORWeights("code"), w, dy)[1], of(FilterScaleSign(), w, dy)[1] * 36 * 3 / 4)
    assert not of(XNORWeights("code"), w[:, :, :1], dy[:, :, :1])[1].any(), "a single channel learns nothing"


def test_the_full_gradient_is_that_of_the_clipped_weight_times_its_scale(rng):
    w = rng.uniform(-1.5, 1.5, (6, 3))
    check_gradients(XNORWeights(), w, against="surrogate")


@settings(max_examples=30)
@given(arrays(np.float64, (6, 2), elements=st.floats(-2, 2, width=32)))
def test_scaled_signs_scale_and_turn_with_their_weights(w):
    for quantizer in ALL[:4]:
        y = of(quantizer, w, w)[0]
        np.testing.assert_array_equal(of(quantizer, 4 * w, w)[0], 4 * y)
        np.testing.assert_allclose(np.abs(y).mean(0), np.abs(w).mean(0))


def test_zero_is_positive():
    assert (of(BNNWeights(), [[0.0, -0.0]], [[1, 1]])[0] == 1).all()
    assert (of(stochastic().eval(), [[0.0, -0.0]], [[1, 1]])[0] == 1).all()


def test_signs_are_drawn_with_the_probabilities_of_the_paper():
    w = np.array([-2, -1, -0.5, 0, 0.25, 1, 3])
    y = of(stochastic(), np.tile(w, (20_000, 1)), np.ones((20_000, 7)))[0]
    assert set(np.unique(y)) == {-1, 1}
    share = (y > 0).mean(0)
    np.testing.assert_array_equal(share[[0, 1, 5, 6]], [0, 0, 1, 1])
    np.testing.assert_allclose(share, [0, 0, 0.25, 0.5, 0.625, 1, 1], atol=0.015)


def test_a_layer_draws_anew_in_training_by_its_own_generator_and_never_in_evaluation(rng):
    layer = nn.Linear(50, 20, rng=rng, weight_quantizer=stochastic(7))
    twin = nn.Linear(50, 20, rng=np.random.default_rng(0), weight_quantizer=stochastic(7))
    x = Tensor(np.ones((1, 50), np.float32))
    first, second = layer(x).data, layer(x).data
    np.testing.assert_array_equal(first, twin(x).data)
    assert (first != second).any()
    np.testing.assert_array_equal(layer.eval()(x).data, layer(x).data)
    assert "draws" in layer.weight_quantizer.in_training


@pytest.mark.parametrize("make, message", [
    (lambda: XNORWeights("diagonal"), "XNORWeights: gradient must be one of full, code, got 'diagonal'"),
    (lambda: XNORWeights()(Tensor(np.ones(3))), r"XNORWeights: expected w \(..., IN, OUT\), got shape \(3,\)"),
    (lambda: XNORWeights()(Tensor(np.ones((0, 3)))), r"XNORWeights: sign_by_filter_full: w \(0, 3\) is empty"),
    (lambda: BiRealWeights()(Tensor(np.ones((0, 3)))), r"BiRealWeights: magnitude_aware_sign: w \(0, 3\) is empty"),
    (lambda: StochasticWeights(rng=3), "StochasticWeights: rng must be a numpy.random.Generator, got int"),
])  # fmt: skip
def test_bad_input_is_refused_in_a_sentence(make, message):
    with pytest.raises((ValueError, TypeError), match=f"^{message}"):
        make()
