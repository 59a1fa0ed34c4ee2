"""An array on a pretended GPU: NumPy's memory behind CuPy's manners."""

import contextlib
import types

import numpy as np


class OutOfMemoryError(MemoryError):
    """As `cupy.cuda.memory.OutOfMemoryError`, whose message tells sizes."""

    def __init__(self, size, total, limit):
        super().__init__(
            f"Out of memory allocating {size:,} bytes (allocated so far: {total:,} bytes, "
            f"limit set to: {limit:,} bytes)."
        )


class MemoryPool:
    """Counts the bytes of the arrays alive, and refuses those beyond the limit."""

    def __init__(self):
        self.used = self.limit = 0

    def set_limit(self, size=None):
        self.limit = size or 0

    def used_bytes(self):
        return self.used

    def take(self, size):
        if self.limit and self.used + size > self.limit:
            raise OutOfMemoryError(size, self.used, self.limit)
        self.used += size


class State:
    """What the whole pretended GPU has one of."""

    device = 0
    syncs = syncs_refused = 0
    pool = MemoryPool()


class Device:
    """A GPU by its number; as a context, the one that new arrays are made on."""

    def __init__(self, device=None):
        self.id = State.device if device is None else device

    def __enter__(self):
        self.before, State.device = State.device, self.id
        return self

    def __exit__(self, *error):
        State.device = self.before

    def __eq__(self, other):
        return self.id == other.id

    def synchronize(self):
        sync("Device.synchronize")


class HostSync(AssertionError):
    """The host waited for the GPU where `no_sync` forbids it."""


@contextlib.contextmanager
def no_sync():
    """Refuse everything that makes the host wait for the GPU; uploads do not."""
    State.syncs_refused += 1
    try:
        yield
    finally:
        State.syncs_refused -= 1


def sync(what):
    State.syncs += 1
    if State.syncs_refused:
        raise HostSync(f"{what} makes the host wait for the GPU")


SCALARS = (bool, int, float, np.number, np.bool_)


def unwrap(x):
    """Return NumPy's view of an argument; an array of NumPy itself is refused, as CuPy does."""
    if isinstance(x, ndarray):
        if x.device.id != State.device:
            raise ValueError(
                "Array device must be same as the current device: "
                f"array device = {x.device.id} while current = {State.device}"
            )
        return x._array
    if x is None or isinstance(x, SCALARS):
        return x
    raise TypeError(f"Unsupported type {type(x)}")


def wrap(array):
    """Put NumPy's result back on the GPU: scalars become 0-d arrays, tuples stay tuples."""
    if isinstance(array, (tuple, list)):
        return type(array)(wrap(a) for a in array)
    return ndarray._of(np.asarray(array))


def index(array, key):
    """Translate an index. Integer arrays wrap around where NumPy's would be out of range."""
    items = list(key) if isinstance(key, tuple) else [key]
    for i, item in enumerate(items):
        if isinstance(item, ndarray):
            items[i] = unwrap(item)
        elif isinstance(item, (list, np.ndarray)):
            items[i] = np.asarray(item, dtype=None if len(item) else np.intp)

    def axes(item):
        if item is None or item is Ellipsis:
            return 0
        return item.ndim if isinstance(item, np.ndarray) and item.dtype == bool else 1

    axis, named = 0, sum(map(axes, items))
    for i, item in enumerate(items):
        if isinstance(item, np.ndarray) and item.dtype.kind in "iu":
            items[i] = item.astype(np.intp) % max(1, array.shape[axis])
        axis += array.ndim - named if item is Ellipsis else axes(item)
    if Ellipsis not in [item for item in items if not isinstance(item, np.ndarray)]:
        items.append(Ellipsis)  # so that NumPy, too, returns a view of a single element
    masked = any(isinstance(item, np.ndarray) and item.dtype == bool for item in items)
    return tuple(items), masked


class ndarray:
    """As `cupy.ndarray`. Methods with plain signatures come from the table in `functions`."""

    __slots__ = ("_array", "_taken", "base", "device", "__weakref__")
    __array_priority__ = 100
    __hash__ = None

    def __init__(self, shape, dtype=float):
        raise NotImplementedError("the stand-in makes arrays by asarray, empty and the like")

    @classmethod
    def _of(cls, array, device=None):
        if array.dtype.kind not in "biufc":
            raise ValueError(f"Unsupported dtype {array.dtype}")
        self = cls.__new__(cls)
        self._taken = 0
        size = array.nbytes if array.base is None else 0  # a view takes no memory of its own
        State.pool.take(size)
        self._array, self._taken, self.base = array, size, None
        self.device = Device(device)
        return self

    def _view(self, array):
        view = ndarray._of(array, self.device.id)
        if np.may_share_memory(array, self._array):
            view.base = self if self.base is None else self.base
        return view

    def __del__(self):
        State.pool.used -= self._taken

    # What is known without asking the GPU.

    shape = property(lambda self: self._array.shape)
    dtype = property(lambda self: self._array.dtype)
    ndim = property(lambda self: self._array.ndim)
    size = property(lambda self: self._array.size)
    itemsize = property(lambda self: self._array.itemsize)
    nbytes = property(lambda self: self._array.nbytes)
    strides = property(lambda self: self._array.strides)
    flags = property(lambda self: self._array.flags)
    data = property(lambda self: types.SimpleNamespace(ptr=self._array.ctypes.data))
    T = property(lambda self: self._view(self._array.T))

    def __len__(self):
        return len(self._array)

    # What makes the host wait.

    def get(self):
        sync("get")
        return self._array.copy()

    def item(self):
        sync("item")
        return self._array.item()

    def tolist(self):
        sync("tolist")
        return self._array.tolist()

    def __bool__(self):
        sync("bool")
        return bool(self._array)

    def __int__(self):
        sync("int")
        return int(self._array)

    def __float__(self):
        sync("float")
        return float(self._array)

    def __repr__(self):
        sync("repr")
        return repr(self._array)

    def __format__(self, specification):
        sync("format")
        return format(self._array, specification)

    def __iter__(self):
        if self.ndim <= 1:
            sync("iterating over values")
        return (self[i] for i in range(len(self)))

    def __array__(self, dtype=None, copy=None):
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Please use `.get()`")

    # Copies, indices and views.

    def __deepcopy__(self, memo):
        return self._view(self._array.copy())

    __copy__ = lambda self: self.__deepcopy__({})  # noqa: E731

    def __reduce__(self):
        from standin import cupy

        return cupy.array, (self.get(),)

    def __getitem__(self, key):
        key, masked = index(self._array, key)
        if masked:
            sync("indexing by a mask")
        return self._view(self._array[key])

    def __setitem__(self, key, value):
        key, masked = index(self._array, key)
        if masked and isinstance(value, ndarray):
            sync("assigning to a mask")
        self._array[key] = unwrap(value)

    def reshape(self, *shape):
        return self._view(self._array.reshape(*shape))

    def transpose(self, *axes):
        return self._view(self._array.transpose(*axes))

    # NumPy's functions on a CuPy array are CuPy's own of that name.

    def __array_ufunc__(self, function, method, *inputs, out=(None,), **options):
        from standin import cupy

        own = getattr(cupy, function.__name__, None)
        if method != "__call__" or own is None:
            return NotImplemented
        return own(*inputs, out=out[0], **options)

    def __array_function__(self, function, types, args, options):
        from standin import cupy

        own = getattr(cupy, function.__name__, None)
        return NotImplemented if own is None else own(*args, **options)
