"""Weights that are signs of a product of small learned factors, times learned scales."""

import math
from collections.abc import Sequence

import numpy as np

from duonet import arguments, backend
from duonet.backend import Array
from duonet.methods.shelf import listed
from duonet.quant import Clip, Quantizer, Sign, quantize
from duonet.quant.weight import mean_abs
from duonet.sources import WeightSource, fill
from duonet.tensor import Parameter, Tensor


class Factors(WeightSource):
    """A weight of rank r, W = A B with A (..., IN, r) and B (r, OUT): r = ⌈share · OUT⌉ columns serve all filters.

    dA = dW Bᵀ, dB = Aᵀ dW. The factors start at the best approximation of rank r to a drawn weight: A = U √S,
    B = √S V from its singular value decomposition U S V. A share of 1 gives the drawn weight itself.

    Parameters
    ----------
    share : number
        Above 0, at most 1.

    Notes
    -----
    The factors serve training. If their weight is quantised, a stored network needs its signs and scales alone.

    References
    ----------
    Bulat et al., Matrix and Tensor Decompositions for Training Binary Neural Networks, 2019.

    Examples
    --------
    >>> from duonet import nn
    >>> conv = nn.Conv2d(4, 8, 3, rng=np.random.default_rng(0), weight_source=Factors(0.25))
    >>> conv.weight_source.left.shape, conv.weight_source.right.shape, conv.used_weight().shape
    ((3, 3, 4, 2), (2, 8), (3, 3, 4, 8))
    """

    left: Parameter
    right: Parameter

    def __init__(self, share: float = 0.5):
        super().__init__()
        self.share = arguments.number("Factors", "share", share, above=0, at_most=1)

    def latent_shapes(self, shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
        """Return the shapes of A and B."""
        rank = math.ceil(self.share * shape[-1])
        return {"left": (*shape[:-1], rank), "right": (rank, shape[-1])}

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the weight."""
        return self.left.shape[:-1] + self.right.shape[-1:]

    def begin(self, weight: Array) -> None:
        """Start at the best approximation of rank r."""
        flat = weight.reshape(-1, weight.shape[-1]).astype(np.float64)
        rank, (u, s, v) = len(self.right.data), np.linalg.svd(flat, full_matrices=False)
        root, missing = np.sqrt(s[:rank]), max(rank - len(s), 0)  # fewer inputs than columns leave some at 0
        fill(self.left, np.pad(u[:, :rank] * root, ((0, 0), (0, missing))).reshape(self.left.shape))
        fill(self.right, np.pad(root[:, None] * v[:rank], ((0, missing), (0, 0))))

    def by_inputs(self) -> Parameter:
        """Return A."""
        return self.left

    def forward(self) -> Tensor:
        """Return A B."""
        return (self.left.reshape(-1, self.left.shape[-1]) @ self.right).reshape(self.shape)

    def _settings(self):
        return f"{self.share}"


class Tucker(WeightSource):
    """A weight that is a small core times a factor along each axis: W = G ×₁ U₁ ×₂ U₂ ×₃ U₃ ×₄ U₄.

    A linear layer has two factors. U_i is (n_i, r_i) for an axis of length n_i. U_i starts at the first r_i left
    singular vectors of a drawn weight unfolded along the axis, and G at the drawn weight projected on all U_i.
    With all r_i = n_i the product is the drawn weight.

    Parameters
    ----------
    ranks : sequence of int
        r of each axis, (K, K, IN, OUT) or (IN, OUT).

    Raises
    ------
    TypeError, ValueError
        If `ranks` are not 2 or 4 positive ints, or a layer takes it whose weight has another number of axes, or an
        axis shorter than its rank.

    References
    ----------
    Bulat et al., Matrix and Tensor Decompositions for Training Binary Neural Networks, 2019. The paper also shares
    one core among several layers, which is not here.

    Examples
    --------
    >>> from duonet import nn
    >>> conv = nn.Conv2d(4, 8, 3, rng=np.random.default_rng(0), weight_source=Tucker((2, 2, 4, 4)))
    >>> conv.weight_source.core.shape, conv.weight_source.of_inputs.shape, conv.used_weight().shape
    ((2, 2, 4, 4), (4, 4), (3, 3, 4, 8))
    """

    AXES = {2: ("of_inputs", "of_outputs"), 4: ("of_rows", "of_columns", "of_inputs", "of_outputs")}
    core: Parameter
    of_inputs: Parameter

    def __init__(self, ranks: Sequence[int]):
        super().__init__()
        if not isinstance(ranks, (tuple, list)) or len(ranks) not in self.AXES:
            raise TypeError(f"Tucker: ranks must be a tuple of 2 or 4 ints, got {ranks!r:.60}")
        self.ranks = tuple(arguments.integer("Tucker", f"ranks[{i}]", r, at_least=1) for i, r in enumerate(ranks))

    def latent_shapes(self, shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the core and of a factor for each axis."""
        if len(shape) != len(self.ranks) or any(r > n for r, n in zip(self.ranks, shape)):
            raise ValueError(f"Tucker: a weight of shape {shape} has no ranks {self.ranks}")
        return {"core": self.ranks} | dict(zip(self.AXES[len(shape)], zip(shape, self.ranks)))

    def _factors(self):
        return [getattr(self, name) for name in self.AXES[len(self.ranks)]]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the weight."""
        return tuple(factor.shape[0] for factor in self._factors())

    def begin(self, weight: Array) -> None:
        """Project the weight on its first singular vectors along each axis."""
        core = weight = weight.astype(np.float64)
        for axis, (factor, rank) in enumerate(zip(self._factors(), self.ranks)):
            unfolded = np.moveaxis(weight, axis, 0).reshape(weight.shape[axis], -1)
            vectors = np.linalg.svd(unfolded, full_matrices=False)[0][:, :rank]
            vectors = np.pad(vectors, ((0, 0), (0, rank - vectors.shape[1])))  # a plane may have fewer
            fill(factor, vectors)
            core = np.moveaxis(np.tensordot(vectors, core, (0, axis)), 0, axis)
        fill(self.core, core)

    def by_inputs(self) -> Parameter:
        """Return the factor of the inputs."""
        return self.of_inputs

    def forward(self) -> Tensor:
        """Return the product: each step takes the first axis, and puts the new axis behind the others."""
        made: Tensor = self.core
        for factor in self._factors():
            first, *others = made.shape
            made = (made.reshape(first, -1).T @ factor.T).reshape(*others, factor.shape[0])
        return made

    def _settings(self):
        return f"{self.ranks}"


@listed(
    26,
    "factorised-weights",
    "weights",
    "Bulat et al., Matrix and Tensor Decompositions for Training Binary Neural Networks, 2019",
    latent=Factors,
)
class LearnedScaleSign(Quantizer):
    """Weights of one bit with a learned scale a for each filter: y = sign(w) a.

    dw = a dy 1[|w| <= 1], da = Σ dy sign(w). In a layer, a starts at mean |w| of the layer's first weights;
    without a layer, a is the single number 1. With `Factors` or `Tucker` as `weight_source` this is the paper's
    method.

    Parameters
    ----------
    channels : int
        OUT, for a quantiser that no layer has taken yet; 0 for a single scale.

    Notes
    -----
    The authors' later code starts at 1 and multiplies the layer's output by a; the result differs by rounding
    alone.

    References
    ----------
    Bulat et al., Matrix and Tensor Decompositions for Training Binary Neural Networks, 2019;
    1adrianb/binary-networks-pytorch, bnn/ops.py.

    Examples
    --------
    >>> q = LearnedScaleSign()
    >>> q.begin(np.array([[0.5, -1.5], [-1.0, 0.5]]))
    >>> q(Tensor([[0.3, -0.2], [-2.0, 0.1]])).data
    array([[ 0.75, -1.  ],
           [-0.75,  1.  ]], dtype=float32)
    """

    bits = 1
    two_valued = True

    def __init__(self, channels: int = 0):
        super().__init__()
        channels = arguments.integer("LearnedScaleSign", "channels", channels, at_least=0)
        self.scale = Parameter(np.ones((channels,) if channels else (), np.float32))

    @property
    def channels(self) -> int:
        """Number of scales; 0 for a single scale without axes."""
        return self.scale.size if self.scale.ndim else 0

    @staticmethod
    def array_shapes(*, channels: int = 0, **others: object) -> dict[str, tuple[int, ...]]:
        """Shape of the scale."""
        return {"scale": (channels,) if channels else ()}

    def begin(self, weight: Array) -> None:
        """Set each scale to mean |w| of its filter."""
        mean = mean_abs("LearnedScaleSign", weight, tuple(range(weight.ndim - 1)))
        dtype, device = self.scale.dtype, backend.device_of(self.scale.data)
        self.scale.data = backend.to_device(mean.astype(dtype), device)

    def reset_parameters(self, rng: np.random.Generator) -> None:
        """Set every scale to 1, for a quantiser that no layer starts anew; nothing is drawn."""
        fill(self.scale, np.ones(self.scale.shape))

    def forward(self, w: Tensor) -> Tensor:
        """Quantise weights (..., OUT) to two values per channel; the shape stays."""
        if not w.ndim:
            raise ValueError("expected w (..., OUT), got shape ()")
        if self.channels not in (0, w.shape[-1]):
            raise ValueError(f"it has scales for {self.channels} channels, but w has {w.shape[-1]}")
        return quantize(w, Sign(), Clip(-1, 1, closed=True)) * self.scale

    def _settings(self):
        return ""
