"""Give `Tensor` its operators and methods: `a + b`, `x[1:]`, `x.mean()`.

They are set here because `duonet.tensor` is one floor below the ops and does not know them.
"""

import operator

from duonet.functional import arithmetic, products, reduction, shape
from duonet.tensor import Tensor


def _reshape(x, *new_shape):
    """Reshape to `x.reshape(2, 3)` or `x.reshape((2, 3))`; see `duonet.functional.reshape`."""
    return shape.reshape(x, new_shape[0] if new_shape and isinstance(new_shape[0], (tuple, list)) else new_shape)


def _iterate(x):
    if x.ndim == 0:
        raise TypeError("iteration over a 0-d tensor")
    return (x[i] for i in range(len(x)))


Tensor.__iter__ = _iterate
Tensor.__contains__ = lambda x, value: bool((x == value).data.any())
Tensor.__add__ = arithmetic.add
Tensor.__radd__ = lambda a, b: arithmetic.add(b, a)
Tensor.__sub__ = arithmetic.sub
Tensor.__rsub__ = lambda a, b: arithmetic.sub(b, a)
Tensor.__mul__ = arithmetic.mul
Tensor.__rmul__ = lambda a, b: arithmetic.mul(b, a)
Tensor.__truediv__ = arithmetic.div
Tensor.__rtruediv__ = lambda a, b: arithmetic.div(b, a)
Tensor.__neg__ = arithmetic.neg
Tensor.__pow__ = arithmetic.pow
Tensor.__matmul__ = products.matmul
Tensor.__rmatmul__ = lambda a, b: products.matmul(b, a)
Tensor.__getitem__ = shape.getitem
Tensor.__gt__ = lambda a, b: arithmetic.compare(a, b, operator.gt)
Tensor.__ge__ = lambda a, b: arithmetic.compare(a, b, operator.ge)
Tensor.__lt__ = lambda a, b: arithmetic.compare(a, b, operator.lt)
Tensor.__le__ = lambda a, b: arithmetic.compare(a, b, operator.le)
Tensor.__eq__ = lambda a, b: arithmetic.compare(a, b, operator.eq)
Tensor.__ne__ = lambda a, b: arithmetic.compare(a, b, operator.ne)
Tensor.exp = arithmetic.exp
Tensor.log = arithmetic.log
Tensor.sqrt = arithmetic.sqrt
Tensor.sum = reduction.sum
Tensor.mean = reduction.mean
Tensor.max = reduction.max
Tensor.reshape = _reshape
Tensor.transpose = shape.transpose
Tensor.T = property(shape.transpose, doc="The tensor with its axes reversed.")
