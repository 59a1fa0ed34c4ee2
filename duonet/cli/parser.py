"""The parser of commands: examples in the help, suggestions for unknown words, flags that all commands share."""

import argparse
import shlex
import sys
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, NoReturn

from duonet import arguments
from duonet.team import launched
from duonet.text import visible

EXAMPLES = "Examples::\n\n"  # in reStructuredText, for the site


class _Help(argparse.HelpFormatter):
    def _fill_text(self, text, width, indent):
        if not text.startswith(EXAMPLES):
            return super()._fill_text(text, width, indent)
        return "examples:\n" + text.removeprefix(EXAMPLES).replace("    ", "  ")


class Parser(argparse.ArgumentParser):
    """A parser whose messages suggest the nearest word, below the usage of the command that was called.

    Parameters
    ----------
    examples : sequence of str
        Whole command lines, for the help.
    **options
        Options of `argparse.ArgumentParser`.

    Examples
    --------
    >>> parser = Parser(prog="duonet show", examples=["duonet show --width 4"], usage="duonet show [--width N]")
    >>> action = parser.add_argument("--width", type=int)
    >>> parser.flags()
    ['-h', '--help', '--width']
    """

    def __init__(self, examples: Sequence[str] = (), **options: Any) -> None:
        epilog = EXAMPLES + "\n".join(f"    {line}" for line in examples) if examples else None
        super().__init__(epilog=epilog, formatter_class=_Help, **options)
        self.examples = examples

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Return the options; the command that was called refuses words that it does not know."""
        options, rest = self.parse_known_args(args, namespace)
        commands: Any = next(action for action in self._actions if isinstance(action.choices, dict)).choices
        command = commands.get(options.word, self)
        if rest:
            unknown = next((word for word in rest if word.startswith("-") and word != "--"), rest[0])
            if options.word is None and any(unknown in each.flags() for each in commands.values()):
                self.error(f"{unknown} stands after a command: {', '.join(commands)}")
            command.error(_unexpected(unknown.partition("=")[0], command, {*command.flags(), *self.flags()}))
        if options.word is None:
            self.error(f"a command is missing: {', '.join(commands)}")
        return options

    def flags(self) -> list[str]:
        """List the parser's options as a user types them."""
        return [flag for action in self._actions for flag in action.option_strings]

    def _check_value(self, action, value):
        if action.choices is not None:
            name = "/".join(action.option_strings) or action.metavar or action.dest
            try:
                arguments.one_of(self._name, name, value, action.choices)
            except ValueError as error:
                self.error(str(error).removeprefix(f"{self._name}: "))

    @property
    def _name(self):
        return self.prog.replace(" ", ": ")

    def error(self, message: str) -> NoReturn:
        """Print the usage and the message, and exit with status 2."""
        if launched()[1]:  # the first of several processes prints it
            self.exit(2)
        self.print_usage(sys.stderr)
        self.exit(2, visible(f"{self._name}: {message.removeprefix('argument ')}") + "\n")


def _unexpected(word: str, command: Parser, flags: Collection[str]) -> str:
    if not word.startswith("-"):
        return f"there is no place for {shlex.quote(word)}"
    if word in command.flags():
        return f"{word} must come after the command's name"
    return f"there is no option {word}{arguments.nearest(word, flags)}"


def among(action: argparse.Action, choices: Callable[[], Iterable[str]]) -> None:
    """Let a shell complete an argument to one of some words; the argument may be another word as well.

    Parameters
    ----------
    action : argparse.Action
        The argument, as returned by `add_argument`.
    choices : callable
        Returns the words; called only when a shell completes.

    Examples
    --------
    >>> action = argparse.ArgumentParser().add_argument("model")
    >>> among(action, lambda: ["mlp", "vgg7"])
    >>> action.completer()
    ['mlp', 'vgg7']
    """
    action.completer = lambda **asked: choices()  # type: ignore[attr-defined]


def add_common(command: argparse.ArgumentParser) -> None:
    """Add the flags that mean the same for every command.

    Parameters
    ----------
    command : argparse.ArgumentParser
    """
    command.add_argument("--json", action="store_true", help="print the result as JSON, and nothing else")
    command.add_argument(
        "-q", "--quiet", action="store_true", help="print the result alone: no progress, no hints"
    )
    command.add_argument(
        "-v",
        "--verbose",
        action="store_true",
        help="print the versions, and where errors and warnings come from",
    )
