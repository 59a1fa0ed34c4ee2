"""How far a decoupled network is from the coupled one it was made of."""

import copy
from collections.abc import Callable
from typing import Any

import numpy as np

from duonet.data import DataLoader, Dataset
from duonet.module import Module
from duonet.tape import no_grad
from duonet.tensor import Tensor

DOUBLE_CHECKED_IMAGES = 1000  # on which decoupling is checked in float64


def decoupling_difference(
    coupled: Module, decoupled: Module, images: Dataset, loader: Callable[[Dataset], DataLoader]
) -> dict[str, Any]:
    """Hold the decoupled network against the coupled one, in float64 and in float32.

    The two sum the same products in another order. In float64 that is all the difference there is, where weights
    are divided by a power of 2: W/3 was rounded when a float32 network was decoupled. In float32 rounding now and
    then carries a pre-activation over a threshold.

    Parameters
    ----------
    coupled, decoupled : Module
    images : duonet.data.Dataset
    loader : callable
        From a data set to an iterable of (x, labels).

    Returns
    -------
    dict
        `float64_images`, `float64_relative_difference` (the largest of the logits, relative to the largest logit),
        `float32_images`, `float32_changed_predictions`.
    """
    few = images.take(min(DOUBLE_CHECKED_IMAGES, len(images.labels)))
    exact, _, checked = _compared(
        copy.deepcopy(coupled).astype("float64"),
        copy.deepcopy(decoupled).astype("float64"),
        (x.astype("float64") for x, _ in loader(few)),
    )
    _, changed, seen = _compared(coupled, decoupled, (x for x, _ in loader(images)))
    return {
        "float64_images": checked,
        "float64_relative_difference": exact,
        "float32_images": seen,
        "float32_changed_predictions": changed,
    }


def _compared(coupled, decoupled, batches):
    """Return the largest logit difference relative to the largest logit, changed predictions, and images."""
    difference = largest = changed = images = 0
    with no_grad():
        for x in batches:
            a, b = (model.eval()(Tensor(x)).numpy() for model in (coupled, decoupled))
            difference = max(difference, float(np.abs(a - b).max()))
            largest = max(largest, float(np.abs(a).max()))
            changed += int((a.argmax(axis=1) != b.argmax(axis=1)).sum())
            images += len(x)
    return difference / largest, changed, images
