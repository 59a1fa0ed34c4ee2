"""`duonet methods`."""

import argparse
import inspect
import json
from pathlib import Path

from duonet.cli.words import check_figure


def add(commands: argparse._SubParsersAction) -> None:
    """Add the command to the parser.

    Parameters
    ----------
    commands : argparse subparsers
    """
    command = commands.add_parser(
        "methods",
        help="quantisers of other papers: bits, what they learn, whether they decouple",
        description="Print a row for each quantiser of the shelf, or for those named, with their formula.",
    )
    command.set_defaults(command=_methods)
    command.add_argument("names", nargs="*", metavar="NAME", help="as in the column method (all)")
    command.add_argument("--json", action="store_true", help="print JSON instead of a table")
    command.add_argument(
        "--draw", type=Path, metavar="FILE", help="draw forward and gradient of each into a figure"
    )


def _methods(options):
    from duonet import methods
    from duonet.experiments.shelf import shelf_rows, shelf_table

    check_figure("methods", "--draw", options.draw)
    named = [methods.find(name) for name in options.names]
    rows = shelf_rows(named or None)
    if options.draw:
        from duonet.experiments.figures import plot_shelf

        plot_shelf(named or methods.entries(), options.draw)
    if options.json:
        print(json.dumps(rows, indent=1))
        return
    print(shelf_table(rows))
    for entry in named:
        print(f"\n{entry.name}: {entry.source}\n\n{inspect.getdoc(entry.maker)}")
