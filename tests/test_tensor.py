import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra.numpy import mutually_broadcastable_shapes

from duonet import Function, Parameter, Tensor, backend, no_grad
from duonet import functional as F


class Broken(Function):
    """Lets a test say what backward returns."""

    answer = None

    @staticmethod
    def forward(ctx, x, w):
        return x * w

    @staticmethod
    def backward(ctx, dy):
        return Broken.answer(dy)


def leaf(value, device="cpu"):
    return Tensor(backend.to_device(np.array(value), device), requires_grad=True)


def here(array):
    return backend.to_device(array, "cpu")


def test_python_numbers_become_float32_and_arrays_keep_their_dtype():
    assert Tensor([1, 2]).dtype == Tensor(1.5).dtype == np.float32
    assert Tensor(np.ones(2)).dtype == np.float64
    assert Tensor(np.arange(2)).dtype == np.int64
    array = np.ones(2)
    assert Tensor(array).data is array


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: Tensor(np.arange(3), requires_grad=True), "a gradient needs floating-point data, got int64"),
        (lambda: Tensor(["a"]), "data must be numbers"),
        (lambda: Tensor(Tensor([1.0])), "data is a Tensor already"),
        (lambda: Tensor([1 + 2j]), "data must be numbers .*, got complex128"),
        (lambda: Tensor(None), "data must be numbers .*, got object"),
    ],
)
def test_tensors_that_make_no_sense_are_refused(make, message):
    with pytest.raises(TypeError, match=message):
        make()


@pytest.mark.parametrize("data", [1e39, [1.0, -1e300], [[1], [2, 3]]])
def test_numbers_that_no_float32_array_holds_are_refused(data):
    with pytest.raises(ValueError, match="Tensor: data "):
        Tensor(data)
    assert np.isinf(Tensor([np.inf]).data).all() and np.isnan(Tensor(np.nan).data)


def test_zero_dimensional_results_stay_arrays(device):
    x = leaf(2.0, device)
    y = (x * x).sum() + 1
    assert backend.is_array(y.data) and y.shape == ()
    y.backward()
    assert backend.is_array(x.grad) and x.grad == 4
    (x * 1).backward()
    assert backend.is_array(x.grad) and x.grad == 5


def test_ten_thousand_chained_ops_neither_recurse_nor_crawl():
    x = leaf(1.0)
    y = x
    for _ in range(10_000):
        y = y + 0.5
    y.backward()
    assert x.grad == 1
    del y


def test_doubling_forty_times_visits_each_node_once():
    x = leaf(1.0)
    y = x
    visits = []
    for _ in range(40):
        y = y + y
        y.add_hook(visits.append)
    y.backward()
    assert x.grad == 2.0**40 and len(visits) == 40, "there are 2^40 paths, but 40 nodes"


def test_gradients_accumulate_until_zero_grad(device):
    x = leaf(np.ones(3), device)
    (x * 2).sum().backward()
    first = x.grad
    (x * 3).sum().backward()
    np.testing.assert_array_equal(here(x.grad), [5, 5, 5])
    np.testing.assert_array_equal(here(first), [2, 2, 2])
    x.zero_grad()
    assert x.grad is None


def test_leaves_never_share_a_gradient_array(device):
    a, b = (leaf(np.ones(3), device) for _ in range(2))
    dy = backend.to_device(np.ones(3), device)
    (a + b).backward(dy)
    a.grad += 1
    np.testing.assert_array_equal(here(b.grad), [1, 1, 1])
    np.testing.assert_array_equal(here(dy), [1, 1, 1])


def test_a_node_used_twice_gets_the_sum_and_neither_branch_is_spoilt():
    x = Tensor(np.ones(2), requires_grad=True)
    h = x * 3
    seen = []
    h.add_hook(seen.append)
    (h * h + h).sum().backward()
    np.testing.assert_array_equal(seen, [[7, 7]])
    np.testing.assert_array_equal(x.grad, [21, 21])


@given(mutually_broadcastable_shapes(num_shapes=2, max_dims=4, max_side=3))
def test_a_broadcast_inputs_gradient_is_summed_to_its_shape(shapes):
    a, b = (Tensor(np.ones(shape), requires_grad=True) for shape in shapes.input_shapes)
    y = a * b
    y.backward(np.ones(y.shape))
    for x in (a, b):
        assert x.grad.shape == x.shape and (x.grad == y.size / max(x.size, 1)).all()


def test_backward_twice_says_why_it_cannot():
    x = Tensor(np.ones(2), requires_grad=True)
    y = F.exp(x).sum()
    y.backward()
    with pytest.raises(RuntimeError, match="an earlier backward pass went through this sum and freed"):
        y.backward()
    np.testing.assert_allclose(x.grad, np.e)


def test_a_freed_shared_part_is_refused_before_anything_changes():
    x = Tensor(np.ones(2), requires_grad=True)
    h = F.exp(x)
    h.sum().backward()
    before = x.grad.copy()
    with pytest.raises(RuntimeError, match="this exp"):
        (x * 2 + h).sum().backward()
    np.testing.assert_array_equal(x.grad, before)


def test_the_graph_lets_go_of_its_arrays():
    x = Tensor(np.ones(2), requires_grad=True)
    y = x * x
    node = y._node
    y.sum().backward()
    assert node.parents is None and not hasattr(node, "a")


@pytest.mark.parametrize(
    "dy, message",
    [
        (None, "a tensor of shape .2,. needs its gradient"),
        (np.ones(3), r"dy must be float64 of shape \(2,\), got float64 of shape \(3,\)"),
        (np.ones(2, "float32"), "got float32 of shape"),
        ([1.0, 1.0], "got list"),
    ],
)
def test_a_wrong_upstream_gradient_is_refused(dy, message):
    y = Tensor(np.ones(2), requires_grad=True) * 2
    with pytest.raises(ValueError, match=message):
        y.backward(dy)


def test_backward_without_anything_to_differentiate_is_refused():
    with pytest.raises(RuntimeError, match="does not depend on anything that requires a gradient"):
        Tensor([1.0]).sum().backward()
    with pytest.raises(RuntimeError, match="does not require a gradient"):
        Tensor([1.0]).add_hook(print)


def test_no_grad_leaves_no_graph_even_after_an_error():
    x = Tensor([1.0], requires_grad=True)
    with pytest.raises(ZeroDivisionError), no_grad():
        assert not (x * 2).requires_grad
        raise ZeroDivisionError
    assert (x * 2).requires_grad


@pytest.mark.parametrize(
    "answer, message",
    [
        (lambda dy: dy, "broken: backward returned 1 gradients for 2 inputs"),
        (lambda dy: (dy, None), "broken: backward returned no gradient for w"),
        (
            lambda dy: (dy, dy[:1]),
            r"broken: backward returned float64 of shape \(1, 3\) for w, which is .* \(2, 3\)",
        ),
        (lambda dy: (dy.T, dy), r"broken: backward returned float64 of shape \(3, 2\) for x"),
        (lambda dy: (dy.astype("float32"), dy), "broken: backward returned float32"),
    ],
)
def test_a_backward_that_breaks_its_word_is_named(answer, message):
    Broken.answer = staticmethod(answer)
    x, w = (Tensor(np.ones((2, 3)), requires_grad=True) for _ in range(2))
    with pytest.raises(RuntimeError, match=message):
        Broken.apply(x, w).sum().backward()


def test_a_gradient_that_nobody_needs_may_be_left_out():
    Broken.answer = staticmethod(lambda dy: (dy, None))
    x = Tensor(np.ones((2, 3)), requires_grad=True)
    Broken.apply(x, np.ones((2, 3))).sum().backward()
    np.testing.assert_array_equal(x.grad, np.ones((2, 3)))


def test_arrays_on_the_left_ask_the_tensor():
    x = Tensor([1.0, 2.0], requires_grad=True)
    y = np.array([3.0, 4.0], "float32") * x
    assert isinstance(y, Tensor) and y.requires_grad
    np.testing.assert_array_equal(np.asarray(y), [3, 8])


def test_repr_and_conversions(device):
    x = Parameter(backend.to_device(np.array([1.0], "float32"), device))
    np.testing.assert_array_equal(np.asarray(x), [1.0])
    assert repr(x) == "Parameter([1.], dtype=float32, requires_grad=True)"
    assert float(x) == x.item() == 1 and len(x) == 1 and bool(x > 0)
    assert not x.detach().requires_grad
