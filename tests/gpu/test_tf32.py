"""TF32, which CuPy settles with the first product of a process."""

import os
import subprocess
import sys
import types

import pytest

from duonet import backend
from duonet.cli import main
from duonet.experiments import CompareSettings, RunSettings


@pytest.fixture
def products(monkeypatch):
    """CuPy's own record of how it multiplies, for a GPU of compute capability 8.0 or more."""
    products = types.ModuleType("cupy._core._routines_linalg")
    products.COMPUTE_TYPE_TF32, products.settled = 7, None

    def get_compute_type(dtype):
        assert dtype == "float32"
        products.settled = products.settled or (7 if os.environ.get("CUPY_TF32") == "1" else 1)
        return products.settled

    products.get_compute_type = get_compute_type
    core = types.ModuleType("cupy._core")
    core._routines_linalg = products
    monkeypatch.setitem(sys.modules, "cupy", types.ModuleType("cupy"))
    monkeypatch.setitem(sys.modules, "cupy._core", core)
    monkeypatch.setattr(backend, "why_no_gpu", lambda: "")
    monkeypatch.setenv("CUPY_TF32", "0")
    return products


def test_asked_for_in_time(products):
    backend.allow_tf32()
    backend.allow_tf32()
    assert products.settled == products.COMPUTE_TYPE_TF32


def test_asked_for_too_late(products):
    products.get_compute_type("float32")
    with pytest.raises(RuntimeError, match="this process multiplied before"):
        backend.allow_tf32()


def test_the_commands_ask_for_it_on_a_gpu_alone(capsys, tmp_path, monkeypatch):
    for command in (["compare"], ["train", "mlp", "fashion-mini"]):
        assert main([*command, "--tf32", "--out", str(tmp_path / "run")]) == 2
        assert capsys.readouterr().err == f"duonet: {command[0]}: --tf32 needs device gpu, got cpu\n"
        monkeypatch.setattr(backend, "gpu_available", lambda: True)
        monkeypatch.setattr(backend, "why_no_gpu", lambda: "somebody took it")
        assert main([*command, "--device", "gpu", "--tf32", "--out", str(tmp_path / "run")]) == 2
        assert capsys.readouterr().err == f"duonet: {command[0]}: tf32: no GPU: somebody took it\n"
        assert not list(tmp_path.iterdir())


def test_it_is_a_setting_of_the_run():
    asked = RunSettings("mlp", "fashion-mini", device="gpu", tf32=True)
    plain = RunSettings("mlp", "fashion-mini", device="gpu")
    assert (
        plain.differences(asked) == ["tf32 True, the run has False"]
        and CompareSettings(device="gpu", tf32=True).tf32
    )


@pytest.mark.gpu
def test_factors_are_rounded_and_ternary_ones_are_not():
    if not backend.gpu_available():
        pytest.skip(backend.why_no_gpu())
    program = (
        "import numpy as np\nfrom duonet import backend\nbackend.allow_tf32()\n"
        "rng = np.random.default_rng(0)\n"
        "x = rng.choice([0, 0.5, 1], (256, 512)).astype('float32')\n"
        "w, v = rng.choice([-1, 1], (512, 64)).astype('float32'), rng.standard_normal((512, 64)).astype('float32')\n"
        "there = [backend.to_device(a, 'gpu') for a in (x, w, v)]\n"
        "assert (backend.to_device(there[0] @ there[1], 'cpu') == x @ w).all()\n"
        "error = np.abs(backend.to_device(there[0] @ there[2], 'cpu') - x @ v).max()\n"
        "assert 1e-4 < error < 0.1, error\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
