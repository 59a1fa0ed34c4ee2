"""The choice of runs of packed layers that become programs of the compiled kernels; without numba, none."""

from __future__ import annotations

import functools
from types import ModuleType

import numpy as np

from duonet import engine
from duonet.compiled import why_not
from duonet.compiled.instructions import LANES
from duonet.functional.conv import Conv2d
from duonet.inference.floats import FloatLayer
from duonet.inference.layers import Layer, StepLayer, Sum
from duonet.inference.products import SignLayer
from duonet.inference.programs import Program

MOVED = ("relu", "replicate", "flatten")  # NumPy is as fast if they stand alone


def kernels() -> ModuleType | None:
    """Return the module of compiled kernels, or None if they cannot be compiled or the plain ops are asked for.

    Returns
    -------
    module or None
    """
    return _kernels() if engine.allowed("compiled") else None


@functools.cache
def _kernels() -> ModuleType | None:
    if why_not():
        return None
    try:
        from duonet.compiled import program
    except Exception:  # a numba that compiles nothing here is none: `duonet --version` says why
        return None
    return program


def planned(layers: list[Layer], shape: tuple[int, ...], first: bool = True) -> list[Layer]:
    """Replace every run of layers that the kernels compute by a program, for images of one shape.

    Parameters
    ----------
    layers : list of Layer
    shape : tuple of int
        Of one image.
    first : bool
        Whether the first layer reads the network's input.

    Returns
    -------
    list of Layer
    """
    made: list[Layer] = []
    run: list[Layer] = []
    begin = shape
    for i, layer in enumerate(layers):
        if not run:
            begin = shape
        if _written(layer, shape) or (first and i == 0 and _by_kernel(layer, shape)):
            run.append(layer)
        else:
            made += [*_program(run, begin), _inside(layer, shape)]
            run = []
        shape = layer.shape(shape)
    return made + _program(run, begin)


def _program(run: list[Layer], shape: tuple[int, ...]) -> list[Layer]:
    """Return a program, or the layers themselves if they only move values, which NumPy does as well."""
    worth = any(isinstance(layer, (SignLayer, Sum)) or layer.kind == "batch_norm" for layer in run)
    return [Program(run, shape, kernels())] if worth else run


def _inside(layer: Layer, shape: tuple[int, ...]) -> Layer:
    if not isinstance(layer, Sum):
        return layer
    return Sum(layer.path, planned(layer.body, shape, False), planned(layer.shortcut, shape, False))


def _written(layer: Layer, shape: tuple[int, ...]) -> bool:
    """Return whether the kernels have instructions for a layer."""
    if isinstance(layer, Sum):
        for layers in (layer.body, layer.shortcut):
            reached = shape
            for one in layers:
                if not _written(one, reached):
                    return False
                reached = one.shape(reached)
        return bool(layer.body)
    if isinstance(layer, SignLayer):
        return layer.low == 0 and layer.pool in (None, (2, 2, 0))
    return isinstance(layer, StepLayer) or layer.kind in (*MOVED, "batch_norm", "average_copies")


def _by_kernel(layer: Layer, shape: tuple[int, ...]) -> bool:
    """Return whether a layer is a convolution by a compiled kernel, which sums in one order for any batch."""
    if not isinstance(layer, FloatLayer) or layer.kind != "conv" or layer.settings["signs"]:
        return False
    weight, steps = layer.arrays["weight"], {name: layer.settings[name] for name in ("stride", "padding")}
    x = np.zeros((1, *shape), np.float32)
    found = engine.version(Conv2d, "cpu", x, weight, layer.arrays.get("bias"), **steps)
    return bool(found.__module__ == "duonet.compiled.dense" and weight.shape[-1] >= LANES)
