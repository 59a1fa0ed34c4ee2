"""`duonet train` on several processes: started by mpiexec, or by `--processes`, which calls it."""

import argparse
import contextlib
import importlib.util
import os
import platform
import shutil
import signal
import subprocess
import sys
import warnings
from contextlib import AbstractContextManager
from pathlib import Path

from duonet import parallel
from duonet.cli.streams import complain
from duonet.team import INSTALL, TIMEOUT, Elsewhere, World, launched

OURS = "DUONET_PROCESSES"  # tells a process that --processes has started it
ENDED = (0, 1, 2, 130, 143)  # statuses that a process has explained


def add(command: argparse.ArgumentParser) -> None:
    """Add `--processes` and `--timeout` to a command.

    Parameters
    ----------
    command : argparse.ArgumentParser
    """
    how = "train in N processes on this machine, each with one thread unless DUONET_THREADS is set"
    command.add_argument("--processes", type=int, metavar="N", help=how)
    how = "how long a process may wait for the others before it ends them all (%(default)g)"
    command.add_argument("--timeout", type=float, metavar="SECONDS", default=TIMEOUT, help=how)


def join(options: argparse.Namespace) -> World:
    """Return the processes that train together; from now on only the first shows warnings.

    Parameters
    ----------
    options : argparse.Namespace
        The command's options: `processes`, an int or None, and `timeout` in seconds.

    Returns
    -------
    World

    Raises
    ------
    ValueError, RuntimeError
        In the first process, if a flag is wrong, or if mpiexec and mpi4py do not fit together.
    Elsewhere
        In the other processes, for the same reasons.

    Examples
    --------
    >>> join(argparse.Namespace(processes=3, timeout=60))
    Traceback (most recent call last):
        ...
    ValueError: train: --processes must be a power of two, got 3
    """
    size, rank = launched()
    asked = options.processes
    problem = None
    if not options.timeout > 0:
        problem = f"--timeout must be above 0, got {options.timeout:g}"
    elif asked is not None and (asked < 1 or asked & (asked - 1)):
        problem = f"--processes must be a power of two, got {asked}"
    elif asked is not None and size > 1 and asked != size:
        problem = f"--processes {asked} does not fit the {size} processes that mpiexec started; leave it out"
    elif os.environ.get(OURS) and size == 1:
        problem = f"{_mpiexec()} started this process, but did not tell it the number of processes"
    if problem is not None:
        if rank:
            raise Elsewhere(2)
        raise ValueError(f"train: {problem}")
    world = World.joined(options.timeout)
    if world.rank:
        warnings.simplefilter("ignore")
    return world


def threads(world: World) -> AbstractContextManager[None]:
    """Share the cores of a machine among its processes within a block, unless DUONET_THREADS is set.

    Parameters
    ----------
    world : World

    Returns
    -------
    context manager
    """
    if world.size == 1 or "DUONET_THREADS" in os.environ:
        return contextlib.nullcontext()
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    mine = platform.node(), sorted(cores)  # mpiexec may have given each process cores of its own
    return parallel.threads(max(1, len(cores) // world.gather(mine).count(mine)))


def start(processes: int, words: list[str]) -> int:
    """Run this command in several processes, and return its exit status.

    Parameters
    ----------
    processes : int
        A power of two.
    words : list of str
        The words of the command line after `duonet`.

    Returns
    -------
    int
        0, 1, 2, 130 or 143, as `duonet.cli.main` returns; 2 as well if a process was killed from outside.

    Raises
    ------
    RuntimeError
        If mpi4py or mpiexec is missing.
    """
    mpiexec = _mpiexec()
    missing = [
        n for n, there in (("mpi4py", importlib.util.find_spec("mpi4py")), ("mpiexec", mpiexec)) if not there
    ]
    if missing:
        raise RuntimeError(f"--processes {processes} needs {' and '.join(missing)}; {INSTALL}")
    env = {"DUONET_THREADS": "1", **os.environ, OURS: str(processes)}
    # `-m duonet` would look for every module in the folder of the command first, beside the user's data.
    program = "import sys; sys.path = [p for p in sys.path if p]; from duonet.cli import main; sys.exit(main())"
    command = [str(mpiexec), "-n", str(processes), sys.executable, "-c", program, *words]
    # In a session of their own, the processes get Ctrl-C from here, once: a second one would cut a file short.
    running = subprocess.Popen(command, stdin=subprocess.DEVNULL, env=env, start_new_session=True)
    try:
        status = running.wait()
    except KeyboardInterrupt as stop:
        _stop(running)
        return getattr(stop, "status", 130)
    except BaseException:
        running.kill()
        raise
    if status in ENDED:
        return status
    if -status == getattr(signal, "SIGPIPE", None):  # the reader of the output has seen enough
        return 1
    complain(f"duonet: train: a process was killed (mpiexec's status {status}); --resume continues the run")
    return 2


def _mpiexec():
    """Return the mpiexec of this environment, or of the system."""
    beside = Path(sys.executable).with_name("mpiexec")
    return beside if beside.is_file() else shutil.which("mpiexec")


def _stop(running):
    for wait in (10, 5):
        running.send_signal(signal.SIGINT)  # the second time, mpiexec does not wait for the others
        with contextlib.suppress(subprocess.TimeoutExpired):
            running.wait(wait)
            return
    running.kill()
    running.wait()
