"""Conversions from Python's numbers and lists to arrays, and back: `float`, `format` and NumPy for a Tensor."""

import operator
from typing import Any

import numpy as np
import numpy.typing as npt

from duonet import backend
from duonet.backend import Array


def from_python(data: Any) -> npt.NDArray[Any]:
    """Make an array from numbers and nested lists: float32, or bool if all elements are bool.

    Parameters
    ----------
    data : number or nested list

    Returns
    -------
    numpy.ndarray
        Elements that are not numbers keep the dtype that NumPy gives them.

    Raises
    ------
    TypeError
        If a list holds a Tensor.
    ValueError
        If lists differ in length, or numbers are beyond the range of float32.

    Examples
    --------
    >>> from_python([1, 2])
    array([1., 2.], dtype=float32)
    """
    if _holds_tensor(data):
        raise TypeError("Tensor: data holds a Tensor, and its history would be lost; join them by concat")
    try:
        wide = np.asarray(data)
    except ValueError as error:
        raise ValueError(f"Tensor: data must be a number or lists of equal length ({error})") from None
    if wide.dtype.kind not in "iuf":
        return wide
    with np.errstate(over="ignore"):
        narrow = wide.astype(np.float32)
    if (np.isinf(narrow) & np.isfinite(wide)).any():
        raise ValueError("Tensor: data holds a number beyond the range of float32; an array keeps its dtype")
    return narrow


def _holds_tensor(data):
    return isinstance(data, Conversions) or (
        isinstance(data, (list, tuple)) and any(_holds_tensor(item) for item in data)
    )


class Conversions:
    """The conversions of a tensor: each converts its `data`.

    Examples
    --------
    >>> from duonet import Tensor
    >>> loss = Tensor(0.125)
    >>> float(loss), f"{loss:.2f}", np.asarray(loss)
    (0.125, '0.12', array(0.125, dtype=float32))
    """

    data: Array
    requires_grad: bool

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the data, a tuple of int."""
        return self.data.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Dtype of the data."""
        return self.data.dtype

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return self.data.ndim

    @property
    def size(self) -> int:
        """Number of elements."""
        return self.data.size

    def __len__(self) -> int:
        return len(self.data)

    def __repr__(self):
        grad = ", requires_grad=True" if self.requires_grad else ""
        return f"{type(self).__name__}({np.array2string(self.numpy(), separator=', ')}, dtype={self.dtype}{grad})"

    def __bool__(self) -> bool:
        return bool(self.data)

    def __float__(self) -> float:
        return float(self.data.item())

    def __int__(self) -> int:
        return int(self.data.item())

    def __index__(self) -> int:
        return operator.index(self.numpy())

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if spec else str(self)

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> npt.NDArray[Any]:
        return np.array(self.numpy(), dtype=dtype, copy=copy)

    def item(self) -> Any:
        """Return the single element as a Python number."""
        return self.data.item()

    def numpy(self) -> npt.NDArray[Any]:
        """Return the data as a NumPy array: itself on the CPU, a copy from the GPU."""
        return backend.to_device(self.data, "cpu")
