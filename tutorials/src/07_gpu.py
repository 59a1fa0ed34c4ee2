# %% [markdown]
# # Run the same code on a GPU
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/duonet/duonet/blob/main/tutorials/07_gpu.ipynb)
#
# One training loop serves the CPU and a GPU, and neither has to wait for the other. You need no GPU: you
# will build a pretended one, whose waits can be counted, and run the library on it.

# %% tags=["hide-input"]
import subprocess
import sys

if "google.colab" in sys.modules:  # there the package has to be fetched first
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "-q", "git+https://github.com/duonet/duonet"],
        check=True,
    )
if sys.platform == "emscripten":  # and in a browser's kernel
    import piplite

    await piplite.install("duonet")

import matplotlib.pyplot as plt
import numpy as np

from duonet.exercise import attempt

SEED = 0  # of every section's own generator: so its cells can run again, and in any order
BLUE, ORANGE, INK = "#0072B2", "#E69F00", "#222222"

# %% tags=["hide-input"]
# alt: Two timelines of host and GPU. When the loss is read at every step the GPU pauses; when
#      it is read once at the end the GPU works without a pause.
figure, axes = plt.subplots(2, 1, figsize=(9, 3.8), sharex=True, layout="constrained")
for ax, reads, host, gpu in ((axes[0], True, 0, 0), (axes[1], False, 0, 0)):
    for i in range(4):  # steps, of three pieces of work each
        ax.barh("host", 2.9, 0.7, host, color="0.6", label="prepares a batch")
        for k in range(3):
            ax.barh("host", 0.8, 0.7, host + 3 + k, color=INK, label="launches")
            gpu = (
                max(host + 4 + k, gpu) + 4
            )  # it begins when told to, and not before it is free
            ax.barh("GPU", 3.8, 0.7, gpu - 4, color=BLUE, label="works")
        idle = (gpu - host - 6) * (reads or i == 3)
        ax.barh("host", idle, 0.7, host + 6, color=ORANGE, alpha=0.5, label="waits")
        host = gpu if reads else host + 6
    ax.set_title(
        "the loss is read at every step: the GPU pauses"
        if reads
        else "it is read once, at the end"
    )
axes[1].set(xlim=(0, 70), xlabel="time, in units of one launch (a model, not a measurement)")
axes[1].legend(
    handles=[axes[0].containers[i] for i in (0, 1, 2, 7)], loc="upper right", frameon=False
)
plt.show()

# %% [markdown]
# > **Do** Find out whether there really is a GPU. Write array code that runs on either device. Build a pretended
# > GPU with two clocks, run the library's training step on it and count how often the host waits. Then run the
# > same cells on a real GPU, if there is one.
# >
# > **Learn** Why an array should choose its module, what makes the host wait and how to avoid it, how to time work
# > that runs later, and what memory pools, TF32 and kernels are.
# >
# > **Need** NumPy, tutorials 1 and 2, and the training step: forward, loss, backward, update. No CUDA.
# >
# > **Time** Runs in 5 s on two cores (measured); an hour and a quarter to read and work through.
#
# **What was run, and where.** The outputs that you see were computed on a CPU. The cells choose the device
# themselves, so on a machine with a GPU they use it; the few cells that need one say so and are skipped here. No
# speed of a GPU is claimed anywhere in this notebook, because none was measured for it. Its times come from a
# model with made-up costs.

# %% [markdown]
# ## 1. Is there a GPU?
#
# CuPy is NumPy's interface on NVIDIA's GPUs: `cupy.asarray(x)` copies an array to the GPU, and the results of
# computing with it stay on the GPU. The program itself runs on the CPU, which is called the *host*.
#
# **Predict.** `import cupy` succeeds. Is there a GPU that can be used?
#
# <details><summary>Answer</summary>
#
# Not necessarily. The import needs only files. There may be no device, no driver, a driver too old for this build
# of CuPy, or a missing compiler, and each shows only when something is computed.
#
# </details>
#
# So the library probes: it imports CuPy, counts the devices, computes a small sum on the first one and looks at
# the result. `why_no_gpu()` returns the reason in a sentence, or an empty string; `gpu_available()` is the short
# question.

# %%
from duonet import backend

device = "gpu" if backend.gpu_available() else "cpu"
print("this notebook runs on the", device)
if device == "cpu":
    print("because:", backend.why_no_gpu())
assert (backend.why_no_gpu() == "") == (device == "gpu")

# %% [markdown]
# **Your turn.** Write such a probe. `load` is a function that imports the module and returns it; it may raise
# anything. The module has `count()`, the number of devices, and `compute()`, which should return 3.0. Both may
# raise as well. Return an empty string only if everything went well, and a sentence otherwise.


# %%
def probe(load):
    """Return why the module's device cannot be used, or an empty string."""
    raise NotImplementedError


# %%
from types import SimpleNamespace


def fails(*_):
    raise RuntimeError("no driver")


def check_probe():
    def cases(count, compute):
        return lambda: SimpleNamespace(count=count, compute=compute)

    one, three = (lambda: 1), (lambda: 3.0)
    assert probe(cases(one, three)) == "", "this device works"
    bad = [
        fails,
        cases(lambda: 0, three),
        cases(fails, three),
        cases(one, fails),
        cases(one, lambda: 2.0),
    ]
    reasons = [probe(load) for load in bad]
    assert all(isinstance(reason, str) and len(reason) > 5 for reason in reasons), (
        "a device that does not work has a reason, in words"
    )
    assert sum("no driver" in reason for reason in reasons) == 3, "say what was raised"


attempt(check_probe)


# %% tags=["solution"]
def probe(load):
    """Return why the module's device cannot be used, or an empty string."""
    try:
        module = load()
        if module.count() == 0:
            return "there is no device"
        if module.compute() != 3.0:
            return "the device computes wrong sums"
    except Exception as error:
        return f"the device cannot be used: {error}"
    return ""


# %% [markdown]
# ## 2. A pretended GPU
#
# Host and GPU work at the same time. The host *launches* a piece of work, a *kernel*: it puts the kernel into a
# queue and continues. The GPU takes the kernels out of the queue in order. Only when the host wants to *look* at a
# result does it have to wait until the queue has been worked off. This is called a *synchronisation*.
#
# Two clocks are enough to describe that. Say that a launch costs the host 1 unit of time, and that every kernel
# takes the GPU 4. A kernel begins when it has been launched, and not before the GPU is free:


# %%
class Clock:
    """What the host and the GPU have done so far, in units of time."""

    LAUNCH, WORK = 1, 4

    def __init__(self):
        self.host = self.gpu = self.launches = self.waits = 0

    def launch(self):
        self.launches += 1
        self.host += self.LAUNCH
        self.gpu = max(self.host, self.gpu) + self.WORK

    def wait(self):
        self.waits += 1
        self.host = max(self.host, self.gpu)


# %% [markdown]
# **Predict.** The host launches three kernels and then waits. What do the two clocks show before the wait, and
# after it?
#
# <details><summary>Answer</summary>
#
# Before: the host is at 3. The GPU began at 1 and works without a pause for 3 · 4 units, so it will be done at 13.
# After the wait the host is at 13 as well.
#
# </details>

# %%
clock = Clock()
for _ in range(3):
    clock.launch()
print("before the wait: host", clock.host, " GPU", clock.gpu)
clock.wait()
print("after the wait:  host", clock.host, " GPU", clock.gpu)
assert clock.host == clock.gpu == 13

# %% [markdown]
# Now an array class that keeps this clock. Inside it is a NumPy array, so the results are right; outside it
# behaves like an array on a GPU: *computing launches, looking waits*. Results stay on the "GPU", even single
# numbers, which become arrays without axes (0-d arrays). And like CuPy's arrays it refuses NumPy's: arrays on two
# devices cannot be mixed.
#
# `NDArrayOperatorsMixin` turns operators such as `a + b` into NumPy's ufuncs, and NumPy hands those to
# `__array_ufunc__`. Methods such as `a.sum()` come through `__getattr__`. Shape and dtype are known without asking
# the GPU.


# %%
def bare(x):
    """Take the NumPy arrays out of an argument."""
    if isinstance(x, (tuple, list)):
        return type(x)(bare(item) for item in x)
    if isinstance(x, np.ndarray):
        raise TypeError(f"Unsupported type {type(x)}")
    return x._memory if isinstance(x, Array) else x


def wrap(value):
    return Array(np.asarray(value)) if isinstance(value, (np.ndarray, np.generic)) else value


def launch(function, *arguments, **options):
    """Compute something on the pretended GPU."""
    result = function(
        *bare(arguments), **{name: bare(value) for name, value in options.items()}
    )
    clock.launch()
    return wrap(result)


# %%
class Array(np.lib.mixins.NDArrayOperatorsMixin):
    """NumPy's memory behind the manners of an array on a GPU."""

    device = 0  # the number of the GPU

    def __init__(self, memory):
        self._memory = memory

    def __len__(self):
        return len(self._memory)

    def __array_ufunc__(self, ufunc, method, *inputs, **options):
        return launch(getattr(ufunc, method), *inputs, **options)


# %%
from functools import partial

VIEWS = (
    "reshape",
    "transpose",
    "swapaxes",
    "view",
)  # another look at the same memory launches nothing


def attribute(self, name):
    if name.startswith("__"):
        raise AttributeError(name)
    value = getattr(self._memory, name)
    if not callable(value):
        return wrap(value)
    if name in VIEWS:
        return lambda *arguments: wrap(value(*arguments))
    return partial(launch, value)


Array.__getattr__ = attribute

# %% [markdown]
# So far nothing waits. Next come the operations that look at values, or need to know them. Indexing by a *mask*,
# `x[x > 0]`, is one of them: the shape of the result depends on how many elements are true, so the host must know
# them. The slice `x[2:5]` is a view and does not.


# %%
def waits(read):
    def look(self, *arguments):
        clock.wait()
        return read(self._memory, *arguments)

    return look


for name, read in {
    "get": np.copy,
    "item": np.ndarray.item,
    "tolist": np.ndarray.tolist,
    "__float__": float,
    "__int__": int,
}.items():
    setattr(Array, name, waits(read))
Array.__bool__, Array.__repr__ = waits(bool), waits(repr)


# %%
def getitem(self, key):
    parts = key if isinstance(key, tuple) else (key,)
    arrays = [part for part in parts if isinstance(part, Array)]
    if any(part.dtype == bool for part in arrays):
        clock.wait()
    elif arrays:
        clock.launch()
    return wrap(self._memory[bare(key)])


def convert(self, dtype=None, copy=None):
    raise TypeError("Implicit conversion to a NumPy array is not allowed. Please use `.get()`")


Array.__getitem__, Array.__array__ = getitem, convert
Array.__setitem__ = lambda self, key, value: launch(self._memory.__setitem__, key, value)

# %% [markdown]
# The last piece is the module that the array belongs to. It launches NumPy's functions. `asarray` uploads. (We do
# not count uploads, and we count every function as one launch of equal cost. A real GPU is not so simple, but who
# waits for whom is the same.)


# %%
class Module:
    """Stands in for the module CuPy, and for the modules inside it, such as linalg."""

    ndarray = Array

    def __init__(self, functions=np):
        self._functions = functions

    def __getattr__(self, name):
        value = getattr(self._functions, name)
        if isinstance(value, type(np)):  # a module
            return Module(value)
        return (
            value if isinstance(value, type) or not callable(value) else partial(launch, value)
        )

    def asarray(self, x, dtype=None):
        if isinstance(x, Array):
            return x if dtype in (None, x.dtype) else x.astype(dtype)
        return Array(np.array(x, dtype=dtype))


pretended = Module()

# %% [markdown]
# Try it. The sum of a product is two launches and no wait, and stays on the GPU. `float` waits.

# %%
clock = Clock()
x = pretended.asarray(np.array([1.0, 2.0, 3.0]))
total = (x * x).sum()
print(
    type(total).__name__,
    total.shape,
    "after",
    clock.launches,
    "launches and",
    clock.waits,
    "waits",
)
assert (clock.launches, clock.waits) == (2, 0)
print(float(total), "after", clock.launches, "launches and", clock.waits, "wait")
assert (clock.launches, clock.waits) == (2, 1) and float(total) == 14

# %% [markdown]
# Mixing the two kinds of array fails, with CuPy's own words. The failure is right: otherwise every slip would copy
# data to and fro, and nobody would notice.

# %%
for mixed in (
    lambda: x + np.ones(3),
    lambda: pretended.maximum(x, np.ones(3)),
    lambda: np.asarray(x),
):
    try:
        mixed()
    except TypeError as error:
        print(error)
    else:
        raise AssertionError("two devices were mixed")

# %% [markdown]
# ## 3. The array knows its module
#
# How does a function know whether to call `numpy.exp` or `cupy.exp`? A global switch, set once, is the obvious
# answer, and a bad one: images are prepared on the CPU while the network runs on the GPU, results come back, tests
# compare both. One program holds arrays of both kinds at once.
#
# So each function asks the array in its hands: `xp = backend.get_xp(x)`. By custom `xp` stands for either module.
# The library finds CuPy without importing it, in `sys.modules`: whoever holds a CuPy array has imported CuPy. That
# lets us put our module in its place, for the length of a `with` block:

# %%
import contextlib
from unittest import mock

from duonet import plain_ops


@contextlib.contextmanager
def pretending():
    """Let the library take our arrays for CuPy's, and run its plain ops, without kernels."""
    with mock.patch.dict(sys.modules, {"cupy": pretended}), plain_ops():
        yield


with pretending():
    assert backend.get_xp(x) is pretended and backend.device_of(x) == "gpu"
    assert backend.get_xp(np.ones(3)) is np and backend.device_of(np.ones(3)) == "cpu"


# %% [markdown]
# Here is a function that runs on both, softmax for a batch of logits. Every line is NumPy's, except that `np` is
# now `xp`:


# %%
def softmax(logits):
    xp = backend.get_xp(logits)
    exponentials = xp.exp(logits - logits.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


rng = np.random.default_rng(SEED)  # this section's own, so that it can run again
logits = rng.standard_normal((4, 3))
clock = Clock()
with pretending():
    there = softmax(pretended.asarray(logits))
assert type(there) is Array and clock.waits == 0 and clock.launches == 5
np.testing.assert_array_equal(there.get(), softmax(logits))

# %% [markdown]
# (For `exp` alone `np` would do: NumPy hands an elementwise function of such an array on to `__array_ufunc__`, as
# it does the operators. But not every function is handed on, and `np.zeros`, which is given no array, would make
# one on the CPU.)
#
# **Predict.** What does `backend.get_xp([1.0, 2.0])` return?
#
# <details><summary>Answer</summary>
#
# Nothing: it raises a TypeError. A list is on no device, and guessing would be the global switch again.
#
# </details>

# %%
try:
    backend.get_xp([1.0, 2.0])
except TypeError as error:
    print(error)
else:
    raise AssertionError("a list has no module")

# %% [markdown]
# **Your turn.** Write the loss for a batch: the mean over rows of $-\sum_c \text{onehot}_c \ln \text{softmax}_c$.
# It has to run on both kinds of array, return a 0-d array (on the GPU) and make nobody wait. Subtract the maximum
# first, as softmax does, and use $\ln \text{softmax}_c = z_c - \ln \sum_k e^{z_k}$, where $z$ are the logits less
# their maximum.


# %%
def cross_entropy(logits, onehot):
    """Return the mean cross entropy of logits (N, C) and rows with a single 1 (N, C)."""
    raise NotImplementedError


# %%
from duonet import Tensor, functional


def check_cross_entropy():
    rng = np.random.default_rng(1)
    logits, labels = 3000 * rng.standard_normal((6, 4)), rng.integers(0, 4, 6)
    onehot = np.eye(4)[labels]
    expected = functional.softmax_cross_entropy(Tensor(logits), labels).item()
    np.testing.assert_allclose(
        cross_entropy(logits, onehot), expected, rtol=1e-12, err_msg="the loss in NumPy"
    )
    global clock
    clock = Clock()
    with pretending():
        there = cross_entropy(pretended.asarray(logits), pretended.asarray(onehot))
    assert clock.waits == 0, f"it waits {clock.waits} times"
    assert type(there) is Array and there.shape == (), "the result stays where it is"
    np.testing.assert_allclose(
        there.item(), expected, rtol=1e-12, err_msg="another loss there than in NumPy"
    )


attempt(check_cross_entropy)


# %% tags=["solution"]
def cross_entropy(logits, onehot):
    """Return the mean cross entropy of logits (N, C) and rows with a single 1 (N, C)."""
    xp = backend.get_xp(logits)
    z = logits - logits.max(axis=1, keepdims=True)
    return -((z - xp.log(xp.exp(z).sum(axis=1, keepdims=True))) * onehot).sum() / len(logits)


# %% [markdown]
# ## 4. What makes the host wait
#
# **Predict.** Here are ten expressions with an array `x` on the GPU. Which of them make the host wait?
#
# `x.sum()`, `float(x.sum())`, `x.shape[0]`, `1 if x[0] > 0 else 2`, `x[x > 0]`, `xp.where(x > 0, x, 0)`,
# `x * (x > 0)`, `x[1:3]`, `x.max().item()`, `x.get()`
#
# <details><summary>Answer</summary>
#
# `float(...)`, the `if`, which calls `bool`, the mask, `item()` and `get()`. Half of them.
#
# </details>

# %%
rng = np.random.default_rng([SEED, 4])  # this section's own, so that it can run again
x = pretended.asarray(rng.standard_normal(5))
xp = pretended
expressions = """x.sum(); float(x.sum()); x.shape[0]; 1 if x[0] > 0 else 2; x[x > 0]
xp.where(x > 0, x, 0); x * (x > 0); x[1:3]; x.max().item(); x.get()"""
waiting = []
for expression in expressions.replace("\n", "; ").split("; "):
    clock = Clock()
    eval(expression)
    print(f"{expression:24} {clock.launches} launches, {clock.waits} waits")
    waiting += [expression] if clock.waits else []
assert waiting == [
    "float(x.sum())",
    "1 if x[0] > 0 else 2",
    "x[x > 0]",
    "x.max().item()",
    "x.get()",
]

# %% [markdown]
# Each has a form without waiting:
#
# | waits | does not |
# |---|---|
# | `total += float(loss)` | `total = total + loss`, and read it at the end |
# | `if x > 0: y = a` … `else: y = b` | `y = xp.where(x > 0, a, b)`: compute both, choose |
# | `x[x > 0].sum()` | `(x * (x > 0)).sum()` |
# | `print(loss)` at every step | now and then |
#
# **Your turn.** Gradients are often clipped: if the norm of $g$ exceeds a limit, $g$ is scaled down to that norm.
# Written with an `if`, that waits at every step. Write it without: the factor is
# $\min(1, \text{limit} / \text{norm})$.


# %%
def clip_gradient(g, limit):
    """Scale g so that its Euclidean norm is at most `limit`; wait for nothing."""
    raise NotImplementedError


# %%
def check_clip_gradient():
    global clock
    for scale in (0.01, 10.0):
        g = scale * np.random.default_rng(2).standard_normal((3, 4))
        norm = np.sqrt((g**2).sum())
        expected = g if norm <= 2 else g * (2 / norm)
        np.testing.assert_allclose(
            clip_gradient(g.copy(), 2.0),
            expected,
            rtol=1e-12,
            err_msg="scale g where its norm is above the limit, and only there",
        )
        clock = Clock()
        with pretending():
            there = clip_gradient(pretended.asarray(g), 2.0)
        assert clock.waits == 0, f"it waits {clock.waits} times"
        np.testing.assert_allclose(
            there.get(), expected, rtol=1e-12, err_msg="another result there than in NumPy"
        )


attempt(check_clip_gradient)


# %% tags=["solution"]
def clip_gradient(g, limit):
    """Scale g so that its Euclidean norm is at most `limit`; wait for nothing."""
    xp = backend.get_xp(g)
    return g * xp.minimum(1, limit / xp.sqrt((g * g).sum()))


# %% [markdown]
# ## 5. A training step that waits for nothing
#
# Now the library itself. We take a small perceptron with ternary activations, batch norm and a linear classifier,
# put its parameters on the pretended GPU, and train it for 20 steps. First the way one would write it without
# thinking: at every step, look whether the loss is still finite, add it up, and count the hits.


# %%
from duonet import models, optim

rng = np.random.default_rng([SEED, 5])  # this section's own, so that it can run again
images = rng.standard_normal((20, 16, 8)).astype("float32")  # 20 batches of 16
labels = rng.integers(0, 4, (20, 16))


def network(place):
    """Build the network, always the same, with its arrays put where `place` puts them."""
    model = models.mlp(
        "ternary", inputs=8, widths=(16, 16), classes=4, rng=np.random.default_rng(3)
    )
    for _, tensor in [*model.named_parameters(), *model.named_buffers()]:
        tensor.data = place(tensor.data)
    return model, optim.AdamW(model.parameters(), 1e-2)


# %%
def step(model, optimizer, x, y):
    """Do one training step; return the loss and the logits."""
    logits = model(Tensor(x))
    loss = functional.softmax_cross_entropy(logits, y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.data, logits.data


# %%
def careless(model, optimizer, batches):
    total = hits = 0.0
    for x, y in batches:
        loss, logits = step(model, optimizer, x, y)
        if not abs(loss) < 1e6:
            raise ArithmeticError("the loss is not finite")
        total += float(loss)
        hits += int((logits.argmax(axis=1) == y).sum())
    return total / len(batches), hits / sum(len(y) for _, y in batches)


# %% [markdown]
# **Predict.** How often does the host wait in 20 steps? Forward pass, backward pass and update are the library's,
# nearly two hundred launches a step.
#
# <details><summary>Answer</summary>
#
# 60 times: `if`, `float` and `int` at every step. The library's own part does not wait.
#
# </details>


# %%
def run(loop):
    """Train on the pretended GPU; return what the loop returns, the clock, and the weights."""
    global clock
    with pretending():
        model, optimizer = network(pretended.asarray)
        batches = [
            (pretended.asarray(x), pretended.asarray(y)) for x, y in zip(images, labels)
        ]
        clock = Clock()
        figures = loop(model, optimizer, batches)
        used, clock = clock, Clock()  # reading the weights is not part of it
        return figures, used, [p.numpy() for p in model.parameters()]


first, slow, weights = run(careless)
print(f"{slow.launches / 20:.0f} launches a step, {slow.waits} waits in 20 steps")
assert slow.waits == 60 and 150 < slow.launches / 20 < 230

# %% [markdown]
# Now the same with the figures kept where they are, as 0-d arrays, and read once at the end. That the loss is
# finite can be seen then as well: a sum with a NaN or an infinity in it is not finite any more.


# %%
def careful(model, optimizer, batches):
    total = hits = 0
    for x, y in batches:
        loss, logits = step(model, optimizer, x, y)
        total = total + loss
        hits = hits + (logits.argmax(axis=1) == y).sum()
    if not np.isfinite(float(total)):
        raise ArithmeticError("the loss is not finite")
    return float(total) / len(batches), int(hits) / sum(len(y) for _, y in batches)


second, fast, weights_again = run(careful)
print(f"{fast.launches / 20:.0f} launches a step, {fast.waits} waits in 20 steps")
assert fast.waits == 3 and all(map(np.array_equal, weights, weights_again))
assert abs(first[0] - second[0]) < 1e-5 and first[1] == second[1]

# %% [markdown]
# Three waits, however many steps there are, and the same weights, loss and accuracy. (The mean loss is added up in
# float32 rather than in Python's float64, and agrees to five digits.) Each of our 60 waits stopped the GPU for a
# short time only, from when it ran out of work until the host had launched again. What does it cost?

# %%
busy = [c.launches * Clock.WORK / c.gpu for c in (slow, fast)]
print(f"the GPU works {busy[0]:.1%} of the time, and {busy[1]:.1%}")
assert busy[0] < busy[1] and busy[1] > 0.999

# %% [markdown]
# Next to nothing! In this model a launch is four times cheaper than a kernel, so the queue is always long and
# quickly filled again. This is the case of large batches, where kernels are long.
#
# Small networks are the other case: there a kernel may be shorter than its launch. Then the host is the
# bottleneck, the GPU always waits for *it*, and what counts is the number of launches. Somewhere in between, when
# both take the same time and the host does other work between steps, waiting hurts most. So we let the host spend
# some units on preparing a batch, as in the figure at the top, and vary the length of a kernel.
#
# **Change this.** Set `PREPARE` to 30, then to 120, and run the cells down to the next text. For which length of a
# kernel does waiting cost most?
#
# <details><summary>Answer</summary>
#
# For 1½, and for 3. In both cases a step keeps the host and the GPU busy for the same time: 30 + 60 = 60 · 1½, and
# 120 + 60 = 60 · 3.
#
# </details>


# %%
PREPARE, LAUNCHES = 60, 60  # units of the host, and kernels, in each step


def share_busy(work, wait, prepare=PREPARE, launches=LAUNCHES, steps=50):
    """Return the share of time that the GPU works in a loop of steps."""
    clock = Clock()
    clock.WORK = work
    for _ in range(steps):
        clock.host += prepare
        for _ in range(launches):
            clock.launch()
        if wait:
            clock.wait()
    return steps * launches * work / clock.gpu


# %% tags=["hide-input"]
# alt: Share of time that the GPU works, against the length of a kernel. Without waits it rises
#      in a straight line to 100 % at two launches; with a wait at every step it rises more
#      slowly. The gap is largest at two launches.
works = np.arange(0.25, 8.01, 0.25)
figure, ax = plt.subplots(figsize=(9, 3), layout="constrained")
for wait, colour, label in (
    (False, BLUE, "waits once, at the end"),
    (True, ORANGE, "waits at every step"),
):
    shares = [share_busy(work, wait) for work in works]
    ax.plot(works, 100 * np.array(shares), color=colour, lw=2.5, label=label)
ax.axvline((PREPARE + LAUNCHES) / LAUNCHES, color="0.6", ls=":", lw=1.5)
ax.set(
    xlabel="length of a kernel, in launches (a model, not a measurement)",
    ylabel="GPU works (% of time)",
)
ax.set(ylim=(0, 108), xlim=(0, 8))
ax.legend(frameon=False, loc="lower right")
ax.spines[["top", "right"]].set_visible(False)
plt.show()

# %%
gaps = [share_busy(work, False) - share_busy(work, True) for work in works]
print("waiting costs most where a kernel takes", works[int(np.argmax(gaps))], "launches")
assert share_busy(works[-1], True) > share_busy(works[0], True), (
    "long kernels keep the GPU busy"
)
if (PREPARE, LAUNCHES) == (60, 60):  # what the text below says
    assert works[int(np.argmax(gaps))] == 2 and 0.3 < max(gaps) < 0.4
    assert share_busy(8, True) > 0.85 and share_busy(0.5, False) < 0.3
    assert share_busy(0.5, False) - share_busy(0.5, True) < 0.01

# %% [markdown]
# The host needs 60 units to prepare and 60 to launch, so a step keeps it busy for 120. With 60 kernels of 2 units
# the GPU needs 120 as well (the dotted line): without waits both are busy all the time; with them they take turns,
# and a third of the GPU's time is lost. On the far left, where a kernel takes less than a launch, waiting costs
# next to nothing, and only less work for the host helps, such as fewer launches. To the right waiting matters less
# and less.
#
# The results have the same bits as on the CPU, since the stand-in computes with NumPy:

# %%
with plain_ops():
    plain, its_optimizer = network(lambda array: array)
    here = careful(plain, its_optimizer, list(zip(images, labels)))
assert here == second and all(
    map(np.array_equal, [p.numpy() for p in plain.parameters()], weights)
)

# %% [markdown]
# The library's `fit` is written like `careful`: it reads the loss for the progress bar every half second and at
# the end of an epoch. Its test-suite has a stand-in of the same kind as ours, only stricter (`tests/standin`),
# which raises an error at any wait inside a training step, for every model and optimiser.
#
# ## 6. Measure what was computed, not what was launched
#
# **Predict.** You time ten products of matrices on a GPU: read the clock, call `x @ w` ten times, read the clock.
# What have you measured, on our pretended GPU?
#
# <details><summary>Answer</summary>
#
# Ten launches: 10 units. The products take 40, and most of them have not begun.
#
# </details>

# %%
clock = Clock()
x, w = pretended.asarray(np.ones((4, 4))), pretended.asarray(np.ones((4, 4)))
began = clock.host
for _ in range(10):
    x @ w
launched = clock.host - began
clock.wait()
computed = clock.host - began
print("without synchronising:", launched, "   with:", computed)
assert (launched, computed) == (10, 41)

# %% [markdown]
# The mistake makes everything look equally fast. An honest measurement
#
# 1. *synchronises* before it reads the clock, at both ends: at the start too, or it counts what was launched
#    before;
# 2. *warms up*: the first calls compile kernels, fill caches and ask for memory;
# 3. repeats, and takes the *median*, which an interruption by another program does not move;
# 4. *interleaves* what is compared, A B B A …, so that a slow minute of the machine slows both alike, and neither
#    gains by its place.
#
# **Your turn.** Write points 1 to 3. `work()` does the work, `now()` reads the clock and `synchronise()` waits.


# %%
def median_time(work, now, synchronise, warm_up=2, turns=5):
    """Return the median time of `turns` calls of work(), after `warm_up` calls not counted."""
    raise NotImplementedError


# %%
def check_median_time():
    def measured(lengths, **options):
        clock, left = Clock(), [1000, *lengths]

        def work():
            clock.WORK = left.pop(0)
            clock.launch()

        work()  # launched before, and still running when the measurement begins
        return median_time(work, lambda: clock.host, clock.wait, **options), left

    assert measured([4], warm_up=0, turns=1) == (5, []), (
        "a launch and a kernel of length 4, nothing else"
    )
    compiled, interrupted = [500, 90], [4, 4, 400, 4, 6]
    assert measured([*compiled, *interrupted, 7, 7]) == (5, [7, 7]), (
        "the median of five turns, after two others"
    )


attempt(check_median_time)


# %% tags=["solution"]
def median_time(work, now, synchronise, warm_up=2, turns=5):
    """Return the median time of `turns` calls of work(), after `warm_up` calls not counted."""
    times = []
    for _ in range(warm_up + turns):
        synchronise()
        began = now()
        work()
        synchronise()
        times.append(now() - began)
    return float(np.median(times[warm_up:]))


# %% [markdown]
# Here is the whole recipe with real time, for whichever device this notebook runs on. Before comparing two things,
# compare one with itself (an *A/A test*). Both sides do the same work, so about half of the ratios should lie
# above 1 and half below, on a busy machine as well. The middle half of the ratios must then have 1 inside, and its
# width tells you which differences you may believe. `benchmarks/train_step.py` in the repository measures in a
# similar way.

# %%
import statistics
import time


def synchronise():
    if device == "gpu":
        sys.modules["cupy"].cuda.runtime.deviceSynchronize()


def interleaved(works, turns=100, warm_up=2):
    """Return for every piece of work the times of its turns, in seconds."""
    seconds = {name: [] for name in works}
    for turn in range(warm_up + turns):
        for name in list(works)[:: (-1) ** turn]:  # each comes first in every other turn
            synchronise()
            began = time.perf_counter()
            works[name]()
            synchronise()
            seconds[name].append(time.perf_counter() - began)
    return {name: times[warm_up:] for name, times in seconds.items()}


# %%
rng = np.random.default_rng([SEED, 6])  # this section's own, so that it can run again
angles = backend.to_device(rng.standard_normal(40_000), device)
sin = backend.get_xp(angles).sin
times = interleaved({"A": lambda: sin(angles), "A again": lambda: sin(angles)})
low, _, high = statistics.quantiles((a / b for a, b in zip(*times.values())), n=4)
print("A against A, the middle half of the ratios has 1 inside:", low <= 1 <= high)
assert low <= 1 <= high

# %% [markdown]
# On a GPU there is a finer tool: *events*, marks in the queue itself, which the GPU stamps with the time when it
# reaches them. They leave out the launch. This cell needs a GPU, and was not run for the outputs that you see.

# %%
if device == "gpu":
    import cupy

    start, stop = cupy.cuda.Event(), cupy.cuda.Event()
    start.record()
    sin(angles)
    stop.record()
    stop.synchronize()
    print("the GPU took some time:", cupy.cuda.get_elapsed_time(start, stop) > 0)
else:
    print("no GPU: events are skipped")

# %% [markdown]
# ## 7. The same cells on a real GPU
#
# All the library needs is that parameters and batches are in the same place. `model.to(device)` moves parameters
# and running averages; a `DataLoader` with `device=device` prepares batches on the CPU, in a thread, and uploads
# them. Nothing else in the program changes. We train a small network for one epoch on 1,000 images, on whichever
# device there is:

# %% tags=["slow"]
from duonet import data, evaluate, fit, no_grad

rng = np.random.default_rng([SEED, 7])  # this section's own, so that it can run again
splits = data.fashion_mini()
normalize = data.Normalize.of(splits.train.images)
model = models.mlp("ternary", widths=(64, 64), rng=np.random.default_rng(4)).to(device)
optimizer = optim.AdamW(
    model.parameters(), 2e-3
)  # after moving: its state lives beside the parameters
loader = data.DataLoader(splits.train.take(1000), 50, normalize, rng=rng, device=device)
history = fit(model, loader, optimizer, epochs=1, progress=False)
score = evaluate(model, data.DataLoader(splits.validation, 500, normalize, device=device))
print("better than guessing one of ten:", score.accuracy > 0.3)
assert score.accuracy > 0.3 and len(history) == 1

# %% [markdown]
# Weights, shuffles and dropout are drawn by NumPy's generators and then uploaded, so a seed means the same on both
# devices. Sums may be added up in another order there, so float32 results agree up to rounding, no more. And where
# rounding pushes a pre-activation over a threshold, a quantised activation flips. So the honest comparison of two
# devices asks for nearly all predictions:

# %%
x = normalize(splits.validation.images)
with no_grad():
    there = model.eval()(Tensor(backend.to_device(x, device))).numpy().argmax(axis=1)
    here = model.to("cpu")(Tensor(x)).numpy().argmax(axis=1)
print(
    f"this device and the CPU agree on at least 97 % of {len(x)} images:",
    np.mean(there == here) >= 0.97,
)
assert np.mean(there == here) >= 0.97

# %% [markdown]
# (In the outputs here both devices are the CPU, so the comparison says little. On a GPU it says more.)
#
# Now we cause failures on purpose. First, we ask for a GPU where there is none. The message comes from the probe
# of section 1 and names the thing that it looked for. Where there is a GPU, nothing is raised.

# %%
try:
    model.to("gpu")
    print("moved to the GPU")
except RuntimeError as error:
    print(error)
assert backend.device_of(model.linear1.weight.data) == device
model = model.to("cpu")

# %% [markdown]
# Second: a model on one device and its batch on the other. Third: the optimiser was made before the model was
# moved, so its running averages stayed behind. Both need a GPU; the pretended one will do. The messages name the
# layer, the argument and the places.

# %%
with pretending():
    moved, updates = network(pretended.asarray)
    try:
        moved(Tensor(images[0]))
    except TypeError as error:
        print(error)
        assert "x is on the cpu but w is on the gpu" in str(error)

    moved, updates = network(lambda array: array)
    for _, tensor in [*moved.named_parameters(), *moved.named_buffers()]:
        tensor.data = pretended.asarray(tensor.data)
    try:
        step(moved, updates, pretended.asarray(images[0]), pretended.asarray(labels[0]))
    except TypeError as error:
        print(error)
        assert "its state is on the cpu, a parameter on the gpu; make it after moving" in str(
            error
        )

# %% [markdown]
# ## 8. Memory comes from a pool
#
# A request to the driver for memory costs time, and the return of memory can make the host wait. So CuPy keeps a
# *memory pool*: memory that an array no longer needs is not given back, but kept for the next array of that size.
# A training step needs the same sizes over and over, so after the first step the driver is not asked any more.
# Here is a pool in its simplest form:


# %%
from collections import Counter


class Pool:
    """Keeps what is given back, sorted by size."""

    def __init__(self):
        self.free, self.held, self.asked = Counter(), 0, 0

    def take(self, size):
        if self.free[size]:
            self.free[size] -= 1
        else:
            self.asked += 1  # the slow way, to the driver
            self.held += size

    def give(self, size):
        self.free[size] += 1


# %% [markdown]
# **Predict.** A step needs two arrays of 100 bytes and one of 300 at the same time, and gives all of them back at
# its end. How often is the driver asked in 50 steps? And if the last batch of every epoch is smaller, so that the
# sizes are 60, 60 and 180?
#
# <details><summary>Answer</summary>
#
# Three times, in the first step. The smaller batch asks three times more, once: its blocks are kept beside the
# others, and the pool holds 800 bytes although no moment needs more than 500.
#
# </details>

# %%
pool = Pool()
for i in range(50):
    sizes = (60, 60, 180) if i % 10 == 9 else (100, 100, 300)
    for size in sizes:
        pool.take(size)
    for size in sizes:
        pool.give(size)
    if i in (8, 49):
        print(f"after step {i + 1}: asked {pool.asked} times, {pool.held} bytes held")
assert (pool.asked, pool.held) == (6, 800)

# %% [markdown]
# CuPy's real pool also cuts large free blocks into smaller ones and joins them again, so it would have served the
# smaller batch from the memory that it held. Three consequences hold for CuPy's pool as well.
#
# * Monitors such as `nvidia-smi` show what the pool *holds*, not what arrays *use*:
#   `cupy.get_default_memory_pool()` tells both numbers, by `total_bytes()` and `used_bytes()`.
# * `free_all_blocks()` gives unused blocks back, for another program. A loop should not call it.
# * Where memory runs out, a smaller batch helps. The library says in which op, and how much was asked for;
#   `set_limit(size=…)` tries it out.

# %%
if device == "gpu":
    memory = cupy.get_default_memory_pool()
    assert 0 < memory.used_bytes() <= memory.total_bytes()
    print("the pool holds at least what is used")
else:
    print("no GPU: there is no pool to look at")

# %% [markdown]
# ## 9. TF32: fewer bits in products
#
# Recent NVIDIA GPUs (compute capability 8.0 and above) can multiply float32 matrices in a shorter format, TF32:
# the exponent of float32, but only 10 bits behind the leading one instead of 23. The factors are shortened, their
# products are added up in float32. `duonet.backend.allow_tf32()` asks for it, as does `duonet train --tf32`.
#
# What is lost? A number with at most 11 significant bits stays as it is. Other numbers move by at most half a
# unit in the tenth bit, which is $2^{-11}$ of their size, if they are rounded to nearest. (Hardware may cut the
# bits off instead; then the bound is twice as large, and short numbers still stay as they are.)
#
# **Predict.** Which of these numbers survive: 0, ½, 1, −1, 0.1, 1000, 2049?
#
# <details><summary>Answer</summary>
#
# All but 0.1 and 2049. Binary and ternary activations survive: 0, ½ and 1 have one significant bit. 0.1 has
# infinitely many. 1000 is 1111101000 in binary, seven significant bits up to the last 1. $2049 = 2^{11} + 1$ needs
# twelve.
#
# </details>
#
# **Your turn.** Write the rounding. `np.frexp(x)` takes a number apart into $m \cdot 2^e$ with
# $\tfrac12 \le |m| < 1$, and `np.ldexp(m, e)` puts it together again. Eleven significant bits mean that $2^{11} m$
# is a whole number.


# %%
def to_tf32(x):
    """Round float32 numbers to 11 significant bits, to nearest; ties to even."""
    raise NotImplementedError


# %%
def check_to_tf32():
    short = np.array([0, 0.5, 1, -1, 1000, 2047, 2**-20], "float32")
    np.testing.assert_array_equal(
        to_tf32(short), short, err_msg="a number that fits stays as it is"
    )
    assert to_tf32(np.float32([2049]))[0] == 2048 and to_tf32(np.float32([2051]))[0] == 2052, (
        "a tie goes to the even neighbour"
    )
    x = np.random.default_rng(5).standard_normal(10_000).astype("float32")
    y = to_tf32(x)
    assert y.dtype == np.float32 and (y != x).mean() > 0.99, (
        "float32, with most numbers rounded"
    )
    bits = y.view(np.uint32)
    assert not (bits & 0x1FFF).any(), "the last 13 bits of each are 0"
    assert np.abs(y / x - 1).max() <= 2.0**-11, (
        "off by half a unit of the eleventh bit at most"
    )


attempt(check_to_tf32)


# %% tags=["solution"]
def to_tf32(x):
    """Round float32 numbers to 11 significant bits, to nearest; ties to even."""
    mantissa, exponent = np.frexp(x)
    return np.ldexp(np.round(mantissa * 2**11) / 2**11, exponent).astype(np.float32)


# %% [markdown]
# To see what that does to a layer, we round both factors by another way, with integers: adding half of the part
# that will be cut off, then cutting it off. A layer of a decoupled network (tutorial 5) has activations 0 and 1
# and float weights:


# %%
def rounded(x):
    """Round to 11 significant bits, by the bits themselves; ties go away from zero."""
    bits = np.ascontiguousarray(x, dtype=np.float32).view(np.uint32)
    return ((bits + np.uint32(0x1000)) & np.uint32(0xFFFFE000)).view(np.float32)


numbers = np.float32([0, 0.5, 1, -1, 0.1, 1000, 2049])
assert (rounded(numbers) == numbers).tolist() == [True] * 4 + [False, True, False]

# %%
rng = np.random.default_rng([SEED, 9])  # this section's own, so that it can run again
a = (rng.random((64, 500)) < 0.5).astype("float32")
w = rng.standard_normal((500, 32)).astype("float32")
exact = a.astype("float64") @ w.astype("float64")
in_float32, in_tf32 = a @ w, rounded(a) @ rounded(w)
assert np.array_equal(rounded(a), a) and np.abs(rounded(w) / w - 1).max() <= 2.0**-11
assert np.finfo(np.float32).nmant == 23 and rounded(np.float32([2049])) == 2050
error32, error_tf32 = (
    np.abs(y - exact).max() / np.abs(exact).max() for y in (in_float32, in_tf32)
)
print(
    "activations lose nothing; the products are off by less than 1 in a thousand:",
    bool(error_tf32 < 1e-3),
)
assert 100 < error_tf32 / error32 < 10_000 and error_tf32 < 1e-3

# %% [markdown]
# So binary activations lose nothing, but weights and gradients do: the error is about a thousand times that of
# float32. Whether training tolerates this error has to be measured. A numerical gradient, a small difference of
# two losses, does not tolerate it; this package checks gradients in float64 anyway.
#
# CuPy settles whether it uses TF32 with the first product of a process. So you have to ask for TF32 *before*
# anything is computed. Where the request comes too late, or where there is no GPU, the library raises an error:

# %%
try:
    backend.allow_tf32()
    print("TF32 is on")
except RuntimeError as error:
    print(error)

# %% [markdown]
# ## 10. Kernels are twins of plain ops
#
# An op made of five CuPy calls is five launches, and writes four intermediate arrays that nobody needs. A kernel
# of one's own does it in one. In this package such a kernel belongs to a *twin*: a class that derives from the
# plain op and replaces its `forward` or `backward` on one device. The plain op stays the definition, and the twin
# is tested to compute the same. `duonet.engine` says which version runs, and needs no GPU for that:

# %%
from duonet import engine
from duonet.gpu import kernels
from duonet.quant.activation import Quantize

MODULES = {"cpu": "duonet.fast.elementwise", "gpu": "duonet.gpu.quantize"}
with engine.without("compiled"):  # numba has a twin of its own, where it is installed
    for place, module in MODULES.items():
        twin = engine.version(Quantize, place)
        print(f"{place}: {twin.__module__}.{twin.__name__}")
        assert issubclass(twin, Quantize) and twin.__module__ == module
with plain_ops():
    assert engine.version(Quantize, "gpu") is Quantize

# %% [markdown]
# A kernel is a function for *one* element, which the GPU runs for thousands of elements at the same time, each run
# called a *thread*. A thread knows its number $i$, and nothing of the others. Here is the kernel of the staircase
# written in Python: thread $i$ looks at element $i$ and counts the thresholds that it has reached. Since threads
# must not rely on any order, we run them in a random one.


# %%
rng = np.random.default_rng([SEED, 10])  # this section's own, so that it can run again


def quantize_thread(i, x, thresholds, levels, y):
    y[i] = levels[sum(x[i] >= t for t in thresholds)]


def start(thread, n, *arguments):
    """Run n threads, in an order that nobody may rely on."""
    for i in rng.permutation(n):
        thread(i, *arguments)


x = rng.normal(0.5, 0.5, 1000).astype("float32")
y = np.full_like(x, np.nan)
start(quantize_thread, len(x), x, (0.25, 0.75), (0.0, 0.5, 1.0), y)
from duonet.quant import Ternary

np.testing.assert_array_equal(y, Ternary()(x))

# %% [markdown]
# Bit for bit the plain op. In CUDA C the line is nearly the same; `T` stands for float or double, and a thread
# that has more than one element to do walks on by the number of threads. (The kernel can apply batch norm on the
# way: where it has a `mean`, `value` is the normalised `x[i]`.)

# %%
source = kernels.code("quantize", np.dtype("float32"))
lines = source.splitlines()
first = next(i for i, line in enumerate(lines) if "for (unsigned i = start" in line)
print("\n".join(line.rstrip() for line in lines[first : first + 5]))
assert lines[0] == "typedef float T; typedef T UNIT;" and "level += value >= " in source

# %% [markdown]
# **Your turn.** Images are channels-last: element $i$ of an array of $C$ channels, laid out as one row, belongs to
# channel $i \bmod C$. Write the thread of an op that batch norm needs in evaluation,
# $y = \text{scale}_c \cdot x + \text{shift}_c$.


# %%
def scale_thread(i, x, scale, shift, y):
    """Do the work of thread i: y[i] = scale[c] x[i] + shift[c], c the channel of element i."""
    raise NotImplementedError


# %%
def check_scale_thread():
    local = np.random.default_rng(6)
    x, scale, shift = (
        local.standard_normal((2, 3, 4, 5)),
        local.standard_normal(5),
        local.standard_normal(5),
    )
    y, seen = np.full(x.size, np.nan), x.ravel().copy()
    for i in local.permutation(x.size):
        before = np.isnan(y).sum()
        scale_thread(i, seen, scale, shift, y)
        assert np.isnan(y).sum() == before - 1, "a thread writes one element"
    np.testing.assert_array_equal(
        y.reshape(x.shape), scale * x + shift, err_msg="the channel is the last index of x"
    )


attempt(check_scale_thread)


# %% tags=["solution"]
def scale_thread(i, x, scale, shift, y):
    """Do the work of thread i: y[i] = scale[c] x[i] + shift[c], c the channel of element i."""
    c = i % len(scale)
    y[i] = scale[c] * x[i] + shift[c]


# %% [markdown]
# Sums are harder, because threads have to work together. If each adds its part to one total as soon as it is ready
# (an *atomic* addition), the order is a matter of chance, and with it the last bits: floating-point addition is
# not associative.
#
# **Predict.** 1,000 float32 numbers are added up in 20 random orders. How many different results?
#
# <details><summary>Answer</summary>
#
# More than five, in any case: most orders round in a way of their own.
#
# </details>

# %%
parts = rng.standard_normal(1000).astype("float32")
totals = {float(np.cumsum(parts[rng.permutation(1000)])[-1]) for _ in range(20)}
print("more than one result:", len(totals) > 1)
assert 5 < len(totals) <= 20 and max(totals) - min(totals) < 1e-3

# %% [markdown]
# Therefore the kernels of this package use no atomic additions: sums run in a fixed order, so that a run can be
# repeated bit for bit. (`np.cumsum` adds one after the other, as atomic additions would; `np.sum` adds in pairs.)
#
# The package's tests compile the kernels and run them thread by thread on a CPU, as you have just done. When this
# notebook was written the kernels had not run on a real GPU. One script, `benchmarks/gpu_run.sh`, has the work
# that remains there: the tests that need a GPU, the times of a training step, and the training of a network.
#
# ## Recap
#
# * Importing CuPy proves nothing. Compute something, and keep the reason if it fails.
# * `xp = backend.get_xp(x)`: the array knows its module. No global switch.
# * Computing launches, looking waits: `float`, `item`, `if`, printing and masks make the host wait; shapes,
#   `xp.where` and 0-d arrays do not.
# * A training step adds up its figures as 0-d arrays, and they are read once an epoch.
# * Time with a synchronisation at both ends, after warming up, with medians, interleaved.
# * Make the optimiser after moving the model. Arrays on two devices are refused by name.
# * A pool keeps memory; TF32 shortens factors, of which 0, ½ and ±1 lose nothing.
# * A kernel is a twin of a plain op, which stays the definition.
#
# ## Exercises
#
# **★ One wait less.** `careful` waits three times: twice for the loss, once for the hits. Write a loop that waits
# once. (Put both figures into one array, with `xp.stack`, and call `get`. They need one dtype.)


# %%
def one_wait(model, optimizer, batches):
    """Train as `careful` does; return mean loss and accuracy after a single wait."""
    raise NotImplementedError


# %%
def check_one_wait():
    figures, used, trained = run(one_wait)
    assert used.waits == 1, f"it waits {used.waits} times"
    np.testing.assert_allclose(
        figures, second, rtol=1e-5, err_msg="other figures than those of `careful`"
    )
    assert all(map(np.array_equal, trained, weights)), "the weights are not those of `careful`"


attempt(check_one_wait)


# %% tags=["solution"]
def one_wait(model, optimizer, batches):
    """Train as `careful` does; return mean loss and accuracy after a single wait."""
    total = hits = 0
    for x, y in batches:
        loss, logits = step(model, optimizer, x, y)
        total = total + loss
        hits = hits + (logits.argmax(axis=1) == y).sum()
    xp = backend.get_xp(total)
    loss, right = xp.stack([total, hits.astype(total.dtype)]).get()
    return loss / len(batches), right / sum(len(y) for _, y in batches)


# %% [markdown]
# **★★ Skip bad steps.** A step whose gradient is not finite should change nothing. Write the update
# $w \leftarrow w - \text{lr} \cdot g$, in which $w$ stays as it is if *any* element of $g$ is infinite or NaN,
# without a wait. Careful: $0 \cdot \infty$ is NaN.


# %%
def guarded_update(w, g, lr):
    """Return w − lr g, or w where g holds anything that is not finite; wait for nothing."""
    raise NotImplementedError


# %%
def check_guarded_update():
    global clock
    w, good = np.arange(4.0), np.array([1.0, -2.0, 3.0, 0.5])
    for bad in (None, np.inf, -np.inf, np.nan):
        g = good.copy()
        g[2] = g[2] if bad is None else bad
        expected = w - 0.1 * good if bad is None else w
        clock = Clock()
        with pretending(), np.errstate(all="ignore"):
            there = guarded_update(pretended.asarray(w), pretended.asarray(g), 0.1)
        assert clock.waits == 0, f"it waits {clock.waits} times"
        np.testing.assert_allclose(there.get(), expected, rtol=1e-12, err_msg=str(bad))


attempt(check_guarded_update)


# %% tags=["solution"]
def guarded_update(w, g, lr):
    """Return w − lr g, or w where g holds anything that is not finite; wait for nothing."""
    xp = backend.get_xp(w)
    return xp.where(xp.isfinite(g).all(), w - lr * g, w)


# %% [markdown]
# **★★ Find the best batch.** In the model of section 5 a step has `prepare` + `launches` units of host time and
# `launches` · `work` of the GPU's. Write down the time of a step with and without a wait, and check your formula
# against `share_busy`. For which kernel length is the difference of the two shares largest?
#
# **★★★ A sum with a fixed order.** Write a sum that gives the same bits however many threads share the work: cut
# $x$ into blocks of 32 elements, whatever the number of threads is, add up each block from left to right, and then
# the blocks' totals from left to right. Thread $k$ of $n$ does the blocks $k, k + n, k + 2n, \ldots$ All in
# float32.


# %%
def steady_sum(x, threads):
    """Add up float32 numbers with so many threads; the result does not depend on how many."""
    raise NotImplementedError


# %%
def check_steady_sum():
    x = np.random.default_rng(7).standard_normal(1001).astype("float32")
    results = {np.float32(steady_sum(x, threads)).tobytes() for threads in (1, 2, 3, 7, 64)}
    assert len(results) == 1, "it depends on the number of threads"
    blocks = [np.cumsum(x[i : i + 32])[-1] for i in range(0, len(x), 32)]
    assert steady_sum(x, 4) == np.cumsum(np.array(blocks))[-1], (
        "blocks of 32 from left to right, then their totals"
    )


attempt(check_steady_sum)


# %% tags=["solution"]
def steady_sum(x, threads):
    """Add up float32 numbers with so many threads; the result does not depend on how many."""
    totals = np.zeros(-(-len(x) // 32), np.float32)
    for k in range(threads):
        for block in range(k, len(totals), threads):
            for value in x[32 * block : 32 * block + 32]:
                totals[block] += value
    result = np.float32(0)
    for total in totals:
        result += total
    return result


# %% [markdown]
# ## References
#
# * R. Okuta, Y. Unno, D. Nishino, S. Hido, C. Loomis: *CuPy: A NumPy-Compatible Library for NVIDIA GPU
#   Calculations*, Workshop on Machine Learning Systems at NIPS, 2017. What CuPy is, and how its kernels and its
#   memory pool came about.
# * CuPy's user guide, [docs.cupy.dev](https://docs.cupy.dev/en/stable/user_guide/index.html). The chapters on
#   memory management and on performance are the practical side of sections 6 and 8.
# * C. R. Harris et al.: *Array programming with NumPy*, Nature 585, 2020. Describes the protocols,
#   `__array_ufunc__` among them, that let another array take part in NumPy's functions; our stand-in lives on
#   them.
# * J. Nickolls, I. Buck, M. Garland, K. Skadron: *Scalable Parallel Programming with CUDA*, ACM Queue 6(2), 2008.
#   Threads, blocks and kernels, by those who designed them.
# * D. Goldberg: *What Every Computer Scientist Should Know About Floating-Point Arithmetic*, ACM Computing Surveys
#   23(1), 1991. Why the order of a sum matters.
