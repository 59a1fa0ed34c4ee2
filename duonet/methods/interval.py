"""QIL: a learned interval is quantised; values below the interval are pruned, values above it clipped."""

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
    """Base of quantisers that learn an interval; their bits may follow time.

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
        """Set the bits; the learned numbers stay."""
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
    outside. The output is in [0, 1]; the next batch norm sets its scale.

    Parameters
    ----------
    bits : int
        1 to 8.
    center, width : number
        The first c and d; the interval is c ± d. In use, d is at least 2^-10, and so must `width` be.
    schedule : Schedule, optional
        From time in epochs to bits, as in the paper's progressive training; `bits` then follows the time.

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

    R rounds halves up; the gradient takes its derivative for 1. With s = sign(w), inside the interval
    dw = dy γ v^(γ−1) / 2d;   dc = −Σ dy s γ v^(γ−1) / 2d;   dd = Σ dy s γ v^(γ−1) (c − |w|) / 2d²;
    dγ = Σ dy s v^γ ln v; all 0 outside. The output is in [−1, 1]; the next batch norm sets its scale.

    Parameters
    ----------
    bits : int
        2 to 8: with 1 all weights would be 0.
    center, width : number, optional
        The first c and d; the interval of |w| is c ± d. In use, d is at least 2^-10, and so must `width` be. By
        default both start at half of max |w| of a layer's first weights, and at ½ without a layer.
    power : number
        The first γ. In use, γ is at least 2^-10, and so must `power` be.
    schedule : Schedule, optional
        As in `QIL`.

    Raises
    ------
    TypeError, ValueError
        If a number is out of bounds.

    References
    ----------
    Jung et al., QIL, CVPR 2019. A port gave the start of c and d.

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
        """Start c and d at half of max |w|, each unless its number was given."""
        half = max(float(abs(weight).max()) / 2, LEAST)
        for learned, start in ((self.c, self.center), (self.d, self.width)):
            if start is None:
                fill(learned, np.asarray(half))

    def forward(self, w: Tensor) -> Tensor:
        """Quantise weights of any shape to levels from −1 to 1; the shape stays."""
        arguments.array("QILWeights", "w", w.data)
        d, gamma = positive(self.d), positive(self.gamma)
        xp = backend.get_xp(w.data)
        sign = Tensor(xp.where(w.data >= 0, 1, -1).astype(w.dtype))
        least = float(np.finfo(w.dtype).tiny)  # whose logarithm is finite
        v = F.clip((w * sign - self.c + d) / (d * 2), least, 1)
        return sign * quantize(F.exp(gamma * F.log(v)), Uniform(self.bits - 1), Identity())


@listed(25, "qil-progressive", "activations", SOURCE)
def qil_progressive(epochs: float = 30) -> QIL:
    """Make QIL's activations of 5, 4, 3 and 2 bits, each for a quarter of a training.

    The paper begins with a trained float network, and so does `Later(qil_progressive(...), start,
    before=nn.ReLU())`. We do not know how long the paper holds each number of bits. Score the last epoch: the
    others have more bits.

    Parameters
    ----------
    epochs : number
        Epochs of the whole training.

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
