"""`duonet train`, `evaluate`, `predict` and `runs`."""

import argparse
import dataclasses
import functools
import time
from pathlib import Path

from duonet import backend, data
from duonet.cli import launch, predict
from duonet.cli.parser import among
from duonet.cli.streams import answer, complain
from duonet.cli.words import check_figure, said
from duonet.text import visible

HELP = {
    "method": "binaryduo, baseline, control, coupled, ternary, float, restarted, control_restarted, or, with "
    "three copies, binaryduo3, control3, coupled3 (binaryduo)",
    "epochs": "epochs of both stages together; the recipe's milestones scale with them",
    "finetune_epochs": "how many of the epochs belong to the second stage",
    "seed": "seed of weights, order and augmentation (0)",
    "width": "width of the first layer; the others keep their proportion",
    "weights": "float, binary, a method that duonet methods lists, or module:Name of your own",
    "activations": "a method that duonet methods lists, or module:Name, in place of binary or ternary activations",
    "surrogate": "for the gradient of staircases: clip, identity, relu, polynomial, swish, tanh or triangle, some "
    "with a number, as in tanh:4; or module:Name",
    "weight_bits": "bits, or bases, of the method that --weights names",
    "activation_bits": "bits, or bases, of the method that --activations names",
    "shortcut": "shortcuts of a ResNet: block or conv",
    "optimizer": "sgd or adamw",
    "schedule": "steps or cosine",
    "lr": "learning rate at the start",
    "finetune_lr": "learning rate after decoupling",
    "weight_decay": "pulls the weights towards 0",
    "decay_scales": "weight decay on biases, batch norm, scales and learned ranges too (yes)",
    "clip": "largest norm of a step's gradient, over all weights together",
    "early_stop": "end a stage after this many epochs without a better validation accuracy",
    "batch_size": "images in a batch",
    "flip": "random horizontal flips",
    "padding": "pixels of pad-and-crop, 0 for none (4)",
    "cutout": "side of the square to black out, 0 for none (0)",
    "images": "number of training images, the first ones of the data set",
    "validation_images": "number of validation images to score after every epoch",
    "select": "which epoch's network to keep: best on the validation images, or last (best)",
    "test": "score the test images at the end (yes)",
    "data": "folder of the data set's files; without it, first use downloads them",
    "size": "side in pixels to which a folder's images are scaled and cropped",
    "grey": "read a folder's images as grey",
    "device": "cpu or gpu (cpu)",
    "shards": "pieces of every batch, for the processes; the weights depend on their number (1, or --processes)",
    "batch_norm": "statistics of each shard alone or of the whole batch: shard or batch (shard)",
    "compress": "sign: processes send one bit for each weight instead of its gradient",
    "tf32": "faster GPU products, with factors rounded to 10 bits; binary and ternary activations are exact",
}
DATASETS = "fashion-mini, fashion-mnist, mnist, cifar10, cifar100 or a folder"


def add(commands: argparse._SubParsersAction) -> None:
    """Add the four commands to the parser.

    Parameters
    ----------
    commands : argparse subparsers
    """
    _add_train(commands)

    command = commands.add_parser(
        "evaluate",
        help="score a trained network: top-1, top-5, each class, confusion matrix",
        description="Score the network of a checkpoint on a data set's test images and draw its confusion matrix.",
        examples=["duonet evaluate runs/a cifar10", "duonet evaluate runs/a photos --json > scores.json"],
    )
    command.set_defaults(command=_evaluate)
    command.add_argument("checkpoint", type=Path, help="a run folder of duonet train, or a file in it")
    among(command.add_argument("dataset", help=DATASETS), lambda: data.NAMES)
    command.add_argument(
        "--part", choices=("test", "validation", "train"), default="test", help="images to score (%(default)s)"
    )
    command.add_argument("--data", help=HELP["data"])
    command.add_argument("--figure", type=Path, help="file of the drawn matrix (best_confusion.png in the run)")
    command.add_argument("--device", default="cpu", choices=backend.DEVICES, help="processor to use (%(default)s)")

    predict.add(commands)

    command = commands.add_parser(
        "runs",
        help="several runs side by side: what they differ in, or mean and spread over seeds",
        description="Print a table of runs. If all are finished and differ only in method and seed, it has the "
        "mean and spread of each method, which --figure draws. Otherwise it has a row for each run, finished or "
        "not, and a column for every setting in which two of them differ.",
        examples=[
            "duonet runs runs/cifar-* --figure curves.png",
            "duonet runs runs/sweep-*",
            "duonet runs runs/* --json > runs.json",
        ],
    )
    command.set_defaults(command=_runs)
    command.add_argument("folders", type=Path, nargs="+", metavar="RUN", help="run folders of duonet train")
    command.add_argument("--figure", type=Path, help="where to draw validation accuracy by epoch")


def _add_train(commands):
    from duonet.experiments.fields import kind_of
    from duonet.experiments.recipes import RECIPES
    from duonet.experiments.run_settings import CHOICES, RunSettings

    command = commands.add_parser(
        "train",
        help="train a network; stop it at any moment and resume",
        description="Train a network by its authors' recipe, stretched to the given number of epochs. Everything "
        "is written to the run folder during the run; a resumed run continues where it stopped, to the same bits.",
        examples=[
            "duonet train mlp fashion-mini --epochs 4 --out runs/a",
            "duonet train vgg7 cifar10 --method baseline --seed 1",
            "duonet train --resume runs/a",
            "duonet train --config settings.toml --lr 0.05",
            "duonet train vgg_deep fashion-mini --processes 2",
        ],
    )
    command.set_defaults(command=_train)
    among(command.add_argument("model", nargs="?", help=f"one of {', '.join(RECIPES)}"), lambda: RECIPES)
    among(command.add_argument("dataset", nargs="?", help=DATASETS), lambda: data.NAMES)
    for field in dataclasses.fields(RunSettings)[2:]:
        kind = kind_of(field)
        if kind is bool:
            how = {"action": argparse.BooleanOptionalAction}
        else:
            how = {"type": kind, "metavar": {int: "N", float: "X", str: "WORD"}[kind]}
        flag = f"--{field.name.replace('_', '-')}"
        setting = command.add_argument(flag, default=argparse.SUPPRESS, help=HELP[field.name], **how)
        if field.name in CHOICES:
            among(setting, functools.partial(CHOICES.get, field.name))
    command.add_argument("--config", type=Path, help="a TOML file of these settings; a flag overrides it")
    command.add_argument("--out", type=Path, help="a new folder for the run (runs/MODEL-METHOD-TIME)")
    command.add_argument("--resume", type=Path, metavar="RUN", help="continue the run in this folder")
    launch.add(command)
    command.add_argument(
        "--tensorboard", action="store_true", help="also write event files: tensorboard --logdir runs"
    )


def _train(options):
    from duonet.experiments.fields import asked_by
    from duonet.experiments.run_settings import RunSettings, read_toml

    world = options.world = launch.join(options)
    if (options.processes or 1) > world.size:
        return launch.start(options.processes, options.words)
    names = [field.name for field in dataclasses.fields(RunSettings)]
    read = world.share(lambda: {} if options.config is None else read_toml(options.config))
    typed = {name: getattr(options, name) for name in names if getattr(options, name, None) is not None}
    # The refusal of a setting names its flag, or its file.
    files = {} if options.resume is None else {name: options.resume / "settings.toml" for name in names}
    files |= dict.fromkeys(read, options.config)
    with asked_by("train", {name: f"{path}: {name}" for name, path in files.items() if name not in typed}):
        with launch.threads(world):
            _train_with(options, read | typed, world)
    return 0


def _chosen(options, given):
    """Return the settings and the folder of the run."""
    from duonet.experiments.run_settings import RunSettings
    from duonet.experiments.training import saved_settings

    if options.resume is not None:
        if options.out is not None:
            raise ValueError("train: --resume names the folder; leave out --out")
        return dataclasses.replace(saved_settings(options.resume), **given), options.resume
    if missing := [name for name in ("model", "dataset") if name not in given]:
        raise ValueError(f"train: give {' and '.join(missing)}, or --resume RUN")
    settings = RunSettings(**({"shards": options.processes or 1} | given))
    return settings, options.out or Path("runs") / time.strftime(
        f"{settings.model}-{settings.method}-%Y%m%d-%H%M%S"
    )


def _train_with(options, given, world):
    from duonet.experiments.figures import plot_history
    from duonet.experiments.tensorboard import Events
    from duonet.experiments.training import train

    settings, out = world.share(lambda: _chosen(options, given))
    events = Events(out) if options.tensorboard else None

    def draw(rows):
        plot_history(rows, out / "history.png")
        if events is not None:
            events(rows)

    try:
        result = train(
            settings,
            out,
            resume=options.resume is not None,
            on_epoch=draw,
            progress=not options.quiet,
            world=world,
        )
    except FileExistsError:
        if options.resume is not None:  # a file within the run
            raise
        raise ValueError(f"train: --out {out} exists; give a new folder, or --resume {out}") from None
    if world.rank:
        return
    by = f"by the network of epoch {result['best_epoch']}{' of the second stage' if settings.two_stages else ''}"
    validation = f"validation {100 * result['val_accuracy']:.2f} %"
    if settings.test:
        text = f"test accuracy {100 * result['test_accuracy']:.2f} % {by}, {validation}"
    else:
        text = f"{validation} {by}"
    answer(options.json, result, text)
    if not options.quiet:
        print(visible(f"{result['training_seconds']:.0f} s of training; written to {out}"))


def _evaluate(options):
    from duonet.experiments import score, score_table
    from duonet.experiments.figures import plot_confusion
    from duonet.experiments.scoring import run_file

    check_figure("evaluate", "--figure", options.figure)
    scores = score(options.checkpoint, options.dataset, options.data, options.part, options.device)
    beside = run_file(options.checkpoint)
    part = "" if options.part == "test" else f"_{options.part}"
    figure = options.figure or beside.with_name(f"{beside.stem}{part}_confusion.png")
    accuracies = f"top-1 {100 * scores['top1']:.2f} %"
    if scores["top5"] is not None:
        accuracies += f", top-5 {100 * scores['top5']:.2f} %"
    answer(options.json, scores, f"{score_table(scores)}\n\n{accuracies} of {scores['images']:,} images")
    try:
        plot_confusion(scores, figure)
    except OSError as error:
        if options.figure is not None:
            raise
        complain(f"duonet: evaluate: {said(error)}; --figure FILE draws the confusion matrix elsewhere")
        return
    if not options.quiet:
        print(visible(f"confusion matrix in {figure}"))


def _runs(options):
    from duonet.experiments import collect, list_runs, list_table, runs_table
    from duonet.experiments.figures import plot_runs
    from duonet.experiments.listing import alike, runs_in

    check_figure("runs", "--figure", options.figure)
    folders, listed, errors = [], [], []
    for folder in runs_in(options.folders):
        try:
            listed += list_runs([folder])
            folders.append(folder)
        except (ValueError, OSError) as error:
            errors.append(said(error))
    if not listed:
        raise ValueError(errors[0] if errors else "runs: no run folder was given")
    if options.figure is None and not alike(listed):
        answer(options.json, listed, list_table(listed))
    else:
        collected = collect(folders)
        answer(options.json, collected, runs_table(collected))
        if options.figure is not None:
            plot_runs(collected, options.figure)
    for problem in errors:
        complain(f"duonet: runs: {problem}")
    if errors:
        raise ValueError(f"runs: {len(errors)} of {len(errors) + len(folders)} folders have no row in the table")
