"""A packed network: layers that count bits between layers that compute with floats, without a tape."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from duonet import engine, parallel
from duonet.functional.conv import Conv2d
from duonet.inference.bits import kernels
from duonet.inference.floats import FloatLayer
from duonet.inference.layers import Layer, Steps, Sum, values
from duonet.inference.products import SignLayer
from duonet.parallel import threads
from duonet.tape import no_grad

Array = npt.NDArray[Any]


TOGETHER = 8  # images that a thread takes through all layers where the kernels are compiled


class PackedNetwork:
    """A trained network made to run, by `pack` or `load_packed`.

    Its logits are those of the float network to the last bit: sums of signs and steps are whole, and each is
    compared with the first whole number that batch norm and staircase let pass.

    Parameters
    ----------
    layers : iterable of Layer
    in_shape : tuple of int, optional
        Of one image, (H, W, C) or (IN,).
    about : dict, optional
        `class_names`, and the `mean` and `std` by which images were normalised.

    Examples
    --------
    >>> import duonet
    >>> model = duonet.models.mlp("baseline", 6, (70, 70), 3, "binary", rng=np.random.default_rng(0)).eval()
    >>> network = duonet.pack(model)
    >>> x = np.random.default_rng(1).standard_normal((5, 6), dtype="float32")
    >>> bool((network(x) == model(duonet.Tensor(x)).data).all())
    True
    >>> network
    PackedNetwork: 4 float layers, 1 of bits
    """

    def __init__(
        self, layers: Iterable[Layer], in_shape: tuple[int, ...] | None = None, about: dict[str, Any] | None = None
    ) -> None:
        self.layers, self.in_shape, self.about = list(layers), in_shape, dict(about or {})
        _link(self.layers)
        self._span = _span(self.layers)
        if in_shape is not None:
            self.out_shape = shape_after(self.layers, in_shape)

    def __call__(self, x: Array) -> Array:
        """Return the logits of a batch.

        Parameters
        ----------
        x : numpy.ndarray
            (N, H, W, C) or (N, IN) float32, normalised as in training.

        Returns
        -------
        numpy.ndarray
            (N, classes) float32
        """
        wanted = "(N, ...)" if self.in_shape is None else f"(N, {', '.join(map(str, self.in_shape))})"
        if not isinstance(x, np.ndarray) or x.dtype != np.float32 or x.ndim < 2:
            got = f"{x.dtype} of shape {x.shape}" if isinstance(x, np.ndarray) else type(x).__name__
            raise TypeError(f"PackedNetwork: x must be {wanted} float32, got {got}")
        if self.in_shape is not None and x.shape[1:] != self.in_shape:
            raise ValueError(f"PackedNetwork: x must be {wanted}, got {x.shape}")
        with no_grad(), threads():
            if len(x) <= TOGETHER or kernels() is None or self._span is None:
                return values(run(self.layers, x))
            head, middle, tail = (self.layers[part] for part in self._span)
            if _by_kernel(head, x[:TOGETHER]):
                head, middle = [], head + middle

            def some(rows: slice) -> Array:
                # By the thread that asks: what lies between two layers stays in its cache.
                with no_grad(), threads(1):
                    return values(run(middle, x[rows]))

            x = values(run(head, x))
            return values(run(tail, np.concatenate(parallel.run(some, _cut(len(x)), least=2))))

    def all_layers(self) -> Iterator[Layer]:
        """List the layers, those inside of sums too.

        Yields
        ------
        Layer
        """
        waiting = self.layers[::-1]
        while waiting:
            layer = waiting.pop()
            waiting.extend((*layer.body, *layer.shortcut)[::-1] if isinstance(layer, Sum) else ())
            yield layer

    def __repr__(self) -> str:
        binary = sum(layer.kind == "signs" for layer in self.all_layers())
        return f"PackedNetwork: {len(list(self.all_layers())) - binary} float layers, {binary} of bits"


def run(layers: Iterable[Layer], x: Array | Steps) -> Array | Steps:
    """Run layers one after the other.

    Parameters
    ----------
    layers : iterable of Layer
    x : array or Steps

    Returns
    -------
    array or Steps
    """
    for layer in layers:
        x = layer.run(x)
    return x


def _cut(n: int) -> list[slice]:
    return [slice(start, start + TOGETHER) for start in range(0, n, TOGETHER)]


def _link(layers: list[Layer]) -> None:
    """Tell every layer that makes bits how many pixels of zeros the next one reads around them."""
    for layer, *behind in (layers[i : i + 2] for i in range(len(layers))):
        if isinstance(layer, Sum):
            _link(layer.body)
            _link(layer.shortcut)
        if behind and isinstance(behind[0], SignLayer):
            if isinstance(layer, SignLayer):
                layer.border = behind[0].padding if behind[0].signs.ndim == 4 else 0
            elif isinstance(layer, FloatLayer):
                layer.before_signs = True


def _span(layers: list[Layer]) -> tuple[slice, slice, slice] | None:
    """Cut the layers in three; the middle, of steps and products of bits alone, can be run a few images at a time.

    BLAS may round a product otherwise for other numbers of rows, so float products stay outside.
    """
    bits = [i for i, layer in enumerate(layers) if isinstance(layer, SignLayer)]
    products = [i for i, layer in enumerate(layers) if isinstance(layer, Sum) or _is_product(layer)]
    if not bits or any(bits[0] < i < bits[-1] for i in products):
        return None
    start = max((i + 1 for i in products if i < bits[0]), default=0)
    return slice(start), slice(start, bits[-1] + 1), slice(bits[-1] + 1, None)


def _is_product(layer: Layer) -> bool:
    return isinstance(layer, FloatLayer) and "weight" in layer.arrays


def _by_kernel(layers: list[Layer], x: Array) -> bool:
    """Say whether the layers are one convolution by a compiled kernel, which sums in one order for any batch."""
    if (
        len(layers) != 1
        or not isinstance(layers[0], FloatLayer)
        or layers[0].kind != "conv"
        or layers[0].settings["signs"]
    ):
        return False
    steps = {name: layers[0].settings[name] for name in ("stride", "padding")}
    found = engine.version(Conv2d, "cpu", x, layers[0].arrays["weight"], layers[0].arrays.get("bias"), **steps)
    return bool(found.__module__.startswith("duonet.compiled."))


def shape_after(layers: Iterable[Layer], shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape of what layers make of one image.

    Parameters
    ----------
    layers : iterable of Layer
    shape : tuple of int

    Returns
    -------
    tuple of int

    Raises
    ------
    ValueError
        If a layer does not fit; names it.
    """
    for layer in layers:
        shape = layer.shape(shape)
    return shape
