"""`duonet compare` and `duonet mismatch`."""

import dataclasses
import time
from pathlib import Path

from duonet import backend
from duonet.cli.runs import HELP
from duonet.cli.words import words_for


def add(commands):
    """Add both commands to the parser.

    Parameters
    ----------
    commands : argparse subparsers
    """
    from duonet.experiments.compare import RECIPES, Settings

    command = commands.add_parser(
        "compare",
        help="binary, coupled ternary and decoupled networks on real images",
        description="Train a float, a binary, a coupled ternary and the decoupled network on Fashion-MNIST images "
        "that come with the package, at equal epochs and weights, and print, write and draw what came out.",
    )
    command.set_defaults(command=_compare)
    command.add_argument("--model", default=Settings.model, help=f"one of {', '.join(RECIPES)} (%(default)s)")
    command.add_argument("--seeds", type=int, default=Settings.seeds, help="number of seeds (%(default)s)")
    command.add_argument("--epochs", type=int, help="epochs of both stages together")
    command.add_argument("--images", type=int, help="training images, at most 8000")
    command.add_argument("--width", type=int, help="width of the first layer; the others keep their proportion")
    command.add_argument("--weights", default=Settings.weights, help="float or binary (%(default)s)")
    command.add_argument("--ablation", action="store_true", help="also full-width ternary and restarted networks")
    command.add_argument("--device", default=Settings.device, choices=backend.DEVICES, help="(%(default)s)")
    command.add_argument("--tf32", action="store_true", help=HELP["tf32"])
    command.add_argument("--out", type=Path, help="a new folder for the results (runs/compare-TIME)")
    command.add_argument("--quiet", action="store_true", help="print the table alone")

    command = commands.add_parser(
        "mismatch",
        help="how far back-propagation's gradient points away from that of the smoothed loss",
        description="Measure gradient mismatch, layer by layer: in a network where it is known exactly, in a toy "
        "problem for every precision, surrogate and step, and in compare's network on real images. Prints tables, "
        "writes results.json and figures.",
    )
    command.set_defaults(command=_mismatch)
    command.add_argument("--full", action="store_true", help="five seeds, more steps, samples and images")
    command.add_argument("--seeds", type=int, help="number of seeds")
    command.add_argument("--width", type=int, help="width of the toy networks")
    command.add_argument("--samples", type=int, help="toy samples for one measurement")
    command.add_argument("--images", type=int, help="real images for one measurement")
    command.add_argument("--coordinates", type=int, help="weights to measure in each layer of the real network")
    command.add_argument("--out", type=Path, help="a new folder for the results (runs/mismatch-TIME)")
    command.add_argument("--quiet", action="store_true", help="print the tables alone")


def _compare(options):
    from duonet.experiments import Settings, compare, table
    from duonet.viz import plot_comparison

    names = ("model", "seeds", "epochs", "images", "width", "weights", "ablation", "device", "tf32")
    settings = Settings(**{name: getattr(options, name) for name in names})
    out = options.out or Path("runs") / time.strftime("compare-%Y%m%d-%H%M%S")
    with words_for("compare", out):
        results = compare(settings, out, progress=not options.quiet)
    plot_comparison(results, out)
    print(table(results))
    if options.quiet:
        return
    for row in results["decoupling"]:
        print(
            f"seed {row['seed']}: decoupling changed {row['float32_changed_predictions']} of "
            f"{row['float32_images']:,} predictions; in float64 the logits differ by at most "
            f"{row['float64_relative_difference']:.1g} of the largest"
        )
    print(f"{_spent(results)}; written to {out}")


def _mismatch(options):
    from duonet.experiments import MismatchSettings, mismatch, tables
    from duonet.experiments.mismatch import FULL
    from duonet.viz import plot_mismatch

    given = {
        "seeds": options.seeds,
        "width": options.width,
        "samples": options.samples,
        "measured_images": options.images,
        "coordinates": options.coordinates,
    }
    chosen = {name: value for name, value in given.items() if value is not None}
    settings = dataclasses.replace(FULL if options.full else MismatchSettings(), **chosen)
    out = options.out or Path("runs") / time.strftime("mismatch-%Y%m%d-%H%M%S")
    with words_for("mismatch", out):
        results = mismatch(settings, out, progress=not options.quiet)
    plot_mismatch(results, out)
    print("\n\n".join(tables(results).values()))
    if not options.quiet:
        print(f"\na dot: noise hides the value; {_spent(results)}; written to {out}")


def _spent(results):
    memory = results["peak_memory_mib"]
    return f"{results['seconds']:.0f} s" + ("" if memory is None else f", {memory:.0f} MiB")
