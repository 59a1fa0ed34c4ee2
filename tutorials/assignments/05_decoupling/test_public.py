"""Tests for you to run: `pytest test_public.py`, or one task by `-k task_3`. Grading uses other numbers."""

import answers
import numpy as np
from numpy import concatenate, einsum, maximum, sqrt
from numpy.lib.stride_tricks import sliding_window_view
from numpy.testing import assert_allclose, assert_array_equal


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


def test_task_1_activation():
    """Two channels; note the ties, and the order of the four columns."""
    h = np.array([[0.25, 0.75], [0.2, 0.7], [1.0, -1.0]])
    assert_array_equal(answers.decoupled_activation(h), [[0, 1, 1, 1], [0, 0, 0, 1], [1, 0, 1, 0]])


def test_task_1_the_identity_holds():
    """There is no counterexample: with your six points this is a proof."""
    found = answers.counterexamples(
        ternary, lambda h: 1.0 * (h >= 0.75), lambda h: 1.0 * (h >= 0.25), [0.25, 0.75]
    )
    assert len(found) == 0, "the identity holds, there is no counterexample"


def test_task_1_the_identity_fails_for_rounding():
    """NumPy rounds ½ to 0 and 1½ to 2, their even neighbours: of the two ties one comes out wrong."""
    found = answers.counterexamples(
        lambda h: np.round(2 * h) / 2, lambda h: 1.0 * (h >= 0.75), lambda h: 1.0 * (h >= 0.25), [0.75, 0.25]
    )
    assert_array_equal(found, [0.25])


def test_task_2_linear():
    """One input, two outputs."""
    assert_array_equal(answers.decouple_linear(np.array([[2.0, -4.0]])), [[1, -2], [1, -2]])


def test_task_2_conv():
    """A 1×1 kernel is a linear layer."""
    w = np.random.default_rng(0).normal(size=(1, 1, 3, 4))
    assert_array_equal(answers.decouple_conv(w)[0, 0], concatenate([w[0, 0] / 2, w[0, 0] / 2]))


def test_task_2_flattened():
    """Two pixels of two channels: pixel 1 copy 1, pixel 1 copy 2, pixel 2 copy 1, pixel 2 copy 2."""
    w = np.array([[2.0], [4.0], [6.0], [8.0]])
    assert_array_equal(answers.decouple_flattened(w, 2)[:, 0], [1, 2, 1, 2, 3, 4, 3, 4])


NORM = [np.array([2.0, -1.0]), np.array([0.5, 0.0]), np.array([1.0, 3.0]), np.array([4.0, 1.0])]


def test_task_3_norm_by_threshold():
    """All doubled, nothing shifted."""
    gamma, beta, mean, var, thresholds = answers.decouple_norm_by_threshold(*NORM)
    assert_array_equal(gamma, [2, -1, 2, -1])
    assert_array_equal(beta, [0.5, 0, 0.5, 0])
    assert_array_equal(mean, [1, 3, 1, 3])
    assert_array_equal(var, [4, 1, 4, 1])
    assert_array_equal(thresholds, [0.75, 0.75, 0.25, 0.25])


def test_task_3_norm_by_beta():
    """Copy 1 has to rise further."""
    gamma, beta, _, _ = answers.decouple_norm_by_beta(*NORM)
    assert_array_equal(gamma, [2, -1, 2, -1])
    assert_array_equal(beta, [0.25, -0.25, 0.75, 0.25])


def drawn_norm(rng, channels):
    """Return a random batch norm."""
    beta, mean = rng.normal(size=(2, channels))
    return ("norm", rng.normal(size=channels), beta, mean, rng.uniform(0.5, 2, size=channels))


def test_task_4_perceptron():
    """One hidden layer."""
    rng = np.random.default_rng(0)
    network = [
        ("linear", rng.normal(size=(4, 6))),
        drawn_norm(rng, 6),
        ("ternary",),
        ("linear", rng.normal(size=(6, 2))),
    ]
    decoupled = answers.decouple_network(network)
    assert [kind for kind, *_ in decoupled] == ["linear", "replicate", "norm", "binary", "linear"], (
        "replicate before the norm, binary for ternary"
    )
    x = rng.normal(size=(10, 4))
    assert_allclose(run(decoupled, x), run(network, x), rtol=1e-12)


def test_task_4_conv_network():
    """A pool, a flatten, and a ReLU whose batch norm stays single."""
    rng = np.random.default_rng(0)
    network = [
        ("conv", rng.normal(size=(3, 3, 1, 4))),
        ("pool",),
        drawn_norm(rng, 4),
        ("ternary",),
        ("flatten",),
        ("linear", rng.normal(size=(36, 5))),
        drawn_norm(rng, 5),
        ("relu",),
        ("linear", rng.normal(size=(5, 2))),
    ]
    decoupled = answers.decouple_network(network)
    assert [kind for kind, *_ in decoupled[:5]] == ["conv", "pool", "replicate", "norm", "binary"], (
        "replicate before the norm, not before the pool"
    )
    assert [kind for kind, *_ in decoupled[5:]] == ["flatten", "linear", "norm", "relu", "linear"], (
        "the norm before a ReLU stays single"
    )
    x = rng.normal(size=(3, 8, 8, 1))
    assert_allclose(run(decoupled, x), run(network, x), rtol=1e-12)


def test_task_5_coupled_backward():
    """The window (0, 1)."""
    h = np.array([[-0.1, 0.0, 0.5, 1.0]])
    assert_array_equal(answers.coupled_backward(h, np.array([[1.0, 2.0, 3.0, 4.0]])), [[0, 0, 3, 0]])


def test_task_5_decoupled_backward():
    """With half of dy for each copy: ½ on the flanks, 1 in the middle."""
    h = np.array([[-0.3], [-0.1], [0.5], [1.1], [1.3]])
    dh = answers.decoupled_backward(h, np.full((5, 2), 0.5))
    assert_array_equal(dh, [[0], [0.5], [1], [0.5], [0]])


VGG7 = [3, 64, 64, 128, 128, 512, 512, 10]  # images, seven layers
COUPLED = [3, 45, 45, 90, 90, 336, 512, 10]
KERNELS = [3, 3, 3, 3, 4, 1, 1]
DOUBLED = [False, True, True, True, True, True, False]  # what reads one of the five quantised activations


def test_task_6_count_weights():
    """BinaryDuo's VGG-7: baseline, coupled and decoupled."""
    assert answers.count_weights(VGG7, KERNELS, [False] * 7) == 1_575_616, "nothing doubled"
    assert answers.count_weights(COUPLED, KERNELS, [False] * 7) == 789_782, "nothing doubled, other widths"
    assert answers.count_weights(COUPLED, KERNELS, DOUBLED) == 1_573_229, (
        "twice the weights where the inputs are doubled"
    )


def test_task_6_coupled_widths():
    """The rule gives the widths of the published network, and 337 would be too many."""

    def count(widths):
        channels = [3, *widths, 512, 10]
        layers = zip(channels, channels[1:], KERNELS, DOUBLED)
        return sum(k * k * a * b * (1 + twice) for a, b, k, twice in layers)

    assert list(answers.coupled_widths(VGG7[1:6], count, 1_575_616)) == COUPLED[1:6], (
        "widths over the root of 2, the last fills the budget"
    )
    assert count([45, 45, 90, 90, 337]) > 1_575_616, "the next width is over the budget"
