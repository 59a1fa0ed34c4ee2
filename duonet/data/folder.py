"""A folder of images: one folder for each class."""

import warnings
from pathlib import Path

import numpy as np

from duonet import arguments
from duonet.data.dataset import SPLIT_SEED, DataError, Dataset, Splits, hold_out
from duonet.data.image import read_image

SUFFIXES = (".png", ".jpg", ".jpeg")
OTHER_IMAGES = (
    ".avif", ".bmp", ".dng", ".gif", ".heic", ".heif", ".jfif", ".jp2", ".jpe", ".pbm", ".pgm", ".pnm", ".ppm",
    ".tga", ".tif", ".tiff", ".webp",
)  # fmt: skip
LITTER = (".DS_Store", ".gitkeep", "Thumbs.db", "desktop.ini")  # files of the systems
PARTS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val"),
    "test": ("test", "testing"),
}


def image_folder(
    folder: str | Path, size: tuple[int, int] | None = None, grey: bool | None = None, held: float = 0.1
) -> Splits:
    """Read PNG and JPEG files, one folder for each class, into memory.

    `folder` contains either the classes' folders, whose images are then split into three parts, always in the same
    way, or `train` and `test`, and perhaps `validation` (or `valid`, or `val`), each with the classes' folders.
    With folders for the parts, new files can be added at any time; without them, a new file changes the images of
    each part. No image is ignored: an image that lies deeper, beside the classes' folders or in another format is
    refused. Hidden files, and files whose names are not image names, are counted in a warning.

    Parameters
    ----------
    folder : str or Path
    size : (int, int), optional
        (H, W) of the result: the largest centred part of this shape is kept and scaled. Without `size`, all images
        must have one size.
    grey : bool, optional
        One channel, or three; by default the files' own number, which must then be the same for all.
    held : float
        Share of the images for validation, and for testing, if these parts have no folders.

    Returns
    -------
    Splits
        Images (N, H, W, 3) uint8, or (N, H, W, 1); labels (N,) int64, the position of the class's name among all
        names in order.

    Raises
    ------
    DataError
        If there are no images or fewer than two classes, a part is missing, an image would be left out, a file is
        damaged, or images differ in size.
    TypeError, ValueError
        If `held` is not above 0 and below ½, or `size` not two positive ints.

    Examples
    --------
    >>> splits = image_folder("leaves", size=(32, 32))  # doctest: +SKIP
    >>> splits.class_names  # doctest: +SKIP
    ('ash', 'birch', 'oak')
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"image_folder: {folder} is not a folder")
    arguments.number("image_folder", "held", held, above=0, below=0.5)
    parts = part_folders(folder)
    class_names = _folders(parts.get("train", folder))
    if len(class_names) < 2:
        raise DataError(f"image_folder: {folder} holds {len(class_names)} folders of a class, expected 2 or more")
    places = parts or {"": folder}
    found = {part: _image_files(place, class_names) for part, place in places.items()}
    beside = [path for path in _entries(folder) if parts and path not in parts.values()]
    _account_for(folder, beside + [path for _, rest in found.values() for path in rest])
    read = {part: _read(places[part], class_names, files, size, grey) for part, (files, _) in found.items()}
    shapes = {part: data.images.shape[1:] for part, data in read.items()}
    if len(set(shapes.values())) > 1:
        raise DataError(f"image_folder: {folder}: the parts differ in shape, {shapes}; give size or grey")
    if not parts:
        everything = read[""]
        n = round(held * len(everything.labels))
        rest, test = _hold_out(folder, everything, n)
        return Splits(*_hold_out(folder, rest, n), test, class_names)
    train = read["train"]
    if "validation" in read:
        return Splits(train, read["validation"], read["test"], class_names)
    return Splits(*_hold_out(folder, train, round(held * len(train.labels))), read["test"], class_names)


def part_folders(folder: Path) -> dict[str, Path]:
    """Find the folders of the parts, under their usual names.

    Parameters
    ----------
    folder : Path

    Returns
    -------
    dict
        From "train", "test" and perhaps "validation" to a folder; empty if the folders belong to classes.

    Raises
    ------
    DataError
        If only one of train and test exists, or a part exists under two names.
    """
    names = _folders(folder)
    called = {part: [name for name in names if name.lower() in words] for part, words in PARTS.items()}
    if not (called["train"] and called["test"]):
        for here, missing in (("train", "test"), ("test", "train")):
            if here in map(str.lower, names):
                raise DataError(f"image_folder: {folder} has a part called {here}, but none called {missing}")
        return {}
    for part, several in called.items():
        if len(several) > 1:
            raise DataError(f"image_folder: {folder} has {' and '.join(several)}: which is the {part} part?")
    return {part: folder / one[0] for part, one in called.items() if one}


def _folders(folder):
    return tuple(path.name for path in _entries(folder) if path.is_dir() and not _hidden(path))


def _entries(folder):
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise DataError(f"image_folder: {folder} cannot be read ({error.strerror})") from None


def _hidden(path):
    return path.name.startswith(".")


def _image_files(folder, class_names):
    """Return the (file, label) of each image of a part, and the other files there."""
    if unknown := sorted(set(_folders(folder)) - set(class_names)):
        raise DataError(f"image_folder: {folder} has {', '.join(unknown)}, which is not among the classes")
    files, rest = [], [path for path in _entries(folder) if path.name not in class_names]
    for label, name in enumerate(class_names):
        inside = _entries(folder / name) if (folder / name).is_dir() else []
        images = [path for path in inside if path.suffix.lower() in SUFFIXES and not _hidden(path)]
        files += [(path, label) for path in images]
        rest += sorted(set(inside) - set(images))
    return files, rest


def _account_for(folder, rest):
    """Refuse images in unexpected places or formats; warn of the other files that are left out."""
    images, others, pending = [], [], rest[::-1]
    while pending:
        path = pending.pop()
        if path.is_dir() and not path.is_symlink() and not _hidden(path):
            pending += _entries(path)[::-1]
        elif path.suffix.lower() in SUFFIXES + OTHER_IMAGES and not _hidden(path):
            images.append(path)
        elif path.name not in LITTER:
            others.append(path)
    if images:
        raise DataError(
            f"image_folder: {folder}: {_some(folder, images)} would be left out: images must be PNG or "
            "JPEG and lie right in the folder of their class; move, convert or remove them"
        )
    if others:
        warnings.warn(
            f"image_folder: {folder}: left out {_some(folder, others)}, hidden or not called PNG or JPEG",
            stacklevel=3,
        )


def _some(folder, paths):
    names = ", ".join(str(path.relative_to(folder)) for path in paths[:3])
    return f"{len(paths)} file{'s' * (len(paths) > 1)} ({names}{', ...' if len(paths) > 3 else ''})"


def _read(folder, class_names, files, size, grey):
    empty = [name for i, name in enumerate(class_names) if all(label != i for _, label in files)]
    if empty:
        raise DataError(f"image_folder: {folder}: no PNG or JPEG file of {', '.join(empty)}")
    # Shuffled once, so that the first n images belong to all classes.
    order = np.random.default_rng(SPLIT_SEED).permutation(len(files))
    images = None
    for position, i in sorted(enumerate(order), key=lambda pair: pair[1]):
        path = files[i][0]
        image = read_image(path, size, grey)
        if images is None:
            images = np.empty((len(files), *image.shape), np.uint8)
        if image.shape != images.shape[1:]:
            raise DataError(
                f"image_folder: {path} has shape {image.shape}, but {files[0][0]} {images.shape[1:]}; "
                "give size or grey to make them alike"
            )
        images[position] = image
    return Dataset(images, np.array([label for _, label in files])[order])


def _hold_out(folder: Path, dataset: Dataset, n: int) -> tuple[Dataset, Dataset]:
    try:
        return hold_out(dataset, n)
    except ValueError as error:
        raise DataError(f"image_folder: {folder} has too few images to split ({error})") from None
