"""One base for every op: a case is a name, the op, its inputs and its NumPy formula."""

import operator
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest

from duonet import Tensor, backend, check_gradients
from duonet import functional as F


@dataclass
class Case:
    name: str
    op: Callable  # of Tensors
    shapes: tuple
    formula: Callable  # of arrays
    low: float = -2.0
    high: float = 2.0
    arrays: list = field(default_factory=list)  # instead of random ones, where the values matter

    def inputs(self, dtype="float64"):
        rng = np.random.default_rng(7)
        arrays = self.arrays or [rng.uniform(self.low, self.high, shape) for shape in self.shapes]
        return [np.asarray(a).astype(dtype) for a in arrays]


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def windows(x, size, stride):
    """(N, OH, OW, size * size, C): every window's pixels."""
    oh, ow = (x.shape[1] - size) // stride + 1, (x.shape[2] - size) // stride + 1
    return np.stack(
        [
            np.stack(
                [
                    x[:, i * stride : i * stride + size, j * stride : j * stride + size].reshape(
                        len(x), -1, x.shape[3]
                    )
                    for j in range(ow)
                ],
                1,
            )
            for i in range(oh)
        ],
        1,
    )


def normalise(x, gamma, beta):
    axes = tuple(range(x.ndim - 1))
    return gamma * (x - x.mean(axes)) / np.sqrt(x.var(axes) + 1e-5) + beta


MEAN, VAR = np.array([0.3, -0.2, 1.0]), np.array([0.5, 2.0, 1.0])
LABELS = np.array([0, 2, 1, 2])
ONEHOT = np.eye(3)[LABELS]


def dropout_mask(shape):
    return (np.random.default_rng(3).random(shape, np.float32) >= 0.4) / 0.6


CASES = [
    Case("add", F.add, ((3, 4), (3, 4)), np.add),
    Case("add broadcast", F.add, ((3, 4), (4,)), np.add),
    Case("add broadcast both", F.add, ((3, 1), (2, 1, 4)), np.add),
    Case("add 0-d", F.add, ((3, 4), ()), np.add),
    Case("sub broadcast", F.sub, ((4,), (3, 4)), np.subtract),
    Case("mul", F.mul, ((3, 4), (3, 4)), np.multiply),
    Case("mul broadcast", F.mul, ((3, 1), (3, 4)), np.multiply),
    Case("div broadcast", F.div, ((3, 4), (3, 1)), np.divide, 0.5, 2.0),
    Case("neg", F.neg, ((3, 4),), np.negative),
    Case("pow 3", lambda x: F.pow(x, 3), ((3, 4),), lambda x: x**3),
    Case("pow -0.5", lambda x: x**-0.5, ((3, 4),), lambda x: x**-0.5, 0.5, 2.0),
    Case("exp", F.exp, ((3, 4),), np.exp),
    Case("log", F.log, ((3, 4),), np.log, 0.5, 2.0),
    Case("sqrt", F.sqrt, ((3, 4),), np.sqrt, 0.5, 2.0),
    Case("1 - x", lambda x: 1 - x, ((3, 4),), lambda x: 1 - x),
    Case("2 / x", lambda x: 2 / x, ((3, 4),), lambda x: 2 / x, 0.5, 2.0),
    Case("sum", F.sum, ((3, 4),), np.sum),
    Case("sum axis", lambda x: F.sum(x, axis=1), ((3, 4, 2),), lambda x: x.sum(1)),
    Case(
        "sum axes keepdims", lambda x: x.sum((0, -1), True), ((3, 4, 2),), lambda x: x.sum((0, 2), keepdims=True)
    ),
    Case("mean", F.mean, ((3, 4),), np.mean),
    Case("mean axes", lambda x: F.mean(x, axis=(0, 2)), ((3, 4, 2),), lambda x: x.mean((0, 2))),
    Case("max", F.max, ((3, 4),), np.max),
    Case("max axis", lambda x: F.max(x, axis=0), ((3, 4),), lambda x: x.max(0)),
    Case("matmul", F.matmul, ((3, 4), (4, 2)), np.matmul),
    Case("matmul batched", F.matmul, ((5, 3, 4), (4, 2)), np.matmul),
    Case("linear", F.linear, ((3, 4), (4, 2), (2,)), lambda x, w, b: x @ w + b),
    Case("linear without bias", F.linear, ((3, 4), (4, 2)), np.matmul),
    Case("reshape", lambda x: F.reshape(x, (2, -1)), ((3, 4),), lambda x: x.reshape(2, 6)),
    Case("transpose", F.transpose, ((3, 4, 2),), np.transpose),
    Case("transpose axes", lambda x: F.transpose(x, (1, -1, 0)), ((3, 4, 2),), lambda x: x.transpose(1, 2, 0)),
    Case("concat", lambda a, b: F.concat([a, b]), ((3, 4), (3, 2)), lambda a, b: np.concatenate([a, b], -1)),
    Case("concat twice", lambda a: F.concat([a, a], 0), ((3, 4),), lambda a: np.concatenate([a, a], 0)),
    Case(
        "pad",
        lambda x: F.pad(x, [(1, 2), (0, 1)], 5),
        ((3, 4),),
        lambda x: np.pad(x, [(1, 2), (0, 1)], constant_values=5),
    ),
    Case("getitem slice", lambda x: x[1:, ::2], ((3, 4),), lambda x: x[1:, ::2]),
    Case("getitem int", lambda x: x[1], ((3, 4),), lambda x: x[1]),
    Case("getitem repeated", lambda x: x[[0, 0, 2]], ((3, 4),), lambda x: x[[0, 0, 2]]),
    Case("getitem tensor", lambda x: F.getitem(x, Tensor(np.array([2, 2]))), ((3, 4),), lambda x: x[[2, 2]]),
    Case("conv2d", F.conv2d, ((2, 5, 6, 3), (3, 3, 3, 4), (4,)), F.conv2d_reference),
    Case(
        "conv2d padded",
        lambda x, w: F.conv2d(x, w, padding=1),
        ((2, 5, 6, 3), (3, 3, 3, 4)),
        lambda x, w: F.conv2d_reference(x, w, padding=1),
    ),
    Case(
        "conv2d strided",
        lambda x, w: F.conv2d(x, w, None, 2, 1),
        ((2, 6, 5, 2), (3, 3, 2, 4)),
        lambda x, w: F.conv2d_reference(x, w, None, 2, 1),
    ),
    Case("conv2d 1x1", F.conv2d, ((2, 4, 4, 3), (1, 1, 3, 2)), F.conv2d_reference),
    Case("conv2d oblong", F.conv2d, ((2, 5, 6, 2), (2, 3, 2, 3)), F.conv2d_reference),
    Case(
        "conv2d whole image",
        lambda x, w: F.conv2d(x, w, stride=4),
        ((2, 4, 4, 2), (4, 4, 2, 3)),
        lambda x, w: F.conv2d_reference(x, w, stride=4),
    ),
    Case(
        "conv2d wide padding",
        lambda x, w: F.conv2d(x, w, padding=2),
        ((2, 3, 3, 2), (2, 2, 2, 3)),
        lambda x, w: F.conv2d_reference(x, w, padding=2),
    ),
    Case("max_pool2d", F.max_pool2d, ((2, 4, 6, 3),), lambda x: windows(x, 2, 2).max(3)),
    Case("max_pool2d odd", F.max_pool2d, ((2, 5, 7, 3),), lambda x: windows(x, 2, 2).max(3)),
    Case(
        "max_pool2d overlapping",
        lambda x: F.max_pool2d(x, 3, 2),
        ((2, 7, 7, 3),),
        lambda x: windows(x, 3, 2).max(3),
    ),
    Case(
        "max_pool2d padded",
        lambda x: F.max_pool2d(x, 3, 2, 1),
        ((2, 6, 7, 3),),
        lambda x: windows(np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=-np.inf), 3, 2).max(3),
    ),
    Case("avg_pool2d", F.avg_pool2d, ((2, 4, 6, 3),), lambda x: windows(x, 2, 2).mean(3)),
    Case(
        "avg_pool2d overlapping",
        lambda x: F.avg_pool2d(x, 3, 2),
        ((2, 7, 7, 3),),
        lambda x: windows(x, 3, 2).mean(3),
    ),
    Case("global_avg_pool", F.global_avg_pool, ((2, 4, 6, 3),), lambda x: x.mean((1, 2))),
    Case("batch_norm images", F.batch_norm, ((3, 2, 4, 3), (3,), (3,)), normalise),
    Case("batch_norm rows", F.batch_norm, ((6, 3), (3,), (3,)), normalise),
    Case(
        "batch_norm evaluation",
        lambda x, g, b: F.batch_norm(
            x, g, b, *(backend.get_xp(x.data).asarray(s) for s in (MEAN, VAR)), training=False
        ),
        ((3, 2, 2, 3), (3,), (3,)),
        lambda x, g, b: g * (x - MEAN) / np.sqrt(VAR + 1e-5) + b,
    ),
    Case("prelu", F.prelu, ((3, 2, 4), (4,)), lambda x, a: np.where(x > 0, x, a * x)),
    Case("prelu one slope", F.prelu, ((3, 4), ()), lambda x, a: np.where(x > 0, x, a * x)),
    Case("relu", F.relu, ((3, 4),), lambda x: np.maximum(x, 0)),
    Case("hardtanh", F.hardtanh, ((3, 4),), lambda x: np.clip(x, -1, 1)),
    Case("clip", lambda x: F.clip(x, 0, 1), ((3, 4),), lambda x: np.clip(x, 0, 1)),
    Case("sigmoid", F.sigmoid, ((3, 4),), lambda x: 1 / (1 + np.exp(-x))),
    Case("tanh", F.tanh, ((3, 4),), np.tanh),
    Case("softmax", F.softmax, ((3, 4),), softmax),
    Case("softmax axis 0", lambda x: F.softmax(x, 0), ((3, 4),), lambda x: softmax(x.T).T),
    Case("log_softmax", F.log_softmax, ((3, 4),), lambda x: np.log(softmax(x))),
    Case(
        "dropout",
        lambda x: F.dropout(x, 0.4, np.random.default_rng(3)),
        ((4, 6),),
        lambda x: x * dropout_mask((4, 6)),
    ),
    Case(
        "dropout channels",
        lambda x: F.dropout(x, 0.4, np.random.default_rng(3), channels=True),
        ((4, 2, 2, 6),),
        lambda x: x * dropout_mask((4, 1, 1, 6)),
    ),
    Case("mse_loss", F.mse_loss, ((3, 4), (3, 4)), lambda a, b: ((a - b) ** 2).mean()),
    Case(
        "softmax_cross_entropy",
        lambda x: F.softmax_cross_entropy(x, backend.get_xp(x.data).asarray(LABELS)),
        ((4, 3),),
        lambda x: -(np.log(softmax(x)) * ONEHOT).sum() / 4,
    ),
    Case(
        "squared_hinge_loss",
        lambda x: F.squared_hinge_loss(x, backend.get_xp(x.data).asarray(LABELS)),
        ((4, 3),),
        lambda x: (np.maximum(0, 1 - (2 * ONEHOT - 1) * x) ** 2).mean(),
    ),
]

each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def on(device, arrays):
    return [backend.to_device(a, device) for a in arrays]


@each_case
def test_forward_is_the_formula(case, device):
    inputs = case.inputs()
    y = case.op(*map(Tensor, on(device, inputs)))
    assert y.shape == case.formula(*inputs).shape
    np.testing.assert_allclose(y.numpy(), case.formula(*inputs), rtol=1e-6, atol=1e-12)


@each_case
def test_gradients(case):
    check_gradients(case.op, *case.inputs())


@each_case
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_dtype_is_kept_and_inputs_are_not_modified(case, dtype, device):
    arrays = on(device, case.inputs(dtype))
    before = [a.copy() for a in arrays]
    tensors = [Tensor(a, requires_grad=True) for a in arrays]
    y = case.op(*tensors)
    assert backend.is_array(y.data) and y.dtype == dtype
    y.backward(backend.get_xp(y.data).ones_like(y.data))
    for tensor, array, original in zip(tensors, arrays, before):
        assert tensor.grad.dtype == dtype and tensor.grad.shape == array.shape
        assert (array == original).all()


@each_case
def test_non_contiguous_input_gives_the_same(case, device):
    def strided(a):
        """The same values, two elements apart in memory."""
        wide = backend.get_xp(a).zeros((*a.shape, 2), a.dtype)
        wide[..., 0] = a
        return wide[..., 0]

    results = []
    for arrange in (lambda a: a, strided):
        tensors = [Tensor(arrange(a), requires_grad=True) for a in on(device, case.inputs())]
        y = case.op(*tensors)
        y.backward(backend.get_xp(y.data).cos(y.data))
        results.append([y.numpy(), *(backend.to_device(t.grad, "cpu") for t in tensors)])
    for a, b in zip(*results):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


@each_case
def test_gpu_gradients_are_those_of_the_cpu(case, gpu):
    results = []
    for device in ("cpu", gpu):
        tensors = [Tensor(a, requires_grad=True) for a in on(device, case.inputs())]
        y = case.op(*tensors)
        y.backward(backend.get_xp(y.data).cos(y.data))
        results.append([backend.to_device(t.grad, "cpu") for t in tensors])
    for a, b in zip(*results):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


def test_every_public_op_has_a_case():
    helpers = {"im2col", "col2im", "conv2d_reference", "compare"}
    named = {case.name.split()[0] for case in CASES} | helpers
    assert set(F.__all__) <= named, set(F.__all__) - named


@pytest.mark.parametrize(
    "relation", [operator.gt, operator.ge, operator.lt, operator.le, operator.eq, operator.ne]
)
def test_comparisons_are_numpys_and_have_no_gradient(relation, device):
    a, b = np.array([1.0, 2.0, 3.0]), np.array([3.0, 2.0, 1.0])
    x, other = (Tensor(array, requires_grad=True) for array in on(device, (a, b)))
    for y, expected in ((relation(x, other), relation(a, b)), (relation(x, 2.0), relation(a, 2.0))):
        assert y.dtype == bool and not y.requires_grad
        np.testing.assert_array_equal(y.numpy(), expected)


def ones(*shape):
    return Tensor(np.ones(shape, "float32"))


BAD_INPUT = [
    (
        lambda: F.prelu(ones(2, 3), ones(2)),
        ValueError,
        r"prelu: slope of shape \(2,\) does not fit the channels of x",
    ),
    (lambda: F.prelu(ones(2, 3), ones(2, 3)), ValueError, r"prelu: slope of shape \(2, 3\) does not fit the"),
    (
        lambda: F.conv2d(ones(8, 32, 32, 3), ones(3, 3, 2, 16)),
        ValueError,
        "conv2d: x has 3 channels, w expects 2: got .8, 32, 32, 3., .3, 3, 2, 16.",
    ),
    (lambda: F.conv2d(ones(32, 32, 3), ones(3, 3, 3, 1)), ValueError, r"conv2d: expected x \(N, H, W, C\)"),
    (
        lambda: F.conv2d(ones(1, 2, 2, 1), ones(3, 3, 1, 1)),
        ValueError,
        "conv2d: the kernel of w .3, 3, 1, 1. is larger",
    ),
    (
        lambda: F.conv2d(ones(1, 4, 4, 1), ones(3, 3, 1, 2), ones(3)),
        ValueError,
        r"conv2d: bias has shape \(3,\), expected \(2,\)",
    ),
    (
        lambda: F.conv2d(ones(1, 4, 4, 1), ones(3, 3, 1, 2), stride=0),
        ValueError,
        "conv2d: stride must be an int at least 1, got 0",
    ),
    (
        lambda: F.conv2d(ones(1, 4, 4, 1), ones(3, 3, 1, 2), padding=-1),
        ValueError,
        "conv2d: padding must be an int at least 0, got -1",
    ),
    (lambda: F.linear(ones(2, 3), ones(4, 5)), ValueError, r"linear: x \(2, 3\) does not fit w \(4, 5\)"),
    (lambda: F.linear(ones(2, 3), ones(3, 5), ones(3)), ValueError, r"linear: bias has shape \(3,\)"),
    (lambda: ones(2, 3) @ ones(2, 3), ValueError, r"matmul: a \(2, 3\) does not fit b \(2, 3\)"),
    (lambda: F.max_pool2d(ones(1, 1, 4, 1)), ValueError, "max_pool2d: windows of size 2 do not fit x"),
    (lambda: F.avg_pool2d(ones(4, 4)), ValueError, r"avg_pool2d: expected x \(N, H, W, C\)"),
    (
        lambda: F.max_pool2d(ones(1, 4, 4, 1), 3, 1, 2),
        ValueError,
        "max_pool2d: padding must be an int at least 0 and at most 1, got 2",
    ),
    (
        lambda: F.max_pool2d(ones(1, 4, 4, 1), 2, 0),
        ValueError,
        "max_pool2d: stride must be an int at least 1, got 0",
    ),
    (lambda: F.global_avg_pool(ones(4, 4)), ValueError, "global_avg_pool: expected x"),
    (
        lambda: F.batch_norm(ones(4, 3), ones(2), ones(2)),
        ValueError,
        r"batch_norm: expected .* got shapes \(4, 3\), \(2,\)",
    ),
    (
        lambda: F.batch_norm(ones(1, 3), ones(3), ones(3)),
        ValueError,
        "batch_norm: training needs more than one value",
    ),
    (
        lambda: F.batch_norm(ones(4, 3), ones(3), ones(3), training=False),
        ValueError,
        "evaluation needs running_mean",
    ),
    (
        lambda: F.batch_norm(ones(4, 3), ones(3), ones(3), np.zeros(3)),
        ValueError,
        "give both running_mean and running_var",
    ),
    (
        lambda: F.batch_norm(ones(4, 3), ones(3), ones(3), np.zeros(2), np.zeros(3)),
        ValueError,
        r"must have shape \(3,\)",
    ),
    (lambda: F.softmax_cross_entropy(ones(2, 3), [0, 3]), ValueError, r"labels must lie in 0..2, got 0..3"),
    (lambda: F.softmax_cross_entropy(ones(2, 3), [-1, 0]), ValueError, "got -1..0"),
    (
        lambda: F.softmax_cross_entropy(ones(2, 3), [0]),
        ValueError,
        r"softmax_cross_entropy: expected logits \(N, C\)",
    ),
    (
        lambda: F.squared_hinge_loss(ones(2, 3), [0.0, 1.0]),
        TypeError,
        "squared_hinge_loss: labels must be integers, got float64",
    ),
    (lambda: F.mse_loss(ones(2, 3), ones(2, 1)), ValueError, r"mse_loss: prediction \(2, 3\) and target \(2, 1\)"),
    (
        lambda: ones(2, 3).reshape(4, 2),
        ValueError,
        r"reshape: x of shape \(2, 3\) \(6 elements\) does not fit \(4, 2\)",
    ),
    (lambda: F.transpose(ones(2, 3), (0, 0)), ValueError, "transpose: axes .0, 0. is not a permutation"),
    (lambda: F.concat([ones(2, 3), ones(3, 3)]), ValueError, "concat: shapes"),
    (lambda: F.concat([ones(2, 3), ones(3)]), ValueError, "concat: shapes"),
    (lambda: F.concat([]), ValueError, "concat: expected at least one tensor"),
    (lambda: F.pad(ones(2, 3), [(1, 1)]), ValueError, "pad: widths"),
    (
        lambda: F.dropout(ones(2, 3), 1.0, None),
        ValueError,
        "dropout: p must be a number at least 0 and below 1, got 1.0",
    ),
    (lambda: F.clip(ones(2), 1, 0), ValueError, "clip: low must be below high"),
    (lambda: F.pow(ones(2), ones(2)), TypeError, "pow: exponent must be a number"),
    (lambda: ones(2) * Tensor(np.ones(2)), TypeError, "mul: a is float32 but b is float64"),
    (lambda: ones(2) + "1", TypeError, "add: b must be a Tensor, an array or a number, got str"),
]


@pytest.mark.parametrize("call, error, message", BAD_INPUT, ids=[message for _, _, message in BAD_INPUT])
def test_bad_input_is_refused_in_words(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_max_shares_the_gradient_among_ties():
    x = Tensor(np.array([[1.0, 3.0, 3.0], [2.0, 0.0, 2.0]]), requires_grad=True)
    x.max(axis=1).backward(np.array([6.0, 10.0]))
    np.testing.assert_array_equal(x.grad, [[0, 3, 3], [5, 0, 5]])


def test_max_pool_gives_ties_to_the_first_position():
    x = Tensor(np.ones((1, 2, 2, 1)), requires_grad=True)
    F.max_pool2d(x).backward(np.full((1, 1, 1, 1), 5.0))
    np.testing.assert_array_equal(x.grad.ravel(), [5, 0, 0, 0])


def test_sigmoid_and_losses_survive_large_scores():
    x = Tensor(np.array([[-1000.0, 1000.0]]), requires_grad=True)
    np.testing.assert_array_equal(F.sigmoid(x).data, [[0, 1]])
    loss = F.softmax_cross_entropy(x, [0])
    loss.backward()
    assert loss.item() == 2000
    np.testing.assert_allclose(x.grad, [[-1, 1]])


def test_cross_entropy_is_its_composed_twin(rng):
    x = rng.standard_normal((5, 4))
    grads = []
    for loss in (
        lambda t: F.softmax_cross_entropy(t, [0, 1, 2, 3, 0]),
        lambda t: -F.log_softmax(t)[np.arange(5), [0, 1, 2, 3, 0]].mean(),
    ):
        t = Tensor(x, requires_grad=True)
        loss(t).backward()
        grads.append(t.grad)
    np.testing.assert_allclose(*grads, atol=1e-15)


def test_batch_norm_is_its_composed_twin(rng):
    def composed(x, gamma, beta):
        centred = x - x.mean(axis=(0, 1, 2))
        var = (centred * centred).mean(axis=(0, 1, 2))
        return gamma * centred / (var + 1e-5).sqrt() + beta

    arrays = [rng.standard_normal(s) for s in ((4, 3, 3, 5), (5,), (5,))]
    dy = rng.standard_normal(arrays[0].shape)
    results = []
    for op in (F.batch_norm, composed):
        tensors = [Tensor(a, requires_grad=True) for a in arrays]
        y = op(*tensors)
        y.backward(dy)
        results.append([y.data, *(t.grad for t in tensors)])
    for fused, twin in zip(*results):
        np.testing.assert_allclose(fused, twin, atol=1e-12)


def test_batch_norm_moves_the_running_averages_as_pytorch_does(rng):
    x = rng.standard_normal((6, 3))
    mean, var = np.zeros(3), np.ones(3)
    F.batch_norm(Tensor(x), Tensor(np.ones(3)), Tensor(np.zeros(3)), mean, var)
    np.testing.assert_allclose(mean, 0.1 * x.mean(0))
    np.testing.assert_allclose(var, 0.9 + 0.1 * x.var(0, ddof=1))


def test_batch_norm_in_float32_survives_a_large_mean(rng):
    x = (rng.standard_normal((20_000, 2)) + 1000).astype("float32")
    y = F.batch_norm(Tensor(x), Tensor(np.ones(2, "float32")), Tensor(np.zeros(2, "float32"))).data
    np.testing.assert_allclose(y.std(0), 1, rtol=1e-3)
    np.testing.assert_allclose(y.mean(0), 0, atol=1e-2)


def test_dropout_keeps_the_mean_and_drops_whole_channels():
    x = ones(400, 3, 3, 50)
    y = F.dropout(x, 0.3, np.random.default_rng(0), channels=True).data
    assert np.all(y == y[:, :1, :1])
    assert abs((y == 0).mean() - 0.3) < 0.01 and abs(y.mean() - 1) < 0.02


def test_col2im_is_the_transpose_of_im2col(rng):
    x = rng.standard_normal((2, 5, 6, 3))
    cols = F.im2col(x, 3, 2, 2, 1, 1)
    other = rng.standard_normal(cols.shape)
    back = F.col2im(other, x.shape, 3, 2, 2, 1)
    np.testing.assert_allclose((cols * other).sum(), (x * back).sum())
