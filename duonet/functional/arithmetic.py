"""Elementwise arithmetic: the derivative of each op is one line.

Operands are tensors, arrays or numbers. Their shapes broadcast, and the tape sums the gradients back.
"""

from collections.abc import Callable
from typing import Any

from duonet import arguments, backend
from duonet.tensor import Function, Operand, Tensor


def add(a: Operand, b: Operand) -> Tensor:
    """Add: y = a + b, da = dy, db = dy."""
    return Add.apply(a, b)


class Add(Function):
    @staticmethod
    def forward(ctx, a, b):
        return a + b

    @staticmethod
    def backward(ctx, dy):
        return dy, dy


def sub(a: Operand, b: Operand) -> Tensor:
    """Subtract: y = a − b, da = dy, db = −dy."""
    return Sub.apply(a, b)


class Sub(Function):
    @staticmethod
    def forward(ctx, a, b):
        return a - b

    @staticmethod
    def backward(ctx, dy):
        return dy, -dy


def mul(a: Operand, b: Operand) -> Tensor:
    """Multiply: y = a b, da = dy b, db = dy a."""
    return Mul.apply(a, b)


class Mul(Function):
    @staticmethod
    def forward(ctx, a, b):
        ctx.a, ctx.b = a, b
        return a * b

    @staticmethod
    def backward(ctx, dy):
        return dy * ctx.b, dy * ctx.a


def div(a: Operand, b: Operand) -> Tensor:
    """Divide: y = a / b, da = dy / b, db = −dy a / b²."""
    return Div.apply(a, b)


class Div(Function):
    @staticmethod
    def forward(ctx, a, b):
        ctx.a, ctx.b = a, b
        return a / b

    @staticmethod
    def backward(ctx, dy):
        da = dy / ctx.b
        return da, -da * ctx.a / ctx.b


def neg(x: Tensor) -> Tensor:
    """Change the sign: y = −x, dx = −dy."""
    return Neg.apply(x)


class Neg(Function):
    @staticmethod
    def forward(ctx, x):
        return -x

    @staticmethod
    def backward(ctx, dy):
        return -dy


def pow(x: Tensor, exponent: float) -> Tensor:
    """Raise to a fixed power: y = xⁿ, dx = dy n xⁿ⁻¹; x⁰ is 1, and its derivative 0, for every x.

    Parameters
    ----------
    x : Tensor
    exponent : number

    Raises
    ------
    TypeError
        If `exponent` is not a number; write exp(n * log(x)) for a learned power.
    ValueError
        If `exponent` is not finite, or beyond the range of x's dtype.
    """
    if isinstance(exponent, Tensor) or backend.is_array(exponent):
        raise TypeError(f"pow: exponent must be a number, got {type(exponent).__name__}; use exp(n * log(x))")
    return Pow.apply(x, exponent=arguments.number("pow", "exponent", exponent))


class Pow(Function):
    @staticmethod
    def forward(ctx, x, *, exponent):
        ctx.x, ctx.exponent = x, arguments.fitting("pow", "exponent", exponent, x.dtype)
        return x**ctx.exponent

    @staticmethod
    def backward(ctx, dy):
        if ctx.exponent == 0:  # y is 1 everywhere, and 0 · 0⁻¹ would not be a number
            return backend.get_xp(dy).zeros_like(dy)
        return dy * (ctx.exponent * ctx.x ** (ctx.exponent - 1))


def exp(x: Tensor) -> Tensor:
    """Exponentiate: y = eˣ, dx = dy y."""
    return Exp.apply(x)


class Exp(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.y = backend.get_xp(x).exp(x)
        return ctx.y

    @staticmethod
    def backward(ctx, dy):
        return dy * ctx.y


def log(x: Tensor) -> Tensor:
    """Take the natural logarithm: y = ln x, dx = dy / x. Where x is not positive NumPy warns: -inf or nan."""
    return Log.apply(x)


class Log(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.x = x
        return backend.get_xp(x).log(x)

    @staticmethod
    def backward(ctx, dy):
        return dy / ctx.x


def sqrt(x: Tensor) -> Tensor:
    """Take the square root: y = √x, dx = dy / (2 y), infinite at 0."""
    return Sqrt.apply(x)


class Sqrt(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.y = backend.get_xp(x).sqrt(x)
        return ctx.y

    @staticmethod
    def backward(ctx, dy):
        return dy / (2 * ctx.y)


def compare(a: Operand, b: Operand, relation: Callable[[Any, Any], Any]) -> Tensor:
    """Compare a and b by a relation: `operator.gt`, `ge`, `lt`, `le`, `eq` or `ne`. The bool has no gradient.

    Examples
    --------
    >>> import operator
    >>> compare(Tensor([1.0, 3.0]), 2.0, operator.gt).data
    array([False,  True])
    """
    a, b = (x.data if isinstance(x, Tensor) else x for x in (a, b))
    for name, x in (("a", a), ("b", b)):
        if backend.is_array(x):
            arguments.array(relation.__name__, name, x, arguments.NUMBERS)
    like = a if backend.is_array(a) else b
    return Tensor(backend.get_xp(like).asarray(relation(a, b)))
