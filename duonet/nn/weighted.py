"""Layers with weights, which may be quantised."""

import numpy as np

from duonet import arguments, backend, functional
from duonet.module import Module
from duonet.nn.init import binaryduo_normal
from duonet.quant.quantizer import Quantizer
from duonet.tensor import Parameter


class Linear(Module):
    """y = x @ weight + bias.

    Parameters
    ----------
    inputs, outputs : int
    rng : numpy.random.Generator
        Draws the weights.
    bias : bool
    weight_quantizer : Quantizer, optional
        A child, applied to the latent weight at every use: `quant.LayerScaleSign()`, `quant.FilterScaleSign()`.
    init : callable
        `init(rng, shape, stride)`; the authors' by default.

    Examples
    --------
    >>> from duonet import Tensor
    >>> Linear(3, 2, rng=np.random.default_rng(0))(Tensor(np.ones((5, 3), "float32"))).shape
    (5, 2)
    """

    samplewise = True

    def __init__(self, inputs, outputs, *, rng, bias=True, weight_quantizer=None, init=binaryduo_normal):
        super().__init__()
        inputs = arguments.integer("Linear", "inputs", inputs, at_least=1)
        outputs = arguments.integer("Linear", "outputs", outputs, at_least=1)
        self.weight_quantizer, self.init = _quantizer("Linear", weight_quantizer), init
        self.weight = Parameter(np.zeros((inputs, outputs), np.float32))
        self.bias = Parameter(np.zeros(outputs, np.float32)) if bias else None
        self.reset_parameters(rng)

    @property
    def inputs(self):
        """Input channels."""
        return self.weight.shape[-2]

    @property
    def outputs(self):
        """Output channels."""
        return self.weight.shape[-1]

    @staticmethod
    def array_shapes(*, inputs, outputs, bias=True, **others):
        """Shapes of weight and bias."""
        return {"weight": (inputs, outputs)} | ({"bias": (outputs,)} if bias else {})

    def reset_parameters(self, rng):
        """Draw the weights anew; the bias becomes 0."""
        _reset(self, rng, stride=1)

    def forward(self, x):
        """(N, IN) to (N, OUT)."""
        return functional.linear(x, _weight(self), self.bias)

    def _settings(self):
        return f"{self.inputs}, {self.outputs}" + ("" if self.bias is not None else ", bias=False")


class Conv2d(Module):
    """Convolution of (N, H, W, C) images with learned kernels (K, K, C, OC).

    Parameters
    ----------
    channels, out_channels, kernel_size : int
    rng : numpy.random.Generator
        Draws the weights.
    stride, padding : int
    bias : bool
    weight_quantizer : Quantizer, optional
        A child, applied to the latent weight at every use: `quant.LayerScaleSign()`, `quant.FilterScaleSign()`.
    init : callable
        `init(rng, shape, stride)`; the authors' by default.

    Examples
    --------
    >>> from duonet import Tensor
    >>> conv = Conv2d(3, 8, 3, rng=np.random.default_rng(0), padding=1)
    >>> conv(Tensor(np.ones((2, 6, 6, 3), "float32"))).shape
    (2, 6, 6, 8)
    """

    samplewise = True

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
        self.weight_quantizer, self.init = _quantizer("Conv2d", weight_quantizer), init
        self.weight = Parameter(np.zeros((size, size, *channels), np.float32))
        self.bias = Parameter(np.zeros(channels[-1], np.float32)) if bias else None
        self.reset_parameters(rng)

    @property
    def channels(self):
        """Input channels."""
        return self.weight.shape[-2]

    @property
    def out_channels(self):
        """Output channels."""
        return self.weight.shape[-1]

    @property
    def kernel_size(self):
        """K of the K × K kernels."""
        return self.weight.shape[0]

    @staticmethod
    def array_shapes(*, channels, out_channels, kernel_size, bias=True, **others):
        """Shapes of weight and bias."""
        weight = (kernel_size, kernel_size, channels, out_channels)
        return {"weight": weight} | ({"bias": (out_channels,)} if bias else {})

    def reset_parameters(self, rng):
        """Draw the weights anew; the bias becomes 0."""
        _reset(self, rng, self.stride)

    def forward(self, x):
        """(N, H, W, C) to (N, OH, OW, OC)."""
        return functional.conv2d(x, _weight(self), self.bias, self.stride, self.padding)

    def _settings(self):
        sizes = f"{self.channels}, {self.out_channels}, {self.kernel_size}"
        sizes += f", stride={self.stride}, padding={self.padding}"
        return sizes + ("" if self.bias is not None else ", bias=False")


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


def _quantizer(name, given):
    if given is not None and not isinstance(given, Quantizer):
        raise TypeError(
            f"{name}: weight_quantizer must be a Quantizer, such as LayerScaleSign(), got {given!r:.60}"
        )
    return given
