"""Modules change what they hold after every step of the optimiser, without a tape, resumed or not."""

import numpy as np

from duonet import Parameter, data, fit, nn, optim, save_checkpoint
from duonet.checkpoint import load_checkpoint
from duonet.methods import BNNWeights
from duonet.stepping import Stepping
from duonet.tape import recording


class Watching(nn.Module):
    """y = x α; α is put back to 1 after every step, and what happened is written down."""

    def __init__(self, log):
        super().__init__()
        self.alpha, self.log = Parameter(1.0), log

    def forward(self, x):
        self.log("forward")
        return x * self.alpha

    def after_step(self):
        self.log(f"after {float(self.alpha.data) != 1} {recording()}")
        self.alpha.data[...] = 1
        self.alpha.changed()


def loader_of(rng=None):
    toy = data.Dataset(np.random.default_rng(1).integers(0, 255, (8, 1, 1, 4)).astype(np.uint8), np.arange(8) % 2)
    return data.DataLoader(toy, 4, data.Normalize.of(toy.images), rng=rng)


def test_every_step_ends_with_it_without_a_tape():
    events = []
    model = nn.Sequential(nn.Flatten(), Watching(events.append), nn.Linear(4, 2, rng=np.random.default_rng(0)))
    fit(model, loader_of(), optim.SGD(model.parameters(), 0.1), 2, progress=False)
    assert events == ["forward", "after True False"] * 4
    assert model[1].alpha.item() == 1


def test_parents_come_first_and_modules_without_one_are_not_asked():
    events = []

    class Outer(nn.Sequential):
        def after_step(self):
            events.append("outer")

    model = Outer(nn.ReLU(), Watching(lambda event: events.append("inner")))
    Stepping(model).after()
    assert events == ["outer", "inner"]
    assert not Stepping(nn.Sequential(nn.ReLU(), nn.BatchNorm(2)))._after


def test_a_resumed_training_ends_with_the_same_bits(tmp_path):
    def fresh():
        rng = np.random.default_rng(0)
        model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2, rng=rng, weight_quantizer=BNNWeights()))
        return model, optim.Adam(model.parameters(), 0.7)

    whole, optimizer = fresh()
    fit(whole, loader_of(), optimizer, 4, progress=False)
    model, optimizer = fresh()
    history = fit(model, loader_of(), optimizer, 2, progress=False)
    save_checkpoint(tmp_path / "a.npz", model, optimizer=optimizer, history=history)
    saved = load_checkpoint(tmp_path / "a.npz")
    fit(saved.model, loader_of(), saved.optimizer, 4, history=saved.history, progress=False)
    assert abs(whole[1].weight.data).max() == 1
    for path, array in whole.state_dict().items():
        np.testing.assert_array_equal(saved.model.state_dict()[path], array)
