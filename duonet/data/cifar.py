"""CIFAR-10 and CIFAR-100, binary version: records of label bytes and three 32×32 planes."""

import hashlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from duonet.data.dataset import DataError, Dataset, Splits, hold_out
from duonet.data.fetch import fetch, find_place, sha256_of, warn_of_files
from duonet.data.tarball import read_members

PIXELS = 3 * 32 * 32
VALIDATION = 5000


class Archive(NamedTuple):
    """The files and classes of one of the two data sets.

    Attributes
    ----------
    name, file, sha256 : str
    addresses : tuple of str
    folder : str
        The folder inside the archive.
    train, test : dict
        From file to its number of records.
    md5 : dict
        Checksums of the files, where known.
    python : tuple of str
        Folder and archive of the pickled version, which is refused.
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
    md5: dict
    python: tuple
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
    md5={
        "data_batch_1.bin": "5dd7e06a14cb22eb9f671a540d1b7c25",
        "data_batch_2.bin": "5ea93a67294ea407fff1d09f752e9692",
        "data_batch_3.bin": "942cd6a4bcdd0dd3c604fbe906cb4421",
        "data_batch_4.bin": "ae636b3ba5c66a11e91e8cb52e771fcb",
        "data_batch_5.bin": "53f37980c15c3d472c316c40844f3f0d",
        "test_batch.bin": "803d5f7f4d78ea53de84dbe85f74fb6d",
    },
    python=("cifar-10-batches-py", "cifar-10-python.tar.gz"),
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
    md5={},
    python=("cifar-100-python", "cifar-100-python.tar.gz"),
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


def cifar10(folder: str | Path | None = None, validation: int = VALIDATION) -> Splits:
    """Return CIFAR-10: 50,000 training and 10,000 test images of ten kinds of things, 32×32 in colour.

    Parameters
    ----------
    folder : str or Path, optional
        The folder of `cifar-10-binary.tar.gz`, of its folder or of the files, up to two folders deeper, or the
        archive itself; by default, the archive is downloaded on first use. It is read in place, never unpacked to
        disk. Files that differ from the published files, or have no known checksum, are used with a warning.
    validation : int
        The number of training images set aside: always the same images, equally many of each class.

    Returns
    -------
    Splits
        Images (N, 32, 32, 3) uint8, labels (N,) int64.

    Raises
    ------
    DataError
        If a file is missing, damaged, of another size, or of the version in pickles; the message names it.

    References
    ----------
    Krizhevsky: Learning Multiple Layers of Features from Tiny Images, 2009.

    Examples
    --------
    >>> splits = cifar10()  # doctest: +SKIP
    >>> splits.train.images.shape  # doctest: +SKIP
    (45000, 32, 32, 3)
    """
    return _load(CIFAR10, folder, validation)


def cifar100(folder: str | Path | None = None, validation: int = VALIDATION) -> Splits:
    """Return CIFAR-100: 50,000 training and 10,000 test images of a hundred kinds of things, 32×32 in colour.

    Parameters
    ----------
    folder : str or Path, optional
        The folder of `cifar-100-binary.tar.gz`, of its folder or of the files, up to two folders deeper, or the
        archive itself; by default, the archive is downloaded on first use. It is read in place, never unpacked to
        disk. Files that differ from the published files, or have no known checksum, are used with a warning.
    validation : int
        The number of training images set aside: always the same images, equally many of each class.

    Returns
    -------
    Splits
        Images (N, 32, 32, 3) uint8, labels (N,) int64: the hundred classes, not the twenty superclasses.

    Raises
    ------
    DataError
        If a file is missing, damaged, of another size, or of the version in pickles; the message names it.

    References
    ----------
    Krizhevsky: Learning Multiple Layers of Features from Tiny Images, 2009.

    Examples
    --------
    >>> splits = cifar100()  # doctest: +SKIP
    >>> splits.train.images.shape  # doctest: +SKIP
    (45000, 32, 32, 3)
    """
    return _load(CIFAR100, folder, validation)


def _load(archive, folder, validation):
    if folder is None:
        files = _packed(fetch(archive.name, archive.file, archive.sha256, archive.addresses), archive)
    else:
        place = _place(Path(folder), archive)
        files = (_packed if place.is_file() else _unpacked)(place, archive)
        _compare(place, archive, files)
    train, test = (
        _join([_records(*files[file], archive) for file in part]) for part in (archive.train, archive.test)
    )
    return Splits(*hold_out(train, validation), test, archive.class_names)


def _sizes(archive):
    return {file: n * (archive.label_bytes + PIXELS) for file, n in (archive.train | archive.test).items()}


def _place(folder, archive):
    """Return the folder of the files, or the archive."""
    inner, wanted = (archive.folder, ""), list(_sizes(archive))

    def unpacked(path):
        return next((path / place for place in inner for file in wanted if (path / place / file).is_file()), None)

    def holds(path):
        return unpacked(path) or (path / archive.file).is_file()

    found = folder if folder.is_file() else find_place(archive.name, folder, holds)
    if found is None or found.name in archive.python:
        _refuse_pickles(folder, archive, folder / wanted[0].removesuffix(".bin"))
        raise DataError(f"{archive.name}: {folder} has neither {wanted[0]} nor {archive.file}")
    return found if found.is_file() else unpacked(found) or found / archive.file


def _refuse_pickles(folder, archive, batch):
    named = (folder, *(folder / name for name in archive.python))
    for path in [path for path in named if path.name in archive.python and path.exists()] + [batch]:
        if path != batch or batch.is_file():
            raise DataError(
                f"{archive.name}: {path} is of the Python version, whose pickles can run any program when they "
                f"are read; get the binary version, {archive.file}"
            )


def _unpacked(folder, archive):
    """Read {file: (where, bytes)} from a folder."""
    sizes = _sizes(archive)
    if missing := [file for file in sizes if not (folder / file).is_file()]:
        raise DataError(f"{archive.name}: {folder} has no {', '.join(missing)}")
    for file, size in sizes.items():
        if (found := (folder / file).stat().st_size) != size:
            n, of = (archive.train | archive.test)[file], archive.label_bytes + PIXELS
            raise DataError(f"{folder / file}: wrong size, {found:,} bytes, expected {n:,} records of {of}")
    return {file: (folder / file, (folder / file).read_bytes()) for file in sizes}


def _packed(path, archive):
    """Read {file: (where, bytes)} out of the archive."""
    found = read_members(path, {f"{archive.folder}/{file}": size for file, size in _sizes(archive).items()})
    return {name.rpartition("/")[2]: (f"{path}: {name}", raw) for name, raw in found.items()}


def _compare(place, archive, files):
    """Warn of files that differ from the published files, or cannot be compared with them."""
    if archive.md5:
        md5 = {file: hashlib.md5(raw, usedforsecurity=False).hexdigest() for file, (_, raw) in files.items()}
        warn_of_files(
            archive.name, [where for file, (where, _) in files.items() if md5[file] != archive.md5[file]]
        )
    elif place.is_file():
        warn_of_files(archive.name, [] if sha256_of(place) == archive.sha256 else [place])
    else:
        warn_of_files(archive.name, unknown=[where for where, _ in files.values()])


def _records(where, raw, archive):
    records = np.frombuffer(raw, np.uint8).reshape(-1, archive.label_bytes + PIXELS)
    labels = records[:, archive.label_bytes - 1].astype(np.int64)
    if labels.max() >= len(archive.class_names):
        raise DataError(f"{where}: label {labels.max()}, but there are {len(archive.class_names)} classes")
    planes = records[:, archive.label_bytes :].reshape(-1, 3, 32, 32)
    return Dataset(np.ascontiguousarray(planes.transpose(0, 2, 3, 1)), labels)


def _join(parts):
    return Dataset(*(np.concatenate(arrays) for arrays in zip(*parts)))
