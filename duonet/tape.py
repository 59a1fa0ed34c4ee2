"""The tape: the graph that ops leave behind, and the walk back through it.

Every op on a tensor with `requires_grad` leaves a `Node`: the function that ran, the sources of its inputs, and
the values that its backward pass needs. A source of the graph is a Node, or a leaf: a Tensor that no op
computed.
"""

import contextlib
import contextvars
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from duonet import backend, exact
from duonet.backend import Array
from duonet.inputs import name_of

_recording = contextvars.ContextVar("recording", default=True)
_smooth = contextvars.ContextVar("smooth", default=False)


@contextlib.contextmanager
def no_grad() -> Iterator[None]:
    """Switch the tape off: ops inside the block leave no graph behind.

    Examples
    --------
    >>> from duonet import Tensor
    >>> x = Tensor([1.0, 2.0], requires_grad=True)
    >>> with no_grad():
    ...     y = x * 2
    >>> y.requires_grad
    False
    """
    token = _recording.set(False)
    try:
        yield
    finally:
        _recording.reset(token)


@contextlib.contextmanager
def smooth_forward() -> Iterator[None]:
    """Make every op with a surrogate gradient compute its surrogate in the forward pass as well.

    Inside, such an op is an ordinary differentiable function, so its backward pass can be checked numerically
    (`check_gradients(..., against="surrogate")`).

    Examples
    --------
    >>> from duonet import Tensor
    >>> from duonet.quant import quantize, Binary, Clip
    >>> x = Tensor([0.25, 0.75])
    >>> quantize(x, Binary(), Clip(0, 1)).data
    array([0., 1.], dtype=float32)
    >>> with smooth_forward():
    ...     quantize(x, Binary(), Clip(0, 1)).data
    array([0.25, 0.75], dtype=float32)
    """
    token = _smooth.set(True)
    try:
        yield
    finally:
        _smooth.reset(token)


class Node:
    """One applied function: the `ctx` of its forward and backward, and its place in the graph.

    Attributes
    ----------
    function : type
        The `Function` that ran.
    needs : tuple of bool
        For each input, whether its gradient is wanted. A backward pass may return None for an unwanted gradient.
    parents : tuple
        For each input, the Node or leaf Tensor it came from, or None. After `free`, None instead of the tuple.

    Every other attribute that `forward` sets (`ctx.mask = ...`) is kept for the backward pass.
    """

    def __init__(self, function: type[Any], parents: tuple[Any, ...], specs: list[Any]):
        self.function = function
        self.parents = parents
        self.specs = specs  # (shape, dtype) of each input, None where there is no input
        self.needs = tuple([parent is not None for parent in parents])
        self.hooks: list[Callable[[Array], object]] = []
        self.watched: Sequence[Any] = ()  # (changes in place, as counted then) of each input and of the result

    def check_unchanged(self) -> None:
        """Raise RuntimeError if an input or the result has been changed in place since the forward pass."""
        for i, watched in enumerate(self.watched):
            if watched is not None and watched[0][0] != watched[1]:
                name = self.function.name
                what = "the result"
                if i < len(self.specs):
                    what = f"{name_of(self.function, i)} of shape {self.specs[i][0]}"
                raise RuntimeError(
                    f"backward: {what} of {name} was changed in place after the forward pass, as an optimiser's "
                    "step does; run the forward pass again"
                )

    def free(self) -> None:
        """Forget all but the function: this frees the arrays, and a second backward pass can name the function."""
        function = self.function
        self.__dict__.clear()
        self.__dict__.update(function=function, parents=None, hooks=[])


def recording() -> bool:
    """Return whether ops record nodes at present.

    Returns
    -------
    bool

    Examples
    --------
    >>> with no_grad():
    ...     recording()
    False
    """
    return _recording.get()


def smooth() -> bool:
    """Return whether ops with a surrogate gradient compute the surrogate in the forward pass at present.

    Returns
    -------
    bool

    Examples
    --------
    >>> smooth()
    False
    """
    return _smooth.get()


def backpropagate(output: Any, dy: Array) -> None:
    """Carry the gradient `dy` of a source back to the leaves below it, freeing the graph on the way.

    Parameters
    ----------
    output : Node or Tensor
        The source whose gradient is known.
    dy : array
        The gradient, of the output's shape and dtype.

    Raises
    ------
    RuntimeError
        If the graph has been freed or a tensor of it was changed in place (both before any gradient is added), or
        if a backward pass returns a gradient of the wrong shape or dtype.

    Examples
    --------
    >>> from duonet import Tensor
    >>> x = Tensor([2.0], requires_grad=True)
    >>> y = x * x
    >>> backpropagate(y._node, y.data)
    >>> x.grad
    array([16.], dtype=float32)
    """
    gradients = {id(output): dy}
    order = topological_order(output, "backward")
    for source in order:
        if isinstance(source, Node):
            source.check_unchanged()
    for source in order:
        dy = gradients.pop(id(source))
        hooks, source.hooks = source.hooks, []
        for hook in hooks:
            hook(dy)
        if not isinstance(source, Node):
            # Always an array of its own: dy may be shared with another leaf, and callers clip grad in place.
            source.grad = dy.copy() if source.grad is None else _add(source.grad, dy)
            continue
        for parent, gradient in zip(source.parents, _input_gradients(source, dy)):
            if parent is not None:
                key = id(parent)
                gradients[key] = gradient if key not in gradients else _add(gradients[key], gradient)
        source.free()


def topological_order(output: Any, asking: str) -> list[Any]:
    """List all sources below `output`, each before the sources it was computed from.

    A depth-first walk with its own stack: a network may be deeper than Python's recursion limit.

    Parameters
    ----------
    output : Node or Tensor
        The first source.
    asking : str
        The caller's name, for the message.

    Returns
    -------
    list of Node and Tensor

    Raises
    ------
    RuntimeError
        If a backward pass has freed a part of the graph.

    Examples
    --------
    >>> from duonet import Tensor
    >>> x = Tensor([2.0], requires_grad=True)
    >>> y = x.exp() + x
    >>> [getattr(source, "function", Tensor).__name__ for source in topological_order(y._node, "example")]
    ['Add', 'Exp', 'Tensor']
    """
    order, seen, stack = [], set(), [(output, False)]
    while stack:
        source, expanded = stack.pop()
        if expanded:
            order.append(source)
            continue
        if id(source) in seen:
            continue
        seen.add(id(source))
        stack.append((source, True))
        if isinstance(source, Node):
            if source.parents is None:
                raise RuntimeError(
                    f"{asking}: an earlier backward pass went through this {source.function.name} and freed "
                    "what it remembered; run the forward pass again"
                )
            stack.extend((parent, False) for parent in source.parents if parent is not None)
    return order[::-1]


def _input_gradients(node, dy):
    """Run one backward pass, and check that each gradient has the shape and dtype of its input."""
    name = node.function.name
    try:
        gradients = node.function.backward(node, dy)
    except MemoryError as error:
        raise backend.out_of_memory(f"backward of {name}", error) from error
    if not isinstance(gradients, tuple):
        gradients = (gradients,)
    if len(gradients) != len(node.parents):
        raise RuntimeError(f"{name}: backward returned {len(gradients)} gradients for {len(node.parents)} inputs")
    checked = []
    for i, (gradient, wanted, spec) in enumerate(zip(gradients, node.needs, node.specs)):
        if wanted:
            if gradient is None:
                raise RuntimeError(f"{name}: backward returned no gradient for {name_of(node.function, i)}")
            shape, dtype = spec
            gradient = _unbroadcast(backend.get_xp(gradient).asarray(gradient), shape)
            if gradient.shape != shape or gradient.dtype != dtype:
                raise RuntimeError(
                    f"{name}: backward returned {gradient.dtype} of shape {gradient.shape} for "
                    f"{name_of(node.function, i)}, which is {dtype} of shape {shape}"
                )
        checked.append(gradient)
    return checked


def _add(a, b):
    """Add two gradients into a new array; NumPy alone would return a scalar for 0-d arrays."""
    return backend.get_xp(a).asarray(a + b)


def _unbroadcast(gradient, shape):
    """Sum `gradient` over the axes along which an input of `shape` was broadcast."""
    extra = gradient.ndim - len(shape)
    if gradient.shape == shape or extra < 0:
        return gradient
    stretched = tuple(i + extra for i, n in enumerate(shape) if n == 1 and gradient.shape[i + extra] != 1)
    gradient = exact.total(gradient, tuple(range(extra)) + stretched, keepdims=True)
    return gradient.reshape(gradient.shape[extra:])
