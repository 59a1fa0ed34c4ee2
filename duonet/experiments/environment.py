"""Where a result was made: versions, platform, memory."""

import platform
import sys

import numpy as np

from duonet import compiled
from duonet.version import VERSION


def versions() -> dict[str, str]:
    """Return the versions of duonet, NumPy and Python, the platform, and which kernels run.

    Returns
    -------
    dict

    Examples
    --------
    >>> sorted(versions())
    ['duonet', 'kernels', 'numpy', 'platform', 'python']
    """
    return {
        "duonet": VERSION,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "kernels": compiled.in_force(),  # each rounds its sums in an order of its own
    }


def peak_memory_mib() -> float | None:
    """Return the largest memory that this process has held, in MiB, or None if the system does not report it.

    Returns
    -------
    float or None
    """
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)
