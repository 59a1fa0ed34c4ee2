"""Give `Tensor` its operators and methods: `a + b`, `x[1:]`, `x.mean()`.

They are set here because `duonet.tensor` is one floor below the ops and cannot import the ops.
"""

import operator
from typing import Any

from duonet.functional import arithmetic, products, reduction, shape
from duonet.tensor import Tensor


def _turned(op):
    return lambda b, a: op(a, b)


def _relation(relation):
    return lambda a, b: arithmetic.compare(a, b, relation)


def _reshape(x: Tensor, *new_shape: Any) -> Tensor:
    """Reshape to `x.reshape(2, 3)` or `x.reshape((2, 3))`; see `duonet.functional.reshape`."""
    return shape.reshape(x, new_shape[0] if new_shape and isinstance(new_shape[0], (tuple, list)) else new_shape)


def _iterate(x):
    if x.ndim == 0:
        raise TypeError("iteration over a 0-d tensor")
    return (x[i] for i in range(len(x)))


METHODS = {
    "__add__": arithmetic.add, "__radd__": _turned(arithmetic.add),
    "__sub__": arithmetic.sub, "__rsub__": _turned(arithmetic.sub),
    "__mul__": arithmetic.mul, "__rmul__": _turned(arithmetic.mul),
    "__truediv__": arithmetic.div, "__rtruediv__": _turned(arithmetic.div),
    "__matmul__": products.matmul, "__rmatmul__": _turned(products.matmul),
    "__neg__": arithmetic.neg, "__pow__": arithmetic.pow,
    "__gt__": _relation(operator.gt), "__ge__": _relation(operator.ge),
    "__lt__": _relation(operator.lt), "__le__": _relation(operator.le),
    "__eq__": _relation(operator.eq), "__ne__": _relation(operator.ne),
    "__contains__": lambda x, value: bool((x == value).data.any()),
    "__iter__": _iterate, "__getitem__": shape.getitem,
    "exp": arithmetic.exp, "log": arithmetic.log, "sqrt": arithmetic.sqrt,
    "sum": reduction.sum, "mean": reduction.mean, "max": reduction.max,
    "reshape": _reshape, "transpose": shape.transpose,
    "T": property(shape.transpose, doc="The tensor with its axes reversed."),
}  # fmt: skip

for name, method in METHODS.items():
    setattr(Tensor, name, method)
