"""Which version of an op runs: the plain one, written to be read, or a twin that computes the same faster.

The plain op is the definition, and runs anywhere. A twin is a subclass of it for one device, in `duonet.fast`
(cache and threads on the CPU) or `duonet.gpu` (kernels); the calls that it does not suit run the plain op.
`Function.apply` asks `version`, and so does an optimiser's step; nothing else chooses.
"""

import contextlib
import contextvars
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

T = TypeVar("T", bound=type)

_twins: dict[tuple[type, str], type] = {}
_plain = contextvars.ContextVar("plain", default=False)


def twin(device: str) -> Callable[[T], T]:
    """Register a class as the fast version, on one device, of the op that it derives from.

    Parameters
    ----------
    device : {"cpu", "gpu"}

    Returns
    -------
    callable
        A class decorator.

    Examples
    --------
    >>> from duonet import Function
    >>> class Twice(Function):
    ...     forward = staticmethod(lambda ctx, x: x + x)
    >>> @twin("cpu")
    ... class FastTwice(Twice):
    ...     forward = staticmethod(lambda ctx, x: 2 * x)
    >>> version(Twice, "cpu").__name__, version(Twice, "gpu").__name__
    ('FastTwice', 'Twice')
    """

    def register(cls):
        op = cls.__bases__[0]
        cls.name = getattr(op, "name", cls.__name__)  # messages name the op, whichever version ran
        _twins[op, device] = cls
        return cls

    return register


def version(op: type, device: str, *arrays: Any, **options: Any) -> Any:
    """Return the class that runs for `op` on a device: its twin where that suits the call, else itself.

    A twin that does not suit every call says so in `suits`, a static method with the arguments of the call.

    Parameters
    ----------
    op : type
        A `Function`, or an optimiser that has a rule of its own for an update.
    device : {"cpu", "gpu"}
    *arrays, **options
        Of a call of it; without any, the twin that there is.

    Returns
    -------
    type

    Examples
    --------
    >>> import numpy as np
    >>> from duonet.functional.conv import Conv2d
    >>> from duonet.functional.arithmetic import Add
    >>> version(Add, "cpu", np.ones(3), np.ones(3)) is Add, version(Add, "cpu", np.ones(3), np.ones(1)) is Add
    (False, True)
    >>> with plain_ops():
    ...     version(Conv2d, "cpu") is Conv2d
    True
    """
    found = None if plain() else _twins.get((op, device))
    suits = getattr(found, "suits", None)
    return found if found and (not suits or not arrays or suits(*arrays, **options)) else op


def plain() -> bool:
    """Say whether the plain version of every op runs just now.

    Returns
    -------
    bool

    Examples
    --------
    >>> with plain_ops():
    ...     plain()
    True
    """
    return _plain.get()


@contextlib.contextmanager
def plain_ops() -> Iterator[None]:
    """Run the plain version of every op inside: to read along, to check its twin, to see what the twin is worth.

    Examples
    --------
    >>> from duonet import Tensor, functional
    >>> x = Tensor([[1.0, 2.0], [3.0, 5.0]])
    >>> with plain_ops():
    ...     functional.batch_norm(x, Tensor([1.0, 1.0]), Tensor([0.0, 0.0]), eps=0.0).data
    array([[-1., -1.],
           [ 1.,  1.]], dtype=float32)
    """
    token = _plain.set(True)
    try:
        yield
    finally:
        _plain.reset(token)
