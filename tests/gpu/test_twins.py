"""Every twin against its plain op on the CPU: on small integers, where sums are exact, to the last bit."""

import contextlib
import functools

import numpy as np
import pytest

from duonet import Parameter, Tensor, backend, fuse, nn, optim, plain_ops
from duonet import functional as F
from duonet.engine import version
from duonet.functional.conv import Conv2d
from duonet.gpu import conv
from duonet.gpu import kernels as launching
from duonet.gpu import optim as updates
from duonet.gpu.quantize import windowed
from duonet.quant import (
    Binary,
    Clip,
    Identity,
    Polynomial,
    ReLU,
    Shifted,
    Sign,
    Staircase,
    Ternary,
    Uniform,
    ZeroOne,
    quantize,
)  # fmt: skip
from duonet.quant.activation import BatchNormQuantize

DTYPES = ("float32", "float64")
each_dtype = pytest.mark.parametrize("dtype", DTYPES)


def integers(rng, shape, dtype, most=4):
    return rng.integers(-most, most + 1, shape).astype(dtype)


def run(op, arrays, move=None, fast=True):
    """Return output and gradients as NumPy arrays, of the twin where `move` says how to get there, else plain."""
    tensors = [Tensor(a if move is None else move(a), requires_grad=True) for a in arrays]
    with plain_ops() if move is None else contextlib.nullcontext():
        y = op(*tensors)
        if move is not None:
            assert y._node.function.__module__.startswith("duonet.gpu") == fast
        dy = np.random.default_rng(9).integers(-4, 5, y.shape).astype(y.dtype)
        y.backward(dy if move is None else move(dy))
    return [y.numpy()] + [backend.to_device(t.grad, "cpu") for t in tensors]


def assert_same(op, arrays, move, exact=True, rtol=1e-5, fast=True):
    for result, expected in zip(run(op, arrays, move, fast), run(op, arrays)):
        assert result.dtype == expected.dtype
        if exact:
            np.testing.assert_array_equal(result, expected)
        else:
            np.testing.assert_allclose(result, expected, rtol=rtol, atol=rtol * np.abs(expected).max())


# N, H, W, C, KH, KW, OC, stride, padding
CONVS = [
    (2, 6, 5, 4, 3, 3, 8, 1, 1),
    (3, 5, 7, 3, 3, 3, 5, 1, 1),
    (2, 7, 6, 1, 3, 2, 4, 1, 0),
    (2, 7, 6, 8, 3, 2, 2, 1, 0),  # dx by a flipped kernel that is higher than wide
    (2, 8, 9, 8, 3, 3, 2, 2, 1),  # dx by col2im, and rows that fill no window
    (1, 9, 7, 6, 2, 4, 3, 3, 2),
    (2, 4, 4, 16, 3, 3, 3, 1, 2),  # more padding than keeps the size
    (3, 4, 5, 8, 1, 1, 6, 1, 0),  # windows that are pixels,
    (4, 3, 2, 4, 3, 2, 7, 2, 0),  # or whole images
    (2, 5, 5, 4, 1, 1, 3, 2, 0),
    (2, 5, 5, 4, 1, 1, 3, 1, 1),
    (1, 1, 1, 1, 1, 1, 1, 1, 0),
]


@each_dtype
@pytest.mark.parametrize("n, h, w, c, kh, kw, oc, stride, padding", CONVS)
def test_convolution(kernels, rng, dtype, n, h, w, c, kh, kw, oc, stride, padding):
    arrays = [integers(rng, shape, dtype) for shape in ((n, h, w, c), (kh, kw, c, oc), (oc,))]
    assert_same(lambda *a: F.conv2d(*a, stride=stride, padding=padding), arrays, kernels)


@pytest.mark.parametrize("stride", [1, 2])
def test_convolution_in_parts_of_the_batch(kernels, rng, monkeypatch, stride):
    monkeypatch.setattr(conv, "BUDGET", 6 * 5 * 9 * 4 * 8 * 2)  # two or three images at a time
    assert len(conv._parts(7, 6 * 5 * 9 * 4 * 8)) == 4
    arrays = [integers(rng, shape, "float64") for shape in ((7, 6, 5, 4), (3, 3, 4, 2))]
    assert_same(lambda *a: F.conv2d(*a, stride=stride, padding=1), arrays, kernels)


def test_convolution_of_views(kernels, rng):
    w = integers(rng, (3, 3, 4, 2), "float32")
    x = integers(rng, (4, 2, 6, 5), "float32").transpose(1, 2, 3, 0)
    assert_same(lambda *a: F.conv2d(*a, padding=1), [x, w], kernels)
    buffer = kernels(integers(rng, (2 * 6 * 5 * 4 + 1,), "float32"))
    shifted = buffer[1:].reshape(2, 6, 5, 4)  # not where four floats may be loaded at once
    assert backend.address(shifted) % 16
    y = F.conv2d(Tensor(shifted), Tensor(kernels(w)), padding=1)
    with plain_ops():
        expected = F.conv2d(Tensor(backend.to_device(shifted, "cpu")), Tensor(w), padding=1)
    np.testing.assert_array_equal(y.numpy(), expected.numpy())


def test_what_32_bits_cannot_count_takes_the_plain_way(kernels, rng, monkeypatch):
    arrays = [integers(rng, shape, "float32") for shape in ((2, 6, 5, 4), (3, 3, 4, 2))]
    monkeypatch.setattr(launching, "MOST", 500)  # the image, not its windows
    assert_same(lambda *a: F.conv2d(*a, padding=1), arrays, kernels)
    assert_same(lambda *a: F.conv2d(*a, stride=2, padding=1), arrays, kernels)
    monkeypatch.setattr(launching, "MOST", 200)
    ops = [
        (lambda *a: F.conv2d(*a, padding=1), arrays),
        (F.max_pool2d, arrays[:1]),
        (F.batch_norm, [arrays[0], np.ones(4, "float32"), np.ones(4, "float32")]),
        (lambda x: quantize(x, Sign(), Clip(-1, 1)), arrays[:1]),
        (lambda x: F.softmax_cross_entropy(x, [0] * 60), [arrays[0].reshape(60, 4)]),
    ]
    for op, given in ops:
        assert_same(op, given, kernels, fast=False, exact=False)


NORMS = [(4, 1), (7, 3), (2, 4, 5, 12), (64, 32), (3, 5, 7, 33), (2, 9, 8, 64), (5, 300), (600, 2), (4, 33, 33, 5)]


@each_dtype
@pytest.mark.parametrize("shape", NORMS)
@pytest.mark.parametrize("training", [True, False])
def test_batch_norm(kernels, rng, dtype, shape, training):
    arrays = [rng.standard_normal(s).astype(dtype) for s in (shape, shape[-1:], shape[-1:])]
    states = []

    def norm(x, gamma, beta):
        xp = backend.get_xp(x.data)
        state = xp.full(shape[-1], 0.25, dtype), xp.full(shape[-1], 2, dtype)
        states.append(state)
        return F.batch_norm(x, gamma, beta, *state, training=training)

    rtol = 2e-5 if dtype == "float32" else 1e-12
    assert_same(norm, arrays, kernels, exact=False, rtol=rtol)
    for there, here in zip(*states):
        np.testing.assert_allclose(backend.to_device(there, "cpu"), here, rtol=rtol, atol=rtol)
    if training:
        assert_same(F.batch_norm, arrays, kernels, exact=False, rtol=rtol)
    else:
        result, expected = run(norm, arrays, kernels)[0], run(norm, arrays)[0]
        np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("offset, outlier", [(1e4, 0), (-300, 0), (0, 1e5), (1e3, -1e6)])
def test_statistics_are_sound_far_from_zero(kernels, rng, offset, outlier):
    x = (rng.standard_normal((4, 21, 20, 6)) + offset).astype("float32")
    x[0, 0, 0] += outlier  # the value that distances are measured from
    one, nought = np.ones(6, "float32"), np.zeros(6, "float32")
    result = run(F.batch_norm, [x, one, nought], kernels)[0]
    expected = run(F.batch_norm, [a.astype("float64") for a in (x, one, nought)])[0]
    error = np.abs(result - expected).max() / max(1, np.abs(expected).max())
    assert error < 4 * np.abs(x).max() * 2**-24 / x.std(axis=(0, 1, 2)).min() + 1e-6


def test_batch_norm_of_views(kernels, rng):
    x = rng.standard_normal((6, 5, 4, 3)).astype("float32").transpose(1, 2, 3, 0)
    gamma, beta = rng.standard_normal((2, 12)).astype("float32")[:, ::2]
    assert_same(F.batch_norm, [x, gamma, beta], kernels, exact=False, rtol=2e-5)

    def onto_views(*tensors):
        state = backend.get_xp(tensors[0].data).ones((6, 2), "float32")
        return F.batch_norm(*tensors, state[:, 0], state[:, 1])

    assert_same(onto_views, [x, gamma, beta], kernels, exact=False, rtol=2e-5, fast=False)


def test_the_same_input_gives_the_same_bits(kernels, rng):
    arrays = [rng.standard_normal(s).astype("float32") for s in ((4, 30, 30, 20), (20,), (20,))]
    for first, second in zip(*(run(F.batch_norm, arrays, kernels) for _ in range(2))):
        np.testing.assert_array_equal(first, second)


STAIRCASES = [
    Sign(), Binary(), Binary(0.1), Binary(np.linspace(-1, 1, 6)), Ternary(), Uniform(2), Uniform(5),
    Staircase([-0.5, np.linspace(0, 0.5, 6), 0.7], [-1, 0, 0.3, 4]),
]  # fmt: skip
SURROGATES = [
    Clip(0, 1), Clip(-1, 1, closed=True), Clip(0.1, np.float64(0.7)), ReLU(), Identity(), Polynomial(),
    Shifted(Clip(0, 1), 0.1), Shifted(Clip(0, 1, closed=True), np.linspace(-0.25, 0.25, 6)), Shifted(ReLU(), 0.5),
    Shifted(Identity(), 0.5), ZeroOne(Polynomial()),
]  # fmt: skip


def around_steps(dtype):
    """Every threshold and end of a window, and the numbers next to it on both sides, in each of six channels."""
    at = np.concatenate([t.ravel() for s in STAIRCASES for t in s.thresholds] + [np.linspace(-1.5, 1.5, 25)])
    at = at.astype(dtype)
    at = np.concatenate([at, np.nextafter(at, at.dtype.type(9)), np.nextafter(at, at.dtype.type(-9))])
    at = at[np.abs(at) != np.finfo(dtype).smallest_subnormal]  # which CuPy's kernels take for 0
    return np.repeat(np.concatenate([at, [np.inf, -np.inf, -0.0]]).astype(dtype)[:, None], 6, axis=1)


@each_dtype
@pytest.mark.parametrize("staircase", STAIRCASES, ids=str)
@pytest.mark.parametrize("surrogate", SURROGATES, ids=str)
def test_quantise(kernels, dtype, staircase, surrogate):
    with np.errstate(invalid="ignore"):
        assert_same(lambda x: quantize(x, staircase, surrogate), [around_steps(dtype)], kernels)


def test_quantise_remembers_a_byte_a_value(kernels):
    x = Tensor(kernels(around_steps("float32")), requires_grad=True)
    assert quantize(x, Ternary(), Clip(0, 1))._node.slope.dtype == bool
    assert quantize(x, Ternary(), Identity())._node.slope is None
    with pytest.raises(ValueError):
        quantize(x, Binary(np.zeros(5)), Clip(0, 1))


def test_quantise_nan_and_no_axes(kernels):
    for x in (np.full((2, 6), np.nan, "float32"), np.array(0.25, "float32")):
        assert_same(lambda x: quantize(x, Ternary(), ReLU()), [x], kernels)


@each_dtype
@pytest.mark.parametrize("surrogate", [s for s in SURROGATES if "Poly" not in str(s)], ids=str)
@pytest.mark.parametrize("training", [True, False])
def test_batch_norm_and_staircase_in_one_give_the_bits_of_both(kernels, rng, dtype, surrogate, training):
    arrays = [rng.standard_normal(shape).astype(dtype) for shape in ((3, 5, 4, 6), (6,), (6,))]
    options = {"training": training, "momentum": 0.1, "eps": 1e-5}
    fast = windowed(surrogate)
    for staircase in (Ternary(), STAIRCASES[3], STAIRCASES[-1]):
        ways = [
            lambda *tensors, at=staircase, **state: BatchNormQuantize.apply(
                *tensors, staircase=at, surrogate=surrogate, **state
            ),
            lambda *tensors, at=staircase, **state: quantize(F.batch_norm(*tensors, **state), at, surrogate),
        ]
        results = []
        for way, twin in zip(ways, (fast, True)):
            state = {"running_mean": kernels(np.full(6, 0.5, dtype)), "running_var": kernels(np.ones(6, dtype))}
            results.append(run(functools.partial(way, **state, **options), arrays, kernels, twin))
            results[-1] += [backend.to_device(array, "cpu") for array in state.values()]
        for one, two in zip(*results):
            if fast:
                np.testing.assert_array_equal(one, two)
            else:
                np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-5)


POOLS = [(6, 2, 2, 0), (7, 2, 2, 0), (7, 3, 2, 1), (5, 3, 1, 1), (8, 2, 3, 1), (4, 4, 4, 2), (3, 1, 1, 0)]


@each_dtype
@pytest.mark.parametrize("side, size, stride, padding", POOLS)
def test_max_pool(kernels, rng, dtype, side, size, stride, padding):
    x = integers(rng, (2, side, side + 1, 5), dtype, most=2)  # many ties
    assert_same(lambda x: F.max_pool2d(x, size, stride, padding), [x], kernels)
    x[0, 1, 1, :2] = np.nan, -np.inf
    x[1, ..., 3] = -np.inf
    with np.errstate(invalid="ignore"):
        assert_same(lambda x: F.max_pool2d(x, size, stride, padding), [x], kernels)


def test_a_pool_of_more_positions_than_a_byte_holds_takes_the_plain_way(kernels, rng):
    assert_same(lambda x: F.max_pool2d(x, 16), [integers(rng, (1, 16, 32, 2), "float32")], kernels, fast=False)


@each_dtype
@pytest.mark.parametrize("rows, classes, scale", [(1, 1, 1), (5, 2, 1), (300, 10, 3), (4, 257, 1), (3, 10, 1e4)])
def test_softmax_cross_entropy(kernels, rng, dtype, rows, classes, scale):
    labels = rng.integers(0, classes, rows)
    logits = (scale * rng.standard_normal((rows, classes))).astype(dtype)

    def loss(x):
        return F.softmax_cross_entropy(x, backend.to_device(labels, backend.device_of(x.data)))

    assert_same(loss, [logits], kernels, exact=False, rtol=1e-5 if dtype == "float32" else 1e-13)


OPTIMIZERS = [
    (optim.SGD, updates.sgd, {"lr": 0.1, "momentum": 0.9, "nesterov": False, "weight_decay": 0.0}),
    (optim.SGD, updates.sgd, {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 1e-4}),
    (optim.Adam, updates.adam, {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 1e-2}),
    (optim.AdamW, updates.adamw, {"lr": 1e-2, "betas": (0.8, 0.99), "eps": 1e-8, "weight_decay": 1e-2}),
]


@each_dtype
@pytest.mark.parametrize("size", [1, 256, 1001])
@pytest.mark.parametrize("optimizer, update, options", OPTIMIZERS)
def test_updates_give_the_bits_of_the_formula(kernels, rng, dtype, size, optimizer, update, options):
    start = rng.standard_normal(size).astype(dtype)
    parameter = Parameter(start.copy())
    reference = optimizer([parameter], **options)
    w, *buffers = (kernels(a.copy()) for a in (start, *(np.zeros_like(start) for _ in reference.buffers)))
    for step in range(1, 4):
        g = rng.standard_normal(size).astype(dtype)
        parameter.grad = g
        reference.step()
        update(w, kernels(g), *buffers, **options, **({} if update is updates.sgd else {"steps": step}))
        np.testing.assert_array_equal(backend.to_device(w, "cpu"), parameter.data)


def layers(rng):
    return nn.Sequential(
        {"conv": nn.Conv2d(2, 6, 3, rng=rng, padding=1), "norm": nn.BatchNorm(6),
         "act": nn.QuantActivation(Ternary(), Clip(0, 1)), "flat": nn.Flatten(), "top": nn.Linear(96, 3, rng=rng)}
    )  # fmt: skip


def ops_of(y):
    """Names of the ops that y was computed by."""
    names, node = [], y._node
    while getattr(node, "parents", None):
        names.append(node.function.name)
        node = node.parents[0]
    return names[::-1]


def test_a_fused_model_runs_norm_and_activation_as_one_unless_somebody_looks(kernels, rng):
    model = layers(np.random.default_rng(0))
    model.to(backend.device_of(kernels(np.zeros(1))))
    x = Tensor(kernels(rng.standard_normal((5, 4, 4, 2)).astype("float32")))
    fused, results = fuse(model), []
    assert "quantize" in ops_of(model(x))
    for looking in (False, True):
        model.norm.running_mean.data[...] = 0
        model.norm.running_var.data[...] = 1
        model.zero_grad()
        with nn.observe(model) if looking else contextlib.nullcontext():
            y = fused(x)
        assert ("batch_norm_quantize" in ops_of(y)) != looking and ("quantize" in ops_of(y)) == looking
        (y * y).sum().backward()
        grads = [backend.to_device(p.grad, "cpu") for p in model.parameters()]
        results.append([y.numpy(), *grads, *(b.numpy() for _, b in model.named_buffers())])
    for one, two in zip(*results):
        np.testing.assert_array_equal(one, two)
    with plain_ops():
        assert "quantize" in ops_of(fused(x))


def test_bad_input_is_refused_in_the_words_of_the_plain_op(kernels):
    model = nn.Sequential({"norm": nn.BatchNorm(3), "act": nn.QuantActivation(Ternary(), Clip(0, 1))})
    model.to(backend.device_of(kernels(np.zeros(1))))
    for run, where in ((model, "norm BatchNorm"), (fuse(model), r"norm(\.norm BatchNorm| BatchNormQuantize)")):
        with pytest.raises(ValueError, match=f"^{where}: batch_norm: expected x"):
            run(Tensor(kernels(np.zeros((4, 2), "float32"))))
    with pytest.raises(ValueError, match="^conv2d: x has 3 channels"):
        F.conv2d(*(Tensor(kernels(np.zeros(s, "float32"))) for s in ((2, 4, 4, 3), (3, 3, 2, 4))))


def test_a_gpus_arrays_get_the_twins():
    assert version(Conv2d, "gpu") is conv.Conv2d and version(Conv2d, "cpu") is not conv.Conv2d


class Plainer(optim.SGD):
    """Has no rule of its own."""


class Backwards(optim.SGD):
    """Has one, which no kernel knows."""

    def _update(self, w, g, velocity, *, steps):
        w += self.lr * g


@pytest.mark.parametrize("cls, launches", [(optim.SGD, 1), (Plainer, 1), (Backwards, 0)])
def test_an_optimiser_takes_the_kernel_of_its_own_rule(gpu, monkeypatch, cls, launches):
    met = []
    monkeypatch.setattr(launching, "launch", lambda source, name, *rest: met.append(name))
    parameter = Parameter(backend.to_device(np.ones(3, "float32"), gpu))
    optimizer = cls([parameter], 0.5)
    parameter.grad = backend.to_device(np.ones(3, "float32"), gpu)
    optimizer.step()
    assert met == ["sgd"] * launches
    assert launches or parameter.numpy()[0] == 1.5
    with plain_ops():
        optimizer.step()
    assert len(met) == launches
