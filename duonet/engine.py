"""The choice of the version of an op: the plain op, written to be read, or a twin with the same result, faster.

The plain op is the definition, and runs anywhere. A twin is a subclass of it for one device, in `duonet.fast`
(cache and threads on the CPU), `duonet.compiled` (numba, where it is installed) or `duonet.gpu` (kernels); calls
that suit no twin run the plain op. `version` chooses, and only `Function.apply` and an optimiser's step call it.
By `attach`, an op tells the next op what it knows about the array that it made.
"""

import contextlib
import contextvars
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any, TypeVar

T = TypeVar("T", bound=type)

_twins: dict[tuple[type, str], list[type]] = {}
_ROOMS = {"cpu": ("compiled", "cpu"), "gpu": ("gpu",)}  # the faster rooms first
_refused: contextvars.ContextVar[tuple[str, ...]] = contextvars.ContextVar("refused", default=())
_waiting: dict[str, Callable[[], object]] = {}  # functions that register the twins of a room on first use
_lock = threading.RLock()
# By the id of an array, a weak reference to it and the facts known about it, by name.
_attached: dict[int, tuple[weakref.ref[Any], dict[str, Any]]] = {}


def twin(device: str) -> Callable[[T], T]:
    """Register a class as the fast version, on one device, of the op that it derives from.

    Parameters
    ----------
    device : {"cpu", "compiled", "gpu"}
        "compiled" runs on the CPU as well, and comes before "cpu". Of several twins, the latest registered twin
        comes first.

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
        base = cls.__bases__[0]
        op = cls.twin_of = vars(base).get("twin_of", base)  # a twin may derive from another twin
        cls.name = getattr(op, "name", cls.__name__)  # messages name the op, whichever version ran
        _twins.setdefault((op, device), []).insert(0, cls)
        return cls

    return register


def register_later(device: str, load: Callable[[], object]) -> None:
    """Register twins when the first op runs on their device, because their import takes a while.

    Parameters
    ----------
    device : {"cpu", "compiled", "gpu"}
    load : callable
        Imports the twins.

    Examples
    --------
    >>> register_later("example", lambda: print("loaded"))
    >>> found = _found(object, "example"), _found(object, "example")
    loaded
    """
    _waiting[device] = load


def _found(op: type, device: str) -> list[type]:
    """Return the twins of an op, the best twin first."""
    if device in _waiting:
        with _lock:  # a second thread waits until all twins are registered
            if load := _waiting.get(device):
                load()
                _waiting.pop(device)
    return _twins.get((op, device), [])


def version(op: type, device: str, *arrays: Any, **options: Any) -> Any:
    """Return the class that runs for `op` on a device: its twin if the twin suits the call, else the op itself.

    A twin that does not suit every call has a static method `suits`, with the arguments of the call.

    Parameters
    ----------
    op : type
        A `Function`, or an optimiser with its own rule for an update.
    device : {"cpu", "gpu"}
    *arrays, **options
        The arguments of a call; without any, `suits` is not called.

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
    refused = _refused.get()
    for room in _ROOMS[device]:
        if room not in refused:
            for found in _found(op, room):
                suits = getattr(found, "suits", None)
                if not suits or not arrays or suits(*arrays, **options):
                    return found
    return op


def attach(array: Any, **known: object) -> Any:
    """Attach facts to an array object for its next reader; make it read-only, so that the facts stay true.

    A view of the array is another object, without these facts.

    Parameters
    ----------
    array : numpy.ndarray
    **known : object
        Facts by name, in addition to earlier facts.

    Returns
    -------
    numpy.ndarray
        `array`.

    Examples
    --------
    >>> import numpy as np
    >>> x = attach(np.ones(3), levels=(0, 1))
    >>> known(x, "levels"), known(x[:2], "levels"), x.flags.writeable
    ((0, 1), None, False)
    """
    key = id(array)
    array.flags.writeable = False
    entry = _attached.get(key)
    if entry is None or entry[0]() is not array:
        entry = _attached[key] = weakref.ref(array, lambda _: _attached.pop(key, None)), {}
    entry[1].update(known)
    return array


def known(array: Any, name: str) -> Any:
    """Return a fact that `attach` has attached to an array, or None.

    Parameters
    ----------
    array : numpy.ndarray
    name : str

    Returns
    -------
    object

    Examples
    --------
    >>> import numpy as np
    >>> known(np.ones(3), "levels")
    """
    entry = _attached.get(id(array))
    return entry[1].get(name) if entry and not array.flags.writeable and entry[0]() is array else None


@contextlib.contextmanager
def without(*rooms: str) -> Iterator[None]:
    """Switch off the twins of some rooms inside the block: to check the others, or to measure these.

    Parameters
    ----------
    *rooms : {"compiled", "cpu", "gpu"}

    Examples
    --------
    >>> with without("compiled"):
    ...     pass  # NumPy's twins run, whether or not numba is installed
    """
    token = _refused.set((*_refused.get(), *rooms))
    try:
        yield
    finally:
        _refused.reset(token)


def allowed(room: str) -> bool:
    """Return whether the twins of a room may run at present.

    Parameters
    ----------
    room : {"compiled", "cpu", "gpu"}

    Returns
    -------
    bool

    Examples
    --------
    >>> with plain_ops():
    ...     allowed("compiled")
    False
    """
    return room not in _refused.get()


def plain_ops() -> AbstractContextManager[None]:
    """Run the plain version of every op inside the block: to debug an op, or to check and measure its twin.

    Returns
    -------
    context manager

    Examples
    --------
    >>> from duonet import Tensor, functional
    >>> x = Tensor([[1.0, 2.0], [3.0, 5.0]])
    >>> with plain_ops():
    ...     functional.batch_norm(x, Tensor([1.0, 1.0]), Tensor([0.0, 0.0]), eps=0.0).data
    array([[-1., -1.],
           [ 1.,  1.]], dtype=float32)
    """
    return without("compiled", "cpu", "gpu")
