"""PCNN: projections of a latent kernel, the nearest levels, the projection loss."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from duonet import Tensor, check_gradients, check_quantizer, data, fit, nn, optim
from duonet.methods import PCNNWeights, Projections, projection_loss

C = np.array([[0.4, -1.2], [0, 0.7]])
SIGNS = np.array([[1.0, -1], [1, 1]])


def test_the_projection_loss_and_its_gradients():
    """With the paper's η = 0.1: the kernel is moved by the gradients of its projections first."""
    kernel = Tensor(C, requires_grad=True)
    factors = [Tensor(np.array(w), requires_grad=True) for w in (0.5, 1.5)]
    moves = [np.array([[1.0, 0], [-1, 2]]), np.array([[0.5, 1], [0, -1]])]
    loss = sum(projection_loss((kernel + Tensor(0.1 * d)) * w, SIGNS) * 0.3 for w, d in zip(factors, moves))
    assert float(loss.data) == pytest.approx(0.549844, abs=1e-6)
    loss.backward()
    np.testing.assert_allclose(kernel.grad, [[-0.25875, -0.2325], [-0.6075, -0.1275]])
    np.testing.assert_allclose([w.grad for w in factors], [-0.3735, 0.152625])


def test_the_nearest_of_four_levels_goes_up_at_a_tie():
    y = PCNNWeights(levels=(-1, -0.2, 0.2, 1))(Tensor(0.5 * C)).data
    np.testing.assert_allclose(y, [[0.2, -0.2], [0.2, 0.2]])  # −0.6 and 0 are ties


@settings(max_examples=30)
@given(
    arrays(np.float64, (4, 2), elements=st.floats(-2, 2, width=32)),
    st.lists(st.sampled_from([-1.5, -1.0, -0.25, 0.0, 0.5, 2.0]), min_size=2, max_size=5, unique=True).map(sorted),
)
def test_it_takes_the_nearest_level_and_its_penalty_is_the_distance(w, levels):
    q = PCNNWeights(2.0, tuple(levels)).astype("float64")
    y = q(Tensor(w, requires_grad=True)).data
    nearest = abs(w[..., None] - np.array(levels)).min(-1)
    np.testing.assert_allclose(abs(w - y), nearest, atol=1e-12)
    assert float(q.penalty().data) == pytest.approx((nearest**2).sum())


def layer(count, rng, **more):
    return nn.Linear(3, 4, rng=rng, weight_source=Projections(count), weight_quantizer=PCNNWeights(0.1), **more)


def test_one_projection_gives_the_signs_of_its_kernel(rng):
    one = layer(1, rng)
    source = one.weight_source
    source.projections.data[:] = [0.5, 1, 2, 3]
    np.testing.assert_array_equal(one.used_weight().data, np.where(source.kernel.data >= 0, 1, -1))
    np.testing.assert_array_equal(source().data, source.kernel.data * np.float32([[0.5, 1, 2, 3]]))


@pytest.mark.parametrize("count", [1, 2, 4])
def test_it_begins_with_the_signs_of_the_drawn_weight(count):
    drawn = nn.Linear(3, 4, rng=np.random.default_rng(0)).weight.data
    made = layer(count, np.random.default_rng(0)).used_weight().data
    np.testing.assert_array_equal(made, np.where(drawn >= 0, 1, -1))


@pytest.mark.parametrize("count", [1, 2])
def test_the_tasks_gradient_passes_inside_the_window(count, rng):
    taken = layer(count, rng, bias=False)
    source = taken.weight_source
    source.projections.data = (3 * rng.standard_normal(source.projections.shape)).astype(np.float32)
    dy = rng.standard_normal((3, 4), np.float32)
    taken.used_weight().backward(dy)
    kernel, parts = source.kernel.data, dy.reshape(3, count, -1).transpose(1, 0, 2)
    passed = parts * (abs(kernel * source.projections.data) <= 1)
    np.testing.assert_allclose(source.kernel.grad, (passed * source.projections.data).sum(0), rtol=1e-5)
    expected = passed * kernel
    np.testing.assert_allclose(
        source.projections.grad, expected.sum(1, keepdims=True) if count == 1 else expected, rtol=1e-5, atol=1e-6
    )


def test_the_loss_has_a_true_gradient(rng):
    target = rng.choice([-1.0, 1.0], (4, 3))
    check_gradients(lambda w: projection_loss(w, target), rng.standard_normal((4, 3)))


def test_fit_draws_kernel_and_projections_together(rng):
    toy = data.Dataset(rng.integers(0, 255, (32, 1, 1, 6)).astype(np.uint8), rng.integers(0, 4, 32))
    away = {}
    for strength in (0, 0.5):
        draws = np.random.default_rng(0)
        taken = nn.Linear(6, 4, rng=draws, weight_source=Projections(), weight_quantizer=PCNNWeights(strength))
        net = nn.Sequential(nn.Flatten(), taken, nn.BatchNorm(4))
        loader = data.DataLoader(toy, 8, data.Normalize.of(toy.images), rng=draws)
        fit(net, loader, optim.SGD(net.parameters(), 0.05), 4, progress=False)
        w = taken.weight_source().data
        away[strength] = ((w - np.where(w >= 0, 1, -1)) ** 2).sum()
        assert taken.weight_quantizer.penalty() is not None
        net.eval()(Tensor(np.zeros((1, 6), np.float32)))
        assert taken.weight_quantizer.penalty() is None
    assert away[0.5] < 0.5 * away[0]


def test_the_window_has_its_two_ends():
    w = Tensor([[-1.0], [1.0], [1.0001]], requires_grad=True)
    PCNNWeights()(w).sum().backward()
    np.testing.assert_array_equal(w.grad.ravel(), [1, 1, 0])


@pytest.mark.parametrize("quantizer", [PCNNWeights(), PCNNWeights(0.1, (-1, -0.2, 0.2, 1))], ids=repr)
def test_it_keeps_its_promises(quantizer, device):
    check_quantizer(quantizer)
    assert quantizer.two_valued == (len(quantizer.levels) == 2)


@pytest.mark.parametrize("make, message", [
    (lambda: Projections(0), "Projections: count must be an int at least 1, got 0"),
    (lambda: Projections(3).latent_shapes((2, 4)), "Projections: 4 outputs are no multiple of 3"),
    (lambda: PCNNWeights(-1), "PCNNWeights: strength must be a number at least 0, got -1"),
    (lambda: PCNNWeights(1, (0.5,)), r"PCNNWeights: levels must be at least two that rise, got \(0.5,\)"),
    (lambda: PCNNWeights(1, (1, 1)), r"PCNNWeights: levels must be at least two that rise, got \(1, 1\)"),
    (lambda: PCNNWeights(1, (0, np.nan)), r"PCNNWeights: levels\[1\] must be a finite number, got nan"),
    (lambda: PCNNWeights(1, 2), "PCNNWeights: levels must be a tuple of numbers, got 2"),
])  # fmt: skip
def test_bad_input_is_refused_in_a_sentence(make, message):
    with pytest.raises((ValueError, TypeError), match=f"^{message}"):
        make()
