"""A rate and a weight decay for each parameter: by the formulas, in few launches, saved and resumed."""

import numpy as np
import pytest

from duonet import Parameter, backend, load_checkpoint, methods, nn, optim, save_checkpoint
from duonet.flat import FlatParameters

KINDS = [
    lambda p, lr, decay, **more: optim.SGD(p, lr, 0.9, weight_decay=decay, **more),
    lambda p, lr, decay, **more: optim.Adam(p, lr, weight_decay=decay, **more),
    lambda p, lr, decay, **more: optim.AdamW(p, lr, weight_decay=decay, **more),
]
SIZES = (30, 3, 50, 1, 7)
RATES, DECAYS = (1, 0.1, 1, 0, None), (None, 0, None, 0, 0.5)


def made(device, sizes=SIZES, dtype="float32"):
    rng = np.random.default_rng(5)
    return [Parameter(backend.to_device(rng.normal(size=n).astype(dtype), device)) for n in sizes]


def steps(optimizers, parameters, device, n=3, missing=()):
    for k in range(n):
        for i, parameter in enumerate(parameters):
            g = np.random.default_rng([k, i]).normal(size=parameter.shape).astype(parameter.dtype)
            parameter.grad = None if i in missing else backend.to_device(g, device)
        for optimizer in optimizers:
            optimizer.step()


@pytest.mark.parametrize("kind", KINDS, ids=["SGD", "Adam", "AdamW"])
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
def test_each_parameter_moves_as_under_an_optimiser_of_its_own(kind, dtype, device):
    grouped, alone = made(device, dtype=dtype), made(device, dtype=dtype)
    one = kind(grouped, 0.1, 0.01, rates=RATES, decays=DECAYS)
    each = [
        kind([p], 0.1 * (1 if rate is None else rate), 0.01 if decay is None else decay)
        for p, rate, decay in zip(alone, RATES, DECAYS)
    ]
    steps([one], grouped, device, missing=(2,))
    steps([one], grouped, device)
    steps(each, alone, device, missing=(2,))
    steps(each, alone, device)
    for a, b in zip(grouped, alone):
        np.testing.assert_array_equal(a.numpy(), b.numpy())
    assert one.steps == [6, 6, 3, 6, 6] and one.lr == 0.1


@pytest.mark.parametrize("kind", KINDS, ids=["SGD", "Adam", "AdamW"])
def test_numbers_that_are_the_usual_ones_change_no_bit_and_no_layout(kind):
    plain, said = made("cpu"), made("cpu")
    a, b = kind(plain, 0.1, 0.01), kind(said, 0.1, 0.01, rates=[1] * 5, decays=[0.01] * 5)
    for optimizer, parameters in ((a, plain), (b, said)):
        steps([optimizer], parameters, "cpu")
    for p, q in zip(plain, said):
        np.testing.assert_array_equal(p.data, q.data)
    assert a.state_dict().keys() == b.state_dict().keys()
    assert a._vectors[0].parts == b._vectors[0].parts


def test_a_group_is_updated_at_once(monkeypatch):
    changed = []
    real = FlatParameters._change
    monkeypatch.setattr(FlatParameters, "_change", lambda *args: changed.append(args[-1]) or real(*args))
    parameters = made("cpu", (40, 3, 40, 3, 40, 3))
    steps([optim.SGD(parameters, 0.1, decays=[None, 0] * 3)], parameters, "cpu", 1)
    assert len(changed) == 2


def test_the_state_keeps_its_names_and_order():
    parameters = made("cpu")
    optimizer = optim.SGD(parameters, 0.1, rates=RATES, decays=DECAYS)
    steps([optimizer], parameters, "cpu", 1)
    state = optimizer.state_dict()
    assert [state[f"velocity.{i}"].size for i in range(5)] == list(SIZES)
    plain = optim.SGD(made("cpu"), 0.1)
    plain.load_state_dict(state)
    assert plain.state_dict().keys() == state.keys()


def test_a_checkpoint_brings_them_back(tmp_path, rng):
    model = nn.Sequential({"norm": nn.BatchNorm(2), "act": methods.PACT(), "last": nn.Linear(2, 2, rng=rng)})
    chosen = optim.by_path(model, rates={"*.alpha": 0.1}, decays={"norm.*": 0, "*.bias": 0, "*": 0.5})
    assert chosen == {"rates": (1, 1, 0.1, 1, 1), "decays": (0, 0, 0.5, 0.5, 0)}
    optimizer = optim.Adam(model.parameters(), 0.1, **chosen)
    steps([optimizer], model.parameters(), "cpu")
    save_checkpoint(tmp_path / "a.npz", model, optimizer=optimizer)
    saved = load_checkpoint(tmp_path / "a.npz")
    assert (saved.optimizer.rates, saved.optimizer.decays) == (optimizer.rates, optimizer.decays)
    steps([optimizer], model.parameters(), "cpu")
    steps([saved.optimizer], saved.model.parameters(), "cpu")
    for path, array in model.state_dict().items():
        np.testing.assert_array_equal(saved.model.state_dict()[path], array)


@pytest.mark.parametrize("make, message", [
    (lambda p, _: optim.SGD(p, 0.1, rates=[1]), "SGD: rates must hold a number for each of the 5 parameters, got 1"),
    (lambda p, _: optim.Adam(p, decays=0), "Adam: decays must hold a number for each of the 5 parameters, got 0"),
    (lambda p, _: optim.SGD(p, 0.1, rates=dict.fromkeys(range(5), 1)), "SGD: rates must hold .* 5 parameters, got {0: 1"),
    (lambda p, _: optim.SGD(p, 0.1, decays={0.1, 0.2, 0.3, 0.4, 0.5}), "SGD: decays must hold a number for each of"),
    (lambda _, m: optim.by_path(m, rates=0.1), "by_path: rates must be a dict, got float"),
    (lambda _, m: optim.by_path(m, decays=[("*", 0)]), "by_path: decays must be a dict, got list"),
    (lambda _, m: optim.by_path(m, decays={0: 0}), "by_path: each pattern of decays must be a str, got int"),
    (lambda p, _: optim.SGD(p, 0.1, rates=[1, 1, -1, 1, 1]), r"SGD: rates\[2\] must be a number at least 0, got -1"),
    (lambda p, _: optim.AdamW(p, decays=[np.nan] * 5), r"AdamW: decays\[0\] must be a number at least 0, got nan"),
    (lambda p, _: optim.SGD(p, 0.1, rates=["1"] * 5), r"SGD: rates\[0\] must be a number at least 0, got"),
    (lambda _, m: optim.by_path(m, rates={"*.alhpa": 1}),
     r"by_path: rates: '\*.alhpa' fits none of the parameters 0.alpha, 1.gamma, 1.beta"),
    (lambda _, m: optim.by_path(m, decays={"*": -1}), r"by_path: decays\['\*'\] must be a number at least 0, got -1"),
])  # fmt: skip
def test_bad_input_is_refused_in_a_sentence(make, message):
    parameters = made("cpu")
    arrays = [p.data for p in parameters]
    with pytest.raises((ValueError, TypeError), match=f"^{message}"):
        make(parameters, nn.Sequential(methods.PACT(), nn.BatchNorm(2)))
    assert all(p.data is a for p, a in zip(parameters, arrays)), "nothing has been taken in"
