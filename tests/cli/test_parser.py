"""What every command has: examples that parse, the nearest word, its own usage, one meaning of --json, -q and -v."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from duonet import data
from duonet.cli import _parser, main
from duonet.experiments import RunSettings
from duonet.experiments.run_settings import CHOICES

DOCS = Path(__file__).parents[2] / "docs"
COMMANDS = next(action for action in _parser()._actions if isinstance(action.choices, dict)).choices
EXAMPLES = [line for command in COMMANDS.values() for line in command.examples]


@pytest.mark.parametrize("word", COMMANDS)
def test_every_command_shows_examples_and_has_the_common_flags(word):
    command = COMMANDS[word]
    assert command.examples and all(line.split()[:2] == ["duonet", word] for line in command.examples)
    shown = command.format_help()
    assert "\nexamples:\n" + "".join(f"  {line}\n" for line in command.examples) in shown
    assert {"--json", "-q", "--quiet", "-v", "--verbose"} <= set(command.flags())
    assert shown.isascii(), "whatever the terminal's encoding"
    words = {"/".join(a.option_strings) or a.dest: re.sub(r"\(.*?\)$", "", a.help or "") for a in command._actions}
    assert not [name for name, text in words.items() if not text.strip()], (
        "each option has words, not only a default"
    )


@pytest.mark.parametrize("line", EXAMPLES)
def test_every_example_parses_and_its_settings_hold(line):
    words = shlex.split(line.partition(" > ")[0])
    options = _parser().parse_args(words[1:])
    if words[1] == "train" and options.model is not None:
        given = {name: vars(options)[name] for name in RunSettings.__dataclass_fields__ if name in vars(options)}
        RunSettings(**given)
    if getattr(options, "dataset", None) in data.NAMES:
        assert "photos" not in line


def refused(words, capsys):
    """The status and stderr of a command that is refused."""
    try:
        status = main(words)
    except SystemExit as end:
        status = end.code
    printed = capsys.readouterr()
    assert status == 2 and printed.out == ""
    return printed.err


@pytest.mark.parametrize(
    "words, near",
    [
        (["trian"], "train"),
        (["train", "mlp", "mnist", "--epocs", "3"], "--epochs"),
        (["train", "mlp", "mnist", "--epocs=3"], "--epochs"),
        (["compare", "--ablatoin"], "--ablation"),
        (["--verison"], "--version"),
        (["train", "VGG-7", "mnist"], "vgg7"),
        (["train", "resnet-20", "mnist"], "resnet20"),
        (["train", "mlp", "mnsit"], "mnist"),
        (["train", "mlp", "CIFAR-10"], "cifar10"),
        (["train", "mlp", "fashion"], "fashion-mini"),
        (["train", "mlp", "mnist", "--method", "binarduo"], "binaryduo"),
        (["train", "mlp", "mnist", "--activations", "PCAT"], "pact"),
        (["train", "mlp", "mnist", "--device", "gppu"], "gpu"),
        (["evaluate", "a", "mnist", "--part", "tets"], "test"),
        (["summary", "vgg8"], "vgg7"),
        (["summary", "mlp", "--variant", "decupled"], "decoupled"),
        (["summary", "mlp", "--weights", "binry"], "binary"),
        (["methods", "pcat"], "pact"),
        (["contest", "pcat"], "pact"),
        (["contest", "--model", "vgg77"], "vgg7"),
        (["mismatch", "--sede", "3"], "--seeds"),
        (["pack", "a", "--ouput", "b", "--out", "c"], "--out"),
    ],
)
def test_the_nearest_word_is_suggested(words, near, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    error = refused(words, capsys)
    assert error.splitlines()[-1].startswith("duonet: ") and f"did you mean '{near}'?" in error, error
    assert not list(tmp_path.iterdir())


def test_a_wrong_setting_in_a_file_gets_a_suggestion(tmp_path, capsys):
    (tmp_path / "a.toml").write_text("epocs = 3\n")
    assert "did you mean 'epochs'?" in refused(["train", "--config", str(tmp_path / "a.toml")], capsys)


@pytest.mark.parametrize(
    "words, command, said",
    [
        (["evaluate", "a", "mnist", "--speed", "9"], "evaluate", "there is no option --speed"),
        (["summary", "mlp", "x y"], "summary", "there is no place for 'x y'"),
        (["evaluate", "a"], "evaluate", "the following arguments are required: dataset"),
        (["predict", "a", "b", "--top", "many"], "predict", "--top: invalid int value: 'many'"),
        (["-q", "summary", "mlp"], "summary", "-q must come after the command's name"),
        (["summary", "mlp", "--\x1b[2J"], "summary", r"there is no option --\x1b[2J"),
        (["mismatch", "--full", "nosuch"], "mismatch", "there is no place for nosuch"),
    ],
)
def test_the_usage_is_that_of_the_command(words, command, said, capsys):
    error = refused(words, capsys)
    assert error.startswith(f"usage: duonet {command} ") and f"\nduonet: {command}: {said}" in error


def test_without_a_command_all_are_named(capsys):
    error = refused([], capsys)
    assert error.startswith("usage: duonet [-h]") and all(word in error.splitlines()[-1] for word in COMMANDS)
    assert "\nduonet: --json stands after a command: train, " in refused(["--json"], capsys)


PRINTED = {
    "summary": ["mlp"],
    "methods": ["pact"],
    "compare": ["--show", str(DOCS / "compare.json")],
    "mismatch": ["--show", str(DOCS / "mismatch.json")],
    "contest": ["--show", str(DOCS / "methods_compared_float.json")],
}


@pytest.mark.parametrize("word", PRINTED)
def test_json_is_one_document_and_nothing_else(word, capsys):
    assert main([word, *PRINTED[word], "--json"]) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out, parse_constant=pytest.fail) and not printed.err


@pytest.mark.parametrize("word", PRINTED)
def test_quiet_prints_no_more_than_the_result(word, capsys):
    texts = []
    for flags in ([], ["-q"]):
        assert main([word, *PRINTED[word], *flags]) == 0
        texts.append(capsys.readouterr().out)
    assert texts[1] and texts[0].startswith(texts[1].rstrip("\n"))


def test_verbose_says_what_is_in_force_and_where_an_error_arose(capsys, monkeypatch):
    assert main(["summary", "nosuch"]) == 2
    brief = capsys.readouterr().err
    assert main(["summary", "nosuch", "-v"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("duonet ") and "numpy " in error and "kernels " in error.splitlines()[0]
    assert "Traceback" in error and "costs.py" in error and error.endswith(brief) and "Traceback" not in brief


COMPLETED = {
    "duonet tra": {"train"},
    "duonet train vgg_": {"vgg_deep", "vgg_deep3", "vgg_deep6", "vgg_deep12"},
    "duonet train mlp fashion-m": {"fashion-mini", "fashion-mnist"},
    "duonet train mlp mnist --epo": {"--epochs"},
    "duonet train mlp mnist --schedule ": set(CHOICES["schedule"]),
    "duonet methods pac": {"pact"},
    "duonet summary mlp --variant dec": {"decoupled", "decoupled3"},
}
# In a process of its own, as argcomplete takes descriptors that others may have.
COMPLETE = """
import argcomplete, io, json, os, sys
from duonet.cli import _parser

def end(status):
    raise InterruptedError

found = {}
for line in json.load(sys.stdin):
    out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True)
    os.environ |= {"_ARGCOMPLETE": "1", "_ARGCOMPLETE_IFS": "|", "COMP_LINE": line, "COMP_POINT": str(len(line))}
    try:
        argcomplete.autocomplete(_parser(), exit_method=end, output_stream=out)
    except InterruptedError:
        found[line] = [word.strip() for word in out.buffer.getvalue().decode().split("|")]
print(json.dumps(found))
"""


def test_a_shell_completes_commands_options_models_data_sets_and_methods():
    pytest.importorskip("argcomplete", reason="pip install duonet[completion]")
    words = [sys.executable, "-c", COMPLETE]
    done = subprocess.run(words, input=json.dumps(list(COMPLETED)), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert {line: set(found) for line, found in json.loads(done.stdout).items()} == COMPLETED
