"""Matrix products."""

from duonet.functional.channels import sum_rows
from duonet.tensor import Function, Operand, Tensor


class Matmul(Function):
    """y = a @ b.   da = dy @ bᵀ, db = aᵀ @ dy."""

    @staticmethod
    def forward(ctx, a, b):
        if a.ndim < 2 or b.ndim < 2 or a.shape[-1] != b.shape[-2]:
            raise ValueError(
                f"matmul: cannot multiply a {a.shape} by b {b.shape}; expected (..., M, K) @ (..., K, N)"
            )
        ctx.a, ctx.b = a, b
        return a @ b

    @staticmethod
    def backward(ctx, dy):
        return dy @ ctx.b.swapaxes(-1, -2), ctx.a.swapaxes(-1, -2) @ dy


class Linear(Function):
    """y = x @ w + b.   dx = dy @ wᵀ, dw = xᵀ @ dy, db = Σ dy over the rows."""

    @staticmethod
    def forward(ctx, x, w, bias):
        if x.ndim != 2 or w.ndim != 2 or x.shape[1] != w.shape[0]:
            raise ValueError(f"linear: x {x.shape} does not fit w {w.shape}; expected x (N, IN) and w (IN, OUT)")
        if bias is not None and bias.shape != w.shape[1:]:
            raise ValueError(f"linear: bias has shape {bias.shape}, expected {w.shape[1:]} for w {w.shape}")
        ctx.x, ctx.w = x, w
        y = x @ w
        if bias is not None:
            y += bias
        return y

    @staticmethod
    def backward(ctx, dy):
        wants_x, wants_w, wants_bias = ctx.needs
        dx = dy @ ctx.w.T if wants_x else None
        dw = ctx.x.T @ dy if wants_w else None
        db = sum_rows(dy) if wants_bias else None
        return dx, dw, db


def matmul(a: Operand, b: Operand) -> Tensor:
    """Multiply matrices, y = a @ b, with da = dy @ bᵀ and db = aᵀ @ dy.

    Parameters
    ----------
    a : Tensor
        (..., M, K)
    b : Tensor
        (..., K, N); leading axes broadcast.

    Returns
    -------
    Tensor
        (..., M, N)

    Raises
    ------
    ValueError
        If either has fewer than two axes, or the inner lengths differ.

    Examples
    --------
    >>> from duonet import Tensor
    >>> matmul(Tensor([[1.0, 2.0]]), Tensor([[3.0], [4.0]])).data
    array([[11.]], dtype=float32)
    """
    return Matmul.apply(a, b)


def linear(x: Tensor, w: Tensor, bias: Tensor | None = None) -> Tensor:
    """Multiply by a weight matrix and add a bias, y = x @ w + bias.

    dx = dy @ wᵀ, dw = xᵀ @ dy, dbias = Σ dy over the N rows.

    Parameters
    ----------
    x : Tensor
        (N, IN)
    w : Tensor
        (IN, OUT)
    bias : Tensor, optional
        (OUT,)

    Returns
    -------
    Tensor
        (N, OUT)

    Raises
    ------
    ValueError
        If the shapes do not fit.

    Examples
    --------
    >>> from duonet import Tensor
    >>> linear(Tensor([[1.0, 2.0]]), Tensor([[3.0], [4.0]]), Tensor([0.5])).data
    array([[11.5]], dtype=float32)
    """
    return Linear.apply(x, w, bias)
