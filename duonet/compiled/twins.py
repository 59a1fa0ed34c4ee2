"""The twins, in the order of their registration: if an op has several, the last that suits a call runs."""

from duonet.compiled import conv, dense, normalization, pooling, signs  # noqa: F401
