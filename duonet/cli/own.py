"""Modules that the command line names, and no other: `--import`, and `module:Name` as a setting."""

import argparse
import contextlib
import importlib
import os
import sys
from collections.abc import Iterator

COMMANDS = (
    "train",
    "evaluate",
    "predict",
    "summary",
    "pack",
    "export-onnx",
    "compare",
    "mismatch",
    "sweep",
    "runs",
)
SETTINGS = ("activations", "weights", "surrogate")


def add(command: argparse.ArgumentParser) -> None:
    """Add `--import` to a command.

    Parameters
    ----------
    command : argparse parser
    """
    command.add_argument(
        "--import", dest="imports", action="append", default=[], metavar="MODULE",
        help="a module of yours with the classes that a run names; the current folder is searched as well",
    )  # fmt: skip


@contextlib.contextmanager
def brought(options: argparse.Namespace) -> Iterator[None]:
    """Import the modules that were typed, by `--import` or as `module:Name`; the processes of a study do as well.

    Parameters
    ----------
    options : argparse.Namespace

    Yields
    ------
    None

    Raises
    ------
    ValueError
        If one cannot be imported; says why.
    """
    from duonet.experiments.own import IMPORT, SURROGATES, is_own, named_modules

    typed = {name: str(getattr(options, name, "")) for name in SETTINGS}
    places = {f"--{name}": text.partition(":")[0] for name, text in typed.items() if is_own(text)}
    if places.get("--surrogate") in SURROGATES:  # tanh:four
        del places["--surrogate"]
    asked = [*places.items(), *(("--import", module) for module in getattr(options, "imports", ()))]
    if not asked:
        yield
        return
    before, path = os.environ.get(IMPORT), list(sys.path)
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # behind everything else: it hides nothing that is installed
    try:
        for flag, module in asked:
            try:
                importlib.import_module(module)
            except (Exception, SystemExit) as error:  # a script ends with sys.exit
                what = f"{type(error).__name__}: {error}"
                raise ValueError(f"{options.word}: {flag}: {module} cannot be imported: {what:.300}") from error
        os.environ[IMPORT] = ",".join(dict.fromkeys([*named_modules(), *(module for _, module in asked)]))
        yield
    finally:
        sys.path[:] = path
        os.environ.pop(IMPORT, None)
        if before is not None:
            os.environ[IMPORT] = before
