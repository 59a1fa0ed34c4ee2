"""All parameters end to end in one array, so that an optimiser updates them in a few operations."""

import functools
from typing import Any

import numpy as np

from duonet import arguments, backend, engine, exact, parallel

CACHE_LINE = 128  # bytes, of a GPU


class FlatParameters:
    """Parameters of one dtype as parts of one array; the same for their gradients and state.

    An update is then a few long operations instead of a few for each of many small arrays. Parameters that shared
    an array have separate parts. Parameters in float16 are updated in float32: squares of small gradients would be
    0.

    Parameters
    ----------
    indices : list of int
        The places of the parameters among the optimiser's.
    optimizer : Optimizer
        Has `rates` and `decays`, a number for each parameter. For each name in its `buffers` it receives a list of
        arrays, one for each parameter: parts of the state here.

    Raises
    ------
    TypeError
        If a parameter is on another device than the others, or its array later changes in kind.

    Examples
    --------
    >>> from duonet import Parameter, optim
    >>> a, b = Parameter([1.0, 2.0]), Parameter([3.0])
    >>> optimizer = optim.SGD([a, b], 0.1)
    >>> a.data.base is b.data.base
    True
    """

    def __init__(self, indices: list[int], optimizer: Any):
        # Parameters of the same rate and decay lie side by side, and are updated together.
        groups = [(optimizer.rates[i], optimizer.decays[i]) for i in indices]
        self.groups = sorted(groups, key=groups.index)
        indices = [i for _, i in sorted(zip(map(groups.index, groups), indices))]
        self.optimizer, self.indices = optimizer, indices
        self.parameters = [optimizer.parameters[i] for i in indices]
        data = [p.data for p in self.parameters]
        xp = backend.get_xp(data[0])
        # Every part begins at a cache line: BLAS on a GPU is slower elsewhere.
        line = CACHE_LINE // data[0].itemsize
        ends = np.cumsum([-(-a.size // line) * line for a in data]).tolist()
        self.parts = [slice(start, start + a.size) for start, a in zip([0, *ends], data)]
        self.w = xp.zeros(ends[-1], data[0].dtype)
        self.g = xp.zeros_like(exact.wide(self.w))
        self.state = []
        for name in optimizer.buffers:
            self.state.append(xp.zeros_like(self.g))
            arrays = vars(optimizer).setdefault(name, [None] * len(optimizer.parameters))
            for i, array in zip(indices, self._views(self.state[-1])):
                arrays[i] = array
        self.views = self._views(self.w)
        for parameter, view in zip(self.parameters, self.views):
            self._take_in(parameter, view)

    def _views(self, vector):
        return [vector[part].reshape(p.shape) for part, p in zip(self.parts, self.parameters)]

    def gather(self) -> None:
        """Copy the gradients into the vector, and also parameters that were replaced from outside."""
        for parameter, part, view in zip(self.parameters, self.parts, self.views):
            if parameter.data is not view:  # replaced from outside
                self._take_in(parameter, view)
                parameter.changed()  # earlier results may still refer to the view
            if parameter.grad is not None:
                name = type(self.optimizer).__name__
                grad = arguments.array(name, "a gradient", parameter.grad)
                if (grad.shape, grad.dtype) != (parameter.shape, parameter.dtype):
                    raise ValueError(
                        f"{name}: a parameter is {parameter.dtype} of shape {parameter.shape}, its gradient "
                        f"{grad.dtype} of shape {grad.shape}"
                    )
                self.g[part] = parameter.grad.reshape(-1)

    def update(self) -> None:
        """Let the optimiser change every parameter that has a gradient."""
        for start, stop, steps, group in self._runs():
            rule = functools.partial(self._change, self._seen_by(*group), steps)
            if backend.device_of(self.w) == "gpu":
                rule(slice(start, stop))
                continue
            bytes_each = 2 * (2 + len(self.state)) * self.w.itemsize
            chunks = [slice(start + c.start, start + c.stop) for c in parallel.chunks(stop - start, bytes_each)]
            parallel.run(rule, chunks)

    def _seen_by(self, rate, decay):
        """Return the optimiser with the learning rate and weight decay of a group."""
        if (rate, decay) == (1, None):
            return self.optimizer
        seen = object.__new__(type(self.optimizer))
        vars(seen).update(vars(self.optimizer), _lr=self.optimizer.lr * rate)
        if decay is not None:
            vars(seen)["weight_decay"] = decay
        return seen

    def _change(self, optimizer, steps, some):
        arrays = [exact.wide(self.w[some])] + [a[some] for a in (self.g, *self.state)]
        rule = next(cls for cls in type(optimizer).__mro__ if "_update" in vars(cls))
        engine.version(rule, backend.device_of(self.w), *arrays)._update(optimizer, *arrays, steps=steps)
        if arrays[0].dtype != self.w.dtype:
            self.w[some] = arrays[0]

    def _take_in(self, parameter, view):
        name = type(self.optimizer).__name__
        if backend.get_xp(parameter.data) is not backend.get_xp(view):
            here, there = backend.device_of(view), backend.device_of(parameter.data)
            raise TypeError(
                f"{name}: its state is on the {here}, a parameter on the {there}; make it after moving"
            )
        if (parameter.shape, parameter.dtype) != (view.shape, view.dtype):
            raise TypeError(
                f"{name}: a parameter was {view.dtype} of shape {view.shape} and is now {parameter.dtype} of "
                f"shape {parameter.shape}; make the optimiser after changing it"
            )
        view[...] = parameter.data
        parameter.data = view

    def _runs(self):
        """List (start, stop, steps, group) of neighbours in a group with a gradient and equal counts of steps."""
        runs, before = [], None
        for i, group, parameter, part in zip(self.indices, self.groups, self.parameters, self.parts):
            like = None if parameter.grad is None else (self.optimizer.steps[i], group)
            if like is not None and like == before:
                runs[-1] = (runs[-1][0], part.stop, *like)
            elif like is not None:
                runs.append((part.start, part.stop, *like))
            before = like
        return runs
