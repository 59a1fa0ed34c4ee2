"""Max pooling in one launch each way; it remembers a byte for each window."""

from duonet import backend, engine
from duonet.functional import pooling as plain
from duonet.gpu import kernels


@engine.twin("gpu")
class MaxPool2d(plain.MaxPool2d):
    """The plain op with kernels; it remembers where each maximum was, not the image."""

    @staticmethod
    def suits(x, *, size, **options):
        return kernels.suit(x) and size**2 <= 255  # a position takes one byte, and 255 means no position

    @staticmethod
    def forward(ctx, x, *, size, stride, padding):
        plain.check("max_pool2d", x, size, padding)
        xp = backend.get_xp(x)
        n, h, w, c = ctx.shape = x.shape
        oh, ow = (h + 2 * padding - size) // stride + 1, (w + 2 * padding - size) // stride + 1
        y = xp.empty((n, oh, ow, c), x.dtype)
        ctx.at, ctx.window = xp.empty(y.shape, "uint8"), (size, stride, padding)
        sizes = (y.size, h, w, c, oh, ow, *ctx.window)
        x = xp.ascontiguousarray(x)
        kernels.launch("pool", "max_pool", x.dtype, kernels.blocks(y.size), x, y, ctx.at, *sizes, -float("inf"))
        return y

    @staticmethod
    def backward(ctx, dy):
        xp = backend.get_xp(dy)
        dx = xp.empty(ctx.shape, dy.dtype)
        sizes = (dx.size, *ctx.shape[1:], *dy.shape[1:3], *ctx.window)
        dy = xp.ascontiguousarray(dy)
        kernels.launch("pool", "max_pool_gradient", dy.dtype, kernels.blocks(dx.size), dy, ctx.at, dx, *sizes)
        return dx
