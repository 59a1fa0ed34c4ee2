"""Fast versions of ops on the CPU against the plain ones."""

import contextlib

import numpy as np
import pytest

from duonet import Tensor, check_gradients, engine, nn, parallel, plain_ops
from duonet import functional as F
from duonet.fast import winograd
from duonet.functional.conv import Conv2d
from duonet.fusing import BatchNormQuantize
from duonet.quant import Binary, Clip, Shifted, Sign, SwishSign, Ternary, Uniform, quantize

CONVS = [  # images, height, width, channels, out channels, kernel, stride, padding
    (5, 8, 8, 64, 64, 3, 1, 1),
    (3, 6, 10, 64, 80, 3, 1, 1),
    (4, 8, 8, 70, 64, 3, 1, 0),
    (4, 8, 6, 64, 64, 3, 1, 2),
    (5, 7, 7, 64, 64, 3, 1, 1),
    (3, 9, 8, 12, 20, 3, 1, 1),
    (3, 9, 8, 12, 20, 3, 2, 1),
    (3, 9, 8, 12, 20, 5, 1, 2),
    (3, 8, 8, 50, 20, 3, 1, 1),
    (4, 4, 4, 50, 20, 4, 4, 0),
    (4, 4, 4, 50, 20, 4, 1, 0),
    (4, 4, 4, 50, 20, 1, 1, 0),
    (4, 5, 4, 50, 20, 1, 2, 0),
    (6, 12, 12, 1, 12, 3, 1, 1),
    (3, 6, 7, 5, 4, 2, 1, 0),
    (2, 3, 3, 4, 5, 3, 1, 0),
    (1, 4, 4, 3, 2, 3, 1, 3),
    (0, 8, 8, 64, 64, 3, 1, 1),
    (0, 8, 8, 3, 8, 3, 1, 1),
    (0, 8, 8, 3, 8, 1, 2, 0),
]


def both(op, arrays, chunk_bytes, monkeypatch):
    """Return (output, *gradients) of the plain op, and of its twin in chunks of some size."""
    results = []
    for context in (plain_ops, contextlib.nullcontext):
        monkeypatch.setattr(parallel, "CHUNK_BYTES", chunk_bytes)
        tensors = [Tensor(a, requires_grad=True) for a in arrays]
        with context():
            y = op(*tensors)
            y.backward(np.random.default_rng(1).standard_normal(y.shape).astype(y.dtype))
        results.append((y.data, *(t.grad for t in tensors)))
    return results


@pytest.mark.parametrize("chunk_bytes", [1, 1 << 14, 1 << 30])
@pytest.mark.parametrize("dtype, tolerance", [("float64", 1e-14), ("float32", 5e-6)])
@pytest.mark.parametrize("case", CONVS, ids=str)
def test_convolution(rng, monkeypatch, case, dtype, tolerance, chunk_bytes):
    n, h, w, c, oc, k, stride, padding = case
    arrays = [rng.standard_normal(s).astype(dtype) for s in ((n, h, w, c), (k, k, c, oc), (oc,))]
    plain, fast = both(lambda x, w, b: F.conv2d(x, w, b, stride, padding), arrays, chunk_bytes, monkeypatch)
    for expected, got in zip(plain, fast):
        assert got.dtype == dtype
        np.testing.assert_allclose(got, expected, rtol=0, atol=tolerance * np.abs(expected).max(initial=0))


def test_these_convolutions_go_every_way():
    ways = {
        winograd.suits((k, k, c, oc), s, h + 2 * p - k + 1, w + 2 * p - k + 1) for _, h, w, c, oc, k, s, p in CONVS
    }
    assert ways == {True, False}
    assert engine.version(Conv2d, "cpu") is not Conv2d


@pytest.mark.parametrize("shape", [(2, 4, 4, 64), (2, 4, 4, 3)])
def test_gradients_of_both_ways_are_right(rng, shape):
    x, w = rng.standard_normal(shape), rng.standard_normal((3, 3, shape[-1], 64 if shape[-1] > 9 else 2))
    check_gradients(lambda x, w: F.conv2d(x, w, padding=1), x, w)
    with plain_ops():
        check_gradients(lambda x, w: F.conv2d(x, w, padding=1), x, w)


def test_winograd_rounds_nothing_that_a_sum_would_not(rng):
    x = rng.integers(0, 3, (2, 8, 8, 64)).astype("float32") / 2
    w = rng.integers(-8, 9, (3, 3, 64, 64)).astype("float32")
    with plain_ops():
        expected = F.conv2d(Tensor(x), Tensor(w), padding=1).data
    np.testing.assert_array_equal(F.conv2d(Tensor(x), Tensor(w), padding=1).data, expected)


@pytest.mark.parametrize("chunk_bytes", [1, 1 << 12, 1 << 30])
@pytest.mark.parametrize("shape", [(4, 6, 6, 3), (3, 7, 5, 2), (2, 2, 2, 1), (2, 3, 9, 4)])
@pytest.mark.parametrize("size, stride, padding", [(2, 2, 0), (2, 1, 0), (2, 2, 1)])
def test_max_pooling_gives_the_same_bits_at_ties_too(rng, monkeypatch, shape, chunk_bytes, size, stride, padding):
    x = rng.integers(0, 3, shape).astype("float32")
    for expected, got in zip(
        *both(lambda x: F.max_pool2d(x, size, stride, padding), [x], chunk_bytes, monkeypatch)
    ):
        np.testing.assert_array_equal(got, expected)


OPS = {
    "relu": F.relu,
    "add": lambda x: x + x * 2,
    "binary": lambda x: quantize(x, Binary(), Clip(0, 1)),
    "ternary": lambda x: quantize(x, Ternary(), Clip(0, 1)),
    "sign": lambda x: quantize(x, Sign(), SwishSign(5.0)),
    "channels": lambda x: quantize(x, Binary(np.array([0.0, 0.5, 1.0])), Clip(0, 1)),
    "shifted": lambda x: quantize(
        x, Binary(), Shifted(Clip(0, 1), np.array([0.0, 0.25, 0.5]) if x.ndim else 0.25)
    ),
    "levels": lambda x: quantize(x, Uniform(2), Clip(0, 1)),
}


@pytest.mark.parametrize("chunk_bytes", [1, 1 << 30])
@pytest.mark.parametrize("shape", [(5, 4, 4, 3), (7, 3), (0, 3), (3,), ()])
@pytest.mark.parametrize("name", OPS)
def test_ops_on_single_values_give_the_same_bits(rng, monkeypatch, name, shape, chunk_bytes):
    if name == "channels" and not shape:
        pytest.skip("channels need an axis")
    x = np.asarray(rng.integers(-4, 8, shape), "float32") / np.float32(4)  # thresholds among them
    x = np.asarray(x)
    for expected, got in zip(*both(OPS[name], [x], chunk_bytes, monkeypatch)):
        np.testing.assert_array_equal(got, expected)
        assert got.dtype == expected.dtype


@pytest.mark.parametrize("chunk_bytes", [1, 1 << 12, 1 << 30])
@pytest.mark.parametrize("shape", [(6, 5, 4, 3), (9, 4)])
@pytest.mark.parametrize("training", [True, False])
def test_batch_norm(rng, monkeypatch, shape, training, chunk_bytes):
    c = shape[-1]
    arrays = [rng.standard_normal(shape), rng.standard_normal(c), rng.standard_normal(c)]
    averages = []

    def op(x, gamma, beta):
        averages.append((np.full(c, 0.5), np.full(c, 2.0)))
        return F.batch_norm(x, gamma, beta, *averages[-1], training=training)

    for expected, got in zip(*both(op, arrays, chunk_bytes, monkeypatch)):
        np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(averages[1], averages[0], rtol=1e-13)


def test_batch_norm_far_from_zero_is_as_exact_as_its_input(rng):
    x = (1000 + rng.standard_normal((64, 8, 8, 4))).astype("float32")
    dy = rng.standard_normal(x.shape)
    results = []
    for dtype in ("float32", "float64"):
        tensors = [Tensor(a.astype(dtype), requires_grad=True) for a in (x, np.ones(4), np.zeros(4))]
        y = F.batch_norm(*tensors)
        y.backward(dy.astype(dtype))
        results.append((y.data, *(t.grad for t in tensors)))
    for got, expected in zip(*results):  # numbers near 1000 are rounded to 6e-5 of their spread
        np.testing.assert_allclose(got, expected, rtol=0, atol=2e-4 * np.abs(expected).max())


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("staircase", [Binary(), Ternary(), Binary(np.array([0.25, 0.5, 0.75]))], ids=repr)
def test_batch_norm_and_staircase_as_one_op_give_the_bits_of_both(rng, staircase, training):
    norm, activation = nn.BatchNorm(3), nn.QuantActivation(staircase, Clip(0, 1))
    x = rng.standard_normal((40, 6, 5, 3)).astype("float32")
    dy = rng.standard_normal(x.shape).astype("float32")
    results = []
    for run in (BatchNormQuantize(norm, activation), lambda x: activation(norm(x))):
        norm.reset_parameters(rng)
        norm.gamma.data[:], norm.beta.data[:] = [1.5, -0.5, 1.0], [0.5, 0.25, 0.0]
        norm.train(training)
        tensor = Tensor(x, requires_grad=True)
        for parameter in norm.parameters():
            parameter.zero_grad()
        y = run(tensor)
        y.backward(dy)
        results.append((y.data, tensor.grad, norm.gamma.grad, norm.beta.grad, norm.running_mean.data.copy()))
    for one, two in zip(*results):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("context", [plain_ops, contextlib.nullcontext])
@pytest.mark.parametrize("wrong", ["gamma", "beta"])
@pytest.mark.parametrize("size", [1, 4])
def test_vectors_of_another_length_are_refused_by_both_versions(rng, context, wrong, size):
    vectors = {name: Tensor(np.ones(size if name == wrong else 3)) for name in ("gamma", "beta")}
    with context(), pytest.raises(ValueError, match=r"batch_norm: expected .* gamma, beta \(C,\), got shapes"):
        F.batch_norm(Tensor(rng.standard_normal((5, 3))), **vectors)


@pytest.mark.parametrize("value", [0.1, -7.3, 1e4])
def test_a_constant_channel_has_no_negative_variance(value):
    running_mean, running_var = np.zeros(1, "float32"), np.zeros(1, "float32")
    x = Tensor(np.full((50, 7, 7, 1), value, "float32"))
    y = F.batch_norm(x, Tensor([1.0]), Tensor([0.0]), running_mean, running_var)
    assert running_var[0] >= 0 and np.abs(y.data).max() < 1e-6 * abs(value) / np.sqrt(1e-5)


def calls(rng):
    """Each a call that a twin leaves to the plain op, and one that it takes."""
    vectors = [np.ones(3, "float32"), np.zeros(3, "float32")]
    image = rng.standard_normal((2, 4, 4, 3)).astype("float32")
    x = Tensor(image, requires_grad=True)
    return {
        "relu": (F.relu, [Tensor(np.float32(1), requires_grad=True)], [x]),
        "add": (lambda a, b: a + b, [x, Tensor(vectors[0])], [x, x]),
        "conv2d": (F.conv2d, *([x[:n], Tensor(np.ones((3, 3, 3, 2), "float32"))] for n in (0, 2))),
        "batch_norm": (
            F.batch_norm,
            [Tensor(a.astype("float16"), requires_grad=True) for a in (image, *vectors)],
            [x, *(Tensor(a) for a in vectors)],
        ),
        "max_pool2d": (F.max_pool2d, [x, 3], [x, 2]),
        "quantize": (lambda x: quantize(x, Binary(), Clip(0, 1)), [x[0, 0, 0]], [x]),
    }


@pytest.mark.parametrize("name", ["relu", "add", "conv2d", "batch_norm", "max_pool2d", "quantize"])
def test_a_twin_says_which_calls_it_suits_and_the_plain_op_runs_the_others(rng, name):
    op, others, own = calls(rng)[name]
    ran = [op(*arguments)._node.function.__module__ for arguments in (others, own)]
    assert not ran[0].startswith("duonet.fast") and ran[1].startswith("duonet.fast")
    with plain_ops():
        assert not op(*own)._node.function.__module__.startswith("duonet.fast")
