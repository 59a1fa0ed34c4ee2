"""Judge one submission: run the grading tests in this process, and the submission in others.

`grade.py` starts it. No code of the submission ever runs here, and what it sends back are values (`remote.py`):
the expected numbers, pytest and the verdicts are out of its reach.
"""

import contextlib
import json
import os
import resource
import socket
import subprocess
import sys
import threading
import time
import zlib
from multiprocessing import connection, parent_process
from pathlib import Path

import numpy as np
import pytest
import remote
import sandbox
import student
from assignment import may_import
from numpy.random import default_rng

import duonet

REASON = 200  # characters
ONE_THREAD = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "DUONET_THREADS")
# All that a submission finds in its environment; several run side by side.
ENVIRONMENT = {**dict.fromkeys(ONE_THREAD, "1"), "PATH": os.defpath, "LANG": "C.UTF-8", "TMPDIR": "/tmp"}
LOADER = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")  # without it some Pythons do not start
STARTS = 60.0  # seconds in which the process that starts the others must be there
HERE = Path(os.path.abspath(__file__)).parent
ROOT = HERE.parents[1]
SITE = ("site-packages", "dist-packages")
OPTIONS = [
    "--capture=no",  # output goes to nowhere, not into pytest's own files
    "--noconftest",
    "--import-mode=importlib",
    "--tb=no",  # to lay out one traceback takes longer than all tests
    *("-p", "no:cacheprovider"),
    *("-p", "no:unraisableexception"),  # it collects garbage several times, which is half of the run
]
WHY = {
    "ended": "the process ended before its tests did, as by os._exit or a crash",
    "garbled": "the process sent what is no answer: the submission interfered with it",
    "late": "over the time limit of {limit:g} s",
    "starved": "the machine was too busy to start the submission; grade it again",
}


class Room:
    """Where one submission runs: a process for each task, one after the other.

    Parameters
    ----------
    text : bytes
        Of answers.py.
    scratch : Path
        An empty folder.
    allowed : set of str
        What the submission may import.
    limit : float
        Seconds for a task.
    walls : bool
        Whether the system grants namespaces.
    """

    def __init__(self, text, scratch, allowed, limit, walls):
        packages = {name: Path(sys.modules[name.split(".")[0]].__file__).parent for name in allowed}
        path = [
            *map(os.path.abspath, filter(None, sys.path)),
            *(str(folder.parent) for folder in packages.values()),
        ]
        self.order = {
            "text": text.hex(),
            "path": list(dict.fromkeys(path)),
            "allowed": sorted(allowed),
            "places": {
                name: getattr(duonet, name[7:]).__module__ for name in allowed if name.startswith("duonet.")
            },
            # What is seen behind walls. Of duonet nothing: what is allowed of it is loaded by then.
            "packages": [str(p) for n, p in packages.items() if not n.startswith("duonet")]
            + [f"{p}.libs" for n, p in packages.items() if not n.startswith("duonet")],
            "hidden": [str(ROOT), *(entry for entry in path if os.path.basename(entry) in SITE)],
            "environment": ENVIRONMENT,
            "limit": limit,
            "walls": walls,
        }
        self.scratch, self.limit = scratch, limit
        self.starter = self.control = self.channel = None
        self.tasks = 0

    def _start(self):
        self.control, other = socket.socketpair()
        self.control.settimeout(STARTS)
        command = [sys.executable, "-I", "-S", "-c", student.START, str(other.fileno())]
        environment = {name: os.environ[name] for name in LOADER if name in os.environ} | ENVIRONMENT
        options = {"env": environment, "cwd": "/", "start_new_session": True}
        with other:
            self.starter = subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=[other.fileno()], **options)
        with self.starter.stdin as order:
            order.write(json.dumps(self.order).encode())
        try:
            self._ready()
        except TimeoutError:  # no code of the submission has run yet
            self.close()
            raise remote.Lost("starved") from None

    def _ready(self):
        if self.control.recv(1) != student.READY:
            raise OSError("it has ended")

    def begin(self):
        """Start the process of the next task, and return what it is asked for first, a `student.Answers`."""
        self.end()
        self.tasks += 1
        home = self.scratch / f"home{self.tasks}"
        home.mkdir()
        try:
            if self.starter is None:
                self._start()
            ours, theirs = socket.socketpair()
            with theirs:
                socket.send_fds(self.control, [os.fsencode(home)], [theirs.fileno()])
        except OSError:
            self.close()
            raise remote.Lost("ended") from None
        self.channel = remote.Channel(ours, time.monotonic() + self.limit)
        return remote.Process(remote.Peer(self.channel, judge=True), 0)

    def end(self):
        """End the task's process and what it has started, also where it has stopped or killed what starts it."""
        if self.channel is not None:
            self.channel.socket.close()
            try:
                self.control.settimeout(STARTS / 6)
                self.control.sendall(student.READY)
                self._ready()
            except OSError:
                self.close()
        self.channel = None

    def close(self):
        """End everything."""
        if self.starter is not None:
            self.control.close()
            self.starter.kill()
            self.starter.wait()
            sandbox.end_children()
        self.starter = None


class Plugin:
    """The pytest plugin: the fixtures `answers`, `bring` and `rng`, and a record of what passed and what failed.

    Attributes
    ----------
    reasons : dict
        For each test function that failed, its first failure in one line.
    passed : set
        The test functions of which at least one case passed.
    lost : dict
        For each task whose process came to an end, why.
    """

    def __init__(self, seed, room, sender):
        self.seed, self.room, self.sender = seed, room, sender
        self.reasons, self.passed, self.lost = {}, set(), {}
        self.task = self.process = self.submission = self.refused = None

    def pytest_configure(self, config):
        """Make the marker known."""
        config.addinivalue_line("markers", "task(number, points): which task a grading test belongs to")

    def pytest_collection_modifyitems(self, items):
        """Bring the tests of each task together."""
        items.sort(key=_task)

    @pytest.fixture
    def answers(self, request):
        """Import the submission, once for each task; whatever it raises there fails every test.

        The functions that the test's mark names as `given` are those of `GIVEN` of its file, for this test alone:
        what is wrong with the submission's own is another test's affair.
        """
        task = _task(request.node)
        if task != self.task:
            self.task, self.process, self.submission, self.refused = task, None, None, None
            try:
                self.process = self.room.begin()
                self.submission = self.process.load()
            except Exception as error:
                self.refused = error
        if self.refused is not None:
            raise self.refused
        mark = request.node.get_closest_marker("task").kwargs
        own = {name: getattr(self.submission, name, None) for name in mark.get("given", ())}
        for name in own:
            setattr(self.submission, name, request.module.GIVEN[name])
        self.process.may_change(mark.get("changes", False))
        yield self.submission
        for name, function in own.items():
            setattr(self.submission, name, function)

    @pytest.fixture
    def bring(self, answers):
        """Run a test's code beside the submission: for what can only be told, or quickly done, there."""
        return self.process.bring

    @pytest.fixture
    def rng(self, request):
        """Give each case of each test its own generator, which depends on its name and on the grader's seed."""
        return default_rng([self.seed, zlib.crc32(request.node.name.encode())])

    def pytest_runtest_logstart(self, nodeid):
        """Tell the grader which test is next: there it was, should this process never answer."""
        self.sender.send(f", at {nodeid.split('::')[-1]}")

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item, call):
        """Note what came of a case. A skipped test is a failure: no submission may excuse itself."""
        report = yield
        name = item.originalname
        if report.when == "call" and report.passed:
            self.passed.add(name)
        elif not report.passed:
            error = call.excinfo.value
            if isinstance(error, remote.Lost):
                self.lost.setdefault(_task(item), self.why_lost(str(error)))
            self.reasons.setdefault(name, in_one_line(error))
        return report

    def why_lost(self, kind):
        """Say why a process came to an end, and in which function of the submission."""
        name = self.process._peer.calling if self.process is not None else ""
        place = {"": "", "load": ", while answers.py was imported"}.get(name, f", in {name}")
        return WHY[kind].format(limit=self.room.limit) + ("" if kind == "garbled" else place)

    def outcomes(self, tests):
        """Return for each test whether it passed, and if not why: a list of pairs. A task lost is lost whole."""
        return [
            (False, self.lost[test.task])
            if test.task in self.lost
            else (
                test.name in self.passed and test.name not in self.reasons,
                self.reasons.get(test.name, "not run"),
            )
            for test in tests
        ]


def not_of_nothing(compare):
    """Have a comparison of NumPy's fail where one side is empty: an empty array agrees with any number."""

    def compared(actual, desired, *rest, **options):
        if (np.size(actual) == 0) != (np.size(desired) == 0):
            raise AssertionError(f"shapes {np.shape(actual)} and {np.shape(desired)} do not agree")
        compare(actual, desired, *rest, **options)

    return compared


def _task(item):
    return item.get_closest_marker("task").args[0]


def in_one_line(error):
    """Say what an exception says, cut short; of an assert with words the words alone, not what pytest adds."""
    text = " ".join(str(error).split("\nassert ")[0].split())
    return f"{type(error).__name__}: {text}"[:REASON] if text else type(error).__name__


def end_with_grader():
    """End this process, and with it all others, when the grader's ends in whatever way."""
    connection.wait([parent_process().sentinel])
    os._exit(1)


def judge(file, tests, text, scratch, seed, limit, walls, sender):
    """Run all grading tests on one submission, and send what came of them.

    Parameters
    ----------
    file : Path
        test_grading.py.
    tests : list of GradingTest
    text : bytes
        Of the answers.py.
    scratch : Path
        An empty folder.
    seed : int
    limit : float
        Seconds for a task.
    walls : bool
        Whether the system grants namespaces.
    sender : multiprocessing.connection.Connection
    """
    sandbox.die_with_parent()
    sandbox.hide_memory()
    sandbox.adopt()
    threading.Thread(target=end_with_grader, daemon=True).start()
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (sandbox.MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]))
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nothing, stream)
    for name in ("assert_allclose", "assert_array_equal"):
        setattr(np.testing, name, not_of_nothing(getattr(np.testing, name)))
    room = Room(text, scratch, may_import(file), limit, walls)
    plugin = Plugin(seed, room, sender)
    try:
        pytest.main([*OPTIONS, "-c", os.devnull, "--rootdir", str(file.parent), str(file)], plugins=[plugin])
        sender.send(plugin.outcomes(tests))
    finally:
        room.end()
        room.close()
        os._exit(0)
