"""The mismatch study at a small size: what it keeps, what its tables say, and what it refuses."""

import dataclasses
import json
import math
import pickle

import numpy as np
import pytest

from duonet import nn
from duonet.experiments import MismatchSettings, figures, mismatch, mismatch_study, mismatch_tables, real_network
from duonet.experiments.crew import Crew
from duonet.experiments.figures import plot_mismatch
from duonet.experiments.figures.mismatch import rank_correlation
from duonet.experiments.mismatch_study import FULL, parts
from duonet.experiments.real_network import take_statistics
from duonet.experiments.recipes import COMPARED
from duonet.experiments.records import Records, rows_of, spread, told_from_noise
from duonet.experiments.study_tables import cell, raw_cell
from duonet.experiments.toy import ACTIVATIONS, SURROGATES, Lesson, area, with_surrogate
from duonet.models import mlp
from duonet.quant import Binary, Clip, Identity, Ternary, Triangle

SMALL = MismatchSettings(
    seeds=2, width=6, steps=(0.1,), samples=300, parts=3, training_steps=2, network_images=128, network_epochs=2,
    measured_images=24, coordinates=2, directions=(0.2,),
)  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def narrow():
    """Measure two layers of a narrow network on real images, and every third angle of the ground truth."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(COMPARED[real_network.MODEL], "width", 4)
        patch.setattr(real_network, "LAYERS", ("conv5", "conv10"))
        patch.setattr(mismatch_study, "ANGLES", mismatch_study.ANGLES[::3])
        yield


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    out = tmp_path_factory.mktemp("study") / "run"
    return mismatch(SMALL, out, progress=False), out


def test_it_keeps_every_measurement(study):
    results, out = study
    assert (
        json.loads((out / "results.json").read_text()) == json.loads(json.dumps(results)) and results["complete"]
    )
    toy = rows_of(results, "toy", surrogate="clip", seed=0)
    assert len(toy) == 7 * 2 * 4 and {row["activation"] for row in toy} == set(ACTIVATIONS)
    assert len(rows_of(results, "toy", activation="binary", state="start", seed=1)) == 4 * len(SURROGATES)
    assert len(rows_of(results, "truth")) == 2 * 3 * 3 and len(rows_of(results, "network", seed=0)) == 6 * 2
    assert {r["estimator"] for r in rows_of(results, "evolution")} == {"coordinate", "gaussian", "orthogonal"}
    assert [path.name for path in out.glob(".*")] == [".lock"]


def test_the_measurements_are_those_of_the_problem(study):
    results, _ = study
    # The loss is a parabola in the output's weights, whose difference quotient is exact for every step.
    for row in rows_of(results, "toy", layer="output"):
        assert row["raw"] == pytest.approx(1, abs=1e-4)
    for row in rows_of(results, "toy", activation="float", state="start"):
        assert row["raw"] > 0.9
    binary = rows_of(results, "toy", activation="binary", surrogate="clip", layer="linear3", state="start")
    assert all(row["raw"] < 0.95 for row in binary)
    errors = [(row["cosine"] - row["exact"]) / max(row["high"] - row["cosine"], 0.02)
              for row in rows_of(results, "truth") if row["low"] is not None]  # fmt: skip
    assert np.sqrt(np.mean(np.square(errors))) < 1


def leave_out(monkeypatch, *parts):
    """Measure nothing of these parts, whose generators are their own."""
    for part in parts:
        monkeypatch.setattr(mismatch_study, part, lambda *rest, **options: [])


def test_parts_made_elsewhere_in_any_order_make_the_same_file(study, tmp_path):
    results, _ = study
    wanted = [
        "seed 0: toy, ternary",
        "seed 1: toy, ternary",
        "seed 1: toy, sign",
        "seed 0: real network, decoupled trained",
    ]
    some = [part for part in parts(SMALL) if part.name in wanted]
    records = Records(SMALL, tmp_path / "study", {"areas": results["areas"]}, some)
    for i, part in enumerate([some[3], some[2], some[0]]):  # one stays open
        elsewhere = pickle.loads(pickle.dumps(part))
        records.keep(part, elsewhere.work(*([tmp_path / f"run{i}"] if part.folder else [])))
    again = Records(SMALL, tmp_path / "study", {"areas": results["areas"]}, some)
    assert again.values["finished"] == [wanted[0], *wanted[2:]]
    again.measure(Crew(), progress=False)
    expected = [row for part in some for row in rows_of(results, **part.where)]
    assert again.values["records"] == expected and {row["kind"] for row in expected} == {"toy", "network"}
    saved = json.loads((tmp_path / "study" / "results.json").read_text())
    assert (saved["records"], saved["finished"]) == (json.loads(json.dumps(expected)), wanted)


def test_a_log_gets_a_line_for_each_part_that_is_not_finished(tmp_path, monkeypatch, capsys):
    leave_out(monkeypatch, "_ground_truth", "_evolution", "_toy")
    monkeypatch.setattr(real_network, "parts", lambda settings, seed: [])
    monkeypatch.setattr(mismatch_study, "_areas", lambda settings: [])
    settings = dataclasses.replace(SMALL, seeds=1)
    some = parts(settings)
    Records(settings, tmp_path / "study", {"areas": []}, some).keep(some[0], [])
    mismatch(settings, tmp_path / "study", progress=True)
    _, *lines = capsys.readouterr().out.splitlines()  # the first says how to continue
    assert len(lines) == 8 and lines[0] == "2 of 9: seed 0: toy, float"
    mismatch(settings, tmp_path / "quiet", progress=False)
    assert not capsys.readouterr().out


def test_its_tables_and_figures(study, tmp_path):
    results, _ = study
    texts = mismatch_tables(results)
    assert len(texts) == 8
    for text in texts.values():
        title, header, rule, *rows = text.splitlines()
        assert rows and len({len(line) for line in (header, rule, *rows)}) == 1
    for path in plot_mismatch(results, tmp_path):
        assert path.read_bytes().startswith(b"\x89PNG")
    assert len(list(tmp_path.iterdir())) == 6


def row(cosine, reach=0.1, noise=0.1, coarse_noise=0.1):
    ends = {} if cosine is None or reach is None else {"low": cosine - reach, "high": cosine + reach}
    return {"cosine": cosine, "low": None, "high": None, "noise": noise, "coarse_noise": coarse_noise} | ends


def test_what_noise_hides_is_not_shown():
    assert told_from_noise(row(0.9))
    for hidden in (row(None), row(0.9, None), row(0.9, 0.4), row(0.9, noise=0.9), row(0.9, coarse_noise=0.9)):
        assert not told_from_noise(hidden)
    mean, deviation, count = spread([row(0.8), row(0.6), row(None)])
    assert mean == pytest.approx(0.7) and deviation == pytest.approx(np.std([0.8, 0.6], ddof=1)) and count == 2
    assert cell([row(0.8), row(0.6), row(None)]) == "0.70 ±0.14 (2)" and cell([row(0.8), row(0.6)]) == "0.70 ±0.14"
    assert cell([row(0.8), row(None), row(None)]) == "·" and cell([row(0.8)]) == "0.80"
    assert math.isnan(spread([row(0.8)])[1])
    assert (
        raw_cell([{"raw": 0.5}, {"raw": 0.7}, {"raw": None}]) == "0.60 ±0.14" and raw_cell([{"raw": None}]) == "·"
    )


@pytest.mark.parametrize(
    "staircase, surrogate, expected",
    [
        (Binary(), Clip(0, 1), 1 / 4),
        (Ternary(), Clip(0, 1), 1 / 8),
        (Binary(0), Triangle(), 1 / 3),
        (Binary(), Identity(), math.inf),
    ],
)
def test_the_area_between_staircase_and_surrogate(staircase, surrogate, expected):
    assert area(staircase, surrogate) == pytest.approx(expected, abs=1e-4)


def test_a_lesson():
    lesson = Lesson(3)
    x, target = lesson.batch(4000)
    student = lesson.student("binary")
    from duonet import Tensor, no_grad

    with no_grad():
        assert abs((student(Tensor(x)).data - target).mean()) < 0.02
    trained, error = lesson.train(lesson.student("ternary"), 300)
    assert 0 < error < np.mean((target - target.mean()) ** 2) * 2
    other = with_surrogate(student, Identity())
    assert other.linear1 is student.linear1 and isinstance(other.act1.surrogate, Identity)
    assert isinstance(student.act1.surrogate, Clip)
    assert all(np.array_equal(a, b) for a, b in zip(lesson.batch(5), Lesson(3).batch(5)))
    assert not np.array_equal(lesson.batch(5)[0], lesson.batch(5, stream=1)[0])


def test_settling_gives_batch_norms_the_statistics_of_the_batch(rng):
    model = mlp(inputs=6, widths=(8, 8), classes=3, rng=rng)
    x = rng.standard_normal((50, 6), dtype="f4")
    take_statistics(model, x)
    z = x @ model.linear1.weight.data
    np.testing.assert_allclose(model.norm1.running_mean.data, z.mean(axis=0), atol=1e-5)
    assert model.norm1.momentum == 0.1 and not model.training and isinstance(model.norm1, nn.BatchNorm)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"seeds": 0}, "mismatch: seeds must be an int at least 1, got 0"),
        ({"samples": 100}, "mismatch: samples must be an int at least 500, got 100"),
        ({"parts": 2}, "mismatch: parts must be an int at least 3, got 2"),
        ({"steps": (0.1, -1)}, "mismatch: steps must be a number above 0, got -1"),
        ({"network_steps": (float("nan"),)}, "mismatch: network_steps must be a number above 0, got nan"),
        ({"directions": 1}, "mismatch: directions must be a tuple, got int"),
        ({"directions": (0,)}, "mismatch: directions must be a number above 0, got 0"),
        ({"width": 8.5}, "mismatch: width must be an int at least 2, got float 8.5"),
        ({"steps": (0.2,)}, "mismatch: steps must hold 0.1"),
        ({"measured_images": 3}, "mismatch: measured_images must be an int at least 24, got 3"),
        ({"measured_images": 9999}, "mismatch: measured_images must be at most"),
    ],
)
def test_bad_settings_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        MismatchSettings(**change)


def test_full_means_five_seeds_and_every_step():
    assert FULL.seeds >= 5 and min(FULL.steps) == 0.01 and max(FULL.steps) == 0.5


def test_rank_correlation():
    assert rank_correlation([1, 2, 3], [2, 4, 9]) == 1 and rank_correlation([1, 2, 3], [3, 2, 1]) == -1
    assert rank_correlation([1, 2, 3, 4], [1, 3, 2, 4]) == pytest.approx(0.8)


def test_a_line_more_among_activations_and_surrogates_is_measured_told_and_drawn(tmp_path, monkeypatch):
    for panel in ("_truth", "_network"):  # they have no such lines
        monkeypatch.setattr(figures.mismatch, panel, lambda results: figures.mismatch.blank(1, 1))
    for name in ("4 bits", "3 bits", "sign"):
        monkeypatch.delitem(ACTIVATIONS, name)
    monkeypatch.setitem(ACTIVATIONS, "late", (Binary(0.7), Clip(0, 1)))
    for width in (0.2, 0.3):
        monkeypatch.setitem(SURROGATES, f"narrow {width}", Clip(0.5 - width, 0.5 + width))
    leave_out(monkeypatch, "_ground_truth", "_evolution")
    monkeypatch.setattr(real_network, "parts", lambda settings, seed: [])
    results = mismatch(dataclasses.replace(SMALL, seeds=1), tmp_path / "run", progress=False)
    assert len(rows_of(results, "toy", activation="late")) == 2 * 4
    assert any("late" in text for text in mismatch_tables(results).values())
    assert any("narrow 0.3" in text for text in mismatch_tables(results).values())
    assert len(plot_mismatch(results, tmp_path)) == 6
