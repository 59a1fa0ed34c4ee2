"""PACT: activations clipped at a level that training learns."""

from typing import Any

from duonet import arguments
from duonet.methods.learned_range import LEAST, LearnedRange, positive
from duonet.methods.shelf import listed
from duonet.quant import Clip, Uniform
from duonet.tensor import Tensor


@listed(12, "pact", "activations", "Choi et al., PACT: Parameterized Clipping Activation, 2018")
class PACT(LearnedRange):
    """Activations of k bits, clipped at a learned α: y = α R(n c/α) / n, c = clip(x, 0, α), n = 2^k − 1.

    R rounds halves up. dx = dy 1[0 < x < α];   dα = Σ dy 1[x >= α].   penalty() = decay · α².

    Parameters
    ----------
    bits : int
        1 to 8.
    start : number
        The first α. α is at least 2^-10 in use. 2 to 3 suits an input from batch norm; published code
        starts at 6 or 8.
    decay : number
        Factor of the penalty that `fit` adds to the loss.

    Raises
    ------
    TypeError, ValueError
        If a number is out of bounds.

    References
    ----------
    Choi et al., PACT, 2018, as in quantizers.py of fms-model-optimizer. In a variant there, inputs below α add
    their rounding error to the gradient of α; here they add 0.

    Examples
    --------
    >>> q = PACT(2, start=6)
    >>> y = q(Tensor([0.9, 1.1, 3.0, 5.1, 7.0]))
    >>> y.data
    array([0., 2., 4., 6., 6.], dtype=float32)
    >>> y.sum().backward()
    >>> round(float(q.alpha.grad), 3)
    1.0
    """

    samplewise = by_channel = rising = True

    def __init__(self, bits: int = 2, start: float = 2.5, decay: float = 1e-4):
        super().__init__()
        self.bits = arguments.integer("PACT", "bits", bits, at_least=1, at_most=8)
        self.start = arguments.number("PACT", "start", start, at_least=LEAST)
        self.decay = arguments.number("PACT", "decay", decay, at_least=0)
        self._learn(alpha=self.start)

    def read(self) -> tuple[Any, ...]:
        """Return the range from 0 to α, and the levels' scale α."""
        alpha = positive(self.alpha)
        return 0.0, alpha, alpha, Uniform(self.bits), Clip(0, 1)

    def penalty(self) -> Tensor:
        """Return decay · α²."""
        return self.alpha * self.alpha * self.decay

    def _settings(self):
        return f"{self.bits} bits"
