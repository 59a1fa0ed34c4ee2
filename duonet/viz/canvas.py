"""A figure without a window, and how to save it whole."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from duonet.files import replacing
from duonet.text import visible

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def blank(width: float, height: float) -> "Figure":
    """Return an empty figure of a size in inches, drawn without a display.

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
    """Write a figure and return its path; the complete new file replaces an older file.

    Parameters
    ----------
    figure : matplotlib Figure
    path : str or Path
        Its suffix sets the format; without a suffix it is PNG.

    Returns
    -------
    Path
    """
    path = Path(path)
    with replacing(path) as part:
        figure.savefig(part, dpi=150, format=path.suffix[1:] or "png")
    return path


def without_formulas(name: str) -> str:
    r"""Escape the dollars of a name for a figure, which would show text between two dollars as a formula.

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
    """Remove the frame's top and right side, and draw a light grid.

    Parameters
    ----------
    axes : matplotlib Axes
    grid : {"x", "y", "both"}
    """
    axes.grid(axis=grid, color="0.92")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
