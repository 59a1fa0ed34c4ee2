import numpy as np
import pytest

from duonet import Tensor, decouple, models, nn

SMALL = (4, 4, 4, 4, 8, 8)


def _rows(rng):
    """Rows of (H, W, C) that a batch norm, a slope and copies read before the linear layer."""
    head = [nn.Flatten(), nn.BatchNorm(48), nn.PReLU(48), nn.Replicate(), nn.AverageCopies(), nn.PadChannels(50)]
    return nn.Sequential(*head, nn.Clip(-1, np.inf), nn.Linear(50, 10, rng=rng))


def _pools(rng):
    """A dense layer, as a sum of two paths that are padded on either side, between pools."""
    dense = nn.Sequential(nn.Conv2d(4, 2, 3, rng=rng, padding=1), nn.PadChannels(6, front=True))
    layers = [nn.MaxPool2d(3, 2, 1), nn.Residual(dense, nn.PadChannels(6)), nn.AvgPool2d(2, 1), nn.GlobalAvgPool()]
    return nn.Sequential(nn.Conv2d(3, 4, 3, rng=rng, stride=2), nn.ReLU(), *layers, nn.Dropout(0.5, rng=rng))


NETWORKS = {
    "vgg7": lambda rng: models.vgg7("baseline", SMALL, rng=rng),
    "vgg7, binary weights": lambda rng: models.vgg7("ternary", SMALL, weights="binary", rng=rng),
    "vgg7, decoupled": lambda rng: decouple(models.vgg7("coupled", SMALL, rng=rng)),
    "vgg7, three copies": lambda rng: decouple(models.vgg7("coupled3", SMALL, weights="binary", rng=rng)),
    "resnet20": lambda rng: models.resnet20("baseline", (2, 2, 4), rng=rng),
    "resnet20, decoupled": lambda rng: decouple(models.resnet20("coupled", (4, 4, 4), rng=rng)),
    "rows": _rows,
    "pools": _pools,
}
SHAPES = {"rows": (4, 4, 3), "pools": (16, 16, 3)}


def settled(model, rng):
    """The model in evaluation, as training might have left its batch norms: gammas of either sign."""
    for _, layer in model.modules():
        if isinstance(layer, nn.BatchNorm):
            for tensor, low, high in (
                (layer.gamma, -0.5, 1.5), (layer.beta, -0.5, 0.5), (layer.running_mean, -0.5, 0.5),
                (layer.running_var, 0.5, 2),
            ):  # fmt: skip
                tensor.data[...] = rng.uniform(low, high, tensor.shape)
    return model.eval()


@pytest.fixture(params=NETWORKS)
def network(request, rng):
    """A model in evaluation, the shape of its images, and some of them."""
    shape = SHAPES.get(request.param, (32, 32, 3))
    model = settled(NETWORKS[request.param](rng), rng)
    return model, shape, rng.normal(size=(6, *shape)).astype("float32")


@pytest.fixture
def logits():
    """Logits of a model for images, and how far other ones are from them, relative to the largest."""

    def of(model, x, others=None):
        found = model(Tensor(x)).data
        return found if others is None else float(abs(found - others).max() / abs(found).max())

    return of
