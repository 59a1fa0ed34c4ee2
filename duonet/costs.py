"""The costs of a network: parameters, multiply-accumulates and bytes, by bit width."""

import math
from typing import Any, NamedTuple

import numpy as np

from duonet import arguments, backend, nn, sources
from duonet.module import Module
from duonet.quant import Quantizer
from duonet.tape import no_grad
from duonet.tensor import Parameter, Tensor
from duonet.text import aligned
from duonet.watching import evaluating, watch

FLOAT = 32
COLUMNS = 100  # width of the printed table


class Row(NamedTuple):
    """The costs of one layer.

    Attributes
    ----------
    path, kind : str
    output_shape : tuple of int
        For one input, without the batch axis.
    parameters, macs : dict
        From bit width to count; 32 is float. A multiply-accumulate is as wide as the wider of its two factors.
    operations : float
        A float multiply-accumulate counts 1; with an a-bit activation and a w-bit weight it counts a w / 64.
    weights : dict
        From bit width to the number of weights of conv and linear layers. For a `WeightSource`, the latents count,
        or, if its weight is quantised, the numbers that must be stored.
    bytes_packed : int
        Parameters and running averages, each in its own number of bits, scales in float32.
    bytes_unpacked : int
        The same as arrays in memory.
    """

    path: str
    kind: str
    output_shape: tuple[int, ...]
    parameters: dict[int, int]
    macs: dict[int, int]
    operations: float
    weights: dict[int, int]
    bytes_packed: int
    bytes_unpacked: int

    @property
    def share_binarised(self) -> float:
        """The share of the parameters that have one bit, 0 to 1."""
        total = sum(self.parameters.values())
        return self.parameters.get(1, 0) / total if total else 0.0


class Summary:
    """The costs of a network, by layer and in total; printing them gives a table.

    Attributes
    ----------
    rows : list of Row
    total : Row
    weights : int
        Weights of conv and linear layers, the count by which the paper compares networks.
    parameters : int
        Weights, biases, batch norm's gamma and beta.
    macs : int
        Multiply-accumulates of conv and linear layers for one input.
    weight_bits : int
        Bits of a weight of the layers that read quantised activations; 32 is float32.
    activation_bits : int
        Bits of a quantised activation; 32 if there is none.
    mbit : float
        Weights of conv and linear layers in millions of bits, the paper's measure of memory; its measure of
        compute is `total.operations`.

    Examples
    --------
    >>> model = nn.Sequential({"linear": nn.Linear(2, 3, rng=np.random.default_rng(0))})
    >>> print(summary(model, (2,)))
    layer   output  W32  MAC32  packed  unpacked  1 bit
    ---------------------------------------------------
    linear       3    9      6    36 B      36 B    0 %
    total             9      6    36 B      36 B    0 %
    <BLANKLINE>
    W: parameters of so many bits, MAC: multiply-accumulates by the wider factor; 32 is float
    weights of conv and linear layers: 6 float; 0.000192 Mbit
    multiply-accumulates: 6 float; binary / 64 + float: 6
    """

    def __init__(self, rows: list[Row], activation_bits: int):
        self.rows = rows
        self.total = total = Row(
            "total", "", (),
            parameters=_added(row.parameters for row in rows),
            macs=_added(row.macs for row in rows),
            operations=sum(row.operations for row in rows),
            weights=_added(row.weights for row in rows),
            bytes_packed=sum(row.bytes_packed for row in rows),
            bytes_unpacked=sum(row.bytes_unpacked for row in rows),
        )  # fmt: skip
        self.weights, self.parameters, self.macs = (
            sum(counts.values()) for counts in (total.weights, total.parameters, total.macs)
        )
        self.weight_bits, self.activation_bits = min(total.weights, default=FLOAT), activation_bits
        self.mbit = sum(bits * n for bits, n in total.weights.items()) / 1e6

    def to_dict(self) -> dict[str, Any]:
        """Return the costs as a dict of values that JSON can hold."""

        def values(row):
            named = {
                key: value if not isinstance(value, dict) else _named(value)
                for key, value in row._asdict().items()
            }
            return named | {"output_shape": list(row.output_shape), "share_binarised": row.share_binarised}

        return {
            "layers": [values(row) for row in self.rows],
            "total": values(self.total),
            "operations": self.total.operations,
            "mbit": self.mbit,
        }

    def __str__(self) -> str:
        wide = {"W": sorted(self.total.parameters) or [FLOAT], "MAC": sorted(self.total.macs) or [FLOAT]}
        header = ["layer", "output"]
        header += [f"{what}{bits}" for what, all_bits in wide.items() for bits in all_bits]
        header += ["packed", "unpacked", "1 bit"]
        lines = [header]
        for row in [*self.rows, self.total]:
            counts = [row.parameters.get(b, 0) for b in wide["W"]] + [row.macs.get(b, 0) for b in wide["MAC"]]
            lines.append(
                [row.path.replace(".body.", "."), "×".join(map(str, row.output_shape))]
                + [_short(n) for n in counts]
                + [_short(n, "B") for n in (row.bytes_packed, row.bytes_unpacked)]
                + [f"{100 * row.share_binarised:.0f} %" if row.parameters else ""]
            )
        room = COLUMNS - sum(max(len(line[i]) for line in lines) + 2 for i in range(1, len(header)))
        for line in lines:
            line[0] = line[0] if len(line[0]) <= room else "…" + line[0][1 - room :]
        return "\n".join([aligned(lines), "", *self._words()])

    def _words(self):
        def each(counts):
            words = [
                f"{n:,} float" if bits == FLOAT else f"{n:,} of {bits} bit" for bits, n in sorted(counts.items())
            ]
            return ", ".join(words) or "none"

        yield "W: parameters of so many bits, MAC: multiply-accumulates by the wider factor; 32 is float"
        yield f"weights of conv and linear layers: {each(self.total.weights)}; {self.mbit:.4g} Mbit"
        yield f"multiply-accumulates: {each(self.total.macs)}; binary / 64 + float: {self.total.operations:,.0f}"


def summary(model: Module, in_shape: tuple[int, ...]) -> Summary:
    """Count the costs of each layer of a network, by bit width.

    Parameters
    ----------
    model : Module
    in_shape : tuple of int
        Shape of one input without the batch axis: (H, W, C) or (IN,).

    Returns
    -------
    Summary
        A row for each run of a layer that has parameters, or no layers below it; then a row without a shape for
        each layer with parameters that never runs. Multiply-accumulates (of conv and linear layers) count in every
        run, parameters in the first run alone.

    Raises
    ------
    ValueError
        If the model cannot take an input of this shape; the message names the layer.

    Examples
    --------
    >>> from duonet.models import resnet20
    >>> counted = summary(resnet20("baseline", weights="binary", rng=np.random.default_rng(0)), (32, 32, 3))
    >>> counted.total.weights, round(counted.mbit, 2)
    ({32: 3632, 1: 267264}, 0.38)
    """
    shape = [arguments.integer("summary", f"in_shape[{i}]", n, at_least=1) for i, n in enumerate(in_shape)]
    like = next((p.data for p in model.parameters()), np.zeros(0, np.float32))
    x = Tensor(backend.get_xp(like).zeros((1, *shape), like.dtype))
    of_weights = {id(getattr(module, "weight_quantizer", None)) for _, module in model.modules()}
    bits: dict[int, int] = {}  # from the id of a quantised tensor to the bits of its values
    alive, rows, met = [x], [], set()

    def see(path, module, inputs, output):
        if isinstance(module, nn.WeightSource):  # its layer's row counts it
            return
        alive.extend([*inputs, output])  # an id is valid only as long as its tensor lives
        read = min((bits.get(id(tensor), FLOAT) for tensor in inputs), default=FLOAT)
        if _quantizes(module):
            bits[id(output)] = module.known("bits")
        elif module.known("keeps_levels"):  # quantised values stay quantised
            bits.setdefault(id(output), read)
        own, fresh = tensors(module)
        shape = None if id(module) in of_weights else output.shape[1:]
        if own or not (list(module.children()) or shape is None):
            rows.append(_row(path, module, fresh, read, shape))

    def tensors(module):
        """Return the number of a module's own tensors, and the list of its tensors that no row has counted yet."""
        holders = [module, *filter(None, [getattr(module, "weight_source", None)])]
        own = {id(v): v for holder in holders for v in vars(holder).values() if isinstance(v, Tensor)}
        fresh = [value for key, value in own.items() if key not in met]
        met.update(own)
        return len(own), fresh

    with no_grad(), evaluating(model), watch(model, see):
        model(x)
    for path, module in model.modules():  # another layer may read a layer that never runs
        _, fresh = tensors(module)
        if fresh:
            rows.append(_row(path, module, fresh, FLOAT, None))
    quantizers = [m for _, m in model.modules() if _quantizes(m) and id(m) not in of_weights]
    return Summary(rows, max((quantizer.known("bits") for quantizer in quantizers), default=FLOAT))


def _quantizes(module):
    """Return whether a quantiser changes its input: a quantiser of gradients and a penalty do not."""
    return isinstance(module, Quantizer) and not (module.known("bits") == FLOAT and module.known("keeps_levels"))


def _row(path, module, fresh, read, shape):
    """Count one run of a layer, or none; `fresh` are its tensors that no row has counted yet."""
    parameters = sum(tensor.size for tensor in fresh if isinstance(tensor, Parameter))
    everything = sum(tensor.size for tensor in fresh)
    unpacked = sum(tensor.data.nbytes for tensor in fresh)
    if not isinstance(module, (nn.Conv2d, nn.Linear)):
        counts = {FLOAT: parameters} if parameters else {}
        return Row(path, type(module).__name__, shape or (), counts, {}, 0.0, {}, 4 * everything, unpacked)
    quantizer = module.weight_quantizer
    bits = FLOAT if quantizer is None else quantizer.known("bits")
    # Each output value of a layer takes one multiplication per weight that leads to its channel.
    used, source = sources.shape_of(module), module.weight_source
    macs = 0 if shape is None else math.prod(shape) * math.prod(used[:-1])
    wide = max(read, bits)
    latents = [module.weight] if source is None else source.parameters()
    latent = sum(part.size for part in latents if any(tensor is part for tensor in fresh))
    weights = source.stored() if source and latent and bits != FLOAT else latent
    scales = quantizer.scales(used) if weights and bits != FLOAT else 0
    return Row(
        path, type(module).__name__, shape or (),
        parameters=_added([{bits: weights}, {FLOAT: parameters - latent}]),
        macs=_added([{wide: macs}]),
        operations=float(macs) if wide == FLOAT else macs * read * bits / 64,
        weights=_added([{bits: weights}]),
        bytes_packed=-(-weights * bits // 8) + 4 * (everything - latent + scales),
        bytes_unpacked=unpacked,
    )  # fmt: skip


def _added(counts):
    total = {}
    for count in counts:
        for bits, n in count.items():
            if n:
                total[bits] = total.get(bits, 0) + n
    return total


def _named(counts):
    return {"float" if bits == FLOAT else f"{bits}-bit": n for bits, n in counts.items()}


def _short(n, unit=""):
    """Write a count in at most six characters and the unit."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3 if unit else 1e5, "k")):
        if n >= size:
            return f"{n / min(size, 1e3 if letter == 'k' else size):.3g} {letter}{unit}"
    return f"{n:,} {unit}".strip() if n else ""
