"""Write the tables of docs/findings.md and docs/coupling.png anew from the results that the docs keep.

python tools/render_findings.py
"""

import json
import re
from pathlib import Path

from duonet.experiments.competition_tables import against, correlations, ranked
from duonet.experiments.records import rows_of
from duonet.experiments.study_file import read_study
from duonet.experiments.study_tables import cell
from duonet.files import replacing
from duonet.text import aligned
from duonet.viz.canvas import blank, save, tidy

DOCS = Path(__file__).parent.parent / "docs"
PAGE = "findings.md"
PAIRS = (("binaryduo", "baseline"), ("binaryduo", "control"), ("control", "baseline"))
NETWORKS = {  # rows of the table of gains: network, images and training, weights, file
    "compare_seeds": ("vgg_deep", "4,000 images of Fashion-MNIST, 12 epochs", "float"),
    "methods_compared_longer": ("vgg_deep, width 8", "2,500 images, 9 epochs, rate of each method", "float"),
    "methods_compared_float": ("vgg_deep, width 8", "1,250 images, 6 epochs, rate of each method", "float"),
    "compare_vgg7": ("vgg7, width 8", "4,000 images, 12 epochs", "float"),
    "compare_mlp": ("mlp", "8,000 images, 15 epochs", "float"),
    "training_fashion": ("vgg7, width 16", "all of Fashion-MNIST, 20 epochs", "float"),
    "training_cifar10": ("vgg7", "all of CIFAR-10, 6 epochs", "float"),
    "methods_compared_binary": ("vgg_deep, width 8", "1,250 images, 6 epochs, rate of each method", "binary"),
    "methods_compared_binary_mlp": ("mlp, width 64", "2,000 images, 6 epochs, rate of each method", "binary"),
}


def kept(name):
    """Return a kept result in the form that `against` takes: seeds and accuracies by method."""
    path = DOCS / f"{name}.json"
    if name.startswith("methods_compared"):
        return read_study("contest", path)
    results = json.loads(path.read_text(encoding="utf-8"))
    if name.startswith("training"):
        methods = {}
        for run in results["runs"]:
            row = methods.setdefault(run["method"], {"seeds": [], "accuracy": []})
            row["seeds"].append(run["seed"])
            row["accuracy"].append(run["test_accuracy"])
        return results | {"methods": methods}
    for row in results["methods"].values():
        row["seeds"] = list(range(len(row["accuracy"])))
    return results


def points(gap):
    """Write a paired difference in points, with its 95 % interval."""
    if gap.seeds < 1:
        return "-"
    if gap.seeds < 2:
        return f"{100 * gap.mean:+.1f} (one seed)"
    low, high = 100 * (gap.mean - gap.half), 100 * (gap.mean + gap.half)
    return f"{100 * gap.mean:+.1f} ({low:+.1f} to {high:+.1f})"


def gains():
    """Lay out BinaryDuo's difference to its baseline and its control in every network that was trained."""
    rows = [("network", "training", "weights", "seeds", "minus baseline", "minus control")]
    for name, words in NETWORKS.items():
        results = kept(name)
        gap = against(results, "binaryduo")
        rows.append((*words, str(gap.seeds), points(gap), points(against(results, "binaryduo", "control"))))
    return aligned(rows)


def conditions():
    """Lay out the same differences under every condition of tools/coupling.py."""
    found = json.loads((DOCS / "coupling.json").read_text(encoding="utf-8"))["conditions"]
    rows = [("condition", "baseline %", "seeds", "minus baseline", "minus control", "control minus baseline")]
    for condition in found:
        methods = found[condition]["methods"]
        accuracy = methods["baseline"]["accuracy"]
        gaps = [against(found[condition], *pair) for pair in PAIRS]
        mean = f"{100 * sum(accuracy) / len(accuracy):.1f}"
        rows.append((condition, mean, str(gaps[0].seeds), *map(points, gaps)))
    return f"{aligned(rows)}\n\n{significant()}"


def significant():
    """Say where an interval of the conditions excludes 0."""
    found = json.loads((DOCS / "coupling.json").read_text(encoding="utf-8"))["conditions"]
    lines = []
    for (name, other), words in zip(PAIRS, ("baseline", "control")):
        gaps = {condition: against(found[condition], name, other) for condition in found}
        better, worse = ([c for c, gap in gaps.items() if sign * gap.mean > gap.half] for sign in (1, -1))
        lines += [
            f"BinaryDuo {word} its {words}, with an interval that excludes 0: {', '.join(names) or 'nowhere'}."
            for word, names in (("beats", better), ("loses to", worse))
        ]
    return "\n".join(lines)


def cosine(state, activation, surrogate="clip", step=0.1):
    """Write the cosines of the toy network's second and third layer."""
    records = read_study("mismatch", DOCS / "mismatch.json")
    rows = rows_of(records, "toy", state=state, activation=activation, surrogate=surrogate, step=step)
    return " and ".join(cell([row for row in rows if row["layer"] == layer]) for layer in ("linear2", "linear3"))


def place(results):
    """Say where BinaryDuo stands among the methods of a contest."""
    names = ranked(results)
    return f"{names.index('binaryduo') + 1} of {len(names)}"


def claims():
    """Lay out each claim of the paper's abstract, what was measured here, the verdict and the command."""
    eight, contest = kept("compare_seeds"), kept("methods_compared_float")
    changed = [row["float32_changed_predictions"] for row in eight["decoupling"]]
    largest = max(row["float64_relative_difference"] for row in eight["decoupling"])
    start = next(row for row in correlations(contest) if row.state == "start")
    leader, binary = kept("methods_compared_longer"), kept("methods_compared_binary")
    deep = json.loads((DOCS / "coupling.json").read_text(encoding="utf-8"))["conditions"]["12 layers"]
    best = against(leader, "hwgq-log-coupled", "binaryduo")
    rows = [
        ("Binary activations cost accuracy",
         f"`vgg_deep`, {len(changed)} seeds: the float network leads the binary baseline by "
         f"{points(against(eight, 'float'))} points",
         "holds", "`duonet compare --seeds 8`"),
        ("Gradient mismatch is the main reason",
         f"`vgg_deep`, width 8, {start.methods} activations: rank correlation of cosine and gain "
         f"{start.value:.2f} ({start.low:.2f} to {start.high:.2f})",
         "not seen", "`duonet contest`"),
        ("The gradient of the smoothed loss measures mismatch",
         "Closed forms of a two-layer network agree within the measurement's error. In a deep network on real "
         "images noise hides it in most layers",
         "holds in part", "`duonet mismatch --full`"),
        ("More levels reduce it",
         f"Toy network, 5 seeds, after training, layers 2 and 3: binary {cosine('trained', 'binary')}, ternary "
         f"{cosine('trained', 'ternary')}",
         "holds", "`duonet mismatch --full`"),
        ("More levels reduce it more than other surrogates do",
         f"The same layers: binary with tanh 4 {cosine('trained', 'binary', 'tanh 4')}, but with more noise",
         "not seen", "`duonet mismatch --full`"),
        ("Decoupling keeps the function",
         f"`vgg_deep`, {len(changed)} seeds: logits differ by {largest:g} in float64; in float32 {max(changed)} "
         "of 5,000 predictions at most",
         "holds", "`duonet compare --seeds 8`"),
        ("BinaryDuo beats a binary network of equal weights and compute",
         f"`vgg_deep`, {len(changed)} seeds: {points(against(eight, 'binaryduo'))} points; not in every network: "
         "see the next table",
         "holds in part", "`duonet compare --seeds 8`"),
        ("It does so because it is trained coupled",
         f"Minus the same architecture from scratch: {points(against(eight, 'binaryduo', 'control'))} there, "
         f"{points(against(deep, 'binaryduo', 'control'))} with twelve quantised layers: see the last table",
         "holds in part", "`python tools/coupling.py`"),
        ("BinaryDuo beats other binary networks",
         f"Float weights: place {place(contest)}; its scheme with HWGQ's staircase leads it by {points(best)}. "
         f"Binary weights: place {place(binary)}",
         "holds in part", "`duonet contest`"),
        ("AlexNet and ResNet-18 on ImageNet", "nothing", "not tried", "`duonet train resnet18 FOLDER`"),
    ]  # fmt: skip
    lines = ["| Claim | Measured here | Verdict | Command |", "|---|---|---|---|"]
    return "\n".join(lines + [f"| {' | '.join(row)} |" for row in rows])


def page(text):
    """Fill the place of every table: a comment that names it, up to the next that ends it."""
    for name, table in (("claims", claims()), ("gains", gains()), ("conditions", conditions())):
        block = table if name == "claims" else f"```text\n{table}\n```"
        text, count = re.subn(
            rf"(<!-- {name} -->\n).*?(<!-- end -->)", lambda m, b=block: f"{m[1]}{b}\n{m[2]}", text, flags=re.S
        )
        assert count == 1, name
    return text


def draw(path):
    """Draw both differences under every condition, with 95 % intervals."""
    found = json.loads((DOCS / "coupling.json").read_text(encoding="utf-8"))["conditions"]
    order = list(found)
    figure = blank(8, 4.6)
    left, right = figure.subplots(1, 2, sharey=True, sharex=True)
    for axes, pair, color, title in (
        (left, PAIRS[0], "#b2500f", "BinaryDuo minus binary baseline"),
        (right, PAIRS[1], "#5d8a3a", "BinaryDuo minus its architecture from scratch"),
    ):
        for i, condition in enumerate(order[::-1]):
            gap = against(found[condition], *pair)
            axes.errorbar(100 * gap.mean, i, xerr=100 * gap.half, fmt="o", color=color, markersize=5, capsize=3)
        axes.axvline(0, color="0.7", linewidth=1, zorder=0)
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("points of test accuracy, with 95 % interval")
        tidy(axes, "x")
    left.set_yticks(range(len(order)), order[::-1])
    return save(figure, path)


def main():
    text = page((DOCS / PAGE).read_text(encoding="utf-8"))
    with replacing(DOCS / PAGE) as part:
        part.write_text(text, encoding="utf-8")
    draw(DOCS / "coupling.png")


if __name__ == "__main__":
    main()
