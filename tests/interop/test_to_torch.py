"""The module that `to_torch` builds computes what the model computes, forwards and backwards, both ways."""

import numpy as np
import pytest

from duonet import Tensor, interop, methods, nn, quant
from duonet.functional import softmax_cross_entropy
from duonet.methods.hwgq import LogTail
from duonet.quant import FilterScaleSign, LayerScaleSign

torch = pytest.importorskip("torch", reason="needs torch: pip install torch")
EXACT = 1e-5


@pytest.fixture(autouse=True)
def one_thread():
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    assert torch.equal(torch.get_rng_state(), state), "torch's generator was drawn from"


def images(x):
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(x, -1, 1)))


def answers(module, x):
    with torch.no_grad():
        return module(images(x)).numpy()


def test_logits_are_equal_and_so_are_names(network, logits):
    model, shape, x = network
    module = interop.to_torch(model, shape)
    assert logits(model, x, answers(module, x)) < EXACT
    state = interop.to_torch_state(model, shape)
    assert list(state) == list(module.state_dict()) and not module.training and not module.inference_only
    for name, tensor in module.state_dict().items():
        assert np.array_equal(state[name], tensor.numpy()) and state[name].dtype == tensor.numpy().dtype


def test_a_state_that_torch_has_changed_comes_back(network, logits, rng):
    model, shape, x = network
    module = interop.to_torch(model, shape)
    for name, tensor in module.state_dict().items():
        if not name.endswith("tracked"):
            tensor += torch.from_numpy(rng.uniform(0, 0.1, tensor.shape).astype("float32"))
    assert logits(model, x, answers(module, x)) > EXACT, "the model shares no memory"
    interop.from_torch_state(model, shape, module.state_dict())
    assert logits(model, x, answers(module, x)) < EXACT


def test_half_precision_comes_back_too(rng):
    model = nn.Sequential(nn.Linear(4, 3, rng=rng))
    module = interop.to_torch(model, (4,))
    interop.from_torch_state(model, (4,), module.bfloat16().state_dict())
    assert model[0].weight.dtype == np.float32
    assert np.array_equal(model[0].weight.data.T, module.float()[0].weight.detach().numpy())


@pytest.mark.parametrize("other", [
    lambda w: w.to_sparse(), lambda w: w.to("meta"), lambda w: w.to(torch.complex64).conj(),
], ids=["sparse", "meta", "conjugate"])  # fmt: skip
def test_a_tensor_that_is_no_array_is_named(other, rng):
    model = nn.Sequential(nn.Linear(4, 2, rng=rng))
    state = interop.to_torch(model, (4,)).state_dict()
    with pytest.raises(ValueError, match="from_torch_state: 0.weight cannot become an array: "):
        interop.from_torch_state(model, (4,), state | {"0.weight": other(state["0.weight"])})


def trained(quantizer, surrogate, rng):
    return nn.Sequential(
        {
            "conv": nn.Conv2d(3, 4, 3, rng=rng, padding=1),
            "norm": nn.BatchNorm(4, momentum=0.3, eps=1e-3),
            "act": nn.QuantActivation(quant.Ternary(), surrogate),
            "binary": nn.Conv2d(4, 4, 3, rng=rng, bias=True, weight_quantizer=quantizer),
            "slope": nn.PReLU(4),
            "flat": nn.Flatten(),
            "head": nn.Linear(64, 3, rng=rng, weight_quantizer=quantizer and type(quantizer)()),
        }
    )


@pytest.mark.parametrize("quantizer", [None, LayerScaleSign, FilterScaleSign])
def test_gradients_and_running_averages_in_training_are_equal(quantizer, rng):
    offset = quant.Shifted(quant.Clip(-1, 1), rng.uniform(-1, 1, 4))
    model = trained(quantizer and quantizer(), offset, rng)
    x, labels = rng.normal(size=(8, 6, 6, 3)).astype("float32"), rng.integers(0, 3, 8)
    module = interop.to_torch(model, (6, 6, 3))
    assert module.training and not module.inference_only
    softmax_cross_entropy(model(Tensor(x)), labels).backward()
    torch.nn.functional.cross_entropy(module(images(x)), torch.from_numpy(labels)).backward()
    mine = dict(model.named_parameters())
    largest = max(
        abs(parameter.grad).max() for parameter in mine.values()
    )  # a bias before batch norm has rounding alone
    for one, other in zip(mine, dict(module.named_parameters())):
        theirs = module.get_parameter(other).grad.numpy()
        mine[one].data = mine[one].grad  # turned as the weights are
        turned = interop.plan.arrays_of(interop.plan.plan("test", model, (6, 6, 3)))[other]
        gradient = turned._replace(value=mine[one].grad).there()
        assert np.allclose(theirs, gradient, rtol=1e-3, atol=1e-5 * largest), one
    for name in ("running_mean", "running_var"):
        assert np.allclose(getattr(model.norm, name).data, getattr(module.norm, name).numpy(), rtol=1e-5)


SURROGATES = [
    quant.Identity(), quant.ReLU(), quant.Clip(0, 1), quant.Clip(-1, 1, closed=True), quant.Polynomial(),
    quant.Triangle(), quant.Tanh(3), quant.SwishSign(5), quant.ZeroOne(quant.Polynomial()),
    quant.Shifted(quant.Tanh(2), [0.5, -0.5]), quant.Stretched(quant.Clip(0, 1), -1, 2, 3),
    quant.Stretched(quant.Shifted(quant.Triangle(), 0.5), 0, 4, np.array([1.0, 2.0])),
]  # fmt: skip


@pytest.mark.parametrize("surrogate", SURROGATES, ids=repr)
def test_a_surrogates_gradient_is_the_same(surrogate):
    x = np.float32([[-9, 9], [-1, -1], [-0.5, 0.25], [0, 0], [0.3, 0.7], [1, 1], [1e4, -1e4]])
    module = interop.to_torch(nn.Sequential(nn.QuantActivation(quant.Sign(), surrogate)), (2,))
    there = torch.from_numpy(x.copy()).requires_grad_()
    module(there).sum().backward()
    assert np.allclose(there.grad.numpy(), surrogate.derivative(x), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("layer", [methods.PACT(), nn.QuantActivation(quant.Sign(), LogTail(2))], ids=repr)
def test_what_cannot_be_trained_says_so(layer, rng):
    module = interop.to_torch(nn.Sequential({"act": layer}), (2,))
    x = torch.ones(1, 2, requires_grad=True)
    with pytest.raises(RuntimeError, match="act: made for inference: "):
        module(x).sum().backward()


def test_weights_that_stay_used_are_frozen_and_listed(rng):
    layer = nn.Linear(4, 3, rng=rng, weight_quantizer=methods.XNORWeights())
    module = interop.to_torch(nn.Sequential({"product": layer}), (4,))
    assert module.inference_only == ("product: its weights are fixed as XNORWeights made them",)
    assert not module.product.weight.requires_grad and module.product.bias.requires_grad


def test_a_frozen_parameter_stays_frozen(rng):
    model = nn.Sequential(nn.Linear(4, 3, rng=rng))
    model[0].weight.requires_grad = False
    assert not interop.to_torch(model, (4,))[0].weight.requires_grad


@pytest.mark.parametrize("entry", [e for e in methods.entries() if e.kind == "weights"], ids=lambda e: e.name)
def test_every_quantiser_of_weights_has_a_form(entry, rng, logits):
    model = nn.Sequential(
        nn.QuantActivation(quant.Binary(), quant.Clip(0, 1)),
        nn.Conv2d(8, 8, 3, rng=rng, **entry.for_layer(rng)),
        nn.Flatten(),
        nn.Linear(32, 4, rng=rng),
    ).eval()
    x = rng.normal(size=(5, 4, 4, 8)).astype("float32")
    module = interop.to_torch(model, (4, 4, 8))
    assert logits(model, x, answers(module, x)) < EXACT


@pytest.mark.parametrize("entry", [e for e in methods.entries() if e.kind != "weights"], ids=lambda e: e.name)
def test_every_other_method_has_a_form_or_is_refused_by_name(entry, rng, logits):
    model = nn.Sequential(nn.Conv2d(3, 4, 3, rng=rng), nn.BatchNorm(4), entry.make(rng)).eval()
    x = rng.normal(size=(5, 6, 6, 3)).astype("float32")
    if entry.name in REFUSED:
        with pytest.raises(interop.CannotTranslate, match=f"to_torch: 2 {type(model[2]).__name__}: "):
            interop.to_torch(model, (6, 6, 3))
    else:
        y = np.moveaxis(answers(interop.to_torch(model, (6, 6, 3)), x), 1, -1)
        assert logits(model, x, y) < EXACT


REFUSED = {"stochastic-annealed", "stochastic-identity", "stochastic-sigmoid", "ci-bcnn"}


def test_float64_stays(rng, logits):
    model = nn.Sequential(nn.Linear(4, 3, rng=rng), nn.QuantActivation(quant.Ternary(), quant.Clip(0, 1)))
    model.astype("float64")
    x = rng.normal(size=(5, 4))
    with torch.no_grad():
        y = interop.to_torch(model, (4,))(torch.from_numpy(x))
    assert y.dtype == torch.float64 and logits(model, x, y.numpy()) == 0
