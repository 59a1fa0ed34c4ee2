"""Optimisers, which update parameters in place; the schedules of `duonet.schedule` are here as well."""

from collections.abc import Iterable, Sequence
from typing import TypeAlias

import numpy as np

from duonet import arguments, backend
from duonet.flat import FlatParameters
from duonet.groups import by_path, of_each
from duonet.module import Module
from duonet.schedule import Constant, Cosine, Ramp, Schedule, Stages, StepDecay
from duonet.state import fitting
from duonet.tensor import Parameter, Tensor

__all__ = [
    "SGD", "Adam", "AdamW", "Constant", "Cosine", "Optimizer", "Ramp", "Schedule", "Stages", "StepDecay",
    "by_path",
]  # fmt: skip

Numbers: TypeAlias = Sequence[float | None] | None  # a number for each parameter


class Optimizer:
    """Base of the optimisers: a list of parameters, a learning rate, and state for each parameter.

    A parameter without a gradient stays unchanged, and so does its state: no decay, no count of a step.

    Parameters
    ----------
    parameters : list of Parameter
    lr : float
        Learning rate; `base_lr` keeps this first rate, which schedules scale.
    rates : sequence of number or None, optional
        For each parameter, a factor on the learning rate, 1 by default; `by_path` chooses the factors by the paths
        of a model.
    decays : sequence of number or None, optional
        For each parameter, its own weight decay; None stands for the optimiser's weight decay.

    Attributes
    ----------
    steps : list of int
        The number of updates of each parameter.

    Raises
    ------
    TypeError
        If `parameters` holds anything but Parameters, or a setting is not a number.
    ValueError
        If there are no parameters, a parameter comes twice, or a setting is out of bounds.

    Examples
    --------
    >>> import numpy as np
    >>> from duonet import Parameter
    >>> w = Parameter([1.0])
    >>> w.grad = np.array([0.5], "float32")
    >>> SGD([w], lr=0.1, momentum=0).step()
    >>> w.data
    array([0.95], dtype=float32)
    """

    # Names of the lists of arrays that a subclass keeps, one array for each parameter.
    buffers: tuple[str, ...] = ()

    def __init__(self, parameters: Iterable[Parameter], lr: float, rates: Numbers = None, decays: Numbers = None):
        name = type(self).__name__
        self.parameters = _listed(name, parameters)
        self.rates = of_each(name, "rates", rates, len(self.parameters), 1.0)
        self.decays = of_each(name, "decays", decays, len(self.parameters), None)
        self.base_lr = self.lr = lr
        self.steps = [0] * len(self.parameters)
        self._flatten()

    @property
    def lr(self) -> float:
        """The learning rate of the next step."""
        return self._lr

    @lr.setter
    def lr(self, value: float) -> None:
        self._lr = arguments.number(type(self).__name__, "lr", value, at_least=0)

    def _flatten(self):
        self._vectors = [
            FlatParameters([i for i, p in enumerate(self.parameters) if p.dtype == dtype], self)
            for dtype in dict.fromkeys(p.dtype for p in self.parameters)
        ]

    def __getstate__(self):
        return {name: value for name, value in vars(self).items() if name != "_vectors"}

    def __setstate__(self, state):
        """Join the parameters of a copy again: a copy has separate arrays instead of parts of one array."""
        vars(self).update({name: value for name, value in state.items() if name not in self.buffers})
        self._flatten()
        for name in self.buffers:
            for array, copied in zip(getattr(self, name), state[name]):
                array[...] = copied

    def step(self) -> None:
        """Update every parameter that has a gradient."""
        for vector in self._vectors:
            vector.gather()
        self.steps = [n + (p.grad is not None) for n, p in zip(self.steps, self.parameters)]
        for vector in self._vectors:
            vector.update()
        for parameter in self.parameters:
            if parameter.grad is not None:
                parameter.changed()

    def _update(self, w, g, *state, steps):
        """Change `w` and the state in place; all are vectors of the same length. `g` may be overwritten.

        `steps` counts the updates of these weights, this one included.
        """
        raise NotImplementedError

    def state_dict(self) -> dict[str, np.ndarray]:
        """Return a dict from name to a NumPy copy of everything that `step` changes, except the parameters."""
        state = {"steps": np.array(self.steps), "lr": np.array(float(self.lr))}
        for name in self.buffers:
            for i, array in enumerate(getattr(self, name)):
                state[f"{name}.{i}"] = np.array(backend.to_device(array, "cpu"))
        return state

    def load_state_dict(self, state: dict[str, np.ndarray]) -> None:
        """Continue from a `state_dict`; if an array does not fit, ValueError is raised and nothing changes."""
        name = type(self).__name__
        arrays = fitting(f"{name}: the state does not fit", state, self.state_dict())
        if arrays["steps"].min() < 0:
            raise ValueError(f"{name}: the state does not fit: steps must not be negative")
        self.lr, self.steps = float(arrays["lr"]), arrays["steps"].tolist()
        for buffer in self.buffers:
            for i, array in enumerate(getattr(self, buffer)):
                array[...] = backend.to_device(arrays[f"{buffer}.{i}"], backend.device_of(array))

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for parameter in self.parameters:
            parameter.zero_grad()


def _listed(name, parameters):
    """Return the parameters as a list of different Parameters, or raise TypeError or ValueError."""
    if isinstance(parameters, (Tensor, Module, dict, set)) or not isinstance(parameters, Iterable):
        raise TypeError(
            f"{name}: parameters must be a list of Parameter, such as model.parameters() or [w], "
            f"got {type(parameters).__name__}"
        )
    places = {}
    for i, parameter in enumerate(parameters := list(parameters)):
        if not isinstance(parameter, Parameter):
            raise TypeError(f"{name}: parameters[{i}] must be a Parameter, got {type(parameter).__name__}")
        if parameter.dtype.kind != "f":
            raise TypeError(f"{name}: parameters[{i}] must be floating-point, got {parameter.dtype}")
        if places.setdefault(id(parameter), i) != i:
            raise ValueError(f"{name}: parameters {places[id(parameter)]} and {i} are one Parameter; list it once")
    if not parameters:
        raise ValueError(f"{name}: the list of parameters is empty")
    return parameters


class SGD(Optimizer):
    """Gradient descent with momentum: v ← μ v + g, w ← w − lr v, or with Nesterov w ← w − lr (g + μ v).

    g is the gradient plus weight_decay · w. There is no dampening, as by default in PyTorch.

    Parameters
    ----------
    parameters : list of Parameter
    lr : float
    momentum : float
        μ.
    nesterov : bool
    weight_decay : float
    rates, decays : sequence of number or None, optional
        As in `Optimizer`.

    Raises
    ------
    TypeError, ValueError
        As `Optimizer`.

    References
    ----------
    Sutskever et al., ICML 2013.

    Examples
    --------
    >>> import numpy as np
    >>> from duonet import Parameter
    >>> w = Parameter([1.0])
    >>> optimizer = SGD([w], lr=0.1)
    >>> w.grad = np.array([1.0], "float32")
    >>> optimizer.step(); optimizer.step()
    >>> w.data
    array([0.71], dtype=float32)
    """

    buffers = ("velocity",)

    def __init__(
        self,
        parameters: Iterable[Parameter],
        lr: float,
        momentum: float = 0.9,
        nesterov: bool = False,
        weight_decay: float = 0.0,
        rates: Numbers = None,
        decays: Numbers = None,
    ):
        self.momentum = arguments.number("SGD", "momentum", momentum, at_least=0, below=1)
        self.weight_decay = arguments.number("SGD", "weight_decay", weight_decay, at_least=0)
        self.nesterov = arguments.instance("SGD", "nesterov", nesterov, bool)
        super().__init__(parameters, lr, rates, decays)

    def _update(self, w, g, velocity, *, steps):
        if self.weight_decay:
            g += self.weight_decay * w
        velocity *= self.momentum
        velocity += g
        w -= self.lr * (g + self.momentum * velocity if self.nesterov else velocity)


class Adam(Optimizer):
    """Adam: w ← w − lr · m̂ / (√v̂ + eps), m and v running averages of g and g², corrected for their start at 0.

    m̂ = m / (1 − β₁ᵗ) and v̂ = v / (1 − β₂ᵗ), where t counts this parameter's updates. weight_decay · w is added to
    the gradient.

    Parameters
    ----------
    parameters : list of Parameter
    lr : float
    betas : (float, float)
        Decay of m and v.
    eps : float
    weight_decay : float
    rates, decays : sequence of number or None, optional
        As in `Optimizer`.

    Raises
    ------
    TypeError, ValueError
        As `Optimizer`.

    References
    ----------
    Kingma, Ba: Adam, ICLR 2015, algorithm 1.

    Examples
    --------
    >>> import numpy as np
    >>> from duonet import Parameter
    >>> w = Parameter([1.0])
    >>> w.grad = np.array([7.0], "float32")
    >>> Adam([w], lr=0.1).step()  # the first step has length lr, whatever the gradient
    >>> w.data
    array([0.9], dtype=float32)
    """

    buffers = ("mean", "square")

    def __init__(
        self,
        parameters: Iterable[Parameter],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        rates: Numbers = None,
        decays: Numbers = None,
    ):
        name = type(self).__name__
        if not isinstance(betas, (tuple, list)) or len(betas) != 2:
            raise TypeError(f"{name}: betas must be two numbers, got {betas!r:.60}")
        self.betas = tuple(arguments.number(name, "betas", beta, at_least=0, below=1) for beta in betas)
        self.eps = arguments.number(name, "eps", eps, at_least=0)
        self.weight_decay = arguments.number(name, "weight_decay", weight_decay, at_least=0)
        super().__init__(parameters, lr, rates, decays)

    def _update(self, w, g, mean, square, *, steps):
        if self.weight_decay:
            g += self.weight_decay * w
        self._adam(w, g, mean, square, steps)

    def _adam(self, w, g, mean, square, steps):
        beta1, beta2 = self.betas
        mean *= beta1
        mean += (1 - beta1) * g
        square *= beta2
        square += (1 - beta2) * g * g
        root = backend.get_xp(w).sqrt(square / (1 - beta2**steps))
        w -= (self.lr / (1 - beta1**steps)) * mean / (root + self.eps)


class AdamW(Adam):
    """Adam whose weight decay acts on the weights directly: w ← w − lr · weight_decay · w beside Adam's step.

    Parameters
    ----------
    parameters : list of Parameter
    lr : float
    betas : (float, float)
        Decay of m and v.
    eps : float
    weight_decay : float
    rates, decays : sequence of number or None, optional
        As in `Optimizer`.

    Raises
    ------
    TypeError, ValueError
        As `Optimizer`.

    References
    ----------
    Loshchilov, Hutter: Decoupled Weight Decay Regularization, ICLR 2019, algorithm 2.

    Examples
    --------
    >>> import numpy as np
    >>> from duonet import Parameter
    >>> w = Parameter([1.0])
    >>> w.grad = np.array([0.0], "float32")
    >>> AdamW([w], lr=0.1, weight_decay=0.5).step()
    >>> w.data
    array([0.95], dtype=float32)
    """

    def __init__(
        self,
        parameters: Iterable[Parameter],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        rates: Numbers = None,
        decays: Numbers = None,
    ):
        super().__init__(parameters, lr, betas, eps, weight_decay, rates, decays)

    def _update(self, w, g, mean, square, *, steps):
        w *= 1 - self.lr * self.weight_decay
        self._adam(w, g, mean, square, steps)
