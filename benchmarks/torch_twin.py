"""The same network in PyTorch, layer by layer, with the same weights: the other side of the timing scripts."""

import functools

import torch

from duonet import nn
from duonet.quant import Shifted


class Quantize(torch.autograd.Function):
    """A staircase of steps between low and high forwards, the window of a clip, moved by an offset, backwards."""

    @staticmethod
    def forward(ctx, x, thresholds, low, high, offset=None):
        place = x if offset is None else x - offset
        ctx.save_for_backward((place > low) & (place < high))
        first, *rest = ((x >= t).to(x.dtype) for t in thresholds)
        for step in rest:
            first += step
        return first if not rest else first.div_(len(thresholds))

    @staticmethod
    def backward(ctx, dy):
        (mask,) = ctx.saved_tensors
        return dy * mask, None, None, None, None


class QuantActivation(torch.nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.thresholds = [_per_channel(t) for t in layer.staircase.thresholds]
        surrogate, self.offset = layer.surrogate, None
        if isinstance(surrogate, Shifted):
            self.offset, surrogate = _per_channel(surrogate.offset), surrogate.surrogate
        self.low, self.high = surrogate.low, surrogate.high

    def forward(self, x):
        return Quantize.apply(x, self.thresholds, self.low, self.high, self.offset)


def _per_channel(numbers):
    """Return a number, or numbers (C,) as a tensor (C, 1, 1)."""
    return torch.tensor(numbers, dtype=torch.float32)[:, None, None] if numbers.ndim else float(numbers)


class Residual(torch.nn.Module):
    def __init__(self, body, shortcut):
        super().__init__()
        self.body, self.shortcut = body, shortcut

    def forward(self, x):
        return self.body(x) + self.shortcut(x)


class GlobalAvgPool(torch.nn.Module):
    def forward(self, x):
        return x.mean((2, 3))


class ChannelsLastFlatten(torch.nn.Module):
    def forward(self, x):
        return x.permute(0, 2, 3, 1).flatten(1)


class Replicate(torch.nn.Module):
    def forward(self, x):
        return torch.cat([x, x], 1)


class AverageCopies(torch.nn.Module):
    def forward(self, x):
        one, other = x.chunk(2, 1)
        return (one + other) / 2


class PadChannels(torch.nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.channels = channels

    def forward(self, x):
        return torch.nn.functional.pad(x, (0, 0, 0, 0, 0, self.channels - x.shape[1]))


@functools.singledispatch
def build(layer):
    """Return the PyTorch module for a duonet module, on NCHW tensors, with copies of its weights."""
    raise TypeError(f"no PyTorch twin for {type(layer).__name__}")


@build.register
def _(layer: nn.Sequential):
    return torch.nn.Sequential(*(build(child) for _, child in layer.children()))


@build.register
def _(layer: nn.Residual):
    shortcut = torch.nn.Identity() if layer.shortcut is None else build(layer.shortcut)
    return Residual(build(layer.body), shortcut)


@build.register
def _(layer: nn.Conv2d):
    kh, kw, inputs, outputs = layer.weight.shape
    conv = torch.nn.Conv2d(inputs, outputs, (kh, kw), layer.stride, layer.padding, bias=layer.bias is not None)
    with torch.no_grad():
        conv.weight.copy_(torch.from_numpy(layer.weight.numpy().transpose(3, 2, 0, 1).copy()))
        if layer.bias is not None:
            conv.bias.copy_(torch.from_numpy(layer.bias.numpy()))
    return conv


@build.register
def _(layer: nn.Linear):
    inputs, outputs = layer.weight.shape
    linear = torch.nn.Linear(inputs, outputs, bias=layer.bias is not None)
    with torch.no_grad():
        linear.weight.copy_(torch.from_numpy(layer.weight.numpy().T.copy()))
        if layer.bias is not None:
            linear.bias.copy_(torch.from_numpy(layer.bias.numpy()))
    return linear


@build.register
def _(layer: nn.BatchNorm):
    return torch.nn.BatchNorm2d(layer.gamma.size, layer.eps, layer.momentum)


@build.register
def _(layer: nn.QuantActivation):
    return QuantActivation(layer)


@build.register
def _(layer: nn.Replicate):
    return Replicate()


@build.register
def _(layer: nn.AverageCopies):
    return AverageCopies()


@build.register
def _(layer: nn.PadChannels):
    return PadChannels(layer.channels)


@build.register
def _(layer: nn.ReLU):
    return torch.nn.ReLU()


@build.register
def _(layer: nn.MaxPool2d):
    return torch.nn.MaxPool2d(layer.size, layer.stride, layer.padding)


@build.register
def _(layer: nn.AvgPool2d):
    return torch.nn.AvgPool2d(layer.size, layer.stride)


@build.register
def _(layer: nn.GlobalAvgPool):
    return GlobalAvgPool()


@build.register
def _(layer: nn.Flatten):
    return ChannelsLastFlatten()


def sides(model, x, labels, device="cpu"):
    """Yield (name, step, forward) for PyTorch eager in both memory formats; x is (N, H, W, C)."""
    images = torch.from_numpy(x.transpose(0, 3, 1, 2).copy()).to(device)
    targets = torch.from_numpy(labels).to(device)
    for name, layout in (("torch", torch.contiguous_format), ("torch channels_last", torch.channels_last)):
        module = build(model).to(device).to(memory_format=layout)
        batch = images.contiguous(memory_format=layout)
        optimizer = torch.optim.AdamW(module.parameters(), 1e-3, fused=True)
        yield (
            name,
            functools.partial(_step, module, batch, targets, optimizer),
            functools.partial(_forward, module, batch),
        )


def _step(module, batch, targets, optimizer):
    module.train()
    loss = torch.nn.functional.cross_entropy(module(batch), targets)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.detach()


def _forward(module, batch):
    if module.training:
        module.eval()
    with torch.inference_mode():
        return module(batch)


def set_up(threads, tf32):
    """Set the number of threads, and allow TF32 or not: cuDNN uses it by default."""
    if threads:
        torch.set_num_threads(threads)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
    torch.backends.cudnn.benchmark = True


def synchronize(device):
    if device != "cpu":
        torch.cuda.synchronize()
