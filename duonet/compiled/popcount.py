"""Signs times bits by counting, 64 products in one instruction: the layers of a packed network.

An image is rows of bits, a pixel's channels side by side and the pixels one after the other, zeros at the border.
So a window's row of KW pixels is one run of KW C bits, cut out of the row by shifts, whatever C is; the runs of
all its rows are joined, and no bit of a word is wasted. With signs s and bits b,

    Σ ±b = 2 popcount(s & b) − popcount(b),

and the counters of 16 outputs at 4 pixels stay in registers while the words of a window go by.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic, models, register_model

from duonet.compiled.running import inlined, kernel

LANES = 16  # counters of 64 bits
VECTOR = ir.VectorType(ir.IntType(64), LANES)
INT32 = ir.IntType(32)


class Counters(types.Type):
    """16 counters."""

    def __init__(self) -> None:
        super().__init__("Counters")


@register_model(Counters)
class _CountersModel(models.PrimitiveModel):
    def __init__(self, manager, counters):
        super().__init__(manager, counters, VECTOR)


COUNTERS = Counters()


@intrinsic
def none(typing: Any) -> Any:
    """Return counters of nothing."""
    return COUNTERS(), lambda context, builder, signature, values: ir.Constant(VECTOR, [0] * LANES)


@intrinsic
def counted(typing: Any, counters: Any, word: Any, signs: Any, at: Any) -> Any:
    """Return counters + popcount(word & signs[at : at + 16])."""

    def generate(context, builder, signature, values):
        counters, word, array, at = values
        own = builder.load(_place(context, builder, signature.args[2], array, at))
        own.align = 8
        nothing = ir.Constant(VECTOR, ir.Undefined)
        first = builder.insert_element(nothing, word, ir.Constant(INT32, 0))
        everywhere = builder.shuffle_vector(first, nothing, ir.Constant(ir.VectorType(INT32, LANES), [0] * LANES))
        name, form = f"llvm.ctpop.v{LANES}i64", ir.FunctionType(VECTOR, [VECTOR])
        ones = cgutils.get_or_insert_function(builder.module, form, name)
        return builder.add(counters, builder.call(ones, [builder.and_(own, everywhere)]))

    return COUNTERS(counters, types.uint64, signs, types.intp), generate


@intrinsic
def put(typing: Any, array: Any, at: Any, counters: Any) -> Any:
    """Do array[at : at + 16] = counters."""

    def generate(context, builder, signature, values):
        stored = builder.store(values[2], _place(context, builder, signature.args[0], *values[:2]))
        stored.align = 8

    return types.void(array, types.intp, counters), generate


@intrinsic
def ones(typing: Any, word: Any) -> Any:
    """Return how many bits of a word are set."""

    def generate(context, builder, signature, values):
        return builder.call(builder.module.declare_intrinsic("llvm.ctpop", [ir.IntType(64)]), values)

    return types.uint64(types.uint64), generate


def _place(context, builder, array_type, array, at):
    first = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(first, [at]), VECTOR.as_pointer())


@inlined
def _window(rows, row, begin, height, run, window):
    """Join the runs of a window, and return how many of its bits are set."""
    window[:] = np.uint64(0)
    place, total = 0, np.int64(0)
    for p in range(height):
        line = rows[row + p]
        left, bit = run, begin
        while left > 0:
            shift = np.uint64(bit & 63)
            word = line[bit >> 6] >> shift
            if shift:
                word |= line[(bit >> 6) + 1] << (np.uint64(64) - shift)
            if left < 64:
                word &= (np.uint64(1) << np.uint64(left)) - np.uint64(1)
            total += np.int64(ones(word))
            shift = np.uint64(place & 63)
            window[place >> 6] |= word << shift
            if shift:
                window[(place >> 6) + 1] |= word >> (np.uint64(64) - shift)
            took = min(64, left)
            left -= took
            bit += took
            place += took
    return total


@inlined
def _counts(windows, signs, padded, words, counts):
    """Count for 4 windows and all outputs."""
    flat, into = signs.reshape(-1), counts.reshape(-1)
    for o in range(0, padded, LANES):
        a, b, c, d = none(), none(), none(), none()
        for k in range(words):
            at = k * padded + o
            a = counted(a, windows[0, k], flat, at)
            b = counted(b, windows[1, k], flat, at)
            c = counted(c, windows[2, k], flat, at)
            d = counted(d, windows[3, k], flat, at)
        put(into, o, a)
        put(into, padded + o, b)
        put(into, 2 * padded + o, c)
        put(into, 3 * padded + o, d)


@kernel
def bits_to_bits(
    start, stop, x, signs, outputs, limits, falls, height, run, step, stride, pool, border, width, out
):
    """Fill rows of the output, tasks (image, row).

    x is (N, rows, words), signs (words, outputs up to a multiple of 16), limits (K, channels). `step` bits lie
    between two windows, `border` pixels of zeros around the output; `pool` is 1, or 2 for the largest of 2×2 sums.
    """
    high = out.shape[1] - 2 * border
    words, padded = signs.shape
    steps, channels = limits.shape
    counts = np.empty((4, padded), np.int64)
    sums = np.empty(channels, np.int64)
    windows = np.zeros((4, words + 2), np.uint64)
    total = np.zeros(4, np.int64)
    for task in range(start, stop):
        image, r = divmod(task, high)
        rows, line = x[image], out[image, r + border]
        for j in range(0, width, 1 if pool == 2 else 4):
            for i in range(4):
                if pool == 2:
                    row, column = 2 * r + (i >> 1), 2 * j + (i & 1)
                else:
                    row, column = r, min(j + i, width - 1)
                total[i] = _window(rows, row * stride, column * step, height, run, windows[i])
            _counts(windows, signs, padded, words, counts)
            for i in range(1 if pool == 2 else min(4, width - j)):
                if pool == 2:
                    for o in range(outputs):
                        left = max(2 * counts[0, o] - total[0], 2 * counts[1, o] - total[1])
                        right = max(2 * counts[2, o] - total[2], 2 * counts[3, o] - total[3])
                        sums[o] = max(left, right)
                else:
                    for o in range(outputs):
                        sums[o] = 2 * counts[i, o] - total[i]
                for c in range(outputs, channels):
                    sums[c] = sums[c - outputs]
                place = (j + i + border) * steps * channels
                for k in range(steps):
                    for c in range(0, channels, 64):
                        value, limit, fall = sums[c : c + 64], limits[k, c : c + 64], falls[c : c + 64]
                        _write(line, place + k * channels + c, value, limit, fall)


@inlined
def _write(line, place, sums, limits, falls):
    """Write up to 64 comparisons as bits."""
    word = np.uint64(0)
    for c in range(sums.size):
        word |= np.uint64((sums[c] >= limits[c]) != falls[c]) << np.uint64(c)
    shift = np.uint64(place & 63)
    line[place >> 6] |= word << shift
    if shift:
        line[(place >> 6) + 1] |= word >> (np.uint64(64) - shift)


@kernel
def bits_to_sums(start, stop, x, signs, height, run, step, stride, out):
    """Fill rows of sums, out (N, OH, OW, outputs) float32, of tasks (image, row)."""
    _, high, width, outputs = out.shape
    words, padded = signs.shape
    counts = np.empty((4, padded), np.int64)
    windows = np.zeros((4, words + 2), np.uint64)
    total = np.zeros(4, np.int64)
    for task in range(start, stop):
        image, r = divmod(task, high)
        for j in range(0, width, 4):
            for i in range(4):
                total[i] = _window(x[image], r * stride, min(j + i, width - 1) * step, height, run, windows[i])
            _counts(windows, signs, padded, words, counts)
            for i in range(min(4, width - j)):
                for o in range(outputs):
                    out[image, r, j + i, o] = np.float32(2 * counts[i, o] - total[i])


@kernel
def steps_to_bits(start, stop, steps, count, border, out):
    """Fill rows of bits from steps (N, H, W, C) uint8, tasks (image, row)."""
    _, high, width, channels = steps.shape
    for task in range(start, stop):
        image, r = divmod(task, high)
        line = out[image, r + border]
        for j in range(width):
            for k in range(count):
                place = ((j + border) * count + k) * channels
                for c in range(0, channels, 64):
                    values = steps[image, r, j, c : c + 64]
                    word = np.uint64(0)
                    for i in range(values.size):
                        word |= np.uint64(values[i] > k) << np.uint64(i)
                    shift = np.uint64((place + c) & 63)
                    line[(place + c) >> 6] |= word << shift
                    if shift:
                        line[((place + c) >> 6) + 1] |= word >> (np.uint64(64) - shift)
