"""Every method on the shelf keeps its promises, trains, and comes back; the table is made of what they are."""

import json
from pathlib import Path

import numpy as np
import pytest

from duonet import (
    Tensor,
    check_quantizer,
    fold_batch_norm,
    fuse,
    load_model,
    methods,
    no_grad,
    optim,
    quant,
    save_checkpoint,
    summary,
)
from duonet import functional as F
from duonet.cli import main
from duonet.experiments.shelf import shelf_rows, shelf_table, small_network
from duonet.viz.canvas import blank

DOCS = Path(__file__).parents[2] / "docs"
NAMES = [entry.name for entry in methods.entries()]


def made(name):
    return methods.find(name).make(np.random.default_rng(0))


@pytest.mark.parametrize("name", NAMES)
def test_it_keeps_its_promises(name, device):
    check_quantizer(made(name))


@pytest.mark.parametrize("name", NAMES)
def test_it_trains_in_a_small_network_and_comes_back_from_a_checkpoint(name, tmp_path):
    rng = np.random.default_rng(0)
    model = small_network(methods.find(name), rng)
    x = rng.standard_normal((64, 6), dtype="float32")
    y = x[:, :3].argmax(1)
    optimizer = optim.Adam(model.parameters(), 0.01)
    losses = []
    before = {path: p.data.copy() for path, p in model.named_parameters()}
    for _ in range(30):
        optimizer.zero_grad()
        loss = F.softmax_cross_entropy(model(Tensor(x)), y)
        losses.append(float(loss.data))
        loss.backward()
        optimizer.step()
    assert np.mean(losses[-5:]) < 0.95 * losses[0]
    assert all((p.data != before[path]).any() for path, p in model.named_parameters())
    save_checkpoint(tmp_path / "a.npz", model.eval(), optimizer=optimizer)
    twin = load_model(tmp_path / "a.npz")
    assert repr(twin) == repr(model)
    with no_grad():
        np.testing.assert_array_equal(twin(Tensor(x)).data, model(Tensor(x)).data)


@pytest.mark.parametrize("name", NAMES)
def test_it_is_folded_fused_counted_and_halved_in_precision(name, rng):
    entry = methods.find(name)
    model = small_network(entry, rng)
    x = rng.standard_normal((40, 6), dtype="float32")
    model(Tensor(x))  # batch norm has seen a batch
    with no_grad():
        y = model.eval()(Tensor(x)).data
        for changed in (fold_batch_norm(model), fuse(model)):
            np.testing.assert_array_equal(changed(Tensor(x)).data, y)
        counted = summary(model, (6,))
        assert (counted.activation_bits if entry.kind == "activations" else counted.weight_bits) == made(name).bits
        assert np.isfinite(model.astype("float16")(Tensor(x.astype("float16"))).data).all()


@pytest.mark.parametrize("name", NAMES)
def test_what_it_learns_can_start_again(name):
    one, other = made(name), made(name)
    for parameter in one.parameters():
        parameter.data[...] += 1
    if one.parameters():
        one.reset_parameters(np.random.default_rng(0))
    for a, b in zip(one.parameters(), other.parameters()):
        np.testing.assert_array_equal(a.data, b.data)


@pytest.mark.parametrize("name", NAMES)
def test_an_infinite_input_leaves_no_nan_in_what_is_learned(name):
    quantizer = made(name)
    if methods.find(name).kind == "weights" or quantizer.in_training:
        return  # those follow the size of their input, and an infinite one has none
    x = Tensor(np.array([[-np.inf], [0.3], [np.inf]], "float32"), requires_grad=True)
    with np.errstate(invalid="ignore"):
        quantizer(x).sum().backward()
    assert np.isfinite(x.grad[1]) and not any(np.isnan(p.grad).any() for p in quantizer.parameters())


def test_none_of_the_room_is_left_out():
    kinds = [getattr(methods, name) for name in methods.__all__]
    quantizers = {k for k in kinds if isinstance(k, type) and issubclass(k, quant.Quantizer)}
    assert quantizers - {methods.LearnedRange} <= {type(made(name)) for name in NAMES}


def test_a_name_is_taken_once_and_an_unknown_one_suggests_the_nearest(capsys):
    assert methods.find("Pact").maker is methods.PACT
    assert main(["methods", "pcat"]) == 2
    assert "duonet: methods: name must be one of " in (said := capsys.readouterr().err)
    assert said.endswith("got 'pcat'; did you mean 'pact'?\n")
    with pytest.raises(ValueError, match="listed: name must be new and in lower case, got 'pact'"):
        methods.listed(12, "pact", "activations", "x")
    with pytest.raises(
        ValueError,
        match="listed: kind must be one of activations, weights, gradients, penalties, pre-activations, got 'errors'",
    ):
        methods.listed(12, "pact-errors", "errors", "x")
    with pytest.raises(ValueError, match="methods: name must be one of .*, got 3"):
        methods.find(3)


def test_the_command_prints_the_table_and_the_page_of_one_method(capsys):
    assert main(["methods"]) == 0
    assert capsys.readouterr().out == shelf_table(shelf_rows()) + "\n"
    assert main(["methods", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == shelf_rows()
    assert main(["methods", "pact"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(shelf_table(shelf_rows([methods.find("pact")])))
    assert "\npact: Choi et al." in out and "clipped at a learned α" in out


def test_the_docs_hold_the_table_of_the_code():
    page = (DOCS / "methods.md").read_text(encoding="utf-8")
    assert f"```text\n{shelf_table(shelf_rows())}\n```" in page


def test_the_figure_has_a_panel_for_each_method(tmp_path, capsys, monkeypatch):
    from duonet.experiments.figures import shelf

    figures = []
    monkeypatch.setattr(shelf, "blank", lambda *size: figures.append(blank(*size)) or figures[0])
    names = ["pact", "abc-activations", "hwgq", "sawb", "dsq-activations", "qil-weights", "lq-activations"]
    assert main(["methods", *names, "--draw", str(tmp_path / "a.png")]) == 0
    assert (tmp_path / "a.png").read_bytes()[:4] == b"\x89PNG"
    axes = figures[0].axes
    titles = [a.get_title() for a in axes if a.get_title()]
    assert sorted(titles) == sorted(f"[{e.reference}] {e.name}" for e in map(methods.find, names))
    curves = {a.get_title(): a.get_lines() for a in axes}
    assert len(curves["[12] pact"]) == 2 and len(curves["[28] abc-activations"]) == 1, "that has no surrogate"
    capsys.readouterr()
    assert main(["methods", "pact", "--draw", str(tmp_path / "a.nosuch")]) == 2
    assert capsys.readouterr().err == (
        f"duonet: methods: --draw must end in .png, .pdf, .svg or the like, got {tmp_path / 'a.nosuch'}\n"
    )
    assert (
        main(["methods", "pact", "--draw", str(tmp_path / "a.PNG")]) == 0 and (tmp_path / "a.PNG").unlink() is None
    )
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]


VARIANTS = [
    *(methods.PACT(bits) for bits in (1, 3, 4)),
    *(methods.QIL(bits) for bits in (1, 3)),
    *(methods.QILWeights(bits, power=0.7) for bits in (3, 4)),
    *(methods.LearnedDSQ(bits, -1, 1, 0.4) for bits in (1, 3)),
    *(methods.HWGQ(bits, slope) for bits, slope in ((1, "vanilla"), (3, "clipped"), (4, "log-tailed"))),
    methods.HWGQ(2, free=True),
    *(methods.ABCNet(bases) for bases in (1, 3, 5)),
    *(methods.LQNets(bits) for bits in (1, 3)),
    methods.dsq_fixed(3, 0.1),
]


@pytest.mark.parametrize("quantizer", VARIANTS, ids=repr)
def test_other_bits_keep_their_promises_as_well(quantizer):
    check_quantizer(quantizer)
