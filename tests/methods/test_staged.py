"""Quantisers that begin at a time: what serves before and after, which layers learn when, and what comes back."""

import numpy as np
import pytest

from duonet import (
    Tensor,
    check_quantizer,
    data,
    decouple,
    fit,
    functional,
    load_checkpoint,
    load_model,
    nn,
    optim,
    pack,
    save_checkpoint,
)
from duonet.coupling import CannotDecouple
from duonet.methods import (
    PACT,
    BiRealWeights,
    Later,
    LearnedScaleSign,
    LQWeights,
    QILWeights,
    bi_real_stages,
    bottom_to_top,
    find,
    in_turn,
    settled,
    sign_polynomial,
)
from duonet.quant import Binary, Clip, Ternary
from duonet.tape import Node, topological_order

X = np.linspace(-2, 2, 9)[:, None]


def binary():
    return nn.QuantActivation(Binary(), Clip(0, 1))


def network(weights=None):
    rng = np.random.default_rng(0)
    quantized = weights and {"weight_quantizer": weights()}
    return nn.Sequential(
        nn.Flatten(), nn.Linear(6, 5, rng=rng), nn.BatchNorm(5), binary(), nn.Linear(5, 4, rng=rng, **(quantized or {})),
        nn.BatchNorm(4), binary(), nn.Linear(4, 3, rng=rng),
    )  # fmt: skip


def loader():
    rng = np.random.default_rng(1)
    toy = data.Dataset(rng.integers(0, 255, (12, 1, 1, 6)).astype(np.uint8), np.arange(12) % 3)
    return data.DataLoader(toy, 6, data.Normalize.of(toy.images))


@pytest.mark.parametrize("begun", [False, True])
@pytest.mark.parametrize("quantizer", [sign_polynomial(), BiRealWeights()], ids=repr)
def test_it_keeps_the_promises_of_what_serves(quantizer, begun):
    check_quantizer(Later(quantizer, 3, begun=begun))
    check_quantizer(Later(quantizer, 3, before=nn.Clip(-1, 1), begun=begun))


def test_before_its_time_it_is_the_float_layer_and_then_the_quantiser():
    later = Later(sign_polynomial(), 1.5, before=nn.Clip(-1, 1))
    for epochs, begun in ((0, 0), (1.49, 0), (1.5, 1), (7, 1)):
        assert later.before_step(epochs) == {"begun": begun}
        x = Tensor(X, requires_grad=True)
        y = later(x)
        y.backward(np.ones_like(X))
        np.testing.assert_array_equal(y.data, np.where(X >= 0, 1, -1) if begun else X.clip(-1, 1))
        np.testing.assert_array_equal(x.grad, (2 - 2 * abs(X)).clip(0) if begun else abs(X) < 1)
        np.testing.assert_array_equal(later.eval()(x).data, np.where(X >= 0, 1, -1))
        assert later.train().bits == 1


def test_below_is_frozen_in_training_alone_and_in_turn_moves_no_other_start():
    later, free = Later(sign_polynomial(), 0, cut=True, begun=True), Later(sign_polynomial(), 9)
    x = Tensor(X, requires_grad=True)
    assert not later(x).requires_grad
    later.eval()(x).sum().backward()
    np.testing.assert_array_equal(x.grad, (2 - 2 * abs(X)).clip(0))
    in_turn(nn.Sequential(free, later), 6)
    assert (free.start, later.start) == (9, 3)


def test_weights_are_projected_only_once_they_have_begun(rng):
    layer = nn.Linear(6, 2, rng=rng, weight_quantizer=Later(find("bnn-weights").make(rng), 2))
    layer.weight.data *= 9
    before = layer.weight.data.copy()
    layer.after_step()
    np.testing.assert_array_equal(layer.weight.data, before)
    layer.weight_quantizer.before_step(2)
    layer.after_step()
    assert abs(layer.weight.data).max() == 1
    later = Later(BiRealWeights(), 1)
    assert (later.two_valued, later.eval().two_valued) == (False, True)
    later.train().before_step(1)
    assert (later.scales((6, 2)), later.homogeneous, later.two_valued) == (2, True, True)


def test_a_layer_multiplies_by_float_weights_until_they_begin(rng):
    layer = nn.Linear(6, 2, rng=rng, weight_quantizer=Later(BiRealWeights(), 2))
    x = rng.normal(size=(5, 6)).astype("float32")
    binary = np.where(layer.weight.data >= 0, 1, -1) * abs(layer.weight.data).mean(0)
    np.testing.assert_allclose(layer(Tensor(x)).data, x @ layer.weight.data, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(layer.eval()(Tensor(x)).data, x @ binary, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("make", [LearnedScaleSign, QILWeights, LQWeights])
def test_what_the_quantiser_learns_starts_at_the_layers_first_weights_and_comes_back(make, tmp_path):
    late, at_once = (
        nn.Linear(6, 4, rng=np.random.default_rng(0), weight_quantizer=q) for q in (Later(make(), 2), make())
    )
    x = Tensor(np.random.default_rng(1).standard_normal((5, 6), dtype="float32"))
    save_checkpoint(tmp_path / "a.npz", late.eval())
    for layer in (late, load_model(tmp_path / "a.npz")):
        np.testing.assert_array_equal(layer(x).data, at_once.eval()(x).data)


def test_from_bottom_to_top_no_gradient_passes_a_staircase_and_what_lies_below_does_not_move():
    model = bottom_to_top(network(), epochs=3)
    assert [model[i].start for i in (3, 6)] == [1, 2]
    optimizer = optim.SGD(model.parameters(), 0.1, weight_decay=0.1)
    learning = [{1, 2, 4, 5, 7}, {4, 5, 7}, {7}]
    history = None
    for epoch, layers in enumerate(learning, 1):
        before = {path: p.data.copy() for path, p in model.named_parameters()}
        history = fit(model, loader(), optimizer, epoch, history=history, progress=False)
        moved = {int(path.split(".")[0]) for path, p in model.named_parameters() if (p.data != before[path]).any()}
        assert moved == layers
        x, labels = next(iter(loader()))
        loss = functional.softmax_cross_entropy(model.train()(Tensor(x)), labels)
        nodes = [node for node in topological_order(loss._node, "test") if isinstance(node, Node)]
        assert all(node.function.exact for node in nodes)
    assert history["begun"] == [0, 0.5, 1]


def test_bi_real_nets_stages_are_float_then_binary_activations_then_binary_weights():
    model = bi_real_stages(network(BiRealWeights), epochs=3)
    seen = []

    def look(history):
        seen.append((model[3].begun, model[6].begun, model[4].weight_quantizer.begun))

    fit(model, loader(), optim.SGD(model.parameters(), 0.05), 3, on_epoch=look, progress=False)
    assert seen == [(False, False, False), (True, True, False), (True, True, True)]
    assert repr(settled(model)) == repr(network(BiRealWeights))
    pack(model.eval(), (1, 1, 6))


def test_a_run_resumed_in_any_stage_ends_with_the_same_bits(tmp_path):
    whole = bottom_to_top(network(), epochs=3)
    fit(whole, loader(), optim.Adam(whole.parameters(), 0.05), 3, progress=False)
    model = bottom_to_top(network(), epochs=3)
    optimizer, history = optim.Adam(model.parameters(), 0.05), None
    for epochs in (1, 2, 3):
        history = fit(model, loader(), optimizer, epochs, history=history, progress=False)
        save_checkpoint(tmp_path / "a.npz", model, optimizer=optimizer, history=history)
        saved = load_checkpoint(tmp_path / "a.npz")
        assert [saved.model[i].begun for i in (3, 6)] == [epochs > 1, epochs > 2]
        model, optimizer, history = saved.model, saved.optimizer, saved.history
    for path, array in whole.state_dict().items():
        np.testing.assert_array_equal(model.state_dict()[path], array)


def test_decoupling_waits_until_the_stages_are_over(rng):
    ternary = nn.QuantActivation(Ternary(), Clip(0, 1))
    model = nn.Sequential(nn.BatchNorm(4), Later(ternary, 1, begun=True), nn.Linear(4, 2, rng=rng))
    with pytest.raises(CannotDecouple):
        decouple(model.eval())
    x = Tensor(rng.normal(size=(9, 4)).astype("float32"))
    y = model(x).data
    np.testing.assert_allclose(decouple(settled(model))(x).data, y, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("make, message", [
    (lambda: Later(nn.ReLU(), 1), "Later: quantizer must be a Quantizer, got ReLU"),
    (lambda: Later(PACT(), -1), "Later: start must be a number at least 0, got -1"),
    (lambda: Later(PACT(), 1, before="x"), "Later: before must be a Module, got str"),
    (lambda: Later(PACT(), 1, cut="no"), "Later: cut must be a bool, got str"),
    (lambda: Later(PACT(), 1, begun="no"), "Later: begun must be a bool, got str"),
    (lambda: bottom_to_top(bottom_to_top(network(), 3), 3), "bottom_to_top: the model is trained in stages already"),
    (lambda: bi_real_stages(bottom_to_top(network(), 3), 3), "bi_real_stages: the model is trained in stages already"),
    (lambda: bottom_to_top(None, 3), "bottom_to_top: model must be a Module, got NoneType"),
    (lambda: in_turn("x", 3), "in_turn: model must be a Module, got str"),
    (lambda: settled(None), "settled: model must be a Module, got NoneType"),
    (lambda: bottom_to_top(nn.Sequential(nn.ReLU()), 3), "bottom_to_top: the model has no activation that is a staircase"),
    (lambda: bottom_to_top(network(), 0), "bottom_to_top: epochs must be a number above 0, got 0"),
    (lambda: bi_real_stages(nn.ReLU(), 3), "bi_real_stages: the model has no activation that is a staircase"),
    (lambda: settled(bi_real_stages(network(), 6)), "settled: 3 begins at epoch 2, and has not begun"),
])  # fmt: skip
def test_bad_input_is_refused_in_a_sentence(make, message):
    with pytest.raises((ValueError, TypeError), match=f"^{message}"):
        make()
