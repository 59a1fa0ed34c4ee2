"""The data sets by name."""

from collections.abc import Callable
from pathlib import Path

from duonet import arguments
from duonet.data.cifar import cifar10, cifar100
from duonet.data.dataset import DataError, Splits
from duonet.data.fashion import fashion_mini
from duonet.data.folder import image_folder
from duonet.data.idx import fashion_mnist, mnist

NAMES: dict[str, Callable[..., Splits]] = {
    "fashion-mini": fashion_mini,
    "fashion-mnist": fashion_mnist,
    "mnist": mnist,
    "cifar10": cifar10,
    "cifar100": cifar100,
}


def load(
    name: str, folder: str | Path | None = None, size: tuple[int, int] | None = None, grey: bool | None = None
) -> Splits:
    """Load a data set by its name, or a folder of images.

    Parameters
    ----------
    name : str
        "fashion-mini" (in the package), "fashion-mnist", "mnist", "cifar10", "cifar100", or the path of a folder
        of images.
    folder : str or Path, optional
        The folder with the files of a named set; by default they are downloaded on first use.
    size : (int, int), optional
        (H, W) for a folder of images.
    grey : bool, optional
        One channel or three, for a folder of images.

    Returns
    -------
    Splits

    Raises
    ------
    DataError
        If the set or folder is unknown, or a file is missing or damaged.

    Examples
    --------
    >>> len(load("fashion-mini").train.labels)
    8000
    >>> load("imagenet")
    Traceback (most recent call last):
        ...
    duonet.data.dataset.DataError: load: name 'imagenet' is neither a folder nor one of fashion-mini, ...
    """
    if not isinstance(name, (str, Path)):
        raise TypeError(f"load: name must be a str or a Path, got {type(name).__name__}")
    if name not in NAMES:
        if not Path(name).is_dir():
            near = arguments.nearest(name, NAMES)
            raise DataError(f"load: name {name!r} is neither a folder nor one of {', '.join(NAMES)}{near}")
        if folder is not None:
            raise DataError(f"load: folder {folder} was given beside the folder of images {name}")
        return image_folder(name, size, grey)
    if size is not None or grey is not None:
        given = "grey" if size is None else "size"
        raise DataError(f"load: {given} is for a folder of images, and {name} has its own")
    if name == "fashion-mini":
        if folder is not None:
            raise DataError(f"load: folder {folder} was given, but fashion-mini comes with the package")
        return fashion_mini()
    return NAMES[name](folder)
