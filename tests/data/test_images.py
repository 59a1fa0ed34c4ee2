"""An image file is what its header says, and no image of a folder is passed over without a word."""

import os
import struct
import warnings
import zlib

import numpy as np
import pytest

from duonet import data
from duonet.data import DataError, read_image

Image = pytest.importorskip("PIL.Image")


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width, height, depth, colour_type, rows):
    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    parts = chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize("colour_type, channels, name", [(0, 1, "I"), (2, 3, "RGB"), (4, 2, "LA"), (6, 4, "RGBA")])
def test_sixteen_bits_are_refused_in_every_kind_of_png(tmp_path, colour_type, channels, name):
    path = tmp_path / "deep.png"
    path.write_bytes(png(2, 2, 16, colour_type, (b"\0" + bytes(4 * channels)) * 2))
    with pytest.raises(DataError, match=f"deep.png: its pixels are not of 8 bits \\({name};16\\); save it with 8"):
        read_image(path, grey=True)


@pytest.mark.parametrize("depth, row, expected", [(1, b"\xa0", [255, 0, 255]), (4, b"\x0f\x80", [0, 255, 136])])
def test_fewer_bits_are_spread_over_eight(tmp_path, depth, row, expected):
    (tmp_path / "a.png").write_bytes(png(3, 1, depth, 0, b"\0" + row))
    assert read_image(tmp_path / "a.png")[0].tolist() == [[v] for v in expected]


def test_palettes_transparency_and_cmyk(tmp_path):
    palette = Image.new("P", (2, 1), 1)
    palette.putpalette([0, 0, 0, 10, 20, 30])
    palette.save(tmp_path / "p.png", transparency=bytes([0, 128]))
    Image.new("RGBA", (2, 1), (1, 2, 3, 0)).save(tmp_path / "rgba.png")
    Image.new("LA", (2, 1), (7, 0)).save(tmp_path / "la.png")
    Image.new("CMYK", (8, 8), (0, 0, 0, 0)).save(tmp_path / "cmyk.jpg")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_image(tmp_path / "p.png")[0, 0].tolist() == [10, 20, 30]
        assert read_image(tmp_path / "p.png", grey=True).shape == (1, 2, 1)
        assert read_image(tmp_path / "rgba.png")[0, 0].tolist() == [1, 2, 3]
        assert read_image(tmp_path / "la.png")[0, 0].tolist() == [7]
        assert read_image(tmp_path / "cmyk.jpg")[0, 0].tolist() == [255, 255, 255]


def test_a_photograph_is_turned_upright(tmp_path):
    pixels = np.zeros((8, 16, 3), np.uint8)
    pixels[:, :8] = 255
    exif = Image.Exif()
    exif[0x112] = 6  # the camera was held on its side
    Image.fromarray(pixels).save(tmp_path / "a.jpg", exif=exif, quality=95)
    upright = read_image(tmp_path / "a.jpg")
    assert upright.shape == (16, 8, 3) and upright[:6].min() > 200 and upright[10:].max() < 50


def test_only_png_and_jpeg_are_opened_whatever_the_name(tmp_path, monkeypatch):
    from PIL import EpsImagePlugin

    called = []
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *words, **more: called.append(words))
    (tmp_path / "a.png").write_bytes(
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n%%EOF\n"
    )
    Image.new("L", (2, 2)).save(tmp_path / "b.gif")
    (tmp_path / "b.gif").rename(tmp_path / "b.png")
    for name in ("a.png", "b.png"):
        with pytest.raises(DataError, match=f"{name}: not an image that can be read"):
            read_image(tmp_path / name)
    assert not called


def test_a_small_file_of_many_pixels_is_refused_by_its_header(tmp_path, monkeypatch):
    from PIL import ImageFile

    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: pytest.fail("decoded"))
    for side, depth in ((8193, 8), (46_000, 1), (2**31 - 1, 8)):
        (tmp_path / "bomb.png").write_bytes(png(side, side, depth, 0, bytes(1000)))
        with pytest.raises(DataError, match="bomb.png: .*(pixels|decompression)"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            read_image(tmp_path / "bomb.png")


def test_animations_are_refused_and_a_phones_second_image_is_not(tmp_path):
    frames = [Image.new("L", (4, 4), i) for i in range(3)]
    frames[0].save(tmp_path / "moving.png", save_all=True, append_images=frames[1:])
    with pytest.raises(DataError, match="moving.png: an animation of 3 images; save one of them"):
        read_image(tmp_path / "moving.png")
    frames[0].save(tmp_path / "phone.jpg", "MPO", save_all=True, append_images=frames[1:])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        picture = Image.open(tmp_path / "phone.jpg")
    with picture:
        if picture.format != "MPO":
            pytest.skip("this Pillow writes a broken file of several images")
    assert read_image(tmp_path / "phone.jpg").shape == (4, 4, 1)


def test_no_flipped_bit_of_a_png_gives_other_pixels(tmp_path, rng):
    pixels = rng.integers(0, 256, (5, 4, 3)).astype(np.uint8)
    path = tmp_path / "a.png"
    Image.fromarray(pixels).save(path)
    whole = path.read_bytes()
    for bit in range(0, 8 * len(whole), 7):
        spoilt = bytearray(whole)
        spoilt[bit // 8] ^= 1 << bit % 8
        path.write_bytes(spoilt)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                np.testing.assert_array_equal(read_image(path), pixels)
        except DataError:
            pass


def test_whatever_the_bytes_the_only_error_is_ours(tmp_path, rng):
    path = tmp_path / "a.jpg"
    exif = Image.Exif()
    exif[0x112], exif[0x10E] = 6, "a note"
    Image.new("L", (4, 4)).save(path, exif=exif)
    whole = path.read_bytes()
    bad_exif = bytearray(whole)
    bad_exif[41] = 0  # of which Pillow makes a struct.error
    path.write_bytes(bad_exif)
    with pytest.raises(DataError, match="a.jpg: not an image that can be read"):
        read_image(path)
    for _ in range(100):
        spoilt = bytearray(whole)
        for where in rng.integers(0, 200, 4):
            spoilt[where] = rng.integers(256)
        path.write_bytes(spoilt)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                read_image(path)
        except DataError:
            pass


def test_pipes_and_folders_are_no_images(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "folder.png").mkdir()
    for name in ("pipe.png", "folder.png"):
        with pytest.raises(DataError, match=f"{name}: not a regular file"):
            read_image(tmp_path / name)


@pytest.mark.parametrize("size", [5, (4,), (4.0, 4), (True, 4), (0, 4), "44"])
def test_a_size_is_two_positive_ints(tmp_path, size):
    Image.new("L", (4, 4)).save(tmp_path / "a.png")
    with pytest.raises((TypeError, ValueError), match="read_image: size must be"):
        read_image(tmp_path / "a.png", size)


@pytest.mark.parametrize("name", [300 * "a" + ".png", "a\0.png"])
def test_a_name_that_the_system_refuses_is_an_image_that_cannot_be_read(tmp_path, name):
    with pytest.raises(DataError, match="a.*png: (cannot be read|not an image that can be read)"):
        read_image(tmp_path / name)


def picture(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (4, 4), value).save(path)


@pytest.fixture
def parts(tmp_path):
    """Folders train and test of two classes, ten images each."""
    for part, first in (("train", 0), ("test", 100)):
        for name in ("cat", "dog"):
            for i in range(10):
                picture(tmp_path / part / name / f"{i}.png", first + i)
    return tmp_path


@pytest.mark.parametrize("name", ["validation", "valid", "val", "Val"])
def test_a_folder_for_validation_is_used_under_every_name(parts, name):
    picture(parts / name / "cat" / "1.PNG", 200)
    picture(parts / name / "dog" / "1.png", 201)
    splits = data.image_folder(parts)
    assert [len(part.labels) for part in splits[:3]] == [20, 2, 20]
    assert sorted(splits.validation.images[:, 0, 0, 0]) == [200, 201]


def test_training_and_testing_are_names_too(parts):
    before = data.image_folder(parts)
    (parts / "train").rename(parts / "Training")
    (parts / "test").rename(parts / "testing")
    for a, b in zip(before[:3], data.image_folder(parts)[:3]):
        np.testing.assert_array_equal(a.images, b.images)


def stray(name):
    return lambda f: picture(f / name, 1)


def other_format(f):
    Image.new("L", (4, 4)).save(f / "train" / "cat" / "a.bmp")


@pytest.mark.parametrize(
    "spoil, message",
    [
        (
            stray("train/cat/more/1.png"),
            r"1 file \(train/cat/more/1.png\) would be left out: images must be PNG or",
        ),
        (stray("train/cat/very/much/more/1.JPG"), r"1 file \(train/cat/very/much/more/1.JPG\) would be left out"),
        (stray("train/1.png"), r"1 file \(train/1.png\) would be left out"),
        (stray("1.png"), r"1 file \(1.png\) would be left out"),
        (stray("extra/cat/1.png"), r"1 file \(extra/cat/1.png\) would be left out"),
        (other_format, r"1 file \(train/cat/a.bmp\) would be left out"),
        (stray("test/bird/1.png"), "test has bird, which is not among the classes"),
        (lambda f: (f / "train" / "bird").mkdir(), "train: no PNG or JPEG file of bird"),
        (lambda f: (f / "train" / "cat" / "far.png").symlink_to("nowhere"), "far.png: No such file or directory"),
        (lambda f: os.mkfifo(f / "train" / "cat" / "pipe.png"), "pipe.png: not a regular file"),
        (
            lambda f: [(f / name).mkdir() for name in ("val", "validation")],
            "has val and validation: which is the validation part",
        ),
        (lambda f: (f / "train").rename(f / "val"), "has a part called test, but none called train"),
    ],
)
def test_no_image_is_passed_over(parts, spoil, message):
    spoil(parts)
    with pytest.raises(DataError, match=message):
        data.image_folder(parts)


def test_images_beside_or_below_the_classes_folders_are_refused_without_parts_too(parts):
    picture(parts / "train" / "cat" / "more" / "1.png", 1)
    with pytest.raises(DataError, match=r"1 file \(cat/more/1.png\) would be left out"):
        data.image_folder(parts / "train")


def test_other_files_are_counted_and_links_followed_one_level(parts):
    (parts / "README.txt").write_text("words")
    (parts / "train" / "cat" / "labels.csv").write_text("a,b")
    (parts / "train" / "cat" / "._0.png").write_text("what macOS leaves")
    (parts / "train" / "cat" / ".DS_Store").write_text("what macOS leaves")
    (parts / "train" / "cat" / "up").symlink_to(parts)
    (parts / "train" / "dog").rename(parts.parent / f"{parts.name}-dogs")
    (parts / "train" / "dog").symlink_to(parts.parent / f"{parts.name}-dogs")
    with pytest.warns(
        UserWarning, match=r"left out 4 files \(README.txt, train/cat/._0.png, train/cat/labels.csv, ...\)"
    ):
        assert len(data.image_folder(parts).test.labels) == 20


@pytest.mark.parametrize("held", [0, 0.5, -1, float("nan"), True, "0.1"])
def test_a_share_is_held_out(parts, held):
    with pytest.raises((TypeError, ValueError), match="image_folder: held must be a number above 0 and below 0.5"):
        data.image_folder(parts / "train", held=held)


def test_a_size_beyond_memory_is_refused_at_once(tmp_path):
    Image.new("L", (4, 4)).save(tmp_path / "a.png")
    with pytest.raises(ValueError, match="read_image: size 100000×100000 has too many pixels, at most 67,108,864"):
        read_image(tmp_path / "a.png", (100_000, 100_000))
