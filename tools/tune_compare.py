"""Choose the learning rates of `duonet compare` on the 2,000 validation images; test images are not touched.

    python tools/tune_compare.py [--model vgg_deep] [--seeds 2] [--rates 4e-3 8e-3 16e-3 32e-3]

Prints the mean validation accuracy after the last epoch for every method and rate. The second stage of BinaryDuo
starts from the coupled network of each seed at its best rate. Called again with the same `--out`, it continues.
"""

import argparse
import dataclasses
import statistics
from pathlib import Path

from one_line import one_line

from duonet.experiments.comparison import CompareSettings
from duonet.experiments.studies import Study


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=CompareSettings.model)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--rates", type=float, nargs="+", default=[4e-3, 8e-3, 16e-3, 32e-3])
    parser.add_argument("--finetune-rates", type=float, nargs="+", default=[2e-3, 4e-3, 8e-3])
    parser.add_argument("--methods", nargs="+", default=["float", "baseline", "control", "coupled"])
    parser.add_argument("--out", type=Path, default=Path("runs/tune_compare"))
    with one_line("tune"):
        tune(parser.parse_args())


def tune(options):
    """Train the missing models, and print the mean of every method and rate."""
    runs = {
        (run.method, run.seed): run for _, run in CompareSettings(model=options.model, seeds=options.seeds).runs()
    }
    known = {method for method, _ in runs} | {"coupled"}
    if unknown := set(options.methods) - known:
        raise ValueError(f"tune: no method {', '.join(sorted(unknown))}; there are {', '.join(sorted(known))}")
    study = Study("tune", options.out, {"model": options.model}, fresh={})

    def scores(method, **changes):
        """Train one model for each seed, print and return the mean validation accuracy."""
        accuracies = []
        for seed in range(options.seeds):
            run = runs["binaryduo" if method == "coupled" else method, seed]
            if method == "coupled":
                changes |= {"epochs": run.epochs - run.finetune_epochs, "finetune_epochs": None}
            run = dataclasses.replace(run, method=method, validation_images=None, test=False, **changes)
            name = f"{method}-{'-'.join(f'{v:g}' for v in changes.values() if isinstance(v, float))}-{seed}"
            task = study.task(name, run, progress=False)
            accuracies.append(task.work(*task.arguments, task.folder)["val_accuracy"])
        mean = statistics.mean(accuracies)
        each = " ".join(f"{100 * a:.1f}" for a in accuracies)
        rates = " ".join(f"{name} {value:<6g}" for name, value in changes.items() if isinstance(value, float))
        print(f"{method:10} {rates}  validation {100 * mean:.2f} %  ({each})", flush=True)
        return mean

    for method in options.methods:
        best = max(options.rates, key=lambda lr: scores(method, lr=lr))  # noqa: B023
        if method == "coupled":
            for finetune_lr in options.finetune_rates:
                scores("binaryduo", lr=best, finetune_lr=finetune_lr)


if __name__ == "__main__":
    main()
