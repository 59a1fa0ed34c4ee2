"""AlexNet in the form of BinaryDuo: convolutions throughout, batch norm, channel dropout."""

import numpy as np

from duonet import nn
from duonet.models.common import COPIES, activation, check, weight_quantizer
from duonet.nn import Sequential
from duonet.widths import coupled_widths

WIDTHS = (96, 256, 384, 384, 256, 4096, 4096)
PUBLISHED = (88, 192, 256, 256, 192, 2400, 4096)  # widths of the coupled network for these baseline widths
DROPOUT = 0.1


def alexnet(
    variant: str = "baseline",
    widths: tuple[int, ...] = WIDTHS,
    in_shape: tuple[int, ...] = (224, 224, 3),
    classes: int = 1000,
    weights: str = "binary",
    *,
    rng: np.random.Generator,
) -> Sequential:
    """Build AlexNet, with six quantised activations.

    conv11 stride 4 P N A | conv5 P N A | conv3 N A | conv3 N A | conv3 P N A | conv over all pixels N A D |
    conv1 N ReLU D | conv1, with N = batch norm, A = activation, P = 3×3 max pool of stride 2, D = dropout of whole
    channels, 0.1. No conv has a bias.

    Parameters
    ----------
    variant : {"float", "baseline", "ternary", "coupled", "coupled3"}
        ReLU; binary; ternary at full width; ternary or 2 bits at narrower widths, whose decoupled network, with
        two or three binary copies, has no more weights than the baseline. With the default widths and images
        of at least 192 pixels, "coupled" has the published widths; otherwise `coupled_widths` computes them.
    widths : tuple of 7 int
        The baseline's widths, for every variant.
    in_shape : tuple of int
        (H, W, C) of an image, at least 63×63 and square.
    classes : int
    weights : {"float", "binary"}
        "binary", as in the paper, binarises all but the first and the last layer.
    rng : numpy.random.Generator

    Returns
    -------
    Sequential
        (N, H, W, C) to (N, classes).

    Raises
    ------
    ValueError
        If an argument is not as described above.

    References
    ----------
    The published code of Kim et al., BinaryDuo, ICLR 2020 ("AlexNet").

    Examples
    --------
    >>> import numpy as np
    >>> from duonet.costs import summary
    >>> model = alexnet(widths=(6, 16, 24, 24, 16, 64, 64), in_shape=(64, 64, 3), rng=np.random.default_rng(0))
    >>> summary(model, (64, 64, 3)).weights
    85794
    """
    widths, in_shape, classes = check("alexnet", variant, weights, widths, (7,), in_shape, classes, rng)
    if len(in_shape) != 3 or in_shape[0] != in_shape[1] or in_shape[0] < 63:
        raise ValueError(f"alexnet: in_shape must be (H, W, C), square, of at least 63×63 pixels, got {in_shape}")
    rest = (in_shape[0] - 3) // 4  # pixels after the first conv; each of the three pools leaves (rest − 1) // 2
    for _ in range(3):
        rest = (rest - 1) // 2
    sizes = (11, 5, 3, 3, 3, rest, 1, 1)

    def shapes(outputs):
        """List (kernel size, inputs, outputs) of every conv."""
        return list(zip(sizes, (in_shape[2], *outputs), (*outputs, classes)))

    def decoupled_weights(quantized):
        doubled = (1, *(COPIES[variant],) * 6, 1)
        kernels = shapes((*quantized, widths[-1]))
        return sum(k * k * inputs * times * outputs for (k, inputs, outputs), times in zip(kernels, doubled))

    if variant in COPIES:
        budget = sum(k * k * inputs * outputs for k, inputs, outputs in shapes(widths))
        if variant == "coupled" and widths == WIDTHS and decoupled_weights(PUBLISHED[:-1]) <= budget:
            widths = PUBLISHED
        else:
            widths = (*coupled_widths(widths[:-1], decoupled_weights, budget, COPIES[variant]), widths[-1])

    layers: dict[str, nn.Module] = {}
    for i, (size, inputs, outputs) in enumerate(shapes(widths), start=1):
        layers[f"conv{i}"] = nn.Conv2d(
            inputs,
            outputs,
            size,
            rng=rng,
            stride={1: 4, 6: size}.get(i, 1),
            padding={1: 2, 2: 2, 3: 1, 4: 1, 5: 1}.get(i, 0),
            bias=False,
            weight_quantizer=weight_quantizer(weights) if 1 < i < 8 else None,
        )
        if i in (1, 2, 5):
            layers[f"pool{i}"] = nn.MaxPool2d(3, stride=2)
        if i < 8:
            layers[f"norm{i}"] = nn.BatchNorm(outputs)
            layers[f"act{i}"] = activation(variant) if i < 7 else nn.ReLU()
        if i in (6, 7):
            # Each dropout has its own generator, so that its draws do not depend on the other.
            layers[f"dropout{i}"] = nn.Dropout(DROPOUT, rng=rng.spawn(1)[0], channels=True)
    layers["flatten"] = nn.Flatten()
    return nn.Sequential(layers)
