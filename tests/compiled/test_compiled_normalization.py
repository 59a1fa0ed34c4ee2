"""Batch norm and staircase by kernels: the bits of both in turn, and NumPy's numbers."""

import numpy as np
import pytest

from duonet import Tensor, compiled, engine, nn, parallel
from duonet import functional as F
from duonet.fusing import BatchNormQuantize
from duonet.quant import Binary, Clip, Identity, Polynomial, ReLU, Shifted, Sign, Staircase, Ternary, Uniform

if compiled.why_not():
    pytest.skip(compiled.why_not(), allow_module_level=True)

from duonet.compiled import codes  # noqa: E402

CHANNELS = np.array([0.25, 0.5, 0.75])
STAIRCASES = [Binary(), Ternary(), Sign(), Binary(CHANNELS), Uniform(2), Staircase([0], [0.1, 0.7])]
SURROGATES = [
    Clip(0, 1), Clip(-1, 1, closed=True), ReLU(), Identity(), Polynomial(), Shifted(Clip(0, 1), CHANNELS),
]  # fmt: skip


def results(run, norm, x, dy, training=True):
    norm.reset_parameters(np.random.default_rng(0))
    norm.gamma.data[:], norm.beta.data[:] = [1.5, -0.5, 1.0], [0.5, 0.25, 0.0]
    norm.train(training)
    for parameter in norm.parameters():
        parameter.zero_grad()
    tensor = Tensor(x, requires_grad=True)
    y = run(tensor)
    function = y._node.function
    y.backward(dy)
    averages = norm.running_mean.data.copy(), norm.running_var.data.copy()
    return function, (y.data, tensor.grad, norm.gamma.grad, norm.beta.grad, *averages)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("surrogate", SURROGATES, ids=repr)
@pytest.mark.parametrize("staircase", STAIRCASES, ids=repr)
def test_one_op_gives_the_bits_of_both(rng, staircase, surrogate, training):
    norm, activation = nn.BatchNorm(3), nn.QuantActivation(staircase, surrogate)
    x, dy = (rng.standard_normal((7, 6, 5, 3)).astype("float32") for _ in range(2))
    function, one = results(BatchNormQuantize(norm, activation), norm, x, dy, training)
    assert function.__module__ == "duonet.compiled.normalization"
    _, two = results(lambda x: activation(norm(x)), norm, x, dy, training)
    for got, expected in zip(one, two):
        np.testing.assert_array_equal(got, expected)
    with engine.without("compiled"):
        _, numpy = results(BatchNormQuantize(norm, activation), norm, x, dy, training)
    np.testing.assert_array_equal(one[0], numpy[0])
    for got, expected in zip(one[1:], numpy[1:]):
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("shape", [(6, 5, 4, 3), (9, 3), (2, 1, 1, 3)])
@pytest.mark.parametrize("training", [True, False])
def test_batch_norm_alone(rng, shape, training):
    norm = nn.BatchNorm(3)
    x, dy = (rng.standard_normal(shape).astype("float32") for _ in range(2))
    function, got = results(norm, norm, x, dy, training)
    assert function.__module__ == "duonet.compiled.normalization"
    with engine.without("compiled"):
        _, expected = results(norm, norm, x, dy, training)
    for a, b in zip(got, expected):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 * np.abs(b).max() + 1e-6)


def test_batch_norm_far_from_zero_is_as_exact_as_its_input(rng):
    x = (1000 + rng.standard_normal((64, 8, 8, 4))).astype("float32")
    y = F.batch_norm(Tensor(x), Tensor(np.ones(4, "float32")), Tensor(np.zeros(4, "float32"))).data
    exact = F.batch_norm(Tensor(x.astype("float64")), Tensor(np.ones(4)), Tensor(np.zeros(4))).data
    np.testing.assert_allclose(y, exact, rtol=0, atol=2e-4 * np.abs(exact).max())


def test_no_bit_depends_on_the_number_of_threads(rng, monkeypatch):
    monkeypatch.setattr("duonet.compiled.running.SHARED", 0)
    norm, activation = nn.BatchNorm(3), nn.QuantActivation(Ternary(), Clip(0, 1))
    x, dy = (rng.standard_normal((60, 40, 40, 3)).astype("float32") for _ in range(2))
    found = []
    for n in (1, 2, 3):
        with parallel.threads(n):
            found.append(results(BatchNormQuantize(norm, activation), norm, x, dy)[1])
    for one, *others in zip(*found):
        for other in others:
            np.testing.assert_array_equal(one, other)


def test_what_is_not_selected_has_no_say_even_where_it_is_infinite():
    norm, activation = nn.BatchNorm(3), nn.QuantActivation(Binary(), Clip(0, 1))
    x = np.full((4, 2, 2, 3), -9, "float32")  # with γ of either sign outside the window
    _, got = results(BatchNormQuantize(norm, activation), norm, x, np.full_like(x, np.inf), training=False)
    assert not got[1].any()


@pytest.mark.parametrize("staircase", [Binary(), Ternary(), Sign()], ids=repr)
@pytest.mark.parametrize("channels", [12, 8, 7])
def test_indices_made_on_the_way_are_those_of_the_output(rng, staircase, channels):
    norm, activation = nn.BatchNorm(channels), nn.QuantActivation(staircase, Clip(0, 1))
    y = BatchNormQuantize(norm, activation)(
        Tensor(rng.standard_normal((5, 4, 3, channels)).astype("float32"))
    ).data
    code = codes.code_of(y, bordered=False)
    indices = engine.known(y, "indices")
    assert (indices is not None) == (channels % code.together == 0)
    if indices is not None:
        np.testing.assert_array_equal(indices, codes.plainly_packed(y, code))
    for padding in (0, 2):
        code = codes.code_of(y, padding > 0)
        bare = engine.attach(y.copy(), levels=engine.known(y, "levels"))
        np.testing.assert_array_equal(codes.packed(y, code, padding), codes.packed(bare, code, padding))


def test_a_function_in_the_place_of_a_staircase_runs():
    norm, activation = nn.BatchNorm(3), nn.QuantActivation(Binary(), Clip(0, 1))
    activation.staircase = np.ceil
    y = BatchNormQuantize(norm.eval(), activation)(Tensor(np.full((2, 1, 1, 3), 0.5, "float32")))
    assert (y.data == 1).all() and engine.known(y.data, "levels") is None


def test_thresholds_of_other_channels_are_refused_before_the_averages_move():
    norm, activation = nn.BatchNorm(4), nn.QuantActivation(Binary(CHANNELS), Clip(0, 1))
    with pytest.raises(ValueError, match="thresholds of shape"):
        BatchNormQuantize(norm, activation)(Tensor(np.ones((2, 2, 2, 4), "float32")))
    assert not norm.running_mean.data.any()
