"""DoReFa's gradients: levels, a mean that stays, zeros that stay, and a layer that is nothing forwards."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from duonet import Tensor, check_quantizer, nn
from duonet.methods import DoReFaGradients, quantized_gradient

G = np.array([[0.3, -1, 0.05]])


def layer(bits=2, seed=0):
    return DoReFaGradients(bits, rng=np.random.default_rng(seed))


def test_it_keeps_its_promises(device):
    check_quantizer(layer(), (60, 3))


@pytest.mark.parametrize("draws, last", [(0.5, 1 / 3), (0.1, -1 / 3)])
def test_values_with_and_without_noise(draws, last):
    np.testing.assert_allclose(quantized_gradient(G, 2, draws), [[1 / 3, -1, last]])


def test_the_mean_over_draws_is_the_gradient():
    x = Tensor(np.zeros((20_000, 3)), requires_grad=True)
    layer()(x).backward(np.tile(G, (20_000, 1)))
    np.testing.assert_allclose(x.grad.mean(0), G[0], atol=0.01)
    assert set(np.unique(x.grad.round(6))) == {-1, -0.333333, 0.333333}, "next to it, and never 0"


@settings(max_examples=40)
@given(arrays(np.float64, (3, 2, 4), elements=st.floats(-4, 4, width=32)), st.integers(1, 5), st.floats(0, 1))
def test_every_sample_has_its_own_levels(g, bits, draws):
    y = quantized_gradient(g, bits, draws)
    n = 2**bits - 1
    for sample, found in zip(g, y):
        m = np.abs(sample).max()
        steps = (found / m / 2 + 0.5) * n if m else np.zeros(1)
        np.testing.assert_allclose(steps, steps.round(), atol=1e-9)
        assert np.abs(found).max() <= m
        assert np.abs(found - sample).max() <= 2 * m / n + 1e-12
        if m == 0:
            assert not found.any()
    np.testing.assert_array_equal(quantized_gradient(4 * g, bits, draws), 4 * y)


def test_it_draws_for_every_backward_pass_in_training_alone_and_changes_nothing_forwards(rng):
    x = Tensor(rng.standard_normal((4, 3)), requires_grad=True)
    dy = rng.standard_normal((4, 3))
    q, seen = layer(), []
    for _ in range(3):
        y = q(x)
        np.testing.assert_array_equal(y.data, x.data)
        x.zero_grad()
        y.backward(dy)
        seen.append(x.grad)
        if len(seen) == 2:
            q.eval()
    assert (seen[0] != seen[1]).any()
    np.testing.assert_array_equal(seen[2], dy)


def test_float16_and_a_network_of_it(rng):
    x = Tensor(np.ones((2, 3), np.float16), requires_grad=True)
    layer(8)(x).backward(np.array([[1e-6, 0, 60000], [0, 0, 0]], np.float16))
    assert np.isfinite(x.grad).all() and not x.grad[1].any()
    model = nn.Sequential(nn.Linear(4, 3, rng=rng), layer(4), nn.BatchNorm(3))
    model(Tensor(rng.standard_normal((8, 4), np.float32))).sum().backward()
    assert np.isfinite(model[0].weight.grad).all()


@pytest.mark.parametrize("make, message", [
    (lambda: layer(0), "DoReFaGradients: gradient_bits must be an int at least 1 and at most 16, got 0"),
    (lambda: DoReFaGradients(2, rng=0), "DoReFaGradients: rng must be a numpy.random.Generator, got int"),
    (lambda: quantized_gradient(G, 17), "quantized_gradient: bits must be an int at least 1 and at most 16, got 17"),
])  # fmt: skip
def test_bad_input_is_refused_in_a_sentence(make, message):
    with pytest.raises((ValueError, TypeError), match=f"^{message}"):
        make()
