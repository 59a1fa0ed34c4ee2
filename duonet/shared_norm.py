"""Batch norm over a batch on several processes: each has some of the rows, and all use the statistics of all."""

import contextlib
import functools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from duonet.coupling import kind
from duonet.functional.normalization import check as check_shapes
from duonet.functional.normalization import follow
from duonet.module import Module
from duonet.nn import BatchNorm
from duonet.team import Team
from duonet.tensor import Function, Tensor


class SharedBatchNorm(Function):
    """`batch_norm` in training, with the sums over the M values of a channel in all processes.

    y = γ x̂ + β;   dx = γ/σ · (dy − dβ/M − x̂ dγ/M).   dγ and dβ are returned as this process's part of the sums.
    """

    @staticmethod
    def forward(ctx, x, gamma, beta, *, running_mean, running_var, training, momentum, eps, world):
        check_shapes(x, gamma, beta, running_mean, running_var, False)
        rows = x.reshape(-1, x.shape[-1]).astype(np.float64)
        mean = rows.mean(axis=0)
        squares = ((rows - mean) ** 2).sum(axis=0)
        n, means, squares = world.gather_arrays(
            np.stack([np.full(len(mean), float(len(rows))), mean, squares])
        ).transpose(1, 0, 2)
        count = n.sum(axis=0)
        mean = (n * means).sum(axis=0) / count
        var = (squares + n * (means - mean) ** 2).sum(axis=0) / count
        follow(running_mean, running_var, mean, var, int(count[0]), momentum)
        ctx.scale, ctx.gamma, ctx.count, ctx.world = 1 / np.sqrt(var + eps), gamma, count, world
        ctx.normal = (rows - mean) * ctx.scale
        return (ctx.normal * gamma + beta).astype(x.dtype).reshape(x.shape)

    @staticmethod
    def backward(ctx, dy):
        rows = dy.reshape(-1, dy.shape[-1]).astype(np.float64)
        own = np.stack([rows.sum(axis=0), (rows * ctx.normal).sum(axis=0)])
        dbeta, dgamma = ctx.world.gather_arrays(own).sum(axis=0) / ctx.count
        dx = ctx.gamma * ctx.scale * (rows - dbeta - ctx.normal * dgamma)
        return dx.astype(dy.dtype).reshape(dy.shape), own[1].astype(dy.dtype), own[0].astype(dy.dtype)


def check(model: Module, team: Team, drawing: Sequence[str]) -> None:
    """Refuse layers that would depend on the number of processes by more than rounding.

    Parameters
    ----------
    model : Module
    team : Team
    drawing : list of str
        Paths of modules that hold random generators.

    Raises
    ------
    ValueError
        If there is such a layer; the message names the layer.
    """
    if team.batch_norm == "shard" or team.size == 1:
        return
    for path, layer in model.modules():
        why = layer.known("in_training") or ("draws in training" if path in drawing else "")
        if isinstance(layer, BatchNorm):
            why = "" if kind(layer) is BatchNorm else "is a batch norm of another kind"
        if why:
            raise ValueError(
                f"fit: {path} {type(layer).__name__}: it {why}, so that the number of processes would matter: "
                "batch norm must be over each shard"
            )


@contextlib.contextmanager
def whole_batch(model: Module, team: Team, images: int) -> Iterator[None]:
    """Let batch norm use the statistics of the whole batch in the block, if the team's `batch_norm` is "batch".

    Parameters
    ----------
    model : Module
    team : Team
    images : int
        The number of images in the batch.

    Yields
    ------
    None
    """
    if team.batch_norm == "shard" or team.size == 1 or team.count(images) == 1:
        yield
        return
    for _, layer in model.modules():
        if isinstance(layer, BatchNorm) and layer.training:
            vars(layer)["forward"] = functools.partial(_forward, layer, team.world)
    try:
        yield
    finally:
        undo(model)


def undo(model: Module) -> None:
    """Let batch norm use its own rows alone again."""
    for _, layer in model.modules():
        if isinstance(layer, BatchNorm) and getattr(vars(layer).get("forward"), "func", None) is _forward:
            del vars(layer)["forward"]


def _forward(layer: BatchNorm, world: Any, x: Tensor) -> Tensor:
    return SharedBatchNorm.apply(x, layer.gamma, layer.beta, **layer._options(), world=world)
