"""Run the fast part of the suite on the oldest and on the newest Python found: `python .ci/pythons.py`.

The oldest is what pyproject.toml asks for, with each package at its lower bound; the newest is what the machine
has, with the newest packages. A Python that is not found is named and left out.
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
PLACES = ["~/.pyenv/versions/*/bin", "~/.local/share/uv/python/*/bin"]  # beside PATH
FAST = Path(__file__).with_name("fast").read_text(encoding="utf-8").split()
ASK = "import sys; v = sys.version_info; print(*v[:2] if v.releaselevel == 'final' else (0, 0))"
SHOW = "import sys, numpy; print(f'Python {sys.version.split()[0]}, NumPy {numpy.__version__}', flush=True)"

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
OLDEST = tuple(map(int, re.findall(r"\d+", PROJECT["requires-python"])))
NEWEST = max(tuple(map(int, found)) for found in re.findall(r":: (\d+)\.(\d+)", "\n".join(PROJECT["classifiers"])))
TOOLS = ("ruff", "mypy")  # of the extra `tests`, but no test imports them
PACKAGES = PROJECT["dependencies"] + [
    package for package in PROJECT["optional-dependencies"]["tests"] if not package.startswith(TOOLS)
]


def pythons():
    """Map versions of Python, as (3, 12), to a program of each."""
    folders = [Path(folder) for folder in os.environ["PATH"].split(os.pathsep)]
    for place in map(Path, map(os.path.expanduser, PLACES)):
        folders += sorted(Path(place.anchor).glob(str(place.relative_to(place.anchor))))
    found = {}
    for program in [program for folder in folders for program in sorted(folder.glob("python3.*"))]:
        if re.fullmatch(r"python3\.\d+(\.exe)?", program.name):
            answer = subprocess.run([program, "-c", ASK], capture_output=True, text=True)
            if answer.returncode == 0:  # a program that only tells to install another does not count
                found.setdefault(tuple(map(int, answer.stdout.split())), program)
    return found


def at_lower_bound(package):
    """Return `numpy==2.0` for `numpy>=2.0`."""
    return re.sub(r">=([\w.]+)(,[^;]*)?", r"==\1", package)


def passes(program, packages):
    """Run the fast part in a fresh environment of a Python with these packages, and say whether it passes."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([program, "-m", "venv", "--without-pip", folder], check=True)
        inside = Path(folder, "Scripts" if os.name == "nt" else "bin", "python")
        pip = [sys.executable, "-m", "pip", "--python", inside, "install", "--quiet", "--no-compile"]
        subprocess.run([*pip, *packages], check=True)
        subprocess.run([inside, "-c", SHOW], check=True)
        test = [inside, "-m", "pytest", "-n", "logical", "--quiet", "-p", "no:cacheprovider", *FAST]
        return subprocess.run(test, cwd=ROOT).returncode == 0


def main():
    """Run both, and exit with 1 where one fails."""
    found = pythons()
    newest = max(found)
    chosen = [(found.get(OLDEST), list(map(at_lower_bound, PACKAGES)), f"Python {OLDEST[0]}.{OLDEST[1]}")]
    chosen += [(found[newest] if newest >= NEWEST else None, PACKAGES, f"Python {NEWEST[0]}.{NEWEST[1]} or newer")]
    good = True
    for program, packages, wanted in chosen:
        print(f"{wanted}: {program or 'not found'}", flush=True)
        good = (program is None or passes(program, packages)) and good
    sys.exit(not good)


if __name__ == "__main__":
    main()
