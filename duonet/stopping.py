"""Early stops of a training, and a limit for the length of a step's gradient."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from duonet import arguments, backend
from duonet.history import History
from duonet.tensor import Parameter


def early_stop(patience: int, column: str = "val_loss") -> Callable[[History], bool]:
    """Make an `on_epoch` for `fit` that ends the training when a figure has not improved for some epochs.

    The answer depends on the history alone. `fit` asks after an epoch, so a stopped training makes one more epoch
    when it is resumed.

    Parameters
    ----------
    patience : int
        Epochs after the best epoch; of equal epochs, the earliest counts as the best.
    column : str
        A column of the history. If its name ends in "accuracy", the largest value is the best, else the smallest.

    Returns
    -------
    callable
        From a History to a bool: True ends the training.

    Raises
    ------
    TypeError, ValueError
        If `patience` is not a whole number from 1 on, or `column` is not a str.
    KeyError
        When the function is called, if the history has no such column.

    Examples
    --------
    >>> stop = early_stop(2)
    >>> stop(History([{"val_loss": 0.5}, {"val_loss": 0.6}])), stop(History([{"val_loss": x} for x in (5, 6, 7)]))
    (False, True)
    """
    patience = arguments.integer("early_stop", "patience", patience, at_least=1)
    best = max if arguments.instance("early_stop", "column", column, str).endswith("accuracy") else min

    def stop(history: History) -> bool:
        figures = history[column]
        return len(figures) - 1 - figures.index(best(figures)) >= patience

    return stop


def clip_gradients(parameters: Iterable[Parameter], largest: float) -> Any:
    """Scale all gradients by min(1, c / ‖g‖), where ‖g‖ = √(Σ g²) is their common norm.

    Parameters
    ----------
    parameters : iterable of Parameter
        Parameters without a gradient are left alone.
    largest : number
        c, above 0.

    Returns
    -------
    0-d array of float64
        ‖g‖ before scaling, summed in float64 and left on the device, because a copy to the host would stall a GPU.

    Raises
    ------
    TypeError, ValueError
        If `largest` is not a finite number above 0.

    References
    ----------
    Pascanu, Mikolov, Bengio: On the difficulty of training recurrent neural networks, ICML 2013, algorithm 1.

    Examples
    --------
    >>> w = Parameter([1.0, 1.0])
    >>> w.grad = np.array([3.0, 4.0], "float32")
    >>> float(clip_gradients([w], 1.0)), w.grad
    (5.0, array([0.6, 0.8], dtype=float32))
    """
    largest = arguments.number("clip_gradients", "largest", largest, above=0)
    with_gradient: list[Any] = [p for p in parameters if p.grad is not None]
    norm: Any = np.sqrt(sum((p.grad.astype(np.float64) ** 2).sum() for p in with_gradient))
    xp = backend.get_xp(norm) if with_gradient else np
    scale = xp.minimum(1.0, largest / xp.maximum(norm, np.finfo(np.float64).tiny))
    for parameter in with_gradient:
        parameter.grad = (parameter.grad * scale).astype(parameter.dtype)
    return norm
