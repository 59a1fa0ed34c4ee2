"""The first convolution, max pooling, and dx before a pool, against the plain ops."""

import numpy as np
import pytest

from duonet import Tensor, compiled, engine, nn, parallel, plain_ops
from duonet import functional as F
from duonet.functional.conv import Conv2d
from duonet.quant import Binary, Clip

if compiled.why_not():
    pytest.skip(compiled.why_not(), allow_module_level=True)

from duonet.compiled import dense, pooling  # noqa: E402

IMAGES = [  # images, height, width, channels, out channels, kernel, stride, padding
    (3, 8, 8, 3, 8, 3, 1, 1),
    (18, 9, 11, 1, 13, 3, 1, 2),
    (2, 9, 19, 3, 13, 3, 2, 1),
    (2, 8, 10, 3, 8, 3, 1, 0),
]


def gradients(op, arrays, seed=1):
    tensors = [Tensor(a, requires_grad=True) for a in arrays]
    y = op(*tensors)
    y.backward(np.random.default_rng(seed).integers(-4, 5, y.shape).astype(y.dtype) / 2)
    return y.data, *(tensor.grad for tensor in tensors)


@pytest.mark.parametrize("case", IMAGES, ids=str)
@pytest.mark.parametrize("bias", [True, False])
def test_the_first_convolution_of_dyadic_images_has_the_plain_ops_bits(rng, case, bias):
    n, h, w, c, oc, k, stride, padding = case
    shapes = [(n, h, w, c), (k, k, c, oc), (oc,)][: 2 + bias]
    arrays = [rng.integers(-8, 9, shape).astype("float32") / 4 for shape in shapes]
    options = {"stride": stride, "padding": padding}
    assert engine.version(Conv2d, "cpu", *arrays[:2], None, **options) is dense.Conv2d
    got = gradients(lambda *a: F.conv2d(*a, **options), arrays)
    with plain_ops():
        expected = gradients(lambda *a: F.conv2d(*a, **options), arrays)
    for one, two in zip(got, expected):
        np.testing.assert_array_equal(one, two)


def test_narrow_and_other_images_run_numpys_twin():
    w = np.ones((3, 3, 3, 8), "float32")
    for x in (np.ones((2, 5, 5, 3), "float32"), np.ones((2, 9, 9, 3)), np.ones((0, 9, 9, 3), "float32")):
        found = engine.version(Conv2d, "cpu", x, w.astype(x.dtype), None, stride=1, padding=1)
        assert found.__module__ == ("duonet.fast.conv" if x.size else "duonet.functional.conv")


@pytest.mark.parametrize("shape", [(3, 8, 8, 8), (2, 7, 9, 5), (1, 2, 2, 4), (20, 6, 5, 13)])
def test_pooling_and_the_gradient_before_it_have_the_plain_ops_bits(rng, monkeypatch, shape):
    met = []

    def watched(pooled, *rest):
        met.append(pooled)
        return pool_gradient(pooled, *rest)

    pool_gradient = dense.pool_gradient
    monkeypatch.setattr(dense, "pool_gradient", watched)
    n, h, w, oc = shape
    x = rng.integers(0, 3, shape).astype("float32")
    weights = rng.integers(-8, 9, (3, 3, 8, oc)).astype("float32") / 4
    bits = engine.attach(rng.integers(0, 2, (n, h, w, 8)).astype("float32"), levels=(0.0, 1.0))
    plain, got = [], []
    for results, context in ((plain, plain_ops), (got, engine.without)):
        with context():
            results.extend(gradients(F.max_pool2d, [x]))
            results.extend(gradients(lambda x, w: F.max_pool2d(F.conv2d(x, w, padding=1)), [bits, weights]))
    for one, two in zip(got, plain):
        np.testing.assert_array_equal(one, two)
    assert len(met) == 1 and isinstance(met[0], pooling.Pooled)


def test_a_nan_is_the_maximum_of_its_window():
    x = np.zeros((1, 2, 8, 1), "float32")
    for k in range(4):
        x[0, k // 2, 2 * k + k % 2] = np.nan
    assert np.isnan(F.max_pool2d(Tensor(x)).data).all()


def test_a_network_learns_the_same_on_any_number_of_threads(rng, monkeypatch):
    monkeypatch.setattr("duonet.compiled.running.SHARED", 0)
    x = rng.standard_normal((33, 8, 8, 3)).astype("float32")
    results = []
    for n in (1, 2, 3):
        draw = np.random.default_rng(0)

        def conv(inputs, draw=draw):
            return nn.Conv2d(inputs, 8, 3, padding=1, bias=False, rng=draw)

        act = nn.QuantActivation(Binary(), Clip(0, 1))
        model = nn.Sequential(
            conv(3), nn.BatchNorm(8), act, conv(8), nn.MaxPool2d(2), nn.BatchNorm(8), act, conv(8), nn.Flatten(),
            nn.Linear(128, 10, rng=draw),
        )  # fmt: skip
        with parallel.threads(n):
            F.softmax_cross_entropy(model(Tensor(x)), np.arange(33) % 10).backward()
        results.append([p.grad for p in model.parameters()])
    for one, *others in zip(*results):
        for other in others:
            np.testing.assert_array_equal(one, other)
