"""Weights depend on the number of shards alone: as many processes as you like, here threads, give the same bits."""

import hashlib

import numpy as np
import pytest
import ranks

from duonet import data, fit, functional, nn, optim, quant
from duonet.checkpoint import load_checkpoint, save_checkpoint
from duonet.experiments.materials import build_network
from duonet.experiments.run_settings import RunSettings
from duonet.methods import entries
from duonet.sharding import Shards
from duonet.team import Team, World
from duonet.tensor import Parameter, Tensor
from duonet.totals import Totals
from duonet.train import TrainingDiverged, evaluate

RNG = np.random.default_rng(5)
IMAGES = data.Dataset(RNG.integers(0, 256, (25, 6, 6, 1), np.uint8), RNG.integers(0, 3, 25))
SPLITS = data.Splits(IMAGES, IMAGES, IMAGES, ("a", "b", "c"))
NORMALIZE = data.Normalize.of(IMAGES.images)


def flipped(images, rng):
    return data.random_flip(images, rng)


def loader_of(seed=1, batch_size=20, images=IMAGES):
    """Batches of 20 and 5: the last has fewer shards."""
    return data.DataLoader(images, batch_size, NORMALIZE, rng=np.random.default_rng(seed), augment=flipped)


def bits(model):
    digest = hashlib.sha256()
    for name, array in model.state_dict().items():
        digest.update(name.encode() + np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def trained(make, world=None, shards=4, epochs=2, optimizer=optim.AdamW, history=None, **options):
    """Train a new model; return its bits and what its history says."""
    world = world or World()
    model = make()
    team = Team(shards, world=world, **options) if shards else None
    history = fit(
        model, loader_of(), optimizer(model.parameters(), 1e-2), epochs, validation=loader_of(2, 7), team=team,
        history=history, progress=False,
    )  # fmt: skip
    return bits(model), [{k: v for k, v in row.items() if k != "seconds"} for row in history.rows]


def same_for_any_number(make, **options):
    one = trained(make, **options)
    for size in (2, 4):
        for other in ranks.run(size, lambda world: trained(make, world, **options)):
            assert other == one
    return one


def network(**settings):
    settings = RunSettings("mlp", "fashion-mini", **{"width": 4, "epochs": 2, "method": "baseline"} | settings)
    return build_network(settings.resolved(), SPLITS)


def dropping():
    rng = np.random.default_rng(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, rng=rng), nn.BatchNorm(4), nn.QuantActivation(quant.Binary(), quant.Clip(0, 1)),
        nn.Dropout(0.5, rng=rng), nn.Flatten(), nn.Dropout(0.2, rng=rng), nn.Linear(64, 3, rng=rng),
    )  # fmt: skip


@pytest.mark.parametrize("length", [5, 10001])  # gathered whole, and by slices
@pytest.mark.parametrize("images", [64, 7])  # 8 shards, and 2
def test_sums_have_the_same_bits(length, images):
    vectors = np.random.default_rng(3).normal(size=(8, length)).astype("float32")

    def total(world):
        team = Team(8, world=world)
        return team.sum(
            [vectors[place].copy() for place, _ in team.cut(images)], images, np.zeros_like(vectors[0])
        )

    one = total(World())
    np.testing.assert_allclose(one, vectors[:: 8 // Team(8).count(images)].sum(axis=0), atol=1e-5)
    for size in (2, 4, 8):
        assert all((other == one).all() for other in ranks.run(size, total))


@pytest.mark.parametrize("shards", [4, 8])
def test_dropout_draws_for_each_shard(shards):
    one = same_for_any_number(dropping, shards=shards, epochs=12 // shards - 1)
    assert one != trained(dropping, shards=2)


def test_one_shard_is_the_ordinary_step_but_for_the_figures():
    plain = trained(network, shards=None)
    one = trained(network, shards=1)
    assert one[0] == plain[0]
    for row, other in zip(plain[1], one[1]):
        assert row == pytest.approx(other, rel=1e-6)


SHELF = [(e.kind, e.name) for e in entries() if e.kind in ("activations", "weights")]


@pytest.mark.parametrize("kind, name", SHELF, ids=[name for _, name in SHELF])
def test_every_method_of_the_shelf(kind, name):
    def make():
        return network(**{kind: name})

    one = trained(make, epochs=1)
    assert ranks.run(2, lambda world: trained(make, world, epochs=1)) == [one, one]


@pytest.mark.parametrize("optimizer", [optim.SGD, optim.Adam])
def test_gradients_of_one_bit(optimizer):
    one = same_for_any_number(network, compress="sign", optimizer=optimizer, epochs=1)
    assert one != trained(network, optimizer=optimizer, epochs=1)


def test_gradients_are_those_of_the_whole_batch_where_shards_do_not_matter():
    def model(dtype="float64"):
        rng = np.random.default_rng(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(36, 5, rng=rng), nn.ReLU(), nn.Linear(5, 3, rng=rng)).astype(
            dtype
        )

    x, labels = NORMALIZE(IMAGES.images[:21]).astype("float64"), IMAGES.labels[:21]
    whole, cut = model(), model()
    functional.softmax_cross_entropy(whole(Tensor(x)), labels).backward()
    totals = Totals("fit")
    shards = Shards(cut, optim.SGD(cut.parameters(), 0.1), Team(4))
    shards.gradients(cut, x, labels, functional.softmax_cross_entropy, totals, 0, 0)
    for a, b in zip(whole.parameters(), cut.parameters()):
        np.testing.assert_allclose(a.grad, b.grad, rtol=1e-12, atol=1e-15)
    score = evaluate(whole, [(x, labels)])
    assert (totals.read().loss, totals.read().accuracy) == pytest.approx((score.loss, score.accuracy))


def test_running_averages_are_the_mean_of_the_shards():
    model = nn.Sequential(nn.Flatten(), nn.BatchNorm(36), nn.Linear(36, 3, rng=np.random.default_rng(0)))
    fit(model, loader_of(), optim.SGD(model.parameters(), 0), 1, team=Team(4), progress=False)
    means = []
    for place in range(4):
        norm = nn.BatchNorm(36)
        team = Team(4)
        for x, _ in loader_of():
            rows = dict(team.cut(len(x))).get(place)
            if rows is not None:
                norm(Tensor(x[rows].reshape(-1, 36)))
        means.append(norm.running_mean.data)
    np.testing.assert_allclose(model[1].running_mean.data, np.mean(means, axis=0), rtol=1e-6)


class Hidden(nn.Module):
    def __init__(self):
        super().__init__()
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        return x


class Counting(nn.Module):
    def __init__(self):
        super().__init__()
        self.calls = Tensor(np.array([0]))

    def forward(self, x):
        self.calls.data[...] += 1
        return x


class Twice(nn.Module):
    """A buffer that follows the batch, and is halved after the step."""

    def __init__(self):
        super().__init__()
        self.seen = Tensor(np.zeros(1, np.float32))

    def forward(self, x):
        self.seen.data[...] += x.data.mean()
        return x

    def after_step(self):
        self.seen.data[...] /= 2


class Followed(nn.Module):
    """A buffer that counts the steps, and which the forward pass reads."""

    def __init__(self):
        super().__init__()
        self.steps, self.weight = Tensor(np.zeros(1, np.float32)), Parameter([1.0])

    def forward(self, x):
        return x * (self.weight * self.steps)

    def after_step(self):
        self.steps.data[...] += 1


def with_layer(layer):
    return nn.Sequential(nn.Flatten(), layer, nn.Linear(36, 3, rng=np.random.default_rng(0)))


@pytest.mark.parametrize(
    "layer, message",
    [
        (Hidden, "fit: 1 Hidden: calls changes in a forward pass, so its shards would depend on each other"),
        (Counting, "fit: buffer 1.calls changes in training and holds no floats"),
        (Twice, "fit: buffer 1.seen changes both in a shard's pass and between the steps"),
    ],
)
def test_what_cannot_be_divided_is_refused_by_name(layer, message):
    with pytest.raises(ValueError, match=message):
        trained(lambda: with_layer(layer()), shards=2)


def test_what_follows_the_steps_is_everywhere():
    same_for_any_number(lambda: with_layer(Followed()))


def test_an_error_in_one_shard_leaves_the_model_whole():
    model = dropping()
    model[2].forward = lambda x: 1 / 0
    before = bits(model)
    shards = Shards(model, optim.SGD(model.parameters(), 0.1), Team(4))
    states = [rng.bit_generator.state for _, rng in shards.generators]
    with pytest.raises(ZeroDivisionError):
        shards.gradients(
            model, np.ones((8, 6, 6, 1), "float32"), [0] * 8, functional.softmax_cross_entropy, None, 0, 0
        )
    assert bits(model) == before
    assert [rng.bit_generator.state for _, rng in shards.generators] == states


def test_resumed_with_another_number_of_processes(tmp_path):
    def halves(world, name, resume=False, epochs=2):
        world, path = world or World(), tmp_path / f"{name}.npz"
        if resume:
            saved = world.share(lambda: load_checkpoint(path))
            model, optimizer, rng, history = (
                saved.model,
                saved.optimizer,
                saved.generators["loader"],
                saved.history,
            )
        else:
            model, history, rng = dropping(), None, np.random.default_rng(1)
            optimizer = optim.AdamW(model.parameters(), 1e-2)
        loader = data.DataLoader(IMAGES, 20, NORMALIZE, rng=rng, augment=flipped)
        history = fit(model, loader, optimizer, epochs, team=Team(4, world=world), history=history, progress=False)
        if world.rank == 0:
            save_checkpoint(path, model, optimizer=optimizer, generators={"loader": rng}, history=history)
        return bits(model)

    one = halves(None, "whole")
    ranks.run(2, lambda world: halves(world, "cut", epochs=1))
    assert set(ranks.run(4, lambda world: halves(world, "cut", True))) == {one}
    ranks.run(2, lambda world: halves(world, "cut", epochs=1))
    assert halves(None, "cut", True) == one


def test_shared_batch_norm_is_the_unsharded_step_in_float64():
    def model():
        rng = np.random.default_rng(0)
        return nn.Sequential(
            nn.Conv2d(1, 4, 3, rng=rng), nn.BatchNorm(4), nn.QuantActivation(quant.Binary(), quant.Clip(0, 1)),
            nn.Flatten(), nn.Linear(64, 5, rng=rng), nn.BatchNorm(5), nn.ReLU(), nn.Linear(5, 3, rng=rng),
        ).astype("float64")  # fmt: skip

    class Wide:
        images = 25

        def __len__(self):
            return 2

        def __iter__(self):
            return ((x.astype("float64"), labels) for x, labels in loader_of())

    def train(team):
        net = model()
        fit(net, Wide(), optim.SGD(net.parameters(), 0.1), 3, team=team, progress=False)
        return np.concatenate([array.ravel() for array in net.state_dict().values()])

    alone = train(None)
    assert not np.allclose(train(Team(4)), alone, atol=1e-3)
    for size in (1, 2, 4):
        for weights in ranks.run(size, lambda world: train(Team(4, batch_norm="batch", world=world))):
            np.testing.assert_allclose(weights, alone, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("make, what", [(dropping, "3 Dropout: it draws a new mask at every call")])
def test_shared_batch_norm_refuses_what_would_depend_on_the_processes(make, what):
    with pytest.raises(ValueError, match=what):
        ranks.run(2, lambda world: trained(make, world, batch_norm="batch"))
    trained(make, batch_norm="batch", epochs=1)  # one process has the whole batch


def test_a_loss_that_is_not_finite_ends_shared_batch_norm_too():
    def broken(world):
        model = nn.Sequential(nn.Flatten(), nn.BatchNorm(36), nn.Linear(36, 3, rng=np.random.default_rng(0)))
        team = Team(2, batch_norm="batch", world=world)

        def loss(logits, labels):
            value = functional.softmax_cross_entropy(logits, labels)
            return value * np.float32(np.nan if world.rank else 1)

        fit(model, loader_of(), optim.SGD(model.parameters(), 1), 1, team=team, progress=False, loss=loss)

    with pytest.raises(TrainingDiverged, match="they arise in the loss. No step has been made yet"):
        ranks.run(2, broken)


def test_the_first_process_ends_the_training_of_all():
    def epochs_of(world):
        model = nn.Sequential(nn.Flatten(), nn.Linear(36, 3, rng=np.random.default_rng(0)))
        history = fit(
            model, loader_of(), optim.SGD(model.parameters(), 0.01), 3, team=Team(2, world=world), progress=False,
            on_epoch=lambda history: world.rank == 0 and len(history) == 2,
        )  # fmt: skip
        return len(history)

    assert ranks.run(2, epochs_of) == [2, 2]


@pytest.mark.parametrize("value", [(3, (1, 2)), float("nan"), (np.zeros(2), np.zeros(3)), (len,), (lambda: 0,)])
def test_what_a_layer_keeps_and_does_not_change_is_no_state(value):
    layer = nn.Flatten()
    layer.about = value
    model = nn.Sequential(layer, nn.Linear(36, 3, rng=np.random.default_rng(0)))
    fit(model, loader_of(), optim.SGD(model.parameters(), 0.01), 1, team=Team(2), progress=False)


def test_a_frozen_norm_keeps_its_statistics_beside_norms_of_the_whole_batch():
    def mean_of(world):
        norm = nn.BatchNorm(36)
        model = nn.Sequential(nn.Flatten(), norm, nn.Linear(36, 3, rng=np.random.default_rng(0)))
        team = Team(2, batch_norm="batch", world=world)
        fit(model, loader_of(), optim.SGD(model.parameters(), 0.01), 1, team=team, frozen=[norm], progress=False)
        return float(abs(norm.running_mean.data).max())

    assert ranks.run(2, mean_of) == [0, 0]


def test_a_team_that_is_none_is_named():
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 3, rng=np.random.default_rng(0)))
    optimizer = optim.SGD(model.parameters(), 0.01)
    with pytest.raises(TypeError, match="fit: team must be a Team, got int"):
        fit(model, loader_of(), optimizer, 1, team=4, progress=False)
    with pytest.raises(TypeError, match="evaluate: team must be a Team, got int"):
        evaluate(model, loader_of(), team=4)
    with pytest.raises(TypeError, match="fit: frozen must be a list of layers, got Linear"):
        fit(model, loader_of(), optimizer, 1, frozen=list(model)[1], progress=False)


class Doubles:
    """A loader's batches in float64."""

    def __init__(self, loader):
        self.loader, self.images = loader, loader.images

    def __len__(self):
        return len(self.loader)

    def __iter__(self):
        return ((x.astype("float64"), labels) for x, labels in self.loader)


def test_a_last_batch_that_one_process_has_alone_counts_in_full():
    def statistics_of(world):
        norm = nn.BatchNorm(36)
        model = nn.Sequential(nn.Flatten(), norm, nn.Linear(36, 3, rng=np.random.default_rng(0))).astype("float64")
        team = Team(2, batch_norm="batch", world=world)
        batches = loader_of(batch_size=24)  # and one image
        fit(model, Doubles(batches), optim.SGD(model.parameters(), 0.01), 1, team=team, progress=False)
        return norm.running_mean.data

    one, (two, other) = statistics_of(World()), ranks.run(2, statistics_of)
    assert np.array_equal(two, other)
    np.testing.assert_allclose(two, one, rtol=1e-9)
