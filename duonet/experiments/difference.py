"""How far a decoupled network is from the coupled network that it was made of."""

import copy
from collections.abc import Callable
from typing import Any

import numpy as np

from duonet.data import DataLoader, Dataset
from duonet.module import Module
from duonet.tape import no_grad
from duonet.tensor import Tensor

DOUBLE_CHECKED_IMAGES = 1000  # for the check of decoupling in float64


def decoupling_difference(
    coupled: Module, decoupled: Module, images: Dataset, loader: Callable[[Dataset], DataLoader]
) -> dict[str, Any]:
    """Compare the decoupled network with the coupled network, in float64 and in float32.

    The two networks sum the same products in different orders. In float64, the rounding of these sums is their
    only difference if decoupling divided weights by a power of 2; W/3 was rounded when the float32 network was
    decoupled. In float32, rounding occasionally carries a pre-activation over a threshold.

    Parameters
    ----------
    coupled, decoupled : Module
        Networks with logits (N, classes).
    images : duonet.data.Dataset
    loader : callable
        From a data set to an iterable of (x, labels).

    Returns
    -------
    dict
        `float64_images` and `float32_images`, numbers of images; `float64_relative_difference`, the largest
        difference of two logits divided by the largest logit; `float32_changed_predictions`, a number of images.
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
