"""`duonet methods`."""

import argparse
import inspect
from pathlib import Path

from duonet.cli.parser import among
from duonet.cli.streams import answer
from duonet.cli.words import check_figure


def add(commands: argparse._SubParsersAction) -> None:
    """Add the command to the parser.

    Parameters
    ----------
    commands : argparse subparsers
    """
    from duonet.methods import entries

    command = commands.add_parser(
        "methods",
        help="quantisers of other papers: bits, what they learn, whether they decouple",
        description="Print a row for each quantiser of the shelf, or the rows and formulas of the given names.",
        examples=[
            "duonet methods",
            "duonet methods pact lsq --draw pair.png",
            "duonet methods --json > methods.json",
        ],
    )
    command.set_defaults(command=_methods)
    names = command.add_argument("names", nargs="*", metavar="NAME", help="names from the column method (all)")
    among(names, lambda: [entry.name for entry in entries()])
    command.add_argument("--draw", type=Path, metavar="FILE", help="draw output and gradient of each method")


def _methods(options):
    from duonet import methods
    from duonet.experiments.shelf import shelf_rows, shelf_table

    check_figure("methods", "--draw", options.draw)
    named = [methods.find(name) for name in options.names]
    rows = shelf_rows(named or None)
    if options.draw:
        from duonet.experiments.figures import plot_shelf

        plot_shelf(named or methods.entries(), options.draw)
    formulas = [f"{entry.name}: {entry.source}\n\n{inspect.getdoc(entry.maker)}" for entry in named]
    answer(options.json, rows, "\n\n".join([shelf_table(rows), *formulas]))
