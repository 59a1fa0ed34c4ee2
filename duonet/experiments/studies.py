"""A study is a list of independent runs, each in a folder of its own, and one file of what they found."""

import json
import time
from pathlib import Path

from duonet.experiments.environment import peak_memory_mib, versions
from duonet.experiments.methods import METHODS
from duonet.experiments.training import saved_settings, train
from duonet.files import replacing

RESULTS = "results.json"


class Study:
    """A folder of runs and its results.json, which is rewritten whole whenever something is finished.

    Parameters
    ----------
    name : str
        Of the command, for messages.
    out : str or Path
        A new folder, or one of a study with the same settings, which continues.
    settings : dict
        What JSON can hold.
    indent : int or None
        As `json.dumps` takes it.

    Attributes
    ----------
    values : dict
        What results.json holds: settings, versions, whether the study is complete, seconds, and what it finds.

    Raises
    ------
    FileExistsError
        If `out` holds something else.
    ValueError
        If it holds a study with other settings; says which differ.
    """

    def __init__(self, name, out, settings, indent=1):
        self.out, self.indent = Path(out), indent
        self.values = {"complete": False, "settings": settings, "versions": versions(), "seconds": 0.0}
        self.out.mkdir(parents=True, exist_ok=True)
        if (self.out / RESULTS).is_file():
            self.values = self._earlier(name, settings)
        elif any(self.out.iterdir()):
            raise FileExistsError(self.out)
        self.started = time.perf_counter() - self.values["seconds"]
        self.save()

    def _earlier(self, name, settings):
        values = read_results(self.out)
        theirs = values["settings"]
        if differences := [f"{k} {theirs.get(k)} and {v}" for k, v in settings.items() if theirs.get(k) != v]:
            raise ValueError(f"{name}: {self.out} holds a study with other settings: {', '.join(differences)}")
        return values | {"complete": False}

    def run(self, name, settings, progress=True, prepare=None):
        """Train one network in the folder `name`, or go on with it, or take what it found if it is finished.

        Parameters
        ----------
        name : str
        settings : RunSettings
        progress : bool
        prepare : callable, optional
            As for `train`.

        Returns
        -------
        dict
            What the run's result.json holds.
        """
        folder = self.out / name
        if (folder / "result.json").is_file() and not saved_settings(folder).differences(settings.resolved()):
            return json.loads((folder / "result.json").read_text())
        begun = (folder / "settings.toml").is_file()
        label = f"seed {settings.seed}, {METHODS[settings.method].label}"
        return train(settings, folder, resume=begun, progress=progress, prepare=prepare, label=label)

    def finish(self):
        """Mark the study complete and return what its file holds."""
        self.values |= {"complete": True, "peak_memory_mib": peak_memory_mib()}
        self.save()
        return self.values

    def save(self):
        """Write results.json, whole."""
        self.values["seconds"] = time.perf_counter() - self.started
        with replacing(self.out / RESULTS) as part:
            part.write_text(json.dumps(self.values, indent=self.indent) + "\n")


def saved_study(name, folder, kind):
    """Read the settings of the study in a folder.

    Parameters
    ----------
    name : str
        Of the command, for messages.
    folder : str or Path
    kind : type
        Of the settings.

    Returns
    -------
    object
        Of that kind.

    Raises
    ------
    ValueError
        If the folder holds no such study.
    """
    values = read_results(folder)["settings"]
    try:
        return kind(**{key: tuple(v) if isinstance(v, list) else v for key, v in values.items()})
    except TypeError:
        raise ValueError(
            f"{name}: {folder} holds no study of duonet {name}: its settings are {', '.join(values)}"
        ) from None


def read_results(path):
    """Read what a study found, finished or not.

    Parameters
    ----------
    path : str or Path
        Its folder, or its results.json.

    Returns
    -------
    dict

    Raises
    ------
    ValueError
        If there is no study, or its file is damaged.
    """
    path = Path(path)
    path = path / RESULTS if path.is_dir() else path
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(values["settings"], dict) or not isinstance(values["seconds"], (int, float)):
            raise TypeError("settings or seconds are of the wrong kind")
    except FileNotFoundError:
        raise ValueError(f"{path.parent} holds no study: it has no {path.name}") from None
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{path} is damaged, or not the results of a study ({error})") from None
    return values
