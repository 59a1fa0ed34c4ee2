"""Layers of bits by compiled kernels: the sums of NumPy, and whole networks with the same logits."""

import numpy as np
import pytest

from duonet import engine, quant, threads
from duonet.compiled import why_not

if why_not():
    pytest.skip(why_not(), allow_module_level=True)

from test_packing import SHAPES, STAIRCASES, network, odd_chain, same

from duonet.inference import PackedNetwork, pack
from duonet.inference.floats import FloatLayer
from duonet.inference.layers import StepLayer, Sum, values
from duonet.inference.network import run
from duonet.inference.plans import kernels, planned
from duonet.inference.products import SignLayer


def alike(layers, x, kinds=("program",)):
    """The layers as programs, and the same layer by layer in NumPy."""
    plan = planned(layers, x.shape[1:])
    assert tuple(layer.kind for layer in plan) == kinds
    got = run(plan, x)
    with engine.without("compiled"):
        np.testing.assert_array_equal(got, values(run(layers, x)))
    return got


def steps(rng, channels, levels=(0.0, 1.0), copies=1):
    limits = np.sort(rng.standard_normal((len(levels) - 1, channels * copies)).astype(np.float32), axis=0)
    falls = rng.random(channels * copies) < 0.3
    limits[:, falls] = limits[::-1, falls]
    return StepLayer("steps", limits, falls, levels, copies)


def signs(rng, shape, levels=(0.0, 1.0), **options):
    scale = rng.random(shape[-1]).astype(np.float32)
    return SignLayer("signs", rng.random(shape) < 0.5, scale, levels, **options)


@pytest.mark.parametrize("channels", [1, 12, 21, 64, 65, 130])
@pytest.mark.parametrize("levels", [(0.0, 1.0), (0.0, 0.5, 1.0)])
def test_floats_to_bits_and_back(channels, levels, rng):
    kinds = [
        FloatLayer("cut", "relu", {}, {}),
        steps(rng, channels, levels),
        signs(rng, (1, 1, channels, 3), levels),
    ]
    x = rng.standard_normal((2, 3, 5, channels), dtype=np.float32)
    x[0, 0, 0, 0] = np.nan
    alike(kinds, x)
    for copies in (1, 2):
        body = Sum("sum", [steps(rng, channels, levels, copies)], [steps(rng, channels, levels, copies)])
        alike([body], x)


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
        channels = layer.signs.shape[2]
        x = np.asarray(levels, np.float32)[rng.integers(0, len(levels), (2, 9, 7, channels))]
        alike([layer], x)
        behind = signs(rng, (3, 3, layer.outputs * layer.copies, 5), levels, padding=2)
        alike([layer, behind], x)  # whose bits have a border
        layer.thresholds, layer.pool, layer.copies = None, None, 1
        layer.bias = rng.standard_normal(layer.outputs).astype(np.float32) if channels == 12 else None
        alike([layer], x)


def norm(rng, channels):
    arrays = {name: rng.random(channels).astype(np.float32) for name in ("gamma", "beta", "running_mean")}
    arrays["running_var"] = rng.random(channels).astype(np.float32)
    return FloatLayer("norm", "batch_norm", {"eps": 1e-5}, arrays)


def test_sums_norms_copies_and_rows_of_numbers(rng):
    """What lies in memory is read again by a second path, changed in place, and read as a row."""
    relu, flatten = (FloatLayer("", kind, {}, {}) for kind in ("relu", "flatten"))
    twice = FloatLayer("", "replicate", {"copies": 2}, {})
    half = FloatLayer("", "average_copies", {}, {"shares": np.array([0.3, 0.7], np.float32)})
    thrice = FloatLayer("", "replicate", {"copies": 3}, {})
    third = FloatLayer("", "average_copies", {}, {"shares": np.array([0.2, 0.3, 0.5], np.float32)})
    body = [steps(rng, 12), signs(rng, (3, 3, 12, 12), padding=1), norm(rng, 12)]
    x = rng.standard_normal((3, 5, 7, 12), dtype=np.float32)
    alike([norm(rng, 12), Sum("a", body, []), Sum("b", [relu], body), Sum("c", [norm(rng, 12)], []), relu], x)
    alike([Sum("inner", [Sum("outer", body, [norm(rng, 12)])], []), *body], x)
    wide = [steps(rng, 24), signs(rng, (1, 1, 24, 24)), norm(rng, 24), half]
    alike([twice, norm(rng, 24), Sum("d", wide[:3], []), half, twice, *wide], x)
    alike([thrice, norm(rng, 36), third, *body], x)
    rows = 5 * 7 * 12
    alike([steps(rng, 12), flatten, signs(rng, (rows, 9)), norm(rng, 9)], x)
    alike([flatten, steps(rng, rows), signs(rng, (rows, 9)), steps(rng, 9), signs(rng, (9, 4))], x)
    alike([steps(rng, 12), flatten, norm(rng, rows), twice, relu], x)


def test_steps_that_two_layers_read_with_other_borders_and_levels(rng):
    paths = [signs(rng, (3, 3, 8, 8), padding=1)], [signs(rng, (1, 1, 8, 8))]
    x = rng.standard_normal((2, 6, 6, 8), dtype=np.float32)
    alike([steps(rng, 8), Sum("sum", *paths), norm(rng, 8)], x)
    alike([steps(rng, 8, (0.0, 0.5, 1.0)), norm(rng, 8), steps(rng, 8), *paths[0]], x)


def test_what_no_kernel_computes_is_numpys(rng):
    act, product = steps(rng, 8, (-1.0, 1.0)), signs(rng, (3, 3, 8, 4), (-1.0, 1.0), padding=1)
    x = rng.standard_normal((2, 5, 5, 8), dtype=np.float32)
    alike([act, product, norm(rng, 4)], x, ("steps", "signs", "program"))
    pooled = signs(rng, (3, 3, 8, 8), padding=1, thresholds=np.zeros((1, 8), np.int32), falls=np.zeros(8, bool), pool=(3, 2, 1), out_levels=(0.0, 1.0))  # fmt: skip
    pool = FloatLayer("pool", "avg_pool", {"size": 2, "stride": 2}, {})
    inside = Sum("sum", [steps(rng, 8), pooled], [pool])
    alike([inside, norm(rng, 8)], x[:, :4, :4], ("sum", "program"))


CASES = [(name, variant, "binary") for name in SHAPES for variant in ("baseline", "coupled", "decoupled")]
CASES += [("vgg_deep", "baseline", "float"), ("resnet20", "decoupled", "float")]


@pytest.mark.parametrize("name, variant, weights", CASES)
def test_logits_of_any_batch_on_any_number_of_threads(name, variant, weights, rng):
    model = network(name, variant, weights, rng)
    packed = pack(model, SHAPES[name])
    x = rng.standard_normal((11, *SHAPES[name]), dtype=np.float32)
    with threads(2):
        same(model, packed, x)
    same(model, packed, x[:1])
    assert any(layer.kind in ("program", "sum") for layer in packed._layers(SHAPES[name]))
    with engine.without("compiled"):
        assert kernels() is None


@pytest.mark.parametrize("staircase", STAIRCASES, ids=repr)
def test_odd_chains(staircase, rng):
    model = odd_chain(staircase, quant.FilterScaleSign, rng)
    same(model, pack(model, (12, 12, 3)), rng.standard_normal((4, 12, 12, 3), dtype=np.float32))


def test_a_network_is_planned_once_for_each_shape(rng):
    packed = PackedNetwork([steps(rng, 8), signs(rng, (3, 3, 8, 4), padding=1)])
    assert packed._layers((5, 5, 8)) is packed._layers((5, 5, 8)) is not packed._layers((6, 5, 8))
    assert packed(np.zeros((0, 6, 5, 8), np.float32)).shape == (0, 6, 5, 4)
