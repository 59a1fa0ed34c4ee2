"""A small network of every model, and weights with which all sums are exact."""

import numpy as np

from duonet import models, nn

FAMILIES = {
    "mlp": ((20,), {"inputs": 20, "widths": (16, 12, 14), "classes": 4}),
    "vgg7": ((8, 8, 2), {"in_shape": (8, 8, 2), "widths": (6, 6, 8, 8, 12, 10), "classes": 4}),
    "vgg_deep": (
        (8, 8, 2),
        {"in_shape": (8, 8, 2), "widths": (4, 4, 6, 6, 6, 8, 8, 8, 12, 10), "classes": 4},
    ),
    "alexnet": ((63, 63, 1), {"in_shape": (63, 63, 1), "widths": (4, 4, 6, 6, 6, 8, 8), "classes": 4}),
    "resnet18": ((32, 32, 1), {"in_shape": (32, 32, 1), "widths": (4, 4, 6, 6), "classes": 4}),
    "resnet20": ((8, 8, 2), {"in_shape": (8, 8, 2), "widths": (4, 6, 8), "classes": 4, "shortcut": "conv"}),
    "resnete18": ((16, 16, 1), {"in_shape": (16, 16, 1), "widths": (4, 4, 6, 6), "classes": 4}),
    "densenet": ((8, 8, 2), {"in_shape": (8, 8, 2), "widths": (6, 4), "classes": 4}),
}


def family(name, variant, rng, weights="float"):
    """Return a small network and the shape of its images."""
    shape, options = FAMILIES[name]
    return getattr(models, name)(variant, weights=weights, rng=rng, **options), shape


def dyadic(model, rng):
    """Weights, statistics and slopes that are small multiples of powers of two: every sum is exact."""
    for path, layer in model.modules():
        if isinstance(layer, nn.BatchNorm):
            n = layer.gamma.size
            layer.eps = 0.0
            layer.gamma.data = rng.choice([-0.5, 0.25, 0.5, 1.0], n)
            layer.beta.data = rng.integers(-2, 6, n) / 8
            layer.running_mean.data = rng.integers(-4, 4, n) / 8
            layer.running_var.data = rng.choice([0.25, 1.0, 4.0], n)
            if "shortcut" in path:  # along the shortcuts bits add up
                layer.gamma.data, layer.running_var.data = np.sign(layer.gamma.data), np.ones(n)
        elif isinstance(layer, (nn.Conv2d, nn.Linear)):
            shape = layer.weight.shape
            if layer.weight_quantizer is not None:
                layer.weight.data = rng.choice([-0.5, 0.5], shape)  # so that their mean size is exact as well
            elif len(shape) == 2 or shape[:2] == (1, 1):
                layer.weight.data = rng.integers(-1, 2, shape)  # here as well
            else:
                layer.weight.data = rng.integers(-2, 3, shape) / 4
    return model.eval()
