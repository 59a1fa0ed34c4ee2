"""Networks, each as float, binary baseline, full-width ternary and coupled variant."""

from duonet.models.alex import alexnet
from duonet.models.catalogue import build
from duonet.models.dense import densenet
from duonet.models.perceptron import mlp
from duonet.models.resnet import resnet18, resnet20, resnete18
from duonet.models.vgg import vgg7, vgg_deep

__all__ = ["alexnet", "build", "densenet", "mlp", "resnet18", "resnet20", "resnete18", "vgg7", "vgg_deep"]
