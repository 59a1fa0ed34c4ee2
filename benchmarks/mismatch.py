"""The fast form of the coordinate discrete gradient against the general form.

    python benchmarks/mismatch.py [--rounds 5] [--steps 0.01 0.1] [--memory 512]
    python benchmarks/mismatch.py --device gpu      # the estimators on a GPU against the CPU

Both forms run in turn, round after round, in this one process; times are medians. The general form is two whole
forward passes for every weight, so it is timed on a sample of the weights and scaled to all of them. Then: the
fast form's peak memory (traced, in a separate run) against the limit, and its time over the number of weights.

With --device gpu: each estimator on both devices, their times, and the angle between their results.
"""

import argparse
import statistics
import time
import tracemalloc

import numpy as np

from duonet import backend, data, models, parallel
from duonet import functional as F
from duonet.experiments.real_network import take_statistics
from duonet.experiments.toy import Lesson
from duonet.mismatch import coarse_gradient, coordinate_gradient, evolution_gradient, sample_coordinates
from duonet.mismatch.general import GeneralForm
from duonet.mismatch.objective import Objective, weighted_layers

GENERAL_COORDINATES = 24  # of each layer, in one round


def problems(steps):
    """Yield (name, model, loss, batch, layers, step)."""
    lesson = Lesson(0)
    for activation in ("binary", "ternary"):
        for step in steps:
            student = lesson.student(activation)
            yield f"MLP 32-32-32, {activation}", student, F.mse_loss, lesson.batch(10_000), None, step
    images = data.fashion_mini().train
    batch = data.Normalize.of(images.images)(images.images[:256]), images.labels[:256]
    for variant in ("baseline", "coupled"):
        for step in steps:
            model = models.vgg_deep(variant, rng=np.random.default_rng(0))
            take_statistics(model, batch[0])
            yield f"first two convs, {variant}", model, F.softmax_cross_entropy, batch, ["conv1", "conv2"], step


def seconds(function, *arguments, **options):
    started = time.perf_counter()
    function(*arguments, **options)
    return time.perf_counter() - started


def general_seconds(objective, layers, step, rng):
    """Time the general form on some weights of each layer, scaled to all of them."""
    total = 0
    for layer in weighted_layers(objective.model, layers).values():
        size = layer.weight.size
        some = rng.choice(size, min(GENERAL_COORDINATES, size), replace=False)
        total += seconds(GeneralForm(objective, layer.weight).losses, some, step) * size / len(some)
    return total


def estimators(model, loss, batch, layers, step, memory):
    """Yield (name, function): the three estimators of one problem."""
    problem = (model, loss, batch)
    yield "coarse", lambda: coarse_gradient(*problem, layers)
    yield "coordinate", lambda: coordinate_gradient(*problem, step, layers, memory=memory)
    draws = {"samples": 64, "rng": np.random.default_rng(2)}
    yield "evolution", lambda: evolution_gradient(*problem, layers=layers, **draws)


def devices(options):
    """Time every estimator on the CPU and on the GPU, and compare their results."""
    if backend.why_no_gpu():
        raise SystemExit(f"no GPU: {backend.why_no_gpu()}")
    print(f"{'problem':28} {'ε':>5} {'estimator':>10} {'CPU s':>9} {'GPU s':>9} {'ratio':>7}   smallest cosine")
    for name, model, loss, batch, layers, step in problems(options.steps):
        found, times = {}, {}
        for device in backend.DEVICES:
            model.to(device)
            moved = tuple(backend.to_device(np.asarray(half), device) for half in batch)
            for kind, estimate in estimators(model, loss, moved, layers, step, options.memory):
                found[kind, device] = estimate()  # the first call compiles kernels
                times[kind, device] = statistics.median(seconds(estimate) for _ in range(options.rounds))
        for kind in ("coarse", "coordinate", "evolution"):
            cpu, gpu = (times[kind, device] for device in backend.DEVICES)
            pairs = [
                [found[kind, device][path].values for device in backend.DEVICES] for path in found[kind, "cpu"]
            ]
            worst = min(a @ b / np.sqrt((a @ a) * (b @ b)) for a, b in pairs)
            print(
                f"{name:28} {step:5g} {kind:>10} {cpu:9.3f} {gpu:9.3f} {cpu / gpu:7.1f}   {worst:.9f}", flush=True
            )


@parallel.threads()
def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=backend.DEVICES, default="cpu", help="(%(default)s)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=float, nargs="+", default=[0.01, 0.1], help="ε (0.01 and 0.1)")
    parser.add_argument("--memory", type=float, default=512, help="limit of the fast form, MiB (%(default)s)")
    options = parser.parse_args()
    parallel.keep_memory()
    if options.device == "gpu":
        devices(options)
        return
    rng = np.random.default_rng(0)
    header = f"{'problem':28} {'ε':>5} {'weights':>7} {'general s':>10} {'fast s':>8} {'ratio':>6}"
    print(header + f" {'samples × weights / s':>22} {'peak MiB':>9}   fast s for ¼, ½, all weights")
    for name, model, loss, batch, layers, step in problems(options.steps):
        problem, general, fast = (model, loss, batch, step, layers), [], []
        for _ in range(options.rounds):
            fast.append(seconds(coordinate_gradient, *problem, memory=options.memory))
            general.append(general_seconds(Objective(model, loss, batch), layers, step, rng))
        every = sample_coordinates(model, None, layers=layers)
        weights = sum(len(flat) for flat in every.values())
        slow, quick = statistics.median(general), statistics.median(fast)
        tracemalloc.start()
        coordinate_gradient(*problem, memory=options.memory)
        peak = tracemalloc.get_traced_memory()[1] / 2**20
        tracemalloc.stop()
        shares = []
        for share in (0.25, 0.5):
            some = {p: np.sort(rng.choice(f, int(share * len(f)), replace=False)) for p, f in every.items()}
            times = [seconds(coordinate_gradient, *problem, coordinates=some) for _ in range(options.rounds)]
            shares.append(statistics.median(times))
        rate = len(batch[0]) * weights / quick
        print(
            f"{name:28} {step:5g} {weights:7,} {slow:10.1f} {quick:8.2f} {slow / quick:6.1f} {rate:22.2e}"
            f" {peak:9.0f}   {shares[0]:.2f}, {shares[1]:.2f}, {quick:.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
