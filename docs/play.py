"""The tables behind the page Play: what its sliders look up, computed by the engine when the site is built.

A table by [two, names] is a list of lists; the sliders' positions, in this order, lead to a value.
`static/play.js` looks up and draws, and knows no formula.
"""

import numpy as np

from duonet import Tensor, nn
from duonet import functional as F
from duonet.experiments.toy import Lesson, with_surrogate
from duonet.mismatch import Mismatch, coarse_gradient, coordinate_gradient
from duonet.mismatch.objective import cut
from duonet.quant import Binary, Clip, Shifted, Ternary, quantize

HALVES = (0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0)  # half-widths of a window
STEPS = (0.01, 0.03, 0.1, 0.3, 1.0)
LAYERS = {"linear2": ("second hidden layer", "warm"), "linear3": ("third hidden layer", "blue")}


def table(by, data):
    """Return a table and the sliders that it is looked up by."""
    return {"by": by, "data": data}


def slider(name, label, values, start):
    """Describe a slider."""
    return {"name": name, "label": label, "values": [f"{v:g}".replace("-", "−") for v in values], "start": start}


def line(label, colour, y, **more):
    """Describe a line of a panel: `y` is a table, or an array that no slider changes."""
    return {"label": label, "colour": colour, "y": y if isinstance(y, dict) else table([], rounded(y)), **more}


def rounded(values):
    """Return numbers as JSON needs them, to three digits; None where there is none."""
    return [None if np.isnan(v) else round(float(v), 3) for v in np.asarray(values, "float64")]


def signed(value, digits=2):
    """Return a number as text, with a minus sign and not a hyphen."""
    return f"{value:.{digits}f}".replace("-", "−")


def mismatch(halves=HALVES, steps=STEPS, samples=12_000):
    """Compute the cosine of coarse and discrete gradient in a network of tutorial 4, by window and step."""
    lesson = Lesson(seed=0, width=16)
    student, parts = lesson.student("binary"), cut(lesson.batch(samples), 6)
    windows = [Clip(0.5 - half, 0.5 + half) for half in halves]
    smoothed = [[coordinate_gradient(student, F.mse_loss, part, e, list(LAYERS)) for part in parts] for e in steps]
    coarse = []
    for window in windows:
        model = with_surrogate(student, window)
        coarse.append([coarse_gradient(model, F.mse_loss, part, list(LAYERS)) for part in parts])
    rows = {layer: [[Mismatch.between(c, s)[layer] for c in coarse] for s in smoothed] for layer in LAYERS}
    z = np.linspace(-1.5, 2.5, 81)
    cosines, said = [], {}
    for layer, (words, colour) in LAYERS.items():
        tables = {
            key: table(["step"], [rounded([getattr(row, key) for row in along]) for along in rows[layer]])
            for key in ("cosine", "low", "high")
        }
        only = table(["half"], [[i] for i in range(len(halves))])
        cosines += [
            line("", colour, tables["high"], thin=True),
            line("", colour, tables["low"], thin=True),
            line(words, colour, tables["cosine"], dash=layer == "linear2"),
            line("", colour, tables["cosine"], only=only),
        ]
        said[layer] = table(["step", "half"], [[signed(row.cosine) for row in along] for along in rows[layer]])
    return {
        "sliders": [
            slider("half", "Half-width of the surrogate's window", halves, halves.index(0.5)),
            slider("step", "Step ε of the discrete gradient", steps, steps.index(0.1)),
        ],
        "panels": [
            {
                "describe": "The binary staircase, and the surrogate: a ramp that is as wide as its window.",
                "x": {"title": "pre-activation h", "range": [-1.5, 2.5], "values": rounded(z)},
                "y": {"title": "value", "range": [-1.6, 2.6]},
                "lines": [
                    line("binary staircase", "blue", Binary()(z), stepped=True),
                    line("surrogate", "warm", table(["half"], [rounded(w.value(z)) for w in windows]), dash=True),
                ],
            },
            {
                "describe": "The cosine of the two gradients for every half-width, in two layers.",
                "x": {"title": "half-width of the window", "range": [0, 2.1], "values": rounded(halves)},
                "y": {"title": "cosine", "range": [0, 1.05]},
                "lines": cosines,
            },
        ],
        "said": {
            "text": "Cosine {linear2} in the second hidden layer, {linear3} in the third.",
            "numbers": said,
        },
    }


def split(distances=tuple(k / 16 for k in range(9))):
    """Compute two binary activations whose thresholds lie a distance from ½, and their gradient: tutorial 5's."""
    h = np.arange(-20, 52) / 32
    between = h + 1 / 64  # the windows are open: their ends are no good places to look

    def slopes(*pairs):
        at = Tensor(between, requires_grad=True)
        (
            sum(quantize(at, staircase, surrogate) for staircase, surrogate in pairs) * (1 / len(pairs))
        ).sum().backward()
        return rounded(at.grad)

    means, gradients, apart = [], [], []
    for d in distances:
        copies = [(Binary(0.5 + shift), Shifted(Clip(0, 1), shift)) for shift in (d, -d)]
        mean = sum(staircase(h) for staircase, _ in copies) / 2
        means.append(rounded(mean))
        gradients.append(slopes(*copies))
        places = int(np.sum(mean != Ternary()(h)))
        apart.append(f"differ at {places} of {len(h)} places" if places else f"agree at all {len(h)} places")
    x = {"title": "pre-activation h", "range": [-0.65, 1.65]}
    return {
        "sliders": [slider("distance", "Distance of both thresholds from ½", distances, 0)],
        "panels": [
            {
                "describe": "Forwards: the ternary staircase, and the mean of the two binary ones.",
                "x": x | {"values": rounded(h)},
                "y": {"title": "value", "range": [-0.1, 1.1]},
                "lines": [
                    line("ternary staircase", "blue", Ternary()(h), stepped=True, wide=True),
                    line("mean of two binary ones", "warm", table(["distance"], means), stepped=True, dash=True),
                ],
            },
            {
                "describe": "Backwards: the gradient of the ternary activation, and that of the two binary ones.",
                "x": x | {"values": rounded(between)},
                "y": {"title": "slope", "range": [-0.1, 1.1]},
                "lines": [
                    line("ternary activation", "blue", slopes((Ternary(), Clip(0, 1))), stepped=True, wide=True),
                    line("two binary ones", "warm", table(["distance"], gradients), stepped=True, dash=True),
                ],
            },
        ],
        "said": {
            "text": "The mean and the ternary staircase {apart}.",
            "numbers": {"apart": table(["distance"], apart)},
        },
    }


class Walk:
    """Tutorial 4's first network: 24 samples, 3 hidden units, one weight of which moves."""

    def __init__(self):
        rng = np.random.default_rng(0)
        x = rng.standard_normal((24, 4))
        self.weights, teacher = rng.standard_normal((2, 4, 3))
        v = np.array([1.0, -1.5, 0.8])
        layers = {"first": nn.Linear(4, 3, rng=rng, bias=False), "step": nn.QuantActivation(Binary(), Clip(0, 1))}
        layers["second"] = nn.Linear(3, 1, rng=rng, bias=False)
        self.model = nn.Sequential(layers).astype(np.float64).eval()
        self.model.second.weight.data[:, 0] = v
        self.batch = x, ((x @ teacher >= 0.5) @ v)[:, None]

    def at(self, shift):
        """Move the weight, and return the model."""
        self.model.first.weight.data[:] = self.weights
        self.model.first.weight.data[2, 2] += shift
        return self.model

    def loss(self, shift):
        """Return the loss with the weight moved."""
        return F.mse_loss(self.at(shift)(Tensor(self.batch[0])), self.batch[1]).item()

    def coarse(self, shift):
        """Return what back-propagation says of the moved weight."""
        return coarse_gradient(self.at(shift), F.mse_loss, self.batch, ["first"])["first"].values[8]

    def discrete(self, shift, step):
        """Return the coordinate discrete gradient of the moved weight."""
        one = {"first": np.array([8])}
        return coordinate_gradient(self.at(shift), F.mse_loss, self.batch, step, ["first"], coordinates=one)[
            "first"
        ].values[0]


def walk(reach=35, steps=(1, 5, 10, 15), stride=10):
    """Compute the loss along one weight, its averages over windows, and both gradients; lengths in 0.04s."""
    unit = 0.04
    network, most = Walk(), reach + max(steps)
    fine = np.array([network.loss(k * unit / stride) for k in range(-most * stride, most * stride + 1)])
    every = np.arange(-reach, reach + 1)
    loss, middles = fine[::stride], (every + most) * stride
    chosen = range(-reach, reach + 1)
    averages = [rounded([fine[m - e * stride : m + e * stride + 1].mean() for m in middles]) for e in steps]
    discrete = [[network.discrete(s * unit, e * unit) for s in every] for e in steps]
    coarse = [network.coarse(s * unit) for s in every]
    shown = np.full((len(steps), len(loss)), np.nan)
    shown[:, most - reach : most + reach + 1] = averages
    ends = [[[s + most - e, s + most + e] for s in chosen] for e in steps]
    here = table(["shift"], [[s + reach] for s in chosen])
    gradient = table(["step"], [rounded(g) for g in discrete])
    return {
        "sliders": [
            slider("shift", "Shift s of the weight", every * unit, reach),
            slider("step", "Half-width ε of the window", np.array(steps) * unit, len(steps) // 2),
        ],
        "panels": [
            {
                "describe": "The loss along one weight, its average over the window, and a chord across.",
                "x": {
                    "title": "shift s of the weight",
                    "range": [-2, 2],
                    "values": rounded(np.arange(-most, most + 1) * unit),
                },
                "y": {"title": "loss", "range": rounded([loss.min() - 0.05, loss.max() + 0.05])},
                "lines": [
                    line("loss", "grey", loss, stepped=True),
                    line("averaged over the window", "blue", table(["step"], [rounded(a) for a in shown])),
                    line(
                        "from s − ε to s + ε",
                        "warm",
                        table([], rounded(loss)),
                        only=table(["step", "shift"], ends),
                        joined=True,
                    ),
                ],
            },
            {
                "describe": "Along the weight: the discrete gradient, and the coarse gradient.",
                "x": {"title": "shift s of the weight", "range": [-2, 2], "values": rounded(every * unit)},
                "y": {"title": "gradient"},
                "lines": [
                    line("discrete gradient", "blue", gradient),
                    line("coarse gradient", "warm", coarse, dash=True),
                    line("", "blue", gradient, only=here),
                    line("", "warm", coarse, only=here),
                ],
            },
        ],
        "said": {
            "text": "At s = {shift}: discrete gradient {discrete}, coarse gradient {coarse}.",
            "numbers": {
                "shift": table(["shift"], [signed(s * unit) for s in every]),
                "discrete": table(["step", "shift"], [[signed(g) for g in row] for row in discrete]),
                "coarse": table(["shift"], [signed(g) for g in coarse]),
            },
        },
    }


def tables():
    """Return all three, by the names that the page uses."""
    return {"mismatch": mismatch(), "split": split(), "walk": walk()}
