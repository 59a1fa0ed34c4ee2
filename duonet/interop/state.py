"""A model's state under PyTorch's names and in its layout, as a dict and as a file of safetensors."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from duonet import backend, nn, sources
from duonet.files import replacing
from duonet.interop.extras import needed
from duonet.interop.plan import Turned, arrays_of, plan
from duonet.state import fitting
from duonet.tape import no_grad

Array = npt.NDArray[Any]
COUNTER = "num_batches_tracked"  # PyTorch's batch norm counts batches, and reads the number if momentum is None
STORED = ("F64", "F32", "F16", "I64")


def to_torch_state(model: nn.Module, in_shape: tuple[int, ...]) -> dict[str, Array]:
    """Return the state dict of `to_torch(model, in_shape)` as NumPy arrays; torch is not needed.

    Conv weights (KH, KW, C, OC) become (OC, C, KH, KW), linear weights (IN, OUT) become (OUT, IN), with the
    columns behind a Flatten in the order of (C, H, W); batch norm's gamma and beta become weight and bias. Weights
    that `LayerScaleSign` or `FilterScaleSign` quantises stay latent; any others are in quantised form.

    Parameters
    ----------
    model : Module
    in_shape : tuple of int
        The shape of one image, (H, W, C) or (IN,).

    Returns
    -------
    dict
        From name to array.

    Raises
    ------
    CannotTranslate, ValueError
        As `to_torch`.

    Examples
    --------
    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(12, 5, rng=np.random.default_rng(0)))
    >>> {name: array.shape for name, array in to_torch_state(model, (2, 2, 3)).items()}
    {'1.weight': (5, 12), '1.bias': (5,)}
    """
    return {name: array.there() for name, array in arrays_of(plan("to_torch_state", model, in_shape)).items()}


def from_torch_state(model: nn.Module, in_shape: tuple[int, ...], state: dict[str, Any]) -> None:
    """Read the `state_dict` of a module of `to_torch`, for example after training in PyTorch, into a model.

    Parameters
    ----------
    model : Module
        Changed in place; after an error, it is unchanged.
    in_shape : tuple of int
        The shape of one image, (H, W, C) or (IN,).
    state : dict
        From name to a torch tensor or an array.

    Raises
    ------
    TypeError
        If `state` is not a dict.
    ValueError
        If an array is missing, unexpected, of another shape or kind of numbers, or not finite, or if a layer's
        quantiser would change the weights; the message names the arrays.
    CannotTranslate
        As `to_torch`.

    Examples
    --------
    >>> from duonet import Tensor
    >>> model = nn.Sequential(nn.Linear(2, 1, rng=np.random.default_rng(0), bias=False))
    >>> from_torch_state(model, (2,), {"0.weight": np.float32([[3, 4]])})
    >>> model(Tensor([[1.0, 10.0]])).data
    array([[43.]], dtype=float32)
    """
    _read("from_torch_state", model, in_shape, _as_arrays(state))


def save_safetensors(path: str | Path, model: nn.Module, in_shape: tuple[int, ...]) -> None:
    """Write the dict of `to_torch_state` as a safetensors file; the complete new file replaces an older file.

    Parameters
    ----------
    path : str or Path
    model : Module
    in_shape : tuple of int
        The shape of one image, (H, W, C) or (IN,).

    Raises
    ------
    CannotTranslate, ValueError
        As `to_torch_state`; or if a number is not finite or a variance is below 0, because `load_safetensors`
        refuses such a file.
    RuntimeError
        If safetensors is not installed.
    OSError
        If the file cannot be written; an older file then stays.

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(2, 1, rng=np.random.default_rng(0)))
    >>> save_safetensors("model.safetensors", model, (2,))  # doctest: +SKIP
    >>> to_torch(model, (2,)).load_state_dict(safetensors.torch.load_file("model.safetensors"))  # doctest: +SKIP
    """
    state = {name: a.there() for name, a in arrays_of(plan("save_safetensors", model, in_shape)).items()}
    _check("save_safetensors", state)
    written = needed("save_safetensors", "safetensors.numpy").save(state, {"format": "pt"})
    with replacing(path) as part:
        part.write_bytes(written)


def load_safetensors(path: str | Path, model: nn.Module, in_shape: tuple[int, ...]) -> None:
    """Read a safetensors file with the names and the layout of `to_torch_state` into a model.

    Parameters
    ----------
    path : str or Path
    model : Module
        Changed in place; after an error, it is unchanged.
    in_shape : tuple of int
        The shape of one image, (H, W, C) or (IN,).

    Raises
    ------
    ValueError
        If the file is not a complete safetensors file; further as `from_torch_state`.
    OSError
        If the file does not exist, is a folder or cannot be read.
    RuntimeError
        If safetensors is not installed.

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(2, 1, rng=np.random.default_rng(0)))
    >>> load_safetensors("model.safetensors", model, (2,))  # doctest: +SKIP
    """
    safetensors = needed("load_safetensors", "safetensors")
    places = arrays_of(plan("load_safetensors", model, in_shape))
    with open(path, "rb"):  # because safetensors calls a file without permission missing
        pass
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            names = sorted(file.keys())
            shapes, kinds = {}, {}
            for name in names:
                found = file.get_slice(name)
                shapes[name], kinds[name] = tuple(found.get_shape()), found.get_dtype()
            _refuse("load_safetensors", _misfits(places, shapes, kinds))  # before an array of such a size is made
            state = {name: file.get_tensor(name) for name in names}
    except safetensors.SafetensorError as error:
        raise ValueError(f"load_safetensors: {path} is not a complete safetensors file: {error}") from None
    _read("load_safetensors", model, in_shape, state)


def _as_arrays(state):
    """Convert torch's tensors, on any device, to arrays, without an import of torch."""
    if not isinstance(state, dict):
        raise TypeError(f"from_torch_state: expected a dict from name to tensor, got {type(state).__name__}")
    arrays = {}
    for name, value in state.items():
        if not hasattr(value, "detach"):
            arrays[name] = value
            continue
        try:
            value = value.detach().cpu()
            short = value.is_floating_point() and value.dtype.itemsize <= 2  # bfloat16, which NumPy lacks
            arrays[name] = (value.float() if short else value).numpy()
        except (TypeError, RuntimeError) as error:  # sparse, quantised, without data
            raise ValueError(f"from_torch_state: {name} cannot become an array: {error}") from None
    return arrays


def _misfits(places, shapes, kinds):
    """Say what is wrong with names, shapes and kinds of numbers."""
    names = [name for name in places if not name.endswith(COUNTER)]
    problems = [f"missing {name}" for name in names if name not in shapes]
    problems += [f"unexpected {name!r:.60}" for name in shapes if name not in places]
    for name in (name for name in places if name in shapes):
        wanted = places[name].there().shape
        if shapes[name] != wanted:
            problems.append(f"{name} has shape {shapes[name]}, expected {wanted}")
        elif kinds[name] not in STORED:
            problems.append(f"{name} holds {kinds[name]}, expected F32; in PyTorch, module.float() converts it")
    return problems


def _refuse(owner: str, problems: Iterable[str]) -> None:
    said = list(problems)
    if said:
        more = [f"and {len(said) - 8} more"] if len(said) > 8 else []
        raise ValueError(f"{owner}: {'; '.join(said[:8] + more)}")


def _check(owner, arrays):
    _refuse(owner, (f"{name} holds NaN or infinity" for name, a in arrays.items() if not np.isfinite(a).all()))
    negative = (name for name, a in arrays.items() if name.endswith("running_var") and (a < 0).any())
    _refuse(owner, (f"{name} holds a number below 0, but no variance is negative" for name in negative))


def _read(owner, model, in_shape, state):
    """Check all arrays, write them into a copy, and then copy its state into the model."""
    twin = copy.deepcopy(model)
    places = arrays_of(plan(owner, twin, in_shape))
    counted = {name: array for name, array in state.items() if not (name in places and name.endswith(COUNTER))}
    wanted = {name: place.there() for name, place in places.items() if not name.endswith(COUNTER)}
    arrays = fitting(owner, counted, wanted)
    _check(owner, arrays)
    with no_grad():
        for name, array in arrays.items():
            if places[name].layer is not None:
                _make(owner, name, places[name], array)
        for name, array in arrays.items():
            if places[name].layer is None:
                sources.fill(places[name].tensor, places[name].here(array))
    model.load_state_dict(twin.state_dict())


def _make(owner: str, name: str, place: Turned, array: Array) -> None:
    """Set the latent weights of a layer so that they make these weights, or refuse."""
    layer: Any = place.layer
    weight = place.here(array)
    sources.begin(layer, weight)
    made = backend.to_device(layer.used_weight().data, "cpu")
    if not np.allclose(made, weight, rtol=1e-5, atol=1e-6 * float(abs(weight).max())):
        what = layer.weight_source if layer.weight_quantizer is None else layer.weight_quantizer
        raise ValueError(f"{owner}: {name}: {type(what).__name__} would change these weights")
