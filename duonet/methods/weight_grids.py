"""Weights of k bits on an even grid: DoReFa, WRPN, SAWB."""

import numpy as np

from duonet import arguments, backend, exact
from duonet.backend import Array
from duonet.methods.shelf import listed
from duonet.quant import Clip, Identity, Quantizer, Staircase, quantize
from duonet.quant.weight import SignByLayer, sign
from duonet.tensor import Function, Tensor


def even_grid(bits: int) -> Staircase:
    """Return 2^k even levels on [−1, 1], without 0; an input goes to the nearest level, at a tie to the upper.

    Examples
    --------
    >>> even_grid(2)(np.array([-2.0, -0.1, 0.0, 0.7]))
    array([-1.        , -0.33333333,  0.33333333,  1.        ])
    """
    n = 2**bits - 1
    return Staircase([(2 * i - 1 - n) / n for i in range(1, n + 1)], [(2 * i - n) / n for i in range(n + 1)])


def grid_with_zero(bits: int) -> Staircase:
    """Return the 2^(k−1) levels 0, 1/q … 1 with q = 2^(k−1) − 1, for the absolute value of a number.

    Examples
    --------
    >>> grid_with_zero(3)(np.array([0.1, 0.5, 2.0]))
    array([0.        , 0.66666667, 1.        ])
    """
    q = 2 ** (bits - 1) - 1
    return Staircase([(i - 0.5) / q for i in range(1, q + 1)], [i / q for i in range(q + 1)])


class ScaledTanh(Function):
    """y = tanh(w) / m, m = max |tanh w| of the layer.   dw = dy (1 − t²)/m with m held."""

    exact = False

    @staticmethod
    def forward(ctx, w):
        if not w.size:
            raise ValueError(f"scaled_tanh: w {w.shape} is empty and has no largest weight")
        xp = backend.get_xp(w)
        ctx.tanh = xp.tanh(w)
        top = abs(ctx.tanh).max()
        ctx.top = xp.where(top > 0, top, 1).astype(w.dtype)
        return ctx.tanh / ctx.top

    @staticmethod
    def backward(ctx, dy):
        return dy * (1 - ctx.tanh * ctx.tanh) / ctx.top


class ScaledTanhThroughMax(ScaledTanh):
    """y = tanh(w) / m.   dw as with m held, less sign(t)(1 − t²) Σ(dy t)/m² where |t| = m; ties share the term."""

    exact = True

    @staticmethod
    def backward(ctx, dy):
        t, m = ctx.tanh, ctx.top
        largest = abs(t) == m
        through = exact.total(dy * t) / (m * m * largest.sum().clip(1).astype(t.dtype))
        return ScaledTanh.backward(ctx, dy) - sign(t) * (1 - t * t) * largest * through


@listed(18, "dorefa-weights", "weights", "Zhou et al., DoReFa-Net, 2016", bits=2)
@listed(18, "dorefa-1-bit-weights", "weights", "Zhou et al., DoReFa-Net, 2016", bits=1)
class DoReFaWeights(Quantizer):
    """Weights of k bits on a fixed grid: y = 2 R(n (t/2m + ½))/n − 1, t = tanh w, m = max |t|, n = 2^k − 1.

    R rounds a half upwards. dw = dy (1 − t²)/m. With one bit y = sign(w) · mean |w| over the layer and dw = dy.

    Parameters
    ----------
    bits : int
        1 to 8.
    through_max : bool
        Whether the gradient runs through m as well, as in tensorpack's code: it adds −sign(t)(1 − t²) Σ(dy t)/m²
        at the largest weight. By default m is held.

    References
    ----------
    Zhou et al., DoReFa-Net, arXiv 1606.06160; tensorpack, examples/DoReFa-Net/dorefa.py.

    Examples
    --------
    >>> DoReFaWeights(2)(Tensor([-1.0, -0.1, 0.0, 2.0])).data
    array([-1.        , -0.33333334,  0.33333334,  1.        ], dtype=float32)
    """

    def __init__(self, bits: int = 2, through_max: bool = False):
        super().__init__()
        self.bits = arguments.integer("DoReFaWeights", "bits", bits, at_least=1, at_most=8)
        self.through_max = arguments.instance("DoReFaWeights", "through_max", through_max, bool)

    @property
    def homogeneous(self) -> bool:  # type: ignore[override]
        """True with one bit: the grid of more bits does not shrink with the weights."""
        return self.bits == 1

    @property
    def two_valued(self) -> bool:  # type: ignore[override]
        """True with one bit."""
        return self.bits == 1

    def forward(self, w: Tensor) -> Tensor:
        """Quantise an input of any shape to 2^k values; the shape stays."""
        if self.bits == 1:
            return SignByLayer.apply(w)
        scaled = (ScaledTanhThroughMax if self.through_max else ScaledTanh).apply(w)
        return quantize(scaled, even_grid(self.bits), Identity())

    def scales(self, shape: tuple[int, ...]) -> int:
        """Return 1 with one bit, else 0."""
        return int(self.bits == 1)

    def _settings(self):
        return f"{self.bits}" + (", through_max=True" if self.through_max else "")


class OddQuantize(Function):
    """y = sign(w) S(|w|) of a staircase S from 0.   dw = dy surrogate'(w)."""

    exact = False

    @staticmethod
    def forward(ctx, w, *, staircase, surrogate):
        ctx.slope = surrogate.derivative(w)
        return sign(w) * staircase(abs(w))

    @staticmethod
    def smooth(ctx, w, *, staircase, surrogate):
        ctx.slope = surrogate.derivative(w)
        return surrogate.value(w)

    @staticmethod
    def backward(ctx, dy):
        return exact.chain(dy, ctx.slope)


@listed(5, "wrpn-weights", "weights", "Mishra et al., WRPN, ICLR 2018")
class WRPNWeights(Quantizer):
    """Weights of k bits on a fixed grid with 0: y = sign(w) R(q |clip(w, −1, 1)|)/q, q = 2^(k−1) − 1.

    R rounds a half upwards, to 2q + 1 levels. dw = dy. The network has two or three times as many filters, and its
    activations are `Uniform(k)`. With one bit the method takes XNOR-Net's weights, `quant.FilterScaleSign`. With 2
    bits a weight below ½ is 0, so latent weights must begin wider than in other methods.

    Parameters
    ----------
    bits : int
        2 to 8.
    clipped : bool
        Whether the gradient is 0 outside [−1, 1], as in some ports; not by default.

    References
    ----------
    Mishra et al., WRPN: Wide Reduced-Precision Networks, ICLR 2018. Code: a port, IntelLabs/distiller,
    quantization/clipped_linear.py, which rounds a half to the even level.

    Examples
    --------
    >>> WRPNWeights(3)(Tensor([-1.3, -0.6, -0.2, 0.3, 0.9])).data
    array([-1.        , -0.6666667 , -0.33333334,  0.33333334,  1.        ],
          dtype=float32)
    """

    def __init__(self, bits: int = 2, clipped: bool = False):
        super().__init__()
        self.bits = arguments.integer("WRPNWeights", "bits", bits, at_least=2, at_most=8)
        self.clipped = arguments.instance("WRPNWeights", "clipped", clipped, bool)

    def forward(self, w: Tensor) -> Tensor:
        """Quantise an input of any shape to 2^k − 1 values; the shape stays."""
        surrogate = Clip(-1, 1, closed=True) if self.clipped else Identity()
        return OddQuantize.apply(w, staircase=grid_with_zero(self.bits), surrogate=surrogate)

    def _settings(self):
        return f"{self.bits}" + (", clipped=True" if self.clipped else "")


# c₁, c₂ of the clip: fitted to the best clips of several densities, for 2^k levels without 0 and 2^k − 1 with 0.
CLIPS = {2: (3.12, 2.064), 3: (7.509, 6.892), 4: (12.68, 12.80), 5: (17.74, 18.64), 8: (31.76, 35.04)}
CLIPS_WITH_ZERO = {2: (2.6, 1.71), 4: (12.035, 12.03)}


def clip_of_moments(w: Array, coefficients: tuple[float, float]) -> Array:
    """Return a = c₁ √E[w²] − c₂ E|w|, or max |w| if a is not above 0, as a 0-d array of w's dtype.

    Examples
    --------
    >>> float(clip_of_moments(np.array([-1, -0.3, 0.1, 0.4, 0.8, -0.05]), CLIPS[2]).round(6))
    0.845277
    """
    xp = backend.get_xp(w)
    root = xp.sqrt(xp.square(w.astype(np.float64)).mean())
    size = xp.abs(w).mean(dtype=np.float64)
    a = xp.asarray(coefficients[0] * root - coefficients[1] * size)
    return xp.where(a > 0, a, abs(w).max()).astype(w.dtype)


class ClipOfMoments(Function):
    """y = a S(w/a), or y = a sign(w) S(|w|/a) if S begins at 0.   dw = dy 1[|w| ≤ a], or dy."""

    exact = False

    @staticmethod
    def forward(ctx, w, *, coefficients, staircase, clipped):
        a = clip_of_moments(w, coefficients)
        ctx.inside = abs(w) <= a if clipped else None
        scaled = w / backend.get_xp(w).where(a > 0, a, 1).astype(w.dtype)
        return a * (sign(w) * staircase(abs(scaled)) if staircase.levels[0] == 0 else staircase(scaled))

    @staticmethod
    def backward(ctx, dy):
        return dy if ctx.inside is None else exact.chain(dy, ctx.inside)


@listed(34, "sawb", "weights", "Choi et al., 2-bit Quantized Neural Networks, SysML 2019")
class SAWBWeights(Quantizer):
    """k-bit weights clipped at a = c₁ √E[w²] − c₂ E|w|: y = a (2 R(n clip(w/2a + ½, 0, 1))/n − 1), n = 2^k − 1.

    The clip of least square error depends on the density of the weights; two moments predict it well. R rounds a
    half upwards, dw = dy 1[|w| ≤ a]. If a is not above 0, max |w| replaces it.

    Parameters
    ----------
    bits : {2, 3, 4, 5, 8}
        Only these have published coefficients.
    zero : bool
        Whether 0 is among the levels: 2^k − 1 of them, y = a sign(w) R(q |clip(w/a, −1, 1)|)/q with
        q = 2^(k−1) − 1. The code has coefficients for 2 and 4 bits alone.
    clipped : bool
        Whether the gradient is 0 outside the clip, as in the paper. The code offers dw = dy as well.

    Notes
    -----
    For evaluation the code keeps the clip of the last training step; here the present weights give the clip.

    References
    ----------
    Choi et al., Accurate and Efficient 2-bit Quantized Neural Networks, SysML 2019. Code:
    foundation-model-stack/fms-model-optimizer, fms_mo/quant/quantizers.py.

    Examples
    --------
    >>> SAWBWeights(2)(Tensor([-1.0, -0.3, 0.1, 0.4, 0.8, -0.05])).data.round(3)
    array([-0.845, -0.282,  0.282,  0.282,  0.845, -0.282], dtype=float32)
    """

    homogeneous = True

    def __init__(self, bits: int = 2, zero: bool = False, clipped: bool = True):
        super().__init__()
        self.bits = arguments.integer("SAWBWeights", "bits", bits)
        self.zero = arguments.instance("SAWBWeights", "zero", zero, bool)
        self.clipped = arguments.instance("SAWBWeights", "clipped", clipped, bool)
        known = CLIPS_WITH_ZERO if zero else CLIPS
        if bits not in known:
            *first, last = map(str, known)
            those = f"{', '.join(first)} or {last}" + (" with zero=True" if zero else "")
            raise ValueError(f"SAWBWeights: bits must be {those}, which have coefficients, got {bits}")

    def forward(self, w: Tensor) -> Tensor:
        """Quantise weights of any shape to 2^k values, or 2^k − 1 with 0; the shape stays."""
        if not w.size:
            raise ValueError(f"w {w.shape} is empty and has no clip")
        return ClipOfMoments.apply(
            w,
            coefficients=(CLIPS_WITH_ZERO if self.zero else CLIPS)[self.bits],
            staircase=(grid_with_zero if self.zero else even_grid)(self.bits),
            clipped=self.clipped,
        )

    def scales(self, shape: tuple[int, ...]) -> int:
        """Return 1, for the clip."""
        return 1

    def _settings(self):
        return f"{self.bits}" + (", zero=True" if self.zero else "") + ("" if self.clipped else ", clipped=False")
