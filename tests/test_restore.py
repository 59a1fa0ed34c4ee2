"""A checkpoint with a right checksum is still input: it loads, or one sentence says why not."""

import copy
import json
import warnings

import numpy as np
import pytest

from duonet import Tensor, checkpoint, models, nn, optim, quant
from duonet.archive import pack, unpack
from duonet.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from duonet.history import History


def setting():
    rng = np.random.default_rng(5)
    body = nn.Sequential({"norm": nn.BatchNorm(4), "act": nn.QuantActivation(quant.Ternary(), quant.Clip(0, 1))})
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3, rng=rng, weight_quantizer=quant.LayerScaleSign()),
        nn.QuantActivation(quant.Binary([0.1, 0.2, 0.3, 0.4]), quant.Shifted(quant.Tanh(2), [0.1] * 4)),
        nn.Residual(body),
        nn.MaxPool2d(2),
        nn.Dropout(0.1, rng=rng),
        nn.Flatten(),
        nn.Linear(4, 2, rng=rng),
    )
    history = History()
    history.append(epoch=1, loss=0.5)
    loader = np.random.Generator(np.random.Philox(1))
    return model, {
        "optimizer": optim.Adam(model.parameters(), 0.1),
        "schedule": optim.StepDecay([1, 2]),
        "generators": {"loader": loader},
        "history": history,
        "about": {"a": [1, None, "é"]},
    }


@pytest.fixture
def saved(tmp_path):
    """A file, its arrays and its description."""
    model, rest = setting()
    path = tmp_path / "a.npz"
    save_checkpoint(path, model, **rest)
    arrays = unpack(path)
    return path, arrays, json.loads(arrays["meta"].item())


def rewrite(path, arrays, meta):
    """Write a file with the right checksum."""
    arrays = {name: array for name, array in arrays.items() if name not in ("meta", "sha256")}
    arrays["meta"] = meta if isinstance(meta, np.ndarray) else np.array(json.dumps(meta))
    path.write_bytes(pack(arrays | {"sha256": np.array(checkpoint._digest(arrays))}))


def refused(path, arrays, meta, message=""):
    rewrite(path, arrays, meta)
    with pytest.raises(CheckpointError, match=f"^load_checkpoint: .*a.npz .*{message}") as caught:
        load_checkpoint(path)
    assert str(caught.value).isprintable() and len(str(caught.value)) < 600


def places(value, path=()):
    """Yield the path of everything in a description."""
    for key in value if isinstance(value, dict) else range(min(len(value), 8)):
        yield (*path, key)
        if isinstance(value[key], (dict, list)):
            yield from places(value[key], (*path, key))


ODD = [
    None, True, -1, 0, 1, 2, 10**9, 10**40, 0.5, 1e308, float("nan"), float("inf"), "", "x\x1b[2J\n", [], {}, [[]],
    [0] * 5, {"class": "nn.ReLU", "arguments": {}}, {"class": "quant.Ternary", "arguments": {}},
    {"generator": 0}, {"generator": -1}, {"function": "he_normal"}, {"class": "nn.Module", "arguments": {}},
]  # fmt: skip


def spoil(rng, meta):
    """Put something odd into one place of a description, take it out, or put it elsewhere."""
    spots = list(places(meta))
    *way, last = spots[rng.integers(len(spots))]
    holder = meta
    for key in way:
        holder = holder[key]
    kind = rng.integers(4)
    if kind == 0:
        del holder[last]
    elif kind == 1:
        other = meta
        for key in spots[rng.integers(len(spots))]:
            if not isinstance(other, (dict, list)) or (isinstance(other, list) and not isinstance(key, int)):
                break
            other = other[key] if key in other or isinstance(other, list) and key < len(other) else other
        holder[last] = copy.deepcopy(other)
    else:
        holder[last] = copy.deepcopy(ODD[rng.integers(len(ODD))])


def spoil_arrays(rng, arrays):
    name = list(arrays)[rng.integers(len(arrays))]
    array = arrays[name]
    kind = rng.integers(6)
    if kind == 0:
        del arrays[name]
    elif kind == 1:
        arrays[name + "x"] = array
    elif kind == 2:
        arrays[name] = array.reshape(-1)[: rng.integers(3)]
    elif kind == 3 and array.dtype.kind in "fi":
        arrays[name] = array.astype(["f2", "f8", "i8", "b1", "u1"][rng.integers(5)])
    elif kind == 4:
        arrays[name] = np.full(array.shape, np.array([np.nan, np.inf, -np.inf, -1])[rng.integers(4)])
    else:
        arrays[name] = np.array("text")


def test_a_spoilt_checkpoint_loads_or_is_refused_in_one_sentence(saved):
    path, whole, right = saved
    rng = np.random.default_rng(0)
    outcomes = []
    for i in range(300):
        arrays, meta = dict(whole), copy.deepcopy(right)
        for _ in range(rng.integers(1, 3)):
            if i % 4 == 0:
                spoil_arrays(rng, arrays)
            else:
                spoil(rng, meta)
        rewrite(path, arrays, meta)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            try:
                load_checkpoint(path)
            except CheckpointError as error:
                assert str(error).isprintable() and len(str(error)) < 600
                outcomes.append("refused")
            else:
                outcomes.append("loaded")
    assert outcomes.count("refused") > 200 and outcomes.count("loaded") > 10


def test_what_would_take_memory_is_refused_by_its_shape(saved):
    path, arrays, meta = saved
    for layer, name in ((6, "inputs"), (6, "outputs"), (0, "channels"), (0, "kernel_size")):
        spoilt = copy.deepcopy(meta)
        spoilt["model"]["layers"][layer][1]["arguments"][name] = 10**9
        refused(path, arrays, spoilt, f"cannot be rebuilt: {layer}: its weight is .*, but described with shape")
    spoilt = copy.deepcopy(meta)
    spoilt["model"]["layers"][2][1]["arguments"]["body"]["layers"][0][1]["arguments"]["channels"] = 10**12
    refused(path, arrays, spoilt, "2.body.norm: its gamma is .*, but described with shape")
    spoilt = copy.deepcopy(meta)
    spoilt["model"]["layers"][6][1]["arguments"] |= {"inputs": 0, "outputs": 10**12}
    refused(
        path,
        arrays | {"model/6.weight": np.zeros((0, 10**12))},
        spoilt,
        "6: its bias is .*, but described with shape",
    )
    refused(path, arrays, meta | {"optimized": ["0.weight"] * 10**5}, "one Parameter")


def test_deep_and_endless_descriptions_are_refused(saved):
    path, arrays, meta = saved
    refused(path, arrays, np.array("[" * 10**5 + "]" * 10**5), "is an npz file, but not a checkpoint")
    deep = meta["model"]
    for _ in range(300):
        deep = {"class": "nn.Sequential", "layers": [["0", deep]]}
    refused(path, arrays, meta | {"model": deep}, "is nested more than")
    for text in ('{"kind": 9' + "9" * 5000 + "}", "[]", "null", "", "\ud800"):
        refused(path, arrays, np.array(text), "is an npz file, but not a checkpoint")
    refused(path, arrays, np.array([json.dumps(meta)] * 2), "is an npz file, but not a checkpoint")
    refused(path, arrays, np.arange(3), "is an npz file, but not a checkpoint")
    refused(path, arrays, meta | {"format": "2"}, "is an npz file, but not a checkpoint")


def test_state_of_an_optimiser_is_checked(saved):
    path, arrays, meta = saved
    for name, value in (("steps", -1), ("steps", 0.5), ("lr", np.inf), ("lr", np.nan), ("lr", -1.0)):
        spoilt = np.full(arrays[f"optimizer/{name}"].shape, value)
        refused(path, arrays | {f"optimizer/{name}": spoilt}, meta, "cannot be rebuilt: Adam")
    refused(path, arrays | {"other": np.zeros(1)}, meta, "holds arrays without an owner")
    refused(path, arrays, meta | {"optimizer": None}, "holds arrays without an owner")


# What a copy keeps


def test_what_is_frozen_each_dtype_and_each_mode_come_back(tmp_path):
    model, rest = setting()
    model[0].weight.requires_grad = model[2].body.norm.gamma.requires_grad = False
    model[6].astype("float64")
    model[2].body.norm.eval()
    rest["optimizer"] = optim.Adam([p for p in model.parameters() if p.requires_grad], 0.1)
    save_checkpoint(tmp_path / "a.npz", model, **rest)
    saved = load_checkpoint(tmp_path / "a.npz")
    of = lambda m: [(path, p.dtype, p.requires_grad) for path, p in m.named_parameters()]  # noqa: E731
    assert of(saved.model) == of(model)
    assert [m.training for _, m in saved.model.modules()] == [m.training for _, m in model.modules()]
    assert [a.dtype for a in saved.optimizer.mean] == [a.dtype for a in rest["optimizer"].mean]
    for key, value in model.state_dict().items():
        np.testing.assert_array_equal(saved.model.state_dict()[key], value)


def linear(rng):
    return nn.Sequential(
        nn.Linear(2, 3, rng=rng), nn.BatchNorm(3), nn.QuantActivation(quant.Ternary(), quant.Clip(0, 1))
    )


def changed(path, name, value):
    """Set an attribute of something in the model or beside it."""

    def change(model, rest):
        thing = model
        for key in path:
            thing = rest[key] if key in rest else thing[key] if isinstance(key, int) else getattr(thing, key)
        setattr(thing, name, value)

    return change


def tied(model, rest):
    model.again = nn.Linear(2, 3, rng=np.random.default_rng(0))
    model.again.bias = model[0].bias


NOT_WHOLE = {
    "an extra parameter": (
        changed([0], "scale", nn.Linear(1, 1, rng=np.random.default_rng(0)).weight),
        "0.scale|.*0.scale",
    ),
    "an extra buffer": (changed([0], "seen", Tensor([1.0])), ".*0.seen"),
    "an extra attribute": (changed([0], "seen", 7), "0.seen would come back changed"),
    "a forward of its own": (changed([0], "forward", abs), "0.forward would come back changed"),
    "an extra layer": (changed([2], "more", nn.ReLU()), "2.more would come back changed"),
    "a kernel of another shape": (
        changed([0, "weight"], "data", np.zeros((2, 3, 4), "float32")),
        "0: its weight is .*described with shape",
    ),
    "a bias of another shape": (
        changed([0, "bias"], "data", np.zeros((1, 3), "float32")),
        "0: its bias is .*described",
    ),
    "an array as weight": (lambda model, rest: vars(model[0]).update(weight=np.zeros((2, 3))), ".*"),
    "no weight": (changed([0], "weight", None), "0 nn.Linear: Linear has no attribute 'inputs', so"),
    "a weight of ints": (changed([0, "weight"], "data", np.zeros((2, 3), int)), ".*0.weight"),
    "a buffer that learns": (changed([1, "running_mean"], "requires_grad", True), "1.running_mean would come"),
    "a parameter with a mask": (changed([0, "weight"], "mask", 1), "0.weight would come back changed"),
    "gamma": (changed([1, "beta"], "data", np.zeros(4, "float32")), "1: its beta is .*described"),
    "momentum": (changed([1], "momentum", nn.ReLU()), "1.momentum cannot be ReLU"),
    "other thresholds": (
        changed([2, "staircase"], "thresholds", (np.array(0.1), np.array(0.2))),
        "2.staircase.thresholds.0 would come back changed",
    ),
    "a surrogate's window": (changed([2, "surrogate"], "low", 5), "2.surrogate: Clip: high must be"),
    "a quantiser of its own": (
        changed([0], "weight_quantizer", changed),
        "0.weight_quantizer function is not one of duonet's own",
    ),
    "a layer as a staircase": (changed([2], "staircase", nn.ReLU()), "2.staircase cannot be ReLU"),
    "an optimiser's extra": (changed(["optimizer"], "seen", 7), "optimizer.seen would come back changed"),
    "an optimiser's betas": (changed(["optimizer"], "betas", (1, 2)), ".*betas"),
    "a schedule's milestones": (changed(["schedule"], "milestones", {1: 2}), ".*dict is not one of duonet's own"),
    "a tie": (tied, "again.bias and 0.bias are one tensor"),
    "a name that no file can hold": (changed([0], "a\0b", Tensor([1.0])), ".*a.b"),
}


@pytest.mark.parametrize("name", NOT_WHOLE)
def test_what_would_not_come_back_is_refused_by_path_and_nothing_is_written(tmp_path, name, rng):
    model = linear(rng)
    rest = {"optimizer": optim.Adam(model.parameters(), 0.1), "schedule": optim.StepDecay([1, 2])}
    change, message = NOT_WHOLE[name]
    change(model, rest)
    with pytest.raises(
        CheckpointError, match=f"^save_checkpoint: {message}.*save_weights keeps the weights alone"
    ):
        save_checkpoint(tmp_path / "a.npz", model, **rest)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "rest",
    [
        {"about": {1: 2}},
        {"about": {"a": {1, 2}}},
        {"about": {"a": np.float32(1)}},
        {"about": [1]},
        {"generators": {"loader": 5}},
        {"generators": {1: np.random.default_rng(0)}},
        {"history": [{"loss": 1}]},
        {"schedule": nn.ReLU()},
        {"schedule": 5},
        {"optimizer": nn.ReLU()},
    ],
)
def test_what_stands_beside_the_model_is_refused_too(tmp_path, rest, rng):
    with pytest.raises(CheckpointError, match="^save_checkpoint: "):
        save_checkpoint(tmp_path / "a.npz", linear(rng), **rest)
    with pytest.raises(CheckpointError, match="^save_checkpoint: "):
        save_checkpoint(tmp_path / "a.npz", rest)
    assert not list(tmp_path.iterdir())


def test_arguments_changed_later_come_back_as_they_are(tmp_path, rng):
    model = linear(rng)
    model.conv = nn.Conv2d(1, 2, 3, rng=rng)
    model.conv.stride, model.conv.padding = np.int64(2), 3
    model[1].momentum, model[1].eps = 0.25, np.float32(1e-3)
    model.drop = nn.Dropout(0.5, rng=rng)
    model.drop.p = 0.125
    save_checkpoint(tmp_path / "a.npz", model, about={"nan": float("nan"), "tuple": (1, 2)})
    twin = load_checkpoint(tmp_path / "a.npz").model
    assert (twin.conv.stride, twin.conv.padding, twin[1].momentum, twin.drop.p) == (2, 3, 0.25, 0.125)
    assert twin[1].eps == np.float32(1e-3)


def test_a_training_that_diverged_is_saved_as_it_is(tmp_path, rng):
    model = linear(rng)
    optimizer = optim.SGD(model.parameters(), 0.1)
    model[0].weight.grad = np.full((2, 3), np.nan, "float32")
    optimizer.step()
    save_checkpoint(tmp_path / "a.npz", model, optimizer=optimizer)
    assert np.isnan(load_checkpoint(tmp_path / "a.npz").model[0].weight.data).all()


def test_a_list_of_layers_goes_round(tmp_path, rng):
    model = nn.Sequential({"list": nn.ModuleList([nn.ReLU(), nn.Linear(2, 2, rng=rng)])})
    save_checkpoint(tmp_path / "a.npz", model)
    assert repr(load_checkpoint(tmp_path / "a.npz").model) == repr(model)


def test_a_large_network_is_checked_as_well(tmp_path):
    model = models.vgg7("coupled", (4,) * 6, (8, 8, 1), rng=np.random.default_rng(0))
    model.conv2.weight.data = model.conv2.weight.data[:2]
    with pytest.raises(CheckpointError, match="conv2: its weight is"):
        save_checkpoint(tmp_path / "a.npz", model)
