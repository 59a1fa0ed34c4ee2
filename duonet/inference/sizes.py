"""The costs of a packed network, by layer; the bytes are those of its file."""

from __future__ import annotations

import math

import numpy as np

from duonet.costs import FLOAT, Row, Summary
from duonet.inference.container import array_bytes, to_bytes
from duonet.inference.layers import Layer, StepLayer, Sum
from duonet.inference.network import PackedNetwork
from duonet.inference.products import SignLayer
from duonet.inference.records import record_of


def packed_summary(network: PackedNetwork) -> Summary:
    """Count the weights, multiply-accumulates and bytes of a packed network.

    Parameters
    ----------
    network : PackedNetwork
        A network with the shape of its input.

    Returns
    -------
    duonet.costs.Summary
        The sum of `bytes_packed` over the rows is the size of the file; the last row is its description and
        checksum. `bytes_unpacked` is the size of the same numbers in float32.

    Examples
    --------
    >>> import duonet
    >>> model = duonet.models.mlp("baseline", 6, (70, 70), 3, "binary", rng=np.random.default_rng(0)).eval()
    >>> network = duonet.pack(model, in_shape=(6,))
    >>> packed_summary(network).total.bytes_packed == len(to_bytes(network))
    True
    """
    total = len(to_bytes(network))
    assert network.in_shape is not None
    rows = _rows(network.layers, network.in_shape)
    rest = total - sum(row.bytes_packed for row in rows)
    wide = [
        layer.bits for layer in network.all_layers() if isinstance(layer, (StepLayer, SignLayer)) and layer.bits
    ]
    return Summary([*rows, Row("description", "", (), {}, {}, 0.0, {}, rest, 0)], max(wide, default=FLOAT))


def _rows(layers: list[Layer], shape: tuple[int, ...]) -> list[Row]:
    rows = []
    for layer in layers:
        if isinstance(layer, Sum):
            rows += _rows(layer.body, shape) + _rows(layer.shortcut, shape)
        else:
            rows.append(_row(layer, shape))
        shape = layer.shape(shape)
    return rows


def _row(layer: Layer, shape: tuple[int, ...]) -> Row:
    _, arrays = record_of(layer)
    counts = {}
    if "signs" in arrays:
        counts[1] = arrays["signs"].size
    floats = sum(array.size for array in arrays.values() if array.dtype == np.float32)
    if floats:
        counts[FLOAT] = floats
    weight = arrays.get("signs", arrays.get("weight"))
    macs = 0
    if weight is not None:
        sums = layer.sums_shape(shape) if isinstance(layer, SignLayer) else layer.shape(shape)
        macs = math.prod(sums[:-1]) * weight.size
    bits = 1 if isinstance(layer, SignLayer) else FLOAT
    weights = {} if weight is None else {bits: weight.size}
    operations = macs * layer.planes / 64 if isinstance(layer, SignLayer) else macs
    return Row(
        layer.path, layer.kind, layer.shape(shape), counts, {bits: macs} if macs else {}, float(operations),
        weights, array_bytes(arrays.values()), 4 * sum(array.size for array in arrays.values()),
    )  # fmt: skip
