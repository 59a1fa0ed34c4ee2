"""A damaged archive is never read as a whole one; what is odd about it is refused, what is unknown said."""

import gzip
import io
import shutil
import tarfile
import tracemalloc
import warnings

import numpy as np
import pytest

from duonet import data
from duonet.data import DataError, cifar
from duonet.data import idx as files
from duonet.data.tarball import read_members


@pytest.fixture
def archive(tmp_path, rng):
    """Return an archive, and what is in it."""
    contents = {f"set/{i}.bin": rng.bytes(700) for i in range(2)}
    return pack(tmp_path / "a.tar.gz", contents.items()), contents


def pack(path, members):
    with tarfile.open(path, "w:gz") as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def sizes(contents):
    return {name: len(content) for name, content in contents.items()}


def test_no_flipped_bit_is_read_as_other_contents(archive):
    path, contents = archive
    whole = path.read_bytes()
    refused = 0
    for bit in range(0, 8 * len(whole), 61):
        spoilt = bytearray(whole)
        spoilt[bit // 8] ^= 1 << bit % 8
        path.write_bytes(spoilt)
        try:
            assert read_members(path, sizes(contents)) == contents
        except DataError:
            refused += 1
    assert refused > 0.95 * 8 * len(whole) / 61, "only the header's time and name may differ"


def test_truncated_anywhere_it_is_refused(archive):
    path, contents = archive
    whole = path.read_bytes()
    for n in range(0, len(whole), 11):
        path.write_bytes(whole[:n])
        with pytest.raises(DataError, match="a.tar.gz: truncated, or not a tar.gz archive"):
            read_members(path, sizes(contents))


def test_what_follows_the_archive_is_refused_and_padding_is_not(archive, tmp_path):
    path, contents = archive
    whole = path.read_bytes()
    other = pack(tmp_path / "other.tar.gz", [("set/2.bin", b"x" * 20)]).read_bytes()
    path.write_bytes(whole + other)
    with pytest.raises(DataError, match="a.tar.gz: damaged, or two archives in one"):
        read_members(path, sizes(contents))
    path.write_bytes(whole + b"garbage")
    with pytest.raises(DataError, match="truncated, or not"):
        read_members(path, sizes(contents))
    path.write_bytes(whole + gzip.compress(bytes(20_000)) + bytes(512))
    assert read_members(path, sizes(contents)) == contents


def test_a_file_that_is_there_twice_or_missing_is_refused(archive):
    path, contents = archive
    pack(path, [*contents.items(), *contents.items()])
    with pytest.raises(DataError, match="a.tar.gz: has set/0.bin twice"):
        read_members(path, sizes(contents))
    with pytest.raises(DataError, match="a.tar.gz: has no set/7.bin"):
        read_members(pack(path, contents.items()), sizes(contents) | {"set/7.bin": 3})


@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.XHDTYPE])
def test_a_small_archive_that_unpacks_to_gigabytes_is_refused_early(tmp_path, kind):
    """The second kind is a header that tarfile reads into memory, whatever its size."""
    info = tarfile.TarInfo("set/large")
    info.size, info.type = 2**32, kind
    with gzip.open(tmp_path / "a.tar.gz", "wb", compresslevel=1) as out:
        out.write(info.tobuf(tarfile.GNU_FORMAT))
        for _ in range(40):
            out.write(bytes(2**20))
    tracemalloc.start()
    with pytest.raises(DataError, match="a.tar.gz: refused, it unpacks to more than 16,777,217 bytes"):
        read_members(tmp_path / "a.tar.gz", {"set/0.bin": 1})
    assert tracemalloc.get_traced_memory()[1] < 2**26
    tracemalloc.stop()


def small(archive, n=20):
    return archive._replace(train=dict.fromkeys(archive.train, n), test=dict.fromkeys(archive.test, n))


def records(n, label_bytes, rng):
    labels = np.zeros((n, label_bytes), np.uint8)
    labels[:, -1] = np.arange(n) % 10
    return np.concatenate([labels, rng.integers(0, 256, (n, 3072), np.uint8)], axis=1).tobytes()


@pytest.fixture(params=["cifar10", "cifar100"])
def batches(request, tmp_path, monkeypatch, rng):
    """The loader of one set, its archive, and the folder of its unpacked files, 20 records each."""
    archive = small(getattr(cifar, request.param.upper()))
    folder = tmp_path / archive.folder
    folder.mkdir()
    for file in (*archive.train, *archive.test):
        (folder / file).write_bytes(records(20, archive.label_bytes, rng))
    if archive.md5:
        import hashlib

        md5 = {path.name: hashlib.md5(path.read_bytes()).hexdigest() for path in folder.iterdir()}
        archive = archive._replace(md5=md5)
    monkeypatch.setattr(cifar, request.param.upper(), archive)
    return getattr(data, request.param), archive, folder


def quietly(load, folder):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return load(folder, validation=10)


def test_a_changed_pixel_in_a_batch_of_known_checksum_is_said(batches):
    load, archive, folder = batches
    path = folder / next(iter(archive.train))
    if archive.md5:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            load(folder, validation=10)
        spoilt = bytearray(path.read_bytes())
        spoilt[1000] ^= 1
        path.write_bytes(spoilt)
        with pytest.warns(UserWarning, match=f"cifar10: {path}: not as published, by the checksum"):
            load(folder, validation=10)
    else:
        with pytest.warns(UserWarning, match=f"cifar100: {path} and 1 more: without a known checksum"):
            load(folder, validation=10)


def test_an_archive_is_compared_too(batches, monkeypatch):
    load, archive, folder = batches
    path = pack(
        folder.parent / archive.file, [(f"{archive.folder}/{p.name}", p.read_bytes()) for p in folder.iterdir()]
    )
    shutil.rmtree(folder)
    if not archive.md5:
        with pytest.warns(UserWarning, match=f"cifar100: {path}: not as published, by the checksum"):
            load(folder.parent, validation=10)
        archive = archive._replace(sha256=cifar.sha256_of(path))
        monkeypatch.setattr(cifar, "CIFAR100", archive)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load(folder.parent, validation=10)
        load(path, validation=10)


def test_files_are_found_deeper_and_never_chosen_between(batches, tmp_path):
    load, archive, folder = batches
    expected = quietly(load, folder)
    for place in (tmp_path, folder):
        np.testing.assert_array_equal(quietly(load, place).test.images, expected.test.images)
    shutil.move(folder, tmp_path / "a" / "b" / archive.folder)
    np.testing.assert_array_equal(quietly(load, tmp_path).test.images, expected.test.images)
    shutil.copytree(tmp_path / "a", tmp_path / "c")
    with pytest.raises(
        DataError, match=f"{archive.name}: {tmp_path} holds it more than once; give .*/a/b or .*/c/b"
    ):
        load(tmp_path)


def test_pickles_are_refused_with_a_clear_sentence(batches, tmp_path):
    load, archive, folder = batches
    shutil.rmtree(folder)
    inner, packed = (tmp_path / name for name in archive.python)
    batch = next(iter(archive.train)).removesuffix(".bin")
    packed.write_bytes(b"")
    for given in (tmp_path, packed):
        with pytest.raises(
            DataError, match=f"{packed} is of the Python version, whose pickles can run any program"
        ):
            load(given)
    inner.mkdir()
    (inner / batch).write_bytes(b"")
    for given in (tmp_path, inner):
        with pytest.raises(
            DataError, match=f"{inner} is of the Python version, .*get the binary version, {archive.file}"
        ):
            load(given)
    inner.rename(tmp_path / "mine")
    with pytest.raises(DataError, match=f"mine/{batch} is of the Python version"):
        load(tmp_path / "mine")


NAMES = [f"{split}-{kind}-ubyte" for split in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")]


@pytest.fixture
def digits(tmp_path, monkeypatch, rng):
    """A folder with the four files of MNIST, unpacked, 40 and 20 images."""
    monkeypatch.setattr(files, "SIZES", {"train": 40, "t10k": 20})
    folder = tmp_path / "digits"
    folder.mkdir()
    for name in NAMES:
        n = files.SIZES[name.partition("-")[0]]
        array = np.arange(n) % 10 if "labels" in name else rng.integers(0, 256, (n, 28, 28))
        header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">i4").tobytes()
        (folder / name).write_bytes(header + array.astype(np.uint8).tobytes())
    return folder


def dotted(path):
    path.rename(path.with_name(path.name.replace("-idx", ".idx")))


def packed(path):
    path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()


def dotted_and_packed(path):
    packed(path)
    dotted(path.with_name(f"{path.name}.gz"))


def in_a_folder_of_its_name(path):
    content = path.read_bytes()
    path.unlink()
    path.mkdir()
    (path / path.name).write_bytes(content)


def two_folders_deeper(path):
    deeper = path.parent / "MNIST" / "raw"
    deeper.mkdir(parents=True, exist_ok=True)
    path.rename(deeper / path.name)


@pytest.mark.parametrize(
    "change", [dotted, packed, dotted_and_packed, in_a_folder_of_its_name, two_folders_deeper]
)
def test_idx_files_go_by_many_names(digits, change):
    expected = quietly(data.mnist, digits)
    for name in NAMES:
        change(digits / name)
    found = quietly(data.mnist, digits)
    for a, b in zip(expected[:3], found[:3]):
        np.testing.assert_array_equal(a.images, b.images)
        np.testing.assert_array_equal(a.labels, b.labels)


def test_two_sets_in_one_folder_are_not_chosen_between(digits):
    shutil.copytree(digits, digits.parent / "fashion")
    with pytest.raises(DataError, match="mnist: .* holds it more than once; give .*/digits or .*/fashion"):
        data.mnist(digits.parent)


def test_idx_files_are_compared_where_a_checksum_is_known(digits, monkeypatch):
    with pytest.warns(UserWarning, match="mnist: .*train-images-idx3-ubyte and 3 more: without a known checksum"):
        data.mnist(digits, 10)
    for name in NAMES:
        packed(digits / name)
    with pytest.warns(
        UserWarning, match="mnist: .*train-images-idx3-ubyte.gz and 3 more: not as published, by the"
    ):
        data.mnist(digits, 10)
    known = {f"{name}.gz": files.sha256_of(digits / f"{name}.gz") for name in NAMES}
    monkeypatch.setattr(files, "MNIST_SHA256", known)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data.mnist(digits, 10)


def test_no_flipped_bit_of_a_packed_idx_file_gives_other_pixels(digits, rng):
    expected = quietly(data.mnist, digits)
    for name in NAMES:
        packed(digits / name)
    path = digits / "train-images-idx3-ubyte.gz"
    whole = path.read_bytes()
    for bit in rng.integers(0, 8 * len(whole), 60):
        spoilt = bytearray(whole)
        spoilt[bit // 8] ^= 1 << bit % 8
        path.write_bytes(spoilt)
        try:
            np.testing.assert_array_equal(quietly(data.mnist, digits).train.images, expected.train.images)
        except DataError:
            pass
    for tail in (b"garbage", gzip.compress(b"more")):
        path.write_bytes(whole + tail)
        with pytest.raises(
            DataError, match="train-images-idx3-ubyte.gz: (wrong size, more|truncated, or not gzip)"
        ):
            data.mnist(digits, 10)
