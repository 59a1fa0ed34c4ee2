"""Trainings that end early, gradients that are clipped, layers that stay in evaluation, event files."""

import contextlib
import dataclasses
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from duonet import Parameter, nn, optim
from duonet.checkpoint import load_checkpoint
from duonet.cli import main
from duonet.experiments import RunSettings, collect, runs_table, train
from duonet.experiments import tensorboard as events
from duonet.experiments.figures import plot_runs
from duonet.experiments.run_folder import check_progress
from duonet.history import History
from duonet.stopping import clip_gradients, early_stop
from duonet.train import fit

TINY = RunSettings(
    "mlp", "fashion-mini", "baseline", epochs=2, width=4, images=128, validation_images=64, clip=0.01
)


class Batches(list):
    images = 8


def problem(*layers):
    rng = np.random.default_rng(0)
    model = nn.Sequential({"first": nn.Linear(3, 4, rng=rng), **dict(layers), "last": nn.Linear(4, 2, rng=rng)})
    return model, Batches([(10 * rng.standard_normal((8, 3), dtype="float32"), rng.integers(0, 2, 8))])


@pytest.mark.parametrize(
    "column, figures, stops",
    [
        ("val_loss", [3, 2, 1], False),
        ("val_loss", [1, 2], False),
        ("val_loss", [1, 2, 1], True),
        ("val_loss", [2, 1, 2, 0.5], False),
        ("val_accuracy", [0.1, 0.2, 0.1, 0.1], True),
        ("val_accuracy", [0.3, 0.2, 0.4], False),
    ],
)
def test_early_stop_looks_at_the_history_alone(column, figures, stops):
    assert early_stop(2, column)(History([{column: value} for value in figures])) is stops


def test_fit_ends_when_on_epoch_says_so():
    model, batches = problem()
    history = fit(
        model, batches, optim.SGD(model.parameters(), 0.0), 9, on_epoch=early_stop(3, "loss"), progress=False
    )
    assert len(history) == 4
    resumed = fit(model, batches, optim.SGD(model.parameters(), 0.0), 9, history=History(history.rows[:2]),
                  on_epoch=early_stop(3, "loss"), progress=False)  # fmt: skip
    assert len(resumed) == 4


def test_the_norm_is_of_all_gradients_together():
    a, b, c = Parameter([3.0]), Parameter([[4.0]]), Parameter([1.0])
    a.grad, b.grad = np.array([3.0], "float32"), np.array([[4.0]], "float32")
    assert clip_gradients([a, b, c], 10.0) == 5.0 and a.grad.tolist() == [3.0] and c.grad is None
    clip_gradients([a, b, c], 0.5)
    np.testing.assert_allclose([a.grad[0], b.grad[0, 0]], [0.3, 0.4], rtol=1e-6)
    a.grad = b.grad = None
    assert clip_gradients([a, b], 1.0) == 0
    a.grad = np.zeros(1, "float32")
    assert clip_gradients([a], 1.0) == 0 and a.grad.tolist() == [0.0]


def test_a_clipped_step_is_no_longer_than_the_rate_allows():
    steps = []
    for clip in (None, 1e-3):
        model, batches = problem()
        before = [p.data.copy() for p in model.parameters()]
        fit(model, batches, optim.SGD(model.parameters(), 1.0, momentum=0), 1, clip=clip, progress=False)
        steps.append(np.sqrt(sum(((p.data - w) ** 2).sum() for p, w in zip(model.parameters(), before))))
    assert steps[0] > 0.1 and steps[1] == pytest.approx(1e-3, rel=1e-2)


def test_a_frozen_batch_norm_keeps_its_statistics():
    for frozen in (True, False):
        model, batches = problem(("norm", nn.BatchNorm(4)))
        before = {name: array.copy() for name, array in model.norm.state_dict().items()}
        optimizer = optim.SGD(model.last.parameters(), 0.1)
        fit(model, batches, optimizer, 2, frozen=[model.norm] if frozen else (), progress=False)
        same = [np.array_equal(before[name], array) for name, array in model.norm.state_dict().items()]
        assert all(same) is frozen and model.norm.training is not frozen


@pytest.mark.parametrize(
    "options, message",
    [
        ({"clip": 0}, "fit: clip must be a number above 0, got 0"),
        ({"clip": "x"}, "fit: clip must be a number above 0, got str"),
        ({"frozen": [nn.ReLU()]}, "fit: frozen must be layers of the model"),
    ],
)
def test_what_makes_no_sense_is_named(options, message):
    model, batches = problem()
    with pytest.raises((TypeError, ValueError), match=message):
        fit(model, batches, optim.SGD(model.parameters(), 0.1), 1, progress=False, **options)


def test_a_clipped_run_keeps_its_setting_and_resumes_to_the_same_bits(tmp_path):
    def stop(rows):
        raise KeyboardInterrupt

    train(TINY, tmp_path / "whole", progress=False)
    with pytest.raises(KeyboardInterrupt) as stopped:
        train(TINY, tmp_path / "parts", progress=False, on_epoch=stop)
    assert stopped.value.history is not None, "what was trained survives"
    train(TINY, tmp_path / "parts", resume=True, progress=False)
    assert "clip = 0.01\n" in (tmp_path / "parts" / "settings.toml").read_text()
    free = train(dataclasses.replace(TINY, clip=None), tmp_path / "free", progress=False)
    histories = [
        [line.split(",")[3] for line in (tmp_path / name / "history.csv").read_text().splitlines()]
        for name in ("whole", "parts", "free")
    ]
    assert histories[0] == histories[1] != histories[2] and free["val_accuracy"] >= 0


EARLY = RunSettings(
    "mlp", "fashion-mini", epochs=14, seed=2, width=4, images=64, batch_size=32, validation_images=32, lr=0.05,
    early_stop=1, padding=0,
)  # fmt: skip


@pytest.fixture(scope="module")
def early(tmp_path_factory):
    """A run of two stages, both of which end early."""
    out = tmp_path_factory.mktemp("early") / "run"
    return out, train(EARLY, out, progress=False)


def rows_of(out):
    lines = [line.split(",") for line in (out / "history.csv").read_text().splitlines()]
    return [[value for name, value in zip(lines[0], line) if name != "seconds"] for line in lines]


def test_each_stage_ends_when_its_best_epoch_is_old_enough(early):
    out, result = early
    curves = [row["validation"] for row in result["networks"][::2]]  # coupled, and fine-tuned
    for curve, planned in zip(curves, (epochs for epochs, _, _ in EARLY.resolved().stages())):
        stop = early_stop(1, "val_accuracy")
        ends = [stop(History([{"val_accuracy": x} for x in curve[: i + 1]])) for i in range(len(curve))]
        assert ends == [False] * (len(curve) - 1) + [True] and len(curve) < planned
    made = [str(len(curve)) for curve in curves]
    assert [row["epochs"] for row in result["networks"]] == [made[0], made[0], " + ".join(made)]
    assert "early_stop = 1\n" in (out / "settings.toml").read_text()


def test_stopped_after_every_epoch_an_early_end_comes_at_the_same_epoch(early, tmp_path):
    """Also between the stages, and after the last epoch."""
    out, result = early

    def stop(rows):
        if len(rows) > seen:
            raise KeyboardInterrupt

    for seen in range(len(rows_of(out)) - 1):
        with pytest.raises(KeyboardInterrupt):
            train(EARLY, tmp_path / "parts", resume=seen > 0, progress=False, on_epoch=stop)
    seen += 1
    for _ in range(2):  # it is resumed, and the finished run again
        resumed = train(EARLY, tmp_path / "parts", resume=True, progress=False, on_epoch=stop)
        assert rows_of(tmp_path / "parts") == rows_of(out) and resumed["networks"] == result["networks"]


def test_a_first_stage_that_its_figures_would_not_end_is_refused(early):
    stages = [epochs for epochs, _, _ in EARLY.resolved().stages()]
    last = load_checkpoint(early[0] / "last.npz")
    check_progress("last.npz", last, stages, early_stop(1, "val_accuracy"))
    for name, wrong in (("earlier", last.about["earlier"][:-1]), ("earlier", []), ("stage", 1)):
        with pytest.raises(ValueError, match="last.npz is damaged: "):
            damaged = last._replace(about=last.about | {name: wrong})
            check_progress("last.npz", damaged, stages, early_stop(1, "val_accuracy"))
    with pytest.raises(ValueError, match="last.npz is damaged: earlier"):
        check_progress("last.npz", last, stages)


def test_runs_of_different_lengths_stand_in_one_table_and_figure(early, tmp_path):
    other = dataclasses.replace(EARLY, seed=4)
    train(other, tmp_path / "other", progress=False)
    found = collect([early[0], tmp_path / "other"])
    first, second = ([sum(row["stage"] == i for row in run["history"]) for i in (1, 2)] for run in found["runs"])
    assert first != second
    said = [f"{min(a, b)} to {max(a, b)}" if a != b else f"{a}" for a, b in zip(first, second)]
    assert f"  {' + '.join(said)}  " in runs_table(found)
    assert plot_runs(found, tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    "value, said",
    [
        ("0", "duonet: train: --early-stop must be an int at least 1, got 0"),
        ("two", "duonet: train: --early-stop: invalid int value: 'two'"),
    ],
)
def test_a_wrong_number_of_epochs_is_refused(value, said, tmp_path, capsys):
    with contextlib.suppress(SystemExit):
        assert main(["train", "mlp", "fashion-mini", "--early-stop", value, "--out", str(tmp_path / "a")]) == 2
    assert said in capsys.readouterr().err and not (tmp_path / "a").exists()


def test_without_the_extra_one_line_says_what_to_install(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    out = tmp_path / "run"
    assert main(["train", "mlp", "fashion-mini", "--tensorboard", "--out", str(out)]) == 2 and not out.exists()
    said = 'duonet: train: --tensorboard needs tensorboardX: pip install "duonet[tensorboard]"\n'
    assert capsys.readouterr().err == said


def test_a_file_in_the_way_of_event_files_is_named_in_a_resumed_run(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX.event_file_writer", SimpleNamespace(EventsWriter=None))
    for name in ("proto.event_pb2", "summary"):
        monkeypatch.setitem(
            sys.modules, f"tensorboardX.{name}", SimpleNamespace(Event=None, SessionLog=None, scalar=None)
        )
    monkeypatch.setitem(sys.modules, "tensorboardX", SimpleNamespace())
    dataclasses.replace(TINY, epochs=1).resolved().save(tmp_path / "settings.toml")
    (tmp_path / "tensorboard").write_text("")
    assert main(["train", "--resume", str(tmp_path), "--tensorboard", "-q"]) == 2
    assert capsys.readouterr().err == f"duonet: train: {tmp_path / 'tensorboard'}: exists already\n"


def test_tensorboard_shows_each_epoch_once_even_of_a_part_without_event_files(tmp_path):
    pytest.importorskip("tensorboardX", reason="pip install duonet[tensorboard]")
    rows = [{"epoch": i, "stage": 1, "loss": 1 / i, "seconds": 100.0} for i in (1, 2, 3, 4)]
    write = events.Events(tmp_path)
    for shown in (rows[:1], rows[:2], rows[:2]):
        write(shown)
    resumed = events.Events(tmp_path)  # the third epoch was trained without
    resumed(rows)
    from tensorboardX.proto import event_pb2

    seen, at = [], []
    for file in sorted((tmp_path / "tensorboard").iterdir()):
        raw = file.read_bytes()
        while raw:  # length, its check, the event, its check
            size = int.from_bytes(raw[:8], "little")
            event, raw = event_pb2.Event.FromString(raw[12 : 12 + size]), raw[16 + size :]
            if event.session_log.status == event_pb2.SessionLog.START:  # TensorBoard drops points from there on
                seen, at = [point for point in seen if point[1] < event.step], []
            seen += [(value.tag, event.step, round(value.simple_value, 3)) for value in event.summary.value]
            at += [event.wall_time for value in event.summary.value if value.tag == "loss"]
    shown = [point for point in seen if point[0] == "loss"]
    assert shown == [("loss", 1, 1.0), ("loss", 2, 0.5), ("loss", 3, 0.333), ("loss", 4, 0.25)]
    assert [round(b - a, -1) for a, b in zip(at, at[1:])] == [100.0] * 3
