"""The layers of a packed network that know of bits: steps, products with signs, sums of two paths."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt

from duonet import functional as F
from duonet.functional.channels import per_channel
from duonet.inference import counting
from duonet.tensor import Tensor

Array = npt.NDArray[Any]
MOST = 1 << 28  # values of one image: what a damaged file asks for must not fill the memory
WORTH = 512  # weights of an output from which counting words beats a float product, for one image


class Steps(NamedTuple):
    """Values of few levels, as how many steps each has climbed.

    Attributes
    ----------
    counts : numpy.ndarray
        uint8
    levels : tuple of float
    """

    counts: npt.NDArray[np.uint8]
    levels: tuple[float, ...]


def values(x: Array | Steps) -> Array:
    """Return float32 values of an array or of steps.

    Parameters
    ----------
    x : array or Steps

    Returns
    -------
    numpy.ndarray

    Examples
    --------
    >>> values(Steps(np.array([0, 2], np.uint8), (0.0, 0.5, 1.0)))
    array([0., 1.], dtype=float32)
    """
    if not isinstance(x, Steps):
        return x
    if x.levels == (0, 1):
        return x.counts.astype(np.float32)
    return np.asarray(x.levels, np.float32)[x.counts]


def climbed(x: Array, thresholds: Array, falls: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    """Count the thresholds of its channel that each value has reached, or not reached where the channel falls.

    Parameters
    ----------
    x : numpy.ndarray
        (..., C)
    thresholds : numpy.ndarray
        (K, C)
    falls : numpy.ndarray
        (C,) bool

    Returns
    -------
    numpy.ndarray
        uint8, shape of `x`.

    Examples
    --------
    >>> climbed(np.array([[1.0, 1.0]]), np.array([[0.5, 0.5]]), np.array([False, True]))
    array([[1, 0]], dtype=uint8)
    """
    counts: npt.NDArray[np.uint8] | None = None
    for threshold in thresholds:
        reached = per_channel(np.greater_equal, x, threshold, out=np.empty(x.shape, bool))
        if falls.any():
            reached = per_channel(np.not_equal, reached, falls, out=reached)
        steps = reached.view(np.uint8)
        counts = steps if counts is None else np.add(counts, steps, out=counts)
    assert counts is not None
    return counts


def repeated(x: Array, copies: int) -> Array:
    """Repeat all channels of an array."""
    return x if copies == 1 else np.concatenate([x] * copies, axis=-1)


class Layer:
    """What all layers have: a kind, the path in the model that it comes from, `run` and `shape`.

    Parameters
    ----------
    path : str
    """

    kind: ClassVar[str]

    def __init__(self, path: str) -> None:
        self.path = path

    def run(self, x: Any) -> Any:
        """Compute the layer for a batch, an array or Steps."""
        raise NotImplementedError

    def shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the output's shape for one image, or raise ValueError."""
        raise NotImplementedError

    def misfit(self, shape: tuple[int, ...]) -> ValueError:
        """Return the error for an input of a shape that does not fit."""
        return ValueError(f"{self.path} {type(self).__name__} cannot read an input of shape {shape}")


def window_shape(
    layer: Layer, shape: tuple[int, ...], size: tuple[int, int], stride: int, padding: int, channels: int | None
) -> tuple[int, ...]:
    """Return the shape (OH, OW, OC) behind windows of a size; `channels` are kept where they are None."""
    if len(shape) != 3 or any(n + 2 * padding < k for n, k in zip(shape, size)):
        raise layer.misfit(shape)
    oh, ow = ((n + 2 * padding - k) // stride + 1 for n, k in zip(shape, size))
    out = oh, ow, shape[2] if channels is None else channels
    if math.prod(out) > MOST:
        raise ValueError(f"{layer.path} {type(layer).__name__} would make {math.prod(out):,} values of one image")
    return out


class StepLayer(Layer):
    """Floats to steps: a staircase, with the batch norm before it.

    Parameters
    ----------
    path : str
    thresholds : numpy.ndarray
        (K, C) float32, or (K, 1) for all channels alike.
    falls : numpy.ndarray
        bool, as long.
    levels : tuple of K + 1 floats
    copies : int
        How often the input's channels are repeated, as in a decoupled network.
    """

    kind = "steps"

    def __init__(
        self, path: str, thresholds: Array, falls: Array, levels: Iterable[float], copies: int = 1
    ) -> None:
        super().__init__(path)
        self.thresholds, self.falls, self.levels, self.copies = thresholds, falls, tuple(levels), copies

    def run(self, x: Any) -> Steps:
        """(..., C) to as many steps."""
        x = repeated(values(x), self.copies)
        thresholds, falls = (
            np.broadcast_to(a, (*a.shape[:-1], x.shape[-1])) for a in (self.thresholds, self.falls)
        )
        return Steps(climbed(x, thresholds, falls), self.levels)

    def shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the same, with all copies."""
        channels = shape[-1] * self.copies
        if self.thresholds.shape[1] not in (1, channels):
            raise self.misfit(shape)
        return (*shape[:-1], channels)


class SignLayer(Layer):
    """A product or convolution of steps with signs, a pool of the sums, and their steps, or else floats.

    Parameters
    ----------
    path : str
    signs : numpy.ndarray
        (KH, KW, C, OC) or (IN, OUT) of bool: True for +1.
    scale : numpy.ndarray
        (1,) or (OC,) float32
    levels : tuple of float
        What the steps of the input stand for: multiples of ½ in even steps.
    bias : numpy.ndarray, optional
        (OC,)
    stride, padding : int
    pool : tuple of int, optional
        Size, stride and padding of a maximum over the sums.
    copies : int
        How often the sums' channels are repeated before the thresholds, as in a decoupled network.
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
        self._weight = Tensor(np.where(signs, 1, -1).astype(np.float32))
        self._words: Array | None = None

    def run(self, x: Any) -> Any:
        """Compute from steps, or floats that are levels, what comes out: steps, or floats."""
        sums = self._counted(x) if len(values_of(x)) == 1 and self._weight.size // self.outputs >= WORTH else None
        if sums is None:
            sums = self._product(Tensor(values(x)))
        if self.thresholds is None or self.falls is None:
            y = per_channel(np.multiply, sums, np.broadcast_to(self.scale, self.outputs))
            return y if self.bias is None else per_channel(np.add, y, self.bias, out=y)
        if self.pool is not None:
            sums = F.max_pool2d(Tensor(sums), *self.pool).data
        limits = (self.thresholds * self.unit).astype(np.float32)
        return Steps(climbed(repeated(sums, self.copies), limits, self.falls), self.out_levels)

    @property
    def outputs(self) -> int:
        """How many channels come out."""
        return int(self.signs.shape[-1])

    def _product(self, x: Tensor) -> Array:
        if self.signs.ndim == 2:
            return F.linear(x, self._weight).data
        return F.conv2d(x, self._weight, None, self.stride, self.padding).data

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
            sums += np.float32(self.low) * self._product(Tensor(np.ones((1, *steps.shape[1:]), np.float32)))
        return sums

    def shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape behind product and pool."""
        if shape[-1] != self.signs.shape[-2] or len(shape) != self.signs.ndim - 1:
            raise self.misfit(shape)
        if self.signs.ndim == 2:
            return (self.outputs * self.copies,)
        kernel = self.signs.shape[:2]
        out = window_shape(self, shape, (kernel[0], kernel[1]), self.stride, self.padding, self.outputs)
        if self.pool is not None:
            size, stride, padding = self.pool
            out = window_shape(self, out, (size, size), stride, padding, None)
        return (*out[:2], self.outputs * self.copies)


class Sum(Layer):
    """The sum of two paths from the same input.

    Parameters
    ----------
    path : str
    body, shortcut : list of Layer
    """

    kind = "sum"

    def __init__(self, path: str, body: Iterable[Layer], shortcut: Iterable[Layer]) -> None:
        super().__init__(path)
        self.body, self.shortcut = list(body), list(shortcut)

    def run(self, x: Any) -> Array:
        """Run both and add."""
        one = other = x
        for layer in self.body:
            one = layer.run(one)
        for layer in self.shortcut:
            other = layer.run(other)
        return values(one) + values(other)

    def shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return that of both."""
        one = other = shape
        for layer in self.body:
            one = layer.shape(one)
        for layer in self.shortcut:
            other = layer.shape(other)
        if one != other:
            raise ValueError(f"{self.path} Sum adds shapes {one} and {other}")
        return one


def values_of(x: Array | Steps) -> Array:
    """Return the array that tells how many images there are."""
    return x.counts if isinstance(x, Steps) else x


def unit(levels: tuple[float, ...]) -> float:
    """Return what all sums of signs and levels are multiples of, 1 or ½; 0 where they are not.

    Parameters
    ----------
    levels : tuple of float

    Returns
    -------
    float

    Examples
    --------
    >>> unit((0.0, 1.0)), unit((0.0, 0.5, 1.0)), unit((0.0, 0.3))
    (1.0, 0.5, 0.0)
    """
    low, rise = levels[0], levels[1] - levels[0]
    if any(level != low + k * rise for k, level in enumerate(levels)) or not (2 * low).is_integer():
        return 0.0
    return 1.0 if low.is_integer() and rise.is_integer() else 0.5 if (2 * rise).is_integer() else 0.0
