"""Files of packed networks come back whole; whatever is wrong with one is said in a sentence, behind a right checksum too."""

import copy
import hashlib
import json
import struct

import numpy as np
import pytest
from PIL import Image

import duonet
from duonet import models, nn, quant
from duonet.cli import main
from duonet.inference import PackedFileError, load_packed, pack, packed_summary, save_packed
from duonet.inference.container import HEAD, MAGIC, from_bytes, to_bytes


@pytest.fixture(scope="module")
def network():
    rng = np.random.default_rng(0)
    act = lambda: nn.QuantActivation(quant.Binary(), quant.Clip(0, 1))  # noqa: E731
    signs = {"rng": rng, "weight_quantizer": quant.LayerScaleSign(), "padding": 1}
    model = nn.Sequential(
        nn.Conv2d(1, 9, 3, rng=rng), nn.BatchNorm(9), act(), nn.Conv2d(9, 6, 3, **signs), nn.MaxPool2d(2), nn.BatchNorm(6), act(),
        nn.Residual(nn.Sequential(nn.Conv2d(6, 6, 3, **signs), nn.BatchNorm(6)), nn.Conv2d(6, 6, 1, rng=rng)),
        nn.ReLU(), nn.GlobalAvgPool(), nn.Linear(6, 3, rng=rng),
    )  # fmt: skip
    about = {"class_names": ["a", "b", "c"], "mean": [0.5], "std": [0.25]}
    return pack(model.eval(), (8, 8, 1), about)


def parts(raw):
    length = HEAD.unpack(raw[: HEAD.size])[2]
    return json.loads(raw[HEAD.size : HEAD.size + length]), raw[HEAD.size + length : -32]


def whole(description, arrays, magic=MAGIC, number=1):
    text = json.dumps(description).encode() if not isinstance(description, bytes) else description
    body = HEAD.pack(magic, number, len(text)) + text + arrays
    return body + hashlib.sha256(body).digest()


def test_a_network_comes_back_and_is_written_the_same(network, tmp_path):
    save_packed(tmp_path / "a.duo", network)
    again = load_packed(tmp_path / "a.duo")
    x = np.random.default_rng(1).standard_normal((7, 8, 8, 1), dtype=np.float32)
    np.testing.assert_array_equal(again(x), network(x))
    assert to_bytes(again) == to_bytes(network) == (tmp_path / "a.duo").read_bytes()
    assert again.about == network.about and again.in_shape == (8, 8, 1)


@pytest.mark.parametrize("name", ["vgg7", "vgg_deep", "resnet20"])
@pytest.mark.parametrize("variant", ["baseline", "coupled", "decoupled"])
def test_packed_bytes_are_those_of_the_file(name, variant, tmp_path):
    build = getattr(models, name)
    model = build(
        "coupled" if variant == "decoupled" else variant, weights="binary", rng=np.random.default_rng(0)
    ).eval()
    model = duonet.decouple(model) if variant == "decoupled" else model
    packed = pack(model, models.catalogue.defaults(name)[0])
    save_packed(tmp_path / "a.duo", packed)
    size = (tmp_path / "a.duo").stat().st_size
    assert packed_summary(packed).total.bytes_packed == size
    if name == "vgg7" and variant == "baseline":
        assert size <= 235 * 1024 and 4 * sum(t.size for _, t in model._tensors()) > 26 * size
    assert load_packed(tmp_path / "a.duo").out_shape == (10,)


def test_counts_of_a_packed_network_are_those_of_the_model():
    model = models.vgg_deep("baseline", weights="binary", rng=np.random.default_rng(0)).eval()
    before, after = duonet.summary(model, (28, 28, 1)).total, packed_summary(pack(model, (28, 28, 1))).total
    assert (before.weights, before.macs, before.operations) == (after.weights, after.macs, after.operations)


def test_a_network_that_does_not_say_its_input_is_not_written(tmp_path, rng):
    packed = pack(models.mlp("baseline", 6, (8,), 3, rng=rng).eval())
    with pytest.raises(PackedFileError, match="does not say what its input is"):
        save_packed(tmp_path / "a.duo", packed)
    odd = pack(models.mlp("baseline", 6, (8,), 3, rng=rng).eval(), (6,), {"class_names": ["a"]})
    with pytest.raises(PackedFileError, match="other classes"):
        save_packed(tmp_path / "a.duo", odd)
    with pytest.raises(PackedFileError, match="JSON"):
        save_packed(
            tmp_path / "a.duo", pack(models.mlp("baseline", 6, (8,), 3, rng=rng).eval(), (6,), {"x": object()})
        )
    with pytest.raises(TypeError, match="save_packed: network must be a PackedNetwork"):
        save_packed(tmp_path / "a.duo", models.mlp("baseline", 6, (8,), 3, rng=rng))
    assert not list(tmp_path.iterdir())


def test_every_byte_counts(network):
    raw = to_bytes(network)
    rng = np.random.default_rng(0)
    for place in [*range(20), *rng.integers(0, len(raw), 60)]:
        spoilt = bytearray(raw)
        spoilt[place] ^= 1 << int(rng.integers(8))
        with pytest.raises(ValueError, match="is damaged|is not a packed network|is of format"):
            from_bytes(bytes(spoilt))
    for length in (0, 7, 16, 40, len(raw) - 1):
        with pytest.raises(ValueError, match="is damaged|is not a packed network"):
            from_bytes(raw[:length])


def test_a_newer_file_and_a_foreign_one_say_so(network, tmp_path):
    description, arrays = parts(to_bytes(network))
    (tmp_path / "a.duo").write_bytes(whole(description, arrays, number=2))
    with pytest.raises(PackedFileError, match=r"a\.duo is of format 2, and this duonet reads up to 1"):
        load_packed(tmp_path / "a.duo")
    (tmp_path / "a.duo").write_bytes(b"PK\x03\x04" + bytes(1000))
    with pytest.raises(PackedFileError, match=r"a\.duo is not a packed network"):
        load_packed(tmp_path / "a.duo")
    with pytest.raises(FileNotFoundError):
        load_packed(tmp_path / "b.duo")


def edits():
    """Every field of the description replaced by everything that it should not be."""
    odd = [None, -1, 0, 1.5, 2**40, 10**400, "x", [], {}, [[]], True, [1, 2, 3], float("nan")]
    places = [
        (), ("layers",), ("in_shape",), ("about",), ("about", "class_names"), ("about", "mean"), ("about", "std"),
    ]  # fmt: skip
    for layer, keys in (
        (0, ("kind", "path", "stride", "padding", "signs", "arrays")),
        (1, ("levels", "copies", "arrays")),
        (2, ("levels", "copies", "stride", "padding", "pool", "out_levels", "arrays", "kind")),
        (3, ("body", "shortcut", "kind", "path")),
        (6, ("arrays", "signs")),
    ):
        places += [("layers", layer), *[("layers", layer, key) for key in keys]]
    places += [("layers", 2, "arrays", name) for name in ("signs", "scale", "bias", "thresholds", "falls")]
    places += [("layers", 3, "body", 0, "out_levels"), ("layers", 3, "shortcut", 0, "stride")]
    return [(place, value) for place in places for value in odd]


def test_hostile_descriptions_behind_a_right_checksum_are_refused_in_words(network):
    description, arrays = parts(to_bytes(network))
    refused = 0
    for place, value in edits():
        spoilt = copy.deepcopy(description)
        at = spoilt
        for key in place[:-1]:
            at = at[key]
        if place:
            if type(at[place[-1]]) is type(value) and at[place[-1]] == value:
                continue
            at[place[-1]] = value
        else:
            spoilt = value
        try:
            odd = from_bytes(whole(spoilt, arrays))
            assert odd(np.zeros((1, 8, 8, 1), np.float32)).shape == (1, 3)
        except ValueError as error:
            assert str(error) and "\n" not in str(error)
            refused += 1
        else:  # a name may be any text, nothing need be said about images, and some numbers are as good as others
            harmless = "path class_names mean std about stride signs padding levels pool".split()
            assert place[-1] in harmless, (place, value)
    assert refused > 400


@pytest.mark.parametrize("text", [b"", b"[" * 100000, b"nonsense", b"\xff\xfe", b"9" * 100000])
def test_what_is_no_json_is_refused(text):
    with pytest.raises(ValueError, match="is damaged"):
        from_bytes(whole(text, b""))


def test_arrays_are_checked_before_they_are_used(network):
    description, arrays = parts(to_bytes(network))
    with pytest.raises(ValueError, match="holds more than it says"):
        from_bytes(whole(description, arrays + b"x"))
    with pytest.raises(ValueError, match="holds less than it says"):
        from_bytes(whole(description, arrays[:-1]))
    huge = copy.deepcopy(description)
    huge["layers"][0]["arrays"]["weight"][1] = [2**31, 2**31, 2**31, 2**31]
    with pytest.raises(ValueError, match="holds less than it says"):
        from_bytes(whole(huge, arrays))
    with pytest.raises(ValueError, match="layer '0' weight is|NaN"):
        from_bytes(whole(description, struct.pack("<f", float("nan")) + arrays[4:]))
    wide = copy.deepcopy(description)
    wide["layers"][0]["padding"] = 2**20
    with pytest.raises(ValueError, match="values of one image"):
        from_bytes(whole(wide, arrays))
    deep = copy.deepcopy(description)
    for _ in range(300):
        deep["layers"] = [{"kind": "sum", "path": "", "body": deep["layers"], "shortcut": []}]
    with pytest.raises(ValueError, match="lists no layers"):
        from_bytes(whole(deep, arrays))


def checkpoint(folder, model, about):
    duonet.save_checkpoint(folder / "best.npz", model, about=about)
    return str(folder / "best.npz")


def test_the_commands(tmp_path, capsys, rng):
    model = models.vgg_deep("baseline", (4,) * 10, (8, 8, 1), 3, "binary", rng=rng).eval()
    for norm in (layer for layer in model if isinstance(layer, nn.BatchNorm)):
        norm.beta.data[...] = rng.normal(0.5, 0.5, norm.beta.size)  # so that activations differ
    about = {"in_shape": [8, 8, 1], "class_names": ["cat", "dog", "eel"], "mean": [0.4], "std": [0.3]}
    out, picture = str(tmp_path / "a.duo"), tmp_path / "a.png"
    assert main(["pack", checkpoint(tmp_path, model, about), "--out", out]) == 0
    text = capsys.readouterr().out
    assert text.startswith(f"{out}: ") and "float layers, 9 of bits" in text
    pixels = rng.integers(0, 256, (8, 8), dtype=np.uint8)
    Image.fromarray(pixels).save(picture)
    assert main(["run", out, str(picture), "--top", "2"]) == 0
    text = capsys.readouterr().out
    x = ((pixels[None, :, :, None] / np.float32(255) - np.float32(0.4)) / np.float32(0.3)).astype(np.float32)
    logits = load_packed(out)(x)[0]
    assert text.startswith(f"{picture}: {about['class_names'][int(logits.argmax())]} ") and text.count("%") == 2
    assert main(["summary", out]) == 0
    assert "description" in capsys.readouterr().out
    Image.fromarray(np.zeros((9, 8), np.uint8)).save(tmp_path / "b.png")
    assert main(["run", out, str(tmp_path / "b.png"), str(picture)]) == 2
    said = capsys.readouterr()
    assert "9" in said.err and "--resize makes it fit" in said.err and "no answer for 1 of 2 images" in said.err
    assert said.out.startswith(str(picture))


def test_commands_say_what_is_wrong(tmp_path, capsys, rng):
    relu = models.vgg_deep("float", (4,) * 10, (8, 8, 1), 3, rng=rng).eval()
    path = checkpoint(tmp_path, relu, {"in_shape": [8, 8, 1]})
    assert main(["pack", path, "--out", str(tmp_path / "a.duo")]) == 2
    assert "there is nothing to pack" in capsys.readouterr().err and not (tmp_path / "a.duo").exists()
    mlp = models.mlp("baseline", 8, (8, 8), 3, "binary", rng=rng).eval()
    path = checkpoint(tmp_path, mlp, {})
    assert main(["pack", path, "--out", str(tmp_path / "a.duo")]) == 2
    assert "give --input H W C" in capsys.readouterr().err
    assert main(["pack", path, "--input", "2", "2", "2", "--out", str(tmp_path / "a.duo")]) == 0
    assert main(["run", str(tmp_path / "a.duo"), "a.png"]) == 2
    assert "does not state how images are prepared" in capsys.readouterr().err
    assert main(["run", path, "a.png"]) == 2
    assert "is not a packed network" in capsys.readouterr().err
    assert main(["run", str(tmp_path / "none.duo"), "a.png"]) == 2
    assert "there is no such file" in capsys.readouterr().err


@pytest.mark.parametrize(
    "record",
    [
        {"kind": "replicate", "copies": 2**20},
        {"kind": "pad_channels", "channels": 2**20},
        {"kind": "steps", "copies": 2**20, "levels": [0, 1], "arrays": {"thresholds": ["f4", [1, 1]], "falls": ["bits", [1]]}},
    ],
)  # fmt: skip
@pytest.mark.parametrize("inside", [False, True])
def test_no_layer_makes_more_of_an_image_than_memory_holds(record, inside):
    description = {"in_shape": [1024, 1024, 1], "about": {}}
    layers = [{"path": "wide", "arrays": {}, **record}, {"kind": "global_avg_pool", "path": "", "arrays": {}}]
    description["layers"] = [{"kind": "sum", "path": "", "body": layers, "shortcut": layers}] if inside else layers
    with pytest.raises(ValueError, match="wide .*Layer would make 1,099,511,627,776 values of one image"):
        from_bytes(whole(description, bytes(5 * (1 + inside) if "thresholds" in str(record) else 0)))
