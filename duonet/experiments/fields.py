"""Settings that are refused, each in the words of whoever gave it: a flag, an argument, a file."""

import contextlib
import dataclasses
import re
import typing
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from duonet import arguments, backend


class BadSetting(ValueError):
    """A setting that cannot be; `name` says which, `problem` what was expected and what came."""

    def __init__(self, owner: str, name: str, problem: str) -> None:
        super().__init__(f"{owner}: {name}{'' if problem.startswith(':') else ' '}{problem}")
        self.name, self.problem = name, problem


class NoGPU(BadSetting, RuntimeError):
    """A setting that needs a GPU where none can be used."""


@contextlib.contextmanager
def asked_by(owner: str, names: Mapping[str, str]) -> Iterator[None]:
    """Let a refused setting bear the name under which `owner` took it.

    Parameters
    ----------
    owner : str
        Of the command or function that was called.
    names : dict
        From a setting to its name there, such as a flag; the others keep theirs.

    Yields
    ------
    None
    """
    try:
        yield
    except BadSetting as error:
        raise type(error)(owner, names.get(error.name, error.name), error.problem) from error.__cause__


@contextlib.contextmanager
def settings_of(owner: str, names: Mapping[str, str]) -> Iterator[None]:
    """Turn the refusal of an argument into one of the setting that it was made of.

    Parameters
    ----------
    owner : str
        Of the function that took the settings.
    names : dict
        From an argument to its setting. "vgg7: in_shape must be ..." becomes "train: size: in_shape must be ...".

    Yields
    ------
    None
    """
    try:
        yield
    except (ValueError, TypeError) as error:
        found = re.fullmatch(r"\w+: (\w+)(.*)", str(error), re.S)
        if found is None or found[1] not in names:
            raise
        name, problem = names[found[1]], found[2].lstrip()
        raise BadSetting(owner, name, problem if name == found[1] else f": {found[1]}{found[2]}") from None


def check_device(owner: str, device: str) -> None:
    """Refuse a GPU where none can be used.

    Parameters
    ----------
    owner : str
    device : {"cpu", "gpu"}

    Raises
    ------
    NoGPU
        Says what was looked for.
    """
    if device == "gpu" and not backend.gpu_available():
        raise NoGPU(owner, "device", f"cannot be gpu: {backend.why_no_gpu()}")


def check_fields(owner: str, settings: Any, least: Mapping[str, float], choices: Mapping[str, Any]) -> None:
    """Check the fields of a frozen dataclass by their types, and make NumPy's numbers Python's.

    Parameters
    ----------
    owner : str
        Of the class or command, for messages.
    settings : dataclass
        Fields may be None where that is their default; tuples hold positive numbers.
    least : dict
        From a field's name to its smallest number.
    choices : dict
        From a field's name to the words that it may be.

    Raises
    ------
    BadSetting
        Naming the setting, what was expected and what came.
    """
    names = {field.name: field.name for field in dataclasses.fields(settings)}
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if value is None and field.default is None:
            continue
        bounds = {"at_least": least[field.name]} if field.name in least else {}
        with settings_of(owner, names):  # a wrong type too: from a file it is a wrong value
            if field.name in choices:
                value = arguments.one_of(owner, field.name, value, choices[field.name])
            else:
                value = _checked(owner, field.name, value, kind_of(field), bounds)
        object.__setattr__(settings, field.name, value)


def _checked(owner, name, value, kind, bounds):
    if kind is int:
        return arguments.integer(owner, name, value, **bounds)
    if kind is float:
        return arguments.number(owner, name, value, **bounds)
    if kind is tuple:
        numbers = arguments.instance(owner, name, value, tuple)
        return tuple(arguments.number(owner, name, number, above=0) for number in numbers)
    if isinstance(value, str) and any("\ud800" <= c <= "\udfff" for c in value):
        problem = f"is no text that a file can hold in UTF-8, {value!r}; rename the folder"
        raise BadSetting(owner, name, problem)
    return arguments.instance(owner, name, bool(value) if isinstance(value, np.bool_) else value, kind)


def kind_of(field: dataclasses.Field) -> type:
    """Return the type of a setting: str, int, float, bool or tuple, where None is allowed beside it or not.

    Parameters
    ----------
    field : dataclasses.Field

    Returns
    -------
    type
    """
    kind: Any = field.type
    return next(iter(typing.get_args(kind)), kind)
