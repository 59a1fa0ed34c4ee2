"""A rectifier whose slope below zero is learned: its values, and what the rest of the package makes of it."""

import numpy as np
import pytest

from duonet import (
    Tensor,
    backend,
    data,
    decouple,
    fit,
    fold_batch_norm,
    nn,
    no_grad,
    optim,
    pack,
    summary,
)
from duonet import functional as F
from duonet.coupling import CannotDecouple
from duonet.quant import Binary, Clip, Ternary

X = np.array([[-2.0], [-0.5], [0.0], [1.0]])


def test_values_and_gradients_of_the_paper(device):
    layer = nn.PReLU(1).astype("float64").to(device)
    x = Tensor(backend.to_device(X.copy(), device), requires_grad=True)
    y = layer(x)
    np.testing.assert_array_equal(y.numpy(), [[-0.5], [-0.125], [0], [1]])
    y.sum().backward()
    np.testing.assert_array_equal(backend.to_device(x.grad, "cpu"), [[0.25], [0.25], [0.25], [1]])
    np.testing.assert_array_equal(backend.to_device(layer.slope.grad, "cpu"), [-2.5])


def test_each_channel_learns_its_own_and_a_slope_without_axes_is_shared(rng):
    x, dy = rng.normal(size=(5, 2, 3)), rng.normal(size=(5, 2, 3))
    low = np.minimum(x, 0)
    for slope, expected in ((np.full(3, 0.5), (dy * low).sum((0, 1))), (np.array(0.5), (dy * low).sum())):
        a = Tensor(slope, requires_grad=True)
        F.prelu(Tensor(x), a).backward(dy)
        np.testing.assert_allclose(a.grad, expected)


@pytest.mark.parametrize("slope", [0.0, 0.25, -0.5, 1.0])
def test_infinity_and_nan_stay_what_they_are(slope):
    x = Tensor(np.array([-np.inf, np.inf, np.nan]), requires_grad=True)
    with np.errstate(invalid="raise"):
        y = F.prelu(x, Tensor(np.array(slope)))
    low = -np.inf * slope if slope else 0
    np.testing.assert_array_equal(y.data[:2], [low, np.inf])
    y.backward(np.ones(3))
    np.testing.assert_array_equal(x.grad[:2], [slope, 1])


def small(*middle):
    rng = np.random.default_rng(0)
    return nn.Sequential({
        "first": nn.Linear(6, 4, rng=rng), **{name: layer for name, layer in middle}, "last": nn.Linear(4, 3, rng=rng)
    })  # fmt: skip


def test_it_is_counted_and_trains_and_starts_again():
    model = small(("act", nn.PReLU(4)))
    assert summary(model, (6,)).parameters == 6 * 4 + 4 + 4 + 4 * 3 + 3
    toy = data.Dataset(
        np.random.default_rng(1).integers(0, 255, (12, 1, 1, 6)).astype(np.uint8), np.arange(12) % 3
    )
    loader = data.DataLoader(toy, 4, data.Normalize.of(toy.images))
    whole = nn.Sequential(nn.Flatten(), model)
    spared = optim.by_path(whole, decays={"*.slope": 0})
    fit(whole, loader, optim.SGD(whole.parameters(), 0.1, weight_decay=0.1, **spared), 1, progress=False)
    assert (model.act.slope.data != 0.25).any()
    model.reset_parameters(np.random.default_rng(0))
    assert (model.act.slope.data == 0.25).all()


def test_folding_leaves_it_alone_and_packing_refuses_it_by_path():
    model = small(
        ("norm", nn.BatchNorm(4)), ("bend", nn.PReLU(4)), ("act", nn.QuantActivation(Binary(), Clip(0, 1)))
    ).eval()
    x = Tensor(np.random.default_rng(0).normal(size=(9, 6)).astype("float32"))
    with no_grad():
        np.testing.assert_array_equal(fold_batch_norm(model)(x).data, model(x).data)
    with pytest.raises(ValueError, match="pack: bend PReLU"):
        pack(model, (6,))


def test_decoupling_refuses_it_between_batch_norm_and_a_ternary_activation():
    model = small(
        ("norm", nn.BatchNorm(4)), ("bend", nn.PReLU(4)), ("act", nn.QuantActivation(Ternary(), Clip(0, 1)))
    )
    with pytest.raises(CannotDecouple, match="act: a coupled activation needs a batch norm .* found PReLU"):
        decouple(model.eval())


def test_he_initialisation_has_the_standard_deviation_of_the_slope_behind(rng):
    for shape, slope, std in (
        ((3, 3, 64, 128), 0, 0.058926), ((784, 256), 0, 0.050508), ((3, 3, 64, 128), 0.25, 0.057166)
    ):  # fmt: skip
        assert nn.he_normal(rng, shape, slope=slope).std() == pytest.approx(std, rel=0.02)
    one = nn.he_normal(np.random.default_rng(0), (4, 4), slope=0.25) / nn.he_normal(
        np.random.default_rng(0), (4, 4)
    )
    np.testing.assert_allclose(one, (1 / (1 + 0.25**2)) ** 0.5, rtol=1e-6)
