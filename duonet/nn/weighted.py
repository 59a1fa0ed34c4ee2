"""Layers with weights, which may be quantised."""

from collections.abc import Callable

import numpy as np

from duonet import arguments, functional, sources
from duonet.module import Module
from duonet.nn.init import binaryduo_normal
from duonet.quant.quantizer import Quantizer
from duonet.signs import sign_product
from duonet.sources import WeightSource
from duonet.tape import smooth
from duonet.tensor import Parameter, Tensor


def _size(axis):
    def size(self) -> int:
        return sources.shape_of(self)[axis]

    return property(size)


class _Weighted(Module):
    """A weight or its source, its quantiser and a bias."""

    def _set(self, name, shape, rng, bias, weight_quantizer, weight_source, init):
        if weight_quantizer is not None and not isinstance(weight_quantizer, Quantizer):
            got = f"got {weight_quantizer!r:.60}"
            raise TypeError(f"{name}: weight_quantizer must be a Quantizer, such as LayerScaleSign(), {got}")
        self.weight_quantizer, self.weight_source, self.init = weight_quantizer, weight_source, init
        self.weight = sources.latents(name, shape, weight_source)
        bias = arguments.instance(name, "bias", bias, bool)
        self.bias = Parameter(np.zeros(shape[-1], np.float32)) if bias else None
        self._draw(rng)

    def _draw(self, rng):
        name, shape, dtype = type(self).__name__, sources.shape_of(self), self.parameters()[0].dtype
        weight = self.init(arguments.generator(name, "rng", rng), shape, getattr(self, "stride", 1))
        if arguments.array(name, "what init gave", weight).shape != shape:
            raise ValueError(f"{name}: init gave shape {weight.shape}, expected {shape}")
        if not abs(weight).max() <= np.finfo(dtype).max:
            raise ValueError(f"{name}: init gave numbers that are not finite in {dtype}")
        sources.begin(self, weight)

    def reset_parameters(self, rng: np.random.Generator) -> None:
        """Draw the weights again and reset the quantiser's Parameters; the bias becomes 0."""
        if self.weight_quantizer is not None:
            self.weight_quantizer.reset_parameters(rng)
        self._draw(rng)

    def after_step(self) -> None:
        """Let the quantiser project the weight, unless the weight is frozen or comes from a source."""
        if self.weight_quantizer is not None and self.weight is not None and self.weight.requires_grad:
            self.weight_quantizer.project(self.weight)

    def used_weight(self) -> Tensor:
        """Return the weight in use: quantised if there is a quantiser, and made by the source if there is one."""
        w = self.weight if self.weight_source is None else self.weight_source()
        return w if self.weight_quantizer is None else self.weight_quantizer(w)

    def _product(self, function, x, *steps):
        quantizer = self.weight_quantizer
        signs = quantizer is not None and quantizer.known("two_valued") and not smooth()
        return (sign_product if signs else function)(x, self.used_weight(), self.bias, *steps)

    def _settings(self):
        return "" if self.bias is not None else ", bias=False"


class Linear(_Weighted):
    """y = x @ weight + bias.

    Parameters
    ----------
    inputs, outputs : int
    rng : numpy.random.Generator
        Draws the weights.
    bias : bool
    weight_quantizer : Quantizer, optional
        A child, applied to the latent weight at every use: `quant.LayerScaleSign()`, `quant.FilterScaleSign()`.
    weight_source : WeightSource, optional
        A child that makes the latent weight from other arrays; `weight` is then None.
    init : callable
        `init(rng, shape, stride)`; by default `binaryduo_normal`.

    Examples
    --------
    >>> from duonet import Tensor
    >>> Linear(3, 2, rng=np.random.default_rng(0))(Tensor(np.ones((5, 3), "float32"))).shape
    (5, 2)
    """

    samplewise = True
    inputs, outputs = _size(-2), _size(-1)

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        rng: np.random.Generator,
        bias: bool = True,
        weight_quantizer: Quantizer | None = None,
        weight_source: WeightSource | None = None,
        init: Callable[..., np.ndarray] = binaryduo_normal,
    ):
        super().__init__()
        inputs = arguments.integer("Linear", "inputs", inputs, at_least=1)
        outputs = arguments.integer("Linear", "outputs", outputs, at_least=1)
        self._set("Linear", (inputs, outputs), rng, bias, weight_quantizer, weight_source, init)

    @staticmethod
    def array_shapes(
        *,
        inputs: int,
        outputs: int,
        bias: bool = True,
        weight_source: WeightSource | None = None,
        **others: object,
    ) -> dict[str, tuple[int, ...]]:
        """Return the shapes of weight and bias."""
        return sources.arrays((inputs, outputs), weight_source, bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map x (N, IN) to y (N, OUT)."""
        return self._product(functional.linear, x)

    def _settings(self):
        return f"{self.inputs}, {self.outputs}" + super()._settings()


class Conv2d(_Weighted):
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
    weight_source : WeightSource, optional
        A child that makes the latent weight from other arrays; `weight` is then None.
    init : callable
        `init(rng, shape, stride)`; by default `binaryduo_normal`.

    Examples
    --------
    >>> from duonet import Tensor
    >>> conv = Conv2d(3, 8, 3, rng=np.random.default_rng(0), padding=1)
    >>> conv(Tensor(np.ones((2, 6, 6, 3), "float32"))).shape
    (2, 6, 6, 8)
    """

    samplewise = True
    kernel_size, channels, out_channels = _size(0), _size(-2), _size(-1)

    def __init__(
        self,
        channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        rng: np.random.Generator,
        stride: int = 1,
        padding: int = 0,
        bias: bool = True,
        weight_quantizer: Quantizer | None = None,
        weight_source: WeightSource | None = None,
        init: Callable[..., np.ndarray] = binaryduo_normal,
    ):
        super().__init__()
        sizes = {"kernel_size": kernel_size, "channels": channels, "out_channels": out_channels}
        size, *ends = (arguments.integer("Conv2d", name, n, at_least=1) for name, n in sizes.items())
        self.stride = arguments.integer("Conv2d", "stride", stride, at_least=1)
        self.padding = arguments.integer("Conv2d", "padding", padding, at_least=0)
        self._set("Conv2d", (size, size, *ends), rng, bias, weight_quantizer, weight_source, init)

    @staticmethod
    def array_shapes(
        *,
        channels: int,
        out_channels: int,
        kernel_size: int,
        bias: bool = True,
        weight_source: WeightSource | None = None,
        **others: object,
    ) -> dict[str, tuple[int, ...]]:
        """Return the shapes of weight and bias."""
        return sources.arrays((kernel_size, kernel_size, channels, out_channels), weight_source, bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map x (N, H, W, C) to y (N, OH, OW, OC)."""
        return self._product(functional.conv2d, x, self.stride, self.padding)

    def _settings(self):
        sizes = f"{self.channels}, {self.out_channels}, {self.kernel_size}"
        return sizes + f", stride={self.stride}, padding={self.padding}" + super()._settings()
