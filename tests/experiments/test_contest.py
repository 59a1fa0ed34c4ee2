"""The comparison of the shelf: alike in all but the method, chosen by validation images alone, and resumable."""

import json
import pickle
import random
import re

import numpy as np
import pytest

from duonet import Tensor
from duonet.cli import main
from duonet.experiments import ContestSettings, contest, contest_tables, jobs, show
from duonet.experiments.competition import first_round, second_round, tuned
from duonet.experiments.contestants import chosen, contestants
from duonet.experiments.jobs import Job, Measured, finish, perform
from duonet.experiments.run_folder import RunInUse
from duonet.methods import entries

NAMES = ("binaryduo", "pact")
SMALL = {
    "model": "mlp", "rates": (0.008, 0.016), "tuning_seeds": 1, "seeds": 1, "best_seeds": 2, "best": 1, "epochs": 2,
    "images": 128, "validation_images": 50, "width": 4, "measured_seeds": 1, "measured_images": 96,
    "coordinates": 4, "layers": 1,
}  # fmt: skip


@pytest.fixture
def calls(monkeypatch):
    """Stand in for training: the accuracy is the rate, and a bad name fails."""
    made = []

    def act(job, folder):
        made.append(job.name)
        if "qil" in job.name:
            raise AttributeError("no luck")  # of a fault in a method
        counts = dict.fromkeys(("weights", "parameters", "macs", "extra", "weight_bits", "activation_bits"), 1)
        counts |= {"operations": 1.0, "mbit": 1.0}
        test = job.run.lr if job.run.test else None
        return {
            "validation": job.run.lr,
            "test": test,
            "cpu_seconds": 1.0,
            "mismatch": {"start": [], "trained": []},
            **counts,
        }

    monkeypatch.setattr(finish, "__defaults__", (True, act))
    return made


def test_a_real_one_compares_alike_and_looks_at_test_images_after_all_choices(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(jobs, "train", _telling(seen, jobs.train))
    settings = ContestSettings(**SMALL | {"rates": (0.016,), "best_seeds": 1})
    results = contest(settings, tmp_path / "out", ("pact",), progress=False)
    assert [test for _, test in seen] == [False, False, True, True], "no test image before the last choice"
    assert {run.seed for run, test in seen if test}.isdisjoint({run.seed for run, test in seen if not test})
    alike = {(run.images, run.epochs, run.batch_size, run.validation_images) for run, _ in seen}
    assert alike == {(128, 2, 64, 50)}
    methods = results["methods"]
    assert list(methods) == ["baseline", "pact"] and results["complete"] and not results["failed"]
    assert methods["pact"]["weights"] == methods["baseline"]["weights"]
    assert methods["pact"]["extra"] - methods["baseline"]["extra"] == 8, "a learned number for each activation"
    assert {row["activation_bits"] for row in methods.values()} == {1}
    for row in methods.values():
        assert [m["seed"] for m in row["mismatch"]] == [1]
        assert {len(row["mismatch"][0][state]) for state in ("start", "trained")} == {1}
    text = "\n\n".join(contest_tables(results).values())
    assert show("contest", tmp_path / "out") == text and "pact" in text
    assert json.loads((tmp_path / "out" / "results.json").read_text())["methods"] == methods


def _telling(seen, train):
    def told(run, folder, **options):
        seen.append((run, run.test))
        return train(run, folder, **options)

    return told


def test_the_chosen_rate_and_the_seeds_follow_the_validation_images(tmp_path, calls):
    settings = ContestSettings(**SMALL | {"tuning_seeds": 2, "best_seeds": 3})
    results = contest(settings, tmp_path, progress=False)
    assert {row["rate"] for row in results["rates"].values()} == {0.016}
    assert {tuple(row["accuracy"]) for row in results["methods"].values()} == {(0.016,), (0.016,) * 3}
    first = [name for name in calls if name.startswith("tune-")]
    assert calls[: len(first)] == first and "test-pact-2" in calls and "test-pact-1" not in calls
    rows = chosen("float", ("pact",))
    records = {f"tune-{row.name}-{rate:g}-{seed}": {"validation": 0.5} for row in rows
               for rate in settings.rates for seed in range(2)}  # fmt: skip
    assert {row["rate"] for row in tuned(settings, rows, records).values()} == {0.008}, "of equals the smallest"
    records["tune-pact-0.016-0"] = {"validation": 0.9}
    records["tune-pact-0.008-0"] = records["tune-pact-0.008-1"] = {"validation": 0.8}
    assert tuned(settings, rows, records)["pact"] == {"rate": 0.008, "means": [0.8, 0.7], "diverged": 0}
    records["tune-pact-0.016-1"] = {"validation": 0.0, "diverged": "too fast"}
    assert tuned(settings, rows, records)["pact"]["diverged"] == 1
    del records["tune-pact-0.016-1"]
    assert list(tuned(settings, rows, records)) == ["baseline"]


def test_the_best_of_the_first_round_get_more_seeds_and_a_second_stage_a_quarter_of_the_rate():
    settings, rows = ContestSettings(**SMALL), chosen("float", ("pact", "hwgq"))
    rates = {
        row.name: {"rate": 0.016, "means": means} for row, means in zip(rows, ([0, 0], [0.2, 0.7], [0.3, 0.3]))
    }
    by_name = {row.name: max(rates[row.name]["means"]) for row in rows}
    made = second_round(settings, rows, rates)
    seeds = {name: sum(job.name.startswith(f"test-{name}-") for job in made) for name in by_name}
    best = max(by_name, key=by_name.get)
    assert seeds == {"baseline": 2, "pact": 1, "hwgq": 1} | {best: 2}
    assert {(job.run.lr, job.run.finetune_lr) for job in made} == {(0.016, 0.004)}


def test_what_is_finished_is_kept_when_it_stops_and_when_methods_are_added(tmp_path, calls, monkeypatch):
    settings = ContestSettings(**SMALL)
    act, n = finish.__defaults__[1], 3

    def stopping(job, folder):
        if len(calls) == n:
            raise KeyboardInterrupt
        return act(job, folder)

    monkeypatch.setattr(finish, "__defaults__", (False, stopping))
    with pytest.raises(KeyboardInterrupt):
        contest(settings, tmp_path / "a", ("pact",), progress=False)
    assert not json.loads((tmp_path / "a" / "results.json").read_text())["complete"]
    monkeypatch.setattr(finish, "__defaults__", (False, act))
    resumed = contest(settings, tmp_path / "a", ("pact",), progress=False)
    assert len(calls) == len(set(calls)) == 2 * 2 + 3
    more = contest(settings, tmp_path / "a", ("pact", "hwgq"), progress=False)
    assert len(calls) == len(set(calls)), "no job runs twice"
    assert more["methods"]["pact"] == resumed["methods"]["pact"] and "hwgq" in more["methods"]
    with pytest.raises(ValueError, match="contest: .* holds a study with other settings: epochs 2 and 3"):
        contest(ContestSettings(**SMALL | {"epochs": 3}), tmp_path / "a", progress=False)


def test_a_job_that_fails_costs_no_other_its_result(tmp_path, calls, capsys):
    flags = [word for name, value in SMALL.items() for word in _flag(name, value)]
    words = ["contest", "qil-activations", "pact", *flags, "--out", str(tmp_path / "out"), "--quiet"]
    assert main(words) == 1
    out, error = capsys.readouterr()
    assert "pact" in out and error.count("AttributeError: no luck") == 2
    assert "duonet: contest: tune-qil-activations-0.008-0: AttributeError: no luck" in error
    before = list(calls)
    assert main(["contest", "--resume", str(tmp_path / "out"), "--quiet"]) == 1
    assert {name for name in calls[len(before) :]} == {
        "tune-qil-activations-0.008-0",
        "tune-qil-activations-0.016-0",
    }
    assert capsys.readouterr().out == out and (tmp_path / "out" / "contest.png").exists()


def test_a_second_process_is_kept_out_of_the_folder(tmp_path, calls, monkeypatch):
    settings = ContestSettings(**SMALL)
    act = finish.__defaults__[1]

    def twice(job, folder):
        with pytest.raises(RunInUse, match="another process is training in .*out"):
            contest(settings, tmp_path / "out", ("pact",), progress=False)
        return act(job, folder)

    monkeypatch.setattr(finish, "__defaults__", (False, twice))
    assert contest(settings, tmp_path / "out", ("pact",), progress=False)["complete"]
    assert len(calls) == len(set(calls)) == 7


def _flag(name, value):
    return f"--{name.replace('_', '-')}", ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def test_a_run_that_diverges_has_no_accuracy_and_no_second_chance(tmp_path, monkeypatch):
    from duonet.train import TrainingDiverged

    def diverges(*rest, **options):
        raise TrainingDiverged("too fast")

    monkeypatch.setattr(jobs, "train", diverges)
    settings = ContestSettings(**SMALL | {"measured_seeds": 0})
    job = first_round(settings, chosen("float", ("pact",)))[0]
    assert perform(job, tmp_path / "run") == {"diverged": "too fast", "validation": 0.0}


def test_the_order_of_the_jobs_does_not_matter(tmp_path, calls):
    settings = ContestSettings(**SMALL)
    made = first_round(settings, chosen("float", NAMES))
    shuffled = random.Random(0).sample(made, len(made))
    one, other = finish(made, tmp_path / "a")[0], finish(shuffled, tmp_path / "b")[0]
    assert list(one) == [job.name for job in made] and one == other
    assert [pickle.loads(pickle.dumps(job)) for job in made] == made
    assert len({job.name for job in made}) == len(made)


def test_every_method_that_is_binary_takes_part():
    names = {weights: [row.name for row in contestants(weights)] for weights in ("float", "binary")}
    assert {"bnn-activations", "hwgq", "stochastic-sigmoid", "qil-activations"} <= set(names["float"])
    assert "dorefa-activations" not in names["float"], "on one bit that is the baseline"
    assert {"bnn-weights", "xnor-full-weights", "abc-weights"} <= set(names["binary"])
    assert not {"sawb", "wrpn-weights", "dorefa-1-bit-weights"} & set(names["binary"])
    settings = ContestSettings(**SMALL)
    for row in contestants("float"):
        jobs = second_round(settings, [row], {row.name: {"rate": 0.1, "means": [0.1]}})
        assert [job.measured for job in jobs][:1] == [Measured(96, 4, 1)]


def test_what_is_coupled_keeps_its_lowest_level_beside_zero_padding():
    rows = [row for row in contestants("float") if row.name.endswith("-coupled")]
    assert {"pact-coupled", "hwgq-coupled"} <= {row.name for row in rows}
    for row in rows:
        entry = next(e for e in entries() if e.name == row.settings["activations"])
        quantizer = entry.make(np.random.default_rng(0), size=2)
        for parameter in quantizer.parameters():
            parameter.data += 0.25
            parameter.changed()
        assert quantizer.eval()(Tensor(np.full(4, -9.0, "float32"))).data.tolist() == [0] * 4, row.name


@pytest.mark.parametrize(
    "spoil, message",
    [
        (lambda text: text[:-9], "is damaged: "),
        (lambda text: text.replace('"validation": 0', '"validation": 7'), "is damaged: validation cannot be 7"),
        (lambda text: text.replace('"epochs": 2', '"epochs": 3'), "belongs to a job with other settings"),
        (lambda text: text.replace('"test": null', '"tset": null'), "is damaged: the record has no test"),
        (lambda text: text.replace('"extra": 1', '"extra": "1"'), "is damaged: extra of the record must be int"),
        (
            lambda text: text.replace('"mismatch": {', '"mismatch": 3, "more": {'),
            "is damaged: mismatch of the record must be",
        ),
        (lambda text: "[]", "is damaged: "),
    ],
)
def test_a_record_that_is_not_the_jobs_is_refused(spoil, message, tmp_path, calls):
    job = Job("a", ContestSettings(**SMALL).run(contestants("float")[0], 0.5, 0, False))
    finish([job], tmp_path, progress=False)
    path = tmp_path / "jobs" / "a.json"
    path.write_text(spoil(path.read_text()))
    with pytest.raises(ValueError, match=f"a.json {message}"):
        finish([job], tmp_path, progress=False)


@pytest.mark.parametrize(
    "words, message",
    [
        (["pcat"], "contest: method must be one of .*, got 'pcat'; did you mean 'pact'"),
        (["--rates", "0.1,x"], "contest: --rates must be numbers separated by commas, got '0.1,x'"),
        (["--rates", "0.2,0.1"], "contest: --rates must be different and in rising order"),
        (["--rates", "0.01,0.010000001"], "contest: --rates must be different and in rising order"),
        (["--rates", "0,0.1"], "contest: --rates must be a number above 0"),
        (["--weights", "half"], "contest: --weights must be one of float, binary, got 'half'"),
        (["--seeds", "0"], "contest: --seeds must be an int at least 1, got 0"),
        (["--best-seeds", "2"], "contest: --best-seeds must be an int at least 3, got 2"),
        (["--model", "vgg99"], "contest: --model must be one of .*, got 'vgg99'"),
        (["--images", "9000"], "contest: --images must be at most the "),
    ],
)
def test_what_makes_no_sense_is_refused_before_a_folder_is_made(words, message, tmp_path, capsys):
    assert main(["contest", *words, "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert re.search(message, error), error
    assert not (tmp_path / "out").exists()
