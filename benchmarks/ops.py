"""Time of single ops, forwards and backwards, beside PyTorch if it is installed: the parts of a training step.

    python benchmarks/ops.py [--turns 15] [--plain]

Shapes are those of VGG-7 (batch 128), of vgg_deep (batch 64) and of ResNet-20 (batch 128); both sides get
channels-last images. The sides take turns; figures are medians, ratios are medians of the ratios within a turn.
The allocator is "raised" (see train_step.py), so that page faults do not hide the op.
"""

import argparse
import contextlib
import functools
import importlib.util

import numpy as np
from train_step import interleave, report

import duonet
from duonet import Parameter, Tensor, optim, parallel
from duonet import functional as F
from duonet.quant import Binary, Clip, quantize

HAS_TORCH = importlib.util.find_spec("torch") is not None
IMAGES = [(128, 32, 64), (128, 16, 128), (64, 28, 12), (128, 32, 16)]  # batch, height and width, channels
WIDTH = 30


def numbers(*shape):
    return np.random.default_rng(0).standard_normal(shape, dtype=np.float32)


def ours(op, inputs, wanted, context):
    """Return (forward, backward) of an op on Tensors, with gradients for some of its inputs."""
    tensors = [Tensor(x, requires_grad=i in wanted) for i, x in enumerate(inputs)]
    with context():
        dy = numbers(*op(*tensors).shape)

    def forward():
        with context():
            return op(*tensors)

    def backward(y):
        y.backward(dy)

    return forward, backward


def theirs(op, inputs, wanted):
    """Do the same with PyTorch tensors, images NCHW in channels-last memory."""
    import torch

    tensors = []
    for i, x in enumerate(inputs):
        order = {4: (0, 3, 1, 2) if i == 0 else (3, 2, 0, 1)}.get(x.ndim)
        t = torch.from_numpy(x if order is None else x.transpose(order))
        tensors.append(t.contiguous(memory_format=torch.channels_last) if order else t)
    for i in wanted:
        tensors[i].requires_grad_()
    dy = torch.randn_like(op(*tensors))

    def backward(y):
        torch.autograd.grad(y, [tensors[i] for i in wanted], dy)

    return functools.partial(op, *tensors), backward


def cases(n, size, c):
    """Yield (name, op, PyTorch's op, inputs, which gradients)."""
    x = numbers(n, size, size, c)
    torch_op = dict.fromkeys(("conv", "norm", "pool", "quantize", "relu"))
    if HAS_TORCH:
        import torch.nn.functional as TF
        from torch_twin import Quantize

        torch_op = {
            "conv": lambda x, w: TF.conv2d(x, w, padding=1),
            "norm": lambda x, g, b: TF.batch_norm(x, None, None, g, b, True),
            "pool": lambda x: TF.max_pool2d(x, 2),
            "quantize": lambda x: Quantize.apply(x, [0.5], 0.0, 1.0),
            "relu": TF.relu,
        }
    w = numbers(3, 3, c, c)
    conv = functools.partial(F.conv2d, padding=1)
    yield "conv, dx", conv, torch_op["conv"], (x, w), (0,)
    yield "conv, dw", conv, torch_op["conv"], (x, w), (1,)
    yield "batch norm", F.batch_norm, torch_op["norm"], (x, numbers(c), numbers(c)), (0, 1, 2)
    yield "max pool", F.max_pool2d, torch_op["pool"], (x,), (0,)
    yield "quantize", lambda x: quantize(x, Binary(), Clip(0, 1)), torch_op["quantize"], (x,), (0,)
    yield "relu", F.relu, torch_op["relu"], (x,), (0,)


def time_op(label, n, parts, turns):
    """Print the forward rows and the backward rows of one op; `parts` is {side: (forward, backward)}."""
    report(
        f"{label} forward",
        n,
        interleave({side: forward for side, (forward, _) in parts.items()}, turns, "cpu"),
        WIDTH,
    )
    graphs = {}

    def backward(side):
        parts[side][1](graphs.pop(side))

    def prepare():
        for side, (forward, _) in parts.items():
            graphs[side] = forward()

    works = {side: functools.partial(backward, side) for side in parts}
    report(f"{label} backward", n, interleave(works, turns, "cpu", prepare), WIDTH)


@duonet.threads()
def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=15)
    parser.add_argument("--plain", action="store_true", help="time the plain ops too")
    parser.add_argument("--only", default="", help="ops whose name holds this")
    args = parser.parse_args()
    parallel.keep_memory()
    print(f"{'op':{WIDTH}} {'batch':>5} {'side':20} {'median ms':>10} {'images/s':>10} {'duonet to it':>12}")
    for n, size, c in IMAGES:
        for name, op, torch_op, inputs, wanted in cases(n, size, c):
            if args.only not in name:
                continue
            parts = {}
            if torch_op is not None:
                parts["torch channels_last"] = theirs(torch_op, inputs, wanted)
            if args.plain:
                parts["duonet plain"] = ours(op, inputs, wanted, duonet.plain_ops)
            parts["duonet"] = ours(op, inputs, wanted, contextlib.nullcontext)
            time_op(f"{name} {size}×{size}×{c}", n, parts, args.turns)
    optimisers(args)


def optimisers(args):
    """Time AdamW on the parameters of VGG-7's size: 1.5 million numbers in 30 arrays."""
    if args.only not in "adamw":
        return
    shapes = [(50_000,)] * 30
    works = {}
    if HAS_TORCH:
        import torch

        weights = [torch.nn.Parameter(torch.randn(s)) for s in shapes]
        for weight in weights:
            weight.grad = torch.randn_like(weight)
        works["torch fused"] = torch.optim.AdamW(weights, 1e-3, fused=True).step
    weights = [Parameter(numbers(*s)) for s in shapes]
    for weight in weights:
        weight.grad = numbers(*weight.shape)
    works["duonet"] = optim.AdamW(weights, 1e-3).step
    report("adamw, 1.5 M weights", 1, interleave(works, args.turns, "cpu"), WIDTH)


if __name__ == "__main__":
    main()
