"""Optimisers, which update parameters in place, and learning-rate schedules."""

import math

import numpy as np

from duonet import backend


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

    def step(self):
        """Update every parameter that has a gradient."""
        self.steps += 1
        for i, parameter in enumerate(self.parameters):
            if parameter.grad is not None:
                self._update(i, parameter)

    def _update(self, i, parameter):
        raise NotImplementedError

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
            for name in own.keys() & state.keys()
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

    def _zeros(self):
        return [backend.get_xp(p.data).zeros_like(p.data) for p in self.parameters]


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
        self.velocity = self._zeros()

    def _update(self, i, parameter):
        gradient, velocity = parameter.grad, self.velocity[i]
        if self.weight_decay:
            gradient = gradient + self.weight_decay * parameter.data
        velocity *= self.momentum
        velocity += gradient
        parameter.data -= self.lr * (gradient + self.momentum * velocity if self.nesterov else velocity)


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
        self.mean, self.square = self._zeros(), self._zeros()

    def _update(self, i, parameter):
        gradient = parameter.grad
        if self.weight_decay:
            gradient = gradient + self.weight_decay * parameter.data
        self._adam(i, parameter, gradient)

    def _adam(self, i, parameter, gradient):
        xp = backend.get_xp(gradient)
        beta1, beta2 = self.betas
        mean, square = self.mean[i], self.square[i]
        mean *= beta1
        mean += (1 - beta1) * gradient
        square *= beta2
        square += (1 - beta2) * gradient * gradient
        root = xp.sqrt(square / (1 - beta2**self.steps))
        parameter.data -= (self.lr / (1 - beta1**self.steps)) * mean / (root + self.eps)


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

    def _update(self, i, parameter):
        parameter.data *= 1 - self.lr * self.weight_decay
        self._adam(i, parameter, parameter.grad)


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
