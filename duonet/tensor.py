"""`Tensor` holds an array; `Function` defines the forward and the backward pass of an op."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from duonet import arguments, backend, blas, engine
from duonet.backend import Array
from duonet.conversion import Conversions, from_python
from duonet.inputs import together
from duonet.tape import Node, backpropagate, recording, smooth

Operand: TypeAlias = "Tensor | Array | float | np.number[Any]"
Axis: TypeAlias = int | tuple[int, ...] | None


class Function:
    """An op: static `forward(ctx, *arrays, **options)` and `backward(ctx, dy)` on raw arrays.

    `backward` returns one gradient for each input, in the same order (a single array for one input). A broadcast
    input's gradient may have the output's shape: the tape sums it. There are no gradients of gradients:
    `backward` works on raw arrays and leaves no graph.

    Attributes
    ----------
    name : str
        The op's name in messages; by default the class name in snake case.
    exact : bool
        False where `backward` is not the derivative of `forward` but that of a surrogate. Such an op may define
        `smooth(ctx, *arrays, **options)`, the surrogate's own forward pass.
    dtypes : frozenset of numpy.dtype
        The dtypes that inputs may have. Ops compute with floats: as an integer, a half would be 0, and 200 + 100
        in uint8 is 44. Ops that only move elements take `arguments.NUMBERS`.

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
    dtypes = arguments.FLOATS

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        if "name" not in cls.__dict__:
            cls.name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", cls.__name__).lower()

    @staticmethod
    def forward(ctx: Any, *arrays: Any, **options: Any) -> Any:
        """Compute the output array from the input arrays."""
        raise NotImplementedError

    @staticmethod
    def backward(ctx: Any, dy: Array) -> Any:
        """Compute the gradient of the loss for each input from `dy`, its gradient for the output."""
        raise NotImplementedError

    @classmethod
    def apply(cls, *inputs: Operand | None, **options: Any) -> Tensor:
        """Run the op on tensors, arrays and numbers, and put it on the tape if an input requires a gradient.

        Parameters
        ----------
        *inputs : Tensor, array, number or None
            Numbers take the dtype of the other inputs, which must be able to hold them. None stands for a missing
            input.
        **options
            Passed to `forward` unchanged.

        Returns
        -------
        Tensor

        Raises
        ------
        TypeError
            If inputs differ in dtype or device, or have a dtype that the op does not take.
        ValueError
            If a number is beyond the dtype's range, or shapes do not fit.
        OutOfMemory
            If the op's results do not fit into memory.
        """
        arrays = together(cls, [x._data if isinstance(x, Tensor) else x for x in inputs])
        device = backend.device_of(next(a for a in arrays if a is not None))
        op = engine.version(cls, device, *arrays, **options)
        taping = recording()
        parents = tuple(
            [(x._node or x) if taping and isinstance(x, Tensor) and x.requires_grad else None for x in inputs]
        )
        node = Node(op, parents, [None if a is None else (a.shape, a.dtype) for a in arrays])
        try:
            with blas.one_thread():
                out = op._forward()(node, *arrays, **options)
        except MemoryError as error:
            raise backend.out_of_memory(op.name, error) from error
        except ValueError as error:
            if "broadcast together" not in str(error):
                raise
            shapes = " and ".join(str(a.shape) for a in arrays)
            raise ValueError(f"{op.name}: shapes {shapes} do not broadcast") from error
        y = Tensor(np.asarray(out) if device == "cpu" else out)  # NumPy turns 0-d results into scalars
        owner = backend.owner(y._data)
        for x in inputs:
            if isinstance(x, Tensor) and backend.owner(x._data) is owner:  # y is a view of x
                y._changes = x._changes
        if True in node.needs:
            y.requires_grad = True
            y._node = node
            node.watched = [(x._changes, x._changes[0]) if isinstance(x, Tensor) else None for x in (*inputs, y)]
        return y

    @classmethod
    def _forward(cls):
        if cls.exact or not smooth():
            return cls.forward
        if not hasattr(cls, "smooth"):
            raise ValueError(f"{cls.name}: its gradient has no smooth function behind it to compute instead")
        return cls.smooth


class Tensor(Conversions):
    """An array that remembers how it was computed.

    Parameters
    ----------
    data : array, number or nested list
        The tensor holds an array without a copy, in its dtype: floats of 16 to 64 bits, integers or bool,
        in the machine's byte order. Python numbers become float32.
    requires_grad : bool
        Whether `backward` should store a gradient in `grad`.

    Attributes
    ----------
    data : numpy.ndarray or cupy.ndarray
        Can be assigned, or changed by `t.data -= ...`; a backward pass through results older than a change in
        place is refused. After another change in place, such as `t.data[...] = ...`, call `changed()`.
    grad : array or None
        Gradient of the loss, accumulated over backward passes until `zero_grad`; shape and dtype of `data`.

    Raises
    ------
    TypeError
        If `data` is not such an array, or `requires_grad` is True for integers.
    ValueError
        If numbers are beyond the range of float32, or lists differ in length.

    Examples
    --------
    >>> x = Tensor([1.0, 2.0, 3.0], requires_grad=True)
    >>> y = (x * x).sum()
    >>> y.backward()
    >>> x.grad
    array([2., 4., 6.], dtype=float32)
    """

    if TYPE_CHECKING:  # set by duonet.functional.operators, because this file does not know the ops

        def __iter__(self) -> Iterator[Tensor]: ...
        def __contains__(self, value: Operand) -> bool: ...
        def __getitem__(self, index: Any) -> Tensor: ...
        def __add__(self, other: Operand) -> Tensor: ...

        __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = __add__
        __matmul__ = __rmatmul__ = __add__

        def __gt__(self, other: Any) -> Tensor: ...

        __ge__ = __lt__ = __le__ = __gt__
        __eq__ = __ne__ = __gt__  # type: ignore[assignment]

        def __pow__(self, exponent: float) -> Tensor: ...
        def __neg__(self) -> Tensor: ...

        exp = log = sqrt = __neg__

        def sum(self, axis: Axis = None, keepdims: bool = False) -> Tensor: ...

        mean = max = sum

        def reshape(self, *shape: int | tuple[int, ...] | list[int]) -> Tensor: ...
        def transpose(self, axes: tuple[int, ...] | None = None) -> Tensor: ...
        @property
        def T(self) -> Tensor: ...

    __array_ufunc__ = None  # so that the Tensor decides `array * tensor`
    __hash__ = object.__hash__

    def __init__(self, data: npt.ArrayLike, requires_grad: bool = False):
        if isinstance(data, Tensor):
            raise TypeError("Tensor: data is a Tensor already; use .detach() for a Tensor without history")
        if not backend.is_array(data):
            data = np.asarray(data) if isinstance(data, np.generic) else from_python(data)
        self._data = arguments.array("Tensor", "data", data, arguments.NUMBERS)
        if requires_grad and self.dtype.kind != "f":
            raise TypeError(f"Tensor: a gradient needs floating-point data, got {self.dtype}")
        self._changes = [0]  # the number of changes in place; tensors on the same data share the list
        self.requires_grad = bool(requires_grad)
        self.grad: Array | None = None
        self.hooks: list[Callable[[Array], object]] = []
        self._node: Node | None = None

    @property
    def data(self) -> Array:
        """The array."""
        return self._data

    @data.setter
    def data(self, array: Array) -> None:
        array = np.asarray(array) if isinstance(array, np.generic) else array  # a sum of 0-d arrays
        arguments.array(type(self).__name__, "data", array, arguments.NUMBERS)
        old, self._data = self._data, array
        if array is old or type(array) is not type(old) or (array.shape, array.dtype) != (old.shape, old.dtype):
            self.changed()

    def changed(self) -> None:
        """Record that `data` was changed in place: a backward pass through earlier results is then refused."""
        self._changes[0] += 1

    def __getstate__(self):
        """Copy and pickle leaves, without hooks; the copy of a result would point to copies of its leaves."""
        if self._node is not None:
            raise TypeError(f"copying a Tensor: it is a result of {self._node.function.name}; copy x.detach()")
        return {**vars(self), "hooks": []}

    def detach(self) -> Tensor:
        """Return a tensor without history that shares the data."""
        tensor = Tensor(self.data)
        tensor._changes = self._changes
        return tensor

    def zero_grad(self) -> None:
        """Forget the accumulated gradient."""
        self.grad = None

    def add_hook(self, hook: Callable[[Array], object]) -> None:
        """Add a `hook(dy)` for this tensor's complete gradient during the next backward pass.

        Parameters
        ----------
        hook : callable
            Receives a raw array, which it must not modify.

        Raises
        ------
        RuntimeError
            If no gradient will ever reach this tensor.
        TypeError
            If `hook` cannot be called.
        """
        if not self.requires_grad:
            raise RuntimeError("add_hook: this tensor does not require a gradient, so none will reach the hook")
        if not callable(hook):
            raise TypeError(f"add_hook: hook must be callable, got {type(hook).__name__}")
        (self._node or self).hooks.append(hook)

    def backward(self, dy: Tensor | Array | None = None) -> None:
        """Propagate the gradient `dy` of this tensor back to the leaves, adding to each leaf's `grad`.

        The graph is freed on the way; run the forward pass again before a second backward pass.

        Parameters
        ----------
        dy : array, optional
            Gradient of the loss with respect to this tensor, of its shape and dtype. For a tensor of one element
            the default is 1.

        Raises
        ------
        RuntimeError
            If there is nothing to differentiate, the graph has been freed, or a tensor that an op used has been
            changed in place, as by an optimiser's step.
        ValueError, TypeError
            If `dy` is missing, or has the wrong shape, dtype or device.
        """
        if not self.requires_grad:
            raise RuntimeError("backward: this tensor does not depend on anything that requires a gradient")
        with blas.one_thread():
            backpropagate(self._node or self, self._upstream(dy))

    def _upstream(self, dy):
        if dy is None:
            if self.size != 1:
                raise ValueError(
                    f"backward: only a single element has a default dy; pass one of shape {self.shape}"
                )
            return backend.get_xp(self.data).ones_like(self.data)
        dy = dy.data if isinstance(dy, Tensor) else np.asarray(dy) if isinstance(dy, np.generic) else dy
        if backend.is_array(dy):
            arguments.array("backward", "dy", dy, arguments.NUMBERS)
        if not backend.is_array(dy) or dy.shape != self.shape or dy.dtype != self.dtype:
            got = f"{dy.dtype} of shape {dy.shape}" if backend.is_array(dy) else type(dy).__name__
            raise ValueError(f"backward: dy must be {self.dtype} of shape {self.shape}, got {got}")
        here, there = backend.device_of(self.data), backend.device_of(dy)
        if here != there:
            raise TypeError(f"backward: the tensor is on the {here} but dy is on the {there}; move one of them")
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

    def __init__(self, data: npt.ArrayLike):
        super().__init__(data, requires_grad=True)
