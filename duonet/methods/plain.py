"""Methods that need no class of their own: they pair the lesson's staircases, surrogates and weights."""

from duonet import arguments
from duonet.methods.shelf import listed
from duonet.quant import Clip, FilterScaleSign, Polynomial, Sign, SwishSign, Uniform
from duonet.quant.activation import QuantActivation

listed(22, "xnor-weights", "weights", "Rastegari et al., XNOR-Net, ECCV 2016")(FilterScaleSign)


@listed(18, "dorefa-activations", "activations", "Zhou et al., DoReFa-Net, 2016")
@listed(5, "wrpn-activations", "activations", "Mishra et al., WRPN, ICLR 2018")
def uniform(bits: int = 2) -> QuantActivation:
    """Make DoReFa-Net's and WRPN's activations: 2^bits even levels on [0, 1], and no gradient outside.

    WRPN also doubles the width of the layers; the network, not the activation, sets the width.

    Parameters
    ----------
    bits : int
        1 to 8.

    Returns
    -------
    QuantActivation

    Examples
    --------
    >>> uniform(2)
    QuantActivation(Uniform(2), Clip(low=0, high=1, closed=False))
    """
    return QuantActivation(Uniform(bits), Clip(0, 1))


@listed(9, "bnn-activations", "activations", "Hubara et al., Binarized Neural Networks, NeurIPS 2016")
@listed(16, "bethge-activations", "activations", "Bethge et al., Back to Simplicity, 2019", limit=1.3)
def sign_clipped(limit: float = 1) -> QuantActivation:
    """Make sign with the gradient of a clip at ±1, or at ±1.3.

    Parameters
    ----------
    limit : number
        The clip's limit, above 0.

    Returns
    -------
    QuantActivation

    Examples
    --------
    >>> sign_clipped()
    QuantActivation(Sign(), Clip(low=-1, high=1, closed=True))
    """
    limit = arguments.number("sign_clipped", "limit", limit, above=0)
    return QuantActivation(Sign(), Clip(-limit, limit, closed=True))


@listed(13, "bi-real-activations", "activations", "Liu et al., Bi-Real Net, ECCV 2018")
def sign_polynomial() -> QuantActivation:
    """Make sign with the gradient of a polynomial, ApproxSign.

    Returns
    -------
    QuantActivation

    Examples
    --------
    >>> sign_polynomial()
    QuantActivation(Sign(), Polynomial())
    """
    return QuantActivation(Sign(), Polynomial())


@listed(11, "bnn+-activations", "activations", "Darabi et al., BNN+, 2018")
def sign_swish(beta: float = 5) -> QuantActivation:
    """Make sign with the gradient of SwishSign.

    Parameters
    ----------
    beta : number
        Sharpness of SwishSign.

    Returns
    -------
    QuantActivation

    Examples
    --------
    >>> sign_swish()
    QuantActivation(Sign(), SwishSign(beta=5))
    """
    return QuantActivation(Sign(), SwishSign(beta))
