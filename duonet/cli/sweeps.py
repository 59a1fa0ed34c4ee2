"""`duonet sweep`."""

import argparse
import time
from pathlib import Path

from duonet.cli.sharing import add_crew, crew_of, tell_failed
from duonet.cli.streams import answer
from duonet.cli.words import words_for
from duonet.text import visible


def add(commands: argparse._SubParsersAction) -> None:
    """Add the command to the parser.

    Parameters
    ----------
    commands : argparse subparsers
    """
    command = commands.add_parser(
        "sweep",
        help="a training run for each combination of settings, and a table",
        description="Train a network for each combination of the settings in a TOML file, in which any setting of "
        "duonet train may be a list of values: lr = [0.004, 0.008], seed = [0, 1, 2]. Each run has a folder "
        "like a run of duonet train; the table has means over seeds.",
        examples=[
            "duonet sweep grid.toml --out runs/grid",
            "duonet sweep --resume runs/grid --workers 4",
            "duonet sweep --show runs/grid",
        ],
    )
    command.set_defaults(command=_sweep)
    command.add_argument("file", type=Path, nargs="?", metavar="FILE", help="a TOML file of settings and lists")
    add_crew(command)
    command.add_argument("--out", type=Path, help="a folder for the results (runs/sweep-TIME)")
    command.add_argument("--resume", type=Path, metavar="STUDY", help="continue the sweep in this folder")
    command.add_argument("--show", type=Path, metavar="STUDY", help="print the table of a folder or results.json")


def _sweep(options):
    from duonet.experiments import show, sweep, sweep_table
    from duonet.experiments.fields import asked_by
    from duonet.experiments.run_settings import RunSettings, read_toml
    from duonet.experiments.study_file import RESULTS, read_study

    if options.show is not None:
        answer(options.json, read_study("sweep", options.show), show("sweep", options.show))
        return 0
    if (options.file is None) == (options.resume is None):
        raise ValueError("sweep: give either FILE, or --resume STUDY")
    if options.resume is not None and options.out is not None:
        raise ValueError("sweep: --resume names the folder; leave out --out")
    crew = crew_of(options)
    if options.resume is None:
        source, settings = options.file, read_toml(options.file)
        out = options.out or Path("runs") / time.strftime("sweep-%Y%m%d-%H%M%S")
    else:
        out, source = options.resume, options.resume / RESULTS
        settings = read_study("sweep", out, continued=True)["settings"]
        if odd := sorted(settings.keys() - RunSettings.__dataclass_fields__.keys()):
            raise ValueError(f"sweep: {source} has unknown settings: {', '.join(odd)}")
    with (
        words_for("sweep", out),
        asked_by("sweep", {n: f"{source}: {n}" for n in RunSettings.__dataclass_fields__}),
    ):
        results = sweep(settings, out, progress=not options.quiet, crew=crew)
    answer(options.json, results, sweep_table(results))
    status = tell_failed("sweep", results["failed"])
    if not options.quiet:
        print(visible(f"{results['seconds']:.0f} s; written to {out}"))
    return status
