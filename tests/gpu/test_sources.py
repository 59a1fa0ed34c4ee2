"""The .cu files, as the compilers see them, and the shim that runs them here."""

import glob
import shutil
import site
import subprocess
from pathlib import Path

import numpy as np
import pytest
import shim

from duonet.gpu import kernels

SOURCES = sorted(path.stem for path in Path(kernels.__file__).parent.glob("*.cu"))


def in_one(dtype):
    """All sources in one, each in a namespace of its own, so that the compiler starts once."""
    first, _ = kernels.code(SOURCES[0], np.dtype(dtype), "float4").split("\n", 1)
    parts = [kernels.code(source, np.dtype(dtype)).split("\n", 1)[1] for source in SOURCES]
    return "\n".join([first, *(f"namespace {s}_ {{\n{text}\n}}" for s, text in zip(SOURCES, parts))])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_nvcc_compiles_every_kernel_without_a_warning(tmp_path, dtype):
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        pytest.skip("nvcc is not installed")
    path = tmp_path / "kernels.cu"
    path.write_text(in_one(dtype))
    targets = [word for arch in (75, 90) for word in ("-gencode", f"arch=compute_{arch},code=sm_{arch}")]
    options = ["-std=c++17", "--fmad=false", "-Werror", "all-warnings", "-fatbin", "-o", str(tmp_path / "out")]
    result = subprocess.run([nvcc, *targets, *options, str(path)], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr + result.stdout


def nvrtc():
    """CuPy's binding of the compiler that `RawModule` uses, which needs no GPU, or a reason to skip."""
    if not any(glob.glob(f"{folder}/nvidia/**/libnvrtc.so*", recursive=True) for folder in site.getsitepackages()):
        pytest.skip("NVRTC is not installed: pip install cupy-cuda13x[ctk]")
    return pytest.importorskip("cupy_backends.cuda.libs.nvrtc")


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_nvrtc_compiles_every_kernel_as_cupy_would(source, dtype):
    compiler = nvrtc()
    for unit in (None, "float4"):
        program = compiler.createProgram(kernels.code(source, np.dtype(dtype), unit), f"{source}.cu", (), ())
        added = ("--gpu-architecture=compute_90", "-ftz=true")  # by CuPy
        try:
            compiler.compileProgram(program, [*kernels.OPTIONS, *added])
        except compiler.NVRTCError:
            pytest.fail(compiler.getProgramLog(program))
        assembly = compiler.getPTX(program).decode()
        if source == "optim":  # rounded to nearest, not approximated, and no product joined with a sum
            assert "div.rn" in assembly and "sqrt.rn" in assembly and "fma" not in assembly
        if unit == "float4" and source == "conv":
            assert "ld.global.nc.v4" in assembly and "st.global.v4" in assembly


@pytest.fixture
def launch():
    code = (
        'extern "C" __global__ void add(const T* a, T* b, int n, T c) {  // (a, comment)\n'
        "    for (int i = threadIdx.x; i < n; i += blockDim.x) b[i] += a[i] + c;\n}\n"
        'extern "C" __global__ void reversed(const T* a, T* b) {\n'
        "    __shared__ T all[256];\n    const int t = threadIdx.x;\n    all[t] = a[t];\n    __syncthreads();\n"
        "    b[t] = all[blockDim.x - 1 - t];\n}\n"
        'extern "C" __global__ void uneven(const T* a) { if (threadIdx.x) __syncthreads(); }\n'
    )
    module = shim.RawModule(code=f"typedef float T;\n{code}", options=kernels.OPTIONS)
    return lambda name, *arguments, block=(4,): module.get_function(name)((1,), block, arguments)


def test_the_shim_runs_kernels(launch):
    a, b = np.arange(7, dtype="float32"), np.ones(7, "float32")
    launch("add", a, b, np.int32(6), np.float32(0.5))
    np.testing.assert_array_equal(b, [1.5, 2.5, 3.5, 4.5, 5.5, 6.5, 1])
    launch("reversed", a, b, block=(7,))
    np.testing.assert_array_equal(b, a[::-1])


def test_the_shim_refuses_what_cupy_would_get_wrong(launch):
    a, b, n, c = np.zeros(4, "float32"), np.zeros(4, "float32"), np.int32(4), np.float32(1)
    wrong = [
        (a, b, 4, c),  # 64 bits in CuPy
        (a, b, n, 1.0),  # a double
        (a, b, n, np.float64(1)),
        (a, b, n),
        (a.astype("float64"), b, n, c),
        (a.view("int32"), b, n, c),
        (np.zeros(8, "float32")[::2], b, n, c),
        ([0.0], b, n, c),
        (None, b, n, c),  # no null pointer in CuPy, but anything
    ]
    for arguments in wrong:
        with pytest.raises(AssertionError, match="add"):
            launch("add", *arguments)
    with pytest.raises(AssertionError, match="uneven: some threads skip"):
        launch("uneven", a)
    with pytest.raises(AssertionError, match="round as NumPy"):
        shim.RawModule(code="", options=())
