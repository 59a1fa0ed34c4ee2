"""The committed notebooks are those of their sources, and keep the course's promises. Executing them is CI's work."""

import ast
import asyncio
import functools
import io
import re
import sys
import tokenize
import types
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tutorials"))
import build  # noqa: E402

SOURCES = build.sources()
REPOSITORY = re.search(r'^Repository = "(.+)"', (ROOT / "pyproject.toml").read_text(), re.M).group(1)
README = (ROOT / "README.md").read_text(encoding="utf-8")

pytestmark = pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)


@functools.cache
def committed(source):
    return nbformat.read(build.target(source), as_version=4)


@functools.cache
def assembled(source):
    return build.assemble(source)


def cells(source, kind):
    return [cell.source for cell in assembled(source).cells if cell.cell_type == kind]


def test_it_was_built_from_this_source(source):
    notebook = committed(source)
    assert notebook.metadata.source_sha256 == build.digest(source), (
        f"stale: python tutorials/build.py {source.stem}"
    )
    assert [(c.id, c.source) for c in notebook.cells] == [(c.id, c.source) for c in assembled(source).cells]
    nbformat.validate(notebook)


def test_it_was_executed_from_top_to_bottom_and_shows_nothing_of_the_machine(source):
    notebook = committed(source)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert not build.complaints(notebook)
    kinds = {kind for cell in code for output in cell.outputs for kind in output.get("data", {})}
    assert kinds <= {"text/plain", "image/png"}, "only what renders everywhere"
    assert not any(cell.metadata.get("execution") for cell in code)


def test_it_begins_with_a_title_a_badge_a_figure_and_a_box(source):
    title, setup, figure, box = assembled(source).cells[:4]
    assert title.cell_type == box.cell_type == "markdown" and setup.cell_type == figure.cell_type == "code"
    assert re.match(r"# [A-Z]", title.source)
    path = REPOSITORY.removeprefix("https://github.com/")
    badge = f"https://colab.research.google.com/github/{path}/blob/main/tutorials/{source.stem}.ipynb"
    assert f"({badge})" in title.source
    assert '"google.colab" in sys.modules' in setup.source and f"git+{REPOSITORY}" in setup.source
    assert "image/png" in committed(source).cells[2].outputs[0].data, "the figure"
    for word in ("**Do**", "**Learn**", "**Need**", "**Time**"):
        assert word in box.source
    assert 0 < build.stated(source) <= build.LIMIT


def test_in_a_browser_its_first_cell_fetches_the_package(source, monkeypatch):
    asked = []

    async def install(name):
        asked.append(name)

    monkeypatch.setattr(sys, "platform", "emscripten")
    monkeypatch.setitem(sys.modules, "piplite", types.SimpleNamespace(install=install))
    setup = assembled(source).cells[1].source
    asyncio.run(eval(compile(setup, "setup", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT), {}))
    assert asked == ["duonet"]


def test_a_long_one_asks_a_browser_for_less_and_says_so(source):
    setup, box = (cell.source for cell in build.assemble(source).cells[1:4:2])
    asks = "FULL = full_run()" in setup
    assert asks or build.stated(source) <= 20, "it would take minutes there"
    assert asks == ("In a browser" in box) == any("FULL" in code for code in cells(source, "code")[1:])


def logical_lines(code):
    """List the lines of code as Python counts them: what brackets hold together is one."""
    lines, parts = [], []
    for token in tokenize.generate_tokens(io.StringIO(code).readline):
        if token.type in (tokenize.NEWLINE, tokenize.ENDMARKER):
            lines.append(" ".join(parts))
            parts = []
        elif token.type != tokenize.COMMENT:
            parts += token.string.split()
    return {line for line in lines if line}


def test_no_cell_has_more_than_fifteen_new_lines(source):
    setup, *others = cells(source, "code")  # the first one fetches and imports, and asks for no reading
    seen = logical_lines(setup)
    for code in others:
        assert len(logical_lines(code) - seen) <= 15, code
        seen |= logical_lines(code)


def test_no_line_of_code_is_wider_than_a_notebooks_page(source):
    code = [cell.source for cell in build.assemble(source, solved=True).cells if cell.cell_type == "code"]
    assert not [line for cell in code for line in cell.splitlines() if len(line) > 95]


def test_it_asks_before_it_tells_and_has_exercises_with_tests(source):
    text = "\n".join(cells(source, "markdown"))
    folded = re.findall(r"<details><summary>(.+?)</summary>", text)
    assert sum("olution" not in summary for summary in folded) >= 4, "questions to predict, answers folded"
    assert not re.search(r"# (noqa|fmt)\b", "\n".join(cells(source, "code"))), "marks for a linter"
    checks = sum("attempt(" in code and "import attempt" not in code for code in cells(source, "code"))
    assert checks >= 3 and checks == folded.count("Solution"), "every exercise has a test and a solution"
    assert text.count("<details>") == text.count("</details>")
    assert not re.search(r"^\+ ", text, re.M), "a line that begins with a plus sign is a list to Markdown"
    headings = re.findall(r"^## (.+)", text, re.M)
    assert headings[-3:] == ["Recap", "Exercises", "References"]
    assert sum("assert" in code for code in cells(source, "code")) >= 8, "prose rests on asserted numbers"


def test_each_figure_has_words_that_say_what_it_shows(source):
    cells = [
        cell for cell in build.assemble(source).cells if re.search(r"^(plt\.show|sliders)\(", cell.source, re.M)
    ]
    words = [build.alternative(cell) for cell in cells]
    assert len(set(words)) == len(cells) and all(len(text.split()) >= 10 for text in words), words
    assert not [text for text in words if re.match(r"(An? |The )?(figure|plot|graph|image|picture)\b", text, re.I)]
    for cell in committed(source).cells:
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                assert output.metadata["image/png"]["alt"] == build.alternative(cell) != ""


def test_it_draws_all_randomness_from_one_seed(source):
    code = "\n".join(cells(source, "code"))
    assert "SEED = " in code and "np.random.seed" not in code and not re.search(r"default_rng\(\)", code)


def test_each_section_that_draws_makes_its_own_generator_first(source):
    for part in build.sections(build.assemble(source, solved=True).cells):
        code = "\n".join(cell.source for cell in part if cell.cell_type == "code")
        own = [(s, part) for s in ast.parse(code).body for part in ast.walk(s) if getattr(part, "id", "") == "rng"]
        drawn = [type(name.ctx) for statement, name in own if not local(statement)]
        assert drawn.count(ast.Store) <= 1 and drawn[:1] in ([], [ast.Store]), code


def local(statement):
    """Say whether a statement is a function with an `rng` of its own, which it is given or makes."""
    if not isinstance(statement, ast.FunctionDef):
        return False
    names = [part for part in ast.walk(statement) if getattr(part, "id", "") == "rng"]
    return "rng" in [a.arg for a in statement.args.args] or any(isinstance(name.ctx, ast.Store) for name in names)


def test_the_readme_lists_it_with_its_time(source):
    row = re.search(rf"^.*\(tutorials/{source.stem}\.ipynb\).*$", README, re.M)
    assert row and f"{build.stated(source)} s" in row.group()
