"""Make or open the folder of a run, for one process alone, and keep the run's settings there."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from duonet import data
from duonet.experiments.run_folder import CannotWrite, locked, made_settings, writing
from duonet.experiments.run_settings import RunSettings, read_toml


def saved_settings(out: str | Path) -> RunSettings:
    """Read the settings of the run in a folder.

    Parameters
    ----------
    out : Path
        The folder.

    Returns
    -------
    RunSettings

    Raises
    ------
    ValueError
        If the folder holds no run, or its settings.toml is damaged.

    Examples
    --------
    >>> saved_settings("nosuch")
    Traceback (most recent call last):
        ...
    ValueError: nosuch holds no run of duonet train: it has no settings.toml
    """
    path = Path(out) / "settings.toml"
    if not path.is_file():
        raise ValueError(f"{out} holds no run of duonet train: it has no settings.toml")
    values = read_toml(path)
    if missing := [name for name in ("model", "dataset") if name not in values]:
        raise ValueError(f"{path} is damaged: it does not give {' and '.join(missing)}")
    return made_settings(path, values)


def check_resumed(out: Path, settings: RunSettings) -> None:
    """Refuse settings that differ from those of the run in a folder, and images that are no longer there.

    Parameters
    ----------
    out : Path
    settings : RunSettings
        Resolved.

    Raises
    ------
    ValueError
        If a setting differs, or the folder of images is gone; the message names the differences.
    """
    if differences := saved_settings(out).differences(settings):
        raise ValueError(f"{out} was started with other settings: {'; '.join(differences)}")
    if settings.dataset not in data.NAMES and not Path(settings.dataset).is_dir():
        raise ValueError(
            f"the images of {out} are no longer in {settings.dataset}; give their folder: "
            f"duonet train {settings.model} FOLDER --resume {out}"
        )


@contextlib.contextmanager
def opened(out: Path, resume: bool) -> Iterator[None]:
    """Hold the folder of a run, so that no other process trains there.

    Parameters
    ----------
    out : Path
    resume : bool
        Whether the folder is there already.

    Yields
    ------
    None

    Raises
    ------
    FileExistsError, RunInUse, CannotWrite
        If a new folder is not empty; if another process trains in it; if it cannot be written to.
    """
    if not resume:
        _make_folder(out)
    with locked(out):
        for leftover in out.glob(".*.part*"):  # from a run that was killed while it wrote
            leftover.unlink()
        yield


def write_settings(out: Path, settings: RunSettings, resume: bool) -> None:
    """Write settings.toml, unless it has the same content already.

    Parameters
    ----------
    out : Path
    settings : RunSettings
    resume : bool
        Whether the run was there already.

    Raises
    ------
    CannotWrite
    """
    if not resume or saved_settings(out) != settings:  # the data may lie elsewhere now
        with writing(out / "settings.toml"):
            settings.save(out / "settings.toml")


def _make_folder(out):
    """Make the folder; an empty one may exist, as when a run was killed before it had written anything."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise
    except OSError as error:
        raise CannotWrite(f"the folder {out} cannot be made ({error.strerror})") from error
    if any(not path.name.startswith(".") for path in out.iterdir()):
        raise FileExistsError(out)
