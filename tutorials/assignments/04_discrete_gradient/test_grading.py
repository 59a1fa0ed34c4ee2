"""What assignment 4 is graded by; `rng` draws fresh cases for each call of the grader.

What is expected is computed before the submission is called: it might change what it is given.
"""

import math

import pytest
from numpy import array, errstate, ndindex, tanh
from numpy.linalg import norm, qr
from numpy.testing import assert_allclose, assert_array_equal

from duonet import Tensor
from duonet.functional import mse_loss
from duonet.mismatch.yin import population_loss
from duonet.quant import Staircase, Surrogate, quantize

MAY_IMPORT = {"numpy"}


def drawn_loss(rng, shape):
    """Return a loss of an array that has both smooth parts and steps."""
    factor, thresholds = rng.normal(size=shape), rng.normal(size=shape)
    return lambda w: float((factor * (w >= thresholds)).sum() + 0.3 * ((factor * w).sum() + w.sum()) ** 3)


def differences(loss, w, step):
    """Return the coordinate discrete gradient, from copies of w."""
    gradient = 0 * w
    for index in ndindex(w.shape):
        move = 0 * w
        move[index] = step
        gradient[index] = (loss(w + move) - loss(w - move)) / (2 * step)
    return gradient


def coordinate_difference(loss, w, index, step):
    """Return the coordinate discrete gradient of one weight."""
    start = w[index]
    w[index] = start + step
    up = loss()
    w[index] = start - step
    down = loss()
    w[index] = start
    return (up - down) / (2 * step)


def forward(x, weights, staircase):
    """Return what each layer reads and what it computes."""
    inputs, sums = [x], [x @ weights[0]]
    for w in weights[1:]:
        inputs.append(staircase(sums[-1]))
        sums.append(inputs[-1] @ w)
    return inputs, sums


GIVEN = {"coordinate_difference": coordinate_difference, "forward": forward}


class Watched:
    """A loss that looks at w itself, and knows whether it has ever seen w moved."""

    def __init__(self, loss, w):
        self.loss, self.w, self.start, self.moved = loss, w, w.copy(), False

    def __call__(self):
        """Return the loss of what w holds now."""
        self.moved |= bool((self.w != self.start).any())
        return self.loss(self.w)

    def check(self):
        """Say so where w never moved."""
        assert self.moved, (
            "the loss never saw w move: it looks at w itself, so move w[index] in place, not in a copy"
        )


@pytest.mark.task(1, points=5)
def test_one_weight(answers, rng):
    """The central difference of one weight: a step of ε to either side, and the distance is 2ε."""
    w, step = rng.normal(size=(3, 4)), float(rng.uniform(0.1, 1))
    index = tuple(rng.integers(0, (3, 4)).tolist())
    loss = drawn_loss(rng, w.shape)
    expected = differences(loss, w.copy(), step)[index]
    watched = Watched(loss, w)
    found = answers.coordinate_difference(watched, w, index, step)
    watched.check()
    assert_allclose(found, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.task(1, points=4)
def test_weight_is_put_back(answers, rng):
    """Afterwards the weight holds the old bits: store the old value, do not add and subtract the step."""
    w = rng.normal(size=50)
    before = w.copy()
    for i in range(50):
        answers.coordinate_difference(lambda: 0.0, w, (i,), 0.1)
    assert_array_equal(w, before)


@pytest.mark.task(1, points=3)
def test_weight_is_put_back_after_an_error(answers, rng):
    """An error in the loss reaches the caller, and the weight is put back all the same (try, finally)."""
    w = rng.normal(size=(2, 3))
    before = w.copy()
    for failing in (1, 2):  # in the first call, in the second
        calls = []

        def loss(calls=calls, failing=failing):
            calls.append(1)
            if len(calls) == failing:
                raise ZeroDivisionError
            return 0.0

        with pytest.raises(ZeroDivisionError):
            answers.coordinate_difference(loss, w, (1, 2), 0.1)
        assert_array_equal(w, before)


@pytest.mark.task(1, points=6, given=["coordinate_difference"])
def test_layer(answers, rng):
    """Every weight of a layer of any shape, each moved alone; the layer is as before afterwards."""
    for shape in ((5,), (2, 3), (2, 1, 2, 2)):
        w, step = rng.normal(size=shape), float(rng.uniform(0.1, 1))
        before, loss = w.copy(), drawn_loss(rng, shape)
        expected = differences(loss, before, step)
        watched = Watched(loss, w)
        gradient = answers.layer_gradient(watched, w, step)
        watched.check()
        assert_allclose(gradient, expected, rtol=1e-9, atol=1e-9)
        assert_array_equal(w, before)


@pytest.mark.task(2, points=5)
def test_window_average(answers, rng):
    """The midpoint rule: the mean of f at the middles of equal cells from x − ε to x + ε."""
    x, step, cells = rng.normal(size=(2, 3)), float(rng.uniform(0.2, 2)), int(rng.integers(3, 9))
    power = float(rng.uniform(1, 2))

    def f(x):
        return abs(x) ** power + x

    width = 2 * step / cells
    expected = sum(f(x - step + (k + 0.5) * width) for k in range(cells)) / cells
    assert_allclose(answers.window_average(f, x, step, cells), expected, rtol=1e-9, atol=1e-12)


def drawn_staircase(rng):
    """Return thresholds and levels of a staircase of three steps."""
    return rng.normal(size=3).cumsum().tolist(), rng.normal(size=4).tolist()


@pytest.mark.task(2, points=5)
def test_smoothed_staircase(answers, rng):
    """Each step becomes a ramp of width 2ε around its threshold, as high as the step; the first level is added."""
    levels = rng.uniform(0.5, 2, size=3).cumsum().tolist()
    threshold, step = float(rng.normal()), 0.4  # the windows of the two thresholds lie apart
    x = threshold + array([-9.0, -0.41, 0.1, 0.41, 2.59, 2.8, 3.41, 9.0])
    parts = [0, 0, 0.625, 1, 1, 1.25, 2, 2]
    low, middle, high = levels
    expected = [low + min(p, 1) * (middle - low) + max(p - 1, 0) * (high - middle) for p in parts]
    result = answers.smoothed_staircase(x, [threshold, threshold + 3], levels, step)
    assert_allclose(result, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.task(2, points=4)
def test_smoothing_identity(answers, rng):
    """The slope of the smoothed staircase is the staircase's central difference, where windows overlap as well."""
    thresholds = sorted(rng.uniform(-0.5, 0.5, size=3).tolist())
    levels, step, h = rng.normal(size=4).tolist(), float(rng.uniform(0.5, 1)), 1e-6
    corners = [t + side * step for t in thresholds for side in (-1, 1)]
    x = array([v for v in rng.uniform(-2, 2, size=60) if min(abs(v - c) for c in corners) > 1e-4])

    def smoothed(x):
        return answers.smoothed_staircase(x, thresholds, levels, step)

    staircase = array([[levels[sum(v >= t for t in thresholds)] for v in row] for row in (x + step, x - step)])
    expected = (staircase[0] - staircase[1]) / (2 * step)
    assert_allclose((smoothed(x + h) - smoothed(x - h)) / (2 * h), expected, atol=1e-7)


def drawn_network(rng, widths, samples=6):
    """Return an input, a target and the weights of a perceptron."""
    weights = [rng.normal(size=shape) for shape in zip(widths, widths[1:])]
    return rng.normal(size=(samples, widths[0])), rng.normal(size=(samples, widths[-1])), weights


def drawn_step(rng):
    """Return a staircase, and a slope of a surrogate, that nobody has seen before."""
    threshold, tilt = float(rng.uniform(-0.5, 0.5)), float(rng.uniform(0.5, 2))
    return (lambda z: 1.5 * (z >= threshold) - 0.5), (lambda z: tilt / (1 + z * z)), threshold


@pytest.mark.task(3, points=6)
def test_forward(answers, rng):
    """What each layer reads and computes; all sums are quantised for the next layer, but not the output."""
    x, _, weights = drawn_network(rng, (4, 3, 5, 2))
    staircase, _, _ = drawn_step(rng)
    z1 = x @ weights[0]
    z2 = staircase(z1) @ weights[1]
    z3 = staircase(z2) @ weights[2]
    expected = [x.copy(), staircase(z1), staircase(z2)], [z1, z2, z3]
    inputs, sums = answers.forward(x, weights, staircase)
    assert len(inputs) == len(sums) == 3
    for a, z, expected_a, expected_z in zip(inputs, sums, *expected):
        assert_array_equal(a, expected_a)
        assert_allclose(z, expected_z, rtol=1e-9, atol=1e-12)


@pytest.mark.task(3, points=4, given=["forward"])
def test_coarse_gradient_of_the_last_layer(answers, rng):
    """The last layer: dW = aᵀ (z − target) / N, with no slope in it."""
    x, target, weights = drawn_network(rng, (3, 4, 2))
    staircase, slope, _ = drawn_step(rng)
    a = staircase(x @ weights[0])
    expected = sum(a[n][:, None] * (a[n] @ weights[1] - target[n])[None, :] for n in range(6)) / 6
    gradients = answers.coarse_gradients(x, target, weights, staircase, slope)
    assert_allclose(gradients[-1], expected, rtol=1e-9, atol=1e-12)


@pytest.mark.task(3, points=8, given=["forward"])
def test_coarse_gradients(answers, rng):
    """All layers: upstream gradient times slope(z), the slope at the sums and not at the activations."""
    x, target, weights = drawn_network(rng, (4, 5, 3, 2))
    staircase, slope, threshold = drawn_step(rng)
    surrogate = Surrogate()
    surrogate.derivative = slope
    parameters = [Tensor(w, requires_grad=True) for w in weights]
    a = Tensor(x)
    for w in parameters[:-1]:
        a = quantize(a @ w, Staircase([threshold], [-0.5, 1]), surrogate)
    mse_loss(a @ parameters[-1], target).backward()  # a mean over N samples and 2 outputs: Σ / 2N
    gradients = answers.coarse_gradients(x, target, weights, staircase, slope)
    assert len(gradients) == 3
    for gradient, w in zip(gradients, parameters):
        assert_allclose(gradient, w.grad, rtol=1e-9, atol=1e-12)


@pytest.mark.task(3, points=4, given=["forward"])
def test_coarse_gradients_of_a_smooth_network(answers, rng):
    """With a smooth activation and its own derivative the coarse gradient is the true one."""
    x, target, weights = drawn_network(rng, (2, 3, 2))

    def loss(first, last):
        return ((tanh(x @ first) @ last - target) ** 2).sum() / (2 * len(x))

    expected = [
        differences(lambda w: loss(w, weights[1]), weights[0], 1e-5),
        differences(lambda w: loss(weights[0], w), weights[1], 1e-5),
    ]
    gradients = answers.coarse_gradients(x, target, weights, tanh, lambda z: 1 - tanh(z) ** 2)
    for gradient, numerical in zip(gradients, expected, strict=True):
        assert_allclose(gradient, numerical, rtol=1e-6, atol=1e-8)


@pytest.mark.task(4, points=4)
def test_cosines(answers, rng):
    """One cosine for each layer, over all of the layer's weights; lengths do not matter, signs do."""
    shapes = ((4, 3), (2, 2, 2, 3), (5,))
    coarse, discrete = [rng.normal(size=s) for s in shapes], [rng.normal(size=s) * 7 for s in shapes]
    expected = [float((c * g).sum() / (norm(c.ravel()) * norm(g.ravel()))) for c, g in zip(coarse, discrete)]
    assert_allclose(answers.cosines(coarse, discrete), expected, rtol=1e-9, atol=1e-12)
    assert_allclose(answers.cosines([coarse[0]], [-2 * coarse[0]]), [-1])


@pytest.mark.task(4, points=2)
def test_cosine_with_zero(answers, rng):
    """Where a gradient is all zero there is no angle: NaN, without a warning on the way."""
    g = rng.normal(size=(3, 2))
    with errstate(all="raise"):
        found = answers.cosines([0 * g, g, 0 * g, g], [g, 0 * g, 0 * g, 3 * g])
    assert [math.isnan(c) for c in found] == [True, True, True, False]


@pytest.mark.task(4, points=4)
def test_corrected_cosine(answers, rng):
    """Products across the halves only: c1 · g2 and c2 · g1 above, c1 · c2 and g1 · g2 below the line."""
    c, g = rng.normal(size=(6, 7)), rng.normal(size=(6, 7))
    c1, c2 = c + 0.2 * rng.normal(size=c.shape), c + 0.2 * rng.normal(size=c.shape)
    g1, g2 = g + 0.2 * rng.normal(size=c.shape), g + 0.2 * rng.normal(size=c.shape)
    sums = [float((a * b).sum()) for a, b in ((c1, g2), (c2, g1), (c1, c2), (g1, g2))]
    expected = (sums[0] + sums[1]) / 2 / math.sqrt(sums[2] * sums[3])
    assert_allclose(answers.corrected_cosine(c1, c2, g1, g2), expected, rtol=1e-9)


@pytest.mark.task(4, points=3)
def test_corrected_cosine_is_free_of_noise(answers, rng):
    """With noises at right angles to everything, the corrected cosine is that of the gradients without noise."""
    axes = qr(rng.normal(size=(12, 6)))[0].T
    angle = float(rng.uniform(0.2, 1))
    c, g = axes[0], math.cos(angle) * axes[0] + math.sin(angle) * axes[1]
    noise = axes[2:] * rng.uniform(1, 3, size=(4, 1))
    found = answers.corrected_cosine(c + noise[0], c + noise[1], g + noise[2], g + noise[3])
    assert_allclose(found, math.cos(angle), rtol=1e-9)


@pytest.mark.task(4, points=3)
def test_corrected_cosine_hidden_by_noise(answers, rng):
    """Where a squared length comes out negative or zero: NaN, without a warning; above 1 it is left."""
    c, g = rng.uniform(1, 2, size=9), rng.uniform(1, 2, size=9)
    with errstate(all="raise"):
        assert math.isnan(answers.corrected_cosine(c, -c, g, g))
        assert math.isnan(answers.corrected_cosine(c, c, g, -g))
        assert math.isnan(answers.corrected_cosine(c, -c, g, -g))
        assert math.isnan(answers.corrected_cosine(c, 0 * c, g, g))
    # c1 and c2 are both near g, but nearly at right angles to each other.
    axes = qr(rng.normal(size=(9, 3)))[0].T
    c1, c2 = axes[0] + 0.9 * axes[1], axes[0] - 0.9 * axes[1]
    assert_allclose(answers.corrected_cosine(c1, c2, axes[0], axes[0]), 1 / math.sqrt(0.19), rtol=1e-9)


@pytest.mark.task(5, points=6)
def test_evolution_gradient(answers, rng):
    """The mean over directions of [L(w + σu) − L(w − σu)] / (2σ) · u."""
    w, sigma = rng.normal(size=(2, 3)), float(rng.uniform(0.1, 1))
    directions, loss = rng.normal(size=(7, 2, 3)), drawn_loss(rng, w.shape)
    expected = sum((loss(w + sigma * u) - loss(w - sigma * u)) / (2 * sigma) * u for u in directions) / 7
    before = w.copy()
    gradient, _ = answers.evolution_gradient(loss, w, sigma, directions)
    assert_allclose(gradient, expected, rtol=1e-9, atol=1e-9)
    assert_array_equal(w, before)


@pytest.mark.task(5, points=4)
def test_evolution_stderr(answers, rng):
    """The standard error is s / √K, with K − 1 under the variance."""
    w, sigma = rng.normal(size=4), float(rng.uniform(0.1, 1))
    directions, loss = rng.normal(size=(5, 4)), drawn_loss(rng, w.shape)
    terms = [(loss(w + sigma * u) - loss(w - sigma * u)) / (2 * sigma) * u for u in directions]
    mean = sum(terms) / 5
    expected = (sum((t - mean) ** 2 for t in terms) / 4 / 5) ** 0.5
    _, stderr = answers.evolution_gradient(loss, w, sigma, directions)
    assert_allclose(stderr, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.task(5, points=4)
def test_evolution_is_antithetic(answers, rng):
    """Both sides of w count: what is even around w cancels, and the slope of a linear loss comes out exactly."""
    w, slope = rng.normal(size=4), rng.normal(size=4)
    directions = 2 * qr(rng.normal(size=(4, 4)))[0].T  # orthogonal, of length √4
    offset = float(rng.uniform(50, 100))
    middle = w.copy()
    gradient, _ = answers.evolution_gradient(
        lambda u: float(offset + slope @ u + 30 * ((u - middle) ** 2).sum()), w, 0.5, directions
    )
    assert_allclose(gradient, slope, rtol=1e-7, atol=1e-9)


def drawn_pair(rng):
    """Return v, w, v* and w* of m = 4, n = 5."""
    return rng.normal(size=4), 2 * rng.normal(size=5), rng.normal(size=4), 3 * rng.normal(size=5)


@pytest.mark.task(6, points=5)
def test_population_loss(answers, rng):
    """The three forms of I and 11ᵀ, over 8, with θ the angle between w and w*, whatever their lengths."""
    for _ in range(3):
        v, w, v_star, w_star = drawn_pair(rng)
        expected = population_loss(v, w, v_star, w_star)
        assert_allclose(answers.population_loss(v, w, v_star, w_star), expected, rtol=1e-9)


@pytest.mark.task(6, points=2)
def test_population_loss_of_parallel_weights(answers, rng):
    """Where w is parallel to w* and v equals v* the loss is 0, and no rounding makes it NaN."""
    for _ in range(40):
        v, w, _, _ = drawn_pair(rng)
        with errstate(all="raise"):
            assert_allclose(answers.population_loss(v, w, v, w * rng.uniform(0.5, 3)), 0, atol=1e-6)


@pytest.mark.task(6, points=6)
def test_true_gradient(answers, rng):
    """The gradient is the slope of the population loss along every axis of w."""
    v, w, v_star, w_star = drawn_pair(rng)
    expected = differences(lambda w: population_loss(v, w, v_star, w_star), w, 1e-5)
    assert_allclose(answers.true_gradient(v, w, v_star, w_star), expected, rtol=1e-5, atol=1e-7)


@pytest.mark.task(6, points=3)
def test_true_gradient_and_lengths(answers, rng):
    """The gradient is at right angles to w, falls as 1/|w|, and does not depend on the length of w*."""
    v, w, v_star, w_star = drawn_pair(rng)
    gradient, factor = answers.true_gradient(v, w, v_star, w_star), float(rng.uniform(2, 4))
    assert abs(gradient @ w) < 1e-9
    assert norm(gradient) > 0
    assert_allclose(answers.true_gradient(v, factor * w, v_star, w_star), gradient / factor, rtol=1e-9, atol=1e-12)
    assert_allclose(answers.true_gradient(v, w, v_star, factor * w_star), gradient, rtol=1e-9, atol=1e-12)
