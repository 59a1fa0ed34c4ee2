import numpy as np
import pytest

from duonet import Tensor, decouple, models, nn, summary
from duonet.models.catalogue import defaults
from duonet.quant import Binary, Ternary, Uniform


def build(model, variant, **options):
    return getattr(models, model)(variant, rng=np.random.default_rng(0), **options)


def test_vgg7_has_the_counts_of_the_published_code():
    baseline, coupled = build("vgg7", "baseline"), build("vgg7", "coupled")
    decoupled = decouple(coupled)
    counts = [summary(model, (32, 32, 3)) for model in (baseline, coupled, decoupled)]
    assert [counted.weights for counted in counts] == [1_575_616, 789_782, 1_573_229]
    assert [round(counted.macs / 1e6, 2) for counted in counts] == [69.15, 34.56, 67.88]
    widths = [m.weight.shape[-1] for _, m in coupled.modules() if isinstance(m, nn.Conv2d)]
    assert widths == [45, 45, 90, 90, 336, 512, 10]


def weights_of(model, name, in_shape=None):
    return summary(model, in_shape or defaults(name)[0]).weights


def test_alexnet_has_the_counts_of_the_published_code():
    coupled = build("alexnet", "coupled")
    assert weights_of(build("alexnet", "baseline"), "alexnet") == 62_367_776
    assert weights_of(decouple(coupled), "alexnet") == 60_760_264
    widths = [m.weight.shape[-1] for _, m in coupled.modules() if isinstance(m, nn.Conv2d)]
    assert widths == [88, 192, 256, 256, 192, 2400, 4096, 1000]


@pytest.mark.parametrize("shortcut, adds", [("block", 8), ("conv", 16)])
def test_resnet18_has_the_counts_of_the_published_code(shortcut, adds):
    baseline, coupled = (build("resnet18", variant, shortcut=shortcut) for variant in ("baseline", "coupled"))
    decoupled = decouple(coupled)
    assert summary(baseline, (224, 224, 3)).total.weights == {1: 10_985_472, 32: 693_440}
    assert summary(decoupled, (224, 224, 3)).total.weights == {1: 12_026_952, 32: 608_168}
    assert sum(isinstance(m, nn.Residual) for _, m in baseline.modules()) == adds
    convs = [m for _, m in coupled.modules() if isinstance(m, nn.Conv2d) and m.weight.shape[0] == 3]
    assert [c.weight.shape[-1] for c in convs] == [64] * 4 + [90] * 4 + [180] * 4 + [360] * 3 + [512]


def test_decoupled_resnet18_is_over_the_baseline_in_binary_weights_and_under_it_in_bits_and_operations():
    """The published widths keep the first stage and the last conv whole, so the budget is one of bits."""
    counts = {}
    for name, model in (
        ("baseline", build("resnet18", "baseline")),
        ("decoupled", decouple(build("resnet18", "coupled"))),
    ):
        counts[name] = summary(model, (224, 224, 3))
    assert counts["decoupled"].weights > counts["baseline"].weights
    assert counts["decoupled"].mbit < counts["baseline"].mbit
    assert counts["decoupled"].total.operations < counts["baseline"].total.operations


def test_resnet20_has_the_counts_of_a_pencil():
    stages = 9 * (16 * 16 * 6 + 16 * 32 + 32 * 32 * 5 + 32 * 64 + 64 * 64 * 5)
    assert weights_of(build("resnet20", "baseline"), "resnet20") == 27 * 16 + stages + 16 * 32 + 32 * 64 + 640
    acts = [m for _, m in build("resnet20", "coupled").modules() if isinstance(m, nn.QuantActivation)]
    assert len(acts) == 18


@pytest.mark.parametrize(
    "model, options",
    [
        ("vgg7", {}),
        ("vgg7", {"widths": (16, 16, 32, 32, 128, 128), "in_shape": (28, 28, 1)}),
        ("vgg_deep", {}),
        ("vgg_deep", {"widths": (6, 6, 12, 12, 12, 24, 24, 24, 48, 48)}),
        ("vgg_deep", {"widths": (8, 8, 16, 24), "in_shape": (20, 20, 3)}),
        ("mlp", {}),
        ("mlp", {"widths": (30, 30)}),
        ("alexnet", {"widths": (12, 32, 48, 48, 32, 128, 128), "in_shape": (64, 64, 3), "classes": 10}),
        ("resnet20", {}),
        ("resnet20", {"shortcut": "conv", "widths": (12, 20, 40), "in_shape": (28, 28, 1)}),
        ("resnet18", {"widths": (16, 32, 64, 128), "classes": 10}),
        ("resnet18", {"weights": "float"}),
        ("resnete18", {"widths": (16, 32, 64, 128), "in_shape": (32, 32, 3), "classes": 10}),
        ("densenet", {"widths": (16, 16), "in_shape": (32, 32, 3), "classes": 10}),
        ("alexnet", {"widths": (48, 128, 192, 192, 128, 1024, 1024), "in_shape": (96, 96, 3), "classes": 10}),
    ],
)
def test_the_decoupled_network_stays_within_the_baselines_weights_and_close_to_them(model, options):
    budget = weights_of(build(model, "baseline", **options), model, options.get("in_shape"))
    decoupled = weights_of(decouple(build(model, "coupled", **options)), model, options.get("in_shape"))
    assert 0.95 * budget < decoupled <= budget


@pytest.mark.parametrize("layers, macs", [(3, 1.13), (6, 4.11), (9, 6.23), (12, 7.68)])
def test_the_deep_vgg_has_equal_weights_at_every_depth(layers, macs):
    name = "vgg_deep" if layers == 9 else f"vgg_deep{layers}"
    found = {variant: built(name, variant) for variant in ("baseline", "coupled")}
    counted = {variant: summary(model, (28, 28, 1)) for variant, model in found.items()}
    assert 0.985 * 117852 < counted["baseline"].weights <= 117852
    assert round(counted["baseline"].macs / 1e6, 2) == macs
    for model in found.values():
        assert sum(isinstance(layer, nn.QuantActivation) for layer in model) == layers
    binary = summary(decouple(found["coupled"]), (28, 28, 1)).weights
    assert 0.98 * counted["baseline"].weights < binary <= counted["baseline"].weights


def built(name, variant):
    return models.build(name, variant, (28, 28, 1), 10, rng=np.random.default_rng(0))


@pytest.mark.parametrize("model", ["vgg_deep", "resnet20", "mlp"])
def test_three_copies_stay_within_the_baselines_weights_at_widths_divided_by_the_root_of_3(model):
    decoupled = decouple(build(model, "coupled3"))
    budget = weights_of(build(model, "baseline"), model)
    assert 0.95 * budget < weights_of(decoupled, model) <= budget
    assert {layer.copies for _, layer in decoupled.modules() if isinstance(layer, nn.Replicate)} == {3}


@pytest.mark.parametrize(
    "variant, levels", [("baseline", Binary), ("ternary", Ternary), ("coupled", Ternary), ("coupled3", Uniform)]
)
def test_the_number_and_kind_of_quantised_activations(variant, levels):
    small = {"widths": (4,) * 7, "in_shape": (63, 63, 1)}
    for model, n, options in (
        ("vgg7", 5, {}),
        ("vgg_deep", 9, {}),
        ("mlp", 8, {}),
        ("alexnet", 6, small),
        ("resnet18", 16, {"widths": (4,) * 4}),
        ("resnet20", 18, {}),
    ):
        acts = [m for _, m in build(model, variant, **options).modules() if isinstance(m, nn.QuantActivation)]
        assert len(acts) == n and all(type(a.staircase) is levels for a in acts)
        assert not any(isinstance(m, nn.QuantActivation) for _, m in build(model, "float", **options).modules())


@pytest.mark.parametrize(
    "model, shape, options",
    [
        ("vgg7", (32, 32, 3), {}),
        ("vgg7", (28, 28, 1), {"in_shape": (28, 28, 1), "classes": 7}),
        ("vgg_deep", (32, 32, 3), {"in_shape": (32, 32, 3)}),
        ("mlp", (28, 28, 1), {"classes": 3}),
        ("alexnet", (224, 224, 3), {"widths": (6, 6, 8, 8, 8, 10, 10), "classes": 4}),
        ("alexnet", (63, 63, 1), {"widths": (6, 6, 8, 8, 8, 10, 10), "classes": 4, "in_shape": (63, 63, 1)}),
        ("alexnet", (97, 97, 2), {"widths": (6, 6, 8, 8, 8, 10, 10), "classes": 4, "in_shape": (97, 97, 2)}),
        ("resnet18", (64, 32, 3), {"widths": (4, 6, 8, 10), "classes": 3, "in_shape": (64, 32, 3)}),
        (
            "resnet18",
            (32, 32, 1),
            {"widths": (4, 6, 8, 10), "classes": 3, "in_shape": (32, 32, 1), "shortcut": "conv"},
        ),
        ("resnet20", (28, 28, 1), {"in_shape": (28, 28, 1)}),
        ("resnet20", (32, 16, 3), {"in_shape": (32, 16, 3), "shortcut": "conv", "classes": 5}),
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
    assert summary(build("mlp", "baseline", weights="binary"), (784,)).weight_bits == 1


def test_binary_weights_of_the_larger_networks_leave_stem_shortcuts_and_classifier_in_float():
    for model, options in (
        ("alexnet", {"widths": (6,) * 7, "in_shape": (63, 63, 3)}),
        ("resnet18", {"widths": (4,) * 4}),
        ("resnet20", {}),
    ):
        net = build(model, "baseline", weights="binary", **options)
        kept = [
            path
            for path, m in net.modules()
            if isinstance(m, (nn.Conv2d, nn.Linear)) and m.weight_quantizer is None
        ]
        shortcuts = [path for path in kept if path.endswith("shortcut.conv")]
        assert kept[0] == "conv1" and kept[-1] in ("conv8", "classifier") and len(kept) == 2 + len(shortcuts)
        assert len(shortcuts) == {"alexnet": 0, "resnet18": 3, "resnet20": 2}[model]
        float_net = build(model, "baseline", weights="float", **options)
        assert not any(getattr(m, "weight_quantizer", None) for _, m in float_net.modules())


def test_the_dropouts_of_alexnet_draw_by_themselves():
    net = build("alexnet", "baseline", widths=(6,) * 7, in_shape=(63, 63, 3))
    first, second = net.dropout6, net.dropout7
    assert first.rng is not second.rng and first.rng.random() != second.rng.random()
    assert (first.p, first.channels) == (0.1, True)


def test_build_passes_on_what_a_model_takes_and_refuses_the_rest():
    rng = np.random.default_rng(0)
    net = models.build("resnet20", "baseline", (8, 8, 1), 3, rng=rng, width=4, shortcut="conv", weights="binary")
    assert net.conv1.weight.shape == (3, 3, 1, 4) and hasattr(net.stage1, "conv6")
    assert models.build("vgg7", "baseline", (8, 8, 1), 3, rng=rng, width=4).conv6.weight.shape[-1] == 32
    for call, message in (
        (lambda: models.build("vgg99", "baseline", (8, 8, 1), 3, rng=rng), "build: model must be one of vgg7"),
        (
            lambda: models.build("vgg7", "baseline", (8, 8, 1), 3, rng=rng, shortcut="conv"),
            "vgg7: shortcut 'conv' means nothing",
        ),
        (lambda: models.build("vgg7", "baseline", (8, 8, 1), 3, rng=rng, width=0), "vgg7: width must be an int"),
    ):
        with pytest.raises(ValueError, match=message):
            call()


def test_the_summary_counts_what_a_pencil_does(rng):
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, stride=2, rng=rng), nn.BatchNorm(8), nn.Flatten(), nn.Linear(128, 5, rng=rng)
    )
    found = summary(model, (8, 8, 3))
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
        (
            lambda: build("vgg_deep", "baseline", widths=(4,) * 9),
            "vgg_deep: widths must be 4 or 7 or 10 or 13 positive",
        ),
        (lambda: build("vgg_deep", "baseline", in_shape=(4, 4, 1)), "vgg_deep: in_shape must be .* at least 8×8"),
        (lambda: build("vgg7", "baseline", in_shape=(32, 8, 1)), "vgg7: in_shape must be square"),
        (lambda: build("alexnet", "baseline", widths=(1,)), "alexnet: widths must be 7 positive ints"),
        (lambda: build("alexnet", "baseline", in_shape=(224, 200, 3)), "alexnet: in_shape must be .* square"),
        (
            lambda: build("alexnet", "baseline", in_shape=(62, 62, 3)),
            "alexnet: in_shape must be .* at least 63×63",
        ),
        (
            lambda: build("resnet18", "baseline", in_shape=(100, 96, 3)),
            "resnet18: in_shape .* multiples of 32, got",
        ),
        (lambda: build("resnet20", "baseline", in_shape=(30, 30, 3)), "resnet20: in_shape .* multiples of 4, got"),
        (lambda: build("resnet20", "baseline", shortcut="skip"), "resnet20: shortcut must be one of block, conv"),
        (
            lambda: build("resnet20", "baseline", widths=(0, 1, 1)),
            r"resnet20: widths\[0\] must be an int at least 1, got 0",
        ),
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


@pytest.mark.parametrize(
    "model", ["vgg7", "vgg_deep", "alexnet", "resnet18", "resnete18", "resnet20", "densenet", "mlp"]
)
@pytest.mark.parametrize(
    "options, message",
    [
        ({"classes": -1}, "classes must be an int at least 1, got -1"),
        ({"classes": 2.0}, "classes must be an int at least 1, got float 2.0"),
        ({"classes": True}, "classes must be an int at least 1, got bool True"),
        ({"widths": 4}, "widths must be a tuple of int, got int 4"),
        ({"widths": (1.5,)}, r"widths\[0\] must be an int at least 1, got float 1.5"),
        ({"rng": 0}, "rng must be a numpy.random.Generator, got int"),
        ({"rng": None}, "rng must be a numpy.random.Generator, got NoneType"),
    ],
)
def test_numbers_without_meaning_are_refused_by_every_model(model, options, message):
    with pytest.raises((TypeError, ValueError), match=f"^{model}: {message}$"):
        getattr(models, model)("baseline", **{"rng": np.random.default_rng(0), **options})


def test_sizes_may_be_numpys_integers():
    widths = np.array([4, 4, 4, 4, 8, 8])
    model = build("vgg7", "coupled", widths=widths, in_shape=(np.int64(8), 8, np.int32(1)), classes=np.int64(3))
    assert model(Tensor(np.ones((2, 8, 8, 1), "float32"))).shape == (2, 3)
    assert repr(model.conv1) == repr(build("vgg7", "coupled", widths=(4, 4, 4, 4, 8, 8), in_shape=(8, 8, 1)).conv1)
