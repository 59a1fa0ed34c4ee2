"""Trained networks packed to run: weights and activations of two values are bits, and products count them."""

from duonet.inference.container import PackedFileError, load_packed, save_packed
from duonet.inference.export import CannotExport, export_c
from duonet.inference.network import PackedNetwork
from duonet.inference.packing import CannotPack, pack
from duonet.inference.sizes import packed_summary

__all__ = [
    "CannotExport", "CannotPack", "PackedFileError", "PackedNetwork", "export_c", "load_packed", "pack",
    "packed_summary", "save_packed",
]  # fmt: skip
