"""Drawings of the graph: every op, leaf and edge once, the kind of its backward pass, and words for what has no graph."""

import re

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from duonet import Function, Tensor, models, no_grad
from duonet.quant import Clip, Ternary, quantize
from duonet.viz import graph_mermaid, graph_text, plot_graph
from duonet.viz.graph import COLOURS
from duonet.viz.layered import layered


def leaf(*shape):
    return Tensor(np.ones(shape), requires_grad=True)


def example():
    """A small graph with a reused value, a surrogate and a constant."""
    names = {"x": leaf(4, 3), "w": leaf(3, 2), "b": leaf(2)}
    h = names["x"] @ names["w"] + names["b"]
    return (quantize(h, Ternary(), Clip(0, 1)) * 2.0 + h).sum(), names


def ends(arrow):
    """Return where an arrow starts and where its tip is: its highest and its lowest point."""
    path = arrow.get_path()
    points = sorted(map(tuple, path.vertices[path.codes != path.CLOSEPOLY]), key=lambda point: point[1])
    return points[-1], points[0]


def axes():
    return Figure(figsize=(6, 6)).subplots()


def test_the_text_lists_every_op_and_leaf_once_with_its_inputs():
    y, names = example()
    assert graph_text(y, names).splitlines() == [
        "1  x            (4, 3)  leaf",
        "2  w            (3, 2)  leaf",
        "3  matmul(1,2)  (4, 2)  exact",
        "4  b            (2,)    leaf",
        "5  add(3,4)     (4, 2)  exact",
        "6  quantize(5)  (4, 2)  surrogate",
        "7  mul(6,·)     (4, 2)  exact",
        "8  add(7,5)     (4, 2)  exact",
        "9  sum(8)       ()      exact",
    ]


def test_the_mermaid_source_has_every_vertex_with_its_kind_and_every_edge():
    y, names = example()
    source = graph_mermaid(y, names)
    assert source.startswith("flowchart TD\n")
    assert re.findall(r'n(\d)\S*"(\w+)<br>(.+?)<br>(\w+)".+:::(\w+)', source) == [
        ("1", "x", "(4, 3)", "leaf", "leaf"),
        ("2", "w", "(3, 2)", "leaf", "leaf"),
        ("3", "matmul", "(4, 2)", "exact", "exact"),
        ("4", "b", "(2,)", "leaf", "leaf"),
        ("5", "add", "(4, 2)", "exact", "exact"),
        ("6", "quantize", "(4, 2)", "surrogate", "surrogate"),
        ("7", "mul", "(4, 2)", "exact", "exact"),
        ("8", "add", "(4, 2)", "exact", "exact"),
        ("9", "sum", "()", "exact", "exact"),
    ]
    edges = "1 3, 2 3, 3 5, 4 5, 5 6, 6 7, 7 8, 5 8, 8 9"
    assert ", ".join(f"{a} {b}" for a, b in re.findall(r"n(\d) --> n(\d)", source)) == edges


def test_the_figure_has_a_box_of_its_kinds_colour_for_every_vertex_and_an_arrow_for_every_edge():
    y, names = example()
    drawn = plot_graph(y, axes=axes(), names=names)
    boxes = [patch for patch in drawn.patches if isinstance(patch, FancyBboxPatch)]
    kinds = [line.split()[-1] for line in graph_text(y, names).splitlines()]
    assert [to_hex(box.get_facecolor()) for box in boxes] == [COLOURS[kind][0] for kind in kinds]
    assert [text.get_text().split("\n")[0] for text in drawn.texts] == [
        "x", "w", "matmul", "b", "add", "quantize", "mul", "add", "sum"
    ]  # fmt: skip
    arrows = [ends(patch) for patch in drawn.patches if isinstance(patch, FancyArrowPatch)]
    assert len(arrows) == 9

    def box_at(point):
        inside = [
            number
            for number, box in enumerate(boxes, start=1)
            if box.get_x() < point[0] < box.get_x() + box.get_width()
            and min(abs(point[1] - box.get_y()), abs(point[1] - box.get_y() - box.get_height())) < 0.05
        ]
        return inside[0]

    edges = {(box_at(start), box_at(tip)) for start, tip in arrows}
    assert edges == {(1, 3), (2, 3), (3, 5), (4, 5), (5, 6), (6, 7), (7, 8), (5, 8), (8, 9)}
    legend = [text.get_text() for text in drawn.get_legend().get_texts()]
    assert legend == ["leaf", "op, exact backward", "op, surrogate backward"]


def test_an_input_used_twice_by_one_op_is_one_vertex_with_two_edges():
    x = leaf(3)
    y = x + x
    assert graph_text(y, {"x": x}).splitlines() == ["1  x         (3,)  leaf", "2  add(1,1)  (3,)  exact"]
    assert graph_mermaid(y).count("n1 --> n2") == 2
    tips = [ends(patch)[1] for patch in plot_graph(y, axes=axes()).patches if isinstance(patch, FancyArrowPatch)]
    assert len(tips) == len(set(tips)) == 2, "drawn one upon the other"


def test_doubling_forty_times_draws_forty_ops_not_two_to_the_fortieth(tmp_path):
    y = leaf(1)
    for _ in range(40):
        y = y + y
    assert graph_text(y).count("\n") == 40 and graph_mermaid(y).count("-->") == 80
    assert plot_graph(y, tmp_path / "deep.png").read_bytes().startswith(b"\x89PNG")


def test_ten_thousand_ops_are_listed_without_recursion_and_refused_as_a_figure(tmp_path):
    y = leaf(2)
    for _ in range(10_000):
        y = y * 1.0
    assert len(graph_text(y).splitlines()) == 10_001
    assert graph_mermaid(y).count("-->") == 10_000
    with pytest.raises(
        ValueError, match="plot_graph: the graph has 10001 ops and leaves, and a figure shows at most"
    ):
        plot_graph(y, tmp_path / "large.png")
    assert not list(tmp_path.iterdir())


def test_intermediate_tensors_parameters_and_awkward_names_are_called_as_asked():
    x = leaf(2)
    h = x.exp()
    y = h.sum()
    assert "h = exp(1)" in graph_text(y, {"h": h, "elsewhere": leaf(1)})
    assert 'n1(["&lt;x &amp; &quot;y&quot;><br>' in graph_mermaid(y, {'<x & "y">': x})
    model = models.mlp("ternary", 3, (4,), 2, rng=np.random.default_rng(0))
    text = graph_text(model(Tensor(np.ones((5, 3), "float32"))), dict(model.named_parameters()))
    assert all(name in text for name, _ in model.named_parameters())
    assert "surrogate" in text and "Parameter" not in text


def test_an_input_left_out_is_no_input():
    class Sum(Function):
        @staticmethod
        def forward(ctx, a, b):
            return a

        @staticmethod
        def backward(ctx, dy):
            return dy, None

    assert "sum(1) " in graph_text(Sum.apply(leaf(1), None))
    assert "sum(1,·) " in graph_text(Sum.apply(leaf(1), np.ones(1)))


def test_the_same_graph_gives_the_same_bytes_and_another_graph_others(tmp_path):
    def picture(y, names=None):
        path = plot_graph(y, str(tmp_path / "graph.png"), names=names)
        assert [p.name for p in tmp_path.iterdir()] == ["graph.png"]
        return path.read_bytes()

    assert picture(*example()) == picture(*example())
    assert graph_text(*example()) == graph_text(*example())
    x = leaf(2)
    assert picture(x + x) != picture(x * x)


@pytest.mark.parametrize(
    "draw", [graph_text, graph_mermaid, lambda y, names=None: plot_graph(y, axes=axes(), names=names)]
)
def test_what_has_no_graph_is_refused_in_words(draw):
    x = leaf(2)
    y = x.exp().sum()
    with pytest.raises(TypeError, match=r"graph\w*: y must be a Tensor, got ndarray"):
        draw(x.data)
    with pytest.raises(TypeError, match=r"graph\w*: names\['x'\] must be a Tensor, got ndarray"):
        draw(y, {"x": x.data})
    y.backward()
    with pytest.raises(RuntimeError, match=r"graph\w*: an earlier backward pass went through this sum and freed"):
        draw(y)
    with no_grad():
        off = x.exp()
    for bare in (x, off, Tensor(np.ones(2)).exp()):
        with pytest.raises(ValueError, match=r"graph\w*: there is no graph behind this tensor of shape \(2,\)"):
            draw(bare)


def test_a_figure_goes_to_one_place():
    for where in ({}, {"path": "graph.png", "axes": axes()}):
        with pytest.raises(ValueError, match="plot_graph: give either path or axes"):
            plot_graph(leaf(2).exp(), **where)


def crossings(sources, places, bends):
    """Count pairs of edge segments between two rows that cross."""
    segments = []
    for target, incoming in enumerate(sources):
        for source in incoming:
            route = [places[source], *bends[source, target], places[target]]
            segments += [(upper[1], upper[0], lower[0]) for upper, lower in zip(route, route[1:])]
    return sum(
        a[0] == b[0] and (a[1] - b[1]) * (a[2] - b[2]) < 0 for i, a in enumerate(segments) for b in segments[:i]
    )


def test_edges_go_down_row_by_row_and_vertices_of_a_row_keep_apart():
    rng = np.random.default_rng(0)
    for _ in range(20):
        sources = [tuple(rng.integers(0, v, rng.integers(1, 4))) if v else () for v in range(15)]
        places, bends = layered(sources)
        for (source, target), route in bends.items():
            rows = [row for _, row in [places[source], *route, places[target]]]
            assert rows == list(range(rows[0], rows[-1] - 1, -1)) and len(rows) > 1
        points = places + [point for route in bends.values() for point in route]
        for row in {row for _, row in points}:
            x = sorted(x for x, other in points if other == row)
            assert all(b - a > 1 - 1e-9 for a, b in zip(x, x[1:]))


def test_a_tangled_planar_graph_is_drawn_without_a_crossing():
    # Two ladders whose rungs are listed in opposite orders.
    sources = [(), (), (), (), (3,), (2,), (1,), (0,), (4, 5), (6, 7), (8, 9)]
    places, bends = layered(sources)
    assert crossings(sources, places, bends) == 0
    assert crossings(sources, [(v, row) for v, (_, row) in enumerate(places)], bends) > 0
