"""Softmax cross entropy: two launches forwards, one backwards."""

from duonet import backend, engine
from duonet.functional import loss as plain
from duonet.gpu import kernels


@engine.twin("gpu")
class SoftmaxCrossEntropy(plain.SoftmaxCrossEntropy):
    """The plain op with kernels."""

    @staticmethod
    def suits(logits, *, onehot):
        return kernels.suit(logits, onehot)

    @staticmethod
    def forward(ctx, logits, *, onehot):
        xp = backend.get_xp(logits)
        logits, ctx.onehot = xp.ascontiguousarray(logits), xp.ascontiguousarray(onehot)
        rows, classes = logits.shape
        ctx.softmax, losses = xp.empty_like(logits), xp.empty(rows, logits.dtype)
        y = xp.empty((), logits.dtype)
        kernels.launch("loss", "cross_entropy", y.dtype, rows, logits, ctx.onehot, ctx.softmax, losses, classes)
        kernels.launch("loss", "mean_loss", y.dtype, 1, losses, y, rows)
        return y

    @staticmethod
    def backward(ctx, dy):
        dlogits = backend.get_xp(dy).empty_like(ctx.softmax)
        grid, sizes = kernels.blocks(dlogits.size), (dlogits.size, len(dlogits))
        arrays = (ctx.softmax, ctx.onehot, dy, dlogits)
        kernels.launch("loss", "cross_entropy_gradient", dy.dtype, grid, *arrays, *sizes)
        return dlogits
