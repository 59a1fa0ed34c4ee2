"""`duonet compare`, `duonet mismatch` and `duonet contest`."""

import argparse
import dataclasses
import time
from pathlib import Path

from duonet import backend
from duonet.cli.parser import among
from duonet.cli.runs import HELP
from duonet.cli.sharing import add_crew, crew_of, tell_failed
from duonet.cli.streams import answer
from duonet.cli.words import words_for
from duonet.text import visible

SHOW = "print a finished or stopped study again from its folder or results.json; computes nothing"
RESUME = "continue the study in this folder with its settings; a finished study is printed again"


def add(commands: argparse._SubParsersAction) -> None:
    """Add the commands to the parser.

    Parameters
    ----------
    commands : argparse subparsers
    """
    from duonet.experiments.comparison import CompareSettings
    from duonet.experiments.recipes import COMPARED

    command = commands.add_parser(
        "compare",
        help="binary, coupled ternary and decoupled networks on real images",
        description="Train a float, a binary, a coupled ternary and the decoupled network on Fashion-MNIST images "
        "that come with the package, at equal epochs and weights, and print, write and draw the results.",
        examples=[
            "duonet compare",
            "duonet compare --model mlp --seeds 3 --out runs/small",
            "duonet compare --resume runs/small",
            "duonet compare --show runs/small",
        ],
    )
    command.set_defaults(command=_compare)
    model = command.add_argument("--model", help=f"one of {', '.join(COMPARED)} ({CompareSettings.model})")
    among(model, lambda: COMPARED)
    command.add_argument("--seeds", type=int, help=f"number of seeds ({CompareSettings.seeds})")
    command.add_argument("--epochs", type=int, help="epochs of both stages together")
    command.add_argument("--images", type=int, help="training images, at most 8000")
    command.add_argument("--width", type=int, help="width of the first layer; the others keep their proportion")
    command.add_argument("--weights", help=f"float, binary or module:Name of your own ({CompareSettings.weights})")
    command.add_argument("--activations", metavar="NAME", help=f"for the baseline: {HELP['activations']}")
    command.add_argument("--surrogate", metavar="NAME", help=HELP["surrogate"])
    command.add_argument("--ablation", action="store_true", help="also full-width ternary and restarted networks")
    command.add_argument("--three", action="store_true", help="also 2-bit networks, decoupled into three copies")
    command.add_argument("--device", choices=backend.DEVICES, help=f"processor to use ({CompareSettings.device})")
    command.add_argument("--tf32", action="store_true", help=HELP["tf32"])
    add_crew(command)
    command.add_argument("--out", type=Path, help="a folder for the results (runs/compare-TIME)")
    command.add_argument("--resume", type=Path, metavar="STUDY", help=RESUME)
    command.add_argument("--show", type=Path, metavar="STUDY", help=SHOW)

    command = commands.add_parser(
        "mismatch",
        help="the angle between back-propagation's gradient and the gradient of the smoothed loss",
        description="Measure gradient mismatch, layer by layer: in a network whose mismatch is known exactly, in "
        "a toy problem for every precision, surrogate and step, and in compare's network on real images. Print "
        "tables, and write results.json and figures.",
        examples=["duonet mismatch", "duonet mismatch --full --out runs/full", "duonet mismatch --show runs/full"],
    )
    command.set_defaults(command=_mismatch)
    command.add_argument("--activations", metavar="NAME", help="one more precision: a method, or module:Name")
    command.add_argument("--surrogate", metavar="NAME", help="one more surrogate for binary activations: tanh:3")
    command.add_argument("--full", action="store_true", help="five seeds, more steps, samples and images")
    command.add_argument("--seeds", type=int, help="number of seeds")
    command.add_argument("--width", type=int, help="width of the toy networks")
    command.add_argument("--samples", type=int, help="toy samples for one measurement")
    command.add_argument("--images", dest="measured_images", type=int, help="real images for one measurement")
    command.add_argument("--coordinates", type=int, help="weights to measure in each layer of the real network")
    add_crew(command)
    command.add_argument("--out", type=Path, help="a folder for the results (runs/mismatch-TIME)")
    command.add_argument("--resume", type=Path, metavar="STUDY", help=RESUME)
    command.add_argument("--show", type=Path, metavar="STUDY", help=SHOW)

    _add_contest(commands)


def _add_contest(commands):
    from duonet.experiments.competition import ContestSettings as Usual
    from duonet.experiments.recipes import COMPARED
    from duonet.methods import entries

    command = commands.add_parser(
        "contest",
        help="every method of the shelf against the binary baseline, and its gradient mismatch",
        description="Train every binary method of the shelf at equal images, epochs and weights: first at each "
        "learning rate, so that validation images choose one, then with other seeds, scored on test images. Print "
        "accuracies, differences from the baseline, costs, and whether mismatch predicts accuracy.",
        examples=[
            "duonet contest pact lsq --model mlp --epochs 4",
            "duonet contest --weights binary --out runs/weights",
            "duonet contest --resume runs/weights xnor-weights",
        ],
    )
    command.set_defaults(command=_contest)
    names = command.add_argument("names", nargs="*", metavar="NAME", help="names that duonet methods lists (all)")
    among(names, lambda: [entry.name for entry in entries()])
    model = command.add_argument("--model", help=f"one of {', '.join(COMPARED)} ({Usual.model})")
    among(model, lambda: COMPARED)
    command.add_argument("--weights", help=f"float: methods of activations; binary: of weights ({Usual.weights})")
    command.add_argument("--rates", help=f"learning rates between commas ({','.join(map(str, Usual.rates))})")
    command.add_argument("--tuning-seeds", type=int, help=f"seeds that choose the rates ({Usual.tuning_seeds})")
    command.add_argument("--seeds", type=int, help=f"other seeds, scored on test images ({Usual.seeds})")
    command.add_argument("--best-seeds", type=int, help=f"more seeds for the best methods ({Usual.best_seeds})")
    command.add_argument("--best", type=int, help=f"number of best methods ({Usual.best})")
    command.add_argument("--epochs", type=int, help="epochs of all stages together")
    command.add_argument("--images", type=int, help="training images, at most 8000")
    command.add_argument("--validation-images", type=int, help="number of validation images to score")
    command.add_argument("--width", type=int, help="width of the first layer; the others keep their proportion")
    command.add_argument("--measured-seeds", type=int, help=f"seeds to measure, or 0 ({Usual.measured_seeds})")
    command.add_argument("--measured-images", type=int, help=f"images to measure on ({Usual.measured_images})")
    command.add_argument("--coordinates", type=int, help=f"weights to measure in each layer ({Usual.coordinates})")
    command.add_argument("--layers", type=int, help=f"number of last layers to measure ({Usual.layers})")
    command.add_argument("--device", choices=backend.DEVICES, help=f"processor to use ({Usual.device})")
    add_crew(command)
    command.add_argument("--out", type=Path, help="a folder for the results (runs/contest-TIME)")
    command.add_argument("--resume", type=Path, metavar="STUDY", help=RESUME + "; names add methods")
    command.add_argument("--show", type=Path, metavar="STUDY", help=SHOW)


def _contest(options):
    from duonet.experiments import ContestSettings, contest, contest_tables
    from duonet.experiments.figures import plot_contest
    from duonet.experiments.study_file import read_study

    if options.show is not None:
        _show(options)
        return 0
    if options.rates is not None:
        options.rates = _numbers(options.rates)
    settings, out = _asked(options, ContestSettings, ContestSettings())
    names = tuple(options.names)
    if options.resume is not None:
        before = read_study("contest", out, continued=True)["names"]
        names = tuple(dict.fromkeys([*before, *names])) if before else ()
    crew = crew_of(options)
    with words_for("contest", out), _from_file(options, ContestSettings):
        results = contest(settings, out, names, progress=not options.quiet, crew=crew)
    tables = "\n\n".join(contest_tables(results).values())
    answer(options.json, results, tables)  # before the figure, which may fail
    plot_contest(results, out / "contest.png")
    tell_failed("contest", results["left_out"])
    status = tell_failed("contest", results["failed"])
    if not options.quiet:
        print("\n" + visible(f"a dot means that noise hides the value; written to {out}"))
    return status


def _numbers(text):
    """Read numbers separated by commas."""
    try:
        return tuple(float(word) for word in text.split(","))
    except ValueError:
        raise ValueError(f"contest: --rates must be numbers separated by commas, got {text!r}") from None


def _compare(options):
    from duonet.experiments import CompareSettings, compare, compare_table, verdict
    from duonet.experiments.figures import plot_comparison

    if options.show is not None:
        _show(options)
        return 0
    settings, out = _asked(options, CompareSettings, CompareSettings())
    crew = crew_of(options)
    with words_for("compare", out), _from_file(options, CompareSettings):
        results = compare(settings, out, progress=not options.quiet, crew=crew)
    answer(options.json, results, compare_table(results))  # before the figure, which may fail
    if results["methods"]:
        plot_comparison(results, out / "compare.png")
    status = tell_failed("compare", results.get("failed", {}))
    if options.quiet or status:
        return status
    for row in results["decoupling"]:
        print(
            f"seed {row['seed']}: decoupling changed {row['float32_changed_predictions']} of "
            f"{row['float32_images']:,} predictions; in float64 the logits differ by at most "
            f"{row['float64_relative_difference']:.1g} of the largest"
        )
    print(visible(f"{_spent(results)}; written to {out}, the figure to {out / 'compare.png'}"))
    print(f"\n{verdict(results)}")
    return 0


def _mismatch(options):
    from duonet.experiments import MismatchSettings, mismatch, mismatch_tables
    from duonet.experiments.figures import plot_mismatch
    from duonet.experiments.mismatch_study import FULL

    if options.show is not None:
        _show(options)
        return 0
    settings, out = _asked(options, MismatchSettings, FULL if options.full else MismatchSettings())
    crew = crew_of(options)
    with words_for("mismatch", out), _from_file(options, MismatchSettings):
        results = mismatch(settings, out, progress=not options.quiet, crew=crew)
    tables = "\n\n".join(mismatch_tables(results).values())
    answer(options.json, results, tables)  # before the figures, which may fail
    if status := tell_failed("mismatch", results.get("failed", {})):
        return status
    plot_mismatch(results, out)
    if not options.quiet:
        print("\n" + visible(f"a dot means that noise hides the value; {_spent(results)}; written to {out}"))
    return 0


def _show(options):
    """Print the tables of a study, and what they mean."""
    from duonet.experiments import show, verdict
    from duonet.experiments.study_file import read_study

    text = show(options.word, options.show)
    results = read_study(options.word, options.show)
    if options.word == "compare" and not options.quiet and (meaning := verdict(results)):
        text += f"\n\n{meaning}"
    answer(options.json, results, text)


def _asked(options, kind, usual):
    """Return a study's settings and folder, from the flags or from the study to resume."""
    from duonet.experiments.studies import saved_study

    command = options.word
    names = [field.name for field in dataclasses.fields(kind)]
    given = {name: getattr(options, name, None) for name in names}
    given = {
        name: value for name, value in given.items() if value is not None and value is not False
    }  # 0 is a value
    if options.resume is None:
        out = options.out or Path("runs") / time.strftime(f"{command}-%Y%m%d-%H%M%S")
        return dataclasses.replace(usual, **given), out
    if options.out is not None or given or getattr(options, "full", False):
        raise ValueError(f"{command}: --resume takes settings and folder from the study; leave out other flags")
    return saved_study(command, options.resume, kind), options.resume


def _from_file(options, kind):
    """Let the refusal of a resumed study's setting name the study's file."""
    from duonet.experiments.fields import asked_by
    from duonet.experiments.study_file import RESULTS

    read = kind.__dataclass_fields__ if options.resume is not None else ()
    return asked_by(options.word, {name: f"{options.resume}/{RESULTS}: {name}" for name in read})


def _spent(results):
    memory = results["peak_memory_mib"]
    return f"{results['seconds']:.0f} s" + ("" if memory is None else f", {memory:.0f} MiB")
