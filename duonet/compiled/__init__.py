"""Twins compiled by numba (`pip install "duonet[compiled]"`), which exploit that activations are 0 or 1.

The first op imports them, not the package, because numba takes a fifth of a second to import. If numba is missing
or broken, the twins of `duonet.fast` run instead; `why_not` says why, and `duonet --version` says which twins run.
"""

import functools

from duonet import engine


@functools.cache
def why_not() -> str:
    """Import the compiled twins, and return one sentence on why that fails, or an empty string.

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
            return 'numba is not installed; pip install "duonet[compiled]"'
        return f"numba is installed, but cannot be imported ({error})"
    except Exception as error:  # a numba that does not fit NumPy, or lacks a library, fails in many ways
        return f"numba is installed, but cannot be imported ({_first_line(error)})"
    if numba.config.DISABLE_JIT:
        return "NUMBA_DISABLE_JIT keeps numba from compiling"
    try:
        from duonet.compiled import twins  # noqa: F401  (importing registers)
    except Exception as error:  # among them a cache folder that cannot be written
        return f"numba {numba.__version__} is installed, but cannot compile here ({_first_line(error)})"
    return ""


def in_force() -> str:
    """Describe in words which kernels run on the CPU.

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
    """Import the twins if possible; warn if numba is there and fails, which no user chooses."""
    reason = why_not()
    if reason.startswith("numba") and "not installed" not in reason:
        import warnings

        warnings.warn(f"{reason}; NumPy's twins run instead", RuntimeWarning, stacklevel=2)


engine.register_later("compiled", _register)
