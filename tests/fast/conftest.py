import pytest

from duonet import engine


@pytest.fixture(autouse=True)
def numpy_twins():
    """Compare NumPy's twins here, where numba is installed as well."""
    with engine.without("compiled"):
        yield
