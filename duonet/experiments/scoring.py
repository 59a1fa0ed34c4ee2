"""What a trained network makes of a data set, or of single images."""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from duonet import backend, data, parallel
from duonet.backend import Array
from duonet.checkpoint import Checkpoint, load_checkpoint
from duonet.data.folder import part_folders
from duonet.experiments.fields import check_device, settings_of
from duonet.experiments.run_folder import check_about, check_agreement, check_network
from duonet.experiments.run_settings import RunSettings
from duonet.folding import fold_batch_norm
from duonet.functional import log_softmax
from duonet.fusing import fused
from duonet.tape import no_grad
from duonet.tensor import Tensor
from duonet.text import aligned

BATCH = 250
PICTURES = 64  # of predict's image files, which may be large, in memory at once
BEST = "best.npz"  # what a run folder calls the network to use


@parallel.threads()
def score(
    checkpoint: str | Path, dataset: str, folder: str | Path | None = None, part: str = "test", device: str = "cpu"
) -> dict[str, Any]:
    """Score the network of a checkpoint on a data set.

    Parameters
    ----------
    checkpoint : str or Path
        A file of `duonet train`, or a run folder, which stands for its best network.
    dataset : str
        A name that `duonet.data.load` knows, or a folder of images, which are scaled to the network's input.
    folder : str or Path, optional
        Where the files of a named data set are.
    part : {"train", "validation", "test"}
    device : {"cpu", "gpu"}

    Returns
    -------
    dict
        `part`; `top1` and `top5` (shares of the images whose class is the likeliest, or among the five likeliest),
        `images`, `class_names`, `per_class` (top1 of each class's images), `confusion` (a row for each true class,
        a column for each answer).

    Raises
    ------
    ValueError
        If the checkpoint does not say what its network takes, the data set's images or classes are not those, or
        a folder's may have been trained on: without folders called train and test, or where the training
        was, its training images must be those of the training, whatever the path.
    """
    check_device("evaluate", device)
    saved, about = load_run(checkpoint, device)
    height, width, channels = about["in_shape"]
    own = dataset not in data.NAMES
    with settings_of("evaluate", {"name": "dataset", "folder": "data"}):
        splits = data.load(dataset, folder, (height, width) if own else None, channels == 1 if own else None)
    chosen = getattr(splits, part)
    _check_shape(f"evaluate: {dataset}", chosen.images.shape[1:], about["in_shape"])
    if list(splits.class_names) != about["class_names"]:
        raise ValueError(
            f"evaluate: {dataset} has {len(splits.class_names)} classes, {_some(splits.class_names)}, but the "
            f"network tells {len(about['class_names'])} apart, {_some(about['class_names'])}"
        )
    _refuse_trained_on(dataset, splits, part, about)
    classes = len(splits.class_names)
    confusion = np.zeros((classes, classes), np.int64)
    among_five = 0
    loader = data.DataLoader(chosen, BATCH, data.Normalize(about["mean"], about["std"]), device=device)
    model = fold_batch_norm(saved.model)
    with no_grad():
        for x, labels in loader:
            logits = backend.to_device(model(Tensor(x)).data, "cpu")
            labels = backend.to_device(labels, "cpu")
            order = np.argsort(-logits, axis=1, kind="stable")  # of equals the first, as argmax has it
            np.add.at(confusion, (labels, order[:, 0]), 1)
            among_five += int((order[:, :5] == labels[:, None]).sum())
    images = confusion.sum(axis=1)
    return {
        "part": part,
        "images": int(images.sum()),
        "top1": float(confusion.trace() / images.sum()),
        "top5": among_five / int(images.sum()),
        "class_names": list(splits.class_names),
        "per_class": [float(hit / n) if n else None for hit, n in zip(confusion.diagonal(), images)],
        "confusion": confusion.tolist(),
    }


def score_table(scores: dict[str, Any]) -> str:
    """Lay the accuracy of each class out as text.

    Parameters
    ----------
    scores : dict
        As from `score`.

    Returns
    -------
    str
    """
    confusion = np.array(scores["confusion"])
    rows = [("class", "images", "right %", "most taken for")]
    for i, (name, share) in enumerate(zip(scores["class_names"], scores["per_class"])):
        wrong = confusion[i] * (np.arange(len(confusion)) != i)
        other = f"{scores['class_names'][wrong.argmax()]} ({wrong.max()})" if wrong.any() else ""
        rows.append((name, f"{confusion[i].sum():,}", "" if share is None else f"{100 * share:.1f}", other))
    return aligned(rows)


@parallel.threads()
def predict(
    checkpoint: str | Path, images: Iterable[str | Path], resize: bool = False, device: str = "cpu"
) -> tuple[list[str], Array]:
    """Give the probability of each class for image files.

    Parameters
    ----------
    checkpoint : str or Path
        A file of `duonet train`, or a run folder, which stands for its best network.
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
        If there are no files, or one is not an image or has another size or other channels; names it.
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
    """Answer image files one after the other, a few in memory at a time; a bad one costs no other its answer.

    Parameters
    ----------
    checkpoint, images, resize, device
        As for `predict`.

    Returns
    -------
    class_names : list of str
    answers : iterator
        For each file (path, probabilities (classes,) float64), or (path, the ValueError that says what is wrong).

    Raises
    ------
    ValueError
        If there are no files, or the checkpoint is none.
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
    """Answer image files one after the other by any function from a Tensor of images to a Tensor of logits.

    Parameters
    ----------
    model : callable
    about : dict
        `in_shape`, `mean` and `std`.
    images, resize, device
        As for `predict`.

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
        _check_shape(f"predict: {path}", pixels.shape, in_shape, "; --resize makes it fit")
    except ValueError as error:
        return error
    return pixels


def _probabilities(model, x, device):
    with no_grad():
        logits = model(Tensor(backend.to_device(x, device)))
    logits = Tensor(backend.to_device(logits.data, "cpu").astype(np.float64))
    return np.exp(log_softmax(logits).data)


def describe_input(splits: data.Splits, normalize: data.Normalize) -> dict[str, Any]:
    """Say what a network trained on these images takes, for its checkpoint; `score` and `predict` need it.

    Parameters
    ----------
    splits : duonet.data.Splits
    normalize : duonet.data.Normalize

    Returns
    -------
    dict
        `class_names`, `in_shape` (H, W, C), `mean` and `std` of each channel, and `train_sha256`.
    """
    return {
        "class_names": list(splits.class_names),
        "in_shape": list(splits.train.images.shape[1:]),
        "mean": normalize.mean.tolist(),
        "std": normalize.std.tolist(),
        "train_sha256": digest([splits.train]),
    }


def digest(datasets: Iterable[data.Dataset]) -> str:
    """Tell data apart: the SHA-256 of all images and labels, their order and the parts they are in.

    Parameters
    ----------
    datasets : list of duonet.data.Dataset

    Returns
    -------
    str
    """
    sha256 = hashlib.sha256()
    for array in (array for dataset in datasets for array in dataset):
        sha256.update(f"{array.dtype.str} {array.shape} ".encode())
        sha256.update(np.ascontiguousarray(array).data)
    return sha256.hexdigest()


def run_file(path: str | Path) -> Path:
    """Return the checkpoint that a path stands for: itself, or a run folder's best network.

    Parameters
    ----------
    path : str or Path

    Returns
    -------
    Path

    Raises
    ------
    ValueError
        If a folder has none.
    """
    path = Path(path)
    if path.is_dir() and not (path / BEST).is_file():
        raise ValueError(f"{path} holds no run of duonet train, or one without a finished epoch: it has no {BEST}")
    return path / BEST if path.is_dir() else path


def load_run(
    path: str | Path, device: str = "cpu", settings: RunSettings | None = None
) -> tuple[Checkpoint, dict[str, Any]]:
    """Load the checkpoint of a training run.

    Parameters
    ----------
    path : str or Path
        A file of `duonet train`, or a run folder, which stands for its best network.
    device : {"cpu", "gpu"}
    settings : RunSettings, optional
        Of the run that it must be of.

    Returns
    -------
    saved : Checkpoint
    about : dict
        What `describe_input` says, and the run's settings.

    Raises
    ------
    ValueError
        If it is no such checkpoint, does not say what its network takes, or is of another run.
    """
    path = run_file(path)
    saved = load_checkpoint(path, device)
    check_about(path, saved.about)
    if settings is not None:
        check_agreement(path, saved.about, settings)
    check_network(path, saved.model, saved.about, device)
    saved.model.train()
    return saved, saved.about


def _refuse_trained_on(dataset, splits, part, about):
    """Stop unless the training images are the run's by content, or the part has a folder of its own elsewhere."""
    settings = about.get("settings", {})
    there = len(splits.train.labels)
    if about["train_sha256"] == digest([splits.train.take(min(settings.get("images") or there, there))]):
        return
    if dataset in data.NAMES:
        same, apart = dataset == settings.get("dataset"), True
    else:
        same, apart = os.path.realpath(dataset) == about.get("place"), bool(part_folders(Path(dataset)))
    if same or not apart:
        what = "has changed since" if same else "is not the folder of"
        raise ValueError(
            f"evaluate: {dataset} {what} the training: its {part} part may hold images that were "
            "trained on; folders called train and test would keep them apart"
        )


def _check_shape(what, shape, expected, advice=""):
    if tuple(shape) != tuple(expected):
        found, takes = ("×".join(map(str, s)) for s in (shape, expected))
        raise ValueError(f"{what}: images are {found}, but the network takes {takes}{advice}")


def _some(names):
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
