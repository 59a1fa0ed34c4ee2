"""A staircase of K steps becomes K binary copies, also one read through a learned range: the same function."""

import numpy as np
import pytest
from families import dyadic

from duonet import (
    Tensor,
    backend,
    check_surrogate,
    decouple,
    fold_batch_norm,
    fuse,
    load_model,
    nn,
    no_grad,
    save_checkpoint,
    summary,
)
from duonet.decoupling import CannotDecouple
from duonet.methods import HWGQ, PACT, QIL, ABCNet, BNNWeights, LearnedDSQ, LQNets, LQWeights, StochasticBinary
from duonet.quant import Binary, Clip, LayerScaleSign, Staircase, Stretched, Ternary, Uniform


def act(staircase, surrogate=None):
    return nn.QuantActivation(staircase, surrogate or Clip(0, staircase.levels[-1]))


def moved(quantizer, **numbers):
    """A quantiser that has learned something."""
    for name, value in numbers.items():
        tensor = getattr(quantizer, name)
        tensor.data = np.asarray(value, tensor.dtype).reshape(tensor.shape)
    return quantizer


ACTIVATIONS = {  # and the number of their steps
    "2 bits": (lambda: act(Uniform(2)), 3),
    "3 bits": (lambda: act(Uniform(3)), 7),
    "uneven": (lambda: act(Staircase([0.1, 0.3, 1.0], [0, 0.5, 0.75, 2])), 3),
    "each channel": (lambda: act(Staircase([np.linspace(0, 0.2, 6), 0.5], [0, 1, 1.5])), 2),
    "pact": (lambda: moved(PACT(2), alpha=1.75), 3),
    "qil": (lambda: moved(QIL(2), c=0.375, d=0.625), 3),
    "dsq": (lambda: moved(LearnedDSQ(2), high=1.25, alpha=0.5), 3),
    "hwgq": (lambda: HWGQ(2), 3),
    "hwgq free": (lambda: HWGQ(2, free=True), 2),
    "hwgq log": (lambda: HWGQ(2, slope="log-tailed"), 3),
    "lq": (lambda: moved(LQNets(2), basis=[0.4, 0.9]), 3),
    "lq that meets": (lambda: moved(LQNets(2), basis=[0.5, 0.5]), 2),
}
WEIGHTS = {"float": lambda: None, "homogeneous": LayerScaleSign, "sign": BNNWeights, "lq": lambda: LQWeights(2)}


def network(rng, make, weights=lambda: None, last=False, padding=1):
    """A convolution and a linear layer read the activation, with a residual sum in between."""
    conv = lambda: nn.Conv2d(6, 6, 3, rng=rng, padding=padding, weight_quantizer=weights())  # noqa: E731
    body = nn.Sequential(make(), conv(), nn.BatchNorm(6))
    layers = [nn.Conv2d(2, 6, 3, rng=rng, padding=1), nn.BatchNorm(6), nn.Residual(body), make()]
    model = nn.Sequential(
        *layers, nn.MaxPool2d(2), nn.Flatten(), nn.Linear(24, 3, rng=rng, weight_quantizer=weights())
    )
    for _, layer in model.modules():
        if isinstance(layer, nn.BatchNorm):
            layer.gamma.data, layer.beta.data = rng.uniform(-1, 1, 6), rng.uniform(0, 1, 6)
            layer.running_var.data = rng.uniform(0.5, 2, 6)
    return model.astype("float64").eval()


def outputs(model, x):
    with no_grad(), nn.observe(model) as records:
        y = model(Tensor(x)).data
    return y, {path: records[path].output for path in ("2.body.0", "3")}


@pytest.mark.parametrize("weights, shift", [*((w, "threshold") for w in WEIGHTS), ("float", "beta")])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_it_is_the_same_function(name, weights, shift):
    rng = np.random.default_rng(21)
    make, many = ACTIVATIONS[name]
    model = network(rng, make, WEIGHTS[weights])
    binary = decouple(model, shift)
    x = rng.standard_normal((8, 4, 4, 2))
    (y, activations), (copied, copies) = outputs(model, x), outputs(binary, x)
    np.testing.assert_allclose(copied, y, rtol=0, atol=1e-12 * np.abs(y).max())
    for path, coupled in activations.items():
        layer = dict(binary.modules())[path]
        parts = np.split(copies[path], many, axis=-1)
        assert isinstance(layer.staircase, Binary) and all(len(np.unique(part)) == 2 for part in parts)
        if layer.staircase.tabular and layer.staircase.levels == (0, 1):  # divided: each copy counts with its rise
            parts = [rise * part for rise, part in zip(np.diff(fixed(make)).tolist()[::-1], parts)]
        np.testing.assert_allclose(sum(parts), coupled, rtol=0, atol=1e-15 * np.abs(coupled).max() * many)
        assert len(np.unique(coupled)) == many + 1


def fixed(make):
    return make().eval().fixed().staircase.levels


@pytest.mark.parametrize("weights", ["float", "sign"])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_it_trains_and_comes_back_from_a_checkpoint_folded_or_not(name, weights, tmp_path):
    rng = np.random.default_rng(22)
    binary = decouple(network(rng, ACTIVATIONS[name][0], WEIGHTS[weights]).astype("float32"))
    x = Tensor(rng.standard_normal((8, 4, 4, 2), dtype="float32"))
    binary.train()(x).sum().backward()
    assert all(np.isfinite(p.grad).all() for p in binary.parameters())
    save_checkpoint(tmp_path / "a.npz", binary.eval())
    twin = load_model(tmp_path / "a.npz")
    assert repr(twin) == repr(binary)
    with no_grad():
        for same in (twin, fold_batch_norm(binary), fuse(binary)):
            np.testing.assert_array_equal(same(x).data, binary(x).data)
    assert summary(binary, (4, 4, 2)).activation_bits == 1


@pytest.mark.parametrize("weights", ["float", "sign"])
def test_a_shortcut_reads_what_copies_of_different_rises_stand_for(weights, rng):
    body = nn.Linear(6, 6, rng=rng, weight_quantizer=WEIGHTS[weights]())
    layers = nn.BatchNorm(6), ACTIVATIONS["uneven"][0](), nn.Residual(body), nn.Linear(6, 3, rng=rng)
    model = nn.Sequential(*layers).astype("float64").eval()
    binary, x = decouple(model), Tensor(rng.standard_normal((50, 6)))
    assert isinstance(binary[3].shortcut[0], nn.AverageCopies)
    np.testing.assert_allclose(binary(x).data, model(x).data, atol=1e-12)


DYADIC = {
    "uneven": lambda: act(Staircase([0.25, 0.5, 1.0], [0, 0.5, 0.75, 2])),
    "pact": lambda: moved(PACT(2), alpha=1.5),
    "lq": lambda: moved(LQNets(2), basis=[0.5, 1]),
    "lq uneven": lambda: moved(LQNets(2), basis=[0.5, 2]),
}


@pytest.mark.parametrize("weights", ["float", "sign"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", DYADIC)
def test_planted_ties_agree_in_every_bit(name, dtype, weights):
    rng = np.random.default_rng(12)
    model = dyadic(network(rng, DYADIC[name], WEIGHTS[weights]), rng).astype(dtype)
    x = (rng.integers(-4, 5, (40, 4, 4, 2)) / 4).astype(dtype)
    with no_grad(), nn.observe(model) as records:
        model(Tensor(x))
    thresholds = model[3].fixed().staircase.thresholds
    assert np.isin(records["2"].output, thresholds).sum() > 50, "values exactly on a threshold"
    np.testing.assert_array_equal(outputs(decouple(model), x)[0], outputs(model, x)[0])


def test_on_every_device(device):
    rng = np.random.default_rng(24)
    model = network(rng, lambda: moved(PACT(2), alpha=1.75), BNNWeights).to(device)
    x = Tensor(backend.to_device(rng.standard_normal((8, 4, 4, 2)), device))
    binary = decouple(model)
    np.testing.assert_allclose(binary(x).numpy(), model(x).numpy(), rtol=0, atol=1e-12)
    binary.train()(x).sum().backward()
    assert all(backend.device_of(p.grad) == device for p in binary.parameters())


def slopes(model, path, h):
    """The gradient of an activation's sum for some h, and of its copies' sum."""
    x = Tensor(h, requires_grad=True)
    dict(model.modules())[path](x).sum().backward()
    return x.grad


@pytest.mark.parametrize("name", ["2 bits", "pact", "dsq", "hwgq", "lq"])
def test_the_copies_windows_are_those_of_the_old_one_around_each_step(name):
    rng = np.random.default_rng(23)
    make, many = ACTIVATIONS[name]
    h = rng.uniform(-1, 3, (50, 6))
    old = make().astype("float64").eval()
    steps = np.array([float(t) for t in old.fixed().staircase.thresholds])
    shares = np.diff(fixed(make)) / fixed(make)[-1]
    expected = sum(share * slopes(old, "", h - t + steps.mean()) for share, t in zip(shares, steps))
    for weights in ("float", "sign"):
        binary = decouple(network(rng, make, WEIGHTS[weights]))
        parts = np.split(slopes(binary, "3", np.tile(h, many)), many, axis=-1)
        rises = np.diff(fixed(make))[::-1] if weights == "float" else np.ones(many)
        np.testing.assert_allclose(sum(r * p for r, p in zip(rises, parts)), expected, atol=1e-9)


def test_a_surrogate_that_is_stretched_has_the_derivative_of_its_value():
    check_surrogate(Stretched(Clip(0, 1), -1, 3, 1.5))


def test_a_quantiser_that_learns_its_range_is_its_fixed_form_in_evaluation(rng):
    below = {"pact below its least": (lambda: moved(PACT(2), alpha=-1), 3)}
    for name, (make, _) in (ACTIVATIONS | below).items():
        old = make().astype("float64").eval()
        x = Tensor(np.array(rng.uniform(-1, 3, (200, 6))))
        np.testing.assert_allclose(old(x).data, old.fixed()(x).data, atol=1e-15, err_msg=name)


def test_networks_of_different_steps_share_a_residual_sum(rng):
    two, three = lambda: act(Ternary()), lambda: moved(PACT(2), alpha=1.5)  # noqa: E731
    made = iter([two, three])
    model = network(rng, lambda: next(made)())
    x = rng.standard_normal((8, 4, 4, 2))
    binary = decouple(model)
    np.testing.assert_allclose(binary(Tensor(x)).data, model(Tensor(x)).data, atol=1e-12)


LOW = Staircase([0.25, 0.75], [-1, 0, 1])


@pytest.mark.parametrize("shift", ["threshold", "beta"])
def test_a_lowest_level_below_0_is_shared_by_the_copies_where_nothing_pads(shift, rng):
    model = nn.Sequential(*network(rng, lambda: act(LOW)))
    linear = nn.Sequential(nn.BatchNorm(6), act(LOW), nn.Linear(6, 3, rng=rng)).astype("float64").eval()
    binary = decouple(linear, shift)
    x = Tensor(rng.standard_normal((50, 6)))
    np.testing.assert_allclose(binary(x).data, linear(x).data, atol=1e-12)
    assert binary[2].staircase.levels == (-0.5, 0.5)
    with pytest.raises(CannotDecouple, match="^decouple: 2.body.1 Conv2d: pads with 0, beside copies of .* -0.5"):
        decouple(model, shift)


class Own(PACT):
    def forward(self, x):
        return x


REFUSED = {
    "stochastic": (lambda rng: StochasticBinary(rng=rng), "1 StochasticBinary: cannot be .*: it is stochastic"),
    "in training": (lambda rng: LQNets(2), r"1 LQNets: its basis follows the batch; call model.eval\(\) first"),
    "no staircase": (lambda rng: ABCNet(), "no activation of the model says that it is a staircase"),
    "a forward of its own": (lambda rng: Own(), "no activation of the model says that it is a staircase"),
    "degenerate": (lambda rng: moved(LQNets(2), basis=[0, 0]).eval(), "1 LQNets: the basis .* has degenerated"),
    "binary already": (lambda rng: act(Binary()), "no activation of the model says that it is a staircase"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_staircase_for_good_is_refused_by_path(name, rng):
    make, message = REFUSED[name]
    with pytest.raises(CannotDecouple, match=f"^decouple: {message}"):
        decouple(nn.Sequential(nn.BatchNorm(6), make(rng), nn.Linear(6, 3, rng=rng)))


def test_two_activations_of_one_tensor_need_as_many_steps(rng):
    paths = (nn.Sequential(act(s), nn.Linear(6, 6, rng=rng)) for s in (Ternary(), Uniform(2)))
    with pytest.raises(CannotDecouple, match="0 and 1.shortcut.0 read one tensor, in 2 and 3 copies"):
        decouple(nn.Sequential(nn.BatchNorm(6), nn.Residual(*paths)))
