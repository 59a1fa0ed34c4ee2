"""What the README shows is what the code prints."""

import contextlib
import functools
import io
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from duonet.experiments import compare_table, mismatch_tables, verdict
from duonet.experiments.records import rows_of, spread, told_from_noise
from duonet.experiments.study_tables import cell
from duonet.experiments.toy import ACTIVATIONS

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGE = (ROOT / "docs" / "compare.md").read_text(encoding="utf-8")
MISMATCH = (ROOT / "docs" / "mismatch.md").read_text(encoding="utf-8")


@functools.cache
def kept(name):
    return json.loads((ROOT / "docs" / f"{name}.json").read_text())


def flowed(text):
    """The text without its line breaks."""
    return " ".join(text.split())


def test_the_example_prints_what_it_says():
    program, printed = re.search(r"```python\n(.*?)```\n\n```text\n(.*?)```", README, re.S).groups()
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(program, {})
    assert out.getvalue() == printed
    assert len([line for line in program.splitlines() if line.strip()]) <= 15


@pytest.mark.parametrize(
    "name, pages",
    [
        ("compare", (README, PAGE)),
        ("compare_seeds", (PAGE,)),
        ("compare_vgg7", (PAGE,)),
        ("compare_mlp", (PAGE,)),
        ("compare_three", (PAGE,)),
    ],
)
def test_the_tables_are_those_of_the_kept_results(name, pages):
    results = kept(name)
    assert results["complete"] and results["settings"]["seeds"] >= 3
    for page in pages:
        assert compare_table(results) in page


def test_the_sentences_under_the_table_are_those_that_compare_prints():
    results = kept("compare")
    assert f"{compare_table(results)}\n\n{verdict(results)}\n```" in README


def test_the_first_lines_begin_a_course_and_the_picture_is_the_packages():
    lines = re.search(r"```sh\n(git clone .*?)```", README, re.S).group(1).splitlines()
    assert lines == [
        "git clone https://github.com/duonet/duonet && cd duonet", "python3 -m venv venv && . venv/bin/activate",
        "pip install -r requirements.txt", "jupyter lab tutorials",
    ]  # fmt: skip
    assert "\n".join(lines) in (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    sys.path.insert(0, str(ROOT / "tools"))
    import make_picture

    assert make_picture.FILE.read_text(encoding="utf-8") == make_picture.picture()


def test_the_leads_in_the_text_are_those_of_the_table():
    means = {method: 100 * row["mean"] for method, row in kept("compare")["methods"].items()}
    lead = {method: f"{means['binaryduo'] - mean:.1f}" for method, mean in means.items()}
    assert f"ahead of the binary baseline by {lead['baseline']} points" in flowed(README)
    assert f"architecture trained from scratch is {lead['control']}, which is nothing" in flowed(README)
    least = min(lead["restarted"], lead["control_restarted"], key=float)
    assert f"with the same restart in the middle by {least} or more" in flowed(README)
    assert (
        f"leads the binary baseline by {lead['baseline']} points, the control by {lead['control']}, "
        f"the restarted control by {lead['control_restarted']}."
    ) in flowed(PAGE)
    cost = f"{means['control'] - means['control_restarted']:.1f}"
    assert f"second start cost the network from scratch {cost} points" in flowed(PAGE)


def test_what_is_said_of_eight_seeds_is_that_of_the_differences_seed_by_seed():
    methods = {method: 100 * np.array(row["accuracy"]) for method, row in kept("compare_seeds")["methods"].items()}
    first = {method: 100 * np.array(row["accuracy"]) for method, row in kept("compare")["methods"].items()}
    said = []
    for rival in ("baseline", "control"):
        assert (methods[rival][:3] == first[rival]).all(), "the first three seeds are those of the first table"
        gain = methods["binaryduo"] - methods[rival]
        assert len(gain) == 8
        error = gain.std(ddof=1) / np.sqrt(8)
        reach = 2.365 * error  # Student's t of 7 degrees of freedom, 97.5 %
        mean, error, low, high = (
            f"{v:.1f}".replace("-", "−") for v in (gain.mean(), error, gain.mean() - reach, gain.mean() + reach)
        )
        said.append(f"{mean} ± {error}")
        assert said[-1] in flowed(PAGE)
        assert f"{low} to {high}; ahead in {(gain > 0).sum()} of 8" in flowed(PAGE)
    assert f"Eight seeds say the same: {said[0]} and {said[1]} (standard errors)" in flowed(README)


def test_what_is_said_of_three_copies_is_that_of_the_differences_seed_by_seed():
    def gain(methods, one, other):
        values = 100 * (np.array(methods[one]["accuracy"]) - np.array(methods[other]["accuracy"]))
        return f"{values.mean():.1f} ± {values.std(ddof=1) / np.sqrt(len(values)):.1f}".replace("-", "−")

    three, short = (kept(name)["methods"] for name in ("compare_three", "methods_compared_float"))
    text = flowed(PAGE).split("## Two copies or three?")[1]
    assert f"three copies minus two makes {gain(three, 'binaryduo3', 'binaryduo')} points" in text
    assert f"from scratch {gain(three, 'binaryduo3', 'control3')}: three copies gain nothing" in text
    assert f"minus two makes {gain(short, 'binaryduo3', 'binaryduo')}." in text
    assert all(row["float32_changed_predictions"] == 0 for row in kept("compare_three")["decoupling"])


def test_decoupling_changed_nothing_in_the_kept_runs():
    for name in ("compare", "compare_seeds", "compare_vgg7", "compare_mlp"):
        for row in kept(name)["decoupling"]:
            assert row["float32_changed_predictions"] <= 1 and row["float64_relative_difference"] == 0


def toy(state, layer, activation="binary", surrogate="clip", step=0.1, column="cosine"):
    """Mean over seeds, as the mismatch page rounds it."""
    where = {
        "state": state,
        "layer": f"linear{layer}",
        "activation": activation,
        "surrogate": surrogate,
        "step": step,
    }
    rows = rows_of(kept("mismatch"), "toy", **where)
    assert len(rows) >= 5
    value = spread(rows)[0] if column == "cosine" else sum(row[column] for row in rows) / len(rows)
    return f"{100 * value:.0f} %" if "noise" in column else f"{value:.2f}"


def test_the_mismatch_tables_are_those_of_the_kept_results():
    results = kept("mismatch")
    assert results["complete"]
    for name, text in mismatch_tables(results).items():
        assert text in MISMATCH, name


def test_the_mismatch_pages_numbers_are_those_of_the_kept_results():
    start, trained = "start", "trained"
    phrases = [
        f"noise is {toy(start, 1, step=0.01, column='noise')} of |g|² in the first layer",
        f"binary network and {toy(start, 3, step=0.01, column='noise')} in the third",
        f"({toy(start, 2, 'ternary')} in the second and third layer",
        f"is not ({toy(start, 2)} and {toy(start, 3)}).",
        f"{toy(trained, 2, 'ternary')} and {toy(trained, 3, 'ternary')} against {toy(trained, 2)} and {toy(trained, 3)}.",
        f"({toy(start, 2, 'sign')} and {toy(start, 3, 'sign')}).",
        f"from {toy(start, 2)} to {toy(start, 2, surrogate='tanh 4')} and from {toy(start, 3)} to "
        f"{toy(start, 3, surrogate='tanh 4')} in the second",
        f"from {toy(trained, 2)} to {toy(trained, 2, surrogate='tanh 4')} and from {toy(trained, 3)} to "
        f"{toy(trained, 3, surrogate='tanh 4')} in training",
        f"noise is {toy(start, 1, column='coarse_noise')} of the coarse gradient's squared norm with the clip, "
        f"{toy(start, 1, surrogate='tanh 4', column='coarse_noise')} with tanh 4 and "
        f"{toy(start, 1, surrogate='tanh 8', column='coarse_noise')} with tanh 8",
        f"binary has {', '.join(toy(start, k) for k in (1, 2, 3))} from the first",
        f"reads {', '.join(toy(start, k, column='raw') for k in (1, 2, 3))}, which",
        f"({toy(trained, 2)} against {toy(trained, 3)} for binary)",
        f"({toy(trained, 1, step=0.3)} at ε = 0.3",
        f"the float network has a cosine of {toy(trained, 3, 'float', step=0.5)} in its third layer",
        f"coarse gradient is {toy(start, 1, surrogate='tanh 8', column='coarse_noise')} noise against "
        f"{toy(start, 1, 'ternary', column='coarse_noise')}.",
    ]
    for phrase in phrases:
        assert phrase in flowed(MISMATCH), phrase
    assert toy(start, 3, "ternary") == toy(start, 2, "ternary")
    for activation in ACTIVATIONS:
        for layer in (1, 2, 3):
            means = [float(toy(start, layer, activation, step=step)) for step in (0.03, 0.1, 0.3, 0.5)]
            assert np.nanmax(means) - np.nanmin(means) < 0.055, "no mean in the table moves by more than 0.05"
    runs = {
        (row["estimator"], round(row["step"], 3), row["losses"]): []
        for row in rows_of(kept("mismatch"), "evolution")
    }
    for row in rows_of(kept("mismatch"), "evolution"):
        runs[row["estimator"], round(row["step"], 3), row["losses"]].append(row["noise"])
    noise = {key: f"{100 * sum(values) / len(values):.0f} %" for key, values in runs.items()}
    phrases = [
        f"{noise['gaussian', 0.1, 512]} and {noise['gaussian', 0.003, 2048]} against {noise['coordinate', 0.1, 2048]}.",
        f"{noise['gaussian', 0.1, 2048]} with Gaussian and {noise['orthogonal', 0.1, 2048]} with orthogonal directions",
    ]
    for phrase in phrases:
        assert phrase in flowed(MISMATCH), phrase


def test_the_readme_shows_the_kept_cosines():
    results = kept("mismatch")
    shown = [line.split() for line in README.splitlines()]
    for name in ("float", "2 bits", "ternary", "binary", "binary, tanh 4"):
        activation, surrogate = (name.split(", ") + ["clip"])[:2]
        cells = [
            cell(
                rows_of(
                    results, "toy", activation=activation, surrogate=surrogate, state=state, step=0.1, layer=layer
                )
            )
            for state in ("start", "trained")
            for layer in ("linear1", "linear2", "linear3")
        ]
        assert [*name.split(), *" ".join(cells).split()] in shown, (name, cells)


def test_it_is_short_and_its_links_lead_somewhere():
    assert README.count("\n") <= 168
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target
    assert "pip install -r requirements.txt && duonet compare" in README
    assert "pip install -r requirements.txt && pytest -n logical" in README


def test_the_mismatch_pages_words_on_the_real_network_are_those_of_the_kept_results():
    results = kept("mismatch")

    def raw(network, state, layer):
        where = {"network": network, "state": state, "layer": layer, "step": 0.1}
        return np.array([row["raw"] for row in rows_of(results, "network", **where)])

    assert len(raw("baseline", "start", "conv9")) == 5
    for state, layers in (("start", ("conv5", "conv7", "conv9")), ("trained", ("conv9",))):
        for layer in layers:  # "in all five seeds"
            assert (raw("coupled", state, layer) > raw("baseline", state, layer)).all()
    means = {
        n: f"{raw(n, 'trained', 'conv9').mean():.2f}" for n in ("baseline", "coupled", "decoupled", "BinaryDuo")
    }
    assert f"({means['coupled']} against {means['baseline']})" in flowed(MISMATCH)
    assert f"({means['decoupled']} and {means['BinaryDuo']})" in flowed(MISMATCH)
    for row in rows_of(results, "network", network="coupled", state="start", layer="conv8"):
        assert not told_from_noise(row) or row["cosine"] > 0.9
