import json
import os
import zipfile

import numpy as np
import pytest

import duonet
from duonet import Tensor, backend, checkpoint, data, decouple, fit, models, nn, no_grad, optim, quant
from duonet.checkpoint import (
    CheckpointError,
    load_checkpoint,
    load_model,
    load_weights,
    save_checkpoint,
    save_weights,
)
from duonet.files import replacing
from duonet.history import History


def net(seed, widths=(6, 5)):
    return models.mlp("coupled", 8, widths, 3, rng=np.random.default_rng(seed))


def test_weights_go_round(tmp_path):
    a, b = net(0), net(1)
    save_weights(tmp_path / "w.npz", a)
    load_weights(tmp_path / "w.npz", b)
    assert all(np.array_equal(v, b.state_dict()[k]) for k, v in a.state_dict().items())
    assert [p.name for p in tmp_path.iterdir()] == ["w.npz"]


def test_damaged_and_foreign_files_are_refused_and_nothing_changes(tmp_path):
    path, model = tmp_path / "w.npz", net(0)
    save_weights(path, net(1))
    whole = path.read_bytes()
    before = model.state_dict()
    for content in (whole[: len(whole) // 2], b"", b"not an npz", whole[:200] + bytes(64) + whole[264:]):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="w.npz is not a complete npz file of weights"):
            load_weights(path, model)
    rng = np.random.default_rng(0)
    for _ in range(300):
        spoilt = bytearray(whole)
        for i in rng.integers(0, len(whole), 3):
            spoilt[i] ^= 1 << rng.integers(8)
        path.write_bytes(spoilt)
        try:
            load_weights(path, net(0))
        except ValueError:
            pass
    np.save(tmp_path / "array.npy", np.zeros(3))
    with pytest.raises(ValueError, match="array.npy is not a complete npz file"):
        load_weights(tmp_path / "array.npy", model)
    save_weights(path, net(1, (7, 5)))
    with pytest.raises(ValueError, match="load_state_dict: .* has shape"):
        load_weights(path, model)
    with pytest.raises(FileNotFoundError):
        load_weights(tmp_path / "none.npz", model)
    assert all(np.array_equal(v, model.state_dict()[k]) for k, v in before.items())


def test_a_failed_write_keeps_the_old_file_and_leaves_nothing_behind(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(OSError), replacing(path) as part:
        part.write_text("half")
        raise OSError("disk full")
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]
    with replacing(path) as part:
        part.write_text("new")
    assert path.read_text() == "new" and list(tmp_path.iterdir()) == [path]


def every_layer(rng):
    """One of each layer, staircase, surrogate and kind of weight that takes an image."""
    return nn.Sequential(
        nn.Conv2d(
            2, 4, 3, rng=rng, stride=2, padding=1, weight_quantizer=quant.FilterScaleSign(), init=nn.he_normal
        ),
        nn.BatchNorm(4, momentum=0.3, eps=1e-3),
        nn.QuantActivation(quant.Staircase([0.1, 0.4], [0, 0.3, 1.5]), quant.ZeroOne(quant.Polynomial())),
        nn.MaxPool2d(3, stride=2, padding=1),
        nn.QuantActivation(quant.Uniform(2), quant.Shifted(quant.Triangle(), [0.1, 0.2, 0.3, 0.4])),
        nn.AvgPool2d(2, stride=1),
        nn.Residual(
            nn.Sequential(nn.Clip(-1, 1), nn.Replicate(3), nn.AverageCopies((0.5, 0.25, 0.25))),
            nn.PadChannels(4, front=True),
        ),
        nn.Residual(nn.ReLU()),
        nn.PReLU(4, start=0.5),
        nn.Dropout(0.3, rng=rng),
        nn.Dropout(0.2, rng=rng, channels=True),
        nn.QuantActivation(quant.Sign(), quant.SwishSign(5)),
        nn.QuantActivation(quant.Binary([0.1, 0.2, 0.3, 0.4]), quant.Tanh(3)),
        nn.GlobalAvgPool(),
        nn.Flatten(),
        nn.Linear(4, 3, rng=rng, weight_quantizer=quant.LayerScaleSign()),
        nn.QuantActivation(quant.Ternary(), quant.Identity()),
        nn.QuantActivation(quant.Binary(), quant.ReLU()),
        nn.QuantActivation(quant.Binary(0.25), quant.Clip(0, 1, closed=True)),
    )


BUILT = {
    "every layer": (every_layer, (9, 9, 2)),
    "vgg7": (lambda rng: models.vgg7("coupled", (4,) * 6, (8, 8, 1), rng=rng), (8, 8, 1)),
    "alexnet": (lambda rng: models.alexnet("baseline", (4,) * 7, (63, 63, 3), 3, rng=rng), (63, 63, 3)),
    "resnet18": (lambda rng: models.resnet18("ternary", (4,) * 4, (32, 32, 3), 3, rng=rng), (32, 32, 3)),
    "resnet20": (lambda rng: models.resnet20("float", (4,) * 3, (8, 8, 1), 3, rng=rng), (8, 8, 1)),
    "decoupled": (
        lambda rng: decouple(models.resnet20("coupled", (4, 6, 8), (8, 8, 1), 3, "binary", "conv", rng=rng)),
        (8, 8, 1),
    ),
    "decoupled, the authors' form": (
        lambda rng: decouple(models.vgg7("coupled", (4,) * 6, (8, 8, 1), rng=rng), "beta"),
        (8, 8, 1),
    ),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", BUILT)
def test_a_model_is_rebuilt_from_the_file_alone(tmp_path, name, dtype, device):
    build, shape = BUILT[name]
    rng = np.random.default_rng(3)
    model = build(rng).astype(dtype).to(device)
    x = Tensor(backend.to_device(rng.standard_normal((5, *shape)).astype(dtype), device))
    with no_grad():
        model(x)  # running averages that are not the initial ones
    save_checkpoint(tmp_path / "a.npz", model)
    twin = load_model(tmp_path / "a.npz", device)
    assert repr(twin) == repr(model) and not twin.training
    saved = load_checkpoint(tmp_path / "a.npz", device).model
    with no_grad():
        for other, training in ((twin, False), (saved, True)):
            model.train(training)
            assert other.training == training
            y, expected = other(x).numpy(), model(x).numpy()  # in training dropout draws: the same numbers
            assert y.dtype == dtype
            np.testing.assert_array_equal(y, expected)
    saved.reset_parameters(np.random.default_rng(7))
    model.reset_parameters(np.random.default_rng(7))
    assert all(np.array_equal(v, model.state_dict()[k]) for k, v in saved.state_dict().items()), "its init is kept"


def setting(kind=optim.SGD, bits=np.random.PCG64, device="cpu"):
    """A net with dropout, augmented batches and a schedule: everything that has a state."""
    rng = np.random.default_rng(5)
    model = nn.Sequential(
        nn.Flatten(),
        nn.Linear(16, 8, rng=rng),
        nn.BatchNorm(8),
        nn.ReLU(),
        nn.Dropout(0.3, rng=rng),
        nn.Linear(8, 3, rng=rng),
    ).to(device)
    options = {"momentum": 0.8, "nesterov": True} if kind is optim.SGD else {"betas": (0.8, 0.99)}
    return {
        "model": model,
        "optimizer": kind(model.parameters(), 0.05, weight_decay=0.01, **options),
        "schedule": optim.StepDecay([1.5, 3]) if kind is optim.SGD else optim.Cosine(4),
        "generators": {"loader": np.random.Generator(bits(6))},
        "history": History(),
    }


def train(model, optimizer, schedule, generators, history, epochs, device="cpu"):
    rng = np.random.default_rng(0)
    toy = data.Dataset(rng.integers(0, 256, (40, 4, 4, 1), np.uint8), rng.integers(0, 3, 40))
    loader = data.DataLoader(
        toy,
        8,
        data.Normalize.of(toy.images),
        rng=generators["loader"],
        augment=data.pad_and_crop,
        device=device,
    )
    fit(model, loader, optimizer, epochs, schedule=schedule, history=history, progress=False)
    return history


@pytest.mark.parametrize(
    "kind, bits",
    [
        *((kind, np.random.PCG64) for kind in (optim.SGD, optim.Adam, optim.AdamW)),
        *((optim.SGD, bits) for bits in (np.random.MT19937, np.random.Philox, np.random.SFC64)),
    ],
)
def test_training_goes_on_to_the_same_bits(tmp_path, kind, bits, device):
    whole, parts = setting(kind, bits, device), setting(kind, bits, device)
    train(**whole, epochs=4, device=device)
    train(**parts, epochs=2, device=device)
    save_checkpoint(tmp_path / "a.npz", parts.pop("model"), **parts, about={"name": "é", "list": [1, None]})
    saved = load_checkpoint(tmp_path / "a.npz", device)
    assert saved.about == {"name": "é", "list": [1, None]} and len(saved.history) == 2
    assert saved.versions["duonet"] == duonet.__version__
    history = train(saved.model, saved.optimizer, saved.schedule, saved.generators, saved.history, 4, device)
    for key, value in whole["model"].state_dict().items():
        np.testing.assert_array_equal(saved.model.state_dict()[key], value, err_msg=key)
    for key, value in whole["optimizer"].state_dict().items():
        np.testing.assert_array_equal(saved.optimizer.state_dict()[key], value, err_msg=key)
    for column in ("epoch", "lr", "loss", "accuracy"):
        assert history[column] == whole["history"][column]


def test_a_generator_that_two_places_share_stays_one(tmp_path):
    rng = np.random.default_rng(0)
    model = nn.Sequential(nn.Dropout(0.5, rng=rng), nn.Dropout(0.5, rng=rng))
    save_checkpoint(tmp_path / "a.npz", model, generators={"loader": rng, "other": np.random.default_rng(1)})
    saved = load_checkpoint(tmp_path / "a.npz")
    assert saved.model[0].rng is saved.model[1].rng is saved.generators["loader"] is not saved.generators["other"]


def test_nothing_in_the_file_is_pickled_and_a_frozen_part_stays_frozen(tmp_path):
    s = setting()
    s["optimizer"] = optim.Adam(s["model"].parameters()[2:], 0.1)
    save_checkpoint(tmp_path / "a.npz", s.pop("model"), **s)
    with np.load(tmp_path / "a.npz", allow_pickle=False) as file:
        assert not any(file[name].dtype.hasobject for name in file.files)
        assert json.loads(str(file["meta"]))["kind"] == "duonet checkpoint"
    saved = load_checkpoint(tmp_path / "a.npz")
    assert len(saved.optimizer.parameters) == len(saved.model.parameters()) - 2
    assert saved.optimizer.parameters[0] is saved.model.parameters()[2]


def test_every_truncation_and_every_flipped_byte_is_noticed(tmp_path):
    s = setting()
    path = tmp_path / "a.npz"
    save_checkpoint(path, s.pop("model"), **s)
    whole, truth = path.read_bytes(), load_checkpoint(path)
    state = truth.model.state_dict()
    for n in np.linspace(0, len(whole) - 1, 60).astype(int):
        path.write_bytes(whole[:n])
        with pytest.raises(CheckpointError, match="a.npz is damaged, or not a checkpoint|a.npz is damaged: "):
            load_checkpoint(path)
    rng = np.random.default_rng(0)
    refused = 0
    for i in rng.integers(0, len(whole), 400):
        spoilt = bytearray(whole)
        spoilt[i] ^= 1 << rng.integers(8)
        path.write_bytes(spoilt)
        try:
            saved = load_checkpoint(path)
        except CheckpointError as error:
            refused += 1
            assert str(path) in str(error) and "\n" not in str(error)
        else:  # a time stamp in the zip's own headers, which nothing reads
            assert all(np.array_equal(v, state[k]) for k, v in saved.model.state_dict().items())
    assert refused > 300


def rewritten(path, **change):
    """Change entries of a checkpoint's description, and give it the right checksum again."""
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files if name != "sha256"}
    meta = json.loads(str(arrays["meta"])) | change
    arrays["meta"] = np.array(json.dumps(meta))
    np.savez(path, **arrays, sha256=np.array(checkpoint._digest(arrays)))


@pytest.mark.parametrize(
    "change, message",
    [
        ({"format": 4}, r"was written by a newer duonet \(format 4\); duonet .* reads format 3"),
        ({"format": 1}, r"was written by an older duonet \(format 1\); duonet .* reads format 3"),
        ({"kind": "other"}, "is an npz file, but not a checkpoint of duonet"),
        ({"model": {"class": "nn.Module", "layers": []}}, "cannot be rebuilt"),
        ({"model": {"class": "os.system", "arguments": {}}}, "cannot be rebuilt: unknown module 'os'"),
        ({"model": {"class": "nn.observe", "arguments": {}}}, "cannot be rebuilt: unknown class 'nn.observe'"),
        ({"model": {"class": "nn.Flatten", "arguments": {"x": 1}}}, "cannot be rebuilt: .*unexpected keyword"),
        ({"schedule": {"function": "eval"}}, "cannot be rebuilt: unknown function 'eval'"),
        ({"generators": [{"bit_generator": "seed"}]}, "cannot be rebuilt: unknown bit generator 'seed'"),
        ({"named": {"loader": 9}}, "cannot be rebuilt"),
        ({"optimized": ["nowhere"]}, "cannot be rebuilt"),
    ],
)
def test_newer_older_and_foreign_files_are_refused_in_one_sentence(tmp_path, change, message):
    s = setting()
    path = tmp_path / "a.npz"
    save_checkpoint(path, s.pop("model"), **s)
    rewritten(path, **change)
    with pytest.raises(CheckpointError, match=f"load_checkpoint: .*a.npz {message}") as caught:
        load_model(path)
    assert "\n" not in str(caught.value)


def test_other_files_are_refused_in_one_sentence(tmp_path):
    np.savez(tmp_path / "other.npz", x=np.zeros(3))
    with pytest.raises(CheckpointError, match="other.npz is an npz file, but not a checkpoint of duonet"):
        load_model(tmp_path / "other.npz")
    np.savez(tmp_path / "pickle.npz", x=np.array([{}], dtype=object))
    with pytest.raises(CheckpointError, match="pickle.npz is damaged, or not a checkpoint"):
        load_model(tmp_path / "pickle.npz")
    with zipfile.ZipFile(tmp_path / "plain.zip", "w") as file:
        file.writestr("a.txt", "words")
    with pytest.raises(CheckpointError, match="plain.zip is"):
        load_model(tmp_path / "plain.zip")
    save_checkpoint(tmp_path / "a.npz", nn.Sequential(nn.Linear(2, 1, rng=np.random.default_rng(0))))
    with np.load(tmp_path / "a.npz") as file:
        arrays = dict(file)
    arrays["model/0.weight"] = arrays["model/0.weight"] + 1
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(CheckpointError, match="a.npz is damaged: its checksum does not match its contents"):
        load_model(tmp_path / "a.npz")
    with pytest.raises(FileNotFoundError):
        load_model(tmp_path / "none.npz")


class Own(nn.Module):
    def __init__(self, width):
        super().__init__()


class OwnReLU(nn.ReLU):
    def __init__(self, *slopes):
        super().__init__()


SHARED = nn.ReLU()


@pytest.mark.parametrize(
    "model, options, message",
    [
        (nn.Sequential({"a": nn.Sequential({"b": Own(3)})}), {}, "a.b Own: Own has no attribute 'width'"),
        (nn.Sequential(OwnReLU()), {}, "0 OwnReLU: OwnReLU has no attribute 'slopes'"),
        (nn.Sequential(SHARED, SHARED), {}, "1 and 0 are one layer"),
        (
            nn.Sequential(
                nn.Linear(1, 1, rng=np.random.default_rng(0), init=lambda rng, shape, stride: np.zeros(shape))
            ),
            {},
            "0.init function is not one",
        ),
        (nn.Sequential(nn.ReLU()), {"schedule": lambda t: 1}, "function is not one of duonet's own"),
        (
            nn.Sequential(nn.ReLU()),
            {"optimizer": optim.SGD([duonet.Parameter([1.0])], 0.1)},
            "the optimizer updates a parameter that is not the model's",
        ),
    ],
)
def test_what_no_file_can_rebuild_is_refused_and_nothing_is_written(tmp_path, model, options, message):
    with pytest.raises(CheckpointError, match=f"save_checkpoint: {message}.*save_weights keeps the weights alone"):
        save_checkpoint(tmp_path / "a.npz", model, **options)
    assert not list(tmp_path.iterdir())


def test_the_previous_file_is_kept_until_the_new_one_is_whole(tmp_path, monkeypatch):
    path = tmp_path / "a.npz"
    save_checkpoint(path, nn.Sequential(nn.ReLU()))
    old = path.read_bytes()
    monkeypatch.setattr(os, "replace", lambda *a: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space left"):
        save_checkpoint(path, nn.Sequential(nn.Flatten()))
    assert path.read_bytes() == old and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("kind", [optim.SGD, optim.Adam, optim.AdamW])
def test_an_optimizers_state_that_does_not_fit_is_refused_and_nothing_changes(kind):
    a, b = (duonet.Parameter(np.ones(n)) for n in (2, 3))
    a.grad, b.grad = np.ones(2), np.ones(3)
    one, other = kind([a], 0.1), kind([b], 0.2)
    one.step()
    other.step()
    before = other.state_dict()
    with pytest.raises(ValueError, match=f"{kind.__name__}: the state does not fit: .* has shape"):
        other.load_state_dict(one.state_dict())
    with pytest.raises(ValueError, match=f"{kind.__name__}: the state does not fit: missing steps"):
        other.load_state_dict({k: v for k, v in before.items() if k != "steps"})
    assert all(np.array_equal(v, other.state_dict()[k]) for k, v in before.items())


def test_what_does_not_fit_is_listed_in_the_same_order_in_every_process():
    one, other = (optim.SGD([duonet.Parameter(np.ones(n)) for _ in range(9)], 0.1) for n in (2, 3))
    with pytest.raises(
        ValueError, match="; ".join(rf"velocity.{i} has shape \(2,\), expected \(3,\)" for i in range(9))
    ):
        other.load_state_dict(one.state_dict())


def test_a_checkpoint_moves_between_devices(tmp_path, gpu):
    s = setting()
    train(**s, epochs=1)
    save_checkpoint(tmp_path / "a.npz", s["model"], optimizer=s["optimizer"])
    saved = load_checkpoint(tmp_path / "a.npz", device=gpu)
    arrays = [p.data for p in saved.optimizer.parameters] + saved.optimizer.velocity
    assert {backend.device_of(array) for array in arrays} == {"gpu"}
    for key, value in saved.optimizer.state_dict().items():
        np.testing.assert_array_equal(value, s["optimizer"].state_dict()[key])
