"""The command line: `duonet train`, `evaluate`, `predict`, `pack`, `run`, `compare`, `mismatch` and others."""

import argparse
import contextlib
import os
import signal
import sys
import threading
import traceback
import warnings

from duonet import compiled, parallel
from duonet.cli import costs, methods, own, packed, runs, studies, sweeps
from duonet.cli.parser import Parser, add_common
from duonet.cli.streams import complain, usable
from duonet.cli.words import EXPECTED, said
from duonet.team import Elsewhere, World, launched
from duonet.text import visible
from duonet.version import VERSION


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit status: 0, 2 for bad input, 130 for Ctrl-C, 1 for a closed pipe.

    The status is also 1 if a part of a study failed and the other parts continued. TERM stops the command as
    Ctrl-C does, with status 143. If Ctrl-C is ignored at the start, as in a script's background job, it stays so.

    Parameters
    ----------
    arguments : list of str, optional
        The words after `duonet`; the process's own by default.

    Returns
    -------
    int

    Examples
    --------
    >>> main(["evaluate", "nosuch", "mnist"])  # the message goes to stderr
    2
    """
    from duonet.experiments.environment import versions
    from duonet.experiments.fields import asked_by

    with usable(), warnings.catch_warnings():
        parser = _parser()
        if "_ARGCOMPLETE" in os.environ:  # a shell asks for completions
            _complete(parser)
        words = sys.argv[1:] if arguments is None else arguments
        options = parser.parse_args(words, argparse.Namespace(words=words, world=World()))
        options.quiet |= options.json
        warnings.showwarning = _showing(options.verbose)
        if options.verbose and not launched()[1]:
            complain(", ".join(f"{name} {value}" for name, value in versions().items()))
        if arguments is None:  # the process is this command's own
            parallel.keep_memory()
        try:
            with _terminable(), parallel.threads(), asked_by(options.word, options.flags), own.brought(options):
                status = options.command(options)
                sys.stdout.flush()
        except BrokenPipeError:  # the reader of the output has seen enough
            return _ended(options, 1)
        except EXPECTED as error:
            if options.verbose:
                traceback.print_exc()
            return _ended(options, 2, f"duonet: {said(error, options.word)}")
        except KeyboardInterrupt as stop:
            return _ended(options, getattr(stop, "status", 130), "duonet: stopped; all files written are whole")
        except SystemExit as stop:
            if options.world.size > 1 and not isinstance(stop, Elsewhere):
                return _ended(options, 2, f"duonet: a process called sys.exit({stop.code!r})")
            raise
        except Exception:  # a fault of the package
            if options.world.size == 1:
                raise
            return _ended(options, 1, traceback.format_exc())
        return status or 0


def _versions():
    return f"duonet {VERSION}; kernels on the CPU: {compiled.in_force()}"


def _showing(verbose):
    def show(message, category, filename, lineno, *rest, **more):
        complain(visible(f"duonet: {message}" + (f" ({filename}, line {lineno})" if verbose else "")))

    return show


def _complete(parser):
    import argcomplete

    argcomplete.autocomplete(parser)


def _ended(options, status, text=None):
    """Print why the command ends, and end the other processes of a training run, which would wait for this one."""
    options.world.end(status, lambda: text is not None and complain(text))
    return status


class _Version(argparse.Action):
    def __call__(self, parser, *rest):
        print(_versions())
        parser.exit()


class Terminated(KeyboardInterrupt):
    """The process was sent TERM."""

    status = 143


@contextlib.contextmanager
def _terminable():
    """Let TERM, and a terminal that closes, stop the command as Ctrl-C does, unless the signal has a handler."""
    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    numbers = [number for number in numbers if signal.getsignal(number) == signal.SIG_DFL]
    if threading.current_thread() is not threading.main_thread() or not numbers:
        yield
        return

    def stop(number, frame):
        raise Terminated

    for number in numbers:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, signal.SIG_DFL)


def _parser():
    parser = Parser(
        prog="duonet",
        description="Binary-activation networks, from scratch. `duonet COMMAND --help` shows examples.",
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version, and which kernels run")
    commands = parser.add_subparsers(title="commands", dest="word", metavar="COMMAND")
    for room in (runs, costs, packed, studies, sweeps, methods):
        room.add(commands)
    for word in own.COMMANDS:
        own.add(commands.choices[word])
    for command in commands.choices.values():
        add_common(command)
        command.set_defaults(flags={a.dest: a.option_strings[0] for a in command._actions if a.option_strings})
    return parser
