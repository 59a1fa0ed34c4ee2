"""A study continues from whatever its folder holds, or refuses it in one sentence that names it."""

import functools
import importlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from test_run_folder import in_dict, odd, result, settings

from duonet import data
from duonet.cli import main
from duonet.experiments import (
    CompareSettings,
    MismatchSettings,
    compare,
    compare_table,
    mismatch,
    mismatch_tables,
    show,
)
from duonet.experiments.mismatch_study import FULL, parts
from duonet.experiments.studies import Study, saved_study

DOCS = Path(__file__).parents[2] / "docs"
MUTATIONS = 40


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    out = tmp_path_factory.mktemp("study") / "run"
    compare(CompareSettings(model="mlp", epochs=2, images=200, width=4), out, progress=False)
    return out


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """A part of the study of the pages, as if it had just been finished."""
    out = tmp_path_factory.mktemp("study") / "run"
    out.mkdir()
    results = json.loads((DOCS / "mismatch.json").read_text())
    results["records"] = results["records"][::9]
    results |= {"finished": [part.name for part in parts(FULL)], "seconds": 1.0}
    (out / "results.json").write_text(json.dumps(results))
    return out


def results(rng, path):
    values = json.loads(path.read_text())
    if "records" in values and rng.random() < 0.5:
        in_dict(rng, values["records"][rng.integers(len(values["records"]))])
    else:
        in_dict(rng, values)
    path.write_text(json.dumps(values if rng.random() < 0.9 else odd(rng)))


def go_on(study, folder):
    kind, run, lay_out = {
        "compare": (CompareSettings, compare, compare_table), "mismatch": (MismatchSettings, mismatch, mismatch_tables)
    }[study]  # fmt: skip
    lay_out(run(saved_study(study, folder, kind), folder, progress=False))


WAYS = {
    "compare": [(results, "results.json"), (result, "baseline-0/result.json"), (result, "binaryduo-0/result.json"),
                (settings, "control-0/settings.toml")],
    "mismatch": [(results, "results.json")],
}  # fmt: skip


@pytest.mark.parametrize("study", WAYS)
def test_every_damaged_study_goes_on_or_is_refused_in_one_sentence(study, request, tmp_path, monkeypatch):
    monkeypatch.setattr(data, "load", functools.cache(data.load))
    module = importlib.import_module("duonet.experiments.mismatch_study")
    for name in ("_toy", "_ground_truth", "_evolution"):
        monkeypatch.setattr(module, name, lambda *rest, **options: [])
    monkeypatch.setattr(module.real_network, "parts", lambda settings, seed: [])
    monkeypatch.setattr(module, "_areas", functools.cache(module._areas))
    whole, folder = (
        request.getfixturevalue({"compare": "compared", "mismatch": "measured"}[study]),
        tmp_path / "run",
    )
    refused = 0
    for seed in range(MUTATIONS):
        rng = np.random.default_rng(seed)
        spoil, name = WAYS[study][seed % len(WAYS[study])]
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(whole, folder)
        spoil(rng, folder / name)
        try:
            go_on(study, folder)
        except (ValueError, OSError) as error:
            refused += 1
            said = str(error)
            assert str(folder) in said and "\n" not in said and len(said) < 600, f"{seed} {name}: {said}"
        except Exception as error:
            raise AssertionError(f"{seed}: a spoilt {name} ends in {error!r}") from error
    assert refused > MUTATIONS // 3


@pytest.mark.parametrize(
    "study, change, message",
    [
        ("compare", {"seconds": 10**400}, "is not a results.json of duonet compare: seconds of the file must be float"),
        ("compare", {"settings": {"seeds": 1.5}}, "seeds of settings of the file must be int, got 1.5"),
        ("compare", {"settings": {"seeds": 1, "pace": 2}}, "its study has unknown settings: pace"),
        ("compare", {"settings": {"seeds": 1, "model": None}}, "is damaged: compare: model must be one of"),
        ("compare", {"settings": {"seeds": 2}}, "images None and 200"),
        ("mismatch", {"finished": 7}, "finished of the file must be list, got 7"),
        ("mismatch", {"settings": MismatchSettings().__dict__ | {"directions": [-1]}}, "directions must be a number"),
    ],
)  # fmt: skip
def test_what_cannot_go_on_is_said(study, change, message, request, tmp_path, capsys):
    shutil.copytree(
        request.getfixturevalue({"compare": "compared", "mismatch": "measured"}[study]), tmp_path / "a"
    )
    path = tmp_path / "a" / "results.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    before = path.read_bytes()
    if "None and" in message:  # a study of other settings, by the function
        with pytest.raises(ValueError, match=message):
            compare(CompareSettings(model="mlp", epochs=2, images=200, width=4), tmp_path / "a", progress=False)
    else:
        assert main([study, "--resume", str(tmp_path / "a")]) == 2
        error = capsys.readouterr().err
        assert message in error and str(tmp_path / "a") in error and len(error.splitlines()) == 1
    assert path.read_bytes() == before


def test_a_damaged_run_costs_no_other_its_place_in_the_table(compared, tmp_path):
    shutil.copytree(compared, tmp_path / "run")
    (tmp_path / "run" / "binaryduo-0" / "result.json").write_text("{}")
    before = show("compare", tmp_path / "run")
    with pytest.raises(ValueError, match="binaryduo-0/result.json is damaged: settings cannot be None"):
        go_on("compare", tmp_path / "run")
    assert show("compare", tmp_path / "run") == before


@pytest.mark.parametrize("study", ["compare", "mismatch"])
def test_a_study_that_stops_in_its_first_part_can_be_shown_and_goes_on(study, tmp_path, monkeypatch):
    def stops(*rest, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("duonet.experiments.studies.train", stops)
    monkeypatch.setattr(importlib.import_module("duonet.experiments.mismatch_study"), "_ground_truth", stops)
    assert main([study, "--out", str(tmp_path / "run")]) == 130
    assert show(study, tmp_path / "run").endswith("Stopped before its end; finished: none")
    assert main([study, "--resume", str(tmp_path / "run")]) == 130


def test_a_network_of_another_run_is_refused(compared, tmp_path):
    shutil.copytree(compared, tmp_path / "run")
    duo = tmp_path / "run" / "binaryduo-0"
    (duo / "result.json").unlink()
    shutil.copy(compared / "control-0" / "best.npz", duo / "first_stage.npz")
    with pytest.raises(
        ValueError, match="first_stage.npz does not belong to the run beside it: method .*binaryduo"
    ):
        go_on("compare", tmp_path / "run")


def test_a_file_cannot_be_resumed(compared, capsys):
    assert main(["compare", "--resume", str(compared / "results.json")]) == 2
    assert "--resume takes the folder of a study" in capsys.readouterr().err


def test_a_study_that_was_killed_while_it_wrote_its_first_file_begins_anew(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".results.12.part.json").write_text("{")
    assert Study("compare", tmp_path / "run", {"seeds": 1}, {}).values["settings"] == {"seeds": 1}
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.txt").write_text("mine")
    with pytest.raises(FileExistsError):
        Study("compare", tmp_path / "other", {"seeds": 1}, {})
    assert [path.name for path in (tmp_path / "other").iterdir()] == ["mine.txt"]
