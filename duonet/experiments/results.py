"""What a comparison keeps and prints: results.json, the weights, the table."""

import copy
import dataclasses
import statistics

import numpy as np

from duonet.checkpoint import save_checkpoint
from duonet.experiments.results_file import ResultsFile
from duonet.summary import cost
from duonet.tape import no_grad
from duonet.tensor import Tensor
from duonet.text import aligned
from duonet.train import evaluate

DOUBLE_CHECKED_IMAGES = 1000  # on which decoupling is checked in float64

METHODS = {
    "float": "float network",
    "baseline": "binary baseline",
    "coupled": "coupled ternary",
    "decoupled": "decoupled",
    "binaryduo": "BinaryDuo: decoupled, fine-tuned",
    "control": "decoupled from scratch",
    "ternary": "ternary at full width",
    "restarted": "binary baseline, restarted",
    "control_restarted": "decoupled from scratch, restarted",
}


def table(results):
    """Lay the results out as an aligned table.

    Parameters
    ----------
    results : dict
        As `compare` returns.

    Returns
    -------
    str
    """
    header = ("method", "test accuracy %", "epochs", "weights", "W bits", "A bits", "MACs")
    rows = [header]
    for row in results["methods"].values():
        accuracy = f"{100 * row['mean']:.2f}"
        if row["std"] is not None:
            accuracy += f" ± {100 * row['std']:.2f}"
        bits = ["float" if b == 32 else str(b) for b in (row["weight_bits"], row["activation_bits"])]
        rows.append(
            (row["name"], accuracy, row["epochs"], f"{row['weights']:,}", *bits, f"{row['macs'] / 1e6:.2f} M")
        )
    return aligned(rows)


class Results(ResultsFile):
    """What a comparison's results.json holds; rewritten after every model."""

    def __init__(self, settings, out):
        recipe = dataclasses.asdict(settings.recipe())
        recipe["widths"] = list(recipe["widths"])
        super().__init__(out, dataclasses.asdict(settings) | {"recipe": recipe})
        self.values |= {"stages": list(settings.stages()), "methods": {}, "decoupling": []}

    def add(self, method, trainer, model, epochs):
        """Score a model on the test images, once, and keep it."""
        score = evaluate(model, trainer.test)
        save_checkpoint(self.out / f"model_{method}_seed{trainer.seed}.npz", model, about=trainer.about)
        row = self.values["methods"].setdefault(
            method,
            {"name": METHODS[method], "epochs": epochs, "accuracy": [], "loss": []}
            | cost(model, trainer.train_set.images.shape[1:])._asdict(),
        )
        row["accuracy"].append(score.accuracy)
        row["loss"].append(score.loss)
        row["mean"] = statistics.mean(row["accuracy"])
        row["std"] = statistics.stdev(row["accuracy"]) if len(row["accuracy"]) > 1 else None
        self.save()

    def add_difference(self, trainer, coupled, decoupled):
        """Hold the decoupled network against the coupled one, in float64 and in float32.

        The two sum the same products in another order. In float64 that is all the difference there is; in float32
        the rounding now and then carries a pre-activation over a threshold.
        """
        exact, _, _ = _difference(
            copy.deepcopy(coupled).astype("float64"),
            copy.deepcopy(decoupled).astype("float64"),
            (x.astype("float64") for x, _ in trainer.loader(trainer.test_set.take(DOUBLE_CHECKED_IMAGES))),
        )
        _, changed, images = _difference(coupled, decoupled, (x for x, _ in trainer.test))
        self.values["decoupling"].append(
            {
                "seed": trainer.seed,
                "float64_images": DOUBLE_CHECKED_IMAGES,
                "float64_relative_difference": exact,
                "float32_images": images,
                "float32_changed_predictions": changed,
            }
        )


def _difference(coupled, decoupled, batches):
    """Return the largest logit difference relative to the largest logit, changed predictions, and images."""
    difference = largest = changed = images = 0
    with no_grad():
        for x in batches:
            a, b = (model.eval()(Tensor(x)).numpy() for model in (coupled, decoupled))
            difference = max(difference, float(np.abs(a - b).max()))
            largest = max(largest, float(np.abs(a).max()))
            changed += int((a.argmax(axis=1) != b.argmax(axis=1)).sum())
            images += len(x)
    return difference / largest, changed, images
