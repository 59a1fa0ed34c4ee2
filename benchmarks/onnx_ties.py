"""Where onnxruntime's answers differ from the package's, and how near the first other step is to its threshold.

    pip install -e ".[onnx]" onnxruntime && python benchmarks/onnx_ties.py

Test images of Fashion-MNIST in untrained networks whose batch norms know the images.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from duonet import Tensor, data, decouple, fold_batch_norm, interop, models, nn, no_grad
from duonet.watching import watch

SHAPE = (28, 28, 1)
BATCH = 100
FAR = 1e-4  # of the largest logit
VGG = (16, 16, 32, 32, 64, 128)
CASES = [
    *(("vgg7", VGG, variant, "float") for variant in ("float", "baseline", "coupled", "decoupled")),
    ("vgg7", VGG, "baseline", "binary"),
    ("resnet20", (8, 16, 32), "baseline", "float"),
    *(("resnet20", (8, 16, 32), variant, "binary") for variant in ("coupled", "decoupled")),
]


def network(name, widths, variant, weights, images, seed):
    rng = np.random.default_rng(seed)
    coupled = variant == "decoupled"
    make = getattr(models, name)
    model = make("coupled" if coupled else variant, widths, in_shape=SHAPE, weights=weights, rng=rng)
    for start in range(0, len(images), 32):
        model.train()(Tensor(images[start : start + 32]))
    return (decouple(model) if coupled else model).eval()


def first_other_step(model, made, session, image):
    """Return how far a sum is from its threshold, as a share of the layer's largest sum.

    It is the farthest among the steps of the first layer in which the two differ; None where no step differs.
    """
    constants = {entry.name: onnx.numpy_helper.to_array(entry) for entry in made.graph.initializer}
    seen = []

    def see(path, module, inputs, output):
        if isinstance(module, nn.QuantActivation):
            seen.append(inputs[0].data)

    with watch(model, see):
        model(Tensor(image[None]))
    names = sums_of(made)
    assert len(seen) == len(names)
    for ours, name, theirs in zip(seen, names, session.run(names, {"images": channels_first(image[None])})):
        theirs, shares = np.moveaxis(theirs, 1, -1), []
        for node in made.graph.node:
            if node.op_type == "GreaterOrEqual" and node.input[0] == name:
                threshold = constants[node.input[1]].reshape(-1)
                other = (ours >= threshold) != (theirs >= threshold)
                shares += list(abs(ours - threshold)[other] / abs(ours).max())
        if shares:
            return max(shares)
    return None


def sums_of(made):
    """List the tensors that staircases read, in order."""
    return list(dict.fromkeys(node.input[0] for node in made.graph.node if node.op_type == "GreaterOrEqual"))


def channels_first(x):
    return np.ascontiguousarray(np.moveaxis(x, -1, 1))


def session_of(made):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    return onnxruntime.InferenceSession(made.SerializeToString(), options, providers=["CPUExecutionProvider"])


@no_grad()
def row(case, known, images, seed, folder):
    model = network(*case, known, seed)
    path = folder / "a.onnx"
    interop.to_onnx(path, model, SHAPE)
    made = onnx.load(path)
    run = session_of(made)
    parts = [images[start : start + BATCH] for start in range(0, len(images), BATCH)]
    ours = np.concatenate([model(Tensor(x)).data for x in parts])
    theirs = np.concatenate([run.run(["logits"], {"images": channels_first(x)})[0] for x in parts])
    far = np.flatnonzero(abs(ours - theirs).max(1) > FAR * abs(ours).max())
    classes = (ours.argmax(1) != theirs.argmax(1)).sum()
    made.graph.output.extend(onnx.helper.make_tensor_value_info(name, 1, None) for name in sums_of(made))
    more, folded = session_of(made), fold_batch_norm(model)
    steps = [first_other_step(folded, made, more, images[i]) for i in far]
    farthest = "" if not steps else "no step differs" if None in steps else f"{max(steps):.0e}"
    name, widths, variant, weights = case
    return f"| {name}, {widths[0]}, {variant}, {weights} weights | {len(far)} | {classes} | {farthest} |"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--networks", default="", help="only those whose name begins so")
    options = parser.parse_args()
    splits = data.load("fashion-mini")
    normalize = data.Normalize.of(splits.train.images)
    known, images = normalize(splits.train.images[:256]), normalize(splits.test.images[: options.images])
    print("| network | images beyond 1e-4 | other classes | farthest from the threshold |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for case in CASES:
            for seed in options.seeds if case[0].startswith(options.networks) else ():
                print(row(case, known, images, seed, Path(folder)), "seed", seed, flush=True)


if __name__ == "__main__":
    main()
