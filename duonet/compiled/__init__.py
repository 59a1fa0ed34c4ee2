"""Twins compiled by numba (`pip install duonet[compiled]`), which use that activations are 0 or 1.

They are imported when the first op asks for them, not with the package: numba takes a fifth of a second. Where it
is missing or broken, the twins of `duonet.fast` run in its place; `why_not` says why, `duonet --version` which
run.
"""

import functools

from duonet import engine


@functools.cache
def why_not() -> str:
    """Import the compiled twins, and return one sentence saying why they cannot be, or an empty string.

    Returns
    -------
    str

    Examples
    --------
    >>> isinstance(why_not(), str)
    True
    """
    try:
        import numba
    except ModuleNotFoundError as error:
        if error.name == "numba":
            return "numba is not installed; pip install duonet[compiled]"
        return f"numba is installed, but cannot be imported ({error})"
    except Exception as error:  # a numba that does not fit NumPy, or lacks a library, fails in many ways
        return f"numba is installed, but cannot be imported ({_first_line(error)})"
    if numba.config.DISABLE_JIT:
        return "NUMBA_DISABLE_JIT has numba compile nothing"
    try:
        from duonet.compiled import twins  # noqa: F401  (importing registers)
    except Exception as error:  # among them a cache folder that cannot be written
        return f"numba {numba.__version__} is installed, but cannot compile here ({_first_line(error)})"
    return ""


def in_force() -> str:
    """Return in words which kernels run on the CPU.

    Returns
    -------
    str

    Examples
    --------
    >>> in_force().split()[0] in ("numba", "NumPy's")
    True
    """
    reason = why_not()
    if reason:
        return f"NumPy's ({reason})"
    import numba

    return f"numba {numba.__version__}"


def _first_line(error):
    return next(iter(str(error).splitlines()), "") or type(error).__name__


def _register():
    """Import the twins where they can be; say so where numba is there and fails, which nobody asked for."""
    reason = why_not()
    if reason.startswith("numba") and "not installed" not in reason:
        import warnings

        warnings.warn(f"{reason}; NumPy's twins run instead", RuntimeWarning, stacklevel=2)


engine.register_later("compiled", _register)
