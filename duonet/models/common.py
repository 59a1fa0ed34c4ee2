"""What the models share: variants, and the quantised activations they stand for."""

from duonet import nn
from duonet.quant import Binary, Clip, Ternary, layer_scale_sign

VARIANTS = ("float", "baseline", "ternary", "coupled")


def activation(variant):
    """Return a fresh activation layer: ReLU for "float", binary for "baseline", ternary for the other two.

    Parameters
    ----------
    variant : str

    Returns
    -------
    Module

    Raises
    ------
    ValueError
        If `variant` is unknown.

    Examples
    --------
    >>> activation("coupled")
    QuantActivation(Ternary(), Clip(low=0, high=1, closed=False))
    """
    if variant not in VARIANTS:
        raise ValueError(f"variant must be one of {', '.join(VARIANTS)}, got {variant!r}")
    if variant == "float":
        return nn.ReLU()
    return nn.QuantActivation(Binary() if variant == "baseline" else Ternary(), Clip(0, 1))


def weight_quantizer(weights):
    """Return None for "float" weights and `layer_scale_sign` for "binary" ones.

    Parameters
    ----------
    weights : {"float", "binary"}

    Returns
    -------
    callable or None

    Raises
    ------
    ValueError
        If `weights` is neither.

    Examples
    --------
    >>> weight_quantizer("binary").__name__
    'layer_scale_sign'
    """
    if weights not in ("float", "binary"):
        raise ValueError(f"weights must be 'float' or 'binary', got {weights!r}")
    return layer_scale_sign if weights == "binary" else None
