"""Choose the learning rates of `duonet compare` on the 2,000 validation images; test images are not touched.

    python tools/tune_compare.py [--model vgg_deep] [--seeds 2] [--rates 1e-3 2e-3 4e-3]

Prints the mean validation accuracy after the last epoch for every method and rate. The second stage of BinaryDuo
starts from the coupled network of each seed at its best rate.
"""

import argparse
import copy
import statistics
import tempfile
from pathlib import Path

from duonet import data
from duonet.decouple import decouple
from duonet.experiments.compare import Settings, Trainer
from duonet.train import evaluate


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=Settings.model)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--rates", type=float, nargs="+", default=[1e-3, 2e-3, 4e-3])
    options = parser.parse_args()
    settings = Settings(model=options.model)
    first, second = settings.stages()
    splits = data.fashion_mini()
    out = Path(tempfile.mkdtemp())
    trainers = [Trainer(settings, splits, seed, out, progress=False) for seed in range(options.seeds)]

    def scores(method, models, epochs, lr, stage=1):
        """Train one model for each seed, print and return the mean validation accuracy."""
        accuracies = []
        for trainer, model in zip(trainers, models):
            trainer.fit(method, model, epochs, lr, stage)
            accuracies.append(evaluate(model, trainer.loader(splits.validation)).accuracy)
        mean = statistics.mean(accuracies)
        each = " ".join(f"{100 * a:.1f}" for a in accuracies)
        print(f"{method:10} lr {lr:.0e}  {epochs:2} epochs  validation {100 * mean:.2f} %  ({each})", flush=True)
        return mean

    for method in ("float", "baseline"):
        for lr in options.rates:
            scores(method, [t.build(method) for t in trainers], first + second, lr)
    for lr in options.rates:
        scores("control", [t.build_control() for t in trainers], first + second, lr)
    coupled = {}
    for lr in options.rates:
        models = [t.build("coupled") for t in trainers]
        coupled[scores("coupled", models, first, lr)] = models
    best = coupled[max(coupled)]
    for lr in [options.rates[0] / 2, *options.rates]:
        scores("binaryduo", [decouple(copy.deepcopy(m)) for m in best], second, lr, stage=2)


if __name__ == "__main__":
    main()
