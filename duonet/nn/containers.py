"""Modules made of modules."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from duonet import arguments, functional
from duonet.module import Module
from duonet.tensor import Tensor


class _Layers(Module):
    """Modules in order, found by number."""

    def __iter__(self) -> Iterator[Module]:
        return (layer for _, layer in self.children())

    def __len__(self) -> int:
        return len(list(self.children()))


class Sequential(_Layers):
    """Layers one after the other.

    Parameters
    ----------
    *layers : Module or dict
        Modules, named "0", "1", ..., or one dict from name to Module.

    Raises
    ------
    TypeError
        If an argument is not a Module.

    Examples
    --------
    >>> from duonet import Tensor, nn
    >>> model = nn.Sequential({"cut": nn.ReLU(), "flat": nn.Flatten()})
    >>> model
    Sequential()
      cut: ReLU()
      flat: Flatten()
    >>> model(Tensor([[[-1.0, 2.0]]])).data
    array([[0., 2.]], dtype=float32)
    """

    samplewise = True

    def __init__(self, *layers: Module | Mapping[str, Module]):
        super().__init__()
        if len(layers) == 1 and isinstance(layers[0], dict):
            named = layers[0]
        else:
            named = {str(i): layer for i, layer in enumerate(layers)}
        for name, layer in named.items():
            arguments.instance("Sequential", name, layer, Module)
            if not isinstance(name, str):
                raise TypeError(f"Sequential: a layer's name must be a str, got {name!r}")
            if not name or name in vars(self) or hasattr(type(self), name) or "." in name:
                raise ValueError(f"Sequential: {name!r} cannot name a layer")
            setattr(self, name, layer)

    def forward(self, x: Tensor) -> Tensor:
        """Run all layers."""
        for layer in self:
            x = layer(x)
        return x

    def __getitem__(self, i: Any) -> Any:
        """Return layer `i`, or for a slice a Sequential that shares these layers."""
        layers = list(self.children())[i]
        return Sequential(dict(layers)) if isinstance(i, slice) else layers[1]


class ModuleList(_Layers):
    """Layers in a list, for a module whose `forward` decides the order in which they run.

    Neither optimisers nor checkpoints find layers in a plain Python list.

    Parameters
    ----------
    modules : iterable of Module
        Named "0", "1", ....

    Raises
    ------
    TypeError
        If an argument is not a Module.

    Examples
    --------
    >>> import numpy as np
    >>> from duonet import Tensor, nn
    >>> class Deep(nn.Module):
    ...     def __init__(self, depth, rng):
    ...         super().__init__()
    ...         self.layers = nn.ModuleList(nn.Linear(2, 2, rng=rng, bias=False) for _ in range(depth))
    ...     def forward(self, x):
    ...         for layer in self.layers:
    ...             x = layer(x)
    ...         return x
    >>> model = Deep(2, np.random.default_rng(0))
    >>> [path for path, _ in model.named_parameters()]
    ['layers.0.weight', 'layers.1.weight']
    >>> model(Tensor([[1.0, 2.0]])).shape
    (1, 2)
    """

    def __init__(self, modules: Iterable[Module] = ()):
        super().__init__()
        if isinstance(modules, Module):
            raise TypeError(f"ModuleList: expected a list of Modules, got {type(modules).__name__}")
        for module in modules:
            self.append(module)

    def append(self, module: Module) -> None:
        """Add a Module at the end."""
        setattr(self, str(len(self)), arguments.instance("ModuleList", str(len(self)), module, Module))

    def __getitem__(self, i: Any) -> Any:
        """Return layer `i`, or for a slice a ModuleList that shares these layers."""
        found = list(self)[i]
        return ModuleList(found) if isinstance(i, slice) else found


class Residual(Module):
    """y = body(x) + shortcut(x).

    Parameters
    ----------
    body : Module
    shortcut : Module, optional
        The identity by default.

    Examples
    --------
    >>> from duonet import Tensor, nn
    >>> nn.Residual(nn.ReLU())(Tensor([-1.0, 2.0])).data
    array([-1.,  4.], dtype=float32)
    """

    samplewise = True

    def __init__(self, body: Module, shortcut: Module | None = None):
        super().__init__()
        self.body = arguments.instance("Residual", "body", body, Module)
        self.shortcut = None if shortcut is None else arguments.instance("Residual", "shortcut", shortcut, Module)

    def forward(self, x: Tensor) -> Tensor:
        """Run both paths and add them; their shapes must be equal."""
        y = self.body(x)
        x = x if self.shortcut is None else self.shortcut(x)
        if x.shape != y.shape:
            raise ValueError(f"Residual: body gives shape {y.shape}, but the shortcut {x.shape}")
        return functional.add(y, x)


class AverageCopies(Module):
    """The tensor that K copies represent, y = Σ shares[k] · copy k: C channels from K C. `decouple` makes it.

    Parameters
    ----------
    shares : sequence of K numbers

    Examples
    --------
    >>> from duonet import Tensor
    >>> AverageCopies()(Tensor([[1.0, 2.0, 3.0, 6.0]])).data
    array([[2., 4.]], dtype=float32)
    """

    samplewise = True

    def __init__(self, shares: Sequence[float] = (0.5, 0.5)):
        super().__init__()
        self.shares = tuple(arguments.number("AverageCopies", "each share", share) for share in shares)
        arguments.integer("AverageCopies", "the number of shares", len(self.shares), at_least=2)

    def forward(self, x: Tensor) -> Tensor:
        """Map x (..., K C) to y (..., C)."""
        channels, odd = divmod(x.shape[-1], len(self.shares)) if x.ndim else (0, 1)
        if odd:
            raise ValueError(f"expected {len(self.shares)} copies of every channel, got x {x.shape}")
        copies = (x[..., k * channels : (k + 1) * channels] for k in range(len(self.shares)))
        first, *rest = (functional.mul(copy, share) for copy, share in zip(copies, self.shares))
        return sum(rest, first)

    def _settings(self):
        return "" if self.shares == (0.5, 0.5) else f"{self.shares}"


class Replicate(Module):
    """The channels (the last axis) repeated: all of copy 1, then all of copy 2, ... `decouple` makes it.

    Parameters
    ----------
    copies : int

    Examples
    --------
    >>> from duonet import Tensor
    >>> Replicate()(Tensor([[1.0, 2.0]])).data
    array([[1., 2., 1., 2.]], dtype=float32)
    """

    samplewise = by_channel = rising = keeps_levels = True

    def __init__(self, copies: int = 2):
        super().__init__()
        self.copies = arguments.integer("Replicate", "copies", copies, at_least=2, at_most=255)

    def forward(self, x: Tensor) -> Tensor:
        """Map x (..., C) to y (..., copies C)."""
        return functional.concat([x] * self.copies, axis=-1)

    def _settings(self):
        return "" if self.copies == 2 else f"{self.copies}"
