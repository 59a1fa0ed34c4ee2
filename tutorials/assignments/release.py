"""Make the bundle that students get: the answers without their solutions, the text, the public tests.

    python tutorials/assignments/release.py 01 OUT

OUT must not exist yet. A block between `### BEGIN SOLUTION` and `### END SOLUTION` becomes one line that raises
NotImplementedError and names the task and the function; everything else stays.
"""

import argparse
import ast
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path

from assignment import UsageError, find

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


def bundle(folder):
    """Return the files of the released bundle: name and text."""
    names = ("README.md", "answers.py", "test_public.py")
    files = {name: (folder / name).read_text(encoding="utf-8") for name in names}
    return files | {"answers.py": starter(files["answers.py"])}


def release(folder, out):
    """Write the bundle of the assignment in `folder` into the new folder `out`, whole or not at all."""
    if out.exists() or out.is_symlink():
        raise UsageError(f"{out} exists already; name a new folder")
    if not out.parent.is_dir():
        raise UsageError(f"there is no folder {out.parent}")
    files = bundle(folder)
    part = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        for name, text in files.items():
            (part / name).write_text(text, encoding="utf-8", newline="\n")
        part.chmod(0o755)  # mkdtemp's is for its owner alone
        os.rename(part, out)
    except BaseException:
        shutil.rmtree(part)
        raise


def main():
    """Release what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("number", help="as 01")
    parser.add_argument("out", type=Path, metavar="OUT", help="a folder that does not exist yet")
    arguments = parser.parse_args()
    try:
        release(find(arguments.number), arguments.out)
    except (UsageError, OSError) as error:
        sys.exit(f"release: {error}")


if __name__ == "__main__":
    main()
