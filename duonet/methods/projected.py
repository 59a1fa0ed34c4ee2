"""PCNN: weights are the levels nearest to projections of a latent kernel; a loss draws the projections to them."""

from collections.abc import Sequence

import numpy as np

from duonet import arguments
from duonet.backend import Array
from duonet.methods.remembered import Remembering
from duonet.methods.shelf import listed
from duonet.quant import Clip, Staircase, quantize
from duonet.quant.weight import sign
from duonet.sources import WeightSource, fill
from duonet.tensor import Parameter, Tensor


class Projections(WeightSource):
    """The weights Ŵ_j C: J learned projections of one latent kernel C, side by side.

    C (..., IN, O) becomes (..., IN, J·O). With J = 1 the projection is one number per filter, which starts at 1.
    With J > 1 it is one number per weight, which starts at ±1, so that each product has the signs of a weight
    drawn for it; positive numbers for whole filters would give the same signs J times.   dC = Σ_j Ŵ_j dW_j,
    dŴ_j = dW_j C, summed over a filter with one number.

    Parameters
    ----------
    count : int
        J, at least 1.

    Raises
    ------
    ValueError
        If a layer takes it whose outputs are no multiple of J.

    References
    ----------
    Gu et al., Projection Convolutional Neural Networks for 1-bit CNNs via Discrete Back Propagation, AAAI 2019.
    Code: Natalie825/Projection-Convolutional-Neural-Networks, whose ImageNet network has J = 1.

    Examples
    --------
    >>> from duonet import nn
    >>> layer = nn.Linear(3, 4, rng=np.random.default_rng(0), weight_source=Projections())
    >>> layer.weight_source.kernel.shape, layer.weight_source.projections.data
    ((3, 4), array([[[1., 1., 1., 1.]]], dtype=float32))
    """

    kernel: Parameter
    projections: Parameter

    def __init__(self, count: int = 1):
        super().__init__()
        self.count = arguments.integer("Projections", "count", count, at_least=1)

    def latent_shapes(self, shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the kernel and its projections."""
        *inputs, outputs = shape
        if outputs % self.count:
            raise ValueError(f"Projections: {outputs} outputs are no multiple of {self.count}")
        kernel = (*inputs, outputs // self.count)
        of_filters = (*(1 for _ in inputs), outputs)
        return {"kernel": kernel, "projections": (self.count, *(kernel if self.count > 1 else of_filters))}

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the weight."""
        return (*self.kernel.shape[:-1], self.kernel.shape[-1] * self.count)

    def begin(self, weight: Array) -> None:
        """Take the first filters for the kernel, and the signs of the others for the projections."""
        parts = np.stack(np.split(weight, self.count, axis=-1))
        fill(self.kernel, parts[0])
        fill(self.projections, sign(parts) * sign(parts[0]) if self.count > 1 else np.ones(self.projections.shape))

    def by_inputs(self) -> Parameter | None:
        """Return the kernel of a single projection; several projections have a row for each input themselves."""
        return self.kernel if self.count == 1 else None

    def forward(self) -> Tensor:
        """Return (..., IN, J·O)."""
        products = self.kernel * self.projections
        behind = (*range(1, products.ndim - 1), 0, products.ndim - 1)
        return products.transpose(behind).reshape(self.shape)

    def _settings(self):
        return f"{self.count}"


def projection_loss(w: Tensor, target: Array) -> Tensor:
    """Return half the squared distance of weights from their projections: ½ Σ (w − target)², dw = w − target.

    Parameters
    ----------
    w : Tensor
    target : array
        Constant: it gets no gradient.

    Returns
    -------
    Tensor
        Without axes.

    Examples
    --------
    >>> float(projection_loss(Tensor([0.5, -2.0]), np.float32([1, -1])).data)
    0.625
    """
    away = w - Tensor(target)
    return (away * away).sum() * 0.5


@listed(
    24,
    "pcnn-weights",
    "weights",
    "Gu et al., Projection Convolutional Neural Networks, AAAI 2019",
    latent=Projections,
)
class PCNNWeights(Remembering):
    """Weights at the nearest of a few levels, with a penalty on their distance from it: λ/2 Σ (w − q(w))².

    y = q(w), the upper level at a tie, and dw = dy 1[|w| <= 1]. `fit` adds the penalty of the weights in the
    training step. With `Projections` the weights are products, so the penalty moves kernel and projections
    together: dC = λ Σ_j Ŵ_j (Ŵ_j C − q) and dŴ_j = λ (Ŵ_j C − q) C.

    Parameters
    ----------
    strength : number
        λ, which may be assigned in training.
    levels : sequence of number
        At least two rising numbers.

    Raises
    ------
    TypeError, ValueError
        If `strength` is below 0, or `levels` do not rise.

    Notes
    -----
    The paper's loss moves C by η times the loss's gradient before the projection. Here η = 0, because the gradient
    comes only after the loss.

    References
    ----------
    Gu et al., Projection Convolutional Neural Networks for 1-bit CNNs via Discrete Back Propagation, AAAI 2019.

    Examples
    --------
    >>> q = PCNNWeights(0.1)
    >>> q(Tensor([[0.5], [-2.0]], requires_grad=True)).data.ravel()
    array([ 1., -1.], dtype=float32)
    >>> round(float(q.penalty().data), 4)
    0.0625
    """

    def __init__(self, strength: float = 1e-4, levels: Sequence[float] = (-1.0, 1.0)):
        super().__init__()
        self.strength = arguments.number("PCNNWeights", "strength", strength, at_least=0)
        if not isinstance(levels, (tuple, list)):
            raise TypeError(f"PCNNWeights: levels must be a tuple of numbers, got {levels!r:.60}")
        self.levels = tuple(arguments.number("PCNNWeights", f"levels[{i}]", v) for i, v in enumerate(levels))
        if len(levels) < 2 or not (np.diff(self.levels) > 0).all():
            raise ValueError(f"PCNNWeights: levels must be at least two that rise, got {self.levels}")

    @property
    def bits(self) -> int:  # type: ignore[override]
        """Bits needed to tell the levels apart."""
        return (len(self.levels) - 1).bit_length()

    @property
    def two_valued(self) -> bool:  # type: ignore[override]
        """True with the levels ±α."""
        return len(self.levels) == 2 and self.levels[0] == -self.levels[1]

    def forward(self, w: Tensor) -> Tensor:
        """Quantise an input of any shape; the shape stays."""
        self._remember(w)
        return quantize(w, self._nearest(), Clip(-1, 1, closed=True))

    def penalty(self) -> Tensor | None:
        """Return λ/2 Σ (w − q(w))² of the last weights in training; None before them and in evaluation."""
        w = self._remembered()
        if w is None:
            return None
        return projection_loss(w, self._nearest()(w.data)) * self.strength

    def _nearest(self):
        return Staircase([(a + b) / 2 for a, b in zip(self.levels, self.levels[1:])], self.levels)

    def _settings(self):
        return f"{self.strength}" + ("" if self.levels == (-1, 1) else f", {self.levels}")
