"""The counts are those of a pencil, and of networks whose cost has been published."""

import json
import subprocess
import sys

import numpy as np
import pytest

from duonet import decouple, models, nn, summary
from duonet.cli import costs, main
from duonet.quant import Binary, Clip, FilterScaleSign, LayerScaleSign, Ternary


def quantised(staircase):
    return nn.QuantActivation(staircase, Clip(0, 1))


def small(rng, staircase, quantizer=LayerScaleSign):
    return nn.Sequential(
        {
            "conv1": nn.Conv2d(3, 8, 3, padding=1, rng=rng, bias=False),
            "norm1": nn.BatchNorm(8),
            "act1": quantised(staircase),
            "pool1": nn.MaxPool2d(2),
            "conv2": nn.Conv2d(8, 5, 3, rng=rng, weight_quantizer=quantizer()),
            "norm2": nn.BatchNorm(5),
            "act2": quantised(staircase),
            "flatten": nn.Flatten(),
            "linear": nn.Linear(20, 4, rng=rng),
        }
    )


def test_parameters_macs_and_bytes_are_those_of_a_pencil(rng):
    counted = summary(small(rng, Binary()), (8, 8, 3))
    rows = {row.path: row for row in counted.rows}
    assert list(rows) == ["conv1", "norm1", "act1", "pool1", "conv2", "norm2", "act2", "flatten", "linear"]
    assert rows["conv2"].output_shape == (2, 2, 5) and rows["pool1"].output_shape == (4, 4, 8)
    assert rows["conv1"].macs == {32: 8 * 8 * 8 * 27} and rows["conv1"].parameters == {32: 216}
    assert rows["conv2"].macs == {1: 2 * 2 * 5 * 72} and rows["conv2"].parameters == {1: 360, 32: 5}
    assert rows["linear"].macs == {32: 80}, "binary inputs, but float weights"
    assert rows["conv2"].operations == 2 * 2 * 5 * 72 / 64
    assert rows["conv2"].bytes_packed == 360 // 8 + 4 + 5 * 4 and rows["conv2"].bytes_unpacked == 365 * 4
    assert rows["conv2"].share_binarised == 360 / 365
    assert rows["norm1"].parameters == {32: 16} and rows["norm1"].bytes_packed == 4 * 32
    total = counted.total
    assert total.parameters == {32: 216 + 16 + 5 + 10 + 84, 1: 360}
    assert total.weights == {32: 216 + 80, 1: 360} and counted.mbit == (360 + 32 * 296) / 1e6
    assert total.operations == 8 * 8 * 8 * 27 + 80 + 2 * 2 * 5 * 72 / 64


def test_a_ternary_input_has_two_bits_and_a_scale_for_each_filter_four_bytes(rng):
    row = {row.path: row for row in summary(small(rng, Ternary(), FilterScaleSign), (8, 8, 3)).rows}["conv2"]
    assert row.macs == {2: 1440} and row.operations == 2 * 1440 / 64
    assert row.bytes_packed == 360 // 8 + 4 * 5 + 5 * 4


def test_an_average_or_a_sum_of_binary_values_is_float(rng):
    for between in (nn.AvgPool2d(1), nn.Residual(nn.Sequential()), nn.ReLU(), nn.Sequential(nn.BatchNorm(2))):
        model = nn.Sequential(
            quantised(Binary()), between, nn.Conv2d(2, 3, 1, rng=rng, weight_quantizer=LayerScaleSign())
        )
        assert summary(model, (4, 4, 2)).total.macs == {32: 96}, between
    for between in (nn.MaxPool2d(1), nn.Sequential(), nn.Sequential(nn.Dropout(0.5, rng=rng)), nn.PadChannels(2)):
        model = nn.Sequential(
            quantised(Binary()), between, nn.Conv2d(2, 3, 1, rng=rng, weight_quantizer=LayerScaleSign())
        )
        assert summary(model, (4, 4, 2)).total.macs == {1: 96}, between


def test_counting_leaves_the_model_as_it_was(rng):
    model = small(rng, Binary())
    before = model.state_dict()
    summary(model, (8, 8, 3))
    assert model.training and all(not m._observers for _, m in model.modules())
    assert all(np.array_equal(v, before[k]) for k, v in model.state_dict().items())
    with pytest.raises(ValueError, match="conv1 Conv2d: conv2d: x has 1 channels"):
        summary(model, (8, 8, 1))
    assert model.training and all(not m._observers for _, m in model.modules())


def test_resnet18_costs_what_has_been_published(nothing_drawn):
    """1.63e8 operations for Bi-Real Net's ResNet-18 (Liu et al., ECCV 2018, table 3), which has the same convs."""
    model = models.resnet18("baseline", shortcut="conv", rng=np.random.default_rng(0))
    counted = summary(model, (224, 224, 3))
    assert round(counted.total.operations / 1e8, 2) == 1.64
    assert round(counted.mbit, 1) == 33.2


@pytest.mark.parametrize("name", ["vgg7", "alexnet", "resnet18", "resnet20", "mlp"])
@pytest.mark.parametrize("variant", ["baseline", "coupled", "decoupled"])
def test_the_table_fits_and_json_holds_the_same(name, variant, capsys, monkeypatch, nothing_drawn):
    network, built = costs._network, []
    monkeypatch.setattr(costs, "_network", lambda options: built or built.extend(network(options)) or built)
    words = ["summary", name, "--variant", variant, "--weights", "binary"]
    words += ["--shortcut", "conv"] if name.startswith("resnet") else []
    if name == "alexnet":
        words += ["--width", "12"]
    assert main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 100
    assert main([*words, "--json"]) == 0
    values = json.loads(capsys.readouterr().out)
    shown = [line for line in lines if "×" in line or line.split()[:1] in (["flatten"], ["classifier"], ["pool"])]
    assert len(shown) >= 10 or name == "mlp"
    assert values["total"]["parameters"].keys() == {"1-bit", "float"}
    bit = {"baseline": "1-bit", "decoupled": "1-bit", "coupled": "2-bit"}[variant]
    assert values["total"]["macs"].keys() == {bit, "float"}
    assert f"{values['total']['weights']['1-bit']:,} of 1 bit" in lines[-2]
    for key in ("parameters", "macs", "weights"):
        for kind, n in values["total"][key].items():
            assert n == sum(layer[key].get(kind, 0) for layer in values["layers"])


def test_too_little_memory_is_told_in_one_sentence(monkeypatch, capsys):
    def full(*_, **__):
        raise MemoryError("Unable to allocate 9. TiB for an array")

    monkeypatch.setattr("duonet.models.catalogue.build", full)
    assert main(["summary", "mlp"]) == 2
    assert capsys.readouterr().err == "duonet: summary: Unable to allocate 9. TiB for an array\n"


def test_a_closed_pipe_ends_quietly():
    words = f"{sys.executable} -m duonet summary resnet18 --width 4 | head -1"
    done = subprocess.run(words, shell=True, capture_output=True, text=True)
    assert done.stdout.startswith("layer") and done.stderr == ""


def test_a_path_that_is_too_long_is_cut_in_front(rng):
    model = nn.Sequential({"a" * 90: nn.Linear(2, 3, rng=rng)})
    lines = str(summary(model, (2,))).splitlines()
    assert max(map(len, lines[:4])) == 100 and lines[2].startswith("…aaa")


@pytest.mark.parametrize(
    "words", [["summary", "A"], ["pack", "A", "--out", "B"], ["export-onnx", "A", "--out", "B"]]
)
@pytest.mark.parametrize(
    "shape", [5, "abc", ["a", 6, 1], [6.0, 6, 1], [[6], 6, 1], [True, 6, 1], {"a": 1}, None, [], [6, 6], [0, 6, 1]]
)
def test_a_checkpoint_that_says_no_shape_is_refused_in_one_sentence(words, tmp_path, capsys, shape):
    from duonet.checkpoint import save_checkpoint

    words = [str(tmp_path / "a.npz") if word == "A" else word for word in words]
    save_checkpoint(words[1], nn.Sequential(nn.Flatten()), about={"in_shape": shape})
    assert main(words) == 2
    assert (
        capsys.readouterr().err.strip().endswith("a.npz does not state the shape of its input; give --input H W C")
    )
    assert main([*words, "--input", "6", "0", "1"]) == 2
    assert capsys.readouterr().err == f"duonet: {words[0]}: --input must be an int at least 1, got 0\n"


def test_a_checkpoint_is_summarised(tmp_path, capsys):
    from duonet.checkpoint import save_checkpoint

    model = decouple(models.mlp("coupled", 12, (6, 6), 3, rng=np.random.default_rng(0)))
    save_checkpoint(tmp_path / "a.npz", model, about={"in_shape": [2, 2, 3]})
    assert main(["summary", str(tmp_path / "a.npz")]) == 0
    assert str(summary(model, (2, 2, 3))) in capsys.readouterr().out
    save_checkpoint(tmp_path / "a.npz", model)
    assert main(["summary", str(tmp_path / "a.npz")]) == 2
    assert "does not state the shape of its input; give --input H W C" in capsys.readouterr().err
    assert main(["summary", str(tmp_path / "a.npz"), "--input", "3", "2", "2"]) == 0


@pytest.mark.parametrize(
    "words, message",
    [
        (["vgg99"], "summary: vgg99 is neither a file nor one of vgg7, alexnet"),
        (
            ["vgg7", "--variant", "x"],
            "summary: --variant must be one of float, baseline, ternary, coupled, coupled3, decoupled, decoupled3, got 'x'",
        ),
        (["vgg7", "--shortcut", "conv"], "summary: --shortcut 'conv' means nothing"),
        (["vgg7", "--input", "5", "5", "1"], "summary: --input: in_shape must be"),
        (["mlp", "--classes", "0"], "summary: --classes must be an int at least 1, got 0"),
        (["vgg7", "--input", "32", "32", "0"], "summary: --input: in_shape[2] must be an int at least 1, got 0"),
        ([__file__], "is damaged, or not a checkpoint"),
        ([__file__, "--width", "4"], "summary: --width cannot be given with the checkpoint"),
    ],
)
def test_bad_words_end_in_one_sentence(words, message, capsys):
    assert main(["summary", *words]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
