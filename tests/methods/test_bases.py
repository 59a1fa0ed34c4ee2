"""ABC-Net's and LQ-Nets' activations: known values, and a basis that follows the data."""

import numpy as np
import pytest

from duonet import Tensor
from duonet.methods import ABCNet, LQNets
from duonet.quant import Ternary


def run(q, x):
    x = Tensor(np.array(x, float), requires_grad=True)
    y = q.astype("float64")(x)
    y.sum().backward()
    return y.data, x.grad


def set_to(q, **values):
    q.astype("float64")
    for name, value in values.items():
        getattr(q, name).data[...] = np.reshape(value, (-1, 1))
    return q


def test_abc_net_has_the_known_values():
    q = set_to(ABCNet(2), shifts=(0, 0.3), heights=(1, 0.5))
    y, dx = run(q, [-0.5, 0.2, 0.4, 0.6, 0.9, 2])
    np.testing.assert_allclose(y, [-1.5, -0.5, -0.5, 1.5, 1.5, 1.5])
    np.testing.assert_allclose(dx, [0, 1.5, 1.5, 1.5, 1, 0])
    np.testing.assert_allclose(q.shifts.grad.ravel(), [4, 1.5])
    np.testing.assert_allclose(q.heights.grad.ravel(), [0, 4])


def test_two_bases_are_binaryduos_ternary_activation(rng):
    x = rng.uniform(-1, 2, 1000)
    y, _ = run(set_to(ABCNet(2), shifts=(0.25, -0.25), heights=(0.25, 0.25)), x)
    np.testing.assert_array_equal(y + 0.5, Ternary()(x))


@pytest.mark.parametrize("bases", [1, 2, 3, 5])
def test_abc_net_has_a_level_more_than_bases(bases, rng):
    y, _ = run(ABCNet(bases), rng.uniform(-1, 2, 1000))
    assert len(np.unique(y.round(9))) == bases + 1 and 2 ** ABCNet(bases).bits >= bases + 1


def test_lq_nets_has_the_known_values():
    np.testing.assert_allclose(LQNets(2).basis.data.ravel(), [0.449667, 0.899333], atol=1e-6)
    y, dx = run(set_to(LQNets(2).eval(), basis=(0.45, 0.9)), [0, 0.2, 0.3, 0.7, 1.2, 1.5])
    np.testing.assert_allclose(y, [0, 0, 0.45, 0.9, 1.35, 1.35])
    np.testing.assert_array_equal(dx, [0, 1, 1, 1, 1, 0])


def test_lq_nets_moves_a_tenth_of_the_way_to_least_squares(rng):
    x = np.abs(rng.standard_normal((500, 3)))
    q = set_to(LQNets(2), basis=(0.45, 0.9))
    run(q, x)
    codes = np.array([[0, 0], [1, 0], [0, 1], [1, 1]])[np.searchsorted([0.225, 0.675, 1.125], x.ravel(), "right")]
    best = np.linalg.lstsq(codes, x.ravel(), rcond=None)[0]
    np.testing.assert_allclose(q.basis.data.ravel(), 0.9 * np.array([0.45, 0.9]) + 0.1 * best, atol=1e-6)
    before = q.basis.data.copy()
    run(q.eval(), x)
    np.testing.assert_array_equal(q.basis.data, before)


@pytest.mark.parametrize("bits", [1, 2, 3])
def test_the_error_never_rises_while_the_basis_follows_one_batch(bits, rng):
    x, q = np.abs(rng.standard_normal(4000)), LQNets(bits)
    errors = [((run(q, x)[0] - x) ** 2).mean() for _ in range(30)]
    assert all(b <= a + 1e-6 for a, b in zip(errors, errors[1:])) and errors[-1] < errors[0]


def test_a_component_may_be_negative_and_equal_ones_make_fewer_levels(rng):
    x = rng.uniform(-1, 2, 500)
    for basis, levels in (((-0.2, 1.0), [-0.2, 0, 0.8, 1]), ((0.5, 0.5), [0, 0.5, 1])):
        q = set_to(LQNets(2), basis=basis)
        np.testing.assert_allclose(np.unique(run(q, x)[0]), levels)
        assert np.isfinite(q.basis.data).all()


def test_a_batch_of_zeros_leaves_the_basis_where_it_is():
    q = set_to(LQNets(2), basis=(0.45, 0.9))
    run(q, [0, 0, -1])
    np.testing.assert_allclose(q.basis.data.ravel(), [0.45, 0.9])


def test_the_basis_can_start_again(rng):
    q = LQNets(2)
    q(Tensor(np.abs(rng.standard_normal((50, 2), dtype="float32"))))
    q.reset_parameters(rng)
    np.testing.assert_array_equal(q.basis.data, LQNets(2).basis.data)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: ABCNet(0), "ABCNet: bases must be an int at least 1 and at most 15, got 0"),
        (lambda: LQNets(0), "LQNets: bits must be an int at least 1 and at most 4, got 0"),
        (lambda: run(set_to(LQNets(2), basis=(0, 0)), [1.0]), r"LQNets: the basis \[0.0, 0.0\] has degenerated"),
        (lambda: run(set_to(LQNets(1), basis=(-1,)), [1.0]), r"LQNets: the basis \[-1.0\] has degenerated"),
    ],
)
def test_bad_arguments_and_a_degenerate_basis_are_refused(make, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        make()
