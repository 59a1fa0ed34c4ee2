# %% [markdown]
# # Couple two binary activations into one ternary, and decouple them again
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/duonet/duonet/blob/main/tutorials/05_decoupling.ipynb)
#
# BinaryDuo trains a network with three activation levels, and then turns it into a network with two levels that
# computes the same function. You will do this by hand, first to a number, then to a layer, then to a network, and
# find out exactly what stays the same and what does not.

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
from duonet.viz import sliders

SEED = 0  # of every section's own generator: so its cells can run again, and in any order
BLUE, ORANGE, INK = "#0072B2", "#E69F00", "#222222"

# %% tags=["hide-input"]
# alt: Left, the ternary staircase as a stack of two binary staircases of half height, which
#      fire at one quarter and at three quarters. Right, their windows of half height, stacked:
#      wider than the window of the ternary activation, and with two steps.
h = np.linspace(-0.6, 1.6, 2201)
stairs = (h >= 0.25) / 2, (h >= 0.75) / 2
windows = ((-0.25 < h) & (h < 0.75)) / 2, ((0.25 < h) & (h < 1.25)) / 2
figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), sharey=True, layout="constrained")
axes[0].plot(h, sum(stairs), color=INK, lw=2, label="ternary")
axes[1].plot(
    h, (0 < h) & (h < 1), color=INK, lw=2, ls="--", label="coupled: the window of ternary"
)
titles = "forwards: the same staircase", "backwards: a wider window"
for ax, title, (first, second) in zip(axes, titles, (stairs, windows)):
    ax.fill_between(h, first, color=ORANGE, lw=0, alpha=0.8, label="copy 2 (fires at ¼)")
    ax.fill_between(
        h, first, first + second, color=BLUE, lw=0, alpha=0.8, label="copy 1 (fires at ¾)"
    )
    ax.set_xticks([-0.25, 0, 0.25, 0.75, 1, 1.25], ["−¼", "0", "¼", "¾", "1", "1¼"])
    ax.set(
        xlabel="pre-activation h",
        xlim=(-0.6, 1.6),
        ylim=(0, 1.6),
        yticks=[0, 0.5, 1],
        title=title,
    )
    ax.legend(loc="upper left", frameon=False, fontsize=9)
axes[0].set_ylabel("value (left), slope (right)")
plt.show()

# %% [markdown]
# > **Do** Split ternary activations into pairs of binary ones: one number, one layer, one network trained on real
# > images. Then check that the split network has the same activations bit for bit, and the same predictions.
# >
# > **Learn** Why the split is exact, where rounding can break it, why the gradient changes all the same, how
# > narrow a coupled network has to be for a fair comparison, and which networks cannot be split.
# >
# > **Need** Staircases (quantisers), surrogates and the coarse gradient (tutorials 3 and 4). NumPy, the chain
# > rule, and what batch norm and a convolution do.
# >
# > **Time** Runs in 5 s on two cores (measured); an hour and a quarter to read and work through.

# %% [markdown]
# ## 1. One staircase is two smaller ones
#
# A *binary activation* gives 0 below the threshold ½ and 1 from there on. A *ternary activation* has three levels,
# 0, ½ and 1, and two thresholds, ¼ and ¾. With $\mathbf{1}[\ldots]$ for "1 if true, else 0":
#
# $$\text{binary}(h) = \mathbf{1}[h \ge \tfrac12], \qquad
# \text{ternary}(h) = \begin{cases} 0 & h < \tfrac14 \\ \tfrac12 & \tfrac14 \le h < \tfrac34 \\ 1 & \tfrac34 \le h
# \end{cases}$$
#
# The number $h$ that goes in is called the *pre-activation* ($z$ in tutorial 4). In the networks of this tutorial
# it comes out of a batch norm. The claim that everything else rests on is
#
# $$\text{ternary}(h) = \tfrac12\,\text{binary}(h - \tfrac14) + \tfrac12\,\text{binary}(h + \tfrac14)
# \qquad\text{for every } h.$$
#
# *Proof.* Move the shift to the other side of the comparison: $\text{binary}(h-\tfrac14)$ asks whether
# $h - \tfrac14 \ge \tfrac12$, that is $h \ge \tfrac34$. In the same way $\text{binary}(h+\tfrac14)$ asks whether
# $h \ge \tfrac14$. There are three cases:
#
# | $h$ | $\mathbf{1}[h \ge \tfrac34]$ | $\mathbf{1}[h \ge \tfrac14]$ | half their sum | $\text{ternary}(h)$ |
# |---|---|---|---|---|
# | $h < \tfrac14$ | 0 | 0 | 0 | 0 |
# | $\tfrac14 \le h < \tfrac34$ | 0 | 1 | ½ | ½ |
# | $\tfrac34 \le h$ | 1 | 1 | 1 | 1 |
#
# The last two columns agree in every row, and every number is in exactly one row. A threshold itself, a *tie*,
# belongs to the row of the larger values, in every column, because all steps are at $\ge$. ∎
#
# We call the activation that fires at ¾ *copy 1* and the activation that fires at ¼ *copy 2*, in the order of the
# authors' code. Copy 1 never fires without copy 2. Two copies have four patterns, but only three occur, one for
# each level of a ternary activation.
#
# **Predict.** What are the two copies, and half their sum, at $h = \tfrac14$ exactly? And just below it?
#
# <details><summary>Answer</summary>
#
# At $h = \tfrac14$ copy 1 is 0 and copy 2 is 1: half the sum is ½. Just below, both are 0.
#
# </details>

# %%
from duonet.quant import Binary, Clip, Shifted, Ternary

just_below = np.nextafter(0.25, 0)  # the largest float64 below ¼
for h in (just_below, 0.25, 0.5, 0.75):
    copy1, copy2 = int(h >= 0.75), int(h >= 0.25)
    half_sum = (copy1 + copy2) / 2
    print(f"h - 1/4 = {h - 0.25:9.1e}   copies {copy1} {copy2}   half their sum {half_sum}")
    assert half_sum == Ternary()(np.array([h]))[0]

# %% [markdown]
# A proof is better than a test, but the proof is about real numbers and the library about floating-point ones. So
# we compare the library's `Ternary` with two of its `Binary` staircases at random numbers, at both ties and at the
# numbers next to the ties, and we ask for equality in every bit.


# %%
rng = np.random.default_rng(SEED)  # this section's own, so that it can run again
ties = np.array([0.25, 0.75])
values = np.concatenate(
    [rng.normal(0.5, 0.5, 100_000), ties, np.nextafter(ties, 0), np.nextafter(ties, 1)]
)
for dtype in ("float32", "float64"):
    h = values.astype(dtype)
    halves = (Binary(0.75)(h) + Binary(0.25)(h)) / 2
    np.testing.assert_array_equal(halves, Ternary()(h))
    assert set(np.unique(halves)) == {0, 0.5, 1} and halves.dtype == dtype

# %% [markdown]
# **Your turn.** In a network $h$ has channels, on the last axis. Write the function that turns $C$ channels of
# pre-activations into $2C$ channels of binary activations: *all* channels of copy 1 (which fires at ¾), then all
# channels of copy 2. This order is used from here to the end.


# %%
def split(h):
    """Turn pre-activations (..., C) into binary activations (..., 2C): copy 1, then copy 2."""
    raise NotImplementedError


# %%
def check_split():
    h = np.random.default_rng(1).choice([-1, 0.2, 0.25, 0.5, 0.7, 0.75, 2], (40, 3))
    both = split(h)
    assert both.shape == (40, 6), f"expected shape (40, 6), got {both.shape}"
    copy1, copy2 = both[:, :3], both[:, 3:]
    np.testing.assert_array_equal(
        (copy1 + copy2) / 2, Ternary()(h), err_msg="the mean of both copies is the ternary"
    )
    assert (copy1 <= copy2).all() and set(np.unique(both)) == {0, 1}, (
        "copies of zeros and ones, the one that fires at 3/4 first"
    )


attempt(check_split)


# %% tags=["solution"]
def split(h):
    """Turn pre-activations (..., C) into binary activations (..., 2C): copy 1, then copy 2."""
    return np.concatenate([h >= 0.75, h >= 0.25], axis=-1).astype(h.dtype)


# %% [markdown]
# ## 2. What breaks when a staircase rounds
#
# Many codes write a $k$-level activation as *clip to $[0, 1]$, multiply, round, divide* (tutorial 3 tried it in
# passing). It looks like the same function. With `np.round` it is not, because NumPy rounds a half to the nearest
# *even* whole number: 0.5 becomes 0, and 1.5 becomes 2.
#
# **Predict.** Take $h = \tfrac34$. What does the rounded ternary activation give, and what does half the sum of
# two rounded binary activations give?
#
# <details><summary>Answer</summary>
#
# Ternary: $2h = 1.5$ rounds to 2, which gives 1. Copy 1: $h - \tfrac14 = 0.5$ rounds to 0, not 1. Copy 2:
# $h + \tfrac14 = 1$ gives 1. Half the sum is ½: the decoupled network would differ from the coupled one by half a
# level.
#
# </details>


# %%
def rounded(h, steps):
    return np.round(steps * np.clip(h, 0, 1)) / steps


def rounded_halves(h):
    return (rounded(h - 0.25, 1) + rounded(h + 0.25, 1)) / 2


for h in (0.25, 0.75):
    compared = Ternary()(np.array([h]))[0]
    print(
        f"h = {h}: rounded ternary {rounded(h, 2)}, "
        f"rounded copies {rounded_halves(h)}, by >= {compared}"
    )
assert (rounded(0.75, 2), rounded_halves(0.75)) == (1.0, 0.5)

# %% [markdown]
# At ¾ the identity breaks. At ¼ the two rounded forms agree with each other, but not with $\ge$.
#
# Does a single number matter? If pre-activations are spread continuously, a tie practically never happens. But
# quantised layers add up multiples of a fixed step, such as ⅛, and such sums fall on ties all the time. So we
# count disagreements twice: for normal random numbers, and for the same numbers rounded to multiples of ⅛.

# %%
rng = np.random.default_rng([SEED, 2])  # this section's own, so that it can run again
spread = rng.normal(0.5, 0.5, 10_000)
eighths = np.round(spread * 8) / 8
for name, h in (("spread", spread), ("eighths", eighths)):
    share = np.mean(rounded(h, 2) != rounded_halves(h))
    print(f"{name:8}: the rounded forms disagree on {share:.1%} of the numbers")
    assert share == np.mean(h == 0.75), "they disagree at 3/4 and nowhere else"
    assert (Binary(0.75)(h) + Binary(0.25)(h) == 2 * Ternary()(h)).all(), (
        "comparisons never disagree"
    )
assert 0.07 < share < 0.11

# %% [markdown]
# The two forms disagree on nearly one in ten of the eighths. This is why every staircase in this package is a
# comparison.
#
# ## 3. One layer by hand
#
# The next layer reads the activation. Take a linear layer with weights $W$ of shape $(C, OC)$, inputs times
# outputs. Let $a = \text{ternary}(h)$ be a row of $C$ activations, and $b_1$, $b_2$ its two copies. By the
# identity
#
# $$a W = \tfrac12 (b_1 + b_2) W = b_1 \tfrac{W}{2} + b_2 \tfrac{W}{2}
# = \begin{bmatrix} b_1 & b_2 \end{bmatrix} \begin{bmatrix} W/2 \\ W/2 \end{bmatrix}.$$
#
# So the layer keeps its outputs, and gets twice as many inputs, all of them 0 or 1, and the weights
# $W' = [W/2;\, W/2]$, stacked along the inputs. The factor ½ has moved from the activation into the weights.
# Nothing was approximated. Halving is exact in floating point as well: it lowers the exponent and leaves the
# digits alone (save for numbers too tiny to matter here).
#
# Three inputs and two outputs are few enough to print everything:

# %%
W = np.array([[4.0, -2.0], [1.0, 6.0], [-8.0, 2.0]])  # C = 3 inputs, OC = 2 outputs
h = np.array([[0.9, 0.3, -0.2]])
a = Ternary()(h)
b = np.concatenate([Binary(0.75)(h), Binary(0.25)(h)], axis=-1)
W_doubled = np.concatenate([W / 2, W / 2])
print("a  =", a, "        a  @ W  =", a @ W)
print("b  =", b, "  b  @ W' =", b @ W_doubled)
assert (a @ W == b @ W_doubled).all() and (a @ W == [[4.5, 1.0]]).all()

# %% [markdown]
# **Predict.** The terms of the two sums are not the same: $a W$ adds three products for each output, $b W'$ adds
# six. With ordinary weights, float64, and a few hundred inputs, will the outputs agree in every bit?
#
# <details><summary>Answer</summary>
#
# Not in general. Each product is exact (the factors are 0, ½ and 1), but a different grouping of additions rounds
# differently. The difference is of the size of float64's rounding, $10^{-16}$ relative to the sum of magnitudes.
#
# </details>

# %%
rng = np.random.default_rng([SEED, 3])  # this section's own, so that it can run again
C, OC = 300, 50
W = rng.standard_normal((C, OC))
h = rng.normal(0.5, 0.5, (200, C))
b = np.concatenate([Binary(0.75)(h), Binary(0.25)(h)], axis=-1)
of_levels, of_copies = Ternary()(h) @ W, b @ np.concatenate([W / 2, W / 2])
largest = np.abs(of_levels - of_copies).max() / np.abs(of_levels).max()
print(
    "same in every bit:",
    np.array_equal(of_levels, of_copies),
    "  to 14 digits:",
    bool(largest < 1e-14),
)
assert 0 < largest < 1e-14

# %% [markdown]
# This sets the terms for the rest: *activations* are compared bit for bit, because they have only a few values;
# *sums* are compared up to the order of summation, with a stated tolerance.
#
# **Your turn.** A convolution has weights of shape $(KH, KW, C, OC)$: a $KH \times KW$ window of matrices. Zero
# padding is harmless, since 0 is a level of both activations. Write what the weights become.


# %%
def double_conv(w):
    """Turn conv weights (KH, KW, C, OC) into (KH, KW, 2C, OC) for copy 1, then copy 2."""
    raise NotImplementedError


# %%
from duonet import functional


def check_double_conv():
    rng = np.random.default_rng(2)
    h, w = rng.normal(0.5, 0.5, (2, 6, 6, 3)), rng.standard_normal((3, 3, 3, 4))
    b = np.concatenate([Binary(0.75)(h), Binary(0.25)(h)], axis=-1)
    doubled = double_conv(w)
    assert doubled.shape == (3, 3, 6, 4), f"expected (3, 3, 6, 4), got {doubled.shape}"
    expected = functional.conv2d(Ternary()(h), w, padding=1).data
    np.testing.assert_allclose(
        functional.conv2d(b, doubled, padding=1).data,
        expected,
        atol=1e-12,
        err_msg="not the output that w has on the ternary activations",
    )
    np.testing.assert_array_equal(
        doubled[:, :, :3], doubled[:, :, 3:], err_msg="both copies have the same weights"
    )


attempt(check_double_conv)


# %% tags=["solution"]
def double_conv(w):
    """Turn conv weights (KH, KW, C, OC) into (KH, KW, 2C, OC) for copy 1, then copy 2."""
    return np.concatenate([w / 2, w / 2], axis=2)


# %% [markdown]
# ## 4. Where the two copies come from
#
# We know what happens *behind* the activation. In front of it the two copies need their pre-activations, and
# later, when the network is fine-tuned, these should be free to differ. So batch norm is doubled as well. It
# computes, for each channel, from running averages $\mu$ (mean) and $v$ (variance) and learned $\gamma$ and
# $\beta$,
#
# $$h = \gamma\,\frac{x - \mu}{\sqrt{v + \epsilon}} + \beta.$$
#
# 1. The channels of $x$ are written down twice, $[x\;x]$.
# 2. $\mu$, $v$, $\gamma$ and $\beta$ are written down twice, so both halves of the result are $h$.
# 3. Copy 1 fires at ¾ and copy 2 at ¼.
#
# Step 3 can be written in two ways. Either the *threshold* of each copy is its own, ¾ or ¼. Or both have the
# threshold ½, and $\beta$ becomes $\beta - \tfrac14$ in copy 1 and $\beta + \tfrac14$ in copy 2, as in the
# authors' code. For real numbers the two ways are the same. We take thresholds, and section 7 shows how the other
# way fails with floats.
#
# Here is a whole layer, from $x$ to the sum that the next layer computes:

# %%
rng = np.random.default_rng([SEED, 4])  # this section's own, so that it can run again
inputs = rng.standard_normal((200, 4))
gamma, beta, mean = rng.uniform(0.5, 1, 4), rng.uniform(0, 1, 4), rng.standard_normal(4)
variance, W = rng.uniform(0.5, 2, 4), rng.standard_normal((4, 3))


def normalise(x, gamma, beta, mean, variance):
    return gamma * (x - mean) / np.sqrt(variance + 1e-5) + beta


of_levels = Ternary()(normalise(inputs, gamma, beta, mean, variance)) @ W
x2, gamma2, beta2, mean2, variance2 = (
    np.concatenate([v, v], axis=-1) for v in (inputs, gamma, beta, mean, variance)
)
thresholds = np.repeat([0.75, 0.25], 4)
b = (normalise(x2, gamma2, beta2, mean2, variance2) >= thresholds).astype(float)
np.testing.assert_allclose(b @ np.concatenate([W / 2, W / 2]), of_levels, atol=1e-12)

# %% [markdown]
# Between convolution and batch norm these networks often have a max pool. It treats each channel by itself, so it
# can stay where it is, in front of the replication.
#
# ## 5. A small network, with code of our own
#
# Now a network: two convolutions with ternary activations behind them, and a linear classifier. We train it
# briefly on 2,000 images of Fashion-MNIST, which are inside the package, because a trained network is a better
# test than a random one.

# %% tags=["slow"]
from duonet import Parameter, Tensor, data, decouple, fit, nn, no_grad, optim

rng = np.random.default_rng([SEED, 5])  # this section's own, so that it can run again
images = data.fashion_mini()
ternary = lambda: nn.QuantActivation(Ternary(), Clip(0, 1))


def block(i, inputs, outputs):
    conv = nn.Conv2d(inputs, outputs, 3, rng=rng, padding=1, bias=False)
    return {
        f"conv{i}": conv,
        f"pool{i}": nn.MaxPool2d(2),
        f"norm{i}": nn.BatchNorm(outputs),
        f"act{i}": ternary(),
    }


convolutions = block(1, 1, 8) | block(2, 8, 12)
coupled = nn.Sequential(
    convolutions | {"flatten": nn.Flatten(), "linear": nn.Linear(7 * 7 * 12, 10, rng=rng)}
)
loader = data.DataLoader(
    images.train.take(2000), 50, data.Normalize.of(images.train.images), rng=rng
)
history = fit(
    coupled, loader, optim.AdamW(coupled.parameters(), 2e-3), epochs=3, progress=False
)
assert history["accuracy"][-1] > 0.6, "it has learned something"

# %% [markdown]
# More than six in ten of the training images are classified right after three epochs, enough for our purpose.
#
# The weights behind an activation are doubled along the channels. There is one trap: after `Flatten` the inputs of
# the linear layer are (pixels, channels) laid out as one row, channels fastest, and it is the *channels* that come
# in two copies, at every pixel. So the row is taken apart, the channel axis doubled, and the row put together
# again.


# %%
def doubled_inputs(weight, channels):
    """Double the channels of weights (..., IN, OC), where IN is a multiple of `channels`."""
    *window, inputs, outputs = weight.shape
    by_channel = weight.reshape(*window, inputs // channels, channels, outputs) / 2
    return np.concatenate([by_channel, by_channel], axis=-2).reshape(
        *window, 2 * inputs, outputs
    )


assert doubled_inputs(np.ones((3, 3, 8, 12)), 8).shape == (3, 3, 16, 12)
flat = doubled_inputs(np.arange(6.0).reshape(6, 1), channels=2)  # 3 pixels of 2 channels
print(flat.ravel() * 2)
assert (flat.ravel() * 2 == [0, 1, 0, 1, 2, 3, 2, 3, 4, 5, 4, 5]).all()

# %% [markdown]
# Pixel by pixel, the row holds both channels of copy 1 and then both channels of copy 2.
#
# The whole network is one walk from input to output. At a batch norm the channels double. At the activation the
# two copies get their thresholds, and their windows for the backward pass move with the thresholds (section 8).
# At the next layer with weights the doubling ends. Everything else is copied. This short form relies on every
# batch norm being followed by a ternary activation, as it is here.

# %%
import copy


def decoupled_layer(layer, channels):
    """Return what a layer becomes, and the channels of a copy behind it, if doubled."""
    new = copy.deepcopy(layer)
    if isinstance(layer, nn.BatchNorm):
        for tensor in (new.gamma, new.beta, new.running_mean, new.running_var):
            tensor.data = np.concatenate([tensor.data, tensor.data])
        return new, layer.gamma.size
    if isinstance(layer, nn.QuantActivation):
        offset = np.repeat([0.25, -0.25], channels)
        return nn.QuantActivation(
            Binary(0.5 + offset), Shifted(layer.surrogate, offset)
        ), channels
    if isinstance(layer, (nn.Conv2d, nn.Linear)) and channels:
        new.weight = Parameter(doubled_inputs(layer.weight.data, channels))
        return new, None
    return new, channels


# %%
def my_decouple(chain):
    layers, channels = {}, None
    for name, layer in chain.children():
        if isinstance(layer, nn.BatchNorm):
            layers[f"{name}_replicate"] = nn.Replicate()
        layers[name], channels = decoupled_layer(layer, channels)
    return nn.Sequential(layers)


coupled = coupled.astype("float64").eval()
mine = my_decouple(coupled).eval()
for name in ("conv1", "conv2", "linear"):
    print(
        f"{name:7}",
        getattr(coupled, name).weight.shape,
        "->",
        getattr(mine, name).weight.shape,
    )
assert mine.linear.weight.shape[0] == 2 * coupled.linear.weight.shape[0] == 1176

# %% [markdown]
# The first convolution reads the image, not a ternary activation, so its weights stay as they are. Every other
# layer reads twice as many inputs. Biases are not doubled: each output still has one.
#
# `duonet.decouple` does the same, knows residual networks as well, and refuses what cannot be exact (section 10).
# The two networks must have the same layers, and the same parameters in every bit:

# %%
binary = decouple(coupled)
assert repr(binary) == repr(mine)
state, own = binary.state_dict(), mine.state_dict()
assert state.keys() == own.keys() and len(state) == 12
assert all(np.array_equal(state[path], own[path]) for path in state)
print(binary)

# %% [markdown]
# `Binary(0.25, 0.75)` is a binary activation whose threshold is ¼ in some channels and ¾ in others.
#
# ## 6. Is it the same function?
#
# We run both networks on 500 validation images, in float64, and look inside: `nn.observe` records what every layer
# gave. At each activation, the mean of the two copies has to be the ternary activation, in every bit. The logits,
# which are sums, have to agree up to the order of summation.
#
# **Predict.** How many of the 500 predictions will differ?
#
# <details><summary>Answer</summary>
#
# None. The logits agree to twelve digits at least, so another one of the ten can only become the largest where two
# agree to twelve digits.
#
# </details>

# %% tags=["slow"]
x = Tensor(
    data.Normalize.of(images.train.images)(images.validation.images[:500]).astype("float64")
)
with no_grad(), nn.observe(coupled) as seen, nn.observe(binary) as seen_binary:
    logits, logits_binary = coupled(x).data, binary(x).data
for path in ("act1", "act2"):
    copy1, copy2 = np.split(seen_binary[path].output, 2, axis=-1)
    np.testing.assert_array_equal((copy1 + copy2) / 2, seen[path].output)
    assert set(np.unique(seen[path].output)) == {0, 0.5, 1} and set(np.unique(copy2)) == {0, 1}
    print(f"{path}: {copy1.size:,} ternary activations, all the mean of their two copies")
assert np.abs(logits - logits_binary).max() < 1e-12 * np.abs(logits).max()
different = np.sum(logits.argmax(1) != logits_binary.argmax(1))
print("predictions that differ:", different, "of", len(logits))
assert different == 0

# %% [markdown]
# The first layer has close to 800,000 activations, and not one of them differs.
#
# There is one reservation. The sums in front of the *second* batch norm are added up in another order, so a
# pre-activation moves by a unit in its last place, and a pre-activation that lies so close to a threshold could
# cross it. In float64 this needs a coincidence of about $10^{-15}$. In float32 it is nine digits less rare, and a
# large network in float32 will see it now and then. For *one and the same* pre-activation the outputs of the
# activation never differ. The next section looks at a form in which even these can differ.

# %%
assert 780_000 < seen["act1"].output.size < 800_000

# %% [markdown]
# ## 7. Where the quarter goes: threshold or $\beta$
#
# The authors keep the threshold ½ and move $\beta$ by a quarter instead, $\beta - \tfrac14$ in copy 1 and
# $\beta + \tfrac14$ in copy 2. `decouple(model, shift="beta")` does that. An addition can round, a comparison
# cannot. Just below ¼ floats lie closer together than just below ½, so $h + \tfrac14$ may have no digit for the
# last bit of $h$.
#
# **Predict.** Let $h$ be the largest float32 below ¼. Ternary gives 0, since $h < \tfrac14$. What does
# $h + \tfrac14 \ge \tfrac12$ give in float32?
#
# <details><summary>Answer</summary>
#
# True. $h = \tfrac14 - 2^{-26}$. The sum $\tfrac12 - 2^{-26}$ lies midway between two neighbouring floats,
# $\tfrac12 - 2^{-25}$ and $\tfrac12$, and rounds to the neighbour whose last bit is even, ½. The copy fires, and
# should not.
#
# </details>

# %%
h = np.nextafter(np.float32(0.25), np.float32(0))
quarter, half = np.float32(0.25), np.float32(0.5)
assert h == 0.25 - 2.0**-26 and (h + quarter).dtype == np.float32
print("h >= 1/4:", bool(h >= quarter), "    h + 1/4 >= 1/2:", bool(h + quarter >= half))
assert not h >= quarter and h + quarter >= half
assert half - np.nextafter(half, h) == 2.0**-25, "the spacing just below 1/2 is twice as wide"

# %% [markdown]
# The library shows the same effect. In this network batch norm gets $x = \mu = 0$, so the pre-activation is
# $\beta$ itself, which we set to the float just below ¼. The last layer has weight 1.

# %%
rng = np.random.default_rng([SEED, 7])  # this section's own, so that it can run again
tiny = nn.Sequential(
    {"norm": nn.BatchNorm(1), "act": ternary(), "linear": nn.Linear(1, 1, rng=rng, bias=False)}
).eval()
tiny.norm.beta.data[:] = h
tiny.linear.weight.data[:] = 1
zero = Tensor(np.zeros((1, 1), "float32"))
outputs = [m(zero).data.item() for m in (tiny, decouple(tiny), decouple(tiny, shift="beta"))]
print("coupled {}, decoupled by thresholds {}, decoupled by beta {}".format(*outputs))
assert outputs == [0.0, 0.0, 0.5]

# %% [markdown]
# The form with $\beta$ gives ½ where the coupled network gives 0. How many numbers are affected? With a scale
# $\gamma$ the rounding of $\gamma \hat x + \beta$ and that of $\gamma \hat x + (\beta + \tfrac14)$ are two
# different roundings, where $\hat x$ is the normalised input. We walk through consecutive float32 numbers $\hat x$
# around the point where copy 2 has to fire, and ask both forms.

# %%
gamma, beta = np.float32(0.9), np.float32(0.2)
centre = np.float32((0.25 - 0.2) / 0.9)
count = np.arange(-12, 13, dtype=np.float32)
x_hat = centre + count * np.spacing(centre)  # 25 consecutive floats
by_threshold = gamma * x_hat + beta >= quarter
by_beta = gamma * x_hat + (beta + quarter) >= half
flipped = by_threshold != by_beta
assert (
    (np.diff(x_hat) == np.spacing(centre)).all()
    and flipped.sum() == 2
    and not flipped[[0, -1]].any()
)

# %% tags=["hide-input"]
# alt: Two rows of consecutive float32 inputs. The form that adds a quarter to beta fires two
#      floats later than the form with its own threshold; both agree everywhere else.
figure, ax = plt.subplots(figsize=(9, 2.4), layout="constrained")
for y, fires, colour in ((1, by_threshold, BLUE), (0, by_beta, ORANGE)):
    ax.scatter(count[fires], np.full(fires.sum(), y), color=colour, s=70)
    ax.scatter(
        count[~fires], np.full((~fires).sum(), y), facecolor="white", edgecolor=colour, s=70
    )
for k in count[flipped]:
    ax.axvspan(k - 0.5, k + 0.5, color="0.88", zorder=0)
ax.set(yticks=[0, 1], yticklabels=["β + ¼, threshold ½", "β, threshold ¼"], ylim=(-0.6, 1.6))
ax.set_xlabel("consecutive float32 inputs; filled: copy 2 fires; grey: the two forms differ")
ax.spines[["top", "right", "left"]].set_visible(False)
ax.tick_params(left=False)
plt.show()

# %% [markdown]
# Two floats of some four billion (rounding keeps the order of numbers, so each form switches once, and they agree
# everywhere outside of the picture): the form with $\beta$ differs rarely, and then one activation flips by half a
# level. But "the same function" becomes a matter of luck, and a test that asks for equal bits fails once in a
# while. With thresholds nothing is added, so nothing is rounded. Thresholds are the default of `decouple`.
#
# **Change this.** In a new cell, set `tiny.norm.beta.data[:]` to the float just below ¾ and compare the three
# outputs again. Now it is copy 1 that is close to its threshold.
#
# <details><summary>Answer</summary>
#
# All three give ½. Just below ¾ floats are $2^{-24}$ apart, and just below ½ half as far. So $\beta - \tfrac14$
# lands where floats are closer together, and nothing has to be rounded.
#
# </details>

# %%
below = np.nextafter(np.float32(0.75), half)
assert 0.75 - below == 2.0**-24 and below - quarter == 0.5 - 2.0**-24
tiny.norm.beta.data[:] = below
assert [m(zero).data.item() for m in (tiny, decouple(tiny), decouple(tiny, shift="beta"))] == [
    0.5
] * 3

# %% [markdown]
# ## 8. What changes: the backward pass
#
# Staircases are flat, so back-propagation uses the derivative of a surrogate instead: for binary and for ternary
# activations this is 1 on the open interval $(0, 1)$ and 0 outside. In the coupled network, with $dy$ for the
# gradient of the loss with respect to the activation's output,
#
# $$dh = dy \cdot \mathbf{1}[0 < h < 1].$$
#
# In the decoupled network each copy has this window around its own threshold. The copy that fires at ¾ sees
# $h - \tfrac14$, so its window is $\tfrac14 < h < 1\tfrac14$. The other sees $h + \tfrac14$, and its window is
# $-\tfrac14 < h < \tfrac34$. The halved weights multiply each by ½, and the gradients of the copies add up at the
# replication:
#
# $$dh = dy \cdot \tfrac12 \bigl(\mathbf{1}[\tfrac14 < h < 1\tfrac14] +
# \mathbf{1}[-\tfrac14 < h < \tfrac34]\bigr).$$
#
# **Predict.** What is this slope at $h = 0.5$, at $h = 0.9$ and at $h = 1.1$, and what is the slope in the
# coupled network?
#
# <details><summary>Answer</summary>
#
# At 0.5 both windows are open: 1, as in the coupled network. At 0.9 only copy 1's: ½, instead of 1. At 1.1 again
# only copy 1's: ½, instead of 0.
#
# </details>

# %%
from duonet.quant import quantize

grid = np.linspace(-0.5, 1.5, 400)


def slopes(h, *activations):
    """Return the gradient of the mean of some activations of h, by back-propagation."""
    h = Tensor(h, requires_grad=True)
    copies = [quantize(h, staircase, surrogate) for staircase, surrogate in activations]
    (sum(copies[1:], copies[0]) * (1 / len(copies))).sum().backward()
    return h.grad


window = Clip(0, 1)
one = slopes(grid, (Ternary(), window))
two = slopes(
    grid, (Binary(0.75), Shifted(window, 0.25)), (Binary(0.25), Shifted(window, -0.25))
)

# %% tags=["hide-input"]
# alt: Slope of the activation over the pre-activation. Coupled: one between 0 and 1.
#      Decoupled: one half from minus one quarter to one quarter, one up to three quarters, one
#      half up to one and a quarter.
figure, ax = plt.subplots(figsize=(9, 3), layout="constrained")
ax.step(grid, one, where="mid", color=INK, ls="--", lw=2, label="coupled, by back-propagation")
ax.step(grid, two, where="mid", color=BLUE, lw=2.5, label="decoupled, by back-propagation")
inner = ((-0.25 < grid) & (grid < 1.25)) & ~((0.25 < grid) & (grid < 0.75))
formula = np.where((0.25 < grid) & (grid < 0.75), 1, np.where(inner, 0.5, 0))
ax.plot(grid[::10], formula[::10], "o", color=ORANGE, ms=6, label="decoupled, derived above")
ax.set(
    xlabel="pre-activation h", ylabel="dh, for dy = 1", ylim=(-0.05, 1.6), yticks=[0, 0.5, 1]
)
ax.set_xticks([-0.25, 0, 0.25, 0.75, 1, 1.25], ["−¼", "0", "¼", "¾", "1", "1¼"])
ax.legend(ncols=3, loc="upper center", frameon=False, fontsize=9)
plt.show()

# %%
for point in (0.5, 0.9, 1.1):
    at = np.abs(grid - point).argmin()
    print(f"h = {point}: coupled {one[at]}, decoupled {two[at]}")
assert np.array_equal(two, formula) and np.array_equal(one, (0 < grid) & (grid < 1))
step = grid[1] - grid[0]
assert (
    abs(one.sum() * step - 1) < 0.02 and abs(two.sum() * step - 1) < 0.02
)  # both windows have area 1
assert abs(two[one == 0].sum() * step - 0.25) < 0.02

# %% [markdown]
# The decoupled window is wider and has two steps. Its area is 1, as before, but a quarter of it lies outside the
# old window.
#
# **Try it.** Run the next cell, and move the thresholds of the two binary activations away from ½ with the slider.
# At which distance are the two staircases the same? At which distance are the two gradients the same?


# %%
# alt: Left, the mean of two binary staircases lies on the ternary one. Right, their slope has two
# steps and reaches from -1/4 to 5/4, while the ternary activation's is 1 between 0 and 1.
def apart(distance=0.25):
    """Draw the mean of two binary staircases and its gradient, over those of ternary."""
    pairs = [(Binary(0.5 + d), Shifted(Clip(0, 1), d)) for d in (distance, -distance)]
    forwards = Ternary()(grid), sum(staircase(grid) for staircase, _ in pairs) / 2
    backwards = slopes(grid, (Ternary(), Clip(0, 1))), slopes(grid, *pairs)
    figure, axes = plt.subplots(1, 2, figsize=(9, 2.8), sharey=True, layout="constrained")
    for ax, (whole, halves), title in zip(axes, (forwards, backwards), ("value", "slope")):
        ax.step(grid, whole, color=INK, lw=4, alpha=0.3, label="ternary")
        ax.step(grid, halves, color=BLUE, lw=2, ls="--", label="two binary")
        ax.set(xlabel="pre-activation h", title=title, yticks=[0, 0.5, 1])
    axes[0].legend(loc="upper left", frameon=False)
    return figure


sliders(apart, distance=np.arange(9) / 16)

# %% [markdown]
# The staircases are the same at the distance ¼ alone. The gradients are the same at the distance 0 alone, where
# the two copies are equal. No distance has both.

# %%
for d in np.arange(9) / 16:
    mean = (Binary(0.5 + d)(grid) + Binary(0.5 - d)(grid)) / 2
    copies = slopes(
        grid, (Binary(0.5 + d), Shifted(window, d)), (Binary(0.5 - d), Shifted(window, -d))
    )
    assert np.array_equal(mean, Ternary()(grid)) == (d == 0.25)
    assert np.array_equal(copies, one) == (d == 0)

# %% [markdown]
# So **decoupling keeps the function and changes the gradient.** There is no contradiction: neither gradient is the
# derivative of the staircase, which is 0 almost everywhere. The paper of BinaryDuo (Kim et al., 2020) decouples
# only once the coupled network is trained, and then fine-tunes with the wider window.
#
# **Your turn.** Write the slope of the decoupled activation as a function of $h$. Mind the ends: the windows are
# open.


# %%
def decoupled_slope(h):
    """Return the slope 0, ½ or 1 of the mean of both copies, for an array h."""
    raise NotImplementedError


# %%
def check_decoupled_slope():
    h = np.concatenate(
        [np.random.default_rng(3).uniform(-1, 2, 300), [-0.25, 0.25, 0.75, 1.25, 0, 1]]
    )
    expected = slopes(
        h, (Binary(0.75), Shifted(window, 0.25)), (Binary(0.25), Shifted(window, -0.25))
    )
    np.testing.assert_array_equal(
        decoupled_slope(h), expected, err_msg="half a window for each copy, their ends outside"
    )


attempt(check_decoupled_slope)


# %% tags=["solution"]
def decoupled_slope(h):
    """Return the slope 0, ½ or 1 of the mean of both copies, for an array h."""
    return ((0.25 < h) & (h < 1.25)) / 2 + ((-0.25 < h) & (h < 0.75)) / 2


# %% [markdown]
# Now in the network. The classifier sees the same activations, but as two copies, so the gradients of its two
# halves differ: with $dy$ for the gradient at the logits, $dW_1' = b_1^\top dy$ and $dW_2' = b_2^\top dy$. Their
# mean is $\tfrac12 (b_1 + b_2)^\top dy = a^\top dy$, exactly the gradient $dW$ of the coupled layer. The first
# convolution lies behind two windows that have changed.
#
# **Predict.** Will the gradient of the first convolution have the same direction in both networks?
#
# <details><summary>Answer</summary>
#
# No. Every pre-activation in $(-\tfrac14, 0)$ or $(1, 1\tfrac14)$ now contributes and did not before, and every
# pre-activation in $(0, \tfrac14)$ or $(\tfrac34, 1)$ contributes half.
#
# </details>

# %% tags=["slow"]
labels = images.validation.labels[:500]
for model in (coupled, binary):
    model.zero_grad()
    functional.softmax_cross_entropy(model(x), labels).backward()
copy1, copy2 = (
    binary.linear.weight.grad.reshape(49, 2, 12, 10).transpose(1, 0, 2, 3).reshape(2, 588, 10)
)
np.testing.assert_allclose((copy1 + copy2) / 2, coupled.linear.weight.grad, atol=1e-14)
assert np.abs(copy1 - copy2).max() > 1e-4, "the copies will part at the first step"

first, second = coupled.conv1.weight.grad.ravel(), binary.conv1.weight.grad.ravel()
cosine = first @ second / np.sqrt(first @ first * (second @ second))
print("gradient of conv1, coupled and decoupled: same direction", bool(cosine > 0.9999))
assert 0 < cosine < 0.9999

# %% [markdown]
# The mean of the classifier's two halves is right to the last digits, and the halves themselves differ: after one
# step of fine-tuning the copies are no longer copies. The second stage uses this freedom. The decoupled network
# has more freedom than the coupled one, two independent binary activations with four patterns instead of three
# levels, and it starts from where the coupled network ended.
#
# ## 9. Widths and budgets
#
# Decoupling doubles the inputs of every layer behind a ternary activation, and with them its weights. To compare
# fairly with a binary network of width $w$, the coupled one must be narrower. If all layers have the coupled width
# $c$, a decoupled layer has $2c \cdot c$ weights, and the baseline $w \cdot w$. They are equal for
#
# $$2c^2 = w^2 \quad\Longleftrightarrow\quad c = \frac{w}{\sqrt2} \approx 0.71\,w.$$
#
# The first layer reads the image, and is not doubled; the last layers of a network may not be narrowed. So the
# rule is a start, and counting decides. Take VGG-7, the network for CIFAR-10 in the authors' code: six
# convolutions and a classifier (`conv7`), five ternary activations. Its widths are 64, 64, 128, 128, 512 and,
# without a quantised activation behind it, 512.

# %%
SIZES, DOUBLED = (
    (3, 3, 3, 3, 4, 1, 1),
    (1, 2, 2, 2, 2, 2, 1),
)  # kernel sizes; which layers have doubled inputs


def layer_weights(widths, doubled=(1,) * 7):
    """List the weights of each of VGG-7's seven layers for five widths of quantised layers."""
    channels = (3, *widths, 512, 10)
    return [
        k * k * times * c * oc
        for k, times, c, oc in zip(SIZES, doubled, channels, channels[1:])
    ]


baseline = layer_weights((64, 64, 128, 128, 512))
simple = layer_weights([int(w / np.sqrt(2)) for w in (64, 64, 128, 128, 512)], DOUBLED)
print(f"baseline {sum(baseline):,}    every width / sqrt 2, decoupled {sum(simple):,}")
assert sum(baseline) == 1_575_616 < sum(simple) == 1_674_733

# %% [markdown]
# The simple rule overshoots by 6 %, because the convolution behind the fifth activation keeps its 512 outputs: its
# inputs double, and are only divided by √2. `coupled_widths` therefore takes the rule for every width, and then
# lets the last one shrink (or grow) until the count fits the budget.
#
# **Predict.** Which widths will it give? The first four follow from the rule; the fifth was
# $512/\sqrt2 \approx 362$.
#
# <details><summary>Answer</summary>
#
# $64/\sqrt2 = 45.25$ and $128/\sqrt2 = 90.5$ are rounded down: 45, 45, 90, 90. The fifth shrinks from 362 to 336.
#
# </details>

# %%
from duonet import coupled_widths, models, summary

narrow = coupled_widths(
    (64, 64, 128, 128, 512), lambda w: sum(layer_weights(w, DOUBLED)), budget=sum(baseline)
)
print("coupled widths:", narrow)
assert narrow == (45, 45, 90, 90, 336) and 1.06 < sum(simple) / sum(baseline) < 1.065
undoubled, doubled = layer_weights(narrow), layer_weights(narrow, DOUBLED)
assert (sum(undoubled), sum(doubled)) == (789_782, 1_573_229)

# %% [markdown]
# These are the widths of the authors' code. The library's models do this by themselves; `summary` counts weights
# and multiply-accumulates (MACs, one for each product that is added to a sum) of a network as it stands.

# %%
rng = np.random.default_rng([SEED, 9])  # this section's own, so that it can run again
vgg = {name: models.vgg7(name, rng=rng) for name in ("baseline", "coupled")}
vgg["decoupled"] = decouple(vgg["coupled"])
counts = {name: summary(model, (32, 32, 3)) for name, model in vgg.items()}
print("network      weights     MACs     activations")
for name, count in counts.items():
    print(
        f"{name:9} {count.weights:>10,}  {count.macs / 1e6:5.2f} M   "
        f"{count.activation_bits} bit"
    )
assert [c.weights for c in counts.values()] == [1_575_616, 789_782, 1_573_229]
assert [round(c.macs / 1e6, 2) for c in counts.values()] == [69.15, 34.56, 67.88]

# %% tags=["hide-input"]
# alt: Weights of each layer of VGG-7 relative to the baseline's, coupled and decoupled. The
#      decoupled network as a whole is at one; conv6 is above, conv1 below.
figure, ax = plt.subplots(figsize=(9, 3.2), layout="constrained")
position = np.arange(8)
whole = np.array([*baseline, sum(baseline)])
for offset, name, weights, colour in (
    (-0.2, "coupled", undoubled, "0.6"),
    (0.2, "decoupled", doubled, BLUE),
):
    share = np.array([*weights, sum(weights)]) / whole
    ax.bar(position + offset, share, 0.38, color=colour, label=name)
ax.axhline(1, color=INK, ls="--", lw=1.5, label="baseline")
ax.set_xticks(
    position, [f"conv{i + 1}\n{n:,}" for i, n in enumerate(baseline)] + [f"all\n{whole[-1]:,}"]
)
ax.set(
    ylim=(0, 1.6),
    ylabel="weights / baseline's",
    xlabel="layer of VGG-7, and its weights in the baseline",
)
ax.legend(frameon=False, loc="upper left", ncols=3)
ax.spines[["top", "right"]].set_visible(False)
plt.show()

# %% [markdown]
# Each doubled layer ends up close to its baseline, except conv6, whose 512 outputs stay. The other layers, above
# all conv5, save what conv6 needs in addition.
#
# The decoupled network is within the budget by a hair (2,387 weights), and takes about 2 % fewer MACs. Not
# everything is equal, though: a decoupled layer has $2 \cdot 45 = 90$ binary activations for each pixel where the
# baseline has 64, and correspondingly more batch-norm parameters. The paper compares weights and operations;
# whoever counts the memory of activations should know this difference.

# %%
assert counts["baseline"].weights - counts["decoupled"].weights == 2387
assert 0.975 < counts["decoupled"].macs / counts["baseline"].macs < 0.985
assert vgg["decoupled"].norm1.gamma.size == 90 and vgg["baseline"].norm1.gamma.size == 64

# %% [markdown]
# **Your turn.** A perceptron reads `inputs` numbers, has hidden layers of the given widths, each with a ternary
# activation behind it, and a classifier. Count the weights (no biases) of its *decoupled* form.


# %%
def decoupled_mlp_weights(inputs, widths, classes):
    """Count the weights of a decoupled perceptron with these coupled widths."""
    raise NotImplementedError


# %%
def check_decoupled_mlp_weights():
    for inputs, widths, classes in ((784, (128, 100, 90), 10), (20, (30,), 7)):
        model = models.mlp("ternary", inputs, widths, classes, rng=np.random.default_rng(4))
        expected = summary(decouple(model), (inputs,)).weights
        assert decoupled_mlp_weights(inputs, widths, classes) == expected, (
            f"inputs {inputs}, widths {widths}, classes {classes}"
        )


attempt(check_decoupled_mlp_weights)


# %% tags=["solution"]
def decoupled_mlp_weights(inputs, widths, classes):
    """Count the weights of a decoupled perceptron with these coupled widths."""
    sizes = (inputs, *widths, classes)
    return inputs * widths[0] + sum(2 * a * b for a, b in zip(sizes[1:], sizes[2:]))


# %% [markdown]
# ## 10. What cannot be decoupled
#
# Everything rests on the step in section 3: what reads the activation must be *linear*,
# $f(\tfrac12 (b_1 + b_2)) = \tfrac12 f(b_1) + \tfrac12 f(b_2)$. Convolutions, linear layers and average pooling
# are linear. Max pooling is not linear, but works for another reason (an exercise). A function such as the clip at
# 0.6 does not work:
#
# | | $b_1 = 0,\; b_2 = 1$ |
# |---|---|
# | $f$ of the ternary activation: $f(\tfrac12)$ | 0.5 |
# | mean of $f$ of the copies: $\tfrac12 f(0) + \tfrac12 f(1)$ | 0.3 |
#
# If `decouple` went ahead all the same, the result would be a network that silently computes something else. So it
# refuses, and names the layer and the reason. Here is that failure, provoked on purpose:

# %%
rng = np.random.default_rng([SEED, 10])  # this section's own, so that it can run again
f = lambda a: np.clip(a, 0, 0.6)
assert (f(0.5), (f(0.0) + f(1.0)) / 2) == (0.5, 0.3)


def refusal(*layers):
    try:
        decouple(nn.Sequential(*layers))
    except ValueError as error:
        return str(error)
    raise AssertionError("decouple should have refused this network")


norm, linear = nn.BatchNorm(4), nn.Linear(4, 2, rng=rng)
print(refusal(norm, ternary(), nn.Clip(0, 0.6), linear))
assert "2 Clip: cannot be decoupled exactly" in refusal(
    norm, ternary(), nn.Clip(0, 0.6), linear
)

# %% [markdown]
# The "2" in the message is the path of the layer, which here is its position. The remedy is to move the layer in
# front of the batch norm, or to replace it.
#
# There are other refusals. Without a batch norm there is nothing to double, and so no way for the copies to part
# in fine-tuning; a network that *ends* in a ternary activation has no next layer to absorb the ½; and a network
# without ternary activations was probably decoupled already.

# %%
cases = {
    "no batch norm": refusal(nn.Linear(4, 4, rng=rng), ternary(), linear),
    "nothing behind": refusal(norm, ternary()),
    "decoupled before": refusal(decouple(nn.Sequential(norm, ternary(), linear))),
}
for message in cases.values():
    print(message, "\n")
assert (
    "found Linear" in cases["no batch norm"] and "ends in a coupled" in cases["nothing behind"]
)
assert "nothing to decouple" in cases["decoupled before"]

# %% [markdown]
# So whatever `decouple` returns is the same function. (It is careful rather than clever. A `ReLU` behind a ternary
# activation would do no harm, since 0, ½ and 1 pass it unchanged, and is refused all the same.)

# %%
levels = np.array([0, 0.5, 1])
assert np.array_equal(np.maximum(levels, 0), levels)
assert "2 ReLU: cannot be decoupled exactly" in refusal(norm, ternary(), nn.ReLU(), linear)

# %% [markdown]
# ## Recap
#
# * $\text{ternary}(h) = \tfrac12\mathbf{1}[h \ge \tfrac34] + \tfrac12\mathbf{1}[h \ge \tfrac14]$, for every
#   number, ties included, as long as steps are comparisons. With `np.round` it breaks at ¾.
# * The ½ goes into the next layer: $W' = [W/2;\, W/2]$ along the input channels. Batch norm is written down twice.
# * The same pre-activations give the same activations, bit for bit. Sums agree up to the order of summation.
# * Moving $\beta$ by ∓¼ instead of the thresholds rounds, and a value within a rounding of a threshold can flip.
# * The gradient does change: ½ on $(-\tfrac14, \tfrac14)$, 1 on $(\tfrac14, \tfrac34)$, ½ on
#   $(\tfrac34, 1\tfrac14)$, instead of 1 on $(0, 1)$. The copies part at the first step of fine-tuning.
# * Coupled widths are about $1/\sqrt2$ of the baseline's: VGG-7 has 1,575,616 weights, and 1,573,229 decoupled.
# * `decouple` refuses by name every layer that it does not know to be exact.
#
# ## Exercises
#
# **★ Which ops commute with the copies?** An op may stand behind a ternary activation if
# $f(\tfrac12(b_1 + b_2)) = \tfrac12 f(b_1) + \tfrac12 f(b_2)$ for all *ordered* pairs of binary arrays,
# $b_1 \le b_2$ everywhere. Write the test of an op on one such pair. Then explain why the maximum passes although
# it is not linear: $\mathbf{1}[\max h \ge t] = \max \mathbf{1}[h \ge t]$, since a threshold is monotone, so the
# pooled copies are the copies of the pooled pre-activation. Where did you use that the pairs are ordered?
#
# <details><summary>Answer</summary>
#
# If $b_1 \le b_2$, both are thresholds of one and the same $h$: of $\tfrac12(b_1 + b_2)$ itself. The maximum of
# the mean is then reached where $b_1$ has its maximum, or, if that is 0 everywhere, where $b_2$ has. Unordered
# copies may have their maxima in different places, and the mean of the two maxima is too large.
#
# </details>


# %%
def commutes(f, b1, b2):
    """Say whether f of the mean of two copies is the mean of f of them, to within 1e-12."""
    raise NotImplementedError


# %%
def check_commutes():
    h = np.random.default_rng(5).uniform(-0.5, 1.5, (50, 4))  # windows of four values
    b1, b2 = (h >= 0.75).astype(float), (h >= 0.25).astype(float)
    for f in (
        lambda a: a.max(axis=1),
        lambda a: a.mean(axis=1),
        lambda a: np.minimum(a, 1),
        np.sort,
    ):
        assert commutes(f, b1, b2), "it commutes"
    for f in (
        np.square,
        lambda a: np.clip(a, 0, 0.6),
        lambda a: a + (a == 1),
        lambda a: np.abs(a - 0.5),
    ):
        assert not commutes(f, b1, b2), "it does not commute"
    unordered = b1[:, ::-1]
    assert not commutes(lambda a: a.max(axis=1), unordered, b2), (
        "not a threshold of one and the same h"
    )


attempt(check_commutes)


# %% tags=["solution"]
def commutes(f, b1, b2):
    """Say whether f of the mean of two copies is the mean of f of them, to within 1e-12."""
    return bool(np.allclose(f((b1 + b2) / 2), (f(b1) + f(b2)) / 2, rtol=0, atol=1e-12))


# %% [markdown]
# **★ Undo it.** Given the weights (IN, OUT) of a linear layer whose inputs are copy 1, then copy 2, return the
# weights of a coupled layer. For a network fresh from `decouple` the result must be the old weights in every bit.
# What information is lost if you do this after fine-tuning?


# %%
def couple_linear(w):
    """Turn doubled weights (2C, OC) back into coupled ones (C, OC)."""
    raise NotImplementedError


# %%
def check_couple_linear():
    rng = np.random.default_rng(6)
    layers = {"norm": nn.BatchNorm(5), "act": ternary(), "linear": nn.Linear(5, 3, rng=rng)}
    model = nn.Sequential(layers)
    np.testing.assert_array_equal(
        couple_linear(decouple(model).linear.weight.data),
        model.linear.weight.data,
        err_msg="coupling undoes decoupling",
    )
    w = rng.standard_normal(
        (8, 3)
    )  # fine-tuned: the halves differ; inputs whose copies agree still match
    b = rng.integers(0, 2, (20, 4)).astype(float)
    np.testing.assert_allclose(
        b @ couple_linear(w),
        np.concatenate([b, b], axis=1) @ w,
        atol=1e-12,
        err_msg="halves that differ: copies that agree must still give the same sums",
    )


attempt(check_couple_linear)


# %% tags=["solution"]
def couple_linear(w):
    """Turn doubled weights (2C, OC) back into coupled ones (C, OC)."""
    copy1, copy2 = np.split(w, 2)
    return copy1 + copy2


# %% [markdown]
# **★★ The other form.** Write `by_beta(model)`: the authors' form of a coupled chain such as that of section 5,
# with thresholds ½ and $\beta \mp \tfrac14$. You may start from `my_decouple`, but then $\beta$ and both
# activations have to be replaced.


# %%
def by_beta(model):
    """Decouple a chain, with the quarter in beta; a ternary activation follows each norm."""
    raise NotImplementedError


# %%
def check_by_beta():
    before = {path: value.copy() for path, value in coupled.state_dict().items()}
    result, expected = by_beta(coupled), decouple(coupled, shift="beta")
    assert repr(result) == repr(expected), "other layers than decouple makes"
    for path, value in expected.state_dict().items():
        np.testing.assert_array_equal(result.state_dict()[path], value, err_msg=path)
    assert all(np.array_equal(v, before[p]) for p, v in coupled.state_dict().items()), (
        "the model was changed"
    )


attempt(check_by_beta)


# %% tags=["solution"]
def by_beta(model):
    """Decouple a chain, with the quarter in beta; a ternary activation follows each norm."""
    layers = {}
    for name, layer in my_decouple(model).children():
        if isinstance(layer, nn.BatchNorm):
            layer.beta.data = layer.beta.data - np.repeat([0.25, -0.25], layer.beta.size // 2)
        if isinstance(layer, nn.QuantActivation):
            layer = nn.QuantActivation(Binary(), Clip(0, 1))
        layers[name] = layer
    return nn.Sequential(layers)


# %% [markdown]
# **★★ Count flips.** In section 7 it was $\gamma = 0.9$ and $\beta = 0.2$. Repeat the count for 1,000 random pairs
# $(\gamma, \beta)$ and both copies. How many floats differ on average? Which ones differ with $\gamma = 1$ and
# $\beta = 0$?
#
# **★★★ More levels.** A 2-bit activation has four levels $0, \tfrac13, \tfrac23, 1$ and three thresholds
# $\tfrac16, \tfrac12, \tfrac56$. It is the mean of three binary ones. In general $n + 1$ levels $k/n$ have the
# thresholds $(k - \tfrac12)/n$, $k = 1 \ldots n$. Write the split, largest threshold first, as for two copies, and
# the factor by which coupled widths shrink if $n$ copies take the place of 2.


# %%
def split_levels(h, n):
    """Turn (..., C) pre-activations into (..., n C) binary ones, largest threshold first."""
    raise NotImplementedError


def width_factor(n):
    """Return c / w such that n c² = w²."""
    raise NotImplementedError


# %%
from duonet.quant import Uniform


def check_split_levels():
    h = np.random.default_rng(7).uniform(-0.5, 1.5, (400, 3))
    for bits in (1, 2, 3):
        n = 2**bits - 1
        copies = np.split(split_levels(h, n), n, axis=-1)
        np.testing.assert_allclose(
            sum(copies) / n, Uniform(bits)(h), rtol=0, atol=1e-15, err_msg=f"{bits} bits"
        )
        assert all((a <= b).all() for a, b in zip(copies, copies[1:])) and set(
            np.unique(copies)
        ) == {0, 1}, "ordered copies of 0 and 1"
    np.testing.assert_array_equal(
        split_levels(h, 2),
        np.concatenate([h >= 0.75, h >= 0.25], axis=-1),
        err_msg="the copy with the highest threshold comes first",
    )
    assert (
        abs(width_factor(2) - 0.70710678) < 1e-7 and abs(width_factor(3) - 0.57735027) < 1e-7
    ), "1 over the root of the number of copies"


attempt(check_split_levels)


# %% tags=["solution"]
def split_levels(h, n):
    """Turn (..., C) pre-activations into (..., n C) binary ones, largest threshold first."""
    return np.concatenate([h >= (k - 0.5) / n for k in range(n, 0, -1)], axis=-1).astype(
        h.dtype
    )


def width_factor(n):
    """Return c / w such that n c² = w²."""
    return 1 / np.sqrt(n)


# %% [markdown]
# With three copies the coupled network keeps 58 % of the width. More levels cost width, and which side wins has to
# be measured.

# %%
assert 0.575 < 1 / np.sqrt(3) < 0.585

# %% [markdown]
# ## References
#
# * H. Kim, K. Kim, J. Kim, J.-J. Kim: *BinaryDuo: Reducing Gradient Mismatch in Binary Activation Network by
#   Coupling Binary Activations*, ICLR 2020, [arXiv 2002.06517](https://arxiv.org/abs/2002.06517). The method: why
#   train with three levels, and how much accuracy the split gains.
# * S. Zhou et al.: *DoReFa-Net: Training Low Bitwidth Convolutional Neural Networks with Low Bitwidth Gradients*,
#   2016, [arXiv 1606.06160](https://arxiv.org/abs/1606.06160). The $k$-bit activation of the last exercise.
# * X. Lin, C. Zhao, W. Pan: *Towards Accurate Binary Convolutional Neural Network*, NeurIPS 2017,
#   [arXiv 1711.11294](https://arxiv.org/abs/1711.11294). Several shifted binary activations in place of one with
#   more levels (ABC-Net): a related decomposition, with learned shifts and scales, used from the start of
#   training.
# * Y. Bengio, N. Léonard, A. Courville: *Estimating or Propagating Gradients Through Stochastic Neurons for
#   Conditional Computation*, 2013, [arXiv 1308.3432](https://arxiv.org/abs/1308.3432). The straight-through
#   estimator; the window of section 8 is a clipped form of it.
# * D. Goldberg: *What Every Computer Scientist Should Know About Floating-Point Arithmetic*, ACM Computing Surveys
#   23(1), 1991. For section 7: rounding, spacing, ties to even.
