"""The penalties of BNN+: values, gradients, the best α, and that they pull."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from duonet import Tensor, check_gradients, check_quantizer, data, fit, nn, optim, save_checkpoint
from duonet.methods import BNNPlusWeights, pull
from duonet.quant import FilterScaleSign

W = np.array([-1.2, -0.4, 0.1, 0.5, 0.9])


@pytest.mark.parametrize("power", [1, 2])
def test_it_keeps_its_promises(power, device):
    check_quantizer(BNNPlusWeights(0.1, power))


@pytest.mark.parametrize(
    "power, value, dw, dalpha",
    [(1, 1.6, [-1, 1, -1, 0, 1], 0), (2, 0.82, [-1.4, 0.2, -0.8, 0, 0.8], -1.2)],
)
def test_values_and_gradients_of_both_penalties(power, value, dw, dalpha):
    w, alpha = Tensor(W, requires_grad=True), Tensor(np.array(0.5), requires_grad=True)
    penalty = pull(w, alpha, power)
    assert float(penalty.data) == pytest.approx(value)
    penalty.backward()
    np.testing.assert_allclose(w.grad, dw, atol=1e-12)
    assert float(alpha.grad) == pytest.approx(dalpha, abs=1e-12)


@pytest.mark.parametrize("power", [1, 2])
def test_their_gradients_are_true_ones(power, rng):
    check_gradients(lambda w, alpha: pull(w, alpha, power), rng.standard_normal((7, 3)), rng.uniform(0.2, 1, 3))


@pytest.mark.parametrize("power, best", [(1, 0.5), (2, 0.62)])
def test_alpha_is_the_best_of_its_filter(power, best):
    q = BNNPlusWeights(2.0, power)
    w = Tensor(np.stack([W, 2 * W], axis=1), requires_grad=True)
    q(w)
    expected = sum(2 * (abs(c * best - abs(c * W)) ** power).sum() for c in (1, 2))
    assert float(q.penalty().data) == pytest.approx(expected)
    for alpha in np.linspace(0.3, 0.8, 21):
        assert (abs(best - abs(W)) ** power).sum() <= (abs(alpha - abs(W)) ** power).sum() + 1e-12


@pytest.mark.parametrize("power", [1, 2])
def test_the_penalty_itself_has_a_true_gradient_though_alpha_moves(power, rng):
    def penalty(w):
        q = BNNPlusWeights(1.0, power)
        q(w if w.requires_grad else Tensor(w.data, requires_grad=True))
        return q.penalty()

    check_gradients(penalty, rng.standard_normal((6, 2)))


@settings(max_examples=30)
@given(arrays(np.float64, (5, 2), elements=st.floats(-2, 2, width=32)), st.sampled_from([1, 2]))
def test_it_is_never_below_zero_and_nothing_where_all_sizes_agree(w, power):
    q = BNNPlusWeights(1.0, power)
    q(Tensor(w, requires_grad=True))
    assert float(q.penalty().data) >= 0
    q(Tensor(np.where(w >= 0, 0.75, -0.75), requires_grad=True))
    assert float(q.penalty().data) == 0


def model(strength):
    rng = np.random.default_rng(0)
    quantizer = BNNPlusWeights(strength) if strength else FilterScaleSign()
    return nn.Sequential(nn.Flatten(), nn.Linear(6, 5, rng=rng, weight_quantizer=quantizer), nn.BatchNorm(5))


def test_it_pulls_the_weights_together_in_training(rng, tmp_path):
    x, y = rng.integers(0, 255, (32, 1, 1, 6)).astype(np.uint8), rng.integers(0, 5, 32)
    toy = data.Dataset(x, y)
    spread = {}
    for strength in (0, 0.05):
        draws = np.random.default_rng(0)
        net = model(strength)
        loader = data.DataLoader(toy, 8, data.Normalize.of(toy.images), rng=draws)
        fit(net, loader, optim.SGD(net.parameters(), 0.05), 8, progress=False)
        spread[strength] = np.abs(net[1].weight.data).std(0).mean()
        save_checkpoint(tmp_path / f"{strength}.npz", net)  # also in training mode, when weights have been read
    assert spread[0.05] < 0.7 * spread[0]


def test_there_is_none_before_the_first_step_and_in_evaluation(rng):
    net = model(0.1)
    quantizer, x = net[1].weight_quantizer, Tensor(rng.standard_normal((4, 6), np.float32))
    assert quantizer.penalty() is None
    net(x)
    assert quantizer.penalty() is not None
    net.eval()(x)
    assert quantizer.penalty() is None
    assert list(net[1].state_dict()) == ["weight", "bias"]


@pytest.mark.parametrize("make, message", [
    (lambda: BNNPlusWeights(-1), "BNNPlusWeights: strength must be a number at least 0, got -1"),
    (lambda: BNNPlusWeights(np.inf), "BNNPlusWeights: strength must be a number at least 0, got inf"),
    (lambda: BNNPlusWeights(1, power=3), "BNNPlusWeights: power must be an int at least 1 and at most 2, got 3"),
    (lambda: pull(Tensor(W), Tensor(0.5), 0), "pull: power must be an int at least 1 and at most 2, got 0"),
])  # fmt: skip
def test_bad_input_is_refused_in_a_sentence(make, message):
    with pytest.raises((ValueError, TypeError), match=f"^{message}"):
        make()
