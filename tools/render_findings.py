"""Write the tables of docs/findings.md, and docs/coupling.png, again from the results in docs.

python tools/render_findings.py
"""

import re
import textwrap
from pathlib import Path

import mismatch_and_gain
from coupling_tables import AGAIN, PAIRS, conditions, draw
from intervals import counted, interval, points, verdict
from one_line import one_line

from duonet.experiments.competition_tables import against, correlations, ranked
from duonet.experiments.records import rows_of, told_from_noise
from duonet.experiments.study_file import check_shape, read_json, read_study
from duonet.experiments.study_tables import mismatch_tables
from duonet.files import replacing
from duonet.text import aligned

DOCS = Path(__file__).parent.parent / "docs"
PAGE = "findings.md"
# The fields of the files.
ACCURACIES = {"seeds": [int], "accuracy": [float]}
CONDITION = {"changes": dict, "methods": {name: ACCURACIES for name in ("baseline", "binaryduo", "control")}}
RUN = {"method": str, "seed": int, "test_accuracy": float}
DECOUPLED = {"float64_relative_difference": float, "float32_changed_predictions": int}
NETWORKS = {  # rows of the table of gains: network, images and training, weights, file
    "compare_seeds": ("vgg_deep", "4,000 images of Fashion-MNIST, 12 epochs", "float"),
    "methods_compared_longer": ("vgg_deep, width 8", "2,500 images, 9 epochs, rate of each method", "float"),
    "methods_compared_float": ("vgg_deep, width 8", "1,250 images, 6 epochs, rate of each method", "float"),
    "compare_vgg7": ("vgg7, width 8", "4,000 images, 12 epochs", "float"),
    "compare_mlp": ("mlp", "8,000 images, 15 epochs", "float"),
    "training_fashion": ("vgg7, width 16", "all of Fashion-MNIST, 20 epochs", "float"),
    "training_cifar10": ("vgg7", "all of CIFAR-10, 6 epochs", "float"),
    "training_cifar10_half": ("vgg7, width 32", "all of CIFAR-10, 20 epochs", "float"),
    "training_cifar10_long": ("vgg7, width 32", "all of CIFAR-10, 60 epochs", "float"),
    "methods_compared_binary": ("vgg_deep, width 8", "1,250 images, 6 epochs, rate of each method", "binary"),
    "methods_compared_binary_mlp": ("mlp, width 64", "2,000 images, 6 epochs, rate of each method", "binary"),
}


def kept(name):
    """Return a kept result in the form that `against` takes: seeds and accuracies by method."""
    path = DOCS / f"{name}.json"
    if name.startswith("methods_compared"):
        return read_study("contest", path)
    if name.startswith("training"):
        results, methods = checked(path, {"runs": [RUN]}), {}
        for run in results["runs"]:
            row = methods.setdefault(run["method"], {"seeds": [], "accuracy": []})
            row["seeds"].append(run["seed"])
            row["accuracy"].append(run["test_accuracy"])
        return results | {"methods": methods}
    results = read_study("compare", path)
    for row in results["methods"].values():
        row["seeds"] = list(range(len(row["accuracy"])))
    return results


def checked(path, shape):
    """Read a file that no command of the package reads."""
    results = read_json("findings", path)
    try:
        check_shape(results, shape, "the file")
    except ValueError as error:
        raise ValueError(f"findings: {path} has wrong contents: {error}") from None
    return results


def changed():
    """Return the accuracies under every condition of tools/coupling.py, and of those trained a second time."""
    path = DOCS / "coupling.json"
    found = checked(path, {"conditions": dict})["conditions"]
    for condition in found:
        checked(path, {"conditions": {condition: CONDITION}})
        for method, row in found[condition]["methods"].items():
            if not len(row["seeds"]) == len(row["accuracy"]) > 0:
                raise ValueError(f"findings: {path} must have an accuracy for each seed of {condition}, {method}")
    if "12 layers" not in found:
        raise ValueError(f"findings: {path} has no condition of 12 layers, which the claims name")
    again = mismatch_and_gain.read(DOCS / "coupling_mismatch.json")[1]
    return found | {f"{condition}{AGAIN}": row for condition, row in again.items()}


def gains():
    """Lay out BinaryDuo's difference to its baseline and its control in every network that was trained."""
    rows = [("network", "training", "weights", "seeds", "minus baseline", "minus control")]
    for name, words in NETWORKS.items():
        results = kept(name)
        gap = against(results, "binaryduo")
        rows.append((*words, str(gap.seeds), points(gap), points(against(results, "binaryduo", "control"))))
    return aligned(rows)


def mismatch_beside_gain():
    """Lay out the cosines of the networks under some conditions, and their differences beside BinaryDuo's lead."""
    sums, accuracies = mismatch_and_gain.read(DOCS / "coupling_mismatch.json")
    gains = {c: [points(against(accuracies[c], *pair)) for pair in PAIRS[:2]] for c in sums}
    return f"{mismatch_and_gain.networks(sums)}\n\n{mismatch_and_gain.beside(sums, gains)}"


def cosines(first, second, state="trained", step=0.1):
    """Pair the toy network's cosines of two (activation, surrogate) by seed, in its second and third layer."""
    records, found = read_study("mismatch", DOCS / "mismatch.json"), []
    for layer in ("linear2", "linear3"):
        methods = {}
        for activation, surrogate in (first, second):
            rows = rows_of(records, "toy", state=state, activation=activation, surrogate=surrogate, step=step)
            seen = {row["seed"]: row["cosine"] for row in rows if row["layer"] == layer and told_from_noise(row)}
            methods[activation, surrogate] = {"seeds": list(seen), "accuracy": list(seen.values())}
        found.append(against({"methods": methods}, first, second))
    return found


def in_both(gaps):
    """Write the differences of two layers, and how many seeds noise leaves in each."""
    return " and ".join(f"{interval(gap)}, {gap.seeds} seeds" for gap in gaps)


def truth():
    """Write the range of the measured cosines' errors in the network with closed forms, in standard errors."""
    table = mismatch_tables(read_study("mismatch", DOCS / "mismatch.json"))["truth"]
    found = sorted(float(line.split()[-1]) for line in table.splitlines()[3:])
    return f"{found[0]:.2f} to {found[-1]:.2f}"


def rivals(name):
    """Pair BinaryDuo with every other method of a contest."""
    results = kept(name)
    return [against(results, "binaryduo", other) for other in results["methods"] if other != "binaryduo"]


def place(results):
    """Write the place of BinaryDuo among the methods of a contest."""
    names = ranked(results)
    return f"{names.index('binaryduo') + 1} of {len(names)}"


def claims():
    """Lay out each claim of the paper's abstract, its measurement here, the verdict and the command."""
    eight, contest, deep = kept("compare_seeds"), kept("methods_compared_float"), changed()
    check_shape(eight, {"decoupling": [DECOUPLED]}, "docs/compare_seeds.json")
    predictions = [row["float32_changed_predictions"] for row in eight["decoupling"]]
    largest = max(row["float64_relative_difference"] for row in eight["decoupling"])
    start = next(row for row in correlations(contest) if row.state == "start")
    best, cost = against(kept("methods_compared_longer"), "hwgq-log-coupled", "binaryduo"), against(eight, "float")
    levels = cosines(("ternary", "clip"), ("binary", "clip"))
    sharp = cosines(("ternary", "clip"), ("binary", "tanh 4"))
    # With smaller rates than were tuned, the baseline and the control are no fair opponents.
    fair = [row for row in deep.values() if not {"lr", "finetune_lr"} & set(row.get("changes", ()))]
    trained = [*map(kept, NETWORKS), *fair]
    lead, coupling = (
        [gap for gap in (against(results, *pair) for results in trained) if gap.seeds > 1] for pair in PAIRS[:2]
    )
    cifar = [against(kept("training_cifar10_half"), *pair) for pair in PAIRS[:2]]
    float_rivals, binary_rivals = rivals("methods_compared_float"), rivals("methods_compared_binary")
    rows = [
        ("Binary activations cost accuracy",
         f"`vgg_deep`, {cost.seeds} seeds: the float network leads the binary baseline by {points(cost)} points",
         verdict([cost]), "`duonet compare --seeds 8`"),
        ("Gradient mismatch is the main reason",
         f"`vgg_deep`, width 8, layer `{start.layer}`, {start.methods} methods: rank correlation of cosine and "
         f"gain {start.value:.2f} ({start.low:.2f} to {start.high:.2f})",
         "holds" if start.low > 0 else "not seen", "`duonet contest`"),
        ("The gradient of the smoothed loss measures mismatch",
         f"Errors against the closed forms of a two-layer network: {truth()} standard errors (root mean square). "
         "In a deep network on real images noise hides most layers",
         "holds in part", "`duonet mismatch --full`"),
        ("More levels reduce it",
         "Toy network after training, layers 2 and 3, cosine of ternary minus binary activations: "
         f"{in_both(levels)}",
         verdict(levels), "`duonet mismatch --full`"),
        ("More levels reduce it more than other surrogates do",
         f"The same layers, ternary minus binary with the surrogate tanh 4: {in_both(sharp)}",
         verdict(sharp), "`duonet mismatch --full`"),
        ("Decoupling keeps the function",
         f"`vgg_deep`, {len(predictions)} seeds: logits differ by {largest:g} in float64; in float32 "
         f"{max(predictions)} of 5,000 predictions at most",
         "holds" if largest == 0 else "holds in part", "`duonet compare --seeds 8`"),
        ("BinaryDuo beats a binary network of equal weights and compute",
         f"`vgg_deep`, {cost.seeds} seeds: {points(against(eight, 'binaryduo'))} points; `vgg7` on CIFAR-10, "
         f"{cifar[0].seeds} seeds: {points(cifar[0])}. Fair intervals below: {counted(lead)}",
         verdict(lead), "`duonet compare --seeds 8`"),
        ("It does so because it is trained coupled",
         f"Minus the same architecture from scratch: {points(against(eight, *PAIRS[1]))} and {points(cifar[1])} "
         f"there; with twelve quantised layers {points(against(deep['12 layers'], *PAIRS[1]))}, and trained again "
         f"{points(against(deep['12 layers' + AGAIN], *PAIRS[1]))}. Fair intervals: {counted(coupling)}",
         verdict(coupling), "`python tools/coupling.py`"),
        ("BinaryDuo beats other binary networks",
         f"Float weights: place {place(contest)}, against each other method {counted(float_rivals)}; its "
         f"scheme with HWGQ's staircase leads it by {points(best)}. Binary weights: place "
         f"{place(kept('methods_compared_binary'))}, {counted(binary_rivals)}",
         verdict(float_rivals + binary_rivals), "`duonet contest`"),
        ("AlexNet and ResNet-18 on ImageNet", "nothing", "not tried", "`duonet train resnet18 FOLDER`"),
    ]  # fmt: skip
    lines = ["| Claim | Measured here | Verdict | Command |", "|---|---|---|---|"]
    return "\n".join(lines + [f"| {' | '.join(row)} |" for row in rows])


def folded(table):
    """Fold the sentences under a table, so that nobody must scroll sideways to read them."""
    return "\n".join(
        textwrap.fill(line, 100, subsequent_indent="  ") if line.endswith(".") else line
        for line in table.split("\n")
    )


def page(text):
    """Fill the place of every table, from a comment that names it to the next end mark."""
    places = {
        "claims": claims(),
        "gains": gains(),
        "conditions": conditions(changed()),
        "mismatch": mismatch_beside_gain(),
    }
    for name, table in places.items():
        block = table if name == "claims" else f"```text\n{folded(table)}\n```"
        text, count = re.subn(
            rf"(<!-- {name} -->\n).*?(<!-- end -->)", lambda m, b=block: f"{m[1]}{b}\n{m[2]}", text, flags=re.S
        )
        if count != 1:
            raise ValueError(f"findings: docs/{PAGE} must have one place <!-- {name} -->, got {count}")
    return text


def main():
    """Write picture and page, or only an error message."""
    with one_line("findings"):
        text = page((DOCS / PAGE).read_text(encoding="utf-8"))
        draw(DOCS / "coupling.png", changed())
        with replacing(DOCS / PAGE) as part:
            part.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
