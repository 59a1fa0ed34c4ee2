"""What modules add to the loss: added at every step, kept apart in the history, refused where it is no number."""

import numpy as np
import pytest

from duonet import Parameter, Tensor, data, fit, nn, optim
from duonet.experiments.run_folder import COLUMNS, read_history
from duonet.history import History
from duonet.penalties import Penalties


class Scale(nn.Module):
    """y = x α, with a penalty on α, or whatever else is said."""

    def __init__(self, say=lambda alpha: alpha * alpha):
        super().__init__()
        self.alpha = Parameter(2.0)
        self.say = say

    def forward(self, x):
        return x * self.alpha

    def penalty(self):
        return self.say(self.alpha)


def trained(*layers, lr=0.0, epochs=2):
    rng = np.random.default_rng(0)
    toy = data.Dataset(rng.integers(0, 255, (12, 1, 1, 4)).astype(np.uint8), np.arange(12) % 2)
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2, rng=rng), *layers)
    loader = data.DataLoader(toy, 4, data.Normalize.of(toy.images), rng=rng)
    return fit(model, loader, optim.SGD(model.parameters(), lr), epochs, progress=False), model


def test_the_history_has_their_mean_apart_from_the_loss():
    alone, _ = trained(Scale(lambda alpha: None))
    history, model = trained(Scale(), Scale())
    one, _ = trained(Scale())
    assert history["penalty"] == [8, 8] and one["penalty"] == [4, 4] and alone["penalty"] == [0, 0]
    assert one["loss"] == alone["loss"], "the loss is the task's own"
    assert "penalty" not in trained()[0].rows[0]


def test_they_are_part_of_what_is_minimised():
    _, free = trained(Scale(lambda alpha: None), lr=0.05)
    _, held = trained(Scale(lambda alpha: alpha * alpha * 3), lr=0.05)
    assert held[2].alpha.data < 0.8 * free[2].alpha.data


@pytest.mark.parametrize("say, message", [
    (lambda alpha: alpha * np.inf, "fit: the penalty of 2 Scale is inf, not a finite number"),
    (lambda alpha: Tensor(np.float32("nan")), "fit: the penalty of 2 Scale is nan, not a finite number"),
    (lambda alpha: 3.0, "fit: the penalty of 2 Scale must be one Tensor without axes, or None, got 3.0"),
    (lambda alpha: Tensor([1.0]), "fit: the penalty of 2 Scale must be one Tensor without axes, or None, got "),
])  # fmt: skip
def test_what_is_no_finite_number_is_refused_with_its_module(say, message):
    with pytest.raises(ValueError, match=f"^{message}"), np.errstate(all="ignore"):
        trained(Scale(say))


def test_a_gpu_is_not_waited_for_where_nobody_looks(standin):
    model, loss = Scale().to("gpu"), Tensor(standin.cupy.asarray(np.float32(1)))
    penalties = Penalties(model)
    with standin.no_sync():
        loss = penalties.added(loss, look=False)
    assert float(loss.data) == 5 and penalties.mean() == 4
    with pytest.raises(standin.HostSync), standin.no_sync():
        penalties.added(loss)


def test_the_column_of_a_run_comes_back_and_may_be_empty_in_a_stage(tmp_path):
    row = dict.fromkeys(COLUMNS, 1.0)
    for rows in ([row, row], [row | {"penalty": 0.25}, row]):
        History(rows).save(tmp_path / "history.csv")
        assert read_history(tmp_path / "history.csv") == rows
    History([row | {"penalty": "much"}]).save(tmp_path / "history.csv")
    with pytest.raises(ValueError, match="penalty of an epoch"):
        read_history(tmp_path / "history.csv")
