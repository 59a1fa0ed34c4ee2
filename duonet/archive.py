"""Named arrays in one npz file. `unpack` reads only files of `pack`, and checks each before it unpacks."""

import io
import math
import os
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

DTYPES = re.compile(r"[<|](f[248]|[iu][1248]|b1|U[1-9]\d{0,8})")
MAGIC = b"\x93NUMPY\x01\x00"
HEADER = re.compile(
    rb"\{'descr': '(?P<dtype>[^']+)', 'fortran_order': (?P<fortran>False|True), "
    rb"'shape': \((?P<shape>(\d{1,15}, )*\d{0,15},?)\), \} *\n"
)
UTF_8 = 0x800  # the flag of a member whose name is not ASCII; other flags mean compression or encryption


class NotAnArchive(ValueError):
    """A file that `pack` did not write, or that is damaged; the message says why."""


def pack(arrays: dict[str, npt.NDArray[Any]]) -> memoryview:
    """Return the bytes of an npz file; the same arrays always give the same bytes.

    Parameters
    ----------
    arrays : dict
        From name to array.

    Returns
    -------
    memoryview

    Raises
    ------
    ValueError
        If `unpack` would refuse a name or a dtype.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with open(f"{folder}/a.npz", "wb") as file:
    ...         _ = file.write(pack({"x": np.arange(3.0)}))
    ...     unpack(f"{folder}/a.npz")
    {'x': array([0., 1., 2.])}
    """
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, array in arrays.items():
            member = zipfile.ZipInfo(f"{name}.npy")
            if member.filename != f"{name}.npy":
                raise ValueError(f"{name!r} cannot name an array in a file")
            if not DTYPES.fullmatch(array.dtype.str):
                raise ValueError(f"{name} has dtype {array.dtype}, which no file holds")
            with archive.open(member, "w", force_zip64=True) as file:
                np.lib.format.write_array(file, array, version=(1, 0), allow_pickle=False)
    return packed.getbuffer()


def unpack(path: str | Path) -> dict[str, npt.NDArray[Any]]:
    """Return the arrays of an npz file.

    Parameters
    ----------
    path : str or Path

    Returns
    -------
    dict
        From name to array, all of them together no larger than the file.

    Raises
    ------
    NotAnArchive
        If the file is damaged, or holds compressed members, pickles or anything else that `pack` never writes.
    FileNotFoundError
        If the file does not exist.

    Examples
    --------
    >>> unpack(__file__)
    Traceback (most recent call last):
        ...
    duonet.archive.NotAnArchive: it is not a complete zip archive
    """
    with open(path, "rb") as file:
        try:
            with zipfile.ZipFile(file) as archive:
                members = archive.infolist()
                _check(members, os.fstat(file.fileno()).st_size)
                return {m.filename.removesuffix(".npy"): _array(m.filename, archive.read(m)) for m in members}
        except (NotAnArchive, MemoryError):
            raise
        except Exception as error:  # a damaged zip fails in a dozen ways
            raise NotAnArchive("it is not a complete zip archive") from error


def _check(members, size):
    """Refuse members that would unpack to more than the file, or that are not arrays."""
    names = set()
    for member in members:
        name = f"{member.filename!r:.80}"
        if not member.filename.endswith(".npy"):
            raise NotAnArchive(f"{name} in it is not an array")
        if member.compress_type != zipfile.ZIP_STORED or member.flag_bits & ~UTF_8:
            raise NotAnArchive(f"{name} in it is compressed or encrypted, unlike the files of duonet")
        if member.filename in names:
            raise NotAnArchive(f"{name} is in it twice")
        names.add(member.filename)
    if sum(member.file_size for member in members) > size or any(m.compress_size != m.file_size for m in members):
        raise NotAnArchive("its members claim to be larger than the file")


def _array(name, raw):
    """Read a member in NumPy's format 1.0, whose header is a fixed line of text."""
    end = len(MAGIC) + 2
    end += int.from_bytes(raw[len(MAGIC) : end], "little")
    header = HEADER.fullmatch(raw[len(MAGIC) + 2 : end]) if raw.startswith(MAGIC) else None
    if header is None or not DTYPES.fullmatch(header["dtype"].decode("latin-1")):
        raise NotAnArchive(f"{name!r:.80} in it is not an array of numbers or text")
    dtype = np.dtype(header["dtype"].decode())
    shape = tuple(int(n) for n in re.findall(rb"\d+", header["shape"]))
    if math.prod(shape) * dtype.itemsize != len(raw) - end:
        raise NotAnArchive(f"{name!r:.80} in it does not have the size that its header states")
    order = "F" if header["fortran"] == b"True" else "C"
    return np.frombuffer(bytearray(memoryview(raw)[end:]), dtype).reshape(shape, order=order)
