"""Where the fast form would give another gradient, the general one is taken, and said."""

import numpy as np
import pytest

from duonet import Tensor, nn
from duonet import functional as F
from duonet.folding import fold_batch_norm
from duonet.mismatch import coordinate_gradient
from duonet.quant import Binary, Clip, Shifted, Staircase, SwishSign
from duonet.tape import smooth_forward


class Falling(Staircase):
    """Computes something of its own: 1 below the threshold."""

    def __init__(self):
        super().__init__([0.2], [0, 1])

    def __call__(self, x):
        return (x < 0.2).astype(x.dtype)


class Reaching(Staircase):
    """The same through the part that `Staircase` calls."""

    def __init__(self):
        super().__init__([0.2], [0, 1])

    def _reached(self, x, threshold):
        return x < threshold


class Window:
    """No Staircase at all, though it has thresholds and levels: 1 between them, so that it rises and falls."""

    thresholds, levels = (np.array(-0.3), np.array(0.3)), (0.0, 0.5, 1.0)

    def __call__(self, x):
        return (abs(x) < 0.3).astype(x.dtype)


def above_the_mean(x):
    """No staircase and no sample by itself: the threshold is the batch's mean."""
    return (x >= x.mean()).astype(x.dtype)


class Fallen(Binary):
    """Levels that fall, put in by hand."""

    def __init__(self):
        super().__init__(0.2)
        self.levels = (1.0, 0.0)


class Doubled(nn.QuantActivation):
    def forward(self, x):
        return super().forward(x * 2 - 0.3)


def network(rng, *between):
    layers = nn.Linear(5, 6, rng=rng), *between, nn.Linear(6, 3, rng=rng)
    return nn.Sequential(*layers).astype("float64").eval()


def settled(rng):
    norm = nn.BatchNorm(6)
    norm.gamma.data[:] = [1, -1, 0.5, -0.5, 2, -2]
    norm.running_mean.data[:] = rng.normal(0, 0.3, 6)
    return norm


def folded(rng):
    return fold_batch_norm(network(rng, settled(rng), nn.QuantActivation(Binary(0.1), Clip(-1, 1))))


def patched(rng):
    model = network(rng, nn.ReLU())
    model[1].forward = lambda x: x * 0.0 + Tensor(np.abs(x.data - x.data.mean()))
    return model


def patched_whole(rng):
    model = network(rng, nn.ReLU())
    inner = model.forward
    model.forward = lambda x: inner(x) * inner(x)
    return model


def quantised(staircase, kind=nn.QuantActivation):
    return lambda rng: network(rng, kind(staircase, Clip(-1, 1)))


def by_hand(staircase):
    """Put something into the layer that its constructor would refuse."""

    def build(rng):
        model = network(rng, nn.QuantActivation(Binary(), Clip(-1, 1)))
        model[1].staircase = staircase
        return model

    return build


@pytest.mark.parametrize(
    "build, reason",
    [
        (folded, "a FoldedStaircase, which computes something of its own"),
        (quantised(Falling()), "a Falling, which computes something of its own"),
        (quantised(Reaching()), "a Reaching, which computes"),
        (by_hand(Window()), "a Window, which computes"),
        (by_hand(above_the_mean), "a function, which computes"),
        (quantised(Fallen()), "a Fallen that is not a staircase (Staircase: levels must rise"),
        (quantised(Binary(0.1), Doubled), "holds a Doubled, which the fast form does not know"),
        (patched, "holds a ReLU whose forward has been replaced"),
        (patched_whole, "holds a Sequential whose forward has been replaced"),
    ],
)
def test_what_computes_something_of_its_own_goes_the_general_way(build, reason, rng):
    model = build(rng)
    batch = rng.standard_normal((40, 5)), rng.integers(0, 3, 40)
    fast = coordinate_gradient(model, F.softmax_cross_entropy, batch, 0.3)
    general = coordinate_gradient(model, F.softmax_cross_entropy, batch, 0.3, form="general")
    for path, estimate in general.items():
        assert np.abs(estimate.values).max() > 0
        assert fast[path].note.startswith("general form: ") and reason in fast[path].note
        np.testing.assert_array_equal(fast[path].values, estimate.values)


def test_a_subclass_of_nothing_but_a_name_stays_fast(rng):
    class Mine(Binary):
        pass

    model = network(rng, settled(rng), nn.QuantActivation(Mine(0.1), Clip(-1, 1)))
    batch = rng.standard_normal((40, 5)), rng.integers(0, 3, 40)
    fast = coordinate_gradient(model, F.softmax_cross_entropy, batch, 0.3)
    general = coordinate_gradient(model, F.softmax_cross_entropy, batch, 0.3, form="general")
    for path, estimate in general.items():
        assert fast[path].note == ""
        np.testing.assert_allclose(fast[path].values, estimate.values, atol=1e-12)


def test_a_loss_that_reads_the_weights_goes_the_general_way(rng):
    model = network(rng, nn.QuantActivation(Binary(0.1), Clip(-1, 1)))

    def decayed(output, target):
        return F.softmax_cross_entropy(output, target) + (model[0].weight * model[0].weight).sum() * 0.1

    batch = rng.standard_normal((40, 5)), rng.integers(0, 3, 40)
    fast = coordinate_gradient(model, decayed, batch, 0.3)
    general = coordinate_gradient(model, decayed, batch, 0.3, form="general")
    assert fast["0"].note == "general form: the loss reads its weight itself" and fast["2"].note == ""
    np.testing.assert_array_equal(fast["0"].values, general["0"].values)


@pytest.mark.filterwarnings("ignore:invalid value")
def test_a_loss_that_cannot_take_other_weights_goes_the_general_way(rng):
    model = network(rng, nn.QuantActivation(Binary(0.1), Clip(-1, 1)))
    model[0].weight.data[:] = 0.5

    def barred(output, target):
        w = model[0].weight
        return F.softmax_cross_entropy(output, target) + ((0.55 - w) ** 0.5).sum()

    batch = rng.standard_normal((40, 5)), rng.integers(0, 3, 40)
    fast = coordinate_gradient(model, barred, batch, 0.01, ["0"])["0"]
    general = coordinate_gradient(model, barred, batch, 0.01, ["0"], form="general")["0"]
    assert "reads its weight" in fast.note and (model[0].weight.data == 0.5).all()
    np.testing.assert_array_equal(fast.values, general.values)


@pytest.mark.parametrize("surrogate", [SwishSign(5), Shifted(Clip(0, 1), np.linspace(-1, 1, 6))])
def test_surrogates_in_place_of_the_staircases_go_the_general_way(surrogate, rng):
    """A surrogate may fall where its input rises, and may hold one offset for each channel."""
    model = network(rng, nn.QuantActivation(Binary(0.1), surrogate))
    batch = rng.standard_normal((40, 5)), rng.integers(0, 3, 40)
    with smooth_forward():
        fast = coordinate_gradient(model, F.softmax_cross_entropy, batch, 0.3)
        general = coordinate_gradient(model, F.softmax_cross_entropy, batch, 0.3, form="general")
    for path, estimate in general.items():
        assert "surrogates" in fast[path].note
        np.testing.assert_array_equal(fast[path].values, estimate.values)
