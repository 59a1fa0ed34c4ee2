"""The table of the method shelf: `duonet methods` prints it, the docs hold it."""

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
        Of activations: between the layers, behind batch norm. Of weights: in the last layer, which reads a ternary
        activation. A penalty: in front of a ternary activation. Of pre-activations: in front of batch norm.
    rng : numpy.random.Generator
    inputs, classes : int

    Returns
    -------
    Module
    """
    weights = entry.for_layer(rng) if entry.kind == "weights" else {}
    ternary = nn.QuantActivation(Ternary(), Clip(0, 1))
    own: list[Module] = [] if weights else [entry.make(rng)]
    early, late = (own, []) if entry.kind == "pre-activations" else ([], own)
    late = late + [ternary] * (entry.kind in ("weights", "penalties", "pre-activations"))
    first, last = nn.Linear(inputs, 8, rng=rng), nn.Linear(8, classes, rng=rng, **weights)
    return nn.Sequential(first, *early, nn.BatchNorm(8), *late, last)


def shelf_rows(shelf: Iterable[Entry] | None = None) -> list[dict[str, object]]:
    """Describe methods, each by what its class says and does.

    Parameters
    ----------
    shelf : iterable of Entry, optional
        All by default.

    Returns
    -------
    list of dict
        With `reference`, `method`, `kind`, `made_by` (class or function), `latent` (class of the weight source, or
        None), `weight_bits`, `activation_bits`, `gradient_bits`, `learns` (Parameters), `follows` (buffers),
        `copies` (how many binary ones `decouple` makes of an activation, tried in a small network; 0 where it
        refuses), `divided` (whether the weights behind them are divided, or repeated) and `source`.
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
    """Try `decouple`, for a tag may promise too much."""
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
