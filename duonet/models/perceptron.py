"""Multi-layer perceptrons."""

import numpy as np

from duonet import arguments, nn
from duonet.models.common import COPIES, activation, check, weight_quantizer
from duonet.nn import Sequential
from duonet.widths import coupled_widths


def mlp(
    variant: str = "baseline",
    inputs: int = 784,
    widths: tuple[int, ...] = (128,) * 8,
    classes: int = 10,
    weights: str = "float",
    *,
    rng: np.random.Generator,
) -> Sequential:
    """Build a perceptron: flatten, then linear, batch norm and activation for each width, then linear.

    Parameters
    ----------
    variant : {"float", "baseline", "ternary", "coupled", "coupled3"}
        ReLU; binary; ternary at full width; ternary or 2 bits at widths whose decoupled network, with two or
        three binary copies, has no more weights than the baseline.
    inputs : int
        Values of one input, flattened.
    widths : tuple of int
        The baseline's hidden widths, for every variant.
    classes : int
    weights : {"float", "binary"}
        "binary" binarises all but the first and last layer.
    rng : numpy.random.Generator

    Returns
    -------
    Sequential
        (N, ...) to (N, classes).

    Raises
    ------
    ValueError
        If an argument is not as described above.

    Examples
    --------
    >>> import numpy as np
    >>> from duonet.costs import summary
    >>> summary(mlp(rng=np.random.default_rng(0)), (784,)).weights
    216320
    """
    inputs = arguments.integer("mlp", "inputs", inputs, at_least=1)
    widths, _, classes = check("mlp", variant, weights, widths, (), (inputs,), classes, rng)

    def decoupled_weights(hidden):
        first, *rest = zip((inputs, *hidden), (*hidden, classes))
        return first[0] * first[1] + sum(COPIES[variant] * a * b for a, b in rest)

    if variant in COPIES:
        budget = sum(a * b for a, b in zip((inputs, *widths), (*widths, classes)))
        widths = coupled_widths(widths, decoupled_weights, budget, COPIES[variant])

    layers: dict[str, nn.Module] = {"flatten": nn.Flatten()}
    for i, (a, b) in enumerate(zip((inputs, *widths), widths)):
        layers[f"linear{i + 1}"] = nn.Linear(
            a, b, rng=rng, bias=False, weight_quantizer=weight_quantizer(weights) if i else None
        )
        layers[f"norm{i + 1}"] = nn.BatchNorm(b)
        layers[f"act{i + 1}"] = activation(variant)
    layers["classifier"] = nn.Linear(widths[-1], classes, rng=rng)
    return nn.Sequential(layers)
