"""Quantisers with a penalty on their input in the training step."""

from collections.abc import Callable

from duonet.quant import Quantizer
from duonet.tensor import Tensor


class Remembering(Quantizer):
    """Base of quantisers that remember their last input in training, for `penalty`.

    Examples
    --------
    >>> from duonet.methods import BNNPlusWeights
    >>> isinstance(BNNPlusWeights(), Remembering)
    True
    """

    def __init__(self) -> None:
        super().__init__()
        self._latent: Callable[[], Tensor] | None = None

    def __getstate__(self):
        """Leave the remembered input out of a copy, which will have its own."""
        return super().__getstate__() | {"_latent": None}

    def _remember(self, x):
        # Behind a function, so that the Tensor is no part of the module's state.
        self._latent = (lambda: x) if self.training and x.requires_grad else None

    def _remembered(self):
        return None if self._latent is None else self._latent()
