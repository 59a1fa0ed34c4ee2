"""`duonet` on few images, as a process of its own, which fails where DUONET_FAIL=RANK:STEP:HOW says so."""

import os
import signal
import sys
import time

import numpy as np

from duonet import data
from duonet.cli import main
from duonet.data import catalogue
from duonet.experiments import figures
from duonet.sharding import Shards
from duonet.team import launched


def few_images():
    rng = np.random.default_rng(7)
    parts = [
        data.Dataset(rng.integers(0, 256, (n, 28, 28, 1), np.uint8), rng.integers(0, 10, n))
        for n in (128, 300, 260)
    ]
    return data.Splits(*parts, tuple("0123456789"))


def failing():
    rank, step, how = os.environ["DUONET_FAIL"].split(":")
    steps, gradients = [], Shards.gradients

    def planted(self, *rest, **more):
        steps.append(0)
        if (launched()[1], len(steps)) == (int(rank), int(step)):
            print("planted", flush=True)
            if how == "raise":
                raise ValueError(f"a failure in process {rank}")
            if how == "fault":
                raise KeyError("a fault of the package")
            if how == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(1000)
        return gradients(self, *rest, **more)

    Shards.gradients = planted


if __name__ == "__main__":
    catalogue.fashion_mini = few_images
    figures.plot_history = lambda rows, path: None
    if "DUONET_FAIL" in os.environ:
        failing()
    sys.exit(main())
