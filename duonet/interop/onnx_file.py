"""`to_onnx`: a model as an ONNX file of standard operators."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from duonet import arguments, nn
from duonet.files import replacing
from duonet.folding import fold_batch_norm
from duonet.interop.extras import needed
from duonet.interop.plan import CannotTranslate, Part, plan
from duonet.version import VERSION

Array = npt.NDArray[Any]
OPSET = 17
IR = 8  # the version of the file format for this opset


def to_onnx(
    path: str | Path, model: nn.Module, in_shape: tuple[int, ...], about: dict[str, Any] | None = None
) -> None:
    """Write a model for evaluation as an ONNX file with operators of opset 17 alone.

    Its input is "images", (N, C, H, W) or (N, IN) float32 with N free, and its output is "logits". A staircase
    becomes a GreaterOrEqual and a Where for each step, whose thresholds contain the batch norm before it, as in
    `fold_batch_norm`: the decisions agree to the last bit. The file holds weights in quantised form; weights of
    two values are signs, with a Mul for their scale, so that sums of steps are exact in any order.

    Parameters
    ----------
    path : str or Path
        The complete new file replaces an older file.
    model : Module
        A float32 model of duonet's layers. It stays unchanged.
    in_shape : tuple of int
        The shape of one image, (H, W, C) or (IN,).
    about : dict, optional
        `class_names`, `mean` and `std`, which go into the file's metadata.

    Raises
    ------
    CannotTranslate
        If a layer, such as a stochastic layer, has no form in ONNX, or the model is not float32; the message names
        the layer.
    ValueError
        If images of this shape do not fit, a number is not finite, or `about` holds something that JSON cannot.
    TypeError
        If `model` is not a Module, or `in_shape` is not a tuple of one or three ints.
    RuntimeError
        If onnx is not installed.
    OSError
        If the file cannot be written; an older file then stays.

    Examples
    --------
    >>> from duonet import models
    >>> model = models.vgg7("baseline", rng=np.random.default_rng(0))
    >>> to_onnx("vgg7.onnx", model, (32, 32, 3))  # doctest: +SKIP
    """
    arguments.instance("to_onnx", "model", model, nn.Module)
    kept = _in_json(arguments.instance("to_onnx", "about", {} if about is None else about, dict))
    for name, tensor in model._tensors():
        if tensor.dtype.kind == "f" and tensor.dtype != np.float32:
            raise CannotTranslate(f"to_onnx: {name} is {tensor.dtype}, not float32: model.astype('float32')")
        if not np.isfinite(tensor.numpy()).all():
            raise ValueError(f"to_onnx: {name} holds NaN or infinity")
    whole = plan("to_onnx", fold_batch_norm(model), in_shape)
    onnx = needed("to_onnx", "onnx")
    graph = _Graph(onnx)
    graph.node("Identity", [graph.part(whole, "images")], "logits")
    written = graph.model(whole, kept)
    with replacing(path) as part:
        part.write_bytes(written)


def _in_json(about: dict[str, Any]) -> dict[str, str]:
    """Return the facts about images and classes as JSON texts."""
    kept = {name: about[name] for name in ("class_names", "mean", "std") if name in about}
    try:
        return {name: json.dumps(value, allow_nan=False) for name, value in kept.items()}
    except (TypeError, ValueError) as error:
        raise ValueError(f"to_onnx: about must hold values of JSON: {error}") from None


class _Graph:
    """The nodes and constants so far; a name stands for a tensor."""

    def __init__(self, onnx: ModuleType) -> None:
        self.onnx = onnx
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def node(self, operator: str, inputs: list[str], output: str = "", **attributes: Any) -> str:
        """Write a node, and return the name of its output."""
        output = output or f"{operator.lower()}_{len(self.nodes)}"
        self.nodes.append(self.onnx.helper.make_node(operator, inputs, [output], output, **attributes))
        return output

    def constant(self, name: str, array: npt.ArrayLike, dtype: npt.DTypeLike = np.float32) -> str:
        """Write a constant, and return its name."""
        name = f"{name}_{len(self.constants)}"
        value = np.ascontiguousarray(np.asarray(array, dtype)).reshape(np.shape(array))
        self.constants.append(self.onnx.numpy_helper.from_array(value, name))
        return name

    def model(self, whole: Part, about: dict[str, str]) -> bytes:
        """Return the file's bytes, once onnx's own checker has accepted them."""
        helper = self.onnx.helper
        ends = [
            helper.make_tensor_value_info(name, self.onnx.TensorProto.FLOAT, ["N", *_channels_first(shape)])
            for name, shape in (("images", whole.before), ("logits", whole.after))
        ]
        graph = helper.make_graph(self.nodes, "duonet", ends[:1], ends[1:], self.constants)
        opset = helper.make_opsetid("", OPSET)
        made = helper.make_model(
            graph, opset_imports=[opset], ir_version=IR, producer_name="duonet", producer_version=VERSION
        )
        helper.set_model_props(made, about | {"layout": "channels first"})
        self.onnx.checker.check_model(made, full_check=True)
        return bytes(made.SerializeToString(deterministic=True))

    def part(self, part: Part, x: str) -> str:
        """Write a part and everything in it."""
        if part.kind == "sequence":
            for child in part.parts.values():
                x = self.part(child, x)
            return x
        if part.kind == "sum":
            one, other = (
                self.part(part.parts[name], x) if name in part.parts else x for name in ("body", "shortcut")
            )
            return self.node("Add", [one, other])
        return WRITERS[part.kind](self, part, x)

    def array(self, part: Part, name: str, *ends: int) -> str:
        """Write an array of a part, with axes of length 1 behind its own axes."""
        array = part.arrays[name].there()
        return self.constant(f"{part.path}.{name}", array.reshape(*array.shape, *ends))

    def column(self, part: Part, name: str, numbers: Array) -> str:
        """Write a number, or one for each channel, to broadcast with the input of the part."""
        ends = (1,) * (len(part.before) - 2)
        return self.constant(f"{part.path}.{name}", numbers.reshape(-1, *ends) if np.ndim(numbers) else numbers)


def _channels_first(shape: tuple[int, ...]) -> list[int]:
    """Return the shape of an image, channels first."""
    return [*shape[-1:], *shape[1:-1]]


def _product(graph: _Graph, part: Part, x: str) -> str:
    known, weight = part.settings, part.settings["used"].there()
    columns = (-1,) + (1,) * (len(part.after) - 2)
    scale = abs(weight.reshape(len(weight), -1)[:, 0])
    kernel = np.where(weight >= 0, 1, -1) if known["signs"] else weight
    constant = graph.constant(f"{part.path}.weight", kernel)
    bias = [graph.array(part, "bias")] if "bias" in part.arrays and not known["signs"] else []
    if part.kind == "conv":
        x = graph.node("Conv", [x, constant, *bias], **_window(part, kernel.shape[2:]))
    else:
        x = graph.node("Gemm", [x, constant, *bias], transB=1)
    if known["signs"]:
        x = graph.node("Mul", [x, graph.constant(f"{part.path}.scale", scale.reshape(columns))])
        if "bias" in part.arrays:
            x = graph.node("Add", [x, graph.array(part, "bias", *columns[1:])])
    return x


def _steps(graph: _Graph, part: Part, x: str) -> str:
    known = part.settings
    levels = [graph.column(part, "level", level) for level in known["levels"]]
    y, falls = levels[0], known["falls"]
    if falls is not None:
        ends = (1,) * (len(part.before) - 2)
        falls = graph.constant(f"{part.path}.falls", falls.reshape(-1, *ends), bool)
    for threshold, level in zip(known["thresholds"], levels[1:]):
        reached = graph.node("GreaterOrEqual", [x, graph.column(part, "threshold", threshold)])
        if falls is not None:
            reached = graph.node("Xor", [reached, falls])
        y = graph.node("Where", [reached, level, y])
    return y


def _batch_norm(graph: _Graph, part: Part, x: str) -> str:
    arrays = [graph.array(part, name) for name in ("weight", "bias", "running_mean", "running_var")]
    return graph.node("BatchNormalization", [x, *arrays], epsilon=part.settings["eps"])


def _clip(graph: _Graph, part: Part, x: str) -> str:
    low, high = (part.settings[name] for name in ("low", "high"))
    ends = ["" if math.isinf(end) else graph.constant(f"{part.path}.end", end) for end in (low, high)]
    return graph.node("Clip", [x, *ends])


def _pad_channels(graph: _Graph, part: Part, x: str) -> str:
    pads = np.zeros((2, len(part.before)), np.int64)
    pads[0 if part.settings["front"] else 1, 1] = part.after[-1] - part.before[-1]
    return graph.node("Pad", [x, graph.constant(f"{part.path}.pads", pads.ravel(), np.int64)])


def _average_copies(graph: _Graph, part: Part, x: str) -> str:
    shares, channels = part.settings["shares"], part.after[-1]
    total = ""
    for k, share in enumerate(shares):
        ends = (graph.constant(f"{part.path}.cut", [n], np.int64) for n in (k * channels, (k + 1) * channels, 1))
        copy = graph.node("Slice", [x, *ends])
        copy = graph.node("Mul", [copy, graph.constant(f"{part.path}.share", share)])
        total = copy if not total else graph.node("Add", [total, copy])
    return total


def _prelu(graph: _Graph, part: Part, x: str) -> str:
    return graph.node("PRelu", [x, graph.array(part, "weight", *(1,) * (len(part.before) - 2))])


def _window(part: Part, kernel: Sequence[int] = ()) -> dict[str, Any]:
    known = part.settings
    sizes = list(kernel) or [known["size"]] * 2
    return {
        "kernel_shape": sizes, "strides": [known["stride"]] * 2, "pads": [known.get("padding", 0)] * 4
    }  # fmt: skip


def _same(graph: _Graph, part: Part, x: str) -> str:
    return x


WRITERS: dict[str, Callable[[_Graph, Part, str], str]] = {
    "conv": _product,
    "linear": _product,
    "steps": _steps,
    "batch_norm": _batch_norm,
    "clip": _clip,
    "pad_channels": _pad_channels,
    "average_copies": _average_copies,
    "prelu": _prelu,
    "identity": _same,
    "dropout": _same,
    "relu": lambda graph, part, x: graph.node("Relu", [x]),
    "flatten": lambda graph, part, x: graph.node("Flatten", [x], axis=1),
    "global_avg_pool": lambda graph, part, x: graph.node(
        "Flatten", [graph.node("GlobalAveragePool", [x])], axis=1
    ),
    "max_pool": lambda graph, part, x: graph.node("MaxPool", [x], **_window(part)),
    "avg_pool": lambda graph, part, x: graph.node("AveragePool", [x], **_window(part)),
    "replicate": lambda graph, part, x: graph.node("Concat", [x] * part.settings["copies"], axis=1),
}
