"""What no method can compute with, every row of the shelf refuses in a sentence, or computes finite numbers all the same."""

import inspect
import re

import numpy as np
import pytest

from duonet import Tensor, data, decouple, fit, methods, nn, optim
from duonet.decoupling import CannotDecouple
from duonet.experiments.shelf import small_network
from duonet.methods import BNNPlusWeights, DistributionLoss
from duonet.quant import Binary, Clip

SAID = r"^[\w.]+( \w+)?: \S"  # who says it, with a path where it lies in another
ENTRIES = {entry.name: entry for entry in methods.entries()}
MAKERS = {entry.maker.__name__: entry for entry in methods.entries()}
WRONG = {
    bool: ("no", 1, None),
    int: (-1, 99, 2.5, "two", None, True, np.nan, [2]),
    float: (np.nan, np.inf, "half", None, True, [1.0]),
    str: ("nosuch", 3, None),
}


def arguments():
    """Every argument of every class and function of the shelf, with values that mean nothing."""
    for name, entry in MAKERS.items():
        for argument, parameter in inspect.signature(entry.maker).parameters.items():
            kind = float if "float" in str(parameter.annotation) else type(parameter.default)
            values = (0, None) if argument == "rng" else WRONG.get(kind, ("nosuch",))
            values = [
                v
                for v in values
                if (argument, v) != ("channels", 99) and (v is not None or parameter.default is not None)
            ]
            yield pytest.param(entry, argument, values, id=f"{name}-{argument}")


def refusal(error, *words):
    """The message, if it is one sentence that begins with who says it."""
    said = str(error.value)
    assert re.match(SAID, said) and "\n" not in said and len(said) < 250, said
    assert all(word in said for word in words), said
    return said


@pytest.mark.parametrize("entry, argument, values", list(arguments()))
def test_an_argument_without_meaning_is_named(entry, argument, values):
    for value in values:
        options = entry.settings | {argument: value}
        if "rng" in inspect.signature(entry.maker).parameters:
            options = {"rng": np.random.default_rng(0)} | options
        with pytest.raises((TypeError, ValueError)) as error:
            entry.maker(**options)
        refusal(error, argument)


@pytest.mark.parametrize("make, message", [
    (lambda: methods.QILWeights(1), "QILWeights: bits must be an int at least 2 and at most 8, got 1"),
    (lambda: methods.WRPNWeights(0), "WRPNWeights: bits must be an int at least 2 and at most 8, got 0"),
    (lambda: methods.SAWBWeights(1), "SAWBWeights: bits must be 2, 3, 4, 5 or 8, which have coefficients, got 1"),
    (lambda: methods.WAGEWeights(1), "WAGEWeights: bits must be an int at least 2 and at most 8, got 1"),
    (lambda: methods.ABCWeights(1), "ABCWeights: bases must be an int at least 2 and at most 8, got 1"),
    (lambda: methods.PACT(start=0), "PACT: start must be a number at least 0.0009765625, got 0"),
    (lambda: methods.PACT(start=-1), "PACT: start must be a number at least 0.0009765625, got -1"),
    (lambda: methods.LearnedDSQ(start=0), "LearnedDSQ: start must be a number"),
    (lambda: methods.dsq_fixed(alpha=0), "DSQ: alpha must be a number"),
])  # fmt: skip
def test_fewer_bits_or_bases_than_there_are_and_a_range_of_nothing(make, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        make()


DEGENERATE = {
    "zeros": np.zeros((5, 3), "float32"), "one value": np.full((5, 3), 0.7, "float32"),
    "one number": np.float32([[0.3]]), "next to nothing": np.full((5, 3), 1e-30, "float32"),
    "large": np.float32([[3e4, -3e4, 1]] * 4), "nothing": np.zeros((0, 3), "float32"), "no axes": np.array(0.3),
    "one axis": np.float32([0.5, -0.2]), "ints": np.ones((4, 3), int), "halves": np.zeros((5, 3), "float16"),
}  # fmt: skip


@pytest.mark.parametrize("name", ENTRIES)
def test_a_degenerate_input_gives_finite_numbers_or_a_sentence(name):
    for given in DEGENERATE.values():
        x = Tensor(given, requires_grad=given.dtype.kind == "f")
        for mode in (True, False):
            quantizer = ENTRIES[name].make(np.random.default_rng(0)).train(mode)
            before = {path: tensor.numpy().copy() for path, tensor in quantizer.named_buffers()}
            try:
                arrays = passed(quantizer, x)
            except (TypeError, ValueError) as error:
                assert re.match(SAID, str(error)) and "\n" not in str(error), error
                assert not re.search("reduction operation|broadcast|out of range|inexact", str(error)), error
                for path, tensor in quantizer.named_buffers():
                    np.testing.assert_array_equal(tensor.numpy(), before[path], err_msg="half changed")
            else:
                assert all(np.isfinite(array).all() for array in arrays)


def passed(quantizer, x):
    """Everything that a pass forwards and back computes, with the penalty and the state."""
    y = quantizer(x)
    if x.requires_grad:
        y.backward(np.ones(y.shape, y.dtype))
    tensors = [y, quantizer.penalty(), *(tensor for _, tensor in quantizer.named_buffers())]
    grads = [x.grad, *(parameter.grad for parameter in quantizer.parameters())]
    return [t.data for t in tensors if t is not None] + [grad for grad in grads if grad is not None]


@pytest.mark.parametrize("name", ENTRIES)
@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_state_that_follows_the_data_never_becomes_nan(name, number):
    quantizer = ENTRIES[name].make(np.random.default_rng(0))
    try:
        with np.errstate(all="ignore"):
            quantizer(Tensor(np.array([[0.5, number, 0.1], [0.2, -0.4, 1]], "float32"), requires_grad=True))
    except ValueError as error:
        assert re.match(SAID, str(error)), error
    assert all(np.isfinite(tensor.data).all() for _, tensor in quantizer.named_buffers())


@pytest.mark.parametrize("model, said", [
    (lambda rng: nn.Sequential(nn.Flatten(), nn.Linear(4, 3, rng=rng), methods.PACT(decay=3e38)), "2 PACT"),
    (lambda rng: nn.Sequential(nn.Flatten(), nn.Linear(4, 3, rng=rng, weight_quantizer=BNNPlusWeights(3e38))),
     "1.weight_quantizer BNNPlusWeights"),
    (lambda rng: nn.Sequential(nn.Flatten(), nn.Linear(4, 3, rng=rng), DistributionLoss(3e38, 8, 9),
                               nn.QuantActivation(Binary(), Clip(0, 1))), "2 DistributionLoss"),
])  # fmt: skip
def test_a_penalty_that_is_not_finite_is_said_with_its_layer(model, said, rng):
    toy = data.Dataset(rng.integers(0, 255, (8, 2, 2, 1)).astype(np.uint8), np.arange(8) % 3)
    net = model(rng)
    loader = data.DataLoader(toy, 4, data.Normalize.of(toy.images), rng=rng)
    with pytest.raises(ValueError, match=rf"^fit: the penalty of {said} is inf, not a finite number$"):
        with np.errstate(over="ignore"):
            fit(net, loader, optim.SGD(net.parameters(), 0.1), 1, progress=False)


@pytest.mark.parametrize("name", [n for n, e in ENTRIES.items() if e.kind == "activations"])
def test_an_activation_that_draws_is_not_decoupled_in_either_mode(name, rng):
    if ENTRIES[name].make(rng).known("deterministic"):
        return
    for mode in (True, False):
        with pytest.raises(CannotDecouple) as error:
            decouple(small_network(ENTRIES[name], rng).train(mode))
        refusal(error)
