"""Latent weights are clipped and centred in place after every step of `fit`, and nowhere else."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from duonet import Tensor, data, fit, nn, optim
from duonet.methods import BNNWeights, StochasticWeights, XNORWeights, centre_weights, clip_weights
from duonet.quant import FilterScaleSign

QUANTIZERS = {
    "bnn": lambda: BNNWeights(),
    "bnn wider": lambda: BNNWeights(1.3),
    "stochastic": lambda: StochasticWeights(rng=np.random.default_rng(3)),
    "xnor": lambda: XNORWeights("code", centred=True),
}


def trained(quantizer, epochs=1, lr=0.5, frozen=False, starting=None):
    """A layer of quantised weights after a few steps of `fit`, and its optimiser."""
    rng = np.random.default_rng(0)
    toy = data.Dataset(rng.integers(0, 255, (12, 1, 1, 6)).astype(np.uint8), np.arange(12) % 3)
    model = (
        nn.Sequential(nn.Flatten(), nn.Linear(6, 3, rng=rng, weight_quantizer=quantizer))
        if starting is None
        else starting
    )
    model[1].weight.requires_grad = not frozen
    loader = data.DataLoader(toy, 4, data.Normalize.of(toy.images))
    optimizer = optim.SGD(model.parameters(), lr)
    fit(model, loader, optimizer, epochs, progress=False)
    return model, optimizer


@pytest.mark.parametrize("name, limit", [("bnn", 1), ("bnn wider", 1.3), ("stochastic", 1), ("xnor", 1)])
def test_steps_end_within_the_bounds(name, limit):
    model, optimizer = trained(QUANTIZERS[name]())
    weight = model[1].weight
    assert abs(weight.data).max() == np.float32(limit), "the rate is large, so that some weight meets the bound"
    assert optimizer._vectors[0].views[1 if weight is optimizer.parameters[1] else 0] is weight.data, "in place"


def test_a_quantiser_without_bounds_and_a_frozen_weight_are_left_alone():
    assert abs(trained(FilterScaleSign(), lr=50)[0][1].weight.data).max() > 1.3
    model, _ = trained(BNNWeights())
    model[1].weight.data *= 3
    before = model[1].weight.data.copy()
    trained(None, frozen=True, starting=model)
    np.testing.assert_array_equal(model[1].weight.data, before)


def test_xnors_filters_have_mean_0_before_they_are_clipped():
    w = np.array([[0.5, 3.0, -0.5], [0.25, -3.0, -1.0]], np.float32)
    for quantizer, expected in (
        (XNORWeights(centred=True), [[0.125, 1, 0.25], [-0.125, -1, -0.25]]),
        (XNORWeights(), w),
    ):
        layer = nn.Linear(2, 3, rng=np.random.default_rng(0), weight_quantizer=quantizer)
        layer.weight.data[...] = w
        layer.after_step()
        np.testing.assert_array_equal(layer.weight.data, expected)


def test_means_are_taken_over_input_channels_at_each_place_of_a_kernel(rng, device):
    weight = nn.Conv2d(4, 2, 3, rng=rng).astype("float64").to(device).weight
    kept, changes = weight.data, weight._changes[0]
    w = weight.numpy()
    centre_weights(weight)
    assert weight.data is kept and weight._changes[0] > changes
    np.testing.assert_allclose(weight.numpy(), w - w.mean(2, keepdims=True), atol=1e-15)


@settings(max_examples=30)
@given(arrays(np.float32, (4, 3), elements=st.floats(-3, 3, width=32)), st.floats(0.125, 2, width=16))
def test_projecting_twice_is_projecting_once(w, limit):
    once = Tensor(w.copy())
    clip_weights(once, limit)
    np.testing.assert_array_equal(once.data, np.clip(w, -limit, limit))
    twice = Tensor(once.data.copy())
    clip_weights(twice, limit)
    np.testing.assert_array_equal(twice.data, once.data)
    centre_weights(once)
    centred = once.data.copy()
    centre_weights(once)
    np.testing.assert_allclose(once.data, centred, atol=1e-6)


def test_a_backward_pass_through_weights_from_before_is_refused():
    w = Tensor([[0.5], [2.0]], requires_grad=True)
    loss = (w * w).sum()
    clip_weights(w)
    with pytest.raises(RuntimeError, match="changed in place"):
        loss.backward()


@pytest.mark.parametrize("make, message", [
    (lambda: BNNWeights(0), "BNNWeights: limit must be a number above 0, got 0"),
    (lambda: BNNWeights(np.nan), "BNNWeights: limit must be a number above 0, got nan"),
    (lambda: clip_weights(Tensor([1.0]), -1), "clip_weights: limit must be a number above 0, got -1"),
    (lambda: centre_weights(Tensor(np.ones((1, 3)))), r"centre_weights: expected w \(\.\.\., C, OC\) with C at least 2, got shape \(1, 3\)"),
    (lambda: clip_weights(np.ones(3)), "clip_weights: weight must be a Tensor, got ndarray"),
    (lambda: centre_weights(np.ones((3, 3))), "centre_weights: weight must be a Tensor, got ndarray"),
    (lambda: centre_weights(Tensor(np.ones(3))), r"centre_weights: expected w .*, got shape \(3,\)"),
])  # fmt: skip
def test_bad_input_is_refused_in_a_sentence(make, message):
    with pytest.raises((ValueError, TypeError), match=f"^{message}"):
        make()
