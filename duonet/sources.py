"""`WeightSource`: a layer's weight, made at every use from learned arrays of other shapes."""

import math
from typing import Any

import numpy as np

from duonet import arguments, backend
from duonet.backend import Array
from duonet.module import Module
from duonet.tensor import Parameter, Tensor


class WeightSource(Module):
    """Base of modules whose `forward()` makes a weight (..., IN, OUT) from Parameters of their own, the latents.

    The `weight_source` of a conv or linear layer is a child of the layer. The layer calls it at every use, and
    passes the weight to its `weight_quantizer`, if there is one. The layer also makes the latents, whose shapes
    follow from its own; a source serves one layer. A subclass defines `latent_shapes`, `shape`, `begin` and
    `forward`, and also `by_inputs` if `decouple` may double its layer.

    Examples
    --------
    >>> from duonet import nn
    >>> class Diagonal(WeightSource):
    ...     shape = property(lambda self: (len(self.values.data),) * 2)
    ...     def latent_shapes(self, shape):
    ...         return {"values": shape[:1]}
    ...     def begin(self, weight):
    ...         fill(self.values, weight.diagonal())
    ...     def forward(self):
    ...         return self.values * np.eye(len(self.values.data), dtype="float32")
    >>> layer = nn.Linear(3, 3, rng=np.random.default_rng(0), bias=False, weight_source=Diagonal())
    >>> [(path, latent.shape) for path, latent in layer.named_parameters()]
    [('weight_source.values', (3,))]
    """

    def latent_shapes(self, shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the latents by name; ValueError if no weight of this shape is possible."""
        raise TypeError(f"{type(self).__name__} defines no latent_shapes, so no layer can take it")

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the weight for the present shapes of the latents."""
        raise NotImplementedError(f"{type(self).__name__} defines no shape")

    def begin(self, weight: Array) -> None:
        """Set the latents so that `forward` returns this weight, or a similar weight."""
        raise NotImplementedError(f"{type(self).__name__} defines no begin")

    def by_inputs(self) -> Parameter | None:
        """Return the latent (..., IN, any) in which the weight is linear, row by row; None if there is none."""
        return None

    def stored(self) -> int:
        """Count the numbers to store once the weight is quantised; by default, all numbers of the weight."""
        return math.prod(self.shape)


def latents(owner: str, shape: tuple[int, ...], source: WeightSource | None) -> Parameter | None:
    """Make the latent weight of a layer, or the latents of its source, of zeros.

    Parameters
    ----------
    owner : str
        The layer, for messages.
    shape : tuple of int
        The shape of the weight.
    source : WeightSource or None

    Returns
    -------
    Parameter or None
        The layer's latent weight; None if a source has the latents.

    Raises
    ------
    TypeError, ValueError
        If `source` is not a WeightSource, makes no such weight, or serves another layer.

    Examples
    --------
    >>> latents("Linear", (3, 2), None).shape
    (3, 2)
    """
    if source is None:
        return Parameter(np.zeros(shape, np.float32))
    arguments.instance(owner, "weight_source", source, WeightSource)
    if source.parameters():
        raise ValueError(f"{owner}: weight_source serves another layer already: each layer needs its own")
    for name, latent in source.latent_shapes(shape).items():
        setattr(source, name, Parameter(np.zeros(latent, np.float32)))
    return None


def arrays(shape: tuple[int, ...], source: WeightSource | None, bias: bool) -> dict[str, tuple[int, ...]]:
    """Return the shapes of a layer's latents and bias, by path.

    Parameters
    ----------
    shape : tuple of int
        The shape of the weight.
    source : WeightSource or None
    bias : bool

    Returns
    -------
    dict

    Examples
    --------
    >>> arrays((3, 2), None, True)
    {'weight': (3, 2), 'bias': (2,)}
    """
    of_source = {} if source is None else source.latent_shapes(shape)
    weight = {"weight": shape} if source is None else {f"weight_source.{name}": n for name, n in of_source.items()}
    return weight | ({"bias": shape[-1:]} if bias else {})


def shape_of(layer: Any) -> tuple[int, ...]:
    """Return the shape of a layer's weight, from its latent weight or its source.

    Parameters
    ----------
    layer : Conv2d or Linear

    Returns
    -------
    tuple of int

    Examples
    --------
    >>> from duonet import nn
    >>> shape_of(nn.Linear(3, 2, rng=np.random.default_rng(0)))
    (3, 2)
    """
    return (layer.weight if layer.weight_source is None else layer.weight_source).shape


def rows(layer: Any) -> Parameter:
    """Return the latent of a layer that has a row for each input: its weight, or a latent of its source.

    Raises
    ------
    ValueError
        If its source has no such latent.

    Examples
    --------
    >>> from duonet import nn
    >>> rows(nn.Linear(3, 2, rng=np.random.default_rng(0))).shape
    (3, 2)
    """
    latent = layer.weight if layer.weight_source is None else layer.weight_source.by_inputs()
    if latent is None:
        raise ValueError(
            f"its weight source {type(layer.weight_source).__name__} has no row for each input to double"
        )
    return latent


def begin(layer: Any, weight: Array) -> None:
    """Give a layer its first weight, by its source if it has one, prepare its quantiser, and set its bias to 0.

    Examples
    --------
    >>> from duonet import nn
    >>> layer = nn.Linear(1, 2, rng=np.random.default_rng(0))
    >>> begin(layer, np.array([[1.0, 2.0]]))
    >>> layer.weight.data
    array([[1., 2.]], dtype=float32)
    """
    if layer.weight_source is None:
        fill(layer.weight, weight)
    else:
        layer.weight_source.begin(backend.to_device(weight, "cpu"))
    if layer.weight_quantizer is not None and weight.any():  # zeros are a file's placeholder
        made = layer.weight if layer.weight_source is None else layer.weight_source()
        layer.weight_quantizer.begin(made.data)
    if layer.bias is not None:
        fill(layer.bias, np.zeros(layer.bias.shape))


def give(layer: Any, quantizer: Any, source: WeightSource | None = None) -> None:
    """Put a quantiser, and a source, into a layer with weights; both start from these weights.

    Parameters
    ----------
    layer : Conv2d or Linear
        Changed in place. With a source, the layer needs a new optimiser.
    quantizer : Quantizer or None
    source : WeightSource, optional

    Raises
    ------
    TypeError, ValueError
        If `quantizer` is not a Quantizer, or the source serves another layer or cannot make such a weight; the
        layer stays unchanged.

    Examples
    --------
    >>> from duonet import methods, nn
    >>> layer = nn.Linear(4, 8, rng=np.random.default_rng(0))
    >>> give(layer, methods.CBCNWeights(), methods.Circulant(4))
    >>> layer
    Linear(4, 8)
      weight_quantizer: CBCNWeights()
      weight_source: Circulant(4)
    """
    if not (quantizer is None or hasattr(quantizer, "begin")):
        raise TypeError(f"give: quantizer must be a Quantizer, got {type(quantizer).__name__}")
    old = layer.weight if layer.weight_source is None else layer.weight_source()
    weight, dtype, device = backend.to_device(old.data, "cpu"), old.dtype, backend.device_of(old.data)
    kept = layer.weight is not None and source is None
    latent = layer.weight if kept else latents(type(layer).__name__, weight.shape, source)
    bias, layer.bias = layer.bias, None
    layer.weight, layer.weight_source, layer.weight_quantizer = latent, source, quantizer
    layer.train(layer.training).astype(dtype).to(device)
    begin(layer, weight)
    layer.bias = bias


def fill(tensor: Tensor, array: Array) -> None:
    """Write an array into a Tensor, in its dtype and on its device.

    Examples
    --------
    >>> fill(number := Tensor([1.0]), np.array([2.0]))
    >>> number.data
    array([2.], dtype=float32)
    """
    tensor.data[...] = backend.to_device(array, backend.device_of(tensor.data))
    tensor.changed()
