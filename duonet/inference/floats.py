"""Layers of a packed network that compute with floats, by the ops of `duonet.functional`."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from duonet import functional as F
from duonet.functional.activation import ReLU
from duonet.functional.conv import Conv2d
from duonet.functional.normalization import BatchNorm
from duonet.functional.pooling import AvgPool2d, MaxPool2d
from duonet.functional.products import Linear
from duonet.functional.reduction import Mean
from duonet.inference.layers import Layer, Steps, compute, values, window_shape
from duonet.signs import SignProduct
from duonet.tensor import Tensor

Array = npt.NDArray[Any]


class Form(NamedTuple):
    """The contents of a kind of layer.

    Attributes
    ----------
    integers : dict
        From name to the smallest value.
    numbers : tuple of str
    arrays : dict
        From name to the number of axes.
    optional : tuple of str
        Arrays that may be missing.
    run : callable
        A function of an array, the settings and the arrays.
    """

    integers: dict[str, int]
    numbers: tuple[str, ...]
    arrays: dict[str, int]
    optional: tuple[str, ...]
    run: Callable[[Array, dict[str, Any], dict[str, Array]], Array]


def _product(op: type, x: Array, settings: dict[str, Any], arrays: dict[str, Array]) -> Array:
    steps = {name: settings[name] for name in ("stride", "padding") if name in settings}
    if settings["signs"]:
        return compute(SignProduct, x, arrays["weight"], arrays.get("bias"), product=op, **steps)
    return compute(op, x, arrays["weight"], arrays.get("bias"), **steps)


def _batch_norm(x: Array, settings: dict[str, Any], arrays: dict[str, Array]) -> Array:
    return compute(BatchNorm, x, **arrays, training=False, momentum=0.0, eps=settings["eps"])


def _average(x: Array, settings: dict[str, Any], arrays: dict[str, Array]) -> Array:
    shares = arrays["shares"]
    first, *rest = (part * share for part, share in zip(np.split(x, len(shares), axis=-1), shares))
    return sum(rest, first)


def _pad(front: bool, x: Array, settings: dict[str, Any], arrays: dict[str, Array]) -> Array:
    short = settings["channels"] - x.shape[-1]
    return np.pad(x, [(0, 0)] * (x.ndim - 1) + [(short, 0) if front else (0, short)])


STEPS = {"stride": 1, "padding": 0}
NORM = dict.fromkeys(("gamma", "beta", "running_mean", "running_var"), 1)
FORMS = {
    "conv": Form(STEPS | {"signs": 0}, (), {"weight": 4, "bias": 1}, ("bias",), partial(_product, Conv2d)),
    "linear": Form({"signs": 0}, (), {"weight": 2, "bias": 1}, ("bias",), partial(_product, Linear)),
    "batch_norm": Form({}, ("eps",), NORM, (), _batch_norm),
    "relu": Form({}, (), {}, (), lambda x, s, a: compute(ReLU, x)),
    "clip": Form({}, ("low", "high"), {}, (), lambda x, s, a: F.clip(Tensor(x), s["low"], s["high"]).data),
    "max_pool": Form(STEPS | {"size": 1}, (), {}, (), lambda x, s, a: compute(MaxPool2d, x, **s)),
    "avg_pool": Form({"size": 1, "stride": 1}, (), {}, (), lambda x, s, a: compute(AvgPool2d, x, **s)),
    "global_avg_pool": Form({}, (), {}, (), lambda x, s, a: compute(Mean, x, axis=(1, 2), keepdims=False)),
    "flatten": Form({}, (), {}, (), lambda x, s, a: x.reshape(len(x), math.prod(x.shape[1:]))),
    "pad_channels": Form({"channels": 1}, (), {}, (), partial(_pad, False)),
    "pad_channels_in_front": Form({"channels": 1}, (), {}, (), partial(_pad, True)),
    "replicate": Form({"copies": 2}, (), {}, (), lambda x, s, a: np.concatenate([x] * s["copies"], axis=-1)),
    "average_copies": Form({}, (), {"shares": 1}, (), _average),
}


class FloatLayer(Layer):
    """A layer that computes with floats.

    Parameters
    ----------
    path, kind : str
        `kind` is a key of `FORMS`.
    settings : dict
        Its integers and numbers.
    arrays : dict
        float32

    Examples
    --------
    >>> FloatLayer("cut", "relu", {}, {}).run(np.array([-1.0, 2.0], np.float32))
    array([0., 2.], dtype=float32)
    """

    def __init__(self, path: str, kind: str, settings: dict[str, Any], arrays: dict[str, Array]) -> None:
        super().__init__(path)
        self.kind, self.settings, self.arrays = kind, settings, arrays  # type: ignore[misc]

    def run(self, x: Any) -> Any:
        """Compute the op of `duonet.functional`; an op that only moves values keeps steps as steps."""
        if self.kind == "flatten" and isinstance(x, Steps):
            return Steps(x.counts.reshape(len(x.counts), math.prod(x.counts.shape[1:])), x.levels)
        return FORMS[self.kind].run(values(x), self.settings, self.arrays)

    def shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of the output for one image."""
        s, channels = self.settings, shape[-1]
        if "weight" in self.arrays:
            weight = self.arrays["weight"].shape
            if weight[-2] != channels or len(shape) != len(weight) - 1:
                raise self.misfit(shape)
            if len(weight) == 2:
                return (weight[1],)
            return window_shape(self, shape, weight[:2], s["stride"], s["padding"], weight[3])
        if self.kind in ("max_pool", "avg_pool"):
            return window_shape(self, shape, (s["size"],) * 2, s["stride"], s.get("padding", 0), None)
        copies = max(self.arrays.get("shares", np.empty(0)).size, 1)
        known: dict[str, Callable[[], tuple[int, ...]]] = {
            "flatten": lambda: (math.prod(shape),),
            "global_avg_pool": lambda: (channels,) if len(shape) == 3 else (),
            "pad_channels": lambda: (*shape[:-1], s["channels"]) if s["channels"] >= channels else (),
            "pad_channels_in_front": lambda: (*shape[:-1], s["channels"]) if s["channels"] >= channels else (),
            "replicate": lambda: (*shape[:-1], s["copies"] * channels),
            "average_copies": lambda: () if channels % copies else (*shape[:-1], channels // copies),
            "batch_norm": lambda: shape if self.arrays.get("gamma", np.empty(0)).size == channels else (),
        }
        out = known.get(self.kind, lambda: shape)()
        if not out:
            raise self.misfit(shape)
        return out
