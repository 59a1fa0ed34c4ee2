"""The graph behind a tensor, which `backward` will walk through: as text, as Mermaid source and as a figure.

Each op is marked *exact* if its backward pass is the derivative of its forward pass, or *surrogate* if the
derivative of another function replaces it (`Function.exact`). Inputs that need no gradient are not in the graph.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from duonet.tape import Node, topological_order
from duonet.tensor import Tensor
from duonet.viz.canvas import blank, save
from duonet.viz.layered import layered

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LARGEST = 200  # vertices that a figure can show
NARROWEST = 3  # places in a row
COLOURS = {"leaf": ("#f2f2f2", "#8c8c8c"), "exact": ("#cfe2f5", "#123a6b"), "surrogate": ("#f7cf9d", "#b2500f")}
LINES = {"leaf": "-", "exact": "-", "surrogate": "--"}
ROUNDING = {"leaf": 10, "exact": 2, "surrogate": 2}  # of a box's corners, in points
WORDS = {"leaf": "leaf", "exact": "op, exact backward", "surrogate": "op, surrogate backward"}
HALF_WIDTH, HALF_HEIGHT = 0.43, 0.27  # of a box; places and rows are 1 apart


class Vertex(NamedTuple):
    """A source of the graph, in words; `sources` are indices in the list, None for an input outside the graph."""

    name: str
    kind: str
    shape: tuple
    sources: tuple


def graph_text(y: Tensor, names: Mapping[str, Tensor] | None = None) -> str:
    """List the graph behind a tensor: each op once, after the ops that it needs.

    Parameters
    ----------
    y : Tensor
        The output of an op whose graph `backward` has not freed yet.
    names : dict of str to Tensor, optional
        From name to tensor, for example `dict(model.named_parameters())`; names of tensors outside the graph are
        not used.

    Returns
    -------
    str
        A line for each op and leaf: its number, the numbers of its inputs (a dot for an input that needs no
        gradient), its shape, and the kind of its backward pass.

    Raises
    ------
    TypeError
        If `y` or a value of `names` is not a Tensor.
    ValueError
        If no op on the tape computed `y`.
    RuntimeError
        If a backward pass has freed the graph.

    Examples
    --------
    >>> from duonet.quant import Binary, Clip, quantize
    >>> x, w = Tensor([[0.2, 0.7]], requires_grad=True), Tensor([[1.0], [2.0]], requires_grad=True)
    >>> print(graph_text((quantize(x, Binary(), Clip(0, 1)) @ w).sum(), names={"x": x, "w": w}))
    1  x            (1, 2)  leaf
    2  quantize(1)  (1, 2)  surrogate
    3  w            (2, 1)  leaf
    4  matmul(2,3)  (1, 1)  exact
    5  sum(4)       ()      exact
    """
    rows = []
    for number, vertex in enumerate(_vertices(y, names, "graph_text"), start=1):
        inputs = ",".join("·" if i is None else str(i + 1) for i in vertex.sources)
        call = vertex.name if vertex.kind == "leaf" else f"{vertex.name}({inputs})"
        rows.append((str(number), call, str(vertex.shape), vertex.kind))
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = [
        f"{number:>{widths[0]}}  {call:{widths[1]}}  {shape:{widths[2]}}  {kind}"
        for number, call, shape, kind in rows
    ]
    return "\n".join(lines)


def graph_mermaid(y: Tensor, names: Mapping[str, Tensor] | None = None) -> str:
    """Return the graph behind a tensor as Mermaid source, which GitHub and many editors draw.

    Leaves are rounded boxes, ops with an exact backward pass rectangles, and ops with a surrogate's hexagons.

    Parameters
    ----------
    y : Tensor
        The output of an op whose graph `backward` has not freed yet.
    names : dict of str to Tensor, optional
        From name to tensor.

    Returns
    -------
    str
        The source, for a code block marked `mermaid`.

    Raises
    ------
    TypeError, ValueError, RuntimeError
        As in `graph_text`.

    Examples
    --------
    >>> x = Tensor([1.0, 2.0], requires_grad=True)
    >>> print(graph_mermaid(x + x, names={"x": x}))
    flowchart TD
        n1(["x<br>(2,)<br>leaf"]):::leaf
        n2["add<br>(2,)<br>exact"]:::exact
        n1 --> n2
        n1 --> n2
        classDef leaf fill:#f2f2f2,stroke:#8c8c8c,color:#000
        classDef exact fill:#cfe2f5,stroke:#123a6b,color:#000
        classDef surrogate fill:#f7cf9d,stroke:#b2500f,color:#000
    """
    vertices = _vertices(y, names, "graph_mermaid")
    brackets = {"leaf": ("([", "])"), "exact": ("[", "]"), "surrogate": ("{{", "}}")}
    lines = []
    for number, (name, kind, shape, _) in enumerate(vertices, start=1):
        opening, closing = brackets[kind]
        words = name.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
        lines.append(f'n{number}{opening}"{words}<br>{shape}<br>{kind}"{closing}:::{kind}')
    for number, vertex in enumerate(vertices, start=1):
        lines += [f"n{i + 1} --> n{number}" for i in vertex.sources if i is not None]
    lines += [f"classDef {kind} fill:{fill},stroke:{edge},color:#000" for kind, (fill, edge) in COLOURS.items()]
    return "\n    ".join(["flowchart TD", *lines])


def plot_graph(
    y: Tensor,
    path: str | Path | None = None,
    names: Mapping[str, Tensor] | None = None,
    axes: "Axes | None" = None,
) -> "Path | Axes":
    """Draw the graph behind a tensor, from the leaves at the top to the tensor at the bottom.

    Parameters
    ----------
    y : Tensor
        The output of an op whose graph `backward` has not freed yet.
    path : str or Path, optional
        The PNG file, as large as the graph needs.
    names : dict of str to Tensor, optional
        From name to tensor.
    axes : matplotlib Axes, optional
        Axes for the drawing instead of a file, for example in a notebook; small axes get small letters.

    Returns
    -------
    Path or matplotlib Axes
        The given `path` or `axes`.

    Raises
    ------
    TypeError, ValueError, RuntimeError
        As in `graph_text`; ValueError also if the graph is too large for a figure, or if both or neither of `path`
        and `axes` are given.

    Examples
    --------
    >>> import tempfile
    >>> x = Tensor([1.0, 2.0], requires_grad=True)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     plot_graph(x + x, f"{folder}/graph.png", names={"x": x}).name
    'graph.png'
    """
    if (path is None) == (axes is None):
        raise ValueError("plot_graph: give either path or axes")
    vertices = _vertices(y, names, "plot_graph")
    if len(vertices) > LARGEST:
        raise ValueError(
            f"plot_graph: the graph has {len(vertices)} ops and leaves, and a figure shows at most {LARGEST}; "
            "graph_text lists them all"
        )
    sources = [tuple(i for i in vertex.sources if i is not None) for vertex in vertices]
    places, bends = layered(sources)
    if axes is not None:
        _draw(axes, vertices, sources, places, bends)
        return axes
    left, right, top = _extent(places, bends)
    letters = max(len(word) for vertex in vertices for word in _label(vertex))
    figure = blank(max(5, (right - left) * (0.35 + 0.085 * letters)), 0.6 + 0.75 * (top + 1))
    _draw(figure.subplots(), vertices, sources, places, bends)
    return save(figure, path)  # type: ignore[arg-type]  # given, as axes are not


def _vertices(y, names, asking):
    """List the graph's sources as vertices, with each leaf just before the first op that needs it."""
    names = names or {}
    for what, tensor in [("y", y), *((f"names[{name!r}]", tensor) for name, tensor in names.items())]:
        if not isinstance(tensor, Tensor):
            raise TypeError(f"{asking}: {what} must be a Tensor, got {type(tensor).__name__}")
    if y._node is None:
        raise ValueError(
            f"{asking}: there is no graph behind this tensor of shape {y.shape}: it is a leaf, or no input of the "
            "op that computed it requires a gradient, or the tape was off (no_grad)"
        )
    ops = [source for source in reversed(topological_order(y._node, asking)) if isinstance(source, Node)]
    sources = {id(source): source for op in ops for source in (*op.parents, op) if source is not None}
    places = {key: place for place, key in enumerate(sources)}
    # A node knows the shapes of its inputs; only its readers know the shape of its output.
    shapes = {
        id(parent): spec[0] for op in ops for parent, spec in zip(op.parents, op.specs) if parent is not None
    }
    shapes[id(y._node)] = y.shape
    called = {id(tensor._node or tensor): name for name, tensor in names.items()}
    vertices = []
    for key, source in sources.items():
        if isinstance(source, Node):
            op = source.function
            name = f"{called[key]} = {op.name}" if key in called else op.name
            kind = "exact" if op.exact else "surrogate"
            inputs = [parent for parent, spec in zip(source.parents, source.specs) if spec is not None]
            incoming = tuple(None if parent is None else places[id(parent)] for parent in inputs)
        else:
            name, kind, incoming = called.get(key, type(source).__name__), "leaf", ()
        vertices.append(Vertex(name, kind, shapes[key], incoming))
    return vertices


def _label(vertex):
    return [vertex.name, str(vertex.shape)]


def _extent(places, bends):
    """Return the left and right borders, wide enough not to stretch boxes much, and the highest row."""
    points = places + [point for route in bends.values() for point in route]
    left, right = min(x for x, _ in points), max(x for x, _ in points)
    half = max(right - left + 1, NARROWEST) / 2
    return (left + right) / 2 - half, (left + right) / 2 + half, max(row for _, row in points)


def _draw(axes, vertices, sources, places, bends):
    """Draw a box for each vertex, an arrow for each edge, and the legend below."""
    from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Patch

    left, right, top = _extent(places, bends)
    axes.set(xlim=(left, right), ylim=(-0.5, top + 0.5))
    axes.axis("off")
    extent = axes.get_window_extent()
    wide, high = (
        72 / axes.figure.dpi * size for size in (extent.width / (right - left), extent.height / (top + 1))
    )
    letters = max(len(word) for vertex in vertices for word in _label(vertex))
    fontsize = min(9, 2 * HALF_WIDTH * wide / (0.68 * letters), 2 * HALF_HEIGHT * high / 2.8)
    for vertex, (x, row) in zip(vertices, places):
        fill, edge = COLOURS[vertex.kind]
        box = FancyBboxPatch(
            (x - HALF_WIDTH, row - HALF_HEIGHT), 2 * HALF_WIDTH, 2 * HALF_HEIGHT,
            boxstyle=f"round,pad=0,rounding_size={ROUNDING[vertex.kind] / wide}",
            mutation_aspect=wide / high, facecolor=fill, edgecolor=edge, linestyle=LINES[vertex.kind],
        )  # fmt: skip
        axes.add_patch(box)
        axes.text(x, row, "\n".join(_label(vertex)), ha="center", va="center", fontsize=fontsize, parse_math=False)
    for target, incoming in enumerate(sources):
        routes = [[places[source], *bends[source, target]] for source in incoming]
        routes.sort(key=lambda route: route[-1])  # from left to right, so that arrows do not cross on arrival
        gap = HALF_WIDTH / max(2, len(routes))
        for i, route in enumerate(routes):
            x, row = places[target]
            path = _path([*route, (x + gap * (i - (len(routes) - 1) / 2), row)])
            axes.add_patch(FancyArrowPatch(path=path, arrowstyle="-|>", mutation_scale=fontsize, color="0.35"))
    handles = [
        Patch(facecolor=COLOURS[kind][0], edgecolor=COLOURS[kind][1], linestyle=LINES[kind], label=WORDS[kind])
        for kind in COLOURS
        if any(vertex.kind == kind for vertex in vertices)
    ]
    axes.legend(
        handles=handles, loc="upper center", bbox_to_anchor=(0.5, 0), ncols=len(handles), frameon=False, fontsize=8
    )


def _path(points):
    """Lead an arrow down from box to box: straight past a row, in an S from one row to the next."""
    from matplotlib.path import Path

    x, row = points[0]
    corners, codes = [(x, row - HALF_HEIGHT)], [Path.MOVETO]
    for (x, row), (next_x, next_row) in zip(points, points[1:]):
        if len(corners) > 1:
            corners.append((x, row - HALF_HEIGHT))
            codes.append(Path.LINETO)
        corners += [(x, row - 0.5), (next_x, row - 0.5), (next_x, next_row + HALF_HEIGHT)]
        codes += [Path.CURVE4] * 3
    return Path(corners, codes)
