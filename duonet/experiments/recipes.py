"""How each network is trained: the authors' networks by their recipe, the small networks by a tuned recipe.

VGG-7, AlexNet and ResNet-18 have the optimiser, learning rate, decay, batch and milestones of the published code
of Kim et al. (ICLR 2020). The code does not state at which rates the published runs started and were fine-tuned;
its default, 0.1, stands here for both. It states the length of a stage for VGG-7 alone; the other lengths are
choices. ResNetE-18 and the BinaryDenseNets take ResNet-18's recipe.
"""

import dataclasses
from typing import Any

FLIPPED = ("fashion-mini", "fashion-mnist", "cifar10", "cifar100")  # digits are not their mirror images


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How a network is trained.

    Attributes
    ----------
    epochs : (int, int)
        Epochs of the two stages; a method with a single stage gets their sum.
    milestones : (tuple, tuple)
        Epochs of each stage at which the learning rate falls to a tenth, if `schedule` is "steps".
    schedule : {"steps", "cosine"}
    optimizer : {"sgd", "adamw"}
        "sgd" has Nesterov momentum 0.9.
    lr, finetune_lr : float
        Learning rate at the start of the first or only stage; of the second.
    weight_decay : float
    batch_size : int
    """

    epochs: tuple
    milestones: tuple = ((), ())
    schedule: str = "steps"
    optimizer: str = "sgd"
    lr: float = 0.1
    finetune_lr: float = 0.1
    weight_decay: float = 1e-4
    batch_size: int = 256


CIFAR_NETWORK = Recipe((200, 200), ((121, 161), (121, 161)))
SMALL_NETWORK = Recipe(
    (40, 20), schedule="cosine", optimizer="adamw", lr=16e-3, finetune_lr=4e-3, weight_decay=1e-2, batch_size=64
)
RESNET18 = Recipe((120, 40), ((71, 91, 111), (21, 31, 36)))
RECIPES = {
    "vgg7": CIFAR_NETWORK,
    "resnet20": CIFAR_NETWORK,
    "alexnet": Recipe((100, 40), ((41, 71, 91), (16, 26, 36))),
    "resnet18": RESNET18,
    "resnete18": RESNET18,
    **{f"densenet{depth}": RESNET18 for depth in (28, 37, 45)},
    **{f"vgg_deep{n}": SMALL_NETWORK for n in ("", 3, 6, 12)},
    "mlp": dataclasses.replace(SMALL_NETWORK, lr=8e-3, finetune_lr=2e-3),
}


# What `duonet compare` trains: small enough for minutes, at rates that were chosen on the validation images.
_COMPARED: dict[str, Any] = {
    "epochs": 12, "images": 4000, "validation_images": 1000, "optimizer": "adamw", "schedule": "cosine",
    "lr": 16e-3, "finetune_lr": 4e-3, "weight_decay": 1e-2, "batch_size": 64, "padding": 0, "select": "last",
}  # fmt: skip
COMPARED: dict[str, dict[str, Any]] = {
    "vgg_deep": _COMPARED | {"width": 12},
    "vgg7": _COMPARED | {"width": 16, "finetune_lr": 2e-3},
    "densenet28": _COMPARED | {"width": 8},  # at vgg_deep's rates
    "mlp": _COMPARED | {"width": 128, "images": 8000, "epochs": 15, "lr": 8e-3, "finetune_lr": 2e-3},
}


def scaled(epochs: int, milestones: tuple[int, ...], total: int) -> tuple[float, ...]:
    """Stretch milestones of `epochs` epochs to `total` epochs.

    Parameters
    ----------
    epochs : int
    milestones : tuple of int
    total : int

    Returns
    -------
    tuple of float

    Examples
    --------
    >>> scaled(200, (121, 161), 10)
    (6.0, 8.0)
    """
    # The code counts epochs from 1: "at 121" is after 120 epochs.
    return tuple((m - 1) * total / epochs for m in milestones)
