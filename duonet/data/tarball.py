"""Files of a tar.gz archive, read into memory; an unusual archive is refused."""

import gzip
import tarfile
import zlib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from duonet.data.dataset import DataError, bad_file

SPARE = 2**24  # bytes that an archive may hold beside the wanted files


def read_members(path: Path, sizes: Mapping[str, int]) -> dict[str, bytes]:
    """Read files of an archive, and read the archive to its end, where the checksum is.

    Parameters
    ----------
    path : Path
    sizes : dict
        From a file's name in the archive, "folder/file", to its bytes.

    Returns
    -------
    dict
        From a file's name to its contents.

    Raises
    ------
    DataError
        If the archive is truncated, damaged, or followed by other bytes; if it has a link, a member that leads
        outside, or far more bytes than the files; if a file is missing, of the wrong size, or there twice.
    """
    found: dict[str, bytes] = {}
    try:
        with gzip.open(path) as unpacked:
            bounded: Any = _Bounded(path, unpacked, sum(sizes.values()) + SPARE)
            with tarfile.open(fileobj=bounded, mode="r|") as tar:
                for member in tar:
                    _collect(path, tar, member, sizes, found)
                # gzip's checksum stands behind the bytes that tar reads.
                while rest := tar.fileobj.read(2**20):
                    if rest.strip(b"\0"):
                        raise DataError(f"{path}: damaged, or two archives in one: there are bytes behind its end")
    except DataError:
        raise
    except (tarfile.TarError, OSError, EOFError, zlib.error, ValueError, OverflowError) as error:
        raise bad_file(path, error, "truncated, or not a tar.gz archive") from None
    if missing := [name for name in sizes if name not in found]:
        raise DataError(f"{path}: has no {', '.join(missing)}")
    return found


def _collect(path, tar, member, sizes, found):
    name = PurePosixPath(member.name)
    if name.is_absolute() or ".." in name.parts or not (member.isfile() or member.isdir()):
        raise DataError(f"{path}: refused, its member {member.name!r} is a link or leads outside")
    name = str(name)
    if name in sizes and member.isfile():
        if name in found:
            raise DataError(f"{path}: has {name} twice")
        if member.size != sizes[name]:
            raise DataError(f"{path}: wrong size of {name}: {member.size:,} bytes, expected {sizes[name]:,}")
        found[name] = tar.extractfile(member).read()


class _Bounded:
    """The unpacked bytes of a file, up to a limit: a small file can unpack to any size."""

    def __init__(self, path, unpacked, limit):
        self.path, self.unpacked, self.limit, self.left = path, unpacked, limit, limit

    def read(self, n):
        content = self.unpacked.read(n)
        self.left -= len(content)
        if self.left < 0:
            raise DataError(f"{self.path}: refused, it unpacks to more than {self.limit:,} bytes")
        return content
