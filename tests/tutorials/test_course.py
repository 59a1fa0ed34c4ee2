"""What a course publishes has everything that a student needs, and no solution."""

import ast
import json
import re
import sys
from pathlib import Path

import jupytext
import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tutorials" / "assignments"))
import assignment  # noqa: E402
import course  # noqa: E402
import release  # noqa: E402

LONG = 15  # a shorter line is nobody's solution
PROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
FOLDERS = [assignment.find(number) for number in assignment.numbers()]


@pytest.fixture(scope="module")
def files():
    return course.course()


@pytest.fixture(scope="module")
def pages(files):
    """What is not the package itself, as text; a notebook as the code and the text of its cells."""
    texts = {}
    for name, content in files.items():
        if not name.startswith("duonet/"):
            texts[name] = content if isinstance(content, str) else content.decode()
        if name.endswith(".ipynb"):
            texts[name] += "\n".join("".join(cell["source"]) for cell in json.loads(content)["cells"])
    return texts


def lines(text):
    return {line.strip() for line in text.splitlines() if len(line.strip()) >= LONG}


def test_no_line_of_an_assignments_solution_is_in_it(pages):
    secret = set()
    for folder in FOLDERS:
        solution = (folder / "answers.py").read_text(encoding="utf-8")
        secret |= {line for block in release.BLOCK.finditer(solution) for line in lines(block.group(2))}
    assert len(secret) > 100
    for name, text in pages.items():
        assert not [line for line in secret if name.startswith("assignments/") and line in text], name
        assert "SOLUTION" not in text, name


def test_no_line_of_a_tutorials_solution_is_in_it(pages):
    solved, told = set(), ""
    for source in sorted((ROOT / "tutorials" / "src").glob("*.py")):
        for cell in jupytext.read(source, fmt="py:percent").cells:
            if "solution" in cell.metadata.get("tags", []):
                solved |= lines(cell.source)
            else:
                told += cell.source + "\n"
    secret = {line for line in solved if line not in told}
    assert len(secret) > 50
    for name, text in pages.items():
        assert not [line for line in secret if line in text], name


def test_nothing_that_grades_is_in_it(files, pages):
    names = {Path(name).name for name in files}
    assert not names & {"test_grading.py", "wrong.py", "grade.py", "worker.py", "build.py"}
    hints = [test.hint for folder in FOLDERS for test in assignment.grading_tests(folder)]
    for name, text in pages.items():
        assert not [hint for hint in hints if hint in text], name


def test_it_has_what_a_student_needs_and_nothing_else(files):
    for folder in FOLDERS:
        inside = {name.split("/")[-1] for name in files if name.startswith(f"assignments/{folder.name}/")}
        assert inside == {"README.md", "answers.py", "requirements.txt", "test_public.py"}
    assert {name.split("/")[0] for name in files} == {
        "LICENSE", "README.md", "assignments", "duonet", "pyproject.toml", "requirements.txt", "tutorials"
    }  # fmt: skip
    package = {p for p in (ROOT / "duonet").rglob("*") if p.is_file() and "__pycache__" not in p.parts}
    assert {ROOT / name for name in files if name.startswith("duonet/")} == package


def test_the_exercises_of_its_tutorials_are_open(files):
    for source in sorted((ROOT / "tutorials" / "src").glob("*.py")):
        text = files[f"tutorials/{source.stem}.ipynb"]
        cells = ["".join(cell["source"]) for cell in json.loads(text)["cells"]]
        exercises = source.read_text(encoding="utf-8").count('tags=["solution"]')
        assert exercises >= 3 and sum("raise NotImplementedError" in cell for cell in cells) >= 1, source.stem
        assert "<summary>Solution" not in text and text.count("<details><summary>") >= 4, source.stem
        assert "colab.research" not in text and cells[0].startswith("# "), source.stem


def test_its_readme_lists_everything_by_a_link_that_is_there(files):
    links = re.findall(r"\]\(([^)]+)\)", files["README.md"])
    assert len(links) == len(FOLDERS) + len(list((ROOT / "tutorials").glob("*.ipynb")))
    assert not [link for link in links if link not in files and f"{link}/README.md" not in files]


def test_its_requirements_are_those_of_the_package_and_lead_to_no_repository(files):
    assert files["requirements.txt"] == ".[tutorials]\npytest>=8\n"
    for folder in FOLDERS:
        alone, inside = (
            release.bundle(folder)["requirements.txt"],
            files[f"assignments/{folder.name}/requirements.txt"],
        )
        needs = "duonet" in (folder / "answers.py").read_text(encoding="utf-8").split('"""')[2]
        assert alone.splitlines()[:2] == ["numpy>=2.0", "pytest>=8"]
        assert [line for line in alone.splitlines()[2:]] == [
            "duonet @ git+https://github.com/duonet/duonet"
        ] * needs
        assert [line for line in inside.splitlines()[2:]] == ["../.."] * needs
    project = files["pyproject.toml"]
    assert "github.com" not in project and "[tool.pytest" not in project
    assert "[tool.setuptools.package-data]" in project and 'readme = "README.md"' in project


def test_a_wheel_holds_the_package_alone():
    find = re.search(r"^\[tool\.setuptools\.packages\.find\]\n(.*?)\n\n", PROJECT, re.M | re.S).group(1)
    data = re.search(r"^\[tool\.setuptools\.package-data\]\n(.*?)\n\n", PROJECT, re.M | re.S).group(1)
    assert find == 'include = ["duonet*"]'
    for line in data.splitlines():
        package, patterns = line.split(" = ")
        assert package.strip('"').split(".")[0] == "duonet"
        for pattern in ast.literal_eval(patterns):
            assert "/" not in pattern and ".." not in pattern
    assert not list((ROOT / "duonet").rglob("test_*")) and not list((ROOT / "duonet").rglob("answers*"))
    assert not [p for p in ROOT.glob("duonet*/") if p.name not in ("duonet", "duonet.egg-info")]
