"""A table of any runs has a column for each setting that differs, and says which runs are unfinished."""

import dataclasses
import json
import shutil

import pytest

from duonet.cli import main
from duonet.experiments import RunSettings, list_runs, list_table, train
from duonet.experiments.listing import alike, runs_in

TINY = RunSettings(
    "mlp", "fashion-mini", "baseline", epochs=1, width=4, images=128, validation_images=64, padding=0
)


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    root = tmp_path_factory.mktemp("sweep")
    for name, changed in (("a", {}), ("b", {"lr": 0.25}), ("c", {"lr": 0.25, "seed": 3, "test": False})):
        train(dataclasses.replace(TINY, **changed), root / name, progress=False)
    stopped = root / "d"
    stopped.mkdir()
    dataclasses.replace(TINY, epochs=9, method="binaryduo").resolved().save(stopped / "settings.toml")
    lines = (root / "a" / "history.csv").read_text()
    (stopped / "history.csv").write_text(lines)
    return [root / name for name in "abcd"]


def test_the_columns_are_the_settings_that_differ(sweep):
    head, rule, *rows = list_table(list_runs(sweep)).splitlines()
    assert head.split() == "run method epochs seed lr test made validation % test % state".split()
    assert [row.split()[-1] for row in rows] == ["finished", "finished", "finished", "unfinished"]
    assert " 0.25 " in rows[1] and " False " in rows[2] and " 1 of 9 " in rows[3] and "binaryduo" in rows[3]
    assert list_table(list_runs(sweep[:1])).splitlines()[0].split() == "run made validation % test % state".split()


def test_the_folder_of_a_study_stands_for_its_runs(sweep, tmp_path):
    assert runs_in([sweep[0].parent]) == sweep and runs_in([sweep[1], sweep[0].parent]) == [sweep[1], *sweep]
    (tmp_path / "results.json").write_text("{}")
    assert runs_in([tmp_path / "results.json"]) == [], "runs/* of a shell names it as well"
    assert runs_in([tmp_path]) == [tmp_path], "it is refused by name"


def test_what_is_shown_is_what_the_results_say(sweep):
    for run, folder in zip(list_runs(sweep[:3]), sweep):
        result = json.loads((folder / "result.json").read_text())
        assert run["test_accuracy"] == result["test_accuracy"] and run["val_accuracy"] == result["val_accuracy"]
        assert run["epochs"] == run["of"] == 1


def test_the_command_prints_a_sweep_and_its_json(sweep, capsys):
    words = ["runs", *map(str, sweep)]
    assert main(words) == 0 and capsys.readouterr().out.rstrip("\n") == list_table(list_runs(sweep))
    assert main([*words, "--json"]) == 0 and json.loads(capsys.readouterr().out) == list_runs(sweep)
    assert main(["runs", str(sweep[0])]) == 0 and "binary baseline" in capsys.readouterr().out, "mean and spread"
    assert main([*words, "--figure", str(sweep[0].parent / "a.png")]) == 2
    assert "cannot be compared with" in capsys.readouterr().err


@pytest.mark.parametrize("other, together", [("set", True), ("./set", True), ("set2", False), ("mnist", False)])
def test_runs_on_other_images_have_a_row_each(other, together, sweep, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (run,) = list_runs(sweep[:1])
    both = [run | {"settings": run["settings"] | {"dataset": dataset}} for dataset in ("set", other)]
    assert alike(both) is together


def test_a_run_before_its_first_epoch_is_a_row(sweep, tmp_path):
    TINY.resolved().save(tmp_path / "settings.toml")
    (run,) = list_runs([tmp_path])
    assert (run["epochs"], run["val_accuracy"], run["finished"]) == (0, None, False)
    assert list_table([run]).splitlines()[2].split() == [str(tmp_path), "0", "of", "1", "unfinished"]


def test_a_folder_without_a_run_costs_no_other_row(sweep, tmp_path, capsys):
    run = sweep[1]
    shutil.copytree(run, tmp_path / "half")
    (tmp_path / "half" / "result.json").write_text("{")
    (tmp_path / "study").mkdir()
    assert main(["runs", str(run), str(tmp_path / "half"), str(tmp_path / "study")]) == 2
    out, err = capsys.readouterr()
    assert out.splitlines()[0].split()[:2] == ["method", "seeds"] and len(out.splitlines()) == 3
    assert err.splitlines()[0].startswith(f"duonet: runs: {tmp_path / 'half' / 'result.json'} is damaged: ")
    assert err.splitlines()[1:] == [
        f"duonet: runs: {tmp_path / 'study'} holds no run of duonet train: it has no settings.toml",
        "duonet: runs: 2 of 3 folders have no row in the table",
    ]
