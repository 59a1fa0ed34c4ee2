"""A folder of images: one folder a class."""

from pathlib import Path

import numpy as np

from duonet.data.dataset import SPLIT_SEED, DataError, Dataset, Splits, hold_out

SUFFIXES = (".png", ".jpg", ".jpeg")
EIGHT_BITS = ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV")
GREY = ("1", "L", "LA", "La")  # Pillow's modes of one channel and 8 bits or fewer
PARTS = ("train", "validation", "test")


def image_folder(folder, size=None, grey=None, held=0.1):
    """Read PNG and JPEG files, one folder a class, all of them into memory.

    `folder` holds either the classes' folders, which are then split into three parts, always in the same way, or
    `train` and `test`, and perhaps `validation`, each of which holds the classes' folders. With folders for the
    parts new files can be added at any time; without, adding one changes which images are in which part.

    Parameters
    ----------
    folder : str or Path
    size : (int, int), optional
        (H, W) that every image is scaled and cropped to: the largest centred part of that shape is kept. Without
        it all images must have one size.
    grey : bool, optional
        One channel, or three; by default as the files are, which must then be alike.
    held : float
        Share of the images for validation, and for testing, where there are no folders for them.

    Returns
    -------
    Splits
        Images (N, H, W, 3) uint8, or (N, H, W, 1); labels (N,) int64, the position of the class's name among all
        names in order.

    Raises
    ------
    DataError
        If there are no images or fewer than two classes, a part is missing, a file is damaged, or its size is not
        that of the others.

    Examples
    --------
    >>> image_folder("/nowhere")
    Traceback (most recent call last):
        ...
    duonet.data.dataset.DataError: image_folder: /nowhere is not a folder
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"image_folder: {folder} is not a folder")
    split = (folder / "train").is_dir()
    if split and not (folder / "test").is_dir():
        raise DataError(f"image_folder: {folder} has a part called train, but none called test")
    class_names = _folders(folder / "train" if split else folder)
    if len(class_names) < 2:
        raise DataError(f"image_folder: {folder} holds {len(class_names)} folders of a class, expected 2 or more")
    parts = [part for part in PARTS if split and (folder / part).is_dir()]
    read = {part: _read(folder / part, class_names, size, grey) for part in parts or [""]}
    shapes = {part: data.images.shape[1:] for part, data in read.items()}
    if len(set(shapes.values())) > 1:
        raise DataError(f"image_folder: {folder}: the parts differ in shape, {shapes}; give size or grey")
    if not split:
        everything = read[""]
        n = round(held * len(everything.labels))
        rest, test = _hold_out(folder, everything, n)
        return Splits(*_hold_out(folder, rest, n), test, class_names)
    train = read["train"]
    if "validation" in read:
        return Splits(train, read["validation"], read["test"], class_names)
    return Splits(*_hold_out(folder, train, round(held * len(train.labels))), read["test"], class_names)


def read_image(path, size=None, grey=None):
    """Read one PNG or JPEG file.

    Parameters
    ----------
    path : str or Path
    size : (int, int), optional
        (H, W) to scale and crop to.
    grey : bool, optional
        One channel, or three; by default as the file is.

    Returns
    -------
    numpy.ndarray
        (H, W, C) uint8, C 1 or 3; transparency is dropped.

    Raises
    ------
    DataError
        If the file is missing, damaged, not an image or one of more than 8 bits a channel.

    Examples
    --------
    >>> read_image("/nowhere.png")
    Traceback (most recent call last):
        ...
    duonet.data.dataset.DataError: /nowhere.png: No such file or directory
    """
    try:
        from PIL import Image, ImageOps
    except ImportError:
        raise DataError("reading PNG and JPEG files needs Pillow (pip install pillow)") from None
    try:
        with Image.open(path) as image:
            # A phone writes how it was held beside the pixels.
            if image.mode not in EIGHT_BITS:
                raise DataError(f"{path}: its pixels are not of 8 bits ({image.mode}); save it with 8")
            image = ImageOps.exif_transpose(image)
            grey = image.mode in GREY if grey is None else grey
            image = image.convert("L" if grey else "RGB")
            if size is not None:
                image = ImageOps.fit(image, (size[1], size[0]), Image.Resampling.BILINEAR)
            pixels = np.asarray(image, np.uint8)
    except FileNotFoundError:
        raise DataError(f"{path}: No such file or directory") from None
    except DataError:
        raise
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"{path}: not an image that can be read ({error})") from None
    return pixels[..., None] if grey else pixels


def _folders(folder):
    return tuple(sorted(p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".")))


def _read(folder, class_names, size, grey):
    found = _folders(folder)
    if unknown := sorted(set(found) - set(class_names)):
        raise DataError(f"image_folder: {folder} has {', '.join(unknown)}, which is not among the classes")
    files = [
        (path, label)
        for label, name in enumerate(class_names)
        for path in sorted((folder / name).glob("*"))
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
    ]
    empty = [name for i, name in enumerate(class_names) if all(label != i for _, label in files)]
    if empty:
        raise DataError(f"image_folder: {folder}: no PNG or JPEG file of {', '.join(empty)}")
    images = []
    for path, _ in files:
        image = read_image(path, size, grey)
        if images and image.shape != images[0].shape:
            raise DataError(
                f"image_folder: {path} has shape {image.shape}, but {files[0][0]} {images[0].shape}; "
                "give size or grey to make them alike"
            )
        images.append(image)
    # Shuffled once, so that the first n images are of all classes.
    order = np.random.default_rng(SPLIT_SEED).permutation(len(files))
    return Dataset(np.stack(images)[order], np.array([label for _, label in files])[order])


def _hold_out(folder, dataset, n):
    try:
        return hold_out(dataset, n)
    except ValueError as error:
        raise DataError(f"image_folder: {folder} has too few images to split ({error})") from None
