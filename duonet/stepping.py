"""The work of modules around an optimiser's step: `Module.before_step` and `after_step`, called for `fit`."""

import math

from duonet import arguments
from duonet.module import Module
from duonet.tape import no_grad


class Stepping:
    """The modules of a model with work at each step. `fit` makes one `Stepping` for every epoch.

    Parameters
    ----------
    model : Module

    Attributes
    ----------
    numbers : dict
        The numbers that depend on time at the latest step, by name: the mean over the modules with this name.

    Examples
    --------
    >>> from duonet.tensor import Parameter
    >>> class Bounded(Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.alpha = Parameter(-3.0)
    ...     def after_step(self):
    ...         self.alpha.data[...] = max(self.alpha.data, 1)
    ...         self.alpha.changed()
    >>> model = Bounded()
    >>> Stepping(model).after()
    >>> model.alpha.item()
    1.0
    """

    def __init__(self, model: Module):
        self._before = [(p, m) for p, m in model.modules() if type(m).before_step is not Module.before_step]
        self._after = [m for _, m in model.modules() if type(m).after_step is not Module.after_step]

        self.numbers: dict[str, float] = {}

    def before(self, epochs: float) -> None:
        """Call `before_step` of every module with the time, parents first.

        Parameters
        ----------
        epochs : float
            The time since the training began.

        Raises
        ------
        TypeError, ValueError
            If a module does not return a dict of finite numbers; the message names the module.
        """
        said: dict[str, list[float]] = {}
        for path, module in self._before:
            owner = f"fit: before_step of {path or 'the whole'} {type(module).__name__}"
            for name, value in arguments.instance(
                owner, "the result", module.before_step(epochs) or {}, dict
            ).items():
                said.setdefault(name, []).append(arguments.number(owner, name, value))
        self.numbers = {name: math.fsum(values) / len(values) for name, values in said.items()}

    def after(self) -> None:
        """Call every module's `after_step`, parents first, without a tape."""
        with no_grad():
            for module in self._after:
                module.after_step()
