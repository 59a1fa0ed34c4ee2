"""Arguments of a wrong kind are refused by the function and the argument, not by what failed inside."""

import numpy as np
import pytest

from duonet import data, methods, models, nn, optim
from duonet.methods.wage import on_grid, unit
from duonet.methods.wage_training import wage_uniform
from duonet.nn.init import he_normal
from duonet.widths import coupled_widths

RNG = np.random.default_rng(0)


def timed():
    """A quantiser of each class that follows time."""
    ramp = optim.Ramp(1, 2, 3)
    yield methods.ContinuousBinary(start=1)
    yield methods.QIL(schedule=optim.Stages((3, 2), (1,)))
    yield methods.Later(methods.PACT(), 1)
    yield methods.SharpenedSign(schedule=ramp)
    yield methods.StochasticBinary(rng=RNG, schedule=ramp)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: wage_uniform(RNG, 5), r"wage_uniform: shape must be \(KH, KW, C, OC\) or \(IN, OUT\), got 5"),
        (lambda: wage_uniform(RNG, (3, "a")), "wage_uniform: shape must be an int at least 1, got str 'a'"),
        (lambda: he_normal(RNG, (3, 4), slope=1e200), "he_normal: slope must be a number .* got 1e\\+200"),
        (lambda: he_normal(RNG, (3, 4), slope=-(10**400)), "he_normal: slope must be a number .* got -1000"),
        (lambda: models.densenet(depth=[28], rng=RNG), r"densenet: depth must be an int, got list \[28\]"),
        (lambda: models.densenet(depth=29, rng=RNG), "densenet: depth must be one of 28, 37, 45, got 29"),
        (lambda: coupled_widths(5, sum, 9), "coupled_widths: widths must be an Iterable, got int"),
        (
            lambda: coupled_widths("ab", sum, 9),
            r"coupled_widths: widths\[0\] must be an int at least 1, got str 'a'",
        ),
        (lambda: unit("2"), "unit: bits must be an int at least 1 and at most 64, got str '2'"),
        (lambda: unit(-2000), "unit: bits must be an int at least 1 and at most 64, got -2000"),
        (lambda: on_grid(np.arange(3), 2), "on_grid: x must be floats of 16 to 64 bits, got int64"),
        (lambda: on_grid([0.5], 2), "on_grid: x must be an array, got list"),
        (lambda: data.load(["mnist"]), "load: name must be a str or a Path, got list"),
        (lambda: data.load(None), "load: name must be a str or a Path, got NoneType"),
    ],
)
def test_a_wrong_kind_is_named(call, message):
    with pytest.raises((TypeError, ValueError), match=f"^{message}"):
        call()


@pytest.mark.parametrize("module", list(timed()), ids=lambda module: type(module).__name__)
@pytest.mark.parametrize("epochs", ["x", None, [1]])
def test_a_time_that_is_no_number_is_named(module, epochs):
    with pytest.raises((TypeError, ValueError), match=f"^{type(module).__name__}: epochs must be a number, got"):
        module.before_step(epochs)
    assert module.before_step(float("inf")), "the end of all training is a time"


def test_right_arguments_give_what_they_gave():
    assert unit(2) == 0.5 and on_grid(np.array([-1.2, 0.26], "float32"), 2).tolist() == [-0.5, 0.5]
    assert (
        nn.init.he_normal(np.random.default_rng(0), (2, 2), slope=0.25).tolist()
        == (
            np.random.default_rng(0).standard_normal((2, 2), dtype="float32")
            * np.float32(np.sqrt(2 / (1 + 0.25**2) / 2))
        ).tolist()
    )
