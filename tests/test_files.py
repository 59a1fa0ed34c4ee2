"""Every output is whole or not there; what is no regular file is written into, or refused, and never replaced."""

import os
import socket
import stat
import subprocess
import sys
import threading

import numpy as np
import pytest

from duonet import nn
from duonet.checkpoint import load_model, save_checkpoint
from duonet.files import replacing
from duonet.history import History
from duonet.viz.canvas import blank, save

posix = pytest.mark.skipif(os.name == "nt", reason="modes, pipes and links of POSIX")


def write(path, text="new"):
    with replacing(path) as part:
        part.write_text(text)


def names(folder):
    return sorted(p.name for p in folder.iterdir())


def mode(path):
    return stat.S_IMODE(os.stat(path).st_mode)


@posix
@pytest.mark.parametrize("target", ["a.txt", "none.txt", "sub/b.txt"])
def test_a_link_stays_and_its_target_is_written(tmp_path, target):
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.txt").write_text("old")
    (tmp_path / "sub" / "first").symlink_to(tmp_path / target)
    (tmp_path / "link").symlink_to("sub/first")
    write(tmp_path / "link")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "sub" / "first").is_symlink()
    assert (tmp_path / target).read_text() == "new" and not (tmp_path / target).is_symlink()


@posix
def test_a_link_to_itself_or_into_no_folder_is_refused(tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "lost").symlink_to("none/a.txt")
    for name, message in (("loop", "symbolic links"), ("lost", "There is no such folder: '.*none'")):
        with pytest.raises(OSError, match=message), replacing(tmp_path / name):
            pytest.fail("the work was begun")
    assert names(tmp_path) == ["loop", "lost"]


@posix
@pytest.mark.parametrize("bits", [0o600, 0o640, 0o755, 0o666])
def test_a_file_keeps_its_mode_and_its_owner(tmp_path, bits):
    path = tmp_path / "a.txt"
    path.write_text("old")
    if os.geteuid() == 0:
        os.chown(path, 4321, 4322)
    path.chmod(bits)
    before = os.stat(path)
    with replacing(path) as part:
        part.write_text("new")
        assert mode(part) & ~bits & ~0o600 == 0, "nobody reads the part who may not read the file"
    assert mode(path) == bits and path.read_text() == "new"
    assert (os.stat(path).st_uid, os.stat(path).st_gid) == (before.st_uid, before.st_gid)


@posix
def test_a_new_file_has_the_mode_of_any_new_file(tmp_path):
    (tmp_path / "plain").write_text("")
    write(tmp_path / "a.txt")
    assert mode(tmp_path / "a.txt") == mode(tmp_path / "plain")


@posix
@pytest.mark.parametrize("through", ["pipe", "link"])
def test_a_pipe_is_written_into_and_stays(tmp_path, through):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    read = []
    reader = threading.Thread(target=lambda: read.append((tmp_path / "pipe").read_text()), daemon=True)
    reader.start()
    write(tmp_path / through, "whole")
    reader.join(10)
    assert read == ["whole"] and stat.S_ISFIFO(os.stat(tmp_path / "pipe").st_mode)
    assert names(tmp_path) == ["link", "pipe"]


@posix
def test_a_device_is_written_into_and_stays(tmp_path):
    # Never the machine's own: a fault here would replace it.
    try:
        os.mknod(tmp_path / "null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        (tmp_path / "null").write_text("")
    except OSError as error:
        pytest.skip(f"no device can be made here ({error})")
    write(tmp_path / "null")
    assert stat.S_ISCHR(os.stat(tmp_path / "null").st_mode) and names(tmp_path) == ["null"]


@posix
def test_a_failed_block_writes_nothing_into_a_pipe(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError), replacing(tmp_path / "pipe") as part:
        part.write_text("half")
        raise ValueError
    assert stat.S_ISFIFO(os.stat(tmp_path / "pipe").st_mode)


@posix
def test_a_folder_and_a_socket_are_refused_before_the_work(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # a socket's path is short
    (tmp_path / "folder").mkdir()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket")
        for name, message in (
            ("folder", "Is a folder"),
            ("socket", "Is neither a file nor a pipe"),
            ("", "Is a fol"),
        ):
            with pytest.raises(OSError, match=message), replacing(name):
                pytest.fail("the work was begun")
    assert names(tmp_path) == ["folder", "socket"]


@posix
@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="root may write everywhere")
def test_what_is_write_protected_is_refused_before_the_work(tmp_path):
    (tmp_path / "a.txt").write_text("old")
    (tmp_path / "a.txt").chmod(0o444)
    with pytest.raises(PermissionError, match="Is write-protected"), replacing(tmp_path / "a.txt"):
        pytest.fail("the work was begun")
    tmp_path.chmod(0o555)
    with pytest.raises(PermissionError, match="No file can be made there"), replacing(tmp_path / "b.txt"):
        pytest.fail("the work was begun")
    tmp_path.chmod(0o755)


def test_the_longest_name_is_written_and_a_longer_one_refused(tmp_path):
    longest = "a" * 251 + ".txt"
    write(tmp_path / longest)
    with pytest.raises(OSError, match="name too long"), replacing(tmp_path / f"a{longest}"):
        pytest.fail("the work was begun")
    assert names(tmp_path) == [longest]


def test_threads_write_one_file_each_whole(tmp_path):
    texts = [str(i) * 100_000 for i in range(8)]
    threads = [threading.Thread(target=write, args=(tmp_path / "a.txt", text)) for text in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (tmp_path / "a.txt").read_text() in texts and names(tmp_path) == ["a.txt"]


TO_STDOUT = """
import sys
from duonet.files import replacing
print("before", flush=True)
with replacing(sys.argv[1]) as part:
    part.write_text("between\\n")
print("after")
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="names no open files")
@pytest.mark.parametrize("how", ["file", "pipe"])
def test_standard_output_by_its_path_loses_nothing_that_was_printed(tmp_path, how):
    (tmp_path / "stdout").symlink_to("/proc/self/fd/1")
    words = [sys.executable, "-c", TO_STDOUT, str(tmp_path / "stdout")]
    if how == "pipe":
        printed = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True).stdout
    else:
        with open(tmp_path / "log", "w") as log:
            subprocess.run(words, stdout=log, check=True)
        printed = (tmp_path / "log").read_text()
    assert printed.split() == ["before", "between", "after"]
    assert (tmp_path / "stdout").is_symlink()


@posix
def test_every_kind_of_output_goes_through_a_link(tmp_path):
    history = History([{"epoch": 1}])
    model = nn.Sequential(nn.Linear(2, 1, rng=np.random.default_rng(0)))
    for name, writes in (
        ("a.csv", history.save),
        ("a.png", lambda path: save(blank(1, 1), path)),
        ("a.npz", lambda path: save_checkpoint(path, model)),
    ):
        (tmp_path / name).symlink_to(f"real_{name}")
        writes(tmp_path / name)
        assert (tmp_path / name).is_symlink() and (tmp_path / f"real_{name}").stat().st_size > 0
    assert repr(load_model(tmp_path / "a.npz")) == repr(model)
