"""Modules hear the time before every step of the optimiser and change what they hold after it, resumed or not."""

import numpy as np
import pytest

from duonet import Parameter, data, fit, nn, optim, save_checkpoint
from duonet.checkpoint import load_checkpoint
from duonet.experiments.run_folder import COLUMNS, read_history
from duonet.history import History
from duonet.methods import BNNWeights, SharpenedSign
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


class Timed(nn.Module):
    """y = x; what it hears is written down, and what is said comes back."""

    def __init__(self, log, say=lambda epochs: {"slope": epochs}):
        super().__init__()
        self.log, self.say = log, say

    def forward(self, x):
        self.log("forward")
        return x

    def before_step(self, epochs):
        self.log(epochs)
        return self.say(epochs)


def fitted(*layers, epochs=2, history=None, **more):
    model = nn.Sequential(nn.Flatten(), *layers, nn.Linear(4, 2, rng=np.random.default_rng(0)))
    return fit(
        model, loader_of(), optim.SGD(model.parameters(), 0.1), epochs, history=history, progress=False, **more
    )


def test_the_time_is_said_before_each_step_and_goes_on_where_a_history_ends():
    events = []
    history = fitted(Timed(events.append))
    assert events == [0, "forward", 0.5, "forward", 1, "forward", 1.5, "forward"]
    events.clear()
    fitted(Timed(events.append), epochs=3, history=history)
    assert events == [2, "forward", 2.5, "forward"]


def test_the_history_has_the_mean_over_modules_of_the_latest_numbers():
    steep = Timed(lambda event: None, lambda epochs: {"slope": 3 * epochs, "width": 2})
    history = fitted(Timed(lambda event: None), steep, Timed(lambda event: None, lambda epochs: None))
    assert history["slope"] == [1, 3] and history["width"] == [2, 2]
    assert set(fitted().rows[0]) == {"epoch", "lr", "loss", "accuracy", "seconds"}


@pytest.mark.parametrize("say, message", [
    (lambda epochs: {"slope": np.nan}, "fit: before_step of 1 Timed: slope must be a finite number, got nan"),
    (lambda epochs: {"slope": "steep"}, "fit: before_step of 1 Timed: slope must be a number, got str 'steep'"),
    (lambda epochs: 3.0, "fit: before_step of 1 Timed: the result must be a dict, got float"),
])  # fmt: skip
def test_what_is_no_number_is_refused_with_its_module(say, message):
    with pytest.raises((TypeError, ValueError), match=f"^{message}"):
        fitted(Timed(lambda event: None, say))


def test_the_columns_of_a_run_come_back(tmp_path):
    row = dict.fromkeys(COLUMNS, 1.0)
    rows = [row | {"slope": 2.5, "penalty": 0.5}, row]
    History(rows).save(tmp_path / "history.csv")
    assert read_history(tmp_path / "history.csv") == rows
    for odd in (row | {"slope": float("nan")}, row | {"a b": 1.0}):
        History([odd]).save(tmp_path / "history.csv")
        with pytest.raises(ValueError, match="slope of an epoch|columns"):
            read_history(tmp_path / "history.csv")


def test_a_resumed_training_ends_with_the_same_bits(tmp_path):
    def fresh():
        rng = np.random.default_rng(0)
        first = nn.Linear(4, 4, rng=rng), SharpenedSign(1.0, optim.Ramp(1, 9, 4))
        model = nn.Sequential(nn.Flatten(), *first, nn.Linear(4, 2, rng=rng, weight_quantizer=BNNWeights()))
        return model, optim.Adam(model.parameters(), 0.7)

    whole, optimizer = fresh()
    fit(whole, loader_of(), optimizer, 4, progress=False)
    model, optimizer = fresh()
    history = fit(model, loader_of(), optimizer, 2, progress=False)
    save_checkpoint(tmp_path / "a.npz", model, optimizer=optimizer, history=history)
    saved = load_checkpoint(tmp_path / "a.npz")
    fit(saved.model, loader_of(), saved.optimizer, 4, history=saved.history, progress=False)
    assert abs(whole[3].weight.data).max() == 1
    assert saved.model[2].beta == saved.model[2].surrogate.beta == 8, "the last step was at 3.5 of 4 epochs"
    for path, array in whole.state_dict().items():
        np.testing.assert_array_equal(saved.model.state_dict()[path], array)
