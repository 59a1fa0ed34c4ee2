"""A layer written outside the package, with what is so of it in its tags, works as the package's own do."""

import numpy as np
import pytest

from duonet import Parameter, Tensor, decouple, load_model, nn, no_grad, save_checkpoint, summary
from duonet import functional as F
from duonet.mismatch.chain import CannotServe
from duonet.mismatch.fast import FastForm
from duonet.mismatch.objective import Objective
from duonet.quant import Binary, Clip, LayerScaleSign, Quantizer, Ternary, Uniform, quantize


class Thin(nn.Module):
    """Every second pixel."""

    samplewise = by_channel = rising = keeps_levels = copywise = translates = True

    def __init__(self, step=2):
        super().__init__()
        self.step = step

    def forward(self, x):
        return x[:, :: self.step, :: self.step]


class Unstated(Thin):
    def forward(self, x):
        return super().forward(x)


def net(rng, thin, between=()):
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, rng=rng),
        nn.BatchNorm(4),
        *between,
        nn.QuantActivation(Ternary(), Clip(0, 1)),
        thin,
        nn.Conv2d(4, 2, 1, rng=rng, weight_quantizer=LayerScaleSign()),
    )


def test_it_stands_behind_and_before_a_ternary_activation(rng):
    model = net(rng, Thin(), [Thin()]).eval()
    x = Tensor(rng.standard_normal((3, 12, 12, 1), dtype="float32"))
    for shift in ("threshold", "beta"):
        with no_grad():
            np.testing.assert_allclose(decouple(model, shift)(x).data, model(x).data, atol=1e-5)
    with pytest.raises(ValueError, match="^decouple: 3 Unstated: cannot be decoupled exactly"):
        decouple(net(rng, Unstated()))
    with pytest.raises(ValueError, match="needs a batch norm before it.*found Unstated"):
        decouple(net(rng, Thin(), [Unstated()]))


def test_what_was_quantised_stays_quantised_where_it_says_so(rng):
    macs = [summary(net(rng, thin), (12, 12, 1)).rows[-1].macs for thin in (Thin(), Unstated())]
    assert [list(wide) for wide in macs] == [[2], [32]]


def test_it_comes_back_from_a_checkpoint(tmp_path, rng):
    save_checkpoint(tmp_path / "a.npz", net(rng, Thin(3)))
    assert load_model(tmp_path / "a.npz", classes=[Thin])[3].step == 3


class Ranges(Quantizer):
    """A learned range for each channel, of two parts."""

    samplewise = by_channel = rising = True
    bits = 2

    def __init__(self, alpha):
        super().__init__()
        self.alpha, self.offset = Parameter(np.float32(alpha)), Tensor(np.float32(0.1))
        self.staircase = Uniform(2)

    def forward(self, x):
        return quantize(x / self.alpha + self.offset, self.staircase, Clip(0, 1)) * self.alpha


class Fixed(nn.Module):
    """Says that it treats channels one by one, but keeps what belongs to them where nobody finds it."""

    samplewise = by_channel = rising = True

    def __init__(self):
        super().__init__()
        self.shift = np.arange(3, dtype="float32")

    def forward(self, x):
        return x + self.shift


class Steps(nn.QuantActivation):
    """A forward of its own, with its tags stated again."""

    samplewise = by_channel = rising = True

    def forward(self, x):
        return super().forward(x) * 2 + x


def objective(rng, *layers):
    model = nn.Sequential(nn.Linear(4, 3, rng=rng), *layers, nn.Linear(3, 2, rng=rng)).eval()
    return Objective(model, F.softmax_cross_entropy, (rng.standard_normal((9, 4), dtype="float32"), [0, 1, 1] * 3))


@pytest.mark.parametrize(
    "layers",
    [
        lambda: [Ranges([0.5, 1.0, 2.0])],
        lambda: [Steps(Binary([0.1, 0.2, 0.3]), Clip(0, 1))],
        lambda: [nn.BatchNorm(3), nn.Replicate(), Ranges([0.5, 1.0, 2.0] * 2), nn.AverageCopies()],
    ],
)
def test_its_entries_of_each_channel_are_found_by_the_fast_form(rng, layers):
    measured = objective(rng, *layers())
    weight = measured.model[0].weight
    losses = FastForm(measured, "0").losses(np.arange(weight.size), 0.5)
    for i in range(weight.size):
        for sign, loss in zip((1, -1), losses[i]):
            start = weight.data.copy()
            weight.data.ravel()[i] += np.float32(sign * 0.5)
            assert loss == pytest.approx(measured.value(), rel=1e-5)
            weight.data = start


def test_what_is_not_one_by_one_as_it_says_is_left_to_the_general_form(rng):
    with pytest.raises(CannotServe, match="does not treat its channels one by one, as its class says"):
        FastForm(objective(rng, Fixed()), "0")
