"""A figure that no window shows, and saving it whole."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from duonet.files import replacing
from duonet.text import visible

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def blank(width: float, height: float) -> "Figure":
    """Return an empty figure of this size in inches, drawn without a display.

    Parameters
    ----------
    width, height : float

    Returns
    -------
    matplotlib Figure
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save(figure: "Figure", path: str | Path) -> Path:
    """Write a figure, replacing an older file only when done, and return its path.

    Parameters
    ----------
    figure : matplotlib Figure
    path : str or Path
        Its suffix says the format; PNG without one.

    Returns
    -------
    Path
    """
    path = Path(path)
    with replacing(path) as part:
        figure.savefig(part, dpi=150, format=path.suffix[1:] or "png")
    return path


def without_formulas(name: str) -> str:
    r"""Write a name from elsewhere for a figure, where what stands between two dollars would be a formula.

    Parameters
    ----------
    name : str

    Returns
    -------
    str

    Examples
    --------
    >>> print(without_formulas("$5 to $10"))
    \$5 to \$10
    """
    return visible(name).replace("$", r"\$")


def tidy(axes: "Axes", grid: Literal["x", "y", "both"] = "y") -> None:
    """Take away what the data does not need: the frame's top and right, and all but a light grid.

    Parameters
    ----------
    axes : matplotlib Axes
    grid : {"x", "y", "both"}
    """
    axes.grid(axis=grid, color="0.92")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
