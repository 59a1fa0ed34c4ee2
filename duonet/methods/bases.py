"""ABC-Net's and LQ-Nets' activations: sums of binary activations, on a basis that training or the data moves."""

import itertools
import math

import numpy as np

from duonet import arguments, backend, exact
from duonet.methods.learned_range import LearnedRange
from duonet.methods.shelf import listed
from duonet.quant import Clip, Quantizer, Staircase
from duonet.quant.activation import QuantActivation
from duonet.tensor import Function, Tensor

RIDGE = 1e-4
KEPT = 0.9


class SumOfSigns(Function):
    """y = Σ_j scales_j H_j, H_j = +1 if x + shifts_j >= ½ else −1.

    dx = dy Σ_j scales_j W_j;   dshifts_j = scales_j Σ dy W_j;   dscales_j = Σ dy H_j, with
    W_j = 1[0 <= x + shifts_j <= 1].
    """

    exact = False

    @staticmethod
    def forward(ctx, x, shifts, scales):
        xp = backend.get_xp(x)
        moved = [x + shift for shift in shifts]
        signs = [xp.where(m >= 0.5, 1, -1).astype(x.dtype) for m in moved]
        if any(ctx.needs):
            ctx.kept = [(m >= 0) & (m <= 1) for m in moved], signs, scales
        return sum(scale * sign for scale, sign in zip(scales, signs))

    @staticmethod
    def backward(ctx, dy):
        windows, signs, scales = ctx.kept
        xp = backend.get_xp(dy)
        passed = [exact.select(window, dy) for window in windows]
        dx = sum(scale * part for scale, part in zip(scales, passed))
        dshifts = xp.stack([exact.total(part) for part in passed]).reshape(scales.shape) * scales
        dscales = xp.stack([exact.total(sign * dy) for sign in signs]).reshape(scales.shape)
        return dx, dshifts, dscales


@listed(
    28,
    "abc-activations",
    "activations",
    "Lin et al., Towards Accurate Binary Convolutional Neural Network, NeurIPS 2017",
)
class ABCNet(LearnedRange):
    """A sum of N signs with learned shifts v and scales β: y = Σ_j β_j H_j, H_j = +1 if x + v_j >= ½ else −1.

    dx = dy Σ_j β_j 1[0 <= x + v_j <= 1];   dv_j = β_j Σ dy 1[0 <= x + v_j <= 1];   dβ_j = Σ dy H_j. No single
    function has this gradient: the method takes the slope of a sign from −1 to 1 for 1, not 2.

    Parameters
    ----------
    bases : int
        N, 1 to 15. The v start evenly spread, v_j = ½ − j / (N + 1); each β starts at 1 / N.

    Raises
    ------
    TypeError, ValueError
        If `bases` is out of bounds.

    References
    ----------
    Lin et al., ABC-Net, NeurIPS 2017. A port starts all v at 0 and all β at 1. Its bases then stay
    equal, so the v are spread here.

    Examples
    --------
    >>> ABCNet(2)(Tensor([0.0, 0.5, 1.0])).data
    array([-1.,  0.,  1.], dtype=float32)
    """

    samplewise = by_channel = True

    def __init__(self, bases: int = 2):
        super().__init__()
        self.bases = arguments.integer("ABCNet", "bases", bases, at_least=1, at_most=15)
        shifts = [[0.5 - j / (bases + 1)] for j in range(1, bases + 1)]
        self._learn(shifts=shifts, heights=[[1 / bases]] * bases)
        self.bits = math.ceil(math.log2(bases + 1))

    def forward(self, x: Tensor) -> Tensor:
        """Quantise an input of any shape to N + 1 levels; the shape stays."""
        return SumOfSigns.apply(x, self.shifts, self.heights)

    def _settings(self):
        return f"{self.bases} bases"


@listed(33, "lq-activations", "activations", "Zhang et al., LQ-Nets, ECCV 2018")
class LQNets(Quantizer):
    """Activations on all sums Σ_j b_j v_j, b_j 0 or 1, of a basis v that follows the data by least squares.

    y is the nearest level, with steps half-way between levels.   dx = dy 1[0 < x < top level]. In training, the
    present v first encodes the batch by codes B; then v becomes 0.9 v + 0.1 v', with (BᵀB + δ) v' = Bᵀx + δ v and
    δ = 1e-4. In evaluation v stays. It has no gradient.

    Parameters
    ----------
    bits : int
        1 to 4. At the start v_j = 2^j · 0.6745 · 2 / (2^bits − 1), j from 0.

    Raises
    ------
    TypeError, ValueError
        If `bits` is out of bounds; when called, if the basis has degenerated to one level.

    References
    ----------
    Zhang et al., LQ-Nets, ECCV 2018, and learned_quantization.py of its code. The code's activation stands behind
    a ReLU, which is part of the gradient here. The code has δ for weights alone; without δ, its equation for
    activations can be singular.

    Examples
    --------
    >>> q = LQNets(2).eval()
    >>> q(Tensor([-1.0, 0.3, 1.0, 9.0])).data.round(3)
    array([0.   , 0.45 , 0.899, 1.349], dtype=float32)
    """

    samplewise = by_channel = rising = True
    in_training = "its basis follows the batch"

    def __init__(self, bits: int = 2):
        super().__init__()
        self.bits = arguments.integer("LQNets", "bits", bits, at_least=1, at_most=4)
        self.basis = Tensor(self._start())

    def _start(self):
        step = 0.6745 * 2 / (2**self.bits - 1)
        return np.float32([[step * 2**j] for j in range(self.bits)])

    def reset_parameters(self, rng: np.random.Generator) -> None:
        """Set the basis back to its start; nothing is drawn."""
        self.basis.data[...] = backend.to_device(self._start(), backend.device_of(self.basis.data))

    def forward(self, x: Tensor) -> Tensor:
        """Quantise an input of any shape; the shape stays."""
        activation = self.fixed()
        y = activation(x)
        if self.training:
            self._follow(x.data, activation.staircase)
        return y

    def fixed(self) -> QuantActivation:
        """Return the staircase of the present basis."""
        basis, codes = self._coded()
        levels = np.unique(codes @ basis)
        if len(levels) < 2 or levels[-1] <= 0:
            raise ValueError(f"the basis {basis.tolist()} has degenerated: no level is above 0")
        return QuantActivation(Staircase((levels[1:] + levels[:-1]) / 2, levels), Clip(0, float(levels[-1])))

    def _coded(self):
        """Return the basis in float64 and the codes by rising levels."""
        basis = self.basis.numpy().ravel().astype(np.float64)
        codes = np.array(list(itertools.product([0, 1], repeat=self.bits)), np.float64)
        return basis, codes[np.argsort(codes @ basis, kind="stable")]  # a component may be negative

    def _follow(self, x, staircase):
        """Move the basis towards the least squares solution for a batch."""
        basis, codes = self._coded()
        codes = codes[np.unique(codes @ basis, return_index=True)[1]]
        xp = backend.get_xp(x)
        reached = sum((x >= x.dtype.type(float(t))).astype(np.int8) for t in staircase.thresholds).ravel()
        of = [(reached == k) for k in range(len(codes))]
        flat = x.ravel().astype(np.float64)
        count = np.array([int(mask.sum()) for mask in of], np.float64)
        total = np.array([float(exact.select(mask, flat).sum()) for mask in of])
        ridge = RIDGE * np.eye(self.bits)
        best = np.linalg.solve(codes.T * count @ codes + ridge, codes.T @ total + RIDGE * basis)
        moved = KEPT * basis + (1 - KEPT) * best
        if not np.isfinite(moved).all():
            raise ValueError("its basis would not be finite, because the input is not")
        self.basis.data = xp.asarray(moved.reshape(-1, 1), dtype=self.basis.dtype)

    def _settings(self):
        return f"{self.bits} bits"
