"""A study is a list of independent runs, each in its own folder, and one file with all results."""

import dataclasses
import json
import time
from pathlib import Path
from typing import Any

from duonet.experiments.crew import Task
from duonet.experiments.environment import peak_memory_mib, versions
from duonet.experiments.methods import METHODS
from duonet.experiments.run_folder import read_result
from duonet.experiments.run_settings import RunSettings
from duonet.experiments.study_file import RESULTS, read_study
from duonet.experiments.training import saved_settings, train
from duonet.files import replacing
from duonet.text import tell


class Study:
    """A folder of runs and its results.json, which is rewritten whole whenever a run is finished.

    Parameters
    ----------
    name : str
        Name of the command, for messages.
    out : str or Path
        A new folder, or the folder of a study with the same settings, which continues.
    settings : dict
        Settings, of types that JSON has.
    fresh : dict
        Other values of the file, made anew whenever the study continues.
    kept : dict, optional
        First values of entries that a continued study keeps.
    indent : int or None
        As in `json.dumps`.
    progress : bool
        Print how to continue the study, unless it is complete.

    Attributes
    ----------
    values : dict
        The content of results.json: settings, versions, whether the study is complete, seconds, and results.

    Raises
    ------
    FileExistsError
        If `out` holds something else.
    ValueError
        If `out` holds a study with other settings; the message names the differences.
    """

    def __init__(
        self,
        name: str,
        out: str | Path,
        settings: dict[str, Any],
        fresh: dict[str, Any],
        kept: dict[str, Any] | None = None,
        indent: int | None = 1,
        progress: bool = False,
    ) -> None:
        self.name, self.out, self.indent = name, Path(out), indent
        values = {"complete": False, "settings": settings, "versions": versions(), "seconds": 0.0}
        self.out.mkdir(parents=True, exist_ok=True)
        begun = (self.out / RESULTS).is_file()
        # Hidden files are left over from a process that was killed before it had written anything.
        if not begun and any(not path.name.startswith(".") for path in self.out.iterdir()):
            raise FileExistsError(self.out)
        values = self._earlier(settings) if begun else values
        self.values = (kept or {}) | values | {"complete": False} | fresh
        self.started = time.perf_counter() - self.values["seconds"]
        if not begun:
            self.save()
        if progress and not values["complete"]:
            tell(f"stop at any moment; continue with: duonet {name} --resume {self.out}")

    def _earlier(self, settings):
        values = read_study(self.name, self.out, continued=True)
        theirs = values["settings"]
        both = {k: (theirs.get(k), settings.get(k)) for k in [*settings, *theirs]}
        if differences := [f"{k} {before} and {now}" for k, (before, now) in both.items() if before != now]:
            raise ValueError(
                f"{self.name}: {self.out} holds a study with other settings: {', '.join(differences)}"
            )
        return values

    def finished(self, name: str, settings: RunSettings) -> dict[str, Any] | None:
        """Return the result of the run in the folder `name`, or None if it is not finished.

        Parameters
        ----------
        name : str
        settings : RunSettings

        Returns
        -------
        dict or None
            The content of the run's result.json.
        """
        path = self.out / name / "result.json"
        if not path.is_file() or saved_settings(path.parent).differences(settings.resolved()):
            return None
        return read_result(path, settings.resolved())

    def task(self, name: str, settings: RunSettings, progress: bool) -> Task:
        """Return the task of training one network in the folder `name`, or of continuing it.

        Parameters
        ----------
        name : str
        settings : RunSettings
        progress : bool
            Show its epochs.

        Returns
        -------
        Task
            Its value is the content of the run's result.json.
        """
        return Task(name, _trained, (settings, progress), self.out / name)

    def finish(self) -> dict[str, Any]:
        """Mark the study complete, and return the content of its file."""
        self.values |= {"complete": True, "peak_memory_mib": peak_memory_mib()}
        self.save()
        return self.values

    def save(self) -> None:
        """Write results.json, whole."""
        self.values["seconds"] = time.perf_counter() - self.started
        with replacing(self.out / RESULTS) as part:
            part.write_text(json.dumps(self.values, indent=self.indent) + "\n")


def _trained(settings, progress, folder):
    begun = (folder / "settings.toml").is_file()
    label = f"seed {settings.seed}, {METHODS[settings.method].label}"
    return train(settings, folder, resume=begun, progress=progress, label=label)


def failure(settings: RunSettings, error: Exception) -> str:
    """Describe the error of a run, with its settings.

    Parameters
    ----------
    settings : RunSettings
    error : Exception

    Returns
    -------
    str

    Examples
    --------
    >>> failure(RunSettings("mlp", "mnist", seed=2), ValueError("no luck"))
    'ValueError: no luck (model mlp, dataset mnist, seed 2)'
    """
    given = [(field, getattr(settings, field.name)) for field in dataclasses.fields(settings)]
    words = ", ".join(f"{field.name} {value}" for field, value in given if value != field.default)
    return f"{type(error).__name__}: {error} ({words})"


def saved_study(name: str, folder: str | Path, kind: Any) -> Any:
    """Read the settings of the study in a folder.

    Parameters
    ----------
    name : str
        Name of the command, for messages.
    folder : str or Path
    kind : type
        Class of the settings.

    Returns
    -------
    object
        The settings, of that class.

    Raises
    ------
    ValueError
        If the folder holds no such study.

    Examples
    --------
    >>> saved_study("compare", "nosuch", dict)
    Traceback (most recent call last):
        ...
    ValueError: compare: --resume takes the folder of a study, and nosuch is not a folder
    """
    if not Path(folder).is_dir():
        raise ValueError(f"{name}: --resume takes the folder of a study, and {folder} is not a folder")
    values = read_study(name, folder, continued=True)["settings"]
    if odd := sorted(values.keys() - kind.__dataclass_fields__.keys()):
        raise ValueError(f"{name}: {folder}: its study has unknown settings: {', '.join(odd)}")
    try:
        return kind(**{key: tuple(v) if isinstance(v, list) else v for key, v in values.items()})
    except ValueError as error:
        raise ValueError(f"{folder} is damaged: {error}") from None
