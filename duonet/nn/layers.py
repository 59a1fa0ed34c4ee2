"""Layers without weights: an op and the state it needs."""

import math

import numpy as np

from duonet import arguments, functional
from duonet.module import Module
from duonet.tensor import Parameter, Tensor


class BatchNorm(Module):
    """Normalise each channel: by the batch's statistics in training, by running averages in evaluation.

    Parameters
    ----------
    channels : int
    momentum : float
        Weight of the new batch in the running averages.
    eps : float
        Added to the variance.

    Raises
    ------
    TypeError, ValueError
        If `channels` is not a positive int, `momentum` not a number from 0 to 1, or `eps` not a number from 0 on.

    Examples
    --------
    >>> norm = BatchNorm(1)
    >>> norm(Tensor([[1.0], [3.0]])).data.round(3)
    array([[-1.],
           [ 1.]], dtype=float32)
    >>> norm.running_mean.data
    array([0.2], dtype=float32)
    """

    samplewise = by_channel = rising = True
    in_training = "uses the statistics of the batch and moves its running averages"

    def __init__(self, channels: int, momentum: float = 0.1, eps: float = 1e-5):
        super().__init__()
        channels = arguments.integer("BatchNorm", "channels", channels, at_least=1)
        self.momentum = arguments.number("BatchNorm", "momentum", momentum, at_least=0, at_most=1)
        self.eps = arguments.number("BatchNorm", "eps", eps, at_least=0)
        self.gamma = Parameter(np.ones(channels, np.float32))
        self.beta = Parameter(np.zeros(channels, np.float32))
        self.running_mean = Tensor(np.zeros(channels, np.float32))
        self.running_var = Tensor(np.ones(channels, np.float32))

    @property
    def channels(self) -> int:
        """Number of channels."""
        return self.gamma.size

    @staticmethod
    def array_shapes(*, channels: int, **others: object) -> dict[str, tuple[int, ...]]:
        """Return the shape of each array: an entry for each channel."""
        return dict.fromkeys(("gamma", "beta", "running_mean", "running_var"), (channels,))

    def reset_parameters(self, rng: np.random.Generator) -> None:
        """Reset gamma to 1, beta to 0 and the running averages; no value here is random."""
        for tensor, value in ((self.gamma, 1), (self.beta, 0), (self.running_mean, 0), (self.running_var, 1)):
            tensor.data[...] = value
            tensor.changed()

    def forward(self, x: Tensor) -> Tensor:
        """Map x (N, H, W, C) or (N, C) to y of the same shape."""
        return functional.batch_norm(x, self.gamma, self.beta, **self._options())

    def _options(self):
        state = {"running_mean": self.running_mean.data, "running_var": self.running_var.data}
        return {**state, "training": self.training, "momentum": self.momentum, "eps": self.eps}

    def _settings(self):
        return f"{self.channels}"


class ReLU(Module):
    """y = max(x, 0).

    Examples
    --------
    >>> ReLU()(Tensor([-1.0, 2.0])).data
    array([0., 2.], dtype=float32)
    """

    samplewise = by_channel = rising = True

    def forward(self, x: Tensor) -> Tensor:
        """Map x of any shape to y of the same shape."""
        return functional.relu(x)


class PReLU(Module):
    """y = x above 0 and slope · x below, with one learned slope for each channel.

    Weight decay is best switched off for the slopes: `optim.by_path(model, decays={"*.slope": 0})`.

    Parameters
    ----------
    channels : int
    start : number
        The first value of the slopes.

    Raises
    ------
    TypeError, ValueError
        If `channels` is not a positive int, or `start` not a finite number.

    References
    ----------
    He et al., Delving Deep into Rectifiers, ICCV 2015.

    Examples
    --------
    >>> PReLU(1)(Tensor([[-2.0], [-0.5], [0.0], [1.0]])).data.ravel()
    array([-0.5  , -0.125,  0.   ,  1.   ], dtype=float32)
    """

    samplewise = by_channel = True

    def __init__(self, channels: int, start: float = 0.25):
        super().__init__()
        self.channels = arguments.integer("PReLU", "channels", channels, at_least=1)
        self.start = arguments.number("PReLU", "start", start)
        self.slope = Parameter(np.full(self.channels, self.start, np.float32))

    @staticmethod
    def array_shapes(*, channels: int, **others: object) -> dict[str, tuple[int, ...]]:
        """Return the shape of the slopes: one for each channel."""
        return {"slope": (channels,)}

    def reset_parameters(self, rng: np.random.Generator) -> None:
        """Reset the slopes to their first value; no value here is random."""
        self.slope.data[...] = self.start
        self.slope.changed()

    def forward(self, x: Tensor) -> Tensor:
        """Map x (..., C) to y of the same shape."""
        return functional.prelu(x, self.slope)

    def _settings(self):
        return f"{self.channels}"


class Clip(Module):
    """y = min(max(x, low), high): the activation that a k-bit staircase approaches as k grows.

    Parameters
    ----------
    low, high : number
        Each may be infinite.

    Raises
    ------
    TypeError, ValueError
        If an argument is not a number, or `low` is not below `high`.

    Examples
    --------
    >>> Clip(0, 1)(Tensor([-1.0, 0.3, 2.0])).data
    array([0. , 0.3, 1. ], dtype=float32)
    """

    samplewise = by_channel = rising = True

    def __init__(self, low: float, high: float):
        super().__init__()
        self.low = arguments.fitting("Clip", "low", low, np.dtype(float))
        self.high = arguments.fitting("Clip", "high", high, np.dtype(float))
        if not low < high:
            raise ValueError(f"Clip: low must be below high, got low={low}, high={high}")

    def forward(self, x: Tensor) -> Tensor:
        """Map x of any shape to y of the same shape."""
        return functional.clip(x, self.low, self.high)

    def _settings(self):
        return f"{self.low}, {self.high}"


class PadChannels(Module):
    """Add zero channels behind the input's channels, or in front of them, as in a shortcut that widens.

    Parameters
    ----------
    channels : int
        Number of output channels.
    front : bool
        Add them in front: the sum of a path with zeros behind and a path with zeros in front has both channels.

    Raises
    ------
    TypeError, ValueError
        If `channels` is not a positive int, `front` not a bool, or an input has more channels.

    Examples
    --------
    >>> PadChannels(3)(Tensor([[1.0, 2.0]])).data
    array([[1., 2., 0.]], dtype=float32)
    """

    samplewise = keeps_levels = True

    def __init__(self, channels: int, front: bool = False):
        super().__init__()
        self.channels = arguments.integer("PadChannels", "channels", channels, at_least=1)
        self.front = arguments.instance("PadChannels", "front", front, bool)

    def forward(self, x: Tensor) -> Tensor:
        """Map x (..., C) to y (..., channels)."""
        more = self.channels - x.shape[-1]
        if more < 0:
            raise ValueError(f"expected at most {self.channels} channels, got x {x.shape}")
        return functional.pad(x, [(0, 0)] * (x.ndim - 1) + [(more, 0) if self.front else (0, more)])

    def _settings(self):
        return f"{self.channels}" + (", front=True" if self.front else "")


class Flatten(Module):
    """Reshape each image to a row, in which the channel changes fastest.

    Examples
    --------
    >>> Flatten()(Tensor(np.ones((2, 4, 4, 3), "float32"))).shape
    (2, 48)
    """

    samplewise = keeps_levels = copywise = True

    def forward(self, x: Tensor) -> Tensor:
        """Map x (N, ...) to y (N, product of the rest)."""
        return functional.reshape(x, (len(x), math.prod(x.shape[1:])))  # -1 is ambiguous if there are no images


class Dropout(Module):
    """Zero elements or whole channels at random in training; change nothing in evaluation.

    Parameters
    ----------
    p : float
        Probability of zeroing.
    rng : numpy.random.Generator
    channels : bool
        Zero whole channels.

    Raises
    ------
    TypeError, ValueError
        If `p` is not a number from 0 to below 1, `rng` not a generator, or `channels` not a bool.

    Examples
    --------
    >>> Dropout(0.5, rng=np.random.default_rng(0)).eval()(Tensor([1.0, 2.0])).data
    array([1., 2.], dtype=float32)
    """

    samplewise = by_channel = rising = keeps_levels = copywise = True

    def __init__(self, p: float, *, rng: np.random.Generator, channels: bool = False):
        super().__init__()
        self.p = arguments.number("Dropout", "p", p, at_least=0, below=1)
        self.rng = arguments.generator("Dropout", "rng", rng)
        self.channels = arguments.instance("Dropout", "channels", channels, bool)

    @property
    def in_training(self) -> str:  # type: ignore[override]
        """The reason, or an empty str if `p` is 0."""
        return "draws a new mask at every call" if self.p else ""

    def forward(self, x: Tensor) -> Tensor:
        """Map x of any shape to y of the same shape."""
        return functional.dropout(x, self.p, self.rng, self.channels) if self.training else x

    def _settings(self):
        return f"{self.p}" + (", channels=True" if self.channels else "")
