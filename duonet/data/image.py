"""One image file, checked by its header before it is decoded."""

from pathlib import Path

import numpy as np

from duonet import arguments
from duonet.backend import Array
from duonet.data.dataset import DataError, bad_file

GREY = ("1", "L", "LA")  # Pillow's modes of one channel and 8 bits or fewer
MAX_PIXELS = 2**26  # 67 million: enough for a photograph, too few for a small file that unpacks to gigabytes
PNG = b"\x89PNG\r\n\x1a\n"
COLOUR_TYPES = {0: "I", 2: "RGB", 4: "LA", 6: "RGBA"}  # the channels, by byte 25 of a PNG file


def read_image(path: str | Path, size: tuple[int, int] | None = None, grey: bool | None = None) -> Array:
    """Read one PNG or JPEG file.

    Parameters
    ----------
    path : str or Path
    size : (int, int), optional
        (H, W) to scale and crop to.
    grey : bool, optional
        One channel, or three; by default one if the file has shades of grey without a palette.

    Returns
    -------
    numpy.ndarray
        (H, W, C) uint8, with C 1 or 3, upright by the camera's note, without transparency.

    Raises
    ------
    DataError
        If the file is missing, damaged, of another format under any name, of more than 8 bits per channel,
        animated, or of more than 67 million pixels.
    TypeError, ValueError
        If `size` is not two positive ints, or has more than 67 million pixels.

    Examples
    --------
    >>> read_image("cat.png", size=(32, 32)).shape  # doctest: +SKIP
    (32, 32, 3)
    """
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError:
        raise DataError("reading PNG and JPEG files needs Pillow (pip install pillow)") from None
    if size is not None:
        size = _sides(size)
    path = Path(path)
    try:
        if path.exists() and not path.is_file():  # opening a pipe would wait for ever
            raise DataError(f"{path}: not a regular file")
        with path.open("rb") as file:
            _check_header(path, file)
            # Other formats have readers that start other programs: PostScript's is Ghostscript.
            with Image.open(file, formats=("PNG", "JPEG")) as image:
                return _pixels(path, image, size, grey)
    except DataError:
        raise
    except FileNotFoundError:
        raise DataError(f"{path}: No such file or directory") from None
    except UnidentifiedImageError:
        raise DataError(f"{path}: not an image that can be read (neither PNG nor JPEG)") from None
    except Exception as error:  # Pillow raises a dozen kinds, such as struct.error and TypeError
        raise bad_file(path, error, "not an image that can be read") from None


def _check_header(path, file):
    """Check the header of a PNG: Pillow silently halves 16 bits if there is more than one channel."""
    head = file.read(26)
    file.seek(0)
    if head.startswith(PNG):
        if len(head) < 26 or head[12:16] != b"IHDR":
            raise DataError(f"{path}: not an image that can be read (its header is not the first thing in it)")
        if head[24] > 8:
            deep = f"{COLOUR_TYPES.get(head[25], head[25])};{head[24]}"
            raise DataError(f"{path}: its pixels are not of 8 bits ({deep}); save it with 8")


def _pixels(path, image, size, grey):
    from PIL import Image, ImageOps

    if image.width * image.height > MAX_PIXELS:
        raise DataError(f"{path}: {image.width}×{image.height} pixels are too many, at most {MAX_PIXELS:,}")
    if image.format == "PNG" and image.n_frames > 1:  # in a JPEG, a phone's preview or depth may follow
        raise DataError(f"{path}: an animation of {image.n_frames} images; save one of them")
    image = ImageOps.exif_transpose(image)
    image.info.pop("transparency", None)
    grey = image.mode in GREY if grey is None else grey
    image = image.convert("L" if grey else "RGB")
    if size is not None:
        image = ImageOps.fit(image, size[::-1], Image.Resampling.BILINEAR)
    pixels = np.asarray(image, np.uint8)
    return pixels[..., None] if grey else pixels


def _sides(size):
    if not isinstance(size, (tuple, list)) or len(size) != 2:
        raise TypeError(f"read_image: size must be two ints, (H, W), got {size!r:.60}")
    height, width = (arguments.integer("read_image", "size", side, at_least=1) for side in size)
    if height * width > MAX_PIXELS:
        raise ValueError(f"read_image: size {height}×{width} has too many pixels, at most {MAX_PIXELS:,}")
    return height, width
