"""Data files: from a folder that the user has, or downloaded once, checked, and kept."""

import os
from pathlib import Path

from duonet.data.dataset import DataError

VARIABLE = "DUONET_DATA"


def cache_folder():
    """Return where downloaded files are kept: `DUONET_DATA`, else the platform's cache folder.

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


def fetch(name, file, sha256, addresses):
    """Return a data file from the cache, downloading it first if it is not there whole.

    A file gets its name in the cache only once it is complete and its checksum is right; after an interruption
    the files that were finished are not downloaded again.

    Parameters
    ----------
    name : str
        Of the data set: a folder in the cache, and the word in messages.
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
        If no address gives the right file; says what each one gave.

    Examples
    --------
    >>> fetch("nothing", "a.gz", 64 * "0", [])  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    duonet.data.dataset.DataError: nothing: a.gz could not be downloaded (no address); ...
    """
    folder = cache_folder() / name
    reasons = []
    for address in addresses:
        try:
            pooch = _pooch()
            # A TypeError here would be ours; these are the network's and the disk's, and pooch's for a wrong hash.
            return Path(
                pooch.retrieve(
                    f"{address.rstrip('/')}/{file}", f"sha256:{sha256}", fname=file, path=folder, progressbar=True
                )
            )
        except (OSError, ValueError) as error:
            # What a server answered, or a wrong checksum, is worth its words; a failed connection has too many.
            told = isinstance(error, ValueError) or getattr(error, "response", None) is not None
            reasons.append(f"{address}: {' '.join(str(error).split()) if told else type(error).__name__}")
    raise DataError(
        f"{name}: {file} could not be downloaded ({'; '.join(reasons) or 'no address'}); "
        f"get it elsewhere and give its folder, or put it into {folder}"
    )


def locate(name, folder, file, sha256, addresses):
    """Return a data file from the user's folder where one is given, else from the cache.

    Parameters
    ----------
    name, file, sha256, addresses
        As for `fetch`.
    folder : str, Path or None
        May hold the file under its name, or without the ".gz".

    Returns
    -------
    Path

    Raises
    ------
    DataError
        If the folder has no such file, or as for `fetch`.

    Examples
    --------
    >>> locate("mnist", "/nowhere", "a.gz", None, [])
    Traceback (most recent call last):
        ...
    duonet.data.dataset.DataError: mnist: /nowhere has no a.gz
    """
    if folder is None:
        return fetch(name, file, sha256, addresses)
    for candidate in (Path(folder) / file, Path(folder) / file.removesuffix(".gz")):
        if candidate.is_file():
            return candidate
    raise DataError(f"{name}: {folder} has no {file}")


def _pooch():
    try:
        import pooch
    except ImportError:
        raise DataError("downloading needs pooch (pip install pooch); or give the folder of the files") from None
    pooch.get_logger().setLevel("WARNING")
    return pooch
