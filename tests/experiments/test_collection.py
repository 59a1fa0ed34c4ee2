"""Runs stand side by side only if nothing but method and seed tells them apart."""

import dataclasses
import json
import shutil
import statistics

import pytest

from duonet import summary
from duonet.checkpoint import load_checkpoint, load_model, save_checkpoint
from duonet.cli import main
from duonet.experiments import RunSettings, collect, runs_table, train

TINY = RunSettings("mlp", "fashion-mini", "baseline", epochs=3, width=8, images=320, padding=0)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("several")
    for method in ("baseline", "binaryduo"):
        for seed in (1, 0):
            settings = dataclasses.replace(TINY, method=method, seed=seed)
            train(settings, root / f"{method}{seed}", progress=False)
    return sorted(root.iterdir(), reverse=True)


def test_the_table_is_mean_and_spread_of_the_results(folders):
    collected = collect(folders)
    assert [(run["method"], run["seed"]) for run in collected["runs"]] == [
        ("baseline", 0), ("baseline", 1), ("binaryduo", 0), ("binaryduo", 1),
    ]  # fmt: skip
    accuracies = [
        100 * json.loads((f / "result.json").read_text())["test_accuracy"] for f in folders if "duo" in f.name
    ]
    lines = runs_table(collected).splitlines()
    assert lines[2].startswith("binary baseline") and len(lines) == 4
    assert f"{statistics.mean(accuracies):.2f} ± {statistics.stdev(accuracies):.2f}" in lines[3]
    assert " 2 + 1 " in lines[3] and " 3 " in lines[2]
    model = load_model(folders[0] / "best.npz")
    assert f"{summary(model, (28, 28, 1)).weights:,}" in runs_table(collect(folders[:1]))
    assert "±" not in runs_table(collect(folders[:1])), "one seed has no spread"


def test_the_command_prints_draws_and_keeps(folders, tmp_path, capsys):
    words = ["runs", *map(str, folders), "--figure", str(tmp_path / "a.png")]
    assert main(words) == 0
    printed = capsys.readouterr().out.strip()
    assert main([*words, "--json"]) == 0
    assert printed == runs_table(json.loads(capsys.readouterr().out))
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert main(["runs", str(folders[0]), "--figure", str(tmp_path / "plain")]) == 0
    assert (tmp_path / "plain").read_bytes().startswith(b"\x89PNG")
    assert main(["runs", str(folders[0]), "--figure", str(tmp_path / "none" / "a.png")]) == 2
    printed = capsys.readouterr()
    assert "BinaryDuo" in printed.out, "the table is not lost"
    assert printed.err.strip() == f"duonet: runs: {tmp_path / 'none'}: there is no such folder"


def trained_elsewhere(folder, copy):
    """A copy of a run that says it was trained on other images."""
    shutil.copytree(folder, copy)
    saved = load_checkpoint(folder / "best.npz")
    save_checkpoint(copy / "best.npz", saved.model, about=saved.about | {"data_sha256": "0"})


def test_runs_on_one_folder_stand_together_however_its_path_is_written(tmp_path, monkeypatch):
    Image = pytest.importorskip("PIL.Image")
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        (tmp_path / "set" / name).mkdir(parents=True)
        for i in range(20):
            Image.new("L", (6, 6), 10 * i).save(tmp_path / "set" / name / f"{i}.png")
    for seed, dataset in enumerate(("set", "./set", str(tmp_path / "set"))):
        train(RunSettings("mlp", dataset, "float", 1, seed, width=4), tmp_path / f"run{seed}", progress=False)
    assert len(collect([f"run{seed}" for seed in range(3)])["runs"]) == 3


def test_runs_that_do_not_belong_together_are_refused(folders, tmp_path, capsys):
    other = tmp_path / "other"
    train(dataclasses.replace(TINY, lr=0.5), other, progress=False)
    with pytest.raises(ValueError, match=rf"{other} cannot be compared with {folders[0]}: lr 0.5 and 0.008"):
        collect([folders[0], other])
    trained_elsewhere(folders[0], tmp_path / "elsewhere")
    with pytest.raises(
        ValueError, match=f"elsewhere cannot be compared with {folders[0]}: it was trained on other im"
    ):
        collect([folders[0], tmp_path / "elsewhere"])
    shutil.copytree(folders[0], tmp_path / "copy")
    with pytest.raises(ValueError, match="given twice: binaryduo, seed 1"):
        collect([folders[0], tmp_path / "copy"])
    for name, text in (("result.json", "{}"), ("result.json", "no"), ("history.csv", "stage,epoch\n1,abc\n")):
        whole = (other / name).read_text()
        (other / name).write_text(text)
        with pytest.raises(ValueError, match=f"{other / name} is damaged: "):
            collect([other])
        (other / name).write_text(whole)
    (other / "result.json").unlink()
    assert main(["runs", str(other), "--figure", str(tmp_path / "a.png")]) == 2
    assert (
        f"duonet: runs: {other} is not finished; continue it with: duonet train --resume {other}"
        in capsys.readouterr().err
    )
    empty = tmp_path / "empty"
    empty.mkdir()
    assert main(["runs", str(empty)]) == 2
    assert f"{empty} holds no run" in capsys.readouterr().err
