"""CI-BCNN: some channels correct others before batch norm, and a search for the pairs of channels."""

from collections.abc import Callable, Sequence

import numpy as np

from duonet import arguments
from duonet.methods.shelf import listed
from duonet.quant import Quantizer
from duonet.tensor import Function, Tensor

MOST = 100  # edges of a layer


class Interaction(Function):
    """y_s = x_s + Σ_t K_ts g(x_t), g = height · (1[x >= window] − 1[x <= −window]).   dx = dy."""

    exact = False

    @staticmethod
    def forward(ctx, x, *, edges, window, height):
        y = x.copy()
        for teacher, student, sign in edges:
            of = x[..., teacher]
            said = (of >= window).astype(x.dtype) - (of <= -window).astype(x.dtype)
            y[..., student] += said * x.dtype.type(sign * height)
        return y

    @staticmethod
    def smooth(ctx, x, *, edges, window, height):
        return x.copy()

    @staticmethod
    def backward(ctx, dy):
        return dy


@listed(8, "ci-bcnn", "pre-activations", "Wang et al., Learning Channel-wise Interactions, CVPR 2019")
class ChannelInteraction(Quantizer):
    """A layer before batch norm in which a channel t corrects another channel s where x_t is large.

    y_s = x_s + Σ_t K_ts g(x_t) with K_ts −1, 0 or 1; g(x) is height where x >= window, −height where x <= −window,
    else 0. Every edge reads the input, not the corrections of other edges. The gradient passes to x_s and not to
    x_t: dx = dy. `mine_edges` finds the edges; without edges the layer is the identity.

    Parameters
    ----------
    window, height : number
        Above 0, in units of x. A tenth of the fan-in times the scale of the weights is a first guess for both.
    edges : sequence of (teacher, student, sign)
        Two different channels and ±1, each pair once; at most 100.

    Raises
    ------
    TypeError, ValueError
        If a number is out of bounds, or an edge leads back to its channel or comes twice; when called, if x lacks
        a channel that an edge names.

    Notes
    -----
    With K = −1 the authors' code subtracts the height on both sides; here the correction is odd, as with K = 1.
    Their search for edges learns a policy; `mine_edges` keeps an edge that lowers a loss.

    References
    ----------
    Wang et al., Learning Channel-wise Interactions for Binary Convolutional Neural Networks, CVPR 2019. Code:
    ZiweiWangTHU/CI-BCNN, models/binarized_modules.py, where the window is 200 and the height 100.

    Examples
    --------
    >>> layer = ChannelInteraction(200, 100, edges=[(0, 1, 1)])
    >>> layer(Tensor([[-260.0, 10.0], [0.0, 10.0], [999.0, 10.0]])).data[:, 1]
    array([-90.,  10., 110.], dtype=float32)
    """

    samplewise = True

    def __init__(self, window: float = 1, height: float = 0.5, edges: Sequence[Sequence[int]] = ()):
        super().__init__()
        self.window = arguments.number("ChannelInteraction", "window", window, above=0)
        self.height = arguments.number("ChannelInteraction", "height", height, above=0)
        self.edges = edges

    @property
    def edges(self) -> tuple[tuple[int, ...], ...]:
        """The edges, each a teacher, a student and a sign; may be assigned."""
        return self._edges

    @edges.setter
    def edges(self, edges: Sequence[Sequence[int]]) -> None:
        self._edges = tuple(_edge(i, edge) for i, edge in enumerate(edges))
        if len({edge[:2] for edge in self._edges}) < len(self._edges) or len(self._edges) > MOST:
            raise ValueError(f"ChannelInteraction: edges must be at most {MOST}, each pair of channels once")

    def forward(self, x: Tensor) -> Tensor:
        """Correct the channels of an input (..., C); the shape stays."""
        last = max((max(edge[:2]) for edge in self.edges), default=-1)
        if self.edges and not (x.ndim and last < x.shape[-1]):
            raise ValueError(f"an edge names channel {last}, but x is of shape {x.shape}")
        return Interaction.apply(x, edges=self.edges, window=self.window, height=self.height)

    def _settings(self):
        return f"{self.window}, {self.height}, {len(self.edges)} edges"


def _edge(i, edge):
    if not isinstance(edge, (tuple, list)) or len(edge) != 3:
        raise TypeError(f"ChannelInteraction: edges[{i}] must be (teacher, student, sign), got {edge!r:.60}")
    names = f"edges[{i}]: teacher", f"edges[{i}]: student", f"edges[{i}]: sign"
    teacher, student, sign = (arguments.integer("ChannelInteraction", *pair) for pair in zip(names, edge))
    if min(teacher, student) < 0 or teacher == student or sign not in (-1, 1):
        raise ValueError(f"ChannelInteraction: edges[{i}] must lead from a channel to another, by ±1, got {edge}")
    return teacher, student, sign


def mine_edges(
    layer: ChannelInteraction,
    channels: int,
    loss: Callable[[], float],
    rng: np.random.Generator,
    proposals: int = 100,
) -> list[float]:
    """Propose edges at random, one after the other, and keep an edge if it lowers the loss: the loss never rises.

    Parameters
    ----------
    layer : ChannelInteraction
        Gains edges, up to 100.
    channels : int
        Number of channels of the layer's input, at least 2.
    loss : callable
        Returns the loss of the network that holds the layer, on images held out for the search.
    rng : numpy.random.Generator
    proposals : int

    Returns
    -------
    list of float
        The loss at first, and after each proposal.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of bounds.

    Examples
    --------
    >>> layer, x = ChannelInteraction(1, 1), Tensor([[2.0, 0.0], [-2.0, 0.0]])
    >>> loss = lambda: float(abs(layer(x).data[:, 1] - [1, -1]).sum())
    >>> mine_edges(layer, 2, loss, np.random.default_rng(0), 5)[-1], layer.edges
    (0.0, ((0, 1, 1),))
    """
    arguments.instance("mine_edges", "layer", layer, ChannelInteraction)
    channels = arguments.integer("mine_edges", "channels", channels, at_least=2)
    rng = arguments.generator("mine_edges", "rng", rng)
    losses = [float(loss())]
    for _ in range(arguments.integer("mine_edges", "proposals", proposals, at_least=0)):
        before = layer.edges
        teacher, student = rng.choice(channels, 2, replace=False).tolist()
        sign = int(rng.choice((-1, 1)))
        kept = [edge for edge in before if edge[:2] != (teacher, student)]
        if len(kept) < MOST:
            layer.edges = [*kept, (teacher, student, sign)]
            now = float(loss())
            if now < losses[-1]:
                losses.append(now)
                continue
            layer.edges = before
        losses.append(losses[-1])
    return losses
