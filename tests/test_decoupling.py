"""The promise is exactness: the decoupled network is the same function, ties included."""

import copy

import numpy as np
import pytest
from families import dyadic

from duonet import Tensor, backend, coupled_widths, decouple, models, nn, no_grad
from duonet.decoupling import CannotDecouple
from duonet.quant import Binary, Clip, LayerScaleSign, SwishSign, Ternary


def ternary():
    return nn.QuantActivation(Ternary(), Clip(0, 1))


def conv_net(rng, quantizer=None, middle=()):
    """A net whose linear layer reads a flattened, doubled image."""
    return nn.Sequential(
        {
            "stem": nn.Sequential(nn.Conv2d(2, 6, 3, rng=rng, padding=1), nn.BatchNorm(6), ternary()),
            "conv": nn.Conv2d(6, 5, 3, rng=rng, padding=1, weight_quantizer=quantizer),
            "pool": nn.MaxPool2d(2),
            "norm": nn.BatchNorm(5),
            "act": ternary(),
            **{f"middle{i}": layer for i, layer in enumerate(middle)},
            "flatten": nn.Flatten(),
            "linear": nn.Linear(20 if not middle else 5, 3, rng=rng, weight_quantizer=quantizer),
        }
    )


def residual(body, shortcut=None, names="act conv norm"):
    """A stem whose batch norm feeds two residual sums, the second read by a ternary activation."""

    def build(rng, weights):
        quantizer = LayerScaleSign() if weights == "binary" else None
        make = lambda: nn.Residual(body(rng, quantizer), None if shortcut is None else shortcut(rng))  # noqa: E731
        return nn.Sequential(
            {
                "stem": nn.Conv2d(2, 6, 3, rng=rng, padding=1),
                "norm": nn.BatchNorm(6),
                "add1": make(),
                "add2": make(),
                "act": ternary(),
                "pool": nn.GlobalAvgPool(),
                "linear": nn.Linear(6, 3, rng=rng),
            }
        )

    return build


def pre_activation(rng, quantizer):
    return nn.Sequential(
        ternary(), nn.Conv2d(6, 6, 3, rng=rng, padding=1, weight_quantizer=quantizer), nn.BatchNorm(6)
    )


def conv_first(rng, quantizer):
    return nn.Sequential(nn.Conv2d(6, 6, 3, rng=rng, padding=1, weight_quantizer=quantizer), nn.BatchNorm(6))


def pooled(rng, quantizer):
    """Dropout between activation and conv, a pool between batch norm and the sum."""
    drop = nn.Dropout(0.2, rng=rng, channels=True)
    conv = nn.Conv2d(6, 6, 3, rng=rng, padding=2, weight_quantizer=quantizer)
    return nn.Sequential(nn.AvgPool2d(1), ternary(), drop, conv, nn.BatchNorm(6), nn.AvgPool2d(3, stride=1))


def nested(rng, quantizer):
    return nn.Sequential(
        ternary(),
        nn.Conv2d(6, 6, 1, rng=rng, weight_quantizer=quantizer),
        nn.BatchNorm(6),
        nn.Residual(pre_activation(rng, quantizer)),
    )


def after_activation(rng, weights):
    """The order of the first ResNets: the shortcut carries a quantised activation."""
    add = nn.Residual(conv_first(rng, LayerScaleSign() if weights == "binary" else None))
    return nn.Sequential(
        nn.Conv2d(2, 6, 3, rng=rng),
        nn.BatchNorm(6),
        ternary(),
        add,
        ternary(),
        nn.Flatten(),
        nn.Linear(24, 3, rng=rng),
    )


RESIDUAL_CASES = {
    "alexnet": (
        lambda rng, w: models.alexnet("coupled", (6, 8, 8, 8, 10, 12, 12), (64, 64, 3), 5, w, rng=rng),
        (64, 64, 3),
    ),
    **{
        f"resnet18 per {kind}": (
            lambda rng, w, kind=kind: models.resnet18(
                "coupled", (4, 6, 8, 10), (32, 32, 3), 5, w, shortcut=kind, rng=rng
            ),
            (32, 32, 3),
        )
        for kind in ("block", "conv")
    },
    **{
        f"resnet20 per {kind}": (
            lambda rng, w, kind=kind: models.resnet20(
                "coupled", (4, 6, 8), (16, 16, 1), 5, w, shortcut=kind, rng=rng
            ),
            (16, 16, 1),
        )
        for kind in ("block", "conv")
    },
    "resnete18": (
        lambda rng, w: models.resnete18("coupled", (4, 6, 8, 10), (16, 16, 3), 5, w, rng=rng),
        (16, 16, 3),
    ),
    "densenet": (lambda rng, w: models.densenet("coupled", (6, 4), (9, 8, 2), 5, w, rng=rng), (9, 8, 2)),
    "residual": (residual(pre_activation), (4, 4, 2)),
    "pools and dropout": (residual(pooled), (4, 4, 2)),
    "nested sums": (residual(nested), (4, 4, 2)),
    "body starts with a conv": (residual(conv_first), (4, 4, 2)),
    "float shortcut": (residual(pre_activation, lambda rng: nn.Conv2d(6, 6, 1, rng=rng)), (4, 4, 2)),
    "binary shortcut": (residual(pre_activation, lambda rng: pre_activation(rng, None)), (4, 4, 2)),
    "binary shortcut alone": (residual(conv_first, lambda rng: pre_activation(rng, None)), (4, 4, 2)),
    "sum after the activation": (after_activation, (4, 4, 2)),
}
CASES = {
    **RESIDUAL_CASES,
    "mlp": (lambda rng, w: models.mlp("coupled", 20, (16, 12, 14), 4, w, rng=rng), (20,)),
    "vgg7 32x32": (lambda rng, w: models.vgg7("coupled", (6, 6, 8, 8, 12, 10), weights=w, rng=rng), (32, 32, 3)),
    "vgg7 28x28": (
        lambda rng, w: models.vgg7("coupled", (6, 6, 8, 8, 12, 10), (28, 28, 1), weights=w, rng=rng),
        (28, 28, 1),
    ),
    "vgg_deep": (
        lambda rng, w: models.vgg_deep("coupled", (4, 4, 6, 6, 6, 8, 8, 8, 12, 10), weights=w, rng=rng),
        (28, 28, 1),
    ),
    "flattened image": (lambda rng, w: conv_net(rng, LayerScaleSign() if w == "binary" else None), (4, 4, 2)),
    "max pool after": (lambda rng, w: conv_net(rng, None, (nn.MaxPool2d(2),)), (4, 4, 2)),
    "average pool after": (lambda rng, w: conv_net(rng, None, (nn.AvgPool2d(2),)), (4, 4, 2)),
    "global average after": (lambda rng, w: conv_net(rng, None, (nn.GlobalAvgPool(),)), (4, 4, 2)),
    "dropout after": (
        lambda rng, w: conv_net(rng, None, (nn.GlobalAvgPool(), nn.Dropout(0.5, rng=rng))),
        (4, 4, 2),
    ),
}


def randomise(model, rng):
    """Random batch norms everywhere, so that nothing agrees by being 0 or 1."""
    for _, layer in model.modules():
        if isinstance(layer, nn.BatchNorm):
            n = layer.gamma.size
            layer.gamma.data = rng.uniform(-1, 1, n)
            layer.beta.data = rng.uniform(0, 1, n)
            layer.running_mean.data = rng.standard_normal(n)
            layer.running_var.data = rng.uniform(0.5, 2, n)
    return model.astype("float64").eval()


def run(model, x, device="cpu"):
    """Logits, and what each quantised activation saw and gave."""
    seen = {}
    with no_grad(), nn.observe(model) as records:
        logits = model(Tensor(backend.to_device(x, device))).numpy()
    for path, layer in model.modules():
        if isinstance(layer, nn.QuantActivation):
            seen[path] = backend.to_device(records[path].output, "cpu")
    return logits, seen


def assert_same_activations(coupled, decoupled):
    assert coupled.keys() == decoupled.keys() and coupled
    for path, t in coupled.items():
        first, second = np.split(decoupled[path], 2, axis=-1)
        assert set(np.unique(decoupled[path])) <= {0, 1}
        np.testing.assert_array_equal(t, (first + second) / 2, err_msg=path)
        assert (first <= second).all()


@pytest.mark.parametrize("weights", ["float", "binary"])
@pytest.mark.parametrize("name", CASES)
def test_activations_agree_bit_for_bit_and_logits_to_rounding(name, weights, device):
    rng = np.random.default_rng(11)
    build, shape = CASES[name]
    model = randomise(build(rng, weights), rng).to(device)
    binary = decouple(model)
    x = rng.standard_normal((6, *shape))
    logits, activations = run(model, x, device)
    binary_logits, binary_activations = run(binary, x, device)
    assert_same_activations(activations, binary_activations)
    assert len(np.unique(np.concatenate([a.ravel() for a in activations.values()]))) == 3
    np.testing.assert_allclose(binary_logits, logits, rtol=0, atol=1e-12 * np.abs(logits).max())


@pytest.mark.parametrize("name", RESIDUAL_CASES)
def test_the_authors_form_puts_each_shift_in_one_place(name):
    rng = np.random.default_rng(14)
    build, shape = CASES[name]
    model = randomise(build(rng, "float"), rng)
    x = rng.standard_normal((4, *shape))
    logits = run(model, x)[0]
    np.testing.assert_allclose(
        run(decouple(model, shift="beta"), x)[0], logits, rtol=0, atol=1e-12 * np.abs(logits).max()
    )


@pytest.mark.parametrize("weights", ["float", "binary"])
@pytest.mark.parametrize("name", CASES)
def test_in_training_both_copies_have_the_same_batch_statistics(name, weights):
    rng = np.random.default_rng(15)
    build, shape = CASES[name]
    model = build(rng, weights)
    binary = decouple(model)
    binary(Tensor(rng.standard_normal((8, *shape), dtype="float32")))
    widths = {path: m.gamma.size for path, m in model.modules() if isinstance(m, nn.BatchNorm)}
    doubled = 0
    for path, layer in binary.modules():
        if isinstance(layer, nn.BatchNorm) and layer.gamma.size == 2 * widths[path]:
            doubled += 1
            for statistic in (layer.running_mean.data, layer.running_var.data):
                first, second = np.split(statistic, 2)
                # BLAS sums columns in an order that depends on where they stand.
                np.testing.assert_allclose(first, second, rtol=1e-5, atol=1e-6, err_msg=path)
            assert layer.running_mean.data.any()
    assert doubled >= 1


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ["mlp", "vgg7 28x28", "vgg_deep", "flattened image"])
def test_planted_ties_agree_in_every_bit(name, dtype):
    rng = np.random.default_rng(12)
    build, shape = CASES[name]
    model = dyadic(build(rng, "float"), rng).astype(dtype)
    x = (rng.integers(-4, 5, (40, *shape)) / 4).astype(dtype)
    with no_grad(), nn.observe(model) as records:
        model(Tensor(x))
    norms = [records[p].output for p, m in model.modules() if isinstance(m, nn.BatchNorm)]
    ties = sum(int(np.isin(h, [0.25, 0.75]).sum()) for h in norms)
    assert ties > 50, "the point of this test is values exactly on a threshold"
    (logits, activations), (binary_logits, binary_activations) = run(model, x), run(decouple(model), x)
    assert_same_activations(activations, binary_activations)
    np.testing.assert_array_equal(logits, binary_logits)


def one_norm(value, dtype):
    """A network whose only pre-activation is `value`."""
    model = nn.Sequential(
        nn.Linear(1, 1, rng=np.random.default_rng(0)),
        nn.BatchNorm(1),
        ternary(),
        nn.Linear(1, 1, rng=np.random.default_rng(0)),
    )
    model[0].weight.data[:] = 0
    model[0].bias.data[:] = 0
    model[1].beta.data = np.array([value], dtype)
    model[3].weight.data[:] = 1
    return model.astype(dtype).eval()


def flips(shift, values, dtype):
    x = np.zeros((1, 1), dtype)
    pairs = [(m(Tensor(x)), decouple(m, shift)(Tensor(x))) for m in (one_norm(v, dtype) for v in values)]
    return sum(a.item() != b.item() for a, b in pairs)


def test_the_authors_form_flips_values_within_an_ulp_in_float32_and_the_threshold_form_none():
    below = [np.nextafter(np.float32(t), np.float32(0)) for t in (0.25, 0.75)]
    at = [np.float32(0.25), np.float32(0.75)]
    assert flips("threshold", below + at, "float32") == 0
    assert flips("beta", at, "float32") == 0
    assert flips("beta", below, "float32") == 1, "just below 1/4, beta + 1/4 rounds up to the threshold 1/2"


def test_the_authors_form_is_the_same_function_in_float64(device):
    rng = np.random.default_rng(13)
    build, shape = CASES["vgg_deep"]
    model = randomise(build(rng, "float"), rng).to(device)
    binary = decouple(model, shift="beta")
    x = rng.standard_normal((4, *shape))
    np.testing.assert_allclose(run(binary, x, device)[0], run(model, x, device)[0], rtol=0, atol=1e-12)
    assert all(m.staircase.thresholds[0] == 0.5 for _, m in binary.modules() if isinstance(m, nn.QuantActivation))
    norm = binary.norm1.beta.numpy().reshape(2, -1)
    np.testing.assert_allclose(norm[1] - norm[0], 0.5)


@pytest.mark.parametrize("shift", ["threshold", "beta"])
def test_the_backward_window_widens(shift):
    h = np.array([-0.3, -0.2, 0.2, 0.3, 0.7, 0.8, 1.2, 1.3])
    expected = [0, 0.5, 0.5, 1, 1, 0.5, 0.5, 0]
    slopes = []
    for value in h:
        model = decouple(one_norm(value, "float64"), shift)
        x = Tensor(np.zeros((1, 1)), requires_grad=True)
        with nn.observe(model) as records:
            model(x).sum().backward()
        slopes.append(records["1_replicate"].gradient.sum() / (1 / np.sqrt(1 + 1e-5)))
    np.testing.assert_allclose(slopes, expected)


@pytest.mark.parametrize("shift", ["threshold", "beta"])
def test_other_surrogates_move_with_their_thresholds(shift):
    model = one_norm(0.4, "float64")
    model[2].surrogate = SwishSign(3)
    binary = decouple(model, shift)
    x = Tensor(np.zeros((1, 1)), requires_grad=True)
    with nn.observe(binary) as records:
        binary(x).sum().backward()
    slope = records["1_replicate"].gradient.ravel() * np.sqrt(1 + 1e-5)
    np.testing.assert_allclose(slope, SwishSign(3).derivative(np.array([0.15, 0.65])) / 2)


def test_the_old_network_is_left_alone_and_shares_nothing(rng):
    model = conv_net(rng)
    before, text = copy.deepcopy(model.state_dict()), repr(model)
    binary = decouple(model)
    for parameter in binary.parameters():
        parameter.data += 1
    for path, value in model.state_dict().items():
        np.testing.assert_array_equal(value, before[path])
    assert repr(model) == text


def test_gradients_of_the_old_network_stay_with_it(rng):
    model = conv_net(rng)
    x = Tensor(rng.standard_normal((8, 4, 4, 2), dtype="float32"))
    model(x).sum().backward()
    binary = decouple(model)
    assert all(p.grad is None for p in binary.parameters())
    assert all(p.grad is not None for p in model.parameters())
    binary(x).sum().backward()


def test_in_training_the_copies_start_alike_and_then_part(rng):
    model = conv_net(rng)
    binary = decouple(model)
    assert binary.training
    x = Tensor(rng.standard_normal((8, 4, 4, 2), dtype="float32"))
    binary(x).sum().backward()
    mean = binary.norm.running_mean.data.reshape(2, 5)
    np.testing.assert_array_equal(mean[0], mean[1])
    first, second = np.split(binary.conv.weight.grad, 2, axis=2)
    assert not np.allclose(first, second)


def test_dropout_draws_from_a_generator_of_the_new_networks_own(rng):
    model = conv_net(rng, None, (nn.GlobalAvgPool(), nn.Dropout(0.5, rng=rng), nn.Dropout(0.1, rng=rng)))
    binary = decouple(model)
    first, second = binary.middle1, binary.middle2
    assert first.rng is second.rng is not rng, "one generator for both, as before, but not the old network's"
    before = rng.bit_generator.state
    binary(Tensor(np.ones((4, 4, 4, 2), "float32")))
    assert rng.bit_generator.state == before and first.rng.bit_generator.state != before
    assert (first.p, second.p, first.training) == (0.5, 0.1, True)


class Own(nn.Module):
    """A container that decouple does not know."""

    def __init__(self, norm, act):
        super().__init__()
        self.norm, self.act = norm, act


REFUSED = [
    (
        lambda rng: nn.Sequential(nn.Linear(2, 2, rng=rng), ternary(), nn.Linear(2, 2, rng=rng)),
        "1: a coupled activation needs a batch norm before it.* found Linear",
    ),
    (lambda rng: nn.Sequential(ternary()), "0: a coupled activation needs a batch norm .* found nothing"),
    (lambda rng: nn.Sequential(nn.Linear(2, 2, rng=rng), nn.ReLU()), "no activation of the model says"),
    (lambda rng: nn.Sequential(nn.BatchNorm(2), ternary()), "1: the network ends in a coupled activation"),
    (
        lambda rng: nn.Sequential(nn.BatchNorm(2), ternary(), nn.BatchNorm(2), nn.Linear(2, 2, rng=rng)),
        "2 BatchNorm: reads a coupled activation",
    ),
    (
        lambda rng: nn.Sequential(nn.BatchNorm(2), ternary(), nn.ReLU(), nn.Linear(2, 2, rng=rng)),
        "2 ReLU: cannot be decoupled exactly",
    ),
    (
        lambda rng: nn.Sequential(
            nn.BatchNorm(2), ternary(), nn.QuantActivation(Binary(), Clip(0, 1)), nn.Linear(2, 2, rng=rng)
        ),
        "2 QuantActivation: cannot be decoupled exactly: only conv and linear",
    ),
    (
        lambda rng: nn.Sequential({"body": nn.Sequential({"own": Own(nn.BatchNorm(2), ternary())})}),
        "body.own Own: cannot be decoupled exactly: only Sequential and Residual may hold",
    ),
    (
        lambda rng: nn.Sequential(
            nn.Residual(nn.Sequential(nn.BatchNorm(2), ternary())), nn.Linear(2, 2, rng=rng)
        ),
        "0 Residual: its body ends in a coupled activation",
    ),
    (
        lambda rng: nn.Sequential(
            nn.Residual(nn.BatchNorm(2), nn.Sequential(nn.BatchNorm(2), ternary())), nn.Linear(2, 2, rng=rng)
        ),
        "0 Residual: its shortcut ends in a coupled activation",
    ),
    (
        lambda rng: nn.Sequential(
            nn.BatchNorm(2), nn.Residual(nn.Sequential()), ternary(), nn.Linear(2, 2, rng=rng)
        ),
        "2: a coupled activation needs a batch norm .* found none in the body of the residual sum 1",
    ),
    (
        lambda rng: nn.Sequential(nn.Residual(nn.Linear(2, 2, rng=rng)), ternary(), nn.Linear(2, 2, rng=rng)),
        "1: a coupled activation needs a batch norm before it.* found Linear",
    ),
]


@pytest.mark.parametrize("build, message", REFUSED, ids=[message for _, message in REFUSED])
def test_what_cannot_be_exact_is_refused_with_path_and_reason(build, message, rng):
    with pytest.raises(CannotDecouple, match=f"^decouple: .*{message}"):
        decouple(build(rng))


def test_an_unknown_shift_is_refused(rng):
    with pytest.raises(ValueError, match="shift must be one of threshold, beta, got 'gamma'"):
        decouple(conv_net(rng), "gamma")
    with pytest.raises(TypeError, match="decouple: model must be a Module, got NoneType"):
        decouple(None)


def test_layers_that_see_no_coupled_activation_are_copied_unchanged(rng):
    model = nn.Sequential(
        nn.Linear(3, 4, rng=rng),
        nn.BatchNorm(4),
        nn.QuantActivation(Binary(), Clip(0, 1)),
        nn.Linear(4, 4, rng=rng),
        nn.BatchNorm(4),
        ternary(),
        nn.Linear(4, 2, rng=rng),
    )
    binary = decouple(model)
    assert binary[2].staircase.thresholds == model[2].staircase.thresholds
    np.testing.assert_array_equal(binary[3].weight.data, model[3].weight.data)
    assert binary[1].gamma.size == 4


def test_the_widths_of_the_published_code_come_out_of_the_rule():
    def count(c):
        k = [(3, 3, c[0]), (3, 2 * c[0], c[1]), (3, 2 * c[1], c[2]), (3, 2 * c[2], c[3]), (4, 2 * c[3], c[4])]
        return sum(s * s * a * b for s, a, b in k) + 2 * c[4] * 512 + 512 * 10

    assert coupled_widths((64, 64, 128, 128, 512), count, 1_575_616) == (45, 45, 90, 90, 336)
    assert coupled_widths((100, 100), lambda c: 2 * sum(c), 10_000) == (100, 100), "never above the old widths"
    with pytest.raises(ValueError, match="exceed the budget of 5 parameters"):
        coupled_widths((100, 100), lambda c: 2 * sum(c), 5)
    with pytest.raises(TypeError, match=r"coupled_widths: widths\[1\] must be an int at least 1, got float 6.5"):
        coupled_widths((5, 6.5), sum, 100)
    with pytest.raises(ValueError, match="coupled_widths: widths is empty"):
        coupled_widths((), sum, 100)
