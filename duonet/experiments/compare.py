"""The paper's comparison on real images: binary baseline, coupled, decoupled and fine-tuned, and the controls.

Every method gets the same images, the same number of epochs in all and at most the baseline's weights. Test
images are looked at once, after training; nothing is chosen by them.
"""

import dataclasses
import time
from pathlib import Path

import numpy as np

from duonet import backend, data, models, optim
from duonet.decouple import decouple
from duonet.experiments.results import METHODS, Results
from duonet.experiments.scoring import describe_input
from duonet.models.common import WEIGHTS
from duonet.train import fit

VALIDATION_IMAGES = 1000  # scored after every epoch, for the curves


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A network and the settings that suit it; the rates were chosen on the validation images.

    Attributes
    ----------
    widths : tuple of int
        Widths of the baseline.
    images, epochs : int
        Training images, and epochs of both stages together.
    lr, finetune_lr : float
        AdamW's learning rate from the start, and after decoupling; each falls to 0 along a cosine.
    """

    widths: tuple
    images: int
    epochs: int
    lr: float
    finetune_lr: float


RECIPES = {
    "vgg_deep": Recipe((12, 12, 24, 24, 24, 48, 48, 48, 96, 96), 4000, 12, 16e-3, 4e-3),
    "vgg7": Recipe((16, 16, 32, 32, 128, 128), 4000, 12, 16e-3, 2e-3),
    "mlp": Recipe((128,) * 8, 8000, 15, 8e-3, 2e-3),
}


@dataclasses.dataclass(frozen=True)
class Settings:
    """What to compare; None stands for the model's recipe.

    Attributes
    ----------
    model : str
        A key of `RECIPES`.
    seeds : int
        Runs, with seeds 0, 1, ...
    epochs, images, width : int or None
        Epochs in all; training images; width of the baseline's first layer, the others in proportion.
    weights : {"float", "binary"}
        Of the quantised networks; the float network is float throughout.
    ablation : bool
        Train the extra rows as well.
    device : {"cpu", "gpu"}
    tf32 : bool
        Round the factors of the GPU's float32 products to TF32; see `duonet.backend.allow_tf32`.
    batch_size : int
    weight_decay : float

    Raises
    ------
    ValueError
        Naming the setting, what was expected and what came.
    """

    model: str = "vgg_deep"
    seeds: int = 1
    epochs: int | None = None
    images: int | None = None
    width: int | None = None
    weights: str = "float"
    ablation: bool = False
    device: str = "cpu"
    tf32: bool = False
    batch_size: int = 64
    weight_decay: float = 1e-2

    def __post_init__(self):
        if self.model not in RECIPES:
            raise ValueError(f"compare: model must be one of {', '.join(RECIPES)}, got {self.model!r}")
        if self.weights not in WEIGHTS:
            raise ValueError(f"compare: weights must be one of {', '.join(WEIGHTS)}, got {self.weights!r}")
        if self.tf32 and self.device != "gpu":
            raise ValueError("compare: tf32 is of device 'gpu', got device 'cpu'")
        for name, least in (("seeds", 1), ("epochs", 2), ("images", 2 * self.batch_size), ("width", 2)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"compare: {name} must be at least {least}, got {value}")
        if self.images is not None and self.images > 8000:
            raise ValueError(
                f"compare: images must be at most the 8000 training images there are, got {self.images}"
            )

    def recipe(self):
        """Return the model's recipe with these settings in place of its own."""
        recipe = RECIPES[self.model]
        widths = recipe.widths
        if self.width is not None:
            widths = tuple(max(1, round(w * self.width / widths[0])) for w in widths)
        return dataclasses.replace(
            recipe, widths=widths, images=self.images or recipe.images, epochs=self.epochs or recipe.epochs
        )

    def stages(self):
        """Return the epochs of the two stages: about two thirds before decoupling, one third after."""
        total = self.recipe().epochs
        second = max(1, round(total / 3))
        return total - second, second


def compare(settings, out, progress=True):
    """Run the comparison and write a folder of results.

    Parameters
    ----------
    settings : Settings
    out : str or Path
        A new folder. Written as the run goes on, each file whole: results.json, a CSV of every training's
        history, a checkpoint of every trained model, and the figure compare.png.
    progress : bool
        Show progress bars.

    Returns
    -------
    dict
        What results.json holds.

    Raises
    ------
    FileExistsError
        If `out` exists.
    RuntimeError
        If a GPU is asked for and there is none.
    """
    if settings.device == "gpu" and not backend.gpu_available():
        raise RuntimeError(f"compare: device 'gpu' was asked for, but {backend.why_no_gpu()}")
    if settings.tf32:
        backend.allow_tf32()
    out = Path(out)
    out.mkdir(parents=True)
    started = time.perf_counter()
    results = Results(settings, out)
    splits = data.fashion_mini()
    for seed in range(settings.seeds):
        _run_seed(Trainer(settings, splits, seed, out, progress), results)
    return results.finish(time.perf_counter() - started)


def _run_seed(trainer, results):
    """Train every method with one seed."""
    first, second = trainer.settings.stages()
    both = first + second
    recipe = trainer.settings.recipe()
    lr, finetune_lr = recipe.lr, recipe.finetune_lr

    def single_stage(method, model):
        trainer.fit(method, model, both, lr)
        results.add(method, trainer, model, f"{both}")

    def two_stages(method, model):
        """Train as BinaryDuo does, but with nothing in between: what the restart alone is worth."""
        trainer.fit(method, model, first, lr)
        trainer.fit(method, model, second, finetune_lr, stage=2)
        results.add(method, trainer, model, f"{first} + {second}")

    single_stage("float", trainer.build("float"))
    single_stage("baseline", trainer.build("baseline"))

    coupled = trainer.build("coupled")
    trainer.fit("coupled", coupled, first, lr)
    results.add("coupled", trainer, coupled, f"{first}")
    binary = decouple(coupled)
    results.add("decoupled", trainer, binary, f"{first}")
    results.add_difference(trainer, coupled, binary)
    trainer.fit("binaryduo", binary, second, finetune_lr, stage=2)
    results.add("binaryduo", trainer, binary, f"{first} + {second}")

    single_stage("control", trainer.build_control())
    if trainer.settings.ablation:
        single_stage("ternary", trainer.build("ternary"))
        two_stages("restarted", trainer.build("baseline"))
        two_stages("control_restarted", trainer.build_control())


class Trainer:
    """One seed's data and training loop; every method sees the same batches in the same order.

    Parameters
    ----------
    settings : Settings
    splits : duonet.data.Splits
    seed : int
    out : Path
        Folder for the histories.
    progress : bool
    """

    def __init__(self, settings, splits, seed, out, progress):
        self.settings, self.seed, self.out, self.progress = settings, seed, out, progress
        self.train_set = splits.train.take(settings.recipe().images)
        self.normalize = data.Normalize.of(self.train_set.images)
        self.validation = self.loader(splits.validation.take(VALIDATION_IMAGES))
        self.about = describe_input(splits, self.normalize)
        self.test_set = splits.test
        self.test = self.loader(splits.test)

    def loader(self, dataset, **options):
        """Make a loader; training passes rng and augment."""
        size = self.settings.batch_size if options else 250
        return data.DataLoader(dataset, size, self.normalize, device=self.settings.device, **options)

    def build(self, variant):
        """Build a variant of the model; see `duonet.models`."""
        weights = "float" if variant == "float" else self.settings.weights
        model = models.build(
            self.settings.model,
            variant,
            tuple(self.about["in_shape"]),
            len(self.about["class_names"]),
            rng=np.random.default_rng([self.seed, 0]),
            widths=self.settings.recipe().widths,
            weights=weights,
        )
        return model.to(self.settings.device)

    def build_control(self):
        """Build the decoupled architecture with weights of its own, never coupled."""
        model = decouple(self.build("coupled"))
        model.reset_parameters(np.random.default_rng([self.seed, 0]))
        return model

    def fit(self, method, model, epochs, lr, stage=1):
        """Train for some epochs with AdamW and a cosine, and keep the history."""
        optimizer = optim.AdamW(model.parameters(), lr, weight_decay=self.settings.weight_decay)
        rng = np.random.default_rng([self.seed, stage])
        name = f"{method}_seed{self.seed}" + (f"_stage{stage}" if stage > 1 else "")
        return fit(
            model,
            self.loader(self.train_set, rng=rng, augment=data.random_flip),
            optimizer,
            epochs,
            schedule=optim.Cosine(epochs),
            validation=self.validation,
            on_epoch=lambda history: history.save(self.out / f"history_{name}.csv"),
            label=f"seed {self.seed}, {METHODS[method]}",
            progress=self.progress,
        )
