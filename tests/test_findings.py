"""The page of findings: its tables are those of the kept results, whose trainings are those of the tool."""

import importlib.util
import json
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

import duonet
from duonet import nn
from duonet.experiments.competition_tables import STUDENT, Difference
from duonet.experiments.materials import load_splits
from duonet.experiments.real_network import network_of
from duonet.experiments.run_settings import RunSettings
from duonet.functional import softmax_cross_entropy
from duonet.mismatch import measure
from duonet.mismatch.objective import weighted_layers
from duonet.watching import watch

ROOT = Path(duonet.__file__).parent.parent


def tool(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    found = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "tools")  # as for a script: one tool imports another
        spec.loader.exec_module(found)
    return found


def test_the_page_is_that_of_the_kept_results(tmp_path):
    findings = tool("render_findings")
    text = (ROOT / "docs" / "findings.md").read_text(encoding="utf-8")
    assert findings.page(text) == text, "stale: python tools/render_findings.py"
    assert findings.draw(tmp_path / "a.png", findings.changed()).stat().st_size > 10_000
    assert text.count(" holds |") and text.count(" not seen |") and text.count(" not tried |")


def test_the_words_of_a_verdict_follow_the_intervals():
    intervals = tool("intervals")
    sure, likely, chance, worse = (Difference(m, 0.1, 0.28, 5) for m in (2, 0.3, 0.2, -2))
    for gaps, word in (
        ([sure, likely], "holds"), ([sure, chance, worse], "holds in part"),
        ([likely, chance], "not seen"), ([worse], "not seen"), ([Difference(2, *2 * [float("nan")], 1)], "not seen"),
    ):  # fmt: skip
        assert intervals.verdict(gaps) == word
    assert intervals.counted([sure, likely, chance, worse]) == "above 0 in 2 of 4, below 0 in 1"
    for freedom, t in enumerate(STUDENT, 1):
        assert intervals.chance(t, freedom) == pytest.approx(0.05, abs=5e-5)


def run(module, *words):
    """What the program of a tool says and ends with."""
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as end:
        patch.setattr(sys, "argv", [module.__name__, *map(str, words)])
        module.main()
    return end.value.code


@pytest.mark.parametrize(
    "damage, said",
    [
        (lambda text: "", "coupling.json is not a JSON file"),
        (lambda text: text[:-9], "coupling.json is not a JSON file"),
        (lambda text: "[]", "coupling.json has wrong contents: the file must be dict"),
        (lambda text: text.replace('"12 layers"', '"13 layers"'), "coupling.json has no condition of 12 layers"),
        (
            lambda text: text.replace('"control"', '"x"'),
            "methods of standard of conditions of the file has no control",
        ),
        (lambda text: text.replace('"changes": {}', '"changes": 3'), "must be dict, got 3"),
        (lambda text: text.replace("     0,", ""), "must have an accuracy for each seed of standard, baseline"),
        (lambda text: re.sub(r"0\.7\d+", "NaN", text, count=1), "must be float, got nan"),
    ],
)
def test_a_damaged_file_is_named_and_nothing_is_written(damage, said, tmp_path, monkeypatch):
    findings, docs = tool("render_findings"), ROOT / "docs"
    for name in [*findings.NETWORKS, "coupling", "coupling_mismatch", "mismatch"]:
        shutil.copy(docs / f"{name}.json", tmp_path)
    (tmp_path / findings.PAGE).write_text((docs / findings.PAGE).read_text(encoding="utf-8"), encoding="utf-8")
    file = tmp_path / "coupling.json"
    file.write_text(damage(file.read_text()))
    monkeypatch.setattr(findings, "DOCS", tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    words = run(findings)
    assert words.startswith("findings: ") and said in words and "\n" not in words
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_networks_that_collapsed_are_named_and_left_out():
    tables = tool("coupling_tables")
    seeds = [0, 1, 2, 3]
    rows = {"baseline": [0.7, 0.7, 0.1, 0.72], "binaryduo": [0.8, 0.2, 0.8, 0.78], "control": [0.75] * 4}
    found = {"a": {"methods": {method: {"seeds": seeds, "accuracy": row} for method, row in rows.items()}}}
    (line,) = tables.collapsed(found)
    assert line.startswith(
        "Collapsed, a: baseline, seed 2, at 10.0 % (median 70.0 %); binaryduo, seed 1, at 20.0 %"
    )
    rest = tables.without(found["a"], {1, 2})
    assert line.endswith(f"Without them: {', '.join(tables.differences(rest))}.") and "+8.0" in line
    assert rest["methods"]["control"] == {"seeds": [0, 3], "accuracy": [0.75, 0.75]}
    assert not tables.collapsed({"a": rest})


def test_two_trainings_of_a_condition_are_averaged_by_seed():
    tables = tool("coupling_tables")

    def row(seeds, *accuracies):
        return {
            "methods": {m: {"seeds": seeds, "accuracy": a} for m, a in zip(tool("coupling").METHODS, accuracies)}
        }

    once = row([0, 1, 2], [0.5, 0.5, 0.5], [0.6, 0.7, 0.8], [0.5, 0.6, 0.7])
    again = row([2, 0], [0.6, 0.7], [0.8, 0.7], [0.7, 0.5])
    mean = row([0, 2], [0.6, 0.55], [0.65, 0.8], [0.5, 0.7])
    (line,) = tables.both({"a": once, "b": again, f"a{tables.AGAIN}": again})
    assert line == f"a, mean of both trainings: {', '.join(tables.differences(mean))}." and "+15.0" in line


def test_the_readme_quotes_the_page():
    findings = tool("render_findings")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    quoted = re.search(r"## What became of the paper's claims\n.*?\n## ", readme, re.S).group()
    quoted = " ".join(quoted.replace("−", "-").split())
    eight, cifar = findings.kept("compare_seeds"), findings.kept("training_cifar10_half")
    deep, again, low_rate = map(findings.changed().get, ("12 layers", "12 layers (again)", "first rate / 4"))
    lead, coupling, twelve, longer, paper, second, small = gaps = [
        findings.against(results, *findings.PAIRS[i])
        for results, i in ((eight, 0), (eight, 1), (deep, 1), (cifar, 0), (cifar, 1), (again, 1), (low_rate, 1))
    ]
    low, high = ([100 * (gap.mean + sign * gap.half) for gap in gaps] for sign in (-1, 1))
    places = [findings.place(findings.kept(f"methods_compared_{name}")) for name in ("binary", "float")]
    sixty = [100 * findings.against(findings.kept("training_cifar10_long"), *pair).mean for pair in findings.PAIRS]
    for words in (
        f"BinaryDuo leads by {sixty[0]:.1f} points, but trails its architecture by {-sixty[1]:.1f} (one seed)",
        f"binary activations cost accuracy ({100 * findings.against(eight, 'float').mean:.1f} points)",
        f"by {100 * lead.mean:.1f} points (95 % interval {low[0]:.1f} to {high[0]:.1f})",
        f"level with it ({100 * coupling.mean:.1f} points, {low[1]:.1f} to {high[1]:.1f};",
        f"Coupling gains {100 * twelve.mean:.1f} ({low[2]:.1f} to {high[2]:.1f})",
        f"{100 * second.mean:.1f} ({low[5]:.1f} to {high[5]:.1f}) when these are trained again",
        f"{100 * small.mean:.1f} ({low[6]:.1f} to {high[6]:.1f}) at a rate that is too small for the architecture",
        f"on CIFAR-10 by {100 * longer.mean:.1f} ({low[3]:.1f} to {high[3]:.1f})",
        f"on CIFAR-10 {100 * paper.mean:.1f}, {low[4]:.1f} to {high[4]:.1f})",
        "it is first of {} methods, with float weights it is {}th of {}".format(
            places[0].removeprefix("1 of "), *places[1].split(" of ")
        ),
    ):
        assert words in quoted


def test_the_readme_has_the_pages_verdicts():
    page, readme = ((ROOT / name).read_text(encoding="utf-8") for name in ("docs/findings.md", "README.md"))
    words = ["Hold", "Hold in part", "Not seen", "Not tried"]
    listed = {word: re.search(rf"^\* \*\*{word}\*\*: (.*?)(?=^\* |^$)", readme, re.M | re.S)[1] for word in words}
    verdicts = re.findall(r"^\| ([^|]+) \|.*\| (holds|holds in part|not seen|not tried) \|[^|]*\|$", page, re.M)
    assert len(verdicts) == 10
    for claim, key in (
        ("Binary activations cost accuracy", "cost accuracy"), ("Decoupling keeps the function", "decoupling keeps"),
        ("More levels reduce it", "more levels reduce mismatch, after"),
        ("BinaryDuo beats a binary network of equal weights and compute", "beats a binary network"),
        ("BinaryDuo beats other binary networks", "first of"), ("It does so because it is trained coupled", "scratch"),
        ("More levels reduce it more than other surrogates do", "more levels beat sharper surrogates"),
        ("Gradient mismatch is the main reason", "mismatch predicts accuracy"),
        ("AlexNet and ResNet-18 on ImageNet", "ImageNet"),
    ):  # fmt: skip
        word = dict(verdicts)[claim].replace("holds", "hold").capitalize()
        assert key in listed[word], claim


def test_the_words_on_coupling_have_the_numbers_of_the_table():
    page = (ROOT / "docs" / "findings.md").read_text(encoding="utf-8")
    table, words = re.search(r"<!-- conditions -->(.*?)<!-- end -->(.*?)\n## ", page, re.S).groups()
    numbers = re.findall(r"[+-]\d+\.\d", words)
    assert len(numbers) >= 10 and not [number for number in numbers if number not in table]
    table, words = re.search(r"<!-- mismatch -->(.*?)<!-- end -->(.*?)\n## ", page, re.S).groups()
    differences = re.findall(r"[+-]\d\.\d\d ±\d\.\d\d", words)
    assert differences and all(difference in table for difference in differences) and " · " not in table
    images = tool("coupling_mismatch").SETTINGS["images"]
    assert json.loads((ROOT / "docs" / "coupling_mismatch.json").read_text())["settings"]["images"] == images
    assert f"{images:,} images. Each cosine" in page


def test_what_the_words_on_coupling_say_follows_from_the_kept_accuracies():
    findings, tables = tool("render_findings"), tool("coupling_tables")
    found = findings.changed()
    page = " ".join((ROOT / "docs" / "findings.md").read_text(encoding="utf-8").split())
    again, low, second = (
        found[name]["methods"] for name in ("standard (again)", "first rate / 4", "second rate / 4")
    )
    for method in ("baseline", "control"):
        assert again[method] == second[method]
        assert np.mean(again[method]["accuracy"]) - np.mean(low[method]["accuracy"]) >= 0.03
    assert "they lose three points or more" in page and "over the same baselines and controls" in page
    assert f"all {'thirty' if 2 * len(found) == 30 else '?'} intervals were to hold" in page
    means = re.findall(r"minus \w+ \S+ \((\S+) to (\S+)\)", " ".join(tables.both(found)))
    assert len(means) == 6 and all(float(low) <= 0 <= float(high) for low, high in means)
    fair = [findings.kept(name) for name in findings.NETWORKS] + [found[c] for c in found if "rate" not in c]
    for rows, word in ((fair, "not seen"), ([*fair, found["first rate / 4"]], "holds in part")):
        gaps = [gap for gap in (findings.against(row, *findings.PAIRS[1]) for row in rows) if gap.seeds > 1]
        assert findings.verdict(gaps) == word
    assert "With the row of the first rate the verdict on coupling would be *holds in part*" in page


def test_every_condition_is_trained_with_the_same_seeds_and_methods():
    coupling = tool("coupling")
    kept = json.loads((ROOT / "docs" / "coupling.json").read_text())
    assert kept["settings"] == coupling.STANDARD
    assert {name: row["changes"] for name, row in kept["conditions"].items()} == coupling.CONDITIONS
    seeds = {tuple(row["seeds"]) for of in kept["conditions"].values() for row in of["methods"].values()}
    assert len(seeds) == 1 and len(*seeds) >= 3
    assert all(list(row["methods"]) == coupling.METHODS for row in kept["conditions"].values())


def test_trainings_are_continued_and_kept(tmp_path, monkeypatch):
    coupling = tool("coupling")
    tiny = {"epochs": 2, "images": 64, "validation_images": 16, "width": 4, "test": True}
    monkeypatch.setattr(coupling, "STANDARD", coupling.STANDARD | tiny | {"model": "mlp"})
    monkeypatch.setattr(coupling, "CONDITIONS", {"standard": {}, "low rates": {"lr": 1e-3}})
    monkeypatch.setattr(coupling, "DOCS", tmp_path)
    coupling.train(tmp_path / "runs", 1, 1)
    before = sorted(path.stat().st_mtime_ns for path in tmp_path.rglob("best.npz"))
    coupling.train(tmp_path / "runs", 1, 1)
    assert sorted(path.stat().st_mtime_ns for path in tmp_path.rglob("best.npz")) == before and len(before) == 6
    coupling.keep(tmp_path / "runs")
    kept = json.loads((tmp_path / "coupling.json").read_text())
    assert kept["conditions"]["low rates"]["methods"]["control"]["seeds"] == [0]
    results = tmp_path / "runs" / "low-rates" / "0" / "results.json"
    whole = results.read_text()
    for text, said in (
        ("", "is not a JSON file"),
        (
            whole.replace('"complete": true', '"complete": false'),
            "has no seed that is finished under every condition",
        ),
        (whole.replace('"seed": 0', '"seed": 1', 1), "has other settings than low rates, seed 0"),
        (re.sub(r'("test_accuracy": )[\d.]+', r"\1null", whole), "must have a test accuracy of each of baseline"),
    ):
        results.write_text(text)
        words = run(coupling, tmp_path / "runs", "--keep")
        assert words.startswith("coupling: ") and said in words and "\n" not in words
    assert json.loads((tmp_path / "coupling.json").read_text()) == kept
    shutil.rmtree(results.parent.parent)
    coupling.keep(tmp_path / "runs")
    assert json.loads((tmp_path / "coupling.json").read_text()) == kept
    assert run(coupling, tmp_path / "nowhere", "--keep").endswith("has no folder of a condition, such as standard")
    file = tmp_path / "coupling.json"
    for text, said in (("{", "coupling.json is not a JSON file"), ("{}", "coupling.json has no settings")):
        whole = file.read_text()
        file.write_text(text)
        assert said in run(coupling, tmp_path / "runs", "--keep")
        file.write_text(whole)
    monkeypatch.setitem(coupling.CONDITIONS, "low rates", {"lr": 2e-3})
    assert "coupling.json has other settings than low rates" in run(coupling, tmp_path / "runs", "--keep")
    coupling.train(tmp_path / "runs", 1, 1, ["low rates"])
    coupling.keep(tmp_path / "runs")
    changed = json.loads((tmp_path / "coupling.json").read_text())["conditions"]
    assert (
        changed["low rates"]["changes"] == {"lr": 2e-3} and changed["standard"] == kept["conditions"]["standard"]
    )


def test_mismatch_of_the_trained_networks_is_measured_and_kept(tmp_path, monkeypatch, capsys):
    mismatch = tool("coupling_mismatch")
    coupling = mismatch.coupling
    tiny = {"model": "vgg_deep3", "epochs": 2, "images": 96, "validation_images": 16, "width": 4, "batch_size": 32}
    monkeypatch.setattr(coupling, "STANDARD", coupling.STANDARD | tiny)
    monkeypatch.setattr(coupling, "CONDITIONS", {"standard": {}})
    monkeypatch.setattr(coupling, "DOCS", tmp_path)
    monkeypatch.setattr(mismatch, "CONDITIONS", ("standard",))
    monkeypatch.setattr(mismatch, "SETTINGS", mismatch.SETTINGS | {"images": 120, "coordinates": 3})
    assert run(mismatch, tmp_path, "--keep") == (
        f"coupling_mismatch: {tmp_path} has no seed that is measured under every condition"
    )
    assert "0 has no finished run 1-baseline; tools/coupling.py trains it" in run(mismatch, tmp_path)
    coupling.train(tmp_path, 1, 1)
    for measured in ("seed 0, standard\n", ""):
        mismatch.measure(tmp_path, 1)
        assert capsys.readouterr().out.endswith(measured)
    mismatch.keep(tmp_path)
    file = tmp_path / "standard" / "0" / "mismatch.json"
    kept, sums = (
        json.loads((tmp_path / "coupling_mismatch.json").read_text()),
        json.loads(file.read_text())["sums"],
    )
    assert kept["seeds"] == [0] and kept["sums"]["standard"] == {name: [row] for name, row in sums.items()}
    accuracies = coupling.finished(tmp_path, "standard")
    assert kept["trained"] == {"standard": {"methods": coupling.by_method(accuracies, [0])}}
    assert len({tuple(row) for row in sums.values()}) == 6  # no network was measured twice
    for text, said in (
        (file.read_text().replace('"coordinates": 3', '"coordinates": 4'), "has other settings: expected"),
        (json.dumps({"settings": mismatch.SETTINGS, "sums": sums | {"coupled, start": [1.0]}}), "three sums"),
    ):
        file.write_text(text)
        assert said in run(mismatch, tmp_path, "--keep") and said in run(mismatch, tmp_path)
    file.unlink()
    file.mkdir()
    assert "mismatch.json" in run(mismatch, tmp_path, "--keep")


@pytest.mark.parametrize("condition", tool("coupling_mismatch").CONDITIONS)
def test_the_sums_are_those_of_measure_below_two_staircases(condition, monkeypatch):
    mismatch = tool("coupling_mismatch")
    monkeypatch.setattr(mismatch, "SETTINGS", mismatch.SETTINGS | {"coordinates": 9})
    monkeypatch.setattr(mismatch, "PARTS", 1)  # with more the squares of so few images may be negative
    given = (
        mismatch.coupling.STANDARD | mismatch.coupling.CONDITIONS[condition] | {"method": "baseline", "width": 4}
    )
    settings = RunSettings(**given | {"images": 240}).resolved()
    splits, calls = load_splits(settings), []
    batch = (duonet.data.Normalize.of(splits.train.images)(splits.train.images), splits.train.labels)
    model = network_of(settings, splits, "start", batch[0]).eval()
    layer = list(weighted_layers(model))[mismatch.LAYER]
    with watch(model, lambda path, module, inputs, output: calls.append((path, module))):
        model(duonet.Tensor(batch[0][:1]))
    behind = calls[[path for path, _ in calls].index(layer) :]
    assert sum(isinstance(module, nn.QuantActivation) for _, module in behind) == 2
    products = mismatch.sums_of(model, batch, layer, np.random.default_rng(0))
    row = measure(
        model, softmax_cross_entropy, batch, step=0.3, layers=[layer], coordinates=9,
        rng=np.random.default_rng(0),
    )[layer]  # fmt: skip
    norms = row.coarse_norm, row.smoothed_norm
    assert products == pytest.approx([row.cosine * norms[0] * norms[1], norms[0] ** 2, norms[1] ** 2], rel=1e-4)


def test_a_cosine_is_that_of_the_sums_of_all_seeds():
    tables = tool("mismatch_and_gain")
    sums = np.array([[3.0, 4, 4], [1, 1, 4], [2, 3, 1]])  # their own cosines are 0.75, 0.5 and 1.15
    left_out = [3 / np.sqrt(4 * 5), 5 / np.sqrt(7 * 5), 4 / np.sqrt(5 * 8)]
    found = tables.cosine(sums)
    assert found.mean == pytest.approx(6 / np.sqrt(8 * 9)) and found.seeds == 3
    assert found.error == pytest.approx(np.sqrt(2 / 3 * np.sum((left_out - np.mean(left_out)) ** 2)))
    assert found.half == pytest.approx(4.303 * found.error) and tables.hidden(found)
    gap = tables.cosine(sums, sums * [2, 4, 4])
    assert gap.mean == pytest.approx(found.mean / 2) and gap.error == pytest.approx(found.error / 2)
    assert not tables.hidden(tables.cosine(np.tile(sums, (3, 1))))
    assert tables.hidden(tables.cosine(sums[:1])) and tables.hidden(tables.cosine(sums * [1, -1, 1]))


def test_differences_of_cosines_are_told_from_noise_by_condition():
    tables = tool("mismatch_and_gain")
    near, far, noisy = (np.array([[c, 1, 1], [c + 0.01, 1, 1], [c, 1, 1]]) for c in (0.5, 0.9, 0.1))
    noisy[0, 1] = -1.9
    start = {name: near for name in tables.NAMES if "start" in name}
    sums = {
        "a": start | dict.fromkeys(["baseline, trained", "decoupled, trained", "BinaryDuo, trained"], near)
        | {"coupled, trained": far},
        "b": start | dict.fromkeys(["coupled, trained", "decoupled, trained"], noisy)
        | {"baseline, trained": far, "BinaryDuo, trained": near},
    }  # fmt: skip
    told = tables.beside(sums, {"a": ["+1.0", "+0.5"], "b": ["-", "-"]}).splitlines()
    assert [line.split(": ", 1)[1] for line in told[-3:]] == [
        "larger: nowhere; smaller: nowhere; hidden by noise: nowhere.",
        "larger: a; smaller: nowhere; hidden by noise: b.",
        "larger: nowhere; smaller: b; hidden by noise: nowhere.",
    ]
    assert told[2].split()[:3] == ["a", "+1.0", "+0.5"] and "+0.40 ±" in told[2] and " · " in told[3]
    assert tables.networks(sums).splitlines()[3].count("·") == 2


@pytest.mark.parametrize(
    "damage, said",
    [
        (lambda text: text[:-9], "is not a JSON file"),
        (lambda text: text.replace('"coupled, start"', '"x"'), "3 layers has no coupled, start"),
        (lambda text: text.replace('"12 layers"', '"13 layers"'), "sums has no 12 layers"),
        (lambda text: text.replace('"seeds": [', '"seeds": [9, '), "must have three sums for each seed"),
        (
            lambda text: text.replace('"accuracy": [', '"accuracy": [0.5, '),
            "3 layers must have an accuracy for each seed",
        ),
        (
            lambda text: text.replace('"trained": {"3 layers"', '"trained": {"4 layers"'),
            "trained has no 3 layers",
        ),
    ],
)
def test_a_damaged_file_of_sums_is_named(damage, said, tmp_path):
    tables = tool("mismatch_and_gain")
    kept = json.loads((ROOT / "docs" / "coupling_mismatch.json").read_text())
    (tmp_path / "coupling_mismatch.json").write_text(damage(json.dumps(kept)))
    with pytest.raises(ValueError, match="findings: .*coupling_mismatch.json") as caught:
        tables.read(tmp_path / "coupling_mismatch.json")
    assert said in str(caught.value)


def test_failed_runs_are_told(tmp_path, monkeypatch, capsys):
    coupling = tool("coupling")
    monkeypatch.setattr(coupling, "sweep", lambda *words, **options: {"failed": {"1-control": "no luck"}})
    assert run(coupling, tmp_path, "--seeds", 1) == 1
    assert "coupling: seed 0, standard, run 1-control failed: no luck" in capsys.readouterr().err


@pytest.mark.parametrize(
    "name, words",
    [
        ("coupling", ["x", "--seeds", 0]),
        ("coupling", ["x", "--workers", 0]),
        ("tune_compare", ["--seeds", 0]),
        ("tune_compare", ["--model", "none"]),
        ("tune_compare", ["--methods", "none"]),
        ("tune_compare", ["--rates", "nan"]),
        ("tune_compare", ["--out", __file__]),
    ],
)
def test_a_wrong_setting_is_one_line(name, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = run(tool(name), *words)
    assert isinstance(code, str) and "\n" not in code and not list(tmp_path.rglob("*.npz"))


def test_rates_are_tuned_on_validation_images(tmp_path, monkeypatch, capsys):
    def train(settings, folder, **options):
        assert settings.test is False
        return {"val_accuracy": 1 - settings.lr}

    monkeypatch.setattr("duonet.experiments.studies.train", train)
    monkeypatch.setattr(sys, "argv", ["tune_compare", "--methods", "coupled", "--out", str(tmp_path / "out")])
    tool("tune_compare").main()
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4 + 3 and all("lr 0.004" in line for line in lines[4:])
