"""Ops on tensors, each with an explicit forward and backward pass on raw arrays: one lesson a file."""

from duonet.functional import operators  # noqa: F401  (sets Tensor's operators)
from duonet.functional.activation import clip, hardtanh, log_softmax, prelu, relu, sigmoid, softmax, tanh
from duonet.functional.arithmetic import add, compare, div, exp, log, mul, neg, pow, sqrt, sub
from duonet.functional.conv import col2im, conv2d, conv2d_reference, im2col
from duonet.functional.loss import mse_loss, softmax_cross_entropy, squared_hinge_loss
from duonet.functional.masking import dropout
from duonet.functional.normalization import batch_norm
from duonet.functional.pooling import avg_pool2d, global_avg_pool, max_pool2d
from duonet.functional.products import linear, matmul
from duonet.functional.reduction import max, mean, sum
from duonet.functional.shape import concat, getitem, pad, reshape, transpose

__all__ = [
    "add", "avg_pool2d", "batch_norm", "clip", "col2im", "compare", "concat", "conv2d", "conv2d_reference",
    "div", "dropout", "exp", "getitem", "global_avg_pool", "hardtanh", "im2col", "linear", "log", "log_softmax",
    "matmul", "max", "max_pool2d", "mean", "mse_loss", "mul", "neg", "pad", "pow", "prelu", "relu", "reshape",
    "sigmoid", "softmax", "softmax_cross_entropy", "sqrt", "squared_hinge_loss", "sub", "sum", "tanh", "transpose",
]  # fmt: skip
