"""Continuous binarisation: values, true gradients, the window that shrinks, layers that harden in turn."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from duonet import Tensor, check_gradients, check_quantizer, data, fit, load_checkpoint, nn, optim, save_checkpoint
from duonet import functional as F
from duonet.methods import ContinuousBinary, in_turn

X = np.array([-0.3, -0.1, 0, 0.1, 0.2, 0.3])


def in64(**more):
    act = ContinuousBinary(**more).astype("float64")
    act.m.data[...], act.alpha.data[...] = act.width, act.height  # with all their digits
    return act


def each(act, x):
    """Values, and the gradients of every element by itself."""
    rows = []
    for value in x:
        t = Tensor(np.array([value]), requires_grad=True)
        act.zero_grad()
        y = act(t)
        y.sum().backward()
        rows.append(
            [y.data[0], *(0 if g is None else float(np.sum(g)) for g in (t.grad, act.m.grad, act.alpha.grad))]
        )
    return np.array(rows).T


@pytest.mark.parametrize("more", [{}, {"width": 0.25, "height": 2}])
def test_it_keeps_its_promises(more):
    check_quantizer(ContinuousBinary(**more))


def test_values_and_gradients():
    y, dx, dm, dalpha = each(in64(width=0.5), X)
    np.testing.assert_allclose(y, [0, 0.3, 0.5, 0.7, 0.9, 1])
    np.testing.assert_allclose(dx, [0, 2, 2, 2, 2, 0])
    np.testing.assert_allclose(dm, [0, 0.4, 0, -0.4, -0.8, 0], atol=1e-12)
    np.testing.assert_allclose(dalpha, [0, 0.5, 0.5, 0.5, 0.5, 1])


def test_the_clip_steepens_to_the_step():
    values = [float(in64(width=m)(Tensor(np.array([0.01]))).data[0]) for m in (1, 0.1, 0.01, 0.001)]
    np.testing.assert_allclose(values, [0.51, 0.6, 1, 1])


def test_in_training_its_gradient_is_the_true_one():
    x = np.array([[-0.9, -0.2, 0.13, 0.3, 0.8]])

    def function(x, m, alpha):
        return alpha * F.clip(x / (m * alpha) + 0.5, 0, 1)

    act = in64(width=0.7, height=1.3)
    np.testing.assert_array_equal(
        act(Tensor(x)).data, function(*map(Tensor, (x, np.array(0.7), np.array(1.3)))).data
    )
    check_gradients(lambda x: act(x), x)
    y, dx, dm, dalpha = each(act, x[0])
    step = 1e-6
    for name, analytic in (("m", dm), ("alpha", dalpha)):
        sides = [
            each(in64(width=0.7 + s * (name == "m"), height=1.3 + s * (name == "alpha")), x[0])[0]
            for s in (step, -step)
        ]
        np.testing.assert_allclose((sides[0] - sides[1]) / (2 * step), analytic, atol=1e-6)


@settings(max_examples=30)
@given(st.floats(0.01, 4), st.floats(0.1, 4), st.floats(-5, 5))
def test_it_is_the_step_averaged_over_a_window(m, alpha, x):
    act = in64(width=m, height=alpha)
    points = x + m * alpha * (np.arange(2000) + 0.5) / 2000 - m * alpha / 2
    soft = float(act(Tensor(np.array([x]))).data[0])
    hard = act.eval()(Tensor(points)).data
    assert {*np.unique(hard)} <= {0, alpha}
    assert abs(hard.mean() - soft) < alpha / 1000


def test_a_step_in_its_place_costs_a_twelfth_of_the_square_of_its_height():
    act = in64(width=0.8, height=1.5)
    x = Tensor(0.8 * 1.5 * ((np.arange(4000) + 0.5) / 4000 - 0.5))
    assert np.mean((act(x).data - act.eval()(x).data) ** 2) == pytest.approx(1.5**2 / 12, rel=1e-3)


def test_once_hard_only_the_height_learns_by_its_true_gradient():
    act = in64(height=1.5, hard=True, start=0)
    y, dx, dm, dalpha = each(act, X)
    np.testing.assert_array_equal(y, [0, 0, 1.5, 1.5, 1.5, 1.5])
    np.testing.assert_array_equal(dalpha, [0, 0, 1, 1, 1, 1])
    assert not dx.any() and not dm.any() and act.penalty() is None
    np.testing.assert_allclose(float(in64(width=3, decay=0.5).penalty().data), 4.5)


def test_numbers_that_a_step_has_pushed_below_their_bound_are_put_back():
    act = ContinuousBinary()
    act.m.data -= 2
    np.testing.assert_array_equal(act(Tensor([-0.1, 0.1])).data, [0, 1])
    act.alpha.data -= 2
    act.after_step()
    assert (act.m.item(), act.alpha.item()) == (2**-10, 2**-10)


def test_in_evaluation_it_fires_at_0_and_has_the_gradients_of_the_window():
    act = in64(width=0.5)
    y, *gradients = each(act.eval(), X)
    np.testing.assert_array_equal(y, [0, 0, 1, 1, 1, 1])
    np.testing.assert_array_equal(gradients, each(act.train(), X)[1:])


def test_layers_harden_in_turn_and_what_lies_below_stays(tmp_path):
    rng = np.random.default_rng(0)
    model = nn.Sequential(
        nn.Flatten(), nn.Linear(6, 5, rng=rng), nn.BatchNorm(5), ContinuousBinary(), nn.Linear(5, 4, rng=rng),
        nn.BatchNorm(4), ContinuousBinary(), nn.Linear(4, 3, rng=rng),
    )  # fmt: skip
    in_turn(model, epochs=3)
    toy = data.Dataset(
        np.random.default_rng(1).integers(0, 255, (12, 1, 1, 6)).astype(np.uint8), np.arange(12) % 3
    )
    loader = data.DataLoader(toy, 6, data.Normalize.of(toy.images))
    optimizer, history = optim.SGD(model.parameters(), 0.1, weight_decay=0.01), None
    for epoch, lowest in enumerate((1, 3, 6), 1):
        before = {path: p.data.copy() for path, p in model.named_parameters()}
        history = fit(model, loader, optimizer, epoch, history=history, progress=False)
        moved = {int(path.split(".")[0]) for path, p in model.named_parameters() if (p.data != before[path]).any()}
        assert min(moved) == lowest and 7 in moved
        save_checkpoint(tmp_path / "a.npz", model, optimizer=optimizer, history=history)
        saved = load_checkpoint(tmp_path / "a.npz")
        model, optimizer = saved.model, saved.optimizer
    assert (
        history["hard"] == [0, 0.5, 1]
        and history["penalty"][0] > history["penalty"][1] > history["penalty"][2] == 0
    )
    x = Tensor(next(iter(loader))[0])
    for layer in (model[3], model[6]):
        assert layer.hard
    model[2].eval(), model[5].eval()
    np.testing.assert_array_equal(model(x).data, model.eval()(x).data)


@pytest.mark.parametrize("make, message", [
    (lambda: ContinuousBinary(0), "ContinuousBinary: width must be a number at least 0.0009765625, got 0"),
    (lambda: ContinuousBinary(height=-1), "ContinuousBinary: height must be a number at least 0.0009765625, got -1"),
    (lambda: ContinuousBinary(decay=np.nan), "ContinuousBinary: decay must be a number at least 0, got nan"),
    (lambda: ContinuousBinary(start=-1), "ContinuousBinary: start must be a number at least 0, got -1"),
    (lambda: in_turn(nn.Sequential(ContinuousBinary()), 0), "in_turn: epochs must be a number above 0, got 0"),
])  # fmt: skip
def test_bad_input_is_refused_in_a_sentence(make, message):
    with pytest.raises((ValueError, TypeError), match=f"^{message}"):
        make()
