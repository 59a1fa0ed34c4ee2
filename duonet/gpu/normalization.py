"""Batch norm in three launches each way, with one pass over the image for its sums; alone or with a staircase."""

from duonet import backend, engine
from duonet.functional import normalization as plain
from duonet.gpu import kernels
from duonet.gpu.quantize import quantized, windowed
from duonet.quant import activation

ROWS = 16  # for each thread of a sum, at least, if there are enough rows
CHUNKS = 256  # of rows, at most


@engine.twin("gpu")
class BatchNorm(plain.BatchNorm):
    """The plain op with kernels; it remembers x, not x − mean."""

    @staticmethod
    def suits(x, gamma, beta, *, running_mean, running_var, **rest):
        state = [a for a in (running_mean, running_var) if a is not None]
        return kernels.suit(x, gamma, beta, *state) and all(a.flags.c_contiguous for a in state)

    @staticmethod
    def forward(ctx, x, gamma, beta, **options):
        vectors = _remember(ctx, x, gamma, beta, **options)
        y = backend.get_xp(x).empty_like(ctx.x)
        _by_channel("normalize", x, ctx.x, *vectors, y, x.size, x.shape[-1])
        return y

    @staticmethod
    def backward(ctx, dy):
        return _gradients(ctx, dy, None)


@engine.twin("gpu")
class BatchNormQuantize(activation.BatchNormQuantize):
    """Batch norm and staircase with the kernels of both: the normalised image is never written."""

    @staticmethod
    def suits(*arrays, staircase, surrogate, **options):
        return BatchNorm.suits(*arrays, **options) and staircase.tabular and windowed(surrogate)

    @staticmethod
    def forward(ctx, x, gamma, beta, *, staircase, surrogate, **options):
        vectors = _remember(ctx, x, gamma, beta, **options)
        y, ctx.slope = quantized(ctx.x, staircase, surrogate, any(ctx.needs), vectors)
        return y

    @staticmethod
    def backward(ctx, dy):
        return _gradients(ctx, dy, ctx.slope)


def _remember(ctx, x, gamma, beta, *, running_mean, running_var, training, momentum, eps):
    """Move the running averages, keep what the backward pass needs, and return mean, 1 / √(var + eps), γ and β."""
    plain.check(x, gamma, beta, running_mean, running_var, training)
    xp = backend.get_xp(x)
    ctx.x, ctx.gamma, beta = (xp.ascontiguousarray(a) for a in (x, gamma, beta))
    ctx.training, channels = training, x.shape[-1]
    if not training:
        ctx.mean, ctx.scale = running_mean.copy(), 1 / xp.sqrt(running_var + eps)
        return ctx.mean, ctx.scale, ctx.gamma, beta
    rows = x.size // channels
    grid, width, chunk = _chunks(rows, channels)
    means, squares = xp.empty((2, grid[1], channels), x.dtype)
    ctx.mean, ctx.scale = xp.empty((2, channels), x.dtype)
    kernels.launch("norm", "moments", x.dtype, grid, ctx.x, means, squares, rows, channels, width, chunk)
    blocks, width = _narrow(channels)
    kernels.launch(
        "norm", "statistics", x.dtype, blocks, means, squares, ctx.mean, ctx.scale, running_mean, running_var,
        rows, channels, width, chunk, grid[1], float(momentum), rows / (rows - 1), float(eps),
    )  # fmt: skip
    return ctx.mean, ctx.scale, ctx.gamma, beta


def _gradients(ctx, dy, mask):
    """Compute dx, dγ and dβ from the gradient of the normalised array, or of a staircase's output and its mask."""
    xp = backend.get_xp(dy)
    dy, channels = xp.ascontiguousarray(dy), dy.shape[-1]
    rows = dy.size // channels
    grid, width, chunk = _chunks(rows, channels)
    plain_sums, weighted = xp.empty((2, grid[1], channels), dy.dtype)
    sizes = (rows, channels, width, chunk)
    kernels.launch(
        "norm", "gradient_sums", dy.dtype, grid, dy, mask, ctx.x, ctx.mean, plain_sums, weighted, *sizes
    )
    dgamma, dbeta = xp.empty((2, channels), dy.dtype)
    blocks, width = _narrow(channels)
    sizes = (channels, width, grid[1])
    kernels.launch(
        "norm", "parameter_gradients", dy.dtype, blocks, plain_sums, weighted, ctx.scale, dgamma, dbeta, *sizes
    )
    if not ctx.needs[0]:
        return None, dgamma, dbeta
    dx = xp.empty_like(dy)
    vectors = (ctx.mean, ctx.scale, ctx.gamma, dgamma, dbeta)
    _by_channel("input_gradient", dy, dy, mask, ctx.x, *vectors, dx, dy.size, channels, rows, int(ctx.training))
    return dx, dgamma, dbeta


def _by_channel(name, like, *arguments):
    grid = kernels.channel_blocks(like.size, like.shape[-1])
    kernels.launch("norm", name, like.dtype, grid, *arguments)


def _chunks(rows, channels):
    """Return the blocks of a sum over rows: the grid, a block's neighbouring channels, and a chunk's rows."""
    width = min(channels, 32)
    lanes = kernels.THREADS // width
    chunks = min(CHUNKS, -(-rows // (ROWS * lanes)))
    chunk = -(-rows // chunks)
    return (-(-channels // width), -(-rows // chunk)), width, chunk


def _narrow(channels):
    """Return blocks and width of a sum over chunks: few channels in a block, so that more threads share it."""
    width = min(channels, 8)
    return -(-channels // width), width
