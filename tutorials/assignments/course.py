"""The folder that a course publishes: the package, the tutorials with their exercises open, the starters.

No solution is in it, neither an assignment's nor a tutorial's, no grading test and no wrong submission.
"""

import json
import re
from pathlib import Path

import assignment
from release import PROJECT, bundle, requirement

ROOT = Path(__file__).resolve().parents[2]
SOLUTION = "<details><summary>Solution</summary>"  # how build.py begins the answer to an exercise
BADGE = re.compile(
    r"^\[!\[Open in\s+Colab\]\([^)]*\)\]\([^)]*\)\n*", re.M
)  # it opens the notebook that has the solutions
README = """\
# Binary networks from scratch

Tutorials and programming assignments on networks whose activations, and perhaps weights, have two values.

```sh
python3 -m venv .venv && . .venv/bin/activate
pip install -r requirements.txt
jupyter lab tutorials
```

Run these lines in this folder. You need Python 3.10 or newer. In PowerShell the first line is
`py -m venv .venv; .venv\\Scripts\\activate`.

## Tutorials

{tutorials}

An exercise is a cell that raises `NotImplementedError`. The next cell checks what you write there: it says whether
the exercise is open or solved, or what is wrong.

## Assignments

{assignments}

Each folder holds a text, a file `answers.py` to fill in, and tests to work with: run `pytest` in the folder. Hand
in `answers.py` alone. Other tests grade it, with other numbers.
"""


def opened(text):
    """Return a notebook, as JSON, without the solutions of its exercises and the badge that leads to them."""
    notebook = json.loads(text)
    cells = [cell for cell in notebook["cells"] if not "".join(cell["source"]).startswith(SOLUTION)]
    first = "".join(cells[0]["source"])
    cells[0]["source"] = BADGE.sub("", first).splitlines(keepends=True)
    return json.dumps(notebook | {"cells": cells}, indent=1, ensure_ascii=False) + "\n"


def installation():
    """Return the text of a pyproject.toml that installs duonet, without this project's tools and addresses."""
    sections = re.split(r"(?m)^(?=\[)", PROJECT)
    kept = [s for s in sections if not re.match(r"\[+(tool\.(?!setuptools)|project\.urls)", s)]
    return "".join(kept).replace('dynamic = ["readme"]', 'readme = "README.md"').rstrip() + "\n"


def listed(files, pattern):
    """Return one line of Markdown for each file or folder that has a title."""
    lines = []
    for name, text in files.items():
        if re.fullmatch(pattern, name):
            title = re.search(r'# ([^"\n\\]+)', text).group(1)
            lines.append(f"* [{title}]({name.removesuffix('/README.md')})")
    return "\n".join(lines)


def course():
    """Return the files of the folder: the path in it, and the text or the bytes."""
    files = {"LICENSE": (ROOT / "LICENSE").read_bytes(), "pyproject.toml": installation()}
    for path in sorted((ROOT / "duonet").rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            files[path.relative_to(ROOT).as_posix()] = path.read_bytes()
    for path in sorted((ROOT / "tutorials").glob("[0-9][0-9]_*.ipynb")):
        files[f"tutorials/{path.name}"] = opened(path.read_text(encoding="utf-8"))
    for folder in map(assignment.find, assignment.numbers()):
        inside = bundle(folder, duonet="../..")
        files |= {f"assignments/{folder.name}/{name}": text for name, text in inside.items()}
    lists = {
        "tutorials": listed(files, r"tutorials/[^/]+\.ipynb"),
        "assignments": listed(files, r"assignments/[^/]+/README\.md"),
    }
    files["README.md"] = README.format(**lists)
    files["requirements.txt"] = f".[tutorials]\n{requirement('pytest')}\n"
    return files
