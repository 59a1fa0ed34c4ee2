"""Real processes under a real mpiexec: the same bits, and an end within seconds whatever fails."""

import argparse
import hashlib
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from duonet.cli import launch
from duonet.team import Team, World, tree

HERE = Path(__file__).parent
WORKER = str(HERE / "mpi_worker.py")
MPIEXEC = Path(sys.executable).with_name("mpiexec")
needs_mpi = pytest.mark.skipif(
    not (importlib.util.find_spec("mpi4py") and MPIEXEC.is_file()), reason="needs mpi4py and mpich: duonet[mpi]"
)
SMALL = "--epochs 3 --batch-size 41 --padding 2 --flip --quiet --no-test".split()  # 41, 41, 41 and 5 images
MLP = ["train", "mlp", "fashion-mini", "--width", "4", *SMALL]


def started(words, size=0, fail=None, **env):
    command = [sys.executable, WORKER, *map(str, words)]
    if size:
        command = [str(MPIEXEC), "-n", str(size), *command]
    env = {**os.environ, "PYTHONPATH": str(HERE.parent), "DUONET_THREADS": "1", **env}
    if fail:
        env["DUONET_FAIL"] = fail
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True, env=env)


def run(words, size=0, fail=None, seconds=120, **env):
    process = started(words, size, fail, **env)
    try:
        out, err = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    # MPICH adds words of its own to those of Abort.
    return process.returncode, out.splitlines(), [line for line in err.splitlines() if line.startswith("duonet:")]


def bits(out):
    digest = hashlib.sha256()
    with np.load(out / "last.npz") as saved:
        for name in sorted(saved.files):
            if name.startswith(("model/", "optimizer/")):
                digest.update(name.encode() + saved[name].tobytes())
    return digest.hexdigest(), [
        ",".join(line.split(",")[:5]) for line in (out / "history.csv").read_text().splitlines()
    ]


def test_a_tree_adds_in_one_order():
    parts = np.float32([1e8, 1, -1e8, 1, 3, 5, 7, 9])
    assert tree(parts.copy()[:, None])[0] == ((parts[0] + parts[1]) + (parts[2] + parts[3])) + np.float32(24)


def test_fewer_shards_by_the_size_of_the_batch_alone():
    for images, count in ((64, 8), (16, 8), (15, 4), (8, 4), (7, 2), (4, 2), (3, 1), (1, 1)):
        places = []
        for rank in range(4):
            world = World()
            world.rank, world.size = rank, 4
            places += Team(8, world=world).cut(images)
        assert [place for place, _ in places] == list(range(0, 8, 8 // count))
        assert np.concatenate([np.arange(images)[rows] for _, rows in places]).tolist() == list(range(images))


@pytest.mark.parametrize(
    "shards, size, message",
    [
        (6, 1, "Team: shards must be a power of two, got 6"),
        (2, 4, "Team: shards must be at least as many as the 4 processes, got 2"),
        (4, 3, "Team: shards cannot be divided among 3 processes; let them be a power of two"),
        (0, 1, "Team: shards must be an int at least 1, got 0"),
    ],
)
def test_shards_that_cannot_be_are_refused(shards, size, message):
    world = World()
    world.size = size
    with pytest.raises(ValueError, match=message):
        Team(shards, world=world)


@needs_mpi
def test_one_two_and_four_processes_give_the_same_bits_and_resume_each_other(tmp_path):
    words = [*MLP, "--method", "binaryduo", "--epochs", "4", "--shards", "4"]
    assert run([*words, "--out", tmp_path / "0"])[0] == 0
    one = bits(tmp_path / "0")
    for size in (1, 2, 4):
        code, out, err = run([*words, "--out", tmp_path / f"{size}"], size)
        assert (code, len(out), err) == (0, 1, [])
        assert bits(tmp_path / f"{size}") == one
    for size, threads in ((4, "1"), (0, "2")):  # killed in the second stage, or the first
        out = tmp_path / f"killed{size}"
        step = 14 if size else 6
        code, _, _ = run([*words, "--out", out], 2, f"1:{step}:kill", DUONET_THREADS=threads)
        assert code not in (0, 2) and (out / "last.npz").exists() and not (out / "result.json").exists()
        assert run(["train", "--resume", out, "--quiet"], size, DUONET_THREADS=threads)[0] == 0
        assert bits(out) == one


@needs_mpi
def test_a_convolutional_network_and_gradients_of_one_bit(tmp_path):
    words = ["train", "vgg_deep", "fashion-mini", "--method", "baseline", "--width", "4", *SMALL, "--epochs", "1"]
    words += ["--shards", "2", "--compress", "sign", "--out"]
    assert run([*words, tmp_path / "0"])[0] == 0
    code, out, err = run([*words, tmp_path / "2"], 2)
    assert (code, len(out), err) == (0, 1, [])
    assert bits(tmp_path / "2") == bits(tmp_path / "0")


@needs_mpi
def test_processes_starts_them_and_shards_are_as_many(tmp_path):
    words = [*MLP, "--method", "baseline", "--epochs", "1", "--images", "128", "--validation-images", "250"]
    code, out, err = run([*words, "--processes", "2", "--out", tmp_path / "a"])
    assert (code, len(out), err) == (0, 1, [])
    settings = (tmp_path / "a" / "settings.toml").read_text()
    assert "shards = 2\n" in settings and "processes" not in settings


@needs_mpi
@pytest.mark.parametrize(
    "fail, words, status, said",
    [
        ("1:2:raise", [], 2, ["duonet: train: a failure in process 1"]),
        ("0:2:raise", [], 2, ["duonet: train: a failure in process 0"]),
        ("1:2:fault", [], 1, []),
        ("1:2:kill", [], None, []),
        (
            "1:2:hang",
            ["--timeout", "2"],
            2,
            ["duonet: process 0 has waited 2 s for the others; all processes end"],
        ),
    ],
)
def test_a_failure_of_one_process_ends_all(fail, words, status, said, tmp_path):
    process = started([*MLP, "--method", "baseline", "--shards", "2", "--out", tmp_path / "a", *words], 2, fail)
    assert process.stdout.readline().strip() == "planted"
    began = time.monotonic()
    _, err = process.communicate(timeout=60)
    assert time.monotonic() - began < 30
    assert [line for line in err.splitlines() if line.startswith("duonet:")] == said
    assert ("KeyError: 'a fault of the package'" in err) == fail.endswith("fault")
    assert process.returncode == status if status else process.returncode not in (0, 2)


@needs_mpi
@pytest.mark.parametrize("way", ["mpiexec", "--processes"])
def test_ctrl_c_ends_all(way, tmp_path):
    words = [*MLP, "--method", "baseline", "--shards", "2", "--epochs", "5000", "--out", tmp_path / "a"]
    process = started(words, 2) if way == "mpiexec" else started([*words, way, "2"])
    deadline = time.monotonic() + 60
    while not (tmp_path / "a" / "last.npz").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert [line for line in err.splitlines() if line.startswith("duonet:")] == [
        "duonet: stopped; all files written are whole"
    ]


@needs_mpi
@pytest.mark.parametrize(
    "size, words, message",
    [
        (2, [], "train: --shards must be at least as many as the 2 processes, got 1"),
        (2, ["--shards", "32"], "train: --shards must leave 2 images to each of 32 shards, but a batch has 41"),
        (3, ["--shards", "4"], "train: --shards cannot be divided among 3 processes; let them be a power of two"),
    ],
)
def test_what_cannot_be_is_said_once(size, words, message, tmp_path):
    assert run([*MLP, "--out", tmp_path / "a", *words], size) == (2, [], [f"duonet: {message}"])
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("rank, said", [("0", True), ("1", False)])
def test_mpiexec_without_mpi4py_is_refused_by_the_first_process(rank, said, tmp_path):
    (tmp_path / "mpi4py.py").write_text("raise ImportError('No module named mpi4py')")
    path = os.pathsep.join([str(tmp_path), str(HERE.parent)])
    env = {"PYTHONPATH": path, "PMI_SIZE": "2", "PMI_RANK": rank}
    text = "mpiexec started 2 processes, but mpi4py cannot be used (No module named mpi4py)"
    code, out, err = run([*MLP, "--shards", "2", "--out", tmp_path / "a"], **env)
    message = f'duonet: train: {text}; install it with: pip install "duonet[mpi]"'
    assert (code, out, err) == (2, [], [message] if said else [])
    assert not (tmp_path / "a").exists()


@needs_mpi
@pytest.mark.parametrize("rank", [0, 1])
def test_an_mpiexec_of_another_library_is_refused_by_the_first_process(rank, tmp_path):
    env = {"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": str(rank)}
    code, _, err = run([*MLP, "--shards", "2", "--out", tmp_path / "a"], **env)
    assert code == 2 and len(err) == 1 - rank and not (tmp_path / "a").exists()
    if rank == 0:
        assert err[0].startswith("duonet: train: mpiexec started 2 processes, but mpi4py's library, MPICH")
        assert err[0].endswith("sees 1: use the mpiexec of that library")


def test_processes_without_the_extra_say_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(launch, "_mpiexec", lambda: None)
    with pytest.raises(RuntimeError) as error:
        launch.start(2, ["train"])
    assert str(error.value) == (
        '--processes 2 needs mpi4py and mpiexec; install it with: pip install "duonet[mpi]"'
    )


@pytest.mark.parametrize("safe", ["", "1"])
def test_a_process_imports_from_pythonpath_and_not_from_the_folder_of_the_command(safe, tmp_path, monkeypatch):
    for name, status in (("path", 0), ("here", 1)):
        (tmp_path / name / "duonet").mkdir(parents=True)
        (tmp_path / name / "duonet" / "__init__.py").touch()
        (tmp_path / name / "duonet" / "cli.py").write_text(f"def main():\n    return {status}\n")
    mpiexec = tmp_path / "mpiexec"
    mpiexec.write_text('#!/bin/sh\nshift 2\nexec "$@"\n')
    mpiexec.chmod(0o755)
    monkeypatch.setattr(launch, "_mpiexec", lambda: mpiexec)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: True)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "path"))
    monkeypatch.setenv("PYTHONSAFEPATH", safe)
    monkeypatch.chdir(tmp_path / "here")
    assert launch.start(2, ["train"]) == 0


@pytest.mark.parametrize("dead, status, lines", [("SIGPIPE", 1, 0), ("SIGKILL", 2, 1)])
def test_an_mpiexec_whose_reader_has_gone_ends_in_silence_and_one_that_is_killed_does_not(
    dead, status, lines, tmp_path, monkeypatch, capsys
):
    mpiexec = tmp_path / "mpiexec"
    mpiexec.write_text(f"#!/bin/sh\nkill -{dead.removeprefix('SIG')} $$\n")
    mpiexec.chmod(0o755)
    monkeypatch.setattr(launch, "_mpiexec", lambda: mpiexec)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: True)
    assert launch.start(2, ["train"]) == status
    assert capsys.readouterr().err.count("\n") == lines


@pytest.mark.parametrize(
    "processes, timeout, size, message",
    [
        (None, -1, 1, "train: --timeout must be above 0, got -1"),
        (None, float("nan"), 2, "train: --timeout must be above 0, got nan"),
        (0, 9, 1, "train: --processes must be a power of two, got 0"),
        (3, 9, 1, "train: --processes must be a power of two, got 3"),
        (4, 9, 2, "train: --processes 4 does not fit the 2 processes that mpiexec started; leave it out"),
    ],
)
def test_flags_that_do_not_fit_are_refused_by_the_first_process(processes, timeout, size, message, monkeypatch):
    options = argparse.Namespace(processes=processes, timeout=timeout)
    for rank in range(size):
        monkeypatch.setenv("PMI_SIZE", str(size))
        monkeypatch.setenv("PMI_RANK", str(rank))
        with pytest.raises(SystemExit if rank else ValueError) as error:
            launch.join(options)
        assert str(error.value) == ("2" if rank else message)


NAMESPACED = """#!/bin/bash
# Stands in for ssh: a process in the network of a host, with shared memory and a name of its own.
while [[ "$1" == -* ]]; do shift; done
case $1 in 10.77.0.1) host=HOSTA;; *) host=HOSTB;; esac
shift
exec ip netns exec $host unshare --uts --ipc --mount bash -c "hostname $host; mount -t tmpfs none /dev/shm; exec $*"
"""


@pytest.fixture
def two_hosts(tmp_path):
    """Two network namespaces with a cable between them: their names, and the script that starts a process there."""
    if os.geteuid() or not all(map(shutil.which, ("ip", "unshare", "hostname"))):
        pytest.skip("needs root, ip and unshare")
    hosts = [f"dn{os.getpid()}{end}" for end in "ab"]

    def ip(*words):
        return subprocess.run(["ip", *words], capture_output=True, check=False).returncode == 0

    try:
        done = all(ip("netns", "add", host) for host in hosts)
        done = done and ip(
            "link", "add", "dnA", "netns", hosts[0], "type", "veth", "peer", "name", "dnB", "netns", hosts[1]
        )
        for host, end, address in zip(hosts, "AB", (1, 2)):
            done = done and ip("-n", host, "addr", "add", f"10.77.0.{address}/24", "dev", f"dn{end}")
            done = (
                done
                and ip("-n", host, "link", "set", f"dn{end}", "up")
                and ip("-n", host, "link", "set", "lo", "up")
            )
        if not done:
            pytest.skip("this machine has no network namespaces")
        launcher = tmp_path / "launcher"
        launcher.write_text(NAMESPACED.replace("HOSTA", hosts[0]).replace("HOSTB", hosts[1]))
        launcher.chmod(0o755)
        yield hosts, launcher
    finally:
        for host in hosts:
            ip("netns", "delete", host)


@needs_mpi
def test_two_hosts_over_tcp_give_the_same_bits(two_hosts, tmp_path):
    hosts, launcher = two_hosts
    words = [*MLP, "--width", "64", "--method", "baseline", "--epochs", "1", "--shards", "2", "--out"]
    assert run([*words, tmp_path / "0"])[0] == 0
    inside = ["ip", "netns", "exec", hosts[0]]
    sent = [*inside, "cat", "/sys/class/net/dnA/statistics/tx_bytes"]
    own = ["unshare", "--uts", "--ipc", "--mount", "bash", "-c"]
    own.append(f'hostname {hosts[0]}; mount -t tmpfs none /dev/shm; exec "$@"')
    many = [str(MPIEXEC), "-launcher", "ssh", "-launcher-exec", str(launcher), "-hosts", "10.77.0.1,10.77.0.2"]
    command = [
        *inside,
        *own,
        "x",
        *many,
        "-ppn",
        "1",
        "-n",
        "2",
        sys.executable,
        WORKER,
        *words,
        str(tmp_path / "2"),
    ]
    env = {
        **os.environ,
        "PYTHONPATH": str(HERE.parent),
        "DUONET_THREADS": "1",
        "FI_PROVIDER": "tcp",
        "MPIR_CVAR_NOLOCAL": "1",
    }
    before = int(subprocess.check_output(sent))
    subprocess.run(command, env=env, check=True, timeout=120, capture_output=True)
    network = np.load(tmp_path / "2" / "last.npz")
    weights = sum(network[name].nbytes for name in network.files if name.startswith("model/"))
    assert int(subprocess.check_output(sent)) - before > 4 * weights  # four steps; MPI may use shared memory
    assert bits(tmp_path / "2") == bits(tmp_path / "0")
