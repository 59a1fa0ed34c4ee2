import numpy as np
import pytest

from duonet import Parameter, Tensor, backend, check_gradients, nn
from duonet import functional as F
from duonet.quant import Binary, Clip, FilterScaleSign, LayerScaleSign, Ternary


def small(rng):
    return nn.Sequential(
        {
            "features": nn.Sequential(
                nn.Conv2d(2, 3, 3, rng=rng, padding=1, bias=False),
                nn.BatchNorm(3),
                nn.QuantActivation(Ternary(), Clip(0, 1)),
                nn.MaxPool2d(2),
            ),
            "flatten": nn.Flatten(),
            "classifier": nn.Linear(12, 5, rng=rng),
        }
    )


def images(rng, n=4):
    return Tensor(rng.standard_normal((n, 4, 4, 2), dtype="float32"))


def test_paths_of_parameters_and_buffers(rng):
    model = small(rng)
    assert [path for path, _ in model.named_parameters()] == [
        "features.0.weight", "features.1.gamma", "features.1.beta", "classifier.weight", "classifier.bias",
    ]  # fmt: skip
    assert [path for path, _ in model.named_buffers()] == ["features.1.running_mean", "features.1.running_var"]
    assert all(isinstance(p, Parameter) for p in model.parameters())


def test_train_and_eval_reach_every_layer(rng):
    model = small(rng).eval()
    assert not any(m.training for _, m in model.modules())
    assert all(m.training for _, m in model.train().modules())


def test_state_goes_round(rng):
    a, b = small(rng), small(rng)
    x = images(rng)
    a(x)  # moves the running averages
    assert not np.array_equal(a.eval()(x).data, b.eval()(x).data)
    b.load_state_dict(a.state_dict())
    np.testing.assert_array_equal(a(x).data, b(x).data)
    a.state_dict()["classifier.bias"][:] = 9
    assert not a.classifier.bias.data.any(), "state_dict hands out copies"


def test_loading_names_every_wrong_key_and_changes_nothing(rng):
    model = small(rng)
    state = model.state_dict()
    before = {k: v.copy() for k, v in state.items()}
    state["extra"] = state.pop("features.1.beta")
    state["classifier.bias"] = np.zeros(7)
    state["features.0.weight"] = state["features.0.weight"] + 1
    with pytest.raises(ValueError) as error:
        model.load_state_dict(state)
    assert str(error.value) == (
        "load_state_dict: Sequential: missing features.1.beta; unexpected extra; "
        "classifier.bias has shape (7,), expected (5,)"
    )
    for path, value in model.state_dict().items():
        np.testing.assert_array_equal(value, before[path])


def test_repr_is_the_tree(rng):
    assert repr(small(rng)).splitlines() == [
        "Sequential()",
        "  features: Sequential()",
        "    0: Conv2d(2, 3, 3, stride=1, padding=1, bias=False)",
        "    1: BatchNorm(3)",
        "    2: QuantActivation(Ternary(), Clip(low=0, high=1, closed=False))",
        "    3: MaxPool2d(2, stride=2)",
        "  flatten: Flatten()",
        "  classifier: Linear(12, 5)",
    ]


def test_an_error_names_the_layer_it_arose_in(rng):
    model = small(rng)
    with pytest.raises(ValueError, match=r"^features\.0 Conv2d: conv2d: x has 3 channels"):
        model(Tensor(np.ones((1, 4, 4, 3), "float32")))
    with pytest.raises(ValueError, match=r"^classifier Linear: linear: x \(1, 27\) does not fit w \(12, 5\)"):
        model(Tensor(np.ones((1, 6, 6, 2), "float32")))
    with pytest.raises(TypeError, match=r"^features\.0 Conv2d: conv2d: x is float64 but w is float32"):
        model(Tensor(np.ones((1, 4, 4, 2))))
    with pytest.raises(ValueError, match="^Linear: linear: x"):
        model.classifier(Tensor(np.ones((1, 3), "float32")))


def test_observe_records_outputs_and_gradients_and_then_lets_go(rng):
    model, x = small(rng), images(rng)
    with nn.observe(model) as records:
        logits = model(x)
        F.softmax_cross_entropy(logits, [0, 1, 2, 3]).backward()
    assert list(records) == [
        "features.0",
        "features.1",
        "features.2",
        "features.3",
        "features",
        "flatten",
        "classifier",
        "",
    ]
    np.testing.assert_array_equal(records["classifier"].output, logits.data)
    assert records["features.0"].gradient.shape == (4, 4, 4, 3)
    # The gradient of a layer's output is what its weights' gradient is made of.
    np.testing.assert_allclose(
        records["flatten"].output.T @ records["classifier"].gradient, model.classifier.weight.grad, rtol=1e-5
    )
    seen = dict(records)
    model(x)
    assert records == seen and not model._observers


def test_astype_and_reset(rng):
    model = small(rng).astype("float64")
    assert {t.dtype for t in model.parameters()} == {np.dtype("float64")}
    assert model(Tensor(np.ones((2, 4, 4, 2)))).dtype == np.float64
    with pytest.raises(TypeError, match="astype: expected a floating dtype, got int64"):
        model.astype("int64")
    model.classifier.bias.data[:] = 3
    model.reset_parameters(np.random.default_rng(1))
    first = model.state_dict()
    model.reset_parameters(np.random.default_rng(1))
    for path, value in model.state_dict().items():
        np.testing.assert_array_equal(value, first[path])
    assert not model.classifier.bias.data.any() and model.features[1].running_mean.data.sum() == 0


def test_to_a_device_and_back(rng, device):
    model, x = small(rng).eval(), images(rng)
    expected = model(x).data
    moved = model.to(device)(Tensor(backend.to_device(x.data, device)))
    np.testing.assert_allclose(moved.numpy(), expected, rtol=1e-4, atol=1e-5)
    assert model.to("cpu") is model
    with pytest.raises(ValueError, match="to_device: device must be 'cpu' or 'gpu', got 'tpu'"):
        model.to("tpu")


def test_the_same_seed_gives_the_same_weights():
    a, b, c = (small(np.random.default_rng(seed)).state_dict() for seed in (3, 3, 4))
    assert all(np.array_equal(a[k], b[k]) for k in a)
    assert not np.array_equal(a["features.0.weight"], c["features.0.weight"])


@pytest.mark.parametrize("quantizer", [LayerScaleSign(), FilterScaleSign()])
def test_weight_quantizers_act_on_the_latent_weight(rng, quantizer):
    layer = nn.Conv2d(2, 3, 3, rng=rng, weight_quantizer=quantizer)
    x = images(rng)
    same = F.conv2d(x, Tensor(quantizer(layer.weight).data), layer.bias.detach()).data
    np.testing.assert_allclose(layer(x).data, same, rtol=0, atol=1e-5)  # the scale is multiplied after the sum
    assert len(np.unique(np.abs(quantizer(layer.weight).data))) <= 3
    layer(x).sum().backward()
    assert layer.weight.grad.shape == layer.weight.shape and layer.weight.grad.any()
    assert repr(layer).endswith(f"\n  weight_quantizer: {quantizer}")


def test_a_whole_network_against_its_surrogate(rng):
    model = small(rng).astype("float64")
    w = model.features[0].weight

    def loss(x, weight):
        model.features[0].weight = weight
        return F.softmax_cross_entropy(model(x), [0, 1, 2, 3])

    check_gradients(loss, rng.standard_normal((4, 4, 4, 2)), w.data.copy(), against="surrogate")


def test_dropout_is_off_in_evaluation(rng):
    layer, x = nn.Dropout(0.5, rng=rng), Tensor(np.ones((4, 50), "float32"))
    assert (layer(x).data == 0).any()
    np.testing.assert_array_equal(layer.eval()(x).data, x.data)


def test_residual_adds_and_refuses_unequal_shapes(rng):
    x = images(rng)
    body = nn.Conv2d(2, 2, 3, rng=rng, padding=1)
    np.testing.assert_allclose(nn.Residual(body)(x).data, body(x).data + x.data)
    shortcut = nn.Conv2d(2, 2, 1, rng=rng)
    np.testing.assert_allclose(nn.Residual(body, shortcut)(x).data, body(x).data + shortcut(x).data)
    with pytest.raises(ValueError, match=r"^Residual: Residual: body gives shape \(4, 2, 2, 2\)"):
        nn.Residual(nn.MaxPool2d(2))(x)


def test_copies_are_made_and_averaged_and_channels_padded(rng):
    x = Tensor(rng.standard_normal((2, 3, 3, 4)), requires_grad=True)
    np.testing.assert_array_equal(nn.AverageCopies()(nn.Replicate()(x)).data, x.data)
    y = nn.PadChannels(6)(x)
    assert y.shape == (2, 3, 3, 6) and not y.data[..., 4:].any()
    y.backward(np.arange(y.size, dtype="float64").reshape(y.shape))
    np.testing.assert_array_equal(x.grad, np.arange(y.size).reshape(y.shape)[..., :4])
    np.testing.assert_array_equal(nn.PadChannels(4)(x).data, x.data)
    averaged = nn.AverageCopies()(Tensor(np.array([[1.0, 2.0, 5.0, 8.0]])))
    np.testing.assert_array_equal(averaged.data, [[3, 5]])
    with pytest.raises(ValueError, match=r"AverageCopies: expected 2 copies of every channel, got x \(2, 3\)"):
        nn.AverageCopies()(Tensor(np.ones((2, 3))))
    with pytest.raises(ValueError, match=r"PadChannels: expected at most 3 channels, got x \(2, 3, 3, 4\)"):
        nn.PadChannels(3)(x)


def test_sequential_slices_share_layers_and_bad_children_are_refused(rng):
    model = small(rng)
    head = model[1:]
    assert len(head) == 2 and head.classifier is model[2]
    with pytest.raises(TypeError, match="Sequential: 1 must be a Module, got function"):
        nn.Sequential(nn.ReLU(), F.relu)
    with pytest.raises(ValueError, match="'training' cannot name a layer"):
        nn.Sequential({"training": nn.ReLU()})


def test_initialisers_have_their_standard_deviation(rng):
    shape = (4, 4, 100, 120)
    assert nn.binaryduo_normal(rng, shape).std() == pytest.approx((4 / (16 * 100 + 16 * 120)) ** 0.5, rel=0.02)
    assert nn.binaryduo_normal(rng, shape, 4).std() == pytest.approx((4 / (16 * 100 + 120)) ** 0.5, rel=0.02)
    assert nn.binaryduo_normal(rng, (300, 200)).std() == pytest.approx((4 / 500) ** 0.5, rel=0.02)
    assert nn.he_normal(rng, shape).std() == pytest.approx((2 / 1600) ** 0.5, rel=0.02)
    assert nn.he_normal(rng, shape).dtype == np.float32


def test_binary_activation_layer(rng):
    x = Tensor(np.array([0.4, 0.5]), requires_grad=True)
    y = nn.QuantActivation(Binary(), Clip(0, 1))(x)
    y.sum().backward()
    np.testing.assert_array_equal(y.data, [0, 1])
    np.testing.assert_array_equal(x.grad, [1, 1])


def test_batch_norm_and_staircase_take_plain_arrays_too():
    layers = nn.BatchNorm(2), nn.QuantActivation(Binary(), Clip(0, 1))
    x = np.array([[0.0, 1.0], [2.0, 1.0]], "float32")
    expected = nn.Sequential(*layers)(Tensor(x)).data
    np.testing.assert_array_equal(nn.Sequential(*layers)(x).data, expected)


class Mixed:
    def forward(self, x):
        return x


@pytest.mark.parametrize(
    "bases, body, tags",
    [
        ((nn.MaxPool2d,), {}, (True, True)),
        ((nn.MaxPool2d,), {"forward": Mixed.forward}, (False, False)),
        ((nn.MaxPool2d,), {"forward": Mixed.forward, "samplewise": True}, (True, False)),
        ((nn.MaxPool2d,), {"__call__": Mixed.forward}, (False, False)),
        ((Mixed, nn.MaxPool2d), {}, (False, False)),
        ((Mixed, nn.MaxPool2d), {"keeps_levels": True}, (False, True)),
    ],
)
def test_a_subclass_with_a_forward_of_its_own_states_its_tags_again(bases, body, tags):
    layer = type("Own", bases, body)()
    assert (layer.known("samplewise"), layer.known("keeps_levels")) == tags
    below = type("Below", (type(layer),), {})()
    assert (below.known("samplewise"), below.known("keeps_levels")) == tags


def test_of_a_layer_whose_forward_has_been_replaced_nothing_is_known():
    layer, quantizer = nn.Dropout(0.5, rng=np.random.default_rng(0)), LayerScaleSign()
    layer.forward = quantizer.forward = abs
    assert not any(layer.known(tag) for tag in layer.tags)
    assert (quantizer.known("bits"), quantizer.known("homogeneous")) == (32, False)


def test_a_quantiser_that_overrides_forward_has_no_bits_until_it_says_so():
    class Own(nn.QuantActivation):
        def forward(self, x):
            return x

    assert (Own(Binary(), Clip(0, 1)).bits, nn.QuantActivation(Binary(), Clip(0, 1)).bits) == (32, 1)
