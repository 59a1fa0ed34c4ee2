"""Scores are those of a pencil; images and data sets that do not fit are refused by name."""

import json
import shutil

import numpy as np
import pytest

from duonet import data, functional, nn
from duonet.checkpoint import load_checkpoint, save_checkpoint
from duonet.cli import main
from duonet.experiments import RunSettings, predict, predicting, score, scoring, train
from duonet.tensor import Tensor


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("scored") / "run"
    return out, train(
        RunSettings("mlp", "fashion-mini", "float", 2, images=1600, width=16, padding=0), out, progress=False
    )


def test_the_scores_are_those_of_the_logits(run):
    out, result = run
    scores = score(out / "best.npz", "fashion-mini")
    saved = load_checkpoint(out / "best.npz")
    splits = data.load("fashion-mini")
    x = data.Normalize(saved.about["mean"], saved.about["std"])(splits.test.images)
    logits, labels = saved.model.eval()(Tensor(x)).data, splits.test.labels
    answers = logits.argmax(1)
    assert scores["top1"] == result["test_accuracy"] == (answers == labels).mean() > 0.3
    assert scores["top5"] == np.mean([y in np.argsort(-row)[:5] for row, y in zip(logits, labels)])
    confusion = np.array(scores["confusion"])
    assert confusion[3, 6] == ((labels == 3) & (answers == 6)).sum() and confusion.sum() == scores["images"] == 510
    assert scores["per_class"][2] == (answers[labels == 2] == 2).mean()
    validation = score(out / "best.npz", "fashion-mini", part="validation")
    assert validation["top1"] == result["val_accuracy"] and validation["images"] == 210


def test_evaluate_prints_draws_and_gives_json(run, tmp_path, capsys):
    best = str(run[0] / "best.npz")
    assert main(["evaluate", best, "fashion-mini", "--figure", str(tmp_path / "a.png")]) == 0
    printed = capsys.readouterr().out
    assert f"top-1 {100 * run[1]['test_accuracy']:.2f} %, top-5" in printed and "ankle boot" in printed
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert main(["evaluate", best, "fashion-mini", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["top1"] == run[1]["test_accuracy"]
    assert main(["evaluate", str(run[0]), "fashion-mini", "--part", "validation"]) == 0, (
        "a folder is its best network"
    )
    assert f"top-1 {100 * run[1]['val_accuracy']:.2f} %" in capsys.readouterr().out
    assert (run[0] / "best_validation_confusion.png").exists()
    assert (run[0] / "best_confusion.png").exists()


def test_a_figure_that_nobody_asked_for_costs_no_result(run, tmp_path, capsys):
    """The run may lie where its reader cannot write."""
    shutil.copy(run[0] / "best.npz", tmp_path / "best.npz")
    (tmp_path / "best_confusion.png").mkdir()
    words = ["evaluate", str(tmp_path / "best.npz"), "fashion-mini", "--json"]
    assert main(words) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)["top1"] == run[1]["test_accuracy"]
    said = "best_confusion.png: is a folder; --figure FILE draws the confusion matrix elsewhere\n"
    assert printed.err == f"duonet: evaluate: {tmp_path}/{said}"
    assert main([*words, "--figure", str(tmp_path / "best_confusion.png")]) == 2


@pytest.fixture
def pictures(tmp_path):
    Image = pytest.importorskip("PIL.Image")
    images = data.fashion_mini().test.images[:2, :, :, 0]
    for name, image in zip(("a.png", "b.png"), images):
        Image.fromarray(image).save(tmp_path / name)
    Image.fromarray(images[0]).convert("RGB").resize((56, 50)).save(tmp_path / "large.jpg")
    Image.fromarray(images[0]).convert("RGB").save(tmp_path / "colour.png")
    return tmp_path


def test_predict_gives_the_probabilities_of_the_networks_classes(run, pictures, capsys):
    names, probabilities = predict(run[0] / "best.npz", [pictures / "a.png", pictures / "b.png"])
    saved = load_checkpoint(run[0] / "best.npz")
    x = data.Normalize(saved.about["mean"], saved.about["std"])(data.fashion_mini().test.images[:2])
    expected = functional.softmax(saved.model.eval()(Tensor(x))).data
    np.testing.assert_allclose(probabilities, expected, rtol=1e-5)
    assert names[9] == "ankle boot" and probabilities.sum(axis=1) == pytest.approx(1)
    assert (
        main(["predict", str(run[0] / "best.npz"), str(pictures / "a.png"), str(pictures / "b.png"), "--top", "2"])
        == 0
    )
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 and lines[0].startswith(f"{pictures / 'a.png'}: {names[probabilities[0].argmax()]} ")
    assert lines[0].count("%") == 2


def test_a_gpu_scores_and_predicts_what_the_cpu_does(run, pictures, gpu):
    best = run[0] / "best.npz"
    assert score(best, "fashion-mini", device=gpu)["top1"] == pytest.approx(run[1]["test_accuracy"], abs=1e-3)
    (_, there), (_, here) = (predict(best, [pictures / "a.png"], device=device) for device in (gpu, "cpu"))
    np.testing.assert_allclose(there, here, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "file, message",
    [
        (
            "large.jpg",
            ".*large.jpg: images are 50×56×3, but the network takes 28×28×1; --resize makes it fit",
        ),
        ("colour.png", ".*colour.png: images are 28×28×3, but the network takes 28×28×1"),
        ("none.png", "none.png: No such file or directory"),
    ],
)
def test_an_image_that_does_not_fit_is_refused_and_resized_when_asked(run, pictures, file, message):
    with pytest.raises(ValueError, match=message):
        predict(run[0] / "best.npz", [pictures / "a.png", pictures / file])
    if file != "none.png":
        _, probabilities = predict(run[0] / "best.npz", [pictures / "a.png", pictures / file], resize=True)
        assert np.abs(probabilities[0] - probabilities[1]).max() < 0.5


def test_a_bad_file_costs_no_other_its_answer(run, pictures, capsys):
    (pictures / "bad.png").write_bytes(b"no image")
    files = [str(pictures / name) for name in ("a.png", "bad.png", "none.png", "b.png")]
    assert main(["predict", str(run[0]), *files, "--top", "1"]) == 2
    told = capsys.readouterr()
    assert [line.partition(":")[0] for line in told.out.splitlines()] == [files[0], files[3]]
    assert f"duonet: predict: {files[1]}: not an image that can be read" in told.err
    assert f"duonet: predict: {files[2]}: No such file or directory" in told.err
    assert told.err.endswith("predict: no answer for 2 of 4 images\n")
    assert main(["predict", str(run[0]), files[0], files[3], "--top", "1"]) == 0
    assert capsys.readouterr().out == told.out


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize(
    "number", ["linear1.weight", "classifier.bias", "norm1.running_mean", "norm1.running_var"]
)
def test_a_network_that_is_not_finite_gives_no_answers(run, pictures, tmp_path, number, bad):
    saved = load_checkpoint(run[0] / "best.npz")
    layer, _, name = number.partition(".")
    getattr(dict(saved.model.modules())[layer], name).data[...] = bad
    path = tmp_path / "bad.npz"
    save_checkpoint(path, saved.model, about=saved.about)
    for answer in (lambda: score(path, "fashion-mini"), lambda: predict(path, [pictures / "a.png"])):
        with pytest.raises(ValueError, match=f"bad.npz is damaged: .* {number} of its network is not finite"):
            answer()


def test_images_are_answered_a_few_at_a_time_in_their_order(run, pictures, monkeypatch):
    files = [pictures / name for name in ("a.png", "b.png", "b.png", "a.png", "b.png")]
    names, expected = predict(run[0], files)
    sizes, plain = [], predicting._probabilities
    monkeypatch.setattr(predicting, "PICTURES", 2)
    monkeypatch.setattr(predicting, "_probabilities", lambda m, x, d: sizes.append(len(x)) or plain(m, x, d))
    np.testing.assert_allclose(predict(run[0], iter(files))[1], expected, rtol=1e-5)
    assert sizes == [2, 2, 1]
    with pytest.raises(ValueError, match="predict: there are no images"):
        predict(run[0], [])


def test_a_classs_name_is_never_printed_raw(run, pictures, monkeypatch, capsys):
    scores = {"class_names": ["a\x1b[2J", "b"], "confusion": [[1, 1], [2, 1]], "per_class": [0.5, 1 / 3]}
    assert "\x1b" not in scoring.score_table(scores) and scoring.score_table(scores).count("a\\x1b[2J") == 2
    saved, about = scoring.load_run(run[0])
    evil = {**about, "class_names": [f"\x1b[{i}m" for i in range(10)]}
    monkeypatch.setattr(predicting, "load_run", lambda *words: (saved, evil))
    assert main(["predict", str(run[0]), str(pictures / "a.png")]) == 0
    told = capsys.readouterr().out
    assert "\x1b" not in told and "\\x1b[3m" in told


def test_other_data_sets_are_refused(run, tmp_path):
    Image = pytest.importorskip("PIL.Image")
    for part in ("train", "test"):
        for name in ("coat", "dress"):
            for i in range(20):
                (tmp_path / "set" / part / name).mkdir(parents=True, exist_ok=True)
                Image.new("L", (28, 28), i).save(tmp_path / "set" / part / name / f"{i}.png")
    with pytest.raises(ValueError, match="has 2 classes, coat, dress, but the network knows 10, T-shirt/top"):
        score(run[0] / "best.npz", str(tmp_path / "set"))
    train(RunSettings("mlp", str(tmp_path / "set"), "float", 1, width=4), tmp_path / "own", progress=False)
    assert score(tmp_path / "own" / "best.npz", str(tmp_path / "set"))["images"] == 40
    with pytest.raises(ValueError, match="fashion-mini has 10 classes, .* but the network knows 2, coat, dress"):
        score(tmp_path / "own" / "best.npz", "fashion-mini")
    save_checkpoint(tmp_path / "bare.npz", nn.Sequential(nn.Flatten()))
    with pytest.raises(
        ValueError, match="bare.npz is not the checkpoint of a training run: it does not give in_shape"
    ):
        score(tmp_path / "bare.npz", "fashion-mini")


def test_a_folder_that_has_changed_since_is_refused_because_its_split_has(tmp_path):
    """Without folders for the parts, one file more may put images that were trained on among the test images."""
    Image = pytest.importorskip("PIL.Image")
    for name in ("coat", "dress"):
        (tmp_path / "set" / name).mkdir(parents=True)
        for i in range(20):
            Image.new("L", (6, 6), 10 * i).save(tmp_path / "set" / name / f"{i}.png")
    settings = RunSettings("mlp", str(tmp_path / "set"), "float", 1, width=4, images=30)
    train(settings, tmp_path / "run", progress=False)
    assert score(tmp_path / "run", str(tmp_path / "set"))["images"] == 4
    Image.new("L", (6, 6), 3).save(tmp_path / "set" / "coat" / "new.png")
    with pytest.raises(
        ValueError, match="set has changed since the training: its test part may hold training images"
    ):
        score(tmp_path / "run", str(tmp_path / "set"))


@pytest.mark.parametrize("spelled", ["set", "./set", "set/", "link", "absolute", "renamed"])
def test_a_changed_folder_is_refused_however_its_path_is_written(tmp_path, monkeypatch, spelled):
    Image = pytest.importorskip("PIL.Image")
    monkeypatch.chdir(tmp_path)
    for name in ("coat", "dress"):
        (tmp_path / "set" / name).mkdir(parents=True)
        for i in range(20):
            Image.new("L", (6, 6), 10 * i).save(tmp_path / "set" / name / f"{i}.png")
    train(RunSettings("mlp", "set", "float", 1, width=4), tmp_path / "run", progress=False)
    if spelled == "renamed":
        (tmp_path / "set").rename("renamed")
    elif spelled == "link":
        (tmp_path / "link").symlink_to("set")
    path = str(tmp_path / "set") if spelled == "absolute" else spelled
    assert score(tmp_path / "run", path)["images"] == 4
    for extra in ("new.png", "more.png"):
        Image.new("L", (6, 6), 3).save(tmp_path / path / "coat" / extra)
    words = "is not the folder of" if spelled == "renamed" else "has changed since"
    with pytest.raises(ValueError, match=f"{words} the training: its test part may hold training images"):
        score(tmp_path / "run", path)


def test_a_folder_with_parts_of_its_own_may_be_another_one_unless_it_is_the_trainings(tmp_path):
    Image = pytest.importorskip("PIL.Image")

    def images(folder, shift):
        for part in ("train", "test"):
            for name in ("coat", "dress"):
                (folder / part / name).mkdir(parents=True, exist_ok=True)
                for i in range(20):
                    Image.new("L", (6, 6), shift + 10 * i).save(folder / part / name / f"{i}.png")
        return str(folder)

    train(RunSettings("mlp", images(tmp_path / "set", 0), "float", 1, width=4), tmp_path / "run", progress=False)
    assert score(tmp_path / "run", images(tmp_path / "other", 5))["images"] == 40
    (tmp_path / "link").symlink_to("set")
    images(tmp_path / "set", 5)
    for path in (tmp_path / "set", tmp_path / "link"):
        with pytest.raises(ValueError, match="has changed since the training"):
            score(tmp_path / "run", str(path))


def test_the_name_of_a_data_set_is_not_taken_for_a_folder_here(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "fashion-mini").mkdir()
    assert score(run[0], "fashion-mini")["top1"] == run[1]["test_accuracy"]


@pytest.mark.parametrize(
    "words, message",
    [
        (
            ["evaluate", ".", "fashion-mini"],
            "duonet: evaluate: . holds no run of duonet train, or a run without a finished epoch",
        ),
        (["predict", ".", "a.png"], "duonet: predict: . holds no run of duonet train"),
        (["summary", "."], "duonet: summary: . holds no run of duonet train"),
        (["evaluate", "/nowhere.npz", "fashion-mini"], "/nowhere.npz"),
        (["predict", "/nowhere.npz", "a.png"], "/nowhere.npz"),
        (
            ["predict", "/nowhere.npz", "a.png", "--top", "0"],
            "duonet: predict: --top must be an int at least 1, got 0",
        ),
    ],
)
def test_bad_words_end_in_one_sentence(words, message, capsys):
    assert main(words) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
