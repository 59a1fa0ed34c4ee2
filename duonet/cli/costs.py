"""`duonet summary`."""

import argparse
from pathlib import Path

from duonet import arguments
from duonet.cli.packed import trained
from duonet.cli.parser import among
from duonet.cli.streams import answer


def add(commands: argparse._SubParsersAction) -> None:
    """Add the command to the parser.

    Parameters
    ----------
    commands : argparse subparsers
    """
    from duonet.models.catalogue import MODELS
    from duonet.models.common import COPIES, VARIANTS, WEIGHTS

    asked = [*VARIANTS, *(f"de{variant}" for variant in COPIES)]
    command = commands.add_parser(
        "summary",
        help="parameters, multiply-accumulates and bytes of a network, by bit width",
        description="Print what every layer of a network costs, by bit width.",
        examples=[
            "duonet summary resnet18 --variant decoupled",
            "duonet summary mlp --input 28 28 1 --classes 10",
            "duonet summary runs/a --json > costs.json",
        ],
    )
    command.set_defaults(command=_summary)
    model = command.add_argument(
        "model", help=f"one of {', '.join(MODELS)}, a run folder, a checkpoint or a packed file"
    )
    among(model, lambda: MODELS)
    among(command.add_argument("--variant", help=f"{', '.join(asked)} (baseline)"), lambda: asked)
    among(command.add_argument("--weights", help="float or binary"), lambda: WEIGHTS)
    command.add_argument("--width", type=int, help="width of the first layer; the others keep their proportion")
    command.add_argument("--shortcut", help="shortcuts of a ResNet: block or conv")
    command.add_argument("--input", type=int, nargs=3, metavar=("H", "W", "C"), help="shape of an image")
    command.add_argument("--classes", type=int, help="number of classes")


def _summary(options):
    from duonet.costs import summary

    packed = Path(options.model)
    if packed.suffix == ".duo" and packed.exists():
        from duonet.inference import load_packed, packed_summary

        counted = packed_summary(load_packed(packed))
    else:
        counted = summary(*_network(options))
    answer(options.json, counted.to_dict(), str(counted))


def _network(options):
    """Return the model and the shape of its input."""
    import numpy as np

    from duonet.decoupling import decouple
    from duonet.experiments.fields import BadSetting, settings_of
    from duonet.models.catalogue import MODELS, build, defaults
    from duonet.models.common import COPIES, VARIANTS

    names = ("variant", "weights", "width", "shortcut", "classes")
    given = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    if options.model not in MODELS and Path(options.model).exists():
        if given:
            raise BadSetting("summary", next(iter(given)), f"cannot be given with the checkpoint {options.model}")
        return trained(options, Path(options.model))[:2]
    if options.model not in MODELS:
        near = arguments.nearest(options.model, MODELS)
        raise ValueError(f"summary: {options.model} is neither a file nor one of {', '.join(MODELS)}{near}")
    in_shape, classes = defaults(options.model)
    in_shape = tuple(options.input or in_shape)
    variant = given.pop("variant", "baseline")
    with settings_of("summary", {"variant": "variant"}):
        arguments.one_of("summary", "variant", variant, (*VARIANTS, *(f"de{name}" for name in COPIES)))
    asked = variant.removeprefix("de") if variant.removeprefix("de") in COPIES else variant
    rng = np.random.default_rng(0)
    made_of = {name: name for name in names} | {"widths": "width", "in_shape": "input"}
    with settings_of("summary", made_of):
        model = build(options.model, asked, in_shape, given.pop("classes", classes), rng=rng, **given)
    return decouple(model) if asked != variant else model, in_shape
