"""Writing of files, none of which is ever half-written."""

import contextlib
import errno
import os
import secrets
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path for a new file: it becomes `path` when the block ends, and goes if the block fails.

    A link stays, and its target is written. An existing file keeps its mode, and its owner if the system allows
    this. A pipe, a terminal or another device receives the contents, and is never replaced.

    Parameters
    ----------
    path : str or Path

    Yields
    ------
    Path
        An empty file of the same suffix, in the folder of the new file.

    Raises
    ------
    OSError
        If the folder does not exist or cannot be written to, or `path` is a folder, a socket, a disk or
        write-protected: all checked before the block begins.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with replacing(f"{folder}/a.txt") as part:
    ...         _ = part.write_text("whole")
    ...     Path(f"{folder}/a.txt").read_text()
    'whole'
    """
    path = Path(path)
    target = Path(os.path.realpath(path))
    try:
        before = os.stat(path)
    except FileNotFoundError:
        before = None
    stream = None if before is None else _stream(before)
    if before is not None:
        _check(path, before, stream)
    if before is None or (stat.S_ISREG(before.st_mode) and target.exists() and stream is None):
        yield from _renamed(target, before)
    else:
        yield from _poured(path, stream)


def _renamed(target, before):
    """Write beside the target and rename."""
    if not target.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "There is no such folder", str(target.parent))
    part = target.with_name(f".{secrets.token_hex(8)}.part{target.suffix[:9]}")
    mode = 0o666 if before is None else before.st_mode & 0o666 | 0o600
    try:
        try:
            os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode))
        except OSError as error:
            reason = f"No file can be made there ({error.strerror})"
            raise OSError(error.errno, reason, str(target.parent)) from None
        yield part
        with open(part, "rb+") as file:
            os.fsync(file.fileno())  # a power cut must not leave the new name with old or no contents
        if before is not None:
            _dress(part, before)
        os.replace(part, target)
        _settle(target.parent)
    finally:
        part.unlink(missing_ok=True)


def _poured(path, stream):
    """Write to a pipe or another device, once the contents are complete."""
    with tempfile.TemporaryDirectory() as folder:
        part = Path(folder, f"part{path.suffix[:9]}")
        part.touch()
        yield part
        if stream is not None:
            stream.flush()
        descriptor = os.open(path, os.O_WRONLY) if stream is None else os.dup(stream.fileno())
        with open(part, "rb") as source, open(descriptor, "wb") as sink:
            shutil.copyfileobj(source, sink)


def _check(path, before, stream):
    if stat.S_ISDIR(before.st_mode):
        raise IsADirectoryError(errno.EISDIR, "Is a folder", str(path))
    if stat.S_ISSOCK(before.st_mode) or stat.S_ISBLK(before.st_mode):
        raise OSError(errno.EINVAL, "Is neither a file nor a pipe", str(path))
    if stream is None and not os.access(path, os.W_OK):
        raise PermissionError(errno.EACCES, "Is write-protected", str(path))


def _stream(status):
    """Return the standard stream with this status, or None: a new file would lose the printed lines."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, OSError, ValueError):  # closed, or missing
            if os.path.samestat(os.fstat(stream.fileno()), status):
                return stream
    return None


def _dress(part, before):
    """Give the file the owner and mode of its predecessor."""
    now = os.stat(part)
    if (now.st_uid, now.st_gid) != (before.st_uid, before.st_gid):
        with contextlib.suppress(PermissionError):
            os.chown(part, before.st_uid, before.st_gid)
    os.chmod(part, stat.S_IMODE(before.st_mode))


def _settle(folder):
    """Make the new name survive a power cut if the folder can be synchronised."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
