"""Pooling: each position inside the window gives a strided view of the image, and a pool combines these views."""

from duonet import arguments, backend, exact
from duonet.backend import Array
from duonet.functional import reduction
from duonet.tensor import Function, Tensor


def max_pool2d(x: Tensor, size: int = 2, stride: int | None = None, padding: int = 0) -> Tensor:
    """Keep the largest x of each window; dx = dy at the first position of that maximum.

    Parameters
    ----------
    x : Tensor
        (N, H, W, C)
    size : int
        Height and width of a window.
    stride : int, optional
        Pixels between windows; `size` by default. Rows and columns that fill no window are dropped.
    padding : int
        Pixels added on each side, at most half the size; they are never the maximum.

    Returns
    -------
    Tensor
        (N, (H + 2 padding − size) // stride + 1, (W + 2 padding − size) // stride + 1, C)

    Raises
    ------
    TypeError, ValueError
        If `x` does not have four axes or is smaller than a window, or an argument is out of range.

    Examples
    --------
    >>> max_pool2d(Tensor([[[[1.0], [2.0]], [[4.0], [3.0]]]])).data.ravel()
    array([4.], dtype=float32)
    """
    size, stride = _window("max_pool2d", size, stride)
    padding = arguments.integer("max_pool2d", "padding", padding, at_least=0, at_most=size // 2)
    return MaxPool2d.apply(x, size=size, stride=stride, padding=padding)


class MaxPool2d(Function):
    @staticmethod
    def forward(ctx, x, *, size, stride, padding):
        check("max_pool2d", x, size, padding)
        xp = backend.get_xp(x)
        if padding:
            # Below every number, so that a maximum is never taken from the border.
            x = xp.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)), constant_values=-xp.inf)
        views = _views(x, size, stride)
        y = next(views).copy()
        for view in views:
            xp.maximum(y, view, out=y)
        ctx.x, ctx.y, ctx.size, ctx.stride, ctx.padding = x, y, size, stride, padding
        return y

    @staticmethod
    def backward(ctx, dy):
        xp = backend.get_xp(dy)
        dx = xp.zeros(ctx.x.shape, dy.dtype)
        waiting = xp.ones(dy.shape, bool)  # windows whose maximum has not been met yet
        for x, into in zip(_views(ctx.x, ctx.size, ctx.stride), _views(dx, ctx.size, ctx.stride)):
            hit = (x == ctx.y) & waiting
            into += exact.select(hit, dy)
            waiting &= ~hit
        p = ctx.padding
        return dx[:, p : dx.shape[1] - p, p : dx.shape[2] - p] if p else dx


def avg_pool2d(x: Tensor, size: int = 2, stride: int | None = None) -> Tensor:
    """Average each window; dx = dy / size², summed over the windows that contain x.

    The arguments size and stride, shapes and errors are as in `max_pool2d`; there is no padding.
    """
    size, stride = _window("avg_pool2d", size, stride)
    return AvgPool2d.apply(x, size=size, stride=stride)


class AvgPool2d(Function):
    @staticmethod
    def forward(ctx, x, *, size, stride):
        check("avg_pool2d", x, size)
        ctx.shape, ctx.size, ctx.stride = x.shape, size, stride
        views = _views(x, size, stride)
        y = exact.wide(next(views).copy())
        for view in views:
            y += view
        return exact.narrow(y / size**2, x.dtype)

    @staticmethod
    def backward(ctx, dy):
        dx = backend.get_xp(dy).zeros(ctx.shape, dy.dtype)
        share = dy / ctx.size**2
        for into in _views(dx, ctx.size, ctx.stride):
            into += share
        return dx


def global_avg_pool(x: Tensor) -> Tensor:
    """Average each channel over the whole image, from x (N, H, W, C) to (N, C); dx = dy / (H W)."""
    if x.ndim != 4:
        raise ValueError(f"global_avg_pool: expected x (N, H, W, C), got shape {x.shape}")
    return reduction.mean(x, axis=(1, 2))


def _views(x, size, stride):
    """Yield, for each position in the window, the view of `x` (N, H, W, C) with that position of every window."""
    oh, ow = (x.shape[1] - size) // stride + 1, (x.shape[2] - size) // stride + 1
    for i in range(size):
        for j in range(size):
            yield x[:, i : i + stride * oh : stride, j : j + stride * ow : stride]


def check(name: str, x: Array, size: int, padding: int = 0) -> None:
    """Raise ValueError unless the windows of a pool fit the images."""
    if x.ndim != 4:
        raise ValueError(f"{name}: expected x (N, H, W, C), got shape {x.shape}")
    if min(x.shape[1:3]) + 2 * padding < size:
        raise ValueError(f"{name}: windows of size {size} do not fit x {x.shape}")


def _window(name, size, stride):
    """Check size and stride; by default the stride is the size."""
    size = arguments.integer(name, "size", size, at_least=1)
    return size, size if stride is None else arguments.integer(name, "stride", stride, at_least=1)
