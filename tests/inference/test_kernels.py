"""Layers of bits by compiled kernels: the sums of NumPy, and whole networks with the same logits."""

import numpy as np
import pytest

from duonet import engine, threads
from duonet.compiled import why_not

if why_not():
    pytest.skip(why_not(), allow_module_level=True)

from test_packing import SHAPES, network, same

from duonet.inference import pack
from duonet.inference.bits import Bits, Counter, as_bits, kernels
from duonet.inference.layers import Steps
from duonet.inference.products import SignLayer


@pytest.mark.parametrize("channels", [1, 12, 21, 64, 65, 130])
@pytest.mark.parametrize("planes", [1, 2])
def test_rows_of_bits_are_the_steps(channels, planes, rng):
    levels = tuple(float(k) for k in range(planes + 1))
    steps = Steps(rng.integers(0, planes + 1, (3, 4, 5, channels)).astype(np.uint8), levels)
    for border in (0, 1, 3):
        np.testing.assert_array_equal(as_bits(steps, border).steps().counts, steps.counts)


def layers(rng):
    for c, oc in ((12, 12), (12, 24), (3, 5), (64, 64), (65, 33), (130, 16)):
        for size, stride, padding, pool in (
            (3, 1, 1, None),
            (3, 1, 1, (2, 2, 0)),
            (2, 2, 0, None),
            (5, 2, 3, (2, 2, 0)),
            (1, 1, 0, None),
        ):
            for levels, copies, scale in (((0.0, 1.0), 1, 1), ((0.0, 0.5, 1.0), 1, 1), ((0.0, 2.0), 2, 1)):
                k = len(levels) - 1
                n = size * size * c
                options = {"stride": stride, "padding": padding, "pool": pool, "copies": copies}
                limits = np.sort(rng.integers(-n // 4, n // 4, (k, copies * oc)), axis=0).astype(np.int32)
                falls = rng.random(copies * oc) < 0.3
                limits[:, falls] = limits[::-1, falls]
                yield levels, SignLayer(
                    "here", rng.random((size, size, c, oc)) < 0.5, np.full(scale, 0.3, np.float32), levels,
                    thresholds=limits, falls=falls, out_levels=levels, **options,
                )  # fmt: skip


def test_every_layer_is_that_of_numpy(rng):
    for levels, layer in layers(rng):
        counts = rng.integers(0, len(levels), (2, 9, 7, layer.signs.shape[2])).astype(np.uint8)
        x = Steps(counts, levels)
        for border in (0, 2):
            layer.border = border
            got = layer.run(x)
            assert isinstance(got, Bits) and got.border == border
            with engine.without("compiled"):
                expected = layer.run(x)
            np.testing.assert_array_equal(got.steps().counts, expected.counts)
        layer.thresholds, layer.pool, layer.copies, layer._counter = None, None, 1, None
        sums = layer.run(x)
        with engine.without("compiled"):
            np.testing.assert_array_equal(sums, layer.run(x))


def test_what_no_kernel_computes_is_numpys(rng):
    levels = (-1.0, 1.0)
    layer = SignLayer("here", rng.random((3, 3, 8, 4)) < 0.5, np.ones(1, np.float32), levels, padding=1)
    x = Steps(rng.integers(0, 2, (2, 5, 5, 8)).astype(np.uint8), levels)
    assert not layer.compiled and layer.run(x).shape == (2, 5, 5, 4)
    other = Steps(x.counts, (0.0, 1.0))  # of other levels than the layer says, as a file may have it
    assert layer.run(other).shape == (2, 5, 5, 4)


@pytest.mark.parametrize("weights", ["binary", "float"])
@pytest.mark.parametrize("variant", ["baseline", "coupled", "decoupled"])
@pytest.mark.parametrize("name", SHAPES)
def test_logits_of_any_batch_on_any_number_of_threads(name, variant, weights, rng):
    model = network(name, variant, weights, rng)
    packed = pack(model, SHAPES[name])
    x = rng.standard_normal((19, *SHAPES[name]), dtype=np.float32)
    for n in (1, 2):
        with threads(n):
            same(model, packed, x)
    with engine.without("compiled"):
        assert kernels() is None
        same(model, packed, x)


def test_a_kernel_is_made_once(rng):
    counter = Counter(rng.random((3, 3, 8, 4)) < 0.5, 1, 1, 1, 1, None, None, False)
    assert counter.words((3, 3, 8)) is counter.words((3, 3, 8))
