"""A sweep makes a run of each combination in a file, refuses what is no grid, and prints means over seeds."""

import json

import pytest

from duonet.cli import main
from duonet.experiments import show, studies, sweep, sweep_table
from duonet.experiments.grids import combinations
from duonet.experiments.training import saved_settings

SHARED = {"model": "mlp", "dataset": "fashion-mini", "width": 4, "epochs": 2, "images": 128}


@pytest.fixture
def trained(monkeypatch):
    """Stand in for training: the accuracy is the rate and a tenth of the seed; the rate 0.5 fails."""
    made = []

    def train(run, folder, resume, **options):
        made.append(folder.name)
        if run.lr == 0.5:
            raise AttributeError("no luck")
        accuracy = run.lr + run.seed / 10
        return {"val_accuracy": accuracy, "test_accuracy": accuracy if run.test else None, "best_epoch": 1}

    monkeypatch.setattr(studies, "train", train)
    return made


def write(path, text):
    path.write_text('model = "mlp"\ndataset = "fashion-mini"\nwidth = 4\nepochs = 2\nimages = 128\n' + text)
    return str(path)


def test_each_run_is_that_of_duonet_train(tmp_path):
    found = sweep(SHARED | {"method": "baseline", "seed": [1, 2]}, tmp_path / "out", progress=False)
    run = combinations(SHARED | {"method": "baseline", "seed": [1, 2]})[1][2]
    assert saved_settings(tmp_path / "out" / "2-2") == run and run.seed == 2
    result = json.loads((tmp_path / "out" / "2-2" / "result.json").read_text())
    assert found["runs"][1]["test_accuracy"] == result["test_accuracy"] and found["complete"]
    assert json.loads((tmp_path / "out" / "results.json").read_text()) == found


def test_the_table_has_means_over_the_seeds_of_each_combination(tmp_path, trained):
    results = sweep(SHARED | {"lr": [0.1, 0.2], "seed": [0, 1]}, tmp_path / "out", progress=False)
    assert trained == ["1-0.1-0", "2-0.1-1", "3-0.2-0", "4-0.2-1"]
    assert [line.split() for line in sweep_table(results).splitlines()[2:]] == [
        ["0.1", "2", "15.00", "±", "7.07", "15.00", "±", "7.07"],
        ["0.2", "2", "25.00", "±", "7.07", "25.00", "±", "7.07"],
    ]
    assert show("sweep", tmp_path / "out") == sweep_table(results)
    untested = sweep(SHARED | {"lr": 0.1, "test": False}, tmp_path / "one", progress=False)
    assert sweep_table(untested).splitlines()[-1].split() == ["mlp", "1", "10.00", "-"]


def test_a_sweep_says_how_to_go_on_until_it_is_complete(tmp_path, trained, capsys):
    hint = f"stop at any moment; continue with: duonet sweep --resume {tmp_path / 'out'}"
    for values, seen in (([0.1, 0.5], True), ([0.1, 0.5], True), ([0.1, 0.2], True), ([0.1, 0.2], False)):
        folder = tmp_path / ("out" if 0.2 in values else "failed")
        sweep(SHARED | {"lr": values}, folder, progress=True)
        assert (hint.replace(str(tmp_path / "out"), str(folder)) in capsys.readouterr().out) is seen


def test_a_run_that_fails_is_told_with_its_settings_and_made_again_by_the_same_command(tmp_path, trained, capsys):
    words = [
        "sweep",
        write(tmp_path / "a.toml", "lr = [0.1, 0.5]\nseed = 3\n"),
        "--out",
        str(tmp_path / "out"),
        "--quiet",
    ]
    assert main(words) == 1
    out, error = capsys.readouterr()
    assert error.startswith("duonet: sweep: 2-0.5: AttributeError: no luck (model mlp, dataset fashion-mini, ")
    assert "seed 3" in error and "lr 0.5" in error and error.count("\n") == 1 and "0.1" in out
    assert main(["sweep", "--show", str(tmp_path / "out")]) == 0
    assert "Stopped before its end; finished: 1-0.1" in capsys.readouterr().out


def test_all_kinds_of_settings_can_be_lists_and_names_are_unique():
    grid = {"model": ["mlp", "vgg_deep"], "dataset": ["a/b", "a_b"], "flip": [True, False], "width": [4, 8]}
    runs = combinations(grid)
    assert len(runs) == 16 and len({name for name, *_ in runs}) == 16 and "/" not in "".join(n for n, *_ in runs)
    assert runs[0][0] == "01-mlp-a_b-True-4" and runs[0][1]["dataset"] == "a/b"


@pytest.mark.parametrize(
    "text, message",
    [
        ("lrr = [0.1]\n", "a.toml: lrr is not among the settings .*; did you mean 'lr'?"),
        ("lr = []\n", "a.toml: lr must be a value or a list of values, got []"),
        ("lr = [0.1, 0.1]\n", "sweep: the runs 1-0.1 and 2-0.1 have the same settings"),
        ("lr = [0.01, 0.010]\n", "have the same settings"),
        ('optimizer = ["adamw"]\nlr = [0.1, 0.2, 1e-1]\n', "sweep: the runs 1-adamw-0.1 and 3-adamw-0.1 have the same"),
        (f"seed = {list(range(100))}\nimages_ = 1\n", "images_ is not among the settings .*; did you mean 'images'?"),
        (f"seed = {list(range(100))}\npadding = {list(range(101))}\n", "got 10,100 (seed 100, padding 101)"),
        ("lr = [0.1, -1.0]\n", "a.toml: lr must be a number at least 0, got -1.0"),
        ('lr = [0.1, "fast"]\n', "a.toml: lr must be a number"),
        ("lr = [[0.1], [0.2]]\n", "a.toml: lr must be a number"),
        ("[lr]\nfrom = 0.1\n", "a.toml: lr must be a number"),
        ('method = ["baseline", "pcat"]\n', "a.toml: method must be one of .*, got 'pcat'"),
        ('method = ["binaryduo"]\nfinetune_epochs = 2\n', "a.toml: finetune_epochs must be below"),
        ("validation_images = [10, 99999]\n", "validation_images must be at most the "),
        ("lr = [0.1", "is not TOML"),
    ],
)  # fmt: skip
def test_what_is_no_grid_is_refused_before_a_folder_is_made(text, message, tmp_path, capsys):
    path = write(tmp_path / "a.toml", text)
    assert main(["sweep", path, "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    words = message.split(".*")
    assert all(word in error for word in words) and error.count("\n") == 1, error
    assert not (tmp_path / "out").exists()


def test_settings_without_a_model_a_missing_file_and_two_sources_are_refused(tmp_path, capsys):
    (tmp_path / "a.toml").write_text("lr = [0.1]\n")
    file, out = str(tmp_path / "a.toml"), str(tmp_path / "out")
    for words, message in (
        ([file, "--out", out], "the settings do not give model and dataset"),
        ([], "give either FILE, or --resume STUDY"),
        ([file, "--resume", out], "give either FILE, or --resume STUDY"),
        (["--resume", out, "--out", out], "--resume names the folder; leave out --out"),
        ([str(tmp_path / "none.toml"), "--out", out], "there is no such file or folder"),
        (["--resume", out], "there is no such file or folder"),
    ):
        assert main(["sweep", *words]) == 2
        assert message in capsys.readouterr().err


def test_a_folder_of_another_sweep_is_refused_and_says_what_differs(tmp_path, trained):
    sweep(SHARED | {"lr": [0.1]}, tmp_path / "out", progress=False)
    with pytest.raises(ValueError, match=r"holds a study with other settings: lr \[0.1\] and \[0.1, 0.2\]"):
        sweep(SHARED | {"lr": [0.1, 0.2]}, tmp_path / "out", progress=False)
    with pytest.raises(ValueError, match="holds a study with other settings: padding 2 and None"):
        sweep(SHARED | {"lr": [0.1], "padding": 2}, tmp_path / "two", progress=False)
        sweep(SHARED | {"lr": [0.1]}, tmp_path / "two", progress=False)


@pytest.mark.parametrize(
    "old, new, message",
    [
        ('"lr"', '"lrr"', "has unknown settings: lrr"),
        ('"runs": [', '"runs": [3, ', "is not a results.json of duonet sweep"),
        ('"given": {', '"given": 3, "more": {', "is not a results.json of duonet sweep"),
        ('"settings": {', '"settings": 3, "more": {', "is not a results.json of duonet sweep"),
        ("0.1\n", "-0.1\n", "results.json: lr must be a number at least 0"),
    ],
)
def test_a_damaged_sweep_is_refused_in_one_sentence(old, new, message, tmp_path, trained, capsys):
    sweep(SHARED | {"lr": [0.1]}, tmp_path / "out", progress=False)
    path = tmp_path / "out" / "results.json"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1))
    assert main(["sweep", "--resume", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1, error
