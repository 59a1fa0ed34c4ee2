import hypothesis
import numpy as np
import pytest

from duonet import backend

# No deadline: a busy machine is not a bug. Derandomised: a run can be repeated.
hypothesis.settings.register_profile("duonet", deadline=None, derandomize=True)
hypothesis.settings.load_profile("duonet")


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture(params=["cpu", pytest.param("gpu", marks=pytest.mark.gpu)])
def device(request):
    if request.param == "gpu" and not backend.gpu_available():
        pytest.skip(backend.why_no_gpu())
    return request.param
