"""The common plan of the forms in PyTorch and ONNX: every layer in words, every array with its axes turned."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from duonet import arguments, backend, methods, nn
from duonet.coupling import kind
from duonet.interop.evaluated import table
from duonet.module import join
from duonet.quant import FilterScaleSign, LayerScaleSign, Quantizer
from duonet.tape import no_grad
from duonet.tensor import Tensor
from duonet.watching import evaluating, watch

Array = npt.NDArray[Any]
Order = npt.NDArray[np.int64] | None  # where channels-first rows hold feature j, channels-last ones hold order[j]
PASSING = (methods.DistributionLoss, methods.DoReFaGradients, methods.WAGEErrors)  # y = x
LATENT = {LayerScaleSign: "layer", FilterScaleSign: "filter"}  # weights that PyTorch's form can quantise itself


class CannotTranslate(ValueError):
    """A model with a layer that has no form in PyTorch or ONNX; the message names the layer and the reason."""


class Turned(NamedTuple):
    """An array of a layer, and how its axes are turned.

    Attributes
    ----------
    value : numpy.ndarray
        The array in the layout of duonet.
    axes : tuple of int
        The order of its axes in the other layout.
    order : numpy.ndarray or None
        The order of the features along the axis `along` in the other layout.
    along : int
    tensor : Tensor or None
        The Tensor of the array, which can take a new array; None for an array made of others.
    layer : Module or None
        The layer whose quantiser or source makes it.
    """

    value: Array
    axes: tuple[int, ...]
    order: Order = None
    along: int = 0
    tensor: Tensor | None = None
    layer: nn.Module | None = None

    def there(self) -> Array:
        """Return a copy in the other layout."""
        turned = self.value.transpose(self.axes)
        turned = turned if self.order is None else turned.take(self.order, self.along)
        return np.array(turned, order="C")

    def here(self, array: Array) -> Array:
        """Return a copy of an array of the other layout in the layout of duonet."""
        if self.order is not None:
            array = array.take(np.argsort(self.order), self.along)
        return np.array(array.transpose(np.argsort(self.axes)), order="C")


class Part(NamedTuple):
    """A layer in words that PyTorch and ONNX share.

    Attributes
    ----------
    path : str
    kind : str
    training : bool
    before, after : tuple of int
        Shapes of input and output for one image, channels-last: (1, H, W, C) or (1, C).
    settings : dict
    arrays : dict
        From the name that PyTorch gives an array to a `Turned`.
    parts : dict
        From name to Part, of a container.
    inference_only : str
        Why the form cannot be trained; "" if it can.
    """

    path: str
    kind: str
    training: bool
    before: tuple[int, ...]
    after: tuple[int, ...]
    settings: dict[str, Any]
    arrays: dict[str, Turned]
    parts: dict[str, Part]
    inference_only: str = ""

    def all(self) -> Iterator[Part]:
        """Yield this part and all below it."""
        yield self
        for part in self.parts.values():
            yield from part.all()


def plan(owner: str, model: nn.Module, in_shape: tuple[int, ...]) -> Part:
    """Describe a model.

    Parameters
    ----------
    owner : str
        The function, for messages.
    model : Module
    in_shape : tuple of int
        The shape of one image, (H, W, C) or (IN,).

    Returns
    -------
    Part

    Raises
    ------
    CannotTranslate
        If a layer has no form in PyTorch or ONNX, draws numbers, or stands in two places; the message names the
        layer.
    TypeError, ValueError
        If `in_shape` is not the shape of an image, or images of this shape do not fit.

    Examples
    --------
    >>> plan("plan", nn.Sequential(nn.ReLU()), (4,)).parts["0"].kind
    'relu'
    """
    arguments.instance(owner, "model", model, nn.Module)
    if not isinstance(in_shape, (tuple, list)) or len(in_shape) not in (1, 3):
        what = f"{type(in_shape).__name__} {in_shape!r:.60}"
        raise TypeError(f"{owner}: in_shape must be (H, W, C) or (IN,), a tuple of int, got {what}")
    shape = tuple(arguments.integer(owner, "in_shape", n, at_least=1) for n in in_shape)
    for things in (model.modules, model._tensors):
        first: dict[int, str] = {}
        for path, thing in things(every_path=True):
            if first.setdefault(id(thing), path) != path:
                raise CannotTranslate(
                    f"{owner}: {path} and {first[id(thing)]} are one object, and the form needs two"
                )
    walk = _Walk(owner, *_shapes(owner, model, shape))
    with no_grad():
        part, order = walk.part("", model, None)
    if order is not None:
        raise walk.refused("", model, "no layer reads the rows of its Flatten, which have another order there")
    return part


def arrays_of(part: Part) -> dict[str, Turned]:
    """Return every array of a plan, by its path and PyTorch's name."""
    return {join(one.path, name): array for one in part.all() for name, array in one.arrays.items()}


def _shapes(owner, model, shape):
    """Run one image of zeros, and return every layer's shapes of input and output by path, and its dtype."""
    tensors = [tensor.data for _, tensor in model._tensors() if tensor.dtype.kind == "f"]
    dtype = tensors[0].dtype if tensors else np.dtype(np.float32)
    seen: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {}

    def see(path, module, inputs, output):
        seen[path] = inputs[0].shape if inputs else (), output.shape

    with evaluating(model), no_grad(), watch(model, see), np.errstate(all="ignore"):
        try:
            x = np.zeros((1, *shape), dtype)
            model(Tensor(backend.to_device(x, backend.device_of(tensors[0]) if tensors else "cpu")))
        except ValueError as error:
            raise ValueError(f"{owner}: in_shape {shape} does not fit: {error}") from None
    return seen, dtype


class _Walk:
    """A walk from the input to the output, with the order of the features behind a Flatten."""

    def __init__(self, owner: str, shapes: dict[str, Any], dtype: np.dtype[Any]) -> None:
        self.owner, self.shapes, self.dtype = owner, shapes, dtype

    def refused(self, path: str, layer: nn.Module, why: str) -> CannotTranslate:
        """Return the error that names a layer."""
        name = f"{path} {type(layer).__name__}".strip()
        return CannotTranslate(f"{self.owner}: {name}: {why}")

    def _made(self, path, layer, kind, settings=None, arrays=None, parts=None, why=""):
        before, after = self.shapes[path]
        return Part(path, kind, layer.training, before, after, settings or {}, arrays or {}, parts or {}, why)

    def part(self, path: str, layer: Any, order: Order) -> tuple[Part, Order]:
        """Describe a layer, and return the order of the features behind it."""
        cls = kind(layer)
        draws = layer.known("in_training") if layer.training else ""
        if draws and cls not in (nn.BatchNorm, nn.Dropout) and not isinstance(layer, (nn.Conv2d, nn.Linear)):
            raise self.refused(path, layer, f"{draws}; call model.eval() first")
        if cls is methods.Later:
            inner = layer.quantizer if not layer.waiting else layer.before
            return self.part(path, nn.Sequential() if inner is None else inner, order)
        if cls is nn.Sequential and type(layer).__iter__ is nn.Sequential.__iter__:
            parts = {}
            for name, child in layer.children():
                parts[name], order = self.part(join(path, name), child, order)
            return self._made(path, layer, "sequence", parts=parts), order
        if cls is nn.Residual:
            return self._sum(path, layer, order)
        if isinstance(layer, (nn.Conv2d, nn.Linear)) and cls in (nn.Conv2d, nn.Linear):
            return self._product(path, layer, order)
        try:
            steps = table(layer) if isinstance(layer, Quantizer) else None
        except ValueError as error:
            raise self.refused(path, layer, str(error)) from None
        if steps is not None:
            return self._steps(path, layer, order, steps), order
        if cls in PASSING:
            why = "the form has neither its penalty nor its change of the gradient"
            return self._made(path, layer, "identity", why=why), order
        if cls not in PLAIN:
            stochastic = "it is stochastic, and " if not getattr(layer, "deterministic", True) else ""
            raise self.refused(path, layer, f"{stochastic}it has no form outside duonet")
        name, settings, tensors = PLAIN[cls](layer)
        turned = {
            key: Turned(t.numpy(), tuple(range(t.ndim)), order if t.ndim else None, 0, t)
            for key, t in tensors.items()
        }
        if cls is nn.BatchNorm:
            turned["num_batches_tracked"] = Turned(np.array(0), ())
        made = self._made(path, layer, name, settings, turned)
        return made, self._moved(path, layer, order, made.before)

    def _moved(self, path, layer, order, before):
        """Return the order of the features behind a layer."""
        if isinstance(layer, nn.Flatten) and len(before) == 4 and before[1] * before[2] > 1 and before[3] > 1:
            return np.arange(np.prod(before)).reshape(before[1:]).transpose(2, 0, 1).ravel()
        if order is None:
            return None
        if isinstance(layer, nn.PadChannels):
            more = layer.channels - order.size
            new = np.arange(more) + (0 if layer.front else order.size)
            return np.concatenate([new, order + more] if layer.front else [order, new])
        if isinstance(layer, nn.Replicate):
            return np.concatenate([order + k * order.size for k in range(layer.copies)])
        if isinstance(layer, nn.AverageCopies):
            copies = order.reshape(len(layer.shares), -1)
            if np.any(copies - copies[0] != copies.shape[1] * np.arange(len(copies))[:, None]):
                raise self.refused(path, layer, "the copies of a flattened image lie mixed in the other layout")
            return copies[0]
        return order

    def _sum(self, path, layer, order):
        parts, ends = {}, []
        for name, child in (("body", layer.body), ("shortcut", layer.shortcut)):
            end = order
            if child is not None:
                parts[name], end = self.part(join(path, name), child, order)
            ends.append(end)
        one, other = ends
        if (one is None) != (other is None) or (one is not None and not np.array_equal(one, other)):
            raise self.refused(path, layer, "its two paths would have different orders of features there")
        return self._made(path, layer, "sum", parts=parts), one

    def _product(self, path, layer, order):
        quantizer, source = layer.weight_quantizer, layer.weight_source
        for name, child in layer.children():
            if child.training and (draws := child.known("in_training")):
                raise self.refused(join(path, name), child, f"{draws}; call model.eval() first")
        latent = LATENT.get(kind(quantizer)) if quantizer is not None and source is None else None
        used = (quantizer is not None and latent is None) or source is not None
        made = layer.used_weight().numpy()
        image = made.ndim == 4
        weight = Turned(made, (3, 2, 0, 1) if image else (1, 0), order, 1, layer.weight, layer if used else None)
        arrays = {"weight": weight if latent is None else weight._replace(value=layer.weight.numpy())}
        if layer.bias is not None:
            arrays["bias"] = Turned(layer.bias.numpy(), (0,), None, 0, layer.bias)
        settings = {"stride": layer.stride, "padding": layer.padding} if image else {}
        settings["signs"] = bool(quantizer is not None and quantizer.known("two_valued"))
        settings |= {"latent": latent, "used": weight}
        what = type(source if quantizer is None else quantizer).__name__
        why = f"its weights are fixed as {what} made them" if used else ""
        return self._made(path, layer, "conv" if image else "linear", settings, arrays, why=why), None

    def _steps(self, path, layer, order, steps):
        """Describe a staircase."""
        settings = {
            "thresholds": [_in_order(np.asarray(t, self.dtype), order) for t in steps.thresholds],
            "levels": [_in_order(np.asarray(level, self.dtype), order) for level in steps.levels],
            "falls": None if steps.falls is None else _in_order(steps.falls, order),
            "surrogate": steps.surrogate,
            "order": order,
        }
        return self._made(path, layer, "steps", settings, why=steps.why)


def _in_order(numbers: Array, order: Order) -> Array:
    return numbers if order is None or not np.ndim(numbers) else numbers[order]


Described = tuple[str, dict[str, Any], dict[str, Tensor]]
PLAIN: dict[type, Callable[[Any], Described]] = {
    nn.BatchNorm: lambda m: (
        "batch_norm",
        {"eps": float(m.eps), "momentum": float(m.momentum)},
        {"weight": m.gamma, "bias": m.beta, "running_mean": m.running_mean, "running_var": m.running_var},
    ),
    nn.ReLU: lambda m: ("relu", {}, {}),
    nn.PReLU: lambda m: ("prelu", {}, {"weight": m.slope}),
    nn.Clip: lambda m: ("clip", {"low": float(m.low), "high": float(m.high)}, {}),
    nn.Dropout: lambda m: ("dropout", {"p": float(m.p), "channels": m.channels}, {}),
    nn.MaxPool2d: lambda m: ("max_pool", {"size": m.size, "stride": m.stride, "padding": m.padding}, {}),
    nn.AvgPool2d: lambda m: ("avg_pool", {"size": m.size, "stride": m.stride}, {}),
    nn.GlobalAvgPool: lambda m: ("global_avg_pool", {}, {}),
    nn.Flatten: lambda m: ("flatten", {}, {}),
    nn.PadChannels: lambda m: ("pad_channels", {"front": m.front}, {}),
    nn.Replicate: lambda m: ("replicate", {"copies": m.copies}, {}),
    nn.AverageCopies: lambda m: ("average_copies", {"shares": m.shares}, {}),
}
