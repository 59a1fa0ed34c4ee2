"""The general form: any model runs as a whole for every move of its weights."""

from typing import Any

import numpy as np
import numpy.typing as npt

from duonet import backend
from duonet.mismatch.objective import Objective
from duonet.tensor import Parameter


class GeneralForm:
    """Losses of any model after moving single weights: two whole forward passes for each.

    Parameters
    ----------
    objective : Objective
    weight : Parameter

    Examples
    --------
    >>> from duonet import functional as F, nn
    >>> model = nn.Linear(1, 1, rng=np.random.default_rng(0), bias=False)
    >>> model.weight.data[:] = 2
    >>> objective = Objective(model, F.mse_loss, (np.ones((1, 1), "float32"), np.zeros((1, 1), "float32")))
    >>> GeneralForm(objective, model.weight).losses(np.array([0]), step=1)
    array([[9., 1.]])
    """

    def __init__(self, objective: Objective, weight: Parameter):
        self.objective, self.weight = objective, weight

    def losses(self, coordinates: npt.NDArray[Any], step: float) -> npt.NDArray[Any]:
        """Compute the losses with each weight moved up and down.

        Parameters
        ----------
        coordinates : array of int
            Flat indices i into the weight.
        step : float
            ε.

        Returns
        -------
        numpy.ndarray
            (len(coordinates), 2): L(w + ε e_i) and L(w − ε e_i), float64.
        """
        out = np.empty((len(coordinates), 2))
        for k, i in enumerate(coordinates):
            move = np.zeros(self.weight.size)
            move[i] = step
            out[k] = losses_around(self.objective, self.weight, move.reshape(self.weight.shape))
        return out


def losses_around(objective: Objective, weight: Parameter, move: npt.NDArray[Any]) -> tuple[float, float]:
    """Compute L(w + move) and L(w − move), and restore the weight.

    Parameters
    ----------
    objective : Objective
    weight : Parameter
    move : numpy.ndarray
        Of the weight's shape.

    Returns
    -------
    up, down : float

    Raises
    ------
    ValueError
        If a loss is not one finite number.
    """
    start = weight.data
    move = backend.to_device(move.astype(start.dtype), backend.device_of(start))
    try:
        weight.data = start + move
        up = objective.value()
        weight.data = start - move
        return up, objective.value()
    finally:
        weight.data = start
