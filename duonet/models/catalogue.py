"""The models by name."""

import functools
import inspect
import math
from collections.abc import Callable

import numpy as np

from duonet import arguments
from duonet.models.alex import alexnet
from duonet.models.dense import LAYERS, densenet
from duonet.models.perceptron import mlp
from duonet.models.resnet import resnet18, resnet20, resnete18
from duonet.models.vgg import DEPTHS, vgg7, vgg_deep
from duonet.nn import Sequential

MODELS: dict[str, Callable[..., Sequential]] = {
    "vgg7": vgg7,
    "alexnet": alexnet,
    "resnet18": resnet18,
    "resnet20": resnet20,
    "vgg_deep": vgg_deep,
    **{f"vgg_deep{n}": functools.partial(vgg_deep, widths=widths) for n, (widths, _) in DEPTHS.items() if n != 9},
    "mlp": mlp,
    "resnete18": resnete18,
    **{f"densenet{depth}": functools.partial(densenet, depth=depth) for depth in LAYERS},
}


def build(
    name: str,
    variant: str,
    in_shape: tuple[int, ...],
    classes: int,
    *,
    rng: np.random.Generator,
    widths: tuple[int, ...] | None = None,
    width: int | None = None,
    weights: str | None = None,
    shortcut: str | None = None,
) -> Sequential:
    """Build a model by its name.

    Parameters
    ----------
    name : str
        A key of `MODELS`.
    variant : {"float", "baseline", "ternary", "coupled", "coupled3"}
    in_shape : tuple of int
        (H, W, C) of an image.
    classes : int
    rng : numpy.random.Generator
    widths : tuple of int, optional
        The baseline's widths; by default, the model's own widths.
    width : int, optional
        Width of the baseline's first layer; the others keep their proportion to it.
    weights : {"float", "binary"}, optional
        By default, the model's own setting.
    shortcut : {"block", "conv"}, optional
        For a ResNet: a shortcut around every block or around every conv.

    Returns
    -------
    Sequential
        (N, H, W, C) to (N, classes).

    Raises
    ------
    ValueError
        If the model is unknown, or does not take one of the arguments; the message names it.

    Examples
    --------
    >>> import numpy as np
    >>> model = build("mlp", "baseline", (2, 2, 1), 3, width=5, rng=np.random.default_rng(0))
    >>> model.linear1
    Linear(4, 5, bias=False)
    """
    builder = MODELS[arguments.one_of("build", "model", name, MODELS)]
    in_shape = tuple(arguments.integer(name, f"in_shape[{i}]", n, at_least=1) for i, n in enumerate(in_shape))
    takes = inspect.signature(builder).parameters
    own = takes["widths"].default
    if width is not None:
        arguments.integer(name, "width", width, at_least=1)
    if widths is None and width is not None:
        widths = tuple(max(1, round(w * width / own[0])) for w in own)
    options = {"widths": widths, "weights": weights, "shortcut": shortcut}
    options = {key: value for key, value in options.items() if value is not None}
    if "shortcut" in options and "shortcut" not in takes:
        raise ValueError(f"{name}: shortcut {shortcut!r} means nothing, because the network has no shortcuts")
    shape = {"in_shape": in_shape} if "in_shape" in takes else {"inputs": math.prod(in_shape)}
    return builder(variant, classes=classes, rng=rng, **shape, **options)


def defaults(name: str) -> tuple[tuple[int, ...], int]:
    """Return the default input shape and number of classes of a model.

    Parameters
    ----------
    name : str
        A key of `MODELS`.

    Returns
    -------
    in_shape : tuple of int
    classes : int

    Examples
    --------
    >>> defaults("resnet18")
    ((224, 224, 3), 1000)
    """
    takes = inspect.signature(MODELS[name]).parameters
    in_shape = takes["in_shape"].default if "in_shape" in takes else (takes["inputs"].default,)
    return in_shape, takes["classes"].default
