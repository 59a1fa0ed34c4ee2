import contextlib
import copy
import operator
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra.numpy import mutually_broadcastable_shapes

from duonet import Function, Parameter, Tensor, backend, nn, no_grad, optim, plain_ops
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
        (None, "pass one of shape .2,."),
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


def test_what_is_no_array_or_no_function_is_refused():
    x = Tensor([1.0], requires_grad=True)
    with pytest.raises(TypeError, match="Tensor: data must be an array, got list"):
        x.data = [2.0]
    with pytest.raises(TypeError, match="add_hook: hook must be callable, got int"):
        x.add_hook(3)
    assert x.item() == 1 and not x.hooks


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


def test_a_hook_on_a_leaf_runs_in_the_next_backward_pass_alone(device):
    x, seen = leaf(np.ones(2), device), []
    x.add_hook(seen.append)
    for _ in range(3):
        (x * 2).sum().backward()
    assert len(seen) == 1


def two_losses(change, device="cpu"):
    """A model's gradients of one loss, `change`, and the backward pass of another loss computed before."""
    rng = np.random.default_rng(0)
    model = nn.Sequential(nn.Linear(3, 4, rng=rng), nn.BatchNorm(4), nn.ReLU(), nn.Linear(4, 2, rng=rng)).to(
        device
    )
    x = Tensor(backend.to_device(np.eye(3, dtype="float32"), device))
    optimizer = optim.SGD(model.parameters(), 0.1)
    first, second = model(x).sum(), (model(x) * 2).sum()
    first.backward()
    before = [here(p.grad).copy() for p in model.parameters()]
    change(model, optimizer)
    return model, second, before


CHANGES = {
    "SGD": lambda model, optimizer: optimizer.step(),
    "Adam": lambda model, optimizer: optim.Adam(model.parameters()).step(),
    "-=": lambda model, optimizer: [setattr(p, "data", operator.isub(p.data, p.grad)) for p in model.parameters()],
    "one parameter": lambda model, optimizer: model.parameters()[-1].changed(),
    "detached": lambda model, optimizer: model.parameters()[0].detach().changed(),
    "reset": lambda model, optimizer: model.reset_parameters(np.random.default_rng(1)),
    "astype": lambda model, optimizer: model.astype("float64"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("plain", [True, False])
def test_a_parameter_changed_in_place_before_the_backward_pass_is_named(change, plain, device):
    with plain_ops() if plain else contextlib.nullcontext():
        model, loss, before = two_losses(change, device)
        after = [None if p.grad is None else here(p.grad).copy() for p in model.parameters()]
        message = "of (linear|batch_norm) was changed in place after the forward pass, as an optimiser's step does"
        with pytest.raises(RuntimeError, match=message):
            loss.backward()
        for a, p in zip(after, model.parameters()):  # nothing was added before the error
            assert (p.grad is None) if a is None else (here(p.grad) == a).all()


def test_what_replaces_a_parameter_leaves_the_gradients_of_what_was_computed():
    model, loss, before = two_losses(lambda *given: None)
    loss.backward()
    expected = [p.grad for p in model.parameters()]

    def load(model, optimizer):
        model.load_state_dict({path: array + 1 for path, array in model.state_dict().items()})

    model, loss, before = two_losses(load)
    loss.backward()
    for p, gradient in zip(model.parameters(), expected):
        np.testing.assert_array_equal(p.grad, gradient)


def test_a_step_that_writes_a_replaced_parameter_into_its_old_memory_is_seen(device):
    a, b = (Parameter(backend.to_device(np.array([1.0, 2.0], "float32"), device)) for _ in range(2))
    optimizer = optim.SGD([a, b], 0.1)
    loss = (a * a).sum()
    a.data = backend.to_device(np.array([5.0, 6.0], "float32"), device)
    b.grad = backend.to_device(np.ones(2, "float32"), device)
    optimizer.step()
    with pytest.raises(RuntimeError, match="of mul was changed in place"):
        loss.backward()


def test_a_change_behind_a_view_or_of_a_result_is_seen():
    w = Tensor(np.ones((2, 3)), requires_grad=True)
    y = (Tensor(np.ones((1, 2))) @ w.T.T).sum()
    w.data *= 2
    with pytest.raises(RuntimeError, match=r"b of shape \(2, 3\) of matmul was changed in place"):
        y.backward()
    h = F.exp(w)
    h.data *= 2
    with pytest.raises(RuntimeError, match="the result of exp was changed in place"):
        h.sum().backward()
    x = Tensor(np.ones(2))
    y = (x * w[:, 0]).sum()
    x.data += 1
    with pytest.raises(RuntimeError, match="a of shape .* of mul was changed in place"):
        y.backward()
    assert w.grad is None


VIEWS = {"no_grad": lambda w: w.T, "detached": lambda w: w.detach().reshape(3, 2)}


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
def test_a_step_is_seen_by_what_was_computed_from_a_view_outside_the_graph(view, device):
    w = Parameter(backend.to_device(np.ones((2, 3), "float32"), device))
    x = leaf(np.ones((1, 3), "float32"), device)
    optimizer = optim.SGD([w], 1.0)
    with no_grad():
        still = view(w)
    y = (x @ still).sum()
    w.grad = backend.to_device(np.ones((2, 3), "float32"), device)
    optimizer.step()
    with pytest.raises(RuntimeError, match=r"b of shape \(3, 2\) of matmul was changed in place"):
        y.backward()


def test_a_change_by_way_of_a_view_is_seen_and_one_of_a_copy_changes_nothing(device):
    x = leaf(np.ones(3, "float32"), device)
    square = (x * x).sum()
    x.reshape(3).data *= 2
    with pytest.raises(RuntimeError, match="of mul was changed in place"):
        square.backward()
    square = (x * x).sum()
    x[[0, 1, 2]].data *= 2
    square.backward()
    np.testing.assert_array_equal(here(x.grad), [4, 4, 4])


def test_shapes_that_do_not_broadcast_are_named_with_the_op(device):
    a, b = leaf(np.ones((2, 3)), device), leaf(np.ones(2), device)
    for op, name in ((F.add, "add"), (F.sub, "sub"), (F.mul, "mul"), (F.div, "div")):
        with pytest.raises(ValueError, match=rf"^{name}: shapes \(2, 3\) and \(2,\) do not broadcast$"):
            op(a, b)


@pytest.mark.parametrize("kind", [np.matrix, np.ma.array, list])
def test_new_data_are_looked_at_and_may_be_a_scalar_of_numpy(kind):
    w = Parameter(1.0)
    w.data = w.data * 2
    assert type(w.data) is np.ndarray and w.item() == 2
    with pytest.raises(TypeError, match="Parameter: data must be "):
        w.data = kind([[1.0, 2.0]])
    assert w.item() == 2


@pytest.mark.parametrize("nest", [lambda w: [w[0], w[1]], lambda w: ([0.0], [w[0]])])
def test_a_list_of_tensors_is_refused_as_their_history_would_be_lost(nest):
    with pytest.raises(TypeError, match="data holds a Tensor, and its history would be lost"):
        Tensor(nest(Parameter([1.0, 2.0])))


def test_running_averages_that_move_do_not_spoil_an_earlier_evaluation(rng):
    x = rng.standard_normal((6, 3)).astype("float32")
    gradients = []
    for train_between in (False, True):
        norm = nn.BatchNorm(3)
        y = norm.eval()(Tensor(x))
        if train_between:
            norm.train()(Tensor(x + 5))
        y.backward(x)
        gradients.append(norm.gamma.grad)
    np.testing.assert_array_equal(*gradients)


def test_iterating_looking_inside_and_formatting_are_as_in_numpy(device):
    x = leaf(np.array([[1.0, 2.0], [3.0, 4.0]]), device)
    assert [row.shape for row in x] == [(2,), (2,)] and 3.0 in x and 5.0 not in x
    sum(row.sum() for row in x).backward()
    np.testing.assert_array_equal(here(x.grad), np.ones((2, 2)))
    zero = leaf(2.7182, device)
    for use in (list, len, operator.index):
        with pytest.raises(TypeError):
            use(zero)
    assert f"{zero:.3f}" == "2.718" and f"{zero}" == str(zero) and int(zero) == 2
    with pytest.raises(ValueError, match="size 1"):
        f"{x:.3f}"
    assert "abcd"[Tensor(np.array(2))] == "c"


@pytest.mark.parametrize("copying", [copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_leaves_are_copied_without_hooks_and_results_not_at_all(copying):
    p = Parameter([1.0, 2.0])
    p.add_hook(print)
    (p * 1).sum().backward()
    p.add_hook(print)
    twin = copying(p)
    assert type(twin) is Parameter and twin.requires_grad and not twin.hooks and len(p.hooks) == 1
    np.testing.assert_array_equal(twin.data, p.data)
    np.testing.assert_array_equal(twin.grad, p.grad)
    with pytest.raises(TypeError, match="it is a result of mul; copy x.detach"):
        copying(p * 2)


def test_repr_and_conversions(device):
    x = Parameter(backend.to_device(np.array([1.0], "float32"), device))
    np.testing.assert_array_equal(np.asarray(x), [1.0])
    assert repr(x) == "Parameter([1.], dtype=float32, requires_grad=True)"
    assert float(x) == x.item() == 1 and len(x) == 1 and bool(x > 0)
    assert not x.detach().requires_grad
