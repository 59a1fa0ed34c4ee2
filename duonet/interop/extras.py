"""Packages that only this folder needs, imported when they are used."""

import importlib
from types import ModuleType

SAID = {
    "torch": "pip install torch",
    "onnx": "pip install duonet[onnx]",
    "safetensors": "pip install duonet[interop]",
}


def needed(owner: str, name: str) -> ModuleType:
    """Import a package, or say how it is installed.

    Parameters
    ----------
    owner : str
        Who was called, for messages.
    name : str
        Of a module of torch, onnx or safetensors.

    Returns
    -------
    module

    Raises
    ------
    RuntimeError
        If it is not installed.

    Examples
    --------
    >>> needed("to_onnx", "onnx.absent")
    Traceback (most recent call last):
        ...
    RuntimeError: to_onnx: needs onnx, which is not installed: pip install duonet[onnx]
    """
    package = name.split(".")[0]
    try:
        return importlib.import_module(name)
    except ImportError:
        raise RuntimeError(f"{owner}: needs {package}, which is not installed: {SAID[package]}") from None
