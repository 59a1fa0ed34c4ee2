"""Which methods of the shelf can be held against the binary baseline, and how each is put into a network."""

from typing import Any, NamedTuple

import numpy as np

from duonet import arguments
from duonet.experiments.shelf import shelf_rows
from duonet.methods import Entry, entries

# On one bit these are the baseline's own function and gradient, so that they have no row of their own.
SAME = {
    "float": ("dorefa-activations", "wrpn-activations"),
    "binary": ("dorefa-1-bit-weights", "dorefa-weights"),
}
KIND = {"float": "activations", "binary": "weights"}
MORE = {"abc-weights": 2}  # the fewest bases that it has
OURS = ("baseline", "control", "binaryduo", "control3", "binaryduo3")
LABELS = (
    "binary baseline", "decoupled from scratch", "BinaryDuo", "decoupled into three, from scratch",
    "BinaryDuo of 2 bits",
)  # fmt: skip
# Its lowest level is learned; only copies of 0 can stand beside a convolution's padding.
UNCOUPLED = ("dsq-activations",)
COUPLED, THREE = "-coupled", 3  # the end of a name: activations of 2 bits that are decoupled into so many


class Contestant(NamedTuple):
    """A row of the comparison.

    Attributes
    ----------
    name, label : str
    reference : int or None
        Number in the list of references of BinaryDuo; None for its own networks.
    settings : dict
        Of `RunSettings`, what tells it from the baseline.
    """

    name: str
    label: str
    reference: int | None
    settings: dict[str, Any]


def contestants(weights: str) -> list[Contestant]:
    """List what is compared, the baseline first.

    Parameters
    ----------
    weights : {"float", "binary"}
        With float weights, every method whose activations have one bit. With binary ones, every method whose
        weights have one bit, and ABC-Net's two bases, before the baseline's activations. BinaryDuo and its
        architecture from scratch stand in both, with ternary activations and with 2 bits; with float weights so do
        methods of 2 bits, coupled, decoupled into three and fine-tuned.

    Returns
    -------
    list of Contestant

    Examples
    --------
    >>> [c.name for c in contestants("float")][:4]
    ['baseline', 'control', 'binaryduo', 'control3']
    """
    rows = [
        Contestant(name, label, None, {"method": name, "weights": weights}) for name, label in zip(OURS, LABELS)
    ]
    for entry in entries():
        if entry.kind != KIND[weights] or entry.name in SAME[weights]:
            continue
        size = None if entry.size is None else MORE.get(entry.name, 1)
        if _bits(entry, size) != MORE.get(entry.name, 1):
            continue
        settings: dict[str, Any] = {"method": "baseline", "weights": weights, entry.kind: entry.name}
        if size is not None:
            settings[f"{entry.kind[:-1]}_bits"] = size
        rows.append(Contestant(entry.name, entry.name, entry.reference, settings))
        if entry.kind != "activations" or entry.name in UNCOUPLED:
            continue
        if shelf_rows([entry])[0]["copies"] == THREE:
            settings = {"method": "binaryduo3", "weights": weights, "activations": entry.name}
            name = entry.name + COUPLED
            rows.append(Contestant(name, name, entry.reference, settings))
    return rows


def _bits(entry: Entry, size: int | None) -> int | None:
    """Return the bits that a method has with so many bits or bases; None where it does not come in them."""
    try:
        return entry.make(np.random.default_rng(0), size=size).bits
    except ValueError:
        return None


def chosen(weights: str, names: tuple[str, ...]) -> list[Contestant]:
    """List the contestants of some names, and always the baseline.

    Parameters
    ----------
    weights : {"float", "binary"}
    names : tuple of str
        All where there are none.

    Returns
    -------
    list of Contestant

    Raises
    ------
    ValueError
        If there is none of a name; the message suggests the nearest.

    Examples
    --------
    >>> [c.name for c in chosen("float", ("pact",))]
    ['baseline', 'pact']
    """
    rows = contestants(weights)
    for name in names:
        arguments.one_of("contest", "method", name, [row.name for row in rows])
    return [row for row in rows if not names or row.name in names or row.name == "baseline"]
