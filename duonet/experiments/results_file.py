"""results.json: what every experiment's run folder holds."""

import json
import platform
import sys

import numpy as np

import duonet
from duonet.files import replacing


class ResultsFile:
    """A dict that is written to results.json whole, as often as there is something new.

    Parameters
    ----------
    out : Path
        An existing folder.
    settings : dict

    Attributes
    ----------
    values : dict
        What the file holds: settings, versions, whether the run is complete, and what the experiment adds.
    indent : int or None
        As `json.dumps` takes it.
    """

    indent = 1

    def __init__(self, out, settings):
        self.out = out
        self.values = {"complete": False, "settings": settings, "versions": versions()}

    def finish(self, seconds):
        """Mark the run complete and return what the file holds."""
        self.values |= {"complete": True, "seconds": seconds, "peak_memory_mib": _peak_memory_mib()}
        self.save()
        return self.values

    def save(self):
        """Write the file, whole."""
        with replacing(self.out / "results.json") as part:
            part.write_text(json.dumps(self.values, indent=self.indent) + "\n")


def versions():
    """Return the versions of duonet, NumPy and Python, and the platform.

    Returns
    -------
    dict
    """
    return {
        "duonet": duonet.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
    }


def _peak_memory_mib():
    """Return the largest memory this process has held, or None where the system does not say."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)
