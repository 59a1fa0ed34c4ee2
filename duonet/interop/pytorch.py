"""`to_torch`: a model as a `torch.nn.Module`."""

from __future__ import annotations

from typing import Any

from duonet import nn
from duonet.interop.extras import needed
from duonet.interop.plan import plan


def to_torch(model: nn.Module, in_shape: tuple[int, ...]) -> Any:
    """Build a `torch.nn.Module` that computes the same function as a model, of images (N, C, H, W).

    Containers and layers keep their names, so that `to_torch_state` returns the module's `state_dict`. A staircase
    has its surrogate's gradient, and weights of `LayerScaleSign` and `FilterScaleSign` stay latent: both can be
    trained. Weights of any other quantiser are fixed in quantised form, and a learned range is fixed at its
    present value; a gradient through it is refused. The module's `inference_only` lists these layers.

    Parameters
    ----------
    model : Module
        A model of duonet's layers. It stays unchanged, and shares no memory with the module.
    in_shape : tuple of int
        The shape of one image, (H, W, C) or (IN,).

    Returns
    -------
    torch.nn.Module
        In the mode of the model, on the CPU.

    Raises
    ------
    CannotTranslate
        If a layer has no form in PyTorch; the message names the layer.
    ValueError
        If images of this shape do not fit.
    RuntimeError
        If torch is not installed.

    Examples
    --------
    >>> import numpy as np
    >>> from duonet import models
    >>> model = models.mlp("baseline", 4, (8, 8), 3, rng=np.random.default_rng(0))
    >>> to_torch(model, (4,)).linear1  # doctest: +SKIP
    Linear(in_features=4, out_features=8, bias=False)
    """
    part = plan("to_torch", model, in_shape)
    needed("to_torch", "torch")
    from duonet.interop.torch_layers import build

    module = build(part)
    module.inference_only = tuple(f"{one.path}: {one.inference_only}" for one in part.all() if one.inference_only)
    return module
