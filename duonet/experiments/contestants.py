"""The methods of the shelf that can be compared with the binary baseline, and the settings that select each."""

from typing import Any, NamedTuple

import numpy as np

from duonet import arguments
from duonet.experiments.shelf import shelf_rows
from duonet.methods import Entry, entries

# With one bit these have the baseline's own function and gradient, so they get no row of their own.
SAME = {
    "float": ("dorefa-activations", "wrpn-activations"),
    "binary": ("dorefa-1-bit-weights", "dorefa-weights"),
}
KIND = {"float": "activations", "binary": "weights"}
MORE = {"abc-weights": 2}  # the fewest bases of the method
OURS = ("baseline", "control", "binaryduo", "control3", "binaryduo3")
LABELS = (
    "binary baseline", "decoupled from scratch", "BinaryDuo", "decoupled into three, from scratch",
    "BinaryDuo of 2 bits",
)  # fmt: skip
# It learns its lowest level, but a convolution's padding is 0: decoupled copies need 0 as their lowest level.
UNCOUPLED = ("dsq-activations",)
COUPLED, THREE = "-coupled", 3  # the end of a name for 2-bit activations to decouple, and their number of copies


class Contestant(NamedTuple):
    """A row of the comparison.

    Attributes
    ----------
    name, label : str
    reference : int or None
        Number in BinaryDuo's list of references; None for BinaryDuo's own networks.
    settings : dict
        The fields of `RunSettings` that set the method apart.
    """

    name: str
    label: str
    reference: int | None
    settings: dict[str, Any]


def contestants(weights: str) -> list[Contestant]:
    """List the rows of a comparison, the baseline first.

    Parameters
    ----------
    weights : {"float", "binary"}
        With "float", every method whose activations have one bit. With "binary", every method whose weights have
        one bit, and ABC-Net with two bases, all with the baseline's activations. Both lists have BinaryDuo and its
        architecture from scratch, with ternary activations and with 2 bits. The list of "float" also has methods
        with 2 bits that start coupled, are decoupled into three, and fine-tuned.

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
    """Return the bits of a method made with this number of bits or bases; None if it refuses the number."""
    try:
        return entry.make(np.random.default_rng(0), size=size).bits
    except ValueError:
        return None


def chosen(weights: str, names: tuple[str, ...]) -> list[Contestant]:
    """List the baseline, and the contestants with the given names.

    Parameters
    ----------
    weights : {"float", "binary"}
    names : tuple of str
        Names of contestants; an empty tuple stands for all.

    Returns
    -------
    list of Contestant

    Raises
    ------
    ValueError
        If a name is unknown; the message suggests the nearest.

    Examples
    --------
    >>> [c.name for c in chosen("float", ("pact",))]
    ['baseline', 'pact']
    """
    rows = contestants(weights)
    for name in names:
        arguments.one_of("contest", "method", name, [row.name for row in rows])
    return [row for row in rows if not names or row.name in names or row.name == "baseline"]
