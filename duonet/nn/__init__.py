"""Layers, containers and initialisation."""

from duonet.module import Module
from duonet.nn.containers import AverageCopies, ModuleList, Replicate, Residual, Sequential
from duonet.nn.init import binaryduo_normal, he_normal
from duonet.nn.layers import BatchNorm, Clip, Dropout, Flatten, PadChannels, PReLU, ReLU
from duonet.nn.pools import AvgPool2d, GlobalAvgPool, MaxPool2d
from duonet.nn.weighted import Conv2d, Linear
from duonet.quant.activation import QuantActivation
from duonet.sources import WeightSource
from duonet.watching import Record, observe

__all__ = [
    "AverageCopies", "AvgPool2d", "BatchNorm", "Clip", "Conv2d", "Dropout", "Flatten", "GlobalAvgPool",
    "Linear", "MaxPool2d", "Module", "ModuleList", "PReLU", "PadChannels", "QuantActivation", "ReLU", "Record",
    "Replicate", "Residual", "Sequential", "WeightSource", "binaryduo_normal", "he_normal", "observe",
]  # fmt: skip
