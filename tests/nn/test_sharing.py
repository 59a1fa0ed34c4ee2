"""A layer in two places, a parameter in two layers, a child that knows its parent: all of it is met once."""

import numpy as np
import pytest

from duonet import Parameter, Tensor, fold_batch_norm, nn, no_grad, optim, summary
from duonet.quant import Binary, Clip, LayerScaleSign


class Parent(nn.Module):
    """Two layers with one weight, and a child that refers back."""

    def __init__(self, rng):
        super().__init__()
        self.first = nn.Linear(3, 3, rng=rng)
        self.second = nn.Linear(3, 3, rng=rng)
        self.second.weight = self.first.weight
        self.first.parent = self

    def forward(self, x):
        return self.second(self.first(x))


@pytest.fixture
def twice(rng):
    layer = nn.Linear(4, 4, rng=rng)
    return nn.Sequential(layer, nn.ReLU(), layer)


@pytest.fixture
def cyclic(rng):
    return Parent(rng)


def x(width=4):
    return Tensor(np.ones((2, width), "float32"))


def test_every_module_and_tensor_comes_once(twice, cyclic):
    assert [path for path, _ in twice.modules()] == ["", "0", "1"]
    assert [path for path, _ in twice.named_parameters()] == ["0.weight", "0.bias"]
    assert [path for path, _ in cyclic.modules()] == ["", "first", "second"]
    assert len(cyclic.parameters()) == 3
    assert [name for name, _ in twice.children()] == ["0", "1", "2"], "forward runs all of them"


def test_every_path_is_there_for_those_who_ask(twice, cyclic):
    assert [path for path, _ in twice.modules(every_path=True)] == ["", "0", "1", "2"]
    assert [path for path, _ in cyclic.modules(every_path=True)] == ["", "first", "second"]
    paths = [path for path, _ in cyclic.named_parameters(every_path=True)]
    assert paths == ["first.weight", "first.bias", "second.weight", "second.bias"]


def test_a_shared_buffer_is_one(rng):
    a, b = nn.BatchNorm(2), nn.BatchNorm(2)
    b.running_mean = a.running_mean
    model = nn.Sequential(a, b)
    assert [path for path, _ in model.named_buffers()] == ["0.running_mean", "0.running_var", "1.running_var"]
    assert len(dict(model.named_buffers(every_path=True))) == 4
    model.astype("float64")
    assert b.running_mean is a.running_mean and a.running_mean.dtype == np.float64


def test_parameters_are_counted_once_and_multiplications_every_time(twice, cyclic):
    counted = summary(twice, (4,))
    assert counted.total.parameters == {32: 20} and counted.total.macs == {32: 32}
    assert counted.total.weights == {32: 16} and counted.total.bytes_unpacked == counted.total.bytes_packed == 80
    assert [(row.path, row.macs, row.parameters) for row in counted.rows] == [
        ("0", {32: 16}, {32: 20}), ("1", {}, {}), ("0", {32: 16}, {}),
    ]  # fmt: skip
    assert str(counted).count("20") >= 2
    counted = summary(cyclic, (3,))
    assert counted.total.parameters == {32: 9 + 3 + 3} and counted.total.macs == {32: 18}
    assert counted.rows[1].bytes_packed == 12
    assert summary(twice, (4,)).weights == 16 and (counted.weights, counted.parameters) == (9, 15)


def test_a_binary_layer_that_runs_twice_is_packed_once(rng):
    layer = nn.Linear(8, 8, rng=rng, bias=False, weight_quantizer=LayerScaleSign())
    act = nn.QuantActivation(Binary(), Clip(0, 1))
    counted = summary(nn.Sequential(layer, act, layer), (8,))
    assert counted.total.parameters == {1: 64} and counted.total.bytes_packed == 64 // 8 + 4
    assert counted.total.macs == {32: 64, 1: 64} and counted.mbit == 64e-6


def test_every_path_is_saved_and_what_was_saved_loads(twice, cyclic, rng):
    state = twice.state_dict()
    assert list(state) == ["0.weight", "0.bias", "2.weight", "2.bias"]
    other = nn.Linear(4, 4, rng=rng)
    again = nn.Sequential(other, nn.ReLU(), other)
    again.load_state_dict(state)
    np.testing.assert_array_equal(again(x()).data, twice(x()).data)
    apart = nn.Sequential(nn.Linear(4, 4, rng=rng), nn.ReLU(), nn.Linear(4, 4, rng=rng))
    apart.load_state_dict(state)
    np.testing.assert_array_equal(apart(x()).data, twice(x()).data)
    cyclic.load_state_dict(cyclic.state_dict())
    assert cyclic.second.weight is cyclic.first.weight


def test_two_arrays_for_one_tensor_are_refused(twice):
    state = twice.state_dict()
    before = state["0.bias"].copy()
    state["2.bias"] += 1
    with pytest.raises(
        ValueError, match=r"Sequential: 0\.bias and 2\.bias are one tensor, but their arrays differ"
    ):
        twice.load_state_dict(state)
    np.testing.assert_array_equal(twice[0].bias.data, before)


def test_a_layer_is_drawn_once(twice, cyclic):
    layer = nn.Linear(4, 4, rng=np.random.default_rng(5))
    twice.reset_parameters(np.random.default_rng(5))
    np.testing.assert_array_equal(twice[0].weight.data, layer.weight.data)
    cyclic.reset_parameters(np.random.default_rng(5))  # and ends


def test_conversion_modes_and_gradients_of_shared_layers(twice, cyclic):
    for model, width in ((twice, 4), (cyclic, 3)):
        with no_grad():
            expected = model(x(width)).data
        model.astype("float64").to("cpu")
        y = model(Tensor(np.ones((2, width))))
        np.testing.assert_allclose(y.data, expected, rtol=1e-5)
        y.sum().backward()
        assert all(p.grad is not None for p in model.parameters())
        model.zero_grad()
        assert all(p.grad is None for p in model.parameters())
        assert not any(m.training for _, m in model.eval().modules())
        assert all(not m._observers for _, m in model.modules())


def test_integer_buffers_stay_integers():
    class Counts(nn.Module):
        def __init__(self):
            super().__init__()
            self.seen = Tensor(np.array([2**24 + 1]))

    counts = Counts().astype("float16")
    assert counts.seen.data.tolist() == [2**24 + 1]


def test_an_optimiser_moves_shared_weights_once(twice, rng):
    apart = nn.Linear(4, 4, rng=rng)
    apart.load_state_dict(twice[0].state_dict())
    optimizer = optim.SGD(twice.parameters(), 0.1)
    assert len(optimizer.parameters) == 2
    for model in (twice, nn.Sequential(apart, nn.ReLU(), apart)):
        model.zero_grad()
        model(x()).sum().backward()
    expected = apart.weight.data - np.float32(0.1) * apart.weight.grad
    optimizer.step()
    np.testing.assert_allclose(twice[2].weight.data, expected, rtol=1e-6)
    with pytest.raises(ValueError, match="SGD: parameters 0 and 2 are one Parameter; list it once"):
        optim.SGD([*twice[0].parameters(), *twice[2].parameters()], 0.1)


def test_a_layer_that_runs_twice_is_watched_once_a_run(twice):
    from duonet.watching import watch

    seen = []
    with watch(twice, lambda path, module, inputs, output: seen.append(path)):
        twice(x())
    assert seen == ["0", "1", "0", ""]
    with nn.observe(twice) as records:
        y = twice(x())
        y.sum().backward()
    assert list(records) == ["0", "1", ""]
    np.testing.assert_array_equal(records["0"].output, y.data)
    np.testing.assert_array_equal(records["0"].gradient, np.ones((2, 4)))


def test_the_tree_ends_when_it_is_printed(twice, cyclic):
    assert repr(twice).splitlines() == [
        "Sequential()", "  0: Linear(4, 4)", "  1: ReLU()", "  2: Linear, the same as 0",
    ]  # fmt: skip
    assert repr(cyclic).splitlines() == [
        "Parent()", "  first: Linear(3, 3)", "    parent: Parent, the same as the whole", "  second: Linear(3, 3)",
    ]  # fmt: skip


def test_an_error_names_both_places_that_it_may_have_come_from(rng):
    layer = nn.Linear(4, 3, rng=rng)
    with pytest.raises(ValueError, match=r"^0 or 1 Linear: linear: x \(2, 3\) does not fit"):
        nn.Sequential(layer, layer)(x())


def test_folding_a_layer_of_two_places(rng):
    norm = nn.BatchNorm(4)
    norm.beta.data[:] = 0.5
    act = nn.QuantActivation(Binary(), Clip(0, 1))
    layer = nn.Linear(4, 4, rng=rng)
    model = nn.Sequential(layer, norm, act, layer, norm, act).eval()
    inputs = Tensor(rng.standard_normal((50, 4), dtype="float32"))
    np.testing.assert_array_equal(fold_batch_norm(model)(inputs).data, model(inputs).data)


def test_a_parameter_with_two_names_in_one_layer_is_one():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = self.b = Parameter([1.0])

        def forward(self, x):
            return x * self.a + self.b

    model = Two()
    assert len(model.parameters()) == 1 and list(model.state_dict()) == ["a", "b"]
    assert summary(model, (1,)).total.parameters == {32: 1}


def test_a_layer_that_is_not_called_is_counted_all_the_same(rng):
    class Tied(nn.Module):
        """An autoencoder whose decoder reads the encoder's weight, and a layer that nobody reads."""

        def __init__(self):
            super().__init__()
            self.encoder, self.spare = nn.Linear(4, 2, rng=rng), nn.Linear(3, 3, rng=rng)

        def forward(self, x):
            return self.encoder(x) @ self.encoder.weight.transpose()

    counted = summary(Tied(), (4,))
    assert counted.total.parameters == {32: 8 + 2 + 12} and counted.total.macs == {32: 8}
    assert [(row.path, row.output_shape, row.macs) for row in counted.rows] == [
        ("encoder", (2,), {32: 8}), ("spare", (), {}),
    ]  # fmt: skip
    assert "spare" in str(counted)
