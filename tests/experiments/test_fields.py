"""What is refused is named as it was given: by its flag, its argument, or in its file."""

import pytest

from duonet.cli import main
from duonet.experiments import CompareSettings, MismatchSettings, RunSettings, compare, mismatch, train
from duonet.experiments.fields import BadSetting
from duonet.experiments.records import Records


@pytest.mark.parametrize(
    "words, message",
    [
        ("compare --weights half", "compare: --weights must be one of float, binary, got 'half'"),
        ("compare --tf32", "compare: --tf32 needs device gpu, got cpu"),
        ("compare --images 9000", "compare: --images must be at most the 8000 of fashion-mini, got 9000"),
        ("mismatch --images 3000", "mismatch: --images must be at most the 1000 training images, got 3000"),
        ("train mlp fashion-mini --batch-size 1", "train: --batch-size must be an int at least 2, got 1"),
        (
            "train mlp fashion-mini --epochs 9 --finetune-epochs 9",
            "train: --finetune-epochs must be below the 9 epochs of both stages, got 9",
        ),
        (
            "train mlp fashion-mini --finetune-epochs 60",
            "train: --finetune-epochs must be below the 60 epochs of both stages, got 60",
        ),
        ("train mlp fashion-mini --cutout 29", "train: --cutout must be at most 28 for images of 28×28, got 29"),
        (
            "train mlp fashion-mini --size 8",
            "train: --size is for a folder of images, and fashion-mini has its own",
        ),
        ("train mlp fashion-mini --data a", "train: --data: folder a was given, but fashion-mini comes with"),
        ("train mlp fashion-mini --width 1", "train: --width: widths (1, 1, 1, 1, 1, 1, 1, 1) exceed the budget"),
        ("train alexnet fashion-mini", "train: dataset: in_shape must be (H, W, C), square, of at least 63×63"),
        ("summary mlp --width 0", "summary: --width must be an int at least 1, got 0"),
        ("summary vgg7 --input 3 3 3", "summary: --input: in_shape must be (H, W, C) of at least 8×8 pixels"),
        ("summary mlp --classes 0", "summary: --classes must be an int at least 1, got 0"),
    ],
)
def test_a_command_names_itself_and_the_flag(words, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(words.split()) == 2
    assert capsys.readouterr().err.startswith(f"duonet: {message}")
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("command", ["train", "compare", "evaluate", "predict"])
def test_a_missing_gpu_is_said_by_the_command_and_its_flag(command, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("duonet.backend.why_no_gpu", lambda: "there is none")
    words = {"train": ["mlp", "fashion-mini"], "evaluate": ["run", "mnist"], "predict": ["run", "a.png"]}
    assert main([command, *words.get(command, []), "--device", "gpu"]) == 2
    assert capsys.readouterr().err == f"duonet: {command}: --device cannot be gpu: there is none\n"


def test_a_setting_of_a_file_is_named_in_its_file(capsys, tmp_path):
    (tmp_path / "a.toml").write_text("epochs = 1\nimages = 9000\n")
    words = ["train", "mlp", "fashion-mini", "--config", str(tmp_path / "a.toml"), "--out", str(tmp_path / "run")]
    assert main(words) == 2
    assert capsys.readouterr().err.startswith(f"duonet: train: {tmp_path}/a.toml: epochs must be at least 2 for")
    assert main([*words, "--epochs", "2"]) == 2
    assert capsys.readouterr().err.startswith(f"duonet: train: {tmp_path}/a.toml: images must be at most the 8000")
    assert main([*words, "--epochs", "2", "--images", "9001"]) == 2
    assert capsys.readouterr().err.startswith("duonet: train: --images must be at most the 8000")
    (tmp_path / "run").mkdir()
    RunSettings("mlp", "fashion-mini", images=9000).resolved().save(tmp_path / "run" / "settings.toml")
    assert main(["train", "--resume", str(tmp_path / "run")]) == 2
    assert capsys.readouterr().err.startswith(
        f"duonet: train: {tmp_path}/run/settings.toml: images must be at most"
    )
    (tmp_path / "run" / "settings.toml").write_text('model = "mlp"\ndataset = "mnist"\nlr = "fast"\n')
    assert main(["runs", str(tmp_path / "run")]) == 2
    assert capsys.readouterr().err.startswith(
        f"duonet: runs: {tmp_path}/run/settings.toml is damaged: lr must be a number at least 0, got str 'fast'"
    )


def test_a_setting_of_a_study_that_is_resumed_is_named_in_its_file(capsys, tmp_path):
    Records(MismatchSettings(network_images=9000), tmp_path / "study", {"areas": []}, [])
    assert main(["mismatch", "--resume", str(tmp_path / "study")]) == 2
    message = f"mismatch: {tmp_path}/study/results.json: network_images must be at most the 8000 of fashion-mini"
    assert capsys.readouterr().err.startswith(f"duonet: {message}")


def test_a_call_names_the_argument(tmp_path):
    with pytest.raises(BadSetting, match="^compare: weights must be one of float, binary, got 'half'"):
        CompareSettings(weights="half")
    with pytest.raises(BadSetting, match="^RunSettings: lr must be a number at least 0, got -1"):
        RunSettings("mlp", "fashion-mini", lr=-1)
    with pytest.raises(BadSetting, match="^train: images must be at most the 8000"):
        train(RunSettings("mlp", "fashion-mini", images=9000), tmp_path / "run")
    with pytest.raises(BadSetting, match="^compare: images must be at most the 8000"):
        compare(CompareSettings(images=9000), tmp_path / "run")
    with pytest.raises(BadSetting, match="^mismatch: network_images must be at most the 8000"):
        mismatch(MismatchSettings(network_images=9000), tmp_path / "run")
    assert not (tmp_path / "run").exists()
