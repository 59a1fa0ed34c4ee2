"""An archive holds what was packed; what was not packed here is refused before it is unpacked."""

import io
import struct
import zipfile

import numpy as np
import pytest

from duonet import Parameter, archive, nn
from duonet.archive import NotAnArchive, pack, unpack
from duonet.checkpoint import load_weights, save_weights

ARRAYS = {
    "a.weight": np.arange(6.0, dtype="float32").reshape(2, 3),
    "half": np.ones(3, "float16"),
    "nothing": np.zeros((0, 3)),
    "scalar": np.array(-7),
    "yes": np.array([True, False]),
    "transposed": np.arange(6.0).reshape(2, 3).T,
    "text é": np.array("words é"),
}


def write(path, members, **options):
    """Write a zip file of bytes."""
    with zipfile.ZipFile(path, "w", **options) as file:
        for name, raw in members:
            file.writestr(name, raw)
    return path


def npy(array, **options):
    packed = io.BytesIO()
    np.lib.format.write_array(packed, array, **options)
    return packed.getvalue()


def test_arrays_go_round_and_the_bytes_are_always_the_same(tmp_path):
    path = tmp_path / "a.npz"
    path.write_bytes(pack(ARRAYS))
    assert path.read_bytes() == bytes(pack(ARRAYS))
    found = unpack(path)
    assert list(found) == list(ARRAYS)
    for name, array in ARRAYS.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
        np.testing.assert_array_equal(found[name], array)
        assert found[name].flags.writeable
    with np.load(path) as file:
        assert all(np.array_equal(file[name], array) for name, array in ARRAYS.items())
    np.savez(path, **ARRAYS)
    assert all(np.array_equal(array, ARRAYS[name]) for name, array in unpack(path).items())


@pytest.mark.parametrize("name", ["file", "allow_pickle", "args", "arr_0", "meta.npy"])
def test_an_array_may_have_any_name(tmp_path, name):
    model, twin = nn.Module(), nn.Module()
    setattr(model, name, Parameter([2.0]))
    setattr(twin, name, Parameter([0.0]))
    save_weights(tmp_path / "a.npz", model)
    load_weights(tmp_path / "a.npz", twin)
    assert getattr(twin, name).data == 2


@pytest.mark.parametrize(
    "name, array, message",
    [
        ("a\0b", np.zeros(1), "cannot name an array"),
        ("a", np.zeros(1, ">f4"), "a has dtype >f4, which no file holds"),
        ("a", np.zeros(1, "longdouble"), "a has dtype .*, which no file holds"),
        ("a", np.array([{}], object), "a has dtype object"),
    ],
)
def test_what_could_not_be_read_is_not_packed(name, array, message):
    with pytest.raises(ValueError, match=message):
        pack({name: array})


HEADER = "{{'descr': '{}', 'fortran_order': False, 'shape': {}, }}\n"


def headed(dtype, shape, body=bytes(8)):
    header = HEADER.format(dtype, shape).encode()
    return archive.MAGIC + struct.pack("<H", len(header)) + header + body


WRONG = {
    "pickle": npy(np.array([{}], object)),
    "fields": npy(np.zeros(1, [("a", "f4")])),
    "complex": npy(np.zeros(1, complex)),
    "dates": npy(np.zeros(1, "M8[s]")),
    "version 2": npy(np.zeros(1), version=(2, 0)),
    "empty": b"",
    "no header": archive.MAGIC,
    "short": npy(np.zeros(9))[:-1],
    "long": npy(np.zeros(9)) + b"x",
    "huge": headed("<f8", "(1000000000000,)"),
    "many digits": headed("<f8", f"({'9' * 3000},)"),
    "negative": headed("<f8", "(-1,)"),
    "overflow": headed("<f8", "(4294967296, 4294967296, 4294967296, 4294967296)", b""),
    "nested": headed("<f8", "(" * 9000),
    "code": headed("<f8", "__import__('os')"),
    "other width": headed("<f3", "(1,)"),
    "no width": headed("<U0", "(1,)"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_member_that_is_not_written_here_is_refused(tmp_path, name):
    with pytest.raises(NotAnArchive, match="'a.npy' in it"):
        unpack(write(tmp_path / "a.npz", [("a.npy", WRONG[name])]))


def test_a_header_that_says_nothing_of_size_takes_no_memory(tmp_path):
    path = write(tmp_path / "a.npz", [("a.npy", headed("<f8", "(0, 99999999999999, 99999999999999)", b""))])
    with pytest.raises(NotAnArchive):
        unpack(path)


def test_bombs_and_other_tricks_of_zip_files_are_refused(tmp_path):
    whole = npy(np.zeros(10**6))
    for method in (zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        path = write(tmp_path / "a.npz", [("a.npy", whole)], compression=method)
        with pytest.raises(
            NotAnArchive, match="'a.npy' in it is compressed or encrypted, unlike the files of duonet"
        ):
            unpack(path)
        with pytest.raises(
            ValueError, match="load_weights: .*a.npz is not a complete npz file of weights: 'a.npy' in it"
        ):
            load_weights(path, nn.Flatten())
    with pytest.warns(UserWarning, match="Duplicate"):
        write(path, [("a.npy", npy(np.zeros(1))), ("a.npy", npy(np.ones(1)))])
    with pytest.raises(NotAnArchive, match="'a.npy' is in it twice"):
        unpack(path)
    with pytest.raises(NotAnArchive, match="'a.txt' in it is not an array"):
        unpack(write(path, [("a.txt", b"words")]))
    raw = bytearray(pack({"a": np.zeros(100)}))
    at = raw.index(b"PK\x01\x02")
    for size in (2**31, 10):
        changed = raw[:]
        changed[at + 20 : at + 28] = struct.pack("<II", size, size)
        path.write_bytes(changed)
        with pytest.raises(NotAnArchive):
            unpack(path)
    changed = raw[:]
    changed[at + 24 : at + 28] = struct.pack("<I", 2**31)
    path.write_bytes(changed)
    with pytest.raises(NotAnArchive, match="larger than the file"):
        unpack(path)


def test_one_part_of_a_file_cannot_stand_for_many_members(tmp_path):
    path = tmp_path / "a.npz"
    raw = bytes(pack({"a": np.zeros(1000)}))
    at, end = raw.index(b"PK\x01\x02"), raw.index(b"PK\x05\x06")
    entry = raw[at:end]
    assert len(entry) == 46 + 5, "the header of 'a.npy'"
    entries = b"".join(entry[:-5] + f"{i}.npy".encode() for i in range(10, 100))
    tail = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 90, 90, len(entries), at, 0)
    entries = b"".join(
        entry[:28] + struct.pack("<H", 6) + entry[30:46] + f"{i}.npy".encode() for i in range(10, 100)
    )
    tail = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 90, 90, len(entries), at, 0)
    path.write_bytes(raw[:at] + entries + tail)
    with pytest.raises(NotAnArchive, match="larger than the file"):
        unpack(path)
