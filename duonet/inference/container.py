"""The file of a packed network: 16 bytes, a description in JSON, the arrays one after the other, and a checksum.

| bytes | what |
|---|---|
| 8 | `MAGIC` |
| 4 | number of the format, little-endian |
| 4 | length of the description, little-endian |
| so many | the description: JSON in ASCII, with a record for every layer that lists its arrays: dtype and shape |
| so many | the arrays in the order of the records, row by row, little-endian; bool as bits, the first lowest |
| 32 | SHA-256 of everything before |
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from duonet.arguments import instance
from duonet.files import replacing
from duonet.inference.layers import Layer, Sum
from duonet.inference.network import PackedNetwork
from duonet.inference.records import DEEP, layer_of, record_of
from duonet.version import VERSION

MAGIC = b"\x89duonet\n"
FORMAT = 1
HEAD = struct.Struct("<8sII")
CHECKSUM = 32
LARGEST = 1 << 32  # bytes of a file, at most
DTYPES = {"bits": np.dtype(bool), "i2": np.dtype("<i2"), "i4": np.dtype("<i4"), "f4": np.dtype("<f4")}
NAMES = {np.dtype(bool): "bits", np.dtype(np.int16): "i2", np.dtype(np.int32): "i4", np.dtype(np.float32): "f4"}


class PackedFileError(ValueError):
    """A file that is damaged, not a packed network or from a newer duonet, or a network that no file can hold."""


def save_packed(path: str | Path, network: PackedNetwork) -> None:
    """Write a packed network to a file; the complete new file replaces an older file.

    Parameters
    ----------
    path : str or Path
    network : PackedNetwork
        A network with the shape of its input: `pack(model, in_shape)`.

    Raises
    ------
    PackedFileError
        If the network has no input shape, or `about` holds something that JSON cannot.
    TypeError
        If `network` is not a PackedNetwork.

    Examples
    --------
    >>> import tempfile
    >>> from duonet import models, pack
    >>> model = models.mlp("baseline", 6, (70, 70), 3, "binary", rng=np.random.default_rng(0)).eval()
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_packed(f"{folder}/a.duo", pack(model, in_shape=(6,)))
    ...     load_packed(f"{folder}/a.duo")
    PackedNetwork: 4 float layers, 1 of bits
    """
    instance("save_packed", "network", network, PackedNetwork)
    try:
        packed = to_bytes(network)
        from_bytes(packed)  # what is written can be read
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise PackedFileError(f"save_packed: {error}") from None
    with replacing(path) as part:
        part.write_bytes(packed)


def load_packed(path: str | Path) -> PackedNetwork:
    """Read a packed network.

    Parameters
    ----------
    path : str or Path

    Returns
    -------
    PackedNetwork

    Raises
    ------
    PackedFileError
        If the file is damaged, not a packed network, or from a newer duonet; the message says which.
    FileNotFoundError
        If the file does not exist.

    Examples
    --------
    >>> load_packed(__file__)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    duonet.inference.container.PackedFileError: load_packed: ... is not a packed network
    """
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        raw = file.read(size) if size < LARGEST else b""
    try:
        return from_bytes(raw)
    except ValueError as error:
        raise PackedFileError(f"load_packed: {path} {error}") from None


def to_bytes(network: PackedNetwork) -> bytes:
    """Return the bytes of a network's file; the same network always gives the same bytes.

    Parameters
    ----------
    network : PackedNetwork

    Returns
    -------
    bytes

    Raises
    ------
    ValueError
        If the network has no input shape.
    """
    if network.in_shape is None:
        raise ValueError("the network does not say what its input is: pack(model, in_shape=(H, W, C))")
    arrays: list[bytes] = []
    description = {
        "duonet": VERSION,
        "in_shape": list(network.in_shape),
        "about": network.about,
        "layers": _records(network.layers, arrays),
    }
    text = json.dumps(description, separators=(",", ":"), allow_nan=False).encode("ascii")
    body = b"".join([HEAD.pack(MAGIC, FORMAT, len(text)), text, *arrays])
    return body + hashlib.sha256(body).digest()


def from_bytes(raw: bytes) -> PackedNetwork:
    """Return the network of a file's bytes.

    Parameters
    ----------
    raw : bytes

    Returns
    -------
    PackedNetwork

    Raises
    ------
    ValueError
        If the bytes are not a packed network; the message says why.
    """
    if len(raw) < HEAD.size or raw[:8] != MAGIC:
        raise ValueError("is not a packed network")
    _, number, length = HEAD.unpack(raw[: HEAD.size])
    if number > FORMAT:
        raise ValueError(f"is of format {number}, and this duonet reads up to {FORMAT}: it is from a newer duonet")
    body, digest = raw[:-CHECKSUM], raw[-CHECKSUM:]
    if number < 1 or HEAD.size + length > len(body) or hashlib.sha256(body).digest() != digest:
        raise ValueError("is damaged: its checksum does not match its contents")
    try:
        description = json.loads(body[HEAD.size : HEAD.size + length].decode("ascii"))
    except (ValueError, RecursionError):
        raise ValueError("is damaged: its description is not JSON") from None
    _must(
        isinstance(description, dict) and {"in_shape", "about", "layers"} <= description.keys(), "says too little"
    )
    reader = _Reader(body[HEAD.size + length :])
    layers = _layers(description["layers"], reader, DEEP)
    _must(reader.at == len(reader.raw), "holds more than it says")
    shape = description["in_shape"]
    _must(isinstance(shape, list) and len(shape) in (1, 3) and all(map(_positive, shape)), "has an odd in_shape")
    _must(math.prod(shape) < 1 << 26, "has an in_shape that is too large")
    network = PackedNetwork(layers, tuple(shape), _about(description["about"], shape))
    _must(len(network.out_shape) == 1, "does not give one number for each class")
    names = network.about.get("class_names")
    _must(names is None or len(names) == network.out_shape[0], "has other classes than class names")
    return network


def array_bytes(arrays: Iterable[npt.NDArray[Any]]) -> int:
    """Count the bytes that some arrays take in a file.

    Parameters
    ----------
    arrays : iterable of numpy.ndarray

    Returns
    -------
    int

    Examples
    --------
    >>> array_bytes([np.ones(9, bool), np.ones(2, np.float32)])
    10
    """
    return sum(len(_raw(array)) for array in arrays)


def _raw(array: npt.NDArray[Any]) -> bytes:
    if array.dtype == bool:
        return np.packbits(array.ravel(), bitorder="little").tobytes()
    return np.ascontiguousarray(array, DTYPES[NAMES[array.dtype]]).tobytes()


def _records(layers: Iterable[Layer], arrays: list[bytes]) -> list[dict[str, Any]]:
    """Describe layers, and add their arrays."""
    records: list[dict[str, Any]] = []
    for layer in layers:
        if isinstance(layer, Sum):
            paths = {"body": _records(layer.body, arrays), "shortcut": _records(layer.shortcut, arrays)}
            records.append({"kind": layer.kind, "path": layer.path} | paths)
            continue
        record, own = record_of(layer)
        record["arrays"] = {name: [NAMES[array.dtype], list(array.shape)] for name, array in own.items()}
        arrays += [_raw(array) for array in own.values()]
        records.append(record)
    return records


class _Reader:
    """The arrays of a file, one after the other."""

    def __init__(self, raw: bytes) -> None:
        self.raw, self.at = raw, 0

    def array(self, said: Any) -> npt.NDArray[Any]:
        """Read the next array, after a check of its dtype and shape."""
        fits = isinstance(said, list) and len(said) == 2 and isinstance(said[0], str) and said[0] in DTYPES
        _must(
            fits and isinstance(said[1], list) and all(map(_positive, said[1])) and len(said[1]) < 5,
            "has odd arrays",
        )
        name, shape = said
        count = math.prod(shape)
        size = -(-count // 8) if name == "bits" else count * DTYPES[name].itemsize
        _must(self.at + size <= len(self.raw), "holds less than it says")
        raw = np.frombuffer(self.raw, np.uint8, size, self.at)
        self.at += size
        if name == "bits":
            return np.unpackbits(raw, count=count, bitorder="little").view(bool).reshape(shape)
        return raw.view(DTYPES[name]).astype(DTYPES[name].newbyteorder("=")).reshape(shape)


def _layers(records: object, reader: _Reader, deep: int) -> list[Layer]:
    _must(isinstance(records, list) and deep > 0, "lists no layers")
    layers: list[Layer] = []
    for record in records:  # type: ignore[attr-defined]
        _must(isinstance(record, dict) and isinstance(record.get("path"), str), "has a layer without a path")
        _must(isinstance(record.get("kind"), str), "has a layer without a kind")
        if record["kind"] == "sum":
            _must(record.keys() == {"kind", "path", "body", "shortcut"}, "has a sum without two paths")
            body, shortcut = (_layers(record[name], reader, deep - 1) for name in ("body", "shortcut"))
            layers.append(Sum(record["path"], body, shortcut))
            continue
        said = record.pop("arrays", None)
        _must(isinstance(said, dict), "has a layer without a list of arrays")
        assert isinstance(said, dict)
        layers.append(layer_of(record, {name: reader.array(what) for name, what in said.items()}))
    return layers


def _about(about: object, shape: list[int]) -> dict[str, Any]:
    """Check the facts about images and classes."""
    _must(isinstance(about, dict), "says nothing about its images")
    assert isinstance(about, dict)
    names = about.get("class_names")
    _must(names is None or isinstance(names, list) and all(type(n) is str for n in names), "has odd class names")
    for name in ("mean", "std"):
        numbers = about.get(name)
        if numbers is not None:
            _must(isinstance(numbers, list) and len(numbers) == shape[-1], f"has an odd {name}")
            _must(all(type(n) in (int, float) and abs(n) < 1e9 for n in numbers), f"has an odd {name}")
            _must(name == "mean" or min(numbers) > 0, f"has an odd {name}")
    return about


def _positive(n: object) -> bool:
    return type(n) is int and 0 < n < 1 << 32


def _must(holds: object, what: str) -> None:
    if not holds:
        raise ValueError(f"is damaged: it {what}")
