"""What onnxruntime makes of an exported file is what the model makes, image by image."""

import numpy as np
import pytest

from duonet import Tensor, interop, methods, nn, quant
from duonet.checkpoint import save_checkpoint
from duonet.cli import main
from duonet.methods import XNORWeights

onnx = pytest.importorskip("onnx", reason="needs onnx: pip install duonet[onnx]")
SAME = 1e-4


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.onnx"


def answers(path, x):
    runtime = pytest.importorskip("onnxruntime", reason="needs onnxruntime: pip install onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    session = runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    (y,) = session.run(["logits"], {"images": np.ascontiguousarray(np.moveaxis(x, -1, 1))})
    return y


def test_logits_and_classes_are_equal(network, logits, path):
    model, shape, x = network
    interop.to_onnx(path, model, shape)
    y = answers(path, x)
    assert logits(model, x, y) < SAME
    assert np.array_equal(y.argmax(1), logits(model, x).argmax(1))
    assert answers(path, x[:1]).shape == (1, y.shape[1]), "any number of images"


def test_a_file_says_what_it_is(rng, path):
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3, rng=rng), nn.BatchNorm(4), nn.QuantActivation(quant.Ternary(), quant.ReLU())
    )
    interop.to_onnx(path, model, (8, 6, 3), {"mean": [0.5], "class_names": ["a", "ü"], "in_shape": [8, 6, 3]})
    made = onnx.load(path)
    assert [(entry.domain, entry.version) for entry in made.opset_import] == [("", 17)] and made.ir_version == 8
    ends = [end.type.tensor_type.shape.dim for end in (made.graph.input[0], made.graph.output[0])]
    assert [[dim.dim_param or dim.dim_value for dim in end] for end in ends] == [["N", 3, 8, 6], ["N", 4, 6, 4]]
    operators = [node.op_type for node in made.graph.node]
    assert operators == ["Conv", *["GreaterOrEqual", "Where"] * 2, "Identity"], "batch norm is in the thresholds"
    said = {entry.key: entry.value for entry in made.metadata_props}
    assert said == {"mean": "[0.5]", "class_names": '["a", "\\u00fc"]', "layout": "channels first"}
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_sums_of_signs_are_exact(rng, path, logits):
    """Thresholds on sums of whole numbers, at ties and with channels that fall: not a bit may differ."""
    product = nn.Conv2d(8, 6, 3, rng=rng, weight_quantizer=quant.FilterScaleSign(), bias=True)
    product.bias.data[...] = rng.normal(size=6)
    norm = nn.BatchNorm(6)
    norm.gamma.data[...] = [1, -1, 2, -0.5, 0.0, 1]
    norm.running_mean.data[...] = abs(product.used_weight().data[0, 0, 0]) * np.arange(6) + product.bias.data
    steps = nn.QuantActivation(quant.Uniform(2), quant.Clip(0, 1))
    model = nn.Sequential(nn.QuantActivation(quant.Ternary(), quant.Clip(0, 1)), product, norm, steps).eval()
    x = rng.normal(size=(20, 7, 7, 8)).astype("float32")
    interop.to_onnx(path, model, (7, 7, 8))
    assert np.array_equal(np.moveaxis(answers(path, x), 1, -1), logits(model, x))


def test_a_step_differs_only_where_rounding_decides(rng, path):
    """Sums of tenths, a twentieth of them on the threshold: in float32 either side of it may be right."""
    product = nn.Conv2d(3, 8, 3, rng=rng)
    product.weight.data[...] = rng.integers(-3, 4, product.weight.shape) / np.float32(10)
    product.bias.data[...] = 0
    model = nn.Sequential(product, nn.QuantActivation(quant.Binary(), quant.Clip(0, 1))).eval()
    x = rng.integers(-2, 3, (40, 7, 7, 3)).astype("float32")
    interop.to_onnx(path, model, (7, 7, 3))
    steps, sums = model(Tensor(x)).data, product(Tensor(x)).data
    other = steps != np.moveaxis(answers(path, x), 1, -1)
    tied = abs(sums - 0.5) < 1e-5
    assert tied.sum() > 100 and not other[~tied].any()


@pytest.mark.parametrize("entry", methods.entries(), ids=lambda e: e.name)
def test_every_method_has_a_form_or_is_refused_by_name(entry, rng, path, logits):
    if entry.kind == "weights":
        model = nn.Sequential(nn.Conv2d(8, 8, 3, rng=rng, **entry.for_layer(rng)))
    else:
        model = nn.Sequential(nn.Conv2d(8, 8, 3, rng=rng), nn.BatchNorm(8), entry.make(rng))
    model.eval()
    if entry.name.startswith("stochastic-") or entry.name == "ci-bcnn":
        with pytest.raises(interop.CannotTranslate, match=f"to_onnx: 2 {type(model[2]).__name__}: "):
            interop.to_onnx(path, model, (6, 6, 8))
        assert not path.exists()
    else:
        x = rng.normal(size=(5, 6, 6, 8)).astype("float32")
        interop.to_onnx(path, model, (6, 6, 8))
        assert logits(model, x, np.moveaxis(answers(path, x), 1, -1)) < SAME


def test_nothing_is_written_of_what_is_refused(rng, path):
    model = nn.Sequential(nn.Linear(4, 2, rng=rng))
    path.write_text("before")
    model[0].bias.data[0] = np.nan
    with pytest.raises(ValueError, match="to_onnx: 0.bias holds NaN or infinity"):
        interop.to_onnx(path, model, (4,))
    with pytest.raises(interop.CannotTranslate, match=r"to_onnx: 0.weight is float64, not float32: model.astype"):
        interop.to_onnx(path, nn.Sequential(nn.Linear(4, 2, rng=rng)).astype("float64"), (4,))
    with pytest.raises(TypeError, match="to_onnx: about must be"):
        interop.to_onnx(path, nn.Sequential(nn.ReLU()), (4,), ["mean"])
    for mean in (np.array([0.5]), [float("nan")]):
        with pytest.raises(ValueError, match="to_onnx: about must hold values of JSON: "):
            interop.to_onnx(path, nn.Sequential(nn.ReLU()), (4,), {"mean": mean})
    assert path.read_text() == "before" and [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_modes_stay_and_dropout_is_off(rng, path, logits):
    weights = nn.Linear(4, 4, rng=rng, weight_quantizer=XNORWeights())
    model = nn.Sequential(nn.Dropout(0.5, rng=rng), weights)
    interop.to_onnx(path, model, (4,))
    x = rng.normal(size=(3, 4)).astype("float32")
    assert model[0].training and logits(model.eval(), x, answers(path, x)) < SAME


def test_the_command_writes_the_network_of_a_checkpoint(rng, tmp_path, path, capsys):
    about = {"in_shape": [3, 3, 2], "mean": [0.5, 0.5], "class_names": ["a", "b"]}
    model = nn.Sequential(nn.Flatten(), nn.Linear(18, 2, rng=rng))
    save_checkpoint(tmp_path / "run.npz", model, about=about)
    assert main(["export-onnx", str(tmp_path / "run.npz"), "--out", str(path)]) == 0
    assert (
        capsys.readouterr().out == f"{path}: {path.stat().st_size:,} bytes; images are (N, C, H, W), normalised\n"
    )
    assert {entry.key for entry in onnx.load(path).metadata_props} == {"mean", "class_names", "layout"}
    save_checkpoint(tmp_path / "run.npz", model)
    assert main(["export-onnx", str(tmp_path / "run.npz"), "--out", str(path)]) == 2
    assert "export-onnx: " in capsys.readouterr().err
    assert main(["export-onnx", str(tmp_path / "run.npz"), "--out", str(path), "--input", "3", "3", "2"]) == 0
