"""A user's methods by name, `module:Name`, and surrogates, `tanh:4`; no name in a file imports a module."""

import functools
import importlib
import inspect
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from duonet import arguments
from duonet.checkpoint import Checkpoint, CheckpointError, load_checkpoint
from duonet.description import BASES, describe
from duonet.experiments.fields import BadSetting
from duonet.generators import Generators
from duonet.methods import Entry, find
from duonet.module import Module
from duonet.nn import QuantActivation
from duonet.quant import (
    Clip,
    Identity,
    Polynomial,
    Quantizer,
    ReLU,
    Shifted,
    Staircase,
    Surrogate,
    SwishSign,
    Tanh,
    Triangle,
    ZeroOne,
)

IMPORT = "DUONET_IMPORT"
SETTINGS = ("activations", "weights", "surrogate")  # those that may name a user's class
PLACE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")


def _clip(times: float = 1) -> Clip:
    return Clip((1 - times) / 2, (1 + times) / 2)


# For activations of the package's networks, which step between 0 and 1: surrogates for sign are shifted.
SURROGATES: dict[str, Callable[..., Surrogate]] = {
    "clip": _clip,
    "identity": Identity,
    "relu": ReLU,
    "polynomial": lambda: ZeroOne(Polynomial()),
    "swish": lambda beta=5.0: ZeroOne(SwishSign(beta)),
    "tanh": lambda scale=2.0: ZeroOne(Tanh(scale)),
    "triangle": lambda: Shifted(Triangle(), 0.5),
}


def is_own(name: object) -> bool:
    """Tell whether a setting names a user's class, `module:Name`.

    Parameters
    ----------
    name : object

    Returns
    -------
    bool

    Examples
    --------
    >>> is_own("my.module:Mine"), is_own("pact"), is_own("tanh:4")
    (True, False, False)
    """
    return isinstance(name, str) and PLACE.fullmatch(name) is not None


def surrogate(owner: str, name: str) -> Surrogate:
    """Make a surrogate from its name, which may have a number.

    Parameters
    ----------
    owner : str
        Name of the command or function, for messages.
    name : str
        A key of `SURROGATES`, alone or as in "tanh:4"; or `module:Name` of a user's class.

    Returns
    -------
    Surrogate

    Raises
    ------
    BadSetting
        If no surrogate has that name, or it does not take the number.

    Examples
    --------
    >>> surrogate("train", "tanh:4")
    ZeroOne(Tanh(scale=4.0))
    >>> surrogate("train", "clip:2")
    Clip(low=-0.5, high=1.5, closed=False)
    """
    word, colon, number = name.partition(":")
    if word not in SURROGATES and is_own(name):
        made: Surrogate = _made(owner, "surrogate", name, _found(owner, "surrogate", name, (Surrogate,)))
        return made
    if word not in SURROGATES:
        known = f"{', '.join(SURROGATES)} or module:Name"
        near = arguments.nearest(word, SURROGATES)
        raise BadSetting(owner, "surrogate", f"must be one of {known}, got {name!r}{near}")
    try:
        return SURROGATES[word](*([float(number)] if colon else []))
    except (TypeError, ValueError):
        takes = "a number above 0" if inspect.signature(SURROGATES[word]).parameters else "no number"
        raise BadSetting(owner, "surrogate", f"{word} takes {takes}, got {name!r}") from None


def entry(owner: str, kind: str, name: str) -> Entry:
    """Return a user's method as a row of the shelf.

    Parameters
    ----------
    owner : str
        Name of the command or function, for messages.
    kind : {"activations", "weights"}
        Also the name of the setting.
    name : str
        `module:Name` of a Quantizer class or, for activations, of a Staircase class.

    Returns
    -------
    Entry

    Raises
    ------
    BadSetting
        If the module has not been imported, or has no class of this name and kind; the message suggests the
        nearest name.

    Examples
    --------
    >>> entry("train", "activations", "duonet.quant:Ternary").make(np.random.default_rng(0))
    QuantActivation(Ternary(), Clip(low=0, high=1, closed=False))
    """
    kinds = (Quantizer, Staircase) if kind == "activations" else (Quantizer,)
    cls = _found(owner, kind, name, kinds)

    @functools.wraps(cls, updated=())
    def maker(**given: Any) -> Quantizer:
        made = _made(owner, kind, name, cls, **given)
        return QuantActivation(made, Clip(0, 1)) if isinstance(made, Staircase) else made

    return Entry(0, name, kind, "", maker, {})


def pair(owner: str, name: str) -> tuple[Staircase, Surrogate]:
    """Return the staircase and the surrogate of a method of activations at its start.

    Parameters
    ----------
    owner : str
        Name of the command or function, for messages.
    name : str
        A name that `duonet methods` lists, or `module:Name`.

    Returns
    -------
    staircase : Staircase
    surrogate : Surrogate

    Raises
    ------
    BadSetting
        If no method has that name, or the method is not a staircase.

    Examples
    --------
    >>> pair("mismatch", "duonet.quant:Ternary")
    (Ternary(), Clip(low=0, high=1, closed=False))
    """
    try:
        method = entry(owner, "activations", name) if is_own(name) else find(name)
    except BadSetting:
        raise
    except ValueError as error:
        raise BadSetting(owner, "activations", str(error).removeprefix("methods: name ")) from None
    quantizer = method.make(np.random.default_rng(0)).eval()
    fixed = quantizer.known("fixed")
    if fixed is None:
        raise BadSetting(owner, "activations", f"is {name}, which does not start as a staircase")
    return fixed().staircase, fixed().surrogate


def classes() -> list[type]:
    """List this process's layers, quantisers and the like from outside the package, for `load_checkpoint`.

    Returns
    -------
    list of type
        One class of each name, the latest.
    """
    for name in named_modules():
        importlib.import_module(name)
    return list({cls.__name__: cls for cls in living()}.values())


def living() -> list[type]:
    """List the classes that a checkpoint may name and that come from outside the package, all that exist now.

    Returns
    -------
    list of type
    """
    waiting = list(BASES)
    for cls in waiting:  # grows meanwhile
        waiting += cls.__subclasses__()
    return [cls for cls in waiting if cls.__module__.split(".")[0] != "duonet"]


def load(path: str | Path, device: str = "cpu") -> Checkpoint:
    """Load a checkpoint, which may use all classes that have been imported.

    Parameters
    ----------
    path : str or Path
    device : {"cpu", "gpu"}

    Returns
    -------
    Checkpoint

    Raises
    ------
    CheckpointError
        As in `load_checkpoint`; for an unknown class, the message says how to import its module. A class of the
        checkpoint's network must have a name that no class of another imported module has.
    """
    try:
        saved = load_checkpoint(path, device, classes())
    except CheckpointError as error:
        advice = "import its module first; in a command, with --import MODULE"
        raise CheckpointError(str(error).replace("pass it in classes=[...]", advice)) from error
    if problem := ambiguous(saved.model):
        raise CheckpointError(f"{path} cannot be rebuilt: {problem}")
    return saved


def ambiguous(model: Module) -> str:
    """Describe why a file cannot name the user's classes in a network, or return "".

    Parameters
    ----------
    model : Module

    Returns
    -------
    str

    Raises
    ------
    ValueError
        As in `describe`.
    """
    used: dict[str, type] = {}
    describe(model, Generators(), classes=used)
    for name in used:
        if len(places := sorted({cls.__module__ for cls in living() if cls.__name__ == name})) > 1:
            return f"{' and '.join(places)} each have a class {name}, and a file cannot tell them apart"
    return ""


def named_modules() -> list[str]:
    """List the modules in the environment's DUONET_IMPORT, between commas: a study's processes import them.

    Returns
    -------
    list of str
    """
    return [name for name in os.environ.get(IMPORT, "").split(",") if name]


def _found(owner, setting, name, kinds):
    """Return a module's class by name, if it is of these kinds and the user has imported or named the module.

    Only such a class is ever called, because the name may come from a file.
    """
    place, _, inner = name.partition(":")
    module = importlib.import_module(place) if place in named_modules() else sys.modules.get(place)
    if module is None:
        problem = f"is {name}, but no name in a file imports a module: import {place} first; in a command, with "
        raise BadSetting(owner, setting, f"{problem}--import {place}")
    there = {k: v for k, v in vars(module).items() if inspect.isclass(v) and issubclass(v, kinds)}
    if inner not in there:
        wanted = " or ".join(f"a {kind.__name__}" for kind in kinds)
        problem = f"is {name}, but {place} has no class {inner} that is {wanted}"
        raise BadSetting(owner, setting, problem + arguments.nearest(inner, there))
    return there[inner]


def _made(owner, setting, name, cls, **given):
    """Make an object of a class; the message of any error in the class names the setting."""
    try:
        return cls(**given)
    except Exception as error:
        what = f"{type(error).__name__}: {error}"
        raise BadSetting(owner, setting, f"is {name}, which cannot be made: {what:.300}") from error
