"""Networks, each as float, binary baseline, full-width ternary and coupled variant."""

from duonet.models.mlp import mlp
from duonet.models.vgg import vgg7, vgg_deep

__all__ = ["mlp", "vgg7", "vgg_deep"]
