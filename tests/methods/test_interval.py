"""QIL: known values and gradients, and what the interval does to them."""

import numpy as np
import pytest

from duonet import Tensor, load_model, nn, optim, save_checkpoint
from duonet.methods import QIL, QILWeights, find, qil_progressive

W = [-0.9, -0.6, -0.3, -0.1, 0, 0.2, 0.35, 0.5, 0.7, 1]


def run(q, x):
    x = Tensor(np.array(x, float), requires_grad=True)
    y = q.astype("float64")(x)
    y.sum().backward()
    return y.data, x.grad, {path: float(p.grad) for path, p in q.named_parameters()}


def at(q, **values):
    q.astype("float64")
    for name, value in values.items():
        getattr(q, name).data[...] = value
    return q


def test_activations_have_the_known_values():
    y, _, _ = run(QIL(2, 0.4, 0.3), [-0.5, 0, 0.1, 0.25, 0.39, 0.41, 0.55, 0.7, 2])
    np.testing.assert_allclose(y, [0, 0, 0, 1 / 3, 1 / 3, 2 / 3, 2 / 3, 1, 1])
    y, dx, learned = run(at(QIL(2), c=0.4, d=0.3), [0.2])
    assert dx[0] == pytest.approx(1.666667, abs=1e-6)
    assert learned == pytest.approx({"c": -1.666667, "d": 1.111111}, abs=1e-6)
    assert run(QIL(2, 0.4, 0.3), [-3, 5])[2] == {"c": 0, "d": 0}


def test_weights_have_the_known_values():
    np.testing.assert_array_equal(run(QILWeights(2, 0.4, 0.3), W)[0], [-1, -1, 0, 0, 0, 0, 0, 1, 1, 1])
    off = [w for w in W if w not in (-0.6, 0.2)]  # where 3 bits have a tie
    y = run(QILWeights(3, 0.4, 0.3), off)[0]
    np.testing.assert_allclose(y, [-1, -1 / 3, 0, 0, 1 / 3, 2 / 3, 1, 1])
    for gamma, known in (
        (1, (1.666667, {"c": -1.666667, "d": 1.111111, "gamma": -0.298627})),
        (0.5, (2.041241, {"c": -2.041241, "d": 1.360828, "gamma": -0.731483})),
    ):
        for sign in (1, -1):
            _, dw, learned = run(at(QILWeights(2), c=0.4, d=0.3, gamma=gamma), [0.2 * sign])
            assert dw[0] == pytest.approx(known[0], abs=1e-6)
            assert learned == pytest.approx({k: sign * v for k, v in known[1].items()}, abs=1e-6)


@pytest.mark.parametrize("gamma", [0.5, 1, 2])
def test_outside_the_interval_nothing_has_a_gradient(gamma):
    _, dw, learned = run(at(QILWeights(3), c=0.4, d=0.3, gamma=gamma), [-5, 0, 0.05, 3])
    assert not dw.any() and learned == pytest.approx({"c": 0, "d": 0, "gamma": 0}, abs=1e-12)


@pytest.mark.parametrize("bits", [2, 3, 5])
def test_weights_have_an_odd_number_of_levels_and_are_odd(bits, rng):
    w = rng.uniform(-2, 2, 5000)
    y = run(QILWeights(bits), w)[0]
    assert len(np.unique(y)) == 2**bits - 1
    np.testing.assert_array_equal(run(QILWeights(bits), -w)[0], -y)


def test_a_width_below_its_bound_is_held_and_comes_back():
    q = at(QIL(2), d=-1)
    y, _, learned = run(q, [0.4, 0.5 + 2**-12, 0.6])
    assert y[0] == 0 and y[2] == 1 and learned["d"] != 0


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: QIL(0), "QIL: bits must be"),
        (lambda: QIL(2, width=0), "QIL: width must be a number at least"),
        (lambda: QILWeights(1), "QILWeights: bits must be an int at least 2 and at most 8, got 1"),
        (lambda: QILWeights(2, width=-1), "QILWeights: width must be"),
        (lambda: QILWeights(2, power=0), "QILWeights: power must be"),
        (lambda: QILWeights(2, center=np.inf), "QILWeights: center must be a finite number, got inf"),
    ],
)
def test_bad_arguments_are_refused(make, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        make()


def test_in_a_layer_the_interval_of_weights_starts_at_their_largest_unless_a_number_says_otherwise(rng, tmp_path):
    free, told = QILWeights(2), QILWeights(2, center=0.3)
    model = nn.Sequential(
        nn.Linear(6, 5, rng=rng, weight_quantizer=free), nn.Linear(5, 2, rng=rng, weight_quantizer=told)
    )
    largest = [abs(layer.weight.data).max() / 2 for layer in (model[0], model[1])]
    np.testing.assert_allclose(
        [free.c.data, free.d.data, told.c.data, told.d.data], [*largest[:1] * 2, 0.3, largest[1]]
    )
    assert set(np.unique(model[0].used_weight().data)) == {-1, 0, 1}, "weights of 0.5 alone would all be 0"
    free.c.data[...] = 0.2
    save_checkpoint(tmp_path / "a.npz", model)
    assert float(load_model(tmp_path / "a.npz")[0].weight_quantizer.c.data) == np.float32(0.2)
    model.reset_parameters(np.random.default_rng(1))
    assert float(free.c.data) == pytest.approx(abs(model[0].weight.data).max() / 2)


@pytest.mark.parametrize("kind", [QIL, QILWeights])
def test_bits_follow_a_schedule_and_the_interval_stays(kind, tmp_path):
    q = kind(5, 0.4, 0.3, schedule=optim.Stages((5, 3, 2), (1, 2.5)))
    x = Tensor(np.linspace(0, 1, 101, dtype="float32")[:, None])
    for epochs, bits in ((0, 5), (1, 3), (2.4, 3), (2.5, 2), (9, 2)):
        q.c.data -= 0.01
        assert q.before_step(epochs) == {"bits": bits} and q.bits == bits
        plain = at(kind(bits), c=q.c.data, d=q.d.data).astype("float32")
        np.testing.assert_array_equal(q(x).data, plain(x).data)
        save_checkpoint(tmp_path / "a.npz", q)
        assert repr(load_model(tmp_path / "a.npz")) == repr(q) == f"{kind.__name__}({bits} bits)"
    assert kind(3).before_step(1) is None


def test_bits_of_a_schedule_that_a_method_does_not_have_are_refused():
    with pytest.raises(ValueError, match="^QILWeights: bits must be an int at least 2 and at most 8, got 1"):
        QILWeights(2, schedule=optim.Stages((1,), ())).before_step(0)
    with pytest.raises(TypeError, match="^QIL: bits must be an int .*, got float 2.5"):
        QIL(2, schedule=optim.Stages((2.5,), ())).before_step(0)
    with pytest.raises(ValueError, match="^qil_progressive: epochs must be a number above 0, got 0"):
        qil_progressive(0)
    with pytest.raises(TypeError, match="^QIL: schedule must be a Schedule, got int"):
        QIL(2, schedule=0)


def test_the_progressive_one_has_each_number_of_bits_for_a_quarter_of_the_training():
    q = find("qil-progressive").make(None, epochs=8)
    assert [q.before_step(epochs)["bits"] for epochs in (0, 1.9, 2, 3.9, 4, 5.9, 6, 7.9)] == [
        5,
        5,
        4,
        4,
        3,
        3,
        2,
        2,
    ]
