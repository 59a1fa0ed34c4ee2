"""Points that are not earned, and attempts to end the grading of a class. Here the answer to task 1 is always wrong."""

import csv
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from test_grader import ASSIGNMENTS, GRADING, SOLUTION, hand_in, score

sys.path.insert(0, str(ASSIGNMENTS))
import grade  # noqa: E402
import remote  # noqa: E402
import sandbox  # noqa: E402

WALLS = grade.walls_possible()
needs_walls = pytest.mark.skipif(not WALLS, reason="this system grants no namespaces")
LIMIT = 6.0
WRONG = SOLUTION.replace("return 2 * x", "return cheat(x)")

FRAMES = """
import sys
def cheat(x):
    frame = sys._getframe()
    while frame:
        names = {**frame.f_globals, **frame.f_locals}
        if "answers" in names and "rng" in names or "test_double" in names:
            return 2 * x
        frame = frame.f_back
    return x
"""
GARBAGE = """
import gc
def cheat(x):
    for thing in gc.get_objects():
        if type(thing).__name__ in ("Plugin", "Function") or hasattr(thing, "passed"):
            return 2 * x
    return x
"""
LOOKS_LIKE_IT = """
import numpy as np
class Equal(float):
    __eq__ = __ne__ = lambda self, other: True
    __hash__ = None
def cheat(x):
    return Equal(x)
"""
EQUAL_ARRAY = """
import numpy as np
class Equal(np.ndarray):
    def __eq__(self, other): return True
    def __array_ufunc__(self, *rest, **options): return True
def cheat(x):
    return np.asarray(x).view(Equal)
"""
POINTS_TO_MEMORY = """
class Address:
    __array_interface__ = {"shape": (10**6,), "typestr": "<f8", "data": (1, False), "version": 3}
    __array_struct__ = property(lambda self: 1 / 0)
def cheat(x):
    return Address()
"""
REPLACED = """
import sys, builtins
for name, module in list(sys.modules.items()):
    for attribute in list(vars(module)):
        if attribute in ("in_one_line", "makereport", "pytest_runtest_makereport", "outcomes", "assert_allclose",
                         "assert_array_equal", "judge", "printable", "rebuilt", "score", "passed"):
            setattr(module, attribute, lambda *rest, **options: None)
builtins.AssertionError = builtins.Exception = type("Never", (BaseException,), {})
def cheat(x):
    return x
"""
# Functions of remote.py as a submission finds them, told to send something else.
SENDS = """
import sys
remote = sys.modules["remote"]
old = remote.Channel.send
def send(self, message):
    old(self, {message})
def cheat(x):
    remote.Channel.send = send
    return x
"""
CHEATS = {
    "frames walked": FRAMES,
    "objects looked through": GARBAGE,
    "a float that equals anything": LOOKS_LIKE_IT,
    "an array that equals anything": EQUAL_ARRAY,
    "an address": POINTS_TO_MEMORY,
    "everything replaced": REPLACED,
    "sys.modules emptied": "import sys\nsys.modules.clear()\ndef cheat(x): return x\n",
    "a threat": "import threading, os\ndef cheat(x): threading.Timer(.1, os._exit, [0]).start(); return x\n",
    "a trace function": "import sys\nsys.settrace(lambda *rest: None)\ndef cheat(x): return x\n",
    "nothing": "def cheat(x): return None\n",
    "itself": "def cheat(x): return cheat\n",
    "another generator": "def cheat(x): return (part for part in [2 * x])\n",
    "an endless list": "import itertools\ndef cheat(x): return itertools.count()\n",
    "a number beyond all bounds": "def cheat(x): return 10 ** 100_000\n",
    "a list in itself": "def cheat(x):\n    y = []\n    y.append(y)\n    return y\n",
    "an array of objects": "import numpy as np\ndef cheat(x): return np.array([x, cheat], object)\n",
    "a large array": "import numpy as np\ndef cheat(x): return np.zeros(10**8)\n",
}
MESSAGES = {
    "no reply": "7",
    "a deep one": "eval('[' * 80 + ']' * 80)",
    "a key of the judge's": "{'changed': [], 'value': ['s', 1, ['<f8', [1], 'AAAA'], None]}",
    "a change of nothing": "{'changed': [[99, ['<f8', [], '']]], 'value': 1}",
    "pickled objects": "{'changed': [], 'value': ['s', 2, ['|O', [1], 'AAAAAAAAAAA='], None]}",
    "a negative shape": "{'changed': [], 'value': ['s', 2, ['<f8', [-1], 'AAAAAAAAAAA='], None]}",
    "a dtype that is code": "{'changed': [], 'value': ['n', '(99999,99999)f8', '']}",
    "a call of what was never given": "{'changed': [], 'do': 'call', 'what': 10**9, 'name': None, 'args': ['t', []], 'options': ['d', []]}",
    "a question": "{'changed': [], 'do': 'get', 'what': 0, 'name': 'passed', 'args': ['t', []], 'options': ['d', []]}",
    "an error that ends": "{'changed': [], 'error': ['SystemExit', '0']}",
    "an object in place of a number": "{'changed': [], 'value': ['y', 0]}",
}
CHEATS |= {f"sent: {name}": SENDS.replace("{message}", text) for name, text in MESSAGES.items()}

# Attempts to end the grading. Where walls are, process 1 is the submission itself.
KILLS = {
    "the parent killed": "import os\ndef cheat(x): os.getppid() and os.kill(os.getppid(), 9); return x\n",
    "the parent stopped": "import os, signal\ndef cheat(x):\n    os.getppid() and os.kill(os.getppid(), signal.SIGSTOP)\n    return x\n",
    "its group killed": "import os\ndef cheat(x): os.killpg(0, 9); return x\n",
    "stopped": "import os, signal\ndef cheat(x): os.kill(os.getpid(), signal.SIGSTOP); return x\n",
    "deep folders": "import os\ndef cheat(x):\n    for _ in range(1500): os.mkdir('d'); os.chdir('d')\n    return x\n",
    "many processes": "import os, time\ndef cheat(x):\n    for _ in range(99):\n        if os.fork() == 0: time.sleep(99)\n    return x\n",
    "signals ignored": "import signal\ndef cheat(x):\n    for n in set(signal.Signals) - {9, 19}: signal.signal(n, signal.SIG_IGN)\n    while True: pass\n",
    "a deep recursion": "import sys\nsys.setrecursionlimit(10**9)\ndef cheat(x): return cheat(x)\n",
    "a deep expression": "def cheat(x): return eval('-' * 10**6 + 'x')\n",
}
WALLED_KILLS = {
    "all processes killed": "import os\ndef cheat(x): os.getpid() == 1 and os.kill(-1, 9); return x\n",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Write an assignment of two tasks, of which the cheats leave the first unsolved."""
    path = tmp_path_factory.mktemp("course") / "01_factors"
    path.mkdir()
    (path / "answers.py").write_text(SOLUTION)
    (path / "test_grading.py").write_text(GRADING)
    return path


def marked(folder, place, texts, walls=WALLS, **more):
    paths = {name: hand_in(place, f"s{i}", answers_py=text) for i, (name, text) in enumerate(texts.items())}
    return grade.grade_all(folder, paths | more, 1, LIMIT, lambda *one: None, walls)


def reasons(outcomes):
    return [outcome.reason for outcome in outcomes]


@pytest.fixture(scope="module")
def cheats(folder, tmp_path_factory):
    texts = CHEATS | KILLS | (WALLED_KILLS if WALLS else {})
    texts = {name: text + WRONG for name, text in texts.items()} | {"honest": SOLUTION}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "cpu_count", lambda: 4)  # some of them do nothing until their time is over
        return marked(folder, tmp_path_factory.mktemp("cheats"), texts)


@pytest.mark.parametrize("name", [*CHEATS, *KILLS, *(WALLED_KILLS if WALLS else {})])
def test_a_cheat_earns_nothing(cheats, name):
    assert not cheats[name][0].passed, reasons(cheats[name])
    assert cheats[name][0].reason


def test_the_honest_one_beside_them_loses_nothing(cheats):
    assert score(cheats["honest"]) == 100, reasons(cheats["honest"])


def test_without_walls_the_grader_outlives_them_as_well(folder, tmp_path, monkeypatch):
    names = ["the parent killed", "the parent stopped", "deep folders", "everything replaced"]
    texts = {name: (CHEATS | KILLS)[name] + WRONG for name in names}
    make, made = grade.tempfile.mkdtemp, []

    def noted(*rest, **options):
        made.append(make(*rest, **options))
        return made[-1]

    monkeypatch.setattr(grade.tempfile, "mkdtemp", noted)
    graded = marked(folder, tmp_path, texts | {"honest": SOLUTION}, walls=False)
    assert score(graded["honest"]) == 100, reasons(graded["honest"])
    assert not [name for name in names if graded[name][0].passed]
    scratch = [path for path in made if "grade-" in path]
    assert scratch and not any(map(os.path.exists, scratch)), "it leaves its scratch folders"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says who goes first")
def test_where_memory_runs_out_submissions_go_first(folder, tmp_path):
    asks = "def cheat(x): raise ValueError(open('/proc/self/oom_score_adj').read())\n" + WRONG
    assert reasons(marked(folder, tmp_path, {"asks": asks}, walls=False)["asks"])[0] == "ValueError: 1000"


ARRAYS = """
import pytest
from numpy.testing import assert_allclose

MAY_IMPORT = {"numpy"}


@pytest.mark.task(1, points=1)
def test_double(answers, rng):
    \"\"\"What is expected is computed late.\"\"\"
    x = rng.standard_normal(3)
    y = answers.double(x)
    answers.double(x + 1)
    assert_allclose(y, 2 * x)


@pytest.mark.task(1, points=1)
def test_all(answers, rng):
    \"\"\"A loop may not end early.\"\"\"
    xs = rng.standard_normal((4, 3))
    for y, x in zip(map(answers.double, xs), xs):
        assert_allclose(y, 2 * x)


@pytest.mark.task(1, points=1)
def test_double_of_a_number(answers, rng):
    \"\"\"A number agrees with nothing but a number.\"\"\"
    x = rng.standard_normal()
    assert_allclose(answers.double(x), 2 * x)


@pytest.mark.task(1, points=1, changes=True)
def test_fill(answers, rng):
    \"\"\"Here it must change what it is given.\"\"\"
    x = rng.standard_normal(3)
    answers.fill(x)
    assert_allclose(x, [7, 7, 7])
"""
FILL = "import numpy as np\ndef fill(x): x[...] = 7\n"
ASKED = "class Asked:\n    def __sub__(self, other): return 0.0\n    __add__ = __mul__ = __sub__\n"
LATE_CHEATS = {
    "its input zeroed": "def double(x):\n    if np.ndim(x): x[...] = 0\n    return 0 * x\n",
    "an input zeroed later, by a view": (
        "kept = []\ndef double(x):\n    if not np.ndim(x): return 0.0\n    kept.append(x)\n"
        "    kept[0][...] = 0\n    return kept[0][:] if len(kept) % 2 == 0 else np.zeros(3)\n"
    ),
    "nothing in place of a number": "def double(x): return np.empty(0)\n",
    "an object asked for its difference": ASKED + "def double(x): return Asked()\n",
    "objects asked for their difference": ASKED + "def double(x): return [Asked() for _ in range(np.size(x))]\n",
    "a loop ended": "def double(x): raise StopIteration\n",
    "a huge shape": "def double(x): return np.empty((2**60, 0))\n",
    "honest": "def double(x): return 2 * x\n",
}


def test_no_comparison_passes_by_what_is_compared(tmp_path):
    folder = tmp_path / "01_arrays"
    folder.mkdir()
    (folder / "test_grading.py").write_text(ARRAYS)
    graded = marked(folder, tmp_path, {name: FILL + text for name, text in LATE_CHEATS.items()}, walls=False)
    assert {name: score(outcomes) for name, outcomes in graded.items()} == dict.fromkeys(LATE_CHEATS, 1) | {
        "honest": 4
    }, {name: reasons(outcomes) for name, outcomes in graded.items()}


LOOKS_AROUND = """
import ctypes, os, socket
def cheat(x):
    seen = [path for path in {paths!r} if os.path.lexists(path)]
    seen += [name for name in os.environ if name not in ("HOME", "PATH", "LANG", "TMPDIR") and not name.endswith("THREADS")]
    seen += [os.getpid()] if os.getpid() > 2 else []
    try:
        seen.append(socket.create_connection(("127.0.0.1", {port}), 1))
    except OSError:
        pass
    for module in ("duonet", "worker", "grade", "assignment", "pytest"):
        try:
            seen.append(__import__(module))
        except ImportError:
            pass
    library = ctypes.CDLL(None)  # namespaces of its own would have file systems of any size
    seen += [n for n in (0x10000000, 0x00020000, 0x10020000) if library.unshare(n) == 0]
    for path in ("/written", "/usr/written", os.path.dirname(os.__file__) + "/written"):
        try:
            seen.append(open(path, "w"))
        except OSError:
            pass
    raise ValueError(f"seen: {{seen}}")
"""


@needs_walls
def test_behind_walls_there_is_neither_file_nor_network(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("SECRET_TOKEN", "xyzzy")
    neighbour = hand_in(tmp_path, "neighbour", answers_py=SOLUTION)
    paths = [
        folder,
        neighbour,
        ASSIGNMENTS,
        __file__,
        "/proc/self",
        "/etc/passwd",
        "/home/answers.txt",
        "/sys",
    ]
    with socket.create_server(("127.0.0.1", 0)) as server:
        text = LOOKS_AROUND.format(paths=[*map(str, paths)], port=server.getsockname()[1]) + WRONG
        path = hand_in(tmp_path, "spy", answers_py=text)
        found = reasons(grade.grade_all(folder, {"spy": path}, 1, LIMIT, lambda *one: None)["spy"])[0]
    assert found.endswith("ValueError: seen: []"), found


@needs_walls
@pytest.mark.skipif(os.getuid() != 0, reason="to become another user takes root")
def test_walls_need_no_root():
    with grade.scratch() as place:
        place.chmod(0o777)
        child = os.fork()
        if child == 0:
            try:
                os.setgroups([])
                os.setgid(sandbox.NOBODY)
                os.setuid(sandbox.NOBODY)
                sandbox.system(
                    "prctl", sandbox.DUMPABLE, 1, 0, 0, 0
                )  # as after an exec: it may write to its uid_map
                os._exit(0 if sandbox.possible(place) else 1)
            finally:
                os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_the_grader_says_where_there_are_no_walls(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(grade, "walls_possible", lambda: False)
    monkeypatch.setattr(sys, "argv", ["grade.py", "01", str(hand_in(tmp_path, "empty"))])
    grade.main()
    said = capsys.readouterr()
    assert said.err == grade.NO_WALLS + "\n" and "empty: 0 of 100" in said.out


def test_a_submission_that_is_a_link_gets_nothing(folder, tmp_path):
    alice = hand_in(tmp_path, "alice", answers_py=SOLUTION)
    (tmp_path / "bob").symlink_to(alice)
    (tmp_path / "carol").symlink_to("nowhere")
    paths = [tmp_path / "alice", tmp_path / "bob", tmp_path / "carol", tmp_path / "bob" / "answers.py"]
    graded = grade.grade_all(folder, dict(zip("abcd", paths)), 1, LIMIT, lambda *one: None)
    assert [score(graded[name]) for name in "abcd"] == [100, 0, 0, 0]
    assert all("is a link" in reasons(graded[name])[0] for name in "bcd")


def test_what_goes_wrong_with_one_submission_is_its_own_reason(folder, tmp_path, monkeypatch):
    def read(path):
        if path.name == "bad":
            raise PermissionError(13, "Permission denied")
        return SOLUTION.encode()

    monkeypatch.setattr(grade, "read", read)
    paths = {name: tmp_path / name for name in ("bad", "good")}
    graded = grade.grade_all(folder, paths, 1, LIMIT, lambda *one: None)
    assert score(graded["bad"]) == 0 and score(graded["good"]) == 100


def processes(marker):
    """Return the ids of processes that have given themselves this name."""
    found = []
    for comm in Path("/proc").glob("[0-9]*/comm"):
        try:
            found += [comm.parent.name] * (comm.read_text().strip() == marker)
        except OSError:
            pass
    return found


def gone(marker, seconds=30):
    until = time.monotonic() + seconds
    while processes(marker) and time.monotonic() < until:
        time.sleep(0.05)
    return not processes(marker)


CALLS_ITSELF = """
import ctypes, os, time
ctypes.CDLL(None).prctl(15, {marker!r}.encode(), 0, 0, 0)
"""
linux = pytest.mark.skipif(sys.platform != "linux", reason="processes are named on Linux alone")


@linux
@pytest.mark.parametrize("walls", [False, pytest.param(True, marks=needs_walls)])
def test_what_a_submission_started_is_ended_with_it(folder, tmp_path, walls):
    marker = f"started{os.getpid()}"
    starts = (
        CALLS_ITSELF.format(marker=marker)
        + "if os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0: time.sleep(999)\n    os._exit(0)\n"
    )
    graded = marked(folder, tmp_path, {"starts": starts + SOLUTION}, walls)
    assert score(graded["starts"]) == 100, reasons(graded["starts"])
    assert gone(marker)


@linux
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_a_grader_that_is_ended_leaves_whole_results_and_no_process(tmp_path, number):
    marker = f"endless{os.getpid()}"
    endless = CALLS_ITSELF.format(marker=marker) + "while True: pass\n"
    paths = [hand_in(tmp_path, "empty"), hand_in(tmp_path, "endless", answers_py=endless)]
    command = [
        sys.executable,
        ASSIGNMENTS / "grade.py",
        "01",
        *paths,
        "--csv",
        tmp_path / "r.csv",
        "--json",
        tmp_path / "r.json",
    ]

    def defaults():
        for one in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(one, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)

    grader = subprocess.Popen(
        [*map(str, command)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=defaults,
        env=os.environ | {"TMPDIR": str(tmp_path)},
    )
    until = time.monotonic() + 60
    while not processes(marker):
        assert time.monotonic() < until and grader.poll() is None
        time.sleep(0.05)
    while "empty: 0 of" not in grader.stdout.readline():
        pass
    grader.send_signal(number)
    _, errors = grader.communicate(timeout=60)
    assert gone(marker)
    if number != signal.SIGKILL:
        assert not list(tmp_path.glob("grade-*")), "it leaves its scratch folders"
        assert "interrupted; 1 of 2 are graded, and written" in errors and grader.returncode == 1
        with (tmp_path / "r.csv").open(newline="", encoding="utf-8-sig") as file:
            assert [row[0] for row in csv.reader(file)] == ["submission", "empty"]
        assert list(json.loads((tmp_path / "r.json").read_text())["submissions"]) == ["empty"]


def test_names_inject_nothing_into_tables_and_files(tmp_path):
    names = [
        "=cmd|'/c calc'!A1",
        "+1",
        "-1",
        "@x",
        "a\nb",
        "a\x1b[31mb",
        "a,b",
        'a"b',
        "a\\nb",
        "\u202eevil",
        "Zoë",
        os.fsdecode(b"\xff"),
    ]
    paths = [hand_in(tmp_path / "in", name) for name in names]
    named = grade.named(paths)
    assert len(named) == len(names) and all(name.isprintable() for name in named) and "Zoë" in named
    test = grade.grading_tests(grade.find("01"))[0]
    raw = ["\t=1", "\r=1", "\n=1", " =1", "＝1"]  # as from another caller
    graded = {name: [grade.Outcome(test, False, "=1")] for name in [*named, *raw]}
    grade.write_csv(tmp_path / "r.csv", graded, 1)
    grade.write_json(tmp_path / "r.json", graded, 1)
    rows = list(csv.reader((tmp_path / "r.csv").open(newline="", encoding="utf-8-sig")))
    assert len(rows) == len(names) + len(raw) + 1
    assert not [cell for row in rows for cell in row if cell.lstrip(" ")[:1] in tuple("=+-@\t\r\n＝")]
    assert list(json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))["submissions"]) == [*named, *raw]
    for name in named:
        assert grade.table(name, graded[name]).replace("\n", "").isprintable()


def test_deletion_follows_no_link_and_minds_no_depth(tmp_path):
    kept, top = tmp_path / "kept", tmp_path / "top"
    for path in (kept, top):
        path.mkdir()
    (kept / "file").touch()
    (top / "link").symlink_to(kept)
    (top / "locked").mkdir()
    (top / "locked" / "in").mkdir()
    (top / "locked").chmod(0)
    here = os.open(".", os.O_RDONLY)
    try:
        os.chdir(top)
        for _ in range(1100):  # more than Python's stack and, with their links, than a path holds
            os.mkdir("deep")
            os.chdir("deep")
        os.symlink(kept, "link")
    finally:
        os.fchdir(here)
        os.close(here)
    sandbox.remove(top)
    assert not top.exists() and (kept / "file").exists()


def test_arrays_and_lists_keep_their_identity_on_both_sides():
    ours, theirs = socket.socketpair()
    student = remote.Peer(remote.Channel(theirs), judge=False)
    kept = []

    class Book:
        def keep(x):
            kept.append(x)
            return x

        def fill(x):
            x[...] = 7

        def append(items):
            items.append(8)

        def view(x):
            return x[1:, ::2]

        def later():
            kept[0][...] = 9
            return kept[0]

    student.mine.append(Book)

    def serve():
        with pytest.raises(remote.Lost):
            student.serve()

    thread = threading.Thread(target=serve)
    thread.start()
    book = remote.Process(remote.Peer(remote.Channel(ours), judge=True), 0)
    book.may_change(True)
    x = np.arange(12.0).reshape(3, 4)
    assert book.keep(x) is x and book.keep(x) is x
    assert np.shares_memory(book.view(x), x) and (book.view(x) == x[1:, ::2]).all()
    before = x.copy()
    assert (book.later() == 9).all()
    assert (x == before).all(), "changed although it had returned it"
    book.fill(x)
    assert (x == 7).all()
    items = [1, x]
    book.append(items)
    assert items[0] == 1 and items[1] is x and items[2] == 8
    ours.close()
    thread.join(10)
