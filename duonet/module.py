"""`Module`: a tree of layers that knows its parameters, buffers and paths."""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from duonet import backend, blas
from duonet.backend import Array
from duonet.state import fitting
from duonet.tensor import Parameter, Tensor

M = TypeVar("M", bound="Module")
CONTAINERS = (list, tuple, set, frozenset, dict, collections.deque)


class Module:
    """Base of all layers: a subclass sets attributes in `__init__` and defines `forward`.

    An attribute that is a `Parameter` is learned; any other `Tensor` is a buffer (state that is saved but not
    learned, such as a running average); a `Module` is a child. Paths join the names: `features.conv1.weight`.
    Layers in a list, tuple or dict would not be found: `ModuleList` holds them.

    The rest of the package knows a layer by the tags of its class, and assumes nothing without a tag. A subclass
    that overrides `forward` must set its true tags again.

    Attributes
    ----------
    training : bool
        Set for the whole tree by `train()` and `eval()`.
    samplewise : bool
        Class tag: in evaluation mode every sample of a batch is treated by itself.
    by_channel : bool
        Class tag: every channel (last axis) is treated by itself. The layer's tensors with a last axis of the same
        length have an entry for each channel.
    rising : bool
        Class tag: in evaluation mode no channel falls where its input rises everywhere, or each rises or falls.
    keeps_levels : bool
        Class tag: every value of the output is a value of the input, or 0.
    copywise : bool
        Class tag: the layer treats each copy of a decoupled activation like the original.
    translates : bool
        Class tag: f(x + c) = f(x) + c for any number c of each channel.
    in_training : str
        Class tag: why the output in training mode depends on more than this input; "" if it does not.

    Raises
    ------
    AttributeError
        If a subclass sets a layer or a tensor before `super().__init__()`, or is used without this call.
    TypeError
        If an attribute is a list, tuple, set or dict with layers or tensors in it, or an array takes the place of
        a Parameter or buffer.

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

    tags: tuple[str, ...]
    tags = ("samplewise", "by_channel", "rising", "keeps_levels", "copywise", "translates", "in_training")
    samplewise = by_channel = rising = keeps_levels = copywise = translates = False
    in_training = ""

    def __init__(self) -> None:
        self.training = True
        self._observers: list[Callable[..., object]] = []

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        runs = next(i for i, base in enumerate(cls.__mro__) if "forward" in vars(base) or "__call__" in vars(base))
        for tag in cls.tags:
            if not any(tag in vars(base) for base in cls.__mro__[: runs + 1]):
                setattr(cls, tag, cls._unknown(tag))
        for name, value in vars(cls).items():
            if _held(value) is not None:
                raise TypeError(f"{cls.__name__}: {name} belongs to the class; set it in __init__, as self.{name}")

    @classmethod
    def _unknown(cls, tag):
        return next(vars(base)[tag] for base in reversed(cls.__mro__) if tag in vars(base))

    def known(self, tag: str) -> Any:
        """Return a tag of the class; if this module has another `forward`, return the value for "unknown"."""
        return type(self)._unknown(tag) if "forward" in vars(self) else getattr(self, tag)

    def __setattr__(self, name: str, value: Any) -> None:
        if "_observers" not in vars(self) and isinstance(value, (Module, Tensor)):
            raise AttributeError(_forgotten(self, f"before self.{name} is set"))
        _refuse_hidden(self, name, value)
        before = vars(self).get(name)
        if isinstance(before, Tensor) and not (value is None or isinstance(value, Tensor)):
            raise TypeError(
                f"{type(self).__name__}: {name} must stay a {type(before).__name__}, got {type(value).__name__}, "
                f"which would be neither trained nor saved; assign to {name}.data"
            )
        super().__setattr__(name, value)

    def __getattr__(self, name: str) -> Any:
        if "_observers" not in vars(self):
            raise AttributeError(_forgotten(self, "first"))
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    def __getstate__(self):
        """Leave the observers out of a copy: they watch the original."""
        return vars(self) | {"_observers": []}

    def forward(self, *inputs: Any) -> Any:
        """Compute the layer's output; subclasses define it."""
        raise NotImplementedError(f"{type(self).__name__} defines no forward")

    def __call__(self, *inputs: Any) -> Any:
        """Run `forward`; errors about bad input begin with the path of the layer that raised them."""
        try:
            with blas.one_thread():
                output = self.forward(*inputs)
        except (ValueError, TypeError, backend.OutOfMemory) as error:
            self._locate(error)
            raise
        for see in self._observers:
            see(inputs, output)
        return output

    def _locate(self, error):
        """Put the path from this module to the layer that raised the error in front of the message."""
        if not hasattr(error, "layer"):
            error.layer, error.path, error.said, error.kind = self, "", str(error), type(self).__name__
        else:
            paths = [path for path, module in self.modules(every_path=True) if path and module is error.layer]
            if paths:
                error.path = f"{' or '.join(paths)}.{error.path}".rstrip(".")
                error.layer = self
        error.args = (f"{f'{error.path} {error.kind}'.strip()}: {error.said}",)

    def children(self) -> Iterator[tuple[str, Module]]:
        """Yield (name, module) for each direct child; a child with two names comes twice."""
        for name, value in vars(self).items():
            if isinstance(value, Module):
                yield name, value

    def modules(self, every_path: bool = False) -> Iterator[tuple[str, Module]]:
        """Yield (path, module) for this module and all below it, parents first; this module's path is "".

        Each module comes once, under the first of its paths, even if it is used in several places or a child
        refers to its parent. With `every_path` it comes under each of its paths; a path ends where it would lead
        back to a module on the path.
        """
        return self._walk("", set(), every_path)

    def _walk(self, path, met, every_path):
        if id(self) in met:
            return
        met.add(id(self))
        for name, value in vars(self).items():
            _refuse_hidden(self, name, value)  # the list may have grown meanwhile
        yield path, self
        for name, child in self.children():
            yield from child._walk(join(path, name), met, every_path)
        if every_path:
            met.remove(id(self))

    def _tensors(self, every_path: bool = False) -> Iterator[tuple[str, Tensor]]:
        met = set()
        for path, module in self.modules(every_path):
            for name, value in vars(module).items():
                if isinstance(value, Tensor) and (every_path or id(value) not in met):
                    met.add(id(value))
                    yield join(path, name), value

    def named_parameters(self, every_path: bool = False) -> Iterator[tuple[str, Parameter]]:
        """Yield (path, Parameter) for each Parameter, once or, with `every_path`, under all of its paths."""
        return ((path, t) for path, t in self._tensors(every_path) if isinstance(t, Parameter))

    def named_buffers(self, every_path: bool = False) -> Iterator[tuple[str, Tensor]]:
        """Yield (path, Tensor) for each buffer, once or, with `every_path`, under all of its paths."""
        return ((path, t) for path, t in self._tensors(every_path) if not isinstance(t, Parameter))

    def parameters(self) -> list[Parameter]:
        """List all parameters, each once."""
        return [parameter for _, parameter in self.named_parameters()]

    @staticmethod
    def array_shapes(*_: Any, **arguments: Any) -> dict[str, tuple[int, ...]]:
        """Return a dict from name to shape: the large arrays that a constructor makes from its arguments."""
        return {}

    def penalty(self) -> Tensor | None:
        """Return a Tensor without axes that `fit` adds to the loss; None, the default, adds nothing."""
        return None

    def before_step(self, epochs: float) -> dict[str, float] | None:
        """Update numbers that depend on time in epochs; `fit` calls this before each step, and logs the result."""

    def after_step(self) -> None:
        """Change Parameters in place, for example clip them; `fit` calls this after each step of the optimiser."""

    def zero_grad(self) -> None:
        """Forget the gradients of all parameters."""
        for parameter in self.parameters():
            parameter.zero_grad()

    def train(self: M, mode: bool = True) -> M:
        """Put the whole tree into training mode, and return it."""
        for _, module in self.modules():
            module.training = mode
        return self

    def eval(self: M) -> M:
        """Put the whole tree into evaluation mode, and return it."""
        return self.train(False)

    def to(self: M, device: str) -> M:
        """Move parameters and buffers in place to "cpu" or "gpu"; RuntimeError if no GPU can be used."""
        for _, tensor in self._tensors():
            tensor.data = backend.to_device(tensor.data, device)
            tensor.grad = None
        return self

    def astype(self: M, dtype: npt.DTypeLike) -> M:
        """Convert parameters and floating buffers in place; TypeError if the dtype is not floating."""
        if np.dtype(dtype).kind != "f":
            raise TypeError(f"astype: expected a floating dtype, got {np.dtype(dtype)}")
        for _, tensor in self._tensors():
            if isinstance(tensor, Parameter) or tensor.dtype.kind == "f":
                tensor.data = tensor.data.astype(dtype)
                tensor.grad = None
        return self

    def reset_parameters(self, rng: np.random.Generator) -> None:
        """Draw all weights below again from `rng`, a numpy.random.Generator; a layer used twice draws once.

        TypeError is raised if a layer with Parameters has no such method that draws them.
        """
        for layer in list(self._drawing({id(self)})):
            layer.reset_parameters(rng)

    def _drawing(self, met):
        """Yield the nearest layers below with a `reset_parameters` of their own."""
        if not _draws(self) and any(isinstance(value, Parameter) for value in vars(self).values()):
            raise TypeError(f"{type(self).__name__}: it has Parameters, but no reset_parameters that draws them")
        for _, child in self.children():
            if id(child) not in met:
                met.add(id(child))
                yield from [child] if _draws(child) else child._drawing(met)

    def state_dict(self) -> dict[str, npt.NDArray[Any]]:
        """Return a dict from path to a NumPy copy of every parameter and buffer, under each of its paths."""
        return {path: np.array(tensor.numpy()) for path, tensor in self._tensors(every_path=True)}

    def load_state_dict(self, state: dict[str, Array]) -> None:
        """Copy arrays into parameters and buffers; all of them fit, or nothing is changed.

        Parameters
        ----------
        state : dict
            A result of `state_dict`.

        Raises
        ------
        TypeError
            If `state` is not a dict.
        ValueError
            If a key is missing or unexpected, or an array has another shape or kind of numbers, is out of its
            tensor's range, or differs from the array of another path of the same tensor. The message names all.
        """
        name = f"load_state_dict: {type(self).__name__}"
        tensors = dict(self._tensors(every_path=True))
        arrays = fitting(name, state, {path: tensor.data for path, tensor in tensors.items()})
        first: dict[int, str] = {}
        for path, tensor in tensors.items():
            known = first.setdefault(id(tensor), path)
            if known != path and not np.array_equal(arrays[known], arrays[path], equal_nan=True):
                raise ValueError(f"{name}: {known} and {path} are one tensor, but their arrays differ")
        moved = [backend.to_device(arrays[path], backend.device_of(t.data)) for path, t in tensors.items()]
        for tensor, array in zip(tensors.values(), moved):
            tensor.data = array

    def _settings(self):
        """Return the text of the layer's own settings, for `repr`."""
        return ""

    def __repr__(self):
        return "\n".join(self._lines("", {}))

    def _lines(self, path, met):
        if id(self) in met:
            return [f"{type(self).__name__}, the same as {met[id(self)] or 'the whole'}"]
        met[id(self)] = path
        lines = [f"{type(self).__name__}({self._settings()})"]
        for name, child in self.children():
            first, *rest = child._lines(join(path, name), met)
            lines += [f"  {name}: {first}"] + [f"  {line}" for line in rest]
        return lines


def _refuse_hidden(module, name, value):
    """Refuse a Python container with layers or tensors, which `modules` and `parameters` would not find."""
    held = _held(value) if isinstance(value, CONTAINERS) else None
    if held is not None:
        raise TypeError(
            f"{type(module).__name__}: {name}, of type {type(value).__name__}, holds a {type(held).__name__} that "
            "would be neither trained nor saved; put layers into an nn.ModuleList, and make tensors attributes"
        )


def _held(value):
    """Return a Module or Tensor in a container, or None."""
    waiting, met = [value], set()
    while waiting:
        value = waiting.pop()
        if isinstance(value, (Module, Tensor)):
            return value
        if isinstance(value, CONTAINERS) and id(value) not in met:
            met.add(id(value))
            waiting += value.values() if isinstance(value, dict) else value
    return None


def _draws(module):
    return type(module).reset_parameters is not Module.reset_parameters


def _forgotten(module, when):
    return f"{type(module).__name__}: its __init__ must call super().__init__() {when}"


def join(path: str, name: str) -> str:
    """Return the path of a child."""
    return f"{path}.{name}" if path else name
