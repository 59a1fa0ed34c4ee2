"""Looking at layers: `observe`, `watch`, `evaluating`, which restores every mode, and `first_not_finite`."""

import contextlib
import functools
from collections.abc import Callable, Iterator

from duonet import backend
from duonet.backend import Array
from duonet.module import Module
from duonet.nn.layers import BatchNorm
from duonet.tensor import Tensor


class Record:
    """What `observe` saw at one layer.

    Attributes
    ----------
    output : array
        The layer's latest output.
    gradient : array or None
        Gradient of the loss with respect to it, once `backward` has run.
    """

    def __init__(self, output: Array):
        self.output = output
        self.gradient: Array | None = None


@contextlib.contextmanager
def observe(model: Module) -> Iterator[dict[str, Record]]:
    """Record the output of every layer, and its gradient, while the block runs.

    Parameters
    ----------
    model : Module

    Yields
    ------
    dict
        From path to `Record`, filled as layers run. A layer that runs twice keeps its latest record.

    Examples
    --------
    >>> from duonet import Tensor, nn
    >>> model = nn.Sequential({"cut": nn.ReLU()})
    >>> x = Tensor([-1.0, 2.0], requires_grad=True)
    >>> with observe(model) as records:
    ...     model(x).sum().backward()
    >>> records["cut"].output, records["cut"].gradient
    (array([0., 2.], dtype=float32), array([1., 1.], dtype=float32))
    """
    records = {}

    def see(path, module, inputs, output):
        record = records[path] = Record(output.data)
        if output.requires_grad:
            output.add_hook(lambda dy: setattr(record, "gradient", dy))

    with watch(model, see):
        yield records


@contextlib.contextmanager
def evaluating(model: Module) -> Iterator[Module]:
    """Keep the model in evaluation mode while the block runs; then every layer has the mode it had.

    Parameters
    ----------
    model : Module

    Yields
    ------
    Module

    Examples
    --------
    >>> from duonet import nn
    >>> model = nn.Sequential(nn.ReLU())
    >>> with evaluating(model):
    ...     model.training
    False
    >>> model.training
    True
    """
    before = [(module, module.training) for _, module in model.modules()]
    try:
        yield model.eval()
    finally:
        for module, training in before:
            module.training = training


@contextlib.contextmanager
def watch(model: Module, see: Callable[..., None]) -> Iterator[None]:
    """Call `see(path, module, inputs, output)` whenever a layer has run, while the block runs.

    Parameters
    ----------
    model : Module
    see : callable

    Yields
    ------
    None

    Examples
    --------
    >>> from duonet import Tensor, nn
    >>> model = nn.Sequential({"cut": nn.ReLU()})
    >>> with watch(model, lambda path, *rest: print(repr(path))):
    ...     _ = model(Tensor([1.0]))
    'cut'
    ''
    """
    added = [(module, functools.partial(see, path, module)) for path, module in model.modules()]
    for module, partial in added:
        module._observers.append(partial)
    try:
        yield
    finally:
        for module, partial in added:
            module._observers.remove(partial)


def first_not_finite(model: Module) -> str | None:
    """Name the first parameter or running average that holds NaN or infinity.

    Parameters
    ----------
    model : Module

    Returns
    -------
    str or None

    Examples
    --------
    >>> first_not_finite(BatchNorm(2))
    """
    numbers: list[tuple[str, Tensor]] = [(f"parameter {path}", p) for path, p in model.named_parameters()]
    for path, layer in model.modules():
        if isinstance(layer, BatchNorm):
            pair = ("running_mean", layer.running_mean), ("running_var", layer.running_var)
            numbers += [(f"running average {path}.{name}", average) for name, average in pair]
    return next((name for name, tensor in numbers if not all_finite(tensor.data)), None)


def all_finite(array: Array) -> bool:
    """Say whether an array holds neither NaN nor infinity.

    Parameters
    ----------
    array : array

    Returns
    -------
    bool

    Examples
    --------
    >>> all_finite(BatchNorm(2).gamma.data)
    True
    """
    return bool(backend.get_xp(array).isfinite(array).all())
