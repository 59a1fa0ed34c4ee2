"""What a network costs: parameters, multiply-accumulates, bits."""

from typing import NamedTuple

import numpy as np

from duonet import backend, nn
from duonet.nn.module import observe
from duonet.tape import no_grad
from duonet.tensor import Tensor


class Cost(NamedTuple):
    """What a network costs.

    Attributes
    ----------
    weights : int
        Weights of conv and linear layers, the count the paper compares networks by.
    parameters : int
        All parameters: weights, biases, batch norm's gamma and beta.
    macs : int
        Multiply-accumulates of conv and linear layers for one image.
    weight_bits : int
        Bits of a weight of the layers that read quantised activations; 32 is float32.
    activation_bits : int
        Bits of a quantised activation; 32 where there is none.
    """

    weights: int
    parameters: int
    macs: int
    weight_bits: int
    activation_bits: int


def cost(model, in_shape):
    """Count parameters, multiply-accumulates and bits of a network.

    Parameters
    ----------
    model : Module
    in_shape : tuple of int
        Shape of one input without the batch axis: (H, W, C) or (IN,).

    Returns
    -------
    Cost

    Raises
    ------
    ValueError
        If the model cannot take that input; names the layer.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, rng=rng, bias=False), nn.BatchNorm(8))
    >>> cost(model, (32, 32, 3))
    Cost(weights=216, parameters=232, macs=221184, weight_bits=32, activation_bits=32)
    """
    was_training = model.training
    like = next((p.data for p in model.parameters()), np.zeros(0, np.float32))
    x = Tensor(backend.get_xp(like).zeros((1, *in_shape), like.dtype))
    with no_grad(), observe(model.eval()) as records:
        model(x)
    model.train(was_training)
    multiplying = {path: m for path, m in model.modules() if isinstance(m, (nn.Conv2d, nn.Linear))}
    # Each output value of a layer takes one multiplication per weight that leads to its channel.
    macs = sum(
        records[path].output.size * (m.weight.size // m.weight.shape[-1]) for path, m in multiplying.items()
    )
    quantizers = [m.weight_quantizer for m in multiplying.values() if m.weight_quantizer is not None]
    staircases = [m.staircase for _, m in model.modules() if isinstance(m, nn.QuantActivation)]
    return Cost(
        weights=sum(m.weight.size for m in multiplying.values()),
        parameters=sum(p.size for p in model.parameters()),
        macs=macs,
        weight_bits=max((q.bits for q in quantizers), default=32),
        activation_bits=max((s.bits for s in staircases), default=32),
    )


def count_weights(model):
    """Count the weights of conv and linear layers.

    Parameters
    ----------
    model : Module

    Returns
    -------
    int

    Examples
    --------
    >>> count_weights(nn.Linear(3, 2, rng=np.random.default_rng(0)))
    6
    """
    return sum(m.weight.size for _, m in model.modules() if isinstance(m, (nn.Conv2d, nn.Linear)))
