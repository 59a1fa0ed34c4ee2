"""HWGQ: levels that suit the positive half of a Gaussian, because batch norm returns about a Gaussian."""

from collections.abc import Sequence

from duonet import arguments, backend
from duonet.backend import Array
from duonet.methods.shelf import listed
from duonet.quant import Clip, ReLU, Staircase, Surrogate
from duonet.quant.activation import QuantActivation

STEPS = {1: 0.797878, 2: 0.538809, 3: 0.321727, 4: 0.184242}  # of least mean square error, by bits
FREE = (0.452779, 1.510427)
ABOVE_ZERO = 2.0**-24  # float16 holds nothing smaller
SLOPES = ("vanilla", "clipped", "log-tailed")


def half_wave(levels: Sequence[float]) -> Staircase:
    """Make the staircase that is 0 for x <= 0, and the nearest given level above 0.

    Parameters
    ----------
    levels : sequence of number
        Positive, rising.

    Returns
    -------
    Staircase
        Its first step is at 2^-24, so that 0 stays 0; the others are half-way between levels.

    Examples
    --------
    >>> import numpy as np
    >>> half_wave([0.5, 1.0])(np.array([-1.0, 0.0, 0.1, 0.75, 9.0]))
    array([0. , 0. , 0.5, 1. , 1. ])
    """
    return Staircase([ABOVE_ZERO, *((a + b) / 2 for a, b in zip(levels, levels[1:]))], [0, *levels])


class LogTail(Surrogate):
    """value x from 0 to the top level, 0 below, then top + ln(x − top + 1); derivative 1, then 1 / (x − top + 1).

    Parameters
    ----------
    top : number
        Positive.

    Raises
    ------
    ValueError
        If it is not positive and finite.

    Examples
    --------
    >>> import numpy as np
    >>> LogTail(2).derivative(np.array([-1.0, 1.5, 2.0, 3.0, 5.0]))
    array([0.  , 1.  , 1.  , 0.5 , 0.25])
    """

    def __init__(self, top: float):
        self.top = arguments.number("LogTail", "top", top, above=0)

    def value(self, x: Array) -> Array:
        xp = self._xp(x)
        return xp.clip(x, 0, self.top) + xp.log(1 + xp.maximum(x - self.top, 0))

    def derivative(self, x: Array) -> Array:
        xp = backend.get_xp(x)
        return (x > 0) / (1 + xp.maximum(x - self.top, 0))


@listed(31, "hwgq", "activations", "Cai et al., Half-Wave Gaussian Quantization, CVPR 2017")
@listed(
    31, "hwgq-log", "activations", "Cai et al., Half-Wave Gaussian Quantization, CVPR 2017", slope="log-tailed"
)
class HWGQ(QuantActivation):
    """Activations on the levels of least error for the positive half of a standard Gaussian; 0 for x <= 0.

    y = q R'(x / q) for x > 0, at most n q, at least q, with n = 2^bits − 1 levels and the step q = 0.798, 0.539,
    0.322, 0.184 for 1 to 4 bits; the first step is at 0, not half-way. The slope is 1[x > 0] ("vanilla"),
    1[0 < x < n q] ("clipped") or 1 up to n q and 1 / (x − n q + 1) above ("log-tailed").

    Parameters
    ----------
    bits : int
        1 to 4.
    slope : {"vanilla", "clipped", "log-tailed"}
        The authors' example networks have "clipped".
    free : bool
        Whether two free levels, 0.453 and 1.510, replace three even levels; for 2 bits alone.

    Raises
    ------
    TypeError, ValueError
        If `bits` or `slope` is none of these, or `free` is asked for with other bits.

    References
    ----------
    Cai et al., HWGQ, CVPR 2017, and quant_layer.cpp of its Caffe code. At a threshold the Caffe code stays on the
    lower level; here every step fires at its threshold. The steps are computed, not copied: the example networks
    have 0.538. The authors' later code (EdMIPS) rounds, with its first step half-way, and keeps the step sizes,
    although other sizes would then be best. We have not compared the log-tailed slope with the paper.

    Examples
    --------
    >>> from duonet import Tensor
    >>> HWGQ(2)(Tensor([-1.0, 0.0, 0.5, 1.0, 3.0])).data.round(3)
    array([0.   , 0.   , 0.539, 1.078, 1.616], dtype=float32)
    """

    def __init__(self, bits: int = 2, slope: str = "clipped", free: bool = False):
        bits = arguments.integer("HWGQ", "bits", bits, at_least=1, at_most=4)
        arguments.one_of("HWGQ", "slope", slope, SLOPES)
        if free and bits != 2:
            raise ValueError(f"HWGQ: free levels are known for 2 bits alone, got {bits}")
        levels = FREE if free else [k * STEPS[bits] for k in range(1, 2**bits)]
        top = levels[-1]
        surrogates = {"vanilla": ReLU(), "clipped": Clip(0, top), "log-tailed": LogTail(top)}
        super().__init__(half_wave(levels), surrogates[slope])
        self.slope, self.free = slope, arguments.instance("HWGQ", "free", free, bool)

    def _settings(self):
        return f"{self.bits} bits, {self.slope}" + (", free" if self.free else "")
