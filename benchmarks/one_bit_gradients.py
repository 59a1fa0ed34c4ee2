"""Accuracy with gradients of one bit, against full gradients, over seeds.

    python benchmarks/one_bit_gradients.py mlp --out docs/one_bit_gradients_mlp.json

Both trainings use the same shards, in one process. The bytes are those that each process would send if every shard
had its own process.
"""

import argparse
import dataclasses
import json
import tempfile
from pathlib import Path

import numpy as np

from duonet.experiments import train
from duonet.experiments.run_settings import RunSettings
from duonet.files import replacing
from duonet.models import build

WIDTHS = {"mlp": None, "vgg_deep": 8}


def weights_of(settings):
    model = build(settings.model, "baseline", (28, 28, 1), 10, rng=np.random.default_rng(0), width=settings.width)
    return sum(parameter.size for parameter in model.parameters())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=sorted(WIDTHS))
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--images", type=int, default=4000)
    parser.add_argument("--shards", type=int, default=2)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    settings = RunSettings(
        options.model, "fashion-mini", method="baseline", width=WIDTHS[options.model], epochs=options.epochs,
        images=options.images, validation_images=1000, shards=options.shards, select="last",
    )  # fmt: skip
    weights, shards = weights_of(settings), options.shards
    bytes_sent = {
        None: 2 * 4 * weights * (shards - 1) // shards,
        "sign": (weights + 7) // 8 * (shards - 1),
    }
    rows = {}
    for compress in (None, "sign"):
        accuracies = []
        for seed in range(options.seeds):
            with tempfile.TemporaryDirectory() as folder:
                run = dataclasses.replace(settings, compress=compress, seed=seed)
                accuracies.append(train(run, Path(folder) / "run", progress=False)["test_accuracy"])
            print(f"{options.model}, {compress or 'full'}, seed {seed}: {100 * accuracies[-1]:.2f} %", flush=True)
        rows[compress or "full"] = {"test_accuracy": accuracies, "bytes_a_step": bytes_sent[compress]}
        print(f"    {100 * np.mean(accuracies):.2f} ± {100 * np.std(accuracies, ddof=1):.2f} %", flush=True)
    with replacing(options.out) as part:
        text = json.dumps({"settings": dataclasses.asdict(settings), "gradients": rows}, indent=1)
        part.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
