"""Staircases that say which levels their output has, so that the op behind them can use it."""

from duonet import engine
from duonet.compiled import codes
from duonet.fast import elementwise, normalization


@engine.twin("compiled")
class Quantize(elementwise.Quantize):
    """NumPy's twin, whose output says its levels."""

    @staticmethod
    def forward(ctx, x, *, staircase, surrogate):
        y = elementwise.Quantize.forward(ctx, x, staircase=staircase, surrogate=surrogate)
        return codes.says_levels(y, staircase)


@engine.twin("compiled")
class BatchNormQuantize(normalization.BatchNormQuantize):
    """NumPy's twin, whose output says its levels."""

    @staticmethod
    def forward(ctx, x, gamma, beta, *, staircase, surrogate, **options):
        y = normalization.BatchNormQuantize.forward(
            ctx, x, gamma, beta, staircase=staircase, surrogate=surrogate, **options
        )
        return codes.says_levels(y, staircase)
