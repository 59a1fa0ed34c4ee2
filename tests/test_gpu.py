"""Every model on a GPU: the bits and figures of the CPU, and no wait for the host inside a step."""

import os
import re
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from families import FAMILIES, dyadic, family

from duonet import Tensor, backend, data, decouple, evaluate, fit, models, nn, no_grad, optim
from duonet import functional as F

each_model = pytest.mark.parametrize("name", FAMILIES)
KINDS = ["float", "baseline", "coupled", "decoupled"]


def network(name, kind, rng, weights="float"):
    if kind == "decoupled":
        model, shape = family(name, "coupled", rng, weights)
        return decouple(model), shape
    return family(name, kind, rng, weights)


def batch_for(shape, device, dtype="float32", n=8):
    rng = np.random.default_rng(1)
    x, labels = rng.standard_normal((n, *shape)).astype(dtype), rng.integers(0, 4, n)
    return backend.to_device(x, device), backend.to_device(labels, device)


def outputs_of(model, x, device):
    with no_grad(), nn.observe(model.to(device)) as records:
        model(Tensor(backend.to_device(x, device)))
    return {path: backend.to_device(record.output, "cpu") for path, record in records.items()}


def step(model, optimizer, x, labels):
    value = F.softmax_cross_entropy(model(Tensor(x)), labels)
    optimizer.zero_grad()
    value.backward()
    optimizer.step()
    return value


def test_every_model_has_a_small_one():
    assert set(FAMILIES) == set(models.__all__) - {"build"}


@pytest.mark.parametrize("weights", ["float", "binary"])
@pytest.mark.parametrize("kind", ["baseline", "coupled", "decoupled"])
@each_model
def test_a_binary_network_on_whole_numbers_gives_the_same_bits(name, kind, weights, gpu):
    """Its sums are exact, so their order is no excuse."""
    rng = np.random.default_rng(2)
    model, shape = network(name, kind, rng, weights)
    model = dyadic(model, rng).astype("float32")
    x = rng.integers(-4, 5, (6, *shape)).astype("float32")
    here, there = outputs_of(model, x, "cpu"), outputs_of(model, x, gpu)
    exact = outputs_of(model.to("cpu").astype("float64"), x.astype("float64"), "cpu")
    for path, expected in here.items():
        np.testing.assert_array_equal(expected, exact[path], err_msg=f"{path} is not exact, a fault of this test")
        assert there[path].dtype == expected.dtype
        np.testing.assert_array_equal(there[path], expected, err_msg=path)


@pytest.mark.parametrize("kind", KINDS)
@each_model
def test_a_training_step_is_that_of_the_cpu(name, kind, gpu):
    """In float64, where no pre-activation is close enough to a threshold to fall on its other side."""
    states = []
    for device in ("cpu", gpu):
        model, shape = network(name, kind, np.random.default_rng(3))
        model.astype("float64").to(device)
        value = step(model, optim.SGD(model.parameters(), 0.1), *batch_for(shape, device, "float64"))
        states.append(model.state_dict() | {"loss": value.numpy()})
    for path, expected in states[0].items():
        np.testing.assert_allclose(states[1][path], expected, rtol=1e-9, atol=1e-10, err_msg=path)


@each_model
def test_a_training_step_in_float32_is_that_of_the_cpu_to_rounding(name, gpu):
    states = []
    for device in ("cpu", gpu):
        model, shape = network(name, "float", np.random.default_rng(3))
        value = step(model.to(device), optim.SGD(model.parameters(), 0.01), *batch_for(shape, device))
        states.append(model.state_dict() | {"loss": value.numpy()})
    for path, expected in states[0].items():
        np.testing.assert_allclose(states[1][path], expected, rtol=1e-3, atol=1e-4, err_msg=path)


class Quiet:
    """A loader of two batches, outside of which the host may wait for the GPU, and inside of which it may not."""

    def __init__(self, shape, standin):
        self.batches, self.standin = [batch_for(shape, "gpu")] * 2, standin
        self.images = 16

    def __len__(self):
        return len(self.batches)

    def __iter__(self):
        with self.standin.no_sync():
            yield from self.batches


OPTIMIZERS = {
    "SGD": lambda p: optim.SGD(p, 0.1, nesterov=True, weight_decay=0.01),
    "Adam": lambda p: optim.Adam(p, weight_decay=0.01),
    "AdamW": lambda p: optim.AdamW(p),
}


@pytest.mark.parametrize(
    "name, kind, weights, optimizer",
    [
        *((name, kind, "float", "AdamW") for name in FAMILIES for kind in KINDS),
        *((name, "decoupled", "binary", "AdamW") for name in FAMILIES),
        *(("vgg7", "baseline", "float", kind) for kind in OPTIMIZERS),
    ],
)
def test_neither_training_nor_scoring_waits_for_the_gpu(name, kind, weights, optimizer, standin, monkeypatch):
    monkeypatch.setattr("duonet.progress.REFRESH_SECONDS", 1e9)  # the progress bar reads figures, now and then
    model, shape = network(name, kind, np.random.default_rng(3), weights)
    model.to("gpu")
    loader = Quiet(shape, standin)
    epochs = 2 if name == "vgg7" else 1
    optimizer = OPTIMIZERS[optimizer](model.parameters())
    history = fit(model, loader, optimizer, epochs, validation=loader, progress=False)
    assert np.isfinite(history["loss"]).all() and evaluate(model, loader).loss == history["val_loss"][-1]


@pytest.mark.parametrize("loss", [F.softmax_cross_entropy, F.squared_hinge_loss])
def test_no_loss_waits_for_the_gpu(loss, standin):
    logits = Tensor(backend.to_device(np.ones((3, 4), "float32"), "gpu"), requires_grad=True)
    labels = backend.to_device(np.array([0, 1, 2]), "gpu")
    with standin.no_sync():
        loss(logits, labels).backward()
        F.mse_loss(logits, logits.detach()).backward()


def test_the_loader_uploads_without_waiting(standin):
    images = np.zeros((8, 4, 4, 1), "uint8")
    rng = np.random.default_rng(0)
    options = {"rng": rng, "augment": data.random_flip, "device": "gpu"}
    loader = data.DataLoader(data.Dataset(images, np.arange(8) % 2), 4, data.Normalize([0.0], [1.0]), **options)
    assert backend.gpu_available()  # this looks at the GPU, once
    with standin.no_sync():
        for x, labels in loader:
            assert backend.device_of(x) == backend.device_of(labels) == "gpu"


def small():
    return family("vgg7", "baseline", np.random.default_rng(0))


def test_a_model_and_its_data_on_two_devices_are_named_with_the_layer(gpu):
    model, shape = small()
    x, labels = batch_for(shape, "cpu")
    with pytest.raises(TypeError, match="^conv1 Conv2d: conv2d: x is on the cpu but w is on the gpu; move one of"):
        model.to(gpu)(Tensor(x))
    with pytest.raises(TypeError, match="^conv1 Conv2d: conv2d: x is on the gpu but w is on the cpu; move one of"):
        model.to("cpu")(Tensor(backend.to_device(x, gpu)))
    logits = model(Tensor(x))
    with pytest.raises(TypeError, match="^softmax_cross_entropy: logits is on the cpu but labels is on the gpu"):
        F.softmax_cross_entropy(logits, backend.to_device(labels, gpu))
    with pytest.raises(
        TypeError, match="^backward: the tensor is on the cpu but dy is on the gpu; move one of them"
    ):
        logits.backward(backend.to_device(np.ones((8, 4), "float32"), gpu))


def test_arrays_on_two_gpus_are_named(standin):
    with standin.cupy.cuda.Device(1):
        w = Tensor(standin.cupy.zeros((3, 4)))
    x = Tensor(standin.cupy.zeros((2, 3)))
    with pytest.raises(TypeError, match="^linear: x is on GPU 0 but w is on GPU 1; move one of them first$"):
        F.linear(x, w)


def limited(standin, more):
    pool = standin.cupy.get_default_memory_pool()
    pool.set_limit(pool.used_bytes() + more)


def test_an_op_without_room_says_which_and_how_much_and_what_helps(standin):
    model, shape = small()
    x, _ = batch_for(shape, "gpu")
    model.to("gpu")
    limited(standin, 9000)
    message = (
        r"^conv1 Conv2d: conv2d: Out of memory allocating [\d,]+ bytes \(allocated so far: .*\); "
        "a smaller batch, or fewer samples at a time, needs less$"
    )
    with pytest.raises(backend.OutOfMemory, match=message) as caught:
        model(Tensor(x))
    assert isinstance(caught.value, MemoryError)


def test_a_backward_pass_without_room_says_so(standin):
    x = Tensor(standin.cupy.ones((100, 100)), requires_grad=True)
    y = F.exp(x)
    dy = standin.cupy.ones_like(y.data)
    limited(standin, 9000)
    with pytest.raises(backend.OutOfMemory, match="^backward of exp: Out of memory allocating 80,000 bytes"):
        y.backward(dy)


def test_an_upload_without_room_says_so(standin):
    limited(standin, 9000)
    with pytest.raises(
        backend.OutOfMemory, match=r"^to_device: x of shape \(100, 100\): Out of memory allocating"
    ):
        backend.to_device(np.zeros((100, 100)), "gpu")


def test_the_cpus_memory_ends_in_the_same_words():
    with pytest.raises(
        backend.OutOfMemory, match="^add: Unable to allocate .*; a smaller batch, or fewer samples"
    ):
        F.add(np.zeros((2**30, 1), "float16"), np.zeros((1, 2**30), "float16"))


@pytest.mark.skipif(backend.gpu_available(), reason="there is a GPU")
def test_where_no_gpu_is_required_a_skip_gives_its_reason(request, monkeypatch):
    monkeypatch.delenv("DUONET_REQUIRE_GPU", raising=False)
    conftest = request.config.pluginmanager.get_plugin(str(Path(__file__).with_name("conftest.py")))
    marked = types.SimpleNamespace(get_closest_marker=lambda name: name == "gpu")
    with pytest.raises(pytest.skip.Exception, match=re.escape(backend.why_no_gpu())):
        conftest.pytest_runtest_setup(marked)


PROGRAM = "import sys, pytest; sys.exit(pytest.main(sys.argv[1:]))"


def test_where_a_gpu_is_required_a_skip_is_a_failure():
    chosen = ["-q", "-rA", "-m", "gpu", "-p", "no:cacheprovider", "tests/test_module.py"]
    env = os.environ | {"DUONET_REQUIRE_GPU": "1"}
    root = os.path.dirname(os.path.dirname(__file__))
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *chosen], env=env, cwd=root, capture_output=True, text=True
    )
    assert "1 " in done.stdout and "standin" not in done.stdout
    if backend.gpu_available():
        assert done.returncode == 0 and "1 passed" in done.stdout
    else:
        assert done.returncode == 1 and f"DUONET_REQUIRE_GPU=1, but {backend.why_no_gpu()}" in done.stdout
