"""What a user writes, right and wrong: `mypy` reads this file, nothing runs it.

A wrong call carries the error that it must have. A signature that accepts anything leaves that mark unused, and
mypy says so.
"""

import numpy as np

import duonet
from duonet import Function, Parameter, Tensor, backend, no_grad, numerical_gradient, threads
from duonet import functional as F
from duonet.history import History
from duonet.module import Module
from duonet.schedule import Cosine


class Double(Function):
    """An op whose passes have types of their own."""

    @staticmethod
    def forward(ctx: object, x: backend.Array, *, times: int) -> backend.Array:
        return x * times

    @staticmethod
    def backward(ctx: object, dy: backend.Array) -> backend.Array:
        return 2 * dy


class Scale(Module):
    def __init__(self) -> None:
        super().__init__()
        self.factor = Parameter([2.0])

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor


def right(x: Tensor, a: backend.Array) -> float:
    with no_grad(), threads(2):
        y: Tensor = (2 * x + a - 0.5).exp().mean((0, 1), keepdims=True)[0].T / x.max()
    y = F.conv2d(x, Tensor(a), stride=2) @ Double.apply(x, times=2)
    mask: Tensor = x >= 0
    for row in mask * y:
        row.add_hook(print)
    F.softmax_cross_entropy(y.reshape(3, -1), [0, 1, 2]).backward()
    model: Scale = Scale().to("cpu").eval()
    model.load_state_dict(model.state_dict())
    gradient: backend.Array = numerical_gradient(lambda t: t * t, np.ones(2))[0]
    duonet.check_gradients(model, a, against="surrogate")
    factor: float = Cosine(10)(2.5)
    return factor + float(y) + float(gradient.sum()) + len(History())


def wrong(x: Tensor, a: backend.Array, model: Scale) -> None:
    x + "1"  # type: ignore[operator]
    x.sum("0")  # type: ignore[arg-type]
    x.backward(1.0)  # type: ignore[arg-type]
    x.add_hook(3)  # type: ignore[arg-type]
    Tensor([1.0], requires_grad="yes")  # type: ignore[arg-type]
    Parameter()  # type: ignore[call-arg]
    Double.apply("x")  # type: ignore[arg-type]
    print(F.relu(x).no_such, F.mean(x).no_such)  # type: ignore[attr-defined]
    F.mul(x, "2")  # type: ignore[arg-type]
    F.relu(a)  # type: ignore[arg-type]
    F.pow(x, x)  # type: ignore[arg-type]
    F.clip(x, low=0)  # type: ignore[call-arg]
    F.conv2d(x, x, stride="2")  # type: ignore[arg-type]
    F.max_pool2d(x, 2.5)  # type: ignore[arg-type]
    F.dropout(x, 0.5, rng=0)  # type: ignore[arg-type]
    F.batch_norm(x, x, x, running_mean=x)  # type: ignore[arg-type]
    F.reshape(x, 3)  # type: ignore[arg-type]
    backend.to_device(a, 0)  # type: ignore[arg-type]
    model.to(0)  # type: ignore[arg-type]
    model.reset_parameters(0)  # type: ignore[arg-type]
    print(model.parameters().no_such, model.to("cpu").forward(x).no_such)  # type: ignore[attr-defined]
    numerical_gradient(lambda t: 1.0, a)  # type: ignore[arg-type, return-value]
    duonet.check_gradients(model, a, seed="0")  # type: ignore[arg-type]
    with threads("2"):  # type: ignore[arg-type]
        pass
    Cosine("ten")  # type: ignore[arg-type]
