"""A crew finds what one process finds, whatever dies on the way: with a real scheduler and real workers."""

import dataclasses
import functools
import importlib
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import crew_work
import pytest

from duonet import progress
from duonet.cli import main
from duonet.experiments import (
    CompareSettings,
    ContestSettings,
    Crew,
    MismatchSettings,
    compare,
    crew,
    mismatch,
    studies,
)
from duonet.experiments.competition import first_round
from duonet.experiments.contestants import chosen
from duonet.experiments.crew import OtherVersion, SchedulerLost, Task, WorkerDied
from duonet.experiments.fields import BadSetting
from duonet.experiments.jobs import finish
from duonet.experiments.mismatch_study import parts
from duonet.experiments.records import Part
from duonet.experiments.run_folder import COSTS, RunInUse, locked

HERE = Path(__file__).parent
needs_dask = pytest.mark.skipif(
    importlib.util.find_spec("distributed") is None, reason="needs Dask: pip install duonet[scale]"
)
PATHS = [str(HERE), str(HERE.parents[1]), os.environ.get("PYTHONPATH", "")]
ENV = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, PATHS))}
BAD = Part("bad", {"kind": "none"}, functools.partial(crew_work.refuses, 3))
TIMES = ("seconds", "peak_memory_mib", "training_seconds", "seconds_since_resumed", "cpu_seconds", "versions")
SWEEP = 'model = "mlp"\ndataset = "fashion-mini"\nwidth = 4\nepochs = 2\nimages = 128\nmethod = ["baseline", "binaryduo"]\nseed = [0, 1]\n'


class Cluster:
    """A scheduler and its workers, as processes of this machine."""

    def __init__(self, folder, workers):
        self.file, self.processes = folder / "scheduler.json", []
        words = ["--host", "127.0.0.1", "--port", "0", "--scheduler-file", str(self.file), "--no-dashboard"]
        self.scheduler = self._start("scheduler", *words)
        deadline = time.monotonic() + 120
        while not (self.file.exists() and self.file.read_text().endswith("}")):
            assert time.monotonic() < deadline and self.scheduler.poll() is None, "the scheduler does not start"
            time.sleep(0.05)
        self.address = json.loads(self.file.read_text())["address"]
        for _ in range(workers):
            self.add()

    def add(self):
        words = ["--host", "127.0.0.1", "--nthreads", "1", "--memory-limit", "0", "--no-dashboard"]
        words += ["--preload", "crew_work"]
        self._start("worker", self.address, *words)

    def _start(self, kind, *words):
        command = [sys.executable, "-m", f"distributed.cli.dask_{kind}", *words]
        process = subprocess.Popen(command, env=ENV, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.processes.append(process)
        return process

    def stop(self):
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    made = Cluster(tmp_path_factory.mktemp("cluster"), workers=2)
    yield made
    made.stop()


def timeless(value):
    """What a results.json holds, apart from times."""
    if isinstance(value, dict):
        return {name: timeless(inner) for name, inner in value.items() if name not in TIMES}
    return [timeless(inner) for inner in value] if isinstance(value, list) else value


def ended(crew, tasks):
    return {task.name: error or value for task, value, error in crew.each(tasks, progress=False)}


@needs_dask
def test_a_comparison_shared_by_workers_is_the_serial_one_to_the_last_bit(cluster, tmp_path):
    settings = CompareSettings(model="mlp", epochs=2, images=128, width=4)
    serial = compare(settings, tmp_path / "serial", progress=False)
    shared = compare(settings, tmp_path / "shared", progress=False, crew=Crew(scheduler=cluster.address))
    assert timeless(shared) == timeless(serial) and shared["complete"]
    for path in (tmp_path / "serial").glob("*/*"):
        twin = tmp_path / "shared" / path.relative_to(tmp_path / "serial")
        assert twin.exists() or path.name == ".lock"
        if path.suffix in (".json", ".toml") and path.name != "result.json":
            assert twin.read_bytes() == path.read_bytes()
    results = [
        json.loads((tmp_path / out / "binaryduo-0" / "result.json").read_text()) for out in ("serial", "shared")
    ]
    assert timeless(results[0]) == timeless(results[1])


@needs_dask
def test_a_mismatch_study_shared_by_workers_is_the_serial_one_to_the_last_bit(cluster, tmp_path, monkeypatch):
    settings = MismatchSettings(
        seeds=1, width=4, steps=(0.1,), samples=500, training_steps=1, network_images=128, network_epochs=2,
        measured_images=24, coordinates=2,
    )  # fmt: skip
    wanted = ["seed 0: toy, ternary", "seed 0: real network, decoupled trained"]
    some = [part for part in parts(settings) if part.name in wanted]
    module = importlib.import_module(parts.__module__)
    monkeypatch.setattr(module, "_areas", lambda settings: [])
    monkeypatch.setattr(module, "parts", lambda settings: some)
    serial = mismatch(settings, tmp_path / "serial", progress=False)
    monkeypatch.setattr(module, "parts", lambda settings: [*some, BAD])
    with Crew(scheduler=cluster.address) as shared:
        found = mismatch(settings, tmp_path / "shared", progress=False, crew=shared)
    assert found["failed"] == {"bad": "ValueError: no luck with 3"} and not found["complete"]
    assert (
        timeless(found["records"]) == timeless(serial["records"])
        and found["finished"] == serial["finished"] == wanted
    )
    assert (tmp_path / "shared" / "binaryduo-0" / "result.json").exists()


@needs_dask
def test_the_jobs_of_a_contest_are_alike_and_each_is_done_once(cluster, tmp_path):
    settings = ContestSettings(model="mlp", rates=(0.01,), tuning_seeds=1, epochs=2, images=128, width=4)
    jobs = first_round(settings, chosen("float", ("pact",)))
    serial, _ = finish(jobs[:1], tmp_path / "shared", progress=False)
    with Crew(scheduler=cluster.address) as shared:
        records, failed = finish(jobs, tmp_path / "shared", progress=False, crew=shared)
    assert not failed and records[jobs[0].name] == serial[jobs[0].name], (
        "what was finished before is kept, to the second"
    )
    assert timeless(records) == timeless(finish(jobs, tmp_path / "serial", progress=False)[0])


@needs_dask
def test_a_sweep_stopped_by_ctrl_c_goes_on_without_workers(tmp_path, capsys):
    """The first part with two processes of this machine, in a process group of its own as a shell makes one."""
    (tmp_path / "grid.toml").write_text(SWEEP)
    words = ["sweep", str(tmp_path / "grid.toml"), "--out", str(tmp_path / "out")]
    command = [sys.executable, "-m", "duonet", *words, "--workers", "2"]
    process = subprocess.Popen(
        command,
        cwd=HERE.parents[1],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    seen = [
        line
        for line in iter(process.stdout.readline, "")
        if (line.startswith("1 of 4: ") and stop(process)) or True
    ]
    error = process.communicate(timeout=60)[1]
    assert process.returncode == 130 and "duonet: stopped; all files written are whole\n" == error, (
        seen,
        error,
    )
    deadline = time.monotonic() + 30
    while alive(process.pid):
        assert time.monotonic() < deadline, "a worker is left"
        time.sleep(0.1)
    kept = sorted(path.parent.name for path in (tmp_path / "out").glob("*/result.json"))
    assert 1 <= len(kept) < 4
    before = [(tmp_path / "out" / name / "result.json").read_bytes() for name in kept]
    assert main([*words, "--quiet"]) == 0
    assert [(tmp_path / "out" / name / "result.json").read_bytes() for name in kept] == before
    shown = capsys.readouterr().out
    assert main(["sweep", "--resume", str(tmp_path / "out"), "--quiet"]) == main(
        ["sweep", "--show", str(tmp_path / "out")]
    )
    assert capsys.readouterr().out == shown * 2
    assert main(["sweep", words[1], "--out", str(tmp_path / "serial"), "--quiet"]) == 0
    one, other = (json.loads((tmp_path / out / "results.json").read_text()) for out in ("out", "serial"))
    assert timeless(one) == timeless(other) and len(one["runs"]) == 4


def alive(group):
    """Whether a process group has a process that is no zombie."""
    told = subprocess.run(["ps", "-eo", "pgid=,stat="], capture_output=True, text=True, check=True).stdout
    return any(line.split()[0] == str(group) and line.split()[1][0] != "Z" for line in told.splitlines())


def stop(process):
    os.killpg(process.pid, signal.SIGINT)
    return True


def test_ctrl_c_waits_for_the_end_of_what_must_not_be_cut_short():
    reached = []
    with pytest.raises(KeyboardInterrupt):
        with crew._ctrl_c_later():
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
            reached.append(True)
    assert reached and not crew_work.deaf()


@needs_dask
def test_workers_of_this_machine_leave_ctrl_c_to_the_command_from_their_first_moment():
    with Crew(2) as own:
        own.connect()
        assert list(own._client.run(crew_work.deaf).values()) == [True, True]
    assert not crew_work.deaf()


@needs_dask
def test_each_worker_has_one_thread_and_files_come_back_in_an_order_that_can_be_resumed(
    cluster, tmp_path, monkeypatch
):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "best.npz").write_text("older")
    written, replacing = [], crew.replacing
    monkeypatch.setattr(crew, "replacing", lambda path: written.append(path.name) or replacing(path))
    tasks = [Task(f"about-{i}", crew_work.about, (i,)) for i in range(4)]
    with Crew(scheduler=cluster.address) as shared:
        found = ended(shared, tasks)
        assert ended(shared, [Task("a", crew_work.writes, ("new",), tmp_path / "a")]) == {"a": ["best.npz"]}
    assert [found[task.name][0] for task in tasks] == [0, 1, 2, 3]
    assert {threads for *_, threads in found.values()} == {1}
    assert os.getpid() not in {pid for _, pid, _, _ in found.values()}
    assert written == ["settings.toml", "best.npz", "last.npz", "result.json"]
    assert (tmp_path / "a" / "best.npz").read_text() == "new" and not (tmp_path / "a" / ".hidden").exists()


@needs_dask
def test_a_task_that_raises_and_one_that_kills_every_worker_cost_no_other_its_result(cluster):
    tasks = [Task(f"about-{i}", crew_work.about, (i,)) for i in range(6)]
    tasks[2:2] = [Task("poison", crew_work.kills_its_worker), Task("bad", crew_work.refuses, (3,))]
    with Crew(scheduler=cluster.address) as shared:
        found = ended(shared, tasks)
    assert isinstance(found["poison"], WorkerDied)
    assert isinstance(found["bad"], ValueError) and str(found["bad"]) == "no luck with 3"
    assert [found[f"about-{i}"][0] for i in range(6)] == list(range(6))


@needs_dask
def test_a_host_that_dies_costs_the_task_in_flight_only(cluster, tmp_path):
    tasks = [Task("unlucky", crew_work.kills_its_host_once, (tmp_path / "dead",))]
    tasks += [Task(f"about-{i}", crew_work.about, (i,)) for i in range(3)]
    with Crew(scheduler=cluster.address) as shared:
        found = ended(shared, tasks)
    assert found["unlucky"] == "done by another" and len(found) == 4
    cluster.add()  # in place of the dead one, for the other tests


@needs_dask
def test_a_scheduler_that_dies_leaves_what_was_finished(tmp_path):
    own = Cluster(tmp_path, workers=1)
    tasks = [Task("first", crew_work.about, (1,)), Task("last", crew_work.kills, (own.scheduler.pid,))]
    seen = []
    try:
        with (
            Crew(scheduler=own.address) as shared,
            pytest.raises(SchedulerLost, match="finished tasks are kept"),
        ):
            seen.extend(task.name for task, _, _ in shared.each(tasks, progress=False))
    finally:
        own.stop()
    assert seen == ["first"]


@needs_dask
def test_workers_of_another_version_are_refused(cluster, monkeypatch, tmp_path):
    monkeypatch.setattr(crew, "VERSION", "9.9")
    with (
        Crew(scheduler=cluster.address) as shared,
        pytest.raises(OtherVersion, match="worker tcp://.* has duonet 0"),
    ):
        ended(shared, [Task("a", crew_work.about, (1,))])
    monkeypatch.undo()
    with pytest.raises(OtherVersion, match="a worker has duonet 0.* but the study runs on duonet 9.9"):
        crew._on_worker("9.9", b"never read")


@needs_dask
@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "nonsense", "foo://127.0.0.1:8786"])
def test_an_address_where_nobody_answers_is_said_in_one_sentence(address, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(crew, "ANSWER_SECONDS", 0.5)
    words = ["--model", "mlp", "--epochs", "2", "--images", "128", "--out", str(tmp_path / "out"), "--quiet"]
    assert main(["compare", *words, "--scheduler", address]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"duonet: compare: scheduler {address}: ") and error.count("\n") == 1, error


@needs_dask
def test_tls_without_certificates_says_where_they_belong():
    problem = "scheduler tls://127.0.0.1:1: tls needs certificates: distributed.comm.tls in Dask's configuration"
    with Crew(scheduler="tls://127.0.0.1:1") as shared, pytest.raises(SchedulerLost) as error:
        shared.connect()
    assert str(error.value) == problem


@needs_dask
def test_something_else_that_listens_and_says_nothing_is_left_in_time(monkeypatch):
    monkeypatch.setattr(crew, "ANSWER_SECONDS", 0.5)
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        with Crew(scheduler=f"tcp://127.0.0.1:{mute.getsockname()[1]}") as shared, pytest.raises(SchedulerLost):
            ended(shared, [Task("a", crew_work.about, (1,))])


@pytest.mark.parametrize("study", ["compare", "contest", "mismatch", "sweep"])
@pytest.mark.parametrize("flags", [["--workers", "2"], ["--scheduler", "tcp://127.0.0.1:1"]])
def test_without_dask_one_line_says_what_to_install(study, flags, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    (tmp_path / "grid.toml").write_text(SWEEP)
    file = [str(tmp_path / "grid.toml")] if study == "sweep" else []
    assert main([study, *file, *flags, "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert (
        error == f'duonet: {study}: {flags[0]} needs Dask, which is not installed: pip install "duonet[scale]"\n'
    )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "given, message",
    [
        ({"workers": 0}, "workers must be an int at least 1 "),
        ({"workers": 2.5}, "workers must be an int"),
        ({"scheduler": 8786}, "scheduler must be a str"),
        ({"workers": 2, "scheduler": "tcp://127.0.0.1:1"}, "workers cannot be given with a scheduler"),
    ],
)
def test_a_crew_that_makes_no_sense_is_refused(given, message):
    with pytest.raises(BadSetting, match=f"Crew: {message}"):
        Crew(**given)


def test_alone_the_tasks_are_done_in_order_here_and_in_their_own_folders(tmp_path):
    (tmp_path / "a").mkdir()
    tasks = [Task("a", crew_work.writes, ("x",), tmp_path / "a"), Task("b", crew_work.refuses, (1,))]
    tasks.append(Task("c", crew_work.about, (1,)))
    with Crew() as alone:
        found = ended(alone, tasks)
    assert list(found) == ["a", "b", "c"] and found["c"][1] == os.getpid() and isinstance(found["b"], ValueError)
    assert (tmp_path / "a" / ".hidden").exists()


class Backwards(Crew):
    """The last task ends first."""

    def each(self, tasks, *rest):
        yield from super().each(reversed(list(tasks)), *rest)


def test_the_order_in_which_runs_end_changes_nothing(tmp_path, monkeypatch):
    def train(run, folder, **options):
        row = {"name": run.method, "epochs": "1", "accuracy": run.seed / 10, "loss": 1.0, "validation": [0.5]}
        found = {"networks": [row | dict.fromkeys(COSTS, 1)], "settings": dataclasses.asdict(run)}
        return found | ({"decoupling": {"float32_images": run.seed}} if run.method == "binaryduo" else {})

    monkeypatch.setattr(studies, "train", train)
    settings = CompareSettings(model="mlp", seeds=3, epochs=2, images=128, width=4)
    one, other = (compare(settings, tmp_path / kind.__name__, False, kind()) for kind in (Crew, Backwards))
    assert timeless(one) == timeless(other) and one["methods"]["float"]["accuracy"] == [0, 0.1, 0.2]
    assert [row["seed"] for row in other["decoupling"]] == [0, 1, 2]


def test_a_second_comparison_is_kept_out_of_the_folder(tmp_path):
    settings = CompareSettings(model="mlp", epochs=2, images=128, width=4)
    (tmp_path / "out").mkdir()
    with locked(tmp_path / "out"), pytest.raises(RunInUse, match="another process"):
        compare(settings, tmp_path / "out", progress=False)


@pytest.mark.parametrize("watched", [False, True])
def test_one_bar_counts_the_whole_study_where_someone_watches_and_lines_elsewhere(watched, monkeypatch, capsys):
    monkeypatch.setattr(progress, "watched", lambda stream: watched)
    with progress.Tally("study", 1, 3, progress=True) as tally:
        tally.add("a", failed=True)
        tally.show()
        tally.add("b", failed=False)
    out, error = capsys.readouterr()
    if watched:
        assert "3/3" in error and "1 failed" in error and not out
    else:
        assert out == "2 of 3: a failed; about 0 s left\n3 of 3: b\n" and not error
