"""Quantisers, staircases and surrogates of one's own, by name; no name in a file imports a module."""

import importlib
import os
import re
import sys
from pathlib import Path

import pytest

from duonet import quant
from duonet.checkpoint import CheckpointError, save_checkpoint
from duonet.cli import main
from duonet.experiments import CompareSettings, MismatchSettings, RunSettings, mismatch_study, own, score, train
from duonet.experiments.fields import BadSetting
from duonet.experiments.materials import build_network, load_splits
from duonet.experiments.toy import Lesson
from duonet.nn import QuantActivation

MODULE = """
import numpy as np
from duonet import nn
from duonet.quant import Clip, Identity, Quantizer, Staircase, Surrogate, quantize

class Halves(Quantizer):
    bits, samplewise, by_channel, rising = 2, True, True, True
    def __init__(self, top=1.0):
        super().__init__()
        self.top = top
    def fixed(self):
        return nn.QuantActivation(Staircase([0.25, 0.75], [0, self.top / 2, self.top]), Clip(0, 1))
    def forward(self, x):
        return self.fixed()(x)

class Late(Staircase):
    def __init__(self):
        super().__init__([0.9], [0, 1])

class Soft(Surrogate):
    def value(self, x):
        return np.arctan(x)
    def derivative(self, x):
        return 1 / (1 + x * x)

class Thirds(Quantizer):
    bits = 2
    def forward(self, w):
        return quantize(w, Staircase([-0.1, 0.1], [-1, 0, 1]), Identity())

class Unkept(Quantizer):
    def __init__(self, top=1.0):
        super().__init__()
    def forward(self, x):
        return x

class Needing(Staircase):
    def __init__(self, threshold):
        super().__init__([threshold], [0, 1])

class Faulty(Quantizer):
    def __init__(self):
        super().__init__()
        self.top = {}["top"]

class Lost(Quantizer):
    def forward(self, x):
        return {}["top"]

class Two(Quantizer):
    def forward(self, x, y):
        return x

class Cut(Quantizer):
    def forward(self, x):
        return np.round(x.data)

class Total(Quantizer):
    def forward(self, x):
        return x.sum()

class Steep(Surrogate):
    def derivative(self, x):
        raise IndexError("no slope")
"""
SMALL = {"epochs": 1, "images": 128, "width": 4, "validation_images": 50, "test": False}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a module of one's own, which nothing has imported yet."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    for name in ("classes", "living"):  # as in a new process, whatever the tests before have imported
        monkeypatch.setattr(own, name, lambda: [])
    (tmp_path / "my_own.py").write_text(MODULE)
    importlib.invalidate_caches()
    yield tmp_path
    sys.modules.pop("my_own", None)


@pytest.fixture
def imported(folder, monkeypatch):
    monkeypatch.syspath_prepend(folder)
    module = importlib.import_module("my_own")
    monkeypatch.setattr(own, "classes", lambda: [module.Halves, module.Late, module.Soft, module.Thirds])
    return module


def network(**given):
    settings = RunSettings("mlp", "fashion-mini", **{"method": "baseline"} | SMALL | given).resolved()
    return build_network(settings, load_splits(settings))


def activations(model):
    return [layer for name, layer in model.children() if name.startswith("act") and name != "act9"]


@pytest.mark.parametrize(
    "name, expected",
    [
        ("clip", quant.Clip(0.0, 1.0)),
        ("clip:1.5", quant.Clip(-0.25, 1.25)),
        ("identity", quant.Identity()),
        ("polynomial", quant.ZeroOne(quant.Polynomial())),
        ("swish:3", quant.ZeroOne(quant.SwishSign(3.0))),
        ("tanh:4", quant.ZeroOne(quant.Tanh(4.0))),
        ("triangle", quant.Shifted(quant.Triangle(), 0.5)),
    ],
)
def test_a_surrogate_is_named_with_its_number(name, expected):
    assert repr(own.surrogate("train", name)) == repr(expected)
    first = next(layer for layer in network(surrogate=name).children() if isinstance(layer[1], QuantActivation))[1]
    assert repr(first.surrogate) == repr(expected) and isinstance(first.staircase, quant.Binary)


def test_names_of_ones_own_take_the_places(imported):
    assert {type(layer) for layer in activations(network(activations="my_own:Halves"))} == {imported.Halves}
    late = activations(network(activations="my_own:Late", surrogate="my_own:Soft"))
    assert {type(layer.staircase) for layer in late} == {imported.Late}
    assert {type(layer.surrogate) for layer in late} == {imported.Soft}
    weighted = network(weights="my_own:Thirds")
    assert type(weighted.linear2.weight_quantizer) is imported.Thirds and weighted.linear1.weight_quantizer is None


def test_a_run_is_trained_saved_resumed_and_scored(imported, folder):
    given = SMALL | {"activations": "my_own:Halves", "weights": "my_own:Thirds", "test": True}
    settings = RunSettings("mlp", "fashion-mini", "baseline", **given)
    result = train(settings, "run", progress=False)
    assert 'activations = "my_own:Halves"' in (folder / "run" / "settings.toml").read_text()
    assert train(settings, "run", resume=True, progress=False)["test_accuracy"] == result["test_accuracy"]
    assert score("run", "fashion-mini")["top1"] == result["test_accuracy"]


def test_a_command_imports_what_was_typed_and_nothing_else(folder, capsys, monkeypatch):
    words = ["train", "mlp", "fashion-mini", "--method", "baseline", "--images", "128", "--width", "4"]
    assert main([*words, "--surrogate", "my_own:Sort", "--out", "run"]) == 2
    assert "my_own has no class Sort that is a Surrogate; did you mean 'Soft'?" in capsys.readouterr().err
    layer = QuantActivation(quant.Binary(), sys.modules.pop("my_own").Soft())
    save_checkpoint(folder / "a.npz", layer, about={"in_shape": [3, 3, 1]})
    (folder / "run").mkdir()
    RunSettings("mlp", "fashion-mini", "baseline", surrogate="my_own:Soft").resolved().save("run/settings.toml")
    assert main(["train", "--resume", "run", "--quiet"]) == 2
    said = (
        "is my_own:Soft, but no name in a file imports a module: import my_own first; in a command, with --import"
    )
    assert (error := capsys.readouterr().err).endswith(f"{said} my_own\n") and error.count("\n") == 1
    assert main(["summary", "a.npz"]) == 2
    said = "'Soft' is not one of duonet's own: import its module first; in a command, with --import MODULE"
    assert said in capsys.readouterr().err and "my_own" not in sys.modules
    monkeypatch.setattr(own, "classes", lambda: [sys.modules["my_own"].Soft])
    assert main(["summary", "a.npz", "--import", "my_own"]) == 0
    del sys.modules["my_own"]
    monkeypatch.setenv("DUONET_IMPORT", "my_own")  # as in a process that a study starts
    monkeypatch.syspath_prepend(folder)
    assert own.surrogate("train", "my_own:Soft").derivative(1.0) == 0.5


@pytest.mark.parametrize(
    "given, said",
    [
        ({"surrogate": "tnah:4"}, "surrogate must be one of clip, .* got 'tnah:4'; did you mean 'tanh'"),
        ({"surrogate": "nowhere:Soft"}, "surrogate is nowhere:Soft, but no name in a file imports a module"),
        (
            {"surrogate": "tnah"},
            "surrogate must be one of clip, .* or module:Name, got 'tnah'; did you mean 'tanh'",
        ),
        ({"surrogate": "tanh:x"}, "surrogate tanh takes a number above 0, got 'tanh:x'"),
        ({"surrogate": "tanh:-1"}, "surrogate tanh takes a number above 0, got 'tanh:-1'"),
        ({"surrogate": "clip:nan"}, "surrogate clip takes a number above 0, got 'clip:nan'"),
        ({"surrogate": "identity:2"}, "surrogate identity takes no number, got 'identity:2'"),
        ({"surrogate": "tanh:2", "activations": "pact"}, "surrogate tanh:2 has no place in the baseline network"),
        (
            {"surrogate": "my_own:Late"},
            "surrogate is my_own:Late, but my_own has no class Late that is a Surrogate",
        ),
        ({"activations": "nowhere:Mine"}, "activations is nowhere:Mine, but no name in a file imports a module"),
        (
            {"activations": "my_own:Halvs"},
            "no class Halvs that is a Quantizer or a Staircase; did you mean 'Halves'",
        ),
        ({"activations": "my_own:Soft"}, "my_own has no class Soft that is a Quantizer or a Staircase"),
        ({"activations": "my_own:Needing"}, "is my_own:Needing, which cannot be made: .* missing 1 required"),
        ({"activations": "my_own:Faulty"}, "activations is my_own:Faulty, which cannot be made: KeyError: 'top'"),
        ({"weights": "my_own:Faulty"}, "weights is my_own:Faulty, which cannot be made: KeyError: 'top'"),
        ({"activations": "os:abort"}, "activations is os:abort, but os has no class abort that is a Quantizer"),
        (
            {"activations": "my_own:Halves", "activation_bits": 2},
            "activation_bits: methods: my_own:Halves has neither",
        ),
        ({"weights": "my_own:Late"}, "weights is my_own:Late, but my_own has no class Late that is a Quantizer"),
        ({"weights": "my_own:"}, "weights must be one of float, binary, .* got 'my_own:'"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(imported, given, said):
    with pytest.raises(BadSetting, match=said):
        network(**given)


def test_verbose_shows_the_line_of_ones_own_that_failed(folder, capsys):
    words = [
        "train",
        "mlp",
        "fashion-mini",
        "--method",
        "baseline",
        "--activations",
        "my_own:Faulty",
        "--out",
        "run",
    ]
    assert main(words) == 2 and "my_own.py" not in capsys.readouterr().err
    assert main([*words, "-v"]) == 2
    assert re.search(r"my_own\.py.*self\.top = \{\}\[", capsys.readouterr().err, re.S)


def test_what_no_file_can_rebuild_is_refused_before_the_first_epoch(imported, folder):
    settings = RunSettings("mlp", "fashion-mini", "baseline", **SMALL, activations="my_own:Unkept")
    with pytest.raises(BadSetting, match="activations is my_own:Unkept, which no file can rebuild: .*top"):
        train(settings, "run", progress=False)
    assert not (folder / "run").exists()


@pytest.mark.parametrize(
    "given, said",
    [
        ({"activations": "my_own:Lost"}, "activations is my_own:Lost, which fails on images: KeyError: 'top'"),
        ({"activations": "my_own:Two"}, "act1 Two: .*missing 1 required positional argument: 'y'"),
        ({"activations": "my_own:Cut"}, r"act1 must return a Tensor of shape \(2, 4\), as its input, got ndarray"),
        ({"activations": "my_own:Total"}, r"act1 must return .* got a Tensor of shape \(\)"),
        ({"weights": "my_own:Lost", "activations": "my_own:Halves"}, "weights is my_own:Lost, which fails on ima"),
        ({"surrogate": "my_own:Steep"}, "surrogate is my_own:Steep, which fails on images: IndexError: no slope"),
    ],
)
def test_what_fails_on_images_is_refused_before_anything_is_written(imported, folder, given, said):
    with pytest.raises(BadSetting, match=said):
        train(RunSettings("mlp", "fashion-mini", "baseline", **SMALL, **given), "run", progress=False)
    assert not (folder / "run").exists()


def test_any_error_of_ones_own_in_a_command_is_one_line(folder, capsys):
    (folder / "my_own.py").write_text(MODULE.replace("return nn.Quant", "return {}['top'] or nn.Quant"))
    assert main(["mismatch", "--activations", "my_own:Halves", "--out", "study"]) == 2
    error = capsys.readouterr().err
    assert error == "duonet: mismatch: KeyError: 'top'; --verbose shows the line\n"


def test_two_modules_with_a_class_of_one_name_are_told_apart_or_refused(imported, folder, monkeypatch):
    settings = RunSettings("mlp", "fashion-mini", "baseline", **SMALL, activations="my_own:Halves")
    train(settings, "run", progress=False)
    (folder / "other.py").write_text(MODULE)
    other = importlib.import_module("other")
    said = "my_own and other each have a class Halves, and a file cannot tell them apart"
    monkeypatch.setattr(own, "living", lambda: [imported.Halves, other.Halves])
    with pytest.raises(CheckpointError, match=f"best.npz cannot be rebuilt: {said}"):
        score("run", "fashion-mini")
    with pytest.raises(BadSetting, match=f"which no file can rebuild: {said}"):
        train(settings, "another", progress=False)
    both = RunSettings(
        "mlp", "fashion-mini", "baseline", **SMALL, activations="my_own:Thirds", weights="other:Thirds"
    )
    with pytest.raises(BadSetting, match="Thirds is the name of two classes"):
        train(both, "another", progress=False)
    assert not (folder / "another").exists()


def test_a_module_that_cannot_be_imported_is_named(folder, capsys):
    (folder / "broken.py").write_text("1 / 0")
    assert main(["mismatch", "--import", "broken", "--out", "study"]) == 2
    assert capsys.readouterr().err == (
        "duonet: mismatch: --import: broken cannot be imported: ZeroDivisionError: division by zero\n"
    )
    (folder / "script.py").write_text("raise SystemExit('usage: script ' + 'x' * 400)")
    assert main(["runs", "nosuch", "--import", "script"]) == 2
    error = capsys.readouterr().err
    assert "--import: script cannot be imported: SystemExit: usage: script xxx" in error and len(error) < 400
    assert main(["compare", "--surrogate", "tnah:Mine", "--out", "study"]) == 2
    said = "--surrogate: tnah cannot be imported: ModuleNotFoundError: No module named 'tnah'"
    assert capsys.readouterr().err == f"duonet: compare: {said}\n" and "DUONET_IMPORT" not in os.environ


@pytest.mark.parametrize("command", [["train", "mlp", "fashion-mini"], ["compare"], ["mismatch"]])
def test_a_surrogate_that_takes_a_number_and_got_a_word_names_no_module(command, folder, capsys):
    assert main([*command, "--surrogate", "tanh:four", "--out", "study"]) == 2
    said = "--surrogate tanh takes a number above 0, got 'tanh:four'"
    assert capsys.readouterr().err == f"duonet: {command[0]}: {said}\n"


def test_a_comparison_puts_them_into_the_rows_that_have_them(imported):
    settings = CompareSettings(
        model="mlp", activations="my_own:Halves", surrogate="tanh:4", weights="my_own:Thirds"
    )
    runs = dict(settings.runs())
    assert runs["baseline-0"].activations == "my_own:Halves" and runs["binaryduo-0"].activations is None
    assert {name: run.surrogate for name, run in runs.items()} == {
        "float-0": None, "baseline-0": "tanh:4", "binaryduo-0": "tanh:4", "control-0": "tanh:4"
    }  # fmt: skip
    assert runs["control-0"].weights == "my_own:Thirds" and runs["float-0"].weights == "float"


def test_the_mismatch_study_gains_a_row_of_each(imported):
    settings = MismatchSettings(activations="my_own:Halves", surrogate="my_own:Soft")
    assert {"binary", "my_own:Halves"} <= mismatch_study._precisions(settings).keys()
    assert {"clip", "my_own:Soft"} <= mismatch_study._surrogates(settings).keys()
    assert "seed 0: toy, my_own:Halves" in [part.name for part in mismatch_study.parts(settings)]
    student = Lesson(0, 4).student("my_own:Halves")
    assert student.act1.staircase.levels == (0.0, 0.5, 1.0)
    with pytest.raises(BadSetting, match="mismatch: activations must be one of .* did you mean 'pact'"):
        own.pair("mismatch", "pcat")


def test_a_class_that_was_not_imported_is_said_how_to_be(imported, folder, monkeypatch):
    save_checkpoint(folder / "a.npz", QuantActivation(imported.Late(), quant.Clip(0, 1)))
    assert type(own.load(folder / "a.npz").model.staircase) is imported.Late
    monkeypatch.setattr(own, "classes", lambda: [])
    with pytest.raises(CheckpointError, match="import its module first; in a command, with --import MODULE"):
        own.load(folder / "a.npz")


def test_the_page_defines_a_quantiser_and_compares_it(folder, monkeypatch):
    page = (Path(__file__).resolve().parents[2] / "docs" / "methods.md").read_text(encoding="utf-8")
    block = re.search(r"^```python\n(# my_own\.py\n.*?)^```$", page, re.M | re.S).group(1)
    assert len([line for line in block.splitlines() if line.strip()]) <= 10
    (folder / "my_own.py").write_text(block)
    monkeypatch.syspath_prepend(folder)
    module = importlib.import_module("my_own")
    name = re.search(r"^duonet compare --activations (\S+) ", page, re.M).group(1)
    baseline = dict(CompareSettings(model="mlp", width=4, activations=name).runs())["baseline-0"].resolved()
    assert {type(layer) for layer in activations(build_network(baseline, load_splits(baseline)))} == {module.Third}
