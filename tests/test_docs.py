"""The page on training shows what the code counts and what the kept runs found."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from duonet import decouple, models, summary
from duonet.experiments import runs_table
from duonet.models.catalogue import defaults
from duonet.text import aligned

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
NETWORKS = {
    "VGG-7": ("vgg7", {}),
    "AlexNet": ("alexnet", {}),
    "ResNet-18": ("resnet18", {}),
    "ResNet-18, per conv": ("resnet18", {"shortcut": "conv"}),
    "ResNet-20": ("resnet20", {}),
    "ResNet-20, binary weights": ("resnet20", {"weights": "binary"}),
}


def costs():
    """The table of the networks' costs."""
    rows = [("network", "binary weights", "float weights", "Mbit", "operations")]
    for name, (model, options) in NETWORKS.items():
        in_shape, classes = defaults(model)
        for variant in ("baseline", "decoupled"):
            asked = "coupled" if variant == "decoupled" else variant
            built = models.build(model, asked, in_shape, classes, rng=np.random.default_rng(0), **options)
            counted = summary(decouple(built) if variant == "decoupled" else built, in_shape)
            weights = counted.total.weights
            rows.append(
                (
                    f"{name}, {variant}", f"{weights.get(1, 0):,}", f"{weights[32]:,}",
                    f"{counted.mbit:.2f}", f"{counted.total.operations / 1e6:.2f} M",
                )
            )  # fmt: skip
    return aligned(rows)


def test_the_costs_are_those_that_summary_counts():
    assert costs() in PAGE


@pytest.mark.parametrize("name, least", [("training_fashion", 3), ("training_cifar10", 1)])
def test_the_tables_are_those_of_the_kept_runs(name, least):
    kept = json.loads((ROOT / "docs" / f"{name}.json").read_text())
    assert runs_table(kept) in PAGE
    seeds = {method: [run["seed"] for run in kept["runs"] if run["method"] == method] for method in kept["costs"]}
    assert {"baseline", "binaryduo"} <= seeds.keys() and min(map(len, seeds.values())) >= least
    assert len({len(run["history"]) for run in kept["runs"]}) == 1, "every method has the same number of epochs"
    assert (ROOT / "docs" / f"{name}.png").exists()


def test_the_readmes_accuracies_are_those_of_the_kept_runs():
    rows = runs_table(json.loads((ROOT / "docs" / "training_fashion.json").read_text())).splitlines()[2:]
    shown = re.search(r"On the full Fashion-MNIST .*?\n\n", README, re.S).group()
    for row in rows:
        assert re.search(r"\d+\.\d+ ± \d+\.\d+", row).group() in shown, row


def test_links_lead_somewhere():
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", PAGE):
        assert (ROOT / "docs" / target).exists(), target
