"""Signs times bits by counting, 64 products in one instruction: the products of a packed network.

An image is rows of bits: a pixel's channels side by side, the pixels one after the other, and zeros at the border.
A window's row of KW pixels is then one run of KW C bits, for any C; shifts cut it out of the row. The runs of all
rows of the window are joined, so that no bit of a word is wasted. With signs s and bits b,

    Σ ±b = 2 popcount(s & b) − popcount(b),

and the counters of 8 outputs at 4 pixels stay in registers from the first word of a window to the comparison with
their thresholds. The indices of all functions here count from the beginning of an array; nothing checks them.
"""

from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic, models, register_model

from duonet.compiled.instructions import LANES
from duonet.compiled.rows import number
from duonet.compiled.running import inlined

VECTOR = ir.VectorType(ir.IntType(64), LANES)
FLOATS = ir.VectorType(ir.FloatType(), LANES)
INT32, INT64 = ir.IntType(32), ir.IntType(64)


class Counters(types.Type):
    """Numba's type of 8 counters."""

    def __init__(self) -> None:
        super().__init__("Counters")


@register_model(Counters)
class _CountersModel(models.PrimitiveModel):
    def __init__(self, manager, counters):
        super().__init__(manager, counters, VECTOR)


COUNTERS = Counters()


@intrinsic
def none(typing: Any) -> Any:
    """Return 8 counters at 0."""
    return COUNTERS(), lambda context, builder, signature, values: ir.Constant(VECTOR, [0] * LANES)


@intrinsic
def counted(typing: Any, counters: Any, word: Any, signs: Any, at: Any) -> Any:
    """Return counters + popcount(word & signs[at : at + 8])."""

    def generate(context, builder, signature, values):
        counters, word, array, at = values
        own = _load(context, builder, signature.args[2], array, at, VECTOR)
        name, form = f"llvm.ctpop.v{LANES}i64", ir.FunctionType(VECTOR, [VECTOR])
        ones = cgutils.get_or_insert_function(builder.module, form, name)
        return builder.add(counters, builder.call(ones, [builder.and_(own, _everywhere(builder, word))]))

    return COUNTERS(counters, types.uint64, signs, types.intp), generate


@intrinsic
def signed(typing: Any, counters: Any, total: Any) -> Any:
    """Return the sums of ±1, which are 2 counters − total."""

    def generate(context, builder, signature, values):
        return builder.sub(builder.add(values[0], values[0]), _everywhere(builder, values[1]))

    return COUNTERS(counters, types.int64), generate


@intrinsic
def larger(typing: Any, one: Any, other: Any) -> Any:
    """Return the larger of each pair."""

    def generate(context, builder, signature, values):
        return builder.select(builder.icmp_signed(">", *values), *values)

    return COUNTERS(one, other), generate


@intrinsic
def keep(typing: Any, array: Any, at: Any, sums: Any) -> Any:
    """Do array[at : at + 8] = sums."""

    def generate(context, builder, signature, values):
        place = _pointer(context, builder, signature.args[0], *values[:2])
        builder.store(values[2], builder.bitcast(place, VECTOR.as_pointer())).align = 8

    return types.void(array, types.intp, sums), generate


@intrinsic
def reached(typing: Any, sums: Any, at: Any, limits: Any, where: Any) -> Any:
    """Return a word with a bit for each of sums[at : at + 8] >= limits[where : where + 8]."""

    def generate(context, builder, signature, values):
        pair = (_load(context, builder, signature.args[i], *values[i : i + 2], VECTOR) for i in (0, 2))
        return _as_bits(builder, builder.icmp_signed(">=", *pair))

    return types.uint64(sums, types.intp, limits, types.intp), generate


@intrinsic
def at_least(typing: Any, x: Any, at: Any, limits: Any, where: Any) -> Any:
    """Return a word with a bit for each of the floats x[at : at + 8] >= limits[where : where + 8]."""

    def generate(context, builder, signature, values):
        pair = (_load(context, builder, signature.args[i], *values[i : i + 2], FLOATS) for i in (0, 2))
        return _as_bits(builder, builder.fcmp_ordered(">=", *pair))

    return types.uint64(x, types.intp, limits, types.intp), generate


@intrinsic
def put(typing: Any, array: Any, at: Any, sums: Any) -> Any:
    """Do array[at : at + 8] = sums, as float32."""

    def generate(context, builder, signature, values):
        narrow = builder.trunc(values[2], ir.VectorType(INT32, LANES))
        floats = builder.sitofp(narrow, FLOATS)
        place = _pointer(context, builder, signature.args[0], *values[:2])
        builder.store(floats, builder.bitcast(place, FLOATS.as_pointer())).align = 4

    return types.void(array, types.intp, sums), generate


@intrinsic
def ones(typing: Any, word: Any) -> Any:
    """Return the number of set bits in a word."""

    def generate(context, builder, signature, values):
        return builder.call(builder.module.declare_intrinsic("llvm.ctpop", [INT64]), values)

    return types.int64(types.uint64), generate


@intrinsic
def cut(typing: Any, bits: Any, word: Any, shift: Any) -> Any:
    """Return the 64 bits that begin at bit `shift` of word number `word`."""

    def generate(context, builder, signature, values):
        array, word, shift = values
        low = builder.load(_pointer(context, builder, signature.args[0], array, word))
        word = builder.add(word, ir.Constant(INT64, 1))
        high = builder.load(_pointer(context, builder, signature.args[0], array, word))
        return builder.call(_shift(builder, "r"), [high, low, shift])

    return types.uint64(bits, types.intp, types.int64), generate


@intrinsic
def join(typing: Any, bits: Any, word: Any, shift: Any, value: Any) -> Any:
    """Set the bits of a value in the 64 bits that begin at bit `shift` of word number `word`."""

    def generate(context, builder, signature, values):
        array, word, shift, value = values
        nothing = ir.Constant(INT64, 0)
        left = _shift(builder, "l")
        for beside in ((value, nothing), (nothing, value)):
            place = _pointer(context, builder, signature.args[0], array, word)
            builder.store(builder.or_(builder.load(place), builder.call(left, [*beside, shift])), place)
            word = builder.add(word, ir.Constant(INT64, 1))

    return types.void(bits, types.intp, types.int64, types.uint64), generate


@intrinsic
def lowest(typing: Any, word: Any, count: Any) -> Any:
    """Return the lowest `count` bits of a word, 1 to 64."""

    def generate(context, builder, signature, values):
        word, count = values
        above = builder.sub(ir.Constant(INT64, 64), count)
        return builder.lshr(builder.shl(word, above), above)

    return types.uint64(types.uint64, types.int64), generate


def _shift(builder, side):
    """Return LLVM's function that shifts two words as one, (high, low, by)."""
    return cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(INT64, [INT64] * 3), f"llvm.fsh{side}.i64"
    )


def _pointer(context, builder, array_type, array, at):
    return builder.gep(context.make_array(array_type)(context, builder, array).data, [at])


def _load(context, builder, array_type, array, at, vector):
    place = _pointer(context, builder, array_type, array, at)
    loaded = builder.load(builder.bitcast(place, vector.as_pointer()))
    loaded.align = 4
    return loaded


def _as_bits(builder, compared):
    return builder.zext(builder.bitcast(compared, ir.IntType(LANES)), INT64)


def _everywhere(builder, word):
    nothing = ir.Constant(VECTOR, ir.Undefined)
    first = builder.insert_element(nothing, word, ir.Constant(INT32, 0))
    return builder.shuffle_vector(first, nothing, ir.Constant(ir.VectorType(INT32, LANES), [0] * LANES))


@inlined
def window(bits, line, long, begin, height, run, out, at, words):
    """Join the runs of a window from `height` lines at `out[at:]`, and return the number of its set bits."""
    for k in range(words + 1):
        out[at + k] = 0
    place, total = 0, 0
    for _ in range(height):
        for done in range(0, run, 64):
            took = min(64, run - done)
            bit = begin + done
            word = lowest(cut(bits, line + (bit >> 6), bit & 63), took)
            total += ones(word)
            join(out, at + (place >> 6), place & 63, word)
            place += took
        line += long
    return total


@inlined
def counts(windows, long, count, words, signs, at):
    """Return the counters of 8 outputs for 1 or 4 windows, which are `long` words apart."""
    a, b, c, d = none(), none(), none(), none()
    if count == 1:
        for k in range(words):
            a = counted(a, number(windows, k), signs, at + LANES * k)
    else:
        for k in range(words):
            a = counted(a, number(windows, k), signs, at + LANES * k)
            b = counted(b, number(windows, long + k), signs, at + LANES * k)
            c = counted(c, number(windows, 2 * long + k), signs, at + LANES * k)
            d = counted(d, number(windows, 3 * long + k), signs, at + LANES * k)
    return a, b, c, d
