"""Files of safetensors: what was written comes back, and what is no such file is refused in a sentence."""

import json
import os
import struct

import numpy as np
import pytest

from duonet import interop, nn

safetensors = pytest.importorskip("safetensors.numpy", reason="needs safetensors: pip install duonet[interop]")
SHAPE = (2, 2, 3)


@pytest.fixture
def model(rng):
    return nn.Sequential({"flat": nn.Flatten(), "head": nn.Linear(12, 5, rng=rng)})


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.safetensors"


def test_a_file_comes_back(model, path):
    interop.save_safetensors(path, model, SHAPE)
    found = safetensors.load_file(path)
    for name, array in interop.to_torch_state(model, SHAPE).items():
        assert np.array_equal(found[name], array)
    before = model.head.weight.data.copy()
    model.head.weight.data[...] = 0
    interop.load_safetensors(path, model, SHAPE)
    assert np.array_equal(model.head.weight.data, before)
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def written(tensors):
    """A file with a header as somebody might write it: from name to dtype, shape and bytes."""
    at, header = 0, {}
    for name, (dtype, shape, size) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at := at + size]}
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(at)


WHOLE = {"head.weight": ("F32", [5, 12], 240), "head.bias": ("F32", [5], 20)}


@pytest.mark.parametrize(
    "content, said",
    [
        (b"", "not a complete safetensors file"),
        (b"no file at all, but many words", "not a complete safetensors file"),
        (written(WHOLE)[:-1], "not a complete safetensors file"),
        (struct.pack("<Q", 1 << 60) + b"{}", "not a complete safetensors file"),
        (written({"head.bias": WHOLE["head.bias"]}), "load_safetensors: missing head.weight"),
        (written(WHOLE | {"x\n": ("F32", [1], 4)}), r"load_safetensors: unexpected 'x\n'"),
        (written(WHOLE | {"head.bias": ("F32", [4], 16)}), "head.bias has shape (4,), expected (5,)"),
        (written(WHOLE | {"head.bias": ("F32", [5, 1], 20)}), "head.bias has shape (5, 1), expected (5,)"),
        (written(WHOLE | {"head.bias": ("BF16", [5], 10)}), "head.bias holds BF16, expected F32"),
        (written(WHOLE | {"head.bias": ("BOOL", [5], 5)}), "head.bias holds BOOL, expected F32"),
        (written(WHOLE | {"head.bias": ("I64", [5], 40)}), "head.bias has dtype int64, expected float32"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_in_a_sentence(model, path, content, said):
    path.write_bytes(content)
    before = model.head.bias.data.copy()
    with pytest.raises(ValueError) as error:
        interop.load_safetensors(path, model, SHAPE)
    assert said in str(error.value) and "\n" not in str(error.value)
    assert np.array_equal(model.head.bias.data, before)


def test_a_file_with_nan_is_refused(model, path):
    state = interop.to_torch_state(model, SHAPE)
    state["head.weight"][0, 0] = np.inf
    safetensors.save_file(state, path)
    with pytest.raises(ValueError, match="load_safetensors: head.weight holds NaN or infinity"):
        interop.load_safetensors(path, model, SHAPE)


def test_nothing_is_written_that_could_not_be_read(model, path):
    model.head.bias.data[1] = np.nan
    with pytest.raises(ValueError, match="save_safetensors: head.bias holds NaN or infinity"):
        interop.save_safetensors(path, model, SHAPE)
    assert not any(path.parent.iterdir())


def test_of_many_problems_the_rest_are_counted(model, path):
    path.write_bytes(written(WHOLE | {f"more{i:02}": ("F32", [1], 4) for i in range(11)}))
    with pytest.raises(ValueError, match="unexpected 'more07'; and 3 more$"):
        interop.load_safetensors(path, model, SHAPE)


def test_no_file_a_folder_and_a_closed_file_are_told_apart(model, path):
    with pytest.raises(FileNotFoundError):
        interop.load_safetensors(path, model, SHAPE)
    with pytest.raises(IsADirectoryError if os.name != "nt" else PermissionError, match=path.parent.name):
        interop.load_safetensors(path.parent, model, SHAPE)
    interop.save_safetensors(path, model, SHAPE)
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("root, or a system without permissions, may read it")
    with pytest.raises(PermissionError, match=path.name):
        interop.load_safetensors(path, model, SHAPE)
