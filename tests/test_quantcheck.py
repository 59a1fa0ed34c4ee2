"""Every quantiser of the package does what its class says, and one that lies about it is caught, clause by clause."""

import numpy as np
import pytest

from duonet import Function, Parameter, Tensor, backend, check_quantizer, nn, quant
from duonet.quant import Binary, Clip, FilterScaleSign, Identity, LayerScaleSign, Polynomial, Quantizer, Uniform
from duonet.quantcheck import QuantizerError


def steps(staircase, surrogate):
    return nn.QuantActivation(staircase, surrogate)


HONEST = {
    "layer scale": LayerScaleSign(),
    "filter scale": FilterScaleSign(),
    "binary": steps(Binary(), Clip(0, 1)),
    "binary of each channel": steps(Binary([0.1, 0.2, 0.3, 0.4]), quant.Shifted(Clip(0, 1), [0.1, 0.2, 0.3, 0.4])),
    "ternary": steps(quant.Ternary(), quant.ZeroOne(Polynomial())),
    "sign": steps(quant.Sign(), quant.SwishSign(5)),
    "sign, tanh": steps(quant.Sign(), quant.Tanh(3)),
    "2 bits": steps(Uniform(2), quant.ReLU()),
    "8 bits": steps(Uniform(8), Identity()),
    "uneven": steps(quant.Staircase([-0.5, 0.1], [0, 0.3, 1.5]), quant.Triangle()),
    "folded": steps(quant.FoldedStaircase([[0.0, 0.1, 0.2, 0.3]], [0, 1], [False, True] * 2), Clip(-1, 1)),
}


@pytest.mark.parametrize("name", HONEST)
def test_every_quantiser_of_the_package_passes(name, device):
    check_quantizer(HONEST[name])


def test_none_of_the_package_is_left_out():
    public = [getattr(room, name) for room in (nn, quant) for name in room.__all__]
    kinds = {kind for kind in public if isinstance(kind, type) and issubclass(kind, Quantizer)} - {Quantizer}
    assert kinds == {type(quantizer) for quantizer in HONEST.values()}


class Pact(Quantizer):
    """A learned range: an honest one to start from."""

    samplewise = by_channel = rising = True
    bits = 2

    def __init__(self, alpha=1.0):
        super().__init__()
        self.alpha = Parameter(np.float32(alpha))

    def forward(self, x):
        return quant.quantize(x / self.alpha, Uniform(2), Clip(0, 1)) * self.alpha


class PerChannel(Pact):
    def __init__(self, alpha=(0.5, 1.0, 1.5, 2.0)):
        super().__init__()
        self.alpha = Parameter(np.float32(alpha))


class Noisy(Pact):
    """Draws in training."""

    bits, deterministic = 2, False

    def __init__(self, rng):
        super().__init__()
        self.rng = rng

    def forward(self, x):
        noise = self.rng.random(x.shape).astype(x.dtype) - 0.5 if self.training else 0 * x.data
        return quant.quantize(x / self.alpha + Tensor(noise), Uniform(2), Clip(0, 1)) * self.alpha


class Following(Pact):
    """Follows the largest value in training."""

    bits = 2

    def __init__(self):
        super().__init__()
        self.top = Tensor(np.float32(1))

    def forward(self, x):
        if self.training:
            self.top.data = self.top.data * self.top.dtype.type(0.9) + abs(x.data).max() * self.top.dtype.type(0.1)
        return quant.quantize(x / (self.alpha * self.top), Uniform(2), Clip(0, 1)) * self.alpha


OWN = [Pact(), Pact(0.5), PerChannel(), Noisy(np.random.default_rng(3))]


@pytest.mark.parametrize("quantizer", OWN, ids=lambda q: type(q).__name__)
def test_quantisers_of_ones_own_pass(quantizer):
    check_quantizer(quantizer, seed=1)


def of(base, **members):
    """Make a subclass that says something else, with the tags of its base."""
    tags = {tag: getattr(base, tag) for tag in base.tags if tag not in members}
    return type("Liar", (base,), tags | members)


def cut(x):
    return quant.quantize(x, Uniform(2), Clip(0, 1))


class Wrong(Function):
    """Its backward pass is not the derivative of its smooth form."""

    exact = False
    forward = staticmethod(lambda ctx, x: (x >= 0).astype(x.dtype))
    smooth = staticmethod(lambda ctx, x: x.copy())
    backward = staticmethod(lambda ctx, dy: 2 * dy)


def narrow(self, x):
    return cut(x) if x.dtype == np.float32 else Tensor(cut(x).data.astype("float32"))


def spoil(self, x):
    y = cut(x)
    x.data[...] = 0
    return y


def counting(self, x):
    self.calls = getattr(self, "calls", 0) + 1
    return cut(x)


def moving(self, x):
    self.seen.data = self.seen.data + 1
    return cut(x)


class Seeing(Pact):
    def __init__(self):
        Quantizer.__init__(self)
        self.seen = Tensor([0.0])

    forward = moving


class Forgetful(Pact):
    bits = 2

    def __init__(self, start=1.0):
        super().__init__(start)


LIARS = {
    "dtype": (
        of(LayerScaleSign, forward=narrow),
        "float64 .* became f",
    ),
    "shape": (of(LayerScaleSign, forward=lambda self, x: cut(x)[..., :1]), "became .* of shape"),
    "input": (of(LayerScaleSign, forward=spoil), "modified its input|changed in place"),
    "too few bits": (of(Pact, bits=1), "bits is 1, but one scale has 4 values"),
    "too many bits": (of(Pact, bits=3), "bits is 3, but 4 values need 2"),
    "a scale too few": (
        of(LayerScaleSign, scales=lambda self, shape: 0),
        r"scales\(.*\) is 0, but the values need 1",
    ),
    "a scale for each filter": (
        of(LayerScaleSign, scales=lambda self, shape: shape[-1]),
        r"scales\(.*is 4, .* 1 ",
    ),
    "one scale for all": (of(FilterScaleSign, scales=lambda self, shape: 1), r"scales\(.*is 1, .* need 4"),
    "a scale that is fixed": (of(Pact, scales=lambda self, shape: 1), r"scales\(.*is 1, .* need 0"),
    "surrogate": (
        of(Pact, bits=1, forward=lambda self, x: Wrong.apply(x) * self.alpha),
        "slope along a random dir",
    ),
    "a range that does not learn": (
        of(Pact, forward=lambda self, x: cut(x / self.alpha.detach()) * self.alpha.detach()),
        "no finite gradient reaches alpha",
    ),
    "no gradient": (
        of(Pact, forward=lambda self, x: cut(x.detach()) * self.alpha),
        "no finite gradient reaches the input",
    ),
    "a projection of another array": (
        of(LayerScaleSign, project=lambda self, weight: setattr(weight, "data", weight.data.clip(-1, 1))),
        "project.* in place",
    ),
    "a projection in silence": (
        of(LayerScaleSign, project=lambda self, weight: weight.data.clip(-1, 1, out=weight.data)),
        "without a call of",
    ),
    "penalty": (of(Pact, penalty=lambda self: 0.5), "penalty"),
    "deterministic": (
        of(LayerScaleSign, bits=32, homogeneous=False, forward=lambda self, x: x * float(RNG.random())),
        "deterministic is True",
    ),
    "not deterministic": (of(Pact, deterministic=False), "deterministic is False"),
    "drawing in evaluation": (
        of(Pact, bits=32, deterministic=False, forward=lambda self, x: x * self.alpha * float(RNG.random())),
        "draws in evaluation",
    ),
    "a state that moves in evaluation": (Seeing, "its state changes in evaluation|bits is 32"),
    "samplewise": (of(Pact, bits=32, forward=lambda self, x: (x - x.mean()) * self.alpha), "samplewise"),
    "by_channel": (of(Pact, bits=32, forward=lambda self, x: x * x.sum(-1, True) * self.alpha), "by_channel"),
    "rising": (of(Pact, bits=32, forward=lambda self, x: x * x * self.alpha), "rising"),
    "keeps_levels": (of(Pact, keeps_levels=True), "keeps_levels"),
    "copywise": (
        of(Pact, bits=32, copywise=True, by_channel=False, forward=lambda self, x: x * self.alpha * x.shape[-1]),
        "copywise",
    ),
    "translates": (of(Pact, translates=True), "translates"),
    "homogeneous": (of(Pact, homogeneous=True), "homogeneous"),
    "two valued": (of(Pact, two_valued=True), "two_valued"),
    "an argument that is forgotten": (Forgetful, "Liar|has no attribute 'start'"),
    "a state of Python's own": (
        of(Pact, bits=32, forward=lambda self, x: counting(self, x) * self.alpha),
        "calls would come back changed",
    ),
}
RNG = np.random.default_rng(0)


@pytest.mark.parametrize("name", LIARS)
def test_a_liar_is_caught(name):
    liar, message = LIARS[name]
    with pytest.raises(QuantizerError, match=rf"^check_quantizer: {liar.__name__}: .*({message}).*\(seed=0\)$"):
        check_quantizer(liar())


def other_on_a_gpu(self, x):
    return cut(x) * self.alpha * (2 if backend.device_of(x.data) == "gpu" else 1)


def leaves_the_gpu(self, x):
    return Tensor(x.numpy()) if backend.device_of(x.data) == "gpu" else x * self.alpha


def test_a_liar_on_a_gpu_is_caught(standin):
    for forward, message in (
        (other_on_a_gpu, "differ from those on the CPU"),
        (leaves_the_gpu, "not on the GPU|gpu"),
    ):
        liar = of(Pact, bits=32, rising=False, forward=forward)
        with pytest.raises(QuantizerError, match=message):
            check_quantizer(liar())


def test_what_is_checked_is_left_alone_and_must_be_a_quantizer():
    quantizer = Pact()
    quantizer.alpha.requires_grad, before = False, quantizer.alpha.data
    check_quantizer(Pact())
    assert quantizer.alpha.data is before and quantizer.training
    with pytest.raises(TypeError, match="^check_quantizer: quantizer must be a Quantizer, got ReLU"):
        check_quantizer(nn.ReLU())
