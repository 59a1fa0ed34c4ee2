"""The tape: `Tensor` holds an array, `Function` says how an op goes forwards and backwards.

Every op that touches a tensor with `requires_grad` leaves a `Node` behind: which function ran, where its inputs
came from, and what its backward pass needs. `Tensor.backward` visits these nodes from the output to the leaves.
"""

import contextlib
import contextvars
import re

import numpy as np

from duonet import backend

_recording = contextvars.ContextVar("recording", default=True)
_smooth = contextvars.ContextVar("smooth", default=False)


@contextlib.contextmanager
def no_grad():
    """Switch the tape off: ops inside leave no graph behind.

    Examples
    --------
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
def smooth_forward():
    """Make every op with a surrogate gradient compute its surrogate forwards as well.

    Inside, such an op is an ordinary differentiable function, so its backward pass can be checked numerically
    (`check_gradients(..., against="surrogate")`).

    Examples
    --------
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
        For each input, whether its gradient is wanted. A backward pass may return None where it is not.
    parents : tuple
        For each input, the Node or leaf Tensor it came from, or None. None in place of the tuple: freed.

    Whatever else `forward` writes on it (`ctx.mask = ...`) is what the backward pass remembers.
    """

    def __init__(self, function, parents, specs):
        self.function = function
        self.parents = parents
        self.specs = specs  # (shape, dtype) of each input, None where there is no input
        self.needs = tuple(parent is not None for parent in parents)
        self.hooks = []

    def free(self):
        """Forget everything but the function, so that the arrays go and a second backward can say why."""
        function = self.function
        self.__dict__.clear()
        self.function, self.parents, self.hooks = function, None, []


class Function:
    """An op: static `forward(ctx, *arrays, **options)` and `backward(ctx, dy)` on raw arrays.

    `backward` returns one gradient for each input, in the same order (a single array for one input). It may leave
    a broadcast input's gradient at the output's shape: the tape sums it, once and centrally. Gradients of
    gradients do not exist here: `backward` works on raw arrays and leaves no graph.

    Attributes
    ----------
    name : str
        The op's name in messages; by default the class name in snake case.
    exact : bool
        False where `backward` is not the derivative of `forward` but that of a surrogate. Such an op may define
        `smooth(ctx, *arrays, **options)`, the surrogate's own forward pass.

    Examples
    --------
    >>> class Double(Function):
    ...     @staticmethod
    ...     def forward(ctx, x):
    ...         return 2 * x
    ...     @staticmethod
    ...     def backward(ctx, dy):
    ...         return 2 * dy
    >>> x = Tensor([1.0, 2.0], requires_grad=True)
    >>> y = Double.apply(x)
    >>> y.backward(np.array([1, 10], "float32"))
    >>> x.grad
    array([ 2., 20.], dtype=float32)
    """

    name = "function"
    exact = True

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        if "name" not in cls.__dict__:
            cls.name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", cls.__name__).lower()

    @staticmethod
    def forward(ctx, *arrays, **options):
        """Compute the output array from the input arrays."""
        raise NotImplementedError

    @staticmethod
    def backward(ctx, dy):
        """Compute the gradient of the loss for each input from the output's, `dy`."""
        raise NotImplementedError

    @classmethod
    def apply(cls, *inputs, **options):
        """Run the op on tensors, arrays and numbers, and put it on the tape where a gradient is wanted.

        Parameters
        ----------
        *inputs : Tensor, array, number or None
            Numbers take the dtype of the arrays beside them. None stands for an input left out.
        **options
            Handed to `forward` as they are.

        Returns
        -------
        Tensor

        Raises
        ------
        TypeError
            If inputs differ in dtype or device.
        """
        arrays = cls._arrays(inputs)
        recording = _recording.get()
        parents = tuple(
            (x._node or x) if recording and isinstance(x, Tensor) and x.requires_grad else None for x in inputs
        )
        node = Node(cls, parents, [None if a is None else (a.shape, a.dtype) for a in arrays])
        out = cls._forward()(node, *arrays, **options)
        xp = backend.get_xp(out)
        y = Tensor(xp.asarray(out))  # NumPy turns 0-d results into scalars
        if any(node.needs):
            y.requires_grad = True
            y._node = node
        return y

    @classmethod
    def _forward(cls):
        if cls.exact or not _smooth.get():
            return cls.forward
        if not hasattr(cls, "smooth"):
            raise ValueError(f"{cls.name}: its gradient has no smooth function behind it to compute instead")
        return cls.smooth

    @classmethod
    def _arrays(cls, inputs):
        """Turn inputs into arrays of one dtype on one device, or say which two differ."""
        arrays = [x.data if isinstance(x, Tensor) else x for x in inputs]
        given = [(i, a) for i, a in enumerate(arrays) if backend.is_array(a)]
        if not given:
            raise TypeError(f"{cls.name}: expected a Tensor or an array, got {type(inputs[0]).__name__}")
        first, like = given[0]
        xp = backend.get_xp(like)
        for i, a in given[1:]:
            if backend.get_xp(a) is not xp:
                a_name, b_name = cls._input_name(first), cls._input_name(i)
                raise TypeError(
                    f"{cls.name}: {a_name} is on the {backend.device_of(like)} but {b_name} is on the "
                    f"{backend.device_of(a)}; move one of them first"
                )
            if a.dtype != like.dtype:
                a_name, b_name = cls._input_name(first), cls._input_name(i)
                raise TypeError(
                    f"{cls.name}: {a_name} is {like.dtype} but {b_name} is {a.dtype}; an op converts nothing"
                )
        return [a if a is None or backend.is_array(a) else cls._number(a, i, like) for i, a in enumerate(arrays)]

    @classmethod
    def _number(cls, value, i, like):
        if not isinstance(value, (int, float, np.number)):
            raise TypeError(
                f"{cls.name}: {cls._input_name(i)} must be a Tensor, an array or a number, "
                f"got {type(value).__name__}"
            )
        return backend.get_xp(like).asarray(value, dtype=like.dtype)

    @classmethod
    def _input_name(cls, i):
        code = cls.forward.__code__
        names = code.co_varnames[1 : code.co_argcount]
        return names[i] if i < len(names) else f"input {i}"


class Tensor:
    """An array that remembers how it was computed.

    Parameters
    ----------
    data : array, number or nested list
        An array is held as it is, without a copy, and keeps its dtype. Python numbers become float32.
    requires_grad : bool
        Whether `backward` should leave a gradient here.

    Attributes
    ----------
    data : numpy.ndarray or cupy.ndarray
    grad : array or None
        Gradient of the loss, accumulated over backward passes until `zero_grad`; shape and dtype of `data`.

    Raises
    ------
    TypeError
        If a gradient is asked of integers.

    Examples
    --------
    >>> x = Tensor([1.0, 2.0, 3.0], requires_grad=True)
    >>> y = (x * x).sum()
    >>> y.backward()
    >>> x.grad
    array([2., 4., 6.], dtype=float32)
    """

    __array_ufunc__ = None  # so that `array * tensor` asks the Tensor
    __hash__ = object.__hash__

    def __init__(self, data, requires_grad=False):
        if isinstance(data, Tensor):
            raise TypeError("Tensor: data is a Tensor already; use .detach() for one without history")
        if not backend.is_array(data):
            is_numpy = isinstance(data, np.generic)
            data = np.asarray(data)
            if not is_numpy and data.dtype.kind in "iuf":
                data = data.astype(np.float32)
        if data.dtype.kind not in "fiub":
            raise TypeError(f"Tensor: data must be numbers, got dtype {data.dtype}")
        if requires_grad and data.dtype.kind != "f":
            raise TypeError(f"Tensor: a gradient needs floating-point data, got {data.dtype}")
        self.data = data
        self.requires_grad = bool(requires_grad)
        self.grad = None
        self.hooks = []
        self._node = None

    @property
    def shape(self):
        """Shape of the data, a tuple of int."""
        return self.data.shape

    @property
    def dtype(self):
        """Dtype of the data."""
        return self.data.dtype

    @property
    def ndim(self):
        """Number of axes."""
        return self.data.ndim

    @property
    def size(self):
        """Number of elements."""
        return self.data.size

    def __len__(self):
        return len(self.data)

    def __repr__(self):
        grad = ", requires_grad=True" if self.requires_grad else ""
        return f"{type(self).__name__}({np.array2string(self.numpy(), separator=', ')}, dtype={self.dtype}{grad})"

    def __bool__(self):
        return bool(self.data)

    def __float__(self):
        return float(self.data.item())

    def __array__(self, dtype=None, copy=None):
        return np.array(self.numpy(), dtype=dtype, copy=copy)

    def item(self):
        """Return the single element as a Python number."""
        return self.data.item()

    def numpy(self):
        """Return the data as a NumPy array: itself on the CPU, a copy from the GPU."""
        return backend.to_device(self.data, "cpu")

    def detach(self):
        """Return a tensor on the same data without history."""
        return Tensor(self.data)

    def zero_grad(self):
        """Forget the accumulated gradient."""
        self.grad = None

    def add_hook(self, hook):
        """Have `hook(dy)` called with this tensor's complete gradient during the next backward pass.

        Parameters
        ----------
        hook : callable
            Receives a raw array, which it must not modify.

        Raises
        ------
        RuntimeError
            If no gradient will ever reach this tensor.
        """
        if not self.requires_grad:
            raise RuntimeError("add_hook: this tensor does not require a gradient, so none will reach the hook")
        (self._node or self).hooks.append(hook)

    def backward(self, dy=None):
        """Propagate the gradient `dy` of this tensor back to the leaves, adding to each leaf's `grad`.

        The graph is freed on the way; run the forward pass again before a second backward pass.

        Parameters
        ----------
        dy : array, optional
            Gradient of the loss with respect to this tensor, of its shape and dtype. May be left out for a
            tensor of one element, where it is 1.

        Raises
        ------
        RuntimeError
            If there is nothing to differentiate, or the graph has been freed.
        ValueError, TypeError
            If `dy` is missing, or has the wrong shape or dtype.
        """
        if not self.requires_grad:
            raise RuntimeError("backward: this tensor does not depend on anything that requires a gradient")
        dy = self._upstream(dy)
        output = self._node or self
        gradients = {id(output): dy}
        for source in _topological_order(output):
            dy = gradients.pop(id(source))
            for hook in source.hooks:
                hook(dy)
            if isinstance(source, Tensor):
                # Always an array of its own: dy may be shared with another leaf, and callers clip grad in place.
                source.grad = dy.copy() if source.grad is None else _add(source.grad, dy)
                continue
            for parent, gradient in zip(source.parents, _input_gradients(source, dy)):
                if parent is not None:
                    key = id(parent)
                    gradients[key] = gradient if key not in gradients else _add(gradients[key], gradient)
            source.free()

    def _upstream(self, dy):
        if dy is None:
            if self.size != 1:
                raise ValueError(
                    f"backward: a tensor of shape {self.shape} needs its gradient, backward(dy); "
                    "only a single element has the obvious one, 1"
                )
            return backend.get_xp(self.data).ones_like(self.data)
        dy = dy.data if isinstance(dy, Tensor) else np.asarray(dy) if isinstance(dy, np.generic) else dy
        if not backend.is_array(dy) or dy.shape != self.shape or dy.dtype != self.dtype:
            got = f"{dy.dtype} of shape {dy.shape}" if backend.is_array(dy) else type(dy).__name__
            raise ValueError(f"backward: dy must be {self.dtype} of shape {self.shape}, got {got}")
        return dy


class Parameter(Tensor):
    """A tensor that a layer learns: it always requires a gradient.

    Parameters
    ----------
    data : array, number or nested list

    Examples
    --------
    >>> Parameter([0.5, 1.5]).requires_grad
    True
    """

    def __init__(self, data):
        super().__init__(data, requires_grad=True)


def _topological_order(output):
    """List all sources below `output`, each before the sources it was computed from.

    A depth-first walk with its own stack: a network may be deeper than Python's recursion limit.
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
                    f"backward: an earlier backward pass went through this {source.function.name} and freed "
                    "what it remembered; run the forward pass again"
                )
            stack.extend((parent, False) for parent in source.parents if parent is not None)
    return order[::-1]


def _input_gradients(node, dy):
    """Run one backward pass and hold it to its word: a gradient of each input's shape and dtype."""
    gradients = node.function.backward(node, dy)
    if not isinstance(gradients, tuple):
        gradients = (gradients,)
    name = node.function.name
    if len(gradients) != len(node.parents):
        raise RuntimeError(f"{name}: backward returned {len(gradients)} gradients for {len(node.parents)} inputs")
    checked = []
    for i, (gradient, wanted, spec) in enumerate(zip(gradients, node.needs, node.specs)):
        if wanted:
            if gradient is None:
                raise RuntimeError(f"{name}: backward returned no gradient for {node.function._input_name(i)}")
            shape, dtype = spec
            gradient = _unbroadcast(backend.get_xp(gradient).asarray(gradient), shape)
            if gradient.shape != shape or gradient.dtype != dtype:
                raise RuntimeError(
                    f"{name}: backward returned {gradient.dtype} of shape {gradient.shape} for "
                    f"{node.function._input_name(i)}, which is {dtype} of shape {shape}"
                )
        checked.append(gradient)
    return checked


def _add(a, b):
    """Add two gradients into a new array, which a 0-d sum in NumPy is not by itself."""
    return backend.get_xp(a).asarray(a + b)


def _unbroadcast(gradient, shape):
    """Sum `gradient` over the axes along which an input of `shape` was broadcast."""
    extra = gradient.ndim - len(shape)
    if gradient.shape == shape or extra < 0:
        return gradient
    stretched = tuple(i + extra for i, n in enumerate(shape) if n == 1 and gradient.shape[i + extra] != 1)
    gradient = gradient.sum(axis=tuple(range(extra)) + stretched, keepdims=True)
    return gradient.reshape(gradient.shape[extra:])
