import numpy as np
import pytest
from numpy.testing import assert_allclose
MAY_IMPORT = {"numpy"}
@pytest.mark.task(1, points=10)
def test_a(answers, rng):
    """Look."""
    x = rng.standard_normal(4)
    assert_allclose(answers.relu(x), np.maximum(x, 0))
@pytest.mark.task(2, points=10)
def test_b(answers, rng):
    """Look."""
    x = rng.standard_normal(4)
    assert_allclose(answers.neg(x), -x)
