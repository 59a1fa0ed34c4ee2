"""CBCN: kernels that are turned and cycled, their adjoint, the sign with a polynomial's gradient."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from duonet import Tensor, check_gradients, check_quantizer, nn
from duonet import functional as F
from duonet.methods import CBCNWeights, Circulant, turned
from duonet.methods.circulant import Circulate

PLANE = np.arange(1, 10).reshape(3, 3)


def test_a_plane_turns_clockwise_by_90_and_by_45_degrees():
    np.testing.assert_array_equal(turned(PLANE, 2), [[7, 4, 1], [8, 5, 2], [9, 6, 3]])
    np.testing.assert_array_equal(turned(PLANE, 1), [[4, 1, 2], [7, 5, 3], [8, 9, 6]])
    for eighths in range(-8, 9):
        np.testing.assert_array_equal(turned(turned(PLANE, eighths), -eighths), PLANE)
        np.testing.assert_array_equal(turned(turned(PLANE, eighths), 3), turned(PLANE, eighths + 3))
    np.testing.assert_array_equal(turned(np.arange(25).reshape(5, 5), 6), np.rot90(np.arange(25).reshape(5, 5)))


def test_four_copies_are_those_of_the_formula(rng):
    w = rng.standard_normal((3, 3, 2, 4, 5))
    made = Circulate.apply(Tensor(w.reshape(3, 3, 8, 5)), orientations=4).data.reshape(3, 3, 2, 4, 5, 4)
    for r in range(4):
        np.testing.assert_array_equal(made[..., r], np.roll(np.rot90(w, -r, axes=(0, 1)), r, axis=3))


SHAPES = st.sampled_from(
    [(4, (3, 3, 8, 2)), (2, (5, 5, 4, 3)), (8, (3, 3, 8, 2)), (8, (1, 1, 16, 1)), (4, (8, 3))]
)


@settings(max_examples=20)
@given(SHAPES, st.integers(0, 1000))
def test_backward_is_the_adjoint_and_sizes_stay(shape, seed):
    (orientations, latent), rng = shape, np.random.default_rng(seed)
    w = Tensor(rng.standard_normal(latent), requires_grad=True)
    y = Circulate.apply(w, orientations=orientations)
    dy = rng.standard_normal(y.shape)
    y.backward(dy)
    assert (y.data * dy).sum() == pytest.approx((w.data * w.grad).sum())
    assert abs(y.data).mean() == pytest.approx(abs(w.data).mean())
    assert y.shape == (*latent[:-1], latent[-1] * orientations)


def test_its_gradient_is_a_true_one(rng):
    check_gradients(lambda w: Circulate.apply(w, orientations=4), rng.standard_normal((3, 3, 4, 2)))


@pytest.mark.parametrize("orientations", [2, 4])
def test_a_turned_input_with_cycled_orientations_gives_turned_and_cycled_outputs(orientations, rng):
    conv = nn.Conv2d(
        8, 8, 3, rng=rng, padding=1, weight_source=Circulant(orientations), weight_quantizer=CBCNWeights()
    ).astype("float64")
    conv.weight_source.kernel.data = rng.integers(-4, 5, (3, 3, 8, 8 // orientations)) / 8.0
    conv.bias.data[:] = 0

    def turn(x):
        planes = np.moveaxis(turned(np.moveaxis(x, 0, -1), 8 // orientations), -1, 0)
        return np.roll(planes.reshape(*x.shape[:-1], -1, orientations), 1, axis=-1).reshape(x.shape)

    x = rng.choice([-1.0, 1.0], (2, 5, 5, 8))
    np.testing.assert_allclose(conv(Tensor(turn(x))).data, turn(conv(Tensor(x)).data), atol=1e-12)


def test_the_sign_has_the_polynomials_gradient_times_the_scale():
    w = Tensor(np.array([[0.5, -1.5], [-1, 0.25], [0.2, 0.8]]), requires_grad=True)
    y = CBCNWeights()(w)
    y.backward(np.array([[1.0, 2], [-0.5, 1], [3, -2]]))
    np.testing.assert_allclose(y.data, np.array([[1, -1], [-1, 1], [1, 1]]) * 4.25 / 6)
    np.testing.assert_allclose(w.grad, np.array([[1, 0], [0, 1.5], [4.8, -0.8]]) * 4.25 / 6)


def test_it_keeps_its_promises(device):
    check_quantizer(CBCNWeights())


@pytest.mark.parametrize("make, message", [
    (lambda: Circulant(3), "Circulant: orientations must be 2, 4 or 8, got 3"),
    (lambda: Circulant(1), "Circulant: orientations must be 2, 4 or 8, got 1"),
    (lambda: Circulant("4"), "Circulant: orientations must be an int, got str"),
    (lambda: Circulant(4).latent_shapes((3, 3, 6, 8)), "Circulant: 6 to 8 channels are no multiples of 4"),
    (lambda: Circulant(8).latent_shapes((5, 5, 8, 8)), "Circulant: only kernels of 3×3 turn by 45°, got 5×5"),
    (lambda: turned(np.ones((5, 5, 2)), 1), r"turned: expected w .* K = 3 or 1 for 1 eighths, got \(5, 5, 2\)"),
    (lambda: turned(np.ones((3, 2)), 2), r"turned: expected w \(K, K, \.\.\.\).*, got \(3, 2\)"),
    (lambda: CBCNWeights()(Tensor(np.ones((0, 3)))), r"CBCNWeights: polynomial_sign: w \(0, 3\) is empty"),
])  # fmt: skip
def test_bad_input_is_refused_in_a_sentence(make, message):
    with pytest.raises((ValueError, TypeError), match=f"^{message}"):
        make()


def test_a_convolution_uses_a_quarter_of_the_parameters_and_the_same_numbers(rng):
    conv = nn.Conv2d(4, 8, 3, rng=rng, weight_source=Circulant())
    kernel = conv.weight_source.kernel
    assert kernel.size * 4 == conv.used_weight().size
    x = Tensor(rng.standard_normal((1, 4, 4, 4), np.float32))
    np.testing.assert_array_equal(conv(x).data, F.conv2d(x, conv.used_weight(), conv.bias).data)
