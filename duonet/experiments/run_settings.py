"""The settings of one training run, from flags or a TOML file, resolved against the model's recipe."""

import dataclasses
import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from duonet import arguments, backend, data
from duonet.data.augment import Augmentation
from duonet.experiments.fields import BadSetting, check_fields
from duonet.experiments.methods import METHODS, TRAINED
from duonet.experiments.own import is_own
from duonet.experiments.recipes import FLIPPED, RECIPES, scaled
from duonet.files import replacing
from duonet.methods import entries
from duonet.models.common import WEIGHTS
from duonet.optim import SGD, AdamW, Cosine, Optimizer, StepDecay
from duonet.tensor import Parameter

CHOICES = {
    "model": RECIPES,
    "method": TRAINED,
    "activations": [entry.name for entry in entries() if entry.kind == "activations"],
    "weights": [*WEIGHTS, *(entry.name for entry in entries() if entry.kind == "weights")],
    "shortcut": ("block", "conv"),
    "optimizer": ("sgd", "adamw"),
    "schedule": ("steps", "cosine"),
    "select": ("best", "last"),
    "device": backend.DEVICES,
    "batch_norm": ("shard", "batch"),
    "compress": ("sign",),
}
LEAST = {
    "epochs": 1, "finetune_epochs": 1, "seed": 0, "width": 1, "batch_size": 2, "padding": 0, "cutout": 0,
    "activation_bits": 1, "weight_bits": 1, "images": 2, "validation_images": 1, "size": 1, "lr": 0,
    "finetune_lr": 0, "weight_decay": 0, "shards": 1, "clip": 0, "early_stop": 1,
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class RunSettings:
    """What to train, on which images and how; None stands for the model's recipe.

    Attributes
    ----------
    model, dataset : str
        A key of `RECIPES`; a name that `duonet.data.load` knows, or a folder of images.
    method : str
        A row of `duonet.experiments.methods`. "binaryduo": coupled, decoupled, fine-tuned. "control": the
        decoupled architecture, never coupled. "float", "baseline", "ternary", "coupled": that variant of the
        model. "restarted", "control_restarted": baseline and control in BinaryDuo's two stages with nothing in
        between, which shows what the second start of the learning rate is worth. "binaryduo3", "control3",
        "coupled3": with activations of 2 bits, and three binary copies of each.
    epochs, finetune_epochs : int
        Epochs of both stages together, and epochs of the second stage; milestones scale with their stage.
    seed : int
        Seed of weights, order and augmentation.
    width : int
        Width of the baseline's first layer; the other layers keep their proportion.
    weights : str
        "float", "binary", a method of the shelf that `duonet methods` lists, or `module:Name` of your own.
    activations : str
        A method of the shelf, or `module:Name`, in place of the model's binary or ternary activations.
    surrogate : str
        Surrogate of the activations that are a staircase: a key of `duonet.experiments.own.SURROGATES`, alone or
        with a number as in "tanh:4", or `module:Name`.
    weight_bits, activation_bits : int
        Bits, or bases, of the methods in `weights` and `activations`, if the method comes in several.
    shortcut : {"block", "conv"}
    optimizer : {"sgd", "adamw"}
    schedule : {"steps", "cosine"}
    lr, finetune_lr, weight_decay : float
    decay_scales : bool
        Whether weight decay acts on all parameters, or on weights alone: not on biases, batch norm's numbers,
        scales and learned ranges.
    clip : float
        The largest norm of a step's gradient, over all parameters together; by default there is no limit.
    early_stop : int
        A stage ends when its best validation accuracy is this many epochs old; by default all epochs are trained.
    batch_size : int
    flip : bool
        Random horizontal flips; by default if the data set's objects have no left and right.
    padding, cutout : int
        Pixels of pad-and-crop, and side of the blacked-out square in pixels; 0 for none.
    images, validation_images : int
        Number of first training images to train on, and of first validation images to score after every epoch; by
        default all.
    select : {"best", "last"}
        Which epoch's network a stage keeps: the best on the validation images, or the last.
    test : bool
        Score the networks on the test images at the end. A search for settings must not do so.
    data : str
        Folder of the files of a named data set.
    size : int
        Side in pixels to which a folder's images are scaled and cropped.
    grey : bool
        Read a folder of images as grey.
    device : {"cpu", "gpu"}
    tf32 : bool
        Round the factors of the GPU's float32 products to TF32; see `duonet.backend.allow_tf32`.
    shards : int
        Number of pieces of every batch, a power of two; the pieces go through the network one by one, or in
        several processes. The weights depend on this number, but not on the number of processes.
    batch_norm : {"shard", "batch"}
        Whether batch norm uses the statistics of each shard alone or of the whole batch. With "batch", the number
        of processes changes the weights, but only by rounding.
    compress : {"sign"}
        Send one bit for each weight instead of its gradient, with error feedback.

    Raises
    ------
    BadSetting
        If a setting is wrong; a ValueError that names the setting, the expected and the given value.

    Examples
    --------
    >>> settings = RunSettings("mlp", "fashion-mini", epochs=6).resolved()
    >>> settings.optimizer, settings.lr, [epochs for epochs, lr, schedule in settings.stages()]
    ('adamw', 0.008, [4, 2])
    """

    model: str
    dataset: str
    method: str = "binaryduo"
    epochs: int | None = None
    seed: int = 0
    width: int | None = None
    weights: str | None = None
    activations: str | None = None
    surrogate: str | None = None
    weight_bits: int | None = None
    activation_bits: int | None = None
    shortcut: str | None = None
    optimizer: str | None = None
    schedule: str | None = None
    lr: float | None = None
    finetune_lr: float | None = None
    finetune_epochs: int | None = None
    weight_decay: float | None = None
    decay_scales: bool = True
    clip: float | None = None
    early_stop: int | None = None
    batch_size: int | None = None
    flip: bool | None = None
    padding: int = 4
    cutout: int = 0
    images: int | None = None
    validation_images: int | None = None
    select: str = "best"
    test: bool = True
    data: str | None = None
    size: int | None = None
    grey: bool | None = None
    device: str = "cpu"
    tf32: bool = False
    shards: int = 1
    batch_norm: str = "shard"
    compress: str | None = None

    def __post_init__(self):
        own = {name for name in ("activations", "weights") if is_own(getattr(self, name))}
        choices = {name: words for name, words in CHOICES.items() if name not in own}
        check_fields("RunSettings", self, LEAST, choices)
        for bits, of in (("activation_bits", self.activations), ("weight_bits", self.weights)):
            if getattr(self, bits) is not None and (of is None or of in WEIGHTS):
                raise BadSetting("RunSettings", bits, f"needs a method of the shelf that has bits, got {of}")
        if self.clip == 0:
            raise BadSetting("RunSettings", "clip", "must be a number above 0, got 0; leave it out for no limit")
        if self.tf32 and self.device != "gpu":
            raise BadSetting("RunSettings", "tf32", "needs device gpu, got cpu")
        self._check_shards()
        if not self.two_stages or self.epochs is None or self.epochs > (self.finetune_epochs or 1):
            return
        if self.epochs > 1:
            problem = f"must be below the {self.epochs} epochs of both stages, got {self.finetune_epochs}"
            raise BadSetting("RunSettings", "finetune_epochs", problem)
        raise BadSetting(
            "RunSettings", "epochs", f"must be at least 2 for the two stages of {self.method}, got {self.epochs}"
        )

    def _check_shards(self):
        shards, batch_size = self.shards, self.batch_size
        if shards & (shards - 1):
            raise BadSetting("RunSettings", "shards", f"must be a power of two, got {shards}")
        if batch_size is not None and batch_size < 2 * shards and shards > 1:
            problem = f"must leave 2 images to each of {shards} shards, but a batch has {batch_size}"
            raise BadSetting("RunSettings", "shards", problem)

    @property
    def two_stages(self) -> bool:
        """Whether the method has a second stage."""
        return METHODS[self.method].second is not None

    def resolved(self) -> "RunSettings":
        """Return the settings with the recipe's values in place of None."""
        recipe = RECIPES[self.model]
        given = {name: value for name, value in dataclasses.asdict(self).items() if value is not None}
        chosen = {
            name: getattr(recipe, name)
            for name in ("optimizer", "schedule", "lr", "finetune_lr", "weight_decay", "batch_size")
        }
        chosen |= {"epochs": sum(recipe.epochs), "flip": self.dataset in FLIPPED}
        return RunSettings(**(chosen | given))

    def stages(self) -> list[tuple[int, float, Callable[[float], float]]]:
        """List (epochs, learning rate, schedule) of each stage; the settings must be resolved."""
        epochs: Any = self.epochs
        lr: Any = self.lr
        finetune_lr: Any = self.finetune_lr
        if not self.two_stages:
            return [(epochs, lr, self._schedule(0, epochs))]
        first, second = RECIPES[self.model].epochs
        share = max(1, round(epochs * second / (first + second)))
        second = self.finetune_epochs or min(share, epochs - 1)
        first = epochs - second
        return [(first, lr, self._schedule(0, first)), (second, finetune_lr, self._schedule(1, second))]

    def _schedule(self, stage, epochs):
        if self.schedule == "cosine":
            return Cosine(epochs)
        recipe = RECIPES[self.model]
        if not recipe.milestones[0]:  # its rate falls where VGG-7's does
            recipe = RECIPES["vgg7"]
        return StepDecay(scaled(recipe.epochs[stage], recipe.milestones[stage], epochs))

    def make_optimizer(self, parameters: Iterable[Parameter], lr: float) -> Optimizer:
        """Make the optimiser of one stage."""
        parameters = list(parameters)
        decays = None if self.decay_scales else [None if p.ndim > 1 else 0.0 for p in parameters]
        more: dict[str, Any] = {"weight_decay": self.weight_decay, "decays": decays}
        if self.optimizer == "adamw":
            return AdamW(parameters, lr, **more)
        return SGD(parameters, lr, momentum=0.9, nesterov=True, **more)

    def augment(self) -> Augmentation | None:
        """Make the augmentation of a batch, or None."""
        steps = [data.random_flip] if self.flip else []
        if self.padding:
            steps.append(_Sized(data.pad_and_crop, self.padding))
        if self.cutout:
            steps.append(_Sized(data.cutout, self.cutout))
        return data.Compose(*steps) if steps else None

    def differences(self, other: "RunSettings") -> list[str]:
        """Describe how other settings differ from these; the data may lie in another place."""
        mine, theirs = dataclasses.asdict(self), dataclasses.asdict(other)
        moved = not {self.dataset, other.dataset} <= data.NAMES.keys()
        return [
            f"{name} {theirs[name]}, the run has {mine[name]}"
            for name in mine
            if mine[name] != theirs[name] and not (name == "data" or (name == "dataset" and moved))
        ]

    def save(self, path: str | Path) -> None:
        """Write the settings as a TOML file, whole or not at all; None is left out."""
        lines = [
            f"{name} = {json.dumps(v, ensure_ascii=False)}\n".replace("\x7f", "\\u007f")  # TOML refuses it
            for name, v in dataclasses.asdict(self).items()
            if v is not None
        ]
        with replacing(path) as part:
            part.write_text("".join(lines), encoding="utf-8")


class _Sized:
    """An augmentation with its size.

    Parameters
    ----------
    augment : callable
        From `(images, rng, size)` to images.
    size : int
    """

    def __init__(self, augment, size):
        self.augment, self.size = augment, size

    def __call__(self, images, rng):
        """Augment images (N, H, W, C); the shape stays."""
        return self.augment(images, rng, self.size)


def read_toml(path: str | Path) -> dict[str, Any]:
    """Read settings from a TOML file.

    Parameters
    ----------
    path : str or Path

    Returns
    -------
    dict
        Its keys are fields of `RunSettings`; the values are not checked.

    Raises
    ------
    ValueError
        If the file is not TOML in UTF-8, or has an unknown setting; the message names it.
    """
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    raw = Path(path).read_bytes()
    try:
        text = raw.decode("utf-8-sig")  # an editor may have put a byte order mark in front
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not TOML: it is not written in UTF-8; save it in UTF-8") from None
    try:
        values = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # an endless number gives a plain ValueError
        raise ValueError(f"{path} is not TOML: {error}") from None
    names = {field.name for field in dataclasses.fields(RunSettings)}
    if unknown := sorted(values.keys() - names):
        near = arguments.nearest(unknown[0], names)
        raise ValueError(
            f"{path}: {', '.join(unknown)} is not among the settings {', '.join(sorted(names))}{near}"
        )
    return values
