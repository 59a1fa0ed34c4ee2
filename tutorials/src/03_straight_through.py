# %% [markdown]
# # Train through a staircase: binary and ternary activations, and the gradient that is not one
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/duonet/duonet/blob/main/tutorials/03_straight_through.ipynb)
#
# An activation of two or three levels has derivative zero almost everywhere, and yet gradient descent trains
# networks of such activations every day. This tutorial builds the trick that makes this possible, and shows
# exactly what is wrong with the trick.

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

from duonet.exercise import attempt, full_run
from duonet.quant import Binary, Clip, Sign, Ternary

SEED = 0  # of every section's own generator: so its cells can run again, and in any order
FULL = full_run()  # False in a browser, where Python is slow: there this notebook trains less
DARK, LIGHT, WARM = "#123a6b", "#7aa6d8", "#b2500f"
plt.rc("legend", frameon=False)
plt.rc("axes.spines", top=False, right=False)

# %% tags=["hide-input"]
# alt: Sign, binary and ternary staircases. Above, each with its average over a window. Below,
#      the slope of the average: a window of height one around the thresholds, with half-width
#      1, one half and one quarter.
columns = [
    (Sign(), 1, Clip(-1, 1)),
    (Binary(), 1 / 2, Clip(0, 1)),
    (Ternary(), 1 / 4, Clip(0, 1)),
]
figure, axes = plt.subplots(
    2, 3, figsize=(9, 4.8), layout="constrained", sharex="col", height_ratios=(1.4, 1)
)
for (f, h, ramp), (top, bottom) in zip(columns, axes.T):
    u = np.linspace(ramp.low - 0.5, ramp.high + 0.5, 2001)
    top.fill_between(u, f(u), ramp.value(u), color=LIGHT, alpha=0.35, lw=0)
    top.plot(u, f(u), color=DARK, lw=2.5, label="the staircase")
    top.plot(u, ramp.value(u), "--", color=WARM, lw=2, label="its average over ± h")
    bottom.plot(u, 0 * u, color=DARK, lw=2.5, label="its derivative")
    bottom.plot(
        u,
        (f(u + h) - f(u - h)) / (2 * h),
        "--",
        color=WARM,
        lw=2,
        label="its difference over ± h",
    )
    middle = [0.5] * len(f.thresholds)
    bottom.errorbar(f.thresholds, middle, xerr=h, fmt="ko", capsize=5, label="threshold ± h")
    top.set(title=f"{type(f).__name__.lower()}, h = {h:g}", ylabel="y")
    bottom.set(xlabel="x", ylabel="slope", ylim=(-0.15, 1.25))
figure.legend(
    handles=[*top.lines, *bottom.lines[:2], *bottom.containers],
    loc="outside lower center",
    ncols=3,
)
plt.show()

# %% [markdown]
# > **Do** Build sign, binary and ternary activations, see gradient descent stop dead in front of them, and get
# > it going again with a difference quotient whose step is big. Pair staircases with eight surrogates, train
# > some 60 small networks, and measure how wide a window of the backward pass should be.
# >
# > **Learn** Why a staircase is written as a comparison; what the straight-through estimator computes, and which
# > other function has it as its exact derivative; why an ordinary gradient check of a quantised op *must* fail,
# > and what to check instead; what happens to training when no pre-activation is in the window.
# >
# > **Need** Python, NumPy, the chain rule; how an op with a forward and a backward pass is written and checked
# > (tutorials 1 and 2).
# >
# > **Time** Runs in 75 s on two cores (measured); two hours to read and work through. In a browser it
# > trains less; the numbers in the text are those of the full run.

# %% [markdown]
# ## 1. A staircase is a comparison
#
# A *staircase* (or *quantiser*) is a function of few levels. Its **thresholds** are the places where it jumps;
# its **levels** are the values between them. Three staircases are the subject of this course:
#
# | staircase | thresholds | levels |
# |---|---|---|
# | sign | $0$ | $-1,\ 1$ |
# | binary | $\tfrac12$ | $0,\ 1$ |
# | ternary | $\tfrac14,\ \tfrac34$ | $0,\ \tfrac12,\ 1$ |
#
# All three consist of one piece, the unit step at a threshold $t$, which is 1 where $x \ge t$ and 0 elsewhere. We
# write this step $\mathbf 1[x \ge t]$. In NumPy it is a comparison, cast to numbers.


# %%
def step(x, threshold):
    return (x >= threshold).astype(x.dtype)  # 1 from the threshold on, 0 below it


def sign(x):
    return 2 * step(x, 0) - 1


def binary(x):
    return step(x, 0.5)


def ternary(x):
    return (step(x, 0.25) + step(x, 0.75)) / 2


# %% [markdown]
# Here are their values at a dozen points. The points are awkward on purpose: among them are both zeros of
# floating point ($-0.0$ and $0.0$ are equal, so a comparison treats them alike) and every threshold.

# %%
X = np.array([-1.5, -1, -0.5, -0.05, -0.0, 0, 0.05, 0.25, 0.5, 0.75, 1, 1.5])
for f in (sign, binary, ternary):
    print(f"{f.__name__:8}", f(X))
assert (sign(X) == [-1, -1, -1, -1, 1, 1, 1, 1, 1, 1, 1, 1]).all()
assert (binary(X) == [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1]).all()
assert (ternary(X) == [0, 0, 0, 0, 0, 0, 0, 0.5, 0.5, 1, 1, 1]).all()

# %% [markdown]
# The library has the same three staircases, as objects that you call like functions: `Sign()`, `Binary()`,
# `Ternary()`. Our functions agree with them bit for bit, in both precisions.

# %%
rng = np.random.default_rng(SEED)  # this section's own, so that it can run again
for dtype in ("float32", "float64"):
    x = np.concatenate([X, rng.uniform(-2, 2, 10_000)]).astype(dtype)
    for ours, theirs in ((sign, Sign()), (binary, Binary()), (ternary, Ternary())):
        assert np.array_equal(ours(x), theirs(x)) and ours(x).dtype == theirs(x).dtype == dtype

# %% [markdown]
# ### Why not round?
#
# "The nearest of $0, \tfrac12, 1$" sounds like a job for `np.round`: clip $x$ to $[0, 1]$, multiply by 2,
# round, and divide by 2. Everywhere but on the thresholds, the result is the ternary staircase.
#
# **Predict.** What does rounding give *on* the thresholds, at $x = 0.25$ and $x = 0.75$, where two levels are
# equally near?
#
# <details><summary>Answer</summary>
#
# 0 and 1: rounding steps down at the first tie and up at the second. `np.round` breaks ties towards the *even*
# neighbour, so 0.5 becomes 0, but 1.5 becomes 2. The comparison `>=` always steps up.
#
# </details>


# %%
def by_rounding(x, n):
    return np.round(n * np.clip(x, 0, 1)) / n


ties = np.array([0.25, 0.75])
print("rounding   ", by_rounding(ties, 2))
print("comparison ", ternary(ties))
assert by_rounding(ties, 2).tolist() == [0, 1] and ternary(ties).tolist() == [0.5, 1]

# %% [markdown]
# Do two points of the real line matter? They matter to BinaryDuo. The method rests on an identity: a ternary
# activation is the mean of two binary ones, one shifted to the left and one to the right,
#
# $$\text{ternary}(x) = \tfrac12\,\text{binary}(x - \tfrac14) + \tfrac12\,\text{binary}(x + \tfrac14).$$
#
# With comparisons the identity holds for every real number $x$. With rounding it breaks at $x = 0.75$, and a
# network that is split along this identity would change.

# %%
x = np.concatenate([X, ties, rng.uniform(-2, 2, 10_000)])
assert np.array_equal(ternary(x), binary(x - 0.25) / 2 + binary(x + 0.25) / 2)
tie = np.array([0.75])
print("rounded ternary            ", by_rounding(tie, 2))
print(
    "mean of two rounded binary ",
    by_rounding(tie - 0.25, 1) / 2 + by_rounding(tie + 0.25, 1) / 2,
)
assert by_rounding(tie, 2) != by_rounding(tie - 0.25, 1) / 2 + by_rounding(tie + 0.25, 1) / 2

# %% [markdown]
# Ties are not rare, either. If all inputs and weights are −1 or +1, their dot product is a whole number. With 64
# inputs it is 0, the threshold of sign, in one case of ten.
#
# Floating point has one more trap: the sum $x + \tfrac14$ is itself rounded. Just below $x = 0.25$ the sum rounds
# *up* to ½ and reaches the threshold, although $x$ is below ¼. The cure is to move the threshold and not the
# number: `Binary(0.25)` compares $x$ with ¼, and a comparison rounds nothing.

# %%
from math import comb

print(f"64 random signs add up to 0 in {100 * comb(64, 32) / 2**64:.1f} % of the cases")
below = np.nextafter(np.array([0.25]), 0)  # the largest number under 0.25
shifted_numbers = (binary(below - 0.25) + binary(below + 0.25)) / 2
shifted_thresholds = (Binary(0.75)(below) + Binary(0.25)(below)) / 2
print(
    f"ternary {ternary(below)}, shifted numbers {shifted_numbers}, "
    f"shifted thresholds {shifted_thresholds}"
)
assert 9.5 < 100 * comb(64, 32) / 2**64 < 10.5
assert ternary(below) == 0 and shifted_numbers == 0.5 and shifted_thresholds == 0

# %% [markdown]
# ### Exercise 1: four levels
#
# A two-bit activation has the levels $0, \tfrac13, \tfrac23, 1$, with thresholds halfway between neighbours, at
# $\tfrac16, \tfrac12, \tfrac56$. Write it with comparisons, keeping the dtype of `x`.


# %%
def two_bits(x):
    """Return 0, 1/3, 2/3 or 1 for each element of x, stepping up at 1/6, 1/2 and 5/6."""
    raise NotImplementedError


# %%
def check_two_bits():
    from duonet.quant import Uniform

    draw = np.random.default_rng(SEED)
    for dtype in ("float32", "float64"):
        x = np.concatenate([draw.uniform(-1, 2, 1000), [1 / 6, 0.5, 5 / 6]]).astype(dtype)
        y = two_bits(x)
        assert y.dtype == x.dtype, f"x is {dtype}, but y is {y.dtype}"
        assert np.allclose(y, Uniform(2)(x), atol=1e-6), "a level or a threshold is off"


attempt(check_two_bits)


# %% tags=["solution"]
def two_bits(x):
    return (step(x, 1 / 6) + step(x, 0.5) + step(x, 5 / 6)) / 3


# %% [markdown]
# ## 2. Its derivative: zero, or whatever you like
#
# Gradient descent wants derivatives. The numerical derivative of a function $f$ is the central difference with
# a small step $h$,
#
# $$\frac{f(x + h) - f(x - h)}{2h}.$$
#
# The library's `numerical_gradient` computes it, by default with $h = 10^{-5}$. It takes functions from tensors
# to tensors, so we wrap ours.

# %%
from duonet import Tensor, numerical_gradient


def central_difference(f, x, h):
    return (f(x + h) - f(x - h)) / (2 * h)


x = np.array([-0.3, 0.0, 0.2])
for h in (1e-5, 2**-6, 0.25, 1):
    (theirs,) = numerical_gradient(lambda x: Tensor(sign(x.data)), x, step=h)
    assert np.array_equal(central_difference(sign, x, h), theirs)

# %% [markdown]
# **Predict.** What is the numerical derivative of sign with $h = 10^{-5}$ at $x = -0.3$, at $0$ and at $0.2$?
# And with $h = 1$?
#
# <details><summary>Answer</summary>
#
# With $h = 10^{-5}$: 0 at −0.3 and at 0.2, where both $x + h$ and $x - h$ lie on the same level. At 0 the
# window straddles the step, and the quotient is $2 / (2h) = 1/h$ = 100,000. With $h = 1$ all three windows
# straddle the step, and all three quotients are 1.
#
# </details>

# %%
steps = (1e-5, 0.01, 0.25, 1)
print("h        " + "".join(f"{h:>10g}" for h in steps))
for x in (-0.3, 0.0, 0.2):
    print(
        f"x = {x:4.1f} "
        + "".join(f"{central_difference(sign, np.array(x), h):10.0f}" for h in steps)
    )
assert central_difference(sign, np.array([-0.3, 0.2]), 1e-5).tolist() == [0, 0]
assert np.isclose(central_difference(sign, np.array(0.0), 1e-5), 1e5)
assert central_difference(sign, np.array([-0.3, 0, 0.2]), 1).tolist() == [1, 1, 1]

# %% [markdown]
# For a smooth function the numbers in each row of such a table settle down as $h$ shrinks. Here the numbers do not
# settle down: off the step they drop to 0, and on it they are $1/h$, which can be as large as you like. The true
# derivative is 0 wherever it exists, and at the step it does not exist.
#
# ### Gradient descent stands still
#
# Here is the smallest learning problem with a staircase in it. Samples $x$ lie evenly between 0 and 1, and the
# label is $\mathbf 1[x \ge 0.7]$. The model is $\mathbf 1[x \ge b]$, with a single parameter $b$. With squared
# error the loss $L(b)$ is the share of samples that lie between $b$ and 0.7, on which model and label differ.

# %%
samples = (np.arange(200) + 0.5) / 200
labels = step(samples, 0.7)


def loss(b):
    return np.mean((step(samples, b) - labels) ** 2)


assert np.isclose(loss(0.2), 0.5) and np.isclose(loss(0.6), 0.1) and loss(0.7) == 0

# %% [markdown]
# The loss itself looks harmless, a V with its tip at 0.7. A closer look shows what it is made of.

# %%
# alt: Left, the loss as a function of a threshold looks like a V. Right, twenty-five times
#      closer, the same loss is a staircase with flat steps.
figure, (left, right) = plt.subplots(1, 2, figsize=(8.5, 3.2), layout="constrained")
for ax, low, high in ((left, 0, 1), (right, 0.2, 0.24)):
    b = np.linspace(low, high, 2001)
    ax.plot(b, [loss(value) for value in b], color=DARK, lw=2)
    ax.set(
        xlabel="b",
        ylabel="L(b)",
        title="the loss" if ax is left else "the same, 25 times closer",
    )
plt.show()

# %% [markdown]
# The loss is a staircase too: it jumps by 1/200 when $b$ passes a sample, and is flat in between. So gradient
# descent that starts at $b = 0.2$ gets the gradient 0 and never moves.

# %%
b = 0.2
for _ in range(50):
    b -= 0.1 * central_difference(loss, b, 1e-5)
print(f"b = {b} after 50 steps")
assert b == 0.2

# %% [markdown]
# This is the whole difficulty. If one function of a composition is flat, the composition is flat. With a staircase
# anywhere between a weight and the loss, back-propagation multiplies by 0 on the way.
#
# ## 3. Take a bigger step
#
# The last column of the table above shows the way out. With $h = 1$ the difference quotient of sign is neither 0
# nor huge. Let us work it out for every $x$. $\text{sign}(x + h)$ is $+1$ from $x = -h$ on, and $\text{sign}(x -
# h)$ from $x = h$ on. Between these two places the two values differ by 2; elsewhere they are equal:
#
# $$\frac{\text{sign}(x + h) - \text{sign}(x - h)}{2h} = \frac1h\,\mathbf 1[-h \le x < h].$$
#
# This is a *window* around the threshold, from $h$ to the left of it to $h$ to the right. Its area is 2 for every
# $h$, because sign rises by 2. We check it on a grid of multiples of 1/64, which floating point adds and
# subtracts exactly, so that the ends of the windows are on the grid.

# %%
grid = np.arange(-128, 129) / 64
for h in (0.25, 0.5, 1):
    window = (grid >= -h) & (grid < h)
    assert np.array_equal(central_difference(sign, grid, h), window / h)

# %% [markdown]
# For $h = 1$ this is a window of height 1 between −1 and 1. Use it as the derivative of sign, and you have the
# **clipped straight-through estimator** with which binarised networks have been trained since 2016 (Hubara et
# al.): pass the gradient on where $|x| \le 1$, stop it elsewhere. Its name says that inside the window the
# gradient goes *straight through* the step, as if there were no step. So the estimator is neither magic nor a
# crime. It is a numerical derivative with a big step.
#
# In the library it is the derivative of a *surrogate*, a smoother function that stands in for the staircase:
# `Clip(-1, 1)` is $\min(\max(x, -1), 1)$.
#
# **Predict.** The window of the central difference is $-1 \le x < 1$. The library has the window $-1 < x < 1$
# as `Clip(-1, 1)` and $-1 \le x \le 1$ as `Clip(-1, 1, closed=True)`. At how many points of the real line does
# each differ from the central difference?
#
# <details><summary>Answer</summary>
#
# At one point each: the open window at $x = -1$, the closed window at $x = 1$. The central difference inherits
# its half-open window from `>=`, which counts the threshold to the upper level.
#
# </details>

# %%
difference = central_difference(sign, grid, 1)
for surrogate in (Clip(-1, 1), Clip(-1, 1, closed=True)):
    print(surrogate, "differs at", grid[surrogate.derivative(grid) != difference])
assert grid[Clip(-1, 1).derivative(grid) != difference].tolist() == [-1]
assert grid[Clip(-1, 1, closed=True).derivative(grid) != difference].tolist() == [1]

# %% [markdown]
# Everywhere else the three windows are equal to the last bit. The literature uses the closed window for sign and
# the open window for BinaryDuo's activations. A pre-activation that is a sum of many real numbers never hits an
# end of the window, so the choice does not matter. Section 9 has a case where it does.
#
# ### Which step for which staircase?
#
# A staircase with thresholds $t_1, t_2, \dots$ that rises by $a_k$ at $t_k$ is a sum of unit steps, so its
# central difference is a sum of windows, one around each threshold:
#
# $$\frac{f(x+h) - f(x-h)}{2h} = \sum_k \frac{a_k}{2h}\,\mathbf 1[t_k - h \le x < t_k + h].$$
#
# BinaryDuo passes the gradient on, unchanged, for $0 < x < 1$, through its binary and its ternary activation
# alike.
#
# **Predict.** Which step $h$ gives this window for the binary staircase (one jump of 1, at $\tfrac12$)? And for
# the ternary one (two jumps of $\tfrac12$, at $\tfrac14$ and $\tfrac34$)?
#
# <details><summary>Answer</summary>
#
# Binary: the window $[\tfrac12 - h, \tfrac12 + h)$ is $[0, 1)$ for $h = \tfrac12$, and its height is
# $1 / (2h) = 1$. Ternary: with $h = \tfrac14$ the two windows are $[0, \tfrac12)$ and $[\tfrac12, 1)$. They lie
# side by side, and each has the height $\tfrac12 / (2h) = 1$.
#
# </details>

# %%
window = (grid >= 0) & (grid < 1)
assert np.array_equal(central_difference(binary, grid, 1 / 2), window)
assert np.array_equal(central_difference(ternary, grid, 1 / 4), window)
assert grid[Clip(0, 1).derivative(grid) != window].tolist() == [0]
print(
    "with h = 1/4 the binary staircase has the slopes",
    np.unique(central_difference(binary, grid, 1 / 4)),
)
assert np.unique(central_difference(binary, grid, 1 / 4)).tolist() == [0, 2]

# %% [markdown]
# Both estimators are the same window, `Clip(0, 1)`. But for the ternary staircase the window is the central
# difference with *half the step*: the binary staircase needs a step twice as big to get the same window. Keep
# this in mind. A ternary activation is a pair of coupled binary activations (Section 1), and BinaryDuo's idea is
# to train them coupled.
#
# ### Exercise 2: the step of a staircase with any number of levels
#
# Take a staircase with $m$ evenly spaced levels from 0 to 1 and thresholds halfway between neighbours. For
# exactly one step, its central difference is the window $[0, 1)$ of height 1. Which step is it?


# %%
def step_for(levels):
    """Return the h whose central difference is 1 on [0, 1) and 0 elsewhere."""
    raise NotImplementedError


# %%
def check_step_for():
    from duonet.quant import Uniform

    x = np.random.default_rng(SEED).uniform(-2, 3, 2000)
    for levels, f in (
        (2, Binary()),
        (3, Ternary()),
        (4, Uniform(2)),
        (8, Uniform(3)),
        (256, Uniform(8)),
    ):
        window = central_difference(f, x, step_for(levels))
        assert np.allclose(window, (x > 0) & (x < 1), atol=1e-9), (
            f"not the window with {levels} levels"
        )


attempt(check_step_for)


# %% tags=["solution"]
def step_for(levels):
    jumps = levels - 1  # of 1 / jumps each, one every 1 / jumps
    return 1 / (2 * jumps)


# %% [markdown]
# ### The exact derivative of something else
#
# There is a second way to read a difference quotient with a big step. Average $f$ over a window of half-width
# $h$,
#
# $$\bar f(x) = \frac{1}{2h} \int_{x-h}^{x+h} f(u)\,du.$$
#
# By the fundamental theorem of calculus the derivative of the integral is the value of $f$ at the upper end
# less the value at the lower end:
#
# $$\bar f'(x) = \frac{f(x+h) - f(x-h)}{2h}.$$
#
# So the straight-through estimator is an *exact* derivative, of the **smoothed** staircase. Smoothing sign with
# $h = 1$ gives the ramp from −1 to 1; smoothing binary with $h = \tfrac12$, or ternary with $h = \tfrac14$,
# gives the ramp from 0 to 1. These ramps are the dashed lines of the figure at the top, and they are the
# surrogate `Clip`. We check it by averaging over 1,000 points of each window.


# %%
def smoothed(f, x, h, points=1000):
    u = h * ((2 * np.arange(points) + 1) / points - 1)  # evenly between −h and h
    return np.mean([f(x + shift) for shift in u], axis=0)


for f, h, surrogate in (
    (sign, 1, Clip(-1, 1)),
    (binary, 1 / 2, Clip(0, 1)),
    (ternary, 1 / 4, Clip(0, 1)),
):
    error = np.abs(smoothed(f, grid, h) - surrogate.value(grid)).max()
    assert error < 0.0021, error  # a jump of at most 2, placed to within one point of 1,000
print("The surrogate Clip is each staircase, averaged.")

# %% [markdown]
# A third reading: $\bar f(x)$ is the *expected* output of a staircase whose input is disturbed by noise,
# uniform between $-h$ and $h$. The estimator pretends that every activation is noisy, takes the exact
# derivative of its average output, and then runs the network without noise.
#
# ## 4. A staircase forwards, a window backwards
#
# In the engine of this course an op is a `Function` with a `forward` and a `backward` on arrays; `backward` gets
# `dy`, the gradient of the loss with respect to the output `y`, and returns the gradient with respect to the
# input. Nothing forces the two methods to belong together. So we let `forward` be the staircase and `backward`
# multiply with the window.

# %%
from duonet import Function


class BinaryClip(Function):
    """y = 1[x >= ½].   dx = dy where 0 < x < 1, else 0."""

    @staticmethod
    def forward(ctx, x):
        ctx.x = x  # what the backward pass remembers
        return binary(x)

    @staticmethod
    def backward(ctx, dy):
        return dy * ((ctx.x > 0) & (ctx.x < 1))


# %% [markdown]
# The library has one op for all such pairs, `quantize(x, staircase, surrogate)`. For any upstream gradient `dy`,
# its gradient must equal ours bit for bit.

# %%
from duonet.quant import quantize


def output_and_gradient(op, array, dy, *settings):
    x = Tensor(array, requires_grad=True)
    y = op(x, *settings)
    y.backward(dy)
    return y.data, x.grad


rng = np.random.default_rng([SEED, 4])  # this section's own, so that it can run again
array, dy = np.concatenate([X, rng.uniform(-1, 2, 1000)]), rng.standard_normal(1012)
ours = output_and_gradient(BinaryClip.apply, array, dy)
theirs = output_and_gradient(quantize, array, dy, Binary(), Clip(0, 1))
assert np.array_equal(ours[0], theirs[0]) and np.array_equal(ours[1], theirs[1])

# %% [markdown]
# ### Exercise 3: the ternary op
#
# Change the worked example into BinaryDuo's ternary activation: the ternary staircase forwards, the same window
# $0 < x < 1$ backwards.


# %%
class TernaryClip(Function):
    """y = ternary(x).   dx = dy where 0 < x < 1, else 0."""

    @staticmethod
    def forward(ctx, x):
        raise NotImplementedError

    @staticmethod
    def backward(ctx, dy):
        raise NotImplementedError


# %%
def check_ternary_clip():
    for seed in range(3):
        dy = np.random.default_rng(seed).standard_normal(array.shape)
        y, dx = output_and_gradient(TernaryClip.apply, array, dy)
        expected_y, expected_dx = output_and_gradient(
            quantize, array, dy, Ternary(), Clip(0, 1)
        )
        assert np.array_equal(y, expected_y), "the staircase is off"
        assert np.array_equal(dx, expected_dx), (
            "the gradient is off; does it use dy, and the open window?"
        )


attempt(check_ternary_clip)


# %% tags=["solution"]
class TernaryClip(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.x = x
        return ternary(x)

    @staticmethod
    def backward(ctx, dy):
        return dy * ((ctx.x > 0) & (ctx.x < 1))


# %% [markdown]
# ### The stuck model moves
#
# We return to the model that stood still at $b = 0.2$. Its step $\mathbf 1[x \ge b]$ is `binary(x - b + 0.5)`, so
# `BinaryClip` passes gradient where $|x - b| < \tfrac12$. The gradient that back-propagation then returns is
# called the **coarse gradient**.


# %%
def coarse_gradient(b):
    b = Tensor(np.array(b), requires_grad=True)
    y = BinaryClip.apply(samples - b + 0.5)
    ((y - labels) ** 2).mean().backward()
    return b.grad.item()


# %% [markdown]
# **Predict.** At $b = 0.2$ the model is wrong on half of the samples, from 0.2 to 0.7: there $y = 1$ and the
# label is 0. All of these samples are inside the window. What is the coarse gradient? (The derivative of $(y -
# \text{label})^2$ with respect to $y$ is $2(y - \text{label})$; that of $x - b$ with respect to $b$ is −1.)
#
# <details><summary>Answer</summary>
#
# Each wrong sample gives $2 \cdot 1 \cdot (-1) = -2$, each right sample gives 0. The mean is $-2 \cdot 0.5 = -1$.
# It is negative, so gradient descent raises $b$, as it should.
#
# </details>

# %%
print("coarse gradient at b = 0.2:", round(coarse_gradient(0.2), 6))
assert np.isclose(coarse_gradient(0.2), -1)
path = [0.2]
for _ in range(50):
    path.append(path[-1] - 0.1 * coarse_gradient(path[-1]))
print(f"b after 50 steps: {path[-1]:.3f}, wrong samples: {100 * loss(path[-1]):.1f} %")
assert abs(path[-1] - 0.7) < 0.01 and loss(path[-1]) <= 0.01

# %% [markdown]
# The model learns. But *which* gradient has it followed? We draw the coarse gradient for every $b$, next to the
# true slope of the V. (The true slope is a difference quotient of the loss itself, with a step so big that the
# small jumps average out.)

# %%
# alt: Left, the threshold reaches 0.7 with the coarse gradient and stays at 0.2 with the
#      derivative. Right, the true slope is minus one and plus one, the coarse gradient a
#      straight line of the same sign.
places = np.linspace(0.25, 1.15, 181)
coarse = np.array([coarse_gradient(value) for value in places])
slope = np.array([central_difference(loss, value, 0.05) for value in places])
figure, (left, right) = plt.subplots(1, 2, figsize=(8.5, 3.2), layout="constrained")
left.plot([0, 50], [0.2, 0.2], color=DARK, lw=2, label="derivative (h = 0.00001)")
left.plot(path, "--", color=WARM, lw=2, label="coarse gradient")
left.set(xlabel="step of gradient descent", ylabel="b", ylim=(0.1, 0.85))
right.plot(places, slope, color=DARK, lw=2, label="slope of the loss (h = 0.05)")
right.plot(places, coarse, "--", color=WARM, lw=2, label="coarse gradient")
right.set(xlabel="b", ylabel="gradient", ylim=(-1.3, 1.9))
for ax in (left, right):
    ax.legend(loc="center right" if ax is left else "upper left")
plt.show()

# %% [markdown]
# The true slope is $-1$ to the left of 0.7 and $+1$ to the right, until $b$ leaves the samples at 1. Up to there
# the coarse gradient is $2(b - 0.7)$: the same sign, another size. In fact it is the gradient of *another loss*,
# $(b - 0.7)^2$, the square of ours. The other loss has its minimum at the same place, so all ends well here.
# Nothing guarantees this in general. With two parameters there need not even *be* another loss: Section 9 comes
# back to this question.

# %%
inside = places < 1
assert np.allclose(coarse[inside], 2 * (places[inside] - 0.7), atol=0.011)
assert (np.sign(coarse[inside]) == np.sign(slope[inside]))[
    np.abs(places[inside] - 0.7) > 0.05
].all()
assert np.allclose(np.abs(slope[places < 0.64]), 1) and np.allclose(slope[places > 1.06], 0)

# %% [markdown]
# ## 5. The check that must fail
#
# We compared the backward passes of this course with numerical gradients. The backward pass of `BinaryClip` is
# still unchecked.
#
# **Predict.** What will `check_gradients(BinaryClip.apply, x)` say at $x = (-0.4, 0.2, 0.6, 1.3)$? What stands
# in its two columns, the gradient of `backward` and the numerical one?
#
# <details><summary>Answer</summary>
#
# It fails. The numerical gradients are 0 everywhere, because no $x$ is within $10^{-5}$ of the threshold. The
# gradients of `backward` are the random upstream gradient inside the window, at 0.2 and 0.6, and 0 outside.
#
# </details>

# %%
from duonet import check_gradients
from duonet.gradcheck import GradientError, SurrogateGradient

x = np.array([-0.4, 0.2, 0.6, 1.3])
try:
    check_gradients(BinaryClip.apply, x)
except GradientError as error:
    message = str(error)
print(message)
assert "numerical" in message and output_and_gradient(BinaryClip.apply, x, np.ones(4))[
    1
].tolist() == [0, 1, 1, 0]

# %% [markdown]
# The check is right and our op is wrong, in the sense of the check: `backward` is not the derivative of
# `forward`. The column `difference` has a name. It is the **gradient mismatch** of this op, and no care in
# programming removes it, because a correct derivative would be zero.
#
# An op of this kind should say so. In the engine it sets `exact = False` (see the end of tutorial 1). The check
# then refuses the op, gives the reason, and does not compare numbers that cannot agree. The library's `quantize`
# does the same.

# %%
try:
    check_gradients(lambda x: quantize(x, Ternary(), Clip(0, 1)), x)
except SurrogateGradient as error:
    refusal = str(error)
print(refusal)
assert "against='surrogate'" in refusal

# %% [markdown]
# ### What can be checked
#
# Two things are still claims, and can be wrong: that the staircase is the right one (Section 1 compared it with
# known values), and that the window is the derivative of the surrogate. To check the second claim, tell the
# engine what the surrogate is: give the op a third method, `smooth`, an alternative forward pass. With
# `against="surrogate"` the check runs `smooth` in place of the staircase, with the same `backward`, and
# everything must agree to the usual precision.


# %%
class HonestBinaryClip(BinaryClip):
    exact = False  # backward is not the derivative of forward ...

    @staticmethod
    def smooth(ctx, x):  # ... but that of this
        ctx.x = x
        return np.clip(x, 0, 1)


check_gradients(HonestBinaryClip.apply, x, against="surrogate")
check_gradients(lambda x: quantize(x, Ternary(), Clip(0, 1)), x, against="surrogate")
print("Both pass.")

# %% [markdown]
# A check is worth something only if it can fail. Here is a mistake that nobody sees: the window of sign under the
# staircase of binary. Nothing crashes, and networks train.


# %%
class WrongWindow(HonestBinaryClip):
    @staticmethod
    def backward(ctx, dy):
        return dy * (np.abs(ctx.x) < 1)


try:
    check_gradients(WrongWindow.apply, x, against="surrogate")
except GradientError as error:
    found = str(error)
print(found)
assert "backward gives" in found and "(0,)" in found.splitlines()[2]

# %% [markdown]
# The table names index 0, where $x = -0.4$ lies between −1 and 0: inside the wrong window and outside the right
# window.
#
# ## 6. A gallery of surrogates
#
# The library keeps the two halves apart. A **staircase** knows thresholds and levels and nothing of gradients.
# A **surrogate** knows a function and its derivative and nothing of steps. Any staircase goes with any
# surrogate:
#
# ```python
# y = quantize(x, Ternary(), Clip(0, 1))
# ```
#
# The window is only one choice of many. The surrogates below are from the literature. Some were made for sign,
# which rises from −1 to 1 around 0; `ZeroOne(...)` carries such a surrogate over to the step from 0 to 1 at ½,
# and `Shifted(..., 0.5)` moves one to ½.

# %%
from duonet.quant import (
    Identity,
    Polynomial,
    ReLU,
    Shifted,
    SwishSign,
    Tanh,
    Triangle,
    ZeroOne,
)

gallery = {
    "identity": Identity(),  # Bengio et al., 2013
    "ReLU": ReLU(),
    "clip": Clip(0, 1),  # Hubara et al., 2016, for sign
    "triangle": Shifted(Triangle(), 0.5),  # Esser et al., 2016, for spikes
    "polynomial": ZeroOne(Polynomial()),  # Liu et al., 2018: Bi-Real Net
    "tanh 2": ZeroOne(Tanh(2)),  # Qin et al., 2020: IR-Net
    "tanh 8": ZeroOne(Tanh(8)),
    "SwishSign 5": ZeroOne(SwishSign(5)),  # Darabi et al., 2018: BNN+
}

# %% [markdown]
# The figure draws each surrogate over the binary staircase. Below it stands its derivative, which the backward
# pass uses. The shaded area is where surrogate and staircase differ.

# %% tags=["slow"]
# alt: Eight surrogates over the binary staircase, each with its derivative below: identity,
#      ReLU, clip, triangle, polynomial, two hyperbolic tangents and SwishSign.
figure, axes = plt.subplots(
    4, 4, figsize=(9, 7.6), layout="constrained", sharex=True, height_ratios=(1, 0.8, 1, 0.8)
)
u = np.linspace(-0.75, 1.75, 1001)
for i, (name, surrogate) in enumerate(gallery.items()):
    top, bottom = axes[2 * (i // 4) : 2 * (i // 4) + 2, i % 4]
    top.fill_between(u, binary(u), surrogate.value(u), color=LIGHT, alpha=0.35, lw=0)
    top.plot(u, binary(u), color=DARK, lw=2)
    top.plot(u, surrogate.value(u), "--", color=WARM, lw=1.8)
    top.set(title=name, ylim=(-0.8, 1.8), ylabel="value" if i % 4 == 0 else "")
    bottom.plot(u, surrogate.derivative(u), color=WARM, lw=1.8)
    bottom.set(
        ylim=(-1, 8.5) if i in (6, 7) else (-0.3, 2.5),
        ylabel="derivative" if i % 4 == 0 else "",
    )
    if i > 3:
        bottom.set_xlabel("x")
plt.show()

# %% [markdown]
# Note the different scale of the last two derivatives: a steep surrogate passes a lot of gradient to the few
# pre-activations near the threshold, and next to none to the others. Note also that SwishSign overshoots, and
# that its derivative is negative beside the step.
#
# Formulas are easy to get wrong, so the library's tests compare the surrogates with known values, digit by digit.
# Here are three rows of these values, for sign, at the twelve points `X` and for an upstream gradient of 1.

# %%
swish = [
    -0.03034,
    -0.19499,
    -0.08462,
    4.84616,
    5,
    5,
    4.84616,
    2.26205,
    -0.08462,
    -0.35418,
    -0.19499,
    -0.03034,
]
known = {
    Clip(-1, 1, closed=True): [0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0],
    Polynomial(): [0, 0, 1, 1.9, 2, 2, 1.9, 1.5, 1, 0.5, 0, 0],
    SwishSign(5): swish,
}
for surrogate, expected in known.items():
    y, dx = output_and_gradient(quantize, X, np.ones(12), Sign(), surrogate)
    assert np.array_equal(y, sign(X)) and np.allclose(dx, expected, atol=5e-6)
    print(f"{surrogate!s:36}", dx.round(2))

# %% [markdown]
# A double loop checks the claim "any staircase goes with any surrogate": the output is the staircase's output,
# and the gradient is `dy` times the surrogate's derivative, to the last bit. The third staircase is our own, made
# of thresholds and levels. And `check_surrogate` compares a surrogate's `derivative` with its `value`.

# %%
from duonet import check_surrogate
from duonet.quant import Staircase

staircases = [Binary(), Ternary(), Staircase([-0.5, 0.5], [-1, 0, 1])]
for surrogate in gallery.values():
    check_surrogate(surrogate)
    for staircase in staircases:
        y, dx = output_and_gradient(quantize, array, dy, staircase, surrogate)
        assert np.array_equal(y, staircase(array))
        assert np.array_equal(dx, dy * surrogate.derivative(array))
print(len(staircases) * len(gallery), "pairs checked")

# %% [markdown]
# ### The shaded area
#
# How good is a surrogate? Earlier work compares areas: the smaller the area between staircase and surrogate,
# the smaller the lie.
#
# **Predict.** Between the binary staircase and `Clip(0, 1)` lie two right-angled triangles with legs $\tfrac12$;
# their areas add up to $\tfrac14$. What is the area between the *ternary* staircase and `Clip(0, 1)`?
#
# <details><summary>Answer</summary>
#
# There are four triangles with legs $\tfrac14$, so the area is $4 \cdot \tfrac12 \cdot \tfrac1{16} = \tfrac18$,
# half as much.
#
# </details>


# %% tags=["slow"]
def area(staircase, surrogate, low=-4, high=5, points=900_000):
    u = low + (high - low) * (np.arange(points) + 0.5) / points
    return (high - low) * np.mean(np.abs(staircase(u) - surrogate.value(u)))


for name, surrogate in gallery.items():
    if name not in ("identity", "ReLU"):  # these run away from the staircase: infinite
        print(f"binary with {name:12} {area(Binary(), surrogate):.3f}")
print(f"ternary with clip        {area(Ternary(), Clip(0, 1)):.3f}")
assert np.isclose(area(Binary(), Clip(0, 1)), 1 / 4, atol=1e-4)
assert np.isclose(area(Ternary(), Clip(0, 1)), 1 / 8, atol=1e-4)
assert area(Binary(), gallery["tanh 8"]) < 1 / 8

# %% [markdown]
# By this measure one gains by a third level, and by a steeper surrogate as well: tanh 8 beats ternary with the
# clip. But an area knows nothing of the network, neither where its pre-activations lie nor what happens to the
# gradient in the layers below. The area is an indirect measure. Tutorial 4 has a direct one.
#
# ### Exercise 4: your own surrogate
#
# Another smooth step is the arctangent. Write it as a surrogate for sign,
#
# $$\text{value}(x) = \frac2\pi \arctan\!\left(\frac\pi2\,x\right),$$
#
# and work out its derivative (the derivative of $\arctan u$ is $1 / (1 + u^2)$).

# %%
from duonet.quant import Surrogate


class Arctan(Surrogate):
    """value 2/π · arctan(π/2 · x), and its derivative."""

    def value(self, x):
        raise NotImplementedError

    def derivative(self, x):
        raise NotImplementedError


# %%
def check_arctan():
    arctan = Arctan()
    assert np.allclose(
        arctan.value(np.array([0, 2 / np.pi, -2 / np.pi, 1e12])), [0, 0.5, -0.5, 1]
    ), "2 / pi times the arc tangent of pi x / 2"
    check_surrogate(arctan)  # raises where derivative and value do not belong together
    y, dx = output_and_gradient(quantize, array, dy, Sign(), arctan)
    assert np.array_equal(y, sign(array)) and np.array_equal(
        dx, dy * arctan.derivative(array)
    ), "forwards the staircase, backwards dy times the derivative"


attempt(check_arctan)


# %% tags=["solution"]
class Arctan(Surrogate):
    def value(self, x):
        return 2 / np.pi * np.arctan(np.pi / 2 * x)

    def derivative(self, x):
        return 1 / (1 + (np.pi / 2 * x) ** 2)


# %% [markdown]
# ## 7. Train a network through staircases
#
# Now we train on real images: 2,000 images of Fashion-MNIST, which come with the package. Accuracy is measured on
# 2,000 validation images that training does not see. We leave the test images alone: nothing here is worth
# spending them on.

# %%
from duonet import data, evaluate, fit, nn, optim

splits = data.fashion_mini()
train_set = splits.train.take(2000)
normalize = data.Normalize.of(train_set.images)
validation = data.DataLoader(splits.validation, 500, normalize)
assert train_set.images.shape == (2000, 28, 28, 1) and len(splits.validation.labels) == 2000

# %% [markdown]
# The network has six hidden layers of 64 units: linear, batch norm, activation. Weights are ordinary floats; only
# the activations are quantised. `activation` is a function that makes the activation layer, so that we can try
# any activation.


# %%
def network(activation, rng, norm=True):
    layers, inputs = [nn.Flatten()], 28 * 28
    for _ in range(6):
        layers.append(nn.Linear(inputs, 64, rng=rng))
        if norm:
            layers.append(nn.BatchNorm(64))
        layers.append(activation())
        inputs = 64
    return nn.Sequential(*layers, nn.Linear(64, 10, rng=rng))


# %% [markdown]
# All networks are trained alike: six epochs of Adam in batches of 100. A seed decides the initial weights and the
# order of the images. Small networks on few images vary from seed to seed by a point or two, so a single run
# proves nothing. We train five networks and look at all five. (Another processor or another version of NumPy
# rounds differently, and training amplifies the difference: there the accuracies below differ as if the seed were
# another.)


# %%
EPOCHS, SEEDS = (6, 5) if FULL else (1, 2)


def train(activation, seed, norm=True):
    rng = np.random.default_rng([SEED, seed])
    model = network(activation, rng, norm)
    loader = data.DataLoader(train_set, 100, normalize, rng=rng)
    fit(model, loader, optim.Adam(model.parameters(), 3e-3), EPOCHS, progress=False)
    return model


def accuracies(activation):
    found = [evaluate(train(activation, seed), validation).accuracy for seed in range(SEEDS)]
    return 100 * np.array(found)


# %% [markdown]
# We compare three networks whose backward pass has the *same* window, $0 < x < 1$. They differ only in the
# forward pass, which is the ramp $\min(\max(x, 0), 1)$ itself ("float", no lie at all), the ternary staircase or
# the binary staircase. `nn.QuantActivation` is `quantize` as a layer.
#
# **Predict.** In which order do their accuracies end up?
#
# <details><summary>Answer</summary>
#
# Binary comes last, clearly. Float and ternary are close together, one to three points apart, which is not much
# more than the spread over seeds. Ternary has half of binary's step.
#
# </details>


# %% tags=["slow"]
def through(staircase, surrogate):
    return lambda: nn.QuantActivation(staircase, surrogate)


results = {
    "float": accuracies(lambda: nn.Clip(0, 1)),
    "ternary": accuracies(through(Ternary(), Clip(0, 1))),
    "binary": accuracies(through(Binary(), Clip(0, 1))),
}
for name, found in results.items():
    print(f"{name:8} {found.mean():.1f} ± {found.std(ddof=1):.1f} %   seeds:", found.round(1))
if FULL:
    assert (
        min(results["float"].mean(), results["ternary"].mean()) > results["binary"].mean() + 1
    )
    assert -1 < results["float"].mean() - results["ternary"].mean() < 4
    assert min(results["float"]) < max(results["ternary"]) + 2.5

# %% [markdown]
# A third level helps a good deal. Note how large the spread is, though: the worst float network is hardly better
# than the best ternary network, if at all. With one seed for each, their order would tell little.
#
# ### Clip or identity?
#
# Now we change the other half of the pair. The identity has no window at all: it passes the gradient on
# everywhere. We compare it with the clip. Both are windows around ½, the clip with the half-width $w = \tfrac12$
# and the identity with $w = \infty$. So we try five half-widths, from $w = \tfrac14$ to $w = \infty$. All windows
# have the height 1. A constant factor on the gradient of a layer does not matter to Adam, which divides it out.
#
# **Predict.** What speaks for a narrow window, and what for a wide one? Where is the best $w$, for binary?
#
# <details><summary>Answer</summary>
#
# Up to a factor, a narrow window is a difference quotient with a small step. It gives gradient only where the
# step is near. But few pre-activations are in it, and the others learn nothing. A wide window lets everything
# learn, but it also passes gradient on where no small change of the input changes the output. The best width lies
# somewhere between; the run says where.
#
# </details>

# %% tags=["slow"]
widths = (0.25, 0.5, 1, 2, np.inf)
sweep = {
    name: [results[name] if w == 0.5 else None for w in widths]
    for name in ("binary", "ternary")
}
for name, staircase in (("binary", Binary()), ("ternary", Ternary())):
    for i, w in enumerate(widths):
        if w != 0.5:  # trained above
            surrogate = Identity() if w == np.inf else Clip(0.5 - w, 0.5 + w)
            sweep[name][i] = accuracies(through(staircase, surrogate))
    shown = [
        f"w = {w:g}: {found.mean():.1f} ± {found.std(ddof=1):.1f}"
        for w, found in zip(widths, sweep[name])
    ]
    print(f"{name:8}", "   ".join(shown))

# %%
# alt: Validation accuracy against the half-width of the backward window, for binary and
#      ternary networks. Both curves rise steeply from one quarter, are highest near one or
#      two, and fall slightly towards the identity.
figure, ax = plt.subplots(figsize=(7.5, 3.8), layout="constrained")
place = np.arange(len(widths))
for (name, found), color, marker, shift in zip(
    sweep.items(), (WARM, DARK), "os", (-0.06, 0.06)
):
    ax.plot(
        place + shift,
        np.mean(found, axis=1),
        "-" if name == "ternary" else "--",
        color=color,
        label=name,
    )
    for x, accuracy in zip(place, found):
        ax.plot(
            np.full(SEEDS, x + shift), accuracy, marker, color=color, alpha=0.5, ms=5, mew=0
        )
ax.axhline(results["float"].mean(), color="0.5", lw=1.2, ls=":")
ax.text(-0.1, results["float"].mean() + 0.6, "float, window (0, 1)", color="0.4")
ax.set_xticks(place, ["¼", "½\n(clip)", "1", "2", "∞\n(identity)"])
ax.set(xlabel="half-width w of the backward window", ylabel="validation accuracy in %")
ax.legend(loc="lower right")
plt.show()

# %% [markdown]
# Each dot is a network; the lines join the means. For both staircases the curve rises steeply, has its top near
# $w = 1$ or $w = 2$ and falls off slowly towards the identity. The figure has five lessons:
#
# * The window matters as much as the number of levels: binary with $w = 1$ is better than ternary with
#   $w = \tfrac14$.
# * With the same window, ternary is above binary, and most of all where the window is narrow.
# * The usual window, $w = \tfrac12$, is *not* the best one for this small network. A likely reason: batch norm
#   leaves two thirds of the pre-activations outside of it (Section 8).
# * The identity is worse than $w = 1$ by a point or two, and one network differs from the next by about one
#   point. A claim about two neighbouring points in the right half needs more than five seeds. For binary the
#   identity is far better than the clip. Remember this when tutorial 4 measures which of the two has the better
#   gradient.
# * The dotted line is no ceiling. The ramp of the float network stops gradients outside of $(0, 1)$ as well, and
#   a binary network with the wider window does about as well as the float network.
#
# All of this holds at one learning rate, which was not tuned for each network. Tutorial 6 shows how much tuning
# can matter.

# %%
mean = {name: np.mean(found, axis=1) for name, found in sweep.items()}
if FULL:
    assert (mean["binary"] + mean["ternary"]).argmax() in (2, 3), (
        "the top is at w = 1, or next to it"
    )
    for name in sweep:
        assert mean[name][2] > mean[name][0] + 5 and mean[name][2] > mean[name][1] + 0.3
        assert abs(mean[name][2] - mean[name][-1]) < 5
    worse = mean["binary"][2] + mean["ternary"][2] - mean["binary"][-1] - mean["ternary"][-1]
    assert 0 < worse < 7, "by a bit"
    assert mean["binary"][-1] > mean["binary"][1] + 2, "the identity beats the clip"
    assert abs(mean["binary"][2] - results["float"].mean()) < 3
    assert mean["binary"][2] > mean["ternary"][0] + 3
    gap = mean["ternary"] - mean["binary"]
    assert gap.argmax() == 0 and gap[1] > 0.5 and gap[2:].mean() > 0

# %% [markdown]
# ## 8. A window that nobody is in
#
# A unit whose pre-activation lies outside of the window for *every* sample gets no gradient at all. Its weights
# stay as they are, once the optimiser's momentum has run out; only a change of the layers below can bring the
# unit back. Such a unit is **dead**.
#
# Batch norm shifts and scales each unit's pre-activations to mean 0 and variance 1 over the batch, so it keeps
# them near the window whatever the weights do. `observe` records the output of every layer. From its records the
# next cell takes the pre-activations: the outputs of the batch norms, or of the linear layers in a network
# without batch norm.

# %%
from duonet import no_grad
from duonet.nn import observe


def pre_activations(model, images):
    with no_grad(), observe(model.train()) as records:
        model(Tensor(normalize(images)))
    names = [name for name, _ in model.children()]
    kinds = [type(layer) for _, layer in model.children()]
    return [
        records[names[i - 1]].output
        for i, kind in enumerate(kinds)
        if kind is nn.QuantActivation
    ]


def share_inside(z, low=0, high=1):
    return np.mean((z > low) & (z < high))


# %% [markdown]
# **Predict.** With batch norm, pre-activations are roughly normal with mean 0 and variance 1. Which share of the
# pre-activations is in $(0, 1)$? And what happens to this share when we multiply all weights of all linear layers
# by 10, with batch norm and without?
#
# <details><summary>Answer</summary>
#
# A normal variable is within one standard deviation of its mean with probability 0.68, so it is in $(0, 1)$ with
# probability 0.34: about two thirds of the pre-activations pass no gradient. Batch norm divides a factor of 10
# out again. Without batch norm the pre-activations become ten times as large and the window does not, so the
# share falls to a small part of its former value.
#
# </details>

# %%
images = train_set.images[:1000]
share = {}
for norm in (True, False):
    for factor in (1, 10):
        model = network(through(Binary(), Clip(0, 1)), np.random.default_rng(SEED), norm)
        for path, parameter in model.named_parameters():
            if path.endswith("weight"):
                parameter.data *= factor
        share[norm, factor] = np.array(
            [share_inside(z) for z in pre_activations(model, images)]
        )
        print(
            f"batch norm {norm!s:5}, weights × {factor:2}: in the window",
            share[norm, factor].round(2),
        )
assert (
    np.abs(share[True, 1] - 0.34).max() < 0.04
    and np.abs(share[True, 10] - share[True, 1]).max() < 0.01
)
assert (share[False, 10] < share[False, 1] / 3).all()

# %% [markdown]
# ### Exercise 5: count the dead
#
# `z` holds pre-activations, with one row for each sample and one column for each unit. A unit is dead if *none*
# of its samples lies in the open window.


# %%
def dead_share(z, low, high):
    """Return the share of units, columns of z, that no sample puts into low < z < high."""
    raise NotImplementedError


# %%
def check_dead_share():
    z = np.array([[-1.0, 0.5, 2.0, 0.0], [1.5, 3.0, 2.0, 1.0]])
    assert dead_share(z, 0, 1) == 0.75, (
        "only the second unit is alive: an end of the window is outside"
    )
    assert dead_share(z, -2, 4) == 0 and dead_share(z, 5, 6) == 1, (
        "a window around all, and one beyond"
    )
    z = np.random.default_rng(SEED).standard_normal((4, 5000))
    assert abs(dead_share(z, 0, 1) - 0.659**4) < 0.03, (
        "each of the four samples misses with probability 0.659"
    )


attempt(check_dead_share)


# %% tags=["solution"]
def dead_share(z, low, high):
    inside = (z > low) & (z < high)
    return np.mean(~inside.any(axis=0))


# %% [markdown]
# Do units die in practice, when nobody multiplies weights by 10? We train binary networks with and without batch
# norm, with three seeds each, and look at their first hidden layer afterwards.

# %% tags=["slow"]
after = {}
for norm in (True, False):
    models = [train(through(Binary(), Clip(0, 1)), seed, norm) for seed in range(SEEDS)[:3]]
    accuracy = np.mean([100 * evaluate(model, validation).accuracy for model in models])
    first = [pre_activations(model, train_set.images)[0] for model in models]
    alive = [((z > 0) & (z < 1)).any(axis=0) for z in first]
    after[norm] = np.mean([share_inside(z) for z in first]), 1 - np.mean(alive), accuracy
    inside, dead, accuracy = after[norm]
    print(
        f"batch norm {norm!s:5}: {inside:5.1%} in the window, {dead:5.1%} dead, "
        f"accuracy {accuracy:.1f} %"
    )
if FULL:
    assert after[True][0] > 0.2 and after[False][0] < 0.12
    assert after[True][1] < 0.01 < 0.02 < after[False][1]
    assert after[True][2] > after[False][2] + 1

# %% [markdown]
# With batch norm the window is nearly as full after training as before, and no unit is dead. Without batch norm,
# training drives the pre-activations of the first layer out of the window. Some units of this layer are dead, and
# for good: their inputs are the images, which no layer below can change. This is one reason why networks with
# binary activations have batch norm in front of every activation.
#
# ## 9. Is this gradient any good?
#
# We know what the estimator is for *one* staircase: the exact derivative of the averaged staircase. A network has
# many staircases, one after the other. Back-propagation multiplies their windows, each at the value that the
# forward pass has there. Is the product the difference quotient of the composition?
#
# Here is the smallest case. The binary staircase maps 0 to 0 and 1 to 1, so a second application changes nothing:
# $\text{binary}(\text{binary}(x)) = \text{binary}(x)$. These are two expressions for one function.
#
# **Predict.** What are the coarse gradients of `quantize(x)` and of `quantize(quantize(x))`, with `Binary()`
# and `Clip(0, 1)`, at $x = 0.3$ and at $x = 0.8$?
#
# <details><summary>Answer</summary>
#
# For `quantize(x)` they are 1 and 1. For `quantize(quantize(x))` they are 0 and 0: the outer window $0 < x < 1$
# is taken at the inner output. The inner output is 0 or 1, an end of the window and so outside of it. With a
# closed window both gradients are 1.
#
# </details>


# %%
def once(x):
    return quantize(x, Binary(), Clip(0, 1))


x = np.array([0.3, 0.8])
single = output_and_gradient(once, x, np.ones(2))
double = output_and_gradient(lambda x: once(once(x)), x, np.ones(2))
closed = output_and_gradient(
    lambda x: quantize(once(x), Binary(), Clip(0, 1, closed=True)), x, np.ones(2)
)
print("once :", *single)
print("twice:", *double)
assert (
    np.array_equal(single[0], double[0])
    and single[1].tolist() == [1, 1]
    and double[1].tolist() == [0, 0]
)
assert closed[1].tolist() == [1, 1]

# %% [markdown]
# One function has two different "gradients", and one of them is zero everywhere. A real gradient belongs to a
# function. The coarse gradient belongs to a *way of writing it down*.
#
# ### A walk in a circle
#
# In Section 4 the coarse gradient was the gradient of another loss. Is it always the gradient of some loss? Then
# training would at least minimise *something*. There is a test. If $g$ is the gradient of some function $F$, a
# small step $d$ changes $F$ by $g \cdot d$. On a closed path these changes add up to zero: whoever walks in a
# circle on a mountain ends at the height of the start.
#
# We need two parameters for a circle. Let the model be $v \cdot \mathbf 1[x \ge b]$, with samples and labels as
# before. We walk around $b = 0.55$, $v = 1$ at a distance of 0.1, in 400 steps.


# %%
def coarse_gradient_of_both(b, v, n=200):
    x = (np.arange(n) + 0.5) / n
    b, v = (Tensor(np.array(value), requires_grad=True) for value in (b, v))
    ((v * once(x - b + 0.5) - step(x, 0.7)) ** 2).mean().backward()
    return np.array([b.grad.item(), v.grad.item()])


def walk(gradient, radius=0.1, steps=400):
    angles = 2 * np.pi * (np.arange(steps) + 0.5) / steps
    ahead = np.stack([-np.sin(angles), np.cos(angles)], axis=1) * radius * 2 * np.pi / steps
    there = [
        gradient(0.55 + radius * np.cos(angle), 1 + radius * np.sin(angle)) for angle in angles
    ]
    return (there * ahead).sum(axis=1)  # the change of height that each step promises


# %% [markdown]
# For comparison we walk with two other fields. The first is the gradient that `coarse_gradient_of_both` returns
# inside `smooth_forward`. There a network runs its surrogates forwards as well, so `backward` is the exact
# gradient of this other, smooth network. The second field consists of difference quotients of the staircase loss
# itself, in $b$ and in $v$, with a big step.


# %%
def quotients(b, v, h=0.05):
    def loss_of_both(b, v):
        return np.mean((v * step(samples, b) - labels) ** 2)

    in_b = central_difference(lambda value: loss_of_both(value, v), b, h)
    return np.array([in_b, central_difference(lambda value: loss_of_both(b, value), v, h)])


# %% [markdown]
# **Predict.** For which of the three fields do the changes of height add up to zero?
#
# <details><summary>Answer</summary>
#
# For the surrogate network they do, up to the finite length of the steps: its gradient is a real gradient. For
# the difference quotients, which belong to averages of the loss, they nearly do. For the coarse gradient they do
# not. After one round it promises a height below the start, at the very place of the start.
#
# </details>

# %% tags=["slow"]
from duonet import smooth_forward

walks = {
    "coarse gradient": walk(coarse_gradient_of_both),
    "difference quotients": walk(quotients),
}
with smooth_forward():
    walks["surrogate network"] = walk(coarse_gradient_of_both)
for name, changes in walks.items():
    print(
        f"{name:20}  up {changes[changes > 0].sum():.4f}, "
        f"down {-changes[changes < 0].sum():.4f}"
    )
assert (
    abs(walks["surrogate network"].sum()) < 1e-5
    and abs(walks["difference quotients"].sum()) < 1e-3
)
many = walk(lambda b, v: coarse_gradient_of_both(b, v, n=20_000))
assert np.allclose([walks["coarse gradient"].sum(), many.sum()], -0.0255, atol=2e-4)

# %% [markdown]
# On the circle the coarse gradient goes down by 0.0255 more than up. The jumps of the loss are not to blame:
# difference quotients of the same loss pass the test. With 20,000 samples in place of 200 the jumps are a hundred
# times smaller, and the coarse gradient fails the test by as much. So it is the gradient of *no* function: not of
# the loss, not of a smoothed loss, not of any other function. This is the meaning of the tutorial's title.
#
# The coarse gradient is not useless: it has trained every network above. Its quality has to be measured. With
# what should one compare it? The true gradient is zero. But this tutorial has met two gradients that exist and
# are not zero: the difference quotient *of the loss* with a big step in one parameter, and the derivative of an
# average (Section 3). They are the same thing. Tutorial 4 makes an instrument of it: the coordinate discrete
# gradient, and the angle between it and the coarse gradient.
#
# ## Recap
#
# * A staircase is thresholds and levels, written with `>=`. Rounding breaks ties to even, and with them the
#   identity ternary = mean of two shifted binary activations.
# * The derivative of a staircase is 0 almost everywhere, so gradient descent stands still.
# * The clipped straight-through estimator is a central difference with a big step: $h = 1$ for sign, $\tfrac12$
#   for binary, $\tfrac14$ for ternary, up to one end of the window. Coupling two binary activations into a
#   ternary one halves the step.
# * Equivalently, it is the exact derivative of the staircase averaged over $\pm h$.
# * `quantize(x, staircase, surrogate)` pairs any staircase with the derivative of any surrogate. An ordinary
#   gradient check of it must fail; `against="surrogate"` checks what can be checked.
# * The window is a compromise. If it is too narrow, most pre-activations learn nothing; if it is too wide,
#   gradient comes from places where no step is near. Batch norm keeps pre-activations at the window.
# * The coarse gradient of more than one parameter is in general the gradient of no function: walk in a circle.
#   How far it is from a useful one has to be measured.
#
# ## Exercises
#
# **A** ★ NumPy's own `np.sign` has three levels: `np.sign(0)` is 0. Write down its central difference with
# $h = 1$ in closed form, as a function of `x` with comparisons only, without calling `np.sign`.


# %%
def difference_of_np_sign(x):
    """Return [np.sign(x + 1) - np.sign(x - 1)] / 2 without np.sign."""
    raise NotImplementedError


# %%
def check_difference_of_np_sign():
    points = np.concatenate([grid, np.random.default_rng(SEED).uniform(-3, 3, 100)])
    assert np.array_equal(
        difference_of_np_sign(points), central_difference(np.sign, points, 1)
    ), "where x - 1 or x + 1 is 0, np.sign is 0"
    assert "sign" not in difference_of_np_sign.__code__.co_names, "without np.sign"


attempt(check_difference_of_np_sign)


# %% tags=["solution"]
def difference_of_np_sign(x):
    return ((np.abs(x) < 1) + 0.5 * (np.abs(x) == 1)).astype(x.dtype)  # the ends count half


# %% [markdown]
# **B** ★★ This exercise is a taste of decoupling. Use library calls (`quantize` and arithmetic on tensors) to
# make an op of two *binary* activations, each with the window `Clip(0, 1)`. Its forward pass must be the ternary
# staircase. Its backward pass is then not the window $(0, 1)$. Which levels does it have, and where?


# %%
def two_binaries(x):
    """Return the ternary staircase of a tensor, the mean of two shifted quantize calls."""
    raise NotImplementedError


# %%
def check_two_binaries():
    points = grid + 1 / 128  # no end of a window among them
    dy = np.random.default_rng(SEED).standard_normal(points.shape)
    y, dx = output_and_gradient(two_binaries, points, dy)
    assert np.array_equal(y, ternary(points)), "the staircase is off"
    assert np.array_equal(two_binaries(Tensor(ties)).data, ternary(ties)), (
        "the staircase is off at a tie"
    )
    left, right = (points > -0.25) & (points < 0.75), (points > 0.25) & (points < 1.25)
    assert np.allclose(dx, dy * (left / 2 + right / 2)), "the window is off"


attempt(check_two_binaries)


# %% tags=["solution"]
def two_binaries(x):
    return 0.5 * quantize(x - 0.25, Binary(), Clip(0, 1)) + 0.5 * quantize(
        x + 0.25, Binary(), Clip(0, 1)
    )


# ½ on (−¼, ¼), 1 on (¼, ¾), ½ on (¾, 1¼): wider than the ternary window, of the same area.

# %% [markdown]
# **C** ★★★ PACT (Choi et al., 2018) *learns* where the activation ends. Its parameter is $\alpha > 0$; its
# surrogate is $\min(\max(x, 0), \alpha)$, and its staircase is $\alpha \cdot \text{ternary}(x / \alpha)$ (here
# with three levels). Write it as a `Function` of two inputs, `x` of shape (N,) and `alpha` of shape (1,), with
# `exact = False`, a `smooth` method, and a `backward` that returns two gradients, those of the surrogate with
# respect to `x` and to `alpha`. The tape sums a gradient over the axes along which its input was broadcast, so
# both may have the shape of `dy`.


# %%
class Pact(Function):
    """y = alpha · ternary(x / alpha).   The gradients are those of min(max(x, 0), alpha)."""

    exact = False

    @staticmethod
    def forward(ctx, x, alpha):
        raise NotImplementedError

    @staticmethod
    def smooth(ctx, x, alpha):
        raise NotImplementedError

    @staticmethod
    def backward(ctx, dy):
        raise NotImplementedError


# %%
def check_pact():
    draw = np.random.default_rng(SEED)
    x, alpha, dy = draw.uniform(-1, 4, 50), np.array([1.7]), draw.standard_normal(50)
    assert np.array_equal(
        Pact.apply(Tensor(x), Tensor(alpha)).data, alpha * ternary(x / alpha)
    ), "the staircase"
    check_gradients(Pact.apply, x, alpha, against="surrogate")
    expected = (np.where((x > 0) & (x < 1.7), dy, 0), dy[x >= 1.7].sum())
    tensors = Tensor(x, requires_grad=True), Tensor(alpha, requires_grad=True)
    Pact.apply(*tensors).backward(dy)
    for tensor, gradient in zip(tensors, expected):
        assert np.allclose(tensor.grad, gradient), (
            "the gradients must be there after forward, too"
        )


attempt(check_pact)


# %% tags=["solution"]
class Pact(Function):
    exact = False

    @staticmethod
    def forward(ctx, x, alpha):
        ctx.x, ctx.alpha = x, alpha
        return alpha * ternary(x / alpha)

    @staticmethod
    def smooth(ctx, x, alpha):
        ctx.x, ctx.alpha = x, alpha
        return np.clip(x, 0, alpha)

    @staticmethod
    def backward(ctx, dy):
        return dy * ((ctx.x > 0) & (ctx.x < ctx.alpha)), dy * (ctx.x >= ctx.alpha)


# %% [markdown]
# **D** ★★ Open. Repeat the sweep of Section 7 with the surrogates `ZeroOne(Tanh(t))` for $t$ = ½, 1, 2, 4, 8
# instead of windows, for the binary staircase. Is there a best steepness? Is its accuracy above that of the
# best window by more than the spread over seeds? `accuracies(through(Binary(), ZeroOne(Tanh(2))))` is a start.
#
# **E** ★★★ Open. The estimator pretends that activations are noisy. One can also make them noisy: add uniform
# noise between $-h$ and $h$ to every pre-activation during training. The coarse gradient is then taken at a noisy
# forward pass. Write the activation as a `Module` with a generator of its own, and train it with $h = \tfrac12$.
# Does it learn better, or does the noise cost more than the mismatch?
#
# ## References
#
# * Bengio, Léonard, Courville, *Estimating or Propagating Gradients Through Stochastic Neurons for Conditional
#   Computation*, 2013, [arXiv:1308.3432](https://arxiv.org/abs/1308.3432). The straight-through estimator by
#   name, with the credit to Hinton's lectures of 2012.
# * Hubara, Courbariaux, Soudry, El-Yaniv, Bengio, *Binarized Neural Networks*, NeurIPS 2016,
#   [arXiv:1602.02830](https://arxiv.org/abs/1602.02830) (an earlier version). The clipped estimator, and
#   networks trained with it.
# * Cai, He, Sun, Vasconcelos, *Deep Learning with Low Precision by Half-wave Gaussian Quantization*, CVPR 2017,
#   [arXiv:1702.00953](https://arxiv.org/abs/1702.00953). Discusses gradient mismatch by name; staircases and
#   surrogates fitted to what batch norm produces.
# * Liu, Wu, Luo, Yang, Liu, Cheng, *Bi-Real Net*, ECCV 2018,
#   [arXiv:1808.00278](https://arxiv.org/abs/1808.00278). The polynomial surrogate, as a tighter approximation
#   of sign than the ramp.
# * Qin, Gong, Liu, Shen, Wei, Yu, Song, *Forward and Backward Information Retention for Accurate Binary Neural
#   Networks*, CVPR 2020, [arXiv:1909.10788](https://arxiv.org/abs/1909.10788). The tanh of the gallery, made
#   steeper during training: a start for Exercise D.
# * Darabi, Belbahri, Courbariaux, Partovi Nia, *BNN+: Improved Binary Network Training*, 2018. SwishSign.
# * Esser et al., *Convolutional networks for fast, energy-efficient neuromorphic computing*, PNAS 2016. The
#   triangle, for spiking neurons, which meet the same difficulty.
# * Choi, Wang, Venkataramani, Chuang, Srinivasan, Gopalakrishnan, *PACT: Parameterized Clipping Activation for
#   Quantized Neural Networks*, 2018, [arXiv:1805.06085](https://arxiv.org/abs/1805.06085). Exercise C in full.
# * Yin, Lyu, Zhang, Osher, Qi, Xin, *Understanding Straight-Through Estimator in Training Activation Quantized
#   Neural Nets*, ICLR 2019, [arXiv:1903.05662](https://arxiv.org/abs/1903.05662). When the coarse gradient
#   points downhill, proved for a small network; and when not.
# * Kim, Kim, Kim, Kim, *BinaryDuo: Reducing Gradient Mismatch in Binary Activation Network by Coupling Binary
#   Activations*, ICLR 2020, [arXiv:2002.06517](https://arxiv.org/abs/2002.06517). Where this course is going.
