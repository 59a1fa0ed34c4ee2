"""The stand-in refuses what CuPy refuses, and offers nothing that CuPy does not have."""

import inspect
import re

import numpy as np
import pytest
import standin as pretended
from standin.array import ndarray
from standin.functions import METHODS, UFUNCS, ufunc

cp = pretended.cupy


@pytest.fixture
def x():
    return cp.asarray(np.arange(12, dtype="float32").reshape(3, 4))


@pytest.mark.parametrize(
    "wrong, error, message",
    [
        (lambda x: x + np.ones(4), TypeError, "Unsupported type <class 'numpy.ndarray'>"),
        (lambda x: np.ones(4) + x, TypeError, "Unsupported type <class 'numpy.ndarray'>"),
        (lambda x: cp.maximum(x, np.ones(4)), TypeError, "Unsupported type"),
        (lambda x: cp.concatenate([x, np.ones((1, 4))]), TypeError, "Unsupported type"),
        (lambda x: x.__setitem__(0, np.ones(4)), TypeError, "Unsupported type"),
        (lambda x: cp.stack([x[0, 0], 1.0]), TypeError, "Unsupported type <class 'float'>"),
        (lambda x: cp.sum([1.0, 2.0]), TypeError, "Unsupported type <class 'list'>"),
        (lambda x: cp.exp(x, out=np.ones((3, 4))), TypeError, "Unsupported type"),
        (lambda x: x.__iadd__(np.ones(4)), TypeError, "Unsupported type"),
        (lambda x: np.asarray(x), TypeError, "Implicit conversion to a NumPy array"),
        (lambda x: np.array([x, x]), TypeError, "Implicit conversion to a NumPy array"),
        (lambda x: cp.add(x, 1, where=True), TypeError, "unexpected keyword argument 'where'"),
        (lambda x: x.sum(where=True), TypeError, "unexpected keyword argument 'where'"),
        (lambda x: x.max(initial=0), TypeError, "unexpected keyword argument 'initial'"),
        (lambda x: cp.broadcast, AttributeError, "broadcast"),
        (lambda x: cp.RawKernel, AttributeError, "RawKernel"),
        (lambda x: x.newbyteorder, AttributeError, "newbyteorder"),
        (lambda x: np.broadcast_arrays(x, x), TypeError, "broadcast_arrays"),
        (lambda x: cp.random.default_rng(0).permutation, AttributeError, "permutation"),
        (lambda x: range(x[0, 1]), TypeError, "cannot be interpreted as an integer"),
        (lambda x: {x}, TypeError, "unhashable"),
        (lambda x: cp.asarray(["a"]), ValueError, "Unsupported dtype"),
        (lambda x: x.astype("int64").__iadd__(0.5), TypeError, "same_kind"),
    ],
)
def test_what_cupy_refuses_is_refused(wrong, error, message, x):
    with pytest.raises(error, match=message):
        wrong(x)


def test_results_stay_arrays_and_dtypes_are_cupys(x):
    for value in (x.sum(), x[0, 0], x.max(), x.mean(), cp.abs(x[0, 0]), (x > 3).any(), cp.sum(x)):
        assert type(value) is ndarray and value.shape == ()
    assert (x + 1).dtype == (2.0 * x).dtype == (x * np.float32(2)).dtype == "float32"
    assert (x * np.float64(2)).dtype == (np.float64(2) * x).dtype == "float64"
    assert (x > 3).sum().dtype == x.argmax().dtype == "int64"
    one = x[1, 1]
    one += 5
    assert x[1, 1].item() == 10, "a single element is a view as well"


def test_indices_out_of_range_wrap_around_silently(x):
    np.testing.assert_array_equal(x[[3, -1], 1].get(), [1, 9])
    np.testing.assert_array_equal(x[..., [5, 1]].get(), x[..., [1, 1]].get())
    np.testing.assert_array_equal(x.take(cp.asarray([13])).get(), [1])
    with pytest.raises(IndexError):
        x[3]


@pytest.mark.parametrize(
    "wait",
    [
        lambda x: float(x[0, 0]),
        lambda x: int(x[0, 0]),
        lambda x: bool(x[0, 0]),
        lambda x: 1 if x[0, 0] == 0 else 2,
        lambda x: x[0, 0].item(),
        lambda x: x.get(),
        lambda x: x.tolist(),
        lambda x: cp.asnumpy(x),
        lambda x: list(x[0]),
        lambda x: 3.0 in x[0],
        lambda x: x[x > 3],
        lambda x: x.nonzero(),
        lambda x: cp.flatnonzero(x),
        lambda x: cp.where(x > 3),
        lambda x: cp.unique(x),
        lambda x: cp.bincount(x[0].astype("int64")),
        lambda x: repr(x),
        lambda x: f"{x[0, 0]:.2f}",
        lambda x: cp.cuda.Device().synchronize(),
    ],
)
def test_no_sync_refuses_what_waits_for_the_gpu(wait, x):
    wait(x)
    with pretended.no_sync(), pytest.raises(pretended.HostSync, match="makes the host wait for the GPU"):
        wait(x)
    wait(x)


def test_no_sync_lets_the_rest_pass(x):
    with pretended.no_sync():
        y = cp.where(x > cp.asarray(np.float32(3)), x, 0)
        y[1:] += x[[0, 1]]
        y[:, 0] = 7
        assert len(y) == 3 and y.shape == (3, 4) and y.sum().ndim == 0


def test_memory_and_devices(x):
    pool = cp.get_default_memory_pool()
    pool.set_limit(pool.used_bytes() + 100)
    try:
        with pytest.raises(cp.cuda.memory.OutOfMemoryError, match="Out of memory allocating 8,000 bytes"):
            cp.zeros(1000)
    finally:
        pool.set_limit()
    with cp.cuda.Device(1):
        elsewhere = cp.zeros(4)
    assert (elsewhere.device.id, x.device.id) == (1, 0)
    with pytest.raises(ValueError, match="array device = 1 while current = 0"):
        x + elsewhere


@pytest.fixture(scope="module")
def real():
    return pytest.importorskip("cupy", reason="signatures are compared with the real CuPy, which is not installed")


def assert_offers_no_more(offered, having, name):
    """Every parameter of ours is one of theirs, in the same place where it may be given by place."""
    theirs = list(having.parameters.values())
    open_ended = any(p.kind is p.VAR_KEYWORD for p in theirs)
    for i, parameter in enumerate(offered.parameters.values()):
        if parameter.kind is parameter.POSITIONAL_OR_KEYWORD and theirs[0].kind is not theirs[0].VAR_POSITIONAL:
            assert theirs[i].name in (parameter.name, "self"), f"{name}: {parameter.name}"
        elif parameter.kind is parameter.KEYWORD_ONLY:
            assert open_ended or parameter.name in having.parameters, f"{name}: {parameter.name}"


def documented(thing):
    """The signature that Cython writes into the docstring of a method."""
    line = re.sub(r" -> .*", "", inspect.getdoc(thing).splitlines()[0])
    parameters = re.sub(r"(?<=[(,])\s*\w+ (?=\w)", "", line.partition("(")[2][:-1])
    parameters = re.sub(r"^\w+ (?=\w)", "", parameters)
    return inspect.signature(eval(f"lambda {parameters.replace('*, /', '*')}: None"))


def test_every_function_and_keyword_is_cupys(real):
    for name, function in vars(cp).items():
        if inspect.isfunction(function):
            having = inspect.signature(getattr(real, name))
            assert_offers_no_more(inspect.signature(function), having, name)
    strided = real.lib.stride_tricks.as_strided
    assert_offers_no_more(
        inspect.signature(cp.lib.stride_tricks.as_strided), inspect.signature(strided), "as_strided"
    )


def test_every_ufunc_is_one_of_cupys_with_its_keywords(real):
    offered = inspect.signature(ufunc.__call__).parameters.keys() - {"self", "args"}
    for name in UFUNCS:
        theirs = getattr(real, name)
        assert isinstance(theirs, real.ufunc), name
        for keyword in offered:
            assert f"{keyword}=" in theirs.__doc__.splitlines()[0], name
        with pytest.raises(TypeError, match="Wrong arguments {'where'"):
            theirs(1, 2, where=None)


def test_every_method_and_keyword_is_cupys(real):
    for name in [*(line.partition("(")[0] for line in METHODS), "take", "get"]:
        theirs = getattr(real.ndarray, name)
        try:
            having = inspect.signature(theirs)
        except ValueError:
            having = documented(theirs)
        assert_offers_no_more(inspect.signature(getattr(ndarray, name)), having, name)
    public = {name for name in vars(ndarray) if not name.startswith("_")}
    assert public <= set(dir(real.ndarray))
    special = {name for name in vars(ndarray) if re.fullmatch(r"__[a-z]*__", name)} - {"__del__", "__weakref__"}
    assert special <= set(dir(real.ndarray)) | {"__deepcopy__", "__rmatmul__", "__imatmul__"}, "nothing of its own"


def test_generators_offer_what_cupys_do(real):
    offered = {name for name in dir(cp.random.Generator) if not name.startswith("_")}
    theirs = {name for name in dir(real.random.Generator) if not name.startswith("_")}
    assert offered <= theirs and not theirs & {"normal", "permutation", "shuffle", "choice"}


def test_the_rest_of_the_module_is_there(real):
    modules = (cp.lib, cp.random, cp.cuda, cp.cuda.memory, cp.cuda.runtime)
    for module, theirs in zip(modules, (real.lib, real.random, real.cuda, real.cuda.memory, real.cuda.runtime)):
        for name in vars(module):
            assert hasattr(theirs, name), name
    assert issubclass(real.cuda.memory.OutOfMemoryError, MemoryError)
    for name in vars(cp):
        assert name.startswith("__") or hasattr(real, name), name
