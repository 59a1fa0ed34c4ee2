"""Time of one training step: forward, loss, backward, update.

    python benchmarks/train_step.py [--steps 15]

Prints the median and the fastest step of each network. Machines differ and are noisy; compare figures of one run.
"""

import argparse
import statistics
import time

import numpy as np

from duonet import Tensor, decouple, models, optim
from duonet import functional as F


def networks():
    """Yield (name, model, input shape, batch size)."""
    for variant in ("float", "baseline", "coupled"):
        model = models.vgg_deep(variant, rng=np.random.default_rng(0))
        yield f"vgg_deep {variant}", model, (28, 28, 1), 64
    yield "vgg_deep decoupled", decouple(model), (28, 28, 1), 64
    yield "vgg7 baseline", models.vgg7("baseline", rng=np.random.default_rng(0)), (32, 32, 3), 128


def step_times(model, shape, batch, steps):
    """Return the seconds of each step, without the first two."""
    rng = np.random.default_rng(1)
    x = Tensor(rng.standard_normal((batch, *shape), dtype=np.float32))
    labels = rng.integers(0, 10, batch)
    optimizer = optim.AdamW(model.parameters(), 1e-3)
    times = []
    for _ in range(steps + 2):
        started = time.perf_counter()
        loss = F.softmax_cross_entropy(model(x), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        times.append(time.perf_counter() - started)
    return times[2:]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=15)
    steps = parser.parse_args().steps
    print(f"{'network':20} {'input':>10} {'batch':>5} {'median ms':>10} {'fastest ms':>10} {'images/s':>9}")
    for name, model, shape, batch in networks():
        times = step_times(model, shape, batch, steps)
        median = statistics.median(times)
        size = "×".join(map(str, shape))
        print(
            f"{name:20} {size:>10} {batch:5} {1e3 * median:10.1f} {1e3 * min(times):10.1f} {batch / median:9.0f}"
        )


if __name__ == "__main__":
    main()
