"""ResNetE-18 and BinaryDenseNet: published counts, the wider window, small images, and what the package makes of them."""

import numpy as np
import pytest

from duonet import (
    Tensor,
    data,
    fit,
    fuse,
    load_model,
    load_packed,
    models,
    nn,
    no_grad,
    optim,
    pack,
    save_checkpoint,
    save_packed,
)
from duonet import functional as F
from duonet.mismatch import measure
from duonet.quant import Clip


def build(model, variant="baseline", **options):
    return getattr(models, model)(variant, rng=np.random.default_rng(0), **options)


def products(model):
    return [m for _, m in model.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]


@pytest.mark.parametrize("depth, between, binary, real", [
    (28, [448, 160, 544, 192, 576, 256, 576], 4_202_496, 908_992),
    (37, [448, 128, 640, 192, 960, 256, 640], 7_593_984, 1_075_392),
    (45, [448, 160, 928, 288, 1184, 288, 800], 12_349_440, 1_489_344),
])  # fmt: skip
def test_densenets_have_the_published_counts(depth, between, binary, real):
    model = models.build(f"densenet{depth}", "baseline", (224, 224, 3), 1000, rng=np.random.default_rng(0))
    counts = {True: 0, False: 0}
    for layer in products(model):
        counts[layer.weight_quantizer is not None] += layer.weight.size
    assert counts == {True: binary, False: real}
    ends = [layer.conv.weight.shape[-2:] for name, layer in model.children() if name.startswith("transition")]
    assert [*np.ravel(ends), model.classifier.weight.shape[0]] == between


def test_resnete18_is_bi_reals_network_with_a_wider_window():
    options = {"widths": (3, 4, 5, 6), "in_shape": (64, 64, 3)}
    one, other = build("resnete18", **options), build("resnet18", shortcut="conv", **options)
    assert [p.shape for p in one.parameters()] == [p.shape for p in other.parameters()]
    assert [path for path, _ in one.modules()] == [path for path, _ in other.modules()]


@pytest.mark.parametrize("model, window", [("resnete18", 1.25), ("densenet", 1.3)])
@pytest.mark.parametrize("variant", ["baseline", "ternary", "coupled"])
def test_the_window_of_every_surrogate(model, window, variant):
    options = {"widths": (4,) * (4 if model == "resnete18" else 2), "in_shape": (16, 16, 3)}
    clips = [
        m.surrogate for _, m in build(model, variant, **options).modules() if isinstance(m, nn.QuantActivation)
    ]
    assert len(clips) == (16 if model == "resnete18" else 23)
    assert all(isinstance(clip, Clip) and clip.high - clip.low == pytest.approx(window) for clip in clips)
    assert all(clip.high + clip.low == pytest.approx(1) for clip in clips), "around the step of the baseline"


@pytest.mark.parametrize("model, widths, in_shape", [
    ("resnete18", (4, 4, 4, 4), (64, 64, 3)), ("resnete18", (4, 4, 4, 4), (8, 16, 1)),
    ("densenet", (4, 2), (56, 50, 3)), ("densenet", (4, 2), (28, 28, 1)), ("densenet", (3, 1), (9, 8, 1)),
])  # fmt: skip
def test_small_images_enter_unshrunk(model, widths, in_shape):
    net = build(model, widths=widths, in_shape=in_shape, classes=3)
    assert net(Tensor(np.ones((2, *in_shape), "float32"))).shape == (2, 3)
    assert net.conv1.weight.shape[0] == (3 if max(in_shape[:2]) < 50 else 7)


@pytest.mark.parametrize("model, widths", [("resnete18", (4, 4, 4, 4)), ("densenet", (4, 4))])
def test_one_trains_comes_back_is_fused_and_measured(model, widths, rng, tmp_path):
    toy = data.Dataset(rng.integers(0, 255, (16, 8, 8, 1)).astype(np.uint8), rng.integers(0, 3, 16))
    loader = data.DataLoader(toy, 8, data.Normalize.of(toy.images), rng=rng)
    net = build(model, widths=widths, in_shape=(8, 8, 1), classes=3)
    fit(net, loader, optim.Adam(net.parameters(), 0.01), 1, progress=False)
    save_checkpoint(tmp_path / "a.npz", net.eval())
    twin, x = load_model(tmp_path / "a.npz"), rng.standard_normal((4, 8, 8, 1), np.float32)
    with no_grad():
        y = net(Tensor(x)).data
        np.testing.assert_array_equal(twin(Tensor(x)).data, y)
        np.testing.assert_array_equal(fuse(net)(Tensor(x)).data, y)
    inner = "stage2.conv1.body.conv1" if model == "resnete18" else "stage2.dense1.body.conv"
    found = measure(
        net, F.softmax_cross_entropy, (x, np.array([0, 1, 2, 0])), layers=[inner], coordinates=2, rng=rng
    )
    assert found[inner].measured == 2


def test_a_dense_layer_puts_its_channels_behind_those_of_its_input(rng):
    layer = build("densenet", widths=(4, 3), in_shape=(8, 8, 1)).eval().stage1.dense2
    x = Tensor(rng.standard_normal((2, 8, 8, 7), np.float32))
    expected = np.concatenate([x.data, layer.body[:3](x).data], axis=-1)
    np.testing.assert_array_equal(layer(x).data, expected)


def test_packed_densenets_have_the_same_logits(rng, tmp_path):
    net = build("densenet", widths=(4, 3), in_shape=(8, 8, 1), classes=3).eval()
    save_packed(tmp_path / "a.npz", packed := pack(net, (8, 8, 1)))
    x = rng.standard_normal((5, 8, 8, 1), np.float32)
    with no_grad():
        for network in (packed, load_packed(tmp_path / "a.npz")):
            np.testing.assert_array_equal(network(x), net(Tensor(x)).data)


@pytest.mark.parametrize("call, message", [
    (lambda: build("densenet", depth=20), "densenet: depth must be one of 28, 37, 45, got 20"),
    (lambda: build("densenet", in_shape=(7, 9, 1)), r"densenet: in_shape must be .* of at least 8×8, got \(7, 9, 1\)"),
    (lambda: build("densenet", widths=(4,)), "densenet: widths must be 2 positive ints"),
    (lambda: build("resnete18", in_shape=(28, 28, 1)), "resnete18: in_shape .* multiples of 8, got"),
    (lambda: build("resnete18", in_shape=(72, 72, 1)), "resnete18: in_shape .* multiples of 32, got"),
    (lambda: models.build("resnete18", "baseline", (32, 32, 3), 3, shortcut="conv", rng=np.random.default_rng(0)),
     "resnete18: shortcut 'conv' means nothing"),
])  # fmt: skip
def test_what_cannot_be_built_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
