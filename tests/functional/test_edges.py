"""Where numbers end: nothing in a batch, scores far out, sums that float16 cannot count, options without meaning."""

import warnings

import numpy as np
import pytest

from duonet import Tensor, backend, nn
from duonet import functional as F
from duonet.quant import Binary, Clip, FilterScaleSign, Polynomial, SwishSign, Tanh, Triangle, ZeroOne, quantize

NAN, INF = np.nan, np.inf


def on(device, array, dtype="float32"):
    return Tensor(backend.to_device(np.asarray(array, dtype), device), requires_grad=True)


def gradient(tensor):
    return backend.to_device(tensor.grad, "cpu")


def vectors(device, n):
    return [on(device, value) for value in (np.ones(n), np.zeros(n))]


def running(device, n):
    return [backend.to_device(np.ones(n, "float32"), device) for _ in range(2)]


EMPTY = {  # op of x and the device, shape of x, shape of y
    "relu": (lambda x, d: F.relu(x), (0, 3), (0, 3)),
    "clip": (lambda x, d: F.clip(x, 0, 1), (0, 3), (0, 3)),
    "sigmoid": (lambda x, d: F.sigmoid(x), (0, 3), (0, 3)),
    "softmax": (lambda x, d: F.softmax(x), (0, 3), (0, 3)),
    "log_softmax": (lambda x, d: F.log_softmax(x), (0, 3), (0, 3)),
    "sum": (lambda x, d: x.sum(), (0, 3), ()),
    "sum of none": (lambda x, d: x.sum(axis=0), (0, 3), (3,)),
    "mean": (lambda x, d: x.mean(axis=1), (0, 3), (0,)),
    "max": (lambda x, d: x.max(axis=1), (0, 3), (0,)),
    "global_avg_pool": (lambda x, d: F.global_avg_pool(x), (0, 4, 4, 3), (0, 3)),
    "max_pool2d": (lambda x, d: F.max_pool2d(x), (0, 4, 4, 3), (0, 2, 2, 3)),
    "max_pool2d padded": (lambda x, d: F.max_pool2d(x, 3, 2, 1), (0, 4, 4, 3), (0, 2, 2, 3)),
    "max_pool2d no channels": (lambda x, d: F.max_pool2d(x), (2, 4, 4, 0), (2, 2, 2, 0)),
    "avg_pool2d": (lambda x, d: F.avg_pool2d(x), (0, 4, 4, 3), (0, 2, 2, 3)),
    "batch_norm rows": (
        lambda x, d: F.batch_norm(x, *vectors(d, 3), *running(d, 3), training=False), (0, 3), (0, 3)
    ),
    "batch_norm images": (
        lambda x, d: F.batch_norm(x, *vectors(d, 3), *running(d, 3), training=False), (0, 4, 4, 3), (0, 4, 4, 3)
    ),
    "batch_norm no pixels": (
        lambda x, d: F.batch_norm(x, *vectors(d, 3), *running(d, 3), training=False), (2, 4, 0, 3), (2, 4, 0, 3)
    ),
    "linear": (lambda x, d: F.linear(x, on(d, np.ones((3, 2))), on(d, np.ones(2))), (0, 3), (0, 2)),
    "linear of nothing": (lambda x, d: F.linear(x, on(d, np.ones((0, 2))), on(d, np.ones(2))), (3, 0), (3, 2)),
    "conv2d": (lambda x, d: F.conv2d(x, on(d, np.ones((3, 3, 3, 2))), on(d, np.ones(2))), (0, 4, 4, 3), (0, 2, 2, 2)),
    "conv2d border": (lambda x, d: F.conv2d(x, on(d, np.ones((1, 1, 3, 2))), padding=1), (2, 0, 4, 3), (2, 2, 6, 2)),
    "dropout": (lambda x, d: F.dropout(x, 0.5, np.random.default_rng(0)), (0, 3), (0, 3)),
    "quantize": (lambda x, d: quantize(x, Binary(), Polynomial()), (0, 4, 4, 3), (0, 4, 4, 3)),
    "quantize by channel": (lambda x, d: quantize(x, Binary(np.zeros(3)), Clip(0, 1)), (0, 4, 0, 3), (0, 4, 0, 3)),
    "flatten": (lambda x, d: nn.Flatten()(x), (0, 4, 4, 3), (0, 48)),
    "a network": (
        lambda x, d: nn.Sequential(
            nn.Conv2d(3, 4, 3, rng=np.random.default_rng(0)),
            nn.MaxPool2d(),
            nn.BatchNorm(4),
            nn.QuantActivation(Binary(), Clip(0, 1)),
            nn.Flatten(),
            nn.Linear(4, 2, rng=np.random.default_rng(0)),
        ).eval().to("gpu" if d == "gpu" else "cpu")(x), (0, 4, 4, 3), (0, 2)
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", EMPTY)
def test_nothing_in_nothing_out(name, device):
    op, shape, expected = EMPTY[name]
    x = on(device, np.zeros(shape))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        y = op(x, device)
        assert y.shape == expected and y.dtype == "float32"
        y.backward(backend.get_xp(y.data).ones_like(y.data))
    assert x.grad.shape == shape


NOTHING = {
    "mean": (lambda d: on(d, np.zeros((0, 3))).mean(), r"mean: x \(0, 3\) has no elements along axis None"),
    "mean axis": (lambda d: on(d, np.zeros((0, 3))).mean(axis=0), "mean: x .* has no elements along axis 0"),
    "max": (lambda d: on(d, np.zeros((2, 0))).max(axis=1), "max: x .* has no elements along axis 1"),
    "softmax": (lambda d: F.softmax(on(d, np.zeros((2, 0)))), "softmax: x .* has no elements"),
    "log_softmax": (lambda d: F.log_softmax(on(d, np.zeros((2, 0)))), "log_softmax: x .* has no elements"),
    "pixels": (lambda d: F.global_avg_pool(on(d, np.zeros((2, 0, 0, 3)))), "has no elements along axis"),
    "training": (
        lambda d: F.batch_norm(on(d, np.zeros((0, 3))), *vectors(d, 3)),
        "batch_norm: training needs more than one value per channel",
    ),
    "channels": (
        lambda d: F.batch_norm(on(d, np.zeros((3, 0))), *vectors(d, 0), *running(d, 0), training=False),
        "batch_norm: expected x",
    ),
    "cross entropy": (
        lambda d: F.softmax_cross_entropy(on(d, np.zeros((0, 3))), backend.to_device(np.zeros(0, int), d)),
        r"softmax_cross_entropy: logits \(0, 3\) are empty",
    ),
    "no classes": (
        lambda d: F.squared_hinge_loss(on(d, np.zeros((2, 0))), backend.to_device(np.zeros(2, int), d)),
        "squared_hinge_loss: logits .* are empty",
    ),
    "mse": (lambda d: F.mse_loss(on(d, np.zeros((0, 3))), on(d, np.zeros((0, 3)))), "mse_loss: prediction .* is empty"),
    "kernel": (
        lambda d: F.conv2d(on(d, np.zeros((2, 4, 4, 0))), on(d, np.zeros((3, 3, 0, 2)))),
        "conv2d: w .* has no elements",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", NOTHING)
def test_what_nothing_has_no_value_of_is_refused_by_name(name, device):
    call, message = NOTHING[name]
    with warnings.catch_warnings(), pytest.raises(ValueError, match=message):
        warnings.simplefilter("error")
        call(device)


def test_sigmoid_and_tanh_keep_their_digits_far_out(device):
    x = np.array([-80, -20, -3, 0, 3, 20, 80.0])
    for op, value, slope in (
        (F.sigmoid, 1 / (1 + np.exp(-x)), 1 / (2 + np.exp(x) + np.exp(-x))),
        (F.tanh, np.tanh(x), 1 / np.cosh(np.clip(x, -40, 40)) ** 2),
    ):
        t = on(device, x)
        y = op(t)
        y.backward(backend.to_device(np.ones(7, "float32"), device))
        np.testing.assert_allclose(y.numpy(), value, rtol=1e-6)
        inner = slice(1, 6) if op is F.tanh else slice(None)  # e⁻¹⁶⁰ is 0 in float32
        np.testing.assert_allclose(gradient(t)[inner], slope[inner], rtol=1e-5)


def test_the_logarithm_of_a_sigmoid_has_a_gradient(device):
    x = on(device, [-80, -20, 0, 20])
    y = F.sigmoid(x).log()
    y.sum().backward()
    np.testing.assert_allclose(y.numpy(), [-80, -20, np.log(0.5), -2.06e-9], rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(gradient(x), [1, 1, 0.5, 2.0611537e-9], rtol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "exponent, slope",
    [(0, [0, 0, 0]), (0.0, [0, 0, 0]), (1, [1, 1, 1]), (2, [0, 2, -4]), (np.int64(2), [0, 2, -4])],
)
def test_powers_at_zero(exponent, slope, dtype, device):
    x = on(device, [0, 1, -2], dtype)
    with np.errstate(all="raise"):
        y = x**exponent
        y.sum().backward()
    assert y.dtype == dtype
    np.testing.assert_array_equal(y.numpy(), np.array([0, 1, -2.0]) ** exponent)
    np.testing.assert_array_equal(gradient(x), slope)


SURROGATES = [SwishSign(5), SwishSign(0.01), Tanh(4), Polynomial(), Triangle(), Clip(-1, 1), ZeroOne(SwishSign(5))]


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("surrogate", SURROGATES, ids=repr)
def test_surrogates_at_the_end_of_the_numbers(surrogate, dtype):
    largest = np.finfo(dtype).max
    x = np.array([-INF, -largest, largest, INF], dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore" if isinstance(surrogate, ZeroOne) else "error")
        value, slope = surrogate.value(x), surrogate.derivative(x)
    low = 0 if isinstance(surrogate, (Triangle, ZeroOne)) else -1
    np.testing.assert_array_equal(value, [low, low, 1, 1])
    np.testing.assert_array_equal(slope, 0)


def test_float16_counts_beyond_2048(device, rng):
    ones = on(device, np.ones((5000, 2)), "float16")
    np.testing.assert_array_equal(ones.sum(axis=0).numpy(), 5000)
    np.testing.assert_array_equal(ones.mean(axis=0).numpy(), 1)
    bias = on(device, np.zeros(2), "float16")
    (ones * 1.0 + bias).sum(axis=0).backward(backend.to_device(np.ones(2, "float16"), device))
    np.testing.assert_array_equal(gradient(bias), 5000)
    np.testing.assert_allclose(F.softmax(on(device, np.zeros((5000, 2)), "float16"), 0).numpy(), 2e-4, rtol=1e-2)
    assert F.avg_pool2d(on(device, np.full((1, 2, 2, 1), 5e4), "float16")).item() == 49984
    far = on(device, [1e3, 0.0], "float16")
    with np.errstate(over="ignore"):
        assert F.mse_loss(far, on(device, [0.0, 0.0], "float16")).item() == INF  # 500,000 is beyond float16
    assert F.mse_loss(on(device, [300.0, 0, 0, 0], "float16"), on(device, np.zeros(4), "float16")).item() == 22496


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("shape", [(5000, 3), (40, 12, 12, 3)])
def test_batch_norm_in_float16_is_that_of_float64(shape, training, device, rng):
    arrays = [rng.standard_normal(s) for s in (shape, (3,), (3,), shape)]
    arrays[0] = 300 * arrays[0] + 20
    results = []
    for dtype in ("float16", "float64"):
        tensors = [on(device, a, dtype) for a in arrays[:3]]
        state = [backend.to_device(np.full(3, s, "float32"), device).astype(dtype) for s in (20, 4e4)]
        y = F.batch_norm(*tensors, *state, training=training)
        y.backward(backend.to_device(arrays[3].astype(dtype), device))
        assert y.dtype == dtype
        results.append([y.numpy(), *map(gradient, tensors)])
    for got, expected in zip(*results):
        np.testing.assert_allclose(got, expected, rtol=4e-3, atol=4e-3 * np.abs(expected).max())


MEANINGLESS = [
    (lambda: F.clip(x(), NAN, 1), ValueError, "clip: low must be below high"),
    (lambda: F.clip(x(), INF, INF), ValueError, "clip: low must be below high"),
    (lambda: F.clip(x(), "0", 1), TypeError, "clip: low must be a number, got str"),
    (lambda: F.batch_norm(x(), *vectors("cpu", 3), eps=-1), ValueError, "batch_norm: eps must be .* got -1"),
    (lambda: F.batch_norm(x(), *vectors("cpu", 3), eps=NAN), ValueError, "batch_norm: eps must be .* got nan"),
    (lambda: F.batch_norm(x(), *vectors("cpu", 3), momentum=5), ValueError, "batch_norm: momentum must be .* got 5"),
    (lambda: F.dropout(x(), NAN, np.random.default_rng(0)), ValueError, "dropout: p must be .* got nan"),
    (lambda: F.dropout(x(), 0.5, np.random), TypeError, "dropout: rng must be a numpy.random.Generator"),
    (lambda: F.max_pool2d(images(), True), TypeError, "max_pool2d: size must be an int at least 1, got bool"),
    (lambda: F.max_pool2d(images(), 2.0), TypeError, "max_pool2d: size must be an int at least 1, got float"),
    (lambda: F.max_pool2d(images(), 0), ValueError, "max_pool2d: size must be an int at least 1, got 0"),
    (lambda: F.max_pool2d(images(), 2, 1.5), TypeError, "max_pool2d: stride must be an int"),
    (lambda: F.max_pool2d(images(), 2, 2, NAN), TypeError, "max_pool2d: padding must be an int"),
    (lambda: F.avg_pool2d(images(), 2, -1), ValueError, "avg_pool2d: stride must be an int at least 1, got -1"),
    (lambda: F.conv2d(images(), kernel(), None, 1.5), TypeError, "conv2d: stride must be an int at least 1"),
    (lambda: F.conv2d(images(), kernel(), None, True), TypeError, "conv2d: stride must be an int at least 1"),
    (lambda: F.conv2d(images(), kernel(), None, 1, NAN), TypeError, "conv2d: padding must be an int at least 0"),
    (lambda: F.conv2d_reference(images().data, kernel().data, None, 0), ValueError, "conv2d: stride must be"),
    (lambda: F.pow(x(), NAN), ValueError, "pow: exponent must be a finite number, got nan"),
    (lambda: F.pow(x(), True), TypeError, "pow: exponent must be a number, got bool"),
    (lambda: FilterScaleSign()(on("cpu", np.zeros((0, 3)))), ValueError, "FilterScaleSign: sign_by_filter: w .* is empty"),
]  # fmt: skip


def x():
    return on("cpu", np.ones((4, 3)))


def images():
    return on("cpu", np.ones((1, 4, 4, 1)))


def kernel():
    return on("cpu", np.ones((2, 2, 1, 1)))


@pytest.mark.parametrize("call, error, message", MEANINGLESS, ids=[message for _, _, message in MEANINGLESS])
def test_options_without_meaning_are_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_numpys_integers_are_integers():
    two = np.int64(2)
    assert F.conv2d(images(), kernel(), None, two, two).shape == (1, 4, 4, 1)
    assert F.max_pool2d(images(), two, two, np.int32(1)).shape == (1, 3, 3, 1)
    assert F.avg_pool2d(images(), two).shape == (1, 2, 2, 1)


def test_an_element_taken_often_has_its_whole_gradient_in_float16(device):
    x = on(device, [1.0, 2.0], "float16")
    x[[0] * 5000].sum().backward()
    np.testing.assert_array_equal(gradient(x), [5000, 0])


LAYERS_OF_ARRAYS = {
    "Residual": lambda: nn.Residual(nn.Sequential()),
    "AverageCopies": nn.AverageCopies,
    "GlobalAvgPool": nn.GlobalAvgPool,
}


@pytest.mark.parametrize("make", LAYERS_OF_ARRAYS.values(), ids=LAYERS_OF_ARRAYS)
def test_layers_compute_with_plain_arrays_as_with_tensors(make, device):
    """200 + 200 in uint8 is 144."""
    x = np.full((1, 2, 2, 2), 200, "uint8")
    with pytest.raises(TypeError, match="must be floats of 16 to 64 bits, got uint8"):
        make()(backend.to_device(x, device))
    assert isinstance(make()(backend.to_device(x.astype("float32"), device)), Tensor)


@pytest.mark.parametrize("loss", [F.softmax_cross_entropy, F.squared_hinge_loss])
def test_losses_of_classes_take_arrays_and_refuse_masked_ones_and_lists(loss):
    scores = np.array([[1.0, 2.0], [3.0, 4.0]], "float32")
    assert loss(scores, [0, 1]).item() == loss(Tensor(scores), np.array([0, 1], "uint8")).item()
    with pytest.raises(TypeError, match="labels must be a plain array, got a MaskedArray"):
        loss(Tensor(scores), np.ma.array([0, 1], mask=[True, False]))
    with pytest.raises(TypeError, match="logits must be an array, got list"):
        loss([[1.0, 2.0]], [0])
    with pytest.raises(TypeError, match="logits must be floats of 16 to 64 bits, got int64"):
        loss(Tensor(np.arange(2).reshape(1, 2)), [0])
