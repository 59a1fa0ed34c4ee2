"""Widths of a coupled network whose decoupled form costs at most as much as the baseline."""

import math
from collections.abc import Callable, Iterable, Sequence

from duonet import arguments


def coupled_widths(
    widths: Sequence[int], count: Callable[[tuple[int, ...]], int], budget: int, copies: int = 2
) -> tuple[int, ...]:
    """Narrow a network so that, once decoupled, it stays within the baseline's parameters.

    Decoupling multiplies the inputs of each coupled layer by K, so every width is divided by √K and rounded down.
    The last width then shrinks or grows to fill the budget. If it reaches its old width, the width before it grows
    as well, and so on. For VGG-7 and K = 2 the result is the published code's: 45, 45, 90, 90, 336.

    Parameters
    ----------
    widths : sequence of int
        Baseline widths of the layers with quantised activations.
    count : callable
        From a tuple of coupled widths to the number of parameters of the decoupled network.
    budget : int
        Number of parameters of the baseline.
    copies : int
        K: 2 for ternary activations, 3 for activations of 2 bits.

    Returns
    -------
    tuple of int

    Raises
    ------
    TypeError, ValueError
        If the widths are not positive ints, or there are no widths.
    ValueError
        If the narrowed widths exceed the budget even with the smallest last width.

    Examples
    --------
    >>> def count(c):  # 100 inputs, two layers, 10 classes; the second and third weights have doubled inputs
    ...     return 100 * c[0] + 2 * c[0] * c[1] + 2 * c[1] * 10
    >>> coupled_widths((64, 64), count, budget=100 * 64 + 64 * 64 + 64 * 10)
    (45, 60)
    """
    arguments.instance("coupled_widths", "widths", widths, Iterable)  # type: ignore[type-abstract]
    widths = [arguments.integer("coupled_widths", f"widths[{i}]", w, at_least=1) for i, w in enumerate(widths)]
    copies = arguments.integer("coupled_widths", "copies", copies, at_least=1)
    if not widths:
        raise ValueError("coupled_widths: widths is empty")
    narrow = [max(1, math.floor(width / math.sqrt(copies))) for width in widths]
    while count(tuple(narrow)) > budget and narrow[-1] > 1:
        narrow[-1] -= 1
    if count(tuple(narrow)) > budget:
        raise ValueError(
            f"coupled_widths: widths {tuple(narrow)} exceed the budget of {budget} parameters; only a wider "
            "baseline can be coupled"
        )
    for i in reversed(range(len(widths))):
        while narrow[i] < widths[i] and count((*narrow[:i], narrow[i] + 1, *narrow[i + 1 :])) <= budget:
            narrow[i] += 1
        if narrow[i] < widths[i]:
            break
    return tuple(narrow)
