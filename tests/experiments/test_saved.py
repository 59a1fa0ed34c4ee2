"""What a study wrote is printed again, also where it stopped, and checked before it is used."""

import importlib
import json
import shutil
from pathlib import Path

import pytest

from duonet.cli import main
from duonet.experiments import (
    CompareSettings,
    MismatchSettings,
    compare,
    compare_table,
    mismatch,
    mismatch_tables,
    show,
    verdict,
)
from duonet.experiments.crew import Task
from duonet.experiments.studies import Study

DOCS = Path(__file__).parents[2] / "docs"
COMPARED, MEASURED = (json.loads((DOCS / f"{name}.json").read_text()) for name in ("compare", "mismatch"))


@pytest.mark.parametrize("name", ["compare", "compare_mlp", "compare_vgg7", "compare_seeds", "mismatch"])
def test_the_kept_results_are_printed_as_the_pages_have_them(name, capsys):
    command = name.split("_")[0]
    assert main([command, "--show", str(DOCS / f"{name}.json")]) == 0
    text = capsys.readouterr().out.strip()
    saved = json.loads((DOCS / f"{name}.json").read_text())
    if command == "compare":
        assert compare_table(saved) in (DOCS / "compare.md").read_text()
        assert text == f"{compare_table(saved)}\n\n{verdict(saved)}"
    else:
        assert text == "\n\n".join(mismatch_tables(saved).values())


@pytest.mark.parametrize("name", ["compare", "mismatch"])
def test_json_is_what_the_file_holds(name, capsys):
    assert main([name, "--show", str(DOCS / f"{name}.json"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads((DOCS / f"{name}.json").read_text())


def test_a_folder_stands_for_its_results_and_nothing_is_written(tmp_path, capsys):
    shutil.copy(DOCS / "compare.json", tmp_path / "results.json")
    before = (tmp_path / "results.json").stat().st_mtime_ns
    assert main(["compare", "--show", str(tmp_path), "--seeds", "9"]) == 0
    assert "82.55 ± 0.97" in capsys.readouterr().out
    assert [p.name for p in tmp_path.iterdir()] == ["results.json"]
    assert (tmp_path / "results.json").stat().st_mtime_ns == before


def _stopped():
    raise KeyboardInterrupt


def test_a_comparison_that_stopped_is_printed_as_far_as_it_came(tmp_path, monkeypatch, capsys):
    task = Study.task

    def stops(self, name, *rest):
        return Task(name, _stopped) if name == "baseline-1" else task(self, name, *rest)

    monkeypatch.setattr(Study, "task", stops)
    settings = CompareSettings(model="mlp", seeds=2, epochs=2, images=200, width=4)
    with pytest.raises(KeyboardInterrupt):
        compare(settings, tmp_path / "run", progress=False)
    lines = show("compare", tmp_path / "run").splitlines()
    assert [line.split("  ")[0] for line in lines[2:8]] == [
        "float network", "binary baseline", "coupled ternary", "decoupled", "BinaryDuo: decoupled, fine-tuned",
        "decoupled from scratch",
    ]  # fmt: skip
    assert "±" in lines[2] and "±" not in lines[3]
    assert lines[-1].startswith("Stopped before its end; finished: float network (2 of 2 seeds), binary base")
    assert "decoupled from scratch (1 of 2 seeds)" in lines[-1]
    assert main(["compare", "--show", str(tmp_path / "run")]) == 0
    assert lines[-1] in capsys.readouterr().out.splitlines()


def test_a_mismatch_study_that_stopped_is_printed_as_far_as_it_came(tmp_path, monkeypatch):
    module = importlib.import_module("duonet.experiments.mismatch_study")
    toy = module._toy

    def only_float(settings, seed, name, **options):
        if name != "float":
            raise KeyboardInterrupt
        return toy(settings, seed, name, **options)

    monkeypatch.setattr(module, "_toy", only_float)
    settings = MismatchSettings(1, width=4, steps=(0.1,), samples=500, training_steps=1, coordinates=2)
    with pytest.raises(KeyboardInterrupt):
        mismatch(settings, tmp_path / "run", progress=False)
    text = show("mismatch", tmp_path / "run")
    assert "Ground truth: measured minus exact" in text and "float " in text
    assert text.splitlines()[-1] == "Stopped before its end; finished: seed 0: ground truth, seed 0: toy, float"


@pytest.mark.parametrize("kind", ["truth", "toy", "evolution", "network"])
def test_any_part_alone_can_be_printed(kind, tmp_path):
    records = [row for row in MEASURED["records"] if row["kind"] == kind]
    for some in (records, []):
        (tmp_path / "a.json").write_text(json.dumps(MEASURED | {"records": some, "complete": False}))
        assert "finished: none" in show("mismatch", tmp_path / "a.json")


def changed(results, path, value):
    results = json.loads(json.dumps(results))
    at = results
    for key in path[:-1]:
        at = at[key]
    if value is KeyError:
        del at[path[-1]]
    else:
        at[path[-1]] = value
    return results


FLOAT = ("methods", "float")


@pytest.mark.parametrize(
    "study, results, message",
    [
        ("compare", [], "the file must be dict"),
        ("compare", MEASURED, "the file has no methods"),
        ("mismatch", COMPARED, "has no training_steps"),
        ("compare", changed(COMPARED, ["complete"], 1), "complete of the file must be bool, got 1"),
        ("compare", changed(COMPARED, ["methods"], None), "methods of the file must be dict, got None"),
        ("compare", changed(COMPARED, FLOAT, []), r"row float must be dict, got \[\]"),
        ("compare", changed(COMPARED, [*FLOAT, "mean"], "0.9"), "mean of row float must be float, got '0.9'"),
        ("compare", changed(COMPARED, [*FLOAT, "mean"], float("nan")), "mean of row float must be float, got nan"),
        ("compare", changed(COMPARED, [*FLOAT, "weights"], True), "weights of row float must be int, got True"),
        ("compare", changed(COMPARED, [*FLOAT, "macs"], 10**400), "macs of row float must be int, got 1000"),
        ("compare", changed(COMPARED, [*FLOAT, "epochs"], KeyError), "row float has no epochs"),
        ("compare", changed(COMPARED, [*FLOAT, "accuracy"], [{}]), "accuracy of row float, 0 must be float"),
        ("mismatch", changed(MEASURED, ["records", 3], 5), "records of the file, 3 must be dict, got 5"),
        ("mismatch", changed(MEASURED, ["records", 3, "low"], "a"), "low of records of the file, 3 must be float"),
        ("mismatch", changed(MEASURED, ["records", 0, "exact"], KeyError), "row 0 has no exact"),
        ("mismatch", changed(MEASURED, ["records", 0, "kind"], {}), "kind of records of the file, 0 must be str"),
        ("mismatch", changed(MEASURED, ["settings", "steps"], 0.1), "steps of settings of the file must be list"),
        (
            "mismatch",
            changed(MEASURED, ["finished"], [1]) | {"complete": False},
            "finished of the file, 0 must be str, got 1",
        ),
    ],
)
def test_what_is_no_results_file_is_refused_in_one_sentence(study, results, message, tmp_path, capsys):
    (tmp_path / "a.json").write_text(json.dumps(results))
    with pytest.raises(
        ValueError, match=f"{study}: .*a.json is not a results.json of duonet {study}: .*{message}"
    ):
        show(study, tmp_path / "a.json")
    assert main([study, "--show", str(tmp_path / "a.json")]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "\ud800", '{"a": 1' + "0" * 5000 + "}"])
def test_what_is_no_json_is_refused(text, tmp_path):
    (tmp_path / "a.json").write_text(text, errors="surrogatepass")
    with pytest.raises(ValueError, match=r"a.json is not a JSON file \(.*Error\)"):
        show("compare", tmp_path / "a.json")


def test_names_with_codes_are_printed_as_codes(tmp_path):
    row = {"name": "\x1b[2Jfloat", "epochs": "\r12"}
    results = changed(COMPARED, ["methods"], {"float": COMPARED["methods"]["float"] | row}) | {"complete": False}
    (tmp_path / "a.json").write_text(json.dumps(results))
    text = show("compare", tmp_path / "a.json")
    assert text.count("\\x1b[2Jfloat") == 2 and "\\r12" in text and text.replace("\n", "").isprintable()


def test_the_table_is_printed_before_a_figure_that_fails(tmp_path, monkeypatch, capsys):
    from duonet.experiments import figures

    def fails(*rest):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(figures, "plot_comparison", fails)
    words = ["compare", "--model", "mlp", "--epochs", "2", "--images", "200", "--width", "4", "--quiet"]
    assert main([*words, "--out", str(tmp_path / "run")]) == 2
    captured = capsys.readouterr()
    assert "BinaryDuo" in captured.out and captured.err == "duonet: compare: the disk is full\n"


@pytest.mark.parametrize("threads", ["", "0", "1e3", "٣", "-1", " 2", "9" * 5000])
@pytest.mark.parametrize("command", ["compare", "mismatch"])
def test_odd_threads_are_refused_before_a_folder_is_made(command, threads, tmp_path, monkeypatch, capsys):
    from duonet import parallel

    parallel._usual.cache_clear()
    monkeypatch.setenv("DUONET_THREADS", threads)
    try:
        assert main([command, "--out", str(tmp_path / "run")]) == 2
    finally:
        parallel._usual.cache_clear()
    error = capsys.readouterr().err
    assert error.startswith(f"duonet: {command}: DUONET_THREADS must be a whole number") and len(error) < 140
    assert not (tmp_path / "run").exists()
