"""What modules do around a step of the optimiser, beside what it does: `Module.after_step`, called for `fit`."""

from duonet.module import Module
from duonet.tape import no_grad


class Stepping:
    """The modules of a model that have something to do at each step. `fit` makes one for every epoch.

    Parameters
    ----------
    model : Module

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
        self._after = [m for _, m in model.modules() if type(m).after_step is not Module.after_step]

    def after(self) -> None:
        """Have every module change what it holds, parents first, without a tape."""
        with no_grad():
            for module in self._after:
                module.after_step()
