"""Sums over an epoch: the loss, the correctly classified images, and whether all numbers were finite."""

from typing import Any, NamedTuple

import numpy as np

from duonet import backend
from duonet.backend import Array
from duonet.tensor import Tensor


class Score(NamedTuple):
    """The result of a model on a data set.

    Attributes
    ----------
    loss : float
        Mean over the images.
    accuracy : float or None
        Share of the correctly classified images, 0 to 1. None if there are no classes: if labels are not ints
        (N,), or the model's output is not (N, C) with 2 or more classes.
    """

    loss: float
    accuracy: float | None


class Totals:
    """Sums of loss and hits as 0-d arrays on their device: only `read` makes the host wait for a GPU.

    Parameters
    ----------
    name : str
        The name of the loop, for messages.

    Attributes
    ----------
    finite, spoilt : bool or array
        Whether all inputs were finite; whether a label that is not finite has spoilt a loss.

    Examples
    --------
    >>> totals = Totals("fit")
    >>> totals.add(Tensor(0.5), Tensor([[1.0, 2.0], [4.0, 3.0]]), np.array([1, 1]))
    >>> totals.read()
    Score(loss=0.5, accuracy=0.5)
    """

    def __init__(self, name: str):
        self.name = name
        self.loss: Any = 0
        self.hits: Any = 0
        self.images = 0
        self.finite: Any = True
        self.spoilt: Any = False

    def see(self, x: Array) -> None:
        """Record whether an input is finite."""
        self.finite = self.finite & backend.get_xp(x).isfinite(x).all()

    def add(self, loss: Tensor, logits: Tensor, labels: Any) -> None:
        """Add a batch: its mean loss, and its hits.

        Raises
        ------
        ValueError
            If the loss is not one number, or there are not as many labels as images.
        """
        if not isinstance(loss, Tensor) or loss.shape != ():
            what = f"shape {loss.shape}" if isinstance(loss, Tensor) else type(loss).__name__
            raise ValueError(f"{self.name}: the loss must be one Tensor without axes, got {what}")
        n, labels = len(labels), as_array(labels)
        self.loss = self.loss + loss.data * n
        if labels.dtype.kind == "f":  # a loss may skip NaN, for missing labels
            isfinite = backend.get_xp(labels).isfinite
            self.spoilt |= ~isfinite(loss.data) & isfinite(logits.data).all() & ~isfinite(labels).all()
        right = _right(self.name, logits.data, labels)
        self.hits = None if right is None or self.hits is None else self.hits + right.sum()
        self.images += n

    def include(self, other: "Totals") -> None:
        """Add the sums of other batches."""
        self.loss = self.loss + other.loss
        self.hits = None if self.hits is None or other.hits is None else self.hits + other.hits
        self.images += other.images
        self.finite, self.spoilt = self.finite & other.finite, self.spoilt | other.spoilt

    def read(self) -> Score:
        """Return the means so far; ValueError if there are no images."""
        if self.images == 0:
            raise ValueError(f"{self.name}: the loader yields no images")
        return Score(float(self.loss) / self.images, None if self.hits is None else float(self.hits) / self.images)


def as_array(labels: Any) -> Array:
    """Return labels as an array, on their device.

    Parameters
    ----------
    labels : Tensor, array or list

    Returns
    -------
    array

    Examples
    --------
    >>> as_array([3, 1])
    array([3, 1])
    """
    labels = labels.data if isinstance(labels, Tensor) else labels
    return labels if backend.is_array(labels) else np.asarray(labels)


def _right(name, logits, labels):
    """Return for each image whether its class is the likeliest; None if there are no classes."""
    if len(labels) != len(logits):
        raise ValueError(f"{name}: the model returns {logits.shape} for labels {labels.shape}")
    if labels.ndim != 1 or labels.dtype.kind not in "iu" or logits.ndim != 2 or logits.shape[1] < 2:
        return None
    return logits.argmax(axis=1) == labels
