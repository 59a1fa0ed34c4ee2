"""What is not selected has no say: an infinity meets a 0 in every op that chooses, forwards and backwards."""

import numpy as np
import pytest

from duonet import Tensor, backend, exact, nn
from duonet import functional as F
from duonet.quant import (
    Binary,
    Clip,
    FilterScaleSign,
    Identity,
    Polynomial,
    ReLU,
    Shifted,
    Sign,
    Triangle,
    quantize,
)

INF = np.inf
ROW = np.array([[-2.0, -0.5, 0.25, 0.75, 3.0]])


def on(device, array, dtype="float64"):
    return Tensor(backend.to_device(np.asarray(array, dtype), device), requires_grad=True)


def gradient(op, x, dy, device, dtype):
    x = on(device, x, dtype)
    op(x).backward(backend.to_device(np.asarray(dy, dtype), device))
    return backend.to_device(x.grad, "cpu")


CHOOSING = {  # op, and the slope at ROW
    "relu": (F.relu, [0, 0, 1, 1, 1]),
    "clip": (lambda x: F.clip(x, 0, 1), [0, 0, 1, 1, 0]),
    "hardtanh": (F.hardtanh, [0, 1, 1, 1, 0]),
    "quantize": (lambda x: quantize(x, Binary(), Clip(0, 1)), [0, 0, 1, 1, 0]),
    "quantize, relu": (lambda x: quantize(x, Binary(), ReLU()), [0, 0, 1, 1, 1]),
    "quantize, shifted": (lambda x: quantize(x, Binary(), Shifted(Clip(0, 1), 0.5)), [0, 0, 0, 1, 0]),
    "quantize, polynomial": (lambda x: quantize(x, Sign(), Polynomial()), [0, 1, 1.5, 0.5, 0]),
    "quantize, triangle": (lambda x: quantize(x, Sign(), Triangle()), [0, 0.5, 0.75, 0.25, 0]),
    "dropout": (
        lambda x: F.dropout(x, 0.5, np.random.default_rng(1)),
        2 * (np.random.default_rng(1).random((1, 5), np.float32) >= 0.5),
    ),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("dy", [INF, -INF, np.nan])
@pytest.mark.parametrize("name", CHOOSING)
def test_an_infinite_gradient_of_what_was_not_chosen_is_nothing(name, dy, dtype, device):
    op, slope = CHOOSING[name]
    slope = np.reshape(slope, ROW.shape)
    with np.errstate(all="raise"):
        dx = gradient(op, ROW, np.full(ROW.shape, dy), device, dtype)
    np.testing.assert_array_equal(dx[slope == 0], 0)
    np.testing.assert_array_equal(dx[slope > 0], dy)
    mixed = np.where(slope == 0, dy, -2.0)  # the rest keeps its ordinary numbers
    np.testing.assert_array_equal(gradient(op, ROW, mixed, device, dtype), np.where(slope == 0, 0, -2 * slope))


@pytest.mark.parametrize("size, stride, padding", [(2, 2, 0), (3, 2, 1)])
def test_max_pool_hands_an_infinite_gradient_to_the_maximum_alone(size, stride, padding, device, rng):
    x = rng.permutation(2 * 4 * 4 * 3).reshape(2, 4, 4, 3)
    finite = gradient(
        lambda x: F.max_pool2d(x, size, stride, padding), x, np.ones((2, 2, 2, 3)), device, "float32"
    )
    dx = gradient(
        lambda x: F.max_pool2d(x, size, stride, padding), x, np.full((2, 2, 2, 3), INF), device, "float32"
    )
    np.testing.assert_array_equal(dx, np.where(finite > 0, INF, 0))


def test_max_hands_an_infinite_gradient_to_the_maxima_alone(device):
    x = [[1, 3, 3], [2, 0, 1]]
    dx = gradient(lambda x: x.max(axis=1), x, [INF, 2], device, "float32")
    np.testing.assert_array_equal(dx, [[0, INF, INF], [2, 0, 0]])


def test_batch_norm_and_staircase_in_one_select_too(device):
    norm, activation = nn.BatchNorm(1), nn.QuantActivation(Binary(), Clip(0, 1))
    model = nn.Sequential(norm, activation).eval().to("gpu" if device == "gpu" else "cpu")
    dx = gradient(model, [[-1.0], [0.5], [2.0]], [[INF], [1], [INF]], device, "float32")
    np.testing.assert_allclose(dx, [[0], [1], [0]], rtol=1e-4)


def test_a_class_ruled_out_costs_nothing(device):
    labels = backend.to_device(np.array([2]), device)
    with np.errstate(all="raise"):
        x = on(device, [[1, -INF, 2]], "float32")
        loss = F.softmax_cross_entropy(x, labels)
        loss.backward()
    assert loss.item() == pytest.approx(0.31326169)
    np.testing.assert_allclose(backend.to_device(x.grad, "cpu"), [[0.26894143, 0, -0.26894143]], rtol=1e-6)
    impossible = F.softmax_cross_entropy(on(device, [[1, -INF, 2]]), backend.to_device(np.array([1]), device))
    assert impossible.item() == INF


@pytest.mark.parametrize("loss", [F.softmax_cross_entropy, F.squared_hinge_loss])
def test_a_loss_hands_an_infinite_gradient_to_those_that_had_a_part_in_it(loss, device):
    x = on(device, [[3, -INF, -INF]], "float32")
    y = loss(x, backend.to_device(np.array([0]), device))
    y.backward(backend.to_device(np.asarray(INF, "float32"), device))
    np.testing.assert_array_equal(backend.to_device(x.grad, "cpu"), 0)


def test_dropout_drops_an_infinity(device):
    y = F.dropout(on(device, np.full((4, 50), INF)), 0.5, np.random.default_rng(0)).numpy()
    assert set(np.unique(y)) == {0, INF}


def test_weights_beyond_the_window_add_no_scale():
    w = Tensor(np.array([[INF, 0.5], [0.5, 0.5]]), requires_grad=True)
    FilterScaleSign()(w).backward(np.ones((2, 2)))
    np.testing.assert_array_equal(w.grad, [[0.5, 1.0], [INF, 1.0]])


def test_a_slope_of_one_changes_no_bit(rng):
    dy = np.concatenate([rng.standard_normal(9), [-0.0, 0.0, INF, 5e-324]]).astype("float32")
    for dx in (exact.select(dy == dy, dy), exact.chain(dy, Identity().derivative(dy))):
        assert dx.tobytes() == dy.tobytes()
