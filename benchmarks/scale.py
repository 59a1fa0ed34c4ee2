"""Threads, processes and workers side by side: trainings, studies, and the wire. One command, about nine minutes.

    python benchmarks/scale.py                      # measure all, write docs/scale.json, then render
    python benchmarks/scale.py --render             # render the tables of docs/scale.md again
    python benchmarks/scale.py --tiny --json FILE   # a minute, to test the script; the numbers are void

It needs `pip install "duonet[scale,mpi]"`. The sides take turns; each has its own processes in every turn.
Figures are medians, ratios medians of the ratios within a turn; above 1 a side is faster than one process of one
thread.

Nothing else may run meanwhile. So the script counts cores before, between and after; a run with too few cores is
void, and exits with 1 before it writes a file.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import speed_table
import wire

import duonet
from duonet import models, optim, parallel
from duonet.data import DataLoader, Dataset, Normalize
from duonet.models.catalogue import defaults
from duonet.team import Team, World
from duonet.train import fit

SERIAL, THREADS = "1 process, 1 thread", "1 process, 2 threads"
SIDES = {  # of a training: processes, threads of each, shards, compress
    SERIAL: (1, 1, 1, None),
    THREADS: (1, 2, 1, None),
    "2 processes": (2, 1, 2, None),
    "2 processes, 4 shards": (2, 1, 4, None),
    "2 processes, signs": (2, 1, 2, "sign"),
}
TRAINED = {"vgg_deep": (64, 16), "vgg7": (128, 3), "mlp": (64, 100)}  # images of a batch, steps of a turn
ALONE = {"resnet20": (128, 3), "resnet18": (32, 2), "alexnet": (32, 2)}  # with two threads alone, for the wire
STUDIES = {  # of a study: threads, workers
    "1 process, 1 thread": (1, 1),
    "1 process, 2 threads": (2, 1),
    "2 workers of 1 thread": (1, 2),
}
STUDY = ["--model", "vgg_deep", "--seeds", "2", "--epochs", "2", "--images", "640"]
TINY = ["--model", "mlp", "--seeds", "1", "--epochs", "2", "--images", "200", "--width", "4"]


def child(network, batch, steps, threads, shards, compress):
    """Train, as one of the processes of a side; the first prints the seconds and the bytes of a step."""
    parallel.keep_memory()
    world = World.joined()
    rng = np.random.default_rng(1)
    in_shape, classes = defaults(network)
    shape = in_shape if len(in_shape) == 3 else (28, 28, 1)  # a perceptron flattens its images
    images = rng.integers(0, 256, (batch * steps, *shape), dtype=np.uint8)
    labels = rng.integers(0, classes, len(images))
    model = models.build(network, "baseline", in_shape, classes, rng=np.random.default_rng(0))
    optimizer = optim.AdamW(model.parameters(), 1e-3)
    team = Team(shards, compress=compress, world=world) if shards > 1 or compress else None
    normalize = Normalize.of(images[:batch])

    def epoch(n):
        loader = DataLoader(Dataset(images[:n], labels[:n]), batch, normalize)
        return fit(model, loader, optimizer, 1, team=team, progress=False)["seconds"][-1]

    with duonet.threads(threads):
        epoch(batch)
        sent, waited = world.sent, world.seconds
        took = epoch(len(images))
    if world.rank == 0:
        print(json.dumps([took / steps, (world.sent - sent) / steps, (world.seconds - waited) / steps]))


def training(network, batch, steps, side):
    """Return seconds, bytes sent and seconds of exchange of a step, of one turn of a side."""
    processes, threads, shards, compress = SIDES[side]
    given = json.dumps([network, batch, steps, threads, shards, compress])
    mpiexec = Path(sys.executable).with_name("mpiexec")
    command = [mpiexec if mpiexec.is_file() else "mpiexec", "-n", str(processes)] if processes > 1 else []
    done = subprocess.run(
        [*command, sys.executable, __file__, "--child", given],
        check=True, stdout=subprocess.PIPE, text=True, env=os.environ | {"DUONET_THREADS": str(threads)},
    )  # fmt: skip
    return json.loads(done.stdout)


def trainings(turns, networks, sides):
    """Return a row for each network and side; the sides take turns."""
    rows = []
    for network, (batch, steps) in networks.items():
        found = {side: [] for side in sides}
        for _ in range(turns):
            for side in sides:
                found[side].append(training(network, batch, steps, side))
        for side, figures in found.items():
            took, sent, waited = zip(*figures)
            row = {"network": network, "batch": batch, "side": side, "ms": 1e3 * statistics.median(took)}
            row |= {"ratio": ratio(found[sides[0]], figures), "bytes": sent[0]}
            rows.append(row | {"exchange_ms": 1e3 * statistics.median(waited)})
            shown = f"{row['ms']:9.2f} ms {1e3 * batch / row['ms']:8.0f} images/s {row['ratio']:6.2f}"
            print(f"{network:9} {side:22} {shown}", flush=True)
    return rows


def ratio(first, figures):
    return statistics.median(a[0] / b[0] for a, b in zip(first, figures))


def study(words, side):
    """Return the seconds of a whole command, and its results."""
    threads, workers = STUDIES[side]
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "duonet", "compare", *words, "--out", f"{folder}/run", "--quiet"]
        command += ["--workers", str(workers)] if workers > 1 else []
        env = os.environ | {"DUONET_THREADS": str(threads)}
        started = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=env)
        took = time.perf_counter() - started
        return took, json.loads(Path(folder, "run", "results.json").read_text())["methods"]


def studies(turns, words):
    """Return a row for each side of a study; the results of all must agree to the last bit."""
    found = {side: [] for side in STUDIES}
    for _ in range(turns):
        for side in STUDIES:
            found[side].append(study(words, side))
    if len({json.dumps(figures) for runs in found.values() for _, figures in runs}) != 1:
        sys.exit("void: the numbers of two studies differ")
    rows = []
    for side, runs in found.items():
        rows.append({"side": side, "seconds": statistics.median(took for took, _ in runs)})
        rows[-1]["ratio"] = ratio(found[SERIAL], runs)
        print(f"compare   {side:22} {rows[-1]['seconds']:9.1f} s {rows[-1]['ratio']:6.2f}", flush=True)
    return rows


def measure(turns, tiny):
    """Return all numbers of the tables, and the machine of the measurement."""
    trained, alone, words = TRAINED, ALONE, STUDY
    if tiny:
        trained, alone, words, turns = {"mlp": (64, 2)}, {"vgg_deep": (8, 1)}, TINY, 1
    found = [speed_table.cores(2)]
    rows = trainings(turns, trained, list(SIDES))
    found.append(speed_table.cores(2))
    steps = [row for row in rows if row["side"] == THREADS] + trainings(min(turns, 3), alone, [THREADS])
    found.append(speed_table.cores(2))
    compared = studies(min(turns, 3), words)
    found.append(speed_table.cores(2))
    return {
        "machine": f"{platform.machine()}, Python {platform.python_version()}, numpy {np.__version__}",
        "date": time.strftime("%Y-%m-%d"),
        "cores": [round(n, 3) for n in found],
        "turns": turns,
        "compare": " ".join(words),
        "training": rows,
        "steps": [{name: row[name] for name in ("network", "batch", "ms")} for row in steps],
        "studies": compared,
    }


def said(measured):
    """Return the sentence above the tables."""
    return (
        f"Measured on {measured['date']} ({measured['machine']}), with {min(measured['cores']):.2f} to "
        f"{max(measured['cores']):.2f} of 2 cores free."
    )


def training_table(measured):
    """Return the table of trainings in Markdown."""
    rows = {(row["network"], row["side"]): row for row in measured["training"]}
    sides = list(dict.fromkeys(side for _, side in rows))
    lines = [
        f"{said(measured)} Images per second; in brackets, times as fast as one process of one thread.",
        "",
        f"| network, images of a batch | {' | '.join(sides)} |",
        "|---" + "|---" * len(sides) + "|",
    ]
    for network in dict.fromkeys(network for network, _ in rows):
        mine = [rows[network, side] for side in sides]
        cells = [f"{1e3 * row['batch'] / row['ms']:,.0f} ({row['ratio']:.2f})" for row in mine]
        lines.append(f"| {network}, {mine[0]['batch']} | {' | '.join(cells)} |")
    lines += ["", "What one of two processes sends in a step, and the share of the step that exchanges take:", ""]
    sides = [side for side in sides if any(rows[key]["bytes"] for key in rows if key[1] == side)]
    lines += [f"| network | {' | '.join(sides)} |", "|---" + "|---" * len(sides) + "|"]
    for network in dict.fromkeys(network for network, _ in rows):
        mine = [rows[network, side] for side in sides]
        cells = [f"{row['bytes'] / 1e3:,.0f} kB, {100 * row['exchange_ms'] / row['ms']:.1f} %" for row in mine]
        lines.append(f"| {network} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def studies_table(measured):
    """Return the table of studies in Markdown."""
    lines = [
        f"`duonet compare {measured['compare']}`, from start to end. All found the same numbers to the last bit.",
        "",
        "| | seconds | times as fast |",
        "|---|---|---|",
    ]
    lines += [f"| {row['side']} | {row['seconds']:.1f} | {row['ratio']:.2f} |" for row in measured["studies"]]
    return "\n".join(lines) + "\n"


def page():
    """Return docs/scale.md with new tables from docs/scale.json."""
    measured = json.loads((speed_table.DOCS / "scale.json").read_text())
    text = (speed_table.DOCS / "scale.md").read_text(encoding="utf-8")
    for name, table in [
        ("training", training_table(measured)), ("studies", studies_table(measured)),
        ("wire", wire.wire_table(measured["steps"])), ("limits", wire.limits_table(measured["steps"])),
    ]:  # fmt: skip
        text = speed_table.filled(text, f"scale.json, {name}", table)
    return text


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--render", action="store_true", help="only write the tables again")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--tiny", action="store_true", help="test the script in a minute")
    parser.add_argument("--json", type=Path, default=speed_table.DOCS / "scale.json", help="(%(default)s)")
    parser.add_argument("--child", help=argparse.SUPPRESS)  # one process's part of a side
    args = parser.parse_args()
    if args.child:
        child(*json.loads(args.child))
        return
    if args.tiny and args.json == speed_table.DOCS / "scale.json":
        parser.error("--tiny takes --json FILE: its numbers are not for the page")
    if not args.render:
        measured = measure(args.turns, args.tiny)
        if not args.tiny and min(measured["cores"]) < 2 * speed_table.ENOUGH:
            sys.exit(f"void: something else ran; of two cores there were {measured['cores']}")
        args.json.write_text(json.dumps(measured, indent=1) + "\n")
    if not args.tiny:
        (speed_table.DOCS / "scale.md").write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
