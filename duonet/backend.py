"""The only file that knows CuPy exists: which array module an array belongs to, and moving arrays about.

There is no global switch. Every op asks `get_xp` for the module of the arrays in its hands, so the same code
runs on the CPU (NumPy) and on a GPU (CuPy).
"""

import functools
import sys

import numpy as np

DEVICES = ("cpu", "gpu")


def get_xp(x):
    """Return the array module that `x` belongs to.

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
        If `x` is neither.

    Examples
    --------
    >>> import numpy as np
    >>> get_xp(np.zeros(3)) is np
    True
    """
    if isinstance(x, (np.ndarray, np.generic)):
        return np
    cupy = sys.modules.get("cupy")  # whoever holds a CuPy array has imported CuPy
    if cupy is not None and isinstance(x, cupy.ndarray):
        return cupy
    raise TypeError(f"get_xp: expected a NumPy or CuPy array, got {type(x).__name__}")


def is_array(x):
    """Say whether `x` is an array of either module.

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
    cupy = sys.modules.get("cupy")
    return isinstance(x, np.ndarray) or (cupy is not None and isinstance(x, cupy.ndarray))


def device_of(x):
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


def address(x):
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
    return x.ctypes.data if get_xp(x) is np else x.data.ptr


@functools.cache
def why_no_gpu():
    """Return one sentence saying why no GPU can be used, or an empty string where one can.

    Importing CuPy proves nothing, so a small computation is run on the first device. The answer is remembered.

    Returns
    -------
    str

    Examples
    --------
    >>> isinstance(why_no_gpu(), str)
    True
    """
    wheels = "install cupy-cuda12x[ctk] or cupy-cuda13x[ctk], whichever CUDA the driver supports"
    try:
        import cupy
    except Exception as error:  # a half-installed CuPy fails in many ways; each of them means "no"
        return f"CuPy cannot be imported ({error}); {wheels}"
    try:
        if cupy.cuda.runtime.getDeviceCount() == 0:
            return f"CuPy {cupy.__version__} is installed, but finds no CUDA device"
        if float(cupy.arange(3, dtype=cupy.float32).sum()) != 3.0:
            return f"CuPy {cupy.__version__} computes wrong sums on the first CUDA device"
    except Exception as error:  # no driver, wrong wheel, no compiler: again each means "no"
        return f"CuPy {cupy.__version__} is installed, but no CUDA device answers ({error}); {wheels}"
    return ""


def gpu_available():
    """Say whether a CUDA GPU can really be used through CuPy.

    Returns
    -------
    bool

    Examples
    --------
    >>> gpu_available() == (why_no_gpu() == "")
    True
    """
    return not why_no_gpu()


def to_device(x, device):
    """Return `x` on the given device, without a copy where it is there already.

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
        If `device` is neither of the two.
    RuntimeError
        If a GPU is asked for and none can be used; the message says what was looked for.

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
        return x if get_xp(x) is np else x.get()
    if why_no_gpu():
        raise RuntimeError(f"no GPU: {why_no_gpu()}")
    import cupy

    return cupy.asarray(x)
