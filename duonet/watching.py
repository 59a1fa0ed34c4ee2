"""Views of layers at work: `observe`, `watch`, and `evaluating`, which restores every mode."""

import contextlib
import functools
from collections.abc import Callable, Iterator

from duonet.backend import Array
from duonet.module import Module


class Record:
    """The record that `observe` makes of a layer.

    Attributes
    ----------
    output : array
        The layer's latest output.
    gradient : array or None
        Gradient of the loss with respect to this output, once `backward` has run.
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
    """Keep the model in evaluation mode while the block runs; afterwards every layer has its former mode.

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
