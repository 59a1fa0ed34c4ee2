"""The shelf: every method describes itself here, and every table of methods comes from these descriptions."""

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import numpy as np

from duonet import arguments
from duonet.quant import Quantizer
from duonet.sources import WeightSource

F = TypeVar("F", bound=Callable[..., Quantizer])
KINDS = ("activations", "weights", "gradients", "penalties", "pre-activations")


class Entry(NamedTuple):
    """A quantiser on the shelf.

    Attributes
    ----------
    reference : int
        The publication's number in BinaryDuo's list of references.
    name : str
        Short and in lower case; the commands take it.
    kind : {"activations", "weights", "gradients", "penalties", "pre-activations"}
        What the method quantises; "penalties" quantise nothing, and add to the loss.
    source : str
        The publication.
    maker : callable
        The listed class or function.
    settings : dict
        The maker's arguments that differ from the defaults.
    latent : callable or None
        For a method for weights: makes the `WeightSource` that goes with the method.

    Examples
    --------
    >>> find("pact").make(np.random.default_rng(0))
    PACT(2 bits)
    """

    reference: int
    name: str
    kind: str
    source: str
    maker: Callable[..., Quantizer]
    settings: dict[str, Any]
    latent: Callable[[], WeightSource] | None = None

    @property
    def size(self) -> str | None:
        """Name of the argument for the number of levels, "bits" or "bases"; None if the method has neither."""
        takes = inspect.signature(self.maker).parameters
        return next((name for name in ("bits", "bases") if name in takes), None)

    def make(self, rng: np.random.Generator, epochs: float | None = None, size: int | None = None) -> Quantizer:
        """Make a quantiser with the settings; a method that draws gets `rng`, a method that follows time `epochs`.

        `size` replaces its bits or bases.
        """
        if size is not None and self.size is None:
            raise ValueError(f"methods: {self.name} has neither bits nor bases to choose, got {size}")
        given = {"rng": rng, "epochs": epochs, self.size or "": size}.items()
        takes = inspect.signature(self.maker).parameters
        return self.maker(**self.settings | {k: v for k, v in given if k in takes and v is not None})

    def for_layer(self, rng: np.random.Generator) -> dict[str, Any]:
        """Return a conv or linear layer's arguments for this method for weights."""
        return {
            "weight_quantizer": self.make(rng),
            "weight_source": None if self.latent is None else self.latent(),
        }


SHELF: dict[str, Entry] = {}


def listed(
    reference: int,
    name: str,
    kind: str,
    source: str,
    *,
    latent: Callable[[], WeightSource] | None = None,
    **settings: object,
) -> Callable[[F], F]:
    """Put a class, or a function that makes a quantiser, on the shelf under a name; a decorator.

    Parameters
    ----------
    reference : int
        The publication's number in BinaryDuo's list of references.
    name : str
        Lower case, new on the shelf.
    kind : {"activations", "weights", "gradients", "penalties", "pre-activations"}
    source : str
        Authors, method, place and year.
    latent : callable, optional
        Makes the `WeightSource` that goes with it.
    **settings
        The maker's arguments for this entry, all but `rng`.

    Returns
    -------
    callable
        A decorator that returns its argument.

    Raises
    ------
    ValueError
        If the name is taken or not in lower case, or the kind is none of the five.

    Examples
    --------
    >>> from duonet.quant import LayerScaleSign
    >>> listed(40, "pact", "weights", "Nobody, 2020")(LayerScaleSign)
    Traceback (most recent call last):
        ...
    ValueError: listed: name must be new and in lower case, got 'pact'
    """
    if name in SHELF or name != name.lower():
        raise ValueError(f"listed: name must be new and in lower case, got {name!r}")
    arguments.one_of("listed", "kind", kind, KINDS)

    def put(maker: F) -> F:
        SHELF[name] = Entry(reference, name, kind, source, maker, settings, latent)
        return maker

    return put


def find(name: str) -> Entry:
    """Find a method by its name, in either case.

    Parameters
    ----------
    name : str

    Returns
    -------
    Entry

    Raises
    ------
    ValueError
        If no method has the name; the message suggests the nearest name.

    Examples
    --------
    >>> find("PACT").reference
    12
    >>> find("pcat")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    ValueError: methods: name must be one of ..., got 'pcat'; did you mean 'pact'?
    """
    key = name.lower() if isinstance(name, str) else name
    return SHELF[arguments.one_of("methods", "name", key, _in_order())]


def entries() -> list[Entry]:
    """List the shelf by reference number, then by name.

    Returns
    -------
    list of Entry

    Examples
    --------
    >>> entries()[0].reference <= entries()[-1].reference
    True
    """
    return [SHELF[name] for name in _in_order()]


def _in_order():
    return sorted(SHELF, key=lambda name: (SHELF[name].reference, name))
