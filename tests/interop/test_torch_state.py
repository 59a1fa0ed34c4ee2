"""States under PyTorch's names, in its layout: nothing here needs torch."""

import copy

import numpy as np
import pytest

from duonet import interop, methods, models, nn
from duonet.quant import LayerScaleSign


def small(rng):
    return nn.Sequential(
        {
            "conv": nn.Conv2d(3, 4, 3, rng=rng),
            "norm": nn.BatchNorm(4),
            "flat": nn.Flatten(),
            "head": nn.Linear(16, 5, rng=rng),
        }
    )


SHAPE = (4, 4, 3)


def test_axes_are_turned_and_names_are_pytorchs(rng):
    model = small(rng)
    state = interop.to_torch_state(model, SHAPE)
    assert list(state) == [
        "conv.weight", "conv.bias", "norm.weight", "norm.bias", "norm.running_mean", "norm.running_var",
        "norm.num_batches_tracked", "head.weight", "head.bias",
    ]  # fmt: skip
    conv, head = model.conv.weight.data, model.head.weight.data
    assert state["conv.weight"].shape == (4, 3, 3, 3) and state["conv.weight"].flags.c_contiguous
    assert state["conv.weight"][1, 2, 0, 1] == conv[0, 1, 2, 1]
    # Behind a Flatten of (2, 2, 4): column 4 c + 2 h + w there is row 8 h + 4 w + c here.
    assert np.array_equal(state["head.weight"][:, 4 * 3 + 2 * 1 + 0], head[8 * 1 + 4 * 0 + 3])


def test_a_state_comes_back_to_the_last_bit(network):
    model, shape, _ = network
    state = interop.to_torch_state(model, shape)
    other = copy.deepcopy(model)
    for _, tensor in other._tensors():
        tensor.data[...] = 0.5
    interop.from_torch_state(other, shape, state)
    for (path, one), (_, two) in zip(model._tensors(), other._tensors()):
        assert np.array_equal(one.data, two.data), path
    older = {name: array for name, array in state.items() if not name.endswith("num_batches_tracked")}
    interop.from_torch_state(other, shape, older)


@pytest.mark.parametrize(
    "change, said",
    [
        (lambda s: s.pop("conv.bias"), "from_torch_state: missing conv.bias"),
        (lambda s: s.update(more=np.zeros(1, "f4")), "from_torch_state: unexpected more"),
        (lambda s: s.update({"conv.weight": np.zeros((3, 3, 3, 4), "f4")}), "conv.weight has shape"),
        (lambda s: s.update({"conv.weight": np.zeros((4, 3, 3, 3), int)}), "conv.weight has dtype int64"),
        (lambda s: s.update({"conv.bias": [0] * 4}), "conv.bias is a list"),
        (lambda s: s["head.bias"].fill(np.nan), "from_torch_state: head.bias holds NaN or infinity"),
        (lambda s: s["norm.running_var"].fill(-1), "norm.running_var holds a number below 0"),
    ],
)
def test_what_does_not_fit_is_named_and_changes_nothing(rng, change, said):
    model = small(rng)
    state = interop.to_torch_state(model, SHAPE)
    state["conv.bias"] += 1
    change(state)
    with pytest.raises(ValueError) as error:
        interop.from_torch_state(model, SHAPE, state)
    assert said in str(error.value) and not model.conv.bias.data.any()


def test_a_state_is_a_dict(rng):
    with pytest.raises(TypeError, match="from_torch_state: expected a dict from name to tensor, got list"):
        interop.from_torch_state(small(rng), SHAPE, [])


def test_latent_weights_stay_latent(rng):
    model = nn.Sequential(nn.Linear(6, 2, rng=rng, weight_quantizer=LayerScaleSign()))
    assert np.array_equal(interop.to_torch_state(model, (6,))["0.weight"], model[0].weight.data.T)


def test_weights_that_a_quantiser_would_not_make_are_refused(rng):
    model = nn.Sequential(nn.Linear(6, 2, rng=rng, weight_quantizer=methods.XNORWeights()))
    state = interop.to_torch_state(model, (6,))
    assert len(np.unique(abs(state["0.weight"][0]))) == 1, "the used weights"
    before = model[0].weight.data.copy()
    interop.from_torch_state(model, (6,), state)
    assert np.allclose(model[0].used_weight().data.T, state["0.weight"])
    model[0].weight.data[...] = before
    with pytest.raises(ValueError, match="0.weight: XNORWeights would change these weights"):
        interop.from_torch_state(model, (6,), state | {"0.weight": np.float32([[1, 2, 3, 4, 5, 6]] * 2)})
    assert np.array_equal(model[0].weight.data, before)


class Own(nn.Module):
    def forward(self, x):
        return x


class MyReLU(nn.ReLU):
    def forward(self, x):
        return x


def shared(rng):
    layer = nn.Linear(4, 4, rng=rng)
    return nn.Sequential(layer, layer)


@pytest.mark.parametrize(
    "model, said",
    [
        (lambda rng: Own(), "to_torch_state: Own: it has no form outside duonet"),
        (lambda rng: nn.Sequential(MyReLU()), "to_torch_state: 0 MyReLU: it has no form outside duonet"),
        (shared, "to_torch_state: 1 and 0 are one object, and the form needs two"),
        (
            lambda rng: nn.Sequential(methods.find("stochastic-sigmoid").make(rng)).eval(),
            "0 StochasticBinary: it is stochastic, and it has no form outside duonet",
        ),
        (
            lambda rng: nn.Sequential(methods.find("stochastic-sigmoid").make(rng)),
            "0 StochasticBinary: draws which neurons fire; call model.eval() first",
        ),
        (
            lambda rng: nn.Sequential(nn.Linear(4, 4, rng=rng, weight_quantizer=methods.StochasticWeights(rng=rng))),
            "0.weight_quantizer StochasticWeights: draws the sign of every weight; call model.eval() first",
        ),
    ],
)  # fmt: skip
def test_a_layer_without_a_form_is_refused_by_name(rng, model, said):
    with pytest.raises(interop.CannotTranslate) as error:
        interop.to_torch_state(model(rng), (4,))
    assert said in str(error.value)


def test_rows_that_would_lie_in_another_order_are_refused(rng):
    with pytest.raises(interop.CannotTranslate, match="no layer reads the rows of its Flatten"):
        interop.to_torch_state(nn.Sequential(nn.Flatten()), (2, 2, 3))
    bodies = nn.Sequential(nn.Flatten(), nn.Residual(nn.Linear(12, 12, rng=rng)))
    with pytest.raises(interop.CannotTranslate, match="1 Residual: its two paths would have different orders"):
        interop.to_torch_state(bodies, (2, 2, 3))
    mixed = nn.Sequential(nn.Replicate(), nn.Flatten(), nn.AverageCopies(), nn.Linear(12, 1, rng=rng))
    with pytest.raises(interop.CannotTranslate, match="2 AverageCopies: the copies of a flattened image"):
        interop.to_torch_state(mixed, (2, 2, 3))


def test_an_image_that_does_not_fit_is_refused(rng):
    with pytest.raises(
        ValueError, match=r"to_torch_state: in_shape \(9, 9, 2\) does not fit: conv Conv2d: conv2d"
    ):
        interop.to_torch_state(small(rng), (9, 9, 2))
    with pytest.raises(ValueError, match=r"to_torch_state: in_shape \(10{30}, 9, 3\) does not fit: Maximum"):
        interop.to_torch_state(small(rng), (10**30, 9, 3))
    with pytest.raises(TypeError, match="to_torch_state: model must be"):
        interop.to_torch_state(None, SHAPE)
    with pytest.raises(
        TypeError, match="to_torch_state: in_shape must be .H, W, C. or .IN,., a tuple of int, got int 3"
    ):
        interop.to_torch_state(small(rng), 3)


def test_modes_and_gradients_stay_as_they_were(rng):
    model = models.mlp("baseline", 4, (6, 6), 3, rng=rng)
    model[1].eval()
    interop.to_torch_state(model, (4,))
    assert [layer.training for layer in model][:3] == [True, False, True]


def test_a_missing_package_is_named(rng, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "safetensors.numpy", None)
    with pytest.raises(
        RuntimeError, match=r'save_safetensors: needs safetensors.*pip install "duonet\[interop\]"'
    ):
        interop.save_safetensors("nowhere/a.safetensors", small(rng), SHAPE)
