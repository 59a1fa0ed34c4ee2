"""Every row of `duonet methods`, also one that comes tomorrow: forward, backward, an epoch of `fit`, saved and loaded."""

import numpy as np
import pytest

from duonet import Tensor, data, fit, load_checkpoint, methods, nn, no_grad, optim, save_checkpoint
from duonet import functional as F
from duonet.experiments.shelf import shelf_rows
from duonet.quant import Binary, Clip

TOY = data.Dataset(np.random.default_rng(0).integers(0, 255, (8, 4, 4, 4)).astype(np.uint8), np.arange(8) % 3)


def network(entry, rng):
    """A conv and a linear layer of width 4 around the method; one for weights is in both."""
    binary = nn.QuantActivation(Binary(), Clip(0, 1))
    weights = [entry.for_layer(rng) if entry.kind == "weights" else {} for _ in range(2)]
    between = [entry.make(rng)] if entry.kind != "weights" else []
    between += [binary] if entry.kind in ("weights", "penalties") else []
    conv = nn.Conv2d(4, 4, 3, rng=rng, **weights[0])
    return nn.Sequential(conv, nn.BatchNorm(4), *between, nn.Flatten(), nn.Linear(16, 4, rng=rng, **weights[1]))


def loader():
    return data.DataLoader(TOY, 4, data.Normalize.of(TOY.images), rng=np.random.default_rng(1))


@pytest.mark.parametrize("name", [row["method"] for row in shelf_rows()])
def test_it_runs_trains_an_epoch_and_comes_back(name, tmp_path):
    model = network(methods.find(name), np.random.default_rng(0))
    x, y = next(iter(loader()))
    F.softmax_cross_entropy(model(Tensor(x)), y).backward()
    assert all(np.isfinite(p.grad).all() for p in model.parameters())
    optimizer = optim.Adam(model.parameters(), 0.01)
    before = {path: array.copy() for path, array in model.state_dict().items()}
    history = fit(model, loader(), optimizer, 1, progress=False)
    assert np.isfinite(history["loss"][0])
    assert all((array != before[path]).any() for path, array in model.state_dict().items())
    save_checkpoint(tmp_path / "a.npz", model, optimizer=optimizer, history=history)
    saved = load_checkpoint(tmp_path / "a.npz")
    with no_grad():
        np.testing.assert_array_equal(saved.model.eval()(Tensor(x)).data, model.eval()(Tensor(x)).data)
    for one, steps, past in ((model, optimizer, history), (saved.model, saved.optimizer, saved.history)):
        fit(one, loader(), steps, 2, progress=False, history=past)
    for path, array in saved.model.state_dict().items():
        np.testing.assert_array_equal(array, model.state_dict()[path])
