"""Batches of a data set."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from duonet import arguments, backend, workers
from duonet.backend import Array
from duonet.data.augment import Augmentation
from duonet.data.dataset import Dataset


class DataLoader:
    """Iterate over a data set in batches of images (B, H, W, C) float32 and labels (B,) int64.

    One iteration is one epoch. Random numbers are drawn when a batch is requested, one batch ahead, so a generator
    may be shared with the model or another iteration; while a batch is in use, a thread normalises the next batch.

    Parameters
    ----------
    dataset : Dataset
    batch_size : int
    normalize : callable
        uint8 images to float32, such as `Normalize`; called in the thread, so it must not draw.
    rng : numpy.random.Generator, optional
        Shuffles at every iteration; without it, the order is that of the data set.
    augment : callable, optional
        `augment(images, rng)` on each uint8 batch, such as `random_flip`.
    device : {"cpu", "gpu"}

    Attributes
    ----------
    images : int
        The number of images of one iteration.

    Raises
    ------
    ValueError
        If images and labels do not fit together, there are no images, `batch_size` is not positive, `augment` is
        given without `rng`, a single image is to be shuffled, or `device` is unknown.
    TypeError
        If `dataset` is not a pair of arrays, `batch_size` not an integer, `rng` not a generator, or `normalize` or
        `augment` not callable.

    Examples
    --------
    >>> from duonet.data import Dataset, Normalize
    >>> toy = Dataset(np.zeros((5, 2, 2, 1), "uint8"), np.arange(5))
    >>> [labels.tolist() for x, labels in DataLoader(toy, 2, Normalize([0], [1]))]
    [[0, 1], [2, 3], [4]]
    """

    def __init__(
        self,
        dataset: Dataset,
        batch_size: int,
        normalize: Callable[[Array], Array],
        rng: np.random.Generator | None = None,
        augment: Augmentation | None = None,
        device: str = "cpu",
    ) -> None:
        if not isinstance(dataset, (tuple, list)) or len(dataset) != 2:
            raise TypeError(
                f"DataLoader: dataset must be a Dataset, images and labels, got {type(dataset).__name__}"
            )
        for name, array in zip(("images", "labels"), dataset):
            arguments.array("DataLoader", name, array, arguments.NUMBERS)
        images, labels = dataset
        if images.ndim != 4 or images.dtype != np.uint8:
            raise ValueError(f"DataLoader: images must be uint8 (N, H, W, C), got {images.dtype} {images.shape}")
        if labels.shape != images.shape[:1] or labels.dtype.kind not in "iu":
            raise ValueError(
                f"DataLoader: labels must be ints ({len(images)},) for images {images.shape}, "
                f"got {labels.dtype} {labels.shape}"
            )
        if len(images) == 0:
            raise ValueError("DataLoader: there are no images")
        batch_size = arguments.integer("DataLoader", "batch_size", batch_size, at_least=1)
        for name, given in (("normalize", normalize), ("augment", augment)):
            if not callable(given) and (name, given) != ("augment", None):
                raise TypeError(f"DataLoader: {name} must be callable, got {type(given).__name__}")
        if rng is not None:
            arguments.generator("DataLoader", "rng", rng)
        elif augment is not None:
            raise ValueError("DataLoader: augment needs rng, the generator that it draws from")
        arguments.one_of("DataLoader", "device", device, backend.DEVICES)
        self.dataset = Dataset(images, labels.astype(np.int64, copy=False))
        if self.dataset.labels.min() < 0:  # a check here, because on a GPU a loss makes none
            raise ValueError(f"DataLoader: labels must not be negative, got {labels.min()}..{labels.max()}")
        self.batch_size, self.normalize = batch_size, normalize
        self.rng, self.augment, self.device = rng, augment, device
        # Batch norm cannot train on one image: a shuffled epoch leaves out a last batch of one image.
        alone = rng is not None and batch_size > 1 and len(images) % batch_size == 1
        self.images = len(images) - alone
        if self.images == 0:
            raise ValueError("DataLoader: one image cannot be shuffled into batches; leave rng out")

    def __len__(self) -> int:
        return -(-self.images // self.batch_size)

    def __iter__(self) -> Iterator[tuple[Array, Array]]:
        images, labels = self.dataset
        rng: Any = self.rng  # `augment` needs it
        order = None if rng is None else rng.permutation(len(images))
        if order is None:
            images = images.view()  # batches are parts of it, so nobody may write into them
            images.flags.writeable = False
        # Random draws happen here, one batch ahead and never for the next epoch; the thread does the other work.
        with workers.worker("duonet-loader") as worker:
            waiting: Any = None
            for start in range(0, self.images, self.batch_size):
                part = slice(start, min(start + self.batch_size, self.images))
                batch: Any = part if order is None else order[part]
                x = images[batch] if self.augment is None else self.augment(images[batch], rng)
                ahead = worker.submit(self.normalize, x), labels[batch].copy()  # the caller may write into them
                if waiting is not None:
                    yield self._upload(*waiting)
                waiting = ahead
            yield self._upload(*waiting)

    def _upload(self, normalized, labels):
        x = arguments.array("DataLoader", "what normalize returns", normalized.result())
        if len(x) != len(labels):
            raise ValueError(f"DataLoader: augment and normalize made {len(x)} images of {len(labels)}")
        return tuple(backend.to_device(array, self.device) for array in (x, labels))
