"""The toy problem of the mismatch study: a student network learns from a teacher network of the same shape."""

import numpy as np

from duonet import functional, nn, optim
from duonet.backend import Array
from duonet.experiments import own
from duonet.module import Module
from duonet.quant import (
    Binary,
    Clip,
    Identity,
    Polynomial,
    ReLU,
    Shifted,
    Sign,
    Staircase,
    Surrogate,
    SwishSign,
    Tanh,
    Ternary,
    Triangle,
    Uniform,
    ZeroOne,
)
from duonet.tape import no_grad
from duonet.tensor import Tensor

WIDTH = 32
HIDDEN = ("linear1", "linear2", "linear3")
REFERENCE_STEP = 0.1
BATCH_SIZE = 256

# From most to fewest levels. The {0, ..., 1} staircases approach the float activation.
ACTIVATIONS: dict[str, tuple[Staircase, Surrogate] | None] = {
    "float": None,
    "4 bits": (Uniform(4), Clip(0, 1)),
    "3 bits": (Uniform(3), Clip(0, 1)),
    "2 bits": (Uniform(2), Clip(0, 1)),
    "ternary": (Ternary(), Clip(0, 1)),
    "binary": (Binary(), Clip(0, 1)),
    "sign": (Sign(), Clip(-1, 1, closed=True)),
}

# For the binary staircase. ZeroOne moves surrogates for sign to the window (0, 1).
SURROGATES: dict[str, Surrogate] = {
    "clip": Clip(0, 1),
    "identity": Identity(),
    "ReLU": ReLU(),
    "polynomial": ZeroOne(Polynomial()),
    "SwishSign 5": ZeroOne(SwishSign(5)),
    "tanh 1": ZeroOne(Tanh(1)),
    "tanh 2": ZeroOne(Tanh(2)),
    "tanh 4": ZeroOne(Tanh(4)),
    "tanh 8": ZeroOne(Tanh(8)),
    "triangle": Shifted(Triangle(), 0.5),
}


def network(
    activation: str, rng: np.random.Generator, surrogate: Surrogate | None = None, width: int = WIDTH
) -> nn.Sequential:
    """Build three hidden layers and a linear output, without batch norm.

    Parameters
    ----------
    activation : str
        A key of `ACTIVATIONS`, or a name that `own.pair` takes.
    rng : numpy.random.Generator
    surrogate : Surrogate, optional
        In place of the activation's own.
    width : int
        Width of the input and of every hidden layer.

    Returns
    -------
    Sequential
        From (N, width) to (N, 1), in evaluation mode.

    Examples
    --------
    >>> network("ternary", np.random.default_rng(0), width=4)(Tensor(np.zeros((2, 4), "float32"))).shape
    (2, 1)
    """
    layers: dict[str, Module] = {}
    pair = ACTIVATIONS[activation] if activation in ACTIVATIONS else own.pair("mismatch", activation)
    for i in range(1, len(HIDDEN) + 1):
        layers[f"linear{i}"] = nn.Linear(width, width, rng=rng, init=nn.he_normal)
        if pair is None:
            layers[f"act{i}"] = nn.Clip(0, 1)
        else:
            layers[f"act{i}"] = nn.QuantActivation(pair[0], surrogate or pair[1])
    layers["output"] = nn.Linear(width, 1, rng=rng, init=nn.he_normal)
    return nn.Sequential(layers).eval()


class Lesson:
    """One seed's teacher, students and data; every student starts from the same weights.

    Parameters
    ----------
    seed : int
    width : int
        Width of all networks.

    Examples
    --------
    >>> lesson = Lesson(0, width=4)
    >>> x, answers = lesson.batch(10)
    >>> x.shape, answers.shape
    ((10, 4), (10, 1))
    """

    def __init__(self, seed: int, width: int = WIDTH) -> None:
        self.seed, self.width = seed, width
        self.teacher = network("float", np.random.default_rng([seed, 0]), width=width)

    def student(self, activation: str) -> nn.Sequential:
        """Build a student at initialisation, with the output bias that makes its mean error zero.

        With another bias, the first gradients would only correct that offset.
        """
        model = network(activation, np.random.default_rng([self.seed, 1]), width=self.width)
        x, target = self._draw(np.random.default_rng([self.seed, 4]), 20 * BATCH_SIZE)
        with no_grad():
            model.output.bias.data[:] = (target - model(Tensor(x)).data).mean()
        return model

    def batch(self, samples: int, stream: int = 0) -> tuple[Array, Array]:
        """Draw inputs (samples, width) from N(0, I), and the teacher's answers; each `stream` is independent."""
        return self._draw(np.random.default_rng([self.seed, 2, stream]), samples)

    def train(self, student: nn.Sequential, steps: int, lr: float = 1e-3) -> tuple[nn.Sequential, float]:
        """Train by Adam on squared error with fresh data at every step.

        The rate is constant, and training stops before it converges: after that, the gradient is gone and its
        direction is noise. Returns the student and its mean squared error over the last tenth of the steps.
        """
        rng = np.random.default_rng([self.seed, 3])
        optimizer = optim.Adam(student.parameters(), lr)
        losses = []
        for _ in range(steps):
            x, target = self._draw(rng, BATCH_SIZE)
            loss = functional.mse_loss(student(Tensor(x)), target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        student.zero_grad()
        return student, float(np.mean(losses[-max(1, steps // 10) :]))

    def _draw(self, rng, samples):
        x = rng.standard_normal((samples, self.width), dtype=np.float32)
        with no_grad():
            return x, self.teacher(Tensor(x)).data


def with_surrogate(model: nn.Sequential, surrogate: Surrogate) -> nn.Sequential:
    """Return a model that shares the other's layers but quantises with another surrogate.

    Parameters
    ----------
    model : Sequential
    surrogate : Surrogate

    Returns
    -------
    Sequential
    """
    return nn.Sequential(
        {
            name: nn.QuantActivation(layer.staircase, surrogate)
            if isinstance(layer, nn.QuantActivation)
            else layer
            for name, layer in model.children()
        }
    ).eval()


def area(staircase: Staircase, surrogate: Surrogate, reach: float = 50.0, points: int = 2_000_001) -> float:
    """Compute ∫ |staircase(x) − surrogate(x)| dx, the indirect measure of mismatch.

    Parameters
    ----------
    staircase : Staircase
    surrogate : Surrogate
    reach : float
        Integrated from −reach to reach, by the rectangle rule.
    points : int
        Number of points of the rule.

    Returns
    -------
    float
        Infinity if the two still differ at ±reach.

    Examples
    --------
    >>> round(area(Binary(), Clip(0, 1), points=20_001), 3), area(Binary(), Identity(), points=20_001)
    (0.25, inf)
    """
    x = np.linspace(-reach, reach, points)
    difference = np.abs(staircase(x) - surrogate.value(x))
    if max(difference[0], difference[-1]) > 1e-6:
        return float("inf")
    return float(difference.sum() * (x[1] - x[0]))
