import sys
import types

import numpy as np
import pytest

from duonet import backend


@pytest.fixture
def fresh():
    backend.why_no_gpu.cache_clear()
    yield
    backend.why_no_gpu.cache_clear()


def pretend_cupy(monkeypatch, devices):
    def count():
        if isinstance(devices, Exception):
            raise devices
        return devices

    cupy = types.ModuleType("cupy")
    cupy.__version__ = "14.0"
    cupy.ndarray = type("ndarray", (), {"dtype": np.dtype("float32"), "shape": (1,)})
    cupy.cuda = types.SimpleNamespace(runtime=types.SimpleNamespace(getDeviceCount=count))
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    return cupy


@pytest.mark.parametrize(
    "devices, reason",
    [
        (0, "finds no CUDA device"),
        (RuntimeError("no driver"), "no CUDA device answers .no driver."),
        (1, "answers"),
    ],
)
def test_importing_cupy_proves_nothing(monkeypatch, fresh, devices, reason):
    import re

    pretend_cupy(monkeypatch, devices)  # with one device and no arithmetic, the probe's sum fails
    assert re.search(reason, backend.why_no_gpu()) and not backend.gpu_available()
    with pytest.raises(RuntimeError, match="^no GPU: CuPy 14.0 is installed"):
        backend.to_device(np.zeros(1), "gpu")


class CUDARuntimeError(RuntimeError):
    """Named as CuPy's."""


INSUFFICIENT = CUDARuntimeError(
    "cudaErrorInsufficientDriver: CUDA driver version is insufficient for CUDA runtime version"
)
MISSING = RuntimeError(
    "CuPy failed to load libnvrtc.so.12: OSError: libnvrtc.so.12: cannot open shared object file: No such file"
)


@pytest.mark.parametrize(
    "error, driver, reason",
    [
        (INSUFFICIENT, 0, "is installed, but there is no NVIDIA driver (cudaErrorInsufficientDriver: "),
        (
            INSUFFICIENT,
            12040,
            "is built for CUDA 13, and the driver supports only CUDA 12; install cupy-cuda12x[ctk]",
        ),
        (
            MISSING,
            13000,
            "a CUDA library of the version that it is built for is missing (CuPy failed to load libnv",
        ),
    ],
)
def test_a_gpu_that_does_not_answer_is_explained_in_one_sentence(monkeypatch, fresh, error, driver, reason):
    cupy = pretend_cupy(monkeypatch, error)
    cupy.cuda.runtime.runtimeGetVersion = lambda: 13020
    cupy.cuda.runtime.driverGetVersion = lambda: driver
    assert reason in backend.why_no_gpu() and "\n" not in backend.why_no_gpu()


FRAMED = """
================================================================
Failed to import CuPy.

If you installed CuPy via wheels (cupy-cudaXXX), make sure that the package matches with the version of CUDA.

Original error:
  ImportError: libcudart.so.12: cannot open shared object file: No such file or directory
================================================================
"""


def test_of_a_whole_page_the_reason_keeps_the_cause(monkeypatch, fresh):
    class Broken:
        def find_spec(self, name, *rest):
            if name == "cupy":
                raise ImportError(FRAMED)

    monkeypatch.delitem(sys.modules, "cupy", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    assert backend.why_no_gpu().startswith("CuPy cannot be imported (ImportError: libcudart.so.12: cannot open")
    assert "\n" not in backend.why_no_gpu() and "cupy-cuda13x[ctk]" in backend.why_no_gpu()


def test_without_cupy_the_reason_names_the_wheels(monkeypatch, fresh):
    monkeypatch.setitem(sys.modules, "cupy", None)
    assert "CuPy cannot be imported" in backend.why_no_gpu() and "cupy-cuda12x[ctk]" in backend.why_no_gpu()


def test_arrays_know_their_module(monkeypatch):
    cupy = pretend_cupy(monkeypatch, 1)
    assert backend.get_xp(cupy.ndarray()) is cupy and backend.device_of(cupy.ndarray()) == "gpu"
    assert backend.get_xp(np.float32(1)) is np and backend.device_of(np.zeros(1)) == "cpu"
    assert backend.is_array(cupy.ndarray()) and not backend.is_array(3.0)
    with pytest.raises(TypeError, match="expected a NumPy or CuPy array, got list"):
        backend.get_xp([1])


def test_mixing_devices_names_which_argument_is_where(monkeypatch):
    from duonet import Tensor
    from duonet import functional as F

    cupy = pretend_cupy(monkeypatch, 1)
    x, w = Tensor(np.zeros((2, 3))), Tensor(np.zeros((3, 4)))
    w.data = cupy.ndarray()
    with pytest.raises(TypeError, match="linear: x is on the cpu but w is on the gpu; move one of them"):
        F.linear(x, w)
