"""Build the notebooks: `src/NN_name.py` (py:percent) becomes an executed `NN_name.ipynb`, always the same bytes.

    python tutorials/build.py            build every notebook
    python tutorials/build.py 03 05      build these
    python tutorials/build.py --check    execute every source with its solutions in place, write nothing
    python tutorials/build.py --small    check them as they run in a browser, where they train less

A cell tagged `solution` answers the exercise whose test is the cell just before it. A notebook shows it folded;
`--check` runs it before the test, which must then pass. A reader runs cells again, and in any order: so `--check`
then runs the cells once more, each twice in a row, from the last section to the first, and all of this a second
time, when the last section meets what the first has left. A cell tagged `slow`, which trains or measures for long,
runs once.

A cell that draws begins with comments that say in words what its figure shows: `# alt: Two curves ...`. The words
become the alternative text of the image, in the notebook and in the site.
"""

import argparse
import copy
import hashlib
import os
import re
import sys
import tempfile
import time
from pathlib import Path
from unittest import mock

import jupytext
import nbformat
from nbclient import NotebookClient

from duonet.files import replacing
from duonet.viz.interactive import VIEW

HERE = Path(__file__).resolve().parent
LIMIT = 180  # seconds on two cores
ALT = re.compile(r"\A# alt: .+\n(# .+\n)*")
OPEN, WRONG = "is still open", "not right yet"  # what duonet.exercise.attempt prints of what is not solved
FOLDED = "<details><summary>Solution</summary>\n\n```python\n{}\n```\n\n</details>"


def sources(numbers=()):
    """List the sources whose names begin with one of `numbers`, or all of them."""
    found = sorted((HERE / "src").glob("[0-9][0-9]_*.py"))
    missing = [n for n in numbers if not any(path.name.startswith(n) for path in found)]
    if missing:
        sys.exit(f"no tutorial {', '.join(missing)}; there are {', '.join(path.stem for path in found)}")
    return [path for path in found if path.name.startswith(tuple(numbers) or "")]


def target(source):
    """Say which notebook a source becomes."""
    return HERE / f"{source.stem}.ipynb"


def digest(source):
    """Return the hash by which a notebook shows what it was built from."""
    return hashlib.sha256(source.read_bytes()).hexdigest()


def assemble(source, solved=False):
    """Make the notebook of a source, not yet executed: what readers get, or with the solutions in place."""
    read = jupytext.read(source, fmt="py:percent")
    cells, times_seen = [], {}
    for cell in read.cells:
        tags = cell.metadata.get("tags", [])
        is_solution = "solution" in tags
        if "hide-input" in tags:  # the site's word for it; this is JupyterLab's
            cell.metadata["jupyter"] = {"source_hidden": True}
        if is_solution and not solved:
            cell = nbformat.v4.new_markdown_cell(FOLDED.format(cell.source))
        if alt := ALT.match(cell.source):
            words = alt.group().removeprefix("# alt:").replace("\n#", " ").split()
            cell.metadata["mystnb"] = {"image": {"alt": " ".join(words)}}
            cell.source = cell.source[alt.end() :]
        name = hashlib.sha256(cell.source.encode()).hexdigest()[:8]
        times_seen[name] = times_seen.get(name, 0) + 1
        cell.id = f"{name}-{times_seen[name]}"
        cells.insert(len(cells) - (is_solution and solved), cell)
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}, "source_sha256": digest(source)}
    return nbformat.v4.new_notebook(cells=cells, metadata=metadata)


def sections(cells):
    """Split cells where a text begins a section; the first part has the imports."""
    parts = [[]]
    for cell in cells:
        if cell.cell_type == "markdown" and re.search(r"^## ", cell.source, re.M):
            parts.append([])
        parts[-1].append(cell)
    return parts


def again(cells):
    """List what to run once more: the last section first, each cell but slow ones twice in a row; all twice."""
    code = [cell for part in sections(cells)[::-1] for cell in part if cell.cell_type == "code"]
    return [cell for cell in code if "slow" not in cell.metadata.get("tags", []) for _ in range(2)] * 2


def execute(notebook, repeat=False):
    """Run every cell in an empty folder, and return the seconds it took; then append repetitions, if asked."""
    began, seconds = {}, {}

    def start(cell, cell_index):
        began[cell.id] = time.perf_counter()

    def stop(cell, cell_index, execute_reply):
        seconds.setdefault(cell.id, time.perf_counter() - began[cell.id])

    with tempfile.TemporaryDirectory() as folder:
        client = NotebookClient(
            notebook,
            timeout=10 * LIMIT,
            resources={"metadata": {"path": folder}},
            coalesce_streams=True,
            on_cell_execute=start,
            on_cell_executed=stop,
        )
        language_info = notebook.metadata.language_info
        client.execute(cleanup_kc=not repeat)
        if repeat:
            with client.setup_kernel():
                for cell in again(notebook.cells):
                    notebook.cells.append(copy.deepcopy(cell))
                    client.execute_cell(notebook.cells[-1], len(notebook.cells) - 1)
    notebook.metadata.language_info = language_info  # the kernel's has Python's version
    notebook.metadata.pop("widgets", None)  # sliders need a kernel; their first picture stays
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # the moments at which it ran
        for output in cell.get("outputs", []):
            output.get("data", {}).pop(VIEW, None)
            if "image/png" in output.get("data", {}):
                output.metadata.setdefault("image/png", {})["alt"] = alternative(cell)
    return sum(seconds.values())


def alternative(cell):
    """Return in words what the figure of a cell shows, or nothing."""
    return cell.metadata.get("mystnb", {}).get("image", {}).get("alt", "")


def complaints(notebook, solved=False):
    """List what a reader should not see: warnings, paths of this machine, an exercise that its solution fails."""
    found = []
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            text = output.get("text", "") + "".join(map(str, output.get("data", {}).get("text/plain", "")))
            if "image/png" in output.get("data", {}) and not alternative(cell):
                found.append(f"a figure without words, `# alt: ...`, in the cell {cell.source.strip()[:60]}")
            if output.get("name") == "stderr":
                found.append(f"stderr: {text.strip()[:300]}")
            places = {tempfile.gettempdir(), str(Path.home()), sys.prefix, str(HERE.parent)}
            found += [f"a path in an output: {place}" for place in places if place != "/" and place in text]
            if re.search(r"\bobject at 0x", text):
                found.append(f"an address in an output: {text.strip()[:300]}")
            if WRONG in text or (solved and OPEN in text):
                found.append(f"a solution does not solve its exercise: {text.strip()[:300]}")
    return found


def stated(source):
    """Return the seconds that the box at a source's top says it runs."""
    match = re.search(r"[Rr]uns in (\d+) s", source.read_text(encoding="utf-8"))
    return int(match.group(1)) if match else None


def main():
    """Build, or check, what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("numbers", nargs="*", help="as 03; all of them when none is given")
    parser.add_argument("--check", action="store_true", help="execute with solutions in place, write nothing")
    parser.add_argument("--small", action="store_true", help="check, and train less, as in a browser")
    arguments = parser.parse_args()
    check = arguments.check or arguments.small
    environment = {"DUONET_TUTORIALS": "small" if arguments.small else "full"}
    if not check:
        environment["NUMBA_DISABLE_JIT"] = "1"  # a notebook has the same bytes whether numba is installed or not
    bad = 0
    for source in sources(arguments.numbers):
        notebook = assemble(source, solved=check)
        with mock.patch.dict(os.environ, environment):
            seconds = execute(notebook, repeat=check)
        found = complaints(notebook, solved=check)
        slow = " (over the limit)" if seconds > LIMIT else ""
        print(f"{source.stem}: {seconds:.0f} s here{slow}, {stated(source)} s stated", flush=True)
        print("".join(f"    {line}\n" for line in found), end="", flush=True)
        bad += bool(found)
        if not check and not found:
            with replacing(target(source)) as part:
                nbformat.write(notebook, part)
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
