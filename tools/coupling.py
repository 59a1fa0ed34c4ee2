"""The gain from coupling: BinaryDuo, its baseline and its control under one changed condition at a time.

    python tools/coupling.py runs/coupling --seeds 8   # train; the same command continues, and adds seeds
    python tools/coupling.py runs/coupling --keep      # write the accuracies so far to docs/coupling.json

`--only "12 layers"` trains this condition alone. `--keep` leaves the conditions without a folder in
runs/coupling as they are in docs/coupling.json.

The conditions change the number of quantised layers, the epochs, the learning rates or the weights of one
standard training. Every condition trains the three methods with the same seeds, all seed 0 first. Nothing is
chosen, and the test images are scored once.
"""

import argparse
import json
import re
import sys
from pathlib import Path

from one_line import one_line

from duonet import arguments
from duonet.experiments import sweep
from duonet.experiments.crew import Crew
from duonet.experiments.study_file import check_shape, read_json, read_study
from duonet.files import replacing

DOCS = Path(__file__).parent.parent / "docs"
METHODS = ["baseline", "binaryduo", "control"]
STANDARD = {
    "model": "vgg_deep", "dataset": "fashion-mini", "epochs": 12, "images": 1500, "validation_images": 200,
    "lr": 16e-3, "finetune_lr": 4e-3, "padding": 0, "select": "last",
}  # fmt: skip
CONDITIONS = {
    "standard": {},
    "3 layers": {"model": "vgg_deep3"},
    "6 layers": {"model": "vgg_deep6"},
    "12 layers": {"model": "vgg_deep12"},
    "6 epochs": {"epochs": 6},
    "24 epochs": {"epochs": 24},
    "48 epochs": {"epochs": 48},
    "both rates / 4": {"lr": 4e-3, "finetune_lr": 1e-3},
    "both rates / 16": {"lr": 1e-3, "finetune_lr": 25e-5},
    "first rate / 4": {"lr": 4e-3},
    "second rate / 4": {"finetune_lr": 1e-3},
    "binary weights": {"weights": "binary"},
}


def slug(condition):
    return re.sub(r"\W+", "-", condition)


def train(out, seeds, workers, conditions=None):
    """Train the missing runs of all conditions, or of these, and return the number of failed runs."""
    failed = 0
    for seed in range(seeds):
        for condition in conditions or CONDITIONS:
            settings = STANDARD | CONDITIONS[condition] | {"method": METHODS, "seed": seed}
            with Crew(workers) as crew:
                found = sweep(settings, out / slug(condition) / str(seed), progress=False, crew=crew)["failed"]
            print(f"seed {seed}, {condition}", flush=True)
            for name, problem in found.items():
                print(f"coupling: seed {seed}, {condition}, run {name} failed: {problem}", file=sys.stderr)
            failed += len(found)
    return failed


def keep(out):
    """Write the test accuracies of the seeds that all conditions have, in OUT or in the kept file."""
    if not any((out / slug(condition)).is_dir() for condition in CONDITIONS):
        raise ValueError(f"{out} has no folder of a condition, such as {slug(next(iter(CONDITIONS)))}")
    done = {c: finished(out, c) if (out / slug(c)).is_dir() else kept(c) for c in CONDITIONS}
    seeds = sorted(set.intersection(*(set(rows) for rows in done.values())))
    if not seeds:
        raise ValueError(f"{out} has no seed that is finished under every condition")
    found = {}
    for condition, changes in CONDITIONS.items():
        found[condition] = {"changes": changes, "methods": by_method(done[condition], seeds)}
    with replacing(DOCS / "coupling.json") as part:
        text = json.dumps({"settings": STANDARD, "conditions": found}, indent=1)
        part.write_text(text + "\n", encoding="utf-8")
    print(f"docs/coupling.json has seeds {', '.join(map(str, seeds))}")


def by_method(accuracies, seeds):
    """Return seeds and accuracies of each method; what comes in is by seed and method."""
    return {m: {"seeds": seeds, "accuracy": [accuracies[seed][m] for seed in seeds]} for m in METHODS}


def kept(condition):
    """Return the accuracies of the methods by seed, of docs/coupling.json."""
    path = DOCS / "coupling.json"
    if not path.exists():
        return {}
    found = read_json("coupling", path)
    row = {"seeds": [int], "accuracy": [float]}
    check_shape(found, {"settings": dict, "conditions": dict}, str(path))
    if condition not in found["conditions"]:
        return {}
    check_shape(
        found["conditions"], {condition: {"changes": dict, "methods": dict.fromkeys(METHODS, row)}}, str(path)
    )
    changes, methods = found["conditions"][condition]["changes"], found["conditions"][condition]["methods"]
    if (found["settings"], changes) != (STANDARD, CONDITIONS[condition]):
        raise ValueError(f"{path} has other settings than {condition}")
    rows = {method: dict(zip(methods[method]["seeds"], methods[method]["accuracy"])) for method in METHODS}
    seeds = set.intersection(*map(set, rows.values()))
    return {seed: {method: rows[method][seed] for method in METHODS} for seed in seeds}


def finished(out, condition):
    """Return the accuracies of the methods by seed, of complete sweeps."""
    found = {}
    for path in (out / slug(condition)).glob("*/results.json"):
        results, seed = read_study("sweep", path), path.parent.name
        asked = STANDARD | CONDITIONS[condition] | {"method": METHODS}
        if not seed.isdecimal() or results["settings"] != asked | {"seed": int(seed)}:
            raise ValueError(f"{path} has other settings than {condition}, seed {seed}")
        accuracies = {run["given"].get("method"): run["test_accuracy"] for run in results["runs"]}
        if results["complete"]:
            if accuracies.keys() != set(METHODS) or None in accuracies.values():
                raise ValueError(f"{path} must have a test accuracy of each of {', '.join(METHODS)}")
            found[int(seed)] = accuracies
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder of the trainings")
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--workers", type=int, default=1)
    either = parser.add_mutually_exclusive_group()
    either.add_argument("--only", action="append", choices=CONDITIONS, metavar="CONDITION")
    either.add_argument("--keep", action="store_true")
    options = parser.parse_args()
    with one_line("coupling"):
        arguments.integer("coupling", "seeds", options.seeds, at_least=1)
        if options.keep:
            keep(options.out)
        elif train(options.out, options.seeds, options.workers, options.only):
            sys.exit(1)


if __name__ == "__main__":
    main()
