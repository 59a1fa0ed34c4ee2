"""Convolution by tables against the plain op, and each kernel against its plain form in NumPy."""

import numpy as np
import pytest

from duonet import Tensor, compiled, engine, parallel, plain_ops
from duonet import functional as F
from duonet.functional.conv import Conv2d

if compiled.why_not():
    pytest.skip(compiled.why_not(), allow_module_level=True)

from duonet.compiled import codes, conv, rows, tables  # noqa: E402
from duonet.compiled.running import share  # noqa: E402

BINARY, TERNARY, SIGN, HALF = (0.0, 1.0), (0.0, 0.5, 1.0), (-1.0, 1.0), (0.25, 0.5)
CONVS = [  # images, height, width, channels, out channels, kernel, stride, padding
    (3, 8, 8, 8, 8, 3, 1, 1),
    (3, 9, 7, 12, 13, 3, 2, 1),
    (2, 7, 7, 5, 15, 3, 1, 0),
    (17, 5, 6, 6, 8, 2, 1, 3),
    (2, 6, 5, 13, 8, 3, 1, 2),
    (1, 8, 8, 16, 8, 1, 2, 0),
    (2, 5, 5, 3, 8, 5, 1, 2),
    (2, 4, 4, 16, 8, 4, 4, 0),
]


def known(x, levels):
    return engine.attach(x.copy(), levels=levels)


def gradients(op, arrays, levels, seed=1):
    """Run an op on a first input of which the levels are known or not; return output and gradients."""
    x, *rest = arrays
    tensors = [Tensor(a, requires_grad=True) for a in (known(x, levels) if levels else x, *rest)]
    y = op(*tensors)
    y.backward(np.random.default_rng(seed).integers(-4, 5, y.shape).astype(y.dtype) / 2)
    return y.data, *(tensor.grad for tensor in tensors)


@pytest.mark.parametrize("levels", [BINARY, TERNARY, SIGN, HALF], ids=str)
@pytest.mark.parametrize("case", CONVS, ids=str)
@pytest.mark.parametrize("bias", [True, False])
def test_sums_of_dyadic_numbers_are_those_of_the_plain_op_bit_for_bit(rng, case, levels, bias):
    n, h, w, c, oc, k, stride, padding = case
    x = rng.choice(np.array(levels, "float32"), (n, h, w, c))
    weights = rng.integers(-8, 9, (k, k, c, oc)).astype("float32") / 4
    arrays = [x, weights] + [rng.integers(-8, 9, oc).astype("float32") / 4] * bias
    options = {"stride": stride, "padding": padding}
    found = engine.version(Conv2d, "cpu", known(x, levels), weights, None, **options)
    assert found is conv.Conv2d
    got = gradients(lambda *a: F.conv2d(*a, **options), arrays, levels)
    with plain_ops():
        expected = gradients(lambda *a: F.conv2d(*a, **options), arrays, levels)
    for one, two in zip(got, expected):
        np.testing.assert_array_equal(one, two)
        assert one.dtype == np.float32


@pytest.mark.parametrize("levels", [BINARY, TERNARY], ids=str)
def test_gradients_of_other_numbers_are_near_and_the_same_on_any_number_of_threads(rng, monkeypatch, levels):
    monkeypatch.setattr("duonet.compiled.running.SHARED", 0)
    arrays = [rng.choice(np.array(levels, "float32"), (33, 6, 6, 8)), *map(rng.standard_normal, [(3, 3, 8, 8), 8])]
    arrays = [a.astype("float32") for a in arrays]

    def run(*tensors):
        return F.conv2d(*tensors, padding=1)

    expected = gradients(run, [a.astype("float64") for a in arrays], None)
    results = []
    for n in (1, 2, 3):
        with parallel.threads(n):
            results.append(gradients(run, arrays, levels))
    for exact, *same in zip(expected, *results):
        np.testing.assert_allclose(same[0], exact, rtol=0, atol=1e-5 * np.abs(exact).max())
        for other in same[1:]:
            np.testing.assert_array_equal(other, same[0])


@pytest.mark.parametrize("levels", [BINARY, TERNARY, SIGN], ids=str)
@pytest.mark.parametrize("channels", [8, 5])
@pytest.mark.parametrize("padding", [0, 2])
def test_packing_is_its_plain_form(rng, levels, channels, padding):
    x = rng.choice(np.array(levels, "float32"), (3, 4, 5, channels))
    code = codes.code_of(known(x, levels), bordered=padding > 0)
    y = codes.packed(x, code, padding)
    inside = y[:, padding : 4 + padding, padding : 5 + padding]
    np.testing.assert_array_equal(inside, codes.plainly_packed(x, code))
    if code.levels[0] == 0:
        np.testing.assert_array_equal(y, codes.plainly_packed(x, code, padding))


def test_the_plain_form_of_a_table_is_a_matrix_product(rng):
    code = codes.Code(TERNARY)
    x = rng.choice(np.array(TERNARY), (50, 1, 1, 10))
    w = rng.integers(-4, 5, (10, 3)) / 4
    np.testing.assert_array_equal(
        tables.product(codes.plainly_packed(x, code).reshape(50, -1), w, code), x.reshape(50, 10) @ w
    )


@pytest.mark.parametrize("outputs", [*range(4, 70), 128, 340])
def test_blocks_cover_every_output(outputs):
    width, starts = rows.blocks(outputs)
    assert set(range(outputs)) == {start + i for start in starts for i in range(width)}


@pytest.mark.parametrize(
    "x, w",
    [
        (np.ones((2, 4, 4, 8), "float64"), np.ones((3, 3, 8, 8))),
        (np.ones((2, 4, 4, 8), "float32"), np.ones((3, 3, 8, 3), "float32")),
        (np.ones((0, 4, 4, 8), "float32"), np.ones((3, 3, 8, 8), "float32")),
    ],
    ids=["float64", "three outputs", "no images"],
)
def test_other_calls_run_numpys_twin(x, w):
    options = {"stride": 1, "padding": 1}
    found = engine.version(Conv2d, "cpu", engine.attach(x, levels=BINARY), w, None, **options)
    assert not found.__module__.startswith("duonet.compiled")


def test_levels_that_are_too_many_or_unknown_run_numpys_twin(rng):
    x, w = np.ones((2, 4, 4, 8), "float32"), np.ones((3, 3, 8, 8), "float32")
    options = {"stride": 1, "padding": 1}
    for levels in (None, (1.0, 2.0, 3.0)):  # with the border's 0 four
        found = engine.version(Conv2d, "cpu", known(x, levels) if levels else x, w, None, **options)
        assert found.__module__ == "duonet.fast.conv"


def test_what_is_shared_out_is_done_once(monkeypatch):
    done = np.zeros(37, int)

    def kernel(start, stop):
        done[start:stop] += 1

    for work in (0, 1e9):
        share(kernel, 37, work)
    assert (done == 2).all()
