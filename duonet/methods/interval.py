"""QIL: the interval that is quantised is learned; below it values are pruned, above it clipped."""

from typing import Any

import numpy as np

from duonet import arguments, backend
from duonet import functional as F
from duonet.backend import Array
from duonet.methods.learned_range import LEAST, LearnedRange, positive
from duonet.methods.shelf import listed
from duonet.quant import Clip, Identity, Uniform, quantize
from duonet.schedule import Schedule, Stages, schedule_or_none, time_of
from duonet.sources import fill
from duonet.tensor import Tensor

SOURCE = "Jung et al., Learning to Quantize Deep Networks by Optimizing Quantization Intervals, CVPR 2019"


class Interval(LearnedRange):
    """Base of what learns an interval: its bits may follow time.

    Examples
    --------
    >>> isinstance(QIL(), Interval)
    True
    """

    least = 1  # bits

    def _set_bits(self, bits, schedule):
        self.schedule = schedule_or_none(type(self).__name__, schedule)
        self.bits = arguments.integer(type(self).__name__, "bits", bits, at_least=self.least, at_most=8)

    def before_step(self, epochs: float) -> dict[str, float] | None:
        """Set the bits; what has been learned goes on from where it was."""
        if self.schedule is None:
            return None
        self._set_bits(self.schedule(time_of(type(self).__name__, epochs)), self.schedule)
        return {"bits": self.bits}

    def _settings(self):
        return f"{self.bits} bits"


@listed(25, "qil-activations", "activations", SOURCE)
class QIL(Interval):
    """Activations of k bits on a learned interval: y = R(n v) / n, v = clip((x − c + d) / 2d, 0, 1), n = 2^k − 1.

    R rounds halves up. Inside the interval dx = dy / 2d;   dc = −Σ dy / 2d;   dd = Σ dy (c − x) / 2d²; all 0
    outside. The output is in [0, 1]; the next batch norm takes its scale.

    Parameters
    ----------
    bits : int
        1 to 8.
    center, width : number
        Where c and d start: the interval is c ± d. Width at least 2^-10, at which d is held in use.
    schedule : Schedule, optional
        From time in epochs to bits, as in the paper's progressive training; `bits` are then those at the moment.

    Raises
    ------
    TypeError, ValueError
        If a number is out of bounds.

    References
    ----------
    Jung et al., QIL, CVPR 2019, as in three ports that agree: activations have the exponent γ = 1.

    Examples
    --------
    >>> q = QIL(2, center=0.4, width=0.3)
    >>> q(Tensor([-0.5, 0.1, 0.25, 0.55, 2.0])).data.round(3)
    array([0.   , 0.   , 0.333, 0.667, 1.   ], dtype=float32)
    """

    samplewise = by_channel = rising = True

    def __init__(self, bits: int = 2, center: float = 0.5, width: float = 0.5, schedule: Schedule | None = None):
        super().__init__()
        self._set_bits(bits, schedule)
        self.center = arguments.number("QIL", "center", center)
        self.width = arguments.number("QIL", "width", width, at_least=LEAST)
        self._learn(c=self.center, d=self.width)

    def read(self) -> tuple[Any, ...]:
        """From c − d to c + d, on the levels from 0 to 1."""
        d = positive(self.d)
        return self.c - d, self.c + d, 1.0, Uniform(self.bits), Clip(0, 1)


@listed(25, "qil-weights", "weights", SOURCE)
class QILWeights(Interval):
    """Weights of k bits: y = sign(w) R(q v^γ) / q, v = clip((|w| − c + d) / 2d, 0, 1), q = 2^(k−1) − 1.

    R rounds halves up, its derivative is taken for 1. With s = sign(w), inside the interval
    dw = dy γ v^(γ−1) / 2d;   dc = −Σ dy s γ v^(γ−1) / 2d;   dd = Σ dy s γ v^(γ−1) (c − |w|) / 2d²;
    dγ = Σ dy s v^γ ln v; all 0 outside. The output is in [−1, 1]; the next batch norm takes its scale.

    Parameters
    ----------
    bits : int
        2 to 8: with 1 all weights would be 0.
    center, width : number, optional
        Where c and d start: the interval of |w| is c ± d. Width at least 2^-10, at which d is held in use. By
        default both start at half of max |w| of a layer's first weights, and at ½ without a layer.
    power : number
        Where γ starts, at least 2^-10, at which it is held in use.
    schedule : Schedule, optional
        As of `QIL`.

    Raises
    ------
    TypeError, ValueError
        If a number is out of bounds.

    References
    ----------
    Jung et al., QIL, CVPR 2019. The start of c and d is that of a port.

    Examples
    --------
    >>> q = QILWeights(2, center=0.4, width=0.3)
    >>> q(Tensor([-0.9, -0.3, 0.0, 0.35, 0.5])).data
    array([-1., -0.,  0.,  0.,  1.], dtype=float32)
    """

    least = 2

    def __init__(
        self,
        bits: int = 2,
        center: float | None = None,
        width: float | None = None,
        power: float = 1.0,
        schedule: Schedule | None = None,
    ):
        super().__init__()
        self._set_bits(bits, schedule)
        self.center = None if center is None else arguments.number("QILWeights", "center", center)
        self.width = None if width is None else arguments.number("QILWeights", "width", width, at_least=LEAST)
        self.power = arguments.number("QILWeights", "power", power, at_least=LEAST)
        starts = [0.5 if start is None else start for start in (self.center, self.width)]
        self._learn(c=starts[0], d=starts[1], gamma=self.power)

    def begin(self, weight: Array) -> None:
        """Start the interval at 0 to max |w|, where no number says otherwise."""
        half = max(float(abs(weight).max()) / 2, LEAST)
        for learned, start in ((self.c, self.center), (self.d, self.width)):
            if start is None:
                fill(learned, np.asarray(half))

    def forward(self, w: Tensor) -> Tensor:
        """Any shape, same shape out, from −1 to 1."""
        arguments.array("QILWeights", "w", w.data)
        d, gamma = positive(self.d), positive(self.gamma)
        xp = backend.get_xp(w.data)
        sign = Tensor(xp.where(w.data >= 0, 1, -1).astype(w.dtype))
        least = float(np.finfo(w.dtype).tiny)  # whose logarithm is finite
        v = F.clip((w * sign - self.c + d) / (d * 2), least, 1)
        return sign * quantize(F.exp(gamma * F.log(v)), Uniform(self.bits - 1), Identity())


@listed(25, "qil-progressive", "activations", SOURCE)
def qil_progressive(epochs: float = 30) -> QIL:
    """Make QIL's activations of 5, 4, 3 and 2 bits, for a quarter of a training each.

    The paper begins with a trained float network: `Later(qil_progressive(...), start, before=nn.ReLU())` does. How
    long it holds each number of bits is not known to us. Score the last epoch: the others have more bits.

    Parameters
    ----------
    epochs : number
        Of the training.

    Returns
    -------
    QIL

    Examples
    --------
    >>> [qil_progressive(40).before_step(epochs) for epochs in (0, 10, 39)]
    [{'bits': 5}, {'bits': 4}, {'bits': 2}]
    """
    epochs = arguments.number("qil_progressive", "epochs", epochs, above=0)
    return QIL(5, schedule=Stages((5, 4, 3, 2), [k * epochs / 4 for k in (1, 2, 3)]))
