"""Data sets, augmentation and batches."""

from duonet.data.augment import Compose, Normalize, cutout, pad_and_crop, random_flip
from duonet.data.catalogue import NAMES, load  # noqa: F401  (a table, not a function with a docstring)
from duonet.data.cifar import cifar10, cifar100
from duonet.data.dataset import DataError, Dataset, Splits, hold_out
from duonet.data.fashion import fashion_mini
from duonet.data.folder import image_folder
from duonet.data.idx import fashion_mnist, mnist
from duonet.data.image import read_image
from duonet.data.loader import DataLoader

__all__ = [
    "Compose", "DataError", "DataLoader", "Dataset", "Normalize", "Splits", "cifar10", "cifar100", "cutout",
    "fashion_mini", "fashion_mnist", "hold_out", "image_folder", "load", "mnist", "pad_and_crop",
    "random_flip", "read_image",
]  # fmt: skip
