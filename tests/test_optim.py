"""Each optimiser against its formula written out in NumPy, over several steps."""

import copy
import pickle

import numpy as np
import pytest

from duonet import Parameter, Tensor, backend, nn, optim, parallel

W0 = np.array([1.0, -2.0, 3.0])


def gradients(n=5):
    rng = np.random.default_rng(0)
    return [rng.standard_normal(3) for _ in range(n)]


def run(make, device):
    w = Parameter(backend.to_device(W0.copy(), device))
    optimizer = make([w])
    for g in gradients():
        w.grad = backend.to_device(g.copy(), device)
        optimizer.step()
        np.testing.assert_array_equal(backend.to_device(w.grad, "cpu"), g)
    return w.numpy()


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_sgd(nesterov, decay, device):
    w, v = W0.copy(), np.zeros(3)
    for g in gradients():
        g = g + decay * w
        v = 0.9 * v + g
        w = w - 0.1 * (g + 0.9 * v if nesterov else v)
    result = run(lambda p: optim.SGD(p, 0.1, 0.9, nesterov=nesterov, weight_decay=decay), device)
    np.testing.assert_allclose(result, w)


@pytest.mark.parametrize("kind", ["Adam", "AdamW"])
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_adam(kind, decay, device):
    w, m, v = W0.copy(), np.zeros(3), np.zeros(3)
    for t, g in enumerate(gradients(), 1):
        if kind == "Adam":
            g = g + decay * w
        else:
            w = w - 0.01 * decay * w
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        w = w - 0.01 * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
    result = run(lambda p: getattr(optim, kind)(p, 0.01, weight_decay=decay), device)
    np.testing.assert_allclose(result, w)


@pytest.mark.parametrize("kind", [optim.SGD, optim.Adam, optim.AdamW])
def test_float32_stays_float32_in_place_and_missing_gradients_are_passed_over(kind):
    a, b = Parameter([1.0]), Parameter([1.0])
    a.grad = np.array([1.0], "float32")
    optimizer = kind([a, b], 0.1)
    array = a.data
    optimizer.step()
    assert a.data is array and a.dtype == np.float32 and a.item() < 1 and b.item() == 1
    optimizer.zero_grad()
    assert a.grad is None


@pytest.mark.parametrize("kind", [optim.SGD, optim.Adam, optim.AdamW])
def test_they_find_the_bottom_of_a_bowl(kind):
    w = Parameter(np.array([3.0, -4.0]))
    optimizer = kind([w], 0.1)
    for t in range(400):
        optimizer.lr = 0.1 * optim.Cosine(400)(t)
        optimizer.zero_grad()
        (w * w).sum().backward()
        optimizer.step()
    assert np.abs(w.data).max() < 1e-2


def test_schedules():
    assert optim.Constant()(3) == 1
    assert [optim.StepDecay([2, 4])(t) for t in (0, 1.99, 2, 3.9)] == [1, 1, 0.1, 0.1]
    assert optim.StepDecay([2, 4], 0.5)(4) == 0.25
    cosine = optim.Cosine(8)
    assert cosine(0) == 1 and cosine(4) == pytest.approx(0.5) and cosine(8) == cosine(9) == 0
    assert [optim.Stages([3, 1], [2])(t) for t in (0, 1.99, 2, 9)] == [3, 3, 1, 1]
    assert [optim.Ramp(5, 1, 8)(t) for t in (0, 2, 8, 9)] == [5, 4, 1, 1]


def one():
    return Parameter([1.0])


@pytest.mark.parametrize("kind", [optim.SGD, optim.Adam, optim.AdamW])
@pytest.mark.parametrize(
    "parameters, message",
    [
        (lambda: [], "the list of parameters is empty"),
        (lambda: one(), r"parameters must be a list of Parameter, such as .*, got Parameter"),
        (lambda: {"w": one()}, "parameters must be a list of Parameter, such as .*, got dict"),
        (lambda: {one()}, "parameters must be a list of Parameter, such as .*, got set"),
        (lambda: nn.Sequential(nn.ReLU()), "parameters must be a list of Parameter, such as .*, got Sequential"),
        (lambda: None, "parameters must be a list of Parameter, such as .*, got NoneType"),
        (lambda: [one() * 2], r"parameters\[0\] must be a Parameter, got Tensor"),
        (lambda: [one(), Tensor([1.0])], r"parameters\[1\] must be a Parameter, got Tensor"),
        (lambda: [np.ones(2)], r"parameters\[0\] must be a Parameter, got ndarray"),
        (lambda: [one()] * 2, "parameters 0 and 1 are one Parameter; list it once"),
        (lambda: nn.BatchNorm(2).named_parameters(), r"parameters\[0\] must be a Parameter, got tuple"),
    ],
)
def test_what_is_no_list_of_parameters_is_refused(kind, parameters, message):
    with pytest.raises((TypeError, ValueError), match=f"^{kind.__name__}: {message}$"):
        kind(parameters(), 0.1)


def test_a_parameter_made_of_integers_is_refused_and_a_generator_is_not():
    w = one()
    w.data = np.array([1])
    with pytest.raises(TypeError, match=r"SGD: parameters\[0\] must be floating-point, got int64"):
        optim.SGD([w], 0.1)
    assert len(optim.SGD((p for p in [one(), one()]), 0.1).parameters) == 2


@pytest.mark.parametrize("kind", [optim.SGD, optim.Adam, optim.AdamW])
@pytest.mark.parametrize("value", [np.nan, np.inf, -1, True, "0.1", None, np.ones(1)])
@pytest.mark.parametrize("name", ["lr", "weight_decay"])
def test_rates_without_meaning_are_refused(kind, name, value):
    w = one()
    data = w.data
    with pytest.raises(
        (TypeError, ValueError), match=f"^{kind.__name__}: {name} must be a number at least 0, got "
    ):
        kind([w], **{"lr": 0.1, name: value})
    assert w.data is data


@pytest.mark.parametrize(
    "make, message",
    [
        (
            lambda: optim.SGD([one()], 0.1, momentum=5),
            "SGD: momentum must be a number at least 0 and below 1, got 5",
        ),
        (lambda: optim.SGD([one()], 0.1, nesterov="no"), "SGD: nesterov must be a bool, got str"),
        (lambda: optim.SGD([one()], 0.1, -0.5), "SGD: momentum must be .*, got -0.5"),
        (lambda: optim.Adam([one()], betas=(1, 0.999)), "Adam: betas must be a number .* below 1, got 1"),
        (lambda: optim.Adam([one()], betas=(0.9, np.nan)), "Adam: betas must be a number .*, got nan"),
        (lambda: optim.AdamW([one()], betas=0.9), "AdamW: betas must be two numbers, got 0.9"),
        (lambda: optim.AdamW([one()], betas=(0.9,) * 3), "AdamW: betas must be two numbers, got "),
        (lambda: optim.Adam([one()], eps=-1e-8), "Adam: eps must be a number at least 0, got -1e-08"),
        (lambda: optim.Ramp(1, np.inf, 3), "Ramp: end must be a finite number, got inf"),
        (lambda: optim.Stages([1, 2], [3, 4]), "Stages: expected rising times, one fewer than values, got"),
        (lambda: optim.Stages([1, 2, 3], [4, 4]), "Stages: expected rising times, one fewer than values, got"),
        (lambda: optim.Stages([1, np.nan], [4]), r"Stages: values\[1\] must be a finite number, got nan"),
        (lambda: optim.Ramp(1, 2, 0), "Ramp: total must be a number above 0, got 0"),
        (lambda: optim.Cosine(0), "Cosine: total must be a number above 0, got 0"),
        (lambda: optim.Cosine(np.nan), "Cosine: total must be a number above 0, got nan"),
        (lambda: optim.StepDecay([1, np.nan]), r"StepDecay: milestones\[1\] must be a number at least 0, got nan"),
        (lambda: optim.StepDecay([1], -0.1), "StepDecay: factor must be a number at least 0, got -0.1"),
    ],
)
def test_bad_settings_are_refused(make, message):
    with pytest.raises((TypeError, ValueError), match=f"^{message}"):
        make()


def test_a_learning_rate_without_meaning_is_refused_when_it_is_set():
    optimizer = optim.SGD([one()], 0.1)
    for value in (np.nan, -0.1):
        with pytest.raises(ValueError, match="SGD: lr must be a number at least 0, got"):
            optimizer.lr = value
    assert optimizer.lr == 0.1


@pytest.mark.parametrize("kind", [optim.Adam, optim.AdamW])
def test_a_parameter_that_joins_late_starts_like_any_other(kind, device):
    """The first step of Adam has length lr, however long the others have been trained."""
    early, late, last = (Parameter(backend.to_device(np.ones(3, "float32"), device)) for _ in range(3))
    optimizer = kind([early, late, last], 0.1, weight_decay=0)
    alone = Parameter(backend.to_device(np.ones(3, "float32"), device))
    for step in range(400):
        for parameter in (early, last) if step < 390 else (early, late, last):
            parameter.grad = backend.to_device(np.full(3, 0.5, "float32"), device)
        optimizer.step()
        if step == 390:
            np.testing.assert_allclose(late.numpy(), 0.9, rtol=1e-5)
    other = kind([alone], 0.1, weight_decay=0)
    for _ in range(10):
        alone.grad = backend.to_device(np.full(3, 0.5, "float32"), device)
        other.step()
    np.testing.assert_array_equal(late.numpy(), alone.numpy())
    np.testing.assert_array_equal(early.numpy(), last.numpy())
    assert optimizer.steps == [400, 10, 400]
    again = kind([Parameter(backend.to_device(np.ones(3, "float32"), device)) for _ in range(3)], 0.1)
    again.load_state_dict(optimizer.state_dict())
    assert again.steps == [400, 10, 400]
    with pytest.raises(ValueError, match="the state does not fit: steps must not be negative"):
        again.load_state_dict(optimizer.state_dict() | {"steps": np.array([1, -1, 1])})


@pytest.mark.parametrize("kind", [optim.SGD, optim.Adam, optim.AdamW])
def test_a_frozen_parameter_is_neither_decayed_nor_moved_by_its_momentum(kind):
    w = one()
    optimizer = kind([w], 0.1, weight_decay=0.5)
    w.grad = np.ones(1, "float32")
    optimizer.step()
    before, state = w.item(), optimizer.state_dict()
    optimizer.zero_grad()
    optimizer.step()
    assert w.item() == before
    assert all(np.array_equal(value, state[name]) for name, value in optimizer.state_dict().items())


@pytest.mark.parametrize("value", [np.array(np.nan), np.array(-1.0), np.array("1"), np.array(None)])
def test_a_state_with_a_learning_rate_without_meaning_changes_nothing(value):
    w = one()
    optimizer = optim.SGD([w], 0.1)
    w.grad = np.ones(1, "float32")
    optimizer.step()
    before = optimizer.state_dict()
    with pytest.raises(ValueError, match="SGD: "):
        optimizer.load_state_dict(before | {"steps": np.array([7]), "velocity.0": np.zeros(1), "lr": value})
    assert all(np.array_equal(v, before[k]) for k, v in optimizer.state_dict().items())


@pytest.mark.parametrize("kind", [optim.SGD, optim.Adam, optim.AdamW])
def test_only_parameters_with_a_gradient_move_whatever_their_neighbours(kind, device):
    parameters = [Parameter(backend.to_device(np.full(n, 1.0, "float32"), device)) for n in (3, 50, 1, 7, 7)]
    optimizer = kind(parameters, 0.1)
    for _ in range(2):
        for i in (1, 2, 4):
            parameters[i].grad = backend.to_device(np.ones(parameters[i].shape, "float32"), device)
        optimizer.step()
    moved = [bool((p.numpy() != 1).all()) for p in parameters]
    assert moved == [False, True, True, False, True]
    assert len({float(p.numpy()[0]) for p in parameters}) == 2


def test_parameters_of_two_dtypes_keep_theirs():
    a, b = Parameter(np.ones(3, "float32")), Parameter(np.ones(3, "float64"))
    optimizer = optim.SGD([a, b], 0.5)
    a.grad, b.grad = np.ones(3, "float32"), np.ones(3)
    optimizer.step()
    assert (a.dtype, b.dtype) == (np.float32, np.float64)
    assert a.data.tolist() == b.data.tolist() == [0.5] * 3
    assert [v.dtype for v in optimizer.velocity] == [np.float32, np.float64]


def test_data_replaced_from_outside_is_taken_in():
    a = Parameter([1.0])
    optimizer = optim.SGD([a], 0.5)
    a.data = np.array([8.0], "float32")
    a.grad = np.array([1.0], "float32")
    optimizer.step()
    assert a.item() == 7.5
    a.data = np.zeros(2, "float32")
    with pytest.raises(TypeError, match=r"SGD: a parameter was float32 of shape \(1,\) and is now .* \(2,\)"):
        optimizer.step()


def test_moving_the_model_after_making_the_optimiser_is_told(gpu):
    a = Parameter([1.0])
    optimizer = optim.SGD([a], 0.5)
    a.data = backend.to_device(a.data, gpu)
    with pytest.raises(
        TypeError, match="SGD: its state is on the cpu, a parameter on the gpu; make it after moving"
    ):
        optimizer.step()


def test_the_length_of_a_chunk_changes_no_bit(rng, monkeypatch):
    results = []
    for chunk_bytes in (1 << 8, 1 << 30):
        monkeypatch.setattr(parallel, "CHUNK_BYTES", chunk_bytes)
        parameters = [Parameter(np.ones(n, "float32")) for n in (1000, 37)]
        optimizer = optim.AdamW(parameters, 0.1)
        for p in parameters:
            p.grad = np.random.default_rng(0).standard_normal(p.shape).astype("float32")
        optimizer.step()
        results.append(np.concatenate([p.data for p in parameters]))
    np.testing.assert_array_equal(*results)


@pytest.mark.parametrize("again", [copy.deepcopy, lambda pair: pickle.loads(pickle.dumps(pair))])
@pytest.mark.parametrize("kind", [optim.SGD, optim.Adam, optim.AdamW])
def test_a_copy_of_model_and_optimiser_trains_like_the_first(kind, again, rng):
    model = nn.Linear(3, 2, rng=rng)
    optimizer = kind(model.parameters(), 0.1)

    def step(model, optimizer):
        for parameter in model.parameters():
            parameter.grad = np.full(parameter.shape, 0.5, "float32")
        optimizer.step()

    step(model, optimizer)
    model2, optimizer2 = again((model, optimizer))
    for pair in ((model, optimizer), (model2, optimizer2)):
        step(*pair)
    for a, b in zip(model.parameters(), model2.parameters()):
        assert not np.shares_memory(a.data, b.data)
        np.testing.assert_array_equal(a.data, b.data)
    state, state2 = optimizer.state_dict(), optimizer2.state_dict()
    assert all(np.array_equal(state[name], state2[name]) for name in state) and len(state) > 2


def test_a_gradient_of_another_shape_is_refused_and_nothing_counted():
    a = Parameter(np.zeros((2, 3), "float32"))
    optimizer = optim.SGD([a], 0.1)
    a.grad = np.ones((3, 2), "float32")
    with pytest.raises(
        ValueError, match=r"SGD: a parameter is float32 of shape \(2, 3\), its gradient .* \(3, 2\)"
    ):
        optimizer.step()
    assert optimizer.steps == [0] and not a.data.any()


@pytest.mark.parametrize(
    "make", [lambda p: optim.SGD(p, 1e-3), optim.Adam, optim.AdamW], ids=["SGD", "Adam", "AdamW"]
)
def test_float16_is_updated_in_float32(make, device):
    """In 11 bits 1e-4 squared is 0 and 0.999 almost 1, so that steps would be infinite, and 0 / 0 not a number."""
    results = {}
    for dtype in ("float16", "float32"):
        w = Parameter(backend.to_device(np.array([1.0, 1.0, 1.0], dtype), device))
        optimizer = make([w])
        for _ in range(3):
            w.grad = backend.to_device(np.array([1e-4, 0, 1], "float16").astype(dtype), device)
            optimizer.step()
        assert w.dtype == dtype
        results[dtype] = w.numpy()
        again = make([w])
        again.load_state_dict(optimizer.state_dict())
    np.testing.assert_allclose(results["float16"], results["float32"], rtol=2e-3)


GRADIENTS = {
    "complex": np.ones(2, "complex64"),
    "beyond float32": np.array([1e300, 1.0]),
    "integers": np.array([1, 2]),
    "masked": np.ma.array([1.0, 2.0], mask=[True, False], dtype="float32"),
    "a list": [1.0, 2.0],
    "one for all": np.ones(1, "float32"),
}


@pytest.mark.parametrize("gradient", GRADIENTS.values(), ids=GRADIENTS)
def test_a_gradient_of_another_kind_is_refused_and_changes_nothing(gradient):
    a, b = Parameter([1.0, 2.0]), Parameter([1.0, 2.0])
    optimizer = optim.Adam([a, b])
    a.grad, b.grad = np.ones(2, "float32"), gradient
    with pytest.raises((TypeError, ValueError), match="Adam: a (gradient must be|parameter is float32 of shape)"):
        optimizer.step()
    assert a.data.tolist() == [1, 2] and optimizer.steps == [0, 0]
