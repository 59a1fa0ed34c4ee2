"""Products with weights of two values, in a packed network."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from duonet.functional.channels import per_channel
from duonet.functional.conv import Conv2d
from duonet.functional.pooling import MaxPool2d
from duonet.functional.products import Linear
from duonet.inference import counting
from duonet.inference.layers import (
    Layer,
    Steps,
    climbed,
    compute,
    in_chunks,
    repeated,
    unit,
    values,
    values_of,
    window_shape,
)  # fmt: skip

Array = npt.NDArray[Any]
WORTH = 512  # weights of an output from which counting words beats a float product, for one image


class SignLayer(Layer):
    """A product or convolution of steps with signs, then perhaps a pool of the sums, and steps or floats.

    Parameters
    ----------
    path : str
    signs : numpy.ndarray
        (KH, KW, C, OC) or (IN, OUT) of bool: True for +1.
    scale : numpy.ndarray
        (1,) or (OC,) float32
    levels : tuple of float
        The levels of the input's steps: multiples of ½ in even steps.
    bias : numpy.ndarray, optional
        (OC,)
    stride, padding : int
    pool : tuple of int, optional
        Size, stride and padding of a maximum over the sums.
    copies : int
        Number of times that the sums' channels are repeated before the thresholds, as in a decoupled network.
    thresholds : numpy.ndarray, optional
        (K, copies OC) integers: the smallest sum, in units of `unit`, that reaches each threshold.
    falls : numpy.ndarray, optional
        (copies OC,) bool
    out_levels : tuple of float, optional
    """

    kind = "signs"

    def __init__(
        self,
        path: str,
        signs: npt.NDArray[np.bool_],
        scale: Array,
        levels: Iterable[float],
        bias: Array | None = None,
        stride: int = 1,
        padding: int = 0,
        pool: tuple[int, int, int] | None = None,
        copies: int = 1,
        thresholds: Array | None = None,
        falls: Array | None = None,
        out_levels: Iterable[float] = (),
    ) -> None:
        super().__init__(path)
        self.signs, self.scale, self.bias, self.levels = signs, scale, bias, tuple(levels)
        self.stride, self.padding, self.pool, self.copies = stride, padding, pool, copies
        self.thresholds, self.falls, self.out_levels = thresholds, falls, tuple(out_levels)
        self.low, self.rise = self.levels[0], self.levels[1] - self.levels[0]
        self.planes = len(self.levels) - 1
        self.unit = unit(self.levels)
        self._weight = np.where(signs, 1, -1).astype(np.float32)
        self._words: Array | None = None

    def run(self, x: Any) -> Any:
        """Compute the output, steps or floats, from steps or from floats that are levels."""
        sums = self._sums(x)
        if self.thresholds is None or self.falls is None:
            return self._scaled(sums)
        if self.pool is not None:
            size, stride, padding = self.pool
            sums = compute(MaxPool2d, sums, size=size, stride=stride, padding=padding)
        limits = (self.thresholds * self.unit).astype(np.float32)
        return Steps(climbed(repeated(sums, self.copies), limits, self.falls), self.out_levels)

    def _scaled(self, sums: Array) -> Array:
        scale, bias = np.broadcast_to(self.scale, self.outputs), self.bias

        def work(some: slice) -> None:
            y = per_channel(np.multiply, sums[some], scale, out=sums[some])
            if bias is not None:
                per_channel(np.add, y, bias, out=y)

        in_chunks(work, sums)
        return sums

    @property
    def bits(self) -> int:
        """Bits of an output value; 0 for floats."""
        return max(0, len(self.out_levels) - 1).bit_length()

    @property
    def outputs(self) -> int:
        """Number of output channels."""
        return int(self.signs.shape[-1])

    def _sums(self, x: Any) -> Array:
        """Count words, or multiply floats, whichever is faster."""
        if len(values_of(x)) == 1 and self._weight.size // self.outputs >= WORTH:
            return self._counted(x)
        return self._product(values(x))

    def _product(self, x: Array) -> Array:
        if self.signs.ndim == 2:
            return compute(Linear, x, self._weight, None)
        return compute(Conv2d, x, self._weight, None, stride=self.stride, padding=self.padding)

    def _counted(self, x: Any) -> Array:
        """Compute the same sums by counting bits."""
        steps = x.counts if isinstance(x, Steps) else sum((x >= v).view(np.uint8) for v in self.levels[1:])
        kh, kw = self.signs.shape[:-2] or (1, 1)
        images = steps if steps.ndim == 4 else steps.reshape(len(steps), 1, 1, -1)
        bits = counting.words(counting.planes(images, self.planes))
        if self._words is None:
            signs = self.signs.reshape(kh, kw, *self.signs.shape[-2:])
            columns = counting.words(np.concatenate([signs.swapaxes(2, 3)] * self.planes, axis=-1))
            self._words = np.ascontiguousarray(columns.swapaxes(2, 3)).reshape(-1, self.outputs)
        rows, oh, ow = counting.windows(bits, kh, kw, self.stride, self.padding)
        sums = counting.signed_counts(rows, self._words).astype(np.float32) * np.float32(self.rise)
        sums = sums.reshape((len(steps), oh, ow, -1) if self.signs.ndim == 4 else (len(steps), -1))
        if self.low:
            sums += np.float32(self.low) * self._product(np.ones((1, *steps.shape[1:]), np.float32))
        return sums

    def shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape behind product and pool."""
        if shape[-1] != self.signs.shape[-2] or len(shape) != self.signs.ndim - 1:
            raise self.misfit(shape)
        if self.signs.ndim == 2:
            return (self.outputs * self.copies,)
        out = self.sums_shape(shape)
        if self.pool is not None:
            size, stride, padding = self.pool
            out = window_shape(self, out, (size, size), stride, padding, None)
        return (*out[:2], self.outputs * self.copies)

    def sums_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of the sums, before the pool."""
        if self.signs.ndim == 2:
            return (self.outputs,)
        kh, kw = self.signs.shape[:2]
        return window_shape(self, shape, (kh, kw), self.stride, self.padding, self.outputs)
