"""Matrix products."""

from duonet.functional.channels import sum_rows
from duonet.tensor import Function, Operand, Tensor


def matmul(a: Operand, b: Operand) -> Tensor:
    """Multiply matrices: y = a @ b, da = dy @ bᵀ, db = aᵀ @ dy.

    From a (..., M, K) and b (..., K, N) to (..., M, N); leading axes broadcast.
    """
    return Matmul.apply(a, b)


class Matmul(Function):
    @staticmethod
    def forward(ctx, a, b):
        if a.ndim < 2 or b.ndim < 2 or a.shape[-1] != b.shape[-2]:
            raise ValueError(f"matmul: a {a.shape} does not fit b {b.shape}; expected (..., M, K) @ (..., K, N)")
        ctx.a, ctx.b = a, b
        return a @ b

    @staticmethod
    def backward(ctx, dy):
        return dy @ ctx.b.swapaxes(-1, -2), ctx.a.swapaxes(-1, -2) @ dy


def linear(x: Tensor, w: Tensor, bias: Tensor | None = None) -> Tensor:
    """Multiply by a weight matrix and add a bias: y = x @ w + bias.

    dx = dy @ wᵀ, dw = xᵀ @ dy, dbias = Σ dy over the N rows. From x (N, IN), w (IN, OUT) and an optional bias
    (OUT,) to (N, OUT).
    """
    return Linear.apply(x, w, bias)


class Linear(Function):
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
