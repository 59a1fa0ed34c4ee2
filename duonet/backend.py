"""The module of an array, NumPy or CuPy, and moves between devices. No other file knows CuPy.

There is no global switch. Every op asks `get_xp` for the module of its arrays, so the same code runs on the
CPU (NumPy) and on a GPU (CuPy).
"""

import functools
import os
import sys
from types import ModuleType
from typing import Any, TypeAlias, TypeGuard

import numpy as np
import numpy.typing as npt

# An array of either module. CuPy's type has the same methods, and a type checker need not have CuPy.
Array: TypeAlias = npt.NDArray[Any]

DEVICES = ("cpu", "gpu")
WHEELS = "install cupy-cuda12x[ctk] or cupy-cuda13x[ctk], whichever CUDA the driver supports"


class OutOfMemory(MemoryError):
    """A device is out of memory; the message names the op and the size, and suggests a remedy."""


def get_xp(x: object) -> ModuleType:
    """Return the array module of `x`.

    Parameters
    ----------
    x : numpy.ndarray or cupy.ndarray

    Returns
    -------
    module
        `numpy` or `cupy`.

    Raises
    ------
    TypeError
        If `x` is an array of neither module.

    Examples
    --------
    >>> import numpy as np
    >>> get_xp(np.zeros(3)) is np
    True
    """
    if isinstance(x, (np.ndarray, np.generic)):
        return np
    cupy = sys.modules.get("cupy")  # the caller of a CuPy array has imported CuPy
    if cupy is not None and isinstance(x, cupy.ndarray):
        return cupy
    raise TypeError(f"get_xp: expected a NumPy or CuPy array, got {type(x).__name__}")


def is_array(x: object) -> TypeGuard[Array]:
    """Return whether `x` is an array of either module.

    Parameters
    ----------
    x : object

    Returns
    -------
    bool

    Examples
    --------
    >>> is_array([1, 2])
    False
    """
    if isinstance(x, np.ndarray):
        return True
    cupy = sys.modules.get("cupy")
    return cupy is not None and isinstance(x, cupy.ndarray)


def device_of(x: object) -> str:
    """Return `"cpu"` or `"gpu"`: where the array `x` lives.

    Parameters
    ----------
    x : numpy.ndarray or cupy.ndarray

    Returns
    -------
    str

    Examples
    --------
    >>> import numpy as np
    >>> device_of(np.zeros(3))
    'cpu'
    """
    return "cpu" if get_xp(x) is np else "gpu"


def owner(x: Array) -> Array:
    """Return the array that owns the memory of `x`: `x` itself, or the array that `x` is a view of.

    Parameters
    ----------
    x : numpy.ndarray or cupy.ndarray

    Returns
    -------
    numpy.ndarray or cupy.ndarray

    Examples
    --------
    >>> import numpy as np
    >>> x = np.zeros((2, 3))
    >>> owner(x.T[1:]) is x
    True
    """
    return x if x.base is None else x.base


def address(x: Array) -> int:
    """Return where in memory `x` begins, in bytes.

    Parameters
    ----------
    x : numpy.ndarray or cupy.ndarray

    Returns
    -------
    int

    Examples
    --------
    >>> import numpy as np
    >>> x = np.zeros(3)
    >>> address(x[1:]) - address(x)
    8
    """
    return x.ctypes.data if get_xp(x) is np else x.data.ptr  # type: ignore[attr-defined]  # CuPy's


@functools.cache
def why_no_gpu() -> str:
    """Return a sentence on why no GPU can be used, or an empty string if a GPU can be used.

    An import of CuPy proves nothing, so a small computation runs on the first device. The answer is kept.

    Returns
    -------
    str

    Examples
    --------
    >>> isinstance(why_no_gpu(), str)
    True
    """
    try:
        import cupy
    except Exception as error:  # a half-installed CuPy fails in many ways, and each means "no"
        return f"CuPy cannot be imported ({_last_line(error)}); {WHEELS}"
    try:
        if cupy.cuda.runtime.getDeviceCount() == 0:
            return f"CuPy {cupy.__version__} is installed, but finds no CUDA device"
        if float(cupy.arange(3, dtype=cupy.float32).sum()) != 3.0:
            return f"CuPy {cupy.__version__} computes wrong sums on the first CUDA device"
    except Exception as error:  # no driver, wrong wheel, no compiler: again each means "no"
        return f"CuPy {cupy.__version__} is installed, but {_diagnosis(cupy, error)}"
    return ""


def _diagnosis(cupy, error):
    """Return the cause and the remedy of an error in the first use of a GPU."""
    said = _last_line(error)
    if "InsufficientDriver" in said:
        runtime = cupy.cuda.runtime
        built, driver = runtime.runtimeGetVersion() // 1000, runtime.driverGetVersion() // 1000
        if driver == 0:
            return f"there is no NVIDIA driver ({said})"
        return f"is built for CUDA {built}, and the driver supports only CUDA {driver}; {WHEELS}"
    if ".so" in said or ".dll" in said:
        return f"a CUDA library of the version that it is built for is missing ({said}); {WHEELS}"
    return f"no CUDA device answers ({said}); {WHEELS}"


def _last_line(error):
    """Return the last line: the cause in CuPy's longest messages, which fill a framed page."""
    lines = [line.strip("= ") for line in str(error).splitlines()]
    return next((line for line in reversed(lines) if line), type(error).__name__)


def gpu_available() -> bool:
    """Return whether CuPy can really use a CUDA GPU.

    Returns
    -------
    bool

    Examples
    --------
    >>> gpu_available() == (why_no_gpu() == "")
    True
    """
    return not why_no_gpu()


def allow_tf32() -> None:
    """Let the GPU round the factors of float32 matrix products to TF32's 10 bits.

    Sums keep the bits of float32, and so do numbers of at most 11 significant bits: binary and ternary
    activations, 0, ½ and ±1, stay exact. Weights and gradients are rounded. CuPy decides once, at the first
    product of a process, so call this function before any computation.

    Raises
    ------
    RuntimeError
        If there is no GPU, the GPU has no TF32, or the process has multiplied before, so that CuPy stays with
        float32.

    Examples
    --------
    >>> allow_tf32()  # doctest: +SKIP
    """
    if why_no_gpu():
        raise RuntimeError(f"tf32: no GPU: {why_no_gpu()}")
    from cupy._core import _routines_linalg as products

    os.environ["CUPY_TF32"] = "1"
    if products.get_compute_type(np.dtype(np.float32)) != products.COMPUTE_TYPE_TF32:
        raise RuntimeError("tf32: CuPy stays with float32: this process multiplied before, or the GPU has no TF32")


def to_device(x: Array, device: str) -> Array:
    """Return `x` on the given device, without a copy if it is already there.

    Parameters
    ----------
    x : numpy.ndarray or cupy.ndarray
    device : {"cpu", "gpu"}

    Returns
    -------
    numpy.ndarray or cupy.ndarray

    Raises
    ------
    ValueError
        If `device` is neither "cpu" nor "gpu".
    RuntimeError
        If `device` is "gpu" and no GPU can be used; the message says why.
    OutOfMemory
        If the GPU has no room for the array.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.zeros(3)
    >>> to_device(x, "cpu") is x
    True
    """
    if device not in DEVICES:
        raise ValueError(f"to_device: device must be 'cpu' or 'gpu', got {device!r}")
    if device == "cpu":
        return x if get_xp(x) is np else x.get()  # type: ignore[attr-defined]  # CuPy's
    if why_no_gpu():
        raise RuntimeError(f"no GPU: {why_no_gpu()}")
    import cupy

    try:
        return cupy.asarray(x)
    except MemoryError as error:
        raise out_of_memory(f"to_device: x of shape {x.shape}", error) from error


def out_of_memory(what: str, error: MemoryError) -> OutOfMemory:
    """Make an `OutOfMemory` of a MemoryError from NumPy or CuPy.

    Parameters
    ----------
    what : str
        The use of the memory.
    error : MemoryError
        The function returns an `OutOfMemory` unchanged.

    Returns
    -------
    OutOfMemory

    Examples
    --------
    >>> str(out_of_memory("conv2d", MemoryError("Out of memory allocating 1,024 bytes.")))
    'conv2d: Out of memory allocating 1,024 bytes; a smaller batch, or fewer samples at a time, needs less'
    """
    if isinstance(error, OutOfMemory):
        return error
    said = str(error).rstrip(".") or "out of memory"
    return OutOfMemory(f"{what}: {said}; a smaller batch, or fewer samples at a time, needs less")
