"""The command line: `duonet train`, `evaluate`, `predict`, `runs`, `summary`, `compare`, `mismatch`."""

import argparse
import os
import sys

import duonet
from duonet import parallel
from duonet.cli import costs, runs, studies


def main(arguments=None):
    """Run one command and return its exit status: 0, 2 for bad input, 130 for Ctrl-C, 1 for a closed pipe.

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
        options.command(options)
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read the output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (ValueError, OSError, RuntimeError, ArithmeticError, MemoryError) as error:
        print(f"duonet: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("duonet: stopped; what had been written is whole", file=sys.stderr)
        return 130
    return 0


def _parser():
    parser = argparse.ArgumentParser(prog="duonet", description="Binary-activation networks, from scratch.")
    parser.add_argument("--version", action="version", version=f"duonet {duonet.__version__}")
    commands = parser.add_subparsers(title="commands", required=True)
    for room in (runs, costs, studies):
        room.add(commands)
    return parser
