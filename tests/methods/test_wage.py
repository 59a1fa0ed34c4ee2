"""WAGE: everything on a grid, forwards, backwards and in every step; and that a network learns that way."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from duonet import Parameter, Tensor, data, fit, load_checkpoint, nn, save_checkpoint
from duonet import functional as F
from duonet.methods import WAGESGD, WAGEActivation, WAGEErrors, WAGEWeights, wage_uniform
from duonet.methods.wage import divisor, on_grid, order

W = np.array([-1.2, -0.3, -0.25, 0.1, 0.24, 0.26, 0.9])
G = np.array([0.03, -0.2, 0.7, 0])


class Half:
    """A generator whose draws are ½."""

    def random(self, shape, dtype):
        return np.full(shape, 0.5, dtype)


def optimiser(*parameters, lr=8.0, seed=0):
    return WAGESGD(parameters, lr, rng=np.random.default_rng(seed))


def test_values_of_weights_and_their_gradient():
    w = Tensor(W[:, None], requires_grad=True)
    y = WAGEWeights()(w)
    assert y.data.ravel().tolist() == [-0.5, -0.5, 0, 0, 0, 0.5, 0.5]
    y.backward(np.arange(7.0)[:, None])
    assert w.grad.ravel().tolist() == list(range(7))


@pytest.mark.parametrize("fan_in, scale", [(27, 2), (576, 8), (1152, 16), (2304, 16), (8192, 32)])
def test_scale_and_start_of_a_layer(fan_in, scale):
    assert divisor((fan_in, 4), 2) == scale
    w = wage_uniform(np.random.default_rng(0), (fan_in, 4))
    assert abs(w).max() <= 0.75 and w.std() == pytest.approx(0.75 / np.sqrt(3), rel=0.15)
    assert set(np.unique(WAGEWeights()(Tensor(w)).data)) == {-0.5 / scale, 0, 0.5 / scale}


def test_values_of_activations():
    x = Tensor([0.3, 0.9999, -2.0, 0.5], requires_grad=True)
    y = WAGEActivation()(x)
    assert y.data.tolist() == [0.296875, 0.9921875, 0, 0.5]
    y.sum().backward()
    assert x.grad.tolist() == [1, 0, 0, 1]


def test_values_of_errors():
    x = Tensor(np.zeros(4), requires_grad=True)
    layer = WAGEErrors()
    assert layer.eval()(x) is x
    layer.train()(x).backward(np.array([0.004, -0.02, 0.0007, 0.011]))
    np.testing.assert_allclose(x.grad, [0.257812, -0.992188, 0.046875, 0.703125], atol=1e-6)


@pytest.mark.parametrize("x, expected", [(0.03, 0.03125), (0.7, 0.5), (1, 1), (1.4, 1), (1.5, 2), (3, 4), (0, 1)])
def test_the_order_of_a_number(x, expected):
    assert float(order(np.array([-x, x / 2]))) == expected


def test_values_of_a_step():
    w = Parameter(np.zeros(4))
    steps = optimiser(w)
    steps.rng, w.grad = Half(), G
    steps.step()
    np.testing.assert_allclose(-w.data, [0, -0.023438, 0.085938, 0], atol=1e-6)
    assert steps.steps == [1]


def test_a_step_is_rounded_to_16_bits_and_as_long_in_every_parameter_whatever_its_gradient():
    parameters = [Parameter(np.zeros(2)), Parameter(np.zeros(2))]
    steps = optimiser(*parameters, lr=1.0)
    steps.rng = Half()
    for p, size in zip(parameters, (1, 1024)):
        p.grad = size * np.array([1, 0.5 + 2.0**-17])  # rounded to a half, above which a draw of a half is not
    before = (parameters[0] * parameters[1]).sum()
    steps.step()
    for p in parameters:
        np.testing.assert_array_equal(p.data * 128, [-1, 0])
    with pytest.raises(RuntimeError, match="changed"):
        before.backward()


def test_the_mean_of_a_step_is_the_gradient_over_its_order():
    w = Parameter(np.tile(0 * G, (4000, 1)))
    w.grad = np.tile(G, (4000, 1))
    optimiser(w).step()
    np.testing.assert_allclose(-w.data.mean(0), 8 * G / 0.5 / 128, atol=4 * 0.5 / 128 / np.sqrt(4000))


@settings(max_examples=40)
@given(arrays(np.float32, 8, elements=st.floats(-1e6, 1e6, width=32)), st.integers(2, 12))
def test_everything_is_a_whole_number_of_units(x, bits):
    unit = 2.0 ** (1 - bits)
    made = [on_grid(x, bits), WAGEActivation(bits)(Tensor(x)).data]
    error = Tensor(0 * x, requires_grad=True)
    WAGEErrors(bits)(error).backward(x)
    w = Parameter(np.zeros_like(x))
    w.grad = x
    WAGESGD([w], 1, bits, rng=np.random.default_rng(0)).step()
    for y in (*made, error.grad, w.data):
        np.testing.assert_array_equal(y / unit, np.rint(y / unit))
    assert max(abs(y).max() for y in (*made, error.grad)) <= 1 - unit


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_a_gradient_of_nothing_but_zeros_moves_nothing(dtype):
    w, x = Parameter(np.ones(3, dtype)), Tensor(np.ones(3, dtype), requires_grad=True)
    w.grad = np.zeros(3, dtype)
    optimiser(w).step()
    WAGEErrors()(x).backward(np.zeros(3, dtype))
    assert (w.data == 1).all() and (x.grad == 0).all() and w.dtype == dtype


def network(rng):
    def layer(n, m):
        return nn.Linear(n, m, rng=rng, bias=False, init=wage_uniform, weight_quantizer=WAGEWeights())

    return nn.Sequential(
        nn.Flatten(), layer(6, 16), WAGEErrors(), WAGEActivation(), layer(16, 16), WAGEErrors(), WAGEActivation(),
        layer(16, 3), WAGEErrors(),
    )  # fmt: skip


def squares(y, labels):
    return F.mse_loss(y, np.eye(3, dtype="float32")[labels])


def test_a_network_of_integers_learns_stays_on_its_grid_and_goes_on_from_a_checkpoint(rng, tmp_path):
    images = rng.integers(0, 255, (64, 1, 1, 6)).astype(np.uint8)
    toy = data.Dataset(images, images[:, 0, 0, :3].argmax(1))

    def run(model, steps, epochs, history=None):
        loader = data.DataLoader(toy, 16, data.Normalize.of(images), rng=np.random.default_rng(1))
        return fit(model, loader, steps, epochs, loss=squares, progress=False, history=history)

    model = network(np.random.default_rng(0))
    steps = WAGESGD(model.parameters(), 2, rng=np.random.default_rng(3))
    history = run(model, steps, 12)
    assert history["loss"][-1] < 0.7 * history["loss"][0]
    for p in model.parameters():
        np.testing.assert_array_equal(p.data * 128, np.rint(p.data * 128))
        assert abs(p.data).max() <= 1 - 2**-7
    save_checkpoint(tmp_path / "a.npz", model, optimizer=steps, history=history)
    again = load_checkpoint(tmp_path / "a.npz")
    for one, the_steps, past in ((model, steps, history), (again.model, again.optimizer, again.history)):
        run(one, the_steps, 13, past)
    for a, b in zip(model.parameters(), again.model.parameters()):
        np.testing.assert_array_equal(a.data, b.data)


@pytest.mark.parametrize("make, message", [
    (lambda: WAGEWeights(1), "WAGEWeights: bits must be an int at least 2 and at most 8, got 1"),
    (lambda: WAGEActivation(1), "WAGEActivation: grid must be an int at least 2 and at most 16, got 1"),
    (lambda: WAGEErrors(17), "WAGEErrors: gradient_bits must be an int at least 2 and at most 16, got 17"),
    (lambda: WAGESGD([Parameter([1.0])], bits=1, rng=np.random.default_rng(0)), "WAGESGD: bits must be an int"),
    (lambda: WAGESGD([Parameter([1.0])], rng=0), "WAGESGD: rng must be a numpy.random.Generator, got int"),
    (lambda: wage_uniform(0, (3, 4)), "wage_uniform: rng must be a numpy.random.Generator, got int"),
])  # fmt: skip
def test_bad_input_is_refused_in_a_sentence(make, message):
    with pytest.raises((ValueError, TypeError), match=f"^{message}"):
        make()
