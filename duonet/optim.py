"""Optimisers, which update parameters in place, and learning-rate schedules."""

import math

import numpy as np

from duonet import backend, gpu
from duonet.flat import FlatParameters


class Optimizer:
    """Base of the optimisers: a list of parameters, a learning rate, and state for each parameter.

    Parameters
    ----------
    parameters : list of Parameter
    lr : float
        Learning rate; `base_lr` keeps the first one, which schedules scale.

    Raises
    ------
    ValueError
        If there are no parameters, or `lr` is negative.

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

    buffers = ()  # names of the lists of arrays that a subclass keeps, one array for each parameter

    def __init__(self, parameters, lr):
        self.parameters = list(parameters)
        if not self.parameters:
            raise ValueError(f"{type(self).__name__}: the list of parameters is empty")
        if not lr >= 0:
            raise ValueError(f"{type(self).__name__}: lr must not be negative, got {lr}")
        self.base_lr = self.lr = lr
        self.steps = 0
        self._flatten()

    def _flatten(self):
        self._vectors = [
            FlatParameters([i for i, p in enumerate(self.parameters) if p.dtype == dtype], self)
            for dtype in dict.fromkeys(p.dtype for p in self.parameters)
        ]

    def __getstate__(self):
        return {name: value for name, value in vars(self).items() if name != "_vectors"}

    def __setstate__(self, state):
        """Lay out the parameters of a copy anew: parts of an array are copied as arrays of their own."""
        vars(self).update({name: value for name, value in state.items() if name not in self.buffers})
        self._flatten()
        for name in self.buffers:
            for array, copied in zip(getattr(self, name), state[name]):
                array[...] = copied

    def step(self):
        """Update every parameter that has a gradient."""
        for vector in self._vectors:
            vector.gather()
        self.steps += 1
        for vector in self._vectors:
            vector.update()

    def _update(self, w, g, *state):
        """Change `w` and the state in place; all are vectors of the same length. `g` may be overwritten."""
        raise NotImplementedError

    def _launch(self, w, g, *state):
        """Do the same on a GPU, in one kernel where the optimiser has one."""
        self._update(w, g, *state)

    def state_dict(self):
        """Return a dict from name to a NumPy copy of everything that `step` has changed but the parameters."""
        state = {"steps": np.array(self.steps), "lr": np.array(self.lr)}
        for name in self.buffers:
            for i, array in enumerate(getattr(self, name)):
                state[f"{name}.{i}"] = np.array(backend.to_device(array, "cpu"))
        return state

    def load_state_dict(self, state):
        """Go on from a `state_dict`; all of it fits, or ValueError is raised and nothing is changed."""
        own = self.state_dict()
        wrong = sorted(own.keys() ^ state.keys())
        wrong += [
            f"{name} of shape {state[name].shape}"
            for name in sorted(own.keys() & state.keys())
            if state[name].shape != own[name].shape
        ]
        if wrong:
            raise ValueError(f"{type(self).__name__}: the state does not fit: {', '.join(wrong)}")
        self.steps, self.lr = int(state["steps"]), float(state["lr"])
        for name in self.buffers:
            for i, array in enumerate(getattr(self, name)):
                array[...] = backend.to_device(state[f"{name}.{i}"].astype(array.dtype), backend.device_of(array))

    def zero_grad(self):
        """Forget all gradients."""
        for parameter in self.parameters:
            parameter.zero_grad()


class SGD(Optimizer):
    """Gradient descent with momentum: v ← μ v + g, w ← w − lr v, or with Nesterov w ← w − lr (g + μ v).

    g is the gradient plus weight_decay · w. As in PyTorch, without dampening.

    Parameters
    ----------
    parameters : list of Parameter
    lr : float
    momentum : float
        μ.
    nesterov : bool
    weight_decay : float

    Raises
    ------
    ValueError
        If there are no parameters, or `lr` is negative.

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

    def __init__(self, parameters, lr, momentum=0.9, nesterov=False, weight_decay=0.0):
        super().__init__(parameters, lr)
        self.momentum, self.nesterov, self.weight_decay = momentum, nesterov, weight_decay

    def _update(self, w, g, velocity):
        if self.weight_decay:
            g += self.weight_decay * w
        velocity *= self.momentum
        velocity += g
        w -= self.lr * (g + self.momentum * velocity if self.nesterov else velocity)

    def _launch(self, w, g, velocity):
        rates = {"lr": self.lr, "momentum": self.momentum, "nesterov": self.nesterov}
        gpu.optim.sgd(w, g, velocity, weight_decay=self.weight_decay, **rates)


class Adam(Optimizer):
    """Adam: w ← w − lr · m̂ / (√v̂ + eps), m and v running averages of g and g², corrected for their start at 0.

    weight_decay · w is added to the gradient.

    Parameters
    ----------
    parameters : list of Parameter
    lr : float
    betas : (float, float)
        Decay of m and v.
    eps : float
    weight_decay : float

    Raises
    ------
    ValueError
        If there are no parameters, or `lr` is negative.

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

    def __init__(self, parameters, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0):
        super().__init__(parameters, lr)
        self.betas, self.eps, self.weight_decay = betas, eps, weight_decay

    def _update(self, w, g, mean, square):
        if self.weight_decay:
            g += self.weight_decay * w
        self._adam(w, g, mean, square)

    def _launch(self, w, g, mean, square):
        gpu.optim.adam(w, g, mean, square, **self._rates())

    def _rates(self):
        names = ("lr", "betas", "eps", "weight_decay", "steps")
        return {name: getattr(self, name) for name in names}

    def _adam(self, w, g, mean, square):
        beta1, beta2 = self.betas
        mean *= beta1
        mean += (1 - beta1) * g
        square *= beta2
        square += (1 - beta2) * g * g
        root = backend.get_xp(w).sqrt(square / (1 - beta2**self.steps))
        w -= (self.lr / (1 - beta1**self.steps)) * mean / (root + self.eps)


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

    Raises
    ------
    ValueError
        If there are no parameters, or `lr` is negative.

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

    def __init__(self, parameters, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2):
        super().__init__(parameters, lr, betas, eps, weight_decay)

    def _update(self, w, g, mean, square):
        w *= 1 - self.lr * self.weight_decay
        self._adam(w, g, mean, square)

    def _launch(self, w, g, mean, square):
        gpu.optim.adamw(w, g, mean, square, **self._rates())


class Schedule:
    """Base of the schedules: from time in epochs to a factor on the learning rate, without state.

    Examples
    --------
    >>> class Halves(Schedule):
    ...     def __call__(self, epochs):
    ...         return 0.5**epochs
    >>> Halves()(2)
    0.25
    """

    def __call__(self, epochs):
        """Return the factor at this time."""
        raise NotImplementedError


class Constant(Schedule):
    """Keep the learning rate.

    Examples
    --------
    >>> Constant()(7.5)
    1.0
    """

    def __call__(self, epochs):
        """Return 1."""
        return 1.0


class StepDecay(Schedule):
    """Multiply the learning rate by `factor` at each milestone.

    Parameters
    ----------
    milestones : sequence of number
        Times in epochs.
    factor : float

    Examples
    --------
    >>> [StepDecay([10, 20])(t) for t in (9.9, 10, 20)]
    [1.0, 0.1, 0.010000000000000002]
    """

    def __init__(self, milestones, factor=0.1):
        self.milestones, self.factor = tuple(milestones), float(factor)

    def __call__(self, epochs):
        """Factor ^ (milestones that have passed)."""
        return self.factor ** sum(epochs >= m for m in self.milestones)


class Cosine(Schedule):
    """Fall from 1 to 0 along half a cosine: ½ (1 + cos(π t / total)).

    Parameters
    ----------
    total : number
        Epochs until 0.

    References
    ----------
    Loshchilov, Hutter: SGDR, ICLR 2017, eq. 5, without restarts.

    Examples
    --------
    >>> [round(Cosine(10)(t), 3) for t in (0, 5, 10)]
    [1.0, 0.5, 0.0]
    """

    def __init__(self, total):
        self.total = total

    def __call__(self, epochs):
        """½ (1 + cos(π t / total)), and 0 after it."""
        return 0.5 * (1 + math.cos(math.pi * min(epochs / self.total, 1)))
