"""Quantisers written outside the package, in ten lines, work everywhere: that is what the base class is for."""

import numpy as np
import pytest

from duonet import (
    Parameter,
    Tensor,
    backend,
    data,
    decouple,
    fit,
    fold_batch_norm,
    load_checkpoint,
    load_model,
    nn,
    no_grad,
    optim,
    save_checkpoint,
    summary,
)
from duonet import functional as F
from duonet.checkpoint import CheckpointError
from duonet.mismatch.chain import CannotServe
from duonet.mismatch.fast import FastForm
from duonet.mismatch.objective import Objective
from duonet.quant import Clip, Identity, Quantizer, Staircase, Ternary, Uniform, quantize


class Pact(Quantizer):
    """An activation with a learned range."""

    samplewise = by_channel = rising = True
    bits = 2

    def __init__(self, alpha=1.0):
        super().__init__()
        self.alpha = Parameter(np.float32(alpha))

    def forward(self, x):
        return quantize(x / self.alpha, Uniform(2), Clip(0, 1)) * self.alpha

    def penalty(self):
        return self.alpha * self.alpha * 0.01


class Thirds(Quantizer):
    """Ternary weights with the largest as scale."""

    bits = 2
    homogeneous = True

    def forward(self, w):
        largest = float(abs(w.data).max())
        return quantize(w * (1 / largest), Staircase([-1 / 3, 1 / 3], [-1, 0, 1]), Identity()) * largest

    def scales(self, shape):
        return 1


class Untagged(Pact):
    def forward(self, x):
        return super().forward(x) + 0.0


class Grid(Thirds):
    """Not homogeneous: the grid does not shrink with the weights."""

    def forward(self, w):
        return quantize(w, Staircase([-0.25, 0.25], [-0.5, 0, 0.5]), Identity())


OWN = [Pact, Thirds, Untagged, Grid]


def net(rng, activation=Pact, weights=Thirds):
    return nn.Sequential(
        nn.Linear(6, 5, rng=rng),
        nn.BatchNorm(5),
        activation(1.5),
        nn.Linear(5, 8, rng=rng, weight_quantizer=weights()),
        nn.BatchNorm(8),
        nn.QuantActivation(Ternary(), Clip(0, 1)),
        nn.Linear(8, 3, rng=rng, weight_quantizer=weights()),
    )


def batch(rng, n=12):
    return rng.standard_normal((n, 6), dtype="float32"), rng.integers(0, 3, n)


def test_it_is_printed_as_a_child():
    assert repr(net(np.random.default_rng(0))).splitlines()[3:6] == [
        "  2: Pact()",
        "  3: Linear(5, 8)",
        "    weight_quantizer: Thirds()",
    ]


def test_the_summary_knows_its_bits_scales_and_parameters(rng):
    counted = summary(net(rng), (6,))
    rows = {row.path: row for row in counted.rows}
    assert list(rows) == ["0", "1", "2", "3", "4", "5", "6"], "a quantiser of weights without tensors is no layer"
    assert rows["2"].parameters == {32: 1}
    assert (rows["3"].macs, rows["3"].weights, rows["3"].operations) == ({2: 40}, {2: 40}, 40 * 4 / 64)
    assert rows["3"].bytes_packed == 40 * 2 // 8 + 4 * (8 + 1), "bias and one scale"
    assert counted.activation_bits == 2 == counted.weight_bits


def test_a_learned_quantiser_of_weights_has_a_row_for_what_it_learns(rng):
    class Scaled(Thirds):
        def __init__(self):
            super().__init__()
            self.scale = Parameter([1.0])

        def forward(self, w):
            return super().forward(w) * self.scale

    rows = summary(nn.Linear(2, 3, rng=rng, weight_quantizer=Scaled()), (2,)).rows
    assert [(row.path, row.parameters, row.output_shape) for row in rows] == [
        ("weight_quantizer", {32: 1}, ()),
        ("", {32: 9}, (3,)),
    ], "and with a forward of its own it has not said how many bits there are"


def test_it_is_decoupled_by_its_tag(rng):
    model = net(rng).eval()
    x = Tensor(batch(rng)[0])
    with no_grad():
        np.testing.assert_allclose(decouple(model)(x).data, model(x).data, atol=1e-5)
        repeated = net(rng, weights=Grid).eval()
        np.testing.assert_allclose(decouple(repeated)(x).data, repeated(x).data, atol=1e-5)
    ternary = nn.QuantActivation(Ternary(), Clip(0, 1))
    with pytest.raises(ValueError, match="Pact: cannot be decoupled exactly"):
        decouple(nn.Sequential(nn.Linear(6, 5, rng=rng), nn.BatchNorm(5), ternary, Pact()))


def test_fold_leaves_it_alone(rng):
    model = net(rng).eval()
    folded = fold_batch_norm(model)
    x = Tensor(batch(rng)[0])
    with no_grad():
        np.testing.assert_array_equal(folded(x).data, model(x).data)
    assert isinstance(folded[1], nn.BatchNorm) and type(folded[2]) is Pact and len(folded) == len(model) - 1


@pytest.mark.parametrize("activation", [Pact, Untagged])
def test_mismatch_is_measured_in_the_fast_form_by_its_tags(rng, activation):
    objective = Objective(net(rng, activation).eval(), F.softmax_cross_entropy, batch(rng))
    if activation is Untagged:
        with pytest.raises(CannotServe, match="holds a Untagged, which the fast form does not know"):
            FastForm(objective, "0")
        return
    weight = objective.model[0].weight
    for i, losses in enumerate(FastForm(objective, "0").losses(np.arange(weight.size), 0.5)):
        for sign, loss in zip((1, -1), losses):
            start = weight.data.copy()
            weight.data.ravel()[i] += np.float32(sign * 0.5)
            assert loss == pytest.approx(objective.value(), rel=1e-5)
            weight.data = start


class Free(Pact):
    penalty = nn.Module.penalty


def test_it_trains_and_its_penalty_counts(rng):
    x, y = batch(rng, 32)
    toy = data.Dataset((x * 40 + 120).clip(0, 255).astype(np.uint8).reshape(32, 1, 1, 6), y)
    learned = {}
    for kind in (Pact, Free):
        draws = np.random.default_rng(0)
        model = nn.Sequential(nn.Flatten(), net(draws, kind))
        loader = data.DataLoader(toy, 8, data.Normalize.of(toy.images), rng=draws)
        before = {path: p.data.copy() for path, p in model.named_parameters()}
        fit(model, loader, optim.SGD(model.parameters(), 0.05), 2, progress=False)
        assert all((p.data != before[path]).any() for path, p in model.named_parameters())
        learned[kind] = float(model[1][2].alpha.data)
    assert learned[Pact] < learned[Free]


def test_it_moves_and_converts(rng, device):
    model = net(rng).astype("float64").to(device).eval()
    x = Tensor(backend.to_device(np.ones((2, 6)), device))
    with no_grad():
        y = model(x).data
    assert model[2].alpha.dtype == y.dtype == np.float64 and backend.device_of(y) == device


def test_it_comes_back_from_a_checkpoint_where_its_class_is_handed_in(tmp_path, rng):
    model = net(rng)
    model[2].alpha.data[...] = 0.7
    path = tmp_path / "a.npz"
    save_checkpoint(path, model, optimizer=optim.Adam(model.parameters(), 0.1))
    twin = load_model(path, classes=OWN)
    assert repr(twin) == repr(model) and type(twin[2]) is Pact and float(twin[2].alpha.data) == np.float32(0.7)
    x = Tensor(batch(rng)[0])
    with no_grad():
        np.testing.assert_array_equal(twin(x).data, model.eval()(x).data)
    assert load_checkpoint(path, classes=OWN).optimizer.lr == 0.1
    for given in ((), [Thirds]):
        with pytest.raises(
            CheckpointError,
            match="a.npz cannot be rebuilt: the class 'Pact' is not one of duonet's own: pass it in",
        ):
            load_model(path, classes=given)


def test_classes_that_cannot_be_told_apart_or_are_none_are_refused(tmp_path, rng):
    other = type("Pact", (Thirds,), {})
    with pytest.raises(CheckpointError, match="3.weight_quantizer Pact is the name of two classes"):
        save_checkpoint(tmp_path / "a.npz", net(rng, weights=other))
    assert not list(tmp_path.iterdir())
    save_checkpoint(tmp_path / "a.npz", net(rng))
    with pytest.raises(ValueError, match="classes: two are named Pact"):
        load_model(tmp_path / "a.npz", classes=[Pact, other])
    with pytest.raises(TypeError, match="classes: expected classes of layers, .* got Pact()"):
        load_model(tmp_path / "a.npz", classes=[Pact()])
    with pytest.raises(CheckpointError, match="cannot be rebuilt: "):
        load_model(tmp_path / "a.npz", classes=[type("Pact", (Quantizer,), {}), Thirds])


class Block(nn.Module):
    """A layer of one's own, whose generator only draws the weights."""

    def __init__(self, width, activation, *, rng):
        super().__init__()
        self.width, self.activation = width, activation
        self.linear = nn.Linear(width, width, rng=rng)

    def forward(self, x):
        return self.activation(self.linear(x))


class Stack(nn.Sequential):
    pass


class Steps(Staircase):
    pass


def test_any_layer_and_staircase_of_ones_own_comes_back(tmp_path, rng):
    model = Stack(
        Block(6, nn.QuantActivation(Steps([0.0], [0, 1]), Clip(-1, 1)), rng=rng), nn.Dropout(0.5, rng=rng)
    )
    save_checkpoint(tmp_path / "a.npz", model)
    twin = load_model(tmp_path / "a.npz", classes=[Stack, Block, Steps])
    assert repr(twin) == repr(model) and type(twin[0].activation.staircase) is Steps
    np.testing.assert_array_equal(twin[0].linear.weight.data, model[0].linear.weight.data)


class Draws(nn.Module):
    def __init__(self, *, rng):
        super().__init__()
        self.drop = nn.Dropout(0.5, rng=rng)


def test_a_generator_that_would_come_back_in_another_state_is_refused(tmp_path, rng):
    with pytest.raises(CheckpointError, match="0.drop.rng would come back changed"):
        save_checkpoint(tmp_path / "a.npz", nn.Sequential(Draws(rng=np.random.default_rng(5))))
    assert not list(tmp_path.iterdir())


def test_measured_in_training_mode_a_drawing_quantiser_is_refused(rng):
    class Noise(Pact):
        deterministic = False

        def forward(self, x):
            return super().forward(x)

    model = net(rng, Noise).eval()
    model[2].training = True
    with pytest.raises(ValueError, match="2 Noise is in training mode, where it draws at every call"):
        Objective(model, F.softmax_cross_entropy, batch(rng))


class Scaled(Thirds):
    """A scale that is learned, and says how it begins."""

    homogeneous = True

    def __init__(self):
        super().__init__()
        self.scale = Parameter([1.0])

    def reset_parameters(self, rng):
        self.scale.data[...] = 1

    def forward(self, w):
        return super().forward(w) * self.scale


def test_drawn_anew_a_layer_begins_with_its_quantiser(rng):
    layer = nn.Linear(2, 3, rng=rng, weight_quantizer=Scaled())
    layer.weight_quantizer.scale.data[...] = 7
    nn.Sequential(layer).reset_parameters(np.random.default_rng(1))
    assert layer.weight_quantizer.scale.data == 1
    with pytest.raises(TypeError, match="Own: it has Parameters, but no reset_parameters"):
        own = type("Own", (Scaled,), {"reset_parameters": nn.Module.reset_parameters})
        nn.Linear(2, 3, rng=rng, weight_quantizer=own()).reset_parameters(rng)
