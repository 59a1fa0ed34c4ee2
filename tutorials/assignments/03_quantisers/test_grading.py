"""What assignment 3 is graded by; `rng` draws fresh cases for each call of the grader.

What is expected is computed before the submission is called: it might change what it is given.
"""

import pytest
from numpy import array, cosh, errstate, maximum, minimum, nextafter, tanh
from numpy.testing import assert_allclose, assert_array_equal

MAY_IMPORT = {"numpy", "duonet.Function", "duonet.Tensor"}


def around(*thresholds):
    """Return each threshold with the float below and the float above it."""
    return array([[nextafter(t, -9), t, nextafter(t, 9)] for t in thresholds]).ravel()


def steps(x, thresholds, levels):
    """Return levels[number of thresholds reached], one value at a time."""
    return array([levels[sum(v >= t for t in thresholds)] for v in x.ravel().tolist()]).reshape(x.shape)


GIVEN = {
    "sign": lambda x: steps(x, [0], [-1, 1]).astype(x.dtype),
    "binary": lambda x: steps(x, [0.5], [0, 1]).astype(x.dtype),
}


@pytest.mark.task(1, points=3)
def test_sign(answers, rng):
    """Sign is −1 below 0 and +1 above, for every shape and in the dtype of x."""
    x = rng.normal(size=(4, 5)).astype("float32")
    expected = steps(x, [0], [-1, 1])
    y = answers.sign(x)
    assert y.dtype == "float32"
    assert_array_equal(y, expected)


@pytest.mark.task(1, points=2)
def test_sign_of_zero(answers, rng):
    """Sign at 0: +1, for 0 and −0 alike, while the next float below has −1."""
    x = rng.permutation([-0.0, *around(0.0), *rng.normal(size=5)])
    expected = steps(x, [0], [-1, 1])
    assert_array_equal(answers.sign(x), expected)


@pytest.mark.task(1, points=3, given=["sign"])
def test_binary(answers, rng):
    """The binary activation has the levels 0 and 1 and its threshold at ½, and keeps the dtype of x."""
    x = rng.uniform(-1, 2, size=(3, 2, 7)).astype("float32")
    expected = steps(x, [0.5], [0, 1])
    y = answers.binary(x)
    assert y.dtype == "float32"
    assert_array_equal(y, expected)


@pytest.mark.task(1, points=2, given=["sign"])
def test_binary_at_its_threshold(answers, rng):
    """The binary activation at exactly ½: x >= ½ fires."""
    x = rng.permutation([*around(0.5), *rng.normal(size=5)])
    expected = steps(x, [0.5], [0, 1])
    assert_array_equal(answers.binary(x), expected)


@pytest.mark.task(1, points=4, given=["sign", "binary"])
def test_ternary(answers, rng):
    """The ternary activation has levels 0, ½, 1, thresholds ¼ and ¾, keeps the dtype and leaves x alone."""
    x = rng.uniform(-1, 2, size=(6, 9)).astype("float32")
    before, expected = x.copy(), steps(x, [0.25, 0.75], [0, 0.5, 1])
    y = answers.ternary(x)
    assert y.dtype == "float32"
    assert_array_equal(y, expected)
    assert_array_equal(x, before)


@pytest.mark.task(1, points=4, given=["sign", "binary"])
def test_ternary_at_its_thresholds(answers, rng):
    """The ternary activation at exactly ¼ and ¾: x >= threshold fires; rounding halves to even does not do."""
    x = rng.permutation([*around(0.25, 0.75), *rng.normal(size=5)])
    expected = steps(x, [0.25, 0.75], [0, 0.5, 1])
    assert_array_equal(answers.ternary(x), expected)


@pytest.mark.task(2, points=6)
def test_uniform(answers, rng):
    """2^bits levels k/n with thresholds (k − ½)/n, n = 2^bits − 1, also for one bit, and in the dtype of x."""
    for bits in (1, *rng.integers(2, 6, size=3).tolist()):
        n = 2**bits - 1
        x = rng.uniform(0, 1, size=(40, 2))
        expected = steps(x, [(k - 0.5) / n for k in range(1, n + 1)], [k / n for k in range(n + 1)])
        assert_allclose(answers.uniform(x, bits), expected, rtol=1e-12)
        assert answers.uniform(x.astype("float32"), bits).dtype == "float32"


@pytest.mark.task(2, points=3)
def test_uniform_outside(answers, rng):
    """The k-bit staircase stays at 0 below its first threshold and at 1 above its last, far out too."""
    bits = int(rng.integers(1, 9))
    far = rng.uniform(1, 100, size=20)
    assert_array_equal(answers.uniform(-far, bits), [0] * 20)
    assert_array_equal(answers.uniform(1 + far, bits), [1] * 20)


@pytest.mark.task(2, points=5)
def test_uniform_at_its_thresholds(answers, rng):
    """The k-bit staircase at exactly (k − ½)/n and one float beside it: compare with >=, do not round."""
    bits = int(rng.integers(3, 8))
    n = 2**bits - 1
    thresholds = [(k - 0.5) / n for k in range(1, n + 1)]
    x = rng.permutation([*around(*thresholds), *rng.normal(size=5)])
    expected = steps(x, thresholds, [k / n for k in range(n + 1)])
    assert_allclose(answers.uniform(x, bits), expected, rtol=1e-12)


@pytest.mark.task(3, points=2)
def test_clip_value(answers, rng):
    """The clip's value is x between low and high, and the nearer of the two outside."""
    low, high = float(-rng.uniform(0, 2)), float(rng.uniform(1, 3))
    x = rng.uniform(-5, 5, size=(5, 8))
    expected = minimum(maximum(x, low), high)
    value, _ = answers.clip(x, low, high)
    assert_array_equal(value, expected)


@pytest.mark.task(3, points=2)
def test_clip_derivative(answers, rng):
    """The clip's derivative is 1 inside the window and 0 outside, in the dtype of x."""
    low, high = float(-rng.uniform(0, 2)), float(rng.uniform(1, 3))
    x = rng.uniform(-5, 5, size=(5, 8)).astype("float32")
    expected = [[float(low < v < high) for v in row] for row in x.tolist()]
    _, derivative = answers.clip(x, low, high)
    assert derivative.dtype == "float32"
    assert_array_equal(derivative, expected)


@pytest.mark.task(3, points=2)
def test_clip_window_is_open(answers, rng):
    """The clip's derivative at exactly low and high is 0: the window is open."""
    low, high = float(-rng.uniform(0, 2)), float(rng.uniform(1, 3))
    x = rng.permutation(around(low, high))
    expected = (low < x) & (x < high)
    _, derivative = answers.clip(x, low, high)
    assert_array_equal(derivative, expected)


@pytest.mark.task(3, points=3)
def test_approx_sign_value(answers, rng):
    """ApproxSign's value: 2x + x² below 0, 2x − x² above, and ±1 from |x| = 1 on."""
    x = rng.uniform(-2, 2, size=50)
    expected = [
        -1.0 if v <= -1 else 2 * v + v * v if v < 0 else 2 * v - v * v if v < 1 else 1.0 for v in x.tolist()
    ]
    value, _ = answers.approx_sign(x)
    assert_allclose(value, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.task(3, points=3)
def test_approx_sign_derivative(answers, rng):
    """ApproxSign's derivative: 2 at 0, falling in straight lines to 0 at ±1, and 0 beyond, in the dtype of x."""
    x = rng.permutation([-1.0, 0.0, 1.0, *rng.uniform(-2, 2, size=50)])
    expected = [max(2 - 2 * abs(v), 0) for v in x.tolist()]
    _, derivative = answers.approx_sign(x)
    assert_allclose(derivative, expected, rtol=1e-12, atol=1e-14)
    assert [a.dtype for a in answers.approx_sign(x.astype("float32"))] == ["float32", "float32"]


@pytest.mark.task(3, points=3)
def test_swish_sign_value(answers, rng):
    """SwishSign's value: 2 s(βx) [1 + βx (1 − s(βx))] − 1."""
    beta, x = float(rng.uniform(1, 6)), rng.uniform(-2, 2, size=50)
    s = 0.5 + 0.5 * tanh(beta * x / 2)
    expected = 2 * s * (1 + beta * x * (1 - s)) - 1
    value, _ = answers.swish_sign(x, beta)
    assert_allclose(value, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.task(3, points=3)
def test_swish_sign_derivative(answers, rng):
    """SwishSign's derivative, in the dtype of x, is β (2 − βx tanh(βx/2)) / (1 + cosh βx), and β at 0."""
    beta, x = float(rng.uniform(1, 6)), rng.permutation([0.0, *rng.uniform(-2, 2, size=50)])
    u = beta * x
    expected = beta * (2 - u * tanh(u / 2)) / (1 + cosh(u))
    _, derivative = answers.swish_sign(x, beta)
    assert_allclose(derivative, expected, rtol=1e-9, atol=1e-12)
    assert [a.dtype for a in answers.swish_sign(x.astype("float32"), beta)] == ["float32", "float32"]


@pytest.mark.task(3, points=2)
def test_swish_sign_far_out(answers, rng):
    """SwishSign far from 0: value ±1 and derivative 0, without an overflow on the way."""
    x = rng.uniform(200, 1000, size=10)
    for side in (-1, 1):
        with errstate(all="raise", under="ignore"):
            value, derivative = answers.swish_sign(side * x, 10.0)
        assert_allclose(value, [side] * 10, rtol=1e-12)
        assert_allclose(derivative, [0] * 10, atol=1e-12)


@pytest.fixture
def Tensor(bring):  # noqa: N802
    """Return duonet's class, where the submission is: its own ops are to run on them."""
    return bring("from duonet import Tensor").Tensor


def drawn_pair(rng):
    """Return a staircase and a surrogate that nobody has seen before."""
    threshold, tilt = rng.normal(), rng.uniform(1, 2)
    return (lambda x: 3.0 * (x >= threshold)), (lambda x: (tilt * x**2 / 2, tilt * x))


@pytest.mark.task(4, points=6)
def test_quantise_forward(answers, rng, Tensor):
    """Quantise goes forwards by the staircase it is given, not by the surrogate."""
    staircase, surrogate = drawn_pair(rng)
    x = rng.normal(size=(3, 4))
    expected = staircase(x)
    y = answers.Quantise.apply(Tensor(x), staircase=staircase, surrogate=surrogate)
    assert_array_equal(y.data, expected)


@pytest.mark.task(4, points=8)
def test_quantise_backward(answers, rng, Tensor):
    """The gradient is dx = dy · surrogate'(x), the derivative taken at x and not at y, bit for bit."""
    staircase, surrogate = drawn_pair(rng)
    x, dy = Tensor(rng.normal(size=(3, 4)), requires_grad=True), rng.normal(size=(3, 4))
    expected = dy * surrogate(x.data)[1]
    answers.Quantise.apply(x, staircase=staircase, surrogate=surrogate).backward(dy)
    assert_array_equal(x.grad, expected)


@pytest.mark.task(4, points=4)
def test_quantise_in_a_graph(answers, rng, Tensor):
    """Two Quantise ops in one graph keep their derivatives apart: leave them on ctx, nowhere else."""
    staircase, surrogate = drawn_pair(rng)
    x = Tensor(rng.normal(size=(2, 5)), requires_grad=True)
    factor = rng.normal(size=(2, 5))
    expected = surrogate(x.data)[1] - 2.0 * surrogate(x.data * factor)[1] * factor
    first = answers.Quantise.apply(x, staircase=staircase, surrogate=surrogate)
    second = answers.Quantise.apply(x * factor, staircase=staircase, surrogate=surrogate)
    (first - second * 2.0).sum().backward()
    assert_allclose(x.grad, expected, rtol=1e-12)


@pytest.mark.task(5, points=4)
def test_latent_step(answers, rng):
    """One step moves the latent weight, not the binary one, by −lr xᵀ dy."""
    w, x, dy = rng.uniform(-0.5, 0.5, size=(3, 2)), rng.normal(size=(5, 3)), rng.normal(size=(5, 2))
    db = sum(x[n][:, None] * dy[n][None, :] for n in range(5))
    before, expected = w.copy(), w - 0.01 * db
    assert_allclose(answers.latent_step(w, x, dy, 0.01), expected, rtol=1e-12, atol=1e-14)
    assert_array_equal(w, before)


@pytest.mark.task(5, points=3)
def test_latent_step_is_clamped(answers, rng):
    """After the step every latent weight is clamped to [−1, 1]."""
    w = 0.99 * rng.choice([-1.0, 1.0], size=(3, 2))
    x = rng.uniform(1, 2, size=(1, 3))
    dy = rng.choice([-1.0, 1.0], size=(1, 2))
    w[0, 0] = -0.99 * dy[0, 0]
    moved = w - 0.5 * x.T @ dy
    expected = minimum(maximum(moved, -1), 1)
    assert (moved != expected).any()
    assert_allclose(answers.latent_step(w, x, dy, 0.5), expected, rtol=1e-12)


@pytest.mark.task(5, points=3, given=["sign"])
def test_binary_weight_forward(answers, rng, Tensor):
    """Binary weights: sign(w) times one scale for the whole layer, the mean of |w|, in the dtype of w."""
    w = rng.normal(size=(4, 6))
    expected = steps(w, [0], [-1, 1]) * sum(abs(v) for v in w.ravel().tolist()) / w.size
    assert_allclose(answers.BinaryWeight.apply(Tensor(w)).data, expected, rtol=1e-12)
    assert answers.BinaryWeight.apply(Tensor(w.astype("float32"))).data.dtype == "float32"


@pytest.mark.task(5, points=2, given=["sign"])
def test_binary_weight_of_zero(answers, rng, Tensor):
    """A latent weight of exactly 0 becomes +α."""
    w = rng.permutation([0.0, -0.0, -1.0, float(rng.uniform(1, 2))])
    positive, negative = w >= 0, w < 0
    y = answers.BinaryWeight.apply(Tensor(w)).data
    assert_array_equal(y > 0, positive)
    assert_array_equal(y < 0, negative)


@pytest.mark.task(5, points=4, given=["sign"])
def test_binary_weight_backward(answers, rng, Tensor):
    """The latent weight gets the binary weight's gradient unchanged: dw = dy, no window and no factor α."""
    w, dy = Tensor(3 * rng.normal(size=(4, 6)), requires_grad=True), rng.normal(size=(4, 6))
    expected = dy.copy()
    answers.BinaryWeight.apply(w).backward(dy)
    assert_array_equal(w.grad, expected)


@pytest.mark.task(6, points=5)
def test_central_difference(answers, rng):
    """[q(x + h) − q(x − h)] / (2h): the difference over a distance of 2h, not h."""
    thresholds, h = sorted(rng.normal(size=2).tolist()), float(rng.uniform(0.2, 1))
    x = rng.normal(size=60)
    expected = (steps(x + h, thresholds, [0, 1, 3]) - steps(x - h, thresholds, [0, 1, 3])) / (2 * h)
    result = answers.central_difference(lambda v: steps(v, thresholds, [0, 1, 3]), x, h)
    assert_allclose(result, expected, rtol=1e-12)


@pytest.mark.task(6, points=4)
def test_matching_step(answers, rng):
    """With this h each threshold's window touches the next, so that together they are the window of (0, 1)."""
    for bits in (rng.permutation(7)[:4] + 1).tolist():
        n, h = 2**bits - 1, answers.matching_step(bits)
        thresholds, levels = [(k - 0.5) / n for k in range(1, n + 1)], [k / n for k in range(n + 1)]
        # In the middle between two of the points where the difference may jump, so that rounding does not matter.
        x = array([(k + 0.5) / (2 * n) for k in range(-4, 2 * n + 4)])
        difference = (steps(x + h, thresholds, levels) - steps(x - h, thresholds, levels)) / (2 * h)
        assert_allclose(difference, (0 < x) & (x < 1), rtol=1e-9, atol=1e-9)


@pytest.mark.task(6, points=5)
def test_mismatch_area(answers, rng):
    """The midpoint rule: |q − s| at the middle of every cell, times the cell's width."""
    threshold, tilt, low = float(rng.uniform(-1, 1)), float(rng.uniform(1, 2)), float(-rng.uniform(1, 3))
    cells = int(rng.integers(5, 30))
    width = (2 - low) / cells
    middles = [low + (k + 0.5) * width for k in range(cells)]
    expected = sum(width * abs(float(x >= threshold) - tilt * x) for x in middles)
    result = answers.mismatch_area(lambda x: 1.0 * (x >= threshold), lambda x: (tilt * x, 7), low, 2.0, cells)
    assert_allclose(result, expected, rtol=1e-9)
