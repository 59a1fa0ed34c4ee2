"""The paper's subject in one op: a staircase forwards, a surrogate backwards."""

from types import SimpleNamespace

from duonet import arguments, exact
from duonet.functional.normalization import BatchNorm
from duonet.quant.quantizer import Quantizer
from duonet.quant.staircase import Staircase
from duonet.quant.surrogate import Surrogate
from duonet.tensor import Function, Tensor


class Quantize(Function):
    """y = staircase(x).   dx = dy surrogate'(x), which is not the derivative of y: that is zero."""

    exact = False

    @staticmethod
    def forward(ctx, x, *, staircase, surrogate):
        if ctx.needs[0]:
            ctx.slope = surrogate.derivative(x)
        return staircase(x)

    @staticmethod
    def smooth(ctx, x, *, staircase, surrogate):
        if ctx.needs[0]:
            ctx.slope = surrogate.derivative(x)
        return surrogate.value(x)

    @staticmethod
    def backward(ctx, dy):
        return exact.chain(dy, ctx.slope)


class BatchNormQuantize(Function):
    """y = staircase(batch_norm(x)): both ops in one, so that a twin need not store batch_norm(x)."""

    exact = False

    @staticmethod
    def forward(ctx, x, gamma, beta, *, staircase, surrogate, **options):
        ctx.norm, ctx.steps = SimpleNamespace(needs=ctx.needs), SimpleNamespace(needs=(any(ctx.needs),))
        normal = BatchNorm.forward(ctx.norm, x, gamma, beta, **options)
        return Quantize.forward(ctx.steps, normal, staircase=staircase, surrogate=surrogate)

    @staticmethod
    def backward(ctx, dy):
        return BatchNorm.backward(ctx.norm, Quantize.backward(ctx.steps, dy))


def quantize(x: Tensor, staircase: Staircase, surrogate: Surrogate) -> Tensor:
    """Apply a staircase forwards and the derivative of a surrogate backwards.

    y = staircase(x), dx = dy · surrogate'(x). The staircase's own derivative is zero almost everywhere. Its
    replacement is called the coarse gradient, and the error of the coarse gradient the gradient mismatch.

    Parameters
    ----------
    x : Tensor
        Any shape; the channels are the last axis.
    staircase : Staircase
    surrogate : Surrogate

    Returns
    -------
    Tensor
        Of x's shape and dtype.

    References
    ----------
    Kim et al., BinaryDuo, ICLR 2020: `quantize(x, Ternary(), Clip(0, 1))`, and `Binary()` for `Ternary()`.

    Examples
    --------
    >>> from duonet import Tensor
    >>> from duonet.quant import Clip, Ternary
    >>> x = Tensor([-0.1, 0.3, 0.8, 1.2], requires_grad=True)
    >>> y = quantize(x, Ternary(), Clip(0, 1))
    >>> y.data
    array([0. , 0.5, 1. , 1. ], dtype=float32)
    >>> y.sum().backward()
    >>> x.grad
    array([0., 1., 1., 0.], dtype=float32)
    """
    return Quantize.apply(x, staircase=staircase, surrogate=surrogate)


class QuantActivation(Quantizer):
    """A staircase forwards, a surrogate backwards; see `duonet.quant.quantize`.

    Parameters
    ----------
    staircase : Staircase
    surrogate : Surrogate

    Examples
    --------
    >>> from duonet import Tensor
    >>> from duonet.quant import Clip, Ternary
    >>> QuantActivation(Ternary(), Clip(0, 1))(Tensor([0.1, 0.4, 0.9])).data
    array([0. , 0.5, 1. ], dtype=float32)
    """

    samplewise = by_channel = rising = True

    def __init__(self, staircase: Staircase, surrogate: Surrogate):
        super().__init__()
        self.staircase = arguments.instance("QuantActivation", "staircase", staircase, Staircase)
        self.surrogate = arguments.instance("QuantActivation", "surrogate", surrogate, Surrogate)

    @property
    def bits(self) -> int:  # type: ignore[override]
        """The staircase's bits."""
        return self.staircase.bits

    def fixed(self) -> "QuantActivation":
        """Return this activation, which learns nothing."""
        return self

    def forward(self, x: Tensor) -> Tensor:
        """Map x of any shape to y of the same shape."""
        return quantize(x, self.staircase, self.surrogate)

    def _settings(self):
        return f"{self.staircase}, {self.surrogate}"
