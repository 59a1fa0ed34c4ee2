"""The distribution loss: a penalty on pre-activations that a binary activation would waste."""

from duonet import arguments, backend, exact
from duonet.methods.remembered import Remembering
from duonet.methods.shelf import listed
from duonet.tensor import Function, Tensor

LEAST = 1e-10  # of a variance


class Waste(Function):
    """L = mean_c [(2 − s − |μ|)₊² + (s − 4)₊² + (μ² − s²)₊], with mean μ and deviation s of each channel.

    dμ = [−2 (2 − s − |μ|)₊ sign(μ) + 2μ 1[|μ| > s]]/C;   dz = dμ/N + ds (z − μ)/(N s);
    ds = [−2 (2 − s − |μ|)₊ + 2 (s − 4)₊ − 2s 1[|μ| > s]]/C.
    """

    @staticmethod
    def forward(ctx, x, *, low, high):
        xp, axes = backend.get_xp(x), tuple(range(x.ndim - 1))
        z = (2 * exact.wide(x) - (low + high)) / (high - low)
        mean = z.mean(axis=axes)
        z -= mean
        spread = xp.sqrt((z * z).mean(axis=axes) + LEAST)
        inside, outside = (xp.maximum(part, 0) for part in (2 - spread - abs(mean), spread - 4))
        apart = mean**2 - spread**2
        ctx.by_mean = -2 * inside * xp.sign(mean) + 2 * mean * (apart > 0)
        ctx.by_spread = -2 * inside + 2 * outside - 2 * spread * (apart > 0)
        ctx.normal, ctx.steep, ctx.dtype = z / spread, 2 / (high - low), x.dtype
        return (inside**2 + outside**2 + xp.maximum(apart, 0)).mean().astype(x.dtype)

    @staticmethod
    def backward(ctx, dy):
        dz = (ctx.by_mean + ctx.by_spread * ctx.normal) / ctx.normal.size
        return (dy * ctx.steep * dz).astype(ctx.dtype)


def distribution_loss(x: Tensor, low: float = 0, high: float = 1) -> Tensor:
    """Measure how badly pre-activations use a step's window, by each channel's mean μ and standard deviation s.

    L = mean_c [(2 − s − |μ|)₊² + (s − 4)₊² + (μ² − s²)₊], of z = (2x − low − high)/(high − low). The first term
    is positive if nearly all values of a channel lie inside the window, where step and surrogate differ most; the
    second if most values lie outside and get no gradient; the third if the channel hardly ever changes sides.

    With N values a channel, s² = mean (z − μ)² + 1e-10 and dz = dμ/N + ds (z − μ)/(N s), where
    dμ = [−2 (2 − s − |μ|)₊ sign(μ) + 2μ 1[|μ| > s]]/C and ds = [−2 (2 − s − |μ|)₊ + 2 (s − 4)₊ − 2s 1[|μ| > s]]/C.

    Parameters
    ----------
    x : Tensor
        (..., C); the statistics are over all axes but the last.
    low, high : number
        The surrogate's window; the step is in its middle.

    Returns
    -------
    Tensor
        Without axes; exactly 0 if |μ| + s >= 2, s <= 4 and |μ| <= s in every channel.

    Raises
    ------
    ValueError
        If `low` is not below `high`, or `x` is empty.

    Examples
    --------
    >>> x = Tensor([[0.5, 3.0, -6.0], [-0.5, 3.5, 6.0]])
    >>> distribution_loss(x, -1, 1).data.round(4)
    np.float32(5.5833)
    """
    low = arguments.number("distribution_loss", "low", low)
    high = arguments.number("distribution_loss", "high", high, above=low)
    if not x.ndim or not x.size:
        raise ValueError(f"distribution_loss: expected x (..., C) with values in it, got {x.shape}")
    return Waste.apply(x, low=low, high=high)


@listed(32, "distribution-loss", "penalties", "Ding et al., Regularizing Activation Distribution, 2019")
class DistributionLoss(Remembering):
    """A layer that is the identity; its penalty spreads the input of the binary activation behind it.

    penalty() = strength · `distribution_loss` of the last input in training. The loss grows if the values of a
    channel crowd inside the surrogate's window, far outside it, or on one side of the step. The layer stands
    behind batch norm. The published loss averages over L layers: each has strength 2/L, and 0 after 60 of 67
    epochs.

    Parameters
    ----------
    strength : number
        λ, which may be assigned in training; 0 for none.
    low, high : number
        The surrogate's window, with the step in its middle: 0 and 1 for `Binary()`, −1 and 1 for a sign.

    References
    ----------
    Ding, Chin, Liu & Marculescu, Regularizing Activation Distribution for Training Binarized Deep Networks, CVPR
    2019. Code: ruizhoud/DistributionLoss, models/distrloss_layer.py.

    Examples
    --------
    >>> layer = DistributionLoss(2, -1, 1)
    >>> x = Tensor([[0.5], [-0.5]], requires_grad=True)
    >>> layer(x).data.ravel().tolist(), float(layer.penalty().data)
    ([0.5, -0.5], 4.5)
    """

    samplewise = by_channel = rising = keeps_levels = copywise = translates = True

    def __init__(self, strength: float = 2.0, low: float = 0, high: float = 1):
        super().__init__()
        self.strength = arguments.number("DistributionLoss", "strength", strength, at_least=0)
        self.low = arguments.number("DistributionLoss", "low", low)
        self.high = arguments.number("DistributionLoss", "high", high, above=self.low)

    def forward(self, x: Tensor) -> Tensor:
        """Return the input (..., C) as it is, and remember it for `penalty` in training."""
        self._remember(x)
        return x

    def penalty(self) -> Tensor | None:
        """Return strength times the last training input's loss; None before, in evaluation and at strength 0."""
        x = self._remembered()
        if x is None or not self.strength:
            return None
        return distribution_loss(x, self.low, self.high) * self.strength

    def _settings(self):
        return f"{self.strength}" + ("" if (self.low, self.high) == (0, 1) else f", {self.low}, {self.high}")
