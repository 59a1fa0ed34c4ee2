"""Packed networks give the logits of the float network, bit for bit; what cannot be packed is refused by path."""

import numpy as np
import pytest

import duonet
from duonet import Tensor, engine, models, nn, no_grad, quant
from duonet.inference import CannotPack, pack
from duonet.inference.counting import planes, signed_counts, words
from duonet.inference.layers import Steps, unit, values
from duonet.inference.products import WORTH, SignLayer

SHAPES = {
    "vgg7": (16, 16, 3),
    "vgg_deep": (16, 16, 1),
    "resnet20": (16, 16, 3),
    "mlp": (30,),
    "alexnet": (63, 63, 3),
}
WIDTHS = {
    "vgg7": (6, 64, 70, 12, 30, 10),
    "vgg_deep": (12, 12, 24, 24, 24, 30, 30, 30, 40, 20),
    "resnet20": (8, 12, 20),
    "mlp": (70, 60, 40),
    "alexnet": (6, 16, 24, 24, 16, 30, 20),
}


def settled(model, shape, rng):
    """The model in evaluation mode, with statistics of a batch, and batch norms that rise, fall, or say one thing."""
    norms = [layer for _, layer in model.modules() if isinstance(layer, nn.BatchNorm)]
    for norm in norms:
        norm.momentum = 1.0
    with no_grad():
        model.train()(Tensor(rng.standard_normal((24, *shape), dtype=np.float32)))
    for norm in norms:
        norm.beta.data[...] = rng.normal(0.4, 0.3, norm.beta.size)
        norm.gamma.data[::3] *= -1
        norm.gamma.data[1::5] = 0
        norm.beta.data[1::10] = 0.5  # where γ is 0 this is at the threshold
    return model.eval()


def network(name, variant, weights, rng, **options):
    shape = SHAPES[name]
    given = {"inputs": shape[0]} if name == "mlp" else {"in_shape": shape}
    asked = variant.removeprefix("de")
    build = getattr(models, name)
    model = build(asked, widths=WIDTHS[name], classes=7, weights=weights, rng=rng, **given, **options)
    settled(model, shape, rng)
    return duonet.decouple(model) if asked != variant else model


def same(model, packed, x):
    with no_grad():
        np.testing.assert_array_equal(packed(x), model(Tensor(x)).data)


@pytest.fixture
def numpy_alone():
    """No compiled kernels, whose own tests are in test_kernels.py."""
    with engine.without("compiled"):
        yield


@pytest.mark.parametrize("weights", ["binary", "float"])
@pytest.mark.parametrize("variant", ["baseline", "coupled", "decoupled", "decoupled3"])
@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.usefixtures("numpy_alone")
def test_logits_are_those_of_the_float_network_to_the_last_bit(name, variant, weights, rng):
    model = network(name, variant, weights, rng)
    packed = pack(model, SHAPES[name])
    for images in (6, 1):
        same(model, packed, rng.standard_normal((images, *SHAPES[name]), dtype=np.float32))
    assert packed.out_shape == (7,)


def test_shortcuts_around_every_conv(rng):
    model = network("resnet20", "baseline", "binary", rng, shortcut="conv")
    same(model, pack(model), rng.standard_normal((3, 16, 16, 3), dtype=np.float32))


STAIRCASES = (
    quant.Binary(), quant.Sign(), quant.Ternary(), quant.Staircase([-1, 0.25, 0.5], [-1, 0, 1, 2]),
    quant.Binary(np.linspace(-1, 1, 67)),
)  # fmt: skip


def odd_chain(staircase, quantizer, rng):
    """Strides, paddings, biases and pools of all kinds between 67 channels."""

    def conv(a, b, size, **options):
        return nn.Conv2d(a, b, size, rng=rng, weight_quantizer=quantizer(), **options)

    act = lambda: nn.QuantActivation(staircase, quant.Clip(0, 1))  # noqa: E731
    model = nn.Sequential(
        nn.Conv2d(3, 67, 3, rng=rng), nn.BatchNorm(67), act(), conv(67, 67, 3, stride=2, padding=2), nn.MaxPool2d(3, 2, 1),
        nn.BatchNorm(67), act(), nn.MaxPool2d(2, 1), conv(67, 67, 1), act(), nn.AvgPool2d(2), nn.BatchNorm(67), act(), nn.Flatten(),
        nn.Linear(67, 30, rng=rng, weight_quantizer=quantizer()), nn.ReLU(), nn.Linear(30, 5, rng=rng),
    )  # fmt: skip
    for layer in model:
        if isinstance(layer, nn.Conv2d):
            layer.bias.data[...] = rng.standard_normal(layer.bias.size)
    return settled(model, (12, 12, 3), rng)


@pytest.mark.parametrize("quantizer", [quant.LayerScaleSign, quant.FilterScaleSign])
@pytest.mark.parametrize("staircase", STAIRCASES, ids=repr)
@pytest.mark.usefixtures("numpy_alone")
def test_any_staircase_of_halves_with_stride_padding_bias_and_pools(staircase, quantizer, rng):
    model = odd_chain(staircase, quantizer, rng)
    for images in (1, 4):
        same(model, pack(model, (12, 12, 3)), rng.standard_normal((images, 12, 12, 3), dtype=np.float32))


def test_a_sum_of_bits_is_counted_as_well(rng):
    def binary(a, b):
        return nn.Sequential(
            nn.Linear(a, b, rng=rng, bias=False, weight_quantizer=quant.LayerScaleSign()),
            nn.BatchNorm(b),
            nn.QuantActivation(quant.Binary(), quant.Clip(0, 1)),
        )

    model = nn.Sequential(
        nn.Linear(9, 65, rng=rng), nn.BatchNorm(65), nn.QuantActivation(quant.Binary(), quant.Clip(0, 1)),
        nn.Residual(binary(65, 65)), binary(65, 20), nn.Linear(20, 4, rng=rng),
    )  # fmt: skip
    settled(model, (9,), rng)
    packed = pack(model)
    assert sum(layer.kind == "signs" for layer in packed.all_layers()) == 2
    same(model, packed, rng.standard_normal((40, 9), dtype=np.float32))


def test_first_weights_of_two_values_stay_float(rng):
    model = nn.Sequential(
        nn.Linear(9, 65, rng=rng, weight_quantizer=quant.FilterScaleSign()),
        nn.QuantActivation(quant.Binary(), quant.Clip(0, 1)), nn.Linear(65, 4, rng=rng),
    )  # fmt: skip
    same(model.eval(), pack(model), rng.standard_normal((40, 9), dtype=np.float32))


def test_ties_fall_on_the_side_of_the_float_network(rng):
    """Thresholds at whole multiples of α, and one float beside them."""
    layer = nn.Linear(12, 3, rng=rng, bias=False, weight_quantizer=quant.LayerScaleSign())
    scale = np.float32(np.abs(layer.weight.data).mean(dtype=np.float64))
    at = np.array([3 * scale, np.nextafter(2 * scale, 9), np.nextafter(-scale, -9)], np.float32)
    model = nn.Sequential(
        nn.QuantActivation(quant.Binary(), quant.Clip(0, 1)), layer,
        nn.QuantActivation(quant.Binary(at.astype(np.float64)), quant.Clip(0, 1)), nn.Linear(3, 2, rng=rng),
    ).eval()  # fmt: skip
    np.testing.assert_array_equal(pack(model).layers[1].thresholds, [[3, 3, -1]])
    x = ((np.arange(4096)[:, None] >> np.arange(12)) & 1).astype(np.float32)
    same(model, pack(model), x)


def test_counting_bits(rng):
    for rows in (1, 5, 300):
        bits, signs = rng.random((rows, 330)) < 0.4, rng.random((330, 70)) < 0.5
        expected = bits.astype(int) @ np.where(signs, 1, -1)
        np.testing.assert_array_equal(signed_counts(words(bits), words(signs.T).T), expected)
    np.testing.assert_array_equal(planes(np.array([[2, 0, 1]], np.uint8), 2), [[1, 0, 1, 1, 0, 0]])


def test_one_image_is_counted_where_the_product_is_long(rng, monkeypatch):
    layer = SignLayer("here", rng.random((WORTH, 4)) < 0.5, np.ones(1, np.float32), (0.0, 1.0))
    monkeypatch.setattr(SignLayer, "_product", None)
    counts = rng.integers(0, 2, (1, WORTH)).astype(np.uint8)
    np.testing.assert_array_equal(layer.run(Steps(counts, (0.0, 1.0))), counts @ np.where(layer.signs, 1.0, -1.0))


def test_units_of_levels():
    assert unit((-1.0, 1.0)) == 1 and unit((0.0, 0.5, 1.0)) == 0.5
    assert unit((0.0, 1 / 3, 2 / 3, 1.0)) == 0 and unit((0.0, 1.0, 3.0)) == 0 and unit((0.25, 1.25)) == 0
    np.testing.assert_array_equal(values(Steps(np.array([1, 0], np.uint8), (-1.0, 3.0))), [3, -1])


class Own(quant.Staircase):
    def __call__(self, x):
        return super().__call__(2 * x)


class OwnLayer(nn.Module):
    def forward(self, x):
        return x


def chain(rng, *middle, training=False):
    act = nn.QuantActivation(quant.Binary(), quant.Clip(0, 1))
    layers = nn.Sequential(nn.Linear(4, 4, rng=rng), act, *middle, nn.Linear(4, 2, rng=rng))
    return layers.train() if training else layers.eval()


def signs(rng):
    return nn.Linear(4, 4, rng=rng, weight_quantizer=quant.LayerScaleSign())


REFUSED = {
    "dropout on": (lambda rng: chain(rng, nn.Dropout(0.5, rng=rng), training=True), "pack: 2 Dropout: draws a new mask .*eval"),
    "real numbers between": (
        lambda rng: chain(rng, nn.BatchNorm(4), signs(rng)),
        "pack: 3 Linear: its weights have two values, but it reads real numbers",
    ),
    "a staircase of one's own": (
        lambda rng: chain(rng, nn.QuantActivation(Own([0.5], [0, 1]), quant.Clip(0, 1))),
        "pack: 2 QuantActivation: its staircase Own computes something of its own",
    ),
    "thirds": (
        lambda rng: chain(rng, nn.QuantActivation(quant.Uniform(2), quant.Clip(0, 1)), signs(rng)),
        "pack: 3 Linear: it reads the levels .*0.33.* not whole halves",
    ),
    "a layer of one's own": (lambda rng: chain(rng, OwnLayer()), "pack: 2 OwnLayer: it has no packed form"),
    "nothing binary": (lambda rng: nn.Sequential(nn.Linear(4, 4, rng=rng), nn.ReLU()).eval(), "nothing to pack"),
    "float64": (lambda rng: chain(rng).astype(np.float64), r"pack: 0.weight is float64, not float32"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_packed_is_refused_by_path(name, rng):
    make, message = REFUSED[name]
    with pytest.raises(CannotPack, match=message):
        pack(make(rng))


def test_a_network_that_is_not_finite_is_refused(rng):
    model = chain(rng)
    model[0].weight.data[0, 0] = np.nan
    with pytest.raises(CannotPack, match="pack: 0.weight holds NaN"):
        pack(model)


def test_dropout_that_is_off_and_batch_norm_in_training_are_packed(rng):
    model = chain(rng, nn.Dropout(0.5, rng=rng))
    same(model, pack(model), rng.standard_normal((5, 4), dtype=np.float32))
    training = nn.Sequential(
        nn.Linear(4, 4, rng=rng), nn.BatchNorm(4), nn.QuantActivation(quant.Binary(), quant.Clip(0, 1))
    )
    packed = pack(training)
    assert training.training
    same(training.eval(), packed, rng.standard_normal((5, 4), dtype=np.float32))


def test_inputs_are_checked(rng):
    packed = pack(chain(rng), (4,))
    with pytest.raises(TypeError, match=r"x must be \(N, 4\) float32, got float64 of shape \(2, 4\)"):
        packed(np.zeros((2, 4)))
    with pytest.raises(TypeError, match="got list"):
        packed([[0.0] * 4])
    with pytest.raises(ValueError, match=r"x must be \(N, 4\), got \(2, 5\)"):
        packed(np.zeros((2, 5), np.float32))
    with pytest.raises(CannotPack, match=r"in_shape \(5,\) does not fit: 0 FloatLayer cannot read"):
        pack(chain(rng), (5,))
    with pytest.raises(TypeError, match="pack: model must be a Module"):
        pack("best.npz")
    with pytest.raises(ValueError, match="pack: in_shape"):
        pack(chain(rng), (-4,))
    with pytest.raises(TypeError, match="pack: in_shape"):
        pack(chain(rng), (4.5,))
    assert [type(n) for n in pack(chain(rng), np.array([4])).in_shape] == [int]


def test_batches_of_any_size_order_and_layout(rng):
    model = network("vgg_deep", "baseline", "binary", rng)
    packed = pack(model)
    assert packed(np.zeros((0, 16, 16, 1), np.float32)).shape == (0, 7)
    x = rng.standard_normal((3, 32, 16, 1), dtype=np.float32)[:, ::2]
    np.testing.assert_array_equal(packed(x), packed(np.ascontiguousarray(x)))


def test_the_model_is_left_alone(rng):
    model = chain(rng, nn.BatchNorm(4), nn.QuantActivation(quant.Binary(), quant.Clip(0, 1)))
    before = str(model), model.state_dict()
    pack(model)
    assert str(model) == before[0] and all((a == before[1][k]).all() for k, a in model.state_dict().items())
