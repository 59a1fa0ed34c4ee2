"""What coupling is worth, and when: BinaryDuo, its baseline and its control under one changed condition at a time.

    python tools/coupling.py --seeds 8 --out runs/coupling   # train; the same command continues, or adds seeds
    python tools/coupling.py --keep runs/coupling            # what it found so far: docs/coupling.json, then render
    python tools/coupling.py                                 # render docs/what_we_found.md and docs/coupling.png

The conditions change the number of quantised layers, the epochs, the learning rates or the weights of one standard
training. Every condition trains the three methods with the same seeds, all seed 0 first. Nothing is chosen, and the
test images are scored once.
"""

import argparse
import json
import re
import statistics
from pathlib import Path

from duonet.experiments import sweep
from duonet.experiments.crew import Crew
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
    "both rates / 4": {"lr": 4e-3, "finetune_lr": 1e-3},
    "both rates / 16": {"lr": 1e-3, "finetune_lr": 25e-5},
    "binary weights": {"weights": "binary"},
}


def slug(condition):
    return re.sub(r"\W+", "-", condition)


def train(out, seeds, workers):
    """Make what is missing."""
    for seed in range(seeds):
        for condition, changes in CONDITIONS.items():
            settings = STANDARD | changes | {"method": METHODS, "seed": seed}
            with Crew(workers) as crew:
                sweep(settings, out / slug(condition) / str(seed), progress=False, crew=crew)
            print(f"seed {seed}, {condition}", flush=True)


def keep(out):
    """Write the accuracies of every seed that all conditions have."""
    found, seeds = {}, None
    for condition, changes in CONDITIONS.items():
        done = {}
        for path in (out / slug(condition)).glob("*/results.json"):
            results = json.loads(path.read_text(encoding="utf-8"))
            if results["complete"] and results["settings"] == STANDARD | changes | {
                "method": METHODS, "seed": int(path.parent.name)
            }:  # fmt: skip
                done[int(path.parent.name)] = {r["given"]["method"]: r["test_accuracy"] for r in results["runs"]}
        seeds = done.keys() if seeds is None else seeds & done.keys()
        found[condition] = {"changes": changes, "accuracies": done}
    for row in found.values():
        row["accuracies"] = {
            method: [row["accuracies"][seed][method] for seed in sorted(seeds)] for method in METHODS
        }
    with replacing(DOCS / "coupling.json") as part:
        text = json.dumps({"settings": STANDARD, "seeds": sorted(seeds), "conditions": found}, indent=1)
        part.write_text(text + "\n", encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="folder of the trainings")
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="take over what the trainings found so far")
    options = parser.parse_args()
    if options.out is not None:
        train(options.out, options.seeds, options.workers)
        return
    if options.keep is not None:
        keep(options.keep)


if __name__ == "__main__":
    main()
