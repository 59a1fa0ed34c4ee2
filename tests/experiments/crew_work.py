"""What workers are given in test_crew.py; a process of its own must be able to import it."""

import os
import signal
import time
from pathlib import Path

from duonet import data, parallel
from duonet.data import catalogue
from duonet.experiments.recipes import COMPARED


def dask_setup(worker=None):
    """Let a process score few images, as conftest.py does here: a worker calls this when it preloads the file."""
    whole = data.fashion_mini()
    few = whole._replace(validation=whole.validation.take(210), test=whole.test.take(510))
    catalogue.fashion_mini = lambda: few
    for recipe in COMPARED.values():
        recipe["validation_images"] = 210


def about(x):
    """Where a task is done, and on how many threads."""
    time.sleep(0.1)
    return x, os.getpid(), os.getppid(), parallel._usual()


def deaf():
    """Whether this process never hears Ctrl-C."""
    return signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, [])


def refuses(x):
    raise ValueError(f"no luck with {x}")


def kills_its_worker():
    os.kill(os.getpid(), signal.SIGKILL)


def kills_its_host_once(path):
    """As if the machine had lost its power: nanny and worker."""
    if not Path(path).exists():
        Path(path).touch()
        os.kill(os.getppid(), signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)
    return "done by another"


def kills(pid):
    os.kill(pid, signal.SIGKILL)
    time.sleep(3)


def writes(text, folder):
    """Files in the wrong order, and what was there before."""
    before = sorted(path.name for path in folder.iterdir())
    for name in ("result.json", "last.npz", "best.npz", "settings.toml", ".hidden"):
        (folder / name).write_text(text)
    return before
