"""`export_c`: a packed network as one C99 header that needs no other file."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from duonet.arguments import instance
from duonet.files import replacing
from duonet.inference.floats import FloatLayer
from duonet.inference.layers import Layer, StepLayer
from duonet.inference.network import PackedNetwork
from duonet.inference.products import SignLayer

Array = npt.NDArray[Any]
WIDTH = 12  # numbers in a line
INT32 = 1 << 31


class CannotExport(ValueError):
    """A packed network with a layer without code for the C header; the message names the layer and the reason."""


class Memory(NamedTuple):
    """The memory that the header needs on a device, in bytes, beside its code.

    Attributes
    ----------
    flash : int
        Constants: weights, thresholds, settings.
    ram : int
        The struct of working memory, the image and the logits.
    """

    flash: int
    ram: int


def export_c(path: str | Path, network: PackedNetwork, name: str | None = None) -> Memory:
    """Write a C99 header with `int NAME_run(const float *image, struct NAME_memory *memory, float *logits)`.

    From the first layer's steps to the last activation, the code computes with whole numbers; the layers behind
    the last activation are float. The header allocates nothing, has no state, and needs no other file.

    Parameters
    ----------
    path : str or Path
    network : PackedNetwork
        A chain: a first float layer and its steps, layers of bits, and float layers on one pixel.
    name : str, optional
        The prefix of the header's names; by default the file's name.

    Returns
    -------
    Memory

    Raises
    ------
    CannotExport
        If the network is not such a chain; the message names the layer.
    ValueError
        If `name` is not a name in C.

    Examples
    --------
    >>> import tempfile
    >>> from duonet import models, pack
    >>> model = models.vgg_deep("baseline", weights="binary", rng=np.random.default_rng(0)).eval()
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     export_c(f"{folder}/net.h", pack(model, in_shape=(28, 28, 1)))
    Memory(flash=26916, ram=8248)
    """
    instance("export_c", "network", network, PackedNetwork)
    name = re.sub(r"\W", "_", Path(path).stem, flags=re.A) if name is None else name
    if not re.fullmatch(r"[A-Za-z]\w*", name, re.A):
        raise ValueError(f"export_c: {name!r:.60} cannot be the name of a C function")
    text, memory = to_c(network, name)
    with replacing(path) as part:
        part.write_text(text, encoding="ascii")
    return memory


def to_c(network: PackedNetwork, name: str) -> tuple[str, Memory]:
    """Return the header's text and the memory that it needs.

    Parameters
    ----------
    network : PackedNetwork
    name : str

    Returns
    -------
    text : str
    memory : Memory
    """
    if network.in_shape is None:
        raise CannotExport("export_c: the network does not say what its input is: pack(model, in_shape=(H, W, C))")
    header = _Header(name, network.in_shape)
    header.first(network.layers)
    memory = Memory(header.flash, header.ram + 4 * (math.prod(network.in_shape) + network.out_shape[0]))
    runtime = Path(__file__).with_name("runtime.h").read_text(encoding="ascii")
    shape, classes = " x ".join(map(str, network.in_shape)), network.out_shape[0]
    lines = [
        f"/* A network of duonet's. Constants: {memory.flash:,} bytes.",
        f"   The struct of memory, an image and the logits: {memory.ram:,} bytes.",
        f"   {name}_run takes an image of {shape} floats, channels last, normalised as in training,",
        f"   writes {classes} logits and returns the class of the largest. */",
        runtime,
        f"#ifndef DUONET_{name}",
        f"#define DUONET_{name}",
        "",
        *header.constants,
        f"struct {name}_memory {{ uint32_t even[{header.words[0]}], odd[{header.words[1]}];",
        f"    union {{ int32_t sums[{header.sums}]; float best[{header.sums}]; }} one;",
        f"    float left[{header.floats}], right[{header.floats}]; }};",
        "",
        f"static inline int {name}_run(const float *image, struct {name}_memory *m, float *logits) {{",
        *(f"    {line}" for line in header.code),
        "    int best = 0;",
        f"    for (int i = 1; i < {classes}; i++) if (logits[i] > logits[best]) best = i;",
        "    return best;",
        "}",
        "",
        "#endif",
        "",
    ]
    return "\n".join(lines), memory


class _Header:
    """The growing text, the shape of the last output, and the memory so far."""

    def __init__(self, name: str, shape: tuple[int, ...]) -> None:
        self.name, self.shape = name, shape
        self.constants: list[str] = []
        self.code: list[str] = []
        self.words, self.sums, self.floats, self.flash = [1, 1], 1, 1, 0
        self.at = 0  # which of the two buffers of bits is read next
        self.levels: tuple[float, ...] = ()

    @property
    def ram(self) -> int:
        """Bytes of the struct."""
        return 4 * (sum(self.words) + self.sums + 2 * self.floats)

    def first(self, layers: list[Layer]) -> None:
        """Write the float layers up to the first steps, then the rest."""
        waiting = list(layers)
        while waiting and waiting[0].kind == "flatten":
            self.shape = waiting.pop(0).shape(self.shape)
        head, waiting = waiting[:1], waiting[1:]
        pool = waiting.pop(0) if waiting and waiting[0].kind == "max_pool" else None
        conv, steps = head[0] if head else None, waiting.pop(0) if waiting else None
        if not isinstance(conv, FloatLayer) or conv.kind not in ("conv", "linear"):
            raise _refused(conv or layers[0], "the first layer must be a float conv or linear layer")
        if not isinstance(steps, StepLayer):
            raise _refused(steps or conv, "steps must follow the first layer, or a max pool behind it")
        weight = conv.arrays["weight"]
        kernel = weight if weight.ndim == 4 else weight[None, None]
        shape = self.shape if len(self.shape) == 3 else (1, 1, *self.shape)
        sums = conv.shape(self.shape)
        pooled = sums if pool is None else pool.shape(sums)
        self.shape = steps.shape(pooled)
        channels, k = self.shape[-1], len(steps.levels) - 1
        settings = {"stride": 1, "padding": 0} | conv.settings
        pools = (1, 1, 0)
        if isinstance(pool, FloatLayer):
            pools = pool.settings["size"], pool.settings["stride"], pool.settings["padding"]
        window = self._window(
            shape, kernel.shape, settings["stride"], settings["padding"], sums, pools, pooled, steps.copies, k
        )
        at = len(self.constants)
        thresholds = np.broadcast_to(steps.thresholds, (k, channels))
        names = [
            self._array("weights", "float", kernel),
            "0" if "bias" not in conv.arrays else self._array("bias", "float", conv.arrays["bias"]),
            self._array("thresholds", "float", thresholds),
            self._array("falls", "uint32_t", _words(np.broadcast_to(steps.falls, channels))),
        ]
        self.constants.append(f"static const struct duonet_window {self.name}_window{at} = {window};\n")
        self.flash += 4 * 18
        self.levels, self.sums = steps.levels, max(self.sums, sums[-1])
        self._holds(self.at)
        self.code.append(
            f"duonet_first(&{self.name}_window{at}, {', '.join(names)}, image, m->one.best, m->{self._buffer()});"
        )
        self.middle(waiting)

    def middle(self, waiting: list[Layer]) -> None:
        """Write the layers of bits, then the rest."""
        while waiting and (waiting[0].kind == "flatten" or isinstance(waiting[0], SignLayer)):
            layer = waiting.pop(0)
            if not isinstance(layer, SignLayer):
                continue  # the next product reads the image in rows, as it lies
            if layer.signs.ndim == 4 or len(self.shape) == 1:
                image = self.shape if len(self.shape) == 3 else (1, 1, *self.shape)
                signs = layer.signs if layer.signs.ndim == 4 else layer.signs[None, None]
            else:
                image, signs = self.shape, layer.signs.reshape(*self.shape, -1)
            sums = layer.sums_shape(self.shape if layer.signs.ndim == 4 else (layer.signs.shape[0],))
            made = self._signs(layer, image, signs, sums)
            if layer.thresholds is None:
                if len(sums) == 3 and sums[:2] != (1, 1):
                    raise _refused(layer, "its output is float, and has more than one pixel")
                scale = self._array("scale", "float", layer.scale)
                bias = "0" if layer.bias is None else self._array("bias", "float", layer.bias)
                self.floats = max(self.floats, layer.outputs)
                self.code.append(
                    f"duonet_scaled(&{made}, {_float(layer.unit)}, {scale}, {layer.scale.size}, {bias}, "
                    f"m->{self._buffer()}, m->one.sums, m->left);"
                )
                self.last(waiting, layer.outputs)
                return
            before = self._buffer()
            self.at = 1 - self.at
            self.shape = layer.shape(image if layer.signs.ndim == 4 else (layer.signs.shape[0],))
            self.levels = layer.out_levels
            self._holds(self.at)
            self.code.append(f"duonet_binary(&{made}, m->{before}, m->one.sums, m->{self._buffer()});")
        pixels = math.prod(self.shape[:-1])
        self.floats = max(self.floats, math.prod(self.shape))
        levels = self._array("levels", "float", np.array(self.levels, np.float32))
        self.code.append(
            f"duonet_values({pixels}, {self.shape[-1]}, {len(self.levels) - 1}, {levels}, m->{self._buffer()}, "
            "m->left);"
        )
        self.last(waiting, math.prod(self.shape))

    def last(self, waiting: list[Layer], n: int) -> None:
        """Write the float layers on one pixel of n numbers."""
        here, there = "m->left", "m->right"
        products = [layer for layer in waiting if "weight" in getattr(layer, "arrays", ())]
        for layer in waiting:
            if not isinstance(layer, FloatLayer) or layer.kind not in LAST:
                raise _refused(layer, "after the layers of bits, float layers may follow on one pixel alone")
            if layer.kind == "batch_norm":
                a = layer.arrays
                slope = a["gamma"] * (1 / np.sqrt(a["running_var"] + np.float32(layer.settings["eps"])))
                names = [
                    self._array(name, "float", array)
                    for name, array in (("mean", a["running_mean"]), ("slope", slope), ("beta", a["beta"]))
                ]
                self.code.append(f"duonet_norm({n}, {', '.join(names)}, {here});")
            elif layer.kind == "relu":
                self.code.append(f"duonet_relu({n}, {here});")
            elif layer.kind in ("conv", "linear"):
                weight = layer.arrays["weight"]
                if weight.size != n * weight.shape[-1] or layer.settings.get("padding", 0):
                    raise _refused(layer, "its kernel does not cover the whole image")
                outputs = weight.shape[-1]
                out = "logits" if layer is products[-1] else there
                bias = layer.arrays.get("bias")
                names = [self._array("weights", "float", weight)]
                names.append("0" if bias is None else self._array("bias", "float", bias))
                self.floats = max(self.floats, n, outputs if out == there else 1)
                self.code.append(f"duonet_linear({n}, {outputs}, {', '.join(names)}, {here}, {out});")
                n, here, there = outputs, out, here
        if not products:
            self.code.append(f"for (int i = 0; i < {n}; i++) logits[i] = {here}[i];")

    def _signs(self, layer: SignLayer, image: tuple[int, ...], signs: Array, sums: tuple[int, ...]) -> str:
        """Write a layer of bits, and return its name."""
        out = layer.shape(image if layer.signs.ndim == 4 else (layer.signs.shape[0],))
        window = self._window(
            image, signs.shape, layer.stride, layer.padding, sums, layer.pool or (1, 1, 0), out, layer.copies,
            max(1, len(layer.out_levels) - 1),
        )  # fmt: skip
        words = _words(np.moveaxis(signs, -1, 0))
        at = len(self.constants)
        rise, low = (round(number / layer.unit) for number in (layer.rise, layer.low))
        if max(abs(rise), abs(low)) * signs[..., 0].size * layer.planes >= INT32:
            raise _refused(layer, "its sums do not fit 32 bits")
        names = [self._array("signs", "uint32_t", words), "0", "0", "0"]
        if layer.thresholds is not None and layer.falls is not None:
            narrow = layer.thresholds.dtype == np.int16
            names[1 if narrow else 2] = self._array("limits", f"int{16 if narrow else 32}_t", layer.thresholds)
            names[3] = self._array("falls", "uint32_t", _words(layer.falls))
        self.sums = max(self.sums, layer.outputs)
        name = f"{self.name}_layer{at}"
        self.constants.append(
            f"static const struct duonet_signs {name} = {{\n    {window}, "
            f"{words.shape[-1]}, {layer.planes}, {rise}, {low}, {', '.join(names)}}};\n"
        )
        self.flash += 4 * (18 + 8)
        return name

    def _window(
        self, image: tuple[int, ...], kernel: tuple[int, ...], stride: int, padding: int, sums: tuple[int, ...],
        pool: tuple[int, ...], out: tuple[int, ...], copies: int, steps: int,
    ) -> str:  # fmt: skip
        heights = [shape if len(shape) == 3 else (1, 1, *shape) for shape in (sums, out)]
        words = -(-kernel[-1] * copies // 32)
        numbers = [*image, *kernel[:2], stride, padding, *heights[0][:2], kernel[-1], *pool, *heights[1][:2]]
        numbers += [copies, steps, words]
        return "{" + ", ".join(map(str, numbers)) + "}"

    def _array(self, what: str, kind: str, array: Array) -> str:
        """Write an array of constants, and return its name."""
        name = f"{self.name}_{what}{len(self.constants)}"
        if kind == "float":
            numbers = [_float(number) for number in array.ravel().tolist()]
        else:
            numbers = [f"0x{n:x}u" if kind == "uint32_t" else str(n) for n in array.ravel().tolist()]
        rows = [", ".join(numbers[i : i + WIDTH]) for i in range(0, len(numbers), WIDTH)]
        body = ",\n    ".join(rows)
        self.constants.append(f"static const {kind} {name}[{len(numbers)}] = {{\n    {body}}};\n")
        self.flash += array.size * (2 if kind == "int16_t" else 4)
        return name

    def _buffer(self) -> str:
        return ("even", "odd")[self.at]

    def _holds(self, buffer: int) -> None:
        words = math.prod(self.shape[:-1]) * (len(self.levels) - 1) * -(-self.shape[-1] // 32)
        self.words[buffer] = max(self.words[buffer], words)


LAST = ("batch_norm", "relu", "flatten", "conv", "linear")


def _words(bits: Iterable[Any]) -> npt.NDArray[np.uint32]:
    """Put the last axis of signs into words of 32."""
    array = np.asarray(bits)
    padded = np.concatenate([array, np.zeros((*array.shape[:-1], -array.shape[-1] % 32), bool)], axis=-1)
    return np.packbits(np.ascontiguousarray(padded), axis=-1, bitorder="little").view("<u4").astype(np.uint32)


def _float(number: float) -> str:
    """Write a float32 so that C reads the same number."""
    if math.isinf(number):
        return "INFINITY" if number > 0 else "-INFINITY"
    return f"{float(np.float32(number)).hex()}f"


def _refused(layer: Layer, why: str) -> CannotExport:
    return CannotExport(f"export_c: {layer.path} {layer.kind}: {why}")
