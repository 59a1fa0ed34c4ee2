"""Layers of `torch.nn` for every part of a plan. This file imports torch, and is itself imported on use."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from duonet import quant
from duonet.interop.plan import Part


def build(part: Part) -> nn.Module:
    """Make the torch module of a part, with its arrays.

    Parameters
    ----------
    part : Part

    Returns
    -------
    torch.nn.Module
        In the mode of the part.
    """
    module: nn.Module
    if part.kind == "sequence":
        module = nn.Sequential(OrderedDict((name, build(child)) for name, child in part.parts.items()))
    elif part.kind == "sum":
        module = Residual({name: build(child) for name, child in part.parts.items()})
    else:
        shapes = {name: array.there().shape for name, array in part.arrays.items()}
        module = BUILDERS[part.kind](part, shapes)
    for name, array in part.arrays.items():
        value = torch.from_numpy(array.there())
        if name in module._parameters:
            learns = array.tensor is not None and array.tensor.requires_grad and array.layer is None
            setattr(module, name, nn.Parameter(value, requires_grad=learns))
        else:
            module.register_buffer(name, value)
    module.training = part.training
    return module


class Residual(nn.Module):
    """y = body(x) + shortcut(x)."""

    def __init__(self, paths: dict[str, nn.Module]):
        super().__init__()
        self.body, self.shortcut = paths["body"], paths.get("shortcut")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Run both paths and add them."""
        return self.body(x) + (x if self.shortcut is None else self.shortcut(x))


class Clamp(nn.Module):
    """y = min(max(x, low), high)."""

    def __init__(self, low: float, high: float):
        super().__init__()
        self.low, self.high = low, high

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map x of any shape to y of the same shape."""
        return x.clamp(self.low, self.high)


class GlobalAvgPool(nn.Module):
    """Mean of each channel over the whole image."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (N, C, H, W) to (N, C)."""
        return x.mean((2, 3))


class PadChannels(nn.Module):
    """Zero channels in front of the input's channels and behind them."""

    def __init__(self, front: int, back: int):
        super().__init__()
        self.front, self.back = front, back

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (N, C, ...) to (N, front + C + back, ...)."""
        zeros = (x.new_zeros((x.shape[0], n, *x.shape[2:])) for n in (self.front, self.back))
        front, back = zeros
        return torch.cat([front, x, back], 1)


class Replicate(nn.Module):
    """Copies of the input's channels, one after the other."""

    def __init__(self, copies: int):
        super().__init__()
        self.copies = copies

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (N, C, ...) to (N, copies C, ...)."""
        return torch.cat([x] * self.copies, 1)


class AverageCopies(nn.Module):
    """y = Σ shares[k] · copy k."""

    def __init__(self, shares: tuple[float, ...]):
        super().__init__()
        self.shares = shares

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (N, K C, ...) to (N, C, ...)."""
        first, *rest = (share * copy for share, copy in zip(self.shares, x.chunk(len(self.shares), 1)))
        return sum(rest, first)


class LayerSign(torch.autograd.Function):
    """sign(w) · mean |w| over the layer.   dw = dy."""

    @staticmethod
    def forward(ctx: Any, w: torch.Tensor) -> torch.Tensor:
        """Map x of any shape to y of the same shape."""
        scale = w.abs().mean(dtype=torch.float64).to(w.dtype)
        return torch.where(w >= 0, scale, -scale)

    @staticmethod
    def backward(ctx: Any, dy: torch.Tensor) -> torch.Tensor:
        """Pass the gradient on."""
        return dy


class FilterSign(torch.autograd.Function):
    """sign(w) · α, α = mean |w| of each channel of n weights.   dw = dy (1/n + α 1[|w| < 1])."""

    @staticmethod
    def forward(ctx: Any, w: torch.Tensor) -> torch.Tensor:
        """Map weights (OC, ...) to the same shape."""
        flat = w.abs().flatten(1).mean(1, dtype=torch.float64).to(w.dtype)
        scale = flat.reshape(-1, *[1] * (w.ndim - 1))
        ctx.save_for_backward(w, scale)
        return torch.where(w >= 0, scale, -scale)

    @staticmethod
    def backward(ctx: Any, dy: torch.Tensor) -> torch.Tensor:
        """Apply the formula."""
        w, scale = ctx.saved_tensors
        return dy * (scale * (w.abs() < 1) + len(w) / w.numel())


class _Signs:
    """A product with weights ±α: signs are summed, and α multiplies the sum, so that whole numbers stay whole."""

    weight: torch.Tensor
    bias: torch.Tensor | None
    latent: str | None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Multiply by signs, then by the scale of each channel."""
        w = self.weight
        if self.latent is not None:
            w = (LayerSign if self.latent == "layer" else FilterSign).apply(w)
        scale = w.detach().flatten(1)[:, 0].abs()
        divisor = torch.where(scale == 0, 1, scale)
        y = self.product(x, w / divisor.reshape(-1, *[1] * (w.ndim - 1)))
        ends = [1] * (y.ndim - 2)
        y = y * scale.reshape(-1, *ends)
        return y if self.bias is None else y + self.bias.reshape(-1, *ends)

    def product(self, x: torch.Tensor, signs: torch.Tensor) -> torch.Tensor:
        """Multiply by the signs."""
        raise NotImplementedError


class SignConv2d(_Signs, nn.Conv2d):
    """A convolution with weights of two values for each channel."""

    def product(self, x: torch.Tensor, signs: torch.Tensor) -> torch.Tensor:
        """Map (N, C, H, W) to (N, OC, OH, OW)."""
        return F.conv2d(x, signs, None, self.stride, self.padding)


class SignLinear(_Signs, nn.Linear):
    """A linear layer with weights of two values for each channel."""

    def product(self, x: torch.Tensor, signs: torch.Tensor) -> torch.Tensor:
        """Map (N, IN) to (N, OUT)."""
        return F.linear(x, signs)


class Step(torch.autograd.Function):
    """A staircase forwards, the derivative of a surrogate backwards."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, steps: "Steps") -> torch.Tensor:
        """Map x of any shape to y of the same shape."""
        ctx.save_for_backward(x)
        ctx.steps = steps
        return steps.staircase(x)

    @staticmethod
    def backward(ctx: Any, dy: torch.Tensor) -> Any:
        """Multiply by the surrogate's derivative."""
        (x,) = ctx.saved_tensors
        return dy * ctx.steps.slope(ctx.steps.surrogate, x), None


class Steps(nn.Module):
    """A staircase: level k where x has reached k thresholds.

    Its gradient is its surrogate's; a form for inference alone refuses a gradient.
    """

    def __init__(self, part: Part):
        super().__init__()
        known, of = part.settings, part.settings["surrogate"]
        self.path, self.order, self.surrogate = part.path, known["order"], of
        self.why = part.inference_only
        self.ends = (1,) * (len(part.before) - 2)
        for name in ("thresholds", "levels"):
            channels = max(number.size for number in known[name])
            rows = np.stack([np.broadcast_to(number, channels) for number in known[name]])
            self.register_buffer(name, torch.from_numpy(rows), persistent=False)
        falls = None if known["falls"] is None else torch.from_numpy(known["falls"].copy())
        self.register_buffer("falls", falls, persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map x of any shape to y of the same shape."""
        return Step.apply(x, self)

    def staircase(self, x: torch.Tensor) -> torch.Tensor:
        """Compare with every threshold."""
        thresholds, levels = (t.reshape(*t.shape, *self.ends) for t in (self.thresholds, self.levels))
        y = levels[0].expand_as(x)
        for threshold, level in zip(thresholds, levels[1:]):
            reached = x >= threshold
            if self.falls is not None:
                reached = reached ^ self.falls.reshape(-1, *self.ends)
            y = torch.where(reached, level, y)
        return y

    def slope(self, surrogate: Any, x: torch.Tensor) -> torch.Tensor:
        """Return the surrogate's derivative."""
        if self.why:
            raise RuntimeError(f"{self.path}: made for inference: {self.why}")
        if not _known(surrogate):
            raise RuntimeError(f"{self.path}: made for inference: {type(surrogate).__name__} has no form in torch")
        if isinstance(surrogate, quant.Shifted):
            return self.slope(surrogate.surrogate, x - self._column(surrogate.offset, x))
        if isinstance(surrogate, quant.Stretched):
            width = surrogate.high - surrogate.low
            inner = self.slope(surrogate.surrogate, (x - surrogate.low) / width)
            return self._column(surrogate.height / width, x) * inner
        if isinstance(surrogate, quant.ZeroOne):
            return self.slope(surrogate.surrogate, 2 * x - 1)
        return SLOPES[type(surrogate)](surrogate, x).to(x.dtype)

    def _column(self, numbers: Any, x: torch.Tensor) -> torch.Tensor:
        """Return a number, or one for each channel, to broadcast with x."""
        array = np.asarray(numbers)
        array = array if self.order is None or not array.ndim else array[self.order]
        column = torch.as_tensor(array, dtype=x.dtype, device=x.device)
        return column.reshape(-1, *self.ends) if column.ndim else column

    def extra_repr(self) -> str:
        """Return the number of levels, and the surrogate or the reason why there is none."""
        return f"{len(self.levels)} levels, {self.why or self.surrogate}"


def _swish(s: Any, x: torch.Tensor) -> torch.Tensor:
    x = x.clamp(-100 / s.beta, 100 / s.beta)
    t = torch.tanh(0.5 * s.beta * x)
    return 0.5 * s.beta * (2 - s.beta * x * t) * (1 - t * t)


SLOPES: dict[type, Callable[[Any, torch.Tensor], torch.Tensor]] = {
    quant.Identity: lambda s, x: torch.ones_like(x),
    quant.ReLU: lambda s, x: x > 0,
    quant.Clip: lambda s, x: (x >= s.low) & (x <= s.high) if s.closed else (x > s.low) & (x < s.high),
    quant.Polynomial: lambda s, x: 2 * (1 - x.abs()).clamp(min=0),
    quant.Triangle: lambda s, x: (1 - x.abs()).clamp(min=0),
    quant.Tanh: lambda s, x: s.scale * (1 - torch.tanh(s.scale * x) ** 2),
    quant.SwishSign: _swish,
}


def _known(surrogate: Any) -> bool:
    """Return whether a surrogate has a form in torch."""
    if isinstance(surrogate, (quant.Shifted, quant.Stretched, quant.ZeroOne)):
        return _known(surrogate.surrogate)
    return type(surrogate) in SLOPES


def _conv(part: Part, shapes: dict[str, tuple[int, ...]]) -> nn.Module:
    known = part.settings
    outputs, inputs, *size = shapes["weight"]
    cls = SignConv2d if known["signs"] else nn.Conv2d
    sizes = {"stride": known["stride"], "padding": known["padding"], "bias": "bias" in shapes}
    module = cls(inputs, outputs, tuple(size), device="meta", **sizes)
    module.latent = known["latent"]
    return module


def _linear(part: Part, shapes: dict[str, tuple[int, ...]]) -> nn.Module:
    outputs, inputs = shapes["weight"]
    cls = SignLinear if part.settings["signs"] else nn.Linear
    module = cls(inputs, outputs, bias="bias" in shapes, device="meta")
    module.latent = part.settings["latent"]
    return module


def _batch_norm(part: Part, shapes: dict[str, tuple[int, ...]]) -> nn.Module:
    known = part.settings
    cls = nn.BatchNorm2d if len(part.before) == 4 else nn.BatchNorm1d
    return cls(shapes["weight"][0], eps=known["eps"], momentum=known["momentum"], device="meta")


def _pad_channels(part: Part, shapes: dict[str, tuple[int, ...]]) -> nn.Module:
    more = part.after[-1] - part.before[-1]
    return PadChannels(more, 0) if part.settings["front"] else PadChannels(0, more)


def _dropout(part: Part, shapes: dict[str, tuple[int, ...]]) -> nn.Module:
    whole = part.settings["channels"] and len(part.before) == 4
    return (nn.Dropout2d if whole else nn.Dropout)(part.settings["p"])


BUILDERS: dict[str, Callable[[Part, dict[str, tuple[int, ...]]], nn.Module]] = {
    "conv": _conv,
    "linear": _linear,
    "batch_norm": _batch_norm,
    "pad_channels": _pad_channels,
    "dropout": _dropout,
    "steps": lambda part, shapes: Steps(part),
    "identity": lambda part, shapes: nn.Identity(),
    "relu": lambda part, shapes: nn.ReLU(),
    "prelu": lambda part, shapes: nn.PReLU(shapes["weight"][0], device="meta"),
    "clip": lambda part, shapes: Clamp(part.settings["low"], part.settings["high"]),
    "flatten": lambda part, shapes: nn.Flatten(),
    "global_avg_pool": lambda part, shapes: GlobalAvgPool(),
    "max_pool": lambda part, shapes: nn.MaxPool2d(**_window(part), padding=part.settings["padding"]),
    "avg_pool": lambda part, shapes: nn.AvgPool2d(**_window(part)),
    "replicate": lambda part, shapes: Replicate(part.settings["copies"]),
    "average_copies": lambda part, shapes: AverageCopies(part.settings["shares"]),
}


def _window(part: Part) -> dict[str, int]:
    return {"kernel_size": part.settings["size"], "stride": part.settings["stride"]}
