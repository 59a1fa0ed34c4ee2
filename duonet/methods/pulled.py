"""Weights of one bit that a penalty pulls towards their two values: BNN+."""

from duonet import arguments, backend, exact
from duonet.methods.remembered import Remembering
from duonet.methods.shelf import listed
from duonet.quant.weight import SignByFilter, mean_abs, sign
from duonet.tensor import Function, Tensor


class Pull(Function):
    """R = Σ |α − |w||^p.   dw = −sign(w) r, dα = Σ r, with r = sign(α − |w|) or 2(α − |w|)."""

    @staticmethod
    def forward(ctx, w, alpha, *, power):
        xp = backend.get_xp(w)
        away = alpha - abs(w)
        ctx.signs, ctx.rise = sign(w), xp.sign(away) if power == 1 else 2 * away
        return exact.total(abs(away) if power == 1 else away * away)

    @staticmethod
    def backward(ctx, dy):
        rise = dy * ctx.rise
        return -ctx.signs * rise, rise


def pull(w: Tensor, alpha: Tensor, power: int = 2) -> Tensor:
    """Sum the weights' distances from ±α: R = Σ |α − |w||^p.

    dw = −sign(w) r, dα = Σ r, with r = sign(α − |w|) for p = 1 and 2(α − |w|) for p = 2. At w = 0, where the
    gradient jumps, sign(w) is +1.

    Parameters
    ----------
    w : Tensor
        (..., OUT)
    alpha : Tensor
        (OUT,), or without axes.
    power : {1, 2}
        p: R₁ or R₂ of BNN+.

    Returns
    -------
    Tensor
        Without axes.

    Examples
    --------
    >>> pull(Tensor([-1.2, -0.4, 0.1, 0.5, 0.9]), Tensor(0.5), power=1).data.round(4)
    np.float32(1.6)
    """
    return Pull.apply(w, alpha, power=arguments.integer("pull", "power", power, at_least=1, at_most=2))


@listed(11, "bnn+-weights", "weights", "Darabi et al., BNN+, 2018")
class BNNPlusWeights(Remembering):
    """Weights with a scale per filter, and a penalty that pulls latent weights to ±α: λ Σ |α − |w||^p, p = 1 or 2.

    The weights in use and their gradient are those of `quant.FilterScaleSign`, y = sign(w) · mean |w|. Every use
    computes the best α of each filter: the mean of |w| for p = 2, the median for p = 1. So the derivative by α is
    0. `fit` adds the penalty of the weights in the training step.

    Parameters
    ----------
    strength : number
        λ, which may be assigned in training.
    power : {1, 2}
        p: R₁ or R₂.

    References
    ----------
    Darabi et al., BNN+: Improved Binary Network Training, arXiv 1812.11800. Code: a Keras port has both penalties.

    Examples
    --------
    >>> q = BNNPlusWeights(0.1, power=1)
    >>> q(Tensor([[-1.2], [-0.4], [0.1], [0.5], [0.9]], requires_grad=True)).data.ravel().round(3)
    array([-0.62, -0.62,  0.62,  0.62,  0.62], dtype=float32)
    >>> round(float(q.penalty().data), 4)
    0.16
    """

    bits = 1
    homogeneous = two_valued = True

    def __init__(self, strength: float = 1e-6, power: int = 2):
        super().__init__()
        self.strength = arguments.number("BNNPlusWeights", "strength", strength, at_least=0)
        self.power = arguments.integer("BNNPlusWeights", "power", power, at_least=1, at_most=2)

    def forward(self, w: Tensor) -> Tensor:
        """Quantise weights (..., OUT) to two values per channel; the shape stays."""
        if not w.ndim:
            raise ValueError("expected w (..., OUT), got shape ()")
        self._remember(w)
        return SignByFilter.apply(w)

    def penalty(self) -> Tensor | None:
        """Return λ R of the last weights in training; None before them and in evaluation."""
        w = self._remembered()
        if w is None:
            return None
        size = abs(w.data).reshape(-1, w.shape[-1])
        middle = backend.get_xp(size).sort(size, axis=0)[[(len(size) - 1) // 2, len(size) // 2]]
        alpha = mean_abs("penalty", size if self.power == 2 else middle, (0,))
        return pull(w, Tensor(alpha), self.power) * self.strength

    def scales(self, shape: tuple[int, ...]) -> int:
        """One for each output channel."""
        return shape[-1]

    def _settings(self):
        return f"{self.strength}" + ("" if self.power == 2 else ", power=1")
