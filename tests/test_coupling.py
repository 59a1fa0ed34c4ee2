"""What decoupling takes for granted, it checks: on a layer of another kind it says so instead of changing the function."""

import copy

import numpy as np
import pytest

from duonet import Parameter, Tensor, decouple, nn, no_grad, optim
from duonet.decoupling import CannotDecouple
from duonet.quant import Clip, FilterScaleSign, LayerScaleSign, Quantizer, Shifted, Ternary
from duonet.tensor import Function


def ternary(staircase=None):
    return nn.QuantActivation(staircase or Ternary(), Clip(0, 1))


def linear_net(rng, **options):
    return nn.Sequential(nn.Linear(4, 6, rng=rng), nn.BatchNorm(6), ternary(), nn.Linear(6, 3, rng=rng, **options))


def image_net(rng, **options):
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, rng=rng),
        nn.BatchNorm(6),
        ternary(),
        nn.Conv2d(6, 2, 3, rng=rng, **options),
        nn.BatchNorm(2),
        ternary(),
        nn.Flatten(),
        nn.Linear(8, 3, rng=rng, **options),
    )


class Through(Function):
    """Apply a function of arrays."""

    @staticmethod
    def forward(ctx, w, *, function):
        return function(w).astype(w.dtype)

    @staticmethod
    def backward(ctx, dy):
        return dy


def quantizer(function, homogeneous=False):
    class Own(Quantizer):
        def forward(self, w):
            return Through.apply(w, function=function)

    Own.homogeneous = homogeneous
    return Own()


def wrpn(w):
    """Evenly spaced levels on [−1, 1] (Mishra et al., WRPN, ICLR 2018)."""
    return np.round(np.clip(w, -1, 1) * 3) / 3


DRAWS = np.random.default_rng(0)
MINDS_PLACES = {
    "sum instead of mean": quantizer(lambda w: np.sign(w) * np.abs(w).sum()),
    "scale of each input": quantizer(lambda w: w + 0.01 * np.arange(w.shape[-2])[:, None]),
    "draws": quantizer(lambda w: w + 0.01 * DRAWS.standard_normal(w.shape)),
}


@pytest.mark.parametrize("build", [linear_net, image_net])
@pytest.mark.parametrize("name", MINDS_PLACES)
def test_a_weight_quantiser_that_minds_repetition_is_refused_by_path(build, name, rng):
    with pytest.raises(CannotDecouple, match="^decouple: 3 (Linear|Conv2d): .*its weight quantiser q depends on"):
        decouple(build(rng, weight_quantizer=MINDS_PLACES[name]))


NOT_HOMOGENEOUS = {
    "WRPN": quantizer(wrpn),
    "sign without a scale": quantizer(lambda w: np.where(w >= 0, 1, -1)),
    "says nothing": quantizer(lambda w: w),
    "says what is not so": quantizer(wrpn, homogeneous=True),
    "overrides": type("Overrides", (LayerScaleSign,), {"forward": lambda self, w: w})(),
}


def levels_of(model):
    return {(m.staircase.low, m.staircase.high) for _, m in model.modules() if isinstance(m, nn.QuantActivation)}


@pytest.mark.parametrize("build, shape", [(linear_net, (4,)), (image_net, (6, 6, 1))])
@pytest.mark.parametrize("name", NOT_HOMOGENEOUS)
def test_weights_that_cannot_be_divided_are_repeated_and_the_copies_emit_their_rise(build, shape, name, rng):
    model = build(rng, weight_quantizer=NOT_HOMOGENEOUS[name]).astype("float64").eval()
    binary = decouple(model)
    x = Tensor(rng.standard_normal((5, *shape)))
    with no_grad():
        np.testing.assert_allclose(binary(x).data, model(x).data, rtol=0, atol=1e-12)
    assert levels_of(binary) == {(0, 0.5)} and "Binary(0.25, 0.75, low=0.0, high=0.5)" in repr(binary)
    weight = next(w for w in binary.parameters() if w.ndim > 1 and w.shape[-2] == 12)
    first, second = np.split(weight.data, 2, axis=-2)
    np.testing.assert_array_equal(first, second)


HOMOGENEOUS = {
    "scale rounded to a power of two": (
        quantizer(lambda w: np.sign(w) * 2.0 ** np.round(np.log2(np.abs(w).mean())), homogeneous=True),
        "float32",
    ),
    "layer's mean": (LayerScaleSign(), "float64"),
    "filter's mean": (FilterScaleSign(), "float64"),
    "largest weight": (quantizer(lambda w: np.sign(w) * np.abs(w).max(), homogeneous=True), "float32"),
    "a mean of its own": (quantizer(lambda w: np.sign(w) * np.abs(w).mean(), homogeneous=True), "float64"),
}


@pytest.mark.parametrize("build, shape", [(linear_net, (4,)), (image_net, (6, 6, 1))])
@pytest.mark.parametrize("name", HOMOGENEOUS)
def test_a_homogeneous_weight_quantiser_gives_the_same_function(build, shape, name, rng):
    own, dtype = HOMOGENEOUS[name]
    model = build(rng, weight_quantizer=own).astype(dtype).eval()
    x = Tensor(rng.standard_normal((5, *shape)).astype(dtype))
    with no_grad():
        np.testing.assert_allclose((binary := decouple(model))(x).data, model(x).data, rtol=0, atol=1e-5)
    assert levels_of(binary) == {(0, 1)}, "weights are divided where they can be"


def test_a_weight_too_small_to_halve_does_not_change_its_sign(rng):
    model = linear_net(rng, weight_quantizer=LayerScaleSign())
    model[3].weight.data[0, 0] = -1e-45  # half of it is −0, whose sign is +1
    binary = decouple(model)
    assert levels_of(binary) == {(0, 0.5)} and (binary[4].weight.data[[0, 6], 0] < 0).all()


def test_a_quantiser_with_a_state_keeps_it(rng):
    class Counts(Quantizer):
        uses, homogeneous = 0, True

        def forward(self, w):
            self.uses += 1
            return w

    own = Counts()
    decouple(linear_net(rng, weight_quantizer=own))
    assert own.uses == 0


def overriding(base, forward):
    return type(f"Own{base.__name__}", (base,), {"forward": forward})


def squares(self, x):
    return x * x


class Off(Ternary):
    """Steps above its thresholds, not at them."""

    def __call__(self, x):
        return ((x > 0.25) * 0.5 + (x > 0.75) * 0.5).astype(x.dtype)


def with_forward_of_its_own(rng):
    layer = nn.Linear(6, 3, rng=rng)
    layer.forward = lambda x: x
    return layer


def skipping(rng):
    class Skips(nn.Sequential):
        def forward(self, x):
            return x + super().forward(x)

    return Skips(ternary(), nn.Linear(6, 6, rng=rng))


def of_layers(rng, norm=None, act=None, last=None):
    return nn.Sequential(
        nn.Linear(4, 6, rng=rng), norm or nn.BatchNorm(6), act or ternary(), last or nn.Linear(6, 3, rng=rng)
    )


REFUSED = {
    "linear": (
        lambda rng: of_layers(rng, last=overriding(nn.Linear, squares)(6, 3, rng=rng)),
        "3 OwnLinear: cannot",
    ),
    "conv": (
        lambda rng: of_layers(rng, last=overriding(nn.Conv2d, squares)(6, 3, 1, rng=rng)),
        "3 OwnConv2d: can",
    ),
    "instance": (
        lambda rng: of_layers(rng, last=with_forward_of_its_own(rng)),
        "3 Linear: cannot be decoupled ex",
    ),
    "norm": (lambda rng: of_layers(rng, norm=overriding(nn.BatchNorm, squares)(6)), "2: .* found OwnBatchNorm"),
    "activation": (
        lambda rng: of_layers(rng, act=overriding(nn.QuantActivation, squares)(Ternary(), Clip(0, 1))),
        "no activation of the model says",
    ),
    "pool": (
        lambda rng: of_layers(rng, last=nn.Sequential(overriding(nn.AvgPool2d, squares)())),
        "3.0 OwnAvgPool2d: cannot be decoupled exactly",
    ),
    "dropout": (
        lambda rng: of_layers(rng, last=nn.Sequential(overriding(nn.Dropout, squares)(0.1, rng=rng))),
        "3.0 OwnDropout: cannot be decoupled exactly",
    ),
    "sequential": (
        lambda rng: nn.Sequential(nn.BatchNorm(6), skipping(rng)),
        "1 Skips: cannot be decoupled exactly: only Sequential and Residual",
    ),
    "sequential alone": (
        lambda rng: skipping(rng),
        "0 Skips: cannot be decoupled exactly: only Sequential and Residual",
    ),
    "residual": (
        lambda rng: nn.Sequential(
            nn.BatchNorm(6), overriding(nn.Residual, squares)(nn.Sequential(ternary(), nn.Linear(6, 6, rng=rng)))
        ),
        "1 OwnResidual: cannot be decoupled exactly: only Sequential and Residual",
    ),
    "a staircase of its own": (
        lambda rng: of_layers(rng, act=ternary(Off())),
        r"2 QuantActivation: its staircase Ternary\(\) computes something of its own",
    ),
    "a surrogate of each channel": (
        lambda rng: of_layers(rng, act=nn.QuantActivation(Ternary(), Shifted(Clip(0, 1), np.linspace(0, 0.1, 6)))),
        "2 QuantActivation: ",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_layer_that_computes_something_of_its_own_is_refused_by_path(name, rng):
    build, message = REFUSED[name]
    with pytest.raises(CannotDecouple, match=f"^decouple: {message}"):
        decouple(build(rng))


def test_a_subclass_that_runs_its_parents_forward_is_decoupled(rng):
    class Six(nn.BatchNorm):
        def __init__(self):
            super().__init__(6)

    class Net(nn.Sequential):
        pass

    assert decouple(Net(nn.Linear(4, 6, rng=rng), Six(), ternary(), nn.Linear(6, 3, rng=rng)))[4].weight.shape == (
        12,
        3,
    )


def test_tensors_that_two_places_share_are_refused_with_both_paths(rng):
    shared = nn.Linear(6, 6, rng=rng)
    layers = nn.Linear(4, 6, rng=rng), nn.BatchNorm(6), ternary(), shared, nn.BatchNorm(6), ternary(), shared
    with pytest.raises(CannotDecouple, match="^decouple: 6.weight and 3.weight are one tensor"):
        decouple(nn.Sequential(*layers))
    model = nn.Sequential(*layers[:-1], nn.Linear(6, 6, rng=rng))
    model[6].bias = model[3].bias
    with pytest.raises(CannotDecouple, match="^decouple: 6.bias and 3.bias are one tensor"):
        decouple(model)


def test_layers_without_tensors_may_be_used_in_several_places(rng):
    act, drop = ternary(), nn.Dropout(0.5, rng=rng)
    layers = [
        nn.Linear(4, 6, rng=rng),
        nn.BatchNorm(6),
        act,
        drop,
        nn.Linear(6, 6, rng=rng),
        nn.BatchNorm(6),
        act,
        drop,
    ]
    model = nn.Sequential(*layers, nn.Linear(6, 3, rng=rng)).eval()
    x = Tensor(rng.standard_normal((5, 4), dtype="float32"))
    binary = decouple(model)
    with no_grad():
        np.testing.assert_allclose(binary(x).data, model(x).data, rtol=0, atol=1e-5)
    drops = [layer for _, layer in binary.children() if isinstance(layer, nn.Dropout)]
    assert drops[0].rng is drops[1].rng is not rng


def test_frozen_parameters_dtypes_and_each_layers_mode_are_kept(rng):
    model = image_net(rng)
    model[3].weight.requires_grad = model[1].gamma.requires_grad = False
    model[7].astype("float64")
    model[4].eval()
    model.add = nn.Residual(nn.Sequential({"drop": nn.Dropout(0.1, rng=rng).eval(), "relu": nn.ReLU()}))
    modes = [layer.training for _, layer in model.modules()]
    binary = decouple(model)
    assert [path for path, p in binary.named_parameters() if not p.requires_grad] == ["1.gamma", "3.weight"]
    assert {path: p.dtype for path, p in binary.named_parameters()} == {
        p: t.dtype for p, t in model.named_parameters()
    }
    training = {path: layer.training for path, layer in binary.modules()}
    assert not training["4"] and not training["add.body.drop"] and training["add"] and training["add.body.relu"]
    assert [layer.training for _, layer in model.modules()] == modes, "the old network's as well"
    dropout = nn.Dropout(0.5, rng=rng).eval()
    alone = nn.Residual(nn.Sequential(nn.BatchNorm(2), ternary(), nn.Linear(2, 2, rng=rng), dropout))
    decouple(alone)
    assert alone.training and not dropout.training


@pytest.mark.parametrize("made", [decouple, copy.deepcopy, copy.copy])
def test_a_copy_is_not_what_an_observer_was_asked_to_watch(made, rng):
    model = linear_net(rng).eval()
    x = Tensor(np.ones((2, 4), "float32"))
    with nn.observe(model) as records:
        twin = made(model)
        twin(x)
        assert not records or made is copy.copy, "its layers are those of the model"
    assert not twin._observers and all(not m._observers for _, m in twin.modules())


def test_the_copy_trains_without_the_old_network(rng):
    model = linear_net(rng)
    binary = decouple(model)
    assert all(isinstance(p, Parameter) for p in binary.parameters())
    before = model.state_dict()
    optimizer = optim.SGD(binary.parameters(), 0.1)
    binary(Tensor(np.ones((2, 4), "float32"))).sum().backward()
    optimizer.step()
    assert all(np.array_equal(v, before[k]) for k, v in model.state_dict().items())
