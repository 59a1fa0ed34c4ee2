"""Choose the learning rates of `duonet compare` on the 2,000 validation images; test images are not touched.

    python tools/tune_compare.py [--model vgg_deep] [--seeds 2] [--rates 4e-3 8e-3 16e-3 32e-3]

Prints the mean validation accuracy after the last epoch for every method and rate. The second stage of BinaryDuo
starts from the coupled network of each seed at its best rate.
"""

import argparse
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
    parser.add_argument("--rates", type=float, nargs="+", default=[4e-3, 8e-3, 16e-3, 32e-3])
    parser.add_argument("--finetune-rates", type=float, nargs="+", default=[2e-3, 4e-3, 8e-3])
    parser.add_argument("--methods", nargs="+", default=["float", "baseline", "control", "coupled"])
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
        print(f"{method:10} lr {lr:<6g}  {epochs:2} epochs  validation {100 * mean:.2f} %  ({each})", flush=True)
        return mean

    for method in options.methods:
        trained = {}
        for lr in options.rates:
            models = [t.build_control() if method == "control" else t.build(method) for t in trainers]
            trained[scores(method, models, first if method == "coupled" else first + second, lr)] = models
        if method == "coupled":
            for lr in options.finetune_rates:
                scores("binaryduo", [decouple(m) for m in trained[max(trained)]], second, lr, stage=2)


if __name__ == "__main__":
    main()
