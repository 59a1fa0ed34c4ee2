"""MNIST and Fashion-MNIST: four files in the idx format."""

import gzip
import zlib
from pathlib import Path

import numpy as np

from duonet.backend import Array
from duonet.data.dataset import DataError, Dataset, Splits, bad_file, hold_out
from duonet.data.fashion import CLASS_NAMES
from duonet.data.fetch import find_file, find_place, locate, sha256_of, warn_of_files

SIZES = {"train": 60_000, "t10k": 10_000}
VALIDATION = 5000
FASHION_ADDRESSES = (
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
    "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion",
)
FASHION_SHA256 = {
    "train-images-idx3-ubyte.gz": "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
    "train-labels-idx1-ubyte.gz": "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
    "t10k-images-idx3-ubyte.gz": "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
    "t10k-labels-idx1-ubyte.gz": "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
}
MNIST_ADDRESSES = (
    "https://ossci-datasets.s3.amazonaws.com/mnist",
    "https://storage.googleapis.com/cvdf-datasets/mnist",
)
MNIST_SHA256 = {
    "train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    "train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
}


def mnist(folder: str | Path | None = None, validation: int = VALIDATION) -> Splits:
    """Return MNIST: 60,000 training and 10,000 test images of digits, 28×28 grey.

    Parameters
    ----------
    folder : str or Path, optional
        The folder of the four idx files, packed or not, up to two folders deeper; by default, the files are
        downloaded on first use. Files that differ from the published files, or are not packed and so have no
        checksum, are used with a warning.
    validation : int
        The number of training images set aside: always the same images, equally many of each class.

    Returns
    -------
    Splits
        Images (N, 28, 28, 1) uint8, labels (N,) int64.

    Raises
    ------
    DataError
        If a file is missing, damaged or of another shape; the message names it.

    References
    ----------
    LeCun, Bottou, Bengio, Haffner: Gradient-based learning applied to document recognition, 1998.

    Examples
    --------
    >>> splits = mnist()  # doctest: +SKIP
    >>> splits.train.images.shape  # doctest: +SKIP
    (55000, 28, 28, 1)
    """
    return _load("mnist", folder, validation, MNIST_SHA256, MNIST_ADDRESSES, tuple("0123456789"))


def fashion_mnist(folder: str | Path | None = None, validation: int = VALIDATION) -> Splits:
    """Return Fashion-MNIST: 60,000 training and 10,000 test images of clothes, 28×28 grey.

    Parameters
    ----------
    folder : str or Path, optional
        The folder of the four idx files, packed or not, up to two folders deeper; by default, the files are
        downloaded on first use. Files that differ from the published files, or are not packed and so have no
        checksum, are used with a warning.
    validation : int
        The number of training images set aside: always the same images, equally many of each class.

    Returns
    -------
    Splits
        Images (N, 28, 28, 1) uint8, labels (N,) int64.

    Raises
    ------
    DataError
        If a file is missing, damaged or of another shape; the message names it.

    References
    ----------
    Xiao, Rasul, Vollgraf: Fashion-MNIST, 2017.

    Examples
    --------
    >>> splits = fashion_mnist()  # doctest: +SKIP
    >>> splits.train.images.shape  # doctest: +SKIP
    (55000, 28, 28, 1)
    """
    return _load("fashion_mnist", folder, validation, FASHION_SHA256, FASHION_ADDRESSES, CLASS_NAMES)


def read_idx(path: Path, shape: tuple[int, ...]) -> Array:
    """Read an idx file of bytes.

    Parameters
    ----------
    path : Path
        Packed with gzip if it ends in ".gz".
    shape : tuple of int
        The shape that the file must have.

    Returns
    -------
    numpy.ndarray
        uint8

    Raises
    ------
    DataError
        If the file is truncated, or has the wrong magic number or size; the message names the file.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder) / "labels"
    ...     _ = path.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 2, 7, 9]))
    ...     read_idx(path, (2,))
    array([7, 9], dtype=uint8)
    """
    # The header: two zero bytes, 8 for unsigned bytes, the number of axes, then each axis as a big-endian int32.
    header = bytes([0, 0, 8, len(shape)]) + np.array(shape, ">i4").tobytes()
    expected = int(np.prod(shape))
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as file:
            found = file.read(len(header))
            raw = file.read(expected + 1)  # never more, even if the file unpacks to more
    except (OSError, EOFError, zlib.error) as error:
        raise bad_file(path, error, "truncated, or not gzip") from None
    if len(found) < len(header):
        raise DataError(f"{path}: truncated, its header has {len(found)} of {len(header)} bytes")
    if found[:4] != header[:4]:
        raise DataError(f"{path}: not an idx file of {len(shape)} axes: magic number {found[:4].hex()}")
    if found != header:
        axes = tuple(np.frombuffer(found[4:], ">i4").tolist())
        raise DataError(f"{path}: wrong size, it says {axes}, expected {tuple(shape)}")
    if len(raw) != expected:
        much = "more" if len(raw) > expected else f"only {len(raw)}"
        raise DataError(f"{path}: wrong size, {much} bytes where its header promises {expected}")
    return np.frombuffer(raw, np.uint8).reshape(shape)


def _load(name, folder, validation, sha256, addresses, class_names):
    parts, read = [], {}
    if folder is not None:
        folder = find_place(name, Path(folder), lambda path: find_file(path, next(iter(sha256)))) or folder
    for split, n in SIZES.items():
        files = [f"{split}-images-idx3-ubyte.gz", f"{split}-labels-idx1-ubyte.gz"]
        paths = [locate(name, folder, file, sha256[file], addresses) for file in files]
        images = read_idx(paths[0], (n, 28, 28))
        labels = read_idx(paths[1], (n,)).astype(np.int64)
        if labels.max() >= len(class_names):
            raise DataError(f"{paths[1]}: label {labels.max()}, but there are {len(class_names)} classes")
        parts.append(Dataset(images[..., None], labels))
        read |= dict(zip(files, paths))
    if folder is not None:
        packed = {file: path for file, path in read.items() if path.suffix == ".gz"}
        warn_of_files(
            name,
            differing=[path for file, path in packed.items() if sha256_of(path) != sha256[file]],
            unknown=[path for file, path in read.items() if file not in packed],
        )
    train, test = parts
    return Splits(*hold_out(train, validation), test, class_names)
