"""A packed network: layers that count bits between layers that compute with floats, without a tape."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from duonet.inference.layers import Layer, Steps, Sum, shape_after, values
from duonet.inference.plans import kernels, planned
from duonet.parallel import threads
from duonet.tape import no_grad

Array = npt.NDArray[Any]


class PackedNetwork:
    """A trained network in packed form, made by `pack` or `load_packed`.

    Its logits equal those of the float network to the last bit: sums of signs and steps are whole, and the network
    compares each sum with the least whole number that passes batch norm and staircase.

    Parameters
    ----------
    layers : iterable of Layer
    in_shape : tuple of int, optional
        Of one image, (H, W, C) or (IN,).
    about : dict, optional
        `class_names`, and the `mean` and `std` that normalised the images.

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
        self._planned: tuple[tuple[int, ...], list[Layer]] = (), []
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
            return values(run(self._layers(x.shape[1:]), x))

    def _layers(self, shape: tuple[int, ...]) -> list[Layer]:
        """Return the layers; if kernels are compiled, programs replace runs of layers."""
        if kernels() is None:
            return self.layers
        if self._planned[0] != shape:
            self._planned = shape, planned(self.layers, shape)
        return self._planned[1]

    def all_layers(self) -> Iterator[Layer]:
        """List the layers, with the layers inside sums.

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
