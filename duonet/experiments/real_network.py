"""The mismatch of `compare`'s network on real images: baseline, coupled, decoupled and fine-tuned."""

import functools
from pathlib import Path
from typing import Any

import numpy as np

from duonet import data, functional, nn
from duonet.backend import Array
from duonet.experiments.materials import build_network, load_splits
from duonet.experiments.methods import METHODS
from duonet.experiments.recipes import COMPARED
from duonet.experiments.records import Part, record, unheard
from duonet.experiments.run_settings import RunSettings
from duonet.experiments.scoring import BEST, load_run
from duonet.experiments.training import FIRST, train
from duonet.mismatch import measure
from duonet.module import Module
from duonet.tape import no_grad
from duonet.tensor import Tensor

PARTS = 6
# Nearer to the input, noise hides the gradient of as many images as can be measured in reasonable time.
LAYERS = ("conv5", "conv6", "conv7", "conv8", "conv9", "conv10")
MODEL = "vgg_deep"
# Each measured network: its name, the method whose run has it, and its place in that run.
NETWORKS = (
    ("baseline", "baseline", "start"),
    ("coupled", "binaryduo", "start"),
    ("baseline", "baseline", "trained"),
    ("coupled", "binaryduo", "first"),
    ("decoupled", "binaryduo", "second"),
    ("BinaryDuo", "binaryduo", "trained"),
)


def parts(settings: Any, seed: int) -> list[Part]:
    """List the parts that measure one seed's networks, before and after training.

    Each part trains the network that it measures, unless its folder already holds that run. Measuring takes so
    much longer than training that no part waits for another part's training.

    Parameters
    ----------
    settings : duonet.experiments.MismatchSettings
    seed : int

    Returns
    -------
    list of Part
    """
    return [
        Part(
            f"seed {seed}: real network, {name} {'at the start' if which == 'start' else 'trained'}",
            {"kind": "network", "network": name, "state": _state(which), "seed": seed},
            functools.partial(_measure, settings, seed, name, method, which),
            None if which == "start" else f"{method}-{seed}",
        )
        for name, method, which in NETWORKS
    ]


def _state(which):
    return "start" if which == "start" else "trained"


def _measure(settings, seed, name, method, which, folder=None, tick=unheard):
    run = _run_settings(settings, seed, method)
    splits = load_splits(run)
    normalize = data.Normalize.of(splits.train.images)
    if which != "start":
        # The run starts from the very network that was measured at the start.
        prepare = functools.partial(_take_statistics_of_first, settings.measured_images)
        train(run, folder, resume=(folder / "settings.toml").is_file(), progress=False, prepare=prepare)
    batch = (
        normalize(splits.train.images[: settings.measured_images]),
        splits.train.labels[: settings.measured_images],
    )
    model = network_of(run, splits, which, batch[0], folder)
    rows = []
    for step in settings.network_steps:
        result = measure(
            model.eval(), functional.softmax_cross_entropy, batch, step=step, parts=PARTS, layers=LAYERS,
            coordinates=settings.coordinates, rng=np.random.default_rng([seed, 13]),
        )  # fmt: skip
        where = {"seed": seed, "network": name, "state": _state(which), "step": step}
        rows += [record("network", row, **where) for row in result.rows]
        tick(1 / len(settings.network_steps))
    return rows


def network_of(run: RunSettings, splits: data.Splits, which: str, x: Array, folder: Path | None = None) -> Module:
    """Return a network of a run as it was before, during or after its training.

    Parameters
    ----------
    run : RunSettings
        Resolved.
    splits : Splits
        The run's data.
    which : {"start", "first", "second", "trained"}
        Before training, with the statistics of `x`; after the first stage; as the second stage begins, decoupled;
        or trained.
    x : array
        (N, H, W, C), normalised.
    folder : Path, optional
        Of the finished run; only the start needs none.

    Returns
    -------
    Module
    """
    if which == "start":
        model = build_network(run, splits)
        take_statistics(model, x)
        return model
    assert folder is not None
    model = load_run(folder / (BEST if which == "trained" else FIRST), settings=run)[0].model
    second = METHODS[run.method].second
    return second(model) if which == "second" and second else model


def check_images(settings: Any) -> None:
    """Refuse more images than there are, before anything is measured.

    Parameters
    ----------
    settings : duonet.experiments.MismatchSettings

    Raises
    ------
    BadSetting
        If there are fewer images than `network_images`.
    """
    load_splits(_run_settings(settings, 0, "baseline"))


def _run_settings(settings, seed, method):
    epochs, images = settings.network_epochs, settings.network_images
    recipe = COMPARED[MODEL] | {"epochs": epochs, "images": images, "test": False}
    second = max(1, round(epochs / 3))
    return RunSettings(MODEL, "fashion-mini", method, seed=seed, finetune_epochs=second, **recipe).resolved()


def _take_statistics_of_first(n, model, x):
    take_statistics(model, x[:n])


def take_statistics(model: Module, x: Array) -> None:
    """Give every batch norm the statistics of a batch, as training would; with fresh ones, no unit is active.

    Parameters
    ----------
    model : Module
        Left in evaluation mode.
    x : array
        (N, H, W, C)
    """
    norms = [layer for _, layer in model.modules() if isinstance(layer, nn.BatchNorm)]
    momenta = [layer.momentum for layer in norms]
    for layer in norms:
        layer.momentum = 1.0
    with no_grad():
        model.train()(Tensor(x))
    for layer, momentum in zip(norms, momenta):
        layer.momentum = momentum
    model.eval()
