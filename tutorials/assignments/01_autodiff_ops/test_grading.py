"""The instructor's tests of assignment 1. Every case is drawn from `rng`."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

MAY_IMPORT = {"numpy"}
SHAPES = [((2, 3), (2, 3)), ((2, 3), (3,)), ((4, 1), (4, 5)), ((3, 1, 2), (4, 1)), ((2, 3), ()), ((1,), (2, 2))]


def forward_and_backward(answers, op, rng, *arrays, **options):
    """Run an op both ways with a random upstream gradient; return y, dy and the gradients."""
    ctx, before = answers.Context(), [array.copy() for array in arrays]
    y = op.forward(ctx, *arrays, **options)
    dy = rng.standard_normal(np.shape(y))
    upstream = dy.copy()
    gradients = op.backward(ctx, dy)
    assert isinstance(gradients, tuple) and len(gradients) == len(arrays), (
        "backward returns a tuple, one for each input"
    )
    for array, copy in zip((*arrays, dy), (*before, upstream)):
        assert_array_equal(array, copy, err_msg=f"{op.__name__} modified an array that it was given")
    for array, gradient in zip(arrays, gradients):
        assert np.shape(gradient) == array.shape, (
            f"a gradient has shape {np.shape(gradient)}, its input {array.shape}"
        )
    op.forward(answers.Context(), *(array + 1 for array in arrays), **options)
    for gradient, again in zip(gradients, op.backward(ctx, upstream)):
        assert_array_equal(
            again, gradient, err_msg=f"a second {op.__name__} changed what the first left on its ctx"
        )
    return y, dy, gradients


def slopes(function, x, step=1e-6):
    """Return the derivative of a number with respect to each element of x, by central differences."""
    result = np.zeros_like(x)
    for index in np.ndindex(x.shape):
        moved = np.zeros_like(x)
        moved[index] = step
        result[index] = (function(x + moved) - function(x - moved)) / (2 * step)
    return result


def unbroadcast(gradient, shape):
    """Return the gradient summed over the axes along which an input of this shape was broadcast."""
    missing = gradient.ndim - len(shape)
    axes = [i for i in range(gradient.ndim) if i < missing or shape[i - missing] == 1]
    return gradient.sum(tuple(axes), keepdims=True).reshape(shape)


GIVEN = {"unbroadcast": unbroadcast}


def softmax(logits):
    """Return the probabilities of each row, by the definition."""
    exponentials = np.exp(logits)
    return exponentials / exponentials.sum(axis=1, keepdims=True)


@pytest.mark.task(1, points=3)
def test_unbroadcast_sums_axes_that_the_input_does_not_have(answers, rng):
    """unbroadcast: a leading axis that the input lacks is summed away."""
    gradient = rng.standard_normal((2, 4, 3))
    assert_allclose(answers.unbroadcast(gradient, (3,)), gradient.sum((0, 1)))
    assert_allclose(answers.unbroadcast(gradient, (4, 3)), gradient.sum(0))


@pytest.mark.task(1, points=4)
def test_unbroadcast_sums_axes_of_length_one(answers, rng):
    """unbroadcast: an axis that the input has with length 1 is summed, and stays with length 1."""
    gradient = rng.standard_normal((2, 4, 3))
    assert_allclose(answers.unbroadcast(gradient, (2, 1, 3)), gradient.sum(1, keepdims=True))
    assert_allclose(answers.unbroadcast(gradient, (4, 1)), gradient.sum((0, 2))[:, None])


@pytest.mark.task(1, points=5, given=["unbroadcast"])
@pytest.mark.parametrize("shapes", SHAPES, ids=str)
def test_add(answers, rng, shapes):
    """Add: da and db are dy itself, each summed over the axes along which that input was broadcast."""
    a, b = (rng.standard_normal(shape) for shape in shapes)
    y, dy, (da, db) = forward_and_backward(answers, answers.Add, rng, a, b)
    assert_allclose(y, a + b)
    assert_allclose(da, slopes(lambda a: (dy * (a + b)).sum(), a), atol=1e-7)
    assert_allclose(db, slopes(lambda b: (dy * (a + b)).sum(), b), atol=1e-7)


@pytest.mark.task(1, points=6, given=["unbroadcast"])
@pytest.mark.parametrize("shapes", SHAPES, ids=str)
def test_mul(answers, rng, shapes):
    """Mul: da is dy times the other factor, db likewise; multiply first, then sum over broadcast axes."""
    a, b = (rng.standard_normal(shape) for shape in shapes)
    y, dy, (da, db) = forward_and_backward(answers, answers.Mul, rng, a, b)
    assert_allclose(y, a * b)
    assert_allclose(da, slopes(lambda a: (dy * a * b).sum(), a), atol=1e-7)
    assert_allclose(db, slopes(lambda b: (dy * a * b).sum(), b), atol=1e-7)


@pytest.mark.task(2, points=2)
def test_matmul_forward(answers, rng):
    """MatMul: y[n, o] is the sum over i of x[n, i] w[i, o]."""
    x, w = rng.standard_normal((4, 3)), rng.standard_normal((3, 5))
    assert_allclose(answers.MatMul.forward(answers.Context(), x, w), np.einsum("ni,io->no", x, w))


@pytest.mark.task(2, points=5)
@pytest.mark.parametrize("sizes", [(4, 3, 5), (3, 3, 3)], ids=str)
def test_matmul_dx(answers, rng, sizes):
    """MatMul: dx[n, i] is the sum over o of dy[n, o] w[i, o]."""
    n, i, o = sizes
    x, w = rng.standard_normal((n, i)), rng.standard_normal((i, o))
    _, dy, (dx, _) = forward_and_backward(answers, answers.MatMul, rng, x, w)
    assert_allclose(dx, np.einsum("no,io->ni", dy, w))


@pytest.mark.task(2, points=5)
@pytest.mark.parametrize("sizes", [(4, 3, 5), (3, 3, 3)], ids=str)
def test_matmul_dw(answers, rng, sizes):
    """MatMul: dw[i, o] is the sum over the batch n of x[n, i] dy[n, o]."""
    n, i, o = sizes
    x, w = rng.standard_normal((n, i)), rng.standard_normal((i, o))
    _, dy, (_, dw) = forward_and_backward(answers, answers.MatMul, rng, x, w)
    assert_allclose(dw, np.einsum("ni,no->io", x, dy))


@pytest.mark.task(3, points=5)
def test_exp(answers, rng):
    """Exp: the derivative of eˣ is eˣ, times dy."""
    x = rng.standard_normal((3, 4))
    y, dy, (dx,) = forward_and_backward(answers, answers.Exp, rng, x)
    assert_allclose(y, np.exp(x))
    assert_allclose(dx, dy * np.exp(x))


@pytest.mark.task(3, points=4)
def test_log(answers, rng):
    """Log: the derivative of ln x is 1 / x, times dy."""
    x = rng.uniform(0.1, 5, (3, 4))
    y, dy, (dx,) = forward_and_backward(answers, answers.Log, rng, x)
    assert_allclose(y, np.log(x))
    assert_allclose(dx, dy / x)


@pytest.mark.task(3, points=4)
def test_relu(answers, rng):
    """ReLU: dy passes where x > 0, and nothing passes where x < 0."""
    x = rng.standard_normal((5, 6))
    y, dy, (dx,) = forward_and_backward(answers, answers.ReLU, rng, x)
    assert_allclose(y, np.maximum(x, 0))
    assert_allclose(dx, np.where(x > 0, dy, 0))


@pytest.mark.task(3, points=3)
def test_relu_at_its_kink(answers, rng):
    """ReLU: where x is exactly 0, dx is 0."""
    x = rng.standard_normal((5, 6))
    x[rng.random(x.shape) < 0.5] = 0
    _, dy, (dx,) = forward_and_backward(answers, answers.ReLU, rng, x)
    assert_allclose(dx, np.where(x > 0, dy, 0))


@pytest.mark.task(4, points=3)
@pytest.mark.parametrize("axis", [0, 1, 2, -1, -2])
def test_max_forward(answers, rng, axis):
    """Max: y is the maximum along `axis`, and has one axis fewer than x."""
    x = rng.standard_normal((2, 5, 3))
    y = answers.Max.forward(answers.Context(), x, axis=axis)
    assert_array_equal(y, x.max(axis=axis))


@pytest.mark.task(4, points=6)
@pytest.mark.parametrize("axis", [0, 1, 2, -1, -2])
def test_max_backward(answers, rng, axis):
    """Max: dy goes to the position of the maximum along `axis`, and 0 to the others."""
    x = rng.standard_normal((4, 4, 4))  # equal lengths: a gradient spread along another axis has the right shape
    _, dy, (dx,) = forward_and_backward(answers, answers.Max, rng, x, axis=axis)
    expected = np.zeros_like(x)
    np.put_along_axis(expected, np.expand_dims(x.argmax(axis), axis), np.expand_dims(dy, axis), axis)
    assert_allclose(dx, expected)


@pytest.mark.task(4, points=7)
def test_max_backward_with_ties(answers, rng):
    """Max: if k elements tie for the maximum, each of them receives dy / k."""
    x = rng.integers(0, 2, (6, 5)) + rng.integers(-9, 9)
    x[0] = x[0, 0]  # all of them tie
    _, dy, (dx,) = forward_and_backward(answers, answers.Max, rng, x.astype(float), axis=1)
    for row, upstream, gradient in zip(x, dy, dx):
        winners = [i for i in range(5) if row[i] == max(row)]
        assert_allclose(gradient, [upstream / len(winners) if i in winners else 0 for i in range(5)])


@pytest.mark.task(5, points=5)
def test_cross_entropy_forward(answers, rng):
    """SoftmaxCrossEntropy: y is the mean over rows of minus the logarithm of the label's probability."""
    logits, labels = rng.standard_normal((6, 4)), rng.integers(0, 4, 6)
    y = answers.SoftmaxCrossEntropy.forward(answers.Context(), logits, labels=labels)
    assert np.shape(y) == ()
    assert_allclose(y, -np.mean([np.log(softmax(logits)[n, labels[n]]) for n in range(6)]))


@pytest.mark.task(5, points=7)
def test_cross_entropy_backward(answers, rng):
    """SoftmaxCrossEntropy: dlogits is dy (p − onehot) / N; check the sign, the 1 / N and the factor dy."""
    logits, labels = rng.standard_normal((6, 4)), rng.integers(0, 4, 6)
    _, dy, (dlogits,) = forward_and_backward(answers, answers.SoftmaxCrossEntropy, rng, logits, labels=labels)
    assert_allclose(dlogits, dy * (softmax(logits) - np.eye(4)[labels]) / 6)


@pytest.mark.task(5, points=6)
def test_cross_entropy_with_large_logits(answers, rng):
    """SoftmaxCrossEntropy: no overflow and no logarithm of 0 when logits are in the thousands."""
    logits, labels = rng.standard_normal((5, 4)), rng.integers(0, 4, 5)
    far = np.array([0.0, 1e4, -1e4, 0.0, 0.0])[:, None] + logits
    far[3, labels[3]] -= 5000  # a label whose probability is 0 in floating point
    y, dy, (dlogits,) = forward_and_backward(answers, answers.SoftmaxCrossEntropy, rng, far, labels=labels)
    expected = -np.log(softmax(logits)[range(5), labels])
    others = np.delete(logits[3], labels[3])
    expected[3] = np.log(np.exp(others).sum()) - far[3, labels[3]]
    assert_allclose(y, expected.mean(), rtol=1e-9)
    probabilities = softmax(logits)
    probabilities[3] = softmax(np.where(np.eye(4)[labels[3]] > 0, -800.0, logits[3])[None])
    assert_allclose(dlogits, dy * (probabilities - np.eye(4)[labels]) / 5, rtol=1e-9, atol=1e-12)


class Count:
    """An op of the tests: y = Σ factor · input, over its inputs. It counts how often its backward pass runs."""

    calls, most = 0, 40  # twice as many as there are ops in any graph

    @classmethod
    def forward(cls, ctx, *inputs, factors):
        """Return the weighted sum."""
        ctx.factors = factors
        return sum(factor * x for factor, x in zip(factors, inputs))

    @classmethod
    def backward(cls, ctx, dy):
        """Return each input's gradient; for a factor of 1 it is dy itself."""
        cls.calls += 1
        assert cls.calls <= cls.most, f"more than {cls.most} backward passes for 20 ops or fewer"
        return tuple(dy if factor == 1 else factor * dy for factor in ctx.factors)


@pytest.fixture
def combine(answers, monkeypatch):
    """Give a function that combines Tensors linearly by the op `Count`, counted from 0."""
    monkeypatch.setattr(Count, "calls", 0)
    return lambda *tensors, factors: answers.apply(Count, *tensors, factors=factors)


@pytest.mark.task(6, points=3)
def test_backward_through_a_chain(answers, rng, combine):
    """backward: along a chain, gradients multiply; each leaf receives its own."""
    f = rng.uniform(0.5, 2, 4)
    a, b = (answers.Tensor(rng.standard_normal(3)) for _ in range(2))
    y = combine(combine(a, factors=f[:1]), b, factors=f[1:3])
    dy = rng.standard_normal(3)
    answers.backward(combine(y, factors=f[3:]), dy)
    assert_allclose(a.grad, dy * f[3] * f[1] * f[0])
    assert_allclose(b.grad, dy * f[3] * f[2])


@pytest.mark.task(6, points=4)
def test_backward_adds_up_all_uses(answers, rng, combine):
    """backward: a tensor that is used more than once receives the sum of what its uses send back."""
    f = rng.uniform(0.5, 2, 6)
    x = answers.Tensor(rng.standard_normal(3))
    h = combine(x, x, factors=f[:2])
    dy = rng.standard_normal(3)
    answers.backward(combine(h, h, x, factors=f[2:5]), dy)
    assert_allclose(x.grad, dy * ((f[2] + f[3]) * (f[0] + f[1]) + f[4]))


@pytest.mark.task(6, points=4)
@pytest.mark.parametrize("long_way_first", [True, False])
def test_backward_waits_for_the_longest_way(answers, rng, combine, long_way_first):
    """backward: where a short and a long way lead to a tensor, its op has to wait for the long one."""
    f = rng.uniform(0.5, 2, 6)
    x = answers.Tensor(rng.standard_normal(3))
    h = combine(x, factors=f[:1])
    far = combine(combine(combine(h, factors=f[1:2]), factors=f[2:3]), factors=f[3:4])
    ways = (far, h) if long_way_first else (h, far)
    dy = rng.standard_normal(3)
    answers.backward(combine(*ways, factors=f[4:6] if long_way_first else f[5:3:-1]), dy)
    assert_allclose(x.grad, dy * f[0] * (f[1] * f[2] * f[3] * f[4] + f[5]))


@pytest.mark.task(6, points=4)
def test_backward_runs_each_op_once(answers, rng, combine):
    """backward: the number of backward passes is that of the ops, not that of the paths."""
    factors = rng.uniform(0.3, 0.7, (20, 2))
    x = answers.Tensor(rng.standard_normal(2))
    before, y = x, combine(x, factors=factors[0, :1])
    for pair in factors[1:]:  # each uses the last two: ten thousand paths lead back to x
        before, y = y, combine(y, before, factors=pair)
    dy = rng.standard_normal(2)
    answers.backward(y, dy)
    slope_before, slope = 1.0, factors[0, 0]
    for a, b in factors[1:]:
        slope_before, slope = slope, a * slope + b * slope_before
    assert Count.calls == 20, f"{Count.calls} backward passes for 20 ops"
    assert_allclose(x.grad, dy * slope)


# Built beside the submission: ten thousand calls from here would take long.
CHAIN = """
class Negate:
    def forward(ctx, x):
        return -x

    def backward(ctx, dy):
        return (-dy,)


def chain(apply, y, length):
    for _ in range(length):
        y = apply(Negate, y)
    return y
"""


@pytest.mark.task(6, points=3)
def test_backward_is_not_limited_by_recursion(answers, rng, bring):
    """backward: a chain of 5,000 ops is deeper than Python's recursion limit; keep a stack of your own."""
    x = answers.Tensor(rng.standard_normal(1))
    length = 5000 + int(rng.integers(2))
    y = bring(CHAIN).chain(answers.apply, x, length)
    dy = rng.standard_normal(1)
    expected = dy * (-1) ** length
    answers.backward(y, dy)
    assert_allclose(x.grad, expected)


@pytest.mark.task(6, points=2)
def test_backward_keeps_gradients_apart(answers, rng, combine):
    """backward: a second call adds to `grad`; no two leaves share an array, and dy stays what it was."""
    a, b = (answers.Tensor(rng.standard_normal(3)) for _ in range(2))
    dy = rng.standard_normal(3)
    upstream = dy.copy()
    answers.backward(combine(a, b, b, factors=(1, 1, 1)), dy)
    assert_array_equal(dy, upstream, err_msg="backward modified dy")
    assert_allclose(a.grad, upstream)
    assert_allclose(b.grad, 2 * upstream)
    assert not np.shares_memory(a.grad, dy), "a leaf's grad is dy itself"
    answers.backward(combine(a, a, factors=(1, 1)), dy)
    assert_allclose(a.grad, 3 * upstream)
    assert_allclose(b.grad, 2 * upstream)
