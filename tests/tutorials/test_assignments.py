"""Every assignment's grader is proved: the solution earns all points, the starter none, each mistake what it must."""

import ast
import functools
import inspect
import os
import re
import runpy
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tutorials" / "assignments"))
import assignment  # noqa: E402
import grade  # noqa: E402
import release  # noqa: E402

SEED = 1
LIMIT = 10.0  # seconds that an endless loop takes here
FOLDERS = [assignment.find(number) for number in assignment.numbers()]
WRONG = {folder: runpy.run_path(str(folder / "wrong.py"))["WRONG"] for folder in FOLDERS}

each = pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
# Put into a starter, whose bodies then tell what they were called with.
TELLER = """
def everything_in(value, deep=12):
    if hasattr(value, "tolist"):
        return value.tolist()
    if callable(value):
        value = [cell.cell_contents for cell in getattr(value, "__closure__", None) or ()]
    elif hasattr(value, "__dict__"):
        value = vars(value)
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        return [everything_in(part, deep - 1) for part in value] if deep else "deeper"
    return value


class Told(AssertionError):
    def __init__(self, arguments):
        super().__init__(__import__("zlib").crc32(repr(everything_in(arguments)).encode()))
"""


def solution(folder):
    return (folder / "answers.py").read_text(encoding="utf-8")


def submit(folder, submissions, seed=SEED):
    """Grade submissions, each a dict of files, and return for each a dict from test name to reason, None if it passed."""
    with tempfile.TemporaryDirectory() as place:
        paths = {name: Path(place) / str(i) for i, name in enumerate(submissions)}
        for name, files in submissions.items():
            paths[name].mkdir()
            for file, text in files.items():
                (paths[name] / file).write_text(text, encoding="utf-8")
        graded = grade.grade_all(folder, paths, seed, LIMIT, lambda *one: None)
    return {
        name: {o.test.name: None if o.passed else o.reason for o in outcomes} for name, outcomes in graded.items()
    }


def tasks_of(folder, wrong):
    tests = assignment.grading_tests(folder)
    lost = wrong.lost(tests)
    return {test.task for test in tests if test.name in lost}


def together(folder):
    """Put mistakes of different tasks into one submission, which is quicker; return lists of them.

    What one of them costs in another's task shows all the same: the other loses its own tests alone.
    Mistakes outside the solution's blocks, in several tasks or with files of their own stay alone.
    """
    blocks = [block.group(2) for block in release.BLOCK.finditer(solution(folder))]
    parties = []
    for wrong in WRONG[folder]:
        inside = all(any(old in block for block in blocks) for old in wrong.edits)
        tasks = tasks_of(folder, wrong)
        if wrong.files or not inside or len(tasks) > 1:
            tasks = {test.task for test in assignment.grading_tests(folder)}  # no other has a place beside it
        party, taken = next(((p, t) for p, t in parties if not t & tasks), ([], set()))
        if not party:
            parties.append((party, taken))
        party.append(wrong)
        taken |= tasks
    return [party for party, _ in parties]


def teller(folder):
    return TELLER + re.sub(r"NotImplementedError\(.*\)", "Told(locals())", release.bundle(folder)["answers.py"])


@functools.cache
def proof(folder):
    """Grade the solution, the starter, what tells its arguments and every mistake, all at once, which is quicker."""
    text = solution(folder)
    submissions = {"solution": {"answers.py": text}, "starter": release.bundle(folder)}
    submissions |= dict.fromkeys(("teller", "teller again"), {"answers.py": teller(folder)})
    parties = together(folder)
    for party in parties:
        answers, files = text, {}
        for wrong in party:
            answers, files = wrong.answers(answers), files | wrong.files
        submissions[party[0].name] = {"answers.py": answers, **files}
    graded, tests = submit(folder, submissions), assignment.grading_tests(folder)
    for party in parties:
        found = graded[party[0].name]
        for wrong in party:
            others = {name for other in party if other is not wrong for name in other.lost(tests)}
            graded[wrong.name] = {name: reason for name, reason in found.items() if name not in others}
    return graded


@each
def test_the_solution_earns_every_point(folder):
    failed = {name: reason for name, reason in proof(folder)["solution"].items() if reason is not None}
    assert not failed


@each
def test_the_starter_earns_none_and_fails_by_not_being_written_yet(folder):
    tests = assignment.grading_tests(folder)
    reasons = proof(folder)["starter"]
    for test in tests:
        assert (reasons[test.name] or "passed").startswith(f"NotImplementedError: task {test.task}: "), test.name


@pytest.mark.parametrize(
    "folder, wrong",
    [(folder, wrong) for folder in FOLDERS for wrong in WRONG[folder]],
    ids=[f"{folder.name}-{wrong.name}" for folder in FOLDERS for wrong in WRONG[folder]],
)
def test_a_mistake_costs_exactly_what_it_must(folder, wrong):
    failed = {name: reason for name, reason in proof(folder)[wrong.name].items() if reason is not None}
    assert set(failed) == wrong.lost(assignment.grading_tests(folder)), failed
    assert wrong.loses, "it must cost something"
    assert any(wrong.says in reason for reason in failed.values()), failed


def marks(folder):
    """The grading tests in order: name, task, and the functions that are given."""
    for node in ast.parse((folder / "test_grading.py").read_bytes()).body:
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            (mark,) = (d for d in node.decorator_list if ast.unparse(d).startswith("pytest.mark.task("))
            given = [ast.unparse(keyword.value) for keyword in mark.keywords if keyword.arg == "given"]
            yield node.name, ast.literal_eval(mark.args[0]), given


@each
def test_a_function_is_tested_before_a_right_one_is_given(folder):
    tests = list(marks(folder))
    for i, (name, task, given) in enumerate(tests):
        later = [other for other, t, g in tests[i + 1 :] if t == task and not g]
        assert not (given and later), f"{later} could be answered by what {name} was given"


@each
@pytest.mark.filterwarnings("ignore:Unknown pytest.mark.task")  # which a grader declares
def test_what_is_given_takes_the_arguments_of_what_it_stands_for(folder):
    own = runpy.run_path(str(folder / "answers.py"))
    for name, function in runpy.run_path(str(folder / "test_grading.py")).get("GIVEN", {}).items():
        wanted, got = (inspect.signature(f).parameters for f in (own[name], function))
        assert list(wanted) == list(got), name


@each
def test_there_are_at_least_five_mistakes(folder):
    names = [wrong.name for wrong in WRONG[folder]]
    assert len(names) >= 5 and len(set(names)) == len(names)


@each
def test_another_seed_gives_other_cases_and_the_same_seed_the_same(folder):
    first, again = proof(folder)["teller"], proof(folder)["teller again"]
    other = submit(folder, {"teller": {"answers.py": teller(folder)}}, SEED + 1)["teller"]
    assert first == again
    assert not [name for name in first if first[name] == other[name]], "the same numbers whatever the seed"


@each
def test_the_committed_bundle_is_fresh(folder):
    committed = {
        path.name: path.read_text(encoding="utf-8") for path in (folder / "student").iterdir() if path.is_file()
    }
    assert committed == release.bundle(folder), f"stale: release {folder.name} anew into its folder student"


@each
def test_no_line_of_the_solution_is_in_the_bundle(folder):
    blocks = [block.group(2) for block in release.BLOCK.finditer(solution(folder))]
    lines = {line.strip() for block in blocks for line in block.splitlines() if len(line.strip()) >= 15}
    for name, text in release.bundle(folder).items():
        assert "SOLUTION" not in text
        assert not [line for line in lines if line in text], name


def test_the_gradients_of_assignment_2_are_for_students_to_derive():
    starter = release.bundle(assignment.find("02"))["answers.py"]
    for formula in ("colsᵀ dy", "dy wᵀ", "x̂ dγ", "Σ dy x̂", "dβ = Σ", "dx = dy γ"):
        assert formula not in starter, formula


@each
def test_points_agree_wherever_they_stand_and_make_a_hundred(folder):
    tests = assignment.grading_tests(folder)
    marks = {task: points for task, _, points in grade.totals([grade.Outcome(test, True) for test in tests])}
    stated = {int(t): int(p) for t, p in re.findall(r'"""Task (\d+) \((\d+) points\)', solution(folder))}
    readme = (folder / "README.md").read_text(encoding="utf-8")
    rows = {int(t): int(p) for t, p in re.findall(r"^\| *(\d+) *\|.*\| *(\d+) *\|$", readme, re.M)}
    assert marks == stated == rows
    assert sum(marks.values()) == 100 and sorted(marks) == list(range(1, len(marks) + 1))
    assert 5 <= len(marks) <= 6


@each
def test_every_grading_test_says_where_to_look(folder):
    hints = [test.hint for test in assignment.grading_tests(folder)]
    assert len(set(hints)) == len(hints) and all(len(hint) > 20 and hint.endswith(".") for hint in hints)


@each
def test_the_public_tests_pass_for_the_solution_and_stand_open_in_the_starter(folder, tmp_path):
    for name, text in release.bundle(folder).items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", "--tb=line"]
    options = {"env": os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}, "capture_output": True, "text": True}
    started = subprocess.run(command, cwd=tmp_path, **options)
    errors = re.findall(r"^\S+: (\w+)", started.stdout, re.M)
    assert started.returncode == 1 and " passed" not in started.stdout, started.stdout
    assert set(errors) == {"NotImplementedError"}, started.stdout
    shutil.copy(folder / "answers.py", tmp_path)
    solved = subprocess.run(command, cwd=tmp_path, **options)
    assert solved.returncode == 0 and "warning" not in solved.stdout, solved.stdout
