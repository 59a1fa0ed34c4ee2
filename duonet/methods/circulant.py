"""CBCN: one latent kernel gives several binary kernels, by turns of its plane and cycles of its orientations."""

import numpy as np

from duonet import arguments, backend, exact
from duonet.backend import Array
from duonet.methods.shelf import listed
from duonet.quant import Polynomial, Quantizer
from duonet.quant.weight import mean_abs, sign
from duonet.sources import WeightSource, fill
from duonet.tensor import Function, Parameter, Tensor

RING = ((0, 0), (0, 1), (0, 2), (1, 2), (2, 2), (2, 1), (2, 0), (1, 0))  # of a 3×3 plane, clockwise


def turned(w: Array, eighths: int) -> Array:
    """Turn the planes of kernels (K, K, ...) clockwise by eighths of a turn; an odd number needs K = 3, or 1.

    Parameters
    ----------
    w : (K, K, ...) array
    eighths : int
        A number below 0 turns the other way.

    Returns
    -------
    array

    Raises
    ------
    ValueError
        If the planes are not square, or cannot be turned by so many eighths.

    Examples
    --------
    >>> turned(np.arange(1, 10).reshape(3, 3), 1).tolist()
    [[4, 1, 2], [7, 5, 3], [8, 9, 6]]
    """
    size = len(w) if w.ndim > 1 and len(w) == w.shape[1] else 0
    if not size or eighths % 2 and size not in (1, 3):
        raise ValueError(f"turned: expected w (K, K, ...), and K = 3 or 1 for {eighths} eighths, got {w.shape}")
    from_where = np.rot90(np.arange(size * size).reshape(size, size), -(eighths // 2) % 4)
    if eighths % 2 and size == 3:
        ring = [from_where[place] for place in RING]
        for k, place in enumerate(RING):
            from_where[place] = ring[k - 1]
    return w.reshape(size * size, *w.shape[2:])[from_where.ravel().tolist()].reshape(w.shape)


class Circulate(Function):
    """Copies r of the kernels, turned by r / M, orientations cycled by r.   dw: the sum of copies turned back."""

    @staticmethod
    def forward(ctx, w, *, orientations):
        ctx.orientations = orientations
        copies = [_copy(w, r, orientations) for r in range(orientations)]
        return backend.get_xp(w).stack(copies, axis=-1).reshape(*w.shape[:-1], -1)

    @staticmethod
    def backward(ctx, dy):
        parts = dy.reshape(*dy.shape[:-1], -1, ctx.orientations)
        return sum(_copy(parts[..., r], -r, ctx.orientations) for r in range(ctx.orientations))


def _copy(w, r, orientations):
    """Turn by r and cycle the orientations of the inputs, (..., C·M, O), by r."""
    if w.ndim == 4:
        w = turned(w, r * (8 // orientations))
    *window, inputs, outputs = w.shape
    groups = w.reshape(*window, inputs // orientations, orientations, outputs)
    return groups[..., [(m - r) % orientations for m in range(orientations)], :].reshape(w.shape)


class Circulant(WeightSource):
    """Kernels (K, K, C·M, O·M) of M orientations from a latent kernel (K, K, C·M, O), which is M times smaller.

    Channel c·M + m is feature c in orientation m. Output o·M + r has the latent kernel of o, with its plane turned
    clockwise by r / M of a turn and its inputs' orientations cycled by r. If an input is turned by 1 / M and its
    orientations are cycled, the outputs turn and cycle likewise. The gradient of the latent kernel is the sum of
    the gradients of its copies, turned back. A linear layer has no plane; only its orientations cycle.

    Parameters
    ----------
    orientations : {2, 4, 8}
        M; 8 turns 3×3 kernels by 45°, along their outer ring.

    Raises
    ------
    ValueError
        If a layer takes it whose channels are no multiple of M, or whose kernel cannot be turned.

    Notes
    -----
    M = 4 needs a quarter of the parameters and the same number of operations. The paper also mentions the mean of
    the gradients instead of their sum, and a centre loss; neither is here.

    References
    ----------
    Liu et al., Circulant Binary Convolutional Networks, CVPR 2019. Code: EnzoDuan/Circulant-Binary,
    orn/modules/ORConv.py, whose table has all eight turns by 45°.

    Examples
    --------
    >>> from duonet import nn
    >>> conv = nn.Conv2d(4, 8, 3, rng=np.random.default_rng(0), weight_source=Circulant(4))
    >>> conv.weight_source.kernel.shape, conv.used_weight().shape
    ((3, 3, 4, 2), (3, 3, 4, 8))
    """

    kernel: Parameter

    def __init__(self, orientations: int = 4):
        super().__init__()
        self.orientations = arguments.integer("Circulant", "orientations", orientations)
        if orientations not in (2, 4, 8):
            raise ValueError(f"Circulant: orientations must be 2, 4 or 8, got {orientations}")

    def latent_shapes(self, shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
        """Return the shape of the latent kernel, which has one output for M outputs of the layer."""
        *window, inputs, outputs = shape
        if inputs % self.orientations or outputs % self.orientations:
            raise ValueError(f"Circulant: {inputs} to {outputs} channels are no multiples of {self.orientations}")
        if self.orientations == 8 and max(window, default=1) not in (1, 3):
            raise ValueError(f"Circulant: only kernels of 3×3 turn by 45°, got {window[0]}×{window[1]}")
        return {"kernel": (*window, inputs, outputs // self.orientations)}

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the weight."""
        return (*self.kernel.shape[:-1], self.kernel.shape[-1] * self.orientations)

    def begin(self, weight: Array) -> None:
        """Take every M-th kernel."""
        fill(self.kernel, weight[..., :: self.orientations])

    def by_inputs(self) -> Parameter:
        """Return the latent kernel."""
        return self.kernel

    def stored(self) -> int:
        """Count the numbers of the latent kernel: its signs can be turned as well."""
        return self.kernel.size

    def forward(self) -> Tensor:
        """Return (K, K, C·M, O·M)."""
        return Circulate.apply(self.kernel, orientations=self.orientations)

    def _settings(self):
        return f"{self.orientations}"


class PolynomialSign(Function):
    """y = sign(w) α, α = mean |w| of the layer.   dw = α dy p'(w), p the polynomial of Bi-Real Net."""

    exact = False

    @staticmethod
    def forward(ctx, w):
        scale = mean_abs("polynomial_sign", w, None)
        ctx.slope = Polynomial().derivative(w).astype(w.dtype) * scale
        return sign(w) * scale

    @staticmethod
    def backward(ctx, dy):
        return exact.chain(dy, ctx.slope)


@listed(
    10,
    "cbcn-weights",
    "weights",
    "Liu et al., Circulant Binary Convolutional Networks, CVPR 2019",
    latent=Circulant,
)
class CBCNWeights(Quantizer):
    """Weights with one scale a layer and a polynomial's gradient: y = sign(w) α, α = mean |w|, dw = α dy p'(w).

    p'(w) = 2 − 2|w| inside ±1, else 0; the gradient holds α constant. The method's kernels come from `Circulant`:
    `nn.Conv2d(..., weight_source=Circulant(4), weight_quantizer=CBCNWeights())`; its activations are
    `sign_polynomial()`.

    References
    ----------
    Liu et al., Circulant Binary Convolutional Networks, CVPR 2019. Code: EnzoDuan/Circulant-Binary. It multiplies
    the output by α, and so do layers here if their weights have two values.

    Examples
    --------
    >>> w = Tensor([[0.5, -1.5], [-0.25, 0.75]], requires_grad=True)
    >>> y = CBCNWeights()(w)
    >>> y.sum().backward()
    >>> y.data.tolist(), w.grad.tolist()
    ([[0.75, -0.75], [-0.75, 0.75]], [[0.75, 0.0], [1.125, 0.375]])
    """

    bits = 1
    homogeneous = two_valued = True

    def forward(self, w: Tensor) -> Tensor:
        """Quantise an input of any shape to two values; the shape stays."""
        return PolynomialSign.apply(w)

    def scales(self, shape: tuple[int, ...]) -> int:
        """One."""
        return 1
