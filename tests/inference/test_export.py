"""The C header, compiled with every warning and the sanitizers, gives what the packed network gives."""

import itertools
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from test_packing import settled

import duonet
from duonet import engine, models, nn, quant
from duonet.cli import main
from duonet.inference import pack, save_packed
from duonet.inference.export import CannotExport, export_c, to_c

GCC = shutil.which("gcc")
needs_gcc = pytest.mark.skipif(GCC is None, reason="needs gcc")
STRICT = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-Wconversion", "-O1"]
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
PROGRAM = """
#include <stdio.h>
#include "net.h"
int main(void) {
    static float image[%d], logits[%d];
    static struct net_memory memory;
    while (fread(image, sizeof image, 1, stdin) == 1) {
        if (net_run(image, &memory, logits) < 0) return 1;
        if (fwrite(logits, sizeof logits, 1, stdout) != 1) return 1;
    }
    return 0;
}
"""


def compiled(network, folder, flags=SANITIZERS):
    """The program that reads images and writes logits."""
    memory = export_c(folder / "net.h", network)
    (folder / "main.c").write_text(PROGRAM % (np.prod(network.in_shape), network.out_shape[0]))
    subprocess.run([GCC, *STRICT, *flags, str(folder / "main.c"), "-o", str(folder / "net")], check=True)
    return memory


def answers(network, folder, x):
    done = subprocess.run([str(folder / "net")], input=x.tobytes(), capture_output=True, check=True, timeout=120)
    return np.frombuffer(done.stdout, np.float32).reshape(len(x), -1)


def dyadic(model, rng):
    """Floats that are summed without rounding: small multiples of powers of two in the first and the last layers."""
    for layer in model:
        if isinstance(layer, (nn.Conv2d, nn.Linear)) and layer.weight_quantizer is None:
            layer.weight.data[...] = rng.integers(-8, 9, layer.weight.shape) / 8
            if layer.bias is not None:
                layer.bias.data[...] = rng.integers(-8, 9, layer.bias.shape) / 8
    return model


@needs_gcc
@pytest.mark.parametrize("variant, images", [("baseline", 500), ("coupled", 20), ("decoupled", 20)])
def test_bits_are_the_same_to_the_last_class_on_500_images(variant, images, tmp_path, rng):
    model = models.vgg_deep("coupled" if variant == "decoupled" else variant, weights="binary", rng=rng)
    settled(dyadic(model, rng), (28, 28, 1), rng)
    model = duonet.decouple(model) if variant == "decoupled" else model
    network = pack(model, (28, 28, 1))
    compiled(network, tmp_path, ["-march=native"])  # which has an instruction that counts bits
    x = (rng.integers(-8, 9, (images, 28, 28, 1)) / 4).astype(np.float32)
    expected, got = network(x), answers(network, tmp_path, x)
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)  # the last floats are summed in another order
    np.testing.assert_array_equal(got.argmax(1), expected.argmax(1))


def every_form(staircase, quantizer, rng):
    """Every form of layer, between a head and a tail that are exact in any order."""

    def conv(a, b, size, **options):
        return nn.Conv2d(a, b, size, rng=rng, weight_quantizer=quantizer(), **options)

    act = lambda: nn.QuantActivation(staircase, quant.Clip(0, 1))  # noqa: E731
    model = nn.Sequential(
        nn.Conv2d(3, 33, 3, rng=rng, padding=1, stride=2), nn.MaxPool2d(2, 1, 1), nn.BatchNorm(33), act(),
        conv(33, 35, 3, padding=2), nn.MaxPool2d(3, 2, 1), nn.BatchNorm(35), act(),
        conv(35, 5, 2, stride=2), nn.BatchNorm(5), act(), nn.Flatten(),
        nn.Linear(5 * 4, 70, rng=rng, weight_quantizer=quantizer()), nn.BatchNorm(70), act(), nn.Linear(70, 4, rng=rng),
    )  # fmt: skip
    return pack(settled(dyadic(model, rng), (12, 12, 3), rng), (12, 12, 3))


SEVERAL = """
#include <stdio.h>
%s
int main(void) {
    static float image[12 * 12 * 3], logits[4];
    while (fread(image, sizeof image, 1, stdin) == 1) {
        %s
    }
    return 0;
}
"""
ONE = "{ static struct net%d_memory m; net%d_run(image, &m, logits); fwrite(logits, sizeof logits, 1, stdout); }"


@needs_gcc
def test_logits_are_the_same_bits_where_floats_are_not_rounded(tmp_path, rng):
    """Four networks in one program, under the sanitizers."""
    staircases = quant.Binary(), quant.Sign(), quant.Ternary(), quant.Staircase([-1, 0.25, 0.5], [-1, 0, 1, 2])
    quantizers = itertools.cycle([quant.LayerScaleSign, quant.FilterScaleSign])
    with engine.without("compiled"):
        networks = [every_form(*pair, rng) for pair in zip(staircases, quantizers)]
        x = (rng.integers(-8, 9, (10, 12, 12, 3)) / 4).astype(np.float32)
        expected = np.stack([network(x) for network in networks], axis=1)
    for k, network in enumerate(networks):
        export_c(tmp_path / f"net{k}.h", network)
    lines = [[line % ((k,) * line.count("%")) for k in range(4)] for line in ('#include "net%d.h"', ONE)]
    (tmp_path / "main.c").write_text(SEVERAL % tuple("\n".join(some) for some in lines))
    subprocess.run([GCC, *STRICT, *SANITIZERS, str(tmp_path / "main.c"), "-o", str(tmp_path / "net")], check=True)
    np.testing.assert_array_equal(answers(network, tmp_path, x).reshape(10, 4, 4), expected)


@needs_gcc
def test_a_perceptron(tmp_path, rng):
    model = settled(dyadic(models.mlp("baseline", 20, (40, 33), 3, "binary", rng=rng), rng), (20,), rng)
    network = pack(model, (20,))
    compiled(network, tmp_path)
    x = (rng.integers(-8, 9, (50, 20)) / 4).astype(np.float32)
    np.testing.assert_array_equal(answers(network, tmp_path, x), network(x))


def test_the_slim_network_fits_64_kib_of_flash_and_16_kib_of_ram(rng):
    for variant in ("baseline", "coupled"):
        model = models.vgg_deep(variant, weights="binary", rng=rng).eval()
        text, memory = to_c(pack(model, (28, 28, 1)), "net")
        assert memory.flash <= 64 * 1024 and memory.ram <= 16 * 1024
        assert f"{memory.flash:,} bytes" in text and f"{memory.ram:,} bytes" in text
        assert not any(word in text for word in ("malloc", "calloc", "double", "<stdlib"))


@needs_gcc
def test_stated_memory_is_that_of_the_compiler(tmp_path, rng):
    network = pack(models.vgg_deep("baseline", weights="binary", rng=rng).eval(), (28, 28, 1))
    memory = export_c(tmp_path / "net.h", network)
    (tmp_path / "size.c").write_text('#include <stdio.h>\n#include "net.h"\nint main(void) {'
        'static float l[10], i[784]; static struct net_memory m; net_run(i, &m, l);'
        'printf("%zu", sizeof(struct net_memory)); return 0; }')  # fmt: skip
    subprocess.run([GCC, "-std=c99", "-O1", str(tmp_path / "size.c"), "-o", str(tmp_path / "size")], check=True)
    size = int(subprocess.run([str(tmp_path / "size")], capture_output=True, check=True).stdout)
    assert size + 4 * (784 + 10) == memory.ram


def test_what_has_no_code_in_c_is_refused_by_path(rng, tmp_path):
    refused = {
        "pack.model, in_shape=": pack(models.mlp("baseline", 6, (8, 8), 3, "binary", rng=rng).eval()),
        r"export_c: norm1 batch_norm: steps must follow": pack(
            models.resnet20("baseline", weights="binary", rng=rng).eval(), (32, 32, 3)
        ),
        r"export_c: conv2 conv: its kernel does not cover": pack(
            models.vgg_deep("baseline", (4,) * 10, (8, 8, 1), 3, rng=rng).eval(), (8, 8, 1)
        ),
    }
    for message, network in refused.items():
        with pytest.raises(CannotExport, match=message):
            export_c(tmp_path / "net.h", network)
    assert not list(tmp_path.iterdir())
    good = pack(models.mlp("baseline", 6, (8, 8), 3, "binary", rng=rng).eval(), (6,))
    for name in ("9", "a b", "", "é", "x;"):
        with pytest.raises(ValueError, match="cannot be the name of a C function"):
            export_c(tmp_path / "net.h", good, name)


def test_the_command(tmp_path, capsys, rng):
    model = models.vgg_deep("baseline", weights="binary", rng=rng).eval()
    save_packed(tmp_path / "a.duo", pack(model, (28, 28, 1)))
    assert main(["export-c", str(tmp_path / "a.duo"), "--out", str(tmp_path / "my-net.h")]) == 0
    assert "my_net_run" in (tmp_path / "my-net.h").read_text()
    said = capsys.readouterr().out
    assert "bytes of flash" in said and "bytes of RAM" in said
    assert main(["export-c", str(tmp_path / "none.duo"), "--out", str(tmp_path / "b.h")]) == 2
    assert "there is no such file" in capsys.readouterr().err


def test_the_table_in_the_docs_is_what_the_export_says(rng):
    text = (Path(duonet.__file__).parents[1] / "docs" / "inference.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)`, (\w+) \| ([\d.]+) KiB \| ([\d.]+) KiB \|$", text, re.M)
    assert len(rows) == 4
    for name, variant, flash, ram in rows:
        model = getattr(models, name)(variant, weights="binary", rng=rng).eval()
        memory = to_c(pack(model, models.catalogue.defaults(name)[0]), "net")[1]
        assert (flash, ram) == (f"{memory.flash / 1024:.1f}", f"{memory.ram / 1024:.1f}")
