"""Images with labels, and their split into training, validation and test."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from duonet import arguments

SPLIT_SEED = 0  # of hold_out: the images of validation must never depend on the seed of a run


class DataError(ValueError):
    """A data file that is missing, damaged or of the wrong kind; the message names the file and a remedy."""


def bad_file(path: Path, error: Exception, guess: str) -> DataError:
    """Return the error for an unreadable file: the system's reason, or else a guess at its damage.

    Parameters
    ----------
    path : Path
    error : Exception
        The error of the reader.
    guess : str

    Returns
    -------
    DataError

    Examples
    --------
    >>> bad_file(Path("a.gz"), PermissionError(13, "Permission denied"), "truncated")
    DataError('a.gz: cannot be read (Permission denied)')
    >>> bad_file(Path("a.gz"), EOFError("no end"), "truncated")
    DataError('a.gz: truncated (no end)')
    """
    if isinstance(error, OSError) and error.errno is not None:
        return DataError(f"{path}: cannot be read ({error.strerror})")
    return DataError(f"{path}: {guess} ({error})")


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

    def take(self, n: int) -> "Dataset":
        """Return the first `n` images, 1 <= n <= N, as a Dataset that shares their memory."""
        if not 1 <= arguments.integer("take", "n", n) <= len(self.labels):
            raise ValueError(f"take: n must be from 1 to {len(self.labels)}, the number of images, got {n}")
        return Dataset(self.images[:n], self.labels[:n])


class Splits(NamedTuple):
    """A data set in three parts that share no image.

    Attributes
    ----------
    train, validation, test : Dataset
        For learning, for choosing settings, and for one test at the end.
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


def hold_out(dataset: Dataset, n: int) -> tuple[Dataset, Dataset]:
    """Set `n` images aside for validation: always the same images, equally many of each class.

    Parameters
    ----------
    dataset : Dataset
    n : int
        Number of images. A class with too few images gives all but one image.

    Returns
    -------
    train, validation : Dataset
        Each in the order of `dataset`.

    Raises
    ------
    ValueError
        If `n` would leave no image for training, or no image for validation.
    TypeError
        If `n` is not an integer.

    Examples
    --------
    >>> toy = Dataset(np.zeros((6, 2, 2, 1), "uint8"), np.array([0, 0, 0, 1, 1, 1]))
    >>> train, validation = hold_out(toy, 2)
    >>> train.labels, validation.labels
    (array([0, 0, 1, 1]), array([0, 1]))
    """
    images, labels = dataset
    classes, counts = np.unique(labels, return_counts=True)
    if not len(classes) <= arguments.integer("hold_out", "n", n) < len(labels):
        raise ValueError(
            f"hold_out: n must be from {len(classes)}, the number of classes, to {len(labels) - 1}, "
            f"fewer than the images there are; got {n}"
        )
    rng = np.random.default_rng(SPLIT_SEED)
    held = np.zeros(len(labels), bool)
    for i, (label, count) in enumerate(zip(classes, counts)):
        share = n // len(classes) + (i < n % len(classes))
        where = np.flatnonzero(labels == label)
        held[rng.permutation(where)[: min(share, count - 1)]] = True
    return Dataset(images[~held], labels[~held]), Dataset(images[held], labels[held])
