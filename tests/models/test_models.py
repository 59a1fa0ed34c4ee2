import numpy as np
import pytest

from duonet import Tensor, cost, decouple, models, nn
from duonet.quant import Binary, Ternary
from duonet.summary import count_weights


def build(model, variant, **options):
    return getattr(models, model)(variant, rng=np.random.default_rng(0), **options)


def test_vgg7_has_the_counts_of_the_published_code():
    baseline, coupled = build("vgg7", "baseline"), build("vgg7", "coupled")
    decoupled = decouple(coupled)
    assert count_weights(baseline) == 1_575_616
    assert count_weights(coupled) == 789_782
    assert count_weights(decoupled) == 1_573_229
    assert round(cost(baseline, (32, 32, 3)).macs / 1e6, 2) == 69.15
    assert round(cost(decoupled, (32, 32, 3)).macs / 1e6, 2) == 67.88
    widths = [m.weight.shape[-1] for _, m in coupled.modules() if isinstance(m, nn.Conv2d)]
    assert widths == [45, 45, 90, 90, 336, 512, 10]


@pytest.mark.parametrize(
    "model, options",
    [
        ("vgg7", {}),
        ("vgg7", {"widths": (16, 16, 32, 32, 128, 128), "in_shape": (28, 28, 1)}),
        ("vgg_deep", {}),
        ("vgg_deep", {"widths": (6, 6, 12, 12, 12, 24, 24, 24, 48, 48)}),
        ("mlp", {}),
        ("mlp", {"widths": (30, 30)}),
    ],
)
def test_the_decoupled_network_stays_within_the_baselines_weights_and_close_to_them(model, options):
    budget = count_weights(build(model, "baseline", **options))
    decoupled = count_weights(decouple(build(model, "coupled", **options)))
    assert 0.95 * budget < decoupled <= budget


@pytest.mark.parametrize("variant, levels", [("baseline", Binary), ("ternary", Ternary), ("coupled", Ternary)])
def test_the_number_and_kind_of_quantised_activations(variant, levels):
    for model, n in (("vgg7", 5), ("vgg_deep", 9), ("mlp", 8)):
        acts = [m for _, m in build(model, variant).modules() if isinstance(m, nn.QuantActivation)]
        assert len(acts) == n and all(type(a.staircase) is levels for a in acts)
        assert not any(isinstance(m, nn.QuantActivation) for _, m in build(model, "float").modules())


@pytest.mark.parametrize(
    "model, shape, options",
    [
        ("vgg7", (32, 32, 3), {}),
        ("vgg7", (28, 28, 1), {"in_shape": (28, 28, 1), "classes": 7}),
        ("vgg_deep", (32, 32, 3), {"in_shape": (32, 32, 3)}),
        ("mlp", (28, 28, 1), {"classes": 3}),
    ],
)
def test_models_map_a_batch_to_logits(model, shape, options, rng):
    x = Tensor(rng.standard_normal((2, *shape), dtype="float32"))
    assert build(model, "coupled", **options)(x).shape == (2, options.get("classes", 10))


def test_binary_weights_leave_the_first_and_last_layer_in_float():
    for model in ("vgg7", "vgg_deep", "mlp"):
        net = build(model, "baseline", weights="binary")
        binarised = [
            m.weight_quantizer is not None for _, m in net.modules() if isinstance(m, (nn.Conv2d, nn.Linear))
        ]
        assert binarised == [False] + [True] * (len(binarised) - 2) + [False]
    assert cost(build("mlp", "baseline", weights="binary"), (784,)).weight_bits == 1


def test_cost_counts_what_a_pencil_does(rng):
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, stride=2, rng=rng), nn.BatchNorm(8), nn.Flatten(), nn.Linear(128, 5, rng=rng)
    )
    found = cost(model, (8, 8, 3))
    assert found.weights == 3 * 3 * 3 * 8 + 128 * 5
    assert found.parameters == found.weights + 8 + 16 + 5
    assert found.macs == 4 * 4 * 8 * 27 + 128 * 5
    assert (found.weight_bits, found.activation_bits) == (32, 32)
    assert model.training and model[1].running_mean.data.sum() == 0, "counting leaves the model as it was"


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: build("vgg7", "quaternary"), "vgg7: variant must be one of float, baseline, ternary, coupled"),
        (lambda: build("vgg7", "baseline", widths=(1, 2)), "vgg7: widths must be 6 positive ints, got"),
        (lambda: build("vgg_deep", "baseline", in_shape=(4, 4, 1)), "vgg_deep: in_shape must be .* at least 8×8"),
        (lambda: build("vgg7", "baseline", in_shape=(32, 8, 1)), "vgg7: in_shape must be square"),
        (lambda: build("mlp", "baseline", widths=()), "mlp: widths must be positive ints"),
        (lambda: build("mlp", "x"), "mlp: variant must be"),
        (
            lambda: build("mlp", "baseline", weights="ternary"),
            "weights must be one of float, binary, got 'ternary'",
        ),
    ],
)
def test_what_cannot_be_built_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
