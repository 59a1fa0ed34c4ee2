"""Sign whose surrogate follows a schedule: its gradient, and what the rest of the package makes of it."""

import numpy as np
import pytest

from duonet import Tensor, check_quantizer, fuse, nn, optim
from duonet.methods import SharpenedSign, find
from duonet.quant import SwishSign


@pytest.mark.parametrize("beta", [1.0, 5, 20])
def test_it_keeps_its_promises(beta):
    check_quantizer(SharpenedSign(beta, optim.Ramp(1, 5, 10)))


def test_the_gradient_is_that_of_the_surrogate_of_the_hour():
    x = np.linspace(-2, 2, 9)
    act = SharpenedSign(5, optim.Ramp(2, 10, 4))
    for epochs, beta in ((None, 5), (0, 2), (1, 4), (9, 10)):
        assert epochs is None or act.before_step(epochs) == {"beta": beta}
        t = Tensor(x, requires_grad=True)
        y = act(t)
        y.backward(np.ones(9))
        np.testing.assert_array_equal(y.data, np.where(x >= 0, 1, -1))
        np.testing.assert_array_equal(t.grad, SwishSign(beta).derivative(x))
    assert SharpenedSign(5).before_step(3) is None


def test_the_fused_form_follows_as_well(rng, capsys):
    model = nn.Sequential(nn.BatchNorm(3), SharpenedSign(2, optim.Ramp(2, 10, 4)))
    fused = fuse(model)
    assert "0 and 1" in capsys.readouterr().out
    x = rng.normal(size=(20, 3)).astype("float32")
    for epochs in (0, 4):
        model[1].before_step(epochs)
        grads = []
        for m in (model, fused):
            t = Tensor(x, requires_grad=True)
            m(t).backward(x)
            grads.append(t.grad)
        np.testing.assert_array_equal(*grads)


def test_the_shelf_stretches_the_schedule_to_a_training():
    entry, rng = find("bnn+-sharpened"), np.random.default_rng(0)
    assert entry.make(rng).before_step(15) == entry.make(rng, epochs=4).before_step(2) == {"beta": 6}


@pytest.mark.parametrize("make, message", [
    (lambda: SharpenedSign(0), "SwishSign: beta must be a number above 0, got 0"),
    (lambda: SharpenedSign(1, optim.Ramp(1, 0, 2)).before_step(2), "SharpenedSign: beta must be a number above 0, got 0"),
    (lambda: find("bnn+-sharpened").make(None, epochs=0), "sharpened_sign: epochs must be a number above 0, got 0"),
])  # fmt: skip
def test_bad_input_is_refused_in_a_sentence(make, message):
    with pytest.raises((ValueError, TypeError), match=f"^{message}"):
        make()
