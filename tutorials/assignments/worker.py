"""Grade one task of one submission: what runs in a process of its own, beside the submission's code.

`grade.py` starts it. Names that judge (the generator of `rng`, pytest's hooks, what test_grading.py imports) are
bound before the fixture `answers` imports the submission.
"""

import ast
import contextlib
import functools
import importlib
import json
import os
import resource
import sys
import zlib

import numpy as np
import pytest
from numpy.random import default_rng

MEMORY = 4 * 2**30  # bytes of address space
FILE = 64 * 2**20  # bytes in any one file that a submission writes
REASON = 200  # characters
# A test run after the others: if it passes, the submission has disarmed NumPy's comparisons or pytest.
MUST_FAIL = "test_that_must_fail"
CONTROL = f"""
from numpy.testing import assert_allclose, assert_array_equal


def {MUST_FAIL}():
    for compare in (assert_allclose, assert_array_equal):
        try:
            compare([1.0, 2.0], [1.0, 3.0])
        except AssertionError:
            continue
        return
    assert [1, 2] == [1, 3]
"""
OPTIONS = [
    "--capture=no",  # output goes to nowhere, not into pytest's own files
    "--noconftest",
    "--tb=no",  # to lay out one traceback takes longer than all tests
    *("-p", "no:cacheprovider"),
    *("-p", "no:unraisableexception"),  # it collects garbage several times, which is half of the run
]


class Plugin:
    """The pytest plugin: the fixtures `answers` and `rng`, one task's tests alone, and a record of what failed.

    Attributes
    ----------
    reasons : dict
        For each test function, None if all its cases passed, else the first failure in one line.
    """

    def __init__(self, folder, task, seed):
        self.folder, self.task, self.seed = folder, task, seed
        self.reasons = {}
        self.submission = None  # the module
        self.refused = None  # or what importing it raised

    def pytest_configure(self, config):
        """Make the marker known."""
        config.addinivalue_line("markers", "task(number, points): which task a grading test belongs to")

    def pytest_collection_modifyitems(self, items):
        """Keep the tests of this task and, as the last, the one that must fail."""
        tests = [item for item in items if item.name != MUST_FAIL]
        control = [item for item in items if item.name == MUST_FAIL]
        items[:] = [test for test in tests if test.get_closest_marker("task").args[0] == self.task] + control

    @pytest.fixture
    def answers(self, request):
        """Import the submission, once; whatever it raises there fails every test."""
        if self.refused:
            raise self.refused
        if not self.submission:
            try:
                refuse_imports(self.folder / "answers.py", request.module.MAY_IMPORT)
                self.submission = importlib.import_module("answers")
            except BaseException as error:  # SystemExit is none of Exception's
                self.refused = error
                raise
        return self.submission

    @pytest.fixture
    def rng(self, request):
        """Give each case of each test its own generator, which depends on its name and on the grader's seed."""
        return default_rng([self.seed, zlib.crc32(request.node.name.encode())])

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item, call):
        """Note a failure. A skipped test is one: no submission may excuse itself."""
        report = yield
        name = item.originalname
        if report.when == "call" and report.passed:
            self.reasons.setdefault(name, None)
        elif report.when != "teardown" and not report.passed and self.reasons.get(name) is None:
            self.reasons[name] = in_one_line(call.excinfo.value)
        return report


def of_plain_arrays(compare):
    """Make a comparison look at numbers alone: a subclass of ndarray may say that it equals anything."""

    @functools.wraps(compare)
    def compare_plain(actual, expected, *arguments, **options):
        return compare(np.asarray(actual), np.asarray(expected), *arguments, **options)

    return compare_plain


def in_one_line(error):
    """Say what an exception says, cut short."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}"[:REASON] if text else type(error).__name__


def refuse_imports(path, allowed):
    """Raise ImportError if a file imports something that is neither of the standard library nor allowed.

    Parameters
    ----------
    path : Path
    allowed : set of str
        As {"numpy", "duonet.Tensor"}: a name allows what lies below it too.
    """
    for node in ast.walk(ast.parse(path.read_bytes(), path.name)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{'.' * node.level}{node.module or ''}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            parents = {name.rsplit(".", cut)[0] for cut in range(name.count(".") + 1)}
            if not parents & allowed and name.split(".")[0] not in sys.stdlib_module_names:
                raise ImportError(
                    f"answers.py imports {name}; this assignment allows {', '.join(sorted(allowed))}"
                )


def grade(folder, task, seed, nonce, sender):
    """Run the grading tests of one task in this process, and send what came of them.

    Parameters
    ----------
    folder : Path
        Holds `home/answers.py` and `tests/test_grading.py`.
    task, seed : int
    nonce : str
        Sent back, as a sign that the message is from here.
    sender : multiprocessing.connection.Connection
    """
    os.setsid()  # a group of its own, so that the grader can end whatever the submission starts
    pid = os.getpid()
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nothing, stream)
    for descriptor in {int(name) for name in os.listdir("/dev/fd")} - {0, 1, 2, sender.fileno()}:
        with contextlib.suppress(OSError):  # the one that listed the others
            os.close(descriptor)  # the grader's own
    for limit, most in ((resource.RLIMIT_AS, MEMORY), (resource.RLIMIT_FSIZE, FILE), (resource.RLIMIT_CORE, 0)):
        with contextlib.suppress(ValueError, OSError):  # macOS does not limit memory
            resource.setrlimit(limit, (most, most))
    home = folder / "home"
    os.environ["HOME"] = str(home)
    os.chdir(home)
    sys.path.insert(0, str(home))
    for name in ("assert_allclose", "assert_array_equal"):  # before test_grading.py imports them
        setattr(np.testing, name, of_plain_arrays(getattr(np.testing, name)))
    (folder / "tests" / "test_control.py").write_text(CONTROL)
    plugin = Plugin(home, task, seed)
    pytest.main([*OPTIONS, "-c", str(folder / "tests" / "pytest.ini"), str(folder / "tests")], plugins=[plugin])
    if os.getpid() == pid:  # a child that the submission forked and that came this far has nothing to say
        sender.send_bytes(json.dumps({"nonce": nonce, "reasons": plugin.reasons}).encode())
    os._exit(0)  # no exit handlers of the submission, no waiting for its threads
