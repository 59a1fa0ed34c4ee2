"""The terms that modules add to the task's loss: `Module.penalty`, summed for `fit`."""

from typing import Any

from duonet import backend
from duonet.module import Module
from duonet.tensor import Tensor


class Penalties:
    """The penalties of a model's modules during an epoch: each step adds them to its loss and keeps their mean.

    Parameters
    ----------
    model : Module

    Examples
    --------
    >>> from duonet.tensor import Parameter
    >>> class Range(Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.alpha = Parameter(3.0)
    ...     def penalty(self):
    ...         return self.alpha * self.alpha
    >>> penalties = Penalties(Range())
    >>> float(penalties.added(Tensor(0.5)).data), penalties.mean()
    (9.5, 9.0)
    """

    def __init__(self, model: Module):
        self.modules = [(path, m) for path, m in model.modules() if type(m).penalty is not Module.penalty]
        self._sum: Any = 0.0
        self._steps = 0

    def added(self, loss: Tensor, look: bool = True) -> Tensor:
        """Return the loss of a step with all penalties.

        Parameters
        ----------
        loss : Tensor
            The task's loss, without axes.
        look : bool
            Whether to read the penalties, for which the host waits for a GPU.

        Returns
        -------
        Tensor

        Raises
        ------
        ValueError
            If a penalty is not a Tensor without axes, or is read and not finite; the message names its module.
        """
        self._steps += 1
        for path, module in self.modules:
            penalty = module.penalty()
            if penalty is None:
                continue
            if not isinstance(penalty, Tensor) or penalty.shape != ():
                raise ValueError(
                    f"{_said(path, module)} must be one Tensor without axes, or None, got {penalty!r:.60}"
                )
            if look and not backend.get_xp(penalty.data).isfinite(penalty.data):
                raise ValueError(f"{_said(path, module)} is {float(penalty.data)}, not a finite number")
            self._sum = self._sum + penalty.data
            loss = loss + penalty
        return loss

    def mean(self) -> float | None:
        """Return the mean over the steps of the sum of all penalties; None if no module has any."""
        return float(self._sum) / max(self._steps, 1) if self.modules else None


def _said(path, module):
    return f"fit: the penalty of {path or 'the whole'} {type(module).__name__}"
