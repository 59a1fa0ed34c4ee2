"""What the models share: variants, and the quantised activations they stand for."""

from duonet import nn
from duonet.quant import Binary, Clip, Ternary, layer_scale_sign

VARIANTS = ("float", "baseline", "ternary", "coupled")
WEIGHTS = ("float", "binary")


def check(model, variant, weights):
    """Refuse unknown variants and kinds of weights.

    Parameters
    ----------
    model, variant, weights : str

    Raises
    ------
    ValueError
        Naming the model, what was expected and what came.

    Examples
    --------
    >>> check("mlp", "coupled", "binary")
    """
    if variant not in VARIANTS:
        raise ValueError(f"{model}: variant must be one of {', '.join(VARIANTS)}, got {variant!r}")
    if weights not in WEIGHTS:
        raise ValueError(f"{model}: weights must be one of {', '.join(WEIGHTS)}, got {weights!r}")


def check_widths(model, widths, n):
    """Refuse widths that are not `n` positive numbers.

    Parameters
    ----------
    model : str
    widths : sequence of int
    n : int

    Raises
    ------
    ValueError
        Naming the model, what was expected and what came.

    Examples
    --------
    >>> check_widths("alexnet", (8, 8), 2)
    """
    if len(widths) != n or min(widths) < 1:
        raise ValueError(f"{model}: widths must be {n} positive ints, got {tuple(widths)}")


def activation(variant):
    """Return a fresh activation layer: ReLU for "float", binary for "baseline", ternary for the other two.

    Parameters
    ----------
    variant : str

    Returns
    -------
    Module

    Examples
    --------
    >>> activation("coupled")
    QuantActivation(Ternary(), Clip(low=0, high=1, closed=False))
    """
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

    Examples
    --------
    >>> weight_quantizer("binary").__name__
    'layer_scale_sign'
    """
    return layer_scale_sign if weights == "binary" else None
