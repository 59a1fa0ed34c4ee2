"""Batch normalisation as one op, with its gradient worked out by hand."""

from typing import Any

from duonet import arguments, backend, exact
from duonet.backend import Array
from duonet.functional.channels import per_channel, sum_rows
from duonet.tensor import Function, Tensor


def batch_norm(
    x: Tensor,
    gamma: Tensor,
    beta: Tensor,
    running_mean: Array | None = None,
    running_var: Array | None = None,
    training: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Normalise each channel over all other axes: y = γ x̂ + β with x̂ = (x − mean) / σ and σ = √(var + eps).

    In training, mean and var (biased) are the batch's: with sums over the M values of a channel, dβ = Σ dy,
    dγ = Σ dy x̂ and dx = γ/σ · (dy − dβ/M − x̂ dγ/M); the two subtracted terms flow through mean and var.
    In evaluation, mean and var are the running averages, which are constants, and dx = γ/σ · dy.

    Parameters
    ----------
    x : Tensor
        (N, H, W, C) or (N, C)
    gamma, beta : Tensor
        (C,)
    running_mean, running_var : array, optional
        (C,), raw arrays. Training moves them towards the batch's mean and unbiased variance, **in place**:
        they are state, not inputs. Evaluation reads them.
    training : bool
    momentum : float
        Weight of the new batch in the running averages, from 0 to 1.
    eps : float
        Added to the variance, at least 0.

    Raises
    ------
    TypeError, ValueError
        If shapes do not fit, running averages are missing in evaluation, a training batch has at most one value
        per channel, or momentum or eps is out of bounds.

    References
    ----------
    Ioffe, Szegedy: Batch Normalization, ICML 2015, section 3. Constants as in PyTorch.

    Examples
    --------
    >>> batch_norm(Tensor([[1.0], [3.0]]), Tensor([1.0]), Tensor([5.0]), eps=0.0).data
    array([[4.],
           [6.]], dtype=float32)
    """
    momentum = arguments.number("batch_norm", "momentum", momentum, at_least=0, at_most=1)
    eps = arguments.number("batch_norm", "eps", eps, at_least=0)
    averages = {"running_mean": running_mean, "running_var": running_var}
    return BatchNorm.apply(x, gamma, beta, **averages, training=training, momentum=momentum, eps=eps)


class BatchNorm(Function):
    @staticmethod
    def forward(ctx, x, gamma, beta, *, running_mean, running_var, training, momentum, eps):
        check(x, gamma, beta, running_mean, running_var, training)
        xp = backend.get_xp(x)
        dtype, x = x.dtype, exact.wide(x)
        channels = x.shape[-1]
        rows = x.size // channels
        if training:
            mean = sum_rows(x.reshape(-1, channels)) / rows
        else:
            mean = running_mean.astype(x.dtype, copy=False)
        centred = per_channel(xp.subtract, x, mean)
        if training:
            flat = centred.reshape(-1, channels)
            var = xp.einsum("mc,mc->c", flat, flat) / rows
            follow(running_mean, running_var, mean, var, rows, momentum)
        else:
            var = running_var.astype(x.dtype, copy=False)
        ctx.centred, ctx.gamma, ctx.training = centred, gamma, training
        ctx.scale = 1 / xp.sqrt(var + eps)
        y = per_channel(xp.multiply, centred, gamma * ctx.scale)
        return exact.narrow(per_channel(xp.add, y, beta, out=y), dtype)

    @staticmethod
    def backward(ctx, dy):
        xp = backend.get_xp(dy)
        dtype, dy = dy.dtype, exact.wide(dy)
        channels = dy.shape[-1]
        flat, centred = dy.reshape(-1, channels), ctx.centred.reshape(-1, channels)
        dbeta = sum_rows(flat)
        dgamma = xp.einsum("mc,mc->c", flat, centred) * ctx.scale
        dx = per_channel(xp.multiply, dy, ctx.gamma * ctx.scale)
        if ctx.training:
            slope = -ctx.gamma * ctx.scale**2 * dgamma / len(flat)
            dx += per_channel(xp.multiply, ctx.centred, slope)
            dx = per_channel(xp.add, dx, -ctx.gamma * ctx.scale * dbeta / len(flat), out=dx)
        return tuple(exact.narrow(gradient, dtype) for gradient in (dx, dgamma, dbeta))


def follow(running_mean: Any, running_var: Any, mean: Array, var: Array, rows: int, momentum: float) -> None:
    """Move the running averages, if there are any, towards a batch's mean and unbiased variance, in place."""
    if running_mean is not None:
        running_mean += momentum * (mean - running_mean)
        running_var += momentum * (var * (rows / (rows - 1)) - running_var)


def check(x: Array, gamma: Array, beta: Array, running_mean: Any, running_var: Any, training: bool) -> None:
    """Raise ValueError unless the arguments of a batch norm fit."""
    channels = x.shape[-1] if x.ndim in (2, 4) else 0
    if not channels or gamma.shape != (channels,) or beta.shape != (channels,):
        raise ValueError(
            "batch_norm: expected x (N, H, W, C) or (N, C) and gamma, beta (C,), "
            f"got shapes {x.shape}, {gamma.shape}, {beta.shape}"
        )
    if (running_mean is None) != (running_var is None):
        raise ValueError("batch_norm: give both running_mean and running_var, or neither")
    if running_mean is not None and not running_mean.shape == running_var.shape == (channels,):
        got = f"{running_mean.shape} and {running_var.shape}"
        raise ValueError(f"batch_norm: running_mean and running_var must have shape ({channels},), got {got}")
    if not training and running_mean is None:
        raise ValueError("batch_norm: evaluation needs running_mean and running_var")
    if training and x.size <= channels:
        raise ValueError(f"batch_norm: training needs more than one value per channel, got x {x.shape}")
