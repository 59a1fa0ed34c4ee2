"""The check itself is checked: it passes what is right, and every planted mutant must be caught."""

import numpy as np
import pytest

from duonet import Function, backend, check_gradients, check_surrogate, functional, numerical_gradient
from duonet.functional.activation import Sigmoid
from duonet.functional.arithmetic import Add, Mul
from duonet.functional.conv import Conv2d
from duonet.functional.normalization import BatchNorm
from duonet.functional.products import Linear
from duonet.gradcheck import GradientError, NonDifferentiablePoint, SurrogateGradient
from duonet.quant import Binary, Clip, Identity, LayerScaleSign, Surrogate, Ternary, quantize

OPS = {
    "mul": (Mul, {}, ((3, 4), (3, 4))),
    "sigmoid": (Sigmoid, {}, ((3, 4),)),
    "linear": (Linear, {}, ((3, 4), (4, 2), (2,))),
    "conv2d": (Conv2d, {"stride": 1, "padding": 1}, ((2, 4, 4, 2), (3, 3, 2, 3), (3,))),
    "batch_norm": (
        BatchNorm,
        {"running_mean": None, "running_var": None, "training": True, "momentum": 0.1, "eps": 1e-5},
        ((3, 2, 2, 4), (4,), (4,)),
    ),
}


def first_off(gradient):
    gradient = np.array(gradient)
    gradient.flat[0] *= 1.1
    return gradient


MUTANTS = {
    "zero gradient": lambda backward, ctx, dy: [np.zeros_like(g) for g in backward(ctx, dy)],
    "factor 1.001": lambda backward, ctx, dy: [1.001 * g for g in backward(ctx, dy)],
    "upstream ignored": lambda backward, ctx, dy: backward(ctx, np.ones_like(dy)),
    "sign flipped": lambda backward, ctx, dy: [-g for g in backward(ctx, dy)],
    "one element off": lambda backward, ctx, dy: [first_off(g) for g in backward(ctx, dy)],
    "one input alone": lambda backward, ctx, dy: [*backward(ctx, dy)[:-1], 1.001 * backward(ctx, dy)[-1]],
}


def mutant_of(op, change):
    class Mutant(Function):
        forward = staticmethod(op.forward)

        @staticmethod
        def backward(ctx, dy):
            def backward(ctx, dy):
                gradients = op.backward(ctx, dy)
                return gradients if isinstance(gradients, tuple) else (gradients,)

            return tuple(change(backward, ctx, dy))

    return Mutant


def inputs_of(shapes):
    rng = np.random.default_rng(5)
    return [rng.uniform(0.5, 1.5, shape) for shape in shapes]


@pytest.mark.parametrize("name", OPS)
def test_the_unharmed_op_passes(name):
    op, options, shapes = OPS[name]
    harmless = mutant_of(op, lambda backward, ctx, dy: backward(ctx, dy))
    check_gradients(lambda *x: harmless.apply(*x, **options), *inputs_of(shapes))


@pytest.mark.parametrize("mutation", MUTANTS)
@pytest.mark.parametrize("name", OPS)
def test_every_mutant_is_caught(name, mutation):
    op, options, shapes = OPS[name]
    mutant = mutant_of(op, MUTANTS[mutation])
    with pytest.raises(GradientError, match="backward gives .*seed=0"):
        check_gradients(lambda *x: mutant.apply(*x, **options), *inputs_of(shapes))


def test_a_missing_sum_over_the_broadcast_axis_is_caught():
    class NoSum(Add):
        @staticmethod
        def backward(ctx, dy):
            return dy, dy[0]

    with pytest.raises(GradientError, match="input 1"):
        check_gradients(NoSum.apply, *inputs_of(((3, 4), (4,))))


def test_the_table_shows_the_worst_coordinate_first():
    wrong = mutant_of(Sigmoid, MUTANTS["one element off"])
    with pytest.raises(GradientError) as error:
        check_gradients(wrong.apply, *inputs_of(((3, 9),)))
    lines = str(error.value).splitlines()
    assert lines[1].split() == ["index", "backward", "numerical", "difference"]
    assert lines[2].startswith(f"{'(0, 0)':>16}") and lines[-1] == "... and 7 coordinates that differ less"


def test_float32_is_refused_with_the_reason():
    with pytest.raises(TypeError, match="float64 array, got float32; in float32 a difference quotient"):
        check_gradients(functional.exp, np.ones(3, "float32"))
    with pytest.raises(TypeError, match="got list"):
        numerical_gradient(functional.exp, [1.0])


def test_an_array_on_a_gpu_is_refused_with_the_reason(gpu):
    with pytest.raises(TypeError, match="check_gradients: input 0 must be a NumPy array, but it is on the gpu"):
        check_gradients(functional.exp, backend.to_device(np.ones(3), gpu))


@pytest.mark.parametrize(
    "function, x, index",
    [
        (functional.relu, [1.0, 0.0, 2.0], 1),
        (lambda x: functional.clip(x, 0, 1), [0.5, 0.2, 1.0], 2),
        (lambda x: functional.max(x), [1.0, 3.0, 3.0], 1),
    ],
)
def test_a_kink_is_named_by_its_index(function, x, index):
    with pytest.raises(NonDifferentiablePoint, match=rf"kink at index \({index},\)"):
        check_gradients(function, np.array(x))


def test_a_check_that_cannot_fail_fails():
    with pytest.raises(GradientError, match="this check cannot fail"):
        check_gradients(functional.relu, np.array([-1.0, -2.0]))
    with pytest.raises(GradientError, match="input 0 .* cannot fail"):
        check_gradients(lambda x, w: x * 0 + w, np.ones(2), np.ones(2))


def test_a_function_that_leaves_the_tape_is_named():
    with pytest.raises(GradientError, match="does not depend on the inputs through the tape"):
        check_gradients(lambda x: x.detach(), np.ones(2))


def test_a_modified_input_is_named():
    def spoils(x):
        y = x * 2
        x.data += 1e-9
        return y

    with pytest.raises(GradientError, match="modified its input 0"):
        check_gradients(spoils, np.ones(2))


def test_the_numerical_gradient_is_that_of_every_coordinate():
    x, dy = np.array([1.0, 2.0, 3.0]), np.array([1.0, 10.0, 100.0])
    np.testing.assert_allclose(numerical_gradient(lambda t: t**3, x, dy=dy)[0], 3 * x**2 * dy, rtol=1e-8)


def quantised(x, w):
    return quantize(functional.linear(x, w), Ternary(), Clip(0, 1))


def test_a_quantised_op_is_refused_unless_checked_against_its_surrogate(rng):
    x, w = rng.uniform(0.2, 0.4, (3, 4)), rng.uniform(0.1, 0.5, (4, 2))
    with pytest.raises(SurrogateGradient, match="quantize has a surrogate gradient.*gradient mismatch"):
        check_gradients(lambda x, w: quantised(x, w).exp(), x, w)
    check_gradients(lambda x, w: quantised(x, w).exp(), x, w, against="surrogate")
    with pytest.raises(ValueError, match="against must be None or 'surrogate', got 'staircase'"):
        check_gradients(quantised, x, w, against="staircase")


def test_the_numerical_gradient_of_a_staircase_is_zero_and_the_coarse_one_is_not(rng):
    x, w = rng.uniform(0.1, 0.4, (3, 4)), rng.uniform(0.1, 0.4, (4, 2))
    assert not numerical_gradient(quantised, x, w)[0].any()


def test_a_wrong_slope_is_caught_against_the_surrogate(rng):
    class Wrong(Clip):
        def derivative(self, x):
            return 0.9 * super().derivative(x)

    with pytest.raises(GradientError, match="backward gives"):
        check_gradients(
            lambda x: quantize(x, Binary(), Wrong(0, 1)), rng.uniform(0.1, 0.9, 5), against="surrogate"
        )


def test_binarised_weights_are_checked_against_the_identity(rng):
    w = rng.standard_normal((4, 2))
    with pytest.raises(SurrogateGradient, match="sign_by_layer"):
        check_gradients(LayerScaleSign(), w)
    check_gradients(lambda w: LayerScaleSign()(w) ** 2, w, against="surrogate")


def test_check_surrogate_catches_a_wrong_derivative_and_an_empty_one():
    class Wrong(Identity):
        def derivative(self, x):
            return 1.001 * super().derivative(x)

    class Zero(Surrogate):
        def value(self, x):
            return 0 * x

        def derivative(self, x):
            return 0 * x

    check_surrogate(Identity())
    with pytest.raises(GradientError, match="has derivative 1.001, but its value rises by 1"):
        check_surrogate(Wrong())
    with pytest.raises(GradientError, match="derivative 0 at all 200 points"):
        check_surrogate(Zero())
