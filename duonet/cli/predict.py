"""The command `predict`, and the way in which it and `run` print their answers."""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from duonet import backend
from duonet.cli.streams import answer, complain
from duonet.cli.words import said
from duonet.text import visible


def add(commands: argparse._SubParsersAction) -> None:
    """Add the command to the parser.

    Parameters
    ----------
    commands : argparse subparsers
    """
    command = commands.add_parser(
        "predict",
        help="class probabilities of image files",
        description="Print the probability of each class for PNG or JPEG files, the likeliest first.",
        examples=["duonet predict runs/a shoe.png", "duonet predict runs/a photos/*.jpg --resize --top 1"],
    )
    command.set_defaults(command=_predict)
    command.add_argument("checkpoint", type=Path, help="a run folder of duonet train, or a file in it")
    add_images(command)
    command.add_argument("--device", default="cpu", choices=backend.DEVICES, help="processor to use (%(default)s)")


def add_images(command: argparse.ArgumentParser) -> None:
    """Add the image files to a command that answers them, and how.

    Parameters
    ----------
    command : argparse.ArgumentParser
    """
    command.add_argument("images", type=Path, nargs="+", metavar="IMAGE", help="PNG or JPEG files")
    command.add_argument("--top", type=int, default=5, help="how many classes to print (%(default)s)")
    command.add_argument("--resize", action="store_true", help="scale, crop and convert images that do not fit")


def _predict(options):
    from duonet.experiments.predicting import predict_each

    check_top("predict", options.top)
    names, answers = predict_each(options.checkpoint, options.images, options.resize, options.device)
    print_answers(options, names, answers)


def check_top(command: str, top: int) -> None:
    """Refuse to print fewer than one class, before anything is computed.

    Parameters
    ----------
    command : str
    top : int
        Number of classes to print.

    Raises
    ------
    ValueError
        If `top` is below 1.

    Examples
    --------
    >>> check_top("predict", 0)
    Traceback (most recent call last):
        ...
    ValueError: predict: --top must be an int at least 1, got 0
    """
    if top < 1:
        raise ValueError(f"{command}: --top must be an int at least 1, got {top}")


def print_answers(options: argparse.Namespace, names: list[str], answers: Iterator[tuple[Any, Any]]) -> None:
    """Print the likeliest classes of each image file, and then the problems of files without an answer.

    Parameters
    ----------
    options : argparse.Namespace
        The command's options: `word`, `images`, `top` and `json`.
    names : list of str
        Names of the classes.
    answers : iterator
        For each file (path, probabilities of the classes), or (path, a ValueError with the problem).

    Raises
    ------
    ValueError
        If a file has no answer.

    Examples
    --------
    >>> options = argparse.Namespace(word="run", images=["a.png"], top=1, json=False)
    >>> print_answers(options, ["shoe", "bag"], iter([("a.png", (0.25, 0.75))]))
    a.png: bag 75.0 %
    """
    found, errors = {}, []
    for path, shares in answers:
        if isinstance(shares, ValueError):
            errors.append(shares)
            continue
        best = sorted(zip(shares, names), reverse=True)[: options.top]
        found[str(path)] = {name: float(share) for share, name in best}
        if not options.json:
            print(visible(f"{path}: " + ", ".join(f"{name} {100 * share:.1f} %" for share, name in best)))
    answer(options.json, found, None)
    if errors:
        for error in errors:
            complain(f"duonet: {said(error, options.word)}")
        raise ValueError(f"{options.word}: no answer for {len(errors)} of {len(options.images)} images")
