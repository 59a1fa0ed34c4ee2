"""The twins, in the order in which they are registered: of several for one op, the last that suits a call runs."""

from duonet.compiled import conv, dense, normalization, pooling, signs  # noqa: F401
