"""What releasing, grading and CI know of an assignment: its folder, its grading tests, its wrong submissions."""

import ast
import re
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent


class UsageError(Exception):
    """What is wrong with the command line, in one sentence."""


def numbers():
    """List the numbers of the assignments there are, as "01"."""
    return sorted(folder.name[:2] for folder in HERE.glob("[0-9][0-9]_*"))


def find(number):
    """Return the folder of the assignment with this number, as "01", or raise UsageError."""
    folders = [folder for folder in HERE.glob("[0-9][0-9]_*") if folder.name[:2] == number]
    if not folders:
        raise UsageError(f"there is no assignment {number!r}; there are {', '.join(numbers())}")
    return folders[0]


class GradingTest(NamedTuple):
    """One function of a test_grading.py: its name, its task, its points, and where to look when it fails."""

    name: str
    task: int
    points: int
    hint: str


def grading_tests(folder):
    """Read the grading tests off an assignment's test_grading.py, without importing it.

    Every test function carries `@pytest.mark.task(number, points=points)`, and the first line of its docstring is
    the hint. A parametrised test earns its points when all its cases pass. With `changes=True` in the mark the
    submission may change what it is given; with `given=[names]` it has the instructor's functions of these names,
    `GIVEN` of the file, in the place of its own, whose mistakes are charged where they are tested.
    """
    found = []
    for node in ast.parse((folder / "test_grading.py").read_bytes()).body:
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            (mark,) = (d for d in node.decorator_list if ast.unparse(d).startswith("pytest.mark.task("))
            points = {keyword.arg: keyword.value for keyword in mark.keywords}["points"]
            hint = ast.get_docstring(node).splitlines()[0]
            found.append(GradingTest(node.name, ast.literal_eval(mark.args[0]), ast.literal_eval(points), hint))
    return sorted(found, key=lambda test: test.task)


def may_import(file):
    """Return what a submission may import, `MAY_IMPORT` of a test_grading.py, without importing it."""
    for node in ast.parse(file.read_bytes()).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "MAY_IMPORT":
            return ast.literal_eval(node.value)
    raise ValueError(f"{file} has no MAY_IMPORT")


class Wrong(NamedTuple):
    """A submission with one mistake, and what it must cost: the proof that the grader sees the mistake.

    Attributes
    ----------
    name : str
        The mistake in a few words.
    edits : dict
        Text of answers.py, which must occur exactly once, and what stands there instead.
    loses : list of str
        Every grading test that must fail, by name; "task 3" stands for all tests of task 3.
    files : dict
        Files that the submission brings besides answers.py: name and text.
    says : str
        What its student must be told, in a reason of one of these tests.
    """

    name: str
    edits: dict
    loses: list
    files: dict = {}
    says: str = ""

    def answers(self, solution):
        """Return the text of the wrong answers.py, made from that of the solution."""
        for old, new in self.edits.items():
            if solution.count(old) != 1:
                raise ValueError(f"{self.name}: expected once in answers.py, found {solution.count(old)}: {old}")
            solution = solution.replace(old, new)
        return solution

    def lost(self, tests):
        """Return the names of the grading tests that must fail."""
        tasks = {int(entry[5:]) for entry in self.loses if re.fullmatch(r"task \d+", entry)}
        names = {entry for entry in self.loses if not entry.startswith("task ")}
        unknown = names - {test.name for test in tests}
        if unknown or not tasks <= {test.task for test in tests}:
            raise ValueError(f"{self.name}: loses names what is not in test_grading.py: {self.loses}")
        return names | {test.name for test in tests if test.task in tasks}
