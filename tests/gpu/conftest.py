import numpy as np
import pytest
import shim

from duonet import engine


@pytest.fixture
def kernels(monkeypatch):
    """The GPU's twins in place of the CPU's, their kernels running on NumPy's memory."""
    if shim.why_not():
        pytest.skip(shim.why_not())
    monkeypatch.setattr(np, "RawModule", shim.RawModule, raising=False)
    for (op, device), twin in list(engine._twins.items()):
        if device == "gpu":
            monkeypatch.setitem(engine._twins, (op, "cpu"), twin)
