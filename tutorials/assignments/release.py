"""Make what students get: of one assignment, or everything that a course publishes, without the solutions.

    python tutorials/assignments/release.py 01 OUT
    python tutorials/assignments/release.py --course OUT

The first has the answers without their solutions, the text, the public tests and what has to be installed. The
second has these of every assignment, the tutorials with their exercises open, and duonet. OUT must not exist yet.
A block between `### BEGIN SOLUTION` and `### END SOLUTION` becomes one line that raises NotImplementedError and
names the task and the function; everything else stays.
"""

import argparse
import ast
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path

from assignment import UsageError, find, may_import

PROJECT = (Path(__file__).resolve().parents[2] / "pyproject.toml").read_text(encoding="utf-8")
REPOSITORY = re.search(r'^Repository = "(.+)"', PROJECT, re.M).group(1)
BLOCK = re.compile(r"^( *)### BEGIN SOLUTION\n(.*?)^ *### END SOLUTION\n", re.M | re.S)


def starter(solution):
    """Return the text of the starter, made from that of the solution."""
    tree = ast.parse(solution)

    def stub(block):
        if "SOLUTION" in block.group(2):
            raise ValueError("a solution begins inside another")
        task, name = place(tree, solution.count("\n", 0, block.start()) + 1)
        return f'{block.group(1)}raise NotImplementedError("task {task}: {name}")\n'

    text = BLOCK.sub(stub, solution)
    if "SOLUTION" in text:
        raise ValueError("a solution begins or ends, but not both")
    return text


def place(tree, line):
    """Return the number of the task that a line belongs to, and the dotted name of the function it is in."""
    task, names = None, []
    inside = tree
    while inside is not None:
        body = (n for n in inside.body if isinstance(n, (ast.FunctionDef, ast.ClassDef)))
        inside = next((n for n in body if n.lineno <= line <= n.end_lineno), None)
        if inside is not None:
            names.append(inside.name)
            stated = re.match(r"Task (\d+)", ast.get_docstring(inside) or "")
            task = int(stated.group(1)) if stated else task
    if task is None:
        raise ValueError(f"line {line}: no docstring around this solution begins with its task, as 'Task 2'")
    return task, ".".join(names)


def requirement(name):
    """Return what pip is told of a package that duonet needs too: its name and the oldest release that will do."""
    return re.search(rf'"({name}[<>=][^"]*)"', PROJECT).group(1)


def bundle(folder, duonet=f"duonet @ git+{REPOSITORY}"):
    """Return the files of the released bundle, name and text; `duonet` says where pip finds that, if needed."""
    names = ("README.md", "answers.py", "test_public.py")
    files = {name: (folder / name).read_text(encoding="utf-8") for name in names}
    needed = [requirement("numpy"), requirement("pytest")]
    needed += [duonet] * any(name.startswith("duonet") for name in may_import(folder / "test_grading.py"))
    return files | {"answers.py": starter(files["answers.py"]), "requirements.txt": "\n".join(needed) + "\n"}


def release(files, out):
    """Write files, by their paths, into the new folder `out`, whole or not at all."""
    if out.exists() or out.is_symlink():
        raise UsageError(f"{out} exists already; name a new folder")
    if not out.parent.is_dir():
        raise UsageError(f"there is no folder {out.parent}")
    part = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        for name, content in files.items():
            (part / name).parent.mkdir(parents=True, exist_ok=True)
            (part / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        part.chmod(0o755)  # mkdtemp's is for its owner alone
        os.rename(part, out)
    except BaseException:
        shutil.rmtree(part)
        raise


def main():
    """Release what the command line names."""
    from course import course  # which needs what is above

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("number", nargs="?", help="of an assignment, as 01")
    what.add_argument("--course", action="store_true", help="everything that a course publishes")
    parser.add_argument("out", type=Path, metavar="OUT", help="a folder that does not exist yet")
    arguments = parser.parse_args()
    try:
        release(course() if arguments.course else bundle(find(arguments.number)), arguments.out)
    except (UsageError, OSError) as error:
        sys.exit(f"release: {error}")


if __name__ == "__main__":
    main()
