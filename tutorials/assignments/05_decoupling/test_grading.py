"""What assignment 5 is graded by; `rng` draws fresh cases for each call of the grader.

What is expected is computed before the submission is called: it might change what it is given.
"""

import math

import pytest
from numpy import array, concatenate, einsum, inf, maximum, nextafter, sqrt
from numpy.lib.stride_tricks import sliding_window_view
from numpy.testing import assert_allclose, assert_array_equal

MAY_IMPORT = {"numpy"}


def ternary(h):
    """Return 0 below ¼, ½ from there on, 1 from ¾ on."""
    return (0.5 * (h >= 0.25) + 0.5 * (h >= 0.75)).astype(h.dtype)


def run(network, x):
    """Run a network in plain NumPy, one layer after the other."""
    for layer in network:
        match layer:
            case ("conv", w):
                windows = sliding_window_view(x, w.shape[:2], axis=(1, 2))
                x = einsum("nijcpq,pqco->nijo", windows, w)
            case ("linear", w):
                x = x @ w
            case ("norm", gamma, beta, mean, var):
                assert x.shape[-1] == len(gamma), (
                    f"a norm of {len(gamma)} channels reads {x.shape[-1]}: a doubled one needs a replicate"
                )
                x = gamma * (x - mean) / sqrt(var) + beta
            case ("pool",):
                n, h, w, c = x.shape
                x = x.reshape(n, h // 2, 2, w // 2, 2, c).max(axis=(2, 4))
            case ("flatten",):
                x = x.reshape(len(x), -1)
            case ("replicate",):
                x = concatenate([x, x], axis=-1)
            case ("relu",):
                x = maximum(x, 0)
            case ("ternary",):
                x = ternary(x)
            case ("binary", thresholds):
                x = (x >= thresholds).astype(x.dtype)
            case _:
                raise ValueError(f"there is no such layer: {layer}")
    return x


def decouple_linear(w):
    """Return half the weights, twice over."""
    return decouple_flattened(w, len(w))


def decouple_conv(w):
    """Return half the kernels, twice over."""
    return concatenate([w, w], axis=2) / 2


def decouple_flattened(w, channels):
    """Return half the weights, twice over for each pixel."""
    pixels = w.reshape(-1, channels, w.shape[1])
    return concatenate([pixels, pixels], axis=1).reshape(-1, w.shape[1]) / 2


def decouple_norm_by_threshold(gamma, beta, mean, var):
    """Return every array twice over, and the thresholds."""
    thresholds = array([0.75] * len(beta) + [0.25] * len(beta), dtype=beta.dtype)
    return *(concatenate([a, a]) for a in (gamma, beta, mean, var)), thresholds


def decouple_norm_by_beta(gamma, beta, mean, var):
    """Return every array twice over, beta shifted."""
    return (
        *(concatenate([a, b]) for a, b in ((gamma, gamma), (beta - 0.25, beta + 0.25), (mean, mean), (var, var))),
    )


def coupled_backward(h, dy):
    """Return dy where the window is."""
    return dy * ((0 < h) & (h < 1))


GIVEN = {
    function.__name__: function
    for function in (
        decouple_linear,
        decouple_conv,
        decouple_flattened,
        decouple_norm_by_threshold,
        decouple_norm_by_beta,
        coupled_backward,
    )
}
LAYERS = [name for name in GIVEN if name.startswith("decouple_")]  # what a network is decoupled with


def quarters(rng, *shape):
    """Return multiples of ¼ from −1 to 1: with them every sum is exact, and thresholds are met."""
    return rng.integers(-4, 5, size=shape) / 4


def drawn_norm(rng, channels, exact=False):
    """Return a batch norm, with exact numbers or any."""
    if exact:
        gamma, var = rng.choice([-1.0, 0.5, 1.0], size=channels), rng.choice([0.25, 1.0, 4.0], size=channels)
        return ("norm", gamma, quarters(rng, channels), quarters(rng, channels), var)
    beta, mean = rng.normal(size=(2, channels))
    return ("norm", rng.normal(size=channels), beta, mean, rng.uniform(0.5, 2, size=channels))


@pytest.mark.task(1, points=4)
def test_activation(answers, rng):
    """All of copy 1 (fires at ¾) before all of copy 2 (fires at ¼), on the last axis, in the dtype of h."""
    for shape in ((5, 3), (2, 3, 4, 2)):
        h = rng.uniform(-0.5, 1.5, size=shape).astype("float32")
        expected = concatenate([h >= 0.75, h >= 0.25], axis=-1)
        a = answers.decoupled_activation(h)
        assert a.dtype == "float32"
        assert_array_equal(a, expected)


@pytest.mark.task(1, points=4)
def test_activation_at_its_thresholds(answers, rng):
    """The two copies at exactly ¼ and ¾, and one float beside them: x >= threshold fires, also in float32."""
    for dtype in ("float64", "float32"):
        thresholds = array([0.25, 0.75], dtype=dtype)
        h = rng.permutation([*nextafter(thresholds, -inf), *thresholds, *nextafter(thresholds, inf)])
        h = concatenate([rng.normal(size=3), h]).astype(dtype)[None]
        expected, mean = concatenate([h >= 0.75, h >= 0.25], axis=-1), ternary(h)
        a = answers.decoupled_activation(h)
        assert_array_equal(a, expected)
        assert_array_equal(0.5 * a[:, :9] + 0.5 * a[:, 9:], mean)


def drawn_thresholds(rng):
    """Return two thresholds in rising order."""
    low = float(rng.uniform(-1, 1))
    return low, low + float(rng.uniform(0.1, 1))


@pytest.mark.task(1, points=3)
def test_proof_of_what_is_true(answers, rng):
    """Where the identity holds there is no counterexample: an array of size 0."""
    low, high = drawn_thresholds(rng)
    found = answers.counterexamples(
        lambda h: 0.5 * (h >= low) + 0.5 * (h >= high),
        lambda h: h >= high,
        lambda h: 1.0 * (h >= low),
        [low, high],
    )
    assert len(found) == 0


@pytest.mark.task(1, points=4)
def test_counterexamples_at_ties(answers, rng):
    """A staircase that is wrong at a threshold alone is found out there, and only there."""
    low, high = drawn_thresholds(rng)
    for wrong, at in (
        (lambda h: 0.5 * (h > low) + 0.5 * (h >= high), low),
        (lambda h: 0.5 * (h >= low) + 0.5 * (h > high), high),
    ):
        found = answers.counterexamples(
            wrong, lambda h: 1.0 * (h >= high), lambda h: 1.0 * (h >= low), [high, low]
        )
        assert_array_equal(found, [at])


@pytest.mark.task(1, points=3)
def test_counterexamples_beside_ties(answers, rng):
    """The floats just below and just above each threshold are looked at, and what fails is returned rising."""
    low, high = drawn_thresholds(rng)
    above, below = nextafter(low, inf), nextafter(high, -inf)
    found = answers.counterexamples(
        lambda h: 0.5 * (h >= low) + 0.5 * (h >= high),
        lambda h: 1.0 * (h >= below),  # early just below high
        lambda h: 1.0 * (h > above),  # late at low and just above it
        [low, high],
    )
    assert_array_equal(found, [low, above, below])


@pytest.mark.task(2, points=4)
def test_linear(answers, rng):
    """Half the weights for each copy, all of copy 1 first, stacked along the inputs."""
    w, a1, a2 = rng.normal(size=(3, 4)), rng.normal(size=(5, 3)), rng.normal(size=(5, 3))
    expected = (a1 + a2) / 2 @ w
    doubled = answers.decouple_linear(w)
    assert doubled.shape == (6, 4)
    assert_allclose(concatenate([a1, a2], axis=1) @ doubled, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.task(2, points=5, given=["decouple_linear"])
def test_conv(answers, rng):
    """The third axis of the kernels doubles, the input channels, with half the weights for each copy."""
    w, a1, a2 = rng.normal(size=(3, 2, 4, 5)), rng.normal(size=(2, 5, 5, 4)), rng.normal(size=(2, 5, 5, 4))
    expected = run([("conv", w)], (a1 + a2) / 2)
    doubled = answers.decouple_conv(w)
    assert doubled.shape == (3, 2, 8, 5)
    assert_allclose(run([("conv", doubled)], concatenate([a1, a2], axis=-1)), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.task(2, points=7, given=["decouple_linear", "decouple_conv"])
def test_flattened(answers, rng):
    """Behind a flatten the copies alternate pixel by pixel: split the inputs into (pixels, channels) first."""
    w, a1, a2 = rng.normal(size=(2 * 3 * 4, 5)), rng.normal(size=(6, 2, 3, 4)), rng.normal(size=(6, 2, 3, 4))
    expected = ((a1 + a2) / 2).reshape(6, -1) @ w
    doubled = answers.decouple_flattened(w, 4)
    assert doubled.shape == (48, 5)
    flat = concatenate([a1, a2], axis=-1).reshape(6, -1)
    assert_allclose(flat @ doubled, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.task(3, points=5)
def test_norm_by_threshold(answers, rng):
    """Every array twice over, none of them shifted; then C thresholds of ¾ and C of ¼."""
    _, *arrays = drawn_norm(rng, 5)
    expected = [concatenate([a, a]) for a in arrays]
    *doubled, thresholds = answers.decouple_norm_by_threshold(*arrays)
    for new, old in zip(doubled, expected, strict=True):
        assert_array_equal(new, old)
    assert_array_equal(thresholds, [0.75] * 5 + [0.25] * 5)


@pytest.mark.task(3, points=3)
def test_norm_by_threshold_in_float32(answers, rng):
    """In float32 the arrays and thresholds stay float32, and the copies are the ternary activation bit for bit."""
    _, *arrays = (a if isinstance(a, str) else a.astype("float32") for a in drawn_norm(rng, 50))
    x = rng.normal(size=(40, 50)).astype("float32")
    expected = run([("norm", *arrays), ("ternary",)], x)
    *doubled, thresholds = answers.decouple_norm_by_threshold(*arrays)
    assert {a.dtype.name for a in (*doubled, thresholds)} == {"float32"}
    a = run([("replicate",), ("norm", *doubled), ("binary", thresholds)], x)
    assert_array_equal(0.5 * a[:, :50] + 0.5 * a[:, 50:], expected)


@pytest.mark.task(3, points=5, changes=True, given=["decouple_norm_by_threshold"])
def test_norm_by_beta(answers, rng):
    """The shift is beta − ¼ for copy 1 and beta + ¼ for copy 2: with the threshold ½ they fire at ¾ and ¼."""
    _, *arrays = drawn_norm(rng, 5, exact=True)
    x = rng.integers(-8, 9, size=(50, 5)) / 4
    h = run([("norm", *arrays)], x)
    doubled = answers.decouple_norm_by_beta(*arrays)
    a = run([("replicate",), ("norm", *doubled), ("binary", array([0.5] * 10))], x)
    assert_array_equal(a, concatenate([h >= 0.75, h >= 0.25], axis=1))


@pytest.mark.task(3, points=3, given=["decouple_norm_by_threshold"])
def test_norm_by_beta_moves_beta_alone(answers, rng):
    """Mean, variance and gamma are doubled as they are; beta alone is shifted, and the old one is left alone."""
    _, *arrays = drawn_norm(rng, 4)
    before = [a.copy() for a in arrays]
    gamma, beta, mean, var = answers.decouple_norm_by_beta(*arrays)
    for new, old in ((gamma, before[0]), (mean, before[2]), (var, before[3])):
        assert_array_equal(new, concatenate([old, old]))
    assert beta.shape == (8,)
    for array_now, old in zip(arrays, before):
        assert_array_equal(array_now, old)


def drawn_perceptron(rng, exact=False):
    """Return two hidden layers with ternary activations and a linear layer."""
    draw = quarters if exact else lambda rng, *shape: rng.normal(size=shape)
    return [
        ("linear", draw(rng, 6, 8)),
        drawn_norm(rng, 8, exact),
        ("ternary",),
        ("linear", draw(rng, 8, 4)),
        drawn_norm(rng, 4, exact),
        ("ternary",),
        ("linear", draw(rng, 4, 3)),
    ]


def drawn_conv_network(rng, exact=False):
    """Return a small VGG: conv, conv and pool, flatten, linear; its last hidden layer is a ReLU."""
    draw = quarters if exact else lambda rng, *shape: rng.normal(size=shape)
    return [
        ("conv", draw(rng, 3, 3, 2, 4)),
        drawn_norm(rng, 4, exact),
        ("ternary",),
        ("conv", draw(rng, 3, 3, 4, 3)),
        ("pool",),
        drawn_norm(rng, 3, exact),
        ("ternary",),
        ("flatten",),
        ("linear", draw(rng, 12, 5)),
        drawn_norm(rng, 5, exact),
        ("relu",),
        ("linear", draw(rng, 5, 3)),
    ]


def calibrated(rng, network, x):
    """Give the norms what they read for mean and variance: else channels may be saturated, and mistakes unseen."""
    for i, (kind, *_) in enumerate(network):
        if kind == "norm":
            z = run(network[:i], x)
            axes, channels = tuple(range(z.ndim - 1)), z.shape[-1]
            gamma = rng.uniform(0.4, 0.6, size=channels) * rng.choice([-1.0, 1.0], size=channels)
            network[i] = ("norm", gamma, rng.uniform(0.4, 0.6, size=channels), z.mean(axes), z.var(axes) + 1e-5)
    return network


def arrays_of(network):
    """Return copies of all arrays of a network."""
    return [a.copy() for _, *arrays in network for a in arrays]


def check_kinds(decoupled):
    """See that both ternary activations have become a replicate and a binary one."""
    kinds = [kind for kind, *_ in decoupled]
    assert "ternary" not in kinds, "a ternary activation is left"
    assert kinds.count("binary") == 2, (
        f"{kinds.count('binary')} binary activations, in the place of 2 ternary ones"
    )
    assert kinds.count("replicate") == 2, (
        f"{kinds.count('replicate')} replicates for 2 doubled norms: one stands right before each"
    )


@pytest.mark.task(4, points=6, given=LAYERS)
def test_perceptron(answers, rng):
    """A perceptron: ternary activations become binary, at ¾ and ¼, and the outputs stay what they were."""
    x = rng.normal(size=(20, 6))
    network = calibrated(rng, drawn_perceptron(rng), x)
    expected = run(network, x)
    decoupled = answers.decouple_network(network)
    check_kinds(decoupled)
    assert_allclose(run(decoupled, x), expected, rtol=1e-9, atol=1e-12)
    thresholds = [t for kind, *arrays in decoupled if kind == "binary" for t in arrays[0]]
    assert thresholds == [0.75] * 8 + [0.25] * 8 + [0.75] * 4 + [0.25] * 4


@pytest.mark.task(4, points=7, given=LAYERS)
def test_conv_network(answers, rng):
    """Convolutions, a pool before the norm, a flatten before the linear layer, a ReLU at the end."""
    x = rng.normal(size=(4, 8, 8, 2))
    network = calibrated(rng, drawn_conv_network(rng), x)
    expected = run(network, x)
    decoupled = answers.decouple_network(network)
    check_kinds(decoupled)
    assert_allclose(run(decoupled, x), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.task(4, points=5, given=LAYERS)
def test_network_at_ties(answers, rng):
    """With numbers that fall on thresholds again and again: not one output may differ, not by one bit."""
    for draw, shape in [(drawn_perceptron, (60, 6)), (drawn_conv_network, (8, 8, 8, 2))] * 3:
        network, x = draw(rng, exact=True), quarters(rng, *shape)
        before, h, expected = arrays_of(network), run(network[:2], x), run(network, x)
        assert ((h == 0.25) | (h == 0.75)).any()
        assert_array_equal(run(answers.decouple_network(network), x), expected)
        for now, old in zip(arrays_of(network), before, strict=True):
            assert_array_equal(now, old)


@pytest.mark.task(4, points=4, given=LAYERS)
def test_pool_after_the_activation(answers, rng):
    """A pool between activation and reader is kept; so are all layers that no ternary activation touches."""
    network = [
        ("conv", rng.normal(size=(3, 3, 2, 3))),
        drawn_norm(rng, 3),
        ("relu",),
        ("conv", rng.normal(size=(3, 3, 3, 4))),
        drawn_norm(rng, 4),
        ("ternary",),
        ("pool",),
        ("flatten",),
        ("linear", rng.normal(size=(16, 2))),
    ]
    x = rng.normal(size=(5, 8, 8, 2))
    network = calibrated(rng, network, x)
    expected, untouched = run(network, x), [kind for kind, *_ in network[:4]]
    decoupled = answers.decouple_network(network)
    assert [kind for kind, *_ in decoupled[:4]] == untouched
    assert "ternary" not in [kind for kind, *_ in decoupled]
    assert_allclose(run(decoupled, x), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.task(5, points=4)
def test_coupled_backward(answers, rng):
    """The ternary activation hands dy on where 0 < h < 1, and nothing at exactly 0 or 1."""
    h, dy = rng.uniform(-0.5, 1.5, size=(6, 5)), rng.normal(size=(6, 5))
    h[0, :2] = 0, 1
    expected = dy * ((0 < h) & (h < 1))
    assert_array_equal(answers.coupled_backward(h, dy), expected)


@pytest.mark.task(5, points=5, given=["coupled_backward"])
def test_decoupled_backward(answers, rng):
    """Copy 1 passes its own dy on from ¼ to 1¼, copy 2 its own from −¼ to ¾, and both add up."""
    for shape in ((30, 4), (3, 4, 4, 5)):
        h, dy1, dy2 = rng.uniform(-0.6, 1.6, size=shape), rng.normal(size=shape), rng.normal(size=shape)
        expected = dy1 * ((0.25 < h) & (h < 1.25)) + dy2 * ((-0.25 < h) & (h < 0.75))
        dh = answers.decoupled_backward(h, concatenate([dy1, dy2], axis=-1))
        assert_allclose(dh, expected, rtol=1e-12)


@pytest.mark.task(5, points=3, given=["coupled_backward"])
def test_decoupled_backward_at_the_ends(answers, rng):
    """At exactly −¼, ¼, ¾ and 1¼: the windows are open."""
    h, dy = array([[-0.25, 0.25, 0.75, 1.25]]), rng.normal(size=(1, 8))
    expected = [[0, float(dy[0, 5]), float(dy[0, 2]), 0]]
    assert_array_equal(answers.decoupled_backward(h, dy), expected)


def drawn_widths(rng):
    """Return the widths of three hidden layers, inputs and outputs, and the count of the decoupled perceptron."""
    widths = rng.integers(20, 90, size=3).tolist()
    inputs, classes = rng.integers(5, 60, size=2).tolist()

    def count(hidden):
        a, b, c = hidden
        return inputs * a + 2 * a * b + 2 * b * c + 2 * c * classes

    baseline = inputs * widths[0] + widths[0] * widths[1] + widths[1] * widths[2] + widths[2] * classes
    return widths, count, baseline


def fitting(widths, count, budget):
    """Return the widths over √2, the last the largest that keeps within the budget and its old width."""
    first = [math.isqrt(w * w // 2) for w in widths[:-1]]
    return first + [max(n for n in range(1, widths[-1] + 1) if count([*first, n]) <= budget)]


@pytest.mark.task(6, points=6)
def test_count_weights(answers, rng):
    """The sum of k² c oc over the layers, twice that where a layer's inputs are doubled."""
    for _ in range(3):
        channels, kernels = rng.integers(1, 50, size=6).tolist(), rng.integers(1, 6, size=5).tolist()
        doubled = (rng.random(5) < 0.5).tolist()
        expected = 0
        for i in range(5):
            expected += kernels[i] ** 2 * channels[i] * channels[i + 1] * (1 + doubled[i])
        assert answers.count_weights(channels, kernels, doubled) == expected


@pytest.mark.task(6, points=5)
def test_coupled_widths(answers, rng):
    """All widths over √2, rounded down to 1 or more; then the last as large as budget and old width allow."""
    for _ in range(3):
        widths, count, baseline = drawn_widths(rng)
        before, expected = list(widths), fitting(widths, count, baseline)
        assert list(answers.coupled_widths(widths, count, baseline)) == expected
        assert widths == before
        assert list(answers.coupled_widths(widths, count, 9 * baseline)) == [*expected[:-1], before[-1]]
        assert list(answers.coupled_widths(widths, count, count(expected))) == expected, "a budget may be used up"
    assert list(answers.coupled_widths([1, 9], sum, 99)) == [1, 9]


@pytest.mark.task(6, points=5)
def test_coupled_widths_of_a_tight_budget(answers, rng):
    """Where the widths over √2 cost too much the last one shrinks, until the budget is just kept."""
    widths, count, _ = drawn_widths(rng)
    start = [math.isqrt(w * w // 2) for w in widths]
    budget = count([*start[:-1], start[-1] - int(rng.integers(2, 9))]) + int(rng.integers(0, 3))
    expected = fitting(widths, count, budget)
    assert list(answers.coupled_widths(widths, count, budget)) == expected
