"""Weights as sums of ±1 patterns: values, errors that fall, a basis that follows its weights, what is refused."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from duonet import Tensor, check_quantizer, load_model, nn, save_checkpoint
from duonet.methods import ABCWeights, LQWeights
from duonet.methods.weight_bases import nearest, refitted
from duonet.quant import LayerScaleSign

ALL = [ABCWeights(2), ABCWeights(3), LQWeights(1), LQWeights(2), LQWeights(3)]
COLUMN = np.array([[-2, -1.1, -0.4, 0.1, 0.6, 1.2, 1.7, 3]]).T


def of(quantizer, w, dy=None):
    """The values and the gradient."""
    w = Tensor(np.array(w, np.float64), requires_grad=True)
    y = quantizer(w)
    y.backward(np.ones(w.shape) if dy is None else np.array(dy, np.float64))
    return y.data, w.grad


@pytest.mark.parametrize("quantizer", ALL, ids=repr)
def test_each_keeps_its_promises(quantizer):
    check_quantizer(quantizer)


@pytest.mark.parametrize("quantizer", [ABCWeights(3), LQWeights(2)], ids=repr)
def test_each_keeps_its_promises_on_a_gpu(quantizer, standin):
    check_quantizer(quantizer, (40, 4))


def test_three_bases_of_abc():
    y, dw = of(ABCWeights(3), [-1, -0.4, 0.1, 0.3, 1.2], [1, -2, 0.5, 3, -1])
    np.testing.assert_allclose(y, [-1.1, -0.4, 0.2, 0.2, 1.1])
    np.testing.assert_allclose(dw, [1.1, -2.2, 0.55, 3.3, -1.1])


def error(quantizer, w):
    return ((of(quantizer, w)[0] - w) ** 2).sum() / (w**2).sum()


def test_more_bases_leave_a_smaller_error(rng):
    w = rng.standard_normal(2000)
    errors = [error(q, w) for q in (LayerScaleSign(), *map(ABCWeights, range(2, 6)))]
    np.testing.assert_allclose(errors, [0.3599, 0.2594, 0.1182, 0.0912, 0.0797], rtol=0.03)


@settings(max_examples=30)
@given(arrays(np.float64, 10, elements=st.floats(-2, 2, width=32)), st.integers(2, 5))
def test_the_fit_is_the_best_sum_of_its_bases_and_scales(w, bases):
    y = of(ABCWeights(bases), w)[0]
    assert len(np.unique(y.round(12))) <= bases + 1
    assert ((y - w) ** 2).sum() <= ((w - w.mean()) ** 2).sum() + 1e-12 + (w**2).sum()
    np.testing.assert_allclose(of(ABCWeights(bases), 4 * w)[0], 4 * y, atol=1e-9)
    patterns = np.array([np.where(w - w.mean() + u * w.std() >= 0, 1.0, -1.0) for u in np.linspace(-1, 1, bases)])
    best = patterns.T @ np.linalg.lstsq(patterns.T, w, rcond=1e-6)[0]
    np.testing.assert_allclose(y, best, atol=1e-7)


def test_bases_that_coincide_are_fitted_all_the_same():
    y, dw = of(ABCWeights(3), np.full(4, 0.5))
    np.testing.assert_allclose(y, 0.5)
    np.testing.assert_allclose(dw, 0.5)


def test_lq_takes_the_nearest_level_and_its_basis_follows():
    q = LQWeights(2, channels=1).astype("float64")
    q.basis.data = np.array([[0.5], [1.0]])
    y, dw = of(q, COLUMN, COLUMN)
    np.testing.assert_array_equal(y.ravel(), [-1.5, -1.5, -0.5, 0.5, 0.5, 1.5, 1.5, 1.5])
    np.testing.assert_array_equal(dw, COLUMN)
    np.testing.assert_allclose(q.basis.data.ravel(), [0.9 * 0.5 + 0.1 * 0.716664, 0.9 + 0.1 * 1.083333], atol=1e-6)
    kept = q.eval().basis.data.copy()
    of(q, COLUMN)
    np.testing.assert_array_equal(q.basis.data, kept)


def test_lqs_basis_is_the_solution_of_the_ridge():
    basis = np.array([[0.5], [1.0]])
    fitted = refitted(COLUMN, basis, *nearest(COLUMN, basis)[1:])
    np.testing.assert_allclose(fitted.ravel(), [0.716664, 1.083333], atol=1e-6)


def test_lq_begins_as_the_authors_do_whatever_the_layer():
    q = LQWeights(2)
    w = np.random.default_rng(0).normal(0, 0.05, (3, 3, 16, 64))
    y = of(q.eval(), w)[0]
    np.testing.assert_allclose(np.unique(np.abs(y)), [0.039745 - 0.019873, 0.039745 + 0.019873], atol=2e-6)
    assert q.basis.size == 0, "evaluation writes nothing"
    of(q.train(), w)
    assert q.basis.shape == (2, 64)


def test_lqs_error_never_rises(rng):
    w, basis, errors = rng.standard_normal((5000, 1)), np.array([[0.5], [1.0]]), []
    for _ in range(40):
        levels, order, index = nearest(w, basis)
        errors.append(((levels[index[:, 0], 0] - w[:, 0]) ** 2).mean())
        basis = refitted(w, basis, order, index)
    assert (np.diff(errors) <= 1e-7).all(), "but for the ridge"
    assert errors[-1] == pytest.approx(0.1175, abs=0.006)


def test_one_bit_of_lq_converges_to_the_mean_size(rng):
    w, q = rng.standard_normal((500, 2)), LQWeights(1).astype("float64")
    for _ in range(200):
        of(q, w)
    np.testing.assert_allclose(q.basis.data[0], np.abs(w).mean(0), rtol=1e-5)


@settings(max_examples=30)
@given(
    arrays(np.float64, (9, 2), elements=st.floats(-3, 3, width=32)),
    st.lists(st.sampled_from([-1.7, -0.6, 0.3, 1.1, 2.3]), min_size=1, max_size=3, unique=True),
)
def test_lq_finds_the_nearest_of_all_sums_also_for_negative_numbers(w, numbers):
    basis = np.repeat(np.array([numbers]).T, 2, axis=1)
    levels, order, index = nearest(w, basis)
    sums = np.array([np.dot(s, numbers) for s in itertools.product((-1, 1), repeat=len(numbers))])
    chosen = levels[index, np.arange(2)]
    np.testing.assert_allclose(np.abs(chosen - w), np.abs(w[..., None] - sums).min(-1), atol=1e-12)
    np.testing.assert_allclose(sums[order[index, np.arange(2)]], chosen)
    assert np.isfinite(refitted(w, basis, order, index)).all()


@pytest.mark.filterwarnings("error")
def test_a_basis_is_saved_and_comes_back(tmp_path, rng):
    model = nn.Sequential(
        nn.Linear(6, 5, rng=rng, weight_quantizer=LQWeights(2)),
        nn.Linear(5, 1, rng=rng, weight_quantizer=LQWeights(1)),
    )
    for number in range(2):  # before the first use, and after it
        save_checkpoint(tmp_path / f"{number}.npz", model)
        twin = load_model(tmp_path / f"{number}.npz")
        x = Tensor(rng.standard_normal((4, 6), np.float32))
        np.testing.assert_array_equal(twin.eval()(x).data, model.eval()(x).data)
        assert twin[0].weight_quantizer.basis.shape == (2, 5), "a layer begins it"
        model.train()(x)
    fresh = nn.Linear(6, 5, rng=rng, weight_quantizer=LQWeights(2))
    fresh.load_state_dict(model[0].state_dict())
    np.testing.assert_array_equal(fresh.weight_quantizer.basis.data, model[0].weight_quantizer.basis.data)
    model.reset_parameters(rng)
    np.testing.assert_allclose(
        model[0].weight_quantizer.basis.data[:, 0], 0.6745 * np.sqrt(2 / 5) * np.array([0.5, 1])
    )


def test_a_filter_of_zeros_stays_solvable():
    q = LQWeights(2)
    for _ in range(300):
        y, _ = of(q, np.zeros((4, 2)))
    assert np.isfinite(q.basis.data).all() and np.abs(y).max() < 1e-3


@pytest.mark.parametrize("make, message", [
    (lambda: ABCWeights(1), "ABCWeights: bases must be an int at least 2 and at most 8, got 1"),
    (lambda: ABCWeights()(Tensor(np.ones((0, 3)))), r"ABCWeights: w \(0, 3\) is empty"),
    (lambda: LQWeights(0), "LQWeights: bits must be an int at least 1 and at most 4, got 0"),
    (lambda: LQWeights(2, channels=-1), "LQWeights: channels must be an int at least 0, got -1"),
    (lambda: LQWeights()(Tensor([[1.0], [np.inf]])), "LQWeights: its basis would not be finite, because the weights"),
    (lambda: LQWeights()(Tensor(np.ones(3))), r"LQWeights: expected w \(..., IN, OUT\), got shape \(3,\)"),
    (lambda: LQWeights(1, channels=1)(Tensor(np.ones((2, 3)))), "LQWeights: its basis has 1 channels, but w has 3"),
])  # fmt: skip
def test_bad_input_is_refused_in_a_sentence(make, message):
    with pytest.raises((ValueError, TypeError), match=f"^{message}"):
        make()
