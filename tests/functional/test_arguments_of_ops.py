"""What an op refuses, and in which words: dtypes, numbers, axes. Nothing is cut, taken modulo, or changed in dtype."""

import contextlib

import numpy as np
import pytest
from test_ops import each_case, on, ones

from duonet import Tensor, engine
from duonet import functional as F

INTEGERS = [np.array([10, 200, 3], "uint8"), np.arange(3), np.arange(3) > 1, np.arange(3, dtype="int8")]
MOVES = {"reshape", "transpose", "concat", "pad", "getitem"}


@each_case
@pytest.mark.parametrize("dtype", ["int64", "uint8", "bool"])
def test_integers_are_moved_right_or_refused_by_name(case, dtype, device):
    if case.name.split()[0] in MOVES and not (case.name.startswith("pad") and dtype == "bool"):
        inputs = case.inputs(dtype)
        y = case.op(*map(Tensor, on(device, inputs)))
        assert y.dtype == dtype
        np.testing.assert_array_equal(y.numpy(), case.formula(*inputs))
    else:
        with pytest.raises((TypeError, ValueError), match="must be floats of 16 to 64 bits, got|bool cannot hold"):
            case.op(*map(Tensor, on(device, case.inputs(dtype))))


@pytest.mark.parametrize("plain", [True, False])
@pytest.mark.parametrize("op", [lambda x: x * 0.5, lambda x: x - 127.5, lambda x: x * 2, lambda x: 1 - x, F.relu])
@pytest.mark.parametrize("x", INTEGERS, ids=lambda x: str(x.dtype))
def test_a_number_is_never_cut_to_an_integer_arrays_dtype(x, op, plain):
    with (
        engine.plain_ops() if plain else contextlib.nullcontext(),
        pytest.raises(TypeError, match="must be floats"),
    ):
        op(Tensor(x))


@pytest.mark.parametrize("number", [np.float64(0.5), np.int64(2), np.float32(0.5), np.uint8(3)], ids=repr)
def test_numpys_numbers_do_not_change_the_dtype(number):
    x = Tensor(np.array([0.25, 3.0], "float32"), requires_grad=True)
    for op in (
        lambda: x**number,
        lambda: x * number,
        lambda: number - x,
        lambda: F.pad(x, [(1, 1)], number),
        lambda: F.clip(x, number, np.inf),
        lambda: F.clip(x, -np.inf, number),
        lambda: F.dropout(x, number - number, np.random.default_rng(0)),
    ):
        y = op()
        assert y.dtype == np.float32
        y.sum().backward()


def foreign_arrays():
    one = np.ones((2, 2))
    yield from (
        (one.astype(t), "got") for t in ("longdouble", ">f4", "complex128", "object", "U1", "M8[s]", "m8[s]")
    )
    yield np.ones((2, 2), "i4,f4"), "got"
    yield np.ma.array(one, mask=[[0, 1], [0, 0]]), "must be a plain array, got a MaskedArray"
    yield one.view(np.matrix), "must be a plain array, got a matrix"
    yield one.view(np.recarray), "must be a plain array, got a recarray"


@pytest.mark.parametrize("array, message", list(foreign_arrays()), ids=lambda p: getattr(p, "dtype", p))
def test_arrays_that_no_op_computes_with_are_refused_by_name(array, message):
    plain = Tensor(np.ones((2, 2)))
    for name, call in (
        ("Tensor: data", lambda: Tensor(array)),
        ("mul: b", lambda: plain * array),
        ("mul: a", lambda: array * plain),
        ("relu: x", lambda: F.relu(array)),
        ("concat: input 1", lambda: F.concat([plain, array])),
        ("gt: b", lambda: plain > array),
        ("backward: dy", lambda: (Tensor(np.ones((2, 2)), requires_grad=True) * 2).backward(array)),
    ):
        with pytest.raises(TypeError, match=f"{name} must be .*{message.removeprefix('must be ')}"):
            call()


def test_float16_read_only_and_mapped_arrays_are_ordinary(tmp_path):
    mapped = np.memmap(tmp_path / "x", np.float32, "w+", shape=(2, 3))
    fixed = np.ones((2, 3), np.float16)
    fixed.flags.writeable = False
    for array in (mapped, fixed):
        x = Tensor(array, requires_grad=True)
        y = (x * 0.5 + 1).sum()
        y.backward()
        assert y.dtype == x.grad.dtype == array.dtype and (x.grad == 0.5).all()


NUMBERS_THAT_DO_NOT_FIT = [
    (lambda x: x * 1e39, "mul: b is 1e.39, which float32 cannot hold"),
    (lambda x: x - 10**400, "sub: b is 1000.*, which float32 cannot hold"),
    (lambda x: np.longdouble("1e4000") - x, "sub: a is .*, which float32 cannot hold"),
    (lambda x: x**1e39, "pow: exponent is 1e.39, which float32 cannot hold"),
    (lambda x: x**np.inf, "pow: exponent must be a finite number, got inf"),
    (lambda x: x**np.nan, "pow: exponent must be a finite number, got nan"),
    (lambda x: F.clip(x, 0, 1e39), "clip: high is 1e.39, which float32 cannot hold"),
    (lambda x: F.clip(x, np.nan, 1), "clip: low must be below high"),
    (lambda x: F.clip(x, 0, 1j), "clip: high must be a number, got complex"),
    (lambda x: x * np.complex64(1), "mul: b must be a number, got complex64"),
    (lambda x: x * np.timedelta64(1), "mul: b must be a number, got timedelta64"),
    (lambda x: F.pad(x, [(1, 1)], 1e39), "pad: value is 1e.39, which float32 cannot hold"),
    (lambda x: F.pad(Tensor(INTEGERS[0]), [(1, 1)], 0.5), "pad: value is 0.5, which uint8 cannot hold"),
    (lambda x: F.pad(Tensor(INTEGERS[0]), [(1, 1)], 256), "pad: value is 256, which uint8 cannot hold"),
    (lambda x: F.pad(Tensor(INTEGERS[1]), [(1, 1)], np.nan), "pad: value is nan, which int64 cannot hold"),
    (lambda x: F.pad(x, [(1, 1)], 1j), "pad: value must be a number, got complex"),
    (lambda x: F.dropout(x, np.nan, np.random.default_rng(0)), "dropout: p must be a number at least 0"),
    (lambda x: F.dropout(x, 0.5, 0), "dropout: rng must be a numpy.random.Generator, got int"),
]


@pytest.mark.parametrize(
    "call, message", NUMBERS_THAT_DO_NOT_FIT, ids=[message for _, message in NUMBERS_THAT_DO_NOT_FIT]
)
def test_numbers_that_a_dtype_cannot_hold_are_refused(call, message):
    with pytest.raises((TypeError, ValueError), match=message):
        call(ones(3))


AXES = [
    (lambda x: F.concat([x, x], axis=5), "concat: axis must be an int at least -2 and below 2, got 5"),
    (lambda x: F.concat([x, x], axis=-3), "concat: axis must be .* got -3"),
    (lambda x: F.concat([x, x], axis=0.5), "concat: axis must be an int .* got float 0.5"),
    (lambda x: F.concat([x.sum(), x.sum()], axis=0), "concat: axis must be"),
    (lambda x: x.sum(2), "sum: axis must be an int at least -2 and below 2, got 2"),
    (lambda x: x.mean((0, -3)), "mean: axis must be an int at least -2 and below 2, got -3"),
    (lambda x: x.max((0, -2)), r"max: axis \(0, -2\) names an axis twice"),
    (lambda x: x.sum(0.5), "sum: axis must be an int .* got float 0.5"),
    (lambda x: x.sum(True), "sum: axis must be an int .* got bool True"),
    (lambda x: F.softmax(x, 2), "softmax: axis must be .* got 2"),
    (lambda x: F.log_softmax(x, -3), "log_softmax: axis must be .* got -3"),
    (lambda x: F.conv2d(ones(1, 4, 4, 0), ones(3, 3, 0, 1)), r"conv2d: w \(3, 3, 0, 1\) has no elements"),
    (lambda x: F.transpose(x, (0, 3)), "transpose: axis must be an int at least -2 and below 2, got 3"),
    (lambda x: F.transpose(x, (0, -2)), "transpose: axes .* is not a permutation"),
    (lambda x: F.transpose(x, (0, 1, 2)), "transpose: axis must be"),
    (lambda x: x.reshape(-5, 2), "reshape: shape must be an int at least -1, got -5"),
    (lambda x: x.reshape(2.0, 3), "reshape: shape must be an int at least -1, got float 2.0"),
    (lambda x: F.pad(x, [(1, 1), (1,)]), "pad: widths"),
    (lambda x: F.pad(x, [(1, 1), (1, 1, 1)]), "pad: widths"),
    (lambda x: F.pad(x, [(1, 1), (0.5, 1)]), "pad: widths must be an int, got float 0.5"),
    (
        lambda x: F.conv2d(ones(1, 4, 4, 1), ones(3, 3, 1, 1), stride=1.0),
        "conv2d: stride must be an int at least 1",
    ),
    (
        lambda x: F.conv2d(ones(1, 4, 4, 1), ones(3, 3, 1, 1), padding=True),
        "conv2d: padding must be an int at least 0",
    ),
]


@pytest.mark.parametrize("call, message", AXES, ids=[message for _, message in AXES])
def test_an_axis_or_a_length_that_is_not_there_is_refused(call, message):
    with pytest.raises((TypeError, ValueError), match=message):
        call(ones(2, 3))


def test_numpys_integers_are_lengths_axes_and_strides():
    one, x = np.uint8(1), ones(2, 3)
    assert F.concat([x, x], axis=one).shape == (2, 6)
    assert F.transpose(x, (one, np.int64(0))).shape == (3, 2)
    assert x.sum(one).shape == x.max((np.int64(-1),)).shape == (2,) and F.softmax(x, one).shape == (2, 3)
    assert x.reshape(np.int64(3), np.int64(-1)).shape == x.reshape([3, 2]).shape == (3, 2)
    assert F.pad(x, [(one, 0), (0, one)]).shape == (3, 4)
    image, w = ones(1, 200, 4, 1), ones(3, 3, 1, 1)
    y = F.conv2d(image, w, stride=np.int64(2), padding=np.uint8(100))
    np.testing.assert_array_equal(y.data, F.conv2d(image, w, stride=2, padding=100).data)
    assert F.conv2d_reference(image.data, w.data, None, np.int8(2), np.uint8(100)).shape == y.shape


@pytest.mark.parametrize("index", [5, [0, 5], (0, -4), (slice(None), [3])], ids=str)
def test_an_element_that_is_not_there_is_no_other(index, device):
    (x,) = on(device, [np.ones((2, 3))])
    with pytest.raises(IndexError):
        Tensor(x)[index]


def test_indices_may_be_filled_anew_before_the_backward_pass():
    x, index = Tensor(np.zeros(4), requires_grad=True), np.array([0, 1])
    y = x[index]
    index[:] = [2, 3]
    y.sum().backward()
    np.testing.assert_array_equal(x.grad, [1, 1, 0, 0])
