"""Fixed point: the steps are the best ones, levels, spreads that are followed, bits for each layer."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from duonet import Tensor, check_quantizer, load_model, nn, no_grad, save_checkpoint, summary
from duonet.methods import (
    FixedPointActivations,
    FixedPointWeights,
    allocate_bits,
    combined_sqnr,
    stochastic_rounding,
)
from duonet.methods.fixed_point import STEPS

ALL = [
    FixedPointWeights(1),
    FixedPointWeights(3, "laplace"),
    FixedPointActivations(1),
    FixedPointActivations(3),
    FixedPointActivations(2, "laplace"),
]


@pytest.mark.parametrize("quantizer", ALL, ids=repr)
def test_each_keeps_its_promises(quantizer, device):
    check_quantizer(quantizer)


def noise(step, bits, density):
    """The mean square error for a density, integrated on a fine grid."""
    x = np.linspace(0, 14, 140_001)
    p = {
        "gaussian": np.exp(-x * x / 2) / math.sqrt(2 * math.pi),
        "laplace": np.exp(-math.sqrt(2) * x) / math.sqrt(2),
    }
    y = (np.minimum(np.floor(x / step), 2 ** (bits - 1) - 1) + 0.5) * step
    return 2 * (p[density] * (x - y) ** 2).sum() * 1e-4


@pytest.mark.parametrize("density, bits, decibels", [
    ("gaussian", 1, 4.40), ("gaussian", 2, 9.25), ("gaussian", 3, 14.27), ("gaussian", 4, 19.38),
    ("gaussian", 5, 24.57), ("gaussian", 6, 29.83), ("gaussian", 7, 35.17), ("gaussian", 8, 40.57),
    ("laplace", 1, 3.01), ("laplace", 2, 7.07), ("laplace", 3, 11.44), ("laplace", 4, 15.96),
])  # fmt: skip
def test_steps_are_the_best_ones(density, bits, decibels):
    step = STEPS[density][bits - 1]
    assert -10 * math.log10(noise(step, bits, density)) == pytest.approx(decibels, abs=0.02)
    assert noise(step, bits, density) <= min(noise(step * f, bits, density) for f in (0.98, 1.02))


def test_a_bit_is_worth_about_five_decibels():
    worth = np.diff([-10 * np.log10(noise(step, k + 1, "gaussian")) for k, step in enumerate(STEPS["gaussian"])])
    assert worth.min() > 4.8 and worth.max() < 5.45


@settings(max_examples=30)
@given(arrays(np.float64, (6, 3), elements=st.floats(-3, 3, width=32)), st.integers(1, 4))
def test_weights_stand_at_odd_halves_of_the_step_and_scale_with_their_spread(w, bits):
    q = FixedPointWeights(bits)
    y = q(Tensor(w)).data
    step = STEPS["gaussian"][bits - 1] * math.sqrt((w * w).mean())
    halves = y / step * 2 if step else np.ones_like(y)
    np.testing.assert_allclose(halves % 2, 1, atol=1e-9)
    assert abs(halves).max() <= 2**bits - 1 + 1e-9
    inside = abs(w) <= 2 ** (bits - 1) * step
    assert (abs(y - w)[inside] <= step / 2 + 1e-12).all()
    np.testing.assert_allclose(q(Tensor(4 * w)).data, 4 * y)


def test_one_bit_is_the_best_two_values_of_a_gaussian(rng):
    w = rng.standard_normal((2000, 1))
    y = FixedPointWeights(1)(Tensor(w)).data
    assert abs(y[0, 0]) == pytest.approx(math.sqrt(2 / math.pi), rel=0.03)
    np.testing.assert_array_equal(y > 0, w >= 0)
    assert FixedPointWeights(1).two_valued and not FixedPointWeights(2).two_valued


def test_activations_follow_the_spread_in_training_and_keep_it_in_evaluation(tmp_path, rng):
    q = FixedPointActivations(2)
    model = nn.Sequential(nn.Linear(4, 3, rng=rng), q)
    x = Tensor(3 * rng.standard_normal((50, 3), np.float32), requires_grad=True)
    y = q(x)
    np.testing.assert_allclose(np.unique(abs(y.data)), [0.49785, 1.49355], rtol=1e-6, err_msg="the spread before")
    y.backward(np.ones_like(x.data))
    np.testing.assert_array_equal(x.grad, abs(x.data) < 2 * np.float32(0.9957))
    after = 0.9 + 0.1 * math.sqrt((x.data.astype(float) ** 2).mean())
    assert float(q.spread.data) == pytest.approx(after)
    save_checkpoint(tmp_path / "a.npz", model.eval())
    q(x)
    assert float(q.spread.data) == pytest.approx(after)
    images = Tensor(rng.standard_normal((9, 4), np.float32))
    with no_grad():
        np.testing.assert_array_equal(load_model(tmp_path / "a.npz")(images).data, model(images).data)
    q.reset_parameters(rng)
    assert float(q.spread.data) == 1


def test_bits_are_divided_by_the_sizes_of_layers(rng):
    layers = [
        nn.Conv2d(3, 64, 5, rng=rng),
        nn.Conv2d(64, 16, 5, rng=rng),
        nn.GlobalAvgPool(),
        nn.Linear(16, 6400, rng=rng),
    ]
    bits = allocate_bits(summary(nn.Sequential(*layers), (12, 12, 3)), 8)
    assert list(bits) == ["0", "1", "3"]
    np.testing.assert_allclose(list(bits.values()), [8, 5.58, 3.57], atol=0.01)


def test_noise_of_several_layers_adds_up():
    assert combined_sqnr([20, 20, 30]) == pytest.approx(16.78, abs=0.005)
    assert combined_sqnr([12.5]) == pytest.approx(12.5)
    assert combined_sqnr([-1e6, 1e6]) == -1e6 and combined_sqnr([1e6, 1e6]) == pytest.approx(1e6 - 3.0103)


def test_rounding_at_random_keeps_the_mean(rng):
    x = np.tile(np.array([-0.3, 0.0, 0.1, 0.26, 1.0]), (20_000, 1))
    y = stochastic_rounding(x, 0.25, rng)
    np.testing.assert_allclose(y.mean(0), x[0], atol=0.005)
    assert (y % 0.25 == 0).all() and (abs(y - x) < 0.25).all()


@pytest.mark.parametrize("make, message", [
    (lambda: FixedPointWeights(0), "FixedPointWeights: bits must be an int at least 1 and at most 8, got 0"),
    (lambda: FixedPointActivations(9), "FixedPointActivations: bits must be an int at least 1 and at most 8, got 9"),
    (lambda: FixedPointWeights(2, "gauss"), "FixedPointWeights: density must be one of gaussian, laplace, got 'gauss'"),
    (lambda: FixedPointWeights()(Tensor(np.ones((0, 3)))), r"FixedPointWeights: w: \(0, 3\) is empty, and has no spread"),
    (lambda: FixedPointActivations()(Tensor([np.inf])),
     "FixedPointActivations: its spread of 1.0 would become inf, which gives no step"),
    (lambda: allocate_bits(summary(nn.Sequential(nn.ReLU()), (3,))), "allocate_bits: the network has no conv or linear"),
    (lambda: allocate_bits(None, 0), "allocate_bits: first must be a number above 0, got 0"),
    (lambda: allocate_bits(None, 8, -1), "allocate_bits: kappa must be a number above 0, got -1"),
    (lambda: stochastic_rounding(np.arange(3), 1, np.random.default_rng(0)), "stochastic_rounding: x must be floats of"),
    (lambda: allocate_bits(nn.ReLU()), r"allocate_bits: counted must be a Summary, from summary\(\), got ReLU"),
    (lambda: combined_sqnr([]), "combined_sqnr: decibels is empty"),
    (lambda: combined_sqnr([1, math.nan]), r"combined_sqnr: decibels\[1\] must be a finite number, got nan"),
    (lambda: stochastic_rounding(np.ones(2), 0, np.random.default_rng(0)), "stochastic_rounding: step must be a number above 0"),
])  # fmt: skip
def test_bad_input_is_refused_in_a_sentence(make, message):
    with pytest.raises((ValueError, TypeError), match=f"^{message}"):
        make()
