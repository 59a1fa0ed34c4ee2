"""`Module`: a tree of layers that knows its parameters, buffers and paths."""

import contextlib
import functools

import numpy as np

from duonet import backend
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
            name = next((n for n, child in self.children() if child is error.layer), None)
            if name is not None:
                error.path = f"{name}.{error.path}" if error.path else name
                error.layer = self
        error.args = (f"{f'{error.path} {error.kind}'.strip()}: {error.said}",)

    def children(self):
        """Yield (name, module) for each direct child."""
        for name, value in vars(self).items():
            if isinstance(value, Module):
                yield name, value

    def modules(self, prefix=""):
        """Yield (path, module) for this module and all below it, parents first; the own path is ""."""
        yield prefix, self
        for name, child in self.children():
            yield from child.modules(f"{prefix}.{name}" if prefix else name)

    def _tensors(self):
        for path, module in self.modules():
            for name, value in vars(module).items():
                if isinstance(value, Tensor):
                    yield (f"{path}.{name}" if path else name), value

    def named_parameters(self):
        """Yield (path, Parameter) for everything that is learned."""
        return ((path, t) for path, t in self._tensors() if isinstance(t, Parameter))

    def named_buffers(self):
        """Yield (path, Tensor) for state that is saved but not learned."""
        return ((path, t) for path, t in self._tensors() if not isinstance(t, Parameter))

    def parameters(self):
        """List all parameters."""
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
        """Convert parameters and buffers to a floating dtype, in place, and return the module."""
        if np.dtype(dtype).kind != "f":
            raise TypeError(f"astype: expected a floating dtype, got {np.dtype(dtype)}")
        for _, tensor in self._tensors():
            tensor.data = tensor.data.astype(dtype)
            tensor.grad = None
        return self

    def reset_parameters(self, rng):
        """Draw all weights below anew from `rng`, a numpy.random.Generator."""
        for _, child in self.children():
            child.reset_parameters(rng)

    def state_dict(self):
        """Return a dict from path to a NumPy copy of every parameter and buffer."""
        return {path: np.array(tensor.numpy()) for path, tensor in self._tensors()}

    def load_state_dict(self, state):
        """Copy arrays into parameters and buffers; all of them fit, or nothing is changed.

        Parameters
        ----------
        state : dict
            As from `state_dict`.

        Raises
        ------
        ValueError
            Naming every missing, unexpected and misshapen key.
        """
        tensors = dict(self._tensors())
        problems = [f"missing {path}" for path in tensors if path not in state]
        problems += [f"unexpected {path}" for path in state if path not in tensors]
        problems += [
            f"{path} has shape {np.shape(state[path])}, expected {tensor.shape}"
            for path, tensor in tensors.items()
            if path in state and np.shape(state[path]) != tensor.shape
        ]
        if problems:
            raise ValueError(f"load_state_dict: {type(self).__name__}: {'; '.join(problems)}")
        for path, tensor in tensors.items():
            array = np.array(state[path], dtype=tensor.dtype)
            tensor.data = backend.to_device(array, backend.device_of(tensor.data))

    def _settings(self):
        """Describe the layer's own settings, for `repr`."""
        return ""

    def __repr__(self):
        lines = [f"{type(self).__name__}({self._settings()})"]
        for name, child in self.children():
            first, *rest = repr(child).splitlines()
            lines += [f"  {name}: {first}"] + [f"  {line}" for line in rest]
        return "\n".join(lines)


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
