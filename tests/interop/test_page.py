"""The blocks of the page run as they stand, in one session: PyTorch's too where it is installed."""

import importlib.util
import re
from pathlib import Path

import pytest

import duonet
import duonet.interop

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "pytorch.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(py|python)\n(.*?)^```$", PAGE, re.M | re.S)


def run(languages):
    names = {}
    for language, block in BLOCKS:
        if language in languages:
            exec(block, names)


def test_every_block_of_duonets_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run(["python"])


def test_every_block_runs_where_torch_is_installed(tmp_path, monkeypatch, capsys):
    for package in ("torch", "safetensors", "onnx", "onnxruntime"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"needs {package}")
    monkeypatch.chdir(tmp_path)
    run(["py", "python"])
    printed = capsys.readouterr().out.split("\n")
    assert printed.count("False") == 2 and printed.count("True") == 1


def test_every_name_of_the_table_exists():
    for name in re.findall(r"\{py:obj\}`duonet\.([\w.]+)`", PAGE):
        thing = duonet
        for part in name.split("."):
            thing = getattr(thing, part)
