import os
import signal
import sys

import hypothesis
import numpy as np
import pytest
import standin as pretended

from duonet import backend, compiled, data, engine
from duonet.data import catalogue
from duonet.experiments.recipes import COMPARED

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("DUONET_THREADS", "1")  # each worker has a core

if (
    signal.getsignal(signal.SIGINT) is signal.SIG_IGN
):  # a suite in the background, and what it starts, hears no Ctrl-C
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Of URLs, which no notebook's check needs: jsonschema would compile their grammars for 3 s where nbformat is imported.
sys.modules["rfc3987_syntax"] = None

# No deadline: a busy machine is not a bug. Derandomised: a run can be repeated.
hypothesis.settings.register_profile("duonet", deadline=None, derandomize=True)
hypothesis.settings.load_profile("duonet")


def pytest_runtest_setup(item):
    """Skip what needs a GPU where there is none, or fail it where DUONET_REQUIRE_GPU=1 says there must be one."""
    if item.get_closest_marker("gpu") and not backend.gpu_available():
        if os.environ.get("DUONET_REQUIRE_GPU") == "1":
            pytest.fail(f"DUONET_REQUIRE_GPU=1, but {backend.why_no_gpu()}", pytrace=False)
        pytest.skip(backend.why_no_gpu())


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def nothing_drawn(monkeypatch):
    """Whole networks, built to be counted, have weights of zero: to draw millions would take most of the time."""
    monkeypatch.setattr("duonet.nn.init._normal", lambda name, rng, shape, std: np.zeros(shape, np.float32))


@pytest.fixture
def standin(monkeypatch):
    """Pretend a GPU: the device "gpu" is the stand-in of tests/standin for the length of a test."""
    monkeypatch.setitem(sys.modules, "cupy", pretended.cupy)
    backend.why_no_gpu.cache_clear()
    yield pretended
    pretended.cupy.get_default_memory_pool().set_limit()
    backend.why_no_gpu.cache_clear()


@pytest.fixture(params=[pytest.param("gpu", marks=pytest.mark.gpu), "standin"])
def gpu(request):
    """Run a test on the GPU, and once more on the stand-in."""
    if request.param == "standin":
        request.getfixturevalue("standin")
    return "gpu"


@pytest.fixture(params=["cpu", "compiled", "plain", pytest.param("gpu", marks=pytest.mark.gpu), "standin"])
def device(request):
    """Run a test on the CPU by NumPy's twins, by compiled and by plain ops, on the GPU, and on the stand-in."""
    if request.param == "standin":
        request.getfixturevalue("standin")
        yield "gpu"
    elif request.param == "plain":
        with engine.plain_ops():
            yield "cpu"
    elif request.param == "compiled":
        if compiled.why_not():
            pytest.skip(compiled.why_not())
        yield "cpu"
    elif request.param == "cpu":
        with engine.without("compiled"):
            yield "cpu"
    else:
        yield request.param


@pytest.fixture(scope="session")
def few_images():
    """Few of the packaged images to score, unpacked once."""
    whole = data.fashion_mini()
    few = whole._replace(validation=whole.validation.take(210), test=whole.test.take(510))
    for part in (few.train, few.validation, few.test):
        part.images.flags.writeable = part.labels.flags.writeable = False
    return few


@pytest.fixture(scope="module", autouse=True)
def runs_score_few_images(request):
    """In tests/experiments and test_cli.py runs are many, and none is about accuracy."""
    if request.path.parent.name != "experiments" and request.path.name != "test_cli.py":
        yield
        return
    few = request.getfixturevalue("few_images")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(catalogue, "fashion_mini", lambda: few)
        for recipe in COMPARED.values():
            patch.setitem(recipe, "validation_images", 210)
        yield
