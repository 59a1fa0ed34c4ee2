"""Real images inside the package: a class-balanced subset of Fashion-MNIST."""

import hashlib
import io
from pathlib import Path

import numpy as np

from duonet.data.dataset import DataError, Dataset, Splits

PATH = Path(__file__).with_name("fashion_mini.npz")
SHA256 = "d2a49f9d0691ba14768b6fe0e3cf9b52c62d62a31cddb46e5ea607246ad2e202"
VALIDATION = 2000
CLASS_NAMES = (
    "T-shirt/top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot",
)  # fmt: skip


def fashion_mini() -> Splits:
    """Return 10,000 training and 5,000 test images of Fashion-MNIST, 28×28 grey, from the package itself.

    The training images are split into 8,000 for training and 2,000 for validation. Every part, and every prefix
    of it that is a multiple of 10 long, has the same number of images of each of the 10 classes.

    Returns
    -------
    Splits
        Images (N, 28, 28, 1) uint8, labels (N,) int64.

    Raises
    ------
    DataError
        If the package's file is missing or damaged.

    References
    ----------
    Xiao, Rasul, Vollgraf: Fashion-MNIST, 2017.

    Examples
    --------
    >>> splits = fashion_mini()
    >>> splits.train.images.shape, len(splits.validation.labels), len(splits.test.labels)
    ((8000, 28, 28, 1), 2000, 5000)
    >>> splits.class_names[splits.train.labels[9]]
    'ankle boot'
    """
    try:
        raw = PATH.read_bytes()
    except OSError as error:
        raise DataError(f"fashion_mini: {PATH} cannot be read ({error.strerror}); reinstall duonet") from None
    if hashlib.sha256(raw).hexdigest() != SHA256:
        raise DataError(
            f"fashion_mini: {PATH} is damaged (its sha256 is not the released file's); reinstall duonet"
        )
    with np.load(io.BytesIO(raw), allow_pickle=False) as file:
        parts = [
            Dataset(file[f"{p}_images"][..., None], file[f"{p}_labels"].astype(np.int64))
            for p in ("train", "test")
        ]
    train, test = parts
    cut = len(train.labels) - VALIDATION
    return Splits(train.take(cut), Dataset(train.images[cut:], train.labels[cut:]), test, CLASS_NAMES)
