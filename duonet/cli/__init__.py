"""The command line: `duonet train`, `evaluate`, `predict`, `runs`, `summary`, `compare`, `mismatch`."""

import argparse
import contextlib
import os
import signal
import sys
import threading

import duonet
from duonet import parallel
from duonet.cli import costs, runs, studies


def main(arguments=None):
    """Run one command and return its exit status: 0, 2 for bad input, 130 for Ctrl-C, 1 for a closed pipe.

    TERM stops it as Ctrl-C does, with status 143. Where Ctrl-C is ignored from the start, as in a script's
    background, it stays so.

    Parameters
    ----------
    arguments : list of str, optional
        The words after `duonet`; the process's own by default.

    Returns
    -------
    int

    Examples
    --------
    >>> main(["compare", "--images", "1"])
    2
    """
    options = _parser().parse_args(arguments)
    parallel.keep_memory()
    try:
        with _terminable():
            parallel.settle()  # an odd DUONET_THREADS is refused before anything is made
            options.command(options)
            sys.stdout.flush()
    except BrokenPipeError:  # whoever read the output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (ValueError, OSError, RuntimeError, ArithmeticError, MemoryError) as error:
        print(f"duonet: {_said(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as stop:
        print("duonet: stopped; what had been written is whole", file=sys.stderr)
        return 143 if isinstance(stop, Terminated) else 130
    return 0


class Terminated(KeyboardInterrupt):
    """The process was sent TERM."""


@contextlib.contextmanager
def _terminable():
    """Let TERM stop the command as Ctrl-C does, unless somebody has decided otherwise."""
    if (
        threading.current_thread() is not threading.main_thread()
        or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL
    ):
        yield
        return

    def stop(number, frame):
        raise Terminated

    signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _said(error):
    """Say an error in words, never in none."""
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return str(error) or ("memory is used up" if isinstance(error, MemoryError) else type(error).__name__)


def _parser():
    parser = argparse.ArgumentParser(prog="duonet", description="Binary-activation networks, from scratch.")
    parser.add_argument("--version", action="version", version=f"duonet {duonet.__version__}")
    commands = parser.add_subparsers(title="commands", required=True)
    for room in (runs, costs, studies):
        room.add(commands)
    return parser
