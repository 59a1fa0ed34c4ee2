"""Flags of the commands that share their runs among processes."""

import argparse

from duonet.cli.streams import complain
from duonet.experiments.crew import Crew
from duonet.text import visible


def add_crew(command: argparse.ArgumentParser) -> None:
    """Add the flags.

    Parameters
    ----------
    command : argparse.ArgumentParser
    """
    command.add_argument("--workers", type=int, default=1, metavar="N", help="processes that share the runs (1)")
    command.add_argument(
        "--scheduler", metavar="ADDRESS", help="of Dask, such as tcp://10.0.0.1:8786, whose workers share the runs"
    )


def crew_of(options: argparse.Namespace) -> Crew:
    """Make what the flags ask for. A scheduler must answer before a study is begun.

    Parameters
    ----------
    options : argparse.Namespace

    Returns
    -------
    Crew
    """
    crew = Crew(options.workers, options.scheduler)
    if options.scheduler is not None:
        crew.connect()
    return crew


def tell_failed(command: str, failed: dict[str, str]) -> int:
    """Complain of each run that went wrong, and return the exit status.

    Parameters
    ----------
    command : str
    failed : dict
        From a run's name to what went wrong.

    Returns
    -------
    int
    """
    for name, problem in failed.items():
        complain(visible(f"duonet: {command}: {name}: {problem}"))
    return int(bool(failed))
