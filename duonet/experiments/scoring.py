"""The scores of a trained network on a data set."""

import hashlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from duonet import backend, data, parallel
from duonet.checkpoint import Checkpoint
from duonet.data.folder import part_folders
from duonet.experiments import own
from duonet.experiments.fields import check_device, settings_of
from duonet.experiments.run_folder import check_about, check_agreement, check_network
from duonet.experiments.run_settings import RunSettings
from duonet.folding import fold_batch_norm
from duonet.tape import no_grad
from duonet.tensor import Tensor
from duonet.text import aligned

BATCH = 250
BEST = "best.npz"  # the file in a run folder with the network to use


@parallel.threads()
def score(
    checkpoint: str | Path, dataset: str, folder: str | Path | None = None, part: str = "test", device: str = "cpu"
) -> dict[str, Any]:
    """Score the network of a checkpoint on a data set.

    Parameters
    ----------
    checkpoint : str or Path
        A checkpoint of `duonet train`, or a run folder, which stands for its best network.
    dataset : str
        A name that `duonet.data.load` knows, or a folder of images, which are scaled to the network's input.
    folder : str or Path, optional
        Where the files of a named data set are.
    part : {"train", "validation", "test"}
    device : {"cpu", "gpu"}

    Returns
    -------
    dict
        `part`; `images`, their number; `top1` and `top5`, the shares of images whose class is the likeliest, or
        among the five likeliest (None with fewer than six classes); `class_names`; `per_class`, top1 of each
        class's images; `confusion`, numbers of images, a row for each true class, a column for each answer.

    Raises
    ------
    ValueError
        If the checkpoint does not describe its network's input; if the images or classes of the data set do not
        fit; or if images of a folder may have been trained on. The training images must be the run's, under any
        path, if the folder is the run's own, or has no subfolders train and test.
    RuntimeError
        If `device` is "gpu" and there is no GPU.

    Examples
    --------
    >>> print(score_table(score("runs/a", "fashion-mini")))  # doctest: +SKIP
    """
    check_device("evaluate", device)
    saved, about = load_run(checkpoint, device)
    height, width, channels = about["in_shape"]
    own = dataset not in data.NAMES
    with settings_of("evaluate", {"name": "dataset", "folder": "data"}):
        splits = data.load(dataset, folder, (height, width) if own else None, channels == 1 if own else None)
    chosen = getattr(splits, part)
    check_image_shape(f"evaluate: {dataset}", chosen.images.shape[1:], about["in_shape"])
    if list(splits.class_names) != about["class_names"]:
        raise ValueError(
            f"evaluate: {dataset} has {len(splits.class_names)} classes, {_some(splits.class_names)}, but the "
            f"network knows {len(about['class_names'])}, {_some(about['class_names'])}"
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
            order = np.argsort(-logits, axis=1, kind="stable")  # the first of equals, as in argmax
            np.add.at(confusion, (labels, order[:, 0]), 1)
            among_five += int((order[:, :5] == labels[:, None]).sum())
    images = confusion.sum(axis=1)
    return {
        "part": part,
        "images": int(images.sum()),
        "top1": float(confusion.trace() / images.sum()),
        "top5": among_five / int(images.sum()) if classes > 5 else None,  # five or fewer are all among five
        "class_names": list(splits.class_names),
        "per_class": [float(hit / n) if n else None for hit, n in zip(confusion.diagonal(), images)],
        "confusion": confusion.tolist(),
    }


def score_table(scores: dict[str, Any]) -> str:
    """Lay the accuracy of each class out as text.

    Parameters
    ----------
    scores : dict
        The result of `score`.

    Returns
    -------
    str

    Examples
    --------
    >>> confusion = [[3, 1], [1, 1]]
    >>> print(score_table({"class_names": ["bag", "shoe"], "per_class": [0.75, 0.5], "confusion": confusion}))
    class  images  right %  most taken for
    --------------------------------------
    bag         4     75.0        shoe (1)
    shoe        2     50.0         bag (1)
    """
    confusion = np.array(scores["confusion"])
    rows = [("class", "images", "right %", "most taken for")]
    for i, (name, share) in enumerate(zip(scores["class_names"], scores["per_class"])):
        wrong = confusion[i] * (np.arange(len(confusion)) != i)
        other = f"{scores['class_names'][wrong.argmax()]} ({wrong.max()})" if wrong.any() else ""
        rows.append((name, f"{confusion[i].sum():,}", "" if share is None else f"{100 * share:.1f}", other))
    return aligned(rows)


def describe_input(splits: data.Splits, normalize: data.Normalize) -> dict[str, Any]:
    """Describe the input of a network trained on these images, for its checkpoint; `score` and `predict` read it.

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
    """Compute the SHA-256 of all images and labels, in their order and parts, to tell data apart.

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
        If the path is a folder without a best network.

    Examples
    --------
    >>> run_file("runs/a/last.npz").name
    'last.npz'
    """
    path = Path(path)
    if path.is_dir() and not (path / BEST).is_file():
        raise ValueError(
            f"{path} holds no run of duonet train, or a run without a finished epoch: it has no {BEST}"
        )
    return path / BEST if path.is_dir() else path


def load_run(
    path: str | Path, device: str = "cpu", settings: RunSettings | None = None
) -> tuple[Checkpoint, dict[str, Any]]:
    """Load the checkpoint of a training run.

    Parameters
    ----------
    path : str or Path
        A checkpoint of `duonet train`, or a run folder, which stands for its best network.
    device : {"cpu", "gpu"}
    settings : RunSettings, optional
        Settings of the run to which the checkpoint must belong.

    Returns
    -------
    saved : Checkpoint
        Its model is in training mode.
    about : dict
        The values of `describe_input`, and the run's settings.

    Raises
    ------
    ValueError
        If the file is not such a checkpoint, does not describe its network's input, or belongs to another run.
    """
    path = run_file(path)
    saved = own.load(path, device)
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
            f"evaluate: {dataset} {what} the training: its {part} part may hold training images; "
            "folders called train and test would keep them apart"
        )


def check_image_shape(what: str, shape: Sequence[int], expected: Sequence[int], advice: str = "") -> None:
    """Refuse images whose shape the network does not take.

    Parameters
    ----------
    what, advice : str
        Text before and after the message.
    shape, expected : sequence of int
        (H, W, C)

    Raises
    ------
    ValueError
        If the shapes differ; the message names both.

    Examples
    --------
    >>> check_image_shape("evaluate: photos", (32, 32, 3), (28, 28, 1))
    Traceback (most recent call last):
        ...
    ValueError: evaluate: photos: images are 32×32×3, but the network takes 28×28×1
    """
    if tuple(shape) != tuple(expected):
        found, takes = ("×".join(map(str, s)) for s in (shape, expected))
        raise ValueError(f"{what}: images are {found}, but the network takes {takes}{advice}")


def _some(names):
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
