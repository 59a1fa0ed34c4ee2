"""Packages that only this folder needs: each is imported on use."""

import importlib
from types import ModuleType

SAID = {
    "torch": "pip install torch",
    "onnx": 'pip install "duonet[onnx]"',
    "safetensors": 'pip install "duonet[interop]"',
}


def needed(owner: str, name: str) -> ModuleType:
    """Import a package, or say how to install it.

    Parameters
    ----------
    owner : str
        The function, for messages.
    name : str
        A module of torch, onnx or safetensors.

    Returns
    -------
    module

    Raises
    ------
    RuntimeError
        If the package is not installed.

    Examples
    --------
    >>> needed("to_onnx", "onnx.absent")
    Traceback (most recent call last):
        ...
    RuntimeError: to_onnx: needs onnx, which is not installed: pip install "duonet[onnx]"
    """
    package = name.split(".")[0]
    try:
        return importlib.import_module(name)
    except ImportError:
        raise RuntimeError(f"{owner}: needs {package}, which is not installed: {SAID[package]}") from None
