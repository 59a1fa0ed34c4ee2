"""Networks, each as float, binary baseline, full-width ternary and coupled variant."""

from duonet.models.catalogue import build
from duonet.models.mlp import mlp
from duonet.models.vgg import vgg7, vgg_deep

__all__ = ["build", "mlp", "vgg7", "vgg_deep"]
