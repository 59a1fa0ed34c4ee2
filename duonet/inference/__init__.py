"""Trained networks packed to run: weights and activations of two values are bits, and products count them."""

from duonet.inference.network import PackedNetwork
from duonet.inference.packing import CannotPack, pack

__all__ = ["CannotPack", "PackedNetwork", "pack"]
