"""Weights of one bit: of XNOR-Net and Bi-Real Net, and BNN's without a scale, plain and stochastic."""

import numpy as np

from duonet import arguments, backend, exact
from duonet.methods.projections import centre_weights, clip_weights
from duonet.methods.shelf import listed
from duonet.quant import Identity, Quantizer, Sign, quantize
from duonet.quant.weight import mean_abs, sign
from duonet.tensor import Function, Tensor


def _scale_of_filters(name, w):
    return mean_abs(name, w, tuple(range(w.ndim - 1)))


class SignByFilterFull(Function):
    """y = sign(w) α, α = mean |w| of each channel of n weights.   dw = sign(w) Σ(dy sign(w))/n + α dy 1[|w| < 1].

    The gradient is the product rule for α clip(w, −1, 1), which `smooth` computes; forwards, the sign replaces the
    clip.
    """

    exact = False

    @staticmethod
    def forward(ctx, w):
        return _scaled(ctx, w, sign(w))

    @staticmethod
    def smooth(ctx, w):
        return _scaled(ctx, w, w.clip(-1, 1))

    @staticmethod
    def backward(ctx, dy):
        signs, unit, scale, inside = ctx.kept
        mean = exact.total(dy * unit, tuple(range(dy.ndim - 1))) * signs.dtype.type(scale.size / signs.size)
        return signs * mean + exact.chain(dy * scale, inside)


def _scaled(ctx, w, unit):
    scale = _scale_of_filters("sign_by_filter_full", w)
    ctx.kept = sign(w), unit, scale, abs(w) < 1
    return unit * scale


class SignByFilterCode(Function):
    """y = sign(w) α, α = mean |w| of each channel of n weights.   dw = dy (1 + n α 1[|w| < 1]) (1 − 1/C)."""

    exact = False

    @staticmethod
    def forward(ctx, w):
        scale = _scale_of_filters("sign_by_filter_code", w)
        slope = 1 + exact.select(abs(w) < 1, scale) * w.dtype.type(w.size // scale.size)
        ctx.slope = slope * w.dtype.type(1 - 1 / w.shape[-2])
        return sign(w) * scale

    @staticmethod
    def backward(ctx, dy):
        return dy * ctx.slope


@listed(22, "xnor-full-weights", "weights", "Rastegari et al., XNOR-Net, ECCV 2016")
@listed(22, "xnor-code-weights", "weights", "Rastegari et al., XNOR-Net, ECCV 2016", gradient="code", centred=True)
class XNORWeights(Quantizer):
    """Weights with one scale per filter, y = sign(w) α, α = mean |w| of n weights, and XNOR-Net's other gradients.

    "full" is the derivative of α clip(w, −1, 1): dw = sign(w) Σ(dy sign(w))/n + α dy 1[|w| < 1], the sum over the
    filter. "code" is the gradient in the authors' code: dw = dy (1/n + α 1[|w| < 1]) n (1 − 1/C) for C input
    channels. `quant.FilterScaleSign` has the gradient of the paper, dw = dy (1/n + α 1[|w| < 1]), which ignores
    that a weight moves the α of its neighbours as well.

    Parameters
    ----------
    gradient : {"full", "code"}
    centred : bool
        Whether the latent weights lose the mean over the input channels and are clipped to ±1 after every step of
        the optimiser; the authors' code does both before every step. The paper has neither.

    Notes
    -----
    The code's gradient is some hundred times as large as the paper's, and 0 for a single input channel.

    References
    ----------
    Rastegari et al., XNOR-Net, ECCV 2016, section 3.1; allenai/XNOR-Net, util.lua and train.lua.

    Examples
    --------
    >>> w = Tensor([[0.5, -1.5], [-1.0, 0.25], [0.2, 0.8]], requires_grad=True)
    >>> XNORWeights()(w).sum().backward()
    >>> w.grad.round(3)
    array([[ 0.9  , -0.333],
           [-0.333,  1.183],
           [ 0.9  ,  1.183]], dtype=float32)
    """

    bits = 1
    homogeneous = two_valued = True

    def __init__(self, gradient: str = "full", centred: bool = False):
        super().__init__()
        self.centred = arguments.instance("XNORWeights", "centred", centred, bool)
        self.gradient = arguments.one_of("XNORWeights", "gradient", gradient, ("full", "code"))

    def forward(self, w: Tensor) -> Tensor:
        """Quantise weights (..., IN, OUT) to two values per channel; the shape stays."""
        if w.ndim < 2:
            raise ValueError(f"expected w (..., IN, OUT), got shape {w.shape}")
        return (SignByFilterFull if self.gradient == "full" else SignByFilterCode).apply(w)

    def project(self, weight: Tensor) -> None:
        """Centre and clip the latent weights if `centred`."""
        if self.centred:
            centre_weights(weight)
            clip_weights(weight)

    def scales(self, shape: tuple[int, ...]) -> int:
        """One for each output channel."""
        return shape[-1]

    def _settings(self):
        said = "" if self.gradient == "full" else repr(self.gradient)
        return f"{self.gradient!r}, centred" if self.centred else said


class MagnitudeAwareSign(Function):
    """y = sign(w) α, α = mean |w| of each channel.   dw = α dy 1[|w| ≤ 1], or without α."""

    exact = False

    @staticmethod
    def forward(ctx, w, *, scaled):
        scale = _scale_of_filters("magnitude_aware_sign", w)
        inside = abs(w) <= 1
        ctx.slope = exact.select(inside, scale) if scaled else inside
        return sign(w) * scale

    @staticmethod
    def backward(ctx, dy):
        return exact.chain(dy, ctx.slope)


@listed(13, "bi-real-weights", "weights", "Liu et al., Bi-Real Net, ECCV 2018")
class BiRealWeights(Quantizer):
    """Weights by the magnitude-aware sign: y = sign(w) α, α = mean |w| of each filter.   dw = α dy 1[|w| ≤ 1].

    The gradient holds α constant, so it is in proportion to the size of the filter's weights.

    Parameters
    ----------
    scaled : bool
        Whether α is in the gradient, as in the paper and in larq; the authors' PyTorch code leaves it out.

    References
    ----------
    Liu et al., Bi-Real Net, ECCV 2018; liuzechun/Bi-Real-net, pytorch_implementation.

    Examples
    --------
    >>> w = Tensor([[0.5, -1.5], [-1.0, 0.25]], requires_grad=True)
    >>> BiRealWeights()(w).sum().backward()
    >>> w.grad
    array([[0.75 , 0.   ],
           [0.75 , 0.875]], dtype=float32)
    """

    bits = 1
    homogeneous = two_valued = True

    def __init__(self, scaled: bool = True):
        super().__init__()
        self.scaled = arguments.instance("BiRealWeights", "scaled", scaled, bool)

    def forward(self, w: Tensor) -> Tensor:
        """Quantise weights (..., OUT) to two values per channel; the shape stays."""
        return MagnitudeAwareSign.apply(w, scaled=self.scaled)

    def scales(self, shape: tuple[int, ...]) -> int:
        """One for each output channel."""
        return shape[-1]

    def _settings(self):
        return "" if self.scaled else "scaled=False"


@listed(16, "bethge-weights", "weights", "Bethge et al., Back to Simplicity, 2019", limit=1.3)
@listed(9, "bnn-weights", "weights", "Hubara et al., Binarized Neural Networks, NeurIPS 2016")
class BNNWeights(Quantizer):
    """Weights of ±1 without a scale: y = sign(w), sign(0) = +1.   dw = dy.

    After every step of the optimiser the latent weights are clipped: w ← min(max(w, −limit), limit).

    Parameters
    ----------
    limit : number
        Above 0.

    References
    ----------
    Hubara et al., Binarized Neural Networks, NeurIPS 2016; MatthieuCourbariaux/BinaryNet, binary_net.py.

    Examples
    --------
    >>> BNNWeights()(Tensor([[0.5, -1.5], [0.0, 2.0]])).data
    array([[ 1., -1.],
           [ 1.,  1.]], dtype=float32)
    """

    bits = 1
    two_valued = True

    def __init__(self, limit: float = 1.0):
        super().__init__()
        self.limit = arguments.number("BNNWeights", "limit", limit, above=0)

    def forward(self, w: Tensor) -> Tensor:
        """Quantise weights of any shape to ±1; the shape stays."""
        return quantize(w, Sign(), Identity())

    def project(self, weight: Tensor) -> None:
        """Clip to ±limit."""
        clip_weights(weight, self.limit)

    def _settings(self):
        return "" if self.limit == 1 else f"{self.limit}"


class DrawnSign(Function):
    """y = +1 with probability clip((w + 1)/2, 0, 1), else −1.   dw = dy."""

    exact = False

    @staticmethod
    def forward(ctx, w, *, rng):
        xp = backend.get_xp(w)
        # Drawn with NumPy and then uploaded: the same seed draws the same signs on the CPU and on a GPU.
        draws = xp.asarray(rng.random(w.shape, np.float32))
        return xp.where(2 * draws - 1 < w, 1, -1).astype(w.dtype)

    @staticmethod
    def smooth(ctx, w, *, rng):
        return w.copy()

    @staticmethod
    def backward(ctx, dy):
        return dy


@listed(9, "bnn-stochastic-weights", "weights", "Hubara et al., Binarized Neural Networks, NeurIPS 2016")
class StochasticWeights(Quantizer):
    """Weights of ±1 that are drawn in training: +1 with probability p = clip((w + 1)/2, 0, 1).   dw = dy.

    Inside ±1 the mean of the draws is w, and dw is the gradient of the mean. Every forward pass in training draws
    anew; in evaluation the weights are sign(w), sign(0) = +1. After every step the latent weights are clipped to
    ±1.

    Parameters
    ----------
    rng : numpy.random.Generator

    References
    ----------
    Hubara et al., Binarized Neural Networks, NeurIPS 2016; Courbariaux et al., BinaryConnect, 2015.

    Examples
    --------
    >>> draw = StochasticWeights(rng=np.random.default_rng(0))
    >>> draw(Tensor([0.5, 0.5, 0.5, -1.0])).data
    array([-1.,  1.,  1., -1.], dtype=float32)
    >>> draw.eval()(Tensor([0.5, 0.5, 0.5, -1.0])).data
    array([ 1.,  1.,  1., -1.], dtype=float32)
    """

    bits = 1
    deterministic = False
    two_valued = True
    in_training = "draws the sign of every weight"

    def __init__(self, *, rng: np.random.Generator):
        super().__init__()
        self.rng = arguments.generator("StochasticWeights", "rng", rng)

    def forward(self, w: Tensor) -> Tensor:
        """Quantise weights of any shape to ±1; the shape stays."""
        return DrawnSign.apply(w, rng=self.rng) if self.training else quantize(w, Sign(), Identity())

    def project(self, weight: Tensor) -> None:
        """Clip to ±1, where the probability reaches 0 or 1."""
        clip_weights(weight)
