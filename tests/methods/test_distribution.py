"""The distribution loss: values, gradients, where it is nothing, and that it spreads what a step reads."""

import copy

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from duonet import Tensor, check_gradients, check_quantizer, data, decouple, fit, nn, no_grad, optim, summary
from duonet.methods import PACT, DistributionLoss, DoReFaGradients, distribution_loss
from duonet.quant import Binary, Clip, Ternary

X = np.array([[0.5, 3.0, -6.0], [-0.5, 3.5, 6.0]])


@pytest.mark.parametrize("columns, value", [
    ([0], 2.25), ([1], 10.5), ([2], 4), ([0, 1, 2], 2.083333 + 3.5),
])  # fmt: skip
def test_values_of_the_three_penalties(columns, value):
    assert float(distribution_loss(Tensor(X[:, columns]), -1, 1).data) == pytest.approx(value, abs=1e-6)
    shifted = Tensor((X[:, columns] + 1) / 2)  # the same for a step whose window is 0 to 1
    assert float(distribution_loss(shifted).data) == pytest.approx(value, abs=1e-6)


def test_gradients_of_the_three_penalties():
    x = Tensor(np.array([[0.6, 3.0, -6.0], [-0.4, 3.5, 6.0]]), requires_grad=True)
    loss = distribution_loss(x, -1, 1)
    assert float(loss.data) == pytest.approx(1.986667 + 3.5, abs=1e-6)
    loss.backward()
    np.testing.assert_allclose(x.grad, [[-0.933333, 1.166667, -0.666667], [0, 1, 0.666667]], atol=1e-6)


@pytest.mark.parametrize("spread, mean", [(0.2, 0.1), (3, 0.5), (0.4, 2.5), (1, 0.5)])
def test_its_gradient_is_a_true_one(spread, mean, rng):
    check_gradients(distribution_loss, spread * rng.standard_normal((5, 2, 3)) + mean)


@settings(max_examples=30)
@given(arrays(np.float64, (6, 2), elements=st.floats(-5, 5, width=32)), st.floats(-2, 2), st.floats(2, 4))
def test_it_is_never_below_zero_and_nothing_where_a_channel_uses_the_window(x, mean, spread):
    assert float(distribution_loss(Tensor(x)).data) >= 0
    used = mean + np.array([[-1], [1]]) * spread  # |μ| + s >= 2, s <= 4 and |μ| <= s
    assert float(distribution_loss(Tensor(used), -1, 1).data) < 1e-9


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_a_channel_that_never_varies_has_a_finite_gradient(dtype):
    x = Tensor(np.full((4, 2), 0.5, dtype), requires_grad=True)
    distribution_loss(x).backward()
    assert x.grad.dtype == dtype and np.isfinite(x.grad).all()


def test_there_is_none_before_the_first_step_in_evaluation_and_at_strength_0(rng):
    layer, x = DistributionLoss(), Tensor(rng.standard_normal((4, 3)), requires_grad=True)
    assert layer.penalty() is None
    assert layer(x) is x and float(layer.penalty().data) > 0
    assert copy.deepcopy(layer).penalty() is None, "a copy has read nothing"
    layer.strength = 0
    assert layer.penalty() is None
    layer.strength = 1
    layer.eval()(x)
    assert layer.penalty() is None and not layer.state_dict()


def model(strength):
    rng = np.random.default_rng(0)
    layers = [nn.Flatten(), nn.Linear(6, 8, rng=rng), DistributionLoss(strength)]
    layers[1].bias.data += 3  # so that the step behind hardly ever is 0
    return nn.Sequential(*layers, nn.QuantActivation(Binary(), Clip(0, 1)), nn.Linear(8, 3, rng=rng))


def test_it_spreads_what_a_step_reads_and_the_history_shows_it(rng):
    toy = data.Dataset(rng.integers(0, 255, (32, 1, 1, 6)).astype(np.uint8), rng.integers(0, 3, 32))
    waste = {}
    for strength in (0, 0.5):
        net = model(strength)
        loader = data.DataLoader(toy, 8, data.Normalize.of(toy.images), rng=np.random.default_rng(0))
        history = fit(net, loader, optim.SGD(net.parameters(), 0.05), 8, progress=False)
        with no_grad():
            waste[strength] = float(distribution_loss(net[:2](Tensor(toy.images / np.float32(128) - 1))).data)
        assert (history["penalty"][-1] < history["penalty"][0]) == bool(strength)
    assert waste[0.5] < 0.5 * waste[0]


def test_it_is_no_quantiser_to_the_summary_and_passes_through_decoupling(rng):
    layers = [nn.Linear(4, 5, rng=rng), nn.BatchNorm(5), DistributionLoss()]
    ternary = nn.QuantActivation(Ternary(), Clip(0, 1))
    net = nn.Sequential(*layers, ternary, DoReFaGradients(rng=rng), nn.Linear(5, 3, rng=rng)).eval()
    assert summary(net, (4,)).activation_bits == 2
    assert summary(nn.Sequential(PACT(3), DistributionLoss(), nn.Linear(4, 2, rng=rng)), (4,)).total.macs == {
        32: 8
    }
    x = Tensor(rng.standard_normal((9, 4), "float32"))
    np.testing.assert_allclose(decouple(net)(x).data, net(x).data, rtol=1e-6)


def test_it_keeps_its_promises(device):
    check_quantizer(DistributionLoss(1, -1, 1))


@pytest.mark.parametrize("make, message", [
    (lambda: DistributionLoss(-1), "DistributionLoss: strength must be a number at least 0, got -1"),
    (lambda: DistributionLoss(np.nan), "DistributionLoss: strength must be a number at least 0, got nan"),
    (lambda: DistributionLoss(1, 2, 2), "DistributionLoss: high must be a number above 2, got 2"),
    (lambda: distribution_loss(Tensor(X), 1, 0), "distribution_loss: high must be a number above 1, got 0"),
    (lambda: distribution_loss(Tensor(0.5)), r"distribution_loss: expected x \(..., C\) with values in it, got \(\)"),
])  # fmt: skip
def test_bad_input_is_refused_in_a_sentence(make, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        make()
