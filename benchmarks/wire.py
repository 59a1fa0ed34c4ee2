"""A model of the bytes that a training step sends among several processes, and of the time for them.

Every process of R sends the gradient of n numbers in slices, adds its slice and sends the sum to all: 2 n (R − 1)
/ R numbers of 4 bytes. With `--compress sign` it sends each other process a bit for each number: n (R − 1) / 8
bytes. Nothing is sent while the network computes, so the time of the wire adds to a step. Latency is left out.

    python benchmarks/scale.py --render    # the tables of docs/scale.md
"""

import numpy as np

from duonet import models, summary
from duonet.models.catalogue import defaults

PROCESSES = 8
RATES = 10, 100  # Gb/s
LIMIT = 0.1  # the share of a step that the wire may take beside computing
GPU_FLOPS = 30e12  # the assumed speed of a GPU in a step
FLOPS = 2 * 3  # a multiply-accumulate is two; a step costs three forward passes


def counted(network):
    """Return the parameters and the multiply-accumulates of an image, as the package counts them."""
    in_shape, classes = defaults(network)
    found = summary(models.build(network, "baseline", in_shape, classes, rng=np.random.default_rng(0)), in_shape)
    return found.parameters, found.macs


def sent(parameters, processes, sign=False):
    """Return the bytes that each process sends in a step."""
    others = processes - 1
    return parameters * others / 8 if sign else 2 * 4 * parameters * others / processes


def seconds(size, gigabits):
    return 8 * size / (1e9 * gigabits)


def fewest(images_a_second, wire):
    """Return the fewest images of a process in a step for which the wire takes at most LIMIT of the computing."""
    return int(np.ceil(images_a_second * wire / LIMIT))


def wire_table(steps):
    """Return the table of the bytes on the wire in Markdown.

    `steps` are rows of scale.json: network, batch and ms of a step of one process.
    """
    lines = [
        f"| network | parameters | MB a step | ms at {RATES[0]} Gb/s | ms at {RATES[1]} Gb/s | signs: MB | "
        f"signs: ms at {RATES[0]} Gb/s |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in steps:
        parameters, _ = counted(row["network"])
        size, signs = (sent(parameters, PROCESSES, sign) for sign in (False, True))
        times = [f"{1e3 * seconds(size, rate):.3g}" for rate in RATES]
        cells = [f"{parameters:,}", f"{size / 1e6:.3g}", *times, f"{signs / 1e6:.2g}"]
        cells.append(f"{1e3 * seconds(signs, RATES[0]):.2g}")
        lines.append(f"| {row['network']} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def limits_table(steps):
    """Return the table of the wire beside computing in Markdown."""
    heads = [f"wire to step at {rate} Gb/s | fewest images" for rate in RATES]
    lines = [
        f"| network, images | step, ms | {heads[0]} | step of a GPU, ms (assumed) | {heads[1]} |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in steps:
        parameters, macs = counted(row["network"])
        size, batch = sent(parameters, PROCESSES), row["batch"]
        cells = []
        for step, rate in zip((row["ms"] / 1e3, FLOPS * macs * batch / GPU_FLOPS), RATES):
            wire = seconds(size, rate)
            ms = 1e3 * step
            shown = f"{ms:.3g}" if ms < 100 else f"{ms:,.0f}"
            cells += [shown, f"{wire / step:.2g}", f"{fewest(batch / step, wire):,}"]
        lines.append(f"| {row['network']}, {batch} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
