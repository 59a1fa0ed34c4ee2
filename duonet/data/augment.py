"""Augmentation and normalisation of whole batches; every draw comes from an explicit generator."""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from duonet import arguments
from duonet.backend import Array

# Images and a generator to images.
Augmentation: TypeAlias = Callable[[Array, np.random.Generator], Array]


def random_flip(images: Array, rng: np.random.Generator) -> Array:
    """Mirror each image left to right with probability ½.

    Parameters
    ----------
    images : numpy.ndarray
        (N, H, W, C)
    rng : numpy.random.Generator

    Returns
    -------
    numpy.ndarray
        A new array, shape and dtype of `images`.

    Raises
    ------
    ValueError
        If `images` does not have four axes.
    TypeError
        If `images` is not an array, or `rng` not a generator.

    Examples
    --------
    >>> images = np.arange(4, dtype="uint8").reshape(2, 1, 2, 1)
    >>> random_flip(images, np.random.default_rng(0))[:, 0, :, 0]
    array([[0, 1],
           [3, 2]], dtype=uint8)
    """
    _check_axes("random_flip", images)
    arguments.generator("random_flip", "rng", rng)
    flip = rng.random(len(images)) < 0.5
    return np.where(flip[:, None, None, None], images[:, :, ::-1], images)


def pad_and_crop(images: Array, rng: np.random.Generator, padding: int = 4) -> Array:
    """Surround each image with zeros and cut out a window of the image's size at a random place.

    Parameters
    ----------
    images : numpy.ndarray
        (N, H, W, C)
    rng : numpy.random.Generator
    padding : int
        Pixels on each side, and so the largest distance that an image moves.

    Returns
    -------
    numpy.ndarray
        A new array, shape and dtype of `images`.

    Raises
    ------
    ValueError
        If `images` does not have four axes or `padding` is negative.
    TypeError
        If `padding` is not an integer, `images` not an array, or `rng` not a generator.

    Examples
    --------
    >>> images = np.arange(1, 5, dtype="uint8").reshape(1, 2, 2, 1)
    >>> pad_and_crop(images, np.random.default_rng(0), 1)[0, :, :, 0]
    array([[3, 4],
           [0, 0]], dtype=uint8)
    """
    _check_axes("pad_and_crop", images)
    padding = arguments.integer("pad_and_crop", "padding", padding, at_least=0)
    arguments.generator("pad_and_crop", "rng", rng)
    n, h, w, _ = images.shape
    padded = np.pad(images, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    top, left = rng.integers(0, 2 * padding + 1, (2, n, 1))
    rows, columns = top + np.arange(h), left + np.arange(w)
    return padded[np.arange(n)[:, None, None], rows[:, :, None], columns[:, None, :]]


def cutout(images: Array, rng: np.random.Generator, size: int = 8) -> Array:
    """Black out a square in each image; its centre lies anywhere in the image, and its overhang is cut off.

    Parameters
    ----------
    images : numpy.ndarray
        (N, H, W, C)
    rng : numpy.random.Generator
    size : int
        Side of the square in pixels.

    Returns
    -------
    numpy.ndarray
        A new array, shape and dtype of `images`.

    Raises
    ------
    ValueError
        If `images` does not have four axes or `size` is negative.
    TypeError
        If `size` is not an integer, `images` not an array, or `rng` not a generator.

    References
    ----------
    DeVries, Taylor: Improved Regularization of Convolutional Neural Networks with Cutout, 2017.

    Examples
    --------
    >>> cutout(np.full((1, 3, 4, 1), 9, "uint8"), np.random.default_rng(0), 2)[0, :, :, 0]
    array([[9, 9, 9, 9],
           [9, 0, 0, 9],
           [9, 0, 0, 9]], dtype=uint8)
    """
    _check_axes("cutout", images)
    size = arguments.integer("cutout", "size", size, at_least=0)
    arguments.generator("cutout", "rng", rng)
    n, h, w, _ = images.shape
    top, left = (rng.integers(0, side, (n, 1)) - size // 2 for side in (h, w))
    rows, columns = np.arange(h) - top, np.arange(w) - left
    down, across = (rows >= 0) & (rows < size), (columns >= 0) & (columns < size)
    square = down[:, :, None, None] & across[:, None, :, None]
    return np.where(square, images.dtype.type(0), images)


class Compose:
    """Several augmentations one after the other.

    Parameters
    ----------
    *augmentations : callable
        Each `(images, rng)` to images.

    Raises
    ------
    TypeError
        If an augmentation cannot be called.

    Examples
    --------
    >>> augment = Compose(random_flip, pad_and_crop)
    >>> augment(np.zeros((2, 4, 4, 1), "uint8"), np.random.default_rng(0)).shape
    (2, 4, 4, 1)
    """

    def __init__(self, *augmentations: Augmentation) -> None:
        for augment in augmentations:
            if not callable(augment):
                raise TypeError(f"Compose: an augmentation must be callable, got {type(augment).__name__}")
        self.augmentations = augmentations

    def __call__(self, images: Array, rng: np.random.Generator) -> Array:
        """Map images (N, H, W, C) to images of the same shape."""
        for augment in self.augmentations:
            images = augment(images, rng)
        return images


class Normalize:
    """Give every channel mean 0 and standard deviation 1: (x − mean) / std, as float32.

    Parameters
    ----------
    mean, std : array
        (C,), in units of the pixels, 0 to 255.

    Raises
    ------
    ValueError
        If `mean` and `std` are not both (C,), a mean is not finite or a standard deviation not positive, float32
        cannot hold 1 / std or mean / std, or a batch is not uint8 with C channels.
    TypeError
        If `mean` or `std` does not consist of numbers.

    Examples
    --------
    >>> Normalize([100], [50])(np.array([[[[0], [200]]]], "uint8")).ravel()
    array([-2.,  2.], dtype=float32)
    """

    def __init__(self, mean: npt.ArrayLike, std: npt.ArrayLike) -> None:
        self.mean, self.std = (
            arguments.array("Normalize", name, np.asanyarray(values), arguments.NUMBERS).astype(np.float64)
            for name, values in (("mean", mean), ("std", std))
        )
        if self.mean.ndim != 1 or self.mean.shape != self.std.shape:
            raise ValueError(
                f"Normalize: mean and std must have one entry a channel, (C,), "
                f"got shapes {self.mean.shape} and {self.std.shape}"
            )
        if not np.isfinite(self.mean).all():
            raise ValueError(f"Normalize: mean must be finite in every channel, got {self.mean.tolist()}")
        if not (np.isfinite(self.std) & (self.std > 0)).all():
            raise ValueError(
                f"Normalize: std must be positive and finite in every channel, got {self.std.tolist()}"
            )
        with np.errstate(over="ignore"):
            scale, shift = self._scale_and_shift()
        if not (np.isfinite(scale) & (scale > 0) & np.isfinite(shift)).all():
            raise ValueError(
                f"Normalize: float32 cannot hold 1 / std or mean / std of mean {self.mean.tolist()} and "
                f"std {self.std.tolist()}"
            )

    @classmethod
    def of(cls, images: Array) -> "Normalize":
        """Take mean and standard deviation of each channel from (N, H, W, C) training images."""
        _check_axes("Normalize.of", images)
        if images.size == 0:
            raise ValueError(f"Normalize.of: there are no images, got shape {images.shape}")
        return cls(images.mean(axis=(0, 1, 2)), images.std(axis=(0, 1, 2)))

    def __call__(self, images: Array) -> Array:
        """Map images (N, H, W, C) uint8 to float32."""
        # Without this check grey images and three means would silently broadcast to three channels.
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3:] != self.mean.shape:
            raise ValueError(
                f"Normalize: images must be uint8 (N, H, W, {len(self.mean)}), got {images.dtype} {images.shape}"
            )
        scale, shift = self._scale_and_shift()
        y = images * scale
        y -= shift
        return y

    def _scale_and_shift(self):
        return (1 / self.std).astype(np.float32), (self.mean / self.std).astype(np.float32)


def _check_axes(function, images):
    if arguments.array(function, "images", images, arguments.NUMBERS).ndim != 4:
        raise ValueError(f"{function}: images must be (N, H, W, C), got shape {images.shape}")
