"""Images with labels, and their split into training, validation and test."""

from typing import NamedTuple

import numpy as np


class Dataset(NamedTuple):
    """Images and their labels.

    Attributes
    ----------
    images : numpy.ndarray
        (N, H, W, C) uint8
    labels : numpy.ndarray
        (N,) int64

    Examples
    --------
    >>> Dataset(np.zeros((4, 2, 2, 1), "uint8"), np.arange(4)).take(3).labels
    array([0, 1, 2])
    """

    images: np.ndarray
    labels: np.ndarray

    def take(self, n):
        """Return the first `n` images, 1 <= n <= N, as a Dataset that shares their memory."""
        if not 1 <= n <= len(self.labels):
            raise ValueError(f"take: n must be from 1 to {len(self.labels)}, the number of images, got {n}")
        return Dataset(self.images[:n], self.labels[:n])


class Splits(NamedTuple):
    """A data set in three parts that share no image.

    Attributes
    ----------
    train, validation, test : Dataset
        To learn from; to choose by; to look at once.
    class_names : tuple of str
        The name of each label.

    Examples
    --------
    >>> part = Dataset(np.zeros((1, 2, 2, 1), "uint8"), np.array([0]))
    >>> Splits(part, part, part, ("zero",)).class_names
    ('zero',)
    """

    train: Dataset
    validation: Dataset
    test: Dataset
    class_names: tuple
