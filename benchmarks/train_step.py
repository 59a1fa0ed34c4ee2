"""Time and memory of one training step (forward, loss, backward, update), beside PyTorch where it is installed.

    python benchmarks/train_step.py                    # every network, both settings of the allocator
    python benchmarks/train_step.py --inference        # a forward pass in evaluation mode, folded; batch 1 and 256
    python benchmarks/train_step.py --memory           # peak memory of a step, each side in its own process
    python benchmarks/train_step.py --device gpu --batch 256 [--tf32]
    python benchmarks/train_step.py vgg7:coupled       # another variant of a network

`speed_table.py` makes all measurements of docs/speed.md. Where numba is installed, *duonet* runs compiled twins,
and *duonet numpy* the twins of `duonet.fast`.

The sides take turns in one process, so that a busy machine slows them all alike; figures are medians, ratios are
medians of the ratios within a turn. Below 1, duonet is faster. PyTorch is optional: `pip install torch`.
Allocator: glibc hands large arrays back to the system by default, and new ones cost page faults; "raised" keeps
them (`duonet.parallel.keep_memory`, which the `duonet` command calls). Both sides run under the same setting.
"""

import argparse
import contextlib
import functools
import importlib.util
import json
import statistics
import subprocess
import sys
import time

import numpy as np

import duonet
from duonet import Tensor, backend, compiled, engine, models, nn, no_grad, optim, parallel
from duonet import functional as F
from duonet.fusing import fused
from duonet.quant import Binary, Clip

TURN_SECONDS = 0.05
HAS_TORCH = importlib.util.find_spec("torch") is not None


def small(rng):
    """Build three small convs for 8×8 digits."""

    def conv(inputs, outputs):
        return nn.Conv2d(inputs, outputs, 3, padding=1, bias=False, rng=rng)

    def act():
        return nn.QuantActivation(Binary(), Clip(0, 1))

    return nn.Sequential(
        *(conv(1, 16), nn.BatchNorm(16), act()),
        *(conv(16, 32), nn.MaxPool2d(2), nn.BatchNorm(32), act()),
        *(conv(32, 32), nn.MaxPool2d(2), nn.BatchNorm(32), act()),
        *(nn.Flatten(), nn.Linear(128, 10, rng=rng)),
    )


NETWORKS = {  # name: (model of a variant and a Generator, input shape, batch size)
    "vgg7": (lambda variant, rng: models.vgg7(variant, rng=rng), (32, 32, 3), 128),
    "vgg_deep": (lambda variant, rng: models.vgg_deep(variant, rng=rng), (28, 28, 1), 64),
    "small": (lambda variant, rng: small(rng), (8, 8, 1), 64),
    "resnet20": (lambda variant, rng: models.resnet20(variant, rng=rng), (32, 32, 3), 128),
}
VARIANTS = "baseline", "coupled", "decoupled"


def settings(name):
    """Return (build, input shape, batch size) of "vgg7", a baseline, or of "vgg7:coupled"."""
    network, _, variant = name.partition(":")
    build, shape, batch = NETWORKS[network]
    if variant == "decoupled":
        return lambda rng: duonet.decouple(build("coupled", rng)), shape, batch
    return lambda rng: build(variant or "baseline", rng), shape, batch


def sides(name, batch, device, plain):
    """Yield (side, step, forward) to be timed, on the same images and the same first weights."""
    build, shape, _ = settings(name)
    rng = np.random.default_rng(1)
    x = rng.standard_normal((batch, *shape), dtype=np.float32)
    labels = rng.integers(0, 10, batch)
    model = build(np.random.default_rng(0))
    if HAS_TORCH:
        import torch_twin

        yield from torch_twin.sides(model, x, labels, "cuda" if device == "gpu" else "cpu")
    ours = {"duonet plain": duonet.plain_ops} if plain else {}
    if device == "cpu" and not compiled.why_not():
        ours["duonet numpy"] = lambda: engine.without("compiled")
    for side, context in {**ours, "duonet": contextlib.nullcontext}.items():
        model = build(np.random.default_rng(0)).to(device)
        optimizer = optim.AdamW(model.parameters(), 1e-3)
        data = Tensor(backend.to_device(x, device)), backend.to_device(labels, device)
        yield (
            side,
            functools.partial(_step, fused(model)[0], *data, optimizer, context),
            functools.partial(_forward, duonet.fold_batch_norm(model), data[0], context),
        )


def _step(model, x, labels, optimizer, context):
    with context():
        loss = F.softmax_cross_entropy(model(x), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return loss.data


def _forward(model, x, context):
    with context(), no_grad():
        return model(x).data


def synchronize(device):
    if device == "gpu":
        sys.modules["cupy"].cuda.runtime.deviceSynchronize()
        if HAS_TORCH:
            import torch_twin

            torch_twin.synchronize(device)


def interleave(works, turns, device, prepare=None):
    """Return the seconds of a call in every turn, {side: list}; the sides take turns, the first two are left out.

    A short call is repeated within its turn, after an untimed call: the threads of the previous side spin for a
    while. `prepare` makes the input that a call uses up; a turn then has a single call.
    """
    seconds = {side: [] for side in works}
    times = dict.fromkeys(works, 1)
    for _ in range(turns + 2):
        if prepare:
            prepare()
        for side, work in works.items():
            if not prepare:
                work()
            synchronize(device)
            started = time.perf_counter()
            for _ in range(times[side]):
                work()
            synchronize(device)
            seconds[side].append((time.perf_counter() - started) / times[side])
            if not prepare:
                times[side] = max(1, round(TURN_SECONDS / seconds[side][-1]))
    return {side: times[2:] for side, times in seconds.items()}


def report(label, batch, seconds, width=18):
    """Print a row: the median of each side, and duonet's ratio to each other side; return the rows."""
    ours, rows = seconds["duonet"], []
    for side, times in seconds.items():
        median = statistics.median(times)
        ratio = statistics.median(a / b for a, b in zip(ours, times))
        against = "" if side == "duonet" else f"{ratio:12.2f}"
        print(
            f"{label:{width}} {batch:5} {side:20} {1e3 * median:10.2f} {batch / median:10.0f}{against}", flush=True
        )
        rows.append({"network": label, "batch": batch, "side": side, "ms": 1e3 * median, "ratio": ratio})
    return rows


def peak(work):
    """Return the bytes by which a call's peak memory exceeds the memory of the process before it (Linux)."""
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # forget the earlier peak
    before = _status("VmRSS")
    work()
    return _status("VmHWM") - before


def _status(name):
    with open("/proc/self/status") as file:
        return next(1024 * int(line.split()[1]) for line in file if line.startswith(name))


def memory(name, batch, side):
    """Return the bytes that three steps, with the optimiser's state, add to a process with model and batch.

    A step of another model with two images comes first, so that loading and compilation do not count.
    """
    for images in (2, batch):
        step = {side: step for side, step, _ in sides(name, images, "cpu", True)}[side]
        if images != batch:
            step()
    return peak(lambda: [step() for _ in range(3)])


def in_child(*arguments):
    return subprocess.run(
        [sys.executable, __file__, *arguments], check=True, stdout=subprocess.PIPE, text=True
    ).stdout


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", metavar="NETWORK", help=", ".join(NETWORKS))
    parser.add_argument("--turns", type=int, default=15)
    parser.add_argument("--allocator", choices=("default", "raised", "both"), default="both")
    parser.add_argument("--inference", action="store_true")
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--plain", action="store_true", help="time the plain ops too")
    parser.add_argument("--device", choices=backend.DEVICES, default="cpu")
    parser.add_argument("--batch", type=int, nargs="+")
    parser.add_argument("--threads", type=int, help="of each side; by default as many as there are cores")
    parser.add_argument("--json", help="a file for the rows, a list")
    parser.add_argument("--tf32", action="store_true", help="on a GPU, both sides in TF32; else both in float32")
    parser.add_argument("--side", help=argparse.SUPPRESS)  # one child's part of --memory
    args = parser.parse_args()
    names = args.networks or list(NETWORKS)
    there = {*NETWORKS, *(f"{name}:{variant}" for name in NETWORKS for variant in VARIANTS)}
    if unknown := set(names) - there:
        parser.error(f"unknown network {', '.join(sorted(unknown))}; there are {', '.join(sorted(there))}")
    if args.json and args.allocator == "both" and not args.memory:
        parser.error("--json is for one setting of the allocator")
    if args.device == "gpu" and backend.why_no_gpu():
        parser.error(backend.why_no_gpu())
    if args.tf32 and args.device != "gpu":
        parser.error("--tf32 is for --device gpu")
    if args.side:
        print(json.dumps(memory(names[0], args.batch[0], args.side)))
        return
    if args.memory:
        write(args.json, report_memory(names, args.batch))
        return
    if args.allocator == "both" and args.device == "cpu":
        for setting in ("default", "raised"):
            print(f"\nallocator: {setting}", flush=True)
            done = subprocess.run([sys.executable, __file__, *sys.argv[1:], "--allocator", setting])
            if done.returncode:
                sys.exit(done.returncode)
        return
    if args.tf32:
        backend.allow_tf32()
    if HAS_TORCH:
        import torch_twin

        torch_twin.set_up(args.threads, args.tf32)
    if args.allocator == "raised":
        parallel.keep_memory()
    print(f"{'network':18} {'batch':>5} {'side':20} {'median ms':>10} {'images/s':>10} {'duonet to it':>12}")
    rows = []
    for name in names:
        batches = args.batch or ([1, 256] if args.inference else [settings(name)[2]])
        for batch in batches:
            which = 2 if args.inference else 1
            works = {entry[0]: entry[which] for entry in sides(name, batch, args.device, args.plain)}
            with duonet.threads(args.threads):
                rows += report(name, batch, interleave(works, args.turns, args.device))
    write(args.json, rows)


def write(path, rows):
    if path:
        with open(path, "w") as file:
            json.dump(rows, file)


def report_memory(names, batches):
    print(f"{'network':18} {'batch':>5} {'side':20} {'peak MiB':>10} {'duonet to it':>12}")
    rows = []
    for name in names:
        for batch in batches or [settings(name)[2]]:
            found = ["torch", "torch channels_last"] * HAS_TORCH + ["duonet plain"]
            found += ["duonet"] if compiled.why_not() else ["duonet numpy", "duonet"]
            peaks = {side: float(in_child(name, "--batch", str(batch), "--side", side)) for side in found}
            for side, size in peaks.items():
                print(
                    f"{name:18} {batch:5} {side:20} {size / 2**20:10.0f} {peaks['duonet'] / size:12.2f}",
                    flush=True,
                )
                ratio = peaks["duonet"] / size
                rows.append({"network": name, "batch": batch, "side": side, "MiB": size / 2**20, "ratio": ratio})
    return rows


if __name__ == "__main__":
    main()
