"""Products with weights ±α: whole sums, one rounding, and the gradients of the plain product."""

import numpy as np
import pytest

from duonet import (
    Tensor,
    backend,
    check_gradients,
    decouple,
    models,
    nn,
    no_grad,
    plain_ops,
    quant,
    smooth_forward,
)
from duonet import functional as F
from duonet.signs import sign_product

QUANTIZERS = [quant.LayerScaleSign, quant.FilterScaleSign]


def layer_and_input(kind, quantizer, rng, bias=True):
    """A layer whose scale is no power of two, and whole inputs for it."""
    if kind == "conv":
        layer = nn.Conv2d(7, 5, 3, rng=rng, stride=2, padding=1, weight_quantizer=quantizer(), bias=bias)
        shape = (3, 9, 8, 7)
    else:
        layer, shape = nn.Linear(63, 5, rng=rng, weight_quantizer=quantizer(), bias=bias), (6, 63)
    if bias:
        layer.bias.data[...] = rng.standard_normal(5)
    return layer, rng.integers(-2, 3, shape).astype(np.float32) / 2


def product(layer, x, w, bias):
    """What the layer computes of a weight, by the public op."""
    return F.linear(x, w, bias) if w.ndim == 2 else F.conv2d(x, w, bias, layer.stride, layer.padding)


@pytest.mark.parametrize("quantizer", QUANTIZERS)
@pytest.mark.parametrize("kind", ["conv", "linear"])
@pytest.mark.parametrize("bias", [True, False])
def test_the_scale_multiplies_the_whole_sum(kind, quantizer, bias, rng, device):
    layer, x = layer_and_input(kind, quantizer, rng, bias)
    latent = layer.weight.numpy()
    signs = np.where(latent >= 0, 1, -1)
    axes = None if quantizer is quant.LayerScaleSign else tuple(range(latent.ndim - 1))
    scale = np.abs(latent).mean(axis=axes, dtype=np.float64).astype(np.float32)
    sums = product(layer, Tensor(x.astype(np.float64)), Tensor(signs.astype(np.float64)), None).numpy()
    expected = sums.astype(np.float32) * scale
    if bias:
        expected += layer.bias.numpy()
    layer.to(device)
    with no_grad():
        got = layer(Tensor(backend.to_device(x, device))).numpy()
    np.testing.assert_array_equal(got, expected)
    assert got.dtype == np.float32


@pytest.mark.parametrize("quantizer", QUANTIZERS)
@pytest.mark.parametrize("kind", ["conv", "linear"])
def test_gradients_are_those_of_the_product_with_the_weight_itself(kind, quantizer, rng, device):
    layer, x = layer_and_input(kind, quantizer, rng)
    layer.to(device)
    found = []
    for run in (
        layer,
        lambda x: product(layer, x, layer.weight_quantizer(layer.weight), layer.bias),
    ):
        tensor = Tensor(backend.to_device(x, device), requires_grad=True)
        y = run(tensor)
        y.backward(backend.to_device(np.random.default_rng(5).standard_normal(y.shape, dtype=np.float32), device))
        found.append([backend.to_device(t.grad, "cpu") for t in (tensor, layer.weight, layer.bias)])
        layer.zero_grad()
    for one, other in zip(*found):
        np.testing.assert_array_equal(one, other)


def test_gradients_of_a_layer_are_those_that_its_quantiser_states(rng):
    for quantizer, slope in (
        (quant.LayerScaleSign, lambda w: 1),
        (quant.FilterScaleSign, lambda w: 1 / len(w) + np.abs(w).mean(axis=0) * (np.abs(w) < 1)),
    ):
        layer = nn.Linear(8, 3, rng=rng, weight_quantizer=quantizer(), bias=False)
        layer.weight.data = rng.standard_normal((8, 3))
        x, dy = rng.standard_normal((4, 8)), rng.standard_normal((4, 3))
        layer(Tensor(x)).backward(dy)
        np.testing.assert_allclose(layer.weight.grad, x.T @ dy * slope(layer.weight.data), rtol=1e-13)


@pytest.mark.parametrize("kind", ["conv", "linear"])
def test_the_surrogate_of_a_layer_has_these_gradients(kind, rng):
    layer, x = layer_and_input(kind, quant.LayerScaleSign, rng)
    layer.astype(np.float64)

    def function(x, weight, bias):
        layer.weight, layer.bias = weight, bias
        return layer(x)

    layer.weight, layer.bias, w, b = None, None, layer.weight.data, layer.bias.data
    check_gradients(function, x.astype(np.float64), w, b, against="surrogate")


def test_weights_that_are_all_zero_still_learn(rng):
    for quantizer in QUANTIZERS:
        layer = nn.Linear(3, 2, rng=rng, weight_quantizer=quantizer(), bias=False)
        layer.weight.data[:, 0] = 0
        if quantizer is quant.LayerScaleSign:
            layer.weight.data[...] = 0
        y = layer(Tensor(np.ones((4, 3), np.float32)))
        assert (y.data[:, 0] == 0).all()
        y.backward(np.ones_like(y.data))
        assert (layer.weight.grad != 0).all() and np.isfinite(layer.weight.grad).all()


def test_any_order_of_summation_gives_the_same_bits(rng):
    """Of plain ops and twins, Winograd's included, on whole inputs."""
    conv = nn.Conv2d(64, 64, 3, rng=rng, padding=1, weight_quantizer=quant.LayerScaleSign(), bias=False)
    x = Tensor(rng.integers(0, 2, (2, 8, 8, 64)).astype(np.float32))
    with no_grad():
        fast = conv(x).data
        with plain_ops():
            np.testing.assert_array_equal(conv(x).data, fast)


def test_a_decoupled_network_with_binary_weights_has_the_same_bits(rng):
    coupled = models.mlp("coupled", inputs=20, widths=(32, 32, 32), classes=4, weights="binary", rng=rng).eval()
    coupled.classifier = nn.Linear(
        coupled.classifier.inputs, 4, rng=rng, weight_quantizer=quant.LayerScaleSign()
    ).eval()
    binary = decouple(coupled)
    x = Tensor(rng.standard_normal((50, 20), dtype=np.float32))
    with no_grad():
        np.testing.assert_array_equal(coupled(x).data, binary(x).data)


def test_a_quantiser_of_several_levels_multiplies_as_it_is(rng):
    class Thirds(quant.Quantizer):
        bits = 2

        def forward(self, w):
            return quant.quantize(w, quant.Staircase([-1 / 3, 1 / 3], [-1, 0, 1]), quant.Identity())

    class Lying(quant.LayerScaleSign):
        def forward(self, w):
            return w * 2

    for quantizer in (Thirds(), Lying()):
        layer = nn.Linear(3, 2, rng=rng, weight_quantizer=quantizer)
        x = Tensor(rng.standard_normal((4, 3), dtype=np.float32))
        np.testing.assert_array_equal(layer(x).data, F.linear(x, quantizer(layer.weight), layer.bias).data)
    replaced = nn.Linear(3, 2, rng=rng, weight_quantizer=quant.LayerScaleSign())
    replaced.weight_quantizer.forward = lambda w: w * 2
    np.testing.assert_array_equal(replaced(x).data, F.linear(x, replaced.weight * 2, replaced.bias).data)


def test_smooth_layers_compute_with_the_latent_weight(rng):
    layer, x = layer_and_input("linear", quant.LayerScaleSign, rng)
    with smooth_forward():
        np.testing.assert_array_equal(layer(Tensor(x)).data, F.linear(Tensor(x), layer.weight, layer.bias).data)


def test_steps_are_checked(rng):
    w = Tensor(np.ones((3, 3, 1, 1), np.float32))
    with pytest.raises(TypeError, match="conv2d: stride"):
        sign_product(Tensor(np.ones((1, 5, 5, 1), np.float32)), w, stride=1.5)
    with pytest.raises(ValueError, match="conv2d: x has 2 channels"):
        sign_product(Tensor(np.ones((1, 5, 5, 2), np.float32)), w)
    with pytest.raises(ValueError, match="linear: x"):
        sign_product(Tensor(np.ones((1, 5), np.float32)), Tensor(np.ones((4, 2), np.float32)))
