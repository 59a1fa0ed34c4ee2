"""Layers of a packed network that compute with floats, by the ops of `duonet.functional`."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from duonet import functional as F
from duonet.inference.bits import Bits
from duonet.inference.layers import Layer, Steps, values, window_shape
from duonet.signs import sign_product
from duonet.tensor import Tensor

Array = npt.NDArray[Any]


class Form(NamedTuple):
    """What a kind of layer holds.

    Attributes
    ----------
    integers : dict
        From name to the smallest that it can be.
    numbers : tuple of str
    arrays : dict
        From name to the number of axes.
    optional : tuple of str
        Arrays that may be missing.
    run : callable
        Of a Tensor, the settings and the arrays as Tensors.
    """

    integers: dict[str, int]
    numbers: tuple[str, ...]
    arrays: dict[str, int]
    optional: tuple[str, ...]
    run: Callable[[Tensor, dict[str, Any], dict[str, Tensor]], Tensor]


def _conv(x: Tensor, settings: dict[str, Any], arrays: dict[str, Tensor]) -> Tensor:
    product = sign_product if settings["signs"] else F.conv2d
    return product(x, arrays["weight"], arrays.get("bias"), settings["stride"], settings["padding"])


def _linear(x: Tensor, settings: dict[str, Any], arrays: dict[str, Tensor]) -> Tensor:
    return (sign_product if settings["signs"] else F.linear)(x, arrays["weight"], arrays.get("bias"))


def _batch_norm(x: Tensor, settings: dict[str, Any], arrays: dict[str, Tensor]) -> Tensor:
    return F.batch_norm(
        x, arrays["gamma"], arrays["beta"], running_mean=arrays["running_mean"].data,
        running_var=arrays["running_var"].data, training=False, momentum=0.0, eps=settings["eps"],
    )  # fmt: skip


def _average(x: Tensor, settings: dict[str, Any], arrays: dict[str, Tensor]) -> Tensor:
    one, other = np.split(x.data, 2, axis=-1)
    return F.mul(F.add(one, Tensor(other)), 0.5)


def _pad(x: Tensor, settings: dict[str, Any], arrays: dict[str, Tensor]) -> Tensor:
    return F.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, settings["channels"] - x.shape[-1])])


def _pad_front(x: Tensor, settings: dict[str, Any], arrays: dict[str, Tensor]) -> Tensor:
    return F.pad(x, [(0, 0)] * (x.ndim - 1) + [(settings["channels"] - x.shape[-1], 0)])


STEPS = {"stride": 1, "padding": 0}
NORM = dict.fromkeys(("gamma", "beta", "running_mean", "running_var"), 1)
FORMS = {
    "conv": Form(STEPS | {"signs": 0}, (), {"weight": 4, "bias": 1}, ("bias",), _conv),
    "linear": Form({"signs": 0}, (), {"weight": 2, "bias": 1}, ("bias",), _linear),
    "batch_norm": Form({}, ("eps",), NORM, (), _batch_norm),
    "relu": Form({}, (), {}, (), lambda x, s, a: F.relu(x)),
    "clip": Form({}, ("low", "high"), {}, (), lambda x, s, a: F.clip(x, s["low"], s["high"])),
    "max_pool": Form(
        STEPS | {"size": 1}, (), {}, (), lambda x, s, a: F.max_pool2d(x, s["size"], s["stride"], s["padding"])
    ),
    "avg_pool": Form(
        {"size": 1, "stride": 1}, (), {}, (), lambda x, s, a: F.avg_pool2d(x, s["size"], s["stride"])
    ),
    "global_avg_pool": Form({}, (), {}, (), lambda x, s, a: F.global_avg_pool(x)),
    "flatten": Form({}, (), {}, (), lambda x, s, a: F.reshape(x, (len(x), math.prod(x.shape[1:])))),
    "pad_channels": Form({"channels": 1}, (), {}, (), _pad),
    "pad_channels_in_front": Form({"channels": 1}, (), {}, (), _pad_front),
    "replicate": Form({}, (), {}, (), lambda x, s, a: F.concat([x, x], axis=-1)),
    "average_copies": Form({}, (), {}, (), _average),
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
        self.before_signs = False  # whether a product of signs reads what comes out
        self._tensors = {name: Tensor(array) for name, array in arrays.items()}

    def run(self, x: Any) -> Any:
        """Compute the op of `duonet.functional`; steps stay steps where they are only moved."""
        if self.kind == "flatten" and self.before_signs and isinstance(x, Bits):
            return x._replace(flat=True)
        if self.kind == "flatten" and self.before_signs and isinstance(x, Steps):
            return Steps(x.counts.reshape(len(x.counts), -1), x.levels)
        return FORMS[self.kind].run(Tensor(values(x)), self.settings, self._tensors).data

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
        known: dict[str, Callable[[], tuple[int, ...]]] = {
            "flatten": lambda: (math.prod(shape),),
            "global_avg_pool": lambda: (channels,) if len(shape) == 3 else (),
            "pad_channels": lambda: (*shape[:-1], s["channels"]) if s["channels"] >= channels else (),
            "pad_channels_in_front": lambda: (*shape[:-1], s["channels"]) if s["channels"] >= channels else (),
            "replicate": lambda: (*shape[:-1], 2 * channels),
            "average_copies": lambda: () if channels % 2 else (*shape[:-1], channels // 2),
            "batch_norm": lambda: shape if self.arrays.get("gamma", np.empty(0)).size == channels else (),
        }
        out = known.get(self.kind, lambda: shape)()
        if not out:
            raise self.misfit(shape)
        return out
