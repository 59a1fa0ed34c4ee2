"""Layers: an op and the state it needs."""

import math

import numpy as np

from duonet import arguments, backend, functional
from duonet.nn.init import binaryduo_normal
from duonet.nn.module import Module
from duonet.quant import Staircase, Surrogate, quantize
from duonet.tensor import Parameter, Tensor


class Linear(Module):
    """y = x @ weight + bias.

    Parameters
    ----------
    inputs, outputs : int
    rng : numpy.random.Generator
        Draws the weights.
    bias : bool
    weight_quantizer : callable, optional
        Tensor to Tensor, applied to the latent weight at every use: `layer_scale_sign`, `filter_scale_sign`.
    init : callable
        `init(rng, shape, stride)`; the authors' by default.

    Examples
    --------
    >>> Linear(3, 2, rng=np.random.default_rng(0))(Tensor(np.ones((5, 3), "float32"))).shape
    (5, 2)
    """

    def __init__(self, inputs, outputs, *, rng, bias=True, weight_quantizer=None, init=binaryduo_normal):
        super().__init__()
        inputs = arguments.integer("Linear", "inputs", inputs, at_least=1)
        outputs = arguments.integer("Linear", "outputs", outputs, at_least=1)
        self.weight_quantizer, self.init = weight_quantizer, init
        self.weight = Parameter(np.zeros((inputs, outputs), np.float32))
        self.bias = Parameter(np.zeros(outputs, np.float32)) if bias else None
        self.reset_parameters(rng)

    def reset_parameters(self, rng):
        """Draw the weights anew; the bias becomes 0."""
        _reset(self, rng, stride=1)

    def forward(self, x):
        """(N, IN) to (N, OUT)."""
        return functional.linear(x, _weight(self), self.bias)

    def _settings(self):
        inputs, outputs = self.weight.shape
        return f"{inputs}, {outputs}" + _options(self)


class Conv2d(Module):
    """Convolution of (N, H, W, C) images with learned kernels (K, K, C, OC).

    Parameters
    ----------
    channels, out_channels, kernel_size : int
    rng : numpy.random.Generator
        Draws the weights.
    stride, padding : int
    bias : bool
    weight_quantizer : callable, optional
        Tensor to Tensor, applied to the latent weight at every use: `layer_scale_sign`, `filter_scale_sign`.
    init : callable
        `init(rng, shape, stride)`; the authors' by default.

    Examples
    --------
    >>> conv = Conv2d(3, 8, 3, rng=np.random.default_rng(0), padding=1)
    >>> conv(Tensor(np.ones((2, 6, 6, 3), "float32"))).shape
    (2, 6, 6, 8)
    """

    def __init__(
        self,
        channels,
        out_channels,
        kernel_size,
        *,
        rng,
        stride=1,
        padding=0,
        bias=True,
        weight_quantizer=None,
        init=binaryduo_normal,
    ):
        super().__init__()
        sizes = {"kernel_size": kernel_size, "channels": channels, "out_channels": out_channels}
        size, *channels = (arguments.integer("Conv2d", name, n, at_least=1) for name, n in sizes.items())
        self.stride = arguments.integer("Conv2d", "stride", stride, at_least=1)
        self.padding = arguments.integer("Conv2d", "padding", padding, at_least=0)
        self.weight_quantizer, self.init = weight_quantizer, init
        self.weight = Parameter(np.zeros((size, size, *channels), np.float32))
        self.bias = Parameter(np.zeros(channels[-1], np.float32)) if bias else None
        self.reset_parameters(rng)

    def reset_parameters(self, rng):
        """Draw the weights anew; the bias becomes 0."""
        _reset(self, rng, self.stride)

    def forward(self, x):
        """(N, H, W, C) to (N, OH, OW, OC)."""
        return functional.conv2d(x, _weight(self), self.bias, self.stride, self.padding)

    def _settings(self):
        size, _, channels, out_channels = self.weight.shape
        return f"{channels}, {out_channels}, {size}, stride={self.stride}, padding={self.padding}" + _options(self)


def _reset(layer, rng, stride):
    name = type(layer).__name__
    weight = layer.init(arguments.generator(name, "rng", rng), layer.weight.shape, stride)
    if np.shape(weight) != layer.weight.shape:
        raise ValueError(f"{name}: init gave shape {np.shape(weight)}, expected {layer.weight.shape}")
    layer.weight.data[...] = backend.to_device(weight, backend.device_of(layer.weight.data))
    layer.weight.changed()
    if layer.bias is not None:
        layer.bias.data[...] = 0
        layer.bias.changed()


def _weight(layer):
    return layer.weight if layer.weight_quantizer is None else layer.weight_quantizer(layer.weight)


def _options(layer):
    quantizer = layer.weight_quantizer
    name = getattr(quantizer, "__name__", type(quantizer).__name__)
    return ("" if quantizer is None else f", weight_quantizer={name}") + (
        "" if layer.bias is not None else ", bias=False"
    )


class BatchNorm(Module):
    """Normalise each channel: by the batch's statistics in training, by running averages in evaluation.

    Parameters
    ----------
    channels : int
    momentum : float
        Weight of the new batch in the running averages.
    eps : float
        Added to the variance.

    Examples
    --------
    >>> norm = BatchNorm(1)
    >>> norm(Tensor([[1.0], [3.0]])).data.round(3)
    array([[-1.],
           [ 1.]], dtype=float32)
    >>> norm.running_mean.data
    array([0.2], dtype=float32)
    """

    def __init__(self, channels, momentum=0.1, eps=1e-5):
        super().__init__()
        channels = arguments.integer("BatchNorm", "channels", channels, at_least=1)
        self.momentum = arguments.number("BatchNorm", "momentum", momentum, at_least=0, at_most=1)
        self.eps = arguments.number("BatchNorm", "eps", eps, at_least=0)
        self.gamma = Parameter(np.ones(channels, np.float32))
        self.beta = Parameter(np.zeros(channels, np.float32))
        self.running_mean = Tensor(np.zeros(channels, np.float32))
        self.running_var = Tensor(np.ones(channels, np.float32))

    def reset_parameters(self, rng):
        """Back to gamma 1, beta 0 and fresh running averages; nothing here is random."""
        for tensor, value in ((self.gamma, 1), (self.beta, 0), (self.running_mean, 0), (self.running_var, 1)):
            tensor.data[...] = value
            tensor.changed()

    def forward(self, x):
        """(N, H, W, C) or (N, C), same shape out."""
        return functional.batch_norm(x, self.gamma, self.beta, **self._options())

    def _options(self):
        state = {"running_mean": self.running_mean.data, "running_var": self.running_var.data}
        return {**state, "training": self.training, "momentum": self.momentum, "eps": self.eps}

    def _settings(self):
        return f"{self.gamma.size}"


class QuantActivation(Module):
    """A staircase forwards, a surrogate backwards; see `duonet.quant.quantize`.

    Parameters
    ----------
    staircase : Staircase
    surrogate : Surrogate

    Examples
    --------
    >>> from duonet.quant import Clip, Ternary
    >>> QuantActivation(Ternary(), Clip(0, 1))(Tensor([0.1, 0.4, 0.9])).data
    array([0. , 0.5, 1. ], dtype=float32)
    """

    def __init__(self, staircase, surrogate):
        super().__init__()
        for name, value, kind in (("staircase", staircase, Staircase), ("surrogate", surrogate, Surrogate)):
            if not isinstance(value, kind):
                raise TypeError(f"QuantActivation: {name} must be a {kind.__name__}, got {type(value).__name__}")
        self.staircase, self.surrogate = staircase, surrogate

    def forward(self, x):
        """Any shape, same shape out."""
        return quantize(x, self.staircase, self.surrogate)

    def _settings(self):
        return f"{self.staircase}, {self.surrogate}"


class ReLU(Module):
    """y = max(x, 0).

    Examples
    --------
    >>> ReLU()(Tensor([-1.0, 2.0])).data
    array([0., 2.], dtype=float32)
    """

    def forward(self, x):
        """Any shape, same shape out."""
        return functional.relu(x)


class Clip(Module):
    """y = min(max(x, low), high): the activation that a k-bit staircase approaches as k grows.

    Parameters
    ----------
    low, high : number
        Either may be infinite.

    Examples
    --------
    >>> Clip(0, 1)(Tensor([-1.0, 0.3, 2.0])).data
    array([0. , 0.3, 1. ], dtype=float32)
    """

    def __init__(self, low, high):
        super().__init__()
        self.low = arguments.fitting("Clip", "low", low, np.dtype(float))
        self.high = arguments.fitting("Clip", "high", high, np.dtype(float))
        if not low < high:
            raise ValueError(f"Clip: low must be below high, got low={low}, high={high}")

    def forward(self, x):
        """Any shape, same shape out."""
        return functional.clip(x, self.low, self.high)

    def _settings(self):
        return f"{self.low}, {self.high}"


class PadChannels(Module):
    """Channels of zeros after those that are there, as in a shortcut that widens.

    Parameters
    ----------
    channels : int
        How many there are afterwards.

    Examples
    --------
    >>> PadChannels(3)(Tensor([[1.0, 2.0]])).data
    array([[1., 2., 0.]], dtype=float32)
    """

    def __init__(self, channels):
        super().__init__()
        self.channels = arguments.integer("PadChannels", "channels", channels, at_least=1)

    def forward(self, x):
        """(..., C) to (..., channels)."""
        more = self.channels - x.shape[-1]
        if more < 0:
            raise ValueError(f"expected at most {self.channels} channels, got x {x.shape}")
        return functional.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, more)])

    def _settings(self):
        return f"{self.channels}"


class Flatten(Module):
    """Lay each image out as one row, channels fastest.

    Examples
    --------
    >>> Flatten()(Tensor(np.ones((2, 4, 4, 3), "float32"))).shape
    (2, 48)
    """

    def forward(self, x):
        """(N, ...) to (N, product of the rest)."""
        return functional.reshape(x, (len(x), math.prod(x.shape[1:])))  # -1 says nothing where there are no images


class Dropout(Module):
    """Zero elements or whole channels at random in training; nothing in evaluation.

    Parameters
    ----------
    p : float
        Probability of zeroing.
    rng : numpy.random.Generator
    channels : bool
        Zero whole channels.

    Examples
    --------
    >>> Dropout(0.5, rng=np.random.default_rng(0)).eval()(Tensor([1.0, 2.0])).data
    array([1., 2.], dtype=float32)
    """

    def __init__(self, p, *, rng, channels=False):
        super().__init__()
        self.p = arguments.number("Dropout", "p", p, at_least=0, below=1)
        self.rng = arguments.generator("Dropout", "rng", rng)
        self.channels = channels

    def forward(self, x):
        """Any shape, same shape out."""
        return functional.dropout(x, self.p, self.rng, self.channels) if self.training else x

    def _settings(self):
        return f"{self.p}" + (", channels=True" if self.channels else "")
