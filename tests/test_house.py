"""The house rules: imports run downwards, NumPy is enough to import, and every public name explains itself."""

import ast
import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import duonet
from duonet import data, experiments, functional, mismatch, models, nn, optim, quant

ROOT = Path(duonet.__file__).parent
FLOORS = {
    "archive": 0, "arguments": 0, "exact": 0, "backend": 0, "files": 0, "progress": 0, "text": 0, "exercise": 0, "engine": 0, "version": 0, "parallel": 1, "generators": 1, "state": 1, "tape": 1, "conversion": 1, "tensor": 1, "functional": 2, "gradcheck": 2, "module": 2, "quant": 3, "nn": 3, "fast": 3, "gpu": 5,
    "summary": 4, "widths": 4, "description": 4, "coupling": 4, "decouple": 4, "mismatch": 4, "models": 5, "flat": 4, "schedule": 4, "fold": 4, "fusing": 4, "optim": 4, "data": 4, "train": 5, "restore": 5, "checkpoint": 5, "quantcheck": 5,
    "viz": 5, "experiments": 6, "cli": 7, "__main__": 8, "__init__": 9,
}  # fmt: skip


def imports(path):
    """Names of duonet's own modules that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "duonet":
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("duonet."):
            yield node.module.split(".")[1]


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT)))
def test_a_file_imports_only_from_floors_below_or_its_own_room(path):
    room = path.relative_to(ROOT).with_suffix("").parts[0]
    for name in imports(path):
        if name in FLOORS and name != room:
            assert FLOORS[name] <= FLOORS[room], f"{path} imports {name}"
    assert path.read_text().count("\n") <= 380, "one idea a file"


def test_only_the_backend_knows_cupy():
    knowing = [p.name for p in ROOT.rglob("*.py") if re.search(r"^\s*(import|from) cupy", p.read_text(), re.M)]
    assert knowing == ["backend.py"]


def test_importing_duonet_needs_numpy_alone():
    program = (
        "import sys\n"
        "class Refuse:\n"
        "    def find_spec(self, name, *rest):\n"
        "        if name.split('.')[0] in ('matplotlib', 'tqdm', 'threadpoolctl', 'cupy', 'pooch'):\n"
        "            raise ImportError(name)\n"
        "sys.meta_path.insert(0, Refuse())\n"
        "import duonet, numpy as np\n"
        "rng = np.random.default_rng(0)\n"
        "model = duonet.models.vgg7('coupled', (4, 4, 4, 4, 8, 8), rng=rng)\n"
        "x = duonet.Tensor(np.ones((9, 32, 32, 3), 'float32'))\n"
        "duonet.functional.softmax_cross_entropy(duonet.decouple(model)(x), [0] * 9).backward()\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


PACKAGES = [duonet, functional, quant, nn, mismatch, models, optim, data, experiments]
PUBLIC = {
    f"{package.__name__}.{name}": getattr(package, name)
    for package in PACKAGES
    for name in getattr(package, "__all__", [n for n in vars(package) if not n.startswith("_")])
    if not inspect.ismodule(getattr(package, name))
    and getattr(getattr(package, name), "__module__", "").startswith("duonet")
}


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_has_a_numpydoc_docstring(name):
    thing = PUBLIC[name]
    doc = inspect.getdoc(thing) or ""
    summary = doc.split("\n\n")[0]
    assert 10 < len(summary) < 360 and summary.rstrip().endswith((".", ":")), doc
    if inspect.isclass(thing) and issubclass(thing, (Exception,)):
        return
    assert ">>>" in doc or "experiments" in name, "no example"
    signature = inspect.signature(thing)
    parameters = [
        p for p in signature.parameters if p not in ("self", "args", "kwargs", "layers", "inputs", "options")
    ]
    if parameters and not issubclass(thing if inspect.isclass(thing) else object, (tuple, duonet.Function)):
        assert "Parameters\n---" in doc or "Attributes\n---" in doc, "no section on its parameters"
        for parameter in parameters:
            assert re.search(rf"\b{parameter}\b", doc), f"{parameter} is not described"
    if (
        inspect.isfunction(thing)
        and signature.return_annotation is not None
        and "yield" not in inspect.getsource(thing)
    ):
        returns = re.search(r"^\s+return \S", inspect.getsource(thing), re.M)
        assert not returns or "Returns\n-------" in doc, "returns something that the docstring does not describe"


def test_every_module_says_what_it_is_for():
    for module in pkgutil.walk_packages([str(ROOT)], "duonet."):
        if module.name != "duonet.__main__":
            assert importlib.import_module(module.name).__doc__, module.name
