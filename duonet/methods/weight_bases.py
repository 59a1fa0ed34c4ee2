"""Weights that are sums of ±1 patterns: ABC-Net's bases, fitted at every use, and LQ-Nets' learned basis."""

import itertools
import math
from typing import Any

import numpy as np
import numpy.typing as npt

from duonet import arguments, backend
from duonet.backend import Array
from duonet.methods.shelf import listed
from duonet.quant import Quantizer
from duonet.quant.weight import sign
from duonet.tensor import Function, Tensor


class SumOfSigns(Function):
    """y = Σ α_i B_i, B_i = sign(w − mean w + u_i std w), α the least squares fit to w.   dw = dy Σ α_i."""

    exact = False

    @staticmethod
    def forward(ctx, w, *, bases):
        xp = backend.get_xp(w)
        wide = w.astype(np.float64)
        shifts = np.linspace(-1, 1, bases).tolist()
        rows = xp.stack([sign(wide - wide.mean() + u * wide.std()).ravel() for u in shifts])
        # M × M numbers: solved on the CPU, by a method for bases that may coincide.
        gram, fit = (backend.to_device(a, "cpu") for a in (rows @ rows.T, rows @ wide.ravel()))
        alpha = xp.asarray(np.linalg.lstsq(gram, fit, rcond=1e-10)[0])
        ctx.total = alpha.sum().astype(w.dtype)
        return (alpha @ rows).reshape(w.shape).astype(w.dtype)

    @staticmethod
    def backward(ctx, dy):
        return dy * ctx.total


@listed(28, "abc-weights", "weights", "Lin et al., ABC-Net, NeurIPS 2017")
class ABCWeights(Quantizer):
    """Weights as a sum of M binary bases: y = Σ α_i B_i, B_i = sign(w − mean w + u_i std w), u_i from −1 to 1.

    u_i = −1 + 2(i − 1)/(M − 1), and α = argmin ‖w − Σ α_i B_i‖² over the whole layer, at every use. Every basis
    passes its gradient straight through, with α constant: dw = dy Σ α_i. A product with these weights is M binary
    products. The bases are nested: they make M + 1 different values.

    Parameters
    ----------
    bases : int
        M, 2 to 8. One basis would have no u; use `quant.LayerScaleSign` for it.

    Notes
    -----
    Ports differ from this method: one fits with an intercept, another by gradient descent.

    References
    ----------
    Lin et al., Towards Accurate Binary Convolutional Neural Network, NeurIPS 2017. Code: ports,
    layog/Accurate-Binary-Convolution-Network and zhuyinheng/ABC-Net-pytorch.

    Examples
    --------
    >>> ABCWeights(3)(Tensor([-1.0, -0.4, 0.1, 0.3, 1.2])).data.round(3)
    array([-1.1, -0.4,  0.2,  0.2,  1.1], dtype=float32)
    """

    homogeneous = True

    def __init__(self, bases: int = 3):
        super().__init__()
        self.bases = arguments.integer("ABCWeights", "bases", bases, at_least=2, at_most=8)

    @property
    def bits(self) -> int:  # type: ignore[override]
        """Bits needed to tell M + 1 values apart."""
        return self.bases.bit_length()

    def forward(self, w: Tensor) -> Tensor:
        """Quantise an input of any shape to M + 1 values; the shape stays."""
        if not w.size:
            raise ValueError(f"w {w.shape} is empty, and has no bases")
        return SumOfSigns.apply(w, bases=self.bases)

    def scales(self, shape: tuple[int, ...]) -> int:
        """One for each basis."""
        return self.bases

    def _settings(self):
        return f"{self.bases}"


RIDGE = 1e-4  # towards the old basis, as in the authors' code
KEPT = 0.9  # of the old basis, at every step


class Nearest(Function):
    """y = the level of the channel nearest to w.   dw = dy."""

    exact = False

    @staticmethod
    def forward(ctx, w, *, levels, index):
        return levels[index, backend.get_xp(w).arange(w.shape[-1])]

    @staticmethod
    def smooth(ctx, w, *, levels, index):
        return w.copy()

    @staticmethod
    def backward(ctx, dy):
        return dy


@listed(33, "lq-weights", "weights", "Zhang et al., LQ-Nets, ECCV 2018")
class LQWeights(Quantizer):
    """Weights on the levels Σ ±v_j of a basis v, k numbers per filter, which follows the weights in training.

    y is the nearest level, the upper at a tie, and dw = dy. In training each use then fits the basis to the
    weights for their present signs B, (BᵀB + δ) v' = Bᵀw + δ v with δ = 1e-4, and moves it, v ← 0.9 v + 0.1 v'. In
    evaluation v stays. It is a buffer, without a gradient.

    Parameters
    ----------
    bits : int
        k, 1 to 4.
    channels : int
        OUT. By default it comes from the layer that takes the quantiser, or from the first weight. The basis
        begins at v_j = 0.6745 √(2/(K² OUT)) 2^j / 2^(k−1) for filters of K×K, j from 0.

    Raises
    ------
    ValueError
        If w has another number of channels than the basis, or the basis would not be finite.

    Notes
    -----
    A number of the basis may become negative, so levels are sorted together with their signs. Levels may coincide,
    for example in a filter of zeros; the ridge keeps the fit solvable.

    References
    ----------
    Zhang et al., LQ-Nets, ECCV 2018; microsoft/LQ-Nets, learned_quantization.py.

    Examples
    --------
    >>> q = LQWeights(2, channels=1)
    >>> q.basis.data[:] = [[0.5], [1.0]]
    >>> q(Tensor([[-2.0], [-1.1], [-0.4], [0.1], [0.6], [1.2], [1.7], [3.0]])).data.ravel()
    array([-1.5, -1.5, -0.5,  0.5,  0.5,  1.5,  1.5,  1.5], dtype=float32)
    >>> q.basis.data.ravel().round(4)
    array([0.5217, 1.0083], dtype=float32)
    """

    def __init__(self, bits: int = 2, channels: int = 0):
        super().__init__()
        self.bits = arguments.integer("LQWeights", "bits", bits, at_least=1, at_most=4)
        channels = arguments.integer("LQWeights", "channels", channels, at_least=0)
        self.basis = Tensor(self._start(1, channels))

    @property
    def channels(self) -> int:
        """Number of filters; 0 before the first use."""
        return self.basis.shape[1]

    @staticmethod
    def array_shapes(*, bits: int = 2, channels: int = 0, **others: object) -> dict[str, tuple[int, ...]]:
        """Shape of the basis."""
        return {"basis": (bits, channels)}

    def forward(self, w: Tensor) -> Tensor:
        """Quantise weights (..., IN, OUT) to 2^k values per channel; the shape stays."""
        if w.ndim < 2:
            raise ValueError(f"expected w (..., IN, OUT), got shape {w.shape}")
        xp, basis = backend.get_xp(w.data), self.basis.data
        if not self.channels:
            basis = self._start(math.prod(w.shape[:-2]), w.shape[-1])
        if basis.shape[1] != w.shape[-1]:
            raise ValueError(f"its basis has {basis.shape[1]} channels, but w has {w.shape[-1]}")
        basis = xp.asarray(basis, dtype=w.dtype)
        levels, order, index = nearest(w.data, basis)
        y = Nearest.apply(w, levels=levels, index=index)
        if self.training:
            fitted = refitted(w.data, basis, order, index)
            self.basis.data = (KEPT * basis + (1 - KEPT) * fitted).astype(self.basis.dtype)
        return y

    def _start(self, positions, channels):
        largest = 0.6745 * math.sqrt(2 / max(positions * channels, 1))
        powers = largest * 2.0 ** np.arange(1 - self.bits, 1, dtype=np.float32)
        return np.repeat(powers.astype(np.float32)[:, None], channels, axis=1)

    def begin(self, weight: Array) -> None:
        """Begin with the basis for a layer of the weight's shape."""
        start = self._start(math.prod(weight.shape[:-2]), weight.shape[-1])
        self.basis.data = backend.get_xp(weight).asarray(start, dtype=self.basis.dtype)

    def reset_parameters(self, rng: np.random.Generator) -> None:
        """Forget the basis: its layer, or the next use, begins anew."""
        self.basis.data = self.basis.data[:, :0]

    def _settings(self):
        return f"{self.bits}"


def signs_of(bits: int) -> npt.NDArray[Any]:
    """List all patterns of ±1: (2^k, k).

    Examples
    --------
    >>> signs_of(1).tolist()
    [[-1.0], [1.0]]
    """
    return np.array(list(itertools.product((-1.0, 1.0), repeat=bits)))


def nearest(w: Array, basis: Array) -> tuple[Array, Array, Array]:
    """Find for each weight the nearest level of its channel.

    Parameters
    ----------
    w : (..., OUT) array
    basis : (k, OUT) array

    Returns
    -------
    levels : (2^k, OUT) array
        The levels of each channel, rising.
    order : (2^k, OUT) array of int
        The row of `signs_of` for each level.
    index : (..., OUT) array of int
        The level of each weight; the upper level at a tie.

    Examples
    --------
    >>> nearest(np.array([[0.4], [-3.0]]), np.array([[1.0]]))[2].tolist()
    [[1], [0]]
    """
    xp = backend.get_xp(w)
    levels = xp.asarray(signs_of(len(basis)), dtype=w.dtype) @ basis
    order = levels.argsort(axis=0)
    levels = levels[order, xp.arange(w.shape[-1])]
    index = xp.zeros(w.shape, np.int8)
    for threshold in (levels[1:] + levels[:-1]) / 2:
        index += w >= threshold
    return levels, order, index


def refitted(w: Array, basis: Array, order: Array, index: Array) -> Array:
    """Fit the basis of each channel to its weights, with their levels constant: a step of QEM, with a ridge.

    Parameters
    ----------
    w : (..., OUT) array
    basis : (k, OUT) array
    order, index : array
        From `nearest`.

    Returns
    -------
    (k, OUT) array
        float64.

    Raises
    ------
    ValueError
        If the fit would not be finite.

    Examples
    --------
    >>> w, basis = np.array([[0.5], [-1.5], [4.0]]), np.array([[1.0]])
    >>> refitted(w, basis, *nearest(w, basis)[1:]).round(3)
    array([[2.]])
    """
    xp, channels = backend.get_xp(w), w.shape[-1]
    flat, index = w.reshape(-1, channels), index.reshape(-1, channels)
    which = [index == i for i in range(len(order))]
    counts = xp.stack([chosen.sum(axis=0) for chosen in which]).astype(np.float64)
    sums = xp.stack([xp.where(chosen, flat, 0).sum(axis=0, dtype=np.float64) for chosen in which])
    # k × k numbers a channel: solved on the CPU.
    counts, sums, order, old = (backend.to_device(a, "cpu") for a in (counts, sums, order, basis))
    signs = signs_of(len(old))[order]
    gram = np.einsum("ic,icj,ick->cjk", counts, signs, signs) + RIDGE * np.eye(len(old))
    fit = np.einsum("ic,icj->cj", sums, signs) + RIDGE * old.T
    if not np.isfinite(fit).all():
        raise ValueError("its basis would not be finite, because the weights are not")
    return xp.asarray(np.linalg.solve(gram, fit[..., None])[..., 0].T)
