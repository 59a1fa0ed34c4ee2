"""BinaryDenseNet: every layer reads all channels before it, and adds its own channels."""

import math

import numpy as np

from duonet import arguments, nn
from duonet.models.common import COPIES, activation, check, is_small, stem, weight_quantizer
from duonet.nn import Sequential
from duonet.widths import coupled_widths

LAYERS = {28: (6, 6, 6, 5), 37: (6, 8, 12, 6), 45: (6, 12, 14, 8)}
REDUCTIONS = {28: (2.7, 2.7, 2.2), 37: (3.3, 3.3, 4), 45: (2.7, 3.3, 4)}
WINDOW = 1.3


def densenet(
    variant: str = "baseline",
    widths: tuple[int, ...] = (64, 64),
    in_shape: tuple[int, ...] = (224, 224, 3),
    classes: int = 1000,
    weights: str = "binary",
    depth: int = 28,
    *,
    rng: np.random.Generator,
) -> Sequential:
    """Build BinaryDenseNet: conv7 stride 2 N ReLU P, four dense stages, N ReLU, global average pool, linear.

    A dense layer is N A conv3, which appends its channels to those of its input, with N = batch norm, A =
    activation, P = 3×3 max pool of stride 2. Between stages lie N, 2×2 max pool, ReLU and a float 1×1 conv, which
    divides the number of channels by a factor of the stage; the quotient is rounded to a multiple of half the
    growth. The gradient of an activation passes within 1.3 times half the distance between its two levels, from
    −0.15 to 1.15 for a step at ½. For images under 50 pixels, a conv3 replaces conv7 stride 2 N ReLU P.

    Parameters
    ----------
    variant : {"float", "baseline", "ternary", "coupled", "coupled3"}
        ReLU; binary; ternary at full width; ternary or 2 bits at narrower widths, whose decoupled network, with
        two or three binary copies, has no more weights than the baseline.
    widths : (int, int)
        The baseline's widths, for every variant: the channels of the first conv, and the growth, which is the
        number of channels that each dense layer adds.
    in_shape : tuple of int
        (H, W, C) of an image, at least 8×8.
    classes : int
    weights : {"float", "binary"}
        "binary" binarises the convs of the dense layers. Each conv has the scale of duonet's binary weights; the
        authors have no scale.
    depth : {28, 37, 45}
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
    Bethge et al., Back to Simplicity: How to Train Accurate BNNs from Scratch?, 2019; larq/zoo, densenet.py.

    Examples
    --------
    >>> from duonet.costs import summary
    >>> summary(densenet(rng=np.random.default_rng(0)), (224, 224, 3)).total.weights
    {32: 908992, 1: 4202496}
    """
    widths, in_shape, classes = check("densenet", variant, weights, widths, (2,), in_shape, classes, rng)
    if arguments.integer("densenet", "depth", depth) not in LAYERS:
        raise ValueError(f"densenet: depth must be one of {', '.join(map(str, LAYERS))}, got {depth!r}")
    if len(in_shape) != 3 or min(in_shape[:2]) < 8:
        raise ValueError(f"densenet: in_shape must be (H, W, C) of at least 8×8, got {in_shape}")
    small = is_small(in_shape)
    first = (9 if small else 49) * in_shape[2]
    if variant in COPIES:
        budget, copies = _weights(depth, widths, first, classes, 1), COPIES[variant]
        widths = _coupled(widths, lambda *narrow: _weights(depth, narrow, first, classes, copies), budget, copies)
    layers: dict[str, nn.Module] = stem(in_shape, widths[0], rng, small)
    stages = _stages(depth, *widths)
    for i, (inputs, end, channels) in enumerate(stages, start=1):
        dense = {f"dense{k}": _dense(n, widths[1], variant, weights, rng) for k, n in enumerate(inputs, start=1)}
        layers[f"stage{i}"] = nn.Sequential(dense)
        if i < len(stages):
            layers[f"transition{i}"] = _transition(end, channels, rng)
    layers |= {"norm": nn.BatchNorm(stages[-1][1]), "relu": nn.ReLU(), "pool": nn.GlobalAvgPool()}
    return nn.Sequential(layers | {"classifier": nn.Linear(stages[-1][1], classes, rng=rng)})


def _stages(depth, channels, growth):
    """List for each stage the inputs of its layers, its channels at the end, and the next stage's channels."""
    stages, step = [], max(1, growth // 2)
    for layers, reduction in zip(LAYERS[depth], (*REDUCTIONS[depth], 1)):
        inputs = [channels + k * growth for k in range(layers)]
        end = channels + layers * growth
        channels = max(1, round(end // reduction / step)) * step
        stages.append((inputs, end, channels))
    return stages


def _coupled(widths, count, budget, copies):
    """Narrow the growth first, which comes in large steps; the first conv then fills the budget."""
    narrow = max(1, math.floor(widths[0] / math.sqrt(copies)))
    (growth,) = coupled_widths(widths[1:], lambda of_growth: count(narrow, *of_growth), budget, copies)
    (first,) = coupled_widths(widths[:1], lambda of_first: count(*of_first, growth), budget, copies)
    return first, growth


def _weights(depth, widths, first, classes, times):
    """Count the weights; each conv of a dense layer reads its inputs in `times` copies."""
    stages = _stages(depth, *widths)
    dense = sum(9 * times * sum(inputs) * widths[1] for inputs, _, _ in stages)
    between = sum(end * channels for _, end, channels in stages[:-1])
    return first * widths[0] + dense + between + stages[-1][1] * classes


def _dense(inputs, growth, variant, weights, rng):
    quantizer = weight_quantizer(weights)
    conv = nn.Conv2d(inputs, growth, 3, padding=1, rng=rng, bias=False, weight_quantizer=quantizer)
    body = {"norm": nn.BatchNorm(inputs), "act": activation(variant, WINDOW), "conv": conv}
    side_by_side = nn.PadChannels(inputs + growth, front=True)  # the shortcut is padded behind: the sum has both
    return nn.Residual(nn.Sequential(body | {"pad": side_by_side}), nn.PadChannels(inputs + growth))


def _transition(inputs, outputs, rng):
    conv = nn.Conv2d(inputs, outputs, 1, rng=rng, bias=False)
    return nn.Sequential({"norm": nn.BatchNorm(inputs), "pool": nn.MaxPool2d(2), "relu": nn.ReLU(), "conv": conv})
