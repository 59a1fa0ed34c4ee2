"""Back-propagation through frozen, shared and unreached layers, and nothing left behind."""

import numpy as np
import pytest

from duonet import Tensor, nn
from duonet import functional as F
from duonet.mismatch import coarse_gradient, measure
from duonet.quant import Binary, Clip, LayerScaleSign
from duonet.tape import no_grad
from duonet.tensor import Parameter


def network(rng, **options):
    return nn.Sequential(
        nn.Linear(5, 6, rng=rng, **options),
        nn.QuantActivation(Binary(0.1), Clip(-1, 1)),
        nn.Linear(6, 3, rng=rng),
    ).eval()


def batch_for(rng):
    return rng.standard_normal((60, 5), dtype="float32"), rng.integers(0, 3, 60)


@pytest.mark.parametrize("options", [{}, {"weight_quantizer": LayerScaleSign()}])
@pytest.mark.parametrize("frozen", ["one", "all"])
def test_a_frozen_layer_has_the_gradient_it_had(frozen, options, rng):
    model, batch = network(rng, **options), batch_for(rng)
    free = measure(model, F.softmax_cross_entropy, batch, step=0.3)
    chosen = [model[0].weight] if frozen == "one" else model.parameters()
    for parameter in chosen:
        parameter.requires_grad = False
    result = measure(model, F.softmax_cross_entropy, batch, step=0.3)
    assert result["0"].coarse_norm > 0 and str(result) == str(free) and result.to_dict() == free.to_dict()
    assert all(not p.requires_grad for p in chosen) and all(p.grad is None for p in model.parameters())
    assert model[2].bias.requires_grad == (frozen == "one")


def test_it_is_put_back_when_the_loss_fails(rng):
    model, batch = network(rng), batch_for(rng)
    model[0].weight.requires_grad = False

    def fails(output, target):
        if output.requires_grad:
            raise ZeroDivisionError
        return F.softmax_cross_entropy(output, target)

    with pytest.raises(ZeroDivisionError):
        coarse_gradient(model, fails, batch)
    assert not model[0].weight.requires_grad


class Cut(nn.Module):
    def forward(self, x):
        return Tensor(x.data)


class Idle(nn.Module):
    """Holds a layer that it does not run."""

    def __init__(self, rng):
        super().__init__()
        self.used, self.spare = nn.Linear(5, 3, rng=rng), nn.Linear(5, 3, rng=rng)

    def forward(self, x):
        return self.used(x)


def test_a_layer_that_back_propagation_does_not_reach_has_no_gradient_rather_than_zero(rng):
    model = nn.Sequential(nn.Linear(5, 6, rng=rng), Cut(), nn.Linear(6, 3, rng=rng)).eval()
    result = measure(model, F.softmax_cross_entropy, batch_for(rng), step=0.3)
    row = result["0"]
    assert np.isnan([row.cosine, row.raw, row.coarse_norm, row.ratio, row.opposite]).all()
    assert row.smoothed_norm > 0 and "back-propagation does not reach it" in row.note
    assert (
        "0: " in str(result)
        and "nan" not in str(result)
        and result["2"].note == "general form: 1 holds a Cut, which the fast form does not know"
    )
    assert result.to_dict()["layers"][0]["opposite"] is None


def test_a_layer_that_is_not_run_has_none_either(rng):
    model = Idle(rng).eval()
    parts = measure(model, F.softmax_cross_entropy, batch_for(rng), step=0.3, parts=3)
    assert "does not reach" in parts["spare"].note and parts["spare"].smoothed_norm == 0
    assert "does not reach" not in parts["used"].note and parts["used"].cosine > 0.9


def test_nothing_reached_at_all(rng):
    model = nn.Sequential(nn.Linear(5, 3, rng=rng), Cut()).eval()
    estimate = coarse_gradient(model, F.softmax_cross_entropy, batch_for(rng))["0"]
    assert np.isnan(estimate.values).all() and "does not reach" in estimate.note


def test_a_gradient_that_is_zero_is_zero(rng):
    model = network(rng)
    model[1].surrogate = Clip(100, 101)
    row = measure(model, F.softmax_cross_entropy, batch_for(rng), step=0.3)["0"]
    assert row.coarse_norm == 0 and np.isnan(row.cosine) and row.note == "" and row.opposite == 0


def test_a_parameter_in_two_layers_has_one_gradient(rng):
    first, second = nn.Linear(4, 4, rng=rng), nn.Linear(4, 4, rng=rng)
    second.weight = first.weight
    model = nn.Sequential(first, nn.ReLU(), second).astype("float64").eval()
    batch = rng.standard_normal((20, 4)), rng.standard_normal((20, 4))
    result = measure(model, F.mse_loss, batch, step=1e-4)
    assert result["0"].cosine > 1 - 1e-6 and result["0"].ratio == pytest.approx(1, abs=1e-4)
    first.weight.requires_grad = False
    assert measure(model, F.mse_loss, batch, step=1e-4).to_dict() == result.to_dict()


def test_a_layer_in_two_places_is_measured_once_and_found_by_both_paths(rng):
    shared = nn.Linear(4, 4, rng=rng)
    model = nn.Sequential(shared, nn.ReLU(), shared).astype("float64").eval()
    batch = rng.standard_normal((20, 4)), rng.standard_normal((20, 4))
    first, second = (measure(model, F.mse_loss, batch, step=1e-4, layers=path).rows[0] for path in "02")
    assert len(measure(model, F.mse_loss, batch, step=1e-4)) == 1 and first.ratio == pytest.approx(1, abs=1e-4)
    assert first._replace(layer="2") == second and "more than once" in second.note


def test_gradients_of_whoever_takes_part_are_left_as_they_were(rng):
    """Of the model's buffers too, and of parameters that only the loss knows."""

    class Moved(nn.Module):
        def __init__(self):
            super().__init__()
            self.by = Tensor([0.1, 0.2, 0.3], requires_grad=True)

        def forward(self, x):
            return x + self.by

    model = nn.Sequential(nn.Linear(5, 3, rng=rng), Moved()).eval()
    scale = Parameter([2.0])
    held = model[0].weight.grad = np.ones((5, 3), "float32")
    scale.grad = kept = np.full(1, 7, "float32")

    def loss(output, target):
        return F.softmax_cross_entropy(
            output * Tensor(scale.data.astype(output.dtype)) if output.dtype != "float32" else output * scale,
            target,
        )

    coarse_gradient(model, loss, batch_for(rng))
    assert model[0].weight.grad is held and (held == 1).all() and scale.grad is kept and kept[0] == 7
    assert model[1].by.grad is None and model[0].bias.grad is None


def test_without_a_tape_there_is_no_gradient_to_compare(rng):
    with no_grad(), pytest.raises(RuntimeError, match="coarse_gradient: .*no_grad"):
        coarse_gradient(network(rng), F.softmax_cross_entropy, batch_for(rng))
