"""Flags of commands that share their runs among processes."""

import argparse

from duonet.cli.streams import complain
from duonet.experiments.crew import Crew
from duonet.text import visible


def add_crew(command: argparse.ArgumentParser) -> None:
    """Add `--workers` and `--scheduler` to a command.

    Parameters
    ----------
    command : argparse.ArgumentParser
    """
    command.add_argument("--workers", type=int, default=1, metavar="N", help="processes that share the runs (1)")
    command.add_argument(
        "--scheduler", metavar="ADDRESS", help="Dask's, such as tcp://10.0.0.1:8786; its workers share the runs"
    )


def crew_of(options: argparse.Namespace) -> Crew:
    """Make the crew that the flags describe. A scheduler must answer before a study begins.

    Parameters
    ----------
    options : argparse.Namespace
        The command's options: `workers`, an int, and `scheduler`, an address or None.

    Returns
    -------
    Crew

    Raises
    ------
    BadSetting
        If both flags are given, or Dask is missing; a ValueError.
    OtherVersion, SchedulerLost
        If a worker has another version of duonet; if the scheduler does not answer.

    Examples
    --------
    >>> crew_of(argparse.Namespace(workers=1, scheduler=None)).alone
    True
    """
    crew = Crew(options.workers, options.scheduler)
    if options.scheduler is not None:
        crew.connect()
    return crew


def tell_failed(command: str, failed: dict[str, str]) -> int:
    """Print the error of each failed run to stderr, and return the exit status.

    Parameters
    ----------
    command : str
    failed : dict
        From the name of a failed run to its error.

    Returns
    -------
    int
        1 if a run failed, else 0.

    Examples
    --------
    >>> tell_failed("sweep", {}), tell_failed("sweep", {"1-0.1": "the loss is infinite"})
    (0, 1)
    """
    for name, problem in failed.items():
        complain(visible(f"duonet: {command}: {name}: {problem}"))
    return int(bool(failed))
