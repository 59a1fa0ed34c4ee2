"""XNOR-Net's input scales: the known values of K, its gradient, and what the package makes of the layer."""

import numpy as np
import pytest

from duonet import Tensor, backend, check_gradients, load_model, nn, no_grad, save_checkpoint, summary
from duonet.methods import InputScales
from duonet.quant import FilterScaleSign

A = np.array([[0.75, 1.5, 0.375], [0, 2.25, 0.75], [1.5, 0.375, 1.125]])
K = np.array([[0.5, 0.625, 0.541667], [0.708333, 0.958333, 0.708333], [0.458333, 0.666667, 0.5]])


def conv(rng, **more):
    options = {"padding": 1, "bias": False, "weight_quantizer": FilterScaleSign()} | more
    return nn.Conv2d(2, 3, 3, rng=rng, **options)


def test_k_is_the_mean_size_over_channels_and_window(rng):
    x = np.stack([A * 1.5, -A * 0.5], axis=-1)[None]
    np.testing.assert_allclose(InputScales(conv(rng)).scales(Tensor(x)).data[0, ..., 0], K, atol=1e-6)


@pytest.mark.parametrize("more", [{}, {"stride": 2}, {"padding": 0, "stride": 2}])
def test_the_product_of_signs_is_scaled(more, rng):
    layer, x = InputScales(conv(rng, **more)), rng.standard_normal((2, 5, 5, 2), np.float32)
    signs = np.where(x >= 0, 1, -1).astype(np.float32)
    y = layer(Tensor(x))
    np.testing.assert_allclose(y.data, layer.body(Tensor(signs)).data * layer.scales(Tensor(x)).data, rtol=1e-6)
    np.testing.assert_allclose(layer(Tensor(4 * x)).data, 4 * y.data, rtol=1e-6)


@pytest.mark.parametrize("linear", [False, True])
def test_its_gradient_is_that_of_its_surrogate(linear, rng):
    body = nn.Linear(5, 3, rng=rng, bias=False) if linear else conv(rng, weight_quantizer=None)
    layer = InputScales(body).astype("float64")
    shape = (2, 5) if linear else (1, 4, 4, 2)
    x = rng.uniform(0.1, 0.9, shape) * rng.choice([-1, 1], shape)
    check_gradients(layer, x, against="surrogate")


def test_it_is_counted_saved_and_moved(rng, tmp_path, device):
    model = nn.Sequential(nn.Conv2d(1, 2, 3, rng=rng), nn.BatchNorm(2), InputScales(conv(rng))).eval()
    counted = summary(model, (6, 6, 1))
    assert counted.activation_bits == counted.weight_bits == 1 and counted.macs == 16 * 18 + 16 * 54
    assert counted.total.operations == 16 * 18 + 16 * 54 / 64
    save_checkpoint(tmp_path / "a.npz", model)
    x = Tensor(rng.standard_normal((2, 6, 6, 1), np.float32))
    with no_grad():
        y = model(x).data
        np.testing.assert_array_equal(load_model(tmp_path / "a.npz")(x).data, y)
        moved = model.to(device)(Tensor(backend.to_device(x.data, device)))
        np.testing.assert_allclose(moved.numpy(), y, atol=1e-5)


@pytest.mark.parametrize("make, message", [
    (lambda rng: InputScales(nn.ReLU()), "InputScales: body must be a Conv2d or Linear, got ReLU"),
    (lambda rng: InputScales(nn.Linear(3, 2, rng=rng)), "InputScales: body must have no bias"),
])  # fmt: skip
def test_bad_input_is_refused_in_a_sentence(make, message, rng):
    with pytest.raises((ValueError, TypeError), match=f"^{message}"):
        make(rng)
