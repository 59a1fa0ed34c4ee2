"""Every layer refuses settings without meaning when it is made, by its name and theirs."""

import numpy as np
import pytest

from duonet import Tensor, nn, summary
from duonet import functional as F
from duonet.quant import Binary, Clip, LayerScaleSign

RNG = np.random.default_rng(0)


def linear(*sizes, **options):
    return nn.Linear(*(sizes or (2, 3)), **{"rng": RNG, **options})


def conv(*sizes, **options):
    return nn.Conv2d(*(sizes or (2, 3, 3)), **{"rng": RNG, **options})


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: linear(1.5, 2), "Linear: inputs must be an int at least 1, got float 1.5"),
        (lambda: linear(2, True), "Linear: outputs must be an int at least 1, got bool True"),
        (lambda: linear(0, 2), "Linear: inputs must be an int at least 1, got 0"),
        (lambda: linear(rng=None), "Linear: rng must be a numpy.random.Generator, got NoneType"),
        (lambda: linear(bias="no"), "Linear: bias must be a bool, got str"),
        (lambda: conv(bias="no"), "Conv2d: bias must be a bool, got str"),
        (lambda: nn.Dropout(0.5, rng=RNG, channels="no"), "Dropout: channels must be a bool, got str"),
        (lambda: nn.Residual(nn.ReLU(), "no"), "Residual: shortcut must be a Module, got str"),
        (lambda: linear(rng=0), "Linear: rng must be a numpy.random.Generator, got int"),
        (lambda: linear(init=lambda *_: np.zeros(3)), r"Linear: init gave shape \(3,\), expected \(2, 3\)"),
        (
            lambda: linear(init=lambda *_: np.full((2, 3), 1e300)),
            "Linear: init gave numbers that are not finite in f",
        ),
        (
            lambda: linear(init=lambda *_: np.full((2, 3), np.nan)),
            "Linear: init gave numbers that are not finite in f",
        ),
        (
            lambda: linear(init=lambda *_: np.full((2, 3), 1j)),
            "Linear: what init gave must be floats .*, got complex",
        ),
        (lambda: linear(init=lambda *_: [[1, 2, 3]]), "Linear: what init gave must be an array, got list"),
        (lambda: linear().reset_parameters(5), "Linear: rng must be a numpy.random.Generator, got int"),
        (lambda: conv(2, 3, 0), "Conv2d: kernel_size must be an int at least 1, got 0"),
        (lambda: conv(2, 3, (3, 3)), "Conv2d: kernel_size must be an int at least 1, got tuple"),
        (lambda: conv(-2, 3, 3), "Conv2d: channels must be an int at least 1, got -2"),
        (lambda: conv(2, np.nan, 3), "Conv2d: out_channels must be an int at least 1, got float nan"),
        (lambda: conv(stride=0), "Conv2d: stride must be an int at least 1, got 0"),
        (lambda: conv(padding=-1), "Conv2d: padding must be an int at least 0, got -1"),
        (lambda: conv(rng=np.random), "Conv2d: rng must be a numpy.random.Generator, got module"),
        (lambda: nn.BatchNorm(0), "BatchNorm: channels must be an int at least 1, got 0"),
        (lambda: nn.BatchNorm(2, eps=-1e-5), "BatchNorm: eps must be a number at least 0, got -1e-05"),
        (
            lambda: nn.BatchNorm(2, momentum=5),
            "BatchNorm: momentum must be a number at least 0 and at most 1, got 5",
        ),
        (lambda: nn.BatchNorm(2, momentum=np.nan), "BatchNorm: momentum must be .*, got nan"),
        (lambda: nn.BatchNorm(2, eps=np.inf), "BatchNorm: eps must be .*, got inf"),
        (
            lambda: nn.QuantActivation(Clip(0, 1), Binary()),
            "QuantActivation: staircase must be a Staircase, got Clip",
        ),
        (
            lambda: nn.QuantActivation(Binary(), None),
            "QuantActivation: surrogate must be a Surrogate, got NoneType",
        ),
        (lambda: nn.Clip(1, 0), "Clip: low must be below high, got low=1, high=0"),
        (lambda: nn.Clip(np.nan, 0), "Clip: low must be below high, got low=nan, high=0"),
        (lambda: nn.Clip("0", 1), "Clip: low must be a number, got str"),
        (lambda: nn.PReLU(0), "PReLU: channels must be an int at least 1, got 0"),
        (lambda: nn.PReLU(2, np.nan), "PReLU: start must be a finite number, got nan"),
        (
            lambda: nn.he_normal(RNG, (2, 2), slope=np.inf),
            "he_normal: slope must be a number at least -1000000000000000.0 and at most",
        ),
        (lambda: nn.PadChannels(-1), "PadChannels: channels must be an int at least 1, got -1"),
        (lambda: nn.Dropout(1, rng=RNG), "Dropout: p must be a number at least 0 and below 1, got 1"),
        (lambda: nn.Dropout(np.nan, rng=RNG), "Dropout: p must be .*, got nan"),
        (lambda: nn.Dropout(0.5, rng=None), "Dropout: rng must be a numpy.random.Generator, got NoneType"),
        (lambda: nn.MaxPool2d(1.5), "MaxPool2d: size must be an int at least 1, got float 1.5"),
        (lambda: nn.MaxPool2d(2, stride=0), "MaxPool2d: stride must be an int at least 1, got 0"),
        (lambda: nn.MaxPool2d(2, padding=2), "MaxPool2d: padding must be an int at least 0 and at most 1, got 2"),
        (lambda: nn.AvgPool2d(0), "AvgPool2d: size must be an int at least 1, got 0"),
        (lambda: nn.Residual(F.relu), "Residual: body must be a Module, got function"),
        (lambda: nn.Residual(nn.ReLU(), [nn.ReLU()]), "Residual: shortcut must be a Module, got list"),
        (lambda: nn.Sequential({1: nn.ReLU()}), "Sequential: a layer's name must be a str, got 1"),
        (lambda: nn.Sequential({"": nn.ReLU()}), "Sequential: '' cannot name a layer"),
        (lambda: nn.he_normal(RNG, (0, 2)), "he_normal: shape must be an int at least 1, got 0"),
        (lambda: nn.he_normal(RNG, 3), r"he_normal: shape must be \(KH, KW, C, OC\) or \(IN, OUT\), got 3"),
        (lambda: nn.binaryduo_normal(RNG, (1, 2, 3)), r"binaryduo_normal: shape must be .*, got \(1, 2, 3\)"),
        (lambda: nn.binaryduo_normal(RNG, (2, 3), 0), "binaryduo_normal: stride must be an int at least 1, got 0"),
        (lambda: nn.he_normal(0, (2, 2)), "he_normal: rng must be a numpy.random.Generator, got int"),
        (
            lambda: nn.binaryduo_normal(None, (2, 2)),
            "binaryduo_normal: rng must be a numpy.random.Generator, got ",
        ),
        (lambda: summary(nn.ReLU(), (1.5,)), r"summary: in_shape\[0\] must be an int at least 1, got float 1.5"),
    ],
)
def test_settings_without_meaning_are_refused(make, message):
    with pytest.raises((TypeError, ValueError), match=f"^{message}"):
        make()


def test_numpys_integers_and_the_bounds_themselves_are_fine():
    one, two = np.int64(1), np.uint8(2)
    layer = nn.Conv2d(two, two, one, rng=RNG, stride=one, padding=np.int32(0))
    assert repr(layer) == "Conv2d(2, 2, 1, stride=1, padding=0)"
    assert layer(Tensor(np.ones((1, 2, 2, 2), "float32"))).shape == (1, 2, 2, 2)
    assert repr(nn.Linear(two, one, rng=RNG)) == "Linear(2, 1)"
    nn.BatchNorm(one, momentum=1, eps=0)
    nn.Dropout(0, rng=RNG)
    assert nn.Clip(0, np.inf)(Tensor([-1.0, 9.0])).data.tolist() == [0, 9]


@pytest.mark.parametrize("given", [np.sign, nn.ReLU(), LayerScaleSign, "binary"])
def test_only_a_quantizer_quantises_weights(given):
    for make in (
        lambda: linear(weight_quantizer=given),
        lambda: nn.Conv2d(1, 1, 1, rng=RNG, weight_quantizer=given),
    ):
        with pytest.raises(
            TypeError, match="^(Linear|Conv2d): weight_quantizer must be a Quantizer, such as Layer"
        ):
            make()
