"""The user's modules, imported only if the command line names them: by `--import`, or as `module:Name`."""

import argparse
import contextlib
import importlib
import os
import sys
from collections.abc import Iterator

from duonet.cli.words import EXPECTED

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


def add(command: argparse.ArgumentParser) -> None:
    """Add `--import` to a command.

    Parameters
    ----------
    command : argparse parser
    """
    command.add_argument(
        "--import", dest="imports", action="append", default=[], metavar="MODULE",
        help="your module, with the classes that a run names; the current folder is searched as well",
    )  # fmt: skip


@contextlib.contextmanager
def brought(options: argparse.Namespace) -> Iterator[None]:
    """Import the modules that `--import` and `module:Name` name, here and in the processes of a study.

    Parameters
    ----------
    options : argparse.Namespace
        The command's options: `word`, and any of `imports`, `activations`, `weights` and `surrogate`.

    Yields
    ------
    None

    Raises
    ------
    ValueError
        If a module cannot be imported; the message says why. Also in place of an error that no command expects.

    Examples
    --------
    >>> with brought(argparse.Namespace(word="train", imports=["nosuch"])):
    ...     pass
    Traceback (most recent call last):
        ...
    ValueError: train: --import: nosuch cannot be imported: ModuleNotFoundError: No module named 'nosuch'
    """
    from duonet.experiments.own import IMPORT, SETTINGS, SURROGATES, is_own, named_modules

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
        try:
            yield
        except EXPECTED:
            raise
        except Exception as error:  # the modules are the user's, and so most likely is the fault
            what = f"{type(error).__name__}: {error}"
            raise ValueError(f"{options.word}: {what:.300}; --verbose shows the line") from error
    finally:
        sys.path[:] = path
        os.environ.pop(IMPORT, None)
        if before is not None:
            os.environ[IMPORT] = before
