"""A stand-in for CuPy, so that tests without a GPU meet what a GPU would refuse.

`cupy` is a module whose arrays are NumPy's memory behind CuPy's manners: another class, never mixed with NumPy's
arrays, never converted without `.get()`, results that stay 0-d arrays, indices that wrap around, and only those
names and keywords that CuPy has (`test_standin.py` checks them against the real one where it is installed).
`no_sync()` refuses everything that makes the host wait for the GPU.

Its RawModule is that of `tests/shim`, which runs the kernels' own sources.
"""

import types

import numpy as np
import shim

from standin import functions
from standin.array import Device, HostSync, OutOfMemoryError, State, no_sync, sync, wrap

__all__ = ["HostSync", "State", "cupy", "no_sync"]

DEVICES = 2


class Generator:
    """As `cupy.random.Generator`: it has no normal, permutation, shuffle and choice."""

    def __init__(self, seed=None):
        self._rng = np.random.default_rng(seed)

    def random(self, size=None, dtype=np.float64):
        return wrap(self._rng.random(size, dtype))

    def standard_normal(self, size=None, dtype=np.float64):
        return wrap(self._rng.standard_normal(size, dtype))

    def uniform(self, low=0.0, high=1.0, size=None, dtype=np.float64):
        return wrap(self._rng.uniform(low, high, size).astype(dtype))

    def integers(self, low, high=None, size=None, dtype=np.int64):
        return wrap(self._rng.integers(low, high, size, dtype))


def _module():
    functions.install()
    cupy = types.ModuleType("cupy")
    cupy.__version__ = "14.2.0"
    vars(cupy).update(functions.namespace())
    space = types.SimpleNamespace
    cupy.lib = space(stride_tricks=space(as_strided=functions.as_strided))
    cupy.random = space(Generator=Generator, default_rng=Generator)
    cupy.get_default_memory_pool = lambda: State.pool
    cupy.cuda = space(
        Device=Device,
        memory=space(OutOfMemoryError=OutOfMemoryError),
        runtime=space(getDeviceCount=lambda: DEVICES, deviceSynchronize=lambda: sync("deviceSynchronize")),
    )
    cupy.RawModule = shim.RawModule
    return cupy


cupy = _module()
