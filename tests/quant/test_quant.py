"""Known values of the literature, and the bargain of a quantised op: staircase forwards, surrogate backwards."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from duonet import Tensor, backend, check_surrogate, quant
from duonet.quant import (
    Binary,
    Clip,
    FilterScaleSign,
    Identity,
    LayerScaleSign,
    Polynomial,
    ReLU,
    Shifted,
    Sign,
    Staircase,
    Stretched,
    SwishSign,
    Tanh,
    Ternary,
    Triangle,
    Uniform,
    ZeroOne,
    quantize,
)

X = np.array([-1.5, -1, -0.5, -0.05, -0.0, 0, 0.05, 0.25, 0.5, 0.75, 1, 1.5])
SURROGATES = [
    Identity(),
    ReLU(),
    Clip(0, 1),
    Clip(-1, 1, closed=True),
    Polynomial(),
    SwishSign(5),
    SwishSign(1),
    Tanh(1),
    Tanh(4),
    Triangle(),
    Shifted(Clip(0, 1), 0.25),
    Shifted(Polynomial(), 0.5),
    Stretched(Polynomial(), -1, 3, 1.5),
    ZeroOne(Polynomial()),
    ZeroOne(Tanh(2)),
]
STAIRCASES = [
    Sign(),
    Binary(),
    Ternary(),
    Uniform(1),
    Uniform(2),
    Uniform(4),
    Staircase([-1, 0, 2], [-2, 0, 0.5, 3]),
    Staircase([0], [0.1, 0.7]),
    Staircase([-0.5, 0.5], [-1, 0, 1]),
]


@pytest.mark.parametrize(
    "surrogate, expected",
    [
        (Clip(-1, 1, closed=True), [0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0]),
        (Polynomial(), [0, 0, 1, 1.9, 2, 2, 1.9, 1.5, 1, 0.5, 0, 0]),
        (
            SwishSign(5),
            [
                -0.03034,
                -0.19499,
                -0.08462,
                4.84616,
                5,
                5,
                4.84616,
                2.26205,
                -0.08462,
                -0.35418,
                -0.19499,
                -0.03034,
            ],
        ),
        (Identity(), [1] * 12),
        (Clip(0, 1), [0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 0, 0]),
        (ReLU(), [0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1]),
        (Triangle(), [0, 0, 0.5, 0.95, 1, 1, 0.95, 0.75, 0.5, 0.25, 0, 0]),
    ],
)
def test_known_values_of_sign_and_its_gradients(surrogate, expected):
    x = Tensor(X, requires_grad=True)
    y = quantize(x, Sign(), surrogate)
    np.testing.assert_array_equal(y.data, [-1, -1, -1, -1, 1, 1, 1, 1, 1, 1, 1, 1])
    y.backward(np.ones(12))
    np.testing.assert_allclose(x.grad, expected, atol=5e-6)


def test_known_values_of_ternary_at_its_ties():
    x = np.array([0.2499999, 0.25, 0.2500001, 0.5, 0.7499999, 0.75, 0.7500001])
    for dtype in ("float32", "float64"):
        np.testing.assert_array_equal(Ternary()(x.astype(dtype)), [0, 0.5, 0.5, 0.5, 0.5, 1, 1])
    np.testing.assert_array_equal(Binary()(np.array([0.4999999, 0.5])), [0, 1])


@pytest.mark.parametrize("bits", [1, 2, 3, 4])
def test_uniform_is_dorefas_formula_away_from_ties(bits, rng):
    n = 2**bits - 1
    x = rng.uniform(-0.5, 1.5, 2000)
    np.testing.assert_allclose(Uniform(bits)(x), np.floor(n * np.clip(x, 0, 1) + 0.5) / n, atol=1e-15)
    ties = np.array([(k - 0.5) / n for k in range(1, n + 1)])
    np.testing.assert_allclose(Uniform(bits)(ties), np.arange(1, n + 1) / n)
    assert Uniform(bits).bits == bits


@given(arrays(st.sampled_from(["float32", "float64"]), 20, elements=st.floats(-2, 2, width=32)))
@example(np.nextafter(np.float32([0.25, 0.75]), np.float32(0)))
@example(np.array([0.25, 0.75]))
def test_ternary_is_half_the_sum_of_two_binary_ones(x):
    np.testing.assert_array_equal(Ternary()(x), (Binary(0.75)(x) + Binary(0.25)(x)) / 2)


def test_thresholds_may_differ_by_channel():
    x = np.array([[0.3, 0.3], [0.8, 0.8]])
    np.testing.assert_array_equal(Binary(np.array([0.75, 0.25]))(x), [[0, 1], [1, 1]])
    offsets = np.array([0.25, -0.25])
    np.testing.assert_array_equal(
        Shifted(Clip(0, 1), offsets).derivative(np.array([[1.1, 1.1], [-0.1, -0.1]])),
        [[True, False], [False, True]],
    )


@pytest.mark.parametrize("staircase", STAIRCASES, ids=repr)
@pytest.mark.parametrize("surrogate", SURROGATES, ids=repr)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_any_staircase_pairs_with_any_surrogate_bit_for_bit(staircase, surrogate, dtype, rng, device):
    array = backend.to_device(rng.uniform(-2, 2, (50, 3)).astype(dtype), device)
    dy = backend.to_device(rng.standard_normal((50, 3)).astype(dtype), device)
    x = Tensor(array, requires_grad=True)
    y = quantize(x, staircase, surrogate)
    y.backward(dy)
    assert y.dtype == x.grad.dtype == dtype
    assert (y.data == staircase(array)).all()
    assert (x.grad == dy * surrogate.derivative(array)).all()
    assert set(np.unique(y.numpy())) <= set(np.asarray(staircase.levels, dtype))


@pytest.mark.parametrize("surrogate", SURROGATES, ids=repr)
def test_every_surrogates_derivative_is_that_of_its_value(surrogate):
    check_surrogate(surrogate)


@pytest.mark.parametrize("surrogate", SURROGATES, ids=repr)
def test_surrogates_keep_dtype_and_shape(surrogate):
    x = np.linspace(-2, 2, 6, dtype="float32").reshape(2, 3)
    assert surrogate.value(x).dtype == np.float32 and surrogate.value(x).shape == x.shape
    assert surrogate.derivative(x).dtype in (np.float32, bool) and surrogate.derivative(x).shape == x.shape


def test_a_surrogate_far_out_neither_overflows_nor_warns():
    with np.errstate(all="raise"):
        x = np.array([-1e4, 1e4])
        np.testing.assert_allclose(SwishSign(5).value(x), [-1, 1])
        np.testing.assert_allclose(SwishSign(5).derivative(x), 0)


def test_known_scales_of_binarised_weights(device):
    w = backend.to_device(np.array([[0.5, -1, 0, 2], [1, 1, -1, 1]]), device)
    np.testing.assert_array_equal(
        LayerScaleSign()(Tensor(w)).numpy(), 0.9375 * np.array([[1, -1, 1, 1], [1, 1, -1, 1]])
    )
    np.testing.assert_array_equal(  # one filter a column
        FilterScaleSign()(Tensor(w.T)).numpy(),
        (np.array([[0.875], [1]]) * np.array([[1, -1, 1, 1], [1, 1, -1, 1]])).T,
    )


def test_gradients_of_binarised_weights(rng, device):
    w = Tensor(backend.to_device(np.array([[0.5, -1.5], [-1.0, 0.25]]), device), requires_grad=True)
    dy = rng.standard_normal((2, 2))
    LayerScaleSign()(w).backward(backend.to_device(dy, device))
    np.testing.assert_array_equal(backend.to_device(w.grad, "cpu"), dy)
    w.zero_grad()
    FilterScaleSign()(w).backward(backend.to_device(dy, device))
    alpha, n = np.array([0.75, 0.875]), 2
    expected = dy * (1 / n + alpha * np.array([[1, 0], [0, 1]]))
    np.testing.assert_allclose(backend.to_device(w.grad, "cpu"), expected)


def test_halved_and_repeated_weights_have_exactly_half_the_scale(rng):
    for scale in (LayerScaleSign(), FilterScaleSign()):
        w = rng.standard_normal((3, 3, 45, 50), dtype="float32")
        twice = np.concatenate([w / 2, w / 2], axis=2)
        whole, half = scale(Tensor(w)).data, scale(Tensor(twice)).data
        np.testing.assert_array_equal(np.abs(half[:, :, :45]), np.abs(whole) / 2)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: Staircase([], [0]), "at least one threshold"),
        (lambda: Staircase([0, 1], [0, 1]), "got 2 thresholds and 2 levels"),
        (lambda: Staircase([1, 0], [0, 1, 2]), "Staircase: thresholds must rise"),
        (lambda: Staircase([0, 1], [0, 2, 1]), "Staircase: levels must rise"),
        (lambda: Uniform(0), "Uniform: bits must be an int at least 1 and at most 8, got 0"),
        (lambda: Uniform(1.5), "got float 1.5"),
        (lambda: Uniform(True), "got bool True"),
        (lambda: Binary(np.nan), "Binary: each threshold must be a finite number or .*, got nan"),
        (lambda: Binary(np.inf), "got inf"),
        (lambda: Binary([0.5, np.nan]), "got .0.5, nan."),
        (lambda: Binary("0.5"), "Binary: each threshold"),
        (lambda: Binary([[0.5]]), "Binary: each threshold"),
        (lambda: Binary([]), "Binary: each threshold"),
        (lambda: Staircase([[0, 1], [1, 2, 3]], [0, 1, 2]), "Staircase: thresholds must be of one length"),
        (lambda: Staircase([0], [0, np.inf]), "Staircase: each level must be a finite number, got inf"),
        (lambda: Staircase([0], [np.nan, 1]), "Staircase: each level must be a finite number, got nan"),
        (lambda: Staircase([0], ["0", "1"]), "Staircase: each level must be a number, got str"),
        (lambda: Clip(np.nan, 1), "Clip: low must be a finite number, got nan"),
        (lambda: Clip(0, np.inf), "Clip: high must be a number above 0, got inf"),
        (lambda: SwishSign(np.inf), "SwishSign: beta must be a number above 0, got inf"),
        (lambda: Tanh("1"), "Tanh: scale must be a number above 0, got str"),
        (lambda: Clip(0, 1, closed="no"), "Clip: closed must be a bool, got str"),
        (lambda: Shifted("clip", 1), "Shifted: surrogate must be a Surrogate, got str"),
        (lambda: Stretched(Clip), "Stretched: surrogate must be a Surrogate, got type"),
        (lambda: ZeroOne(None), "ZeroOne: surrogate must be a Surrogate, got NoneType"),
        (lambda: Shifted(Clip(0, 1), np.nan), "Shifted: offset must be a finite number"),
        (
            lambda: Binary([0.1, 0.2])(np.zeros((2, 3))),
            "quantize: thresholds of shape .2,. does not fit .* x .2, 3.",
        ),
        (lambda: Binary([0.1])(np.zeros((2, 3))), "quantize: thresholds of shape .1,. does not fit"),
        (lambda: Binary([0.1])(np.array(0.0)), "quantize: thresholds of shape .1,. does not fit"),
        (
            lambda: Shifted(Clip(0, 1), [0.1]).derivative(np.zeros((2, 3))),
            "Shifted: offset of shape .1,. does not fit",
        ),
        (lambda: Clip(1, 1), "Clip: high must be a number above 1, got 1"),
        (lambda: SwishSign(0), "SwishSign: beta must be a number above 0, got 0"),
        (lambda: Tanh(-1), "Tanh: scale must be a number above 0, got -1"),
    ],
)
def test_settings_that_make_no_sense_are_refused(make, message):
    with pytest.raises((TypeError, ValueError), match=message):
        make()


@pytest.mark.parametrize(
    "x", [np.arange(4), np.arange(4, dtype="uint8"), np.arange(4) > 1], ids=lambda x: str(x.dtype)
)
def test_integers_are_refused_rather_than_cut(x):
    for staircase in STAIRCASES:
        with pytest.raises(TypeError, match=f"{type(staircase).__name__}: x must be floats of 16 to 64 bits, got"):
            staircase(x)
    for surrogate in SURROGATES:
        for function in (surrogate.value, surrogate.derivative):
            try:
                y = function(x)
            except TypeError as error:
                assert "x must be floats" in str(error)
            else:
                np.testing.assert_array_equal(y, function(x.astype(float)))


def test_bits_may_be_a_numpy_integer():
    assert repr(Uniform(np.int64(2))) == "Uniform(2)"


@pytest.mark.parametrize("surrogate", [Clip(0, 1), Polynomial(), Shifted(Clip(0, 1), [0.1, 0.2])], ids=repr)
def test_thresholds_of_other_channels_are_refused_everywhere(surrogate, device):
    staircase = Binary() if isinstance(surrogate, Shifted) else Binary([0.1, 0.2])
    for shape in ((2, 3), (2, 1), (4, 2, 2, 4), (3,)):
        x = Tensor(backend.to_device(np.zeros(shape, "float32"), device), requires_grad=True)
        with pytest.raises(ValueError, match=r"of shape \(2,\) does not fit the channels of x"):
            quantize(x, staircase, surrogate)


def test_thresholds_are_copied():
    thresholds = np.array([0.25, 0.75])
    staircase, shifted = Binary(thresholds), Shifted(Clip(0, 1), thresholds)
    thresholds[:] = 9
    np.testing.assert_array_equal(staircase(np.array([0.5, 0.5])), [1, 0])
    np.testing.assert_array_equal(shifted.offset, [0.25, 0.75])


def test_reprs_say_what_they_are():
    assert repr(Ternary()) == "Ternary()" and repr(Uniform(3)) == "Uniform(3)"
    assert repr(Binary()) == "Binary()" and repr(Binary([0.75, 0.25])) == "Binary(0.25, 0.75)"
    assert repr(Clip(0, 1)) == "Clip(low=0, high=1, closed=False)"
    assert repr(Staircase([0], [1, 2])) == "Staircase([0.0], [1.0, 2.0])"


def test_all_surrogates_are_tested():
    kinds = {getattr(quant, name) for name in quant.__all__}
    surrogates = {k for k in kinds if isinstance(k, type) and issubclass(k, quant.Surrogate)} - {quant.Surrogate}
    assert surrogates == {type(s) for s in SURROGATES}
