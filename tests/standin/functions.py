"""What the stand-in offers: names and signatures of CuPy, each computed by NumPy's function of that name."""

import functools
import inspect

import numpy as np

from standin.array import SCALARS, State, index, ndarray, sync, unwrap, wrap

UFUNCS = """
abs absolute add arccos arctan bitwise_and bitwise_or bitwise_xor ceil cos cosh divide equal exp exp2 expm1
floor floor_divide fmax fmin greater greater_equal invert isfinite isinf isnan left_shift less less_equal log
log1p log2 logical_and logical_not logical_or maximum minimum mod multiply negative not_equal power
reciprocal remainder right_shift rint sign sin sinh sqrt square subtract tan tanh true_divide
""".split()

# A parameter that is left out here is one that the library does without.
FUNCTIONS = """
all(a, axis=None, out=None, keepdims=False)
any(a, axis=None, out=None, keepdims=False)
argmax(a, axis=None)
argmin(a, axis=None)
argsort(a, axis=-1)
ascontiguousarray(a, dtype=None)
broadcast_to(array, shape)
clip(a, a_min, a_max, out=None)
concatenate(tup, axis=0, out=None)
copyto(dst, src, casting='same_kind')
cumsum(a, axis=None, dtype=None, out=None)
diff(a, n=1, axis=-1)
dot(a, b, out=None)
einsum(*operands, dtype=None, optimize=False)
empty_like(prototype, dtype=None)
expand_dims(a, axis)
flatnonzero(a)
full_like(a, fill_value, dtype=None)
matmul(x1, x2, out=None)
max(a, axis=None, out=None, keepdims=False)
mean(a, axis=None, dtype=None, out=None, keepdims=False)
min(a, axis=None, out=None, keepdims=False)
moveaxis(a, source, destination)
nonzero(a)
ones_like(a, dtype=None)
pad(array, pad_width, mode='constant', **kwargs)
prod(a, axis=None, dtype=None, out=None, keepdims=False)
ravel(a)
repeat(a, repeats, axis=None)
reshape(a, newshape)
searchsorted(a, v, side='left')
sort(a, axis=-1)
split(ary, indices_or_sections, axis=0)
squeeze(a, axis=None)
stack(tup, axis=0, out=None)
sum(a, axis=None, dtype=None, out=None, keepdims=False)
swapaxes(a, axis1, axis2)
tile(A, reps)
transpose(a, axes=None)
unique(ar, return_index=False, return_inverse=False, return_counts=False)
var(a, axis=None, dtype=None, out=None, ddof=0, keepdims=False)
where(condition, x=None, y=None)
zeros_like(a, dtype=None)
""".strip().splitlines()

CREATION = """
arange(start, stop=None, step=1, dtype=None)
empty(shape, dtype=float)
eye(N, M=None, k=0, dtype=float)
full(shape, fill_value, dtype=None)
linspace(start, stop, num=50)
ones(shape, dtype=float)
zeros(shape, dtype=float)
""".strip().splitlines()

METHODS = """
all(self, axis=None, out=None, keepdims=False)
any(self, axis=None, out=None, keepdims=False)
argmax(self, axis=None)
argmin(self, axis=None)
argsort(self, axis=-1)
astype(self, dtype, order='K', casting='unsafe', subok=True, copy=True)
clip(self, min=None, max=None, out=None)
copy(self, order='C')
cumsum(self, axis=None, dtype=None, out=None)
dot(self, b, out=None)
fill(self, value)
flatten(self, order='C')
max(self, axis=None, out=None, keepdims=False)
mean(self, axis=None, dtype=None, out=None, keepdims=False)
min(self, axis=None, out=None, keepdims=False)
nonzero(self)
prod(self, axis=None, dtype=None, out=None, keepdims=False)
ravel(self, order='C')
repeat(self, repeats, axis=None)
round(self, decimals=0, out=None)
sort(self, axis=-1)
squeeze(self, axis=None)
std(self, axis=None, dtype=None, out=None, ddof=0, keepdims=False)
sum(self, axis=None, dtype=None, out=None, keepdims=False)
swapaxes(self, axis1, axis2)
var(self, axis=None, dtype=None, out=None, ddof=0, keepdims=False)
view(self, dtype=None)
""".strip().splitlines()

SYNCHRONISING = {"flatnonzero", "nonzero", "unique"}  # they need a length that only the GPU knows
ARRAYS = {"a", "ar", "array", "ary", "b", "dst", "prototype", "v", "x1", "x2"}  # lists and numbers will not do
PLAIN = (str, type, np.dtype, slice, type(None), *SCALARS)


def _signature(line):
    name, _, parameters = line.partition("(")
    return name, inspect.signature(eval(f"lambda {parameters[:-1]}: None"))


def _unwrapped(value):
    """Unwrap an argument: arrays, and sequences that hold arrays, numbers or axes."""
    if isinstance(value, (tuple, list)):
        return type(value)(map(_unwrapped, value))
    return value if isinstance(value, PLAIN) else unwrap(value)


def _from_numpy(line, numpy_function):
    """Make a function that takes just these parameters and has NumPy compute the result."""
    name, signature = _signature(line)

    def function(*args, **options):
        bound = signature.bind(*args, **options)
        if name in SYNCHRONISING or (name == "where" and "x" not in bound.arguments):
            sync(name)
        for key, value in bound.arguments.items():
            for part in value if key == "tup" else [value] if key in ARRAYS else []:
                if not isinstance(part, ndarray):
                    raise TypeError(f"Unsupported type {type(part)}")
        out = bound.arguments.get("out")
        args = [_unwrapped(a) for a in bound.args]
        options = {key: _unwrapped(value) for key, value in bound.kwargs.items()}
        with np.errstate(all="ignore"):
            result = numpy_function(*args, **options)
        if out is not None or result is None:
            return out
        return bound.args[0] if result is args[0] else wrap(result)

    function.__name__, function.__signature__ = name, signature
    return function


class ufunc:
    """An elementwise function; `where=` and the rest of NumPy's keywords do not exist."""

    def __init__(self, name):
        self.__name__ = name
        self._function = getattr(np, name)
        self.nin = self._function.nin

    def __call__(self, *args, out=None, dtype=None, casting="same_kind"):
        args, out = args[: self.nin], args[self.nin] if len(args) > self.nin else out
        options = {} if out is None else {"out": unwrap(out)}
        with np.errstate(all="ignore"):
            result = self._function(*map(unwrap, args), dtype=dtype, casting=casting, **options)
        return wrap(result) if out is None else out

    def at(self, a, indices, b=None):
        if self.__name__ not in ("add", "maximum", "minimum"):
            raise NotImplementedError(f"`{self.__name__}.at` is not supported yet")
        key, _ = index(unwrap(a), indices)
        self._function.at(unwrap(a), key, unwrap(b))


def asarray(a, dtype=None):
    if isinstance(a, ndarray):
        if dtype is None or a.dtype == dtype:
            return a if a.device.id == State.device else ndarray._of(a._array.copy())
        return a.astype(dtype)
    return array(a, dtype)


def array(obj, dtype=None):
    if isinstance(obj, ndarray):
        return ndarray._of(obj._array.astype(dtype or obj.dtype))
    return ndarray._of(np.array(obj, dtype))


def asnumpy(a):
    return a.get() if isinstance(a, ndarray) else np.asarray(a)


def bincount(x, weights=None, minlength=None):
    sync("bincount")
    return wrap(np.bincount(unwrap(x), unwrap(weights), minlength or 0))


def take(a, indices, axis=None, out=None):
    indices = unwrap(indices) if isinstance(indices, ndarray) else indices
    result = np.take(unwrap(a), indices, axis, None if out is None else unwrap(out), mode="wrap")
    return wrap(result) if out is None else out


def as_strided(x, shape=None, strides=None):
    return x._view(np.lib.stride_tricks.as_strided(unwrap(x), shape, strides))


def array_equal(a1, a2, equal_nan=False):
    return wrap(np.array_equal(unwrap(a1), unwrap(a2), equal_nan))


def allclose(a, b, rtol=1e-05, atol=1e-08, equal_nan=False):
    return wrap(np.allclose(unwrap(a), unwrap(b), rtol, atol, equal_nan))


OPERATORS = {
    "add": "add", "sub": "subtract", "mul": "multiply", "truediv": "divide", "floordiv": "floor_divide",
    "mod": "remainder", "pow": "power", "and": "bitwise_and", "or": "bitwise_or", "xor": "bitwise_xor",
    "lshift": "left_shift", "rshift": "right_shift", "matmul": "matmul",
}  # fmt: skip
UNARY = {"neg": "negative", "invert": "invert", "abs": "absolute"}
TYPES = "bool_ int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 float64 dtype".split()
COMPARISONS = {
    "eq": "equal", "ne": "not_equal", "lt": "less", "le": "less_equal", "gt": "greater", "ge": "greater_equal",
}  # fmt: skip


def _operator(name, function):
    own = ufunc(function) if function != "matmul" else MATMUL

    def forward(self, other):
        return NotImplemented if _asks_the_other(other) else own(self, other)

    def reflected(self, other):
        return own(other, self)

    def in_place(self, other):
        return own(self, other, out=self)

    return {f"__{name}__": forward, f"__r{name}__": reflected, f"__i{name}__": in_place}


def _asks_the_other(other):
    """Say whether the other side opts out of array arithmetic, as duonet's Tensor does."""
    return getattr(other, "__array_ufunc__", ()) is None


MATMUL = _from_numpy("matmul(x1, x2, out=None)", np.matmul)


def install():
    """Give the array its methods and operators."""
    methods = {"take": take}
    for line in METHODS:
        name, _ = _signature(line)
        methods[name] = _from_numpy(line, getattr(np.ndarray, name))
    for name, function in OPERATORS.items():
        methods |= _operator(name, function)
    for name, function in COMPARISONS.items():
        methods[f"__{name}__"] = _operator(name, function)[f"__{name}__"]
    for name, function in UNARY.items():
        methods[f"__{name}__"] = functools.partialmethod(ufunc(function))
    for name, method in methods.items():
        setattr(ndarray, name, method)


def namespace():
    """List everything that has a name in the module, apart from its submodules."""
    names = {name: ufunc(name) for name in UFUNCS}
    for line in [*FUNCTIONS, *CREATION]:
        name, _ = _signature(line)
        names[name] = _from_numpy(line, getattr(np, name))
    own = (asarray, array, asnumpy, bincount, take, array_equal, allclose)
    names |= {function.__name__: function for function in own}
    names |= {name: getattr(np, name) for name in TYPES}
    return names | {"ndarray": ndarray, "inf": np.inf, "nan": np.nan, "pi": np.pi, "newaxis": None}
