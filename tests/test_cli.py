import os
import signal
import subprocess
import sys
import time

import pytest

from duonet import backend, viz
from duonet.cli import main

SMALL = ["compare", "--model", "mlp", "--epochs", "2", "--images", "200", "--width", "8"]


def test_compare_prints_the_table_and_writes_the_figure(tmp_path, capsys):
    out = tmp_path / "run"
    assert main([*SMALL, "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "BinaryDuo: decoupled, fine-tuned" in printed and "±" not in printed
    assert "seed 0: decoupling changed 0 of 5,000 predictions" in printed and f"written to {out}" in printed
    assert "seed 0, binary baseline 2/2: loss" in printed
    assert (out / "compare.png").read_bytes().startswith(b"\x89PNG")
    assert not list(out.glob(".*"))


def test_quiet_prints_the_table_alone(tmp_path, capsys):
    assert main([*SMALL, "--quiet", "--out", str(tmp_path / "run")]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith("method") and len(printed) == 8


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--model", "vgg99"], "duonet: compare: model must be one of vgg_deep, vgg7, mlp, got 'vgg99'"),
        (["--epochs", "1"], "duonet: compare: epochs must be at least 2, got 1"),
        (["--weights", "half"], "duonet: compare: weights must be one of float, binary, got 'half'"),
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
    assert error.startswith("duonet: compare: device 'gpu' was asked for, but CuPy cannot be imported")
    assert len(error.splitlines()) == 1 and not (tmp_path / "run").exists()


def test_compare_on_a_gpu(tmp_path, capsys, gpu):
    assert main([*SMALL, "--device", "gpu", "--out", str(tmp_path / "run")]) == 0


@pytest.mark.skipif(os.name == "nt", reason="sends a POSIX signal")
def test_ctrl_c_leaves_whole_files(tmp_path):
    out = tmp_path / "run"
    words = [sys.executable, "-m", "duonet", "compare", "--model", "mlp", "--epochs", "400", "--out", str(out)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        history = out / "history_float_seed0.csv"
        deadline = time.monotonic() + 60
        while not history.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=60)
    assert process.returncode == 130 and error.strip() == "duonet: stopped; what had been written is whole"
    lines = history.read_text().splitlines()
    assert lines[0].startswith("epoch,lr,loss") and all(len(line.split(",")) == 7 for line in lines)
    assert not list(out.glob(".*"))


TINY = ["mismatch", "--seeds", "1", "--width", "8", "--samples", "500", "--images", "24", "--coordinates", "2"]


def test_mismatch_prints_tables_and_writes_figures(tmp_path, capsys):
    assert main([*TINY, "--out", str(tmp_path / "run")]) == 0
    printed = capsys.readouterr().out
    for title in (
        "Toy, at initialisation: cosine of each hidden layer",
        "estimators at equal samples",
        "Deep VGG",
    ):
        assert title in printed
    assert "a dot: noise hides the value" in printed and f"written to {tmp_path / 'run'}" in printed
    assert len(list((tmp_path / "run").glob("*.png"))) == 6 and (tmp_path / "run" / "results.json").exists()


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--seeds", "0"], "duonet: mismatch: seeds must be at least 1, got 0"),
        (["--samples", "7"], "duonet: mismatch: samples must be at least 500, got 7"),
        (["--full", "--samples", "7"], "duonet: mismatch: samples must be at least 1000, got 7"),
        (["--coordinates", "1"], "duonet: mismatch: coordinates must be at least 2, got 1"),
    ],
)
def test_bad_options_of_mismatch_end_in_one_sentence(arguments, message, capsys, tmp_path):
    assert main(["mismatch", *arguments, "--out", str(tmp_path / "run")]) == 2
    assert capsys.readouterr().err.strip() == message and not (tmp_path / "run").exists()


def test_mismatch_refuses_a_folder_that_exists(tmp_path, capsys):
    assert main([*TINY, "--out", str(tmp_path)]) == 2
    assert f"duonet: mismatch: --out {tmp_path} exists" in capsys.readouterr().err


def test_version_and_help(capsys):
    for words in (["--version"], ["--help"], ["compare", "--help"], ["mismatch", "--help"]):
        with pytest.raises(SystemExit) as end:
            main(words)
        assert end.value.code == 0
    assert "duonet 0.1.0" in capsys.readouterr().out


def test_every_method_has_a_style():
    from duonet.experiments.results import METHODS

    assert set(viz.STYLES) == set(METHODS)
