"""The closed forms against sampling and calculus, and the estimators against the closed forms."""

import numpy as np
import pytest

from duonet import Tensor
from duonet.mismatch import coarse_gradient, coordinate_gradient, cosine, evolution_gradient
from duonet.mismatch.yin import (
    SURROGATES,
    expected_coarse_gradient,
    half_squared_error,
    population_loss,
    step_network,
    true_gradient,
)

M, N = 5, 6


@pytest.fixture(params=[1, 2, 3])
def problem(request):
    rng = np.random.default_rng(request.param)
    v, v_star, w, w_star = (rng.standard_normal(k) for k in (M, M, N, N))
    return v, 0.7 * w, v_star, w_star / np.linalg.norm(w_star), rng


def batches(problem, count, samples):
    *_, v_star, w_star, rng = problem
    for _ in range(count):
        z = rng.standard_normal((samples, M, N))
        yield z.reshape(samples, M, 1, N), ((z @ w_star >= 0) @ v_star)[:, None]


def z_scores(draws, expected):
    draws = np.array(draws)
    return (draws.mean(axis=0) - expected) / (draws.std(axis=0, ddof=1) / np.sqrt(len(draws)))


def test_the_loss_agrees_with_sampling(problem):
    v, w, v_star, w_star, _ = problem
    objective = [
        half_squared_error(step_network(v, w)(Tensor(x)), y).item() for x, y in batches(problem, 20, 5000)
    ]
    assert abs(z_scores(objective, population_loss(v, w, v_star, w_star))) < 4


def test_the_true_gradient_is_the_derivative_of_the_loss(problem):
    v, w, v_star, w_star, _ = problem
    h = 1e-5
    numerical = [
        (population_loss(v, w + h * e, v_star, w_star) - population_loss(v, w - h * e, v_star, w_star)) / (2 * h)
        for e in np.eye(N)
    ]
    np.testing.assert_allclose(true_gradient(v, w, v_star, w_star), numerical, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("surrogate", SURROGATES)
def test_the_expected_coarse_gradients_agree_with_sampling(surrogate, problem):
    v, w, v_star, w_star, _ = problem
    expected = expected_coarse_gradient(surrogate, v, w, v_star, w_star)
    draws = [
        coarse_gradient(step_network(v, w, surrogate), half_squared_error, batch, ["w"])["w"].values
        for batch in batches(problem, 30, 4000)
    ]
    assert (np.abs(z_scores(draws, expected)) < 4).all()
    # The check can fail: five per cent of the length is seen.
    assert (np.abs(z_scores(draws, expected + 0.05 * np.linalg.norm(expected))) > 4).any()


def test_a_wide_clip_is_a_relu(problem):
    v, w, v_star, w_star, _ = problem
    np.testing.assert_allclose(
        expected_coarse_gradient("clip", v, 1e-3 * w, v_star, w_star),
        expected_coarse_gradient("relu", v, 1e-3 * w, v_star, w_star),
        rtol=1e-9,
    )


def test_the_coordinate_discrete_gradient_agrees_with_the_population(problem):
    v, w, v_star, w_star, _ = problem
    step = 0.2
    expected = [
        (population_loss(v, w + step * e, v_star, w_star) - population_loss(v, w - step * e, v_star, w_star))
        / (2 * step)
        for e in np.eye(N)
    ]
    model = step_network(v, w)
    draws = [
        coordinate_gradient(model, half_squared_error, batch, step, ["w"])["w"].values
        for batch in batches(problem, 40, 10000)
    ]
    assert (np.abs(z_scores(draws, expected)) < 4).all()
    assert float(cosine(np.mean(draws, axis=0), np.array(expected))) > 0.98


def test_evolution_strategies_agree_with_the_population_within_their_standard_errors(problem):
    v, w, v_star, w_star, rng = problem
    sigma = 0.2
    u = rng.standard_normal((4000, N))
    terms = [
        (population_loss(v, w + sigma * d, v_star, w_star) - population_loss(v, w - sigma * d, v_star, w_star)) * d
        for d in u
    ]
    smoothed = np.array(terms) / (2 * sigma)
    model = step_network(v, w)
    estimates = [
        evolution_gradient(model, half_squared_error, batch, sigma, ["w"], samples=60, rng=rng)["w"]
        for batch in batches(problem, 30, 1000)
    ]
    total = np.sqrt(
        np.var([e.values for e in estimates], axis=0, ddof=1) / 30 + smoothed.var(axis=0) / len(smoothed)
    )
    z = (np.mean([e.values for e in estimates], axis=0) - smoothed.mean(axis=0)) / total
    assert (np.abs(z) < 4).all()
    # Directions and samples both add noise; the standard error covers the directions alone.
    claimed = np.sqrt(np.mean([e.stderr**2 for e in estimates], axis=0))
    assert (claimed < 1.3 * np.std([e.values for e in estimates], axis=0)).all()


def test_an_unknown_surrogate_is_refused():
    one = np.ones(2)
    with pytest.raises(ValueError, match="surrogate must be one of identity, relu, clip, got 'tanh'"):
        expected_coarse_gradient("tanh", one, one, one, one)


@pytest.mark.parametrize("function", [population_loss, true_gradient])
@pytest.mark.parametrize(
    "change, message",
    [
        ({"v_star": [1.0]}, r"v_star must be a vector of finite numbers as long as v \(2,\), got shape \(1,\)"),
        ({"w": [[1.0, 0.0]]}, "w must be a vector of finite numbers, got shape"),
        ({"w": [np.nan, 0.0]}, "w must be a vector of finite numbers"),
        ({"v": [], "v_star": []}, "v must be a vector"),
        ({"w": [0.0, 0.0]}, "w and w_star must not be zero"),
    ],
)
def test_vectors_that_do_not_fit_are_refused(function, change, message):
    given = {"v": [1.0, 2.0], "w": [1.0, 0.0], "v_star": [1.0, 1.0], "w_star": [0.0, 1.0]} | change
    with pytest.raises(ValueError, match=f"{function.__name__}: {message}"):
        function(**given)


def test_parallel_weights_have_no_direction_between_them():
    one, w = np.ones(1), np.array([2.0, 0.0])
    for function, first in ((true_gradient, ()), (expected_coarse_gradient, ("clip",))):
        for w_star in (w, -w):
            with pytest.raises(ValueError, match="must not be parallel"):
                function(*first, one, w, one, w_star)
    assert population_loss([1, 1], [2, 0], [1, 1], [1, 0]) == 0
    for build in (step_network, lambda v, w, name: expected_coarse_gradient(name, v, w, v, w)):
        with pytest.raises(ValueError, match="surrogate must be one of identity, relu, clip, got 'step'"):
            build(one, w, "step")


@pytest.mark.parametrize("angle", [1e-9, 1e-6, 1e-3, 3.0, np.pi - 1e-6])
def test_closed_forms_keep_their_digits_at_any_angle(angle):
    v, w, w_star = np.array([1.0, 2.0]), np.array([2.0, 0.0]), np.array([np.cos(angle), np.sin(angle)])
    assert population_loss(v, w, v, w_star) == pytest.approx(5 * angle / (2 * np.pi), rel=1e-9)
    expected = np.array([0, -np.sign(np.sin(angle)) * 5 / (4 * np.pi)])
    np.testing.assert_allclose(true_gradient(v, w, v, w_star), expected, rtol=1e-6, atol=1e-7)


def test_a_clip_far_from_its_window_passes_what_is_left_of_it():
    v, w, w_star = np.array([1.0]), np.array([1e9, 0.0]), np.array([0.0, 1.0])
    top, bound = 1 / np.sqrt(2 * np.pi), 1e-9
    gradient = expected_coarse_gradient("clip", v, w, v, w_star)
    # With one row, |v|² b − vᵀv* c: at a right angle c = ŵ rise / 2 + ê φ(0) (Φ(B) − ½).
    np.testing.assert_allclose(gradient, [top * bound**2 / 4, -top * top * bound], rtol=1e-6)


def test_a_cosine_has_no_length():
    a, b = np.array([3.0, 4.0]), np.array([4.0, 3.0])
    for scale in (1e-300, 1e-200, 1e-30, 1, 1e200, 1e300):
        assert cosine(scale * a, b) == pytest.approx(0.96, rel=1e-14)
        assert cosine(scale * a, scale * b) == pytest.approx(0.96, rel=1e-14)
    assert cosine(np.float32(1e-25) * a.astype("float32"), b.astype("float32")) == pytest.approx(0.96, rel=1e-6)
    assert np.isnan(cosine(0 * a, b)) and np.isnan(cosine(np.zeros((2, 0)), np.zeros((2, 0)))).all()
