"""The house rules: imports run downwards, NumPy is enough to import, and every public name explains itself."""

import ast
import importlib
import importlib.util
import inspect
import io
import pkgutil
import re
import subprocess
import sys
import tokenize
from pathlib import Path

import pytest

import duonet
from duonet import data, experiments, functional, interop, methods, mismatch, models, nn, optim, quant

ROOT = Path(duonet.__file__).parent
TABLE = (
    (ROOT.parent / "CONTRIBUTING.md").read_text(encoding="utf-8").split("| floor | rooms |")[1].split("\n\n")[0]
)
FLOORS = {
    room.rstrip("/"): int(floor)
    for floor, rooms in re.findall(r"^\| (\d+) \| (.*) \|$", TABLE, re.M)
    for room in re.findall(r"`([\w/]+)`", rooms)
}
FILES = sorted(ROOT.rglob("*.py"))
LESSON = (
    "tape", "tensor", "backend", "functional", "module", "quant", "nn", "gradcheck", "coupling", "decoupling", "widths",
    "optim",
)  # fmt: skip
LESSON_LINES = 2592


def room_of(path):
    return path.relative_to(ROOT).with_suffix("").parts[0]


def imports(path):
    """The rooms that a file imports from, anywhere in it; __init__ is the package's face."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "duonet":
            yield from (alias.name if alias.name in FLOORS else "__init__" for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("duonet."):
            yield node.module.split(".")[1]
        elif isinstance(node, ast.Import):
            names = [alias.name.split(".") for alias in node.names]
            yield from (name[1] if len(name) > 1 else "__init__" for name in names if name[0] == "duonet")


NEEDING = {"duonet.compiled.": "numba", "duonet.interop.torch_layers": "torch"}


def modules():
    """All modules that can be imported here: some need numba or torch, and never come with the package."""
    for module in pkgutil.walk_packages([str(ROOT)], "duonet."):
        needed = next((package for part, package in NEEDING.items() if module.name.startswith(part)), "numpy")
        if importlib.util.find_spec(needed):
            yield module


def code_lines(path):
    """Lines of code, without docstrings, comments and blank lines; a signature is one, also where its types take more."""
    source = path.read_text()
    left_out = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef):
            left_out.update(range(node.lineno + 1, node.body[0].lineno))
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node) is not None:
            left_out.update(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    words = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type in (tokenize.NAME, tokenize.NUMBER, tokenize.STRING, tokenize.OP):
            words.update(range(token.start[0], token.end[0] + 1))
    return len(words - left_out)


def test_every_room_has_a_floor():
    assert FLOORS.keys() | {"__init__"} == {room_of(path) for path in FILES}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_file_imports_only_from_floors_below_or_its_own_room(path):
    room = room_of(path)
    if room != "__init__":
        for name in imports(path):
            assert name != "__init__", f"{path} imports the package's face"
            assert name == room or FLOORS[name] < FLOORS[room], f"{path} imports {name}"
    assert path.read_text().count("\n") <= 350, "one idea a file"


def test_the_lesson_path_stays_small(capsys):
    lines = sum(code_lines(path) for path in FILES if room_of(path) in LESSON)
    with capsys.disabled():
        print(f"the lesson path has {lines} lines of code", end=" ")
    assert lines <= LESSON_LINES
    for path in FILES:
        if room_of(path) in LESSON:
            assert all(
                FLOORS[name] <= 8 and name not in ("experiments", "models", "cli") for name in imports(path)
            )


def test_only_the_backend_knows_cupy():
    knowing = [p.name for p in ROOT.rglob("*.py") if re.search(r"^\s*(import|from) cupy", p.read_text(), re.M)]
    assert knowing == ["backend.py"]


def test_importing_duonet_needs_numpy_alone():
    program = (
        "import sys\n"
        "class Refuse:\n"
        "    def find_spec(self, name, *rest):\n"
        "        if name.split('.')[0] in ('matplotlib', 'tqdm', 'threadpoolctl', 'cupy', 'numba', 'pooch', 'torch', 'onnx', 'safetensors'):\n"
        "            raise ImportError(name)\n"
        "sys.meta_path.insert(0, Refuse())\n"
        "import duonet, numpy as np\n"
        "rng = np.random.default_rng(0)\n"
        "model = duonet.models.vgg7('coupled', (4, 4, 4, 4, 8, 8), rng=rng)\n"
        "x = duonet.Tensor(np.ones((9, 32, 32, 3), 'float32'))\n"
        "duonet.functional.softmax_cross_entropy(duonet.decouple(model)(x), [0] * 9).backward()\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


PACKAGES = [duonet, functional, quant, methods, nn, mismatch, models, optim, data, experiments, interop]
PUBLIC = {
    f"{package.__name__}.{name}": getattr(package, name)
    for package in PACKAGES
    for name in getattr(package, "__all__", [n for n in vars(package) if not n.startswith("_")])
    if not inspect.ismodule(getattr(package, name))
    and getattr(getattr(package, name), "__module__", "").startswith("duonet")
}


RECEIVED = ("duonet.nn.Record", "duonet.mismatch.Estimate")  # the examples of what returns them show them


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_has_a_numpydoc_docstring(name):
    thing = PUBLIC[name]
    doc = inspect.getdoc(thing) or ""
    summary = doc.split("\n\n")[0]
    assert 10 < len(summary) < 360 and summary.rstrip().endswith((".", ":")), doc
    if inspect.isclass(thing) and issubclass(thing, (Exception,)):
        return
    signature = inspect.signature(thing)
    parameters = [
        p for p in signature.parameters if p not in ("self", "args", "kwargs", "layers", "inputs", "options")
    ]
    if name.startswith("duonet.functional"):  # an op is a formula, with sections where that leaves something open
        assert all(re.search(rf"\b{parameter}\b|\bd{parameter}\b", doc) for parameter in parameters), doc
        return
    assert ">>>" in doc or "experiments" in name or name in RECEIVED, "no example"
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
    for module in modules():
        if module.name != "duonet.__main__":
            assert importlib.import_module(module.name).__doc__, module.name


def test_no_module_is_shadowed_by_a_name_of_its_package():
    for module in modules():
        package, _, name = module.name.rpartition(".")
        if name != "__main__":
            importlib.import_module(module.name)
            found = getattr(importlib.import_module(package), name)
            assert inspect.ismodule(found), f"{module.name} cannot be reached: {package}.{name} is something else"


PROJECT = (ROOT.parent / "pyproject.toml").read_text(encoding="utf-8")


def signatures(module):
    """The name and the function of everything public that a module defines, members of its classes too."""
    for name, thing in vars(module).items():
        if name.startswith("_") or getattr(thing, "__module__", None) != module.__name__:
            continue
        if hasattr(thing, "py_func"):  # a kernel, whose types numba infers
            continue
        if not inspect.isclass(thing):
            yield name, inspect.unwrap(thing)
            continue
        members = {m: inspect.getattr_static(thing, m) for m in dir(thing) if not m.startswith("_")}
        members |= {
            m: vars(thing)[m] for m in ("__init__", "__call__", "__getitem__", "__len__") if m in vars(thing)
        }
        for member, found in members.items():
            # An op's forward and backward are its formulas, on raw arrays, under Function's signature.
            if member in ("forward", "backward", "smooth", "suits") and duonet.Function in thing.__mro__[1:]:
                continue
            for part in (found.fget, found.fset) if isinstance(found, property) else [found]:
                yield f"{name}.{member}", inspect.unwrap(getattr(part, "__func__", part))


def unannotated(function):
    """The arguments of a function that have no type, and "return"."""
    code = function.__code__
    taken = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount + bin(code.co_flags & 12).count("1")]
    wanted = [*taken, *(["return"] if function.__name__ != "__init__" else [])]
    first = wanted[:1] if wanted[0] in ("self", "cls") else []
    return [name for name in wanted if name not in function.__annotations__ and name not in first]


@pytest.mark.parametrize("name", [m.name for m in modules()])
def test_every_public_signature_has_its_types(name):
    if name == "duonet.__main__":
        return
    for where, function in signatures(importlib.import_module(name)):
        if inspect.isfunction(function) and (function.__module__ or "").startswith("duonet"):
            assert not unannotated(function), f"{name}.{where}: no type for {unannotated(function)}"


def test_the_package_says_that_it_has_types():
    assert (ROOT / "py.typed").exists() and '\nduonet = ["py.typed"]\n' in PROJECT
