"""Sliders over a figure in a notebook: ipywidgets if a kernel runs, otherwise one picture."""

import base64
import html
import inspect
import io
from collections.abc import Callable, Sequence
from typing import Any

VIEW = "application/vnd.jupyter.widget-view+json"


def sliders(draw: Callable[..., Any], **choices: Sequence[Any]) -> None:
    """Show the figure that `draw` returns, with a slider for each of its arguments.

    Without a running kernel, or without ipywidgets, the notebook shows the first figure.

    Parameters
    ----------
    draw : callable
        Returns a matplotlib figure. Each slider starts at the default of its argument. The docstring's first line
        is the figure's alternative text.
    **choices : sequence
        The values of each argument's slider; the default is one of them.

    Raises
    ------
    ValueError
        If `draw` lacks an argument of `choices`, or its default is not among the values.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from duonet.quant import Binary
    >>> def show(threshold=0.5):
    ...     '''Draw a step, which moves with its threshold.'''
    ...     figure, axes = plt.subplots()
    ...     axes.plot(*2 * [[0, 1]])
    ...     return figure
    >>> sliders(show, threshold=[0, 0.5, 1])  # doctest: +SKIP
    """
    from IPython.display import display

    start = {}
    for name, values in choices.items():
        default = getattr(inspect.signature(draw).parameters.get(name), "default", inspect.Parameter.empty)
        if default not in list(values):
            raise ValueError(f"sliders: {draw.__name__} has no argument {name} with a default in {list(values)}")
        start[name] = default
    png = _png(draw(**start))
    shown = {"image/png": png, "text/plain": ", ".join(f"{name} = {_text(v)}" for name, v in start.items())}
    try:
        import ipywidgets
    except ImportError:
        return display(shown, raw=True)
    bars = {
        name: ipywidgets.SelectionSlider(
            options=[(_text(value), value) for value in values],
            value=start[name],
            description=name.replace("_", " "),
            continuous_update=False,
            style={"description_width": "initial"},
        )
        for name, values in choices.items()
    }
    picture = ipywidgets.HTML(_image(draw, png))

    def change(_: Any) -> None:
        picture.value = _image(draw, _png(draw(**{name: bar.value for name, bar in bars.items()})))

    for bar in bars.values():
        bar.observe(change, "value")
    box = ipywidgets.VBox([*bars.values(), picture])
    display(box._repr_mimebundle_() | shown, raw=True)


def _text(value: Any) -> str:
    """Return the text of a value beside its slider."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def _png(figure: Any) -> str:
    """Return a figure as PNG in base64, and close the figure, so that a notebook does not show it again."""
    import matplotlib.pyplot as plt

    file = io.BytesIO()
    figure.savefig(file, format="png", bbox_inches="tight")
    plt.close(figure)
    return base64.b64encode(file.getvalue()).decode()


def _image(draw: Callable[..., Any], png: str) -> str:
    """Return the HTML of a picture that is never wider than its page."""
    words = html.escape((inspect.getdoc(draw) or draw.__name__).splitlines()[0])
    return f'<img src="data:image/png;base64,{png}" alt="{words}" style="max-width: 100%">'
