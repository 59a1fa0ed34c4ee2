"""CuPy's RawModule on the CPU: the same .cu sources, compiled by g++, the same calls, as strict about arguments.

Tests put it in place of CuPy's, so that the twins' own Python runs: sources, options, grids, arguments and their
order. Arrays are NumPy's, or hold one as `_array`.
"""

import ctypes
import functools
import hashlib
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import pytest

HERE = Path(__file__).parent
FOLDER = HERE.parents[1] / "build" / "kernels"
KERNEL = re.compile(r'extern "C" __global__ void (\w+)\(([^)]*)\)')
SCALARS = {"int": np.int32, "unsigned": np.int32, "float": np.float32, "double": np.float64}
POINTERS = {"float": (4,), "double": (8,), "unsigned char": (1,), "float4": (4, 8)}


class RawModule:
    """As `cupy.RawModule`: source and options of one module. Skips the test where there is no g++."""

    def __init__(self, *, code, options=()):
        if shutil.which("g++") is None:
            pytest.skip("g++ is not installed")
        self.types = {name: kind for kind, name in re.findall(r"typedef (\w+) (\w+);", code)}
        assert "--fmad=false" in options, "kernels must round as NumPy does"
        self.parameters = {
            name: [self._kind(p) for p in text.split(",")] for name, text in KERNEL.findall(_plain(code))
        }
        self.library = _library(code)

    def _kind(self, parameter):
        words = re.sub(r"\bconst\b|\b__restrict__\b", "", parameter).strip().rsplit(maxsplit=1)[0]
        pointer = words.endswith("*")
        kind = words.rstrip("* ")
        while kind in self.types:
            kind = self.types[kind]
        return kind, pointer

    def get_function(self, name):
        """Return the kernel, to be called as kernel(grid, block, arguments)."""
        return functools.partial(self._run, name)

    def _run(self, name, grid, block, arguments):
        parameters = self.parameters[name]
        assert len(arguments) == len(parameters), f"{name}: {len(arguments)} arguments for {len(parameters)}"
        assert all(type(n) is int and n > 0 for n in (*grid, *block)), f"{name}: grid {grid}, block {block}"
        assert grid[0] < 2**31 and (len(grid) < 2 or grid[1] < 2**16) and block[0] <= 1024
        values = [_value(name, i, a, *p) for i, (a, p) in enumerate(zip(arguments, parameters))]
        pointers = (ctypes.c_void_p * len(values))(*[ctypes.addressof(v) for v in values])
        sizes = (ctypes.c_uint * 2)(grid[0], grid[1] if len(grid) > 1 else 1)
        launch = getattr(self.library, f"launch_{name}")
        launch.restype = ctypes.c_bool
        assert launch(sizes, ctypes.c_uint(block[0]), pointers), f"{name}: some threads skip __syncthreads"


def _value(name, i, argument, kind, pointer):
    """Turn one argument into what the kernel's parameter holds, or say what CuPy would have passed instead."""
    where = f"{name}: argument {i}, {type(argument).__name__},"
    if not pointer:
        assert type(argument) is SCALARS[kind], f"{where} is not the {kind} that the kernel reads"
        return np.ctypeslib.as_ctypes_type(argument.dtype)(argument)
    if type(argument) is np.uintp and argument == 0:
        return ctypes.c_void_p(None)
    array = getattr(argument, "_array", argument)
    assert isinstance(array, np.ndarray), f"{where} is not an array"
    assert array.itemsize in POINTERS[kind], f"{where} of {array.dtype} is not {kind}"
    assert array.dtype.kind == ("f" if kind != "unsigned char" else "u") or array.dtype == bool, where
    assert array.flags.c_contiguous, f"{where} of shape {array.shape} is not contiguous"
    assert kind != "float4" or array.ctypes.data % 16 == 0, f"{where} is not aligned"
    return ctypes.c_void_p(array.ctypes.data)


def _plain(code):
    return re.sub(r"//[^\n]*", "", code)


def _launcher(name, parameters):
    """Write a C function that runs a kernel with the arguments behind an array of pointers."""
    kinds = [p.strip().rsplit(maxsplit=1)[0] for p in parameters.split(",")]
    kinds = [kind.replace("__restrict__", "") for kind in kinds]
    arguments = ", ".join(f"*({kind}*)given[{i}]" for i, kind in enumerate(kinds))
    return (
        f'extern "C" bool launch_{name}(const unsigned* grid, unsigned threads, void** arguments) {{\n'
        f"    static void** given;\n    given = arguments;\n"
        f"    return shim::launch([] {{ {name}({arguments}); }}, grid, threads);\n}}\n"
    )


@functools.cache
def _library(code):
    source = '#include "cuda.h"\n' + code + "".join(_launcher(*kernel) for kernel in KERNEL.findall(_plain(code)))
    header = (HERE / "cuda.h").read_text()
    flags = ["-std=c++17", "-O2", "-ffp-contract=off", "-Wall", "-Wno-unknown-pragmas", "-Werror", f"-I{HERE}"]
    target = FOLDER / f"{hashlib.sha256((source + header + ' '.join(flags)).encode()).hexdigest()[:24]}.so"
    if not target.exists():
        FOLDER.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
            path, built = Path(folder) / "kernels.cpp", Path(folder) / "kernels.so"
            path.write_text(source)
            subprocess.run(["g++", *flags, "-shared", "-fPIC", str(path), "-o", str(built)], check=True)
            built.replace(target)  # whole, whoever else builds the same
    return ctypes.CDLL(str(target))
