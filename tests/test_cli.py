import dataclasses
import os
import signal
import subprocess
import sys
import time
import warnings

import pytest

from duonet import backend, experiments, parallel
from duonet.cli import main
from duonet.experiments import mismatch_study, real_network
from duonet.experiments.recipes import COMPARED
from duonet.experiments.toy import ACTIVATIONS

SMALL = ["compare", "--model", "mlp", "--epochs", "2", "--images", "200", "--width", "8"]


def test_compare_prints_the_table_and_writes_the_figure(tmp_path, capsys):
    out = tmp_path / "run"
    assert main([*SMALL, "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "BinaryDuo: decoupled, fine-tuned" in printed and "±" not in printed
    assert "seed 0: decoupling changed 0 of 510 predictions" in printed and f"written to {out}" in printed
    assert "seed 0, binary baseline 2/2: loss" in printed
    assert (out / "compare.png").read_bytes().startswith(b"\x89PNG")
    assert [path.name for path in out.glob(".*")] in ([], [".lock"])


@pytest.mark.parametrize(
    "arguments, message",
    [
        (
            ["--model", "vgg99"],
            "duonet: compare: --model must be one of vgg_deep, vgg7, densenet28, mlp, got 'vgg99'; did you mean 'vgg7'?",
        ),
        (["--epochs", "1"], "duonet: compare: --epochs must be an int at least 2, got 1"),
        (["--weights", "half"], "duonet: compare: --weights must be one of float, binary, got 'half'"),
    ],
)
def test_bad_options_end_in_one_sentence(arguments, message, capsys, tmp_path):
    assert main(["compare", *arguments, "--out", str(tmp_path / "run")]) == 2
    captured = capsys.readouterr()
    assert captured.err.strip() == message and captured.out == ""
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("arguments", [["compare", "--speed", "9"], ["fly"], [], ["compare", "--epochs", "many"]])
def test_unknown_words_end_with_code_2(arguments, capsys):
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2 and "usage: duonet" in capsys.readouterr().err


def test_a_folder_that_exists_or_cannot_be_made_is_refused(tmp_path, capsys):
    (tmp_path / "keep.txt").write_text("mine")
    assert main([*SMALL, "--out", str(tmp_path)]) == 2
    assert f"--out {tmp_path} exists; give a new folder" in capsys.readouterr().err
    assert main([*SMALL, "--out", str(tmp_path / "keep.txt" / "run")]) == 2
    assert "keep.txt" in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["keep.txt"]


def test_no_gpu_ends_in_one_sentence_that_says_what_was_looked_for(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(backend, "why_no_gpu", lambda: "CuPy cannot be imported (No module named 'cupy')")
    assert main([*SMALL, "--device", "gpu", "--out", str(tmp_path / "run")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("duonet: compare: --device cannot be gpu: CuPy cannot be imported")
    assert len(error.splitlines()) == 1 and not (tmp_path / "run").exists()


def test_compare_on_a_gpu(tmp_path, capsys, gpu):
    assert main([*SMALL, "--images", "128", "--device", "gpu", "--out", str(tmp_path / "run")]) == 0


@pytest.fixture
def interrupt(request):
    """Give children this answer to Ctrl-C, whatever the tests' own parent has chosen: nohup ignores it."""
    before = signal.signal(signal.SIGINT, request.param)
    yield request.param
    signal.signal(signal.SIGINT, before)


HEARS, IGNORES = signal.default_int_handler, signal.SIG_IGN


@pytest.mark.skipif(os.name == "nt", reason="sends a POSIX signal")
@pytest.mark.parametrize(
    "interrupt, sent, status",
    [
        (HEARS, [signal.SIGINT], 130),
        (HEARS, [signal.SIGTERM], 143),
        (IGNORES, [signal.SIGINT, signal.SIGTERM], 143),
    ],
    indirect=["interrupt"],
    ids=["INT", "TERM", "TERM under nohup"],
)
def test_ctrl_c_and_term_leave_whole_files(tmp_path, interrupt, sent, status):
    out = tmp_path / "run"
    words = [sys.executable, "-m", "duonet", "compare", "--model", "mlp", "--epochs", "400", "--out", str(out)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        history = out / "float-0" / "history.csv"
        deadline = time.monotonic() + 60
        while not history.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        for number in sent[:-1]:
            process.send_signal(number)
            time.sleep(0.2)
            assert process.poll() is None, "who ignores Ctrl-C is not stopped by it"
        process.send_signal(sent[-1])
        try:
            _, error = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == status and error.strip() == "duonet: stopped; all files written are whole"
    lines = history.read_text().splitlines()
    assert lines[0].startswith("stage,epoch,lr,loss") and all(len(line.split(",")) == 8 for line in lines)
    assert [path.name for path in out.glob(".*")] in ([], [".lock"])


TINY = ["mismatch", "--seeds", "1", "--width", "8", "--samples", "500", "--images", "24", "--coordinates", "2"]


def test_mismatch_prints_tables_and_writes_figures(tmp_path, capsys, monkeypatch):
    @dataclasses.dataclass(frozen=True)
    class Quick(experiments.MismatchSettings):
        steps: tuple = (0.1,)
        parts: int = 3
        directions: tuple = (0.2,)
        measured_images: int = 24
        training_steps: int = 1
        network_images: int = 128
        network_epochs: int = 2

    monkeypatch.setattr(experiments, "MismatchSettings", Quick)
    monkeypatch.setitem(COMPARED[real_network.MODEL], "width", 4)
    monkeypatch.setattr(real_network, "LAYERS", ("conv5", "conv10"))
    monkeypatch.setattr(mismatch_study, "ANGLES", mismatch_study.ANGLES[::4])
    for name in ("4 bits", "3 bits"):
        monkeypatch.delitem(ACTIVATIONS, name)
    assert main([*TINY, "--out", str(tmp_path / "run")]) == 0
    printed = capsys.readouterr().out
    for title in (
        "Toy, at initialisation: cosine of each hidden layer",
        "estimators at equal samples",
        "Deep VGG",
    ):
        assert title in printed
    assert "a dot means that noise hides the value" in printed and f"written to {tmp_path / 'run'}" in printed
    assert len(list((tmp_path / "run").glob("*.png"))) == 6 and (tmp_path / "run" / "results.json").exists()


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--seeds", "0"], "duonet: mismatch: --seeds must be an int at least 1, got 0"),
        (["--samples", "7"], "duonet: mismatch: --samples must be an int at least 500, got 7"),
        (["--full", "--samples", "7"], "duonet: mismatch: --samples must be an int at least 1000, got 7"),
        (["--coordinates", "1"], "duonet: mismatch: --coordinates must be an int at least 2, got 1"),
    ],
)
def test_bad_options_of_mismatch_end_in_one_sentence(arguments, message, capsys, tmp_path):
    assert main(["mismatch", *arguments, "--out", str(tmp_path / "run")]) == 2
    assert capsys.readouterr().err.strip() == message and not (tmp_path / "run").exists()


def test_mismatch_refuses_a_folder_that_exists(tmp_path, capsys):
    (tmp_path / "keep.txt").write_text("mine")
    assert main([*TINY, "--out", str(tmp_path)]) == 2
    assert f"duonet: mismatch: --out {tmp_path} exists" in capsys.readouterr().err


def test_version_and_help(capsys):
    for words in (["--version"], ["--help"], ["compare", "--help"], ["mismatch", "--help"]):
        with pytest.raises(SystemExit) as end:
            main(words)
        assert end.value.code == 0
    assert "duonet 0.1.0" in capsys.readouterr().out


def test_the_process_keeps_its_own_signal_handlers(capsys):
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    assert main(["compare", "--images", "1"]) == 2
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


@pytest.mark.parametrize("command", ["compare", "mismatch", "train"])
def test_an_odd_number_of_threads_is_refused_before_anything_is_made(command, tmp_path, capsys, monkeypatch):
    words = {"train": ["mlp", "fashion-mini"]}.get(command, [])
    monkeypatch.setenv("DUONET_THREADS", "many")
    parallel._usual.cache_clear()
    try:
        assert main([command, *words, "--out", str(tmp_path / "run")]) == 2
    finally:
        parallel._usual.cache_clear()
    message = f"duonet: {command}: DUONET_THREADS must be a whole number from 1 to 9999, got 'many'"
    assert capsys.readouterr().err.strip() == message and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "error, words",
    [
        (MemoryError(), "runs: memory is used up"),
        (ValueError(), "runs: ValueError"),
        (
            FileNotFoundError(2, "No such file or directory", "a.npz"),
            "runs: a.npz: there is no such file or folder",
        ),
    ],
)
def test_no_message_is_empty_or_a_number(error, words, capsys, monkeypatch):
    def fail(options):
        raise error

    monkeypatch.setattr("duonet.cli.runs._runs", fail)
    assert main(["runs", "a"]) == 2 and capsys.readouterr().err.strip() == f"duonet: {words}"


def test_a_warning_is_one_line_for_a_user(capsys, monkeypatch):
    monkeypatch.setattr("duonet.cli.runs._runs", lambda options: warnings.warn("left out 3\x1b[2J", stacklevel=2))
    assert main(["runs", "a"]) == 0 and capsys.readouterr().err == "duonet: left out 3\\x1b[2J\n"


def test_quiet_prints_the_table_alone_and_a_finished_study_again_without_computing(tmp_path, capsys, monkeypatch):
    out = str(tmp_path / "run")
    assert main([*SMALL, "--quiet", "--out", out]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("method") and len(printed.splitlines()) == 8
    monkeypatch.setattr("duonet.experiments.studies.train", None)
    assert main(["compare", "--resume", out, "--quiet"]) == 0 and capsys.readouterr().out == printed
    assert main(["compare", "--resume", out, "--epochs", "3"]) == 2
    assert "--resume takes settings and folder from the study" in capsys.readouterr().err
    assert main(["mismatch", "--resume", out]) == 2
    assert "is not a results.json of duonet mismatch" in capsys.readouterr().err
    assert main(["compare", "--resume", str(tmp_path)]) == 2
    assert f"{tmp_path} holds no study of duonet compare: it has no results.json" in capsys.readouterr().err
