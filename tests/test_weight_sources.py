"""Weights made of latents of another shape: what a layer with a source does, and what the package does with it."""

import copy

import numpy as np
import pytest

from duonet import (
    Tensor,
    backend,
    decouple,
    fold_batch_norm,
    load_model,
    methods,
    mismatch,
    nn,
    no_grad,
    optim,
    pack,
    save_checkpoint,
    summary,
)
from duonet import functional as F
from duonet.checkpoint import CheckpointError
from duonet.coupling import CannotDecouple
from duonet.description import rebuild
from duonet.generators import Generators
from duonet.quant import Clip, FilterScaleSign, LayerScaleSign, Ternary
from duonet.sources import fill, give


class Diagonal(nn.WeightSource):
    """The least that a source can be: no row for each input."""

    shape = property(lambda self: self.values.shape * 2)

    def latent_shapes(self, shape):
        return {"values": shape[:1]}

    def begin(self, weight):
        fill(self.values, weight.diagonal())

    def forward(self):
        return self.values * np.eye(len(self.values.data), dtype=self.values.dtype)


SOURCES = {
    "circulant": (methods.Circulant, 72 * 8 // 4),
    "factors": (lambda: methods.Factors(0.3), 72 * 8),
    "tucker": (lambda: methods.Tucker((2, 2, 4, 4)), 72 * 8),
    "projections": (methods.Projections, 72 * 8),
}
each = pytest.mark.parametrize("name", SOURCES)


def network(source, quantizer, rng):
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, rng=rng, bias=False),
        nn.BatchNorm(8),
        nn.QuantActivation(Ternary(), Clip(0, 1)),
        nn.Conv2d(8, 8, 3, rng=rng, padding=1, weight_quantizer=quantizer, weight_source=source),
        nn.BatchNorm(8),
        nn.QuantActivation(Ternary(), Clip(0, 1)),
        nn.Flatten(),
        nn.Linear(128, 4, rng=rng),
    )


def images(rng, n=6):
    return Tensor(rng.standard_normal((n, 6, 6, 1), np.float32))


def ready(model, x):
    """Batch norm has seen a batch."""
    with no_grad():
        model(x)
    return model.eval()


@each
def test_a_layer_asks_its_source_for_the_weight_and_trains_its_latents(name, rng):
    model = network(SOURCES[name][0](), LayerScaleSign(), rng)
    layer, x = model[3], images(rng)
    assert layer.weight is None and (layer.kernel_size, layer.channels, layer.out_channels) == (3, 8, 8)
    with no_grad():
        expected = F.conv2d(Tensor(np.ones((1, 4, 4, 8), np.float32)), layer.used_weight(), layer.bias, 1, 1).data
        np.testing.assert_allclose(layer(Tensor(np.ones((1, 4, 4, 8), np.float32))).data, expected, atol=1e-5)
    before = {path: p.data.copy() for path, p in model.named_parameters()}
    optimizer = optim.AdamW(model.parameters(), 0.01)
    F.softmax_cross_entropy(model(x), [0, 1, 2, 3, 0, 1]).backward()
    optimizer.step()
    changed = {path for path, p in model.named_parameters() if (p.data != before[path]).any()}
    assert {p for p in before if "weight_source" in p} <= changed


@each
def test_state_copy_and_checkpoint_bring_the_latents_back(name, rng, tmp_path):
    model = network(SOURCES[name][0](), FilterScaleSign(), rng)
    x = images(rng)
    ready(model, x)
    save_checkpoint(tmp_path / "a.npz", model)
    fresh = network(SOURCES[name][0](), FilterScaleSign(), np.random.default_rng(5)).eval()
    fresh.load_state_dict(model.state_dict())
    twins = [copy.deepcopy(model), load_model(tmp_path / "a.npz"), fresh]
    for twin in twins:
        assert repr(twin) == repr(model)
        with no_grad():
            np.testing.assert_array_equal(twin(x).data, model(x).data)
    for m in (model, twins[1]):
        m.reset_parameters(np.random.default_rng(7))
    assert all(np.array_equal(v, model.state_dict()[k]) for k, v in twins[1].state_dict().items())
    with no_grad():
        assert np.isfinite(model.astype("float16")(Tensor(x.data.astype("float16"))).data).all()


def test_no_layer_is_made_whose_latents_are_others_than_the_files(rng, tmp_path, monkeypatch):
    save_checkpoint(tmp_path / "a.npz", network(methods.Factors(0.3), None, rng))
    monkeypatch.setattr(methods.Factors, "latent_shapes", lambda self, shape: {"left": (10**9, 10**9)})
    with pytest.raises(CheckpointError, match="3: its weight_source.left is .*, but described with shape"):
        load_model(tmp_path / "a.npz")


@each
def test_it_counts_what_has_to_be_kept_and_every_multiplication(name, rng):
    make, stored = SOURCES[name]
    used, latents = 72 * 8, sum(np.prod(s) for s in make().latent_shapes((3, 3, 8, 8)).values())
    plain = summary(network(None, LayerScaleSign(), rng), (6, 6, 1))
    binary = summary(network(make(), LayerScaleSign(), rng), (6, 6, 1))
    assert plain.total.weights[1] == used and binary.total.weights[1] == stored
    assert binary.macs == plain.macs and binary.total.operations == plain.total.operations
    assert plain.parameters - binary.parameters == used - stored
    row = next(row for row in binary.rows if row.path == "3")
    assert row.bytes_packed == stored // 8 + 4 * (8 + 1) and row.bytes_unpacked == 4 * (latents + 8)
    assert [r.path for r in binary.rows] == [r.path for r in plain.rows]
    floats = summary(network(make(), None, rng), (6, 6, 1))
    assert floats.weights == plain.weights - used + latents


@each
@pytest.mark.parametrize("quantizer", [LayerScaleSign, methods.BNNWeights])  # latents divided, or repeated
def test_it_decouples_exactly_and_keeps_its_source(name, quantizer, rng):
    model = network(SOURCES[name][0](), quantizer(), rng)
    x = images(rng)
    ready(model, x)
    model[1].gamma.data[:] = 1.5
    doubled = decouple(model)
    layer = doubled[4]
    assert type(layer.weight_source) is type(model[3].weight_source)
    assert layer.used_weight().shape == (3, 3, 16, 8) and model[3].used_weight().shape == (3, 3, 8, 8)
    with no_grad():
        np.testing.assert_allclose(doubled(x).data, model(x).data, atol=1e-5)


@each
def test_a_decoupled_source_is_saved_as_any_other(name, rng, tmp_path):
    doubled = decouple(network(SOURCES[name][0](), LayerScaleSign(), rng))
    save_checkpoint(tmp_path / "a.npz", doubled.eval())
    x = images(rng)
    with no_grad():
        np.testing.assert_array_equal(load_model(tmp_path / "a.npz")(x).data, doubled(x).data)


@pytest.mark.parametrize(
    "source, quantizer, channels, message",
    [
        (Diagonal, None, 8, "its weight source Diagonal has no row for each input to double"),
        (methods.Circulant, None, 2, "its weight source q depends on the number or place of equal weights"),
        (
            lambda: methods.Projections(2),
            None,
            8,
            "its weight source Projections has no row for each input to double",
        ),
    ],
)
def test_what_cannot_be_decoupled_is_refused_by_its_path(source, quantizer, channels, message, rng):
    layer = nn.Linear(8, 8, rng=rng, weight_source=source(), weight_quantizer=quantizer and quantizer())
    before = [
        nn.Conv2d(1, channels, 3, rng=rng),
        nn.BatchNorm(channels),
        nn.QuantActivation(Ternary(), Clip(0, 1)),
        nn.Flatten(),
    ]
    with pytest.raises(CannotDecouple, match=f"^decouple: 4 Linear: .*{message}"):
        decouple(nn.Sequential(*before, layer))


@each
def test_it_is_folded_and_packed_to_the_same_logits(name, rng):
    model = network(SOURCES[name][0](), LayerScaleSign(), rng)
    x = images(rng)
    ready(model, x)
    with no_grad():
        y = model(x).data
        np.testing.assert_array_equal(fold_batch_norm(model)(x).data, y)
    np.testing.assert_array_equal(pack(model)(x.data), y)


@each
def test_gradients_of_its_neighbours_can_be_measured_and_it_has_no_weight_of_its_own(name, rng):
    model = network(SOURCES[name][0](), None, rng).eval()
    batch = images(rng).data, np.zeros(6, np.int64)
    for form in ("fast", "general"):
        found = mismatch.coordinate_gradient(
            model, F.softmax_cross_entropy, batch, layers=["0"], coordinates={"0": [0, 5]}, form=form
        )
        assert np.isfinite(found["0"].values).all() and not found["0"].note
    assert list(mismatch.coarse_gradient(model, F.softmax_cross_entropy, batch)) == ["0", "7"]
    with pytest.raises(ValueError, match="no layer '3' has a weight"):
        mismatch.coarse_gradient(model, F.softmax_cross_entropy, batch, layers=["3"])


@each
def test_it_runs_on_a_gpu(name, device, rng):
    model = network(SOURCES[name][0](), LayerScaleSign(), rng)
    x = images(rng)
    y = model.eval()(x).data
    moved = model.to(device)(Tensor(backend.to_device(x.data, device)))
    np.testing.assert_allclose(moved.numpy(), y, atol=1e-5)
    moved.sum().backward()
    assert all(p.grad is not None for p in model.parameters())
    model.reset_parameters(np.random.default_rng(0))


def taken():
    source = methods.Factors(1)
    nn.Linear(2, 2, rng=np.random.default_rng(0), weight_source=source)
    return source


@pytest.mark.parametrize("source, message", [
    (lambda: LayerScaleSign(), "Linear: weight_source must be a WeightSource, got LayerScaleSign"),
    (taken, "Linear: weight_source serves another layer already: each layer needs its own"),
    (lambda: nn.WeightSource(), "WeightSource defines no latent_shapes, so no layer can take it"),
])  # fmt: skip
def test_bad_sources_are_refused_in_a_sentence(source, message, rng):
    with pytest.raises((ValueError, TypeError), match=f"^{message}"):
        nn.Linear(2, 2, rng=rng, weight_source=source())


@pytest.mark.parametrize("source, message", [
    ({"class": "nn.WeightSource", "arguments": {}}, "nn.Linear: WeightSource defines no latent_shapes"),
    ({"class": "methods.Tucker", "arguments": {"ranks": [10**9, 1]}}, "has no ranks"),
    ({"class": "methods.Projections", "arguments": {"count": 10**30}}, "4 outputs are no multiple of"),
    ({"class": "methods.Factors", "arguments": {"share": 1}}, "its weight_source.left is missing, but described"),
])  # fmt: skip
def test_a_file_that_describes_a_wrong_source_is_refused(source, message):
    arguments = {"inputs": 4, "outputs": 4, "init": {"function": "he_normal"}, "weight_source": source}
    with pytest.raises(ValueError, match=message):
        rebuild({"class": "nn.Linear", "arguments": arguments}, Generators(), {})


@pytest.mark.parametrize("source", [None, *(make for make, _ in SOURCES.values())])
def test_a_layer_that_has_weights_is_given_a_source_and_a_quantiser(source, rng, tmp_path):
    model = network(None, LayerScaleSign(), rng).eval()
    layer, quantizer = model[3], methods.LearnedScaleSign()
    before, bias = layer.weight, layer.bias
    bias.data[:] = 2
    give(layer, quantizer, source and source())
    assert layer.weight is (before if source is None else None) and layer.bias is bias and (bias.data == 2).all()
    assert quantizer.channels == 8 and not quantizer.training
    twin = network(source and source(), methods.LearnedScaleSign(), np.random.default_rng(0)).eval()
    np.testing.assert_array_equal(layer.used_weight().data, twin[3].used_weight().data)
    save_checkpoint(tmp_path / "a.npz", model)
    with no_grad():
        np.testing.assert_array_equal(load_model(tmp_path / "a.npz")(x := images(rng)).data, model(x).data)


def test_what_cannot_be_given_leaves_the_layer_as_it_was(rng):
    layer = nn.Linear(6, 5, rng=rng)
    before = layer.weight
    with pytest.raises(ValueError, match="Circulant: 6 to 5 channels are no multiples of 4"):
        give(layer, None, methods.Circulant())
    with pytest.raises(TypeError, match="give: quantizer must be a Quantizer, got str"):
        give(layer, "sign", methods.Projections())
    assert layer.weight is before and layer.weight_source is None


@pytest.mark.parametrize("quantizer", [methods.LearnedScaleSign, methods.LQWeights, methods.QILWeights])
def test_a_quantiser_that_was_assigned_and_not_given_comes_back_as_well(quantizer, rng, tmp_path):
    layer = nn.Linear(4, 3, rng=rng)
    layer.weight_quantizer = quantizer()
    save_checkpoint(tmp_path / "a.npz", nn.Sequential(layer).eval())
    x = Tensor(rng.standard_normal((5, 4), np.float32))
    with no_grad():
        np.testing.assert_array_equal(load_model(tmp_path / "a.npz")(x).data, layer(x).data)
