"""What the commands say when a folder is not as it should be."""

import contextlib


@contextlib.contextmanager
def words_for(command, out):
    """Say in words what is wrong with the run folder.

    Parameters
    ----------
    command : str
    out : Path

    Yields
    ------
    None

    Raises
    ------
    ValueError
        Instead of an OSError.
    """
    try:
        yield
    except FileExistsError:
        raise ValueError(
            f"{command}: --out {out} exists; give a new folder, so that no result is overwritten"
        ) from None
    except OSError as error:
        raise ValueError(f"{command}: --out {out} cannot be written: {error.strerror}") from None
