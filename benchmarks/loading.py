"""The cost of the data beside the training: CIFAR-10 read, augmented and normalised, against an epoch of VGG-7.

    python benchmarks/loading.py FOLDER [--rounds 3]

FOLDER holds CIFAR-10 (the archive, or its files). An epoch of batches with flips, crops and cutout is timed alone,
and inside training as the time that the training loop waits for a batch; training itself by a few steps, times the
steps of an epoch. They take turns, and medians are shown. Machines differ and are noisy; the last column is a
ratio of one run.
"""

import argparse
import statistics
import time

import numpy as np

from duonet import Tensor, data, models, optim, parallel
from duonet import functional as F

BATCH, STEPS = 128, 8


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    parallel.keep_memory()

    reading, alone, waiting, training = [], [], [], []
    model = models.vgg7("baseline", rng=np.random.default_rng(0))
    optimizer = optim.SGD(model.parameters(), 0.1, nesterov=True)
    for _ in range(options.rounds):
        started = time.perf_counter()
        splits = data.cifar10(options.folder)
        reading.append(time.perf_counter() - started)

        augment = data.Compose(data.random_flip, data.pad_and_crop, data.cutout)
        normalize = data.Normalize.of(splits.train.images)
        loader = data.DataLoader(splits.train, BATCH, normalize, rng=np.random.default_rng(0), augment=augment)
        started = time.perf_counter()
        for _ in loader:
            pass
        alone.append(time.perf_counter() - started)

        waited = spent = 0
        batches = iter(loader)
        for step in range(STEPS):
            started = time.perf_counter()
            x, labels = next(batches)
            fetched = time.perf_counter()
            loss = F.softmax_cross_entropy(model(Tensor(x)), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if step >= 2:
                waited += fetched - started
                spent += time.perf_counter() - fetched
        batches.close()
        waiting.append(waited / (STEPS - 2) * len(loader))
        training.append(spent / (STEPS - 2) * len(loader))

    epoch = statistics.median(training)
    print(f"{'':34} {'seconds':>8} {'of an epoch':>12}")
    for name, times in (
        ("VGG-7, one epoch of training", training),
        ("reading CIFAR-10, once", reading),
        ("an augmented epoch of batches alone", alone),
        ("waiting for batches while training", waiting),
    ):
        seconds = statistics.median(times)
        print(f"{name:34} {seconds:8.2f} {100 * seconds / epoch:10.1f} %")


if __name__ == "__main__":
    main()
