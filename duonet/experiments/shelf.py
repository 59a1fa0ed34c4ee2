"""The table of the method shelf, for `duonet methods` and the docs."""

import math
from collections.abc import Iterable

import numpy as np

from duonet import nn
from duonet.coupling import CannotDecouple
from duonet.decoupling import decouple
from duonet.methods import Entry, entries
from duonet.module import Module
from duonet.quant import Clip, Ternary
from duonet.text import aligned

HEAD = ("reference", "method", "kind", "made by", "W/A bits", "learns", "decouples")
FLOAT = 32


def small_network(entry: Entry, rng: np.random.Generator, inputs: int = 6, classes: int = 4) -> Module:
    """Make a network of two linear layers with a method in its place.

    Parameters
    ----------
    entry : Entry
        A method of activations goes between the layers, behind batch norm; a method of weights into the last
        layer, which reads a ternary activation; a penalty in front of a ternary activation; a method of
        pre-activations in front of batch norm.
    rng : numpy.random.Generator
    inputs, classes : int

    Returns
    -------
    Module
        From (N, inputs) to (N, classes).
    """
    weights = entry.for_layer(rng) if entry.kind == "weights" else {}
    ternary = nn.QuantActivation(Ternary(), Clip(0, 1))
    own: list[Module] = [] if weights else [entry.make(rng)]
    early, late = (own, []) if entry.kind == "pre-activations" else ([], own)
    late = late + [ternary] * (entry.kind in ("weights", "penalties", "pre-activations"))
    first, last = nn.Linear(inputs, 8, rng=rng), nn.Linear(8, classes, rng=rng, **weights)
    return nn.Sequential(first, *early, nn.BatchNorm(8), *late, last)


def shelf_rows(shelf: Iterable[Entry] | None = None) -> list[dict[str, object]]:
    """Describe methods by the tags of their classes, and by trying them.

    Parameters
    ----------
    shelf : iterable of Entry, optional
        By default all methods.

    Returns
    -------
    list of dict
        With `reference`, `method`, `kind`, `made_by` (class or function), `latent` (class of the weight source, or
        None), `weight_bits`, `activation_bits`, `gradient_bits`, `learns` (Parameters), `follows` (buffers),
        `copies` (the number of binary activations that `decouple` makes of one, tried in a small network; 0 if it
        refuses), `divided` (whether the weights behind the copies are divided, or repeated) and `source`.

    Examples
    --------
    >>> from duonet.methods import find
    >>> row = shelf_rows([find("pact")])[0]
    >>> row["made_by"], row["activation_bits"], row["learns"], row["copies"]
    ('PACT', 2, ['alpha'], 3)
    """
    return [_row(entry) for entry in (entries() if shelf is None else shelf)]


def _row(entry):
    quantizer = entry.make(np.random.default_rng(0))
    quantizer.before_step(math.inf)  # as it is when the training has ended
    source = None if entry.latent is None else entry.latent()
    latents = [] if source is None else source.latent_shapes((8, 4))
    bits = {"weights": FLOAT, "activations": FLOAT, entry.kind: quantizer.known("bits")}
    return {
        "reference": entry.reference,
        "method": entry.name,
        "kind": entry.kind,
        "made_by": entry.maker.__name__,
        "latent": source and type(source).__name__,
        "weight_bits": bits["weights"],
        "activation_bits": bits["activations"],
        "gradient_bits": getattr(quantizer, "gradient_bits", FLOAT),
        "learns": [*(path for path, _ in quantizer.named_parameters()), *latents],
        "follows": [path for path, _ in quantizer.named_buffers()],
        **_decoupled(entry),
        "source": entry.source,
    }


def _decoupled(entry):
    """Try `decouple`, because a tag may promise too much."""
    model = small_network(entry, np.random.default_rng(0)).eval()
    try:
        layers = list(decouple(model))
    except CannotDecouple:
        return {"copies": 0, "divided": False}
    binary = next(layer for layer in layers if isinstance(layer, nn.QuantActivation))
    copies = next(layer.copies for layer in layers if isinstance(layer, nn.Replicate))
    return {"copies": copies, "divided": repr(binary.staircase.levels) == "(0.0, 1.0)"}


def shelf_table(rows: Iterable[dict[str, object]]) -> str:
    """Lay out the rows of `shelf_rows` as a table.

    Parameters
    ----------
    rows : iterable of dict

    Returns
    -------
    str
    """
    return aligned([HEAD, *(_words(row) for row in rows)])


def _words(row):
    gradients = row["gradient_bits"]
    made_by = " of ".join(filter(None, (row["made_by"], row["latent"])))
    learns = [*row["learns"], *(f"({path})" for path in row["follows"])]
    return (
        f"[{row['reference']}]", row["method"], row["kind"], made_by,
        f"{row['weight_bits']}/{row['activation_bits']}" + (f"/{gradients}" if gradients < FLOAT else ""),
        ", ".join(learns) or "nothing",
        f"{row['copies']}, {'divided' if row['divided'] else 'repeated'}" if row["copies"] else "no",
    )  # fmt: skip
