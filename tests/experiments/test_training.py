"""A run can be stopped at any moment: it resumes to the same bits, and nothing it has written is lost."""

import csv
import dataclasses
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from duonet import decouple, models
from duonet.checkpoint import load_checkpoint, load_model, save_checkpoint
from duonet.cli import main
from duonet.data import Dataset
from duonet.experiments import RunSettings, score, train
from duonet.experiments.methods import METHODS, TRAINED
from duonet.experiments.recipes import RECIPES
from duonet.experiments.run_folder import RunInUse
from duonet.experiments.run_settings import CHOICES, LEAST, read_toml
from duonet.experiments.scoring import digest
from duonet.experiments.training import saved_settings
from duonet.models.catalogue import MODELS
from duonet.optim import SGD, AdamW, Cosine, StepDecay

TINY = RunSettings("mlp", "fashion-mini", epochs=6, seed=1, width=8, images=96, batch_size=32, cutout=3)
FLAGS = ["mlp", "fashion-mini", "--width", "8", "--images", "96", "--batch-size", "32", "--cutout", "3"]


class Stop(Exception):
    """Stands for whatever ends a process."""


def contents(out):
    """Everything of a run that has to agree: arrays and description of both files, history without times."""
    files = {}
    for name in ("last.npz", "best.npz"):
        with np.load(out / name) as file:
            files |= {f"{name} {key}": file[key] for key in file.files if key not in ("meta", "sha256")}
        saved = load_checkpoint(out / name)
        rows = saved.about["earlier"] + saved.history.rows
        files[f"{name} rows"] = [{k: v for k, v in row.items() if k != "seconds"} for row in rows]
        files[f"{name} rng"] = {k: g.bit_generator.state for k, g in saved.generators.items()}
    with open(out / "history.csv", newline="") as file:
        files["csv"] = [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]
    return files


def assert_same(a, b):
    assert a.keys() == b.keys()
    for key in a:
        if isinstance(a[key], np.ndarray):
            np.testing.assert_array_equal(a[key], b[key], err_msg=key)
        else:
            assert a[key] == b[key], key


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that was never stopped."""
    out = tmp_path_factory.mktemp("whole") / "run"
    return out, train(TINY, out, progress=False)


def test_a_run_leaves_everything_behind(whole):
    out, result = whole
    assert sorted(p.name for p in out.iterdir()) == [
        ".lock", "best.npz", "first_stage.npz", "history.csv", "last.npz", "result.json", "settings.toml",
    ]  # fmt: skip
    rows = contents(out)["csv"]
    assert [(row["stage"], row["epoch"]) for row in rows] == [
        *(("1", str(e)) for e in (1, 2, 3, 4)),
        *(("2", str(e)) for e in (1, 2)),
    ]
    best = max((row for row in rows if row["stage"] == "2"), key=lambda row: float(row["val_accuracy"]))
    assert result["best_epoch"] == int(best["epoch"]) and result["val_accuracy"] == float(best["val_accuracy"])
    assert len(load_checkpoint(out / "best.npz").history) == result["best_epoch"] == 1, "not the last one"
    assert score(out / "best.npz", "fashion-mini")["top1"] == result["test_accuracy"]
    assert score(out / "last.npz", "fashion-mini")["top1"] != result["test_accuracy"]
    assert RunSettings(**read_toml(out / "settings.toml")) == TINY.resolved()


def test_the_second_stage_starts_from_the_best_network_of_the_first(whole, tmp_path, monkeypatch):
    out, _ = whole
    coupled = load_checkpoint(out / "first_stage.npz")
    accuracies = load_checkpoint(out / "best.npz").about["earlier"]
    best = max(accuracies, key=lambda row: row["val_accuracy"])
    assert coupled.history.rows[-1]["val_accuracy"] == best["val_accuracy"]
    seen = []
    watched = METHODS["binaryduo"]._replace(second=lambda m: seen.append(m.state_dict()) or decouple(m))
    monkeypatch.setitem(METHODS, "binaryduo", watched)
    train(TINY, tmp_path / "run", progress=False)
    trained = seen[1]  # the network is tried before it is trained
    assert all(np.array_equal(v, trained[k]) for k, v in coupled.model.state_dict().items())


@pytest.mark.parametrize("at", [1, 3, 4, 5, 6])
def test_resumed_after_any_epoch_it_ends_with_the_same_bits(whole, tmp_path, at):
    def stop(rows):
        if len(rows) == at:
            raise Stop

    with pytest.raises(Stop):
        train(TINY, tmp_path / "run", on_epoch=stop, progress=False)
    result = train(TINY, tmp_path / "run", resume=True, progress=False)
    assert_same(contents(tmp_path / "run"), contents(whole[0]))
    assert result["test_accuracy"] == whole[1]["test_accuracy"]


def test_resuming_a_finished_run_changes_nothing(whole, tmp_path):
    shutil.copytree(whole[0], tmp_path / "run")
    assert train(TINY, tmp_path / "run", resume=True, progress=False)["test_accuracy"] == whole[1]["test_accuracy"]
    assert_same(contents(tmp_path / "run"), contents(whole[0]))


forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


def forked(target, *arguments):
    """Start a process that has imported everything already."""
    process = multiprocessing.get_context("fork").Process(target=target, args=arguments)
    process.start()
    return process


@forks
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_killed_at_random_moments_it_ends_with_the_same_bits(tmp_path):
    words = ["train", *FLAGS, "--epochs", "14", "--quiet"]
    began = time.monotonic()
    assert main([*words, "--out", str(tmp_path / "whole")]) == 0
    took = time.monotonic() - began
    random.seed(1)
    out, kills = tmp_path / "run", 0
    command = [*words, "--out", str(out)]
    while True:
        process = forked(_command, command)
        process.join(took * random.uniform(0, 0.25) * 1.2**kills)  # however slow the machine, it ends at last
        process.kill()
        process.join()
        if process.exitcode != -signal.SIGKILL:
            assert process.exitcode == 0
            break
        kills += 1
        assert kills < 30, "it does not get on"
        if (out / "settings.toml").exists():  # before that there is nothing to resume, and nothing in the way
            command = ["train", "--resume", str(out), "--quiet"]
    assert kills >= 2
    assert_same(contents(out), contents(tmp_path / "whole"))
    assert not list(out.glob(".*.part*"))


def _command(words):
    sys.exit(main(words))


ONE_EPOCH = """
import sys
from duonet.experiments import RunSettings, train
def stop(rows):
    sys.exit(0)
train(RunSettings(**eval(sys.argv[1])), sys.argv[2], on_epoch=stop, progress=False)
"""


def test_a_network_of_convolutions_goes_on_in_a_new_process_whatever_the_threads_of_blas(tmp_path):
    """BLAS must have its number of threads before the first product, large or small, of either process."""
    settings = {
        "model": "vgg7", "dataset": "fashion-mini", "method": "baseline", "epochs": 2, "width": 16, "images": 32,
        "batch_size": 4, "validation_images": 50, "test": False,
    }  # fmt: skip
    env = {k: v for k, v in os.environ.items() if not k.endswith("_NUM_THREADS")}

    def run(*words):
        subprocess.run([sys.executable, *words], check=True, capture_output=True, env=env)

    run("-c", ONE_EPOCH, repr(settings), str(tmp_path / "run"))
    run("-m", "duonet", "train", "--resume", str(tmp_path / "run"), "--quiet")
    RunSettings(**settings).save(tmp_path / "run.toml")
    whole = ["--config", str(tmp_path / "run.toml"), "--out", str(tmp_path / "whole")]
    run("-m", "duonet", "train", *whole, "--quiet")
    assert_same(contents(tmp_path / "run"), contents(tmp_path / "whole"))


def test_a_kill_between_the_best_and_the_last_file_does_no_harm(whole, tmp_path, monkeypatch):
    """The one moment at which two files disagree."""
    from duonet.experiments import training

    save, calls = training.save_checkpoint, []

    def dying(path, *args, **options):
        calls.append(path.name)
        if path.name == "last.npz" and calls.count("last.npz") == 2:
            raise Stop
        save(path, *args, **options)

    monkeypatch.setattr(training, "save_checkpoint", dying)
    with pytest.raises(Stop):
        train(TINY, tmp_path / "run", progress=False)
    monkeypatch.undo()
    train(TINY, tmp_path / "run", resume=True, progress=False)
    assert_same(contents(tmp_path / "run"), contents(whole[0]))


def test_other_settings_are_refused_and_named(whole):
    other = dataclasses.replace(TINY, epochs=9, lr=0.5)
    with pytest.raises(
        ValueError, match="started with other settings: epochs 9, the run has 6; lr 0.5, the run has"
    ):
        train(other, whole[0], resume=True, progress=False)
    with pytest.raises(ValueError, match="holds no run of duonet train"):
        train(TINY, whole[0].parent, resume=True, progress=False)
    with pytest.raises(FileExistsError):
        train(TINY, whole[0], progress=False)


def test_other_images_are_refused(tmp_path):
    Image = pytest.importorskip("PIL.Image")
    for i in range(20):
        for name in ("a", "b"):
            (tmp_path / "set" / name).mkdir(parents=True, exist_ok=True)
            Image.new("L", (8, 8), 10 * i + (name == "b")).save(tmp_path / "set" / name / f"{i}.png")
    settings = RunSettings("mlp", str(tmp_path / "set"), "baseline", epochs=1, width=4)
    train(settings, tmp_path / "run", progress=False)
    for path in (tmp_path / "set" / "a").iterdir():
        Image.new("L", (8, 8), 77).save(path)
    with pytest.raises(ValueError, match="was started with other images than those of"):
        train(settings, tmp_path / "run", resume=True, progress=False)


def test_other_class_names_or_test_images_are_refused(tmp_path):
    Image = pytest.importorskip("PIL.Image")
    for part in ("train", "test"):
        for i in range(20):
            for name in ("a", "b"):
                (tmp_path / "set 😀" / part / name).mkdir(parents=True, exist_ok=True)
                Image.new("L", (8, 8), 10 * i + (name == "b")).save(tmp_path / "set 😀" / part / name / f"{i}.png")
    settings = RunSettings("mlp", str(tmp_path / "set 😀"), "baseline", epochs=1, width=4)
    train(settings, tmp_path / "run", progress=False)
    train(saved_settings(tmp_path / "run"), tmp_path / "run", resume=True, progress=False)
    Image.new("L", (8, 8), 3).save(tmp_path / "set 😀" / "test" / "a" / "0.png")
    with pytest.raises(ValueError, match="was started with other images"):
        train(settings, tmp_path / "run", resume=True, progress=False)
    Image.new("L", (8, 8), 0).save(tmp_path / "set 😀" / "test" / "a" / "0.png")
    train(settings, tmp_path / "run", resume=True, progress=False)
    for part in ("train", "test"):
        (tmp_path / "set 😀" / part / "a").rename(tmp_path / "set 😀" / part / "aa")
    with pytest.raises(ValueError, match="was started with other images"):
        train(settings, tmp_path / "run", resume=True, progress=False)


def test_two_runs_in_one_folder_are_refused(tmp_path, capsys):
    out = tmp_path / "run"

    def second(rows):
        with pytest.raises(RunInUse, match=f"another process is training in {out}"):
            train(TINY, out, resume=True, progress=False)
        assert main(["train", "--resume", str(out)]) == 2
        assert f"duonet: train: another process is training in {out}" in capsys.readouterr().err
        raise Stop

    with pytest.raises(Stop):
        train(TINY, out, on_epoch=second, progress=False)
    train(TINY, out, resume=True, progress=False)


def _command_on_a_full_disk(size, words, said):
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
    with open(said, "w") as sys.stderr:
        sys.exit(main(words))


@forks
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_full_disk_loses_nothing(whole, tmp_path):
    out = tmp_path / "run"

    def stop(rows):
        if len(rows) == 2:
            raise Stop

    with pytest.raises(Stop):
        train(TINY, out, on_epoch=stop, progress=False)
    before = {p.name: p.read_bytes() for p in out.iterdir()}
    half = (out / "last.npz").stat().st_size // 2
    words, said = ["train", "--resume", str(out), "--quiet"], tmp_path / "said"
    process = forked(_command_on_a_full_disk, half, words, said)
    process.join()
    (line,) = said.read_text().strip().splitlines()
    assert process.exitcode == 2
    assert "cannot be written (File too large); all earlier files are whole, and the run can be" in line
    assert {p.name: p.read_bytes() for p in out.iterdir()} == before
    train(TINY, out, resume=True, progress=False)
    assert_same(contents(out), contents(whole[0]))


@pytest.mark.parametrize("model, width", [("mlp", 8), pytest.param("resnet20", 4, marks=pytest.mark.gpu)])
def test_a_run_on_a_gpu_goes_on_to_the_same_bits(tmp_path, gpu, model, width):
    def stop(rows):
        if len(rows) == 3:
            raise Stop

    settings = dataclasses.replace(TINY, model=model, width=width, validation_images=50, device=gpu)
    train(settings, tmp_path / "whole", progress=False)
    with pytest.raises(Stop):
        train(settings, tmp_path / "run", on_epoch=stop, progress=False)
    train(settings, tmp_path / "run", resume=True, progress=False)
    assert_same(contents(tmp_path / "run"), contents(tmp_path / "whole"))


@pytest.mark.parametrize("method", TRAINED)
def test_every_method_trains_the_network_that_it_names(tmp_path, method):
    settings = dataclasses.replace(TINY, method=method, epochs=2)
    train(settings, tmp_path / "run", progress=False)
    trained = load_model(tmp_path / "run" / "best.npz")
    variant = METHODS[method].variant
    plain = models.build("mlp", variant, (28, 28, 1), 10, width=8, rng=np.random.default_rng([0, 0])).eval()
    expected = decouple(plain) if variant in ("coupled", "coupled3") and variant != method else plain
    assert repr(trained) == repr(expected)
    assert (tmp_path / "run" / "first_stage.npz").exists() == (METHODS[method].second is not None)


def test_the_recipes_are_the_authors_recipe():
    for name in MODELS:
        assert name in RECIPES
    settings = RunSettings("vgg7", "cifar10").resolved()
    assert (settings.epochs, settings.optimizer, settings.lr, settings.weight_decay, settings.batch_size) == (
        400, "sgd", 0.1, 1e-4, 256,
    )  # fmt: skip
    assert settings.flip and settings.padding == 4
    (first, lr, schedule), (second, _, _) = settings.stages()
    assert (first, second, lr) == (200, 200, 0.1)
    assert [round(schedule(e), 5) for e in (119.9, 120, 159.9, 160)] == [1, 0.1, 0.1, 0.01]
    half = RunSettings("vgg7", "cifar10", epochs=100).resolved().stages()
    assert [e for e, _, _ in half] == [50, 50] and half[1][2].milestones == (30, 40)
    imagenet = RunSettings("resnet18", "cifar10").resolved().stages()
    assert [(e, s.milestones) for e, _, s in imagenet] == [(120, (70, 90, 110)), (40, (20, 30, 35))]
    assert [s.milestones for _, _, s in RunSettings("alexnet", "cifar10").resolved().stages()] == [
        (40, 70, 90),
        (15, 25, 35),
    ]
    (whole_run,) = RunSettings("vgg7", "cifar10", "baseline", epochs=20).resolved().stages()
    assert whole_run[0] == 20 and whole_run[2].milestones == (12, 16)


def test_settings_choose_optimizer_schedule_and_augmentation():
    settings = RunSettings("mlp", "mnist", padding=0).resolved()
    assert settings.augment() is None, "digits are not mirrored"
    model = models.mlp(rng=np.random.default_rng(0))
    assert type(settings.make_optimizer(model.parameters(), 0.1)) is AdamW
    assert isinstance(settings.stages()[0][2], Cosine)
    other = dataclasses.replace(settings, optimizer="sgd", schedule="steps", flip=True, padding=2, cutout=4)
    sgd = other.make_optimizer(model.parameters(), 0.1)
    assert type(sgd) is SGD and sgd.nesterov and sgd.momentum == 0.9 and not any(sgd.decays)
    for kind in ("sgd", "adamw"):
        spared = dataclasses.replace(other, optimizer=kind, decay_scales=False)
        decays = spared.make_optimizer(model.parameters(), 0.1).decays
        assert decays == tuple(None if p.ndim == 2 else 0 for p in model.parameters()) and {None, 0} == {*decays}
    assert isinstance(other.stages()[0][2], StepDecay)
    assert len(other.augment().augmentations) == 3
    images = np.full((4, 9, 9, 1), 200, np.uint8)
    assert (other.augment()(images, np.random.default_rng(0)) == 0).any()


@pytest.mark.parametrize(
    "change, message",
    [
        ({"model": "vgg99"}, "RunSettings: model must be one of vgg7, resnet20, .*, got 'vgg99'"),
        ({"epochs": 1}, "RunSettings: epochs must be at least 2 for the two stages of binaryduo, got 1"),
        ({"epochs": 2.5}, "RunSettings: epochs must be an int at least 1, got float 2.5"),
        ({"lr": float("nan")}, "RunSettings: lr must be a number at least 0, got nan"),
        ({"lr": "fast"}, "RunSettings: lr must be a number at least 0, got str 'fast'"),
        (
            {"dataset": "by\udcff"},
            "RunSettings: dataset must be text that UTF-8 can encode, got 'by.udcff'; rename",
        ),
        ({"flip": 1}, "RunSettings: flip must be a bool, got int"),
        ({"seed": None}, "RunSettings: seed must be an int at least 0, got NoneType None"),
        *(({name: "x"}, f"RunSettings: {name} must be one of .*, got 'x'") for name in CHOICES),
        *(
            ({name: least - 1}, f"RunSettings: {name} must be an? .* at least {least}, got {least - 1}")
            for name, least in LEAST.items()
        ),
    ],
)
def test_bad_settings_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(TINY, **change)


@pytest.mark.parametrize(
    "settings, message",
    [
        (
            RunSettings("vgg7", "fashion-mini", shortcut="conv"),
            "train: shortcut 'conv' means nothing, because the network has no shortcuts",
        ),
        (RunSettings("alexnet", "fashion-mini"), "train: dataset: in_shape must be .* at least 63×63 pixels, got"),
        (RunSettings("mlp", "nowhere"), "train: dataset: name 'nowhere' is neither a folder nor one of"),
        (
            RunSettings("mlp", "fashion-mini", images=9000),
            "train: images must be at most the 8000 of fashion-mini",
        ),
        (RunSettings("mlp", "fashion-mini", width=1), "exceed the budget .* only a wider baseline can be coupled"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_written(settings, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        train(settings, tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_numpys_numbers_serve_as_settings(tmp_path):
    given = {"epochs": np.int64(3), "seed": np.uint8(4), "lr": np.float32(0.5), "flip": np.bool_(True)}
    settings = dataclasses.replace(TINY, **given)
    settings.save(tmp_path / "a.toml")
    assert RunSettings(**read_toml(tmp_path / "a.toml")) == settings
    assert [type(getattr(settings, name)) for name in given] == [int, int, float, bool]


def test_a_toml_file_goes_round_and_a_bad_one_is_refused(tmp_path):
    settings = dataclasses.replace(TINY, data='C:\\new "set"\n\x7f', flip=True, lr=1e-7)
    settings.save(tmp_path / "a.toml")
    assert RunSettings(**read_toml(tmp_path / "a.toml")) == settings
    (tmp_path / "a.toml").write_text("epoch = 3\n")
    with pytest.raises(ValueError, match="a.toml: epoch is not among the settings activation_bits, activations"):
        read_toml(tmp_path / "a.toml")
    (tmp_path / "a.toml").write_text("epochs 3\n")
    with pytest.raises(ValueError, match="a.toml is not TOML"):
        read_toml(tmp_path / "a.toml")


def test_damaged_runs_are_refused_by_name(whole, tmp_path, capsys):
    shutil.copytree(whole[0], tmp_path / "run")
    save_checkpoint(tmp_path / "run" / "last.npz", load_model(whole[0] / "best.npz"))
    with pytest.raises(ValueError, match="was started with other images"):
        train(TINY, tmp_path / "run", resume=True, progress=False)
    (tmp_path / "run" / "settings.toml").write_text('model = "mlp"\n')
    assert main(["train", "--resume", str(tmp_path / "run")]) == 2
    assert "settings.toml is damaged: it does not give dataset" in capsys.readouterr().err
    (tmp_path / "a.toml").write_text('model = ["mlp"]\ndataset = "mnist"\n')
    assert main(["train", "--config", str(tmp_path / "a.toml")]) == 2
    assert f"train: {tmp_path}/a.toml: model must be one of vgg7, resnet20" in capsys.readouterr().err


def test_the_command_trains_resumes_and_takes_a_config(tmp_path, capsys):
    out = tmp_path / "run"
    (tmp_path / "run.toml").write_text(
        'model = "mlp"\ndataset = "fashion-mini"\nepochs = 9\nimages = 96\nwidth = 8\n'
    )
    words = ["--config", str(tmp_path / "run.toml"), "--epochs", "2", "--no-flip", "--out", str(out)]
    assert main(["train", *words]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith(f"stop at any moment; continue with: duonet train --resume {out}")
    assert "binaryduo, stage 2 1/1: loss" in printed and f"written to {out}" in printed
    assert "% by the network of epoch 1 of the second stage, validation" in printed
    settings = saved_settings(out)
    assert (settings.epochs, settings.images, settings.flip) == (2, 96, False), "flags come before the file"
    assert (out / "history.png").read_bytes().startswith(b"\x89PNG")
    result = (out / "result.json").read_text()
    assert main(["train", "--resume", str(out), "--quiet"]) == 0
    assert capsys.readouterr().out.count("\n") == 1
    assert main(["train", "--resume", str(out)]) == 0
    assert "stop at any moment" not in capsys.readouterr().out, "there is nothing left to stop"
    assert '"test_accuracy"' in result and (out / "result.json").exists()
    assert main(["train", "--resume", str(out), "--lr", "3"]) == 2
    assert "started with other settings: lr 3.0, the run has" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words, message",
    [
        (["mlp"], "duonet: train: give dataset, or --resume RUN"),
        ([], "duonet: train: give model and dataset, or --resume RUN"),
        (
            ["--resume", "/nowhere"],
            "duonet: train: /nowhere holds no run of duonet train: it has no settings.toml",
        ),
        (["--resume", "/nowhere", "--out", "a"], "duonet: train: --resume names the folder; leave out --out"),
        (["mlp", "mnist", "--epochs", "0"], "duonet: train: --epochs must be an int at least 1, got 0"),
        (
            ["mlp", "/nowhere"],
            "duonet: train: dataset: name '/nowhere' is neither a folder nor one of fashion-mini",
        ),
    ],
)
def test_bad_words_end_in_one_sentence(words, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["train", *words]) == 2
    error = capsys.readouterr().err
    assert error.startswith(message) and error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_folder_that_exists_is_refused(whole, capsys):
    assert main(["train", *FLAGS, "--out", str(whole[0])]) == 2
    assert f"duonet: train: --out {whole[0]} exists; give a new folder, or --resume" in capsys.readouterr().err
    assert main(["train", *FLAGS, "--out", str(whole[0] / "best.npz" / "run")]) == 2
    assert "best.npz/run cannot be made (Not a directory)" in capsys.readouterr().err


def folder_of_images(folder, shift=0):
    """Two classes of twenty images, without folders for the parts."""
    Image = pytest.importorskip("PIL.Image")
    for i in range(20):
        for name in ("a", "b"):
            (folder / name).mkdir(parents=True, exist_ok=True)
            Image.new("L", (8, 8), shift + 10 * i + (name == "b")).save(folder / name / f"{i}.png")
    return folder


@pytest.mark.skipif(os.name == "nt", reason="makes links")
def test_a_folder_of_images_is_known_by_its_content_not_by_its_path(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    folder_of_images(tmp_path / "set")
    (tmp_path / "link").symlink_to("set")
    settings = RunSettings("mlp", "set", "baseline", epochs=1, width=4)
    train(settings, tmp_path / "run", progress=False)
    spelled = ["./set", "set/", str(tmp_path / "set"), "link", "../" + tmp_path.name + "/set"]
    for dataset in spelled:
        train(dataclasses.replace(settings, dataset=dataset), tmp_path / "run", resume=True, progress=False)
        assert saved_settings(tmp_path / "run").dataset == dataset, "the next resume finds it"
    (tmp_path / "set").rename(tmp_path / "renamed")
    assert main(["train", "--resume", "run", "--quiet"]) == 2
    assert "no longer in" in capsys.readouterr().err
    assert main(["train", "mlp", "renamed", "--resume", "run", "--quiet"]) == 0
    assert main(["train", "--resume", str(tmp_path / "run"), "--quiet"]) == 0
    folder_of_images(tmp_path / "other", shift=3)
    before = (tmp_path / "run" / "settings.toml").read_bytes()
    with pytest.raises(ValueError, match="was started with other images than those of other"):
        train(dataclasses.replace(settings, dataset="other"), tmp_path / "run", resume=True, progress=False)
    assert (tmp_path / "run" / "settings.toml").read_bytes() == before
    with pytest.raises(ValueError, match="other settings: dataset mnist, the run has fashion-mini"):
        train(dataclasses.replace(TINY, dataset="mnist"), whole_folder(tmp_path), resume=True, progress=False)


def whole_folder(tmp_path):
    (tmp_path / "named").mkdir()
    TINY.resolved().save(tmp_path / "named" / "settings.toml")
    return tmp_path / "named"


@pytest.mark.skipif(os.name == "nt", reason="makes links")
def test_the_same_run_folder_through_a_link_is_locked_too(tmp_path):
    (tmp_path / "link").symlink_to("run")

    def second(rows):
        with pytest.raises(RunInUse):
            train(TINY, tmp_path / "link", resume=True, progress=False)
        raise Stop

    with pytest.raises(Stop):
        train(TINY, tmp_path / "run", on_epoch=second, progress=False)


def test_data_of_other_shapes_orders_and_parts_differ():
    images, labels = np.arange(64, dtype=np.uint8).reshape(4, 4, 4, 1), np.array([0, 1, 0, 1])
    known = {digest([Dataset(images, labels)])}
    for other in (
        [Dataset(images.reshape(4, 2, 8, 1), labels)],
        [Dataset(images[::-1], labels[::-1])],
        [Dataset(images, 1 - labels)],
        [Dataset(images[:2], labels[:2]), Dataset(images[2:], labels[2:])],
        [Dataset(images[:3], labels[:3]), Dataset(images[3:], labels[3:])],
    ):
        assert digest(other) not in known
        known.add(digest(other))


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_settings_that_an_editor_has_saved_are_read(tmp_path, mark, ends):
    TINY.save(tmp_path / "settings.toml")
    text = (tmp_path / "settings.toml").read_text(encoding="utf-8")
    (tmp_path / "settings.toml").write_bytes(mark + text.replace("\n", ends).encode())
    assert saved_settings(tmp_path) == TINY


@pytest.mark.parametrize("raw", ["epochs = 3".encode("utf-16"), b"epochs = 3 # \xe9", b"\xff\xfe"])
def test_settings_in_another_encoding_are_refused_in_one_sentence(tmp_path, raw):
    (tmp_path / "a.toml").write_bytes(raw)
    with pytest.raises(ValueError, match="a.toml is not TOML: it is not written in UTF-8; save it in UTF-8"):
        read_toml(tmp_path / "a.toml")


@pytest.mark.parametrize("text", ["epochs = " + "9" * 5000, "epochs = " + "[" * 9000, "a\0b = 1"])
def test_settings_of_endless_numbers_or_depth_are_not_toml(tmp_path, text):
    (tmp_path / "a.toml").write_text(text)
    with pytest.raises(ValueError, match="a.toml is not TOML"):
        read_toml(tmp_path / "a.toml")


@pytest.mark.parametrize(
    "change, message",
    [
        ({"padding": 2147483648}, "train: padding must be at most 28 for images of 28×28, got 2147483648"),
        ({"cutout": 10**21}, "train: cutout must be at most 28 for images of 28×28, got 1000"),
        ({"padding": 29}, "train: padding must be at most 28 for images of 28×28, got 29"),
        ({"dataset": "black"}, "Normalize: std must be positive"),
    ],
)
def test_what_the_first_batch_would_refuse_leaves_no_folder_behind(tmp_path, monkeypatch, change, message):
    monkeypatch.chdir(tmp_path)
    Image = pytest.importorskip("PIL.Image")
    for name in ("black/a", "black/b"):
        (tmp_path / name).mkdir(parents=True)
        for i in range(20):
            Image.new("L", (8, 8)).save(tmp_path / name / f"{i}.png")
    settings = dataclasses.replace(TINY, **change)
    settings = dataclasses.replace(settings, images=None) if settings.dataset == "black" else settings
    with pytest.raises(ValueError, match=message):
        train(settings, tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()
