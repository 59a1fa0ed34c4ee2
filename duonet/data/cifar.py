"""CIFAR-10 and CIFAR-100, binary version: records of label bytes and three 32×32 planes."""

import tarfile
import zlib
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from duonet.data.dataset import DataError, Dataset, Splits, hold_out
from duonet.data.fetch import fetch

PIXELS = 3 * 32 * 32
VALIDATION = 5000


class Archive(NamedTuple):
    """What one of the two data sets consists of.

    Attributes
    ----------
    name, file, sha256 : str
    addresses : tuple of str
    folder : str
        The folder inside the archive.
    train, test : dict
        From file to its number of records.
    label_bytes : int
        Bytes before the pixels; the last of them is the label.
    class_names : tuple of str

    Examples
    --------
    >>> CIFAR10.test
    {'test_batch.bin': 10000}
    """

    name: str
    file: str
    sha256: str
    addresses: tuple
    folder: str
    train: dict
    test: dict
    label_bytes: int
    class_names: tuple


CIFAR10 = Archive(
    name="cifar10",
    file="cifar-10-binary.tar.gz",
    sha256="c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
    addresses=(
        "https://www.cs.toronto.edu/~kriz",
        "https://storage.googleapis.com/s4tf-hosted-binaries/datasets/CIFAR10",
    ),
    folder="cifar-10-batches-bin",
    train={f"data_batch_{i}.bin": 10_000 for i in range(1, 6)},
    test={"test_batch.bin": 10_000},
    label_bytes=1,
    class_names=tuple("airplane automobile bird cat deer dog frog horse ship truck".split()),
)
CIFAR100 = Archive(
    name="cifar100",
    file="cifar-100-binary.tar.gz",
    sha256="58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
    addresses=(
        "https://www.cs.toronto.edu/~kriz",
        "https://storage.googleapis.com/s4tf-hosted-binaries/datasets/CIFAR100",
    ),
    folder="cifar-100-binary",
    train={"train.bin": 50_000},
    test={"test.bin": 10_000},
    label_bytes=2,  # the superclass, then the class
    class_names=tuple(
        """apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly
        camel can castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup
        dinosaur dolphin elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower
        leopard lion lizard lobster man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid
        otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine possum rabbit raccoon ray
        road rocket rose sea seal shark shrew skunk skyscraper snail snake spider squirrel streetcar
        sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip turtle
        wardrobe whale willow_tree wolf woman worm""".split()
    ),
)


def cifar10(folder=None, validation=VALIDATION):
    """Return CIFAR-10: 50,000 training and 10,000 test images of ten kinds of things, 32×32 in colour.

    Parameters
    ----------
    folder : str or Path, optional
        Where `cifar-10-binary.tar.gz`, the folder in it, or that folder's files are; downloaded on first use by
        default. The archive is read in place, never unpacked to disk.
    validation : int
        Training images set aside, as many of each class, always the same ones.

    Returns
    -------
    Splits
        Images (N, 32, 32, 3) uint8, labels (N,) int64.

    Raises
    ------
    DataError
        If a file is missing, damaged or of another size; names it.

    References
    ----------
    Krizhevsky: Learning Multiple Layers of Features from Tiny Images, 2009.

    Examples
    --------
    >>> cifar10("/nowhere")
    Traceback (most recent call last):
        ...
    duonet.data.dataset.DataError: cifar10: /nowhere has neither data_batch_1.bin nor cifar-10-binary.tar.gz
    """
    return _load(CIFAR10, folder, validation)


def cifar100(folder=None, validation=VALIDATION):
    """Return CIFAR-100: 50,000 training and 10,000 test images of a hundred kinds of things, 32×32 in colour.

    Parameters
    ----------
    folder : str or Path, optional
        Where `cifar-100-binary.tar.gz`, the folder in it, or that folder's files are; downloaded on first use by
        default. The archive is read in place, never unpacked to disk.
    validation : int
        Training images set aside, as many of each class, always the same ones.

    Returns
    -------
    Splits
        Images (N, 32, 32, 3) uint8, labels (N,) int64: the hundred classes, not the twenty superclasses.

    Raises
    ------
    DataError
        If a file is missing, damaged or of another size; names it.

    References
    ----------
    Krizhevsky: Learning Multiple Layers of Features from Tiny Images, 2009.

    Examples
    --------
    >>> cifar100("/nowhere")
    Traceback (most recent call last):
        ...
    duonet.data.dataset.DataError: cifar100: /nowhere has neither train.bin nor cifar-100-binary.tar.gz
    """
    return _load(CIFAR100, folder, validation)


def _load(archive, folder, validation):
    wanted = [*archive.train, *archive.test]
    if folder is None:
        files = _members(fetch(archive.name, archive.file, archive.sha256, archive.addresses), archive, wanted)
    else:
        files = _from_folder(Path(folder), archive, wanted)
    train, test = (
        _join([_records(*files[file], n, archive) for file, n in part.items()])
        for part in (archive.train, archive.test)
    )
    return Splits(*hold_out(train, validation), test, archive.class_names)


def _from_folder(folder, archive, wanted):
    """Read {file: (where, bytes)} from a folder that holds the files, their folder, or the archive."""
    for place in (folder / archive.folder, folder):
        if (place / wanted[0]).is_file():
            missing = [file for file in wanted if not (place / file).is_file()]
            if missing:
                raise DataError(f"{archive.name}: {place} has no {', '.join(missing)}")
            return {file: (place / file, (place / file).read_bytes()) for file in wanted}
    if (folder / archive.file).is_file():
        return _members(folder / archive.file, archive, wanted)
    raise DataError(f"{archive.name}: {folder} has neither {wanted[0]} nor {archive.file}")


def _members(path, archive, wanted):
    """Read {file: (where, bytes)} out of the archive, in memory; refuse one with members that do not belong."""
    found = {}
    try:
        with tarfile.open(path, "r:gz") as tar:
            for member in tar:
                name = PurePosixPath(member.name)
                if name.is_absolute() or ".." in name.parts or not (member.isfile() or member.isdir()):
                    raise DataError(f"{path}: refused, its member {member.name!r} is a link or leads outside")
                if str(name.parent) == archive.folder and name.name in wanted and member.isfile():
                    if member.size != _size(archive, name.name):
                        raise DataError(f"{path}: wrong size of {member.name}: {member.size} bytes")
                    found[name.name] = (f"{path}: {member.name}", tar.extractfile(member).read())
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: truncated, or not a tar.gz archive ({error})") from None
    missing = [file for file in wanted if file not in found]
    if missing:
        raise DataError(f"{path}: has no {archive.folder}/{', '.join(missing)}")
    return found


def _size(archive, file):
    return (archive.train | archive.test)[file] * (archive.label_bytes + PIXELS)


def _records(where, raw, n, archive):
    if len(raw) != n * (archive.label_bytes + PIXELS):
        raise DataError(
            f"{where}: wrong size, {len(raw):,} bytes, expected {n:,} records of {archive.label_bytes + PIXELS}"
        )
    records = np.frombuffer(raw, np.uint8).reshape(n, -1)
    labels = records[:, archive.label_bytes - 1].astype(np.int64)
    if labels.max() >= len(archive.class_names):
        raise DataError(f"{where}: label {labels.max()}, but there are {len(archive.class_names)} classes")
    planes = records[:, archive.label_bytes :].reshape(n, 3, 32, 32)
    return Dataset(np.ascontiguousarray(planes.transpose(0, 2, 3, 1)), labels)


def _join(parts):
    return Dataset(*(np.concatenate(arrays) for arrays in zip(*parts)))
