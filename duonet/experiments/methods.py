"""The list of methods that can be trained, a row each; commands, tables and figures all read this list."""

from collections.abc import Callable
from typing import NamedTuple

from duonet.decoupling import decouple
from duonet.module import Module


class Method(NamedTuple):
    """One way to get a network.

    Attributes
    ----------
    label : str
        Its name in tables and figures.
    variant : str or None
        The variant of the model to build; None for a network that another method's run makes on its way.
    color, line, hatch : object
        Style of its curve and its bar, distinct in grey as well; a method without a line has a bar alone.
    begin : callable or None
        Takes the built model and a generator, and returns the model to train; None trains the built model.
    second : callable or None
        Takes the first stage's network, and returns the network that the second stage trains; None if there is no
        second stage.
    on_the_way : tuple of str
        Names in the tables of the first stage's network and of the network from which the second stage starts, if
        both are results.
    """

    label: str
    variant: str | None
    color: str
    line: str | tuple | None
    hatch: str
    begin: Callable | None = None
    second: Callable | None = None
    on_the_way: tuple = ()


def _from_scratch(model: Module, rng) -> Module:
    """Return the architecture of the decoupled network, with new weights."""
    model = decouple(model.eval()).train()  # in evaluation, where no basis follows the batch
    model.reset_parameters(rng)
    return model


def _unchanged(model: Module) -> Module:
    return model


METHODS = {
    "float": Method("float network", "float", "0.65", ":", ""),
    "baseline": Method("binary baseline", "baseline", "#b2500f", "--", "///"),
    "coupled": Method("coupled ternary", "coupled", "#7aa6d8", "-.", "..."),
    "decoupled": Method("decoupled", None, "#7aa6d8", None, "xx"),
    "binaryduo": Method(
        "BinaryDuo: decoupled, fine-tuned", "coupled", "#123a6b", "-", "", second=decouple,
        on_the_way=("coupled", "decoupled"),
    ),
    "control": Method(
        "decoupled from scratch", "coupled", "#5d8a3a", (0, (5, 1, 1, 1)), "\\\\\\", begin=_from_scratch
    ),
    "coupled3": Method("coupled, 2 bits", "coupled3", "#c79bd1", (0, (5, 2, 1, 2)), "xx.."),
    "decoupled3": Method("decoupled into three", None, "#c79bd1", None, "x/"),
    "binaryduo3": Method(
        "decoupled into three, fine-tuned", "coupled3", "#6a2c7a", (0, (8, 2)), "..//", second=decouple,
        on_the_way=("coupled3", "decoupled3"),
    ),
    "control3": Method(
        "three copies from scratch", "coupled3", "#a35fb5", (0, (3, 1)), "\\\\..", begin=_from_scratch
    ),
    "ternary": Method("ternary at full width", "ternary", "0.4", None, "oo"),
    "restarted": Method("binary baseline, restarted", "baseline", "#d98c4a", None, "//", second=_unchanged),
    "control_restarted": Method(
        "decoupled from scratch, restarted", "coupled", "#97b87c", None, "\\\\", begin=_from_scratch,
        second=_unchanged,
    ),
}  # fmt: skip
TRAINED = tuple(name for name, method in METHODS.items() if method.variant is not None)
