"""Measure training beside PyTorch, write docs/speed.json, and put its table into docs/speed.md.

    python benchmarks/speed_table.py             # measure all, about 20 minutes on two free cores, then render
    python benchmarks/speed_table.py --render    # render the tables from the kept measurements

`inference.py` writes docs/inference.json, the source of the tables of packed networks and of the README's table.

Nothing else may run meanwhile: PyTorch's threads wait for each other by spinning, and become many times slower
where a core is shared. So the script counts cores before and after every part; too few make the run void. It needs
torch and numba (`pip install torch -e ".[compiled]"`).
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

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
END = "<!-- end -->\n"
NETWORKS = "vgg7", "vgg_deep", "small", "resnet20"
BASELINES = [f"{name}:baseline" for name in NETWORKS]
OTHERS = [f"{name}:{variant}" for name in NETWORKS if name != "small" for variant in ("coupled", "decoupled")]
SETTINGS = list(itertools.product((2, 1), ("default", "raised")))  # threads, allocator
WHOLE = 2, "raised"  # the setting in which coupled and decoupled networks are measured too
SIDES = "torch channels_last", "torch", "duonet numpy"
ENOUGH = 0.93  # of the cores
SPIN_SECONDS = 1.0


def cores(n):
    """Return the number of cores that n processes get, which compute for a second."""
    with multiprocessing.Pool(n) as pool:
        return sum(pool.map(_spin, [SPIN_SECONDS] * n, chunksize=1))


def _spin(seconds):
    wall, used = time.perf_counter(), time.process_time()
    while time.perf_counter() - wall < seconds:
        pass
    return (time.process_time() - used) / (time.perf_counter() - wall)


def measure(turns):
    """Return all numbers of the table, and the machine of the measurement."""
    steps, found = [], [cores(2)]
    for threads, allocator in SETTINGS:
        names = BASELINES + (OTHERS if (threads, allocator) == WHOLE else [])
        given = "--threads", str(threads), "--allocator", allocator, "--turns", str(turns)
        rows = train_step(*names, *given)
        steps += [{"threads": threads, "allocator": allocator, **row} for row in rows]
        found.append(cores(2))
    return {
        "machine": f"{platform.machine()}, Python {platform.python_version()}, {versions()}",
        "date": time.strftime("%Y-%m-%d"),
        "cores": [round(n, 3) for n in found],
        "steps": steps,
        "memory": train_step(*BASELINES, "--memory"),
    }


def versions():
    return ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("numpy", "numba", "torch"))


def train_step(*arguments):
    script = Path(__file__).with_name("train_step.py")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.json"
        subprocess.run([sys.executable, script, *arguments, "--json", path], check=True)
        return json.loads(path.read_text())


def _free(measured):
    """Write the number of free cores, as a range if the counts differ."""
    return " to ".join(dict.fromkeys(f"{n:.2f}" for n in (min(measured["cores"]), max(measured["cores"]))))


def table(measured):
    """Return the table in Markdown."""
    ratios = {(row["threads"], row["allocator"], row["network"], row["side"]): row for row in measured["steps"]}
    memory = {(row["network"], row["side"]): row["ratio"] for row in measured["memory"]}
    heads = [f"{n} thread{'s' * (n > 1)}, {allocator}" for n, allocator in SETTINGS]
    lines = [
        f"Measured on {measured['date']} ({measured['machine']}), with {_free(measured)} of 2 "
        "cores free. Time of a training step to channels_last / to eager / to "
        "NumPy's twins, with each number of threads and setting of the allocator; memory of a step to "
        "channels_last / to eager.",
        "",
        f"| network, batch | ms | {' | '.join(heads)} | memory |",
        "|---|---" + "|---" * len(heads) + "|---|",
    ]
    for name in dict.fromkeys(row["network"] for row in measured["steps"] if row["threads"] == WHOLE[0]):
        mine = ratios[(*WHOLE, name, "duonet")]
        cells = [
            " / ".join(f"{ratios[(*setting, name, side)]['ratio']:.2f}" for side in SIDES)
            if (*setting, name, "duonet") in ratios
            else ""
            for setting in SETTINGS
        ]
        used = " / ".join(f"{memory[name, side]:.2f}" for side in SIDES[:2] if (name, side) in memory)
        shown = name.replace(":", " ").removesuffix(" baseline")
        lines.append(f"| {shown}, {mine['batch']} | {mine['ms']:.1f} | {' | '.join(cells)} | {used} |")
    return "\n".join(lines) + "\n"


def packed_table(measured):
    """Return the table of packed networks in Markdown, from the file of `inference.py`."""
    rows = {(row["network"], row["batch"], row["threads"], row["side"]): row for row in measured["rows"]}
    lines = [
        f"Two cores, with {_free(measured)} of them free. How many "
        "times as fast the packed network is as PyTorch eager / channels_last / onnxruntime / duonet folded, and "
        "in NumPy alone as duonet folded.",
        "",
        "| network, images | ms, 2 threads | 2 threads | 1 thread | NumPy alone, 2 threads / 1 | C, ms |",
        "|---|---|---|---|---|---|",
    ]
    for name, batch in dict.fromkeys((row["network"], row["batch"]) for row in measured["rows"]):

        def ms(threads, side, name=name, batch=batch):
            return rows[name, batch, threads, side]["ms"]

        def faster(threads, name=name, batch=batch):
            sides = "torch", "torch channels_last", "onnxruntime", "fold"
            return " / ".join(f"{rows[name, batch, threads, side]['packed_is_faster']:.1f}" for side in sides)

        alone = " / ".join(f"{ms(n, 'fold numpy') / ms(n, 'packed numpy'):.2f}" for n in (2, 1))
        c = f"{ms(1, 'C'):.2f}" if (name, batch, 1, "C") in rows else ""
        lines.append(f"| {name}, {batch} | {ms(2, 'packed'):.2f} | {faster(2)} | {faster(1)} | {alone} | {c} |")
    return "\n".join(lines) + "\n"


def gain_table(measured, packed):
    """Return the README's table in Markdown: the gain of each network from binary values."""
    steps = {
        (row["network"], row["side"]): row["ratio"]
        for row in measured["steps"]
        if (row["threads"], row["allocator"]) == WHOLE
    }
    runs = {
        (row["network"], row["batch"]): row["packed_is_faster"]
        for row in packed["rows"]
        if (row["threads"], row["side"]) == (2, "torch")
    }
    lines = [
        "| network | training step: time to PyTorch's channels_last / eager | one image, packed: times as fast as "
        "eager | 256 images | file: times smaller |",
        "|---|---|---|---|---|",
    ]
    for name, (small, large) in packed["bytes"].items():
        step = " / ".join(f"{steps[f'{name}:baseline', side]:.2f}" for side in SIDES[:2])
        run = " | ".join(f"{runs[name, batch]:.1f}" for batch in (1, 256))
        lines.append(f"| `{name}` | {step} | {run} | {large / small:.0f} |")
    return "\n".join(lines) + "\n"


def filled(page, name, text):
    """Return the page with a text between the marks of a name."""
    begin = f"<!-- {name} -->\n"
    before, rest = page.split(begin)
    return before + begin + text + END + rest.split(END, 1)[1]


def pages():
    """Return {page: its text with new tables} for all pages whose numbers have been measured."""
    speed, packed = (
        json.loads(path.read_text()) if path.exists() else None
        for path in (DOCS / "speed.json", DOCS / "inference.json")
    )
    tables = [(DOCS / "speed.md", "speed.json", speed and table(speed))]
    tables += [(DOCS / "inference.md", "inference.json", packed and packed_table(packed))]
    tables += [(ROOT / "README.md", "gain", speed and packed and gain_table(speed, packed))]
    return {path: filled(path.read_text(encoding="utf-8"), name, text) for path, name, text in tables if text}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--render", action="store_true", help="only write the tables again")
    parser.add_argument("--turns", type=int, default=9)
    args = parser.parse_args()
    if not args.render:
        measured = measure(args.turns)
        if min(measured["cores"]) < 2 * ENOUGH:
            sys.exit(f"void: something else ran; of two cores there were {measured['cores']}")
        (DOCS / "speed.json").write_text(json.dumps(measured, indent=1) + "\n")
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
