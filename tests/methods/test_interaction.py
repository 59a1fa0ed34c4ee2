"""CI-BCNN: the corrections, their gradient, and a search that never raises the loss."""

import numpy as np
import pytest

from duonet import Tensor, check_quantizer, decouple, load_model, nn, no_grad, save_checkpoint
from duonet.methods import ChannelInteraction, mine_edges
from duonet.quant import Clip, Ternary

X = np.array([[-260.0, 10], [-150, 10], [0, 10], [200, 10], [999, 10]])


@pytest.mark.parametrize("sign, expected", [(1, [-90, 10, 10, 110, 110]), (-1, [110, 10, 10, -90, -90])])
def test_a_large_teacher_corrects_its_student_and_gets_no_gradient(sign, expected, rng):
    layer = ChannelInteraction(200, 100, [(0, 1, sign)])
    x, dy = Tensor(X, requires_grad=True), rng.standard_normal(X.shape)
    y = layer(x)
    y.backward(dy)
    np.testing.assert_array_equal(y.data, np.stack([X[:, 0], expected], axis=1))
    np.testing.assert_array_equal(x.grad, dy)


def test_edges_read_what_came_and_not_what_others_corrected():
    layer = ChannelInteraction(1, 5, [(0, 1, 1), (1, 2, 1), (2, 0, -1)])
    np.testing.assert_array_equal(layer(Tensor([[2.0, 0.0, 3.0]])).data, [[-3, 5, 3]])
    np.testing.assert_array_equal(ChannelInteraction()(Tensor(X)).data, X)


@pytest.mark.parametrize("edges", [(), [(0, 1, 1), (1, 3, -1)]])
def test_it_keeps_its_promises(edges, device):
    check_quantizer(ChannelInteraction(0.5, 0.5, edges))


def network(rng, edges=()):
    return nn.Sequential(
        nn.Linear(4, 6, rng=rng, bias=False),
        ChannelInteraction(0.5, 1, edges),
        nn.BatchNorm(6),
        nn.QuantActivation(Ternary(), Clip(0, 1)),
        nn.Linear(6, 3, rng=rng),
    )


def test_the_loss_never_rises_and_the_edges_come_back(rng, tmp_path):
    model, x = network(rng).eval(), Tensor(rng.standard_normal((60, 4), np.float32))
    target = rng.standard_normal((60, 3))

    def loss():
        with no_grad():
            return float(((model(x).data - target) ** 2).mean())

    losses = mine_edges(model[1], 6, loss, rng, 60)
    assert len(losses) == 61 and (np.diff(losses) <= 0).all() and losses[-1] < losses[0]
    assert losses[-1] == loss() and 0 < len(model[1].edges) <= 30
    save_checkpoint(tmp_path / "a.npz", model)
    twin = load_model(tmp_path / "a.npz")
    assert twin[1].edges == model[1].edges
    with no_grad():
        np.testing.assert_array_equal(twin(x).data, model(x).data)
        np.testing.assert_allclose(decouple(model)(x).data, model(x).data, atol=1e-5)


def test_it_stops_at_a_hundred_edges_and_keeps_none_that_lowers_nothing(rng):
    layer, calls = ChannelInteraction(), []
    mine_edges(layer, 40, lambda: calls.append(0) or -len(calls), rng, 130)
    assert len(layer.edges) == 100
    layer = ChannelInteraction()
    for loss in (np.nan, 0.5):
        mine_edges(layer, 4, lambda loss=loss: loss, rng, 5)
    assert layer.edges == (), "what lowers nothing is not kept"


@pytest.mark.parametrize("make, message", [
    (lambda: ChannelInteraction(0), "ChannelInteraction: window must be a number above 0, got 0"),
    (lambda: ChannelInteraction(1, -1), "ChannelInteraction: height must be a number above 0, got -1"),
    (lambda: ChannelInteraction(1, 1, [(2, 2, 1)]), r"ChannelInteraction: edges\[0\] must lead from a channel to another"),
    (lambda: ChannelInteraction(1, 1, [(0, 1, 2)]), r"ChannelInteraction: edges\[0\] must lead from a channel to another, by ±1"),
    (lambda: ChannelInteraction(1, 1, [(0, 1)]), r"ChannelInteraction: edges\[0\] must be \(teacher, student, sign\), got"),
    (lambda: ChannelInteraction(1, 1, [(0, 1, 1), (0, 1, -1)]), "ChannelInteraction: edges must be at most 100, each pair"),
    (lambda: ChannelInteraction(1, 1, [(0, 2, 1)])(Tensor(X)), r"ChannelInteraction: an edge names channel 2, but x is of shape \(\d, 2\)"),
    (lambda: ChannelInteraction(1, 1, [(0, 1, 1)])(Tensor(1.0)), r"ChannelInteraction: an edge .* of shape \(\)"),
    (lambda: mine_edges(nn.ReLU(), 2, None, None), "mine_edges: layer must be a ChannelInteraction, got ReLU"),
    (lambda: mine_edges(ChannelInteraction(), 1, None, None), "mine_edges: channels must be an int at least 2, got 1"),
])  # fmt: skip
def test_bad_input_is_refused_in_a_sentence(make, message):
    with pytest.raises((ValueError, TypeError), match=f"^{message}"):
        make()
