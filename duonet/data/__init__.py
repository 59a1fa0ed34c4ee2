"""Data sets, augmentation and batches."""

from duonet.data.augment import Normalize, pad_and_crop, random_flip
from duonet.data.dataset import Dataset, Splits
from duonet.data.fashion import DataError, fashion_mini
from duonet.data.loader import DataLoader

__all__ = [
    "DataError",
    "DataLoader",
    "Dataset",
    "Normalize",
    "Splits",
    "fashion_mini",
    "pad_and_crop",
    "random_flip",
]
