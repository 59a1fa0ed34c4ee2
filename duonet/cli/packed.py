"""`duonet pack`, `run`, `export-c` and `export-onnx`: trained networks as files, for duonet and other programs."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from duonet import arguments
from duonet.cli.predict import add_images, check_top, print_answers
from duonet.cli.streams import answer
from duonet.text import visible


def add(commands: Any) -> None:
    """Add the commands to the parser.

    Parameters
    ----------
    commands : argparse subparsers
    """
    command = commands.add_parser(
        "pack",
        help="write a trained network with its binary layers as bits",
        description="Pack the network of a checkpoint: weights and activations of two values become bits, batch "
        "norm becomes thresholds, and the logits stay the same to the last bit.",
        examples=["duonet pack runs/a --out a.duo"],
    )
    command.set_defaults(command=_pack)
    command.add_argument("checkpoint", type=Path, help="a run folder of duonet train, or a file in it")
    command.add_argument(
        "--out", type=Path, required=True, metavar="FILE", help="the file to write, such as a.duo"
    )
    command.add_argument("--input", type=int, nargs=3, metavar=("H", "W", "C"), help="shape of an image")

    command = commands.add_parser(
        "export-c",
        help="write a packed network as one C99 header",
        description="Write a C99 header that runs a packed network. It allocates nothing, needs no library, and "
        "computes with whole numbers from the first activation to the last.",
        examples=["duonet export-c a.duo --out a.h --name shoes"],
    )
    command.set_defaults(command=_export)
    command.add_argument("packed", type=Path, help="a file that duonet pack wrote")
    command.add_argument("--out", type=Path, required=True, metavar="FILE", help="the file to write, such as a.h")
    command.add_argument("--name", help="prefix of the names in the header (the file's name)")

    command = commands.add_parser(
        "export-onnx",
        help="write a trained network as ONNX",
        description="Write the network of a checkpoint as an ONNX file of standard operators, for images with "
        "channels first; the logits are the same except for rounding.",
        examples=[
            "duonet export-onnx runs/a --out a.onnx",
            "duonet export-onnx a.npz --out a.onnx --input 32 32 3",
        ],
    )
    command.set_defaults(command=_export_onnx)
    command.add_argument("checkpoint", type=Path, help="a run folder of duonet train, or a file in it")
    command.add_argument(
        "--out", type=Path, required=True, metavar="FILE", help="the file to write, such as a.onnx"
    )
    command.add_argument("--input", type=int, nargs=3, metavar=("H", "W", "C"), help="shape of an image")

    command = commands.add_parser(
        "run",
        help="class probabilities of image files by a packed network",
        description="Print the probability of each class for PNG or JPEG files, the likeliest first.",
        examples=["duonet run a.duo shoe.png", "duonet run a.duo photos/*.jpg --resize --json"],
    )
    command.set_defaults(command=_run)
    command.add_argument("packed", type=Path, help="a file that duonet pack wrote")
    add_images(command)


def trained(options: argparse.Namespace, checkpoint: Path) -> tuple[Any, tuple[int, ...], dict[str, Any]]:
    """Load the network of a checkpoint.

    Parameters
    ----------
    options : argparse.Namespace
        The command's options: `word`, and `input`, three ints or None.
    checkpoint : Path
        A run folder, or a file in it.

    Returns
    -------
    model : Module
        In evaluation mode.
    in_shape : tuple of int
        The shape of one image: (H, W, C), or (IN,) if the checkpoint has that.
    about : dict
        `class_names`, `mean` and `std` of the images, if the checkpoint has them.

    Raises
    ------
    CheckpointError
        If the file is not a checkpoint.
    ValueError
        If neither `input` nor the checkpoint gives the shape of the input.
    """
    from duonet.experiments import own
    from duonet.experiments.scoring import run_file

    for n in options.input or ():
        arguments.integer(options.word, "--input", n, at_least=1)
    saved = own.load(run_file(checkpoint))
    shape: Any = options.input or saved.about.get("in_shape")
    whole = isinstance(shape, list) and all(type(n) is int and n > 0 for n in shape)
    if not whole or len(shape) not in (1, 3):
        raise ValueError(f"{options.word}: {checkpoint} does not state the shape of its input; give --input H W C")
    names: tuple[str, ...] = ("class_names", "mean", "std")
    kept = {name: saved.about[name] for name in names if name in saved.about}
    return saved.model.eval(), tuple(shape), kept


def _pack(options: argparse.Namespace) -> None:
    from duonet.inference import pack, packed_summary, save_packed

    model, shape, kept = trained(options, options.checkpoint)
    network = pack(model, shape, kept)
    save_packed(options.out, network)
    total = packed_summary(network).total
    weights = 4 * sum(tensor.size for _, tensor in model._tensors())
    ratio = weights / total.bytes_packed
    fewer = f"{ratio:.1f} times fewer than" if ratio >= 1.05 else "against"
    text = (
        f"{options.out}: {total.bytes_packed:,} bytes, {fewer} {weights:,} in float32; "
        f"{str(network).removeprefix('PackedNetwork: ')}"
    )
    found = {"file": str(options.out), "bytes": total.bytes_packed, "float32": weights}
    answer(options.json, found, visible(text))


def _export(options: argparse.Namespace) -> None:
    from duonet.inference import export_c, load_packed

    memory = export_c(options.out, load_packed(options.packed), options.name)
    text = f"{options.out}: {memory.flash:,} bytes of flash besides its code, {memory.ram:,} bytes of RAM"
    answer(options.json, {"file": str(options.out), "flash": memory.flash, "ram": memory.ram}, visible(text))


def _export_onnx(options: argparse.Namespace) -> None:
    from duonet.interop import to_onnx

    model, shape, kept = trained(options, options.checkpoint)
    to_onnx(options.out, model, shape, kept)
    size = options.out.stat().st_size
    text = f"{options.out}: {size:,} bytes; images are (N, C, H, W), normalised"
    answer(options.json, {"file": str(options.out), "bytes": size}, visible(text))


def _run(options: argparse.Namespace) -> None:
    from duonet.experiments.predicting import answers
    from duonet.inference import load_packed
    from duonet.tensor import Tensor

    check_top("run", options.top)
    network = load_packed(options.packed)
    if network.in_shape is None or len(network.in_shape) != 3 or not {"mean", "std"} <= network.about.keys():
        raise ValueError(f"run: {options.packed} does not state how images are prepared")
    names = network.about.get("class_names") or [f"class {i}" for i in range(network.out_shape[0])]
    about = network.about | {"in_shape": network.in_shape}
    found = answers(lambda x: Tensor(network(x.data)), about, options.images, options.resize)
    print_answers(options, names, found)
