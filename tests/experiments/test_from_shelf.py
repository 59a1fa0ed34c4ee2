"""A run takes methods of the shelf in place of the model's own quantisers."""

import re

import pytest

from duonet import methods
from duonet.cli import main
from duonet.experiments import RunSettings, score, train
from duonet.experiments.materials import build_network, load_splits
from duonet.experiments.run_folder import read_history
from duonet.nn import QuantActivation

SMALL = {"epochs": 2, "images": 128, "width": 4, "validation_images": 50}


def network(**given):
    settings = RunSettings("mlp", "fashion-mini", **{"method": "baseline"} | SMALL | given).resolved()
    return build_network(settings, load_splits(settings))


def test_every_activation_is_replaced_and_the_weights_stay():
    plain, model = network(), network(activations="pact", activation_bits=1)
    found = [layer for _, layer in model.modules() if isinstance(layer, methods.PACT)]
    assert len(found) == 8 and {layer.bits for layer in found} == {1}
    assert not any(isinstance(layer, QuantActivation) for _, layer in model.modules())
    assert (plain.linear3.weight.data == model.linear3.weight.data).all()


def test_all_weight_quantisers_are_replaced_and_first_and_last_layer_stay_float():
    model = network(weights="abc-weights", weight_bits=2)
    found = [layer.weight_quantizer for _, layer in model.modules() if hasattr(layer, "weight_quantizer")]
    assert found[0] is found[-1] is None and all(q.bases == 2 for q in found[1:-1])
    assert len(set(map(id, found[1:-1]))) == len(found) - 2, "each layer has its own"


@pytest.mark.parametrize("name", ["bottom-to-top", "continuous"])
def test_methods_that_freeze_what_lies_below_begin_in_turn_in_the_course_of_the_run(name):
    starts = [layer.start for _, layer in network(activations=name, epochs=9).modules() if hasattr(layer, "start")]
    assert starts == [1, 2, 3, 4, 5, 6, 7, 8]
    staged = [m for _, m in network(activations="bi-real-staged", epochs=9).modules() if hasattr(m, "start")]
    assert {layer.start for layer in staged} == {3}


def test_a_run_in_stages_scores_what_it_trains_for_and_logs_the_stages(tmp_path):
    given = SMALL | {"activations": "bi-real-staged", "epochs": 3}
    train(RunSettings("mlp", "fashion-mini", "baseline", **given), tmp_path / "run", progress=False)
    assert [row["begun"] for row in read_history(tmp_path / "run" / "history.csv")] == [0, 1, 1]
    assert score(tmp_path / "run", "fashion-mini")["images"]


def test_a_run_with_them_is_trained_and_its_network_comes_back(tmp_path):
    given = {"activations": "stochastic-sigmoid", "weights": "bnn-stochastic-weights", **SMALL}
    result = train(RunSettings("mlp", "fashion-mini", "baseline", **given), tmp_path / "run", progress=False)
    assert score(tmp_path / "run", "fashion-mini")["top1"] == result["test_accuracy"]


@pytest.mark.parametrize(
    "words, message",
    [
        (["--activations", "pcat"], "--activations must be one of .* got 'pcat'; did you mean 'pact'"),
        (["--activations", "sawb"], "--activations must be one of .* got 'sawb'"),
        (["--weights", "pact"], "--weights must be one of .* got 'pact'"),
        (["--activation-bits", "2"], "--activation-bits needs a method of the shelf that has bits, got None"),
        (["--weights", "binary", "--weight-bits", "2"], "--weight-bits needs a method of the shelf that has bits"),
        (
            ["--activations", "pact", "--activation-bits", "9"],
            "--activation-bits: PACT: bits must be an int at least 1 and at most 8",
        ),
        (
            ["--weights", "qil-weights", "--weight-bits", "1"],
            "--weight-bits: QILWeights: bits must be an int at least 2 and at most 8",
        ),
        (
            ["--activations", "bnn-activations", "--activation-bits", "1"],
            "--activation-bits: methods: bnn-activations has neither bits nor bases",
        ),
        (["--activations", "pact", "--method", "float"], "--activations pact has no place in the float network"),
    ],
)
def test_what_does_not_exist_is_refused_before_a_folder_is_made(words, message, tmp_path, capsys):
    out = tmp_path / "run"
    assert main(["train", "mlp", "fashion-mini", "--method", "baseline", *words, "--out", str(out)]) == 2
    error = capsys.readouterr().err
    assert re.search(f"duonet: train: {message}", error), error
    assert not out.exists()
