"""The answers of a trained network to single image files."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from duonet import backend, data, parallel
from duonet.backend import Array
from duonet.experiments.fields import check_device
from duonet.experiments.scoring import check_image_shape, load_run
from duonet.functional import log_softmax
from duonet.fusing import fused
from duonet.tape import no_grad
from duonet.tensor import Tensor

PICTURES = 64  # of predict's image files, which may be large, in memory at once


@parallel.threads()
def predict(
    checkpoint: str | Path, images: Iterable[str | Path], resize: bool = False, device: str = "cpu"
) -> tuple[list[str], Array]:
    """Compute the probability of each class for image files.

    Parameters
    ----------
    checkpoint : str or Path
        A checkpoint of `duonet train`, or a run folder, which stands for its best network.
    images : sequence of str or Path
        PNG or JPEG files.
    resize : bool
        Scale, crop and convert images that are not of the network's size and channels, instead of refusing them.
    device : {"cpu", "gpu"}

    Returns
    -------
    class_names : list of str
    probabilities : numpy.ndarray
        (N, classes) float64

    Raises
    ------
    ValueError
        If there are no files, or a file is not an image or has another size or other channels; the message names
        it.
    RuntimeError
        If `device` is "gpu" and there is no GPU.

    Examples
    --------
    >>> class_names, probabilities = predict("runs/a", ["shoe.png"], resize=True)  # doctest: +SKIP
    """
    class_names, answers = predict_each(checkpoint, images, resize, device)
    rows = []
    for _, answer in answers:
        if isinstance(answer, ValueError):
            raise answer
        rows.append(answer)
    return class_names, np.stack(rows)


def predict_each(
    checkpoint: str | Path, images: Iterable[str | Path], resize: bool = False, device: str = "cpu"
) -> tuple[list[str], Iterator[tuple[str | Path, Array | ValueError]]]:
    """Answer image files one after the other, a few in memory at a time; a bad file does not stop the others.

    Parameters
    ----------
    checkpoint, images, resize, device
        As in `predict`.

    Returns
    -------
    class_names : list of str
    answers : iterator
        For each file (path, probabilities (classes,) float64), or (path, a ValueError with the problem).

    Raises
    ------
    ValueError
        If there are no files, or `checkpoint` is not the checkpoint of a training run.
    """
    images = list(images)
    if not images:
        raise ValueError("predict: there are no images")
    check_device("predict", device)
    saved, about = load_run(checkpoint, device)
    return about["class_names"], answers(fused(saved.model.eval())[0], about, images, resize, device)


def answers(
    model: Callable[[Tensor], Tensor],
    about: dict[str, Any],
    images: Sequence[str | Path],
    resize: bool = False,
    device: str = "cpu",
) -> Iterator[tuple[str | Path, Array | ValueError]]:
    """Answer image files one after the other, by any function from images to logits.

    Parameters
    ----------
    model : callable
        Takes a Tensor (N, H, W, C) of normalised images, and returns a Tensor (N, classes).
    about : dict
        `in_shape`, `mean` and `std`.
    images, resize, device
        As in `predict`.

    Yields
    ------
    (path, numpy.ndarray) or (path, ValueError)
    """
    normalize = data.Normalize(about["mean"], about["std"])
    for start in range(0, len(images), PICTURES):
        paths = images[start : start + PICTURES]
        read = [_picture(path, about["in_shape"], resize) for path in paths]
        good = [picture for picture in read if not isinstance(picture, ValueError)]
        rows = iter(_probabilities(model, normalize(np.stack(good)), device) if good else ())
        for path, picture in zip(paths, read):
            yield path, picture if isinstance(picture, ValueError) else next(rows)


def _picture(path, in_shape, resize):
    """Return the pixels of a file, or the error."""
    height, width, channels = in_shape
    options = {"size": (height, width), "grey": channels == 1} if resize else {}
    try:
        pixels = data.read_image(path, **options)
        check_image_shape(f"{path}", pixels.shape, in_shape, "; --resize makes it fit")
    except ValueError as error:
        return error
    return pixels


def _probabilities(model, x, device):
    with no_grad():
        logits = model(Tensor(backend.to_device(x, device)))
    logits = Tensor(backend.to_device(logits.data, "cpu").astype(np.float64))
    return np.exp(log_softmax(logits).data)
