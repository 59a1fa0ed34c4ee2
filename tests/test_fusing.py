"""Batch norm and staircase as one op: the same bits, the same layers, and nothing hidden."""

import contextlib
import copy
import sys

import numpy as np
import pytest

from duonet import (
    Tensor,
    backend,
    data,
    decouple,
    evaluate,
    fit,
    fuse,
    models,
    nn,
    no_grad,
    optim,
    plain_ops,
    save_checkpoint,
    smooth_forward,
    summary,
)  # fmt: skip
from duonet.fusing import BatchNormQuantize, fused
from duonet.quant import Binary, Clip, Ternary


def pair(channels=3):
    return {"norm": nn.BatchNorm(channels), "act": nn.QuantActivation(Ternary(), Clip(0, 1))}


def small(rng):
    return nn.Sequential({"flat": nn.Flatten(), "top": nn.Linear(8, 3, rng=rng), **pair()})


def ops_of(y):
    names, node = [], y._node
    while getattr(node, "parents", None):
        names.append(node.function.name)
        node = node.parents[0]
    return names[::-1]


def batch(rng, shape=(6, 2, 4)):
    return Tensor(rng.standard_normal(shape).astype("float32"))


def after(run, model, x):
    """Return all that a training step's two passes leave behind."""
    model.zero_grad()
    y = run(x)
    (y * y).sum().backward()
    gradients = [backend.to_device(p.grad, "cpu") for p in model.parameters()]
    return [y.numpy(), *gradients, *(b.numpy() for _, b in model.named_buffers())]


BUILDS = {
    "vgg_deep": lambda rng: models.vgg_deep("coupled", (4, 4, 4, 4, 4, 6, 6, 6, 8, 8), rng=rng),
    "decoupled": lambda rng: decouple(models.vgg_deep("coupled", (4, 4, 4, 4, 4, 6, 6, 6, 8, 8), rng=rng)),
    "resnet20": lambda rng: models.resnet20("baseline", (4, 4, 8), in_shape=(28, 28, 1), rng=rng),
}


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("build", BUILDS.values(), ids=BUILDS)
def test_every_bit_stays(rng, device, build, training):
    model = build(rng).to(device).train(training)
    twin = copy.deepcopy(model)
    x = Tensor(backend.to_device(batch(rng, (4, 28, 28, 1)).data, device))
    run, pairs = fused(model)
    assert len(pairs) == 9
    for _ in range(2):
        for got, expected in zip(after(run, model, x), after(twin, twin, x), strict=True):
            np.testing.assert_array_equal(got, expected)


def test_what_is_fused_is_printed_and_shown(capsys, rng):
    inner = nn.Residual(nn.Sequential({**pair(), "conv": nn.Conv2d(3, 3, 1, rng=rng)}))
    model = nn.Sequential({"block": inner, **pair(), "relu": nn.ReLU()})
    shown = repr(model)
    assert repr(fuse(model)).splitlines() == [
        "Sequential()",
        "  block: Residual()",
        "    body: Sequential()",
        "      norm: BatchNormQuantize()",
        "        norm: BatchNorm(3)",
        "        activation: QuantActivation(Ternary(), Clip(low=0, high=1, closed=False))",
        "      conv: Conv2d(3, 3, 1, stride=1, padding=0)",
        "  norm: BatchNormQuantize()",
        "    norm: BatchNorm(3)",
        "    activation: QuantActivation(Ternary(), Clip(low=0, high=1, closed=False))",
        "  relu: ReLU()",
    ]
    assert capsys.readouterr().out == "fuse: block.body.norm and block.body.act, norm and act\n"
    assert repr(model) == shown


class Odd(nn.BatchNorm):
    def forward(self, x):
        return super().forward(x) + 0.5


class Cut(nn.QuantActivation):
    def forward(self, x):
        return super().forward(x) * 2


class Own(nn.Module):
    def __init__(self):
        super().__init__()
        self.inside, self.calls = nn.Sequential(pair()), 0

    def forward(self, x):
        self.calls += 1
        return self.inside(x)


class Backwards(nn.Sequential):
    def __iter__(self):
        return reversed(list(super().__iter__()))


UNFUSED = {
    "another norm": lambda rng: nn.Sequential(pair() | {"norm": Odd(3)}),
    "another activation": lambda rng: nn.Sequential(pair() | {"act": Cut(Binary(), Clip(0, 1))}),
    "something in between": lambda rng: nn.Sequential(nn.BatchNorm(3), nn.ReLU(), pair()["act"]),
    "a forward of its own": lambda rng: nn.Sequential(Own(), nn.ReLU()),
    "an order of its own": lambda rng: Backwards(pair()["act"], nn.BatchNorm(3), pair()["act"]),
    "the other way round": lambda rng: nn.Sequential(pair()["act"], nn.BatchNorm(3)),
    "nothing": lambda rng: nn.Sequential(),
    "a layer": lambda rng: nn.Linear(3, 3, rng=rng),
}


@pytest.mark.parametrize("build", UNFUSED.values(), ids=UNFUSED)
def test_what_cannot_be_fused_comes_back_as_it_is_and_that_is_said(capsys, rng, build):
    model = build(rng)
    assert fuse(model) is model
    assert capsys.readouterr().out.startswith("fuse: nothing: it takes a BatchNorm followed by a QuantActivation")
    x = batch(rng, (5, 3))
    np.testing.assert_array_equal(fused(model)[0](x).data, model(x).data)


def test_only_a_module_is_fused():
    with pytest.raises(TypeError, match="^fuse: model must be a Module, got list"):
        fuse([])


def test_a_layer_that_is_patched_runs_in_fit(monkeypatch, rng):
    """Whoever puts something of their own into `forward`, of the class or of a layer, sees it run."""
    met = []
    forward = nn.QuantActivation.forward
    monkeypatch.setattr(nn.QuantActivation, "forward", lambda self, x: met.append(self) or forward(self, x))
    train(small(rng), 1)
    assert len(met) == 4
    monkeypatch.undo()
    model = small(rng)
    model.act.forward = lambda x: met.append("the layer") or forward(model.act, x)
    train(model, 1)
    assert met[4:] == ["the layer"] * 4


def train(model, epochs, **options):
    rng = np.random.default_rng(3)
    images = data.Dataset(rng.integers(0, 255, (16, 2, 4, 1), dtype="uint8"), rng.integers(0, 3, 16))
    loader = data.DataLoader(images, 4, data.Normalize.of(images.images), rng=rng)
    return fit(model, loader, optim.Adam(model.parameters(), 0.1), epochs, progress=False, **options)


def test_a_breakpoint_in_a_layer_is_hit_in_a_loop_and_in_fit(rng):
    met = []

    def trace(frame, event, argument):
        if frame.f_code in (nn.QuantActivation.forward.__code__, nn.BatchNorm.forward.__code__):
            met.append(type(frame.f_locals["self"]))

    model, x = small(rng), batch(rng, (6, 2, 4))
    before = sys.gettrace()
    sys.settrace(trace)
    try:
        model(x)
        train(model, 1)
    finally:
        sys.settrace(before)
    assert met == [nn.BatchNorm, nn.QuantActivation] * 5


def test_fit_and_evaluate_run_the_pair_as_one_op(monkeypatch, rng):
    met = []
    forward = BatchNormQuantize.forward
    monkeypatch.setattr(BatchNormQuantize, "forward", lambda self, x: met.append(self) or forward(self, x))
    model = small(rng)
    train(model, 1)
    assert len(met) == 4
    evaluate(model, [(np.zeros((5, 8), "float32"), np.zeros(5, int))])
    assert len(met) == 5 and model.training


def test_training_the_fused_model_trains_the_model_and_files_are_the_same(rng, tmp_path):
    models_, histories = [small(np.random.default_rng(1)) for _ in range(2)], []
    with plain_layers():
        histories.append(train(models_[0], 2)["loss"])
    histories.append(train(models_[1], 2)["loss"])
    assert histories[0] == histories[1]
    states = [model.state_dict() for model in models_]
    for key in states[0]:
        np.testing.assert_array_equal(states[0][key], states[1][key])
    assert list(states[0]) == list(states[1])
    run = fuse(models_[1])
    save_checkpoint(tmp_path / "a.npz", models_[1])
    models_[1].load_state_dict(small(rng).state_dict())
    x = batch(rng)
    np.testing.assert_array_equal(run(x).data, models_[1](x).data)
    with pytest.raises(ValueError, match="BatchNormQuantize is not one of duonet's own"):
        save_checkpoint(tmp_path / "b.npz", run)


@contextlib.contextmanager
def plain_layers():
    """Have nothing fused: a debugger may be waiting."""
    before = sys.gettrace()
    sys.settrace(lambda *event: None)
    try:
        yield
    finally:
        sys.settrace(before)


def test_an_observer_of_the_model_sees_every_layer_of_the_fused_one(rng):
    model = nn.Sequential({"block": nn.Residual(nn.Sequential(pair())), "top": nn.Sequential(pair())})
    run, x, seen = fused(model)[0], batch(rng, (5, 3)), []
    for step in (model, run):
        model.eval().zero_grad()
        with nn.observe(model) as records:
            step(x).sum().backward()
        seen.append(records)
    assert list(seen[0]) == list(seen[1]) and "top.norm" in seen[0] and "block.body" in seen[0]
    for path, record in seen[0].items():
        np.testing.assert_array_equal(seen[1][path].output, record.output)
        np.testing.assert_array_equal(seen[1][path].gradient, record.gradient)
    assert "batch_norm_quantize" in ops_of(nn.Sequential(run.top)(x))


@pytest.mark.parametrize("context", [smooth_forward, plain_ops, no_grad, plain_layers])
def test_in_every_setting_the_result_is_the_same(rng, context):
    model = small(rng).eval()
    x = batch(rng)
    with context():
        expected, y = model(x), fused(model)[0](x)
    np.testing.assert_array_equal(y.data, expected.data)
    assert "batch_norm_quantize" not in ops_of(y) and y.requires_grad == expected.requires_grad


def test_modes_changes_and_frozen_parameters_are_those_of_the_model(rng):
    model = small(rng)
    run, x = fuse(model), batch(rng)
    model.norm.gamma.requires_grad = False
    model.norm.momentum = 0.5
    run(x).sum().backward()
    assert model.norm.gamma.grad is None and model.norm.beta.grad is not None
    assert np.abs(model.norm.running_mean.data).max() > 0
    model.eval()
    before = model.norm.running_mean.data.copy()
    np.testing.assert_array_equal(run(x).data, model(x).data)
    np.testing.assert_array_equal(model.norm.running_mean.data, before)
    run.train()
    assert model.norm.training
    model.astype("float64")
    x = Tensor(x.data.astype("float64"))
    model.act = nn.QuantActivation(Binary(), Clip(0, 1))  # another layer: the fused model has the old one still
    assert set(np.unique(model(x).data)) == {0, 1} and 0.5 in run(x).data


def test_layers_in_two_places(rng):
    linear, both = nn.Linear(3, 3, rng=rng), nn.Sequential(pair())
    norm, act = both
    model = nn.Sequential(linear, both, linear, both, linear, norm, act)
    run, pairs = fused(model)
    assert run[1] is run[3] and pairs == [("1.norm", "1.act"), ("5", "6")]
    twin, x = copy.deepcopy(model), batch(rng, (5, 3))
    for got, expected in zip(after(run, model, x), after(twin, twin, x), strict=True):
        np.testing.assert_array_equal(got, expected)


def test_batches_that_the_twin_does_not_take(rng):
    model = small(rng).eval()
    run = fuse(model)
    for x in (batch(rng, (0, 8)), Tensor(batch(rng, (4, 8)).data.astype("float16"))):
        model.astype(x.dtype)
        np.testing.assert_array_equal(run(x).data, model(x).data)


def test_a_fused_model_is_counted_like_the_model(rng):
    model = small(rng)
    assert str(summary(fuse(model), (8,))).splitlines()[-1] == str(summary(model, (8,))).splitlines()[-1]


def test_a_sequential_is_a_list_of_layers(rng):
    model = small(rng)
    assert list(model) == [model.flat, model.top, model.norm, model.act] and len(model) == 4
