"""Checks of settings; a refusal names the setting as the caller gave it: as a flag, an argument or in a file."""

import contextlib
import dataclasses
import re
import typing
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from duonet import arguments, backend


class BadSetting(ValueError):
    """A setting has a wrong value.

    Parameters
    ----------
    owner : str
        Name of the command, class or function that has the setting.
    name : str
        Name of the setting.
    problem : str
        The rest of the message: the expected and the given value.

    Examples
    --------
    >>> str(BadSetting("train", "width", "must be an int at least 1, got 0"))
    'train: width must be an int at least 1, got 0'
    """

    def __init__(self, owner: str, name: str, problem: str) -> None:
        super().__init__(f"{owner}: {name}{'' if problem.startswith(':') else ' '}{problem}")
        self.name, self.problem = name, problem


class NoGPU(BadSetting, RuntimeError):
    """A setting needs a GPU, but none can be used."""


@contextlib.contextmanager
def asked_by(owner: str, names: Mapping[str, str]) -> Iterator[None]:
    """Let the refusal of a setting use the name under which `owner` took the setting.

    Parameters
    ----------
    owner : str
        Name of the command or function that was called.
    names : dict
        From a setting to its name there, such as a flag; other settings keep their names.

    Yields
    ------
    None

    Raises
    ------
    BadSetting
        The refusal, with the owner and the name replaced.

    Examples
    --------
    >>> with asked_by("train", {"width": "--width"}):
    ...     raise BadSetting("RunSettings", "width", "must be an int at least 1, got 0")
    Traceback (most recent call last):
        ...
    duonet.experiments.fields.BadSetting: train: --width must be an int at least 1, got 0
    """
    try:
        yield
    except BadSetting as error:
        raise type(error)(owner, names.get(error.name, error.name), error.problem) from error.__cause__


@contextlib.contextmanager
def settings_of(owner: str, names: Mapping[str, str]) -> Iterator[None]:
    """Turn the refusal of an argument into the refusal of the setting from which the argument was made.

    Parameters
    ----------
    owner : str
        Name of the function that took the settings.
    names : dict
        From an argument to its setting. "vgg7: in_shape must be ..." becomes "train: size: in_shape must be ...".

    Yields
    ------
    None

    Raises
    ------
    BadSetting
        In place of a ValueError or TypeError that names an argument in `names`.
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
        If `device` is "gpu" and no GPU can be used; the message says why.
    """
    if device == "gpu" and not backend.gpu_available():
        raise NoGPU(owner, "device", f"cannot be gpu: {backend.why_no_gpu()}")


def check_fields(owner: str, settings: Any, least: Mapping[str, float], choices: Mapping[str, Any]) -> None:
    """Check the fields of a frozen dataclass by their types, and turn NumPy's numbers into Python's.

    Parameters
    ----------
    owner : str
        Name of the class or command, for messages.
    settings : dataclass
        A field may be None if None is its default; tuples hold positive numbers.
    least : dict
        From a field's name to its smallest number.
    choices : dict
        From a field's name to its allowed words.

    Raises
    ------
    BadSetting
        If a field is wrong; the message names the field, the expected and the given value.
    """
    names = {field.name: field.name for field in dataclasses.fields(settings)}
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if value is None and field.default is None:
            continue
        bounds = {"at_least": least[field.name]} if field.name in least else {}
        with settings_of(owner, names):  # for a wrong type as well: from a file it is a wrong value
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
        problem = f"must be text that UTF-8 can encode, got {value!r}; rename the folder"
        raise BadSetting(owner, name, problem)
    return arguments.instance(owner, name, bool(value) if isinstance(value, np.bool_) else value, kind)


def kind_of(field: dataclasses.Field) -> type:
    """Return the type of a setting, str, int, float, bool or tuple, whether or not the setting may be None.

    Parameters
    ----------
    field : dataclasses.Field

    Returns
    -------
    type
    """
    kind: Any = field.type
    return next(iter(typing.get_args(kind)), kind)
