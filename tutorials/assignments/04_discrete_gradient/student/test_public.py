"""Tests for you to run: `pytest test_public.py`, or one task by `-k task_3`. Grading uses other numbers."""

import answers
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal


def step_loss(w):
    """Return 1 for each weight of at least ½, plus the sum of squares."""
    return float((w >= 0.5).sum() + (w**2).sum())


def test_task_1_coordinate_difference():
    """The step of the first weight lies in the window and counts 1 / (2ε); that of the second does not."""
    w = np.array([[0.4, -1.0]])
    assert_allclose(answers.coordinate_difference(lambda: step_loss(w), w, (0, 0), 0.25), 0.8 + 2)
    assert_allclose(answers.coordinate_difference(lambda: step_loss(w), w, (0, 1), 0.25), -2)
    assert_array_equal(w, [[0.4, -1.0]])


def test_task_1_puts_the_weight_back_after_an_error():
    """The error goes on, and the weight is as before."""
    w = np.array([0.3])

    def loss():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        answers.coordinate_difference(loss, w, (0,), 0.1)
    assert w[0] == 0.3, "the weight is put back"


def test_task_1_layer_gradient():
    """All weights of a small layer."""
    w = np.array([[0.4, -1.0], [0.6, 2.0]])
    assert_allclose(answers.layer_gradient(lambda: step_loss(w), w, 0.25), [[2.8, -2.0], [3.2, 4.0]])
    assert_array_equal(w, [[0.4, -1.0], [0.6, 2.0]])


def test_task_2_window_average():
    """Of x²: over [−1, 1] it is ⅓, and over [1, 3] it is 13/3."""
    average = answers.window_average(lambda x: x**2, np.array([0.0, 2.0]), 1.0, 1000)
    assert_allclose(average, [1 / 3, 13 / 3], rtol=1e-5)


def test_task_2_smoothed_staircase():
    """The ternary staircase, with ε = ¼: the windows of its thresholds touch, and the ramps make one clip."""
    x = np.array([-1.0, 0.0, 0.125, 0.5, 0.9, 1.0, 2.0])
    y = answers.smoothed_staircase(x, [0.25, 0.75], [0.0, 0.5, 1.0], 0.25)
    assert_allclose(y, np.clip(x, 0, 1), atol=1e-12)


def test_task_2_the_average_is_the_smoothed_staircase():
    """Your midpoint rule against your closed form, with ε so large that windows overlap."""
    x = np.linspace(-1, 2, 31)
    average = answers.window_average(lambda x: 0.5 * (x >= 0.25) + 0.5 * (x >= 0.75), x, 0.6, 2000)
    assert_allclose(average, answers.smoothed_staircase(x, [0.25, 0.75], [0.0, 0.5, 1.0], 0.6), atol=1e-3)


def binary(z):
    """Return 1 where z >= ½, else 0."""
    return 1.0 * (z >= 0.5)


def test_task_3_forward():
    """Two layers by hand."""
    x, weights = np.array([[1.0, 2.0]]), [np.array([[1.0, 0.0], [0.0, 0.2]]), np.array([[3.0], [5.0]])]
    inputs, sums = answers.forward(x, weights, binary)
    assert_array_equal(inputs[0], x)
    assert_allclose(sums[0], [[1.0, 0.4]])
    assert_array_equal(inputs[1], [[1.0, 0.0]])
    assert_allclose(sums[1], [[3.0]])


def test_task_3_coarse_gradients():
    """The same by hand, with the slope 2 − z; two equal samples change nothing, because L is a mean."""
    x, weights = np.array([[1.0, 2.0]] * 2), [np.array([[1.0, 0.0], [0.0, 0.2]]), np.array([[3.0], [5.0]])]
    first, last = answers.coarse_gradients(x, np.array([[1.0]] * 2), weights, binary, lambda z: 2 - z)
    assert_allclose(last, [[2.0], [0.0]])
    assert_allclose(first, [[6.0, 16.0], [12.0, 32.0]])


def test_task_3_smooth_network():
    """Where the activation is smooth and the slope its own, the coarse gradient is the gradient."""
    rng = np.random.default_rng(0)
    x, target = rng.normal(size=(5, 3)), rng.normal(size=(5, 2))
    weights = [rng.normal(size=(3, 4)), rng.normal(size=(4, 2))]
    first, _ = answers.coarse_gradients(x, target, weights, np.tanh, lambda z: 1 - np.tanh(z) ** 2)

    def loss(w):
        return ((np.tanh(x @ w) @ weights[1] - target) ** 2).sum() / (2 * len(x))

    move = np.zeros((3, 4))
    move[2, 1] = 1e-5
    assert_allclose(first[2, 1], (loss(weights[0] + move) - loss(weights[0] - move)) / 2e-5, rtol=1e-6)


def test_task_4_cosines():
    """45°, the opposite direction, and none at all."""
    c = [np.array([[1.0, 0.0]]), np.array([1.0, 2.0]), np.zeros(3)]
    g = [np.array([[1.0, 1.0]]), np.array([-2.0, -4.0]), np.ones(3)]
    assert_allclose(answers.cosines(c, g), [0.5**0.5, -1.0, np.nan])


def test_task_4_corrected_cosine():
    """Noise along axes of its own: the plain cosine of the sums is too small, the corrected one is 1."""
    c1, c2 = np.array([1.0, 2.0, 0.0, 0.0]), np.array([1.0, 0.0, 2.0, 0.0])
    g = np.array([3.0, 0.0, 0.0, 0.0])
    assert_allclose(answers.cosines([c1 + c2], [g + g]), [3**-0.5])
    assert_allclose(answers.corrected_cosine(c1, c2, g, g), 1.0)


def test_task_4_corrected_cosine_hidden_by_noise():
    """The halves contradict each other."""
    c = np.array([1.0, 2.0])
    assert np.isnan(answers.corrected_cosine(c, -c, c, c)), "c1 · c2 is negative: NaN"


def test_task_5_evolution_gradient():
    """A linear loss, two directions by hand."""
    directions = np.array([[1.0, 1.0], [1.0, -1.0]])
    gradient, stderr = answers.evolution_gradient(lambda w: 7 + 2 * w[0] + 3 * w[1], np.ones(2), 0.5, directions)
    assert_allclose(gradient, [2.0, 3.0])
    assert_allclose(stderr, [3.0, 2.0])


def test_task_6_population_loss():
    """One unit each, at right angles: they disagree on half of all inputs, and each time the loss is ½."""
    one, w, w_star = np.ones(1), np.array([2.0, 0.0]), np.array([0.0, 1.0])
    assert_allclose(answers.population_loss(one, w, one, w_star), 0.25)
    assert_allclose(answers.population_loss(one, w, one, w), 0, atol=1e-7)


def test_task_6_population_loss_by_sampling():
    """The mean loss over 20,000 random Z comes near it."""
    rng = np.random.default_rng(0)
    v, w, v_star, w_star = (rng.normal(size=n) for n in (3, 4, 3, 4))
    z = rng.normal(size=(20_000, 3, 4))
    losses = 0.5 * ((z @ w >= 0) @ v - (z @ w_star >= 0) @ v_star) ** 2
    error = losses.std() / len(losses) ** 0.5
    assert abs(losses.mean() - answers.population_loss(v, w, v_star, w_star)) < 4 * error, (
        "further from the sampled mean than four standard errors"
    )


def test_task_6_true_gradient():
    """It is 1 / 2π long here, and points away from the teacher's weight."""
    one = np.ones(1)
    gradient = answers.true_gradient(one, np.array([1.0, 0.0]), one, np.array([0.0, 1.0]))
    assert_allclose(gradient, [0.0, -1 / (2 * np.pi)], atol=1e-12)
