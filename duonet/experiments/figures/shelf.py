"""The figure of the method shelf: the output and the gradient of each method, over its input."""

import contextlib
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from duonet.methods import Entry
from duonet.tape import no_grad, smooth_forward
from duonet.tensor import Tensor
from duonet.viz.canvas import blank, save, tidy

COLUMNS = 6
BEFORE, AFTER, SOFT = "0.75", "#b2500f", "#123a6b"


def plot_shelf(shelf: Sequence[Entry], path: str | Path) -> Path:
    """Draw methods, in two panels each; the lower panel shows a derivative.

    A method of activations, in evaluation mode, has output (brown) and surrogate (blue, if there is one) over the
    input; below, the gradient for dy = 1. A method of weights has a histogram of 4,000 Gaussian weights before
    (grey) and, on its own scale, after (brown); below, the gradient of each for dy = 1. A penalty is drawn over
    the mean of a Gaussian channel with standard deviation ¼ (brown) and 1 (blue); below, its derivative by the
    mean. A method of pre-activations is drawn as the corrected value of a channel at 0, over the channel that
    corrects it; below, its gradient.

    Parameters
    ----------
    shelf : sequence of Entry
        At least one.
    path : str or Path
        The file to write; its suffix gives the format, PNG without one.

    Returns
    -------
    Path
        The file.

    Examples
    --------
    >>> from duonet.methods import find
    >>> plot_shelf([find("pact"), find("lsq")], "pair.png")  # doctest: +SKIP
    """
    blocks = -(-len(shelf) // COLUMNS)
    figure = blank(14, 2.9 * blocks)
    grid = figure.subplots(2 * blocks, COLUMNS, squeeze=False, height_ratios=(2, 1) * blocks)
    panels = [(grid[2 * (k // COLUMNS)][k % COLUMNS], grid[2 * (k // COLUMNS) + 1][k % COLUMNS])
              for k in range(blocks * COLUMNS)]  # fmt: skip
    for top, bottom in panels[len(shelf) :]:
        top.set_axis_off()
        bottom.set_axis_off()
    for entry, (top, bottom) in zip(shelf, panels):
        PANELS.get(entry.kind, _activation)(entry, top, bottom)
        top.set_title(f"[{entry.reference}] {entry.name}", size=8)
        for axes in (top, bottom):
            tidy(axes)
            axes.tick_params(labelsize=7)
    grid[1][0].set_ylabel("gradient", size=8)
    return save(figure, path)


def _made(entry):
    """Make a method in its state at the end of training."""
    quantizer = entry.make(np.random.default_rng(0)).astype("float64")
    quantizer.before_step(math.inf)
    return quantizer


def _passed(quantizer, x):
    """Return output and gradient for dy = 1."""
    tensor = Tensor(x, requires_grad=True)
    y = quantizer(tensor)
    y.backward(np.ones_like(x))
    return y.data, tensor.grad


def _activation(entry, top, bottom):
    quantizer = _made(entry).eval()
    x = np.linspace(-1.5, 3, 1801)[:, None]
    y, slope = _passed(quantizer, x)
    with contextlib.suppress(ValueError), no_grad(), smooth_forward():  # some have no surrogate
        top.plot(x, quantizer(Tensor(x)).data, color=SOFT, linewidth=1.2)
    top.plot(x, y, color=AFTER, linewidth=1.5)
    bottom.plot(x, slope, color=SOFT, linewidth=1.2)
    bottom.set_ylim(min(-0.2, 1.1 * slope.min()), max(1.2, 1.1 * slope.max()))


def _weights(entry, top, bottom):
    quantizer = _made(entry).eval()
    w = np.random.default_rng(0).normal(0, 0.6, (4000, 1))
    y, slope = _passed(quantizer, w)
    bins = np.linspace(-2, 2, 81)
    top.hist(w.ravel(), bins, color=BEFORE)
    values, counts = np.unique(y.round(6), return_counts=True)
    right = top.twinx()  # thousands of weights have one value
    right.vlines(values, 0, counts, color=AFTER, linewidth=2)
    right.set_axis_off()
    right.set_ylim(0)
    top.set_yticks([])
    order = np.argsort(w.ravel())
    bottom.plot(w.ravel()[order], slope.ravel()[order], color=SOFT, linewidth=1.2)
    for axes in (top, bottom):
        axes.set_xlim(-2, 2)
    bottom.set_ylim(min(-0.2, 1.1 * slope.min()), max(1.2, 1.1 * slope.max()))


def _penalty(entry, top, bottom):
    layer = _made(entry)
    draws = np.random.default_rng(0).standard_normal((400, 1))
    draws, means = (draws - draws.mean()) / draws.std(), np.linspace(-1.5, 2.5, 81)
    for spread, color in ((0.25, AFTER), (1, SOFT)):
        points = [_penalised(layer, mean + spread * draws) for mean in means]
        for axes, values in zip((top, bottom), zip(*points)):
            axes.plot(means, values, color=color, linewidth=1.2)


def _penalised(layer, x):
    """Return a penalty, and its derivative by the mean of the layer's input."""
    tensor = Tensor(x, requires_grad=True)
    layer(tensor)
    penalty = layer.penalty()
    penalty.backward()
    return float(penalty.data), tensor.grad.sum()


def _correction(entry, top, bottom):
    layer = entry.make(np.random.default_rng(0)).astype("float64")
    layer.edges = [(0, 1, 1)]
    x = np.stack([np.linspace(-3, 3, 1201), np.zeros(1201)], axis=1)
    y, slope = _passed(layer, x)
    top.plot(x[:, 0], y[:, 1], color=AFTER, linewidth=1.5)
    bottom.plot(x[:, 0], slope[:, 1], color=SOFT, linewidth=1.2)
    bottom.set_ylim(-0.2, 1.2)


PANELS = {"weights": _weights, "penalties": _penalty, "pre-activations": _correction}
