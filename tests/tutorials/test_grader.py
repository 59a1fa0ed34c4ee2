"""What release.py and grade.py do with bad input, and what they write. The assignment here has two tasks."""

import ast
import csv
import io
import json
import multiprocessing
import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ASSIGNMENTS = ROOT / "tutorials" / "assignments"
sys.path.insert(0, str(ASSIGNMENTS))
import assignment  # noqa: E402
import grade  # noqa: E402
import parts  # noqa: E402
import progress  # noqa: E402
import release  # noqa: E402
import remote  # noqa: E402
import sandbox  # noqa: E402
import worker  # noqa: E402

LIMIT = 8.0

SOLUTION = '''
def double(x):
    """Task 1 (60 points). Twice x."""
    ### BEGIN SOLUTION
    return 2 * x
    ### END SOLUTION


class Triple:
    """Task 2 (40 points). Three times x."""

    def forward(x):
        """Return y."""
        ### BEGIN SOLUTION
        return 3 * x
        ### END SOLUTION
'''

GRADING = '''
import pytest

MAY_IMPORT = {"numpy"}


@pytest.mark.task(1, points=50)
def test_double(answers, rng):
    """Look at the factor, which is two."""
    x = rng.standard_normal()
    assert answers.double(x) == 2 * x


@pytest.mark.task(1, points=10)
def test_double_of_zero(answers, rng):
    """Look at nought, which stays nought."""
    assert answers.double(0) == 0


@pytest.mark.task(2, points=40)
@pytest.mark.parametrize("sign", [1, -1])
def test_triple(answers, rng, sign):
    """Look at the factor, which is three."""
    x = sign * rng.random()
    assert answers.Triple.forward(x) == 3 * x
'''

# What stands at a submission's top, or in place of double's body; the points left; a part of the first reason.
AT_IMPORT = {
    "everything that is not allowed": ("from duonet import *", 0, r"^ModuleNotFoundError: answers.py imports duonet\.\*; this assignment allows numpy"),
    "no text at all": ("# -*- coding: nowhere -*-", 0, r"save it as UTF-8 \(unknown encoding: nowhere\)"),
    "sys.exit": ("raise SystemExit(0)", 0, "SystemExit"),
    "os._exit": ("import os; os._exit(0)", 0, "ended before its tests did"),
    "a crash": ("import ctypes; ctypes.string_at(0)", 0, "ended before its tests did"),
    "KeyboardInterrupt": ("raise KeyboardInterrupt", 0, "^KeyboardInterrupt$"),
    "deletes its folder": ("import os, shutil; [shutil.rmtree(path, ignore_errors=True) for path in (os.getcwd(), '..')]", 100, None),
    "megabytes printed": ("import sys\nfor f in (sys.stdout, sys.stderr): f.write('x' * 30_000_000)", 100, None),
    "a fork": ("import os; os.fork()", 100, None),
    "every descriptor written to": ("import os\nfor i in range(3, 99):\n    try: os.write(i, b'x')\n    except OSError: pass", 0, "sent what is no answer"),
    "a false message": (
        "import os, struct\nm = b'{\"nonce\": \"a\", \"reasons\": {\"test_double\": null}}'\n"
        "for i in range(3, 99):\n    try: os.write(i, struct.pack('!i', len(m)) + m)\n    except OSError: pass", 0, "sent what is no answer"
    ),
    "pytest disarmed": ("import sys; sys.modules['_pytest.python'].Function.runtest = lambda item: None", 100, None),
    "NumPy's generators replaced": ("import numpy as np; np.random.default_rng = lambda *seed: None", 100, None),
}  # fmt: skip
IN_DOUBLE = {
    "wrong": ("return x", 50, "AssertionError"),
    "an endless loop": ("while True: pass", 40, "over the time limit of 8 s, in double$"),
    "os._exit in a task": ("__import__('os')._exit(0)", 40, "ended before its tests did, .* in double$"),
    "sys.exit in a task": ("raise SystemExit(0)", 40, "SystemExit"),
    "no text": ("class E(Exception):\n        def __str__(self): raise E\n    raise E", 40, "^E$"),
    "escapes": ("raise ValueError('\\x1b[31m \\udc80 \\n end')", 40, r"ValueError: \\x1b\[31m \\udc80 end"),
    "a full disk": ("open('/dev/full', 'w', buffering=1).write('x\\n')", 40, "OSError"),
    "a large file": ("open('big', 'wb').truncate(10**9)", 40, "OSError"),
    "too much memory": ("x = bytearray(8 * 2**30)", 40, "MemoryError"),
    "an exception without a name": ("raise type('', (Exception,), {})", 40, "^Exception$"),
    "a skip": ("import unittest; raise unittest.SkipTest('so there')", 40, "SkipTest|Skipped"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Write the assignment."""
    path = tmp_path_factory.mktemp("course") / "01_factors"
    path.mkdir()
    (path / "answers.py").write_text(SOLUTION)
    (path / "test_grading.py").write_text(GRADING)
    (path / "README.md").write_text("# Factors\n")
    (path / "test_public.py").write_text("import answers\n")
    return path


def hand_in(place, name, **files):
    """Write a submission; a file's name has `_` for its dot."""
    (place / name).mkdir(parents=True)
    for file, text in files.items():
        file = file.replace("_", ".")
        (place / name / file).write_bytes(text if isinstance(text, bytes) else text.encode())
    return place / name


def marked(folder, *paths, seed=1):
    """Grade; return the outcomes by name."""
    return grade.grade_all(folder, grade.named(paths), seed, LIMIT, lambda *one: None)


def score(outcomes):
    return sum(outcome.score for outcome in outcomes)


@pytest.fixture(scope="module")
def bad(folder, tmp_path_factory):
    """Grade all the submissions that misbehave at once: the grader must come through all of them."""
    place = tmp_path_factory.mktemp("bad")
    texts = {name: f"{top}\n{SOLUTION}" for name, (top, _, _) in AT_IMPORT.items()}
    texts |= {name: SOLUTION.replace("return 2 * x", body) for name, (body, _, _) in IN_DOUBLE.items()}
    return marked(folder, *(hand_in(place, name, answers_py=text) for name, text in texts.items()))


@pytest.mark.parametrize("name", [*AT_IMPORT, *IN_DOUBLE])
def test_what_misbehaves_loses_its_own_points_alone(bad, name):
    _, points, why = (AT_IMPORT | IN_DOUBLE)[name]
    reasons = [outcome.reason for outcome in bad[name] if not outcome.passed]
    assert score(bad[name]) == points, reasons
    if why:
        assert re.search(why, reasons[0]), reasons[0]


# What stands at the top of answers.py, or in place of double's body, and breaks no more than it.
PARTLY = {
    "a syntax error": ("def ((", "pass", 100, None),
    "a syntax error in double": ("", "return (2 * x", 40, r"^SyntaxError: '\(' was never closed \(answers.py, line 6\)$"),
    "nul": ("", "return '\0'", 40, "null bytes"),
    "no such module": ("import numpy.nowhere as n", "return n.twice(x)", 40, "^ModuleNotFoundError: No module"),
    "no such name": ("from numpy import twice", "return twice(x)", 40, "^ImportError: cannot import name 'twice'"),
    "a module that is not allowed": ("import pytest, numpy as np", "return pytest.twice(x)", 40, "^ModuleNotFoundError: answers.py imports pytest; this assignment allows numpy$"),
    "not allowed, and not used": ("import pytest", "return 2 * x", 100, None),
    "not allowed in a function": ("", "import pytest; return 2 * x", 40, "imports pytest"),
    "a base that is not allowed": ("from duonet import Function\nclass Op(Function): pass", "return Op.apply(x)", 40, "imports duonet.Function"),
    "a constant from what is not allowed": ("from scipy.constants import pi\ntwo = 2 * pi / 3", "return two * x", 40, "imports scipy.constants.pi"),
    "a way out": ("try:\n    import numba\nexcept ModuleNotFoundError:\n    numba = None", "return 2 * x if numba is None else x", 100, None),
    "a test of one's own that fails": ("assert 1 > 2\nprint(1 / 0)\nname = input()", "return 2 * x", 100, None),
    "a value that fails": ("import numpy as np\ntwo = np.ones(2)[2]", "return two * x", 40, "^NameError: line 2 of answers.py failed: IndexError: index 2 is out of bounds"),
    "a value whose error has no text": ("class E(ImportError):\n    def __str__(self): 1 / 0\ndef f(): raise E\nx = f()", "return 2 * x", 100, None),
    "no such feature": ("from __future__ import nothing, annotations\ndef f(x: Nobody): pass", "return 2 * x", 100, None),
}  # fmt: skip


@pytest.fixture(scope="module")
def partly(folder, tmp_path_factory):
    place = tmp_path_factory.mktemp("partly")
    texts = {
        name: f"{top}\n{SOLUTION.replace('return 2 * x', body if body != 'pass' else 'return 2 * x')}"
        for name, (top, body, _, _) in PARTLY.items()
    }
    return marked(folder, *(hand_in(place, name, answers_py=text) for name, text in texts.items()))


@pytest.mark.parametrize("name", PARTLY)
def test_an_import_or_a_syntax_error_costs_what_needs_it_alone(partly, name):
    *_, points, why = PARTLY[name]
    reasons = [outcome.reason for outcome in partly[name] if not outcome.passed]
    assert score(partly[name]) == points, reasons
    assert all(re.search(why, reason) for reason in reasons)


def test_a_reason_that_costs_several_tests_is_told_once(partly):
    name = "a module that is not allowed"
    assert grade.table(name, partly[name]).count("imports pytest") == 1
    assert grade.lost(partly[name]) == f"task 1 (-60): {partly[name][0].reason}"


def test_nothing_but_answers_is_taken_from_a_submission(folder, tmp_path):
    trap = "raise SystemExit\n"
    path = hand_in(
        tmp_path, "with a space", answers_py=SOLUTION, conftest_py=trap, numpy_py=trap, sitecustomize_py=trap
    )
    (path / "pytest.ini").write_text("[pytest]\naddopts = --collect-only\n")
    assert score(marked(folder, path)["with a space"]) == 100


def test_line_ends_of_windows_and_a_byte_order_mark_do_no_harm(folder, tmp_path):
    text = b"\xef\xbb\xbf" + SOLUTION.replace("\n", "\r\n").encode()
    assert score(marked(folder, hand_in(tmp_path, "windows", answers_py=text))["windows"]) == 100


def test_a_text_in_another_encoding_is_asked_for_as_utf_8():
    for text in ("# ü\nx = 1".encode("latin-1"), b"x = 1\n\n\n# \xfc", "x = 1".encode("utf-16")):
        with pytest.raises(SyntaxError, match=r"^answers.py cannot be read; save it as UTF-8 \("):
            parts.statements(text)


def test_a_machine_too_busy_to_start_a_submission_is_no_mistake_of_it(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(worker, "STARTS", 1e-6)
    monkeypatch.setattr(sandbox, "end_children", lambda: None)  # the tests' process has other children too
    room = worker.Room(b"", tmp_path, {"numpy"}, LIMIT, False)
    with pytest.raises(remote.Lost, match="starved"):
        room.begin()
    assert room.starter is None and "grade it again" in worker.WHY["starved"]


def test_a_submission_without_usable_answers_gets_nothing(folder, tmp_path):
    hand_in(tmp_path, "empty")
    hand_in(tmp_path, "huge", answers_py="#" * 2_000_000)
    (hand_in(tmp_path, "folder") / "answers.py").mkdir()
    (hand_in(tmp_path, "link") / "answers.py").symlink_to(folder / "answers.py")
    os.mkfifo(hand_in(tmp_path, "pipe") / "answers.py")
    (hand_in(tmp_path, "capital") / "Answers.py").write_text("")
    hand_in(hand_in(tmp_path, "nested"), "hw1", answers_py="")
    graded = marked(folder, *sorted(tmp_path.iterdir()))
    assert [score(outcomes) for outcomes in graded.values()] == [0] * 7
    reasons = {name: outcomes[0].reason for name, outcomes in graded.items()}
    assert reasons["empty"] == reasons["folder"] == reasons["pipe"] == "there is no file answers.py"
    assert reasons["capital"] == "there is no file answers.py; there is Answers.py"
    assert reasons["nested"] == "there is no file answers.py; there is hw1/answers.py"
    assert "larger than 1,048,576 bytes" in reasons["huge"] and "is a link" in reasons["link"]


def test_names_of_submissions_are_told_apart(tmp_path):
    one, two = hand_in(tmp_path, "x/alice", answers_py=""), hand_in(tmp_path, "y/alice", answers_py="")
    bob = hand_in(tmp_path, "bob", answers_py="")
    assert list(grade.named([bob, one, two, bob])) == ["bob", str(one), str(two)]
    assert list(grade.named([bob / "answers.py"])) == ["bob"]


def run(*arguments, **options):
    """Run one of the two programs as a user does."""
    return subprocess.run([sys.executable, *map(str, arguments)], capture_output=True, text=True, **options)


def test_the_command_prints_a_table_and_writes_both_files(tmp_path):
    solution = ASSIGNMENTS / "01_autodiff_ops"
    files = ("--json", tmp_path / "r.json", "--csv", tmp_path / "r.csv")
    done = run(ASSIGNMENTS / "grade.py", "01", solution / "student", solution, "--seed", 7, *files)
    said = [line for line in done.stderr.splitlines() if line != grade.NO_WALLS and "graded 1 of" not in line]
    assert done.returncode == 0 and said == ["graded 2 of 2"], done.stderr
    assert "seed 7" in done.stdout and "student: 0 of 100 points" in done.stdout
    assert "all tests: NotImplementedError: task 2: MatMul.forward" in done.stdout
    assert "2 submissions: mean 50.0, median 50 of 100 points" in done.stdout
    assert (tmp_path / "r.csv").read_bytes().startswith("\ufeff".encode()), "Excel takes it for another encoding"
    rows = list(csv.reader((tmp_path / "r.csv").open(newline="", encoding="utf-8-sig")))
    assert rows[0] == ["submission", "total", *(f"task {n}" for n in range(1, 7)), "seed", "reason"]
    assert rows[1][:2] == ["student", "0"] and rows[2][:2] == ["01_autodiff_ops", "100"] and rows[2][-2] == "7"
    assert sum(map(int, rows[2][2:-2])) == 100 and rows[2][-1] == ""
    assert "task 2 (-12): NotImplementedError: task 2: MatMul.forward" in rows[1][-1]
    submissions = json.loads((tmp_path / "r.json").read_text())["submissions"]
    assert submissions["student"]["score"] == 0 and submissions["01_autodiff_ops"]["score"] == 100
    assert {path.name for path in tmp_path.iterdir()} == {"r.json", "r.csv"}


def test_the_json_of_one_submission_is_what_gradescope_reads(folder, tmp_path):
    graded = marked(folder, hand_in(tmp_path, "a", answers_py=SOLUTION.replace("3 * x", "x")), seed=5)
    grade.write_json(tmp_path / "results.json", graded, 5)
    found = json.loads((tmp_path / "results.json").read_text())
    assert set(found) == {"score", "output", "visibility", "tests"} and found["score"] == 60
    assert [test["number"] for test in found["tests"]] == ["1.1", "1.2", "2.1"]
    assert found["tests"][0] == {
        "name": "task 1: double", "number": "1.1", "score": 50, "max_score": 50, "status": "passed", "output": "",
        "visibility": "visible",
    }  # fmt: skip
    assert found["tests"][2]["status"] == "failed" and found["tests"][2]["score"] == 0
    assert found["tests"][2]["output"].startswith("Look at the factor, which is three.\nAssertionError")


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["99", "."], "there is no assignment '99'; there are 01, 02"),
        (["01", "nowhere"], "there is no nowhere"),
        (["01", ".", "--json", "nowhere/r.json"], "there is no folder nowhere"),
        (["01", ".", "--seed", "-1"], "invalid whole value"),
        (["01", ".", "--limit", "nan"], "invalid positive value"),
    ],
)
def test_a_bad_command_line_is_refused_before_anything_is_graded(tmp_path, monkeypatch, capsys, arguments, words):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["grade.py", *arguments])
    with pytest.raises(SystemExit) as ended:
        grade.main()
    said = capsys.readouterr()
    assert words in f"{said.err} {ended.value}" and not said.out and not list(tmp_path.iterdir())


def test_a_file_that_cannot_be_written_is_refused_before_anything_is_graded(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path)  # root may write anywhere
    with pytest.raises(assignment.UsageError, match="r.csv cannot be written"):
        grade.check_outputs(None, tmp_path / "r.csv")
    (tmp_path / "r.csv").touch()
    grade.check_outputs(tmp_path / "r.csv", Path("/dev/stdout"))


def test_what_is_ended_does_not_count_as_graded(folder, tmp_path, monkeypatch):
    begun, count = threading.Event(), []

    def one(server, file, tests, path, *rest):
        if path.name == "slow":
            begun.set()
            time.sleep(0.1)
        return []

    def interrupted(name, outcomes):
        begun.wait()
        raise KeyboardInterrupt

    monkeypatch.setattr(grade, "start_server", lambda: None)
    monkeypatch.setattr(grade, "grade", one)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    submissions = {name: tmp_path / name for name in ("fast", "slow")}
    with pytest.raises(KeyboardInterrupt):
        grade.grade_all(folder, submissions, 1, LIMIT, interrupted, False, lambda: count.append(1))
    assert count == [1]


def test_release_makes_the_bundle_and_refuses_what_is_there(tmp_path):
    done = run(ASSIGNMENTS / "release.py", "01", tmp_path / "out")
    assert done.returncode == 0 and not done.stderr
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "README.md",
        "answers.py",
        "requirements.txt",
        "test_public.py",
    }
    for arguments, words in (
        (["01", tmp_path / "out"], "out exists already"),
        (["99", tmp_path / "new"], "there is no assignment '99'"),
        (["01", tmp_path / "no" / "where"], "there is no folder"),
    ):
        done = run(ASSIGNMENTS / "release.py", *arguments)
        assert done.returncode == 1 and words in done.stderr and done.stderr.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["out"], "nothing half-made is left"


def test_a_starter_keeps_everything_but_the_solutions():
    starter = release.starter(SOLUTION)
    assert (
        'def double(x):\n    """Task 1 (60 points). Twice x."""\n    raise NotImplementedError("task 1: double")\n'
        in starter
    )
    assert '        raise NotImplementedError("task 2: Triple.forward")\n' in starter
    assert "return" not in starter.replace("Return y", "")


@pytest.mark.parametrize(
    "spoilt, words",
    [
        (SOLUTION.replace("    ### END SOLUTION\n", "", 1), "begins inside another"),
        (SOLUTION.replace("### BEGIN SOLUTION", "", 1), "not both"),
        (SOLUTION.replace("Task 1 (60 points). ", ""), "begins with its task"),
    ],
)
def test_a_solution_that_cannot_be_cut_out_is_not_released(spoilt, words):
    with pytest.raises(ValueError, match=words):
        release.starter(spoilt)


def test_which_imports_are_allowed():
    def refused(text):
        namespace = {"__name__": "answers"}
        try:
            parts.run(text.encode(), {"numpy", "duonet.Tensor", "duonet.quant"}, namespace)
        except ImportError as error:
            return str(error)
        return next((value._text for value in namespace.values() if type(value) is parts.Missing), "")

    fine = ["import math, numpy as np", "from numpy.linalg import norm", "from duonet import Tensor", "from duonet import quant",
            "from duonet.quant import Sign", "import duonet.quant.staircase", "from collections import abc"]  # fmt: skip
    assert not [text for text in fine if refused(text)]
    for text in ("import duonet", "from duonet import *", "from duonet import functional", "import numpy, scipy.linalg",
                 "from . import test_grading", "from duonet import Tensor, nn"):  # fmt: skip
        assert "this assignment allows duonet.Tensor, duonet.quant, numpy" in refused(text), text


@pytest.mark.parametrize("text", [SOLUTION, "\ufeff" + SOLUTION, SOLUTION.replace("\n", "\r\n")])
def test_the_parts_of_a_file_that_can_be_read_are_those_of_the_whole(text):
    whole, broken = (parts.statements(t.encode()) for t in (text, text + "\nx = (1,\n"))
    assert [ast.dump(s) for s in broken[:-1]] == [ast.dump(s) for s in whole]
    assert broken[-1].names == ["x"] and broken[-1].error.lineno == text.count("\n") + 2


def test_text_over_several_lines_is_no_end_of_a_statement():
    text = 'x = """one\ntwo = 3\n"""\ny = f(\nx,\n)\n@g\n@h\ndef z(): pass\ndef (:\n'
    found = [s if isinstance(s, parts.Broken) else parts.names_of(s) for s in parts.statements(text.encode())]
    assert found[:-1] == [["x"], ["y"], ["z"]] and isinstance(found[-1], parts.Broken)


def test_a_wrong_submission_that_no_longer_fits_is_an_error(folder):
    tests = assignment.grading_tests(folder)
    wrong = assignment.Wrong("factor", {"2 * x": "x"}, ["task 1"])
    assert wrong.lost(tests) == {"test_double", "test_double_of_zero"} and "return x\n" in wrong.answers(SOLUTION)
    with pytest.raises(ValueError, match="factor: expected once in answers.py, found 2"):
        wrong._replace(edits={"BEGIN": ""}).answers(SOLUTION)
    for loses in (["test_gone"], ["task 3"]):
        with pytest.raises(ValueError, match="factor: loses names what is not in test_grading.py"):
            wrong._replace(loses=loses).lost(tests)


def test_the_teachers_page_states_the_limits_that_there_are():
    page = (ASSIGNMENTS / "README.md").read_text(encoding="utf-8")
    assert f"with {grade.LIMIT:g} s" in page and f"{sandbox.MEMORY // 2**30} GiB of memory" in page
    assert f"{sandbox.FILE // 2**20} MiB" in page and f"{sandbox.PROCESSES} processes" in page
    folders = re.findall(r"^\| `(\d\d_\w+)` \|", page, re.M)
    assert {assignment.find(number).name for number in assignment.numbers()} <= set(folders)


def test_the_teachers_page_shows_what_the_grader_prints(tmp_path):
    page = (ASSIGNMENTS / "README.md").read_text(encoding="utf-8")
    solution = (ASSIGNMENTS / "01_autodiff_ops" / "answers.py").read_text(encoding="utf-8")
    alice = hand_in(tmp_path, "alice", answers_py=solution.replace(" / ties,)", ",)"))
    printed = grade.table("alice", marked(assignment.find("01"), alice)["alice"])
    shown = re.search(r"```text\n(.*?)\n```", page, re.S).group(1)
    for seen, written in zip(printed.splitlines(), shown.splitlines(), strict=True):
        assert seen.startswith(written.split(" Mismatched")[0])


def test_grading_needs_neither_the_solution_nor_the_mistakes(folder, tmp_path):
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "test_grading.py").write_text(GRADING)
    assert score(marked(bare, hand_in(tmp_path, "a", answers_py=SOLUTION))["a"]) == 100


def outcomes_of(*passed):
    tests = [assignment.GradingTest(f"test_{i}", 1 + i // 2, 25, f"Hint {i}.") for i in range(4)]
    return [grade.Outcome(test, ok, "" if ok else "wrong") for test, ok in zip(tests, passed)]


def test_the_summary_of_a_class_says_how_many_have_how_much_and_what_most_lost():
    graded = {"a": outcomes_of(1 == 1, True, True, True), "b": outcomes_of(True, True, False, True)}
    graded |= {"c": outcomes_of(False, False, False, True), "d": outcomes_of(False, False, False, False)}
    lines = grade.summary(graded).splitlines()
    assert lines[0] == "4 submissions: mean 50.0, median 50 of 100 points"
    assert [line.split()[:4] for line in lines[1:11] if "#" in line] == [
        ["0", "to", "9", "1"], ["20", "to", "29", "1"], ["70", "to", "79", "1"], ["90", "to", "100", "1"]
    ]  # fmt: skip
    assert lines[11] == "  lost by   3: task 2, test_2 (-25): Hint 2."


class Stream(io.StringIO):
    def __init__(self, watched):
        super().__init__()
        self.isatty = lambda: watched


def test_progress_is_a_bar_for_who_watches_and_lines_for_others(monkeypatch):
    said = {}
    for watched in (True, False):
        monkeypatch.setattr(sys, "stderr", Stream(watched))
        with progress.Progress(120) as shown:
            for _ in range(120):
                shown.advance()
        said[watched] = sys.stderr.getvalue()
    assert "/120" in said[True] and "\r" in said[True]
    assert said[False] == "graded 120 of 120\n"
    monkeypatch.setattr(sys, "stderr", Stream(False))
    with progress.Progress(1) as shown:
        shown.advance()
    assert sys.stderr.getvalue() == "", "one alone"


@pytest.mark.parametrize(
    "text, said",
    [
        ("in place,\n please\nassert np.False_\n +  where np.False_ = any()", "AssertionError: in place, please"),
        ("assert 3 == 4", "AssertionError: assert 3 == 4"),
        ("", "AssertionError"),
    ],
)
def test_a_hint_is_not_followed_by_what_pytest_adds(text, said):
    assert worker.in_one_line(AssertionError(text)) == said


def test_results_keep_their_order_whatever_ends_first(folder, tmp_path, monkeypatch):
    names, ended = [f"s{i:03d}" for i in range(120)], []

    def slow_first(server, file, tests, path, *rest):
        time.sleep(0.1 if path.name == "s000" else 0.001)
        ended.append(path.name)
        return [grade.Outcome(test, False, "no") for test in tests]

    monkeypatch.setattr(grade, "start_server", lambda: None)
    monkeypatch.setattr(grade, "grade", slow_first)
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    shown, count = [], []
    graded = grade.grade_all(
        folder,
        {n: tmp_path / n for n in names},
        1,
        LIMIT,
        lambda name, _: shown.append(name),
        False,
        lambda: count.append(1),
    )
    assert list(graded) == shown == names and len(count) == 120 and ended[0] != "s000"


def test_a_judge_that_does_not_answer_is_said_to_be_at_a_test(folder, tmp_path, monkeypatch):
    class Server:
        def Pipe(self, duplex):
            return multiprocessing.Pipe(duplex)

        class Process:
            def __init__(self, target, args):
                self.sender = args[-1]

            def start(self):
                self.sender.send(", at test_triple[1]")

            join = kill = close = lambda self, *rest: None

    monkeypatch.setattr(grade, "MARGIN", 0.0)
    (one, *_) = grade.grade(
        Server(), None, outcomes_of(True)[0][:1], hand_in(tmp_path, "a", answers_py=""), 1, 0.01, False
    )
    assert one.reason == "over the time limit of the whole submission, or its judge ended, at test_triple[1]"
