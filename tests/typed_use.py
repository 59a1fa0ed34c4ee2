"""What a user writes, right and wrong: `mypy` reads this file, nothing runs it.

A wrong call carries the error that it must have. A signature that accepts anything leaves that mark unused, and
mypy says so.
"""

import numpy as np

import duonet
from duonet import (
    Function,
    Parameter,
    Tensor,
    backend,
    mismatch,
    models,
    nn,
    no_grad,
    numerical_gradient,
    optim,
    quant,
    threads,
)  # fmt: skip
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


class Thirds(quant.Quantizer):
    bits = 2

    def forward(self, w: Tensor) -> Tensor:
        return quant.quantize(w, quant.Staircase([-0.3, 0.3], [-1, 0, 1]), quant.Identity())

    def scales(self, shape: tuple[int, ...]) -> int:
        return shape[-1]


def right_about_models(rng: np.random.Generator, a: backend.Array) -> float:
    act = nn.QuantActivation(quant.Binary([0.0, 0.5]), quant.Shifted(quant.Clip(0, 1), 0.25))
    layers = {"norm": nn.BatchNorm(2), "act": act, "linear": nn.Linear(2, 3, rng=rng, weight_quantizer=Thirds())}
    model = nn.Sequential({**layers}).to("cpu").eval()
    model = nn.Sequential(*model, nn.Residual(nn.ReLU()))[:2]
    with nn.observe(model) as records:
        model(a)
    width: int = layers["norm"].channels + len(nn.ModuleList(model)) + act.bits
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    optimizer.load_state_dict(optimizer.state_dict())
    binary: nn.Module = duonet.decouple(models.mlp("coupled", rng=rng), shift="beta").eval()
    counted = duonet.summary(binary, a.shape[1:])
    found = duonet.mismatch.measure(model, F.mse_loss, (a, a), layers=["linear"], coordinates=20, rng=rng)
    estimates = mismatch.coarse_gradient(model, F.mse_loss, (a, a))
    duonet.save_checkpoint("a.npz", model, optimizer=optimizer, generators={"rng": rng}, about={"epochs": 3})
    classes: list[type] = [type(layer) for layer in duonet.load_model("a.npz", classes=[Thirds]).children()]
    values = records["act"].output.sum() + estimates["linear"].values.sum() + found["linear"].cosine
    return counted.macs + width + float(values) + len(classes)


def wrong_about_models(rng: np.random.Generator, model: nn.Sequential, a: backend.Array) -> None:
    nn.Sequential(F.relu)  # type: ignore[arg-type]
    nn.Linear(2, 3)  # type: ignore[call-arg]
    nn.Conv2d(2, 3, 3, rng=0)  # type: ignore[arg-type]
    nn.BatchNorm("2")  # type: ignore[arg-type]
    nn.QuantActivation(quant.Clip(0, 1), quant.Binary())  # type: ignore[arg-type]
    quant.Staircase([0], ["a", "b"])  # type: ignore[list-item]
    quant.Clip(0, "1")  # type: ignore[arg-type]
    optim.Adam(model.parameters(), lr="0.1")  # type: ignore[arg-type]
    optim.SGD(model, lr=0.1)  # type: ignore[arg-type]
    models.vgg7("baseline")  # type: ignore[call-arg]
    duonet.decouple(a)  # type: ignore[arg-type]
    duonet.fuse(None)  # type: ignore[arg-type]
    duonet.summary(model, 3)  # type: ignore[arg-type]
    mismatch.measure(model, F.mse_loss, a, step=0.1)  # type: ignore[arg-type]
    mismatch.evolution_gradient(model, F.mse_loss, (a, a))  # type: ignore[call-arg]
    duonet.save_checkpoint("a.npz", model, optimizer="SGD")  # type: ignore[arg-type]
    print(duonet.summary(model, (3,)).no_such)  # type: ignore[attr-defined]


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
