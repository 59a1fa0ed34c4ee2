"""Products of bits and signs in training, counted: the bits of the plain op, forwards, and its gradients."""

import numpy as np
import pytest

from duonet import Tensor, engine, threads
from duonet.compiled import why_not

if why_not():
    pytest.skip(why_not(), allow_module_level=True)

from duonet import functional as F
from duonet.compiled import signs
from duonet.functional.conv import Conv2d
from duonet.functional.products import Linear
from duonet.signs import SignProduct, sign_product


def inputs(rng, shape, kernel, outputs, levels=(0.0, 1.0), bias=True):
    x = rng.choice(np.array(levels, np.float32), shape)
    scale = 2.0 ** rng.integers(-3, 4, outputs)
    w = np.where(rng.random((*kernel, shape[-1], outputs)) < 0.5, -scale, scale).astype(np.float32)
    b = rng.standard_normal(outputs).astype(np.float32) if bias else None
    return engine.attach(x, levels=levels), w, b


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(
    "shape, kernel, outputs, stride, padding",
    [
        ((3, 7, 5, 32), (3, 3), 4, 1, 1),
        ((2, 8, 8, 45), (3, 3), 70, 2, 2),
        ((5, 4, 4, 64), (4, 4), 20, 4, 0),
        ((9, 1, 1, 130), (1, 1), 9, 1, 0),
    ],
)
def test_bits_are_those_of_the_plain_op_and_gradients_too(
    shape, kernel, outputs, stride, padding, bias, count, rng
):
    arrays = inputs(rng, shape, kernel, outputs, bias=bias)
    options = {"product": Conv2d, "stride": stride, "padding": padding}
    assert engine.version(SignProduct, "cpu", *arrays, **options) is signs.SignProduct
    found = []
    for around in (threads(count), engine.plain_ops()):
        with around:
            leaves = [None if a is None else Tensor(a, requires_grad=True) for a in arrays]
            y = sign_product(*leaves, stride, padding)
            seed = np.random.default_rng(1).integers(-4, 5, y.shape).astype(np.float32)
            F.sum(F.mul(y, Tensor(seed))).backward()
            found.append(
                [
                    y.data,
                    *(
                        leaf.grad.data if hasattr(leaf.grad, "data") else leaf.grad
                        for leaf in leaves
                        if leaf is not None
                    ),
                ]
            )
    for got, expected in zip(*found):
        np.testing.assert_array_equal(got, expected)


def test_what_is_no_such_product_goes_another_way(rng):
    options = {"product": Conv2d, "stride": 1, "padding": 1}

    def chosen(*arrays, **other):
        return engine.version(SignProduct, "cpu", *arrays, **options | other)

    x, w, b = inputs(rng, (2, 6, 6, 32), (3, 3), 8)
    assert chosen(x, w, b) is signs.SignProduct
    assert chosen(x[:1], w, b) is SignProduct  # a view says nothing of its levels
    assert chosen(*inputs(rng, (2, 6, 6, 24), (3, 3), 8)) is SignProduct  # tables are faster
    for levels in ((0.0, 0.5, 1.0), (-1.0, 1.0)):
        assert chosen(*inputs(rng, (2, 6, 6, 32), (3, 3), 8, levels)) is SignProduct
    assert engine.version(SignProduct, "cpu", x.reshape(2, -1), w, None, product=Linear) is SignProduct
    with engine.without("compiled"):
        assert chosen(x, w, b) is SignProduct


def test_no_codes_are_made_where_nobody_asks_for_gradients(rng, monkeypatch):
    x, w, b = inputs(rng, (2, 6, 6, 32), (3, 3), 8)
    monkeypatch.setattr(signs, "packed", None)
    assert sign_product(Tensor(x), Tensor(w), Tensor(b), 1, 1).shape == (2, 6, 6, 8)
