"""Time of a packed network beside PyTorch, onnxruntime and duonet in float32: one command, about eight minutes.

    python benchmarks/inference.py --json docs/inference.json && python benchmarks/speed_table.py --render
    python benchmarks/inference.py vgg7 --threads 1 --batch 1

Networks with binary weights, batches of 1 and of 256, two threads and one. The sides take turns in one process;
figures are medians, ratios are medians of the ratios within a turn: above 1, the packed network is faster.
Each setting of threads has its own process. *packed* runs compiled kernels where numba is installed, *packed
numpy* kernels of NumPy; *fold* is the network in float32 with batch norm folded; *C* is the header of `duonet
export-c`, on one thread, compiled by `gcc -O3 -march=native`. PyTorch and onnxruntime are optional.

Nothing else may run meanwhile: PyTorch's threads wait by spinning, and become many times slower beside other work.
So the script counts cores before and after each part; with too few cores, it calls the run void and exits with 1.
"""

import argparse
import importlib.util
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import speed_table
import train_step

import duonet
from duonet import Tensor, compiled, engine, models, nn, no_grad, parallel
from duonet.inference import pack, packed_summary
from duonet.inference.export import CannotExport, export_c

NETWORKS = {"vgg7": (32, 32, 3), "vgg_deep": (28, 28, 1), "resnet20": (32, 32, 3)}
PROGRAM = """
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include "net.h"
static float image[%d], logits[%d];
static struct net_memory memory;
int main(void) {
    struct timespec a, b;
    int sum = 0;
    for (size_t i = 0; i < sizeof image / sizeof *image; i++) image[i] = (float)rand() / (float)RAND_MAX - 0.5f;
    clock_gettime(CLOCK_MONOTONIC, &a);
    for (int i = 0; i < %d; i++) { image[0] = (float)i; sum += net_run(image, &memory, logits); }
    clock_gettime(CLOCK_MONOTONIC, &b);
    printf("%%.9f %%d", ((double)(b.tv_sec - a.tv_sec) + 1e-9 * (double)(b.tv_nsec - a.tv_nsec)) / %d, sum);
    return 0;
}
"""
NORM = {"gamma": "weight", "beta": "bias", "running_mean": "running_mean", "running_var": "running_var"}
TIMES = 50  # runs of the network in the C program


def settled(name):
    """Build the network, with the statistics of a batch."""
    rng = np.random.default_rng(0)
    model = getattr(models, name)("baseline", weights="binary", rng=rng)
    with no_grad():
        for _ in range(30):
            model.train()(Tensor(rng.standard_normal((32, *NETWORKS[name]), dtype=np.float32)))
    return model.eval()


def file_bytes(name):
    """Return the bytes of the packed file, and those of all the network's numbers in float32."""
    model = settled(name)
    numbers = sum(tensor.size for _, tensor in [*model.named_parameters(), *model.named_buffers()])
    return packed_summary(pack(model, NETWORKS[name])).total.bytes_packed, 4 * numbers


def sides(name, batch, threads):
    """Return {side: a call of it}; the sides have the same numbers and read the same images."""
    model, shape = settled(name), NETWORKS[name]
    x = np.random.default_rng(1).standard_normal((batch, *shape), dtype=np.float32)
    network, folded = pack(model, shape), duonet.fold_batch_norm(model)
    with no_grad():
        np.testing.assert_array_equal(network(x), folded(Tensor(x)).data)
    for _, layer in folded.modules():  # its weights are binarised once, not at every call
        if getattr(layer, "weight_quantizer", None) is not None:
            layer.weight.data = layer.weight_quantizer(layer.weight).data
            layer.weight_quantizer = None
    works = {}
    if importlib.util.find_spec("torch"):
        works |= torch_sides(model, x, threads)
    if importlib.util.find_spec("onnxruntime"):
        import onnx_twin

        session, images = onnx_twin.session(model, shape, threads), x.transpose(0, 3, 1, 2).copy()
        works["onnxruntime"] = lambda: session(images)

    def fold():
        with no_grad():
            return folded(Tensor(x)).data

    def numpy(call):
        with engine.without("compiled"):
            return call()

    works |= {"fold": fold, "packed": lambda: network(x)}
    if not compiled.why_not():
        works |= {"fold numpy": lambda: numpy(fold), "packed numpy": lambda: numpy(works["packed"])}
    return works


def torch_sides(model, x, threads):
    import torch
    import torch_twin

    torch_twin.set_up(threads, False)
    works = {}
    for side, _, forward in torch_twin.sides(model, x, np.zeros(len(x), int)):
        module = forward.args[0].eval()
        norms = [layer for _, layer in model.modules() if isinstance(layer, nn.BatchNorm)]
        theirs = [layer for layer in module.modules() if isinstance(layer, torch.nn.BatchNorm2d)]
        products = [layer for _, layer in model.modules() if isinstance(layer, nn.Conv2d)]
        convs = [layer for layer in module.modules() if isinstance(layer, torch.nn.Conv2d)]
        with torch.no_grad():
            for norm, twin in zip(norms, theirs, strict=True):
                for ours, name in NORM.items():
                    getattr(twin, name).copy_(torch.from_numpy(getattr(norm, ours).numpy()))
            for conv, twin in zip(products, convs, strict=True):
                w = conv.weight if conv.weight_quantizer is None else conv.weight_quantizer(conv.weight)
                twin.weight.copy_(torch.from_numpy(w.numpy().transpose(3, 2, 0, 1).copy()))
        works[side] = forward
    return works


def c_seconds(name):
    """Return the seconds of one image by the C header, or None where there is no gcc or no header."""
    gcc = shutil.which("gcc")
    network = pack(settled(name), NETWORKS[name])
    with tempfile.TemporaryDirectory() as folder:
        try:
            export_c(Path(folder, "net.h"), network)
        except CannotExport:
            return None
        if gcc is None:
            return None
        sizes = np.prod(network.in_shape), network.out_shape[0], TIMES, TIMES
        Path(folder, "main.c").write_text(PROGRAM % sizes)
        flags = ["-std=gnu99", "-O3", "-march=native", "main.c", "-o", "net"]
        subprocess.run([gcc, *flags], check=True, cwd=folder)
        runs = [subprocess.run([f"{folder}/net"], capture_output=True, text=True, check=True) for _ in range(5)]
    return statistics.median(float(run.stdout.split()[0]) for run in runs)


def measure(names, batches, threads, turns):
    """Measure one setting of threads in this process."""
    parallel.keep_memory()
    rows = []
    for name in names:
        for batch in batches:
            with duonet.threads(threads):
                seconds = train_step.interleave(sides(name, batch, threads), turns, "cpu")
            if batch == 1 and threads == 1 and (c := c_seconds(name)):
                seconds["C"] = [c] * turns
            for side, times in seconds.items():
                faster = statistics.median(a / b for a, b in zip(times, seconds["packed"]))
                row = {"network": name, "threads": threads, "batch": batch, "side": side}
                rows.append(row | {"ms": 1e3 * statistics.median(times), "packed_is_faster": faster})
                print(f"{name:9} {threads} {batch:4} {side:20} {rows[-1]['ms']:9.3f} ms {faster:7.2f}", flush=True)
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", choices=[[], *NETWORKS], metavar="NETWORK")
    parser.add_argument("--threads", type=int, nargs="+", default=[2, 1])
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 256])
    parser.add_argument("--turns", type=int, default=11)
    parser.add_argument("--json", help="a file for all measurements")
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    names = args.networks or list(NETWORKS)
    if args.child:
        rows = measure(names, args.batch, args.child, args.turns)
        Path(args.json).write_text(json.dumps(rows))
        return
    print("network   threads, batch, side, median of a call, how many times faster the packed network is")
    rows, cores = [], [speed_table.cores(2)]
    for threads in args.threads:
        with tempfile.TemporaryDirectory() as folder:
            part = f"{folder}/rows.json"
            given = ["--child", str(threads), "--turns", str(args.turns), "--json", part]
            batches = ["--batch", *map(str, args.batch)]
            environment = os.environ | {"OMP_NUM_THREADS": str(threads), "DUONET_THREADS": str(threads)}
            subprocess.run([sys.executable, __file__, *names, *given, *batches], check=True, env=environment)
            rows += json.loads(Path(part).read_text())
        cores.append(speed_table.cores(2))
    print("cores before, between and after:", ", ".join(f"{n:.2f}" for n in cores))
    if args.json:
        sizes = {name: file_bytes(name) for name in names}
        Path(args.json).write_text(json.dumps({"cores": cores, "bytes": sizes, "rows": rows}, indent=1) + "\n")
    if min(cores) < 2 * speed_table.ENOUGH:
        sys.exit("the machine was busy: these numbers are void")


if __name__ == "__main__":
    main()
