"""`Quantizer`: the base of every module whose output takes few values, for activations and for weights."""

from collections.abc import Callable
from typing import Any

from duonet.backend import Array
from duonet.module import Module
from duonet.tensor import Tensor


class Quantizer(Module):
    """A module from numbers to numbers of few bits; a subclass defines `forward` and sets the tags that are true.

    A quantizer may have Parameters, such as a learned range, and buffers. As `weight_quantizer` of a conv or
    linear layer it is a child of that layer and reads the latent weight at every use; elsewhere it is an ordinary
    layer. In evaluation mode it draws no random numbers. `duonet.check_quantizer` tests these statements.

    Attributes
    ----------
    bits : int
        Bits that hold one output value; 32 stands for float.
    deterministic : bool
        Class tag: whether equal inputs give equal outputs in training mode as well.
    homogeneous : bool
        Class tag: whether q([W/2; W/2]) = [q(W); q(W)]/2 for weights (..., IN, OUT) stacked along IN, up to the
        order of summation of a scale: `decouple` then divides the weights, and repeats them otherwise.
    two_valued : bool
        Class tag: whether weights (..., OUT) become ±α, with one α for each output channel, or one α for all. The
        layer then sums signs and multiplies by α afterwards: sums of whole numbers are not rounded.
    fixed : callable or None
        Class tag: a method that returns the `QuantActivation` with the same outputs in evaluation, for the present
        values of the Parameters; `decouple` needs this method for activations of more than one bit.

    Examples
    --------
    >>> from duonet import Tensor
    >>> from duonet.quant import Identity, Staircase, quantize
    >>> class Thirds(Quantizer):
    ...     bits = 2
    ...     homogeneous = True
    ...     def forward(self, w):
    ...         largest = float(abs(w.data).max())
    ...         return quantize(w / largest, Staircase([-1 / 3, 1 / 3], [-1, 0, 1]), Identity()) * largest
    >>> Thirds()(Tensor([0.1, -0.9, 2.0])).data
    array([ 0., -2.,  2.], dtype=float32)
    """

    tags = (*Module.tags, "bits", "deterministic", "homogeneous", "two_valued", "fixed")
    bits = 32
    deterministic = True
    homogeneous = two_valued = False
    fixed: Callable[[], Any] | None = None

    def project(self, weight: Tensor) -> None:
        """Change latent weights in place after an optimiser's step, as clipping does; by default do nothing."""

    def begin(self, weight: Array) -> None:
        """Start the Parameters from a layer's first weights, (..., IN, OUT); by default do nothing."""

    def scales(self, shape: tuple[int, ...]) -> int:
        """Count the float scales for weights of a shape, Parameters excluded; by default there are none."""
        return 0
