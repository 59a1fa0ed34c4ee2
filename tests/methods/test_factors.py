"""Weights as products of factors, and the sign with a learned scale."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from duonet import Tensor, check_gradients, check_quantizer, load_model, nn, no_grad, save_checkpoint
from duonet.methods import Factors, LearnedScaleSign, Tucker


def layer(source, rng, shape=(3, 3, 4, 16), quantizer=None):
    if len(shape) == 2:
        return nn.Linear(*shape, rng=rng, weight_source=source, weight_quantizer=quantizer)
    return nn.Conv2d(*shape[2:], shape[0], rng=rng, weight_source=source, weight_quantizer=quantizer)


def drawn(shape):
    """The weight that a layer of that shape draws first."""
    return layer(None, np.random.default_rng(0), shape).weight.data


@pytest.mark.parametrize(
    "source, shape",
    [
        (Factors(1), (3, 3, 4, 16)),
        (Factors(1), (3, 5)),
        (Factors(0.7), (2, 3)),
        (Tucker((3, 3, 4, 16)), (3, 3, 4, 16)),
        (Tucker((3, 5)), (3, 5)),
        (Tucker((1, 1, 4, 3)), (1, 1, 4, 3)),
    ],
    ids=repr,
)
def test_full_rank_begins_with_the_drawn_weight_itself(source, shape):
    made = layer(source, np.random.default_rng(0), shape).used_weight().data
    assert made.shape == shape
    np.testing.assert_allclose(made, drawn(shape), atol=1e-5)


def test_a_lower_rank_is_the_best_one_and_keeps_more_signs_the_higher_it_is():
    rng = np.random.default_rng(0)
    w, kept = rng.standard_normal((36, 16)).astype(np.float32), []
    for rank in (4, 8, 12, 16):
        made = nn.Linear(36, 16, rng=rng, weight_source=Factors(rank / 16), init=lambda *_: w).used_weight().data
        u, s, v = np.linalg.svd(w, full_matrices=False)
        np.testing.assert_allclose(made, (u[:, :rank] * s[:rank]) @ v[:rank], atol=1e-5)
        kept.append(((made >= 0) == (w >= 0)).mean())
    np.testing.assert_allclose(kept, [0.7257, 0.8368, 0.9115, 1], atol=0.03)


def product(source, shape, rng):
    """A function of the latents, for the gradient check."""
    taken = layer(source, rng, shape).weight_source
    names = list(source.latent_shapes(shape))

    def function(*values):
        for name, value in zip(names, values):
            vars(taken)[name] = value
        return taken()

    return function, [rng.standard_normal(getattr(taken, name).shape) for name in names]


@pytest.mark.parametrize("source", [Factors(0.4), Tucker((2, 1, 3, 2))], ids=repr)
def test_gradients_of_the_factors_are_true_ones(source, rng):
    function, latents = product(source, (3, 3, 4, 5), rng)
    check_gradients(function, *latents)


def test_the_gradients_are_those_of_the_formula(rng):
    source = layer(Factors(0.4), rng, (6, 5)).weight_source
    dw = rng.standard_normal((6, 5), np.float32)
    source().backward(dw)
    np.testing.assert_allclose(source.left.grad, dw @ source.right.data.T, rtol=1e-5)
    np.testing.assert_allclose(source.right.grad, source.left.data.T @ dw, rtol=1e-5, atol=1e-7)


def test_tucker_is_the_core_times_a_factor_along_each_axis(rng):
    source = layer(Tucker((2, 3, 2, 4)), rng, (3, 3, 4, 5)).weight_source
    factors = [getattr(source, name).data for name in ("of_rows", "of_columns", "of_inputs", "of_outputs")]
    expected = np.einsum("abcd,ia,jb,kc,ld->ijkl", source.core.data, *factors)
    np.testing.assert_allclose(source().data, expected, atol=1e-6)


@settings(max_examples=20)
@given(st.integers(1, 5), st.integers(0, 100))
def test_the_rank_is_never_more_than_said(rank, seed):
    made = layer(Factors(rank / 5), np.random.default_rng(seed), (7, 5)).used_weight().data
    assert np.linalg.matrix_rank(made, tol=1e-4) == rank


def test_scales_of_a_layer_begin_at_the_mean_sizes_of_its_weights(rng, tmp_path):
    q = LearnedScaleSign()
    model = nn.Sequential(layer(Factors(0.4), rng, (6, 5), q))
    assert q.channels == 5
    with no_grad():
        w = model[0].weight_source().data
        np.testing.assert_allclose(q.scale.data, abs(w).mean(axis=0), rtol=1e-5)
        np.testing.assert_allclose(model[0].used_weight().data, np.where(w >= 0, 1, -1) * q.scale.data)
    q.scale.data[:] = [1, 2, 0, -1, 3]
    save_checkpoint(tmp_path / "a.npz", model.eval())
    x = Tensor(rng.standard_normal((4, 6), np.float32))
    twin = load_model(tmp_path / "a.npz")
    with no_grad():
        np.testing.assert_array_equal(twin(x).data, model(x).data)
        np.testing.assert_allclose(
            model(x).data, x.data @ model[0].used_weight().data + model[0].bias.data, atol=1e-5
        )
    model.reset_parameters(np.random.default_rng(1))
    assert (q.scale.data > 0).all() and q.scale.data.shape == (5,)


def test_gradients_of_weight_and_scale():
    q = LearnedScaleSign(2).astype("float64")
    q.scale.data[:] = [0.5, 2]
    w = Tensor(np.array([[0.5, -1.5], [-1, 0.25], [0.2, 0.8]]), requires_grad=True)
    dy = np.array([[1.0, 2], [-0.5, 1], [3, -2]])
    q(w).backward(dy)
    np.testing.assert_allclose(w.grad, [[0.5, 0], [-0.25, 2], [1.5, -4]])
    np.testing.assert_allclose(q.scale.grad, [4.5, -3])


@pytest.mark.parametrize("quantizer", [LearnedScaleSign(), LearnedScaleSign(4)], ids=["one", "four"])
def test_it_keeps_its_promises(quantizer, device):
    check_quantizer(quantizer)


@pytest.mark.parametrize("make, message", [
    (lambda: Factors(0), "Factors: share must be a number above 0 and at most 1, got 0"),
    (lambda: Factors(1.5), "Factors: share must be a number above 0 and at most 1, got 1.5"),
    (lambda: Tucker(3), r"Tucker: ranks must be a tuple of 2 or 4 ints, got 3"),
    (lambda: Tucker((1, 0)), r"Tucker: ranks\[1\] must be an int at least 1, got 0"),
    (lambda: Tucker((1, 2)).latent_shapes((3, 3, 4, 5)), r"Tucker: a weight of shape \(3, 3, 4, 5\) has no ranks \(1, 2\)"),
    (lambda: Tucker((1, 6)).latent_shapes((4, 5)), r"Tucker: a weight of shape \(4, 5\) has no ranks \(1, 6\)"),
    (lambda: LearnedScaleSign(-1), "LearnedScaleSign: channels must be an int at least 0, got -1"),
    (lambda: LearnedScaleSign(3)(Tensor(np.ones((2, 2)))), "LearnedScaleSign: it has scales for 3 channels, but w has 2"),
])  # fmt: skip
def test_bad_input_is_refused_in_a_sentence(make, message):
    with pytest.raises((ValueError, TypeError), match=f"^{message}"):
        make()
