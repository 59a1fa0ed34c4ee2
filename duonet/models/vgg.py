"""VGG-style networks: VGG-7 of the BinaryDuo paper, and a slim, deep network that suffers from mismatch."""

import numpy as np

from duonet import nn
from duonet.models.common import COPIES, activation, check, weight_quantizer
from duonet.nn import Sequential
from duonet.widths import coupled_widths

# For vgg_deep, by its number of quantised activations: the baseline's widths, which give about equal numbers of
# weights, and the indices of the 3×3 convs before a pool.
DEPTHS = {
    3: ((16, 32, 65, 130), (0, 1)),
    6: ((14, 27, 27, 55, 55, 109, 109), (0, 2, 4)),
    9: ((12, 12, 24, 24, 24, 48, 48, 48, 96, 96), (1, 4, 7)),
    12: ((11, 11, 11, 22, 22, 22, 22, 43, 43, 43, 43, 86, 86), (2, 6, 10)),
}


def vgg7(
    variant: str = "baseline",
    widths: tuple[int, ...] = (64, 64, 128, 128, 512, 512),
    in_shape: tuple[int, ...] = (32, 32, 3),
    classes: int = 10,
    weights: str = "float",
    *,
    rng: np.random.Generator,
) -> Sequential:
    """Build VGG-7, the CIFAR-10 network of BinaryDuo: five quantised activations.

    conv3 N A | conv3 P N A | conv3 P N A | conv3 P N A | conv over all pixels N A | conv1 N ReLU | conv1, with
    N = batch norm, A = activation, P = 2×2 max pool. No conv has a bias.

    Parameters
    ----------
    variant : {"float", "baseline", "ternary", "coupled", "coupled3"}
        ReLU; binary; ternary at full width; ternary or 2 bits at widths whose decoupled network, with two or
        three binary copies, has no more weights than the baseline.
    widths : tuple of 6 int
        The baseline's widths, for every variant.
    in_shape : tuple of int
        (H, W, C) of an image, at least 8×8.
    classes : int
    weights : {"float", "binary"}
        "binary" binarises all but the first and the last layer.
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
    The published code of Kim et al., BinaryDuo, ICLR 2020 ("VGG-7").

    Examples
    --------
    >>> import numpy as np
    >>> from duonet.costs import summary
    >>> summary(vgg7("coupled", rng=np.random.default_rng(0)), (32, 32, 3)).weights
    789782
    """
    return _vgg("vgg7", variant, widths, {6: (1, 2, 3)}, in_shape, classes, weights, rng)


def vgg_deep(
    variant: str = "baseline",
    widths: tuple[int, ...] = DEPTHS[9][0],
    in_shape: tuple[int, ...] = (28, 28, 1),
    classes: int = 10,
    weights: str = "float",
    *,
    rng: np.random.Generator,
) -> Sequential:
    """Build a slim, deep VGG with nine quantised activations.

    conv3 N A | conv3 P N A | conv3 N A twice, conv3 P N A, and these three again | conv over all pixels N A |
    conv1 N ReLU | conv1, with N = batch norm, A = activation, P = 2×2 max pool. No conv has a bias.
    `build` also makes this network with three, six and twelve quantised activations: "vgg_deep3", "vgg_deep6" and
    "vgg_deep12" have widths that give about as many weights for 28×28 images.

    Parameters
    ----------
    variant : {"float", "baseline", "ternary", "coupled", "coupled3"}
        ReLU; binary; ternary at full width; ternary or 2 bits at widths whose decoupled network, with two or
        three binary copies, has no more weights than the baseline.
    widths : tuple of 10 int
        The baseline's widths, for every variant; 4, 7 or 13 widths make as many layers before the last.
    in_shape : tuple of int
        (H, W, C) of an image, at least 8×8; 4×4 with three activations.
    classes : int
    weights : {"float", "binary"}
        "binary" binarises all but the first and the last layer.
    rng : numpy.random.Generator

    Returns
    -------
    Sequential
        (N, H, W, C) to (N, classes).

    Raises
    ------
    ValueError
        If an argument is not as described above.

    Examples
    --------
    >>> import numpy as np
    >>> from duonet.costs import summary
    >>> summary(vgg_deep(rng=np.random.default_rng(0)), (28, 28, 1)).weights
    117852
    """
    pools = {len(by_default): pooled for by_default, pooled in DEPTHS.values()}
    return _vgg("vgg_deep", variant, widths, pools, in_shape, classes, weights, rng)


def _vgg(name, variant, widths, pools, in_shape, classes, weights, rng):
    """Build a VGG; `pools` has the indices of the 3×3 convs before a pool, by the number of widths."""
    widths, in_shape, classes = check(name, variant, weights, widths, tuple(pools), in_shape, classes, rng)
    depth, pooled = len(widths), pools[len(widths)]
    if len(in_shape) != 3 or min(in_shape[:2]) < 2 ** len(pooled):
        raise ValueError(
            f"{name}: in_shape must be (H, W, C) of at least {2 ** len(pooled)}×{2 ** len(pooled)} pixels, "
            f"got {in_shape}"
        )
    rest = in_shape[0] // 2 ** len(pooled)
    if in_shape[1] // 2 ** len(pooled) != rest:
        raise ValueError(f"{name}: in_shape must be square, got {in_shape}")
    sizes = [3] * (depth - 2) + [rest, 1, 1]

    def shapes(hidden):
        """List (kernel size, inputs, outputs) of every conv."""
        outputs = [*hidden, classes]
        return list(zip(sizes, [in_shape[2], *hidden], outputs))

    def decoupled_weights(quantized):
        doubled = [1] + [COPIES[variant]] * len(quantized) + [1]
        kernels = shapes([*quantized, widths[-1]])
        return sum(k * k * inputs * times * outputs for (k, inputs, outputs), times in zip(kernels, doubled))

    if variant in COPIES:
        budget = sum(k * k * inputs * outputs for k, inputs, outputs in shapes(widths))
        widths = (*coupled_widths(widths[:-1], decoupled_weights, budget, COPIES[variant]), widths[-1])

    layers = {}
    for i, (size, inputs, outputs) in enumerate(shapes(widths)):
        layers[f"conv{i + 1}"] = nn.Conv2d(
            inputs,
            outputs,
            size,
            rng=rng,
            stride=size if i == depth - 2 else 1,
            padding=1 if i < depth - 2 else 0,
            bias=False,
            weight_quantizer=weight_quantizer(weights) if 0 < i < depth else None,
        )
        if i in pooled:
            layers[f"pool{i + 1}"] = nn.MaxPool2d(2)
        if i < depth:
            layers[f"norm{i + 1}"] = nn.BatchNorm(outputs)
            layers[f"act{i + 1}"] = activation(variant) if i < depth - 1 else nn.ReLU()
    layers["flatten"] = nn.Flatten()
    return nn.Sequential(layers)
