"""Elementwise arithmetic: the derivative of each op is one line, and broadcasting is left to the tape."""

from collections.abc import Callable
from typing import Any

from duonet import arguments, backend
from duonet.tensor import Function, Operand, Tensor


class Add(Function):
    """y = a + b.   da = dy, db = dy."""

    @staticmethod
    def forward(ctx, a, b):
        return a + b

    @staticmethod
    def backward(ctx, dy):
        return dy, dy


class Sub(Function):
    """y = a - b.   da = dy, db = -dy."""

    @staticmethod
    def forward(ctx, a, b):
        return a - b

    @staticmethod
    def backward(ctx, dy):
        return dy, -dy


class Mul(Function):
    """y = a b.   da = dy b, db = dy a."""

    @staticmethod
    def forward(ctx, a, b):
        ctx.a, ctx.b = a, b
        return a * b

    @staticmethod
    def backward(ctx, dy):
        return dy * ctx.b, dy * ctx.a


class Div(Function):
    """y = a / b.   da = dy / b, db = -dy a / b²."""

    @staticmethod
    def forward(ctx, a, b):
        ctx.a, ctx.b = a, b
        return a / b

    @staticmethod
    def backward(ctx, dy):
        da = dy / ctx.b
        return da, -da * ctx.a / ctx.b


class Neg(Function):
    """y = -x.   dx = -dy."""

    @staticmethod
    def forward(ctx, x):
        return -x

    @staticmethod
    def backward(ctx, dy):
        return -dy


class Pow(Function):
    """y = x ** n for a fixed number n.   dx = dy n x ** (n - 1)."""

    @staticmethod
    def forward(ctx, x, *, exponent):
        ctx.x, ctx.exponent = x, arguments.fitting("pow", "exponent", exponent, x.dtype)
        return x**ctx.exponent

    @staticmethod
    def backward(ctx, dy):
        if ctx.exponent == 0:  # y is 1 everywhere, and 0 · 0⁻¹ would not be a number
            return backend.get_xp(dy).zeros_like(dy)
        return dy * (ctx.exponent * ctx.x ** (ctx.exponent - 1))


class Exp(Function):
    """y = e ** x.   dx = dy y."""

    @staticmethod
    def forward(ctx, x):
        ctx.y = backend.get_xp(x).exp(x)
        return ctx.y

    @staticmethod
    def backward(ctx, dy):
        return dy * ctx.y


class Log(Function):
    """y = ln x.   dx = dy / x."""

    @staticmethod
    def forward(ctx, x):
        ctx.x = x
        return backend.get_xp(x).log(x)

    @staticmethod
    def backward(ctx, dy):
        return dy / ctx.x


class Sqrt(Function):
    """y = √x.   dx = dy / (2 y)."""

    @staticmethod
    def forward(ctx, x):
        ctx.y = backend.get_xp(x).sqrt(x)
        return ctx.y

    @staticmethod
    def backward(ctx, dy):
        return dy / (2 * ctx.y)


def add(a: Operand, b: Operand) -> Tensor:
    """Add elementwise, y = a + b, with da = dy and db = dy.

    Parameters
    ----------
    a, b : Tensor, array or number
        Shapes that broadcast.

    Returns
    -------
    Tensor
        Shape of the broadcast.

    Examples
    --------
    >>> add(Tensor([1.0, 2.0]), 1.0).data
    array([2., 3.], dtype=float32)
    """
    return Add.apply(a, b)


def sub(a: Operand, b: Operand) -> Tensor:
    """Subtract elementwise, y = a - b, with da = dy and db = -dy.

    Parameters
    ----------
    a, b : Tensor, array or number
        Shapes that broadcast.

    Returns
    -------
    Tensor
        Shape of the broadcast.

    Examples
    --------
    >>> sub(1.0, Tensor([1.0, 2.0])).data
    array([ 0., -1.], dtype=float32)
    """
    return Sub.apply(a, b)


def mul(a: Operand, b: Operand) -> Tensor:
    """Multiply elementwise, y = a b, with da = dy b and db = dy a.

    Parameters
    ----------
    a, b : Tensor, array or number
        Shapes that broadcast.

    Returns
    -------
    Tensor
        Shape of the broadcast.

    Examples
    --------
    >>> mul(Tensor([1.0, 2.0]), 3.0).data
    array([3., 6.], dtype=float32)
    """
    return Mul.apply(a, b)


def div(a: Operand, b: Operand) -> Tensor:
    """Divide elementwise, y = a / b, with da = dy / b and db = -dy a / b².

    Parameters
    ----------
    a, b : Tensor, array or number
        Shapes that broadcast.

    Returns
    -------
    Tensor
        Shape of the broadcast.

    Examples
    --------
    >>> div(Tensor([1.0, 2.0]), 4.0).data
    array([0.25, 0.5 ], dtype=float32)
    """
    return Div.apply(a, b)


def neg(x: Tensor) -> Tensor:
    """Change the sign, y = -x, with dx = -dy.

    Parameters
    ----------
    x : Tensor

    Returns
    -------
    Tensor
        Shape of `x`.

    Examples
    --------
    >>> neg(Tensor([1.0, -2.0])).data
    array([-1.,  2.], dtype=float32)
    """
    return Neg.apply(x)


def pow(x: Tensor, exponent: float) -> Tensor:
    """Raise to a fixed power, y = x ** n, with dx = dy n x ** (n - 1).

    Parameters
    ----------
    x : Tensor
    exponent : int or float
        Finite. x ** 0 is 1, and its derivative 0, for every x.

    Returns
    -------
    Tensor
        Shape of `x`.

    Raises
    ------
    TypeError
        If `exponent` is not a number; write exp(n * log(x)) for a power that is itself learned.
    ValueError
        If it is not finite, or beyond the range of x's dtype.

    Examples
    --------
    >>> pow(Tensor([1.0, 3.0]), 2).data
    array([1., 9.], dtype=float32)
    """
    if isinstance(exponent, Tensor) or backend.is_array(exponent):
        raise TypeError(f"pow: exponent must be a number, got {type(exponent).__name__}; use exp(n * log(x))")
    return Pow.apply(x, exponent=arguments.number("pow", "exponent", exponent))


def exp(x: Tensor) -> Tensor:
    """Exponentiate, y = e ** x, with dx = dy y.

    Parameters
    ----------
    x : Tensor

    Returns
    -------
    Tensor
        Shape of `x`.

    Examples
    --------
    >>> exp(Tensor([0.0])).data
    array([1.], dtype=float32)
    """
    return Exp.apply(x)


def log(x: Tensor) -> Tensor:
    """Take the natural logarithm, y = ln x, with dx = dy / x.

    Parameters
    ----------
    x : Tensor
        Positive numbers; others give -inf or nan, with NumPy's warning.

    Returns
    -------
    Tensor
        Shape of `x`.

    Examples
    --------
    >>> log(Tensor([1.0])).data
    array([0.], dtype=float32)
    """
    return Log.apply(x)


def sqrt(x: Tensor) -> Tensor:
    """Take the square root, y = √x, with dx = dy / (2 y).

    Parameters
    ----------
    x : Tensor
        Non-negative numbers. The derivative at 0 is infinite.

    Returns
    -------
    Tensor
        Shape of `x`.

    Examples
    --------
    >>> sqrt(Tensor([4.0])).data
    array([2.], dtype=float32)
    """
    return Sqrt.apply(x)


def compare(a: Operand, b: Operand, relation: Callable[[Any, Any], Any]) -> Tensor:
    """Compare elementwise; the result is bool and has no gradient.

    Parameters
    ----------
    a, b : Tensor, array or number
        Shapes that broadcast.
    relation : callable
        One of `operator.gt`, `ge`, `lt`, `le`, `eq`, `ne`.

    Returns
    -------
    Tensor
        bool, shape of the broadcast.

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
