"""`Module`: a tree of layers that knows its parameters, buffers and paths."""

import contextlib
import functools

import numpy as np

from duonet import backend
from duonet.state import fitting
from duonet.tensor import Parameter, Tensor


class Module:
    """Base of all layers: a subclass sets attributes in `__init__` and defines `forward`.

    An attribute that is a `Parameter` is learned; any other `Tensor` is a buffer (state that is saved but not
    learned, such as a running average); a `Module` is a child. Paths join the names: `features.conv1.weight`.

    Attributes
    ----------
    training : bool
        Set for the whole tree by `train()` and `eval()`.

    Examples
    --------
    >>> class Scale(Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.factor = Parameter([2.0])
    ...     def forward(self, x):
    ...         return x * self.factor
    >>> Scale()(Tensor([1.0, 3.0])).data
    array([2., 6.], dtype=float32)
    """

    def __init__(self):
        self.training = True
        self._observers = []

    def __getstate__(self):
        """Leave the observers out of a copy, which is not what they were asked to watch."""
        return vars(self) | {"_observers": []}

    def forward(self, *inputs):
        """Compute the layer's output; subclasses define this."""
        raise NotImplementedError(f"{type(self).__name__} defines no forward")

    def __call__(self, *inputs):
        """Run `forward`; errors about bad input are prefixed with the path of the layer they arose in."""
        try:
            output = self.forward(*inputs)
        except (ValueError, TypeError, backend.OutOfMemory) as error:
            self._locate(error)
            raise
        for see in self._observers:
            see(inputs, output)
        return output

    def _locate(self, error):
        """Grow the path in front of the message by this module's name for the child that raised it."""
        if not hasattr(error, "layer"):
            error.layer, error.path, error.said, error.kind = self, "", str(error), type(self).__name__
        else:
            name = " or ".join(n for n, child in self.children() if child is error.layer)
            if name:
                error.path = f"{name}.{error.path}" if error.path else name
                error.layer = self
        error.args = (f"{f'{error.path} {error.kind}'.strip()}: {error.said}",)

    def children(self):
        """Yield (name, module) for each direct child; one that has two names comes twice."""
        for name, value in vars(self).items():
            if isinstance(value, Module):
                yield name, value

    def modules(self, every_path=False):
        """Yield (path, module) for this module and all below it, parents first; the own path is "".

        Each module comes once, under the first of its paths, also where it is used in several places or a child
        refers to its parent. With `every_path` it comes under each of them; where one leads back to a module that
        it began in, it ends.
        """
        return self._walk("", set(), every_path)

    def _walk(self, path, met, every_path):
        if id(self) in met:
            return
        met.add(id(self))
        yield path, self
        for name, child in self.children():
            yield from child._walk(_join(path, name), met, every_path)
        if every_path:
            met.remove(id(self))

    def _tensors(self, every_path=False):
        met = set()
        for path, module in self.modules(every_path):
            for name, value in vars(module).items():
                if isinstance(value, Tensor) and (every_path or id(value) not in met):
                    met.add(id(value))
                    yield _join(path, name), value

    def named_parameters(self, every_path=False):
        """Yield (path, Parameter) for everything that is learned; once, or with `every_path` by all paths."""
        return ((path, t) for path, t in self._tensors(every_path) if isinstance(t, Parameter))

    def named_buffers(self, every_path=False):
        """Yield (path, Tensor) for state that is saved, not learned; once, or with `every_path` by all paths."""
        return ((path, t) for path, t in self._tensors(every_path) if not isinstance(t, Parameter))

    def parameters(self):
        """List all parameters, each once."""
        return [parameter for _, parameter in self.named_parameters()]

    def zero_grad(self):
        """Forget the gradients of all parameters."""
        for parameter in self.parameters():
            parameter.zero_grad()

    def train(self, mode=True):
        """Put the whole tree into training mode, and return it."""
        for _, module in self.modules():
            module.training = mode
        return self

    def eval(self):
        """Put the whole tree into evaluation mode, and return it."""
        return self.train(False)

    def to(self, device):
        """Move parameters and buffers to "cpu" or "gpu", in place, and return the module."""
        for _, tensor in self._tensors():
            tensor.data = backend.to_device(tensor.data, device)
            tensor.grad = None
        return self

    def astype(self, dtype):
        """Convert floating parameters and buffers to another floating dtype, in place, and return the module."""
        if np.dtype(dtype).kind != "f":
            raise TypeError(f"astype: expected a floating dtype, got {np.dtype(dtype)}")
        for _, tensor in self._tensors():
            if tensor.dtype.kind == "f":
                tensor.data = tensor.data.astype(dtype)
                tensor.grad = None
        return self

    def reset_parameters(self, rng):
        """Draw all weights below anew from `rng`, a numpy.random.Generator; a layer of two places only once."""
        for layer in self._drawing({id(self)}):
            layer.reset_parameters(rng)

    def _drawing(self, met):
        """Yield the nearest layers below that say themselves what is drawn."""
        for _, child in self.children():
            if id(child) in met:
                continue
            met.add(id(child))
            own = type(child).reset_parameters is not Module.reset_parameters
            yield from [child] if own else child._drawing(met)

    def state_dict(self):
        """Return a dict from path to a NumPy copy of every parameter and buffer, under each of its paths."""
        return {path: np.array(tensor.numpy()) for path, tensor in self._tensors(every_path=True)}

    def load_state_dict(self, state):
        """Copy arrays into parameters and buffers; all of them fit, or nothing is changed.

        Parameters
        ----------
        state : dict
            As from `state_dict`.

        Raises
        ------
        TypeError
            If it is no dict.
        ValueError
            Naming every key that is missing or unexpected, and every array of another shape or kind of numbers,
            out of its tensor's range, or unlike that of another path of the same tensor.
        """
        name = f"load_state_dict: {type(self).__name__}"
        tensors = dict(self._tensors(every_path=True))
        arrays = fitting(name, state, {path: tensor.data for path, tensor in tensors.items()})
        first = {}
        for path, tensor in tensors.items():
            known = first.setdefault(id(tensor), path)
            if known != path and not np.array_equal(arrays[known], arrays[path], equal_nan=True):
                raise ValueError(f"{name}: {known} and {path} are one tensor, but two different arrays came")
        moved = [backend.to_device(arrays[path], backend.device_of(t.data)) for path, t in tensors.items()]
        for tensor, array in zip(tensors.values(), moved):
            tensor.data = array

    def _settings(self):
        """Describe the layer's own settings, for `repr`."""
        return ""

    def __repr__(self):
        return "\n".join(self._lines("", {}))

    def _lines(self, path, met):
        if id(self) in met:
            return [f"{type(self).__name__}, the same as {met[id(self)] or 'the whole'}"]
        met[id(self)] = path
        lines = [f"{type(self).__name__}({self._settings()})"]
        for name, child in self.children():
            first, *rest = child._lines(_join(path, name), met)
            lines += [f"  {name}: {first}"] + [f"  {line}" for line in rest]
        return lines


def _join(path, name):
    return f"{path}.{name}" if path else name


class Record:
    """What `observe` saw at one layer.

    Attributes
    ----------
    output : array
        The layer's latest output.
    gradient : array or None
        Gradient of the loss with respect to it, once `backward` has run.

    Examples
    --------
    >>> Record(np.zeros(2)).gradient is None
    True
    """

    def __init__(self, output):
        self.output = output
        self.gradient = None


@contextlib.contextmanager
def observe(model):
    """Record the output of every layer, and its gradient, while the block runs.

    Parameters
    ----------
    model : Module

    Yields
    ------
    dict
        From path to `Record`, filled as layers run. A layer that runs twice keeps its latest record.

    Examples
    --------
    >>> from duonet import nn
    >>> model = nn.Sequential({"cut": nn.ReLU()})
    >>> x = Tensor([-1.0, 2.0], requires_grad=True)
    >>> with observe(model) as records:
    ...     model(x).sum().backward()
    >>> records["cut"].output, records["cut"].gradient
    (array([0., 2.], dtype=float32), array([1., 1.], dtype=float32))
    """
    records = {}

    def see(path, module, inputs, output):
        record = records[path] = Record(output.data)
        if output.requires_grad:
            output.add_hook(lambda dy: setattr(record, "gradient", dy))

    with watch(model, see):
        yield records


@contextlib.contextmanager
def evaluating(model):
    """Keep the model in evaluation mode while the block runs; then every layer has the mode it had.

    Parameters
    ----------
    model : Module

    Yields
    ------
    Module

    Examples
    --------
    >>> from duonet import nn
    >>> model = nn.Sequential(nn.ReLU())
    >>> with evaluating(model):
    ...     model.training
    False
    >>> model.training
    True
    """
    before = [(module, module.training) for _, module in model.modules()]
    try:
        yield model.eval()
    finally:
        for module, training in before:
            module.training = training


@contextlib.contextmanager
def watch(model, see):
    """Call `see(path, module, inputs, output)` whenever a layer has run, while the block runs.

    Parameters
    ----------
    model : Module
    see : callable

    Yields
    ------
    None

    Examples
    --------
    >>> from duonet import nn
    >>> model = nn.Sequential({"cut": nn.ReLU()})
    >>> with watch(model, lambda path, *rest: print(repr(path))):
    ...     _ = model(Tensor([1.0]))
    'cut'
    ''
    """
    added = [(module, functools.partial(see, path, module)) for path, module in model.modules()]
    for module, partial in added:
        module._observers.append(partial)
    try:
        yield
    finally:
        for module, partial in added:
            module._observers.remove(partial)
