"""Measure what docs/speed.md says of training beside PyTorch, write docs/speed.json, and its table into the page.

    python benchmarks/speed_table.py             # measure all, about 25 minutes on two free cores, then render
    python benchmarks/speed_table.py --render    # render the table anew from docs/speed.json

Nothing else may run meanwhile: PyTorch's threads wait for each other by spinning, and become many times slower
where a core is shared. So cores are counted before and after every part, and too few void the run. It needs torch
and numba (`pip install torch -e .[compiled]`).
"""

import argparse
import importlib.metadata
import itertools
import json
import multiprocessing
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

DOCS = Path(__file__).parent.parent / "docs"
BEGIN, END = "<!-- speed.json -->\n", "<!-- end -->\n"
NETWORKS = "vgg7", "vgg_deep", "small", "resnet20"
VARIANTS = "baseline", "coupled", "decoupled"
NAMES = [f"{n}:{v}" for n in NETWORKS for v in VARIANTS if n != "small" or v == "baseline"]
SETTINGS = list(itertools.product((2, 1), ("default", "raised")))  # threads, allocator
SIDES = "torch channels_last", "torch", "duonet numpy"
ENOUGH = 0.93  # of the cores
SPIN_SECONDS = 1.0


def cores(n):
    """Return how many cores n processes that compute for a second get."""
    with multiprocessing.Pool(n) as pool:
        return sum(pool.map(_spin, [SPIN_SECONDS] * n, chunksize=1))


def _spin(seconds):
    wall, used = time.perf_counter(), time.process_time()
    while time.perf_counter() - wall < seconds:
        pass
    return (time.process_time() - used) / (time.perf_counter() - wall)


def measure(turns):
    """Return everything that the table shows, and the machine that it was measured on."""
    steps, found = [], [cores(2)]
    for threads, allocator in SETTINGS:
        rows = train_step("--threads", str(threads), "--allocator", allocator, "--turns", str(turns))
        steps += [{"threads": threads, "allocator": allocator, **row} for row in rows]
        found.append(cores(2))
    return {
        "machine": f"{platform.machine()}, Python {platform.python_version()}, {versions()}",
        "date": time.strftime("%Y-%m-%d"),
        "cores": [round(n, 3) for n in found],
        "steps": steps,
        "memory": train_step("--memory"),
    }


def versions():
    return ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("numpy", "numba", "torch"))


def train_step(*arguments):
    script = Path(__file__).with_name("train_step.py")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.json"
        subprocess.run([sys.executable, script, *NAMES, *arguments, "--json", path], check=True)
        return json.loads(path.read_text())


def table(measured):
    """Return the table in Markdown."""
    ratios = {(row["threads"], row["allocator"], row["network"], row["side"]): row for row in measured["steps"]}
    memory = {(row["network"], row["side"]): row["ratio"] for row in measured["memory"]}
    heads = [f"{n} thread{'s' * (n > 1)}, {allocator}" for n, allocator in SETTINGS]
    lines = [
        f"Measured on {measured['date']} ({measured['machine']}), with {min(measured['cores']):.2f} to "
        f"{max(measured['cores']):.2f} of 2 cores free. Time of a training step to channels_last / to eager / to "
        "NumPy's twins, with each number of threads and setting of the allocator; memory of a step to "
        "channels_last / to eager.",
        "",
        f"| network, batch | ms | {' | '.join(heads)} | memory |",
        "|---|---" + "|---" * len(heads) + "|---|",
    ]
    for name in dict.fromkeys(row["network"] for row in measured["steps"]):
        mine = ratios[2, "raised", name, "duonet"]
        cells = [
            " / ".join(f"{ratios[(*setting, name, side)]['ratio']:.2f}" for side in SIDES) for setting in SETTINGS
        ]
        used = " / ".join(f"{memory[name, side]:.2f}" for side in SIDES[:2])
        shown = name.replace(":", " ").removesuffix(" baseline")
        lines.append(f"| {shown}, {mine['batch']} | {mine['ms']:.1f} | {' | '.join(cells)} | {used} |")
    return "\n".join(lines) + "\n"


def rendered(page, measured):
    """Return the page with its table made anew."""
    before, rest = page.split(BEGIN)
    return f"{before}{BEGIN}{table(measured)}{END}{rest.split(END)[1]}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--render", action="store_true", help="only write the table of docs/speed.json again")
    parser.add_argument("--turns", type=int, default=9)
    args = parser.parse_args()
    if not args.render:
        measured = measure(args.turns)
        if min(measured["cores"]) < 2 * ENOUGH:
            sys.exit(f"void: something else ran; of two cores there were {measured['cores']}")
        (DOCS / "speed.json").write_text(json.dumps(measured, indent=1) + "\n")
    page = DOCS / "speed.md"
    page.write_text(rendered(page.read_text(encoding="utf-8"), json.loads((DOCS / "speed.json").read_text())))


if __name__ == "__main__":
    main()
