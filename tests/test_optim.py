"""Each optimiser against its formula written out in NumPy, over several steps."""

import numpy as np
import pytest

from duonet import Parameter, backend, optim

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


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: optim.SGD([], 0.1), "SGD: the list of parameters is empty"),
        (lambda: optim.Adam([Parameter([1.0])], -1), "Adam: lr must not be negative, got -1"),
    ],
)
def test_bad_settings_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
