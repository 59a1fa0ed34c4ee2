"""Layers of a packed network in a file: a record for JSON, and arrays; everything is checked on the way back."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from duonet.inference.floats import FORMS, FloatLayer
from duonet.inference.layers import Layer, StepLayer, unit
from duonet.inference.products import SignLayer

Array = npt.NDArray[Any]
Arrays = dict[str, Array]
LARGEST = 1 << 20  # of strides, paddings, sizes and channels
LEVELS = 256
DEEP = 8  # sums within sums
STEP_KEYS = {"levels", "copies"}
SIGN_KEYS = {"levels", "copies", "stride", "padding", "pool", "out_levels"}


def record_of(layer: Layer) -> tuple[dict[str, Any], Arrays]:
    """Describe a layer that is not a sum.

    Parameters
    ----------
    layer : Layer

    Returns
    -------
    record : dict
    arrays : dict
        Of bool, int16, int32 and float32.
    """
    record: dict[str, Any] = {"kind": layer.kind, "path": layer.path}
    if isinstance(layer, FloatLayer):
        return record | layer.settings, layer.arrays
    if isinstance(layer, StepLayer):
        record |= {"levels": layer.levels, "copies": layer.copies}
        return record, {"thresholds": layer.thresholds, "falls": layer.falls}
    assert isinstance(layer, SignLayer)
    names = ("signs", "scale", "bias", "thresholds", "falls")
    arrays = {name: getattr(layer, name) for name in names if getattr(layer, name) is not None}
    return record | {key: getattr(layer, key) for key in sorted(SIGN_KEYS)}, arrays


def layer_of(record: dict[str, Any], arrays: Arrays) -> Layer:
    """Rebuild a layer from a record and arrays, which may come from anybody.

    Parameters
    ----------
    record, arrays : dict

    Returns
    -------
    Layer

    Raises
    ------
    ValueError
        If they do not describe a layer; the message says why.
    """
    kind, path, settings = (
        record["kind"],
        record["path"],
        {k: record[k] for k in record if k not in ("kind", "path")},
    )
    for name, array in arrays.items():
        _must(array.size > 0 and not np.isnan(array).any(), path, f"array {name} is empty or holds NaN")
    if kind in FORMS:
        return _float_layer(path, kind, settings, arrays)
    if kind == "steps":
        _must(settings.keys() == STEP_KEYS and arrays.keys() == {"thresholds", "falls"}, path, "has other parts")
        levels, copies = _levels(path, settings["levels"]), _integer(path, "copies", settings["copies"], 1)
        _steps(path, arrays, levels, np.float32, arrays["thresholds"].shape[-1])
        return StepLayer(path, arrays["thresholds"], arrays["falls"], levels, copies)
    _must(kind == "signs", path, "is of an unknown kind")
    return _sign_layer(path, settings, arrays)


def _float_layer(path: str, kind: str, settings: dict[str, Any], arrays: Arrays) -> FloatLayer:
    form = FORMS[kind]
    _must(settings.keys() == {*form.integers, *form.numbers}, path, f"has other settings than {kind} has")
    for name, least in form.integers.items():
        _integer(path, name, settings[name], least)
    for name in form.numbers:
        number = settings[name]
        _must(type(number) in (int, float) and -1e30 < number < 1e30, path, f"{name} is {number!r:.40}")
    missing = form.arrays.keys() - arrays.keys()
    _must(
        arrays.keys() <= form.arrays.keys() and missing <= {*form.optional}, path, f"has other arrays than {kind}"
    )
    for name, array in arrays.items():
        fits = array.dtype == np.float32 and array.ndim == form.arrays[name] and np.isfinite(array).all()
        _must(fits, path, f"{name} is {array.dtype} of shape {array.shape}")
        own = (
            arrays["weight"].shape[-1:] if name == "bias" else arrays["gamma"].shape if "gamma" in arrays else None
        )
        _must(own in (None, array.shape), path, f"{name} has shape {array.shape}")
    if kind == "batch_norm":
        _must(settings["eps"] >= 0 and (arrays["running_var"] >= 0).all(), path, "has a negative variance")
    if kind == "max_pool":
        _must(settings["padding"] <= settings["size"] // 2, path, "has a padding of more than half of its size")
    if kind == "clip":
        _must(settings["low"] < settings["high"], path, "has a low that is not below its high")
    return FloatLayer(path, kind, settings, arrays)


def _sign_layer(path: str, settings: dict[str, Any], arrays: Arrays) -> SignLayer:
    _must(settings.keys() == SIGN_KEYS, path, "has other settings than signs have")
    _must({"signs", "scale"} <= arrays.keys(), path, "has no signs or no scale")
    _must(
        arrays.keys() <= {"signs", "scale", "bias", "thresholds", "falls"},
        path,
        "has other arrays than signs have",
    )
    signs, scale, bias = arrays["signs"], arrays["scale"], arrays.get("bias")
    _must(signs.dtype == bool and signs.ndim in (2, 4), path, f"signs are {signs.dtype} of shape {signs.shape}")
    outputs = signs.shape[-1]
    _must(signs.size // outputs < 1 << 22, path, "has too many weights for one output")
    for name, array in (("scale", scale), ("bias", bias)):
        shapes = ((1,), (outputs,)) if name == "scale" else ((outputs,),)
        fits = array is None or (array.dtype == np.float32 and array.shape in shapes and np.isfinite(array).all())
        _must(fits, path, f"{name} is not a float32 array for {outputs} outputs")
    _must((scale >= 0).all(), path, "has a negative scale")
    levels = _levels(path, settings["levels"])
    _must(unit(levels) > 0, path, f"reads levels {levels}, which are not multiples of ½ in even steps")
    stride, padding, copies = (
        _integer(path, name, settings[name], least)
        for name, least in (("stride", 1), ("padding", 0), ("copies", 1))
    )
    pool = settings["pool"]
    if pool is not None:
        _must(isinstance(pool, list) and len(pool) == 3 and signs.ndim == 4, path, "its pool is not 3 numbers")
        pool = tuple(_integer(path, "pool", n, least) for n, least in zip(pool, (1, 1, 0)))
        _must(pool[2] <= pool[0] // 2, path, "has a pool with a padding of more than half of its size")
    ends = {"thresholds", "falls"} & arrays.keys()
    _must(len(ends) != 1 and (ends or settings["out_levels"] == []), path, "has thresholds without steps")
    if not ends:
        _must(pool is None and copies == 1, path, "has a pool or copies without steps")
        return SignLayer(path, signs, scale, levels, bias, stride, padding)
    out_levels = _levels(path, settings["out_levels"])
    _steps(path, arrays, out_levels, np.int32, outputs * copies)
    return SignLayer(
        path, signs, scale, levels, bias, stride, padding, pool, copies, arrays["thresholds"], arrays["falls"],
        out_levels,
    )  # fmt: skip


def _steps(path: str, arrays: Arrays, levels: tuple[float, ...], dtype: type, channels: int) -> None:
    thresholds, falls = arrays["thresholds"], arrays["falls"]
    right = thresholds.dtype == dtype or (dtype is np.int32 and thresholds.dtype == np.int16)
    _must(right and thresholds.shape == (len(levels) - 1, channels), path, "has other thresholds than levels")
    _must(falls.dtype == bool and falls.shape == (channels,), path, "does not say which channels fall")


def _levels(path: str, levels: object) -> tuple[float, ...]:
    numbers = tuple(levels) if isinstance(levels, (list, tuple)) else ()
    _must(1 < len(numbers) <= LEVELS and all(type(n) in (int, float) for n in numbers), path, "has no levels")
    _must(
        all(a < b for a, b in zip(numbers, numbers[1:])) and max(map(abs, numbers)) < LARGEST,
        path,
        "has levels that do not rise",
    )
    return tuple(float(n) for n in numbers)


def _integer(path: str, name: str, value: object, least: int) -> int:
    fits = type(value) is int and least <= value <= LARGEST
    _must(fits, path, f"{name} is {value!r:.40}")
    assert isinstance(value, int)
    return value


def _must(holds: object, path: str, what: str) -> None:
    if not holds:
        raise ValueError(f"layer {path!r:.80} {what}")
