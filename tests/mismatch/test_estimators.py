"""The estimators against each other, against calculus, and against bad input."""

import tracemalloc

import numpy as np
import pytest

from duonet import Tensor, backend, decouple, models, nn
from duonet import functional as F
from duonet.mismatch import coarse_gradient, coordinate_gradient, evolution_gradient, measure
from duonet.mismatch.fast import FastForm, _distinct
from duonet.mismatch.objective import Objective
from duonet.quant import Binary, Clip, FilterScaleSign, LayerScaleSign, Sign, Staircase, Ternary, Uniform

STAIRCASES = {"binary": Binary(), "ternary": Ternary(), "sign": Sign(), "bits3": Uniform(3)}


def settle(model, rng):
    """Give every batch norm averages and scales of its own, some of them negative, and leave training mode."""
    for _, layer in model.modules():
        if isinstance(layer, nn.BatchNorm):
            channels = layer.gamma.size
            layer.gamma.data = rng.uniform(0.5, 1.5, channels) * rng.choice([-1, 1], channels)
            layer.beta.data = rng.normal(0.4, 0.2, channels)
            layer.running_mean.data = rng.normal(0, 0.2, channels)
            layer.running_var.data = rng.uniform(0.5, 2, channels)
    return model.astype("float64").eval()


def perceptron(activation, rng, norm=True, inputs=6, width=8, outputs=3):
    layers = []
    for a, b in ((inputs, width), (width, width)):
        layers += [nn.Linear(a, b, rng=rng), *([nn.BatchNorm(b)] if norm else []), activation()]
    return settle(nn.Sequential(*layers, nn.Linear(width, outputs, rng=rng)), rng)


def convolutional(activation, rng):
    return settle(
        nn.Sequential(
            {
                "conv1": nn.Conv2d(2, 4, 3, rng=rng, padding=1),
                "pool1": nn.MaxPool2d(2),
                "norm1": nn.BatchNorm(4),
                "act1": activation(),
                "drop": nn.Dropout(0.5, rng=rng, channels=True),
                "conv2": nn.Conv2d(4, 3, 3, rng=rng, stride=2, padding=1, bias=False),
                "norm2": nn.BatchNorm(3),
                "pool2": nn.AvgPool2d(2, stride=1),
                "act2": activation(),
                "body": nn.Residual(nn.Conv2d(3, 3, 1, rng=rng)),
                "flatten": nn.Flatten(),
                "classifier": nn.Linear(3, 3, rng=rng),
            }
        ),
        rng,
    )


def quantised(staircase):
    return lambda: nn.QuantActivation(staircase, Clip(0, 1))


def batch_for(rng, shape, classes=3):
    return rng.standard_normal(shape), rng.integers(0, classes, shape[0])


def assert_fast_is_general(model, loss, batch, step, layers=None, coordinates=None):
    fast = coordinate_gradient(model, loss, batch, step, layers, coordinates=coordinates)
    general = coordinate_gradient(model, loss, batch, step, layers, coordinates=coordinates, form="general")
    for path, estimate in general.items():
        assert fast[path].note == "" and np.array_equal(fast[path].coordinates, estimate.coordinates)
        scale = np.abs(estimate.values).max()
        assert scale > 0, path
        assert np.abs(fast[path].values - estimate.values).max() <= 1e-10 * scale, path


@pytest.mark.parametrize("step", [0.01, 0.3])
@pytest.mark.parametrize("norm", [True, False])
@pytest.mark.parametrize("name", STAIRCASES)
def test_fast_is_general_for_linear_layers(name, norm, step, rng):
    model = perceptron(quantised(STAIRCASES[name]), rng, norm)
    assert_fast_is_general(model, F.softmax_cross_entropy, batch_for(rng, (600, 6)), step)


@pytest.mark.parametrize("step", [0.01, 0.3])
@pytest.mark.parametrize("name", STAIRCASES)
def test_fast_is_general_for_convolutions_pools_and_batch_norm(name, step, rng):
    model = convolutional(quantised(STAIRCASES[name]), rng)
    layers = ["conv1", "conv2", "classifier"]
    assert_fast_is_general(model, F.softmax_cross_entropy, batch_for(rng, (60, 8, 7, 2)), step, layers)


@pytest.mark.parametrize("activation", [nn.ReLU, lambda: nn.Clip(0, 1)])
def test_fast_is_general_without_a_staircase(activation, rng):
    assert_fast_is_general(perceptron(activation, rng), F.softmax_cross_entropy, batch_for(rng, (50, 6)), 0.1)


@pytest.mark.parametrize("variant", ["coupled", "coupled3"])
def test_fast_is_general_for_a_decoupled_network_and_thresholds_of_each_channel(variant, rng):
    model = models.vgg7(variant, (8, 8, 8, 8, 8, 8), (8, 8, 1), rng=rng)
    binary = decouple(settle(model, rng))
    layers = ["conv1", "conv3", "conv5", "conv6"]
    some = {path: np.arange(0, dict(binary.named_parameters())[f"{path}.weight"].size, 7) for path in layers}
    assert_fast_is_general(binary, F.softmax_cross_entropy, batch_for(rng, (60, 8, 8, 1), 10), 0.3, layers, some)
    each = nn.QuantActivation(Staircase([rng.normal(size=8), rng.normal(3, 0.1, 8)], [0, 1, 5]), Clip(0, 1))
    assert_fast_is_general(
        perceptron(lambda: each, rng), F.softmax_cross_entropy, batch_for(rng, (50, 6)), 0.1, ["0", "3"]
    )


@pytest.mark.parametrize("decoupled", [False, True])
def test_fast_is_general_in_front_of_residual_sums(decoupled, rng):
    """The stem of a ResNet: everything behind it, widening and averaged shortcuts as well, runs on some rows only."""
    model = models.resnet20("coupled", (2, 3, 4), (8, 8, 1), 3, rng=rng)
    model = settle(decouple(model) if decoupled else model, rng)
    assert any(isinstance(m, nn.AverageCopies) for _, m in model.modules()) == decoupled
    assert_fast_is_general(
        model, F.softmax_cross_entropy, batch_for(rng, (5, 8, 8, 1)), 0.1, ["conv1", "classifier"]
    )


def test_fast_is_general_for_any_loss(rng):
    def largest_error(output, target):
        return F.max((output - target) * (output - target))

    batch = rng.standard_normal((40, 6)), rng.standard_normal((40, 3))
    assert_fast_is_general(perceptron(quantised(Ternary()), rng), largest_error, batch, 0.2, ["3"])


@pytest.mark.parametrize("loss", [F.softmax_cross_entropy, F.mse_loss])
def test_the_rows_of_a_loss_average_to_it(loss, rng):
    output = rng.standard_normal((9, 4)) * 5
    target = rng.integers(0, 4, 9) if loss is F.softmax_cross_entropy else rng.standard_normal((9, 4))
    assert loss.rows(output, target).mean() == pytest.approx(loss(Tensor(output), target).item(), rel=1e-12)
    one = [loss(Tensor(output[k : k + 1]), target[k : k + 1]).item() for k in range(9)]
    np.testing.assert_allclose(loss.rows(output, target), one, rtol=1e-12)


def test_rows_make_no_difference_but_in_speed(rng):
    model, batch = perceptron(quantised(Ternary()), rng), batch_for(rng, (500, 6))
    plain = coordinate_gradient(model, lambda output, target: F.softmax_cross_entropy(output, target), batch)
    fast = coordinate_gradient(model, F.softmax_cross_entropy, batch)
    for path in plain:
        np.testing.assert_allclose(fast[path].values, plain[path].values, rtol=0, atol=1e-13)


def test_rows_that_are_not_the_loss_are_refused(rng):
    def loss(output, target):
        return F.mse_loss(output, target)

    loss.rows = lambda output, target: 2 * F.mse_loss.rows(output, target)
    with pytest.raises(ValueError, match="loss.rows gives a mean of .*, but loss"):
        measure(chain(), loss, (X, np.zeros((4, 3), "float32")))


def test_the_general_form_is_the_formula(rng):
    model, batch = perceptron(quantised(Binary()), rng), batch_for(rng, (30, 6))
    estimate = coordinate_gradient(model, F.softmax_cross_entropy, batch, 0.2, ["3"], form="general")["3"]
    weight = model[3].weight.data
    at = np.unravel_index(np.abs(estimate.values).argmax(), weight.shape)
    losses = []
    for sign in (1, -1):
        weight[at] += sign * 0.2
        losses.append(F.softmax_cross_entropy(model(Tensor(batch[0])), batch[1]).item())
        weight[at] -= sign * 0.2
    expected = (losses[0] - losses[1]) / 0.4
    assert expected != 0 and estimate.values[8 * at[0] + at[1]] == pytest.approx(expected, rel=1e-10)
    assert estimate.evaluations == 2 * 64 and estimate.size == 64


def test_a_sample_of_coordinates_gives_the_same_values(rng):
    model, batch = convolutional(quantised(Ternary()), rng), batch_for(rng, (40, 8, 7, 2))
    whole = coordinate_gradient(model, F.softmax_cross_entropy, batch, 0.1, ["conv2"])["conv2"]
    some = coordinate_gradient(
        model, F.softmax_cross_entropy, batch, 0.1, ["conv2"], coordinates=20, rng=np.random.default_rng(3)
    )["conv2"]
    assert len(some.values) == len(set(some.coordinates)) == 20 and some.size == 108
    np.testing.assert_allclose(some.values, whole.values[some.coordinates], rtol=1e-12)
    given = {"conv2": some.coordinates}
    row = measure(model, F.softmax_cross_entropy, batch, layers=["conv2"], coordinates=given)["conv2"]
    assert row.measured == 20 and row.smoothed_norm == pytest.approx(np.sqrt((some.values**2).sum()))
    more = coordinate_gradient(model, F.softmax_cross_entropy, batch, coordinates=999, rng=rng, layers=["conv2"])
    assert len(more["conv2"].values) == 108


def test_on_every_device(device, rng):
    model = convolutional(quantised(Ternary()), rng).to(device)
    batch = tuple(backend.to_device(half, device) for half in batch_for(rng, (24, 8, 7, 2)))
    some = {"conv1": np.arange(0, 72, 5), "conv2": np.arange(0, 108, 7)}
    assert_fast_is_general(model, F.softmax_cross_entropy, batch, 0.3, ["conv1", "conv2"], some)
    result = measure(model, F.softmax_cross_entropy, batch, layers=["conv2"], parts=3)
    assert -1.5 < result["conv2"].raw < 1.5
    there = evolution_gradient(model, F.softmax_cross_entropy, batch, samples=4, layers=["conv2"], rng=rng)
    assert isinstance(there["conv2"].values, np.ndarray) and there["conv2"].values.any()


@pytest.mark.parametrize("form", ["fast", "general"])
def test_a_gpu_estimates_what_the_cpu_does(form, gpu, rng):
    model, batch = convolutional(quantised(Binary()), rng), batch_for(rng, (20, 8, 7, 2))
    chosen = {"conv2": np.arange(0, 108, 9)}
    results = []
    for device in ("cpu", gpu):
        x = tuple(backend.to_device(half, device) for half in batch)
        options = {"coordinates": chosen, "layers": ["conv2"], "form": form, "step": 0.3}
        results.append(
            coordinate_gradient(model.to(device), F.softmax_cross_entropy, x, **options)["conv2"].values
        )
    np.testing.assert_allclose(*results, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("form, most", [("fast", 10 + 5 * 3), ("general", 10 + 2 * 12)])
def test_how_often_it_waits_for_a_gpu(form, most, standin, rng):
    """The fast form a few times for each of the three channels, the general one once a loss."""
    model = convolutional(quantised(Binary()), rng).to("gpu")
    batch = tuple(backend.to_device(half, "gpu") for half in batch_for(rng, (20, 8, 7, 2)))
    before = standin.State.syncs
    some = {"conv2": np.arange(0, 108, 9) + np.arange(12) % 3}
    coordinate_gradient(model, F.softmax_cross_entropy, batch, 0.3, ["conv2"], coordinates=some, form=form)
    assert 0 < standin.State.syncs - before <= most


@pytest.mark.parametrize("flat", [None, [], [0, 999], [-1], [0.5]])
def test_given_coordinates_must_be_weights_of_the_layer(flat, rng):
    given = {} if flat is None else {"0": flat}
    with pytest.raises(ValueError, match="coordinates of layer '0' must be flat indices from 0 to 47"):
        coordinate_gradient(
            perceptron(nn.ReLU, rng), F.softmax_cross_entropy, batch_for(rng, (9, 6)), coordinates=given
        )


def test_a_smooth_loss_is_approached_at_the_square_of_the_step(rng):
    class Smooth(nn.Module):
        def forward(self, x):
            return F.tanh(x)

    model, batch = perceptron(Smooth, rng), batch_for(rng, (50, 6))
    true = coarse_gradient(model, F.softmax_cross_entropy, batch)
    errors = []
    for step in (0.04, 0.02, 0.01, 0.005):
        estimate = coordinate_gradient(model, F.softmax_cross_entropy, batch, step)
        assert "holds a Smooth" in estimate["0"].note
        errors.append([np.abs(estimate[path].values - true[path].values).max() for path in true])
    ratios = np.divide(errors[:-1], errors[1:])
    assert np.all(np.abs(ratios - 4) < 0.1), ratios


def test_a_float_network_has_next_to_no_mismatch(rng):
    model, batch = perceptron(nn.ReLU, rng), batch_for(rng, (400, 6))
    assert min(row.cosine for row in measure(model, F.softmax_cross_entropy, batch, step=1e-4).rows) > 1 - 1e-6


@pytest.mark.parametrize("directions", ["gaussian", "orthogonal", "orthogonal-fixed", "hadamard"])
def test_evolution_strategies_agree_with_the_gradient_of_a_quadratic(directions, rng):
    model = nn.Linear(6, 2, rng=rng).astype("float64")
    batch = rng.standard_normal((50, 6)), rng.standard_normal((50, 2))
    true = coarse_gradient(model, F.mse_loss, batch)[""].values
    estimate = evolution_gradient(model, F.mse_loss, batch, 0.3, samples=600, directions=directions, rng=rng)[""]
    z = (estimate.values - true) / estimate.stderr
    least = (
        0.1 if directions in ("gaussian", "orthogonal") else 0
    )  # fixed lengths leave next to nothing random here
    assert least < np.sqrt((z * z).mean()) < 1.6 and estimate.evaluations == 1200
    if directions != "gaussian":  # whole blocks of orthogonal directions leave at most the lengths random
        other = evolution_gradient(model, F.mse_loss, batch, 0.3, samples=600, rng=rng)[""]
        assert np.abs(estimate.values - true).sum() < np.abs(other.values - true).sum()


def test_the_standard_error_is_the_spread_of_repetitions(rng):
    model, batch = perceptron(quantised(Binary()), rng), batch_for(rng, (60, 6))
    runs = [
        evolution_gradient(model, F.softmax_cross_entropy, batch, 0.2, ["3"], samples=40, rng=rng)["3"]
        for _ in range(50)
    ]
    spread = np.std([run.values for run in runs], axis=0)
    claimed = np.sqrt(np.mean([run.stderr**2 for run in runs], axis=0))
    assert 0.9 < np.sqrt((spread**2).mean() / (claimed**2).mean()) < 1.1


def test_the_smoothed_gradient_of_evolution_strategies_is_unbiased(rng):
    # One weight, so that E_u L(w + σu) can be integrated numerically.
    model = nn.Sequential(nn.Linear(1, 1, rng=rng, bias=False), nn.QuantActivation(Binary(), Clip(0, 1))).eval()
    model.astype("float64")[0].weight.data[:] = 0.4
    batch = np.array([[0.5], [1.0], [2.0]]), np.zeros((3, 1))
    u = np.linspace(-8, 8, 160001)
    loss = sum((x * (0.4 + 0.3 * u) >= 0.5) for x in (0.5, 1.0, 2.0)) / 3
    exact = (loss * u * np.exp(-u * u / 2)).sum() / np.sqrt(2 * np.pi) * (u[1] - u[0]) / 0.3
    estimate = evolution_gradient(model, F.mse_loss, batch, 0.3, samples=4000, rng=rng)["0"]
    assert abs(estimate.values[0] - exact) < 4 * estimate.stderr[0]


def test_nothing_is_left_behind(rng):
    model, batch = perceptron(quantised(Ternary()), rng), batch_for(rng, (20, 6))
    model[0].weight.grad = held = np.ones((6, 8))
    before = model.state_dict()
    coarse_gradient(model, F.softmax_cross_entropy, batch)
    coordinate_gradient(model, F.softmax_cross_entropy, batch, form="general")
    evolution_gradient(model, F.softmax_cross_entropy, batch, samples=3, rng=rng)
    calls = iter(range(100))

    def fails(output, target):
        if next(calls) > 8:
            raise ZeroDivisionError
        return F.softmax_cross_entropy(output, target)

    with pytest.raises(ZeroDivisionError):
        coordinate_gradient(model, fails, batch, form="general")
    assert model[0].weight.grad is held and (held == 1).all() and model[3].weight.grad is None
    assert all(np.array_equal(before[k], v) for k, v in model.state_dict().items())


@pytest.mark.parametrize(
    "build, reason",
    [
        (lambda rng: nn.Linear(6, 5, rng=rng, weight_quantizer=LayerScaleSign()), "weights are quantised"),
        (lambda rng: nn.Linear(6, 5, rng=rng, weight_quantizer=FilterScaleSign()), "weights are quantised"),
        (lambda rng: nn.Residual(nn.Linear(6, 6, rng=rng)), "not part of a plain chain"),
    ],
)
def test_what_the_fast_form_cannot_serve_goes_the_general_way_and_says_so(build, reason, rng):
    layer = build(rng)
    width = 6 if isinstance(layer, nn.Residual) else 5
    model = nn.Sequential({"first": layer, "act": quantised(Ternary())(), "last": nn.Linear(width, 3, rng=rng)})
    model.astype("float64").eval()
    batch = batch_for(rng, (30, 6))
    result = measure(model, F.softmax_cross_entropy, batch, step=0.3)
    first = result.rows[0]
    assert first.note.startswith("general form: ") and reason in first.note and result["last"].note == ""
    assert f"{first.layer}: general form" in str(result)
    general = coordinate_gradient(model, F.softmax_cross_entropy, batch, 0.3, form="general")[first.layer]
    fast = coordinate_gradient(model, F.softmax_cross_entropy, batch, 0.3)[first.layer]
    assert np.array_equal(general.values, fast.values)


def test_shared_weights_and_subclasses_go_the_general_way(rng):
    class Mine(nn.Linear):
        pass

    shared = nn.Linear(4, 4, rng=rng)
    for model in (nn.Sequential(shared, nn.ReLU(), shared), nn.Sequential(Mine(4, 4, rng=rng))):
        estimate = coordinate_gradient(model.eval(), F.softmax_cross_entropy, (np.ones((2, 4), "f4"), [0, 1]))
        assert estimate["0"].note.startswith("general form")


def test_memory_stays_under_the_limit_however_many_weights(rng):
    model = nn.Sequential(nn.Linear(300, 4, rng=rng), quantised(Binary())(), nn.Linear(4, 200, rng=rng)).eval()
    batch = rng.standard_normal((500, 300), dtype="f4"), rng.standard_normal((500, 200), dtype="f4")
    for memory in (8, 24):
        tracemalloc.start()
        coordinate_gradient(model, F.mse_loss, batch, 0.5, ["0"], memory=memory)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < memory * 2**20, f"{peak / 2**20:.1f} MiB of {memory}"


def test_the_result_does_not_depend_on_the_memory(rng):
    model, batch = convolutional(quantised(Ternary()), rng), batch_for(rng, (60, 8, 7, 2))
    values = [
        coordinate_gradient(model, F.softmax_cross_entropy, batch, 0.2, ["conv2"], memory=memory)["conv2"].values
        for memory in (0.5, 512)
    ]
    np.testing.assert_allclose(*values, rtol=0, atol=1e-12)
    form = FastForm(Objective(model, F.softmax_cross_entropy, batch), "conv2", 0.5)
    assert form.together < 36  # so that a channel took several rounds


def test_pairs_that_share_a_hash_are_not_taken_for_one(monkeypatch):
    class Zeros:
        def integers(self, low, high, n, dtype):
            return np.zeros(n, dtype)

    samples, patches = np.array([0, 0, 1, 1]), np.array([[1.0], [1.0], [1.0], [0.0]])
    first, inverse = _distinct(samples, patches)
    assert len(first) == 3 and inverse[0] == inverse[1]
    monkeypatch.setattr(np.random, "default_rng", lambda seed: Zeros())
    first, inverse = _distinct(samples, patches)
    assert list(first) == list(inverse) == [0, 1, 2, 3]


X = np.ones((4, 6), "float32")
LABELS = np.array([0, 1, 2, 0])


def chain(*layers):
    rng = np.random.default_rng(0)
    return nn.Sequential(nn.Linear(6, 3, rng=rng), *layers).eval()


def noisy(output, target):
    return F.softmax_cross_entropy(output + np.float64(np.random.default_rng().standard_normal()) * output, target)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"step": 0}, "step must be a number above 0, got 0"),
        ({"step": -0.1}, "step must be a number above 0, got -0.1"),
        ({"step": float("inf")}, "step must be a number above 0, got inf"),
        ({"step": 1e-9}, "step 1e-09 is lost beside weights of layer '0', float32 up to"),
        ({"step": float("nan")}, "step must be a number above 0, got nan"),
        ({"layers": ["9"]}, "no layer '9' has a weight; layers with weights are 0"),
        ({"layers": []}, "no layer to measure"),
        ({"loss": lambda o, t: o}, r"loss must return one number as a Tensor, got a Tensor of shape \(4, 3\)"),
        ({"loss": lambda o, t: 1.0}, "loss must return one number as a Tensor, got float"),
        ({"loss": lambda o, t: F.mse_loss(o, o) / 0.0}, "the loss is nan"),
        ({"loss": noisy}, "changes between calls with the same weights, from .* it begins to differ in the loss"),
        ({"batch": (X[:0], LABELS[:0])}, r"the batch is empty, x has shape \(0, 6\)"),
        ({"memory": 1e-4}, "memory of 0.0001 MiB is too small for one coordinate of 0, which needs .* MiB"),
        ({"estimator": "guess"}, "estimator must be one of coordinate, evolution, got 'guess'"),
        ({"coordinates": 0, "rng": np.random.default_rng(0)}, "coordinates must be an int at least 1, got 0"),
        ({"coordinates": {"0": [1], "9": [1]}}, "coordinates: no layer '9' has a weight"),
        ({"memory": float("nan")}, "memory must be a number above 0, got nan"),
        ({"form": "slow"}, "form must be one of fast, general, got 'slow'"),
        (
            {"model": chain(nn.BatchNorm(3)).train()},
            "1 BatchNorm is in training mode, where it uses the statistics",
        ),
        (
            {"model": chain(nn.Dropout(0.5, rng=np.random.default_rng(0))).train()},
            "1 Dropout is in training mode, where it draws a new mask",
        ),
        (
            {"estimator": "evolution", "samples": 1, "rng": np.random.default_rng(0)},
            "samples must be an int at least 2, got 1",
        ),
        (
            {"estimator": "evolution", "step": 0, "rng": np.random.default_rng(0)},
            "sigma must be a number above 0, got 0",
        ),
        (
            {"estimator": "evolution", "step": 1e-12, "rng": np.random.default_rng(0)},
            "sigma 1e-12 is lost beside weights",
        ),
        (
            {"estimator": "evolution", "directions": "up", "rng": np.random.default_rng(0)},
            "directions must be one of gaussian, orthogonal, orthogonal-fixed, hadamard, got 'up'",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:invalid value")
def test_bad_input_is_one_clear_error(change, message):
    given = {"model": chain(), "loss": F.softmax_cross_entropy, "batch": (X, LABELS)} | change
    with pytest.raises(ValueError, match=message):
        measure(given.pop("model"), given.pop("loss"), given.pop("batch"), **given)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"step": "0.1"}, "step must be a number above 0, got str '0.1'"),
        ({"step": True}, "step must be a number above 0, got bool True"),
        ({"memory": None}, "memory must be a number above 0, got NoneType"),
        ({"coordinates": 3}, "rng must be a numpy.random.Generator, got NoneType"),
        ({"coordinates": True}, "coordinates must be an int at least 1, got bool"),
        ({"coordinates": 3.0}, "coordinates must be an int at least 1, got float"),
        ({"parts": True}, "parts must be an int at least 1, got bool True"),
        ({"parts": 1.0}, "parts must be an int at least 1, got float"),
        ({"estimator": "evolution", "rng": 0}, "rng must be a numpy.random.Generator, got int"),
        ({"estimator": "evolution", "samples": 4.0, "rng": np.random.default_rng(0)}, "samples must be an int"),
        ({"model": F.relu}, "model must be a Module, got function"),
        ({"batch": X, "parts": 2}, "batch must be a pair"),
    ],
)
def test_arguments_of_another_kind_are_refused(change, message):
    given = {"model": chain(), "loss": F.softmax_cross_entropy, "batch": (X, LABELS)} | change
    with pytest.raises(TypeError, match=message):
        measure(given.pop("model"), given.pop("loss"), given.pop("batch"), **given)


def test_numbers_of_numpy_are_numbers(rng):
    options = {"step": np.float32(0.25), "parts": np.int64(2), "coordinates": np.uint8(5), "rng": rng}
    row = measure(chain(), F.softmax_cross_entropy, (X, LABELS), layers=(name for name in ["0"]), **options)["0"]
    assert row.measured == 5 and row.coarse_noise is not None


@pytest.mark.parametrize("batch", [(np.float32(1), LABELS), (X[:, :0], LABELS), (X, 3), (X, None)])
@pytest.mark.parametrize("parts", [1, 2])
def test_a_batch_without_rows_is_one_clear_error(batch, parts):
    with pytest.raises((ValueError, TypeError), match="mismatch: |softmax_cross_entropy: "):
        measure(chain(), F.softmax_cross_entropy, batch, parts=parts)


def test_noise_inside_a_layer_is_found_there():
    class Noise(nn.Module):
        def forward(self, x):
            return x + np.random.default_rng().standard_normal(x.shape).astype(x.dtype)

    with pytest.raises(ValueError, match="it begins to differ at layer 1. Draw its noise"):
        measure(chain(Noise()), F.softmax_cross_entropy, (X, LABELS))


def test_noise_of_the_model_itself_is_not_put_on_the_loss():
    class Noisy(nn.Linear):
        def forward(self, x):
            return super().forward(x) + np.random.default_rng().standard_normal((4, 3)).astype("float32")

    with pytest.raises(ValueError, match="it begins to differ in the model's own forward"):
        measure(Noisy(6, 3, rng=np.random.default_rng(0)), F.softmax_cross_entropy, (X, LABELS))


@pytest.mark.parametrize("batch", [X, (X,), (X, LABELS, X), (list(X), LABELS)])
def test_a_batch_is_a_pair_with_an_array(batch):
    with pytest.raises(TypeError, match="mismatch: batch"):
        measure(chain(), F.softmax_cross_entropy, batch)


def test_a_loss_that_holds_float32_arrays_is_served_in_float32():
    target = np.zeros((4, 3), "float32")
    own = measure(chain(), lambda output, _: F.mse_loss(output, target), (X, None))
    given = measure(chain(), F.mse_loss, (X, target))
    assert own["0"].cosine == pytest.approx(given["0"].cosine, abs=1e-5)
