import numpy as np
import pytest

from duonet import models
from duonet.checkpoint import load_weights, save_weights
from duonet.files import replacing


def net(seed, widths=(6, 5)):
    return models.mlp("coupled", 8, widths, 3, rng=np.random.default_rng(seed))


def test_weights_go_round(tmp_path):
    a, b = net(0), net(1)
    save_weights(tmp_path / "w.npz", a)
    load_weights(tmp_path / "w.npz", b)
    assert all(np.array_equal(v, b.state_dict()[k]) for k, v in a.state_dict().items())
    assert [p.name for p in tmp_path.iterdir()] == ["w.npz"]


def test_damaged_and_foreign_files_are_refused_and_nothing_changes(tmp_path):
    path, model = tmp_path / "w.npz", net(0)
    save_weights(path, net(1))
    whole = path.read_bytes()
    before = model.state_dict()
    for content in (whole[: len(whole) // 2], b"", b"not an npz", whole[:200] + bytes(64) + whole[264:]):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="w.npz is not a whole npz file of weights"):
            load_weights(path, model)
    np.save(tmp_path / "array.npy", np.zeros(3))
    with pytest.raises(ValueError, match="array.npy is not a whole npz file"):
        load_weights(tmp_path / "array.npy", model)
    save_weights(path, net(1, (7, 5)))
    with pytest.raises(ValueError, match="load_state_dict: .* has shape"):
        load_weights(path, model)
    with pytest.raises(FileNotFoundError):
        load_weights(tmp_path / "none.npz", model)
    assert all(np.array_equal(v, model.state_dict()[k]) for k, v in before.items())


def test_a_failed_write_keeps_the_old_file_and_leaves_nothing_behind(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(OSError), replacing(path) as part:
        part.write_text("half")
        raise OSError("disk full")
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]
    with replacing(path) as part:
        part.write_text("new")
    assert path.read_text() == "new" and list(tmp_path.iterdir()) == [path]
