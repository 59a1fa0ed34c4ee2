"""benchmarks/gpu_run.sh with a stand-in for Python that only says what it was asked for."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gpu_run.sh"
PYTHON = """#!/usr/bin/env bash
echo "$*" >> "$ASKED"
while [ $# -gt 0 ]; do
    case $1 in
    --resume) touch "$2/result.json"; exit ;;
    --out) mkdir -p "$2"; touch "$2/settings.toml"; sleep "$TAKES"; exit 124 ;;
    esac
    shift
done
"""

if shutil.which("bash") is None or shutil.which("timeout") is None:
    pytest.skip("bash or timeout is not installed", allow_module_level=True)


@pytest.fixture
def call(tmp_path):
    python, asked = tmp_path / "python", tmp_path / "asked"
    python.write_text(PYTHON)
    python.chmod(0o755)

    def call(*arguments, takes=0):
        asked.write_text("")
        settings = {"OUT": str(tmp_path / "out"), "PYTHON": str(python), "ASKED": str(asked), "DATA": "/data/a b"}
        settings["TAKES"] = str(takes)  # seconds of a training, which then ends as if it had run out of time
        result = subprocess.run(
            [SCRIPT, *arguments], env=os.environ | settings, capture_output=True, text=True, timeout=60
        )
        return result, asked.read_text().splitlines()

    return call


def test_a_dry_run_prints_the_commands_alone(call, tmp_path):
    result, asked = call("--dry-run")
    assert result.returncode == 0 and not asked and not (tmp_path / "out").exists()
    assert result.stdout.count(" train vgg7 cifar10 ") == 12 and "--batch 512" in result.stdout


def test_stages_are_done_once(call, tmp_path):
    result, asked = call("tests=9", "steps=9", "mismatch=9")
    assert result.returncode == 0 and len(asked) == 6 and asked[0] == "-m pytest -q -m gpu"
    assert call("tests=9", "steps=9", "mismatch=9")[1] == []


@pytest.mark.parametrize(
    "wrong", ["lunch=9", "tests", "tests=x", "steps=0", "--minutes", "--minutes=15", "--minutes x"]
)
def test_a_wrong_argument_starts_nothing(call, tmp_path, wrong):
    result, asked = call("tests=9", *wrong.split()) if "=9" in wrong else call(*wrong.split())
    assert result.returncode == 2 and result.stderr.count("\n") == 1 and not asked
    assert not (tmp_path / "out").exists()


def test_all_stages_share_some_minutes(call, monkeypatch):
    result, asked = call("--dry-run", "--minutes", "15")
    seconds = [int(line[3 : line.index(" s]")]) for line in result.stdout.splitlines()]
    assert seconds[:7] == [60, 150, 37, 37, 37, 37, 90] and set(seconds[7:19]) <= {899, 900} and not asked
    monkeypatch.setenv("SECONDS", "57")  # as if the script had begun that long ago
    result, asked = call("--minutes", "1", takes=60)
    assert result.returncode == 1 and "waits for another call" in result.stdout and len(asked) == 7


def test_training_stops_in_time_and_goes_on(call, tmp_path):
    result, asked = call("train=3", takes=60)
    assert result.returncode == 1 and "out of time after 3 s" in result.stdout and len(asked) == 1
    assert result.stdout.count("waits for another call") == 11
    run = tmp_path / "out" / "runs" / "baseline-float-0"
    assert "--method baseline --weights float --seed 0 --device gpu" in asked[0] and "--data /data/a b" in asked[0]
    result, asked = call("train=600")
    assert asked[0] == f"-m duonet train --resume {run} --data /data/a b" and len(asked) == 1 + 11 + 2
    assert "binaryduo" in asked[1] and asked[-1].startswith(f"-m duonet runs {run} --json")
