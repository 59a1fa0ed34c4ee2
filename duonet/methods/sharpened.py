"""Sign with a surrogate that sharpens while the network trains: BNN+."""

from duonet import arguments
from duonet.methods.shelf import listed
from duonet.quant import Sign, SwishSign
from duonet.quant.activation import QuantActivation
from duonet.schedule import Ramp, Schedule, schedule_or_none, time_of


class SharpenedSign(QuantActivation):
    """Sign with the gradient of a SwishSign whose sharpness β follows a schedule: y = sign(x), dx = dy s'(x; β).

    The larger β is, the closer the surrogate comes to the step, and the narrower
    the window of the gradient becomes.

    Parameters
    ----------
    beta : number
        β at the start, above 0; kept up to date, so that a checkpoint holds the present β.
    schedule : Schedule, optional
        From time in epochs to β; constant by default.

    References
    ----------
    Darabi et al., BNN+: Improved Binary Network Training, arXiv 1812.11800. We do not know how β rose there.

    Examples
    --------
    >>> act = SharpenedSign(5, Ramp(5, 10, 20))
    >>> act.before_step(10)
    {'beta': 7.5}
    >>> act
    SharpenedSign(Sign(), SwishSign(beta=7.5))
    """

    def __init__(self, beta: float = 5, schedule: Schedule | None = None):
        super().__init__(Sign(), SwishSign(beta))
        self.beta = beta
        self.schedule = schedule_or_none("SharpenedSign", schedule)

    def before_step(self, epochs: float) -> dict[str, float] | None:
        """Set β."""
        if self.schedule is None:
            return None
        epochs = time_of("SharpenedSign", epochs)
        self.beta = arguments.number("SharpenedSign", "beta", self.schedule(epochs), above=0)
        self.surrogate = SwishSign(self.beta)
        return {"beta": self.beta}


@listed(11, "bnn+-sharpened", "activations", "Darabi et al., BNN+, 2018")
def sharpened_sign(epochs: float = 30) -> SharpenedSign:
    """Make sign with the gradient of SwishSign, which sharpens from β = 2 to 10 during a training.

    Parameters
    ----------
    epochs : number
        Epochs of the whole training. We chose 2 and 10.

    Returns
    -------
    SharpenedSign

    Examples
    --------
    >>> sharpened_sign().before_step(30)
    {'beta': 10.0}
    """
    return SharpenedSign(2.0, Ramp(2, 10, arguments.number("sharpened_sign", "epochs", epochs, above=0)))
