import numpy as np
import pytest

from duonet import backend


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture(params=["cpu", pytest.param("gpu", marks=pytest.mark.gpu)])
def device(request):
    if request.param == "gpu" and not backend.gpu_available():
        pytest.skip(backend.why_no_gpu())
    return request.param
