import json
import statistics

import numpy as np
import pytest

from duonet import Tensor, data
from duonet.experiments import CompareSettings, RunSettings, compare, compare_table, score, train
from duonet.experiments.comparison import ABLATION, USUAL
from duonet.experiments.materials import build_network, load_splits
from duonet.experiments.methods import METHODS
from duonet.experiments.recipes import COMPARED, RECIPES


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A real run, small enough for a test: two seeds, the perceptron at a quarter of its width."""
    out = tmp_path_factory.mktemp("runs") / "run"
    settings = CompareSettings(model="mlp", seeds=2, epochs=3, images=500, width=32, ablation=True)
    return settings, out, compare(settings, out, progress=False)


def test_every_method_is_there_with_every_seed(run):
    _, _, results = run
    assert list(results["methods"]) == [
        "float",
        "baseline",
        "coupled",
        "decoupled",
        "binaryduo",
        "control",
        "ternary",
        "restarted",
        "control_restarted",
    ]
    for row in results["methods"].values():
        assert len(row["accuracy"]) == 2
        assert row["mean"] == statistics.mean(row["accuracy"]) and row["std"] == statistics.stdev(row["accuracy"])
    assert results["methods"]["float"]["mean"] > 0.2, "twice as good as guessing"


def test_methods_are_compared_at_equal_weights_and_epochs(run):
    _, _, results = run
    methods = results["methods"]
    budget = methods["baseline"]["weights"]
    for name in ("decoupled", "binaryduo", "control"):
        assert 0.95 * budget < methods[name]["weights"] <= budget
        assert methods[name]["activation_bits"] == 1
    for name in ("restarted", "control_restarted"):
        assert methods[name]["activation_bits"] == 1 and methods[name]["weights"] <= budget
    assert methods["coupled"]["activation_bits"] == methods["ternary"]["activation_bits"] == 2
    assert methods["ternary"]["weights"] == budget and methods["float"]["activation_bits"] == 32
    assert results["stages"] == [2, 1]
    for name in ("float", "baseline", "binaryduo", "control", "restarted"):
        assert sum(map(int, methods[name]["epochs"].split("+"))) == 3


def test_decoupling_changed_nothing_and_the_accuracies_agree(run):
    _, _, results = run
    assert [row["seed"] for row in results["decoupling"]] == [0, 1]
    for row in results["decoupling"]:
        assert row["float64_relative_difference"] < 1e-12
        assert row["float32_changed_predictions"] <= 5 and row["float32_images"] == 510
    np.testing.assert_allclose(
        results["methods"]["coupled"]["accuracy"], results["methods"]["decoupled"]["accuracy"], atol=1e-3
    )


def test_the_folder_holds_results_and_a_folder_for_each_run(run):
    settings, out, results = run
    assert json.loads((out / "results.json").read_text()) == results
    assert results["complete"] and results["seconds"] > 0
    assert {"numpy", "python", "duonet"} <= set(results["versions"])
    folders = {path.name for path in out.iterdir() if path.is_dir()}
    assert folders == {f"{method}-{seed}" for seed in range(2) for method in (*USUAL, *ABLATION)}
    assert len((out / "control-1" / "history.csv").read_text().splitlines()) == 4
    assert len(results["methods"]["binaryduo"]["validation"][0]) == 1, "the second stage's epochs"
    assert len(results["methods"]["coupled"]["validation"][0]) == 2


def test_a_saved_model_scores_what_the_results_say(run):
    _, out, results = run
    for method, name in (("binaryduo", "best"), ("coupled", "first_stage")):
        scores = score(out / "binaryduo-1" / f"{name}.npz", "fashion-mini")
        assert scores["top1"] == results["methods"][method]["accuracy"][1]


def test_a_run_is_that_of_duonet_train(run, tmp_path):
    settings, out, results = run
    name, own = settings.runs()[1]
    assert (
        train(own, tmp_path / name, progress=False)["test_accuracy"]
        == results["methods"]["baseline"]["accuracy"][0]
    )


def test_what_is_finished_is_not_made_again_and_what_was_stopped_continues(tmp_path, monkeypatch):
    settings = CompareSettings(model="mlp", epochs=3, images=200, width=16)
    whole = compare(settings, tmp_path / "whole", progress=False)
    made = []

    def stopping(run, folder, **options):
        made.append(folder.name)
        if len(made) == 3:
            train(run, folder, on_epoch=lambda rows: 1 / (len(rows) < 2), **options)
        return train(run, folder, **options)

    monkeypatch.setattr("duonet.experiments.studies.train", stopping)
    with pytest.raises(ZeroDivisionError):
        compare(settings, tmp_path / "run", progress=False)
    partly = json.loads((tmp_path / "run" / "results.json").read_text())
    assert list(partly["methods"]) == ["float", "baseline"] and not partly["complete"]
    assert len(compare_table(partly).splitlines()) == 4, "what is finished can be printed"
    resumed = compare(settings, tmp_path / "run", progress=False)
    assert made == ["float-0", "baseline-0", "binaryduo-0", "binaryduo-0", "control-0"]
    assert resumed["methods"] == whole["methods"] and resumed["decoupling"] == whole["decoupling"]
    assert compare(settings, tmp_path / "run", progress=False)["methods"] == whole["methods"] and len(made) == 5
    with pytest.raises(ValueError, match="compare: .*run holds a study with other settings: epochs 3 and 2"):
        compare(CompareSettings(model="mlp", epochs=2, images=200, width=16), tmp_path / "run", progress=False)


def test_the_table_is_aligned_and_holds_the_numbers(run):
    _, _, results = run
    lines = compare_table(results).splitlines()
    assert len(lines) == 2 + len(results["methods"]) and len({len(line) for line in lines}) == 1
    assert len(lines[0]) <= 100
    duo = next(line for line in lines if line.startswith("BinaryDuo"))
    row = results["methods"]["binaryduo"]
    assert f"{100 * row['mean']:.2f} ± {100 * row['std']:.2f}" in duo and f"{row['weights']:,}" in duo


def test_binary_weights_are_counted_as_one_bit_and_decouple_exactly(tmp_path):
    settings = CompareSettings(model="mlp", epochs=2, images=128, width=8, weights="binary")
    results = compare(settings, tmp_path / "run", progress=False)
    assert {name: row["weight_bits"] for name, row in results["methods"].items()} == {
        "float": 32, "baseline": 1, "coupled": 1, "decoupled": 1, "binaryduo": 1, "control": 1
    }  # fmt: skip
    assert results["decoupling"][0]["float64_relative_difference"] < 1e-12


def test_the_control_has_weights_of_its_own():
    settings = RunSettings("mlp", "fashion-mini", "control", width=16)
    splits = load_splits(settings)
    control = build_network(settings, splits)
    first, second = np.split(control.linear2.weight.data, 2)
    assert not np.allclose(first, second)
    coupled = build_network(RunSettings("mlp", "fashion-mini", "coupled", width=16), splits)
    assert control.norm1.gamma.size == 2 * coupled.norm1.gamma.size
    assert control(Tensor(np.zeros((2, 28, 28, 1), "float32"))).shape == (2, 10)


def test_training_images_are_flipped_and_scored_ones_are_not(tmp_path, monkeypatch):
    flipped = []

    def flip(images, rng):
        flipped.append(len(images))
        return data.augment.random_flip(images, rng)

    monkeypatch.setattr(data, "random_flip", flip)
    _, settings = CompareSettings(model="mlp", images=200, width=16, epochs=2).runs()[1]
    train(settings, tmp_path / "run", progress=False)
    assert sum(flipped) == 2 * 200


def test_recipes_fit_their_models():
    assert COMPARED.keys() <= RECIPES.keys()
    for name in COMPARED:
        for _, run in CompareSettings(model=name, width=8, ablation=True, three=True).runs():
            stages = [epochs for epochs, _, _ in run.resolved().stages()]
            assert run.width == 8 and sum(stages) == COMPARED[name]["epochs"]
            assert len(stages) == 1 + (METHODS[run.method].second is not None)
    for epochs, expected in ((12, [8, 4]), (2, [1, 1])):
        runs = [run for _, run in CompareSettings(epochs=epochs).runs() if run.two_stages]
        assert [[e for e, _, _ in run.resolved().stages()] for run in runs] == [expected]


@pytest.mark.parametrize(
    "options, message",
    [
        ({"model": "vgg99"}, "compare: model must be one of vgg_deep, vgg7, densenet28, mlp, got 'vgg99'"),
        ({"weights": "ternary"}, "weights must be one of float, binary, got 'ternary'"),
        ({"seeds": 0}, "compare: seeds must be an int at least 1, got 0"),
        ({"epochs": 1}, "compare: epochs must be an int at least 2, got 1"),
        ({"seeds": 1.5}, "compare: seeds must be an int at least 1, got float 1.5"),
        ({"epochs": True}, "compare: epochs must be an int at least 2, got bool True"),
        ({"ablation": "no"}, "compare: ablation must be a bool, got str"),
        ({"model": ["mlp"]}, "compare: model must be one of vgg_deep, vgg7, densenet28, mlp, got"),
        ({"width": 0}, "compare: width must be an int at least 2, got 0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        CompareSettings(**options)


def test_more_images_than_there_are_leave_no_folder(tmp_path):
    with pytest.raises(ValueError, match="images must be at most the 8000 of fashion-mini, got 9000"):
        compare(CompareSettings(images=9000), tmp_path / "run")
    assert not (tmp_path / "run").exists()
