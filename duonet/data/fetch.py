"""Data files: from the user's folder, or downloaded once, checked, and kept."""

import contextlib
import hashlib
import os
import re
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

from duonet.data.dataset import DataError
from duonet.text import printable

VARIABLE = "DUONET_DATA"
TEMPORARY = re.compile("tmp[a-z0-9_]{8}")  # pooch's name of an incomplete file


def cache_folder() -> Path:
    """Return the folder of downloaded files: `DUONET_DATA`, else the platform's cache folder.

    Returns
    -------
    Path

    Examples
    --------
    >>> os.environ["DUONET_DATA"] = "/data"
    >>> cache_folder().as_posix()
    '/data'
    >>> del os.environ["DUONET_DATA"]
    """
    if os.environ.get(VARIABLE):
        return Path(os.environ[VARIABLE]).expanduser()
    return Path(_pooch().os_cache("duonet"))


def fetch(name: str, file: str, sha256: str, addresses: Sequence[str]) -> Path:
    """Return a data file from the cache; download it first if it is missing or incomplete.

    A file gets its name in the cache only once it is complete and its checksum is right. After an interruption,
    finished files are not downloaded again, and the remains of unfinished files are removed.

    Parameters
    ----------
    name : str
        The name of the data set: a folder in the cache, and the word in messages.
    file : str
    sha256 : str
    addresses : sequence of str
        Addresses of the folder that holds the file, tried one after the other.

    Returns
    -------
    Path

    Raises
    ------
    DataError
        If no address gives the right file; the message has the answer of each address.
    """
    folder = cache_folder() / name
    reasons = []
    for address in addresses:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            pooch = _pooch()
            # A TypeError here would be ours; these are the network's and the disk's, and pooch's for a wrong hash.
            with _downloading(folder):
                return Path(
                    pooch.retrieve(
                        f"{address.rstrip('/')}/{file}",
                        f"sha256:{sha256}",
                        fname=file,
                        path=folder,
                        progressbar=True,
                    )
                )
        except (OSError, ValueError) as error:
            reasons.append(f"{address}: {_words(error)}")
    raise DataError(
        f"{name}: {file} could not be downloaded ({'; '.join(reasons) or 'no address'}); "
        f"get it elsewhere and give its folder, or put it into {folder}"
    )


@contextlib.contextmanager
def _downloading(folder):
    """Hold a lock during a download; if no other download runs, first remove the files of killed downloads."""
    try:
        import fcntl
    except ImportError:  # on Windows these files stay
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # another download, or a file system without locks
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for path in folder.glob("tmp*"):
                if TEMPORARY.fullmatch(path.name) and path.is_file():
                    path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_SH)  # the system releases it at any end of this process
        yield
    finally:
        os.close(descriptor)


def _words(error):
    """Return the message of the disk, the network or the server as one short line."""
    chain = [error]
    while inner := chain[-1].__cause__ or chain[-1].__context__:
        chain.append(inner)
    # The innermost error is the system's; the errors around it speak of the libraries' objects.
    for inner in reversed(chain):
        if isinstance(inner, OSError) and inner.strerror:
            return printable(f"{inner.strerror}{f': {inner.filename}' if inner.filename else ''}")
    # The words of a server's answer or of a wrong checksum help; those of a failed connection are too many.
    told = isinstance(error, ValueError) or getattr(error, "response", None) is not None
    return printable(str(error)) if told else type(error).__name__


def locate(name: str, folder: str | Path | None, file: str, sha256: str, addresses: Sequence[str]) -> Path:
    """Return a data file from the user's folder if there is one, else from the cache.

    Parameters
    ----------
    name, file, sha256, addresses
        As in `fetch`.
    folder : str, Path or None
        May contain the file under its name, with a dot for the hyphen before "idx", without ".gz", or in a folder
        with such a name.

    Returns
    -------
    Path

    Raises
    ------
    DataError
        If the folder has no such file; further as `fetch`.
    """
    if folder is None:
        return fetch(name, file, sha256, addresses)
    found = find_file(Path(folder), file)
    if found is None:
        raise DataError(f"{name}: {folder} has no {file}")
    return found


def find_file(folder: Path, file: str) -> Path | None:
    """Return a file of a folder under one of its usual names, or None.

    Parameters
    ----------
    folder : Path
    file : str
        Its published name.

    Returns
    -------
    Path or None
    """
    names = [
        name
        for spelling in (file, file.replace("-idx", ".idx"))
        for name in (spelling, spelling.removesuffix(".gz"))
    ]
    candidates = [folder / name for name in names] + [folder / outer / inner for outer in names for inner in names]
    return next((path for path in candidates if path.is_file()), None)


def find_place(name: str, folder: Path, holds: Callable[[Path], object]) -> Path | None:
    """Return the folder that holds a data set: `folder` itself, or a single folder up to two levels deeper.

    Parameters
    ----------
    name : str
        The name of the data set, for the message.
    folder : Path
    holds : callable
        From a folder to whether it holds the data set.

    Returns
    -------
    Path or None

    Raises
    ------
    DataError
        If several folders hold the data set.
    """
    if holds(folder):
        return folder
    for depth in ("*", "*/*"):
        places = [path for path in sorted(folder.glob(depth)) if path.is_dir() and holds(path)]
        if len(places) > 1:
            raise DataError(f"{name}: {folder} holds it more than once; give {places[0]} or {places[1]}")
        if places:
            return places[0]
    return None


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file.

    Parameters
    ----------
    path : Path

    Returns
    -------
    str

    Examples
    --------
    >>> sha256_of(Path(os.devnull))[:8]
    'e3b0c442'
    """
    sha256 = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            sha256.update(block)
    return sha256.hexdigest()


def warn_of_files(name: str, differing: Sequence[Path | str] = (), unknown: Sequence[Path | str] = ()) -> None:
    """Warn of files that differ from the published files, and of files with unknown checksums.

    Parameters
    ----------
    name : str
        The name of the data set.
    differing, unknown : list of Path or str
    """
    for files, what in (
        (differing, "not as published, by the checksum: damaged, or another data set; used all the same"),
        (unknown, "without a known checksum: damage would not be noticed"),
    ):
        if files:
            more = f" and {len(files) - 1} more" if len(files) > 1 else ""
            warnings.warn(f"{name}: {files[0]}{more}: {what}", stacklevel=2)


def _pooch():
    try:
        import pooch
    except ImportError:
        raise DataError("downloading needs pooch (pip install pooch); or give the folder of the files") from None
    pooch.get_logger().setLevel("WARNING")
    return pooch
