"""Statistics of batch norm that are taken anew: the means over batches, of the network as it is scored."""

import numpy as np
import pytest

from duonet import Tensor, nn
from duonet.methods import Later, renew_statistics, sign_polynomial


def network():
    rng = np.random.default_rng(0)
    late = Later(sign_polynomial(), 9, nn.Clip(-1, 1))
    return nn.Sequential(
        nn.BatchNorm(3), late, nn.Dropout(0.5, rng=rng), nn.Linear(3, 4, rng=rng), nn.BatchNorm(4)
    )


def batches(rng, n=3):
    return [((2 + rng.standard_normal((8, 3))).astype("float32"), None) for _ in range(n)]


def test_they_are_the_means_over_batches_behind_layers_as_they_are_scored(rng):
    model, given = network(), batches(rng)
    weights, modes = model[3].weight.data.copy(), [m.training for _, m in model.modules()]
    assert renew_statistics(model, given) is model
    mean, var = ([getattr(x, name)(0) for x, _ in given] for name in ("mean", "var"))
    np.testing.assert_allclose(model[0].running_mean.data, np.mean(mean, 0), rtol=1e-5)
    np.testing.assert_allclose(model[0].running_var.data, np.mean(var, 0) * 8 / 7, rtol=1e-5)
    signs = [np.where((x - x.mean(0)) >= 0, 1, -1).astype("float32") for x, _ in given]
    behind = [model[3](Tensor(s)).data.mean(0) for s in signs]
    np.testing.assert_allclose(model[4].running_mean.data, np.mean(behind, 0), atol=1e-5)
    np.testing.assert_array_equal(model[3].weight.data, weights)
    assert [m.training for _, m in model.modules()] == modes and model[0].momentum == 0.1


def test_the_same_batches_give_the_same_averages_whatever_they_were(rng):
    one, other, given = network(), network(), batches(rng)
    other[0].running_mean.data += 5
    for model in (one, other):
        renew_statistics(model, iter(given))
    for name, array in one.state_dict().items():
        np.testing.assert_array_equal(other.state_dict()[name], array)


@pytest.mark.parametrize("spoil, message", [
    (lambda given: [], "renew_statistics: there are no batches"),
    (lambda given: [*given, (np.full((8, 3), np.nan, "float32"), None)], "renew_statistics: the averages would not be"),
    (lambda given: [*given, (np.ones((8, 5), "float32"), None)], "0 BatchNorm: .*5"),
])  # fmt: skip
def test_what_gives_no_averages_leaves_them_as_they_were(spoil, message, rng):
    model = network()
    before = model.state_dict()
    with pytest.raises(ValueError, match=message):
        renew_statistics(model, spoil(batches(rng)))
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, before[name])
    assert model[0].momentum == 0.1
    with pytest.raises(TypeError, match="renew_statistics: model must be a Module, got NoneType"):
        renew_statistics(None, [])
