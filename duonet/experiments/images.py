"""The mismatch of `compare`'s network on real images: baseline, coupled, decoupled and fine-tuned."""

import copy

import numpy as np

from duonet import data, functional, nn
from duonet.decouple import decouple
from duonet.experiments.compare import Settings, Trainer
from duonet.mismatch import measure
from duonet.tape import no_grad
from duonet.tensor import Tensor

PARTS = 6
# Nearer to the input noise hides the gradient of any number of images that can be measured in reasonable time.
LAYERS = ("conv5", "conv6", "conv7", "conv8", "conv9", "conv10")
MODEL = "vgg_deep"


def measure_networks(settings, seed, records, tick):
    """Train the networks of one seed and measure their later layers, before and after.

    Parameters
    ----------
    settings : duonet.experiments.mismatch.Settings
    seed : int
    records : Records
        Receives rows of kind "network".
    tick : callable
        Told the share of the work that has been done.
    """
    trained = Settings(model=MODEL, epochs=settings.network_epochs, images=settings.network_images)
    trainer = Trainer(trained, data.fashion_mini(), seed, records.out, progress=False)
    recipe, (first, second) = trained.recipe(), trained.stages()
    x = trainer.normalize(trainer.train_set.images[: settings.measured_images])
    batch = x, trainer.train_set.labels[: settings.measured_images]
    baseline, coupled = trainer.build("baseline"), trainer.build("coupled")
    for model in (baseline, coupled):
        settle(model, x)
    stages = 6 * len(settings.network_steps)

    def add(network, model, state):
        for step in settings.network_steps:
            result = measure(
                model.eval(), functional.softmax_cross_entropy, batch, step=step, parts=PARTS, layers=LAYERS,
                coordinates=settings.coordinates, rng=np.random.default_rng([seed, 13]),
            )  # fmt: skip
            for row in result.rows:
                records.add("network", row, seed=seed, network=network, state=state, step=step)
            tick(1 / stages)

    add("baseline", baseline, "start")
    add("coupled", coupled, "start")
    trainer.fit("baseline", baseline, first + second, recipe.lr)
    add("baseline", baseline, "trained")
    trainer.fit("coupled", coupled, first, recipe.lr)
    add("coupled", coupled, "trained")
    binary = decouple(coupled)
    add("decoupled", copy.deepcopy(binary), "trained")
    trainer.fit("binaryduo", binary, second, recipe.finetune_lr, stage=2)
    add("BinaryDuo", binary, "trained")


def settle(model, x):
    """Give every batch norm the statistics of a batch, as training would; fresh ones would leave no unit active.

    Parameters
    ----------
    model : Module
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
