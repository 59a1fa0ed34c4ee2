"""Pooling layers."""

from duonet import arguments, functional
from duonet.module import Module
from duonet.tensor import Tensor


class _Pool2d(Module):
    def __init__(self, size=2, stride=None):
        super().__init__()
        name = type(self).__name__
        self.size = arguments.integer(name, "size", size, at_least=1)
        self.stride = self.size if stride is None else arguments.integer(name, "stride", stride, at_least=1)

    def _settings(self):
        return f"{self.size}, stride={self.stride}"


class MaxPool2d(_Pool2d):
    """Largest value of each window.

    Parameters
    ----------
    size : int
    stride : int, optional
        `size` by default.
    padding : int
        Pixels added on each side; they are never the maximum.

    Examples
    --------
    >>> import numpy as np
    >>> from duonet import Tensor
    >>> MaxPool2d(2)(Tensor(np.ones((1, 4, 4, 3), "float32"))).shape
    (1, 2, 2, 3)
    """

    samplewise = by_channel = rising = keeps_levels = copywise = translates = True

    def __init__(self, size: int = 2, stride: int | None = None, padding: int = 0):
        super().__init__(size, stride)
        self.padding = arguments.integer("MaxPool2d", "padding", padding, at_least=0, at_most=self.size // 2)

    def forward(self, x: Tensor) -> Tensor:
        """Map x (N, H, W, C) to y (N, OH, OW, C)."""
        return functional.max_pool2d(x, self.size, self.stride, self.padding)

    def _settings(self):
        return super()._settings() + (f", padding={self.padding}" if self.padding else "")


class AvgPool2d(_Pool2d):
    """Mean of each window.

    Parameters
    ----------
    size : int
    stride : int, optional
        `size` by default.

    Examples
    --------
    >>> import numpy as np
    >>> from duonet import Tensor
    >>> AvgPool2d(2)(Tensor(np.ones((1, 4, 4, 3), "float32"))).shape
    (1, 2, 2, 3)
    """

    samplewise = by_channel = rising = copywise = translates = True

    def forward(self, x: Tensor) -> Tensor:
        """Map x (N, H, W, C) to y (N, OH, OW, C)."""
        return functional.avg_pool2d(x, self.size, self.stride)


class GlobalAvgPool(Module):
    """Mean of each channel over the whole image.

    Examples
    --------
    >>> import numpy as np
    >>> from duonet import Tensor
    >>> GlobalAvgPool()(Tensor(np.ones((1, 4, 4, 3), "float32"))).shape
    (1, 3)
    """

    samplewise = by_channel = rising = copywise = True

    def forward(self, x: Tensor) -> Tensor:
        """Map x (N, H, W, C) to y (N, C)."""
        return functional.global_avg_pool(x)
