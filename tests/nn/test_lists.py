"""What a Module holds is found, or the module says that it is not."""

import collections
import copy
import pickle

import numpy as np
import pytest

from duonet import Parameter, Tensor, checkpoint, nn, optim, summary


class Deep(nn.Module):
    def __init__(self, rng, depth=3):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(2, 2, rng=rng) for _ in range(depth))

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return x


def test_layers_in_a_module_list_are_found_everywhere(rng, tmp_path):
    model, x = Deep(rng), Tensor(np.ones((1, 2), "float32"))
    assert [path for path, _ in model.modules()] == ["", "layers", "layers.0", "layers.1", "layers.2"]
    assert len(model.parameters()) == 6 and summary(model, (2,)).total.parameters == {32: 18}
    assert [row.path for row in summary(model, (2,)).rows] == ["layers.0", "layers.1", "layers.2"]
    assert repr(model).splitlines()[1:3] == ["  layers: ModuleList()", "    0: Linear(2, 2)"]
    before = model(x).data
    optimizer = optim.SGD(model.parameters(), 0.1)
    model(x).sum().backward()
    optimizer.step()
    assert (model(x).data != before).all()
    other = Deep(rng)
    checkpoint.save_weights(tmp_path / "w.npz", model)
    checkpoint.load_weights(tmp_path / "w.npz", other)
    np.testing.assert_array_equal(other(x).data, model(x).data)
    for again in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        np.testing.assert_array_equal(again(x).data, model(x).data)
    with pytest.raises(ValueError, match=r"^layers\.0 Linear: linear: x \(1, 3\)"):
        model(Tensor(np.ones((1, 3), "float32")))


def test_a_module_list_is_a_list(rng, tmp_path):
    a, b, c = nn.ReLU(), nn.Flatten(), nn.BatchNorm(2)
    layers = nn.ModuleList([a])
    layers.append(b)
    layers.append(c)
    assert len(layers) == 3 and list(layers) == [a, b, c] and layers[-1] is c
    assert list(layers[1:]) == [b, c] and type(layers[1:]) is nn.ModuleList
    assert len(nn.ModuleList()) == 0
    checkpoint.save_checkpoint(tmp_path / "a.npz", layers)
    assert repr(checkpoint.load_model(tmp_path / "a.npz")) == repr(layers)
    with pytest.raises(TypeError, match="ModuleList: 1 must be a Module, got Parameter"):
        nn.ModuleList([a, Parameter([1.0])])
    with pytest.raises(TypeError, match="ModuleList: expected a list of Modules, got ReLU"):
        nn.ModuleList(a)
    with pytest.raises(TypeError, match="ModuleList: 3 must be a Module, got str"):
        layers.append("relu")
    with pytest.raises(NotImplementedError, match="ModuleList defines no forward"):
        layers(Tensor([1.0]))


@pytest.mark.parametrize(
    "held, kind, what",
    [
        (lambda: [nn.ReLU()], "list", "ReLU"),
        (lambda: (nn.ReLU(), nn.ReLU()), "tuple", "ReLU"),
        (lambda: {"a": nn.ReLU()}, "dict", "ReLU"),
        (lambda: {nn.ReLU()}, "set", "ReLU"),
        (lambda: collections.deque([nn.ReLU()]), "deque", "ReLU"),
        (lambda: [[1, ("name", nn.ReLU())]], "list", "ReLU"),
        (lambda: [Parameter([1.0])], "list", "Parameter"),
        (lambda: {"mean": Tensor([1.0])}, "dict", "Tensor"),
    ],
)
def test_layers_and_tensors_in_other_containers_are_refused_at_once(held, kind, what):
    model = nn.Sequential(nn.Flatten())
    with pytest.raises(TypeError, match=f"Sequential: more, of type {kind}, holds a {what} that .* nn.ModuleList"):
        model.more = held()
    assert "more" not in vars(model)


def test_a_list_that_is_filled_later_is_refused_when_it_is_walked(rng):
    class Late(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = []
            self.layers.append(nn.ReLU())

    for use in (nn.Module.parameters, nn.Module.state_dict, nn.Module.eval, nn.Module.zero_grad):
        with pytest.raises(TypeError, match="Late: layers, of type list, holds a ReLU"):
            use(nn.Sequential(Late()))


def test_numbers_names_and_endless_lists_are_no_matter(rng):
    model = nn.Sequential(nn.Linear(2, 2, rng=rng))
    model.sizes, model.names = (1, 2), {"a": "b"}
    model.endless = endless = []
    endless.append(endless)
    assert len(model.parameters()) == 2


def test_layers_and_parameters_of_the_class_are_refused():
    with pytest.raises(TypeError, match="Shared: w belongs to the class; set it in __init__, as self.w"):

        class Shared(nn.Module):
            w = Parameter([1.0])

    with pytest.raises(TypeError, match="Shared: layers belongs to the class"):

        class Shared(nn.Module):  # noqa: F811
            layers = (nn.ReLU(),)


class Forgot(nn.Module):
    def __init__(self, early=None):
        if early is not None:
            self.layer = early

    def forward(self, x):
        return x


def test_a_forgotten_init_is_said_in_words():
    words = r"^Forgot: its __init__ must call super\(\).__init__\(\) "
    for use in (
        lambda model: model(Tensor([1.0])),
        lambda model: model.training,
        lambda model: nn.Sequential(model)(Tensor([1.0])),
        lambda model: nn.observe(model).__enter__(),
    ):
        with pytest.raises(AttributeError, match=words + "first"):
            use(Forgot())
    for early in (nn.ReLU(), Parameter([1.0]), Tensor([1.0])):
        with pytest.raises(AttributeError, match=words + "before self.layer is set"):
            Forgot(early)
    with pytest.raises(AttributeError, match="^ReLU has no attribute 'weight'$"):
        nn.ReLU().weight  # noqa: B018


def test_plain_settings_may_come_before_the_init():
    class Early(nn.Module):
        def __init__(self):
            self.width = 3
            super().__init__()

        def forward(self, x):
            return x * self.width

    assert Early()(Tensor([1.0])).item() == 3


def test_an_array_does_not_take_the_place_of_a_parameter_or_buffer(rng):
    """It would be neither trained nor saved, and nobody would know."""
    layer = nn.Linear(2, 2, rng=rng)
    for name, value in (("weight", np.ones((2, 2), "float32")), ("bias", 0), ("bias", [0.0, 0.0])):
        with pytest.raises(
            TypeError, match=f"Linear: {name} must stay a Parameter, got .*, which would be neither"
        ):
            setattr(layer, name, value)
    assert len(layer.parameters()) == 2
    layer.weight, layer.bias = Parameter(np.ones((2, 2))), None
    assert len(layer.parameters()) == 1
    with pytest.raises(TypeError, match="BatchNorm: running_mean must stay a Tensor, got ndarray"):
        nn.BatchNorm(2).running_mean = np.ones(2)


def test_a_layer_that_does_not_say_how_it_is_drawn_is_refused_before_any_is_drawn(rng):
    class Scale(nn.Module):
        def __init__(self):
            super().__init__()
            self.factor = Parameter([1.0])

    model = nn.Sequential(nn.Linear(2, 2, rng=rng), nn.Residual(Scale()))
    before = model[0].weight.numpy().copy()
    for module in (model, Scale()):
        with pytest.raises(TypeError, match="Scale: it has Parameters, but no reset_parameters"):
            module.reset_parameters(rng)
    np.testing.assert_array_equal(model[0].weight.numpy(), before)

    class Drawn(Scale):
        def reset_parameters(self, rng):
            super().reset_parameters(rng)
            self.factor.data = rng.random(1, np.float32)

    nn.Sequential(Drawn()).reset_parameters(rng)
