"""Files of the data sets: read right, and refused by name when something about them is wrong."""

import gzip
import hashlib
import http.server
import io
import os
import subprocess
import sys
import tarfile
import threading

import numpy as np
import pytest

from duonet import data
from duonet.data import DataError, cifar, tarball
from duonet.data import idx as files
from duonet.data.fetch import cache_folder, fetch

pytestmark = pytest.mark.filterwarnings("ignore:.* checksum")  # these files are not the published ones


def idx(array):
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">i4").tobytes()
    return header + array.astype(np.uint8).tobytes()


@pytest.fixture
def digits(tmp_path, monkeypatch):
    """A folder in MNIST's layout with 40 training and 20 test images."""
    monkeypatch.setattr(files, "SIZES", {"train": 40, "t10k": 20})
    rng = np.random.default_rng(0)
    for split, n in files.SIZES.items():
        (tmp_path / f"{split}-images-idx3-ubyte.gz").write_bytes(
            gzip.compress(idx(rng.integers(0, 256, (n, 28, 28))))
        )
        (tmp_path / f"{split}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(np.arange(n) % 10)))
    return tmp_path


def test_idx_files_are_read_packed_and_unpacked(digits):
    packed = data.mnist(digits, validation=10)
    for path in list(digits.iterdir()):
        path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
        path.unlink()
    for splits in (packed, data.fashion_mnist(digits, validation=10)):
        assert splits.train.images.shape == (30, 28, 28, 1) and splits.train.images.dtype == np.uint8
        assert splits.train.labels.dtype == np.int64
        assert (np.bincount(splits.validation.labels) == 1).all() and len(splits.test.labels) == 20
        np.testing.assert_array_equal(splits.train.images, packed.train.images)
    assert packed.class_names[3] == "3" and splits.class_names[9] == "ankle boot"


def test_the_pixels_are_those_of_the_file(digits):
    raw = gzip.decompress((digits / "t10k-images-idx3-ubyte.gz").read_bytes())
    assert data.mnist(digits, 10).test.images[7, 2, 5, 0] == raw[16 + 7 * 784 + 2 * 28 + 5]


def replace_packed(name, change):
    def spoil(folder):
        path = folder / name
        path.write_bytes(gzip.compress(change(gzip.decompress(path.read_bytes()))))

    return spoil


IMAGES, LABELS = "train-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"


@pytest.mark.parametrize(
    "spoil, message",
    [
        (lambda f: (f / IMAGES).unlink(), f"mnist: .* has no {IMAGES}"),
        (
            lambda f: (f / IMAGES).write_bytes((f / IMAGES).read_bytes()[:-3000]),
            f"{IMAGES}: truncated, or not gzip",
        ),
        (lambda f: (f / IMAGES).write_bytes(b"<html>not found</html>"), f"{IMAGES}: truncated, or not gzip"),
        (replace_packed(IMAGES, lambda raw: raw[:10]), f"{IMAGES}: truncated, its header has 10 of 16 bytes"),
        (replace_packed(IMAGES, lambda raw: raw[:-5]), f"{IMAGES}: wrong size, only 31355 bytes"),
        (replace_packed(IMAGES, lambda raw: raw + b"x"), f"{IMAGES}: wrong size, more bytes"),
        (
            replace_packed(IMAGES, lambda raw: b"\x00\x00\x0d\x03" + raw[4:]),
            "not an idx file of 3 axes: .* 00000d03",
        ),
        (
            replace_packed(IMAGES, lambda raw: idx(np.zeros((40, 28, 27)))),
            rf"{IMAGES}: wrong size, it says \(40, 28, 27\), expected \(40, 28, 28\)",
        ),
        (replace_packed(LABELS, lambda raw: raw[:-1] + b"\x0a"), f"{LABELS}: label 10, but there are 10 classes"),
    ],
)
def test_a_spoilt_idx_file_is_refused_by_name(digits, spoil, message):
    spoil(digits)
    with pytest.raises(DataError, match=message):
        data.mnist(digits, 10)


def test_what_the_system_does_not_open_is_not_called_damaged(tmp_path):
    (tmp_path / "a.gz").mkdir()
    for read in (lambda path: files.read_idx(path, (2,)), lambda path: tarball.read_members(path, {"a": 1})):
        with pytest.raises(DataError, match=r"a.gz: cannot be read \(Is a directory|Permission denied\)"):
            read(tmp_path / "a.gz")
    with pytest.raises(DataError, match=r"x.png: cannot be read \("):
        data.read_image(tmp_path / f"{'x' * 300}.png")


def small(archive, n=20):
    return archive._replace(train=dict.fromkeys(archive.train, n), test=dict.fromkeys(archive.test, n))


def records(n, label_bytes, rng):
    labels = rng.integers(0, 256, (n, label_bytes), np.uint8)
    labels[:, -1] = np.arange(n) % 10
    return np.concatenate([labels, rng.integers(0, 256, (n, 3072), np.uint8)], axis=1).tobytes()


@pytest.fixture(params=["cifar10", "cifar100"])
def planes(request, tmp_path, monkeypatch):
    """The loader of one set, its archive, and a folder with its unpacked files, 20 records each."""
    name = request.param.upper()
    archive = small(getattr(cifar, name))
    monkeypatch.setattr(cifar, name, archive)
    rng = np.random.default_rng(1)
    folder = tmp_path / archive.folder
    folder.mkdir()
    for file in (*archive.train, *archive.test):
        (folder / file).write_bytes(records(20, archive.label_bytes, rng))
    return getattr(data, request.param), archive, tmp_path


def pack(folder, archive, add=None):
    """Make the tar.gz of the folder, with what `add` puts into it, and remove the files."""
    with tarfile.open(folder / archive.file, "w:gz") as tar:
        tar.add(folder / archive.folder, archive.folder)
        if add is not None:
            add(tar)
    for path in (folder / archive.folder).iterdir():
        path.unlink()
    (folder / archive.folder).rmdir()


def test_records_are_read_from_the_folder_its_files_and_the_archive(planes):
    load, archive, folder = planes
    first = load(folder, validation=10)
    inner = load(folder / archive.folder, validation=10)
    raw = (folder / archive.folder / next(iter(archive.test))).read_bytes()
    pack(folder, archive)
    packed = load(folder, validation=10)
    for splits in (inner, packed):
        for a, b in zip(first[:3], splits[:3]):
            np.testing.assert_array_equal(a.images, b.images)
            np.testing.assert_array_equal(a.labels, b.labels)
    assert first.train.images.shape == (20 * len(archive.train) - 10, 32, 32, 3)
    size = archive.label_bytes + 3072
    record = raw[4 * size : 5 * size]
    assert first.test.labels[4] == record[archive.label_bytes - 1] == 4
    assert first.test.images[4, 3, 7, 2] == record[archive.label_bytes + 2 * 1024 + 3 * 32 + 7], (
        "blue, row 3, column 7"
    )
    assert len(first.class_names) == len(set(first.class_names)) in (10, 100)
    assert [p.name for p in folder.iterdir()] == [archive.file], "the archive is read in place"


def member(name, content=b"x", **more):
    def add(tar):
        info = tarfile.TarInfo(name)
        info.size = len(content)
        for key, value in more.items():
            setattr(info, key, value)
        tar.addfile(info, io.BytesIO(content))

    return add


@pytest.mark.parametrize(
    "add, found",
    [
        (member("../evil"), "../evil"),
        (member("/etc/evil"), "/etc/evil"),
        (member("cifar-10-batches-bin/../../evil"), "cifar-10-batches-bin/../../evil"),
        (member("link", b"", type=tarfile.SYMTYPE, linkname="/etc/passwd"), "link"),
    ],
)
def test_an_archive_that_leads_outside_is_refused_and_nothing_is_written(planes, add, found):
    load, archive, folder = planes
    pack(folder, archive, add)
    before = sorted(folder.parent.rglob("*"))
    with pytest.raises(
        DataError, match=f"{archive.file}: refused, its member '{found}' is a link or leads outside"
    ):
        load(folder)
    assert sorted(folder.parent.rglob("*")) == before


def cut(path, n):
    path.write_bytes(path.read_bytes()[:n])


def test_damaged_archives_and_files_are_refused_by_name(planes):
    load, archive, folder = planes
    file = next(iter(archive.train))
    path = folder / archive.folder / file
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    with pytest.raises(
        DataError, match=f"{file}: wrong size, .* expected 20 records of {archive.label_bytes + 3072}"
    ):
        load(folder)
    many = bytearray(whole)
    many[archive.label_bytes - 1] = 255
    path.write_bytes(many)
    with pytest.raises(DataError, match=f"{file}: label 255, but there are {len(archive.class_names)} classes"):
        load(folder)
    (folder / archive.folder / next(iter(archive.test))).unlink()
    with pytest.raises(DataError, match=f"{archive.folder} has no {next(iter(archive.test))}"):
        load(folder)
    path.write_bytes(whole)
    pack(folder, archive)
    with pytest.raises(DataError, match=f"{archive.file}: has no {archive.folder}/{next(iter(archive.test))}"):
        load(folder)
    for n in (5000, 100, 0):
        cut(folder / archive.file, n)
        with pytest.raises(DataError, match=f"{archive.file}: truncated, or not a tar.gz archive"):
            load(folder)


def test_a_member_of_the_wrong_size_is_refused_before_it_is_read(planes):
    load, archive, folder = planes
    (folder / archive.folder / next(iter(archive.test))).write_bytes(b"short")
    pack(folder, archive)
    with pytest.raises(DataError, match="wrong size of .*: 5 bytes"):
        load(folder)


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A web server on this machine; yields its folder, its address and the list of what was asked for."""
    asked, folder = [], tmp_path / "web"
    folder.mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, directory=str(folder), **kwargs)

        def log_message(self, *words):
            asked.append(self.path)

    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("DUONET_DATA", str(tmp_path / "cache"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as web:
        threading.Thread(target=web.serve_forever, daemon=True).start()
        yield folder, f"http://127.0.0.1:{web.server_address[1]}", asked
        web.shutdown()


def test_a_file_is_downloaded_once_from_the_first_mirror_that_has_it(server, tmp_path):
    pytest.importorskip("pooch")
    folder, address, asked = server
    (folder / "good").mkdir()
    (folder / "good" / "a.bin").write_bytes(b"contents")
    right = hashlib.sha256(b"contents").hexdigest()
    for _ in range(2):
        path = fetch("toy", "a.bin", right, [f"{address}/none", f"{address}/good"])
        assert path == tmp_path / "cache" / "toy" / "a.bin" == cache_folder() / "toy" / "a.bin"
        assert path.read_bytes() == b"contents"
    assert asked.count("/good/a.bin") == 1, "the second time it comes from the cache"
    path.write_bytes(b"spoilt")
    assert fetch("toy", "a.bin", right, [f"{address}/good"]).read_bytes() == b"contents", (
        "a damaged one is replaced"
    )


def test_a_wrong_checksum_is_refused_and_nothing_is_kept(server, tmp_path):
    pytest.importorskip("pooch")
    folder, address, _ = server
    (folder / "a.bin").write_bytes(b"other")
    with pytest.raises(DataError, match=r"toy: a.bin could not be downloaded \(.*hash.*404.*\); get it elsewhere"):
        fetch("toy", "a.bin", "0" * 64, [address, f"{address}/none"])
    assert not [p for p in (tmp_path / "cache").rglob("*") if p.is_file()]


def test_what_a_server_or_the_disk_says_is_told_and_never_printed_raw(tmp_path, monkeypatch):
    pytest.importorskip("pooch")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("DUONET_DATA", str(tmp_path / "cache"))

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(500, "\x1b[31mred\x07")
            self.end_headers()

        def log_message(self, *words):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as web:
        threading.Thread(target=web.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{web.server_address[1]}"
        with pytest.raises(DataError, match=r"500 Server Error: \\x1b\[31mred\\x07 for url") as error:
            fetch("toy", "a.bin", "0" * 64, [address])
        assert "\x1b" not in str(error.value) and "\x07" not in str(error.value)
        web.shutdown()
    with pytest.raises(DataError, match=f"could not be downloaded \\({address}: Connection refused\\)"):
        fetch("toy", "a.bin", "0" * 64, [address])


def test_the_disks_own_words_are_told(tmp_path, monkeypatch, server):
    pytest.importorskip("pooch")
    folder, address, _ = server
    (folder / "a.bin").write_bytes(b"contents")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DUONET_DATA", str(tmp_path / "file"))
    with pytest.raises(DataError, match=r"could not be downloaded \(.*: Not a directory: .*file/toy\)"):
        fetch("toy", "a.bin", hashlib.sha256(b"contents").hexdigest(), [address])


def test_what_a_killed_download_left_is_removed_at_the_next_start(tmp_path):
    """A server that sends half a file and waits; the process is killed; another download goes on beside the next."""
    pytest.importorskip("pooch")
    pytest.importorskip("fcntl")
    program = "import sys; from duonet.data.fetch import fetch; fetch('toy', sys.argv[2], '0' * 64, [sys.argv[1]])"
    half_sent, go_on = threading.Semaphore(0), threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", 2_000_000)
            self.end_headers()
            self.wfile.write(bytes(1_000_000))
            half_sent.release()
            go_on.wait(60)

        def log_message(self, *words):
            pass

    cache = tmp_path / "cache"
    environment = os.environ | {"DUONET_DATA": str(cache), "NO_PROXY": "127.0.0.1"}

    def left():
        return sorted(path for path in cache.rglob("*") if path.is_file())

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as web:
        threading.Thread(target=web.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{web.server_address[1]}"
        running = []
        for file in ("a.bin", "b.bin", "c.bin"):
            words = [sys.executable, "-c", program, address, file]
            running.append(subprocess.Popen(words, env=environment, stderr=subprocess.DEVNULL))
            assert half_sent.acquire(timeout=60)
            if file == "a.bin":
                running[0].kill()
                running[0].wait()
                (first,) = left()
        try:
            assert len(left()) == 2 and first not in left(), (
                "the second removed the first's, the third spared the second's"
            )
        finally:
            for process in running:
                process.kill()
                process.wait()
            go_on.set()
            web.shutdown()


def test_the_published_checksums_are_those_of_the_tables():
    sums = [
        *files.MNIST_SHA256.values(),
        *files.FASHION_SHA256.values(),
        cifar.CIFAR10.sha256,
        cifar.CIFAR100.sha256,
    ]
    assert len(set(sums)) == 10 and all(len(s) == 64 and int(s, 16) for s in sums)
    for addresses in (files.MNIST_ADDRESSES, files.FASHION_ADDRESSES, cifar.CIFAR10.addresses):
        assert len(addresses) >= 2, "a mirror"


def test_the_real_cifar10_if_it_is_here():
    folder = cache_folder() / "cifar10"
    try:
        splits = data.cifar10(folder)
    except DataError as error:
        pytest.skip(f"the real CIFAR-10 is not in {folder} ({error})")
    images = np.concatenate([splits.train.images, splits.validation.images])
    np.testing.assert_allclose(images.mean((0, 1, 2)), [125.3, 123.0, 113.9], atol=0.06)
    assert (np.bincount(splits.test.labels) == 1000).all() and (np.bincount(splits.validation.labels) == 500).all()


def picture(folder, name, color, size=(6, 4), mode="RGB"):
    Image = pytest.importorskip("PIL.Image")
    folder.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, color).save(folder / name)


@pytest.fixture
def album(tmp_path):
    """Two classes of 20 one-coloured pictures, 4 high and 6 wide."""
    for i in range(20):
        picture(tmp_path / "blue", f"{i}.png", (0, 0, 200 + i))
        picture(tmp_path / "red", f"{i}.png", (200 + i, 0, 0))
    return tmp_path


def test_a_folder_of_images_is_split_in_three_that_share_nothing(album):
    splits = data.image_folder(album)
    assert splits.class_names == ("blue", "red")
    assert [len(part.labels) for part in splits[:3]] == [32, 4, 4]
    seen = []
    for part in splits[:3]:
        assert part.images.shape[1:] == (4, 6, 3) and set(part.labels.tolist()) == {0, 1}
        assert ((part.images[:, 0, 0, 0] > 0) == (part.labels == 1)).all()
        seen += [image.tobytes() for image in part.images]
    assert len(set(seen)) == 40
    again = data.load(str(album))
    np.testing.assert_array_equal(again.train.images, splits.train.images)
    assert set(splits.train.take(8).labels.tolist()) == {0, 1}, "the first images are of all classes"


def test_parts_that_are_there_are_kept(album, tmp_path):
    for part in ("train", "test"):
        for name in ("blue", "red"):
            for i in range(10):
                picture(tmp_path / "parts" / part / name, f"{i}.jpg", (i, 100 if part == "test" else 0, 0))
    splits = data.image_folder(tmp_path / "parts")
    assert [len(part.labels) for part in splits[:3]] == [18, 2, 20]
    assert (splits.test.images[:, 0, 0, 1] > 50).all() and (splits.train.images[:, 0, 0, 1] < 50).all()


def test_images_are_scaled_cropped_and_made_grey_when_asked(album):
    picture(album / "blue", "large.png", (0, 0, 99), (60, 20))
    with pytest.raises(DataError, match=r"large.png has shape \(20, 60, 3\), but .*0.png \(4, 6, 3\); give size"):
        data.image_folder(album)
    assert data.image_folder(album, size=(5, 5)).train.images.shape[1:] == (5, 5, 3)
    assert data.image_folder(album, size=(5, 5), grey=True).train.images.shape[1:] == (5, 5, 1)
    picture(album / "blue", "large.png", 7, mode="L")
    with pytest.raises(DataError, match=r"large.png has shape \(4, 6, 1\)"):
        data.image_folder(album)


def test_more_than_eight_bits_and_a_missing_part_are_refused(album, tmp_path):
    picture(album / "red", "deep.png", 40_000, mode="I;16")
    with pytest.raises(DataError, match=r"deep.png: its pixels are not of 8 bits \(I(;16)?\); save it with 8"):
        data.read_image(album / "red" / "deep.png")
    for name in ("a", "b"):
        picture(tmp_path / "parts" / "train" / name, "1.png", 3, mode="L")
        picture(tmp_path / "parts" / "val" / name, "1.png", 3, mode="L")
    with pytest.raises(DataError, match="parts has a part called train, but none called test"):
        data.image_folder(tmp_path / "parts")


@pytest.mark.parametrize(
    "spoil, message",
    [
        (lambda f: (f / "red" / "3.png").write_bytes(b"no image"), "3.png: not an image that can be read"),
        (lambda f: cut(f / "red" / "3.png", 45), "3.png: not an image that can be read"),
        (lambda f: (f / "green").mkdir(), "no PNG or JPEG file of green"),
        (lambda f: [p.unlink() for p in (f / "red").iterdir()], "no PNG or JPEG file of red"),
        (lambda f: [p.unlink() for p in f.glob("*/[1-9]*.png")], "has too few images to split"),
    ],
)
def test_a_folder_that_is_not_one_is_refused(album, spoil, message):
    spoil(album)
    with pytest.raises(DataError, match=message):
        data.image_folder(album)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda f: data.load("imagenet"), "'imagenet' is neither a folder nor one of fashion-mini, fashion-mnist"),
        (lambda f: data.load("fashion-mini", f), "fashion-mini comes with the package"),
        (lambda f: data.load("mnist", f, size=(2, 2)), "size is for a folder of images"),
        (lambda f: data.load(str(f), f), "was given beside the folder of images"),
        (lambda f: data.image_folder(f / "blue"), "holds 0 folders of a class"),
        (lambda f: data.load("fashion-mnist", f), "fashion_mnist: .* has no train-images-idx3-ubyte.gz"),
    ],
)
def test_what_cannot_be_loaded_is_refused(album, call, message):
    with pytest.raises(DataError, match=message):
        call(album)


def test_hold_out_takes_the_same_balanced_images_and_never_mixes():
    labels = np.repeat([0, 1, 2], [30, 20, 2])
    everything = data.Dataset(np.arange(52, dtype=np.uint8).reshape(52, 1, 1, 1), labels)
    train, validation = data.hold_out(everything, 9)
    assert np.bincount(validation.labels).tolist() == [3, 3, 1], "a small class keeps one image to train on"
    both = sorted(train.images.ravel().tolist() + validation.images.ravel().tolist())
    assert both == list(range(52))
    np.testing.assert_array_equal(data.hold_out(everything, 9)[1].images, validation.images)
    for n in (2, 52):
        with pytest.raises(ValueError, match="hold_out: n must be from 3"):
            data.hold_out(everything, n)
