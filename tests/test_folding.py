import numpy as np
import pytest

from duonet import Tensor, backend, decouple, fold_batch_norm, models, nn, no_grad
from duonet.quant import Binary, Clip, Staircase, Ternary


def disturb(model, rng):
    """Give every batch norm something to fold, falling and constant channels among it."""
    for _, layer in model.modules():
        if isinstance(layer, nn.BatchNorm):
            for tensor in (layer.gamma, layer.beta, layer.running_mean):
                tensor.data[...] = rng.standard_normal(tensor.shape)
            layer.running_var.data[...] = rng.random(layer.gamma.shape) * 4
            layer.gamma.data[0] = 0
    return model.eval()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("variant", ["float", "baseline", "ternary", "decoupled"])
@pytest.mark.parametrize("family, widths", [("vgg7", (8, 8, 8, 8, 16, 16)), ("resnet20", (4, 8, 8))])
def test_every_bit_stays(rng, device, family, widths, variant, dtype):
    build = getattr(models, family)
    model = build("coupled" if variant == "decoupled" else variant, widths, in_shape=(16, 16, 3), rng=rng)
    model = disturb(decouple(model) if variant == "decoupled" else model, rng).astype(dtype).to(device)
    folded = fold_batch_norm(model)
    x = Tensor(backend.to_device(rng.standard_normal((6, 16, 16, 3)).astype(dtype), device))
    with no_grad():
        expected, got = (m(x).numpy() for m in (model, folded))
    np.testing.assert_array_equal(got, expected)
    norms = [sum(isinstance(layer, nn.BatchNorm) for _, layer in m.modules()) for m in (model, folded)]
    assert norms[1] == norms[0] if variant == "float" else norms[1] < norms[0]


@pytest.mark.parametrize("staircase", [Binary(), Ternary()], ids=repr)
def test_a_threshold_is_the_very_number_where_the_output_steps(rng, staircase):
    norm = nn.BatchNorm(50)
    model = disturb(nn.Sequential(norm, nn.QuantActivation(staircase, Clip(0, 1))), rng)
    folded = fold_batch_norm(model)
    for threshold in folded[0].staircase.thresholds:
        finite = np.isfinite(threshold) & (np.abs(threshold) < 1e30)
        at = np.where(finite, threshold, 0).astype("float32")
        for x in (at, np.nextafter(at, np.float32(-np.inf)), np.nextafter(at, np.float32(np.inf))):
            np.testing.assert_array_equal(folded(Tensor(x[None])).data, model(Tensor(x[None])).data)


def test_the_model_is_left_alone_and_training_mode_too(rng):
    model = nn.Sequential(nn.BatchNorm(2), nn.QuantActivation(Binary(), Clip(0, 1)))
    assert not fold_batch_norm(model).training and model.training and len(model) == 2


class Above(Staircase):
    """Steps above its threshold, not at it."""

    def __init__(self):
        super().__init__([0.5], [0, 1])

    def __call__(self, x):
        return (x > 0.5).astype(x.dtype)


def test_what_it_does_not_know_it_leaves(rng):
    layers = nn.BatchNorm(1, eps=0.0), nn.QuantActivation(Above(), Clip(0, 1))
    model = nn.Sequential(*layers).eval()
    x = Tensor(np.array([[0.5], [0.75]], "float32"))
    np.testing.assert_array_equal(fold_batch_norm(model)(x).data, model(x).data)
    twice = nn.Sequential(nn.BatchNorm(1), *layers[:1], nn.QuantActivation(Binary(), Clip(0, 1))).eval()
    twice[1].gamma.data[:] = -1
    shared = nn.Sequential({"a": twice, "flat": nn.Flatten(), "b": twice})
    np.testing.assert_array_equal(fold_batch_norm(fold_batch_norm(twice))(x).data, twice(x).data)
    np.testing.assert_array_equal(fold_batch_norm(shared)(x).data, shared(x).data)


def test_the_whole_copy_is_in_evaluation_mode_and_what_is_frozen_stays_frozen(rng):
    model = nn.Sequential(nn.Linear(2, 2, rng=rng), nn.BatchNorm(2), nn.QuantActivation(Binary(), Clip(0, 1)))
    model[0].bias.requires_grad = False
    folded = fold_batch_norm(model)
    assert not any(layer.training for _, layer in folded.modules())
    assert not folded[0].bias.requires_grad and folded[0].weight.requires_grad


def test_a_layer_with_a_forward_of_its_own_is_left(rng):
    model = nn.Sequential(nn.BatchNorm(1), nn.QuantActivation(Binary(), Clip(0, 1))).eval()
    model[0].forward = lambda x, activation=None: x
    x = Tensor(np.array([[0.4], [0.6]], "float32"))
    np.testing.assert_array_equal(fold_batch_norm(model)(x).data, model(x).data)
