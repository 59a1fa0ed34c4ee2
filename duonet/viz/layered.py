"""Places for the vertices of a graph: in rows, with every edge downwards and few crossings."""

from collections.abc import Sequence

SWEEPS = 8


def layered(
    sources: Sequence[Sequence[int]],
) -> tuple[list[tuple[float, int]], dict[tuple[int, int], list[tuple[float, int]]]]:
    """Lay out an acyclic graph.

    A vertex's row is the length of the longest path from the vertex to the end. An edge that skips rows gets a
    bend in each of them. Bends take part in the layout like vertices, so that the edge goes around other vertices.
    A row is ordered by barycentres: each vertex wants the mean place of its neighbours in the row above, then in
    the row below, for a few sweeps; vertices that want the same place are pushed apart.

    Parameters
    ----------
    sources : list of sequence of int
        For each vertex the sources of its edges, all of them earlier in the list.

    Returns
    -------
    list of (float, int)
        For each vertex, its place in its row and the number of its row; the last row is 0. Neighbours in a row are
        at least 1 apart.
    dict
        For each edge (source, target), the places of its bends from the source to the target.

    References
    ----------
    Sugiyama, Tagawa and Toda, "Methods for visual understanding of hierarchical system structures", IEEE
    Transactions on Systems, Man, and Cybernetics, 1981.

    Examples
    --------
    >>> places, bends = layered([(), (0,), (0, 1)])
    >>> places
    [(0.0, 2), (-0.5, 1), (0.0, 0)]
    >>> bends
    {(0, 1): [], (0, 2): [(0.5, 1)], (1, 2): []}
    """
    row_of = [0] * len(sources)
    for target in reversed(range(len(sources))):
        for source in sources[target]:
            row_of[source] = max(row_of[source], row_of[target] + 1)
    edges: dict[tuple[int, int], list[int]] = {
        (source, target): [] for target, incoming in enumerate(sources) for source in incoming
    }
    above: list[list[int]] = [[] for _ in sources]
    below: list[list[int]] = [[] for _ in sources]
    for (source, target), bends in edges.items():
        for row in range(row_of[source] - 1, row_of[target], -1):
            bends.append(len(row_of))
            row_of.append(row)
            above.append([])
            below.append([])
        for upper, lower in zip([source, *bends], [*bends, target]):
            below[upper].append(lower)
            above[lower].append(upper)
    rows = [[v for v, row in enumerate(row_of) if row == k] for k in range(max(row_of) + 1)]
    x = _places(rows, above, below)
    places = [(x[v], row_of[v]) for v in range(len(sources))]
    return places, {edge: [(x[v], row_of[v]) for v in bends] for edge, bends in edges.items()}


def _places(rows, above, below):
    """Sweep downwards and upwards, then settle every row between both of its neighbours."""
    both = [up + down for up, down in zip(above, below)]
    x = {}
    for row in rows:
        _arrange(row, {v: 0 for v in row}, x)
    for sweep in range(SWEEPS):
        neighbours, order = (above, rows[::-1]) if sweep % 2 == 0 else (below, rows)
        for row in order:
            _arrange(row, {v: _mean(x, neighbours[v] or [v]) for v in row}, x)
    for row in rows[::-1] + rows:
        _arrange(row, {v: _mean(x, both[v] or [v]) for v in row}, x, sort=False)
    return x


def _mean(x, vertices):
    return sum(x[v] for v in vertices) / len(vertices)


def _arrange(row, wanted, x, sort=True):
    """Order a row by the places that its vertices want, and set them there, at least 1 apart, by least squares.

    Minus i, the i-th place must only not fall from its left neighbour's; neighbours that fall share their mean.
    """
    if sort:
        row.sort(key=wanted.get)
    blocks = []
    for i, v in enumerate(row):
        blocks.append([wanted[v] - i])
        while len(blocks) > 1 and sum(blocks[-2]) / len(blocks[-2]) >= sum(blocks[-1]) / len(blocks[-1]):
            last = blocks.pop()
            blocks[-1] += last
    means = [sum(block) / len(block) for block in blocks for _ in block]
    x.update((v, mean + i) for i, (v, mean) in enumerate(zip(row, means)))
