"""Writing files so that none is ever half-written."""

import contextlib
import errno
import os
from pathlib import Path


@contextlib.contextmanager
def replacing(path):
    """Give a temporary path to write to; when the block ends it becomes `path`, if it fails it is removed.

    Parameters
    ----------
    path : str or Path

    Yields
    ------
    Path
        In the same folder, with the same suffix.

    Raises
    ------
    FileNotFoundError
        If the folder does not exist.

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
    if not path.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "There is no such folder", str(path.parent))
    part = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        yield part
        with open(part, "rb+") as file:
            os.fsync(file.fileno())  # a power cut must not leave the new name with old or no contents
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
