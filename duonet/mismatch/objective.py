"""The loss of a model on one batch: without a change of weights, always the same number."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from duonet import arguments, backend, nn
from duonet.backend import Array
from duonet.fusing import fused
from duonet.module import Module
from duonet.tape import no_grad, topological_order
from duonet.tensor import Parameter, Tensor
from duonet.watching import observe


class Objective:
    """L(w) = loss(model(x), target) on a fixed batch, as a Python float.

    Parameters
    ----------
    model : Module
        In evaluation mode: with batch statistics or dropout, the loss is not a function of the weights alone.
    loss : callable
        (output, target) to a Tensor of one element. The output is float64 where the loss accepts float64: the
        difference of two nearby losses has few digits left in float32. A mean over samples may have an attribute
        `rows`, from raw arrays to the (N,) losses of the samples, like the losses of `duonet.functional`.
    batch : tuple
        (x, target): the input, array or Tensor of N >= 1 samples, and the second argument of `loss`.

    Raises
    ------
    ValueError
        If the batch is empty, a layer is in training mode, the loss is not one finite number, or two calls with
        the same weights give two losses; the message names the layer.
    TypeError
        If the batch is not a pair that begins with an array, or `model` is not a Module.

    Examples
    --------
    >>> from duonet import functional as F
    >>> model = nn.Linear(2, 1, rng=np.random.default_rng(0))
    >>> objective = Objective(model, F.mse_loss, (np.ones((3, 2), "float32"), np.zeros((3, 1), "float32")))
    >>> objective.value() == objective.at_start
    True
    """

    def __init__(self, model: Module, loss: Callable[..., Tensor], batch: tuple[Any, Any]):
        x, target = _pair(batch)
        _refuse_no_module(model)
        self.model, self.x = model, x
        _refuse_training_mode(model)
        self._run, _ = fused(model)
        with no_grad(), observe(model) as records:
            output = model(Tensor(x)).data
        self._choose_precision(loss, target, output)
        self.at_start = self.of_output(output)
        self._refuse_change(records)
        self.rows_at_start = self.rows_of(output)
        mean = self.at_start if self.rows_at_start is None else float(self.rows_at_start.mean())
        if not np.isclose(mean, self.at_start):
            raise ValueError(f"mismatch: loss.rows gives a mean of {mean:.9g}, but loss {self.at_start:.9g}")

    def rows_of(self, output: Array, samples: Any = slice(None)) -> Array | None:
        """Compute the losses (N,) of single samples from their outputs; return None if the loss has no `rows`."""
        rows = getattr(self._given_loss, "rows", None)
        if rows is None or not backend.is_array(self._target):
            return None
        return rows(output.astype(np.float64, copy=False), self._target[samples])

    def value(self) -> float:
        """Compute L with the model's present weights; ValueError if L is not one finite number."""
        with no_grad():
            return self.of_output(self._run(Tensor(self.x)).data)

    def of_output(self, output: Array) -> float:
        """Compute L from the model's output on the batch, a raw array; ValueError as in `value`."""
        with no_grad():
            value = self._loss(Tensor(output.astype(self._dtype, copy=False)), self._target)
        return self._number(value)

    def gradients(self, parameters: list[Parameter]) -> list[Array | None]:
        """Back-propagate L to some parameters, frozen or not: an array each, None for a parameter out of reach.

        Afterwards every Tensor of the graph has its former `grad` and `requires_grad`.
        """
        frozen = [parameter for parameter in parameters if not parameter.requires_grad]
        leaves, held = [], []
        try:
            for parameter in frozen:
                parameter.requires_grad = True
            value = self._given_loss(self._run(Tensor(self.x)), self._given_target)
            self._number(value)
            leaves = _leaves(value)
            held = [leaf.grad for leaf in leaves]
            for leaf in leaves:
                leaf.grad = None
            if value.requires_grad:
                value.backward()
            reached = {id(leaf) for leaf in leaves}
            return [parameter.grad if id(parameter) in reached else None for parameter in parameters]
        finally:
            for leaf, gradient in zip(leaves, held):
                leaf.grad = gradient
            for parameter in frozen:
                parameter.requires_grad = False

    def _choose_precision(self, loss, target, output):
        self._loss = self._given_loss = loss
        self._target = self._given_target = target
        self._dtype = np.float64
        if backend.is_array(target) and target.dtype.kind == "f":
            self._target = target.astype(np.float64, copy=False)
        try:
            self.of_output(output)
        except TypeError:  # a loss that holds float32 arrays of its own
            self._target, self._dtype = target, output.dtype

    @staticmethod
    def _number(value):
        if not isinstance(value, Tensor) or value.size != 1:
            got = f"a Tensor of shape {value.shape}" if isinstance(value, Tensor) else type(value).__name__
            raise ValueError(f"mismatch: loss must return one number as a Tensor, got {got}")
        number = float(value.item())
        if not np.isfinite(number):
            raise ValueError(f"mismatch: the loss is {number}")
        return number

    def _refuse_change(self, first):
        """Compare a second call with the first, and name the layer where they begin to differ."""
        with no_grad(), observe(self.model) as second:
            again = self.of_output(self.model(Tensor(self.x)).data)
        if again == self.at_start:
            return
        parted = (
            path for path, record in second.items() if path and not (record.output == first[path].output).all()
        )
        path = next(parted, None)
        if path is not None:
            where = f"at layer {path}"
        else:
            same = (second[""].output == first[""].output).all()
            where = "in the loss itself" if same else "in the model's own forward"
        raise ValueError(
            f"mismatch: the loss changes between calls with the same weights, from {self.at_start:.9g} to "
            f"{again:.9g}; it begins to differ {where}. Draw its noise from a generator seeded anew at each call, "
            "or switch it off"
        )


def _refuse_no_module(model):
    if not isinstance(model, nn.Module):
        raise TypeError(f"mismatch: model must be a Module, got {type(model).__name__}")


def _pair(batch):
    """Split a batch into the array x, which must not be empty, and the target."""
    if not isinstance(batch, (tuple, list)) or len(batch) != 2:
        raise TypeError(f"mismatch: batch must be a pair (x, target), got {type(batch).__name__}")
    x, target = (part.data if isinstance(part, Tensor) else part for part in batch)
    if not backend.is_array(x):
        raise TypeError(f"mismatch: batch x must be an array or a Tensor, got {type(x).__name__}")
    if x.ndim == 0 or x.size == 0:
        raise ValueError(f"mismatch: the batch is empty, x has shape {x.shape}")
    return x, target


def _leaves(value):
    """List the Tensors, computed by no op, that receive a gradient from this Tensor."""
    if not value.requires_grad:
        return []
    return [s for s in topological_order(value._node or value, "mismatch") if isinstance(s, Tensor)]


def _refuse_training_mode(model):
    for path, layer in model.modules():
        draws = not getattr(layer, "deterministic", True)
        what = layer.known("in_training") or ("draws at every call" if draws else "")
        if layer.training and what:
            name = f"{path} {type(layer).__name__}".strip()
            raise ValueError(f"mismatch: {name} is in training mode, where it {what}; call model.eval() first")


def weighted_layers(model: Module, layers: list[str] | None = None) -> dict[str, Module]:
    """Find the layers whose weights are measured.

    Parameters
    ----------
    model : Module
    layers : list of str, optional
        Paths of layers with a `weight`; by default all such layers, each once.

    Returns
    -------
    dict
        From path to layer.

    Raises
    ------
    ValueError
        If a layer is unknown; the message names the layers with weights.

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(2, 3, rng=np.random.default_rng(0)), nn.ReLU())
    >>> list(weighted_layers(model))
    ['0']
    """
    _refuse_no_module(model)
    if layers is None:
        layers = [path for path, module in model.modules() if _has_weight(module)]
    layers = [layers] if isinstance(layers, str) else list(layers)
    found = known_layers(model, "layers", layers)
    if not layers:
        raise ValueError("mismatch: no layer to measure; the model has no weights, or layers is empty")
    return {path: found[path] for path in layers}


def known_layers(model: Module, name: str, paths: Iterable[str]) -> dict[str, Module]:
    """Find the layers with weights by all of their paths, and refuse unknown paths.

    Parameters
    ----------
    model : Module
    name : str
        The argument that holds the paths, for messages.
    paths : collection of str

    Returns
    -------
    dict
        From path to layer.

    Raises
    ------
    ValueError
        If a path is unknown; the message names the known paths.

    Examples
    --------
    >>> list(known_layers(nn.Linear(2, 3, rng=np.random.default_rng(0)), "layers", [""]))
    ['']
    """
    found = {path: module for path, module in model.modules(every_path=True) if _has_weight(module)}
    for path in paths:
        if path not in found:
            raise ValueError(
                f"mismatch: {name}: no layer {path!r} has a weight; layers with weights are {', '.join(found)}"
            )
    return found


def _has_weight(module):
    return isinstance(getattr(module, "weight", None), Parameter)


def sample_coordinates(
    model: Module, count: int | None, rng: np.random.Generator | None = None, layers: list[str] | None = None
) -> dict[str, npt.NDArray[Any]]:
    """Draw weights of each layer without replacement.

    Parameters
    ----------
    model : Module
    count : int or None
        The number of weights of each layer; None, or a number above the layer's size, takes all.
    rng : numpy.random.Generator, optional
        Needed where `count` is given.
    layers : list of str, optional
        Paths of layers with weights; all by default.

    Returns
    -------
    dict
        From path to sorted flat indices into the layer's weight.

    Raises
    ------
    ValueError
        If `count` is not positive, or a layer is unknown.
    TypeError
        If `count` is not an int, or `rng` is missing.

    Examples
    --------
    >>> model = nn.Linear(3, 2, rng=np.random.default_rng(0))
    >>> {path: len(flat) for path, flat in sample_coordinates(model, 4, np.random.default_rng(0)).items()}
    {'': 4}
    """
    if count is not None:
        count = arguments.integer("mismatch", "coordinates", count, at_least=1)
        arguments.generator("mismatch", "rng", rng)
    sizes = {path: layer.weight.size for path, layer in weighted_layers(model, layers).items()}
    return {
        path: np.arange(size)
        if rng is None or count is None or count >= size
        else np.sort(rng.choice(size, count, replace=False))
        for path, size in sizes.items()
    }


def cut(batch: tuple[Any, Any], parts: int) -> list[tuple[Any, Any]]:
    """Cut a batch into disjoint parts of equal size; samples left over are dropped.

    Parameters
    ----------
    batch : tuple
        (x, target), arrays or Tensors with a row for each sample.
    parts : int

    Returns
    -------
    list of tuple

    Raises
    ------
    ValueError
        If there are fewer samples than parts, or x and target differ in length.
    TypeError
        If the batch is not a pair, or `parts` is not an int.

    Examples
    --------
    >>> [x.tolist() for x, _ in cut((np.arange(5), np.arange(5)), 2)]
    [[0, 1], [2, 3]]
    """
    x, target = _pair(batch)
    parts = arguments.integer("mismatch", "parts", parts, at_least=1, at_most=len(x))
    rows = len(target) if hasattr(target, "__len__") and getattr(target, "ndim", True) else 0
    if rows != len(x):
        raise ValueError(f"mismatch: target has {rows} rows for {len(x)} samples, so it cannot be cut")
    size = len(x) // parts
    return [(x[k * size : (k + 1) * size], target[k * size : (k + 1) * size]) for k in range(parts)]
