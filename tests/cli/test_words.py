"""Every path that a command takes: missing, a folder, a file in a folder's place, no permission, no checkpoint."""

import os

import pytest

from duonet.cli import main
from duonet.cli.words import said


@pytest.mark.parametrize(
    "error, words",
    [
        (MemoryError(), "run: memory is used up"),
        (MemoryError("Unable to allocate 9 GiB"), "run: Unable to allocate 9 GiB"),
        (ValueError(), "run: ValueError"),
        (RuntimeError(""), "run: RuntimeError"),
        (OSError(), "run: OSError"),
        (OSError("no answer from \x1b[1mserver"), "run: no answer from \\x1b[1mserver"),
        (IsADirectoryError(21, os.strerror(21), "a"), "run: a: is a folder, where a file is expected"),
        (OSError(28, os.strerror(28)), "run: the disk is full"),
        (OSError(22, "Is neither a file nor a pipe", "a\nb"), "run: a\\nb: is neither a file nor a pipe"),
    ],
)
def test_an_error_has_words(error, words):
    assert said(error, "run") == words


@pytest.fixture
def places(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "text").write_text("not a checkpoint")
    return {
        "missing": tmp_path / "nosuch",
        "folder": tmp_path / "folder",
        "text": tmp_path / "text",
        "below": tmp_path / "text" / "run",
        "dots": f"{tmp_path}/nosuch/../nosuch",
        "long": tmp_path / ("x" * 300),
    }


COMMANDS = {
    "evaluate": ["evaluate", "PATH", "cifar10"],
    "predict": ["predict", "PATH", "a.png"],
    "summary": ["summary", "PATH"],
    "runs": ["runs", "PATH"],
    "resume": ["train", "--resume", "PATH"],
    "config": ["train", "--config", "PATH"],
    "dataset": ["train", "mlp", "PATH", "--out", "OUT"],
    "data": ["train", "mlp", "cifar10", "--data", "PATH", "--out", "OUT"],
    "compare": ["compare", "--show", "PATH"],
    "mismatch": ["mismatch", "--show", "PATH"],
}


@pytest.mark.parametrize("place", ["missing", "folder", "text", "below", "dots", "long"])
@pytest.mark.parametrize("command", COMMANDS)
def test_a_path_that_does_not_serve_is_one_sentence(command, place, places, tmp_path, capsys):
    out = tmp_path / "out"
    words = [{"PATH": str(places[place]), "OUT": str(out)}.get(word, word) for word in COMMANDS[command]]
    assert main(words) == 2
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1 and error.startswith("duonet: ") and len(error) > 30, error
    assert "Errno" not in error and str(places[place])[-9:] in error and not out.exists(), error


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may open everything")
@pytest.mark.parametrize("command", COMMANDS)
def test_a_path_without_permission_is_one_sentence(command, tmp_path, capsys):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0)
    try:
        words = [{"PATH": str(closed / "x"), "OUT": str(tmp_path / "o")}.get(w, w) for w in COMMANDS[command]]
        assert main(words) == 2
    finally:
        closed.chmod(0o700)
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1 and "Errno" not in error


@pytest.mark.parametrize("words", [
    ["methods", "--draw", "a.txt"], ["runs", "nosuch", "--figure", "a.txt"],
    ["evaluate", "nosuch", "mnist", "--figure", "a.txt"],
])  # fmt: skip
def test_a_figure_of_no_format_is_refused_before_anything_is_read(words, capsys):
    assert main(words) == 2
    expected = f"duonet: {words[0]}: {words[-2]} must end in .png, .pdf, .svg or the like, got a.txt\n"
    assert capsys.readouterr() == ("", expected)
