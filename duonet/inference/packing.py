"""`pack`: from a trained model to a packed network, or the layer that cannot be packed and why."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from duonet import backend, nn
from duonet.arguments import instance, integer
from duonet.coupling import join, kind
from duonet.folding import fold_batch_norm
from duonet.inference.floats import FloatLayer
from duonet.inference.layers import Layer, StepLayer, Sum, unit
from duonet.inference.network import PackedNetwork
from duonet.inference.products import SignLayer
from duonet.quant import FoldedStaircase
from duonet.tape import no_grad
from duonet.tensor import Tensor

Array = npt.NDArray[Any]
MOST = 1 << 22  # weights of one output: float32 counts beyond this number exactly, in halves as well


class CannotPack(ValueError):
    """A model without a packed form that gives the same logits; the message names the layer and the reason."""


def pack(
    model: nn.Module, in_shape: tuple[int, ...] | None = None, about: dict[str, Any] | None = None
) -> PackedNetwork:
    """Turn a trained network into a network that counts bits; the logits stay the same to the last bit.

    Behind a product with two-valued weights, batch norm and staircase become whole thresholds for the sum of
    signs, one per channel and step; max pooling acts on the sums. Float layers, for example the first, the last
    and sums of two paths, stay float.

    Parameters
    ----------
    model : Module
        Sequentials and Residuals of duonet's layers, float32. The model stays as it is.
    in_shape : tuple of int, optional
        The shape of one image, (H, W, C) or (IN,); saving and exporting the network need it.
    about : dict, optional
        `class_names`, `mean` and `std`, for the users of the file.

    Returns
    -------
    PackedNetwork

    Raises
    ------
    CannotPack
        If a layer draws or has its own `forward`, a staircase has its own way to compute, two-valued weights
        multiply numbers that are not multiples of ½ in even steps, or no layer has two-valued weights. The message
        names the layer.

    Examples
    --------
    >>> from duonet import models
    >>> pack(models.vgg7("baseline", weights="binary", rng=np.random.default_rng(0)).eval())
    PackedNetwork: 6 float layers, 5 of bits
    """
    instance("pack", "model", model, nn.Module)
    shape = None if in_shape is None else tuple(integer("pack", "in_shape", n, at_least=1) for n in in_shape)
    for path, layer in model.modules():
        if layer.training and layer.known("in_training") and kind(layer) is not nn.BatchNorm:
            raise _refused(path, layer, f"{layer.known('in_training')}; call model.eval() first")
    for path, tensor in model._tensors():
        array = backend.to_device(tensor.data, "cpu")
        if array.dtype != np.float32 or not np.isfinite(array).all():
            what = "holds NaN or infinity" if array.dtype == np.float32 else f"is {array.dtype}, not float32"
            raise CannotPack(f"pack: {path} {what}")
    walk = _Walk()
    with no_grad():
        layers = walk.all([("", fold_batch_norm(model).to("cpu"))], first=True)
    if not walk.bits:
        raise CannotPack("pack: no layer of the model has activations of few levels; there is nothing to pack")
    try:
        return PackedNetwork(layers, shape, about)
    except ValueError as error:
        raise CannotPack(f"pack: in_shape {shape} does not fit: {error}") from None


def _refused(path: str, layer: nn.Module, why: str) -> CannotPack:
    return CannotPack(f"pack: {path} {type(layer).__name__}: {why}".replace(":  ", ": "))


def _plain(layer: nn.Sequential) -> bool:
    return type(layer).__iter__ is nn.Sequential.__iter__


class _Walk:
    """From the input to the output; `levels` are the next layer's input levels, None for floats."""

    def __init__(self) -> None:
        self.levels: tuple[float, ...] | None = None
        self.bits = False

    def all(self, waiting: list[tuple[str, nn.Module]], first: bool = False) -> list[Layer]:
        """Pack layers one after the other."""
        made: list[Layer] = []
        waiting = waiting[::-1]
        while waiting:
            path, layer = waiting.pop()
            if isinstance(layer, nn.Sequential) and kind(layer) is nn.Sequential and _plain(layer):
                waiting += [(join(path, name), child) for name, child in layer.children()][::-1]
            elif kind(layer) is nn.Residual:
                made.append(self._sum(path, layer))
            elif kind(layer) is nn.QuantActivation:
                made.append(self._steps(path, layer))
            elif isinstance(layer, (nn.Conv2d, nn.Linear)) and kind(layer) in (nn.Conv2d, nn.Linear):
                made.append(self._product(path, layer, waiting, first and not made))
            elif kind(layer) is nn.Replicate and waiting and kind(waiting[-1][1]) is nn.QuantActivation:
                made.append(self._steps(*waiting.pop(), copies=layer.copies))
            elif kind(layer) is not nn.Dropout:
                made.append(self._float(path, layer))
        return made

    def _sum(self, path: str, layer: nn.Module) -> Sum:
        levels = self.levels
        body = self.all([(join(path, "body"), layer.body)])
        of_body, self.levels = self.levels, levels
        shortcut = [] if layer.shortcut is None else self.all([(join(path, "shortcut"), layer.shortcut)])
        self.levels = _added(of_body, self.levels)
        return Sum(path, body, shortcut)

    def _steps(self, path: str, layer: nn.Module, copies: int = 1) -> StepLayer:
        thresholds, falls = _table(path, layer)
        self.levels, self.bits = layer.staircase.levels, True
        return StepLayer(path, thresholds, falls, self.levels, copies)

    def _product(self, path: str, layer: nn.Module, waiting: list[tuple[str, nn.Module]], first: bool) -> Layer:
        """Pack a product, with the pool and the steps behind it if they can act on whole sums."""
        quantizer, w = layer.weight_quantizer, layer.used_weight().numpy()
        bias = None if layer.bias is None else layer.bias.numpy()
        signs = quantizer is not None and quantizer.known("two_valued")
        steps = {"stride": layer.stride, "padding": layer.padding} if w.ndim == 4 else {}
        levels, self.levels = self.levels, None
        if not signs or (levels is None and first):
            arrays = {"weight": w} | ({} if bias is None else {"bias": bias})
            return FloatLayer(path, "conv" if steps else "linear", steps | {"signs": int(signs)}, arrays)
        if levels is None:
            raise _refused(path, layer, "its weights have two values, but it reads real numbers")
        if not unit(levels):
            raise _refused(path, layer, f"it reads the levels {levels}, whose sums are not whole halves")
        if w.size // w.shape[-1] > MOST:
            raise _refused(path, layer, f"an output has more than {MOST:,} weights")
        scale = abs(w.reshape(-1, w.shape[-1])[0])
        scale = scale[:1] if (scale == scale[0]).all() else scale
        packed = SignLayer(path, w >= 0, scale, levels, bias, **steps)
        kinds = [kind(behind) for _, behind in waiting[:-4:-1]]
        pooled = kinds[:1] == [nn.MaxPool2d]
        copied = kinds[pooled : pooled + 1] == [nn.Replicate]
        if kinds[pooled + copied : pooled + copied + 1] == [nn.QuantActivation]:
            if pooled:
                pool = waiting.pop()[1]
                packed.pool = pool.size, pool.stride, pool.padding
            if copied:
                packed.copies = waiting.pop()[1].copies
            path, activation = waiting.pop()
            thresholds, packed.falls = _table(path, activation, packed.outputs * packed.copies)
            packed.thresholds = _whole(packed, thresholds)
            packed.out_levels = self.levels = activation.staircase.levels
            self.bits = True
        return packed

    def _float(self, path: str, layer: nn.Module) -> FloatLayer:
        if kind(layer) not in FLOATS:
            raise _refused(path, layer, "it has no packed form")
        name, settings, arrays = FLOATS[kind(layer)](layer)
        keeps = layer.known("keeps_levels") and (not name.startswith("pad_channels") or 0 in (self.levels or ()))
        self.levels = self.levels if keeps else None
        return FloatLayer(path, name, settings, {key: tensor.numpy() for key, tensor in arrays.items()})


def _added(one: tuple[float, ...] | None, other: tuple[float, ...] | None) -> tuple[float, ...] | None:
    """Return the levels of a sum if both paths have levels with the same even steps."""
    if one is None or other is None or not unit(one) or not unit(other) or one[1] - one[0] != other[1] - other[0]:
        return None
    return tuple(one[0] + other[0] + k * (one[1] - one[0]) for k in range(len(one) + len(other) - 1))


def _table(path: str, layer: nn.Module, channels: int | None = None) -> tuple[Array, Array]:
    """Return the thresholds (K, C) of a staircase, and a mask of the channels that fall."""
    staircase = layer.staircase
    if not staircase.tabular and type(staircase) is not FoldedStaircase:
        own = (
            "has levels of each channel's own"
            if max(map(np.ndim, staircase.levels))
            else "computes something of its own"
        )
        raise _refused(path, layer, f"its staircase {type(staircase).__name__} {own}")
    if len(staircase.levels) > 256:
        raise _refused(path, layer, "its staircase has more than 256 levels")
    channels = channels or max(t.size for t in staircase.thresholds)
    thresholds = np.stack([np.broadcast_to(t, channels) for t in staircase.thresholds]).astype(np.float32)
    falls = getattr(staircase, "falls", np.zeros(1, bool))
    return thresholds, np.broadcast_to(falls, channels).copy()


def _whole(layer: SignLayer, thresholds: Array) -> Array:
    """Find the smallest sum, in units, that reaches each threshold, by bisection: its value rises with it."""
    bound = round(layer.signs[..., 0].size * max(abs(level) for level in layer.levels) / layer.unit)
    scale = np.tile(np.broadcast_to(layer.scale, layer.outputs), layer.copies)
    bias = None if layer.bias is None else np.tile(layer.bias, layer.copies)

    def reached(sums: Array) -> Array:
        y = (sums * layer.unit).astype(np.float32) * scale
        return (y if bias is None else y + bias) >= thresholds

    low, high = np.full(thresholds.shape, -bound - 1), np.full(thresholds.shape, bound + 1)
    while np.any(high > low + 1):  # low has not reached it, high has or lies beyond every sum
        middle = (low + high) // 2
        there = reached(middle)
        low, high = np.where(there, low, middle), np.where(there, middle, high)
    return high.astype(np.int16 if bound < 2**15 - 1 else np.int32)


Described = tuple[str, dict[str, Any], dict[str, Tensor]]
FLOATS: dict[type, Callable[[Any], Described]] = {
    nn.BatchNorm: lambda m: (
        "batch_norm",
        {"eps": float(m.eps)},
        {name: getattr(m, name) for name in ("gamma", "beta", "running_mean", "running_var")},
    ),
    nn.ReLU: lambda m: ("relu", {}, {}),
    nn.Clip: lambda m: ("clip", {"low": float(m.low), "high": float(m.high)}, {}),
    nn.MaxPool2d: lambda m: ("max_pool", {"size": m.size, "stride": m.stride, "padding": m.padding}, {}),
    nn.AvgPool2d: lambda m: ("avg_pool", {"size": m.size, "stride": m.stride}, {}),
    nn.GlobalAvgPool: lambda m: ("global_avg_pool", {}, {}),
    nn.Flatten: lambda m: ("flatten", {}, {}),
    nn.PadChannels: lambda m: ("pad_channels" + "_in_front" * m.front, {"channels": m.channels}, {}),
    nn.Replicate: lambda m: ("replicate", {"copies": m.copies}, {}),
    nn.AverageCopies: lambda m: ("average_copies", {}, {"shares": Tensor(np.float32(m.shares))}),
}
