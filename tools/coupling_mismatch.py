"""Gradient mismatch of the networks of tools/coupling.py, before, during and after their training.

    python tools/coupling_mismatch.py runs/coupling --seeds 8   # measure; the same command continues
    python tools/coupling_mismatch.py runs/coupling --keep      # write docs/coupling_mismatch.json

Measured is the last convolution whose gradient passes two staircases, on training images of the data set. Each
network was trained on some of these images.
"""

import argparse
import json
from pathlib import Path

import coupling
import numpy as np
from one_line import one_line

from duonet import arguments, data, functional
from duonet.experiments.materials import load_splits
from duonet.experiments.real_network import NETWORKS, PARTS, network_of
from duonet.experiments.run_settings import RunSettings
from duonet.experiments.study_file import check_shape, read_json
from duonet.files import replacing
from duonet.mismatch.estimators import coarse_gradient, coordinate_gradient
from duonet.mismatch.objective import cut, sample_coordinates, weighted_layers
from duonet.mismatch.statistics import paired_products

CONDITIONS = ("3 layers", "standard", "12 layers")
FOLDERS = {"baseline": "1-baseline", "binaryduo": "2-binaryduo"}
LAYER = -4  # from the output; behind it are the classifier and two layers of fewer staircases
SETTINGS = {"images": 8000, "coordinates": 768, "step": 0.3, "parts": PARTS}
NAMES = [f"{name}, {'start' if which == 'start' else 'trained'}" for name, _, which in NETWORKS]


def measured(folder, condition, seed):
    """Return the sums of every network of a seed."""
    found = {}
    for (_, method, which), name in zip(NETWORKS, NAMES):
        given = coupling.STANDARD | coupling.CONDITIONS[condition] | {"method": method, "seed": seed}
        run = RunSettings(**given).resolved()
        splits = load_splits(run)
        images = data.load(run.dataset).train.take(SETTINGS["images"])
        x = data.Normalize.of(splits.train.images)(images.images)
        model = network_of(run, splits, which, x, folder / FOLDERS[method]).eval()
        layer = list(weighted_layers(model))[LAYER]
        found[name] = sums_of(model, (x, images.labels), layer, np.random.default_rng([seed, 13]))
    return found


def sums_of(model, batch, layer, rng):
    """Return c·g, c·c and g·g of a layer without the noise, where g is the smoothed gradient."""
    chosen = sample_coordinates(model, SETTINGS["coordinates"], rng, [layer])
    c, g = [], []
    for part in cut(batch, PARTS):
        given = (model, functional.softmax_cross_entropy, part)
        c.append(coarse_gradient(*given, [layer])[layer].values[chosen[layer]])
        g.append(coordinate_gradient(*given, SETTINGS["step"], [layer], coordinates=chosen)[layer].values)
    return [float(f"{value:.6g}") for value in paired_products(np.array(c), np.array(g)).sum(axis=1)]


def measure(out, seeds):
    """Measure what is missing, all conditions of seed 0 first."""
    for seed in range(seeds):
        for condition in CONDITIONS:
            folder = out / coupling.slug(condition) / str(seed)
            if kept(folder) is None:
                for run in FOLDERS.values():
                    if not (folder / run / "result.json").is_file():
                        raise ValueError(f"{folder} has no finished run {run}; tools/coupling.py trains it")
                write(folder / "mismatch.json", sums=measured(folder, condition, seed))
                print(f"seed {seed}, {condition}", flush=True)


def kept(folder):
    """Return the sums of a seed, or None."""
    path = folder / "mismatch.json"
    if not path.exists():
        return None
    found = read_json("coupling_mismatch", path)
    check_shape(found, {"settings": dict, "sums": {name: [float] for name in NAMES}}, str(path))
    if found["settings"] != SETTINGS:
        raise ValueError(f"{path} has other settings: expected {SETTINGS}, got {found['settings']}")
    if any(len(found["sums"][name]) != 3 for name in NAMES):
        raise ValueError(f"{path} must have three sums for each network")
    return found["sums"]


def keep(out):
    """Write the sums of the seeds that are measured under all conditions, and the accuracies of all networks."""
    done, trained = {}, {}
    for condition in CONDITIONS:
        folders = [path.parent for path in (out / coupling.slug(condition)).glob("*/mismatch.json")]
        done[condition] = {int(folder.name): kept(folder) for folder in folders if folder.name.isdecimal()}
        accuracies = coupling.finished(out, condition)
        trained[condition] = {"methods": coupling.by_method(accuracies, sorted(accuracies))}
    seeds = sorted(set.intersection(*map(set, done.values())))
    if not seeds:
        raise ValueError(f"{out} has no seed that is measured under every condition")
    sums = {c: {name: [done[c][seed][name] for seed in seeds] for name in NAMES} for c in CONDITIONS}
    write(coupling.DOCS / "coupling_mismatch.json", seeds=seeds, sums=sums, trained=trained)
    print(f"docs/coupling_mismatch.json has seeds {', '.join(map(str, seeds))}")


def write(path, **values):
    with replacing(path) as part:
        part.write_text(json.dumps({"settings": SETTINGS} | values, indent=1) + "\n", encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder of the trainings")
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--keep", action="store_true")
    options = parser.parse_args()
    with one_line("coupling_mismatch"):
        arguments.integer("coupling_mismatch", "seeds", options.seeds, at_least=1)
        if options.keep:
            keep(options.out)
        else:
            measure(options.out, options.seeds)


if __name__ == "__main__":
    main()
