"""A run of packed layers as a program of the compiled kernels: instructions, constants, places in memory."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from duonet import engine
from duonet.compiled import instructions
from duonet.compiled.instructions import LANES, Instruction, line, padded
from duonet.compiled.instructions import words as as_words
from duonet.inference.floats import FloatLayer
from duonet.inference.layers import Layer, StepLayer, Sum, values
from duonet.inference.products import SignLayer

Array = npt.NDArray[Any]


class Held(NamedTuple):
    """Part of a program's memory for each image: floats, or steps as rows of bits.

    Attributes
    ----------
    at : int
        Where it begins.
    shape : tuple of int
        (H, W, C)
    levels : tuple of float
        The levels of the bits; empty for floats.
    border : int
        Pixels of zeros around bits.
    flat : bool
        Whether an image is read as one row of numbers.
    """

    at: int
    shape: tuple[int, int, int]
    levels: tuple[float, ...] = ()
    border: int = 0
    flat: bool = False

    @property
    def size(self) -> int:
        """Floats, or words."""
        h, w, c = self.shape
        if not self.levels:
            return h * w * c
        return (h + 2 * self.border) * line(w, c, self.border, len(self.levels) - 1)


class Memory:
    """Places in an array that are given out and taken back.

    Examples
    --------
    >>> memory = Memory()
    >>> memory.take(5), memory.take(5), memory.give(0, 5), memory.take(3), memory.size
    (0, 5, None, 0, 10)
    """

    def __init__(self) -> None:
        self.size, self.free = 0, list[tuple[int, int]]()

    def take(self, size: int) -> int:
        """Return the start of a free place."""
        for i, (at, room) in enumerate(self.free):
            if room >= size:
                self.free[i] = at + size, room - size
                return at
        self.size += size
        return self.size - size

    def give(self, at: int, size: int) -> None:
        """Take back a place that was given out."""
        self.free.append((at, size))


class Program(Layer):
    """A run of layers in one call of a kernel.

    Parameters
    ----------
    layers : list of Layer
    shape : tuple of int
        Of one image.
    kernel : module
        `duonet.compiled.program`.
    """

    kind = "program"

    def __init__(self, layers: list[Layer], shape: tuple[int, ...], kernel: Any) -> None:
        super().__init__(layers[0].path)
        self._kernel = kernel
        self.code: list[Instruction] = []
        self.words, self.limits, self.floats = ([np.zeros(1, kind)] for kind in (np.uint64, np.int64, np.float32))
        self.bits, self.values, self.windows, self.block, self.work = Memory(), Memory(), 1, 1, 0.0
        image = (shape[0], shape[1], shape[2]) if len(shape) == 3 else (1, 1, math.prod(shape))
        held = Held(0, image, flat=len(shape) == 1)
        self.values.take(held.size)
        held, _ = self._layers(layers, held, True)
        self.levels, (held, _) = held.levels, self._as_floats(held, True)
        self.out_shape: tuple[int, ...] = (math.prod(held.shape),) if held.flat else held.shape
        self._given = self._constants(held.at)

    def run(self, x: Any) -> Array:
        """Compute all layers for a batch."""
        from duonet.compiled.running import given, share

        x = values(x)
        out = np.empty((len(x), math.prod(self.out_shape)), np.float32)
        images = given(x).reshape(len(x), math.prod(x.shape[1:]))
        share(self._kernel.program, len(x), self.work * len(x), images, *self._given, out)
        out = out.reshape(len(x), *self.out_shape)
        if not self.levels:
            return out
        attached: Array = engine.attach(out, levels=tuple(float(np.float32(level)) for level in self.levels))
        return attached

    def _constants(self, begin: int) -> list[Array]:
        """Return the kernel's arguments beside the images, all read-only, so that numba sees one type."""
        memory = self.bits.size + 2, self.values.size + LANES, self.windows, self.block, begin
        given: list[Array] = instructions.constants(self.code, self.words, self.limits, self.floats, memory)
        return given

    def _layers(self, layers: list[Layer], x: Held, ours: bool) -> tuple[Held, bool]:
        """Write layers one after the other; `ours` says that the place of `x` may be used again."""
        for layer, *behind in (layers[i : i + 2] for i in range(len(layers))):
            x, ours = self._layer(layer, x, ours, _border(behind))
        return x, ours

    def _layer(self, layer: Layer, x: Held, ours: bool, border: int) -> tuple[Held, bool]:
        if isinstance(layer, SignLayer):
            return self._signs(layer, x, ours, border), True
        if layer.kind == "flatten":
            return x._replace(flat=True), ours
        if isinstance(layer, Sum):
            return self._sum(layer, x, ours), True
        x, ours = self._as_floats(x, ours)
        if x.flat:
            x = x._replace(shape=(1, 1, math.prod(x.shape)))
        if isinstance(layer, StepLayer):
            thresholds = np.broadcast_to(layer.thresholds, (len(layer.levels) - 1, x.shape[2] * layer.copies))
            falls = np.broadcast_to(layer.falls, thresholds.shape[1])
            return self._steps(x, ours, thresholds, falls, layer.levels, layer.copies, border), True
        assert isinstance(layer, FloatLayer)
        if layer.kind == "conv":
            return self._conv(layer, x), True
        if layer.kind in ("replicate", "average_copies"):
            return self._repeat(layer, x, ours), True
        if not ours:
            x = self._copy(x)
        length, (h, w, c) = math.prod(x.shape), x.shape
        if layer.kind == "relu":
            self._write("RELU", x.at, x.at, length=length)
            return x, True
        a = layer.arrays  # as the twins of batch norm: y = slope x + shift
        slope = a["gamma"] * (1 / np.sqrt(a["running_var"] + layer.settings["eps"]))
        places = [self._float(np.tile(v, w)) for v in (slope, a["beta"] - a["running_mean"] * slope)]
        self._write(
            "NORM", x.at, x.at, length=length, height=h, width=w, channels=c, floats=places[0], more=places[1]
        )
        return x, True

    def _sum(self, layer: Sum, x: Held, ours: bool) -> Held:
        y, y_ours = self._as_floats(*self._layers(layer.body, x, False))
        y = y if y_ours else self._copy(y)
        z, z_ours = self._as_floats(*self._layers(layer.shortcut, x, ours))
        self._write("ADD", z.at, y.at, length=math.prod(y.shape))
        self._release(z, z_ours)
        return y

    def _conv(self, layer: FloatLayer, x: Held) -> Held:
        weight, bias = layer.arrays["weight"], layer.arrays.get("bias")
        kh, kw, c, outputs = weight.shape
        padding = layer.settings["padding"]
        y = self._held(x, layer.shape(x.shape))
        self.block = max(self.block, kh * (x.shape[1] + 2 * padding) * c)
        self.work += math.prod(y.shape) * kh * kw * c / 64
        self._write(
            "CONV", x.at, y.at, **_sizes(x, y), kernel_height=kh, kernel_width=kw, stride=layer.settings["stride"],
            padding=padding, floats=self._float(weight),
            more=self._float(np.zeros(outputs, np.float32) if bias is None else bias),
        )  # fmt: skip
        return y

    def _repeat(self, layer: FloatLayer, x: Held, ours: bool) -> Held:
        h, w, c = x.shape
        shares, length = layer.arrays.get("shares"), math.prod(x.shape)
        if shares is None:
            copies = layer.settings["copies"]
            y = self._held(x, (h, w, copies * c))
            self._write("REPEAT", x.at, y.at, length=length, channels=c, copies=copies)
        else:
            y, floats = self._held(x, (h, w, c // shares.size)), self._float(shares)
            self._write("AVERAGE", x.at, y.at, length=length, channels=c, copies=shares.size, floats=floats)
        self._release(x, ours)
        return y

    def _steps(
        self, x: Held, ours: bool, thresholds: Array, falls: Array, levels: tuple[float, ...], copies: int,
        border: int,
    ) -> Held:  # fmt: skip
        """Floats to bits."""
        h, w, c = x.shape
        y = self._held(x, (h, w, c * copies), levels, border)
        limits = padded(thresholds, copies, np.float32(np.nan))  # nothing reaches a NaN
        self._write(
            "STEPS", x.at, y.at, **_sizes(x, y) | {"outputs": c}, padded=limits.shape[-1], copies=copies,
            steps=len(levels) - 1, floats=self._float(limits), more=self._falls(falls, copies),
        )  # fmt: skip
        self._release(x, ours)
        return y

    def _signs(self, layer: SignLayer, x: Held, ours: bool, border: int) -> Held:
        """Bits to bits, or to floats if no thresholds follow."""
        padding = layer.padding if layer.signs.ndim == 4 else 0
        if x.levels and (x.levels != layer.levels or x.border != padding):
            x, ours = self._as_floats(x, ours)
        if not x.levels:
            h, w, c = x.shape
            levels = np.array(layer.levels[1:], np.float32)
            falls = np.zeros(c, bool)
            x = self._steps(x, ours, np.tile(levels[:, None], c), falls, layer.levels, 1, padding)
            ours = True
        signs = layer.signs if layer.signs.ndim == 4 else layer.signs.reshape(*x.shape, -1)
        kh, kw, c, outputs = signs.shape
        words = as_words(np.concatenate([signs] * layer.planes, axis=2).reshape(-1, outputs))
        flat = layer.signs.ndim == 2
        shape = (1, 1, *layer.shape(layer.signs.shape[:1])) if flat else layer.shape(x.shape)
        pixels = math.prod(shape[:2]) * (1 if layer.pool is None else 4)
        self.work += max(4, pixels) * words.size / 16
        self.windows = max(self.windows, 4 * (words.shape[1] + 1))
        self.block = max(self.block, 4 * words.shape[0] * LANES)
        settings = {
            "kernel_height": kh, "kernel_width": kw, "stride": layer.stride,
            "pool": 1 if layer.pool is None else 2, "planes": layer.planes, "padded": words.shape[0] * LANES,
            "words": self._place(self.words, words),
        }  # fmt: skip
        if layer.thresholds is None or layer.falls is None:
            y = self._held(x, shape)
            scale = np.broadcast_to(layer.scale, outputs)
            floats = self._float(np.concatenate([np.array([layer.rise], np.float32), scale]))
            bias = 0 if layer.bias is None else self._float(layer.bias)
            self._write("SUMS", x.at, y.at, **_sizes(x, y), **settings, floats=floats, more=bias)
        else:
            y = self._held(x, shape, layer.out_levels, border)
            factor = round(layer.rise / layer.unit)
            limits = -(-layer.thresholds.astype(np.int64) // factor)
            limits = padded(limits, layer.copies, np.iinfo(np.int64).max)
            self._write(
                "COUNT", x.at, y.at, **_sizes(x, y) | {"outputs": outputs}, **settings, copies=layer.copies,
                steps=len(layer.out_levels) - 1, limits=self._place(self.limits, limits),
                more=self._falls(layer.falls, layer.copies),
            )  # fmt: skip
        self._release(x, ours)
        return y._replace(flat=flat)

    def _as_floats(self, x: Held, ours: bool) -> tuple[Held, bool]:
        if not x.levels:
            return x, ours
        y = self._held(x, x.shape)
        levels = self._float(np.array(x.levels, np.float32))
        self._write("VALUES", x.at, y.at, **_sizes(x, y), planes=len(x.levels) - 1, floats=levels)
        self._release(x, ours)
        return y, True

    def _copy(self, x: Held) -> Held:
        y = self._held(x, x.shape)
        self._write("COPY", x.at, y.at, length=math.prod(x.shape))
        return y

    def _held(self, x: Held, shape: tuple[int, ...], levels: tuple[float, ...] = (), border: int = 0) -> Held:
        """Take a place for the output of a layer that reads x."""
        held = Held(0, (shape[0], shape[1], shape[2]), levels, border, x.flat)
        return held._replace(at=(self.bits if levels else self.values).take(held.size))

    def _release(self, x: Held, ours: bool) -> None:
        if ours:
            (self.bits if x.levels else self.values).give(x.at, x.size)

    def _write(self, kind: str, source: int, target: int, **numbers: int) -> None:
        self.work += numbers.get("length", 0) / LANES
        self.code.append(Instruction(getattr(instructions, kind), source, target, **numbers))

    def _float(self, array: Array) -> int:
        return self._place(self.floats, array)

    def _falls(self, falls: Array, copies: int) -> int:
        bits = padded(falls[None], copies, False)
        return self._place(self.words, as_words(bits.reshape(-1, 1))[0, :, 0])

    def _place(self, kept: list[Array], array: Array) -> int:
        """Append constants, and return their place."""
        kept.append(np.ascontiguousarray(array, kept[0].dtype).ravel())
        return sum(part.size for part in kept[:-1])


def _border(behind: list[Layer]) -> int:
    """Return how many pixels of zeros the next layer reads around bits."""
    while behind and isinstance(behind[0], Sum):
        behind = behind[0].body[:1]
    reader = behind[0] if behind else None
    return reader.padding if isinstance(reader, SignLayer) and reader.signs.ndim == 4 else 0


def _sizes(x: Held, y: Held) -> dict[str, int]:
    return {
        "height": x.shape[0], "width": x.shape[1], "channels": x.shape[2], "border": x.border,
        "out_height": y.shape[0], "out_width": y.shape[1], "outputs": y.shape[2], "out_border": y.border,
    }  # fmt: skip
