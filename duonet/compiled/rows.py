"""A row of floats that stays in vector registers, as a type for numba.

`acc = add(acc, load(table, at, 16))` is one instruction if the CPU's registers hold 16 floats, two if they hold 8,
four if they hold 4. A kernel in this style reads like its algorithm, and runs on x86 and ARM alike: the compiler
gets vectors of 16, 8 and 4 floats and fits them to the machine. With an ordinary inner loop over the row, it would
have to guess whether the arrays overlap.

Indices count floats from the beginning of an array's memory, for any shape; nothing checks them.
"""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic, models, register_model

from duonet import arguments

FLOAT, INT64 = ir.FloatType(), ir.IntType(64)
WIDTHS = 32, 24, 16, 12, 8, 4  # floats in a row
PIECES = 16, 8, 4  # floats in one LLVM vector; LLVM would split other numbers, such as 24, into single floats
Typed = tuple[Any, Callable[..., Any]]  # numba's form of an operation: a signature, and a writer of its code
LINE = 64  # bytes of a cache line; a load that crosses one takes twice as long


class Row(types.Type):
    """Numba's type of a row of floats, as a struct of vectors.

    Parameters
    ----------
    lanes : int
        Number of floats, a multiple of 4.

    Raises
    ------
    ValueError, TypeError
        If `lanes` is not a positive multiple of 4.

    Examples
    --------
    >>> [piece.count for piece in Row(28).pieces]
    [16, 8, 4]
    """

    def __init__(self, lanes: int) -> None:
        arguments.integer("Row", "lanes", lanes, at_least=4)
        self.lanes, self.pieces, left = lanes, [], lanes
        for piece in PIECES:
            self.pieces += [ir.VectorType(FLOAT, piece)] * (left // piece)
            left %= piece
        if left:
            raise ValueError(f"Row: lanes must be a multiple of 4, got {lanes}")
        super().__init__(name=f"Row({lanes})")

    def make(self, builder: Any, piece: Callable[..., Any]) -> Any:
        """Build a row from the vectors that piece(k, vector type, first lane) returns."""
        row, lane = ir.Constant(ir.LiteralStructType(self.pieces), ir.Undefined), 0
        for k, vector in enumerate(self.pieces):
            row = builder.insert_value(row, piece(k, vector, lane), k)
            lane += vector.count
        return row


@register_model(Row)
class _RowModel(models.PrimitiveModel):
    def __init__(self, manager, row):
        super().__init__(manager, row, ir.LiteralStructType(row.pieces))


@intrinsic(prefer_literal=True)
def zero(typing: Any, lanes: Any) -> Typed:
    """Return a row of zeros: zero(lanes)."""
    row = Row(lanes.literal_value)
    return row(lanes), lambda context, builder, signature, values: _zero(builder, row)


@intrinsic(prefer_literal=True)
def load(typing: Any, array: Any, at: Any, lanes: Any) -> Typed:
    """Return the row array[at : at + lanes]."""
    row = Row(lanes.literal_value)

    def generate(context, builder, signature, values):
        return _load(builder, row, _place(context, builder, signature, values))

    return row(array, types.intp, lanes), generate


@intrinsic
def load_as(typing: Any, array: Any, at: Any, row: Any) -> Typed:
    """Return array[at : at + lanes], with as many lanes as `row` has."""

    def generate(context, builder, signature, values):
        return _load(builder, row, _place(context, builder, signature, values))

    return row(array, types.intp, row), generate


@intrinsic
def lanes_of(typing: Any, row: Any) -> Typed:
    """Return the number of floats in a row."""
    return types.intp(row), lambda context, builder, signature, values: ir.Constant(INT64, row.lanes)


@intrinsic
def store(typing: Any, array: Any, at: Any, row: Any) -> Typed:
    """Do array[at : at + lanes] = row."""

    def generate(context, builder, signature, values):
        _store(builder, row, _place(context, builder, signature, values), values[2])

    return types.void(array, types.intp, row), generate


@intrinsic
def add(typing: Any, a: Any, b: Any) -> Typed:
    """Return a + b."""

    def generate(context, builder, signature, values):
        return a.make(builder, lambda k, *rest: builder.fadd(*(builder.extract_value(row, k) for row in values)))

    return a(a, b), generate


@intrinsic
def fma(typing: Any, number: Any, a: Any, b: Any) -> Typed:
    """Return number * a + b, rounded once."""

    def generate(context, builder, signature, values):
        return _fma(builder, a, *values)

    return a(types.float32, a, b), generate


@intrinsic
def byte(typing: Any, array: Any, at: Any) -> Typed:
    """Return array[at], a byte, as an index; numba's own indexing tests at every look-up if it is negative."""

    def generate(context, builder, signature, values):
        return builder.zext(builder.load(_place(context, builder, signature, values)), INT64)

    return types.intp(array, types.intp), generate


@intrinsic
def number(typing: Any, array: Any, at: Any) -> Typed:
    """Return array[at], for an index that is never negative."""

    def generate(context, builder, signature, values):
        return builder.load(_place(context, builder, signature, values))

    return array.dtype(array, types.intp), generate


@intrinsic(prefer_literal=True)
def repeated(typing: Any, row: Any, count: Any) -> Typed:
    """Return a tuple of `count` equal rows, which stays in registers as well."""
    rows = types.UniTuple(row, count.literal_value)

    def generate(context, builder, signature, values):
        built = ir.Constant(context.get_value_type(rows), ir.Undefined)
        for k in range(len(rows)):
            built = builder.insert_value(built, values[0], k)
        return built

    return rows(row, count), generate


@intrinsic
def outer(typing: Any, rows: Any, array: Any, at: Any, step: Any, row: Any) -> Typed:
    """Return rows[k] + array[at + k step] * row for every k, one step of a matrix product."""

    def generate(context, builder, signature, values):
        built, array, at, step, row = values
        for k in range(len(rows)):
            factor = builder.load(_pointer(context, builder, signature.args[1], array, at))
            grown = _fma(builder, rows.dtype, factor, row, builder.extract_value(built, k))
            built = builder.insert_value(built, grown, k)
            at = builder.add(at, step)
        return built

    return rows(rows, array, types.intp, types.intp, row), generate


@intrinsic
def put(typing: Any, array: Any, at: Any, step: Any, rows: Any) -> Typed:
    """Do array[at + k step : at + k step + lanes] = rows[k] for every k."""

    def generate(context, builder, signature, values):
        array, at, step, built = values
        for k in range(len(rows)):
            place = _pointer(context, builder, signature.args[0], array, at)
            _store(builder, rows.dtype, place, builder.extract_value(built, k))
            at = builder.add(at, step)

    return types.void(array, types.intp, types.intp, rows), generate


def aligned(shape: tuple[int, ...], dtype: type = np.float32) -> np.ndarray:
    """Return an uninitialised array that begins at a cache line; NumPy's arrays begin 16 bytes behind one.

    Parameters
    ----------
    shape : tuple of int
    dtype : dtype

    Returns
    -------
    numpy.ndarray

    Examples
    --------
    >>> aligned((3, 16)).ctypes.data % LINE
    0
    """
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    memory = np.empty(size + LINE, np.uint8)
    start = -memory.ctypes.data % LINE
    return memory[start : start + size].view(dtype).reshape(shape)


@functools.cache
def blocks(outputs: int) -> tuple[int, tuple[int, ...]]:
    """Return the width of a row of outputs, and the first output of each block of that width.

    If the width does not divide the outputs, the last block begins earlier, and computes the outputs that it
    shares a second time.

    Parameters
    ----------
    outputs : int
        Number of outputs, at least 4.

    Returns
    -------
    (int, tuple of int)

    Examples
    --------
    >>> blocks(128), blocks(12), blocks(45)
    ((32, (0, 32, 64, 96)), (12, (0,)), (24, (0, 21)))
    """

    def cost(width):  # of a look-up, and of an addition for each register of 16
        count = -(-outputs // width)
        return count * (2 + width // 16 + bool(width % 16)), count * width

    width = min((width for width in WIDTHS if width <= outputs), key=cost)
    return width, tuple(min(start, outputs - width) for start in range(0, outputs, width))


def _pointer(context, builder, array_type, array, at):
    return builder.gep(context.make_array(array_type)(context, builder, array).data, [at])


def _place(context, builder, signature, values):
    """Return a pointer to array[at], the first two arguments."""
    return _pointer(context, builder, signature.args[0], *values[:2])


def _piece(builder, place, lane, vector):
    return builder.bitcast(builder.gep(place, [ir.Constant(INT64, lane)]), vector.as_pointer())


def _zero(builder, row):
    return row.make(builder, lambda k, vector, lane: ir.Constant(vector, [0.0] * vector.count))


def _load(builder, row, place):
    def piece(k, vector, lane):
        loaded = builder.load(_piece(builder, place, lane, vector))
        loaded.align = 4  # a row may begin at any float
        return loaded

    return row.make(builder, piece)


def _store(builder, row, place, value):
    lane = 0
    for k, vector in enumerate(row.pieces):
        stored = builder.store(builder.extract_value(value, k), _piece(builder, place, lane, vector))
        stored.align = 4
        lane += vector.count


def _fma(builder, row, factor, a, b):
    def piece(k, vector, lane):
        rounded_once = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(vector, [vector] * 3), f"llvm.fma.v{vector.count}f32"
        )
        spread = builder.insert_element(ir.Constant(vector, ir.Undefined), factor, ir.Constant(INT64, 0))
        lanes = ir.Constant(ir.VectorType(ir.IntType(32), vector.count), [0] * vector.count)
        spread = builder.shuffle_vector(spread, ir.Constant(vector, ir.Undefined), lanes)
        return builder.call(rounded_once, [spread, builder.extract_value(a, k), builder.extract_value(b, k)])

    return row.make(builder, piece)
