"""ResNets with the activation in front of the conv, as in BinaryDuo and Bi-Real Net."""

import numpy as np

from duonet import arguments, nn
from duonet.models.common import COPIES, activation, check, is_small, stem, weight_quantizer
from duonet.nn import Sequential
from duonet.widths import coupled_widths

WIDTHS18 = (64, 128, 256, 512)
PUBLISHED18 = (64, 90, 180, 360)  # widths of the coupled network for these baseline widths
SHORTCUTS = ("block", "conv")


def resnet18(
    variant: str = "baseline",
    widths: tuple[int, ...] = WIDTHS18,
    in_shape: tuple[int, ...] = (224, 224, 3),
    classes: int = 1000,
    weights: str = "binary",
    shortcut: str = "block",
    *,
    rng: np.random.Generator,
) -> Sequential:
    """Build ResNet-18: conv7 stride 2 N ReLU P N, four stages of two blocks, ReLU, global average pool, linear.

    A block is A conv3 N A conv3 N plus its input, with N = batch norm, A = activation, P = 3×3 max pool of stride
    2. Where a stage shrinks the image, the shortcut is a 2×2 average pool, a float 1×1 conv and N.

    Parameters
    ----------
    variant : {"float", "baseline", "ternary", "coupled", "coupled3"}
        ReLU; binary; ternary at full width; ternary or 2 bits at narrower widths. With the default widths and
        binary weights, "coupled" has the published widths 64, 90, 180, 360 and a last conv of width 512: the
        decoupled network has more binary weights than the baseline, but fewer float weights and fewer bits in
        all. Otherwise the widths are those of `coupled_widths`, whose decoupled network has no more weights than
        the baseline.
    widths : tuple of 4 int
        The baseline's widths of the four stages, for every variant.
    in_shape : tuple of int
        (H, W, C) of an image, with H and W multiples of 32.
    classes : int
    weights : {"float", "binary"}
        "binary", as in the paper, binarises all but the first conv, the shortcuts' convs and the linear layer.
    shortcut : {"block", "conv"}
        A shortcut around every block, or around every conv as in Bi-Real Net.
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
    The published code of Kim et al., BinaryDuo, ICLR 2020 ("ResNet-18"); Liu et al., Bi-Real Net, ECCV 2018.

    Examples
    --------
    >>> import numpy as np
    >>> from duonet.costs import summary
    >>> summary(resnet18(rng=np.random.default_rng(0)), (224, 224, 3)).weights
    11678912
    """
    widths, in_shape, classes = check("resnet18", variant, weights, widths, (4,), in_shape, classes, rng)
    _check("resnet18", in_shape, 32, shortcut)
    published = variant == "coupled" and widths == WIDTHS18 and weights == "binary"
    fixed = PUBLISHED18 if published else None
    widths, last = _widths(variant, widths, fixed, 2, 49 * in_shape[2], classes)
    layers = stem(in_shape, widths[0], rng) | {"norm2": nn.BatchNorm(widths[0])}
    return _finish(layers, variant, widths, last, 2, classes, weights, shortcut, rng)


def resnet20(
    variant: str = "baseline",
    widths: tuple[int, ...] = (16, 32, 64),
    in_shape: tuple[int, ...] = (32, 32, 3),
    classes: int = 10,
    weights: str = "float",
    shortcut: str = "block",
    *,
    rng: np.random.Generator,
) -> Sequential:
    """Build ResNet-20, for small images: conv3 N, three stages of three blocks, ReLU, global average pool, linear.

    A block is A conv3 N A conv3 N plus its input, with N = batch norm, A = activation. Where a stage shrinks the
    image, the shortcut is a 2×2 average pool, a float 1×1 conv and N.

    Parameters
    ----------
    variant : {"float", "baseline", "ternary", "coupled", "coupled3"}
        ReLU; binary; ternary at full width; ternary or 2 bits at the widths of `coupled_widths`, whose
        decoupled network, with two or three binary copies, has no more weights than the baseline.
    widths : tuple of 3 int
        The baseline's widths of the three stages, for every variant.
    in_shape : tuple of int
        (H, W, C) of an image, with H and W multiples of 4.
    classes : int
    weights : {"float", "binary"}
        "binary" binarises all but the first conv, the shortcuts' convs and the linear layer.
    shortcut : {"block", "conv"}
        A shortcut around every block, or around every conv as in Bi-Real Net.
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
    He et al., Deep Residual Learning, CVPR 2016, section 4.2, with the blocks of BinaryDuo's ResNet-18.

    Examples
    --------
    >>> import numpy as np
    >>> from duonet.costs import summary
    >>> summary(resnet20(rng=np.random.default_rng(0)), (32, 32, 3)).weights
    270896
    """
    widths, in_shape, classes = check("resnet20", variant, weights, widths, (3,), in_shape, classes, rng)
    _check("resnet20", in_shape, 4, shortcut)
    widths, last = _widths(variant, widths, None, 3, 9 * in_shape[2], classes)
    layers = {
        "conv1": nn.Conv2d(in_shape[2], widths[0], 3, padding=1, rng=rng, bias=False),
        "norm1": nn.BatchNorm(widths[0]),
    }
    return _finish(layers, variant, widths, last, 3, classes, weights, shortcut, rng)


def resnete18(
    variant: str = "baseline",
    widths: tuple[int, ...] = WIDTHS18,
    in_shape: tuple[int, ...] = (224, 224, 3),
    classes: int = 1000,
    weights: str = "binary",
    *,
    rng: np.random.Generator,
) -> Sequential:
    """Build ResNetE-18: ResNet-18 with a shortcut around every conv and with wider surrogates.

    The gradient passes within 1.25 times half the distance between the two levels, from −⅛ to 1⅛ for a step at ½.
    For images under 50 pixels, conv3 N replaces conv7 stride 2 N ReLU P N.

    Parameters
    ----------
    variant : {"float", "baseline", "ternary", "coupled", "coupled3"}
        ReLU; binary; ternary at full width; ternary or 2 bits at the widths of `coupled_widths`, whose
        decoupled network, with two or three binary copies, has no more weights than the baseline.
    widths : tuple of 4 int
        The baseline's widths of the four stages, for every variant.
    in_shape : tuple of int
        (H, W, C) of an image, with H and W multiples of 32, or of 8 under 50 pixels.
    classes : int
    weights : {"float", "binary"}
        "binary" binarises all but the first conv, the shortcuts' convs and the linear layer. Each layer has the
        scale of duonet's binary weights, which the next batch norm cancels; the authors have no scale.
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
    Bethge et al., Back to Simplicity: How to Train Accurate BNNs from Scratch?, 2019; larq/zoo, resnet_e.py.

    Examples
    --------
    >>> model = resnete18(widths=(4, 4, 8, 8), in_shape=(32, 32, 3), rng=np.random.default_rng(0))
    >>> model.stage1.conv1.body.act1
    QuantActivation(Binary(), Clip(low=-0.125, high=1.125, closed=False))
    """
    widths, in_shape, classes = check("resnete18", variant, weights, widths, (4,), in_shape, classes, rng)
    small = is_small(in_shape)
    _check("resnete18", in_shape, 8 if small else 32, "conv")
    widths, last = _widths(variant, widths, None, 2, (9 if small else 49) * in_shape[2], classes)
    layers = stem(in_shape, widths[0], rng, small) | {"norm1" if small else "norm2": nn.BatchNorm(widths[0])}
    return _finish(layers, variant, widths, last, 2, classes, weights, "conv", rng, window=1.25)


def _check(name, in_shape, multiple, shortcut):
    arguments.one_of(name, "shortcut", shortcut, SHORTCUTS)
    if len(in_shape) != 3 or in_shape[0] % multiple or in_shape[1] % multiple:
        raise ValueError(
            f"{name}: in_shape must be (H, W, C) with H and W multiples of {multiple}, got {in_shape}"
        )


def _units(widths, last, blocks):
    """List every 3×3 conv of the stages as (stage, inputs, outputs, stride); the last conv is `last` wide."""
    convs = [(stage, width) for stage, width in enumerate(widths) for _ in range(2 * blocks)]
    convs[-1] = (convs[-1][0], last)
    units, inputs, before = [], widths[0], 0
    for stage, outputs in convs:
        units.append((stage, inputs, outputs, 1 if stage == before else 2))
        inputs, before = outputs, stage
    return units


def _widths(variant, widths, fixed, blocks, stem, classes):
    """Return the widths of the stages and of the last conv; `stem` is the first conv's weights per channel."""
    last = widths[-1]
    if variant not in COPIES:
        return tuple(widths), last
    if fixed is not None:
        return fixed, last

    def weights(stages, times):
        total = stem * stages[0] + last * classes
        for _, inputs, outputs, _ in _units(stages, last, blocks):
            total += 9 * times * inputs * outputs
        return total + sum(a * b for a, b in zip(stages, stages[1:]))  # the shortcuts' 1×1 convs

    copies = COPIES[variant]
    budget = weights(tuple(widths), 1)
    return coupled_widths(widths, lambda stages: weights(stages, copies), budget, copies), last


def _finish(layers, variant, widths, last, blocks, classes, weights, shortcut, rng, window=1):
    """Add the stages and the classifier to the stem."""

    def conv(inputs, outputs, stride):
        return nn.Conv2d(
            inputs,
            outputs,
            3,
            stride=stride,
            padding=1,
            rng=rng,
            bias=False,
            weight_quantizer=weight_quantizer(weights),
        )

    def residual(units):
        """Put a shortcut around the convs of some units; only the first may shrink the image."""
        (_, first, _, stride), (_, _, final, _) = units[0], units[-1]
        body = {}
        for i, (_, inputs, outputs, step) in enumerate(units, start=1):
            body |= {
                f"act{i}": activation(variant, window),
                f"conv{i}": conv(inputs, outputs, step),
                f"norm{i}": nn.BatchNorm(outputs),
            }
        path = None
        if stride > 1:
            path = nn.Sequential(
                {
                    "pool": nn.AvgPool2d(2),
                    "conv": nn.Conv2d(first, final, 1, rng=rng, bias=False),
                    "norm": nn.BatchNorm(final),
                }
            )
        elif final != first:
            path = nn.PadChannels(final)
        return nn.Residual(nn.Sequential(body), path)

    units = _units(widths, last, blocks)
    for stage in range(len(widths)):
        of_stage = [unit for unit in units if unit[0] == stage]
        size = 2 if shortcut == "block" else 1
        residuals = [residual(of_stage[i : i + size]) for i in range(0, len(of_stage), size)]
        layers[f"stage{stage + 1}"] = nn.Sequential(
            {f"{shortcut}{i}": layer for i, layer in enumerate(residuals, start=1)}
        )
    layers |= {"relu": nn.ReLU(), "pool": nn.GlobalAvgPool(), "classifier": nn.Linear(last, classes, rng=rng)}
    return nn.Sequential(layers)
