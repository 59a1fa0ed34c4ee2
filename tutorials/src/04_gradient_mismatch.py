# %% [markdown]
# # Measure gradient mismatch
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/duonet/duonet/blob/main/tutorials/04_gradient_mismatch.ipynb)
#
# Back-propagation through a staircase returns a gradient that belongs to no loss. Here you build the instrument
# that says how wrong it is, layer by layer, test the instrument where the truth is known, and learn to tell
# mismatch from noise.

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
from duonet.viz import sliders

SEED = 0  # of every section's own generator: so its cells can run again, and in any order
FULL = full_run()  # False in a browser, where Python is slow and this notebook measures less
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "0.45"
plt.rcParams.update({"axes.spines.top": False, "axes.spines.right": False})

# %% tags=["hide-input"]
# alt: A loss that is a staircase along one weight, its average over a window as a smooth
#      curve, and the slope of the average.
places, heights = np.random.default_rng(SEED).normal([[0.1], [0.02]], [[0.7], [0.12]], (2, 30))
t = np.linspace(-1.5, 1.5, 3001)
staircase = 1 + heights @ (t >= places[:, None])
half, at = 300, 1420  # the window reaches 300 points, or 0.3, to either side of t[1420]
average = np.convolve(staircase, np.ones(2 * half + 1) / (2 * half + 1), "valid")
slope, across = (staircase[at + half] - staircase[at - half]) / 0.6, np.array([-0.5, 0.5])
figure, axes = plt.subplots(figsize=(7, 3.8), layout="constrained")
axes.axvspan(
    t[at - half], t[at + half], color="0.92", label=r"window of half-width $\varepsilon$"
)
axes.step(t, staircase, color=GREY, lw=1.2, label="loss: a staircase, without a useful slope")
axes.plot(t[half:-half], average, color=BLUE, lw=2.4, label="loss averaged over the window")
tangent = t[at] + across, average[at - half] + slope * across
axes.plot(*tangent, "--", color=ORANGE, lw=2.4, label="its slope, the discrete gradient")
axes.set(xlabel="one weight", ylabel="loss")
axes.legend(frameon=False)
plt.show()

# %% [markdown]
# > **Do** Smooth a staircase loss, measure its gradient weight by weight, and hold back-propagation's answer
# > against it.
# >
# > **Learn** What the coordinate discrete gradient is, why it is exact, why noise looks like mismatch and how to
# > take the noise out, and what precision, step and surrogate do to a layer's cosine.
# >
# > **Need** NumPy, the chain rule, the integral as an area; what a staircase activation and a surrogate gradient
# > are (tutorial 3).
# >
# > **Time** Runs in 75 s on two cores (measured); an hour and a half to read and work through. In a browser it
# > measures less; the numbers in the text are those of the full run.

# %% [markdown]
# ## 1. A loss that is a staircase
#
# Take the smallest network that shows the trouble. It has one hidden layer with the binary staircase $\sigma$:
#
# $$ z = xW, \qquad a = \sigma(z), \qquad y = av, \qquad
# \sigma(z) = \begin{cases} 1 & z \ge \tfrac12 \\ 0 & z < \tfrac12 \end{cases}, \qquad
# L(W) = \frac1N \sum_{n=1}^N (y_n - t_n)^2 . $$
#
# `x` is `(N, 4)`: $N = 24$ samples of 4 inputs. `W` is `(4, 3)`, so there are 3 hidden units, and `v` is `(3,)`.
# The targets $t_n$ come from another network of the same shape, so a perfect answer exists.

# %%
rng = np.random.default_rng(SEED)  # this section's own, so that it can run again
N = 24
x = rng.standard_normal((N, 4))
W, W_teacher = rng.standard_normal((2, 4, 3))
v = np.array([1.0, -1.5, 0.8])
target = (x @ W_teacher >= 0.5) @ v


def loss(W):
    """Compute the mean squared error of the network with first-layer weights W."""
    return np.mean(((x @ W >= 0.5) @ v - target) ** 2)


print(f"loss at the start: {loss(W):.3f}")

# %% [markdown]
# Now move a single weight, $W_{22}$, by an amount $s$, leave all others where they are, and watch the loss.
#
# **Predict.** $W_{22}$ only enters the last hidden unit. How many different losses can you meet at most, however
# far you move it?
#
# <details><summary>Answer</summary>
#
# At most 25. For each sample $z_{n2}$ is a straight line in $s$, with slope $x_{n2}$. A straight line crosses the
# threshold ½ once, so each of the 24 samples switches the unit on or off once. Between two crossings nothing
# changes at all: the loss is constant. 24 jumps leave at most 25 levels.
#
# </details>


# %%
def moved(W, index, s):
    """Copy W with s added to one weight."""
    copy = W.copy()
    copy[index] += s
    return copy


s = np.linspace(-2, 2, 4001)
along = np.array([loss(moved(W, (2, 2), shift)) for shift in s])
jumps = np.flatnonzero(np.diff(along))
print(
    f"{len(jumps)} jumps between s = -2 and 2; "
    f"flat in {np.mean(np.diff(along) == 0):.1%} of the steps"
)
assert 8 < len(jumps) <= N

# %% [markdown]
# The derivative of this function is 0 almost everywhere, and at a jump there is none. Gradient descent on the loss
# itself would never move. But seen from some distance the staircase has a direction. To speak of this direction,
# we have to say from what distance we look.
#
# ## 2. Average over a window
#
# Replace the loss at $s$ by its average over a window of half-width $\varepsilon$ around it, as tutorial 3 did
# with a single staircase (its half-width was called $h$):
#
# $$ \bar L(s) = \frac{1}{2\varepsilon} \int_{s-\varepsilon}^{s+\varepsilon} L(u)\,du . $$
#
# Now differentiate. Let $F$ be an antiderivative of $L$, so
# $\bar L(s) = [F(s+\varepsilon) - F(s-\varepsilon)] / 2\varepsilon$. The fundamental theorem of calculus says
# $F' = L$ wherever $L$ is continuous, and that is all we need:
#
# $$ \bar L'(s) = \frac{L(s+\varepsilon) - L(s-\varepsilon)}{2\varepsilon} . $$
#
# Look at this formula twice. The right side looks like the usual approximation of a derivative. Here it is no
# approximation: it is the *exact* derivative of the averaged loss, for any $\varepsilon$, even where $L$ itself
# has no derivative at $s$. (Only if a jump lies exactly at $s \pm \varepsilon$ has $\bar L$ a kink.) Done for each
# weight $w_i$, with $e_i$ the unit vector along it, this is the **coordinate discrete gradient** (CDG) that
# BinaryDuo's authors measure with:
#
# $$ g_i = \frac{L(w + \varepsilon e_i) - L(w - \varepsilon e_i)}{2\varepsilon} . $$
#
# We compute it by hand for one weight:

# %%
eps = 0.3
up, down = loss(moved(W, (2, 2), eps)), loss(moved(W, (2, 2), -eps))
g_22 = (up - down) / (2 * eps)
print(
    f"L(w + eps) = {up:.4f}, L(w - eps) = {down:.4f}, "
    f"g = ({up:.4f} - {down:.4f}) / {2 * eps:.1f} = {g_22:.4f}"
)

# %% [markdown]
# Now we compute the slope without the theorem: average the loss over 40,000 points of a window, once around a
# place a little to the right of $w$ and once a little to the left, and take the slope between the two averages.


# %%
def window_average(s, eps, points=40_000):
    """Average the loss over the window (s - eps, s + eps), by the midpoint rule."""
    u = s + eps * ((2 * np.arange(points) + 1) / points - 1)
    return np.mean([loss(moved(W, (2, 2), shift)) for shift in u])


nudge = 0.0015  # 100 points of the midpoint rule
slope = (window_average(nudge, eps) - window_average(-nudge, eps)) / (2 * nudge)
print(f"slope of the averaged loss {slope:.6f}, coordinate discrete gradient {g_22:.6f}")
assert abs(slope - g_22) < 1e-6

# %% [markdown]
# The two agree to rounding. A figure shows the same comparison for every place along the weight:

# %%
# alt: Above, the loss along one weight as a staircase, with its averages over a narrow and a
#      wide window. Below, the discrete gradients, which are staircases too: the wide window
#      gives smaller jumps.
figure, (top, bottom) = plt.subplots(2, 1, figsize=(7, 5), sharex=True, layout="constrained")
top.step(s, along, color=GREY, linewidth=1, where="post", label="the loss itself")
for half, colour in ((150, ORANGE), (600, BLUE)):  # grid points of 0.001 to either side
    name, inner = rf"$\varepsilon$ = {half / 1000:g}", s[half:-half]
    window = np.ones(2 * half + 1) / (2 * half + 1)
    top.plot(
        inner, np.convolve(along, window, "valid"), color=colour, label=f"averaged, {name}"
    )
    bottom.plot(
        inner,
        (along[2 * half :] - along[: -2 * half]) / (2 * half / 1000),
        color=colour,
        label=name,
    )
bottom.axhline(0, color="0.8", linewidth=1, zorder=0)
top.set(ylabel="loss", xlim=(-1.4, 1.4))
bottom.set(
    xlabel=r"shift $s$ of the weight $W_{22}$",
    ylabel="coordinate\ndiscrete gradient",
    xlim=(-1.4, 1.4),
)
top.legend(frameon=False)
bottom.legend(frameon=False)
plt.show()

# %% [markdown]
# The averaged loss is made of straight pieces, so its derivative is again a staircase. A wider window gives a
# smoother loss, and forgets more of the original.
#
# **Predict.** What does $g$ become when you let $\varepsilon$ go to 0? (To see it coming, add `(40, GREEN)` to the
# widths in the cell above.)
#
# <details><summary>Answer</summary>
#
# For nearly every $w$ the window then holds no jump and $g = 0$. If it happens to hold one jump of height $d$,
# then $g = d / 2\varepsilon$, which grows without bound. So the limit is useless: $\varepsilon$ has to be wide
# enough to hold many jumps. The next cell asserts both halves of this.
#
# </details>

# %%
tiny = 1e-3
start = jumps[0]  # the first jump lies between s[start] and s[start + 1]
between = along[start + 1] - along[start]
far_from_any = loss(moved(W, (2, 2), tiny)) - loss(moved(W, (2, 2), -tiny))
across = loss(moved(W, (2, 2), s[start] + tiny)) - loss(moved(W, (2, 2), s[start] - tiny))
print(f"g at the start: {far_from_any / (2 * tiny):.1f}")
print(f"g across the first jump, of height {between:.3f}: {across / (2 * tiny):.1f}")
assert far_from_any == 0 and np.isclose(across, between)

# %% [markdown]
# **Exercise.** Write the last insight down in general. Given the places of all jumps and their heights (positive
# where the loss rises), compute $g$ at $s$ without any loss: it is the sum of the heights inside the window, over
# $2\varepsilon$. That is what the CDG does: *it counts the jumps in its window*.


# %%
def slope_from_jumps(places, heights, s, eps):
    """Return the discrete gradient at s of a function that jumps at `places` by `heights`."""
    raise NotImplementedError


# %%
def check_slope_from_jumps():
    places, heights = s[jumps] + 0.0005, np.diff(along)[jumps]
    for k in (1000, 1777, 2500):
        for half in (111, 400):
            expected = (along[k + half] - along[k - half]) / (2 * half / 1000)
            assert np.isclose(
                slope_from_jumps(places, heights, s[k], half / 1000), expected
            ), "the jumps inside the window, over its width"


attempt(check_slope_from_jumps)


# %% tags=["solution"]
def slope_from_jumps(places, heights, s, eps):
    """Return the discrete gradient at s of a function that jumps at `places` by `heights`."""
    inside = (places > s - eps) & (places <= s + eps)
    return heights[inside].sum() / (2 * eps)


# %% [markdown]
# ### A whole layer
#
# One weight after the other, in a loop. `np.ndindex` runs through all index tuples of an array.


# %%
def coordinate_discrete_gradient(loss, W, eps):
    """Compute [L(W + eps e_i) - L(W - eps e_i)] / 2 eps for every weight of W."""
    g = np.empty_like(W)
    for index in np.ndindex(W.shape):
        g[index] = (loss(moved(W, index, eps)) - loss(moved(W, index, -eps))) / (2 * eps)
    return g


g = coordinate_discrete_gradient(loss, W, eps)
print(g.round(3))
assert g[2, 2] == g_22

# %% [markdown]
# duonet has the same thing for any model. We build our network from its layers, put our weights in, and ask. An
# estimate comes back for every layer by name, as a flat array. duonet does not run the whole network twice for
# every weight, as our loop does, but only the part that changes; the result has to be the same.

# %%
from duonet import functional as F
from duonet import nn
from duonet.mismatch import coarse_gradient, coordinate_gradient
from duonet.quant import Binary, Clip

rng = np.random.default_rng([SEED, 2])  # this section's own, so that it can run again
step = nn.QuantActivation(
    Binary(), Clip(0, 1)
)  # the staircase forwards, the clip's derivative backwards
layers = {
    "first": nn.Linear(4, 3, rng=rng, bias=False),
    "step": step,
    "second": nn.Linear(3, 1, rng=rng, bias=False),
}
net = nn.Sequential(layers).astype(np.float64).eval()
print(*(f"{name}: {layer}" for name, layer in net.children()), sep="\n")

# %%
net.first.weight.data[:], net.second.weight.data[:, 0] = W, v
batch = x, target[:, None]
library = coordinate_gradient(net, F.mse_loss, batch, step=eps, layers=["first"])["first"]
assert np.abs(library.values - g.ravel()).max() < 1e-12
print(
    f"duonet's agrees with the loop in all {library.size} weights, "
    f"from {library.evaluations} losses"
)

# %% [markdown]
# ## 3. The coarse gradient
#
# Back-propagation needs a derivative of $\sigma$ and uses a surrogate's instead. Ours is the clip,
# $\mu(z) = \min(\max(z, 0), 1)$, with $\mu'(z) = 1$ for $0 < z < 1$ and 0 elsewhere. The chain rule, from the loss
# backwards, with $dy = \partial L / \partial y$ and so on:
#
# $$ dy_n = \frac2N (y_n - t_n), \qquad da = dy\, v^{\mathsf T}, \qquad
# dz = da \odot \mu'(z), \qquad dW = x^{\mathsf T} dz . $$
#
# The result is called the **coarse gradient**. "Gradient" is a manner of speaking: in general it is the gradient
# of no function, because forward pass and backward pass belong to different networks.

# %%
z = x @ W
dy = 2 / N * ((z >= 0.5) @ v - target)
dz = np.outer(dy, v) * ((z > 0) & (z < 1))
coarse = x.T @ dz
print(coarse.round(3))
assert 2 <= np.sum(coarse * g < 0) <= 4
assert (((z + 0.5 >= 0.5) ^ (z - 0.5 >= 0.5)) == ((z >= 0) & (z < 1))).all(), (
    "used in the text below"
)
assert np.allclose(
    coarse.ravel(), coarse_gradient(net, F.mse_loss, batch)["first"].values, atol=1e-14
)

# %% [markdown]
# Some entries are close to those of the discrete gradient, many are not, and a few differ in sign. Why do the two
# gradients differ at all? The clip is a good stand-in for the step *taken alone*:
# $[\sigma(z + \tfrac12) - \sigma(z - \tfrac12)] / 1$, a central difference of the step with half-width ½, is 1 for
# $0 \le z < 1$, exactly the clip's derivative. What goes wrong comes after. If a unit switches on, $y$ jumps by
# its $v$, and the squared error changes by
#
# $$ (y + v - t)^2 - (y - t)^2 = 2 (y - t) v + v^2 . $$
#
# The chain rule takes the loss for a straight line at $y$ and sees the first term only. With further staircases
# behind it the same happens again and again: a jump meets a jump, and a slope at one point says little about
# either. That is **gradient mismatch**.
#
# **Try it.** Run the next cell, and move the weight and the window with the sliders. Each move asks the engine for
# both gradients. Where does back-propagation point uphill?


# %%
def walk(shift=-0.2, eps=0.3):
    """Draw the loss along one weight, with the slopes that both gradients claim."""
    net.first.weight.data[:], ends = moved(W, (2, 2), shift), np.array([-eps, eps])
    discrete = coordinate_gradient(net, F.mse_loss, batch, eps, ["first"])["first"]
    coarse = coarse_gradient(net, F.mse_loss, batch, ["first"])["first"]
    found = {"discrete": discrete.values[8], "coarse": coarse.values[8]}
    net.first.weight.data[:] = W
    figure, axes = plt.subplots(figsize=(7, 3), layout="constrained")
    axes.step(s, along, color=GREY, lw=1.2, where="post")
    for (name, slope), colour in zip(found.items(), (BLUE, ORANGE)):
        line = loss(moved(W, (2, 2), shift)) + slope * ends
        axes.plot(
            shift + ends, line, color=colour, lw=2.4, label=f"{name} gradient {slope:.2f}"
        )
    axes.set(
        xlabel="shift $s$ of the weight $W_{22}$",
        ylabel="loss",
        xlim=(-1.9, 1.9),
        ylim=(0.8, 1.2),
    )
    axes.legend(frameon=False, loc="upper left")
    return figure


# %%
# alt: The loss along one weight, a staircase, and at one place two slopes: the discrete
# gradient's, across a window, and the coarse gradient's; both fall to the right.
sliders(walk, shift=np.arange(-12, 13) / 10, eps=[0.01, 0.1, 0.3, 0.6])

# %% [markdown]
# What number should measure it? The length of a gradient can be made up for by the learning rate; its direction
# cannot. So take the cosine of the angle between the two, both flattened: 1 for the same direction, 0 for a right
# angle, −1 for opposite directions.
#
# **Exercise.** Write `my_cosine(a, b)` $= a \cdot b / (|a| |b|)$ for arrays of any shape. If one of them is all
# zeros there is no angle: return `np.nan`.


# %%
def my_cosine(a, b):
    """Return the cosine of the angle between two arrays of one shape, NaN if one is zero."""
    raise NotImplementedError


# %%
def check_my_cosine():
    draw = np.random.default_rng(1)
    a, b = draw.standard_normal((2, 3, 5))
    expected = np.sum(a * b) / np.sqrt(np.sum(a * a) * np.sum(b * b))
    assert np.isclose(my_cosine(a, b), expected) and np.isclose(
        my_cosine(7 * a, 0.1 * b), expected
    ), "lengths do not matter"
    assert np.isclose(my_cosine(a, -b), -expected) and np.isclose(my_cosine(a, a), 1), (
        "signs do"
    )
    assert np.isnan(my_cosine(a, np.zeros_like(a))), "with a vector of zeros there is no angle"


attempt(check_my_cosine)


# %% tags=["solution"]
def my_cosine(a, b):
    """Return the cosine of the angle between two arrays of one shape, NaN if one is zero."""
    lengths = np.linalg.norm(a) * np.linalg.norm(b)
    return np.sum(a * b) / lengths if lengths > 0 else np.nan


# %% [markdown]
# Which cosine does our network have? We compute it for the batch above, for five other batches of 24 samples, and
# for one of 100,000.
#
# **Predict.** Network and weights are the same each time. How much will the cosine differ from batch to batch?
#
# <details><summary>Answer</summary>
#
# Wildly. On the first batch it is zero: the two gradients stand at a right angle. On some others it is 0.9, and on
# the large one 0.99. Nothing about the network has changed.
#
# </details>

# %%
from duonet.mismatch import cosine


def mismatch_of(x):
    """Return the cosine of coarse gradient and CDG on a batch of inputs."""
    batch = x, ((x @ W_teacher >= 0.5) @ v)[:, None]
    c = coarse_gradient(net, F.mse_loss, batch, ["first"])["first"].values
    return float(
        cosine(c, coordinate_gradient(net, F.mse_loss, batch, eps, ["first"])["first"].values)
    )


rng = np.random.default_rng([SEED, 3])  # this section's own, so that it can run again
small = [mismatch_of(x)] + [mismatch_of(rng.standard_normal((N, 4))) for _ in range(5)]
large = mismatch_of(rng.standard_normal((100_000, 4)))
print("24 samples:", *(f"{value:.2f}" for value in small), f"   100,000 samples: {large:.2f}")
assert np.isclose(small[0], cosine(coarse.ravel(), g.ravel()))
assert abs(small[0]) < 0.1 and max(small) > 0.8 and large > 0.98

# %% [markdown]
# So a cosine cannot be taken at its face value. The right angle that we measured is nearly all chance: it depends
# on the few samples that the batch happens to hold. We want the cosine of the *expected* loss, the average over
# all possible inputs, and a batch shows it with noise. How much noise is there, and how many samples does it take?
# An instrument should first be tried where the answer is known.
#
# ## 4. A network whose true gradient is known
#
# Yin and others (2019) found one. Its input $Z$ is an $(m, n)$ matrix of independent standard normal numbers; each
# of its $m$ rows meets the *same* weight vector $w \in \mathbb R^n$, then the step at 0, then $v \in \mathbb R^m$:
#
# $$ f(w; Z) = \tfrac12 \big( v^{\mathsf T} \sigma_0(Zw) - v^{\ast\mathsf T} \sigma_0(Zw^\ast) \big)^2,
# \qquad \sigma_0(z) = 1 \text{ if } z \ge 0, \text{ else } 0 . $$
#
# Stars mark the teacher, $|w^\ast| = 1$. One sample of $f$ is a staircase in $w$. But the *expected* loss
# $\mathrm E f$, over infinitely many $Z$, is smooth: there is always some $Z$ just at a threshold, and the jumps
# blur. By symmetry it depends on $w$ only through the angle $\theta$ between $w$ and $w^\ast$:
#
# $$ \mathrm E f = \tfrac18 \big[ v^{\mathsf T}(I + 11^{\mathsf T})v -
# 2 v^{\mathsf T}\big((1 - \tfrac{2\theta}{\pi})I + 11^{\mathsf T}\big)v^\ast +
# v^{\ast\mathsf T}(I + 11^{\mathsf T})v^\ast \big] $$
#
# ($I$ the identity, $1$ the vector of ones). Only $\theta$ depends on $w$, with
# $\partial\,\mathrm E f / \partial\theta = v^{\mathsf T}v^\ast / 2\pi$, so the true gradient is
#
# $$ \frac{\partial\, \mathrm E f}{\partial w} = -\frac{v^{\mathsf T} v^\ast}{2\pi |w|}\,
# \frac{P w^\ast}{|P w^\ast|}, \qquad
# P = I - \frac{w w^{\mathsf T}}{|w|^2} . $$
#
# $P$ removes the part along $w$: descending turns $w$ towards $w^\ast$ and leaves its length alone. The expected
# coarse gradients of three surrogates are known as well; `duonet.mismatch.yin` has all of it.
#
# First we check one formula against the other: the CDG of the expected loss must approach the true gradient,
# with an error that falls as $\varepsilon^2$, because the expected loss is smooth.

# %%
from duonet.mismatch import yin

m, n, theta = 8, 10, np.pi / 2
v_out = np.linspace(0.5, 1.5, m)
v_star = v_out[::-1]
w_star, w = np.eye(n)[0], np.cos(theta) * np.eye(n)[0] + np.sin(theta) * np.eye(n)[1]
true = yin.true_gradient(v_out, w, v_star, w_star)


def expected_loss(w):
    """Compute the expected loss in closed form."""
    return yin.population_loss(v_out, w, v_star, w_star)


errors = [
    np.linalg.norm(coordinate_discrete_gradient(expected_loss, w, e) - true)
    for e in (0.1, 0.01)
]
print(f"length of the true gradient {np.linalg.norm(true):.2f}")
print(f"error of the CDG: {errors[0]:.1e} with eps = 0.1, {errors[1]:.1e} with eps = 0.01")
assert 80 < errors[0] / errors[1] < 120

# %% [markdown]
# A tenth of the step has a hundredth of the error: here smoothing hardly disturbs. Now we compute the expected
# coarse gradients of three surrogates. Their slopes are 1 everywhere (identity), 1 for $z > 0$ (ReLU) and 1 for
# $0 < z < 1$ (clip), and 0 elsewhere.
#
# **Predict.** Which of the three has the best cosine with the true gradient? Could one be at more than 90°?
#
# <details><summary>Answer</summary>
#
# The clip: its window is confined to where the step is, so it counts fewer samples that no small change of $w$
# could switch. Identity and ReLU have the same direction here, because $v$ and $v^\ast$ have equal sums (the
# ReLU's is just half as long). None is beyond 90°, so following any of them goes downhill.
#
# </details>

# %%
expected = {
    name: yin.expected_coarse_gradient(name, v_out, w, v_star, w_star)
    for name in yin.SURROGATES
}
exact = {name: float(cosine(c, true)) for name, c in expected.items()}
for name, value in exact.items():
    print(f"{name:8s} cosine {value:.3f}, angle {np.degrees(np.arccos(value)):.0f} degrees")
assert 0 < exact["identity"] < exact["clip"] < 0.95
assert np.allclose(expected["identity"], 2 * expected["relu"])

# %% [markdown]
# Is the clip always better? Change $v$ and $v^\ast$ and see: draw both at random, 500 times.

# %%
rng = np.random.default_rng([SEED, 4])  # this section's own, so that it can run again
wins = 0
for _ in range(500):
    pair = rng.uniform(0.5, 1.5, (2, m))
    truth = yin.true_gradient(pair[0], w, pair[1], w_star)
    both = [
        yin.expected_coarse_gradient(name, pair[0], w, pair[1], w_star)
        for name in ("identity", "clip")
    ]
    wins += cosine(both[0], truth) > cosine(both[1], truth)
print(f"the identity is better than the clip in {wins} of 500 draws")
assert 50 < wins < 200

# %% [markdown]
# No: in about one draw of four the crude identity wins. Which surrogate is best depends on the network, a first
# hint to be careful with general statements.
#
# This mismatch is real: no number of samples will remove it. Next we look at what the instrument measures with
# finitely many samples. `yin.step_network` builds the network as a duonet model, `sample` draws a batch and the
# teacher's answers.


# %%
def sample(count, draw=None):
    """Draw inputs for the step network, and the teacher's answers."""
    z = (draw or rng).standard_normal((count, m, n))
    return z.reshape(count, m, 1, n), ((z @ w_star >= 0) @ v_star)[:, None]


def measured_cdg(count, eps):
    """Estimate the CDG from a fresh batch."""
    model = yin.step_network(v_out, w)
    return coordinate_gradient(model, yin.half_squared_error, sample(count), eps, ["w"])[
        "w"
    ].values


def measured_coarse(count, surrogate="clip"):
    """Back-propagate through a fresh batch."""
    model = yin.step_network(v_out, w, surrogate)
    return coarse_gradient(model, yin.half_squared_error, sample(count), ["w"])["w"].values


# %% [markdown]
# **Predict.** With four times the samples, by what factor does the error fall? And if you make $\varepsilon$ ten
# times smaller at the same number of samples: does the error fall, stay, or rise?
#
# <details><summary>Answer</summary>
#
# An average of $N$ independent samples has an error of $1/\sqrt N$, so it halves. A smaller $\varepsilon$ makes it
# *rise*. Only samples with a jump in the window count. Their number goes as $\varepsilon$, each contributes jump
# over $2\varepsilon$, so the variance goes as $\varepsilon / \varepsilon^2 = 1/\varepsilon$ and the error as
# $1/\sqrt\varepsilon$: about 3.2 times larger.
#
# </details>

# %% tags=["slow"]
counts = [200, 800, 3200, 12_800]
REPEATS = 16 if FULL else 6
sources = {
    "CDG, ε = 0.01": (lambda count: measured_cdg(count, 0.01), true),
    "CDG, ε = 0.1": (lambda count: measured_cdg(count, 0.1), true),
    "coarse, clip": (measured_coarse, expected["clip"]),
}
error = {}
for name, (estimate, truth) in sources.items():
    squares = [
        [np.sum((estimate(count) - truth) ** 2) for _ in range(REPEATS)] for count in counts
    ]
    error[name] = np.sqrt(np.mean(squares, axis=1)) / np.linalg.norm(truth)
    print(f"{name:14s}", " ".join(f"{value:.3f}" for value in error[name]))
slopes = [np.polyfit(np.log(counts), np.log(values), 1)[0] for values in error.values()]
assert all(-0.6 < slope < -0.4 for slope in slopes)
assert (
    2.3 < np.mean(error["CDG, ε = 0.01"] / error["CDG, ε = 0.1"]) < 4.2
    and error["CDG, ε = 0.01"][0] > 3
)

# %%
# alt: Error of three estimators against the number of samples, on logarithmic axes: all fall
#      as one over the square root; the smaller step has the larger error.
figure, axes = plt.subplots(figsize=(7, 3.6), layout="constrained")
for (name, values), colour, mark in zip(error.items(), (ORANGE, BLUE, GREEN), "so^"):
    axes.loglog(counts, values, mark + "-", color=colour, label=name)
axes.loglog(counts, 6 / np.sqrt(counts), ":", color=GREY, label=r"$\propto 1/\sqrt{N}$")
axes.set_xticks(counts, [f"{count:,}" for count in counts])
axes.minorticks_off()
axes.set(xlabel="samples $N$", ylabel="error / length of the true one")
axes.legend(frameon=False)
plt.show()

# %% [markdown]
# Both estimators converge to the closed forms, as $1/\sqrt N$: the instrument works. It also shows its weakness.
# At 200 samples and $\varepsilon = 0.01$ the error is several times as long as the gradient itself.
#
# ## 5. Noise looks like mismatch
#
# Take two CDGs of the *same* loss at the *same* weights, from two independent batches. They estimate the same
# gradient, so there is no mismatch whatsoever.
#
# **Predict.** What is the cosine of the two, with 800 samples each and $\varepsilon = 0.1$?
#
# <details><summary>Answer</summary>
#
# Clearly below 1. Write each as $g + a$ and $g + b$ with independent noise. The product keeps $g \cdot g$, as the
# noise terms average to zero, but each length grows to $\sqrt{|g|^2 + |a|^2}$. So the cosine is about
# $|g|^2 / (|g|^2 + |a|^2)$, and whoever reads it as mismatch reads pure noise.
#
# </details>

# %% tags=["slow"]
rng = np.random.default_rng([SEED, 5])  # this section's own, so that it can run again
twins = np.array([[measured_cdg(800, 0.1), measured_cdg(800, 0.1)] for _ in range(40)])
read = np.mean([cosine(a, b) for a, b in twins])
noise = np.mean(np.sum((twins - true) ** 2, axis=-1)) / np.sum(true**2)
print(
    f"mean cosine of two estimates of one gradient: {read:.2f}; "
    f"predicted {1 / (1 + noise):.2f}"
)
assert 0.5 < read < 0.9 and abs(read - 1 / (1 + noise)) < 0.1

# %% [markdown]
# Any cosine below 1 measured in this way could be mismatch, noise, or both. Fortunately the two can be told apart.
# Cut the samples into $K$ disjoint parts and estimate both gradients on each: $c_1, \dots, c_K$ and
# $g_1, \dots, g_K$. Noise in different parts is independent, so products of *different* parts are free of it:
#
# $$ \mathrm E\, [c_a \cdot g_b] = \mathrm E c \cdot \mathrm E g, \qquad
# \mathrm E\, [g_a \cdot g_b] = |\mathrm E g|^2 \qquad (a \ne b), $$
#
# whereas $\mathrm E\,[g_a \cdot g_a] = |\mathrm E g|^2 + \mathrm{noise}$. So estimate $c \cdot g$, $c \cdot c$ and
# $g \cdot g$ each by the mean over all $K(K-1)$ pairs of different parts, and only then form the quotient
#
# $$ \frac{c \cdot g}{\sqrt{c \cdot c}\; \sqrt{g \cdot g}} . $$
#
# Statisticians know this as the correction for attenuation (Spearman, 1904). The mean over all pairs needs no
# double loop, because $\sum_{a \ne b} c_a \cdot g_b = (\sum_a c_a) \cdot (\sum_b g_b) - \sum_a c_a \cdot g_a$.
#
# **Exercise.** Write `corrected_cosine(c, g)` for two arrays of shape `(K, weights)`, one part a row. Noise can
# make an estimated square $c \cdot c$ or $g \cdot g$ negative or zero: then noise hides the answer, return
# `np.nan`.


# %%
def corrected_cosine(c, g):
    """Return the cosine with the noise taken out, from estimates on K parts: (K, weights)."""
    raise NotImplementedError


# %%
from duonet.mismatch.statistics import cosine_of, paired_products


def check_corrected_cosine():
    draw = np.random.default_rng(2)
    for k in (2, 7):
        noise = draw.standard_normal((2, k, 30))
        c, g = np.arange(30) + noise[0], np.arange(30)[::-1] + 3 * noise[1]
        expected = cosine_of(paired_products(c, g).sum(axis=1))
        assert np.isclose(corrected_cosine(c, g), expected) and np.isclose(
            corrected_cosine(c, -g), -expected
        ), "products across different samples alone"
    opposite = np.array([[1.0, 0.0], [-1.0, 0.0]])
    assert np.isnan(corrected_cosine(opposite, opposite)), (
        "the estimate of a square is negative here"
    )


attempt(check_corrected_cosine)


# %% tags=["solution"]
def corrected_cosine(c, g):
    """Return the cosine with the noise taken out, from estimates on K parts: (K, weights)."""

    def product(a, b):
        k = len(a)
        return (a.sum(axis=0) @ b.sum(axis=0) - np.sum(a * b)) / (k * (k - 1))

    square = product(c, c), product(g, g)
    return product(c, g) / np.sqrt(square[0] * square[1]) if min(square) > 0 else np.nan


# %% [markdown]
# `duonet.mismatch.measure` does all of it: it cuts the batch, runs both estimators and reports both the *raw*
# cosine, noise and all, and the corrected one, with a 95 % interval. (The interval comes from leaving out one part
# at a time and seeing how much the cosine changes.) A quotient of noisy numbers can be anything, so we accept a
# value only where its interval reaches no further than 0.25 to either side. We try the instrument where the truth
# is known, with 20 batches of each size.

# %% tags=["slow"]
from duonet.mismatch import measure


def readable(row):
    """Say whether a cosine's interval reaches at most 0.25 to either side; NaN never does."""
    return row.high - row.cosine <= 0.25 and row.cosine - row.low <= 0.25


BATCHES = 20 if FULL else 5
model = yin.step_network(v_out, w, "clip")
readings = []  # for each size the raw cosines and those that could be read
for count in counts:
    batches = [sample(count) for _ in range(BATCHES)]
    rows = [
        measure(model, yin.half_squared_error, b, step=0.1, layers=["w"], parts=10)["w"]
        for b in batches
    ]
    readings.append(([row.raw for row in rows], [row.cosine for row in rows if readable(row)]))
for count, (raw, read) in zip(counts, readings):
    many = f"{len(read)} of {BATCHES}"
    corrected = (
        f"{np.mean(read):.2f} ({many} could be read)" if read else "· (none could be read)"
    )
    print(
        f"{count:6,} samples: raw {np.mean(raw):.2f}, corrected {corrected}, "
        f"exact {exact['clip']:.2f}"
    )

# %%
raw = [np.mean(values) for values, _ in readings]
assert raw[0] < exact["clip"] - 0.15 and raw[2] < exact["clip"] - 0.02
assert raw[3] > exact["clip"] - 0.05 and (np.diff(raw) > 0).all()
assert [len(read) for _, read in readings[2:]] == [BATCHES, BATCHES]
assert len(readings[0][1]) <= 2
assert all(abs(np.mean(read) - exact["clip"]) < 0.04 for _, read in readings[2:])

# %%
# alt: The raw cosine climbs with the number of samples from 0.5 to the exact 0.81; the
#      corrected cosine lies at the exact value, with an error bar that shrinks, and is missing
#      at 200 samples.
figure, axes = plt.subplots(figsize=(7, 3.6), layout="constrained")
axes.axhline(exact["clip"], color=GREY, linestyle="--", label="exact")
for k, (name, colour, mark) in enumerate((("raw", ORANGE, "s"), ("corrected", BLUE, "o"))):
    some = [i for i, reading in enumerate(readings) if len(reading[k]) > 2]
    where = np.array(counts)[some] * (0.96 + 0.08 * k)  # side by side
    middle, spread = ([f(readings[i][k]) for i in some] for f in (np.mean, np.std))
    axes.errorbar(where, middle, spread, fmt=mark + "-", color=colour, capsize=3, label=name)
axes.set_xscale("log")
axes.set_xticks(counts, [f"{count:,}" for count in counts])
axes.minorticks_off()
axes.set(xlabel="samples", ylabel="cosine, clip surrogate")
axes.legend(frameon=False, loc="lower right")
plt.show()

# %% [markdown]
# The raw cosine climbs with the number of samples, from well below towards the exact value: what it tells at few
# samples is mostly how few they are. The corrected one says honestly that 200 samples are not enough, and is right
# from 3,200 on, where the raw one still lags. (The bars are one standard deviation over batches.)
#
# ### Where it fails
#
# There are two ways to spoil a measurement. The first is a step that is too small: "a derivative is a limit, so
# take the step as small as possible". Zero is refused, and so is a step that rounding swallows: float32, the
# precision in which networks are trained, has about 7 digits, and $1 + 10^{-9}$ *is* 1 there. A step that just
# survives is worse, because nothing complains: no sample has a jump in so narrow a window.

# %%
one_batch = sample(800)
single = yin.step_network(v_out, w, "clip").astype(np.float32)
batch32 = tuple(part.astype(np.float32) for part in one_batch)
for step in (0.0, 1e-9):
    try:
        measure(single, yin.half_squared_error, batch32, step=step, layers=["w"])
    except ValueError as message:
        print(message)
row = measure(single, yin.half_squared_error, batch32, step=1e-6, layers=["w"])["w"]
print(f"step 1e-6 in float32: length of the CDG {row.smoothed_norm}, cosine {row.cosine}")
assert (
    row.smoothed_norm == 0 and np.isnan(row.cosine) and np.float32(1) + np.float32(1e-9) == 1
)

# %% [markdown]
# The second way is too few samples. With 60 samples in 10 parts and a small step the noise has the upper hand. We
# repeat this measurement ten times:

# %%
luck = np.random.default_rng([SEED, 9])  # this cell's own, so that it finds the same again
small = [
    measure(
        model, yin.half_squared_error, sample(60, luck), step=0.01, layers=["w"], parts=10
    )["w"]
    for _ in range(10)
]
print("corrected:", *(f"{row.cosine:.2f}" for row in small))
print("raw:      ", *(f"{row.raw:.2f}" for row in small))
assert any(np.isnan(row.cosine) for row in small) and not any(readable(row) for row in small)
if FULL:
    assert any(abs(row.cosine) > 1 for row in small)
    assert max(row.raw for row in small) < exact["clip"] - 0.2

# %% [markdown]
# Some corrected values are `nan`: an estimated square came out negative, and the instrument says that it cannot
# tell. Others are far from the exact value, even beyond ±1, which no cosine can be but its noisy estimate can.
# We accept none of them. The raw values look like sound cosines, and mean just as little.
#
# ## 6. A deeper network: layer, step and precision
#
# Now we take a case that has no formula. `Lesson` of `duonet.experiments.toy` has a float *teacher* with three
# hidden layers and draws inputs from a normal distribution; a *student* of the same shape has to learn the
# teacher's outputs with quantised activations. Ours are 16 wide, so that a measurement takes seconds. A student is
# measured at initialisation.

# %% tags=["slow"]
from duonet.experiments.toy import ACTIVATIONS, Lesson, area, with_surrogate

SEEDS, HIDDEN = range(3 if FULL else 2), ["linear1", "linear2", "linear3"]
PRECISIONS = ["float", "2 bits", "ternary", "binary"]
first_lesson = Lesson(seed=0, width=16)
student = first_lesson.student("binary")
print(*(f"{name}: {layer}" for name, layer in student.children()), sep="\n")
first = measure(
    student, F.mse_loss, first_lesson.batch(12_000), step=0.1, parts=6, layers=HIDDEN
)
print(first)

# %% [markdown]
# Each layer has a line: the corrected cosine with its interval, the raw one, the lengths of the coarse gradient
# and of the CDG (`|smoothed|`) and their ratio, the share of weights where they have opposite signs, the share of
# the CDG's squared length that is noise, and the number of weights.
#
# **Predict.** In the raw column the cosine falls steeply from the third layer to the first, as if errors piled up
# on their way back. Do they?
#
# <details><summary>Answer</summary>
#
# Compare with the corrected column: most of the fall is gone. It is mainly the *noise* that grows towards the
# input. A weight of an early layer has more staircases between it and the loss, and its effect on the loss is
# smaller and rougher.
#
# </details>

# %%
raw, corrected = [row.raw for row in first.rows], [row.cosine for row in first.rows]
print(
    f"fall from third to first layer: raw {raw[2] - raw[0]:.2f}, "
    f"corrected {corrected[2] - corrected[0]:.2f}"
)
assert raw[0] < raw[1] < raw[2] and raw[2] - raw[0] > 2 * abs(corrected[2] - corrected[0])
assert first["linear1"].noise > first["linear2"].noise > first["linear3"].noise

# %% [markdown]
# One seed is an anecdote. So we measure with three seeds, four precisions and four steps. All staircases here rise
# from 0 to 1 and have the clip as their surrogate; they differ in the number of steps: 1 (binary), 2 (ternary), 3
# (2 bits). *Float* has the clip itself as its activation, so its back-propagated gradient is the true one. (For
# it, 24 weights of each layer are enough.)
#
# **Predict.** Order the four by their cosine. Between which two neighbours is the largest gap?
#
# <details><summary>Answer</summary>
#
# Float and 2 bits come first, close together, then ternary, then binary; the large gap is the last one. The number
# of levels matters less than having at least three.
#
# </details>


# %% tags=["slow"]
def cosines(activation, step, seed):
    """Measure a student: (layers, 2), corrected cosines (NaN: hidden by noise) and raw."""
    lesson = Lesson(seed, width=16)
    few = {"coordinates": 24, "rng": np.random.default_rng(seed)}
    some = few if activation == "float" else {}
    student, data = lesson.student(activation), lesson.batch(2000 * PARTS)
    found = measure(student, F.mse_loss, data, step=step, parts=PARTS, layers=HIDDEN, **some)
    return [(row.cosine if readable(row) else np.nan, row.raw) for row in found.rows]


PARTS, STEPS = (6, (0.01, 0.03, 0.1, 0.3)) if FULL else (3, (0.01, 0.1))
table = {
    a: np.array([[cosines(a, e, seed) for seed in SEEDS] for e in STEPS]) for a in PRECISIONS
}
print("(steps, seeds, layers, corrected or raw):", table["binary"].shape)


# %%
def shown(values):
    """Write mean and spread of the readable values, and how many; a dot for fewer than two."""
    read = values[~np.isnan(values)]
    if len(read) < 2:
        return "·"
    return f"{read.mean():.2f} ±{read.std(ddof=1):.2f}" + (
        f" ({len(read)})" if len(read) < len(values) else ""
    )


print(f"{'':10s}{'ε':>5s}" + "".join(f"{layer:>17s}" for layer in HIDDEN))
for activation, values in table.items():
    for step, row in zip(STEPS, values):
        print(
            f"{activation:10s}{step:5g}"
            + "".join(f"{shown(row[:, k, 0]):>17s}" for k in range(3))
        )

# %%
# alt: Cosine of coarse and discrete gradient against the step, for three layers and four
#      precisions. Float is at one, two bits and ternary close to it, binary clearly below.
figure, panels = plt.subplots(1, 3, figsize=(9, 3.4), sharey=True, layout="constrained")
for k, (axes, layer) in enumerate(zip(panels, HIDDEN)):
    for activation, colour, mark in zip(PRECISIONS, (GREY, GREEN, BLUE, ORANGE), "D^os"):
        corrected, raw = np.moveaxis(table[activation][:, :, k], -1, 0)
        kept = np.where(np.sum(~np.isnan(corrected), axis=1) >= 2)[0]
        mean, spread = (
            np.nanmean(corrected[kept], axis=1),
            np.nanstd(corrected[kept], axis=1, ddof=1),
        )
        axes.errorbar(
            np.array(STEPS)[kept],
            mean,
            spread,
            fmt=mark + "-",
            color=colour,
            capsize=2,
            label=activation,
        )
        axes.plot(STEPS, raw.mean(axis=1), ":", color=colour)
    axes.set(xscale="log", xlabel=r"step $\varepsilon$", title=layer)
panels[0].set(ylabel="cosine (dotted: raw)", ylim=(0, 1.15))
panels[2].legend(frameon=False, loc="lower right")
plt.show()

# %% [markdown]
# First, precision. One more level takes away most of the mismatch, and further levels add little. This is the
# observation that BinaryDuo is built on: train with three levels, where the gradient points nearly right, then
# turn each ternary activation into two binary ones.

# %%
at = {
    name: values[STEPS.index(0.1), :, :, 0] for name, values in table.items()
}  # (seeds, layers)
print(
    "ε = 0.1, mean over seeds of layers 2 and 3:",
    *(f"{name} {a[:, 1:].mean():.2f}" for name, a in at.items()),
)
if FULL:
    assert (at["ternary"][:, 1:] > at["binary"][:, 1:]).all(), "in every seed"
    assert (
        np.abs(at["float"] - 1).max() < 0.03
        and at["2 bits"][:, 1:].mean() > at["ternary"][:, 1:].mean()
    )
    gain, remaining = (
        at["ternary"][:, 1:].mean() - at["binary"][:, 1:].mean(),
        1 - at["ternary"][:, 1:].mean(),
    )
    assert gain > 0.1 and remaining < 0.05, (
        "what is left for further levels is less than what one level gained"
    )

# %% [markdown]
# Second, the step.
#
# **Explain.** In the first layer the raw cosine (dotted) falls as the step gets smaller. In the third layer of the
# binary student so does the corrected one, with hardly any noise in it. What could be the difference between the
# layers?
#
# <details><summary>Answer</summary>
#
# Their inputs. The first layer sees continuous numbers, so its expected loss is smooth, and what falls is a matter
# of noise. The others see the 0s and 1s of a binary layer. There are finitely many patterns of them, and far fewer
# patterns than samples turn up (next cell), so not even infinitely many samples would blur the jumps: the
# *expected* loss is a staircase in these weights. A narrow window sees its single steps, and back-propagation does
# not know of them.
#
# </details>

# %%
third = table["binary"][:, :, 2, :]  # (steps, seeds, corrected or raw)
if FULL:
    assert (third[0, :, 0] < third[2, :, 0] - 0.1).all(), (
        "smaller at 0.01 than at 0.1, in every seed"
    )
    assert (third[:, :, 0] - third[:, :, 1]).max() < 0.06, "and that is not noise"
    assert (np.diff(table["binary"][:, :, 0, 1], axis=0) > 0).all(), (
        "raw, first layer: rises with the step"
    )
patterns = {}
for activation in ("binary", "ternary"):
    h = first_lesson.batch(12_000)[0]
    for _, layer in list(first_lesson.student(activation).children())[:4]:  # up to act2
        h = layer(h)
    patterns[activation] = len(np.unique(h.data, axis=0))
    print(
        f"{activation}: {patterns[activation]:,} different inputs to the third layer "
        "in 12,000 samples"
    )
assert patterns["ternary"] > 2.5 * patterns["binary"] and patterns["binary"] < 12_000 / 5

# %% [markdown]
# So "how large is the mismatch?" has no answer until a step is named; and a study that names one should say which.
# In the wider networks of duonet's [full study](https://github.com/duonet/duonet/blob/main/docs/mismatch.md) (32
# units a layer, where many more patterns are possible) the corrected cosines hardly move with $\varepsilon$ at
# initialisation.
#
# ## 7. What the area misses
#
# Before there was a direct measurement, people compared surrogates by the *area* between staircase and surrogate,
# $\int |\sigma(z) - \mu(z)|\,dz$. It is easily computed and needs no network.
#
# **Exercise.** Write `my_area(staircase, surrogate)`. Both take arrays: `staircase(z)` and `surrogate.value(z)`.
# Integrate from −3 to 4 with 70,000 midpoints. (The areas tested here end within that range.)


# %%
def my_area(staircase, surrogate):
    """Return the area between a staircase and a surrogate, over -3 < z < 4."""
    raise NotImplementedError


# %%
from duonet.quant import Polynomial, Ternary, ZeroOne


def check_my_area():
    assert abs(my_area(Binary(), Clip(0, 1)) - 1 / 4) < 1e-3, "two triangles of 1/8"
    assert abs(my_area(Ternary(), Clip(0, 1)) - 1 / 8) < 1e-3, "four triangles of 1/32"
    assert abs(my_area(Binary(), ZeroOne(Polynomial())) - 1 / 6) < 1e-3, (
        "another surrogate, another area"
    )
    assert abs(my_area(Binary(2), Clip(0, 1)) - 3 / 2) < 1e-3, (
        "differences count without their sign"
    )


attempt(check_my_area)


# %% tags=["solution"]
def my_area(staircase, surrogate):
    """Return the area between a staircase and a surrogate, over -3 < z < 4."""
    z = -3 + 7 * (np.arange(70_000) + 0.5) / 70_000
    return np.mean(np.abs(staircase(z) - surrogate.value(z))) * 7


# %% [markdown]
# The area knows nothing of the network. The network of section 4, whose true gradient we know, makes a clean test
# of that. We write a surrogate of our own, which rises from 0 to 1 between any two ends; the step is at 0.

# %%
from duonet.quant.surrogate import Surrogate


class Ramp(Surrogate):
    """Rise from 0 at `low` to 1 at `high` in a straight line."""

    def __init__(self, low, high):
        self.low, self.high = low, high

    def value(self, x):
        """(x - low) / (high - low), cut off at 0 and 1."""
        return np.clip((x - self.low) / (self.high - self.low), 0, 1)

    def derivative(self, x):
        """1 / (high - low) inside, 0 outside."""
        return ((x > self.low) & (x < self.high)) / (self.high - self.low)


# %% [markdown]
# One ramp lies wide and centred around the step, from −2 to 2. The other is steep but misses the step: from 0.4 to
# 0.9. With the area as judge the steep one wins. We measure both at two angles $\theta$ between the weights and
# the teacher's.

# %% tags=["slow"]
rng = np.random.default_rng([SEED, 7])  # this section's own, so that it can run again
ramps = {"wide": Ramp(-2, 2), "steep": Ramp(0.4, 0.9)}
ramp_cosines = {}
for degrees in (18, 120):
    turned = (
        np.cos(np.radians(degrees)) * np.eye(n)[0] + np.sin(np.radians(degrees)) * np.eye(n)[1]
    )
    truth, data = yin.true_gradient(v_out, turned, v_star, w_star), sample(40_000)
    for name, ramp in ramps.items():
        ramped = with_surrogate(yin.step_network(v_out, turned), ramp)
        c = coarse_gradient(ramped, yin.half_squared_error, data, ["w"])["w"].values
        ramp_cosines[name, degrees] = float(cosine(c, truth))

# %%
areas = {
    name: area(Binary(0), ramp, reach=20.0, points=40_001) for name, ramp in ramps.items()
}
for name in ramps:
    narrow, obtuse = ramp_cosines[name, 18], ramp_cosines[name, 120]
    print(
        f"{name:6s} area {areas[name]:.2f}, cosine {narrow:.2f} at 18°, {obtuse:.2f} at 120°"
    )
assert areas["steep"] < areas["wide"]
assert ramp_cosines["steep", 18] < ramp_cosines["wide", 18] - 0.04
assert ramp_cosines["steep", 120] > ramp_cosines["wide", 120] + 0.04

# %% [markdown]
# At 18° the surrogate with the larger area has the better gradient, at 120° the other one. The area is one number
# for both; the right answer depends on where the weights are. No measure that looks at the activation alone can
# give it.
#
# Now we take the toy network, binary with six surrogates, and ternary with the clip. The CDG does not depend on
# the surrogate, so it is computed once for a student and held against all coarse gradients.

# %%
from duonet.experiments.toy import SURROGATES
from duonet.mismatch import Mismatch
from duonet.mismatch.objective import cut

chosen = ["identity", "clip", "polynomial", "SwishSign 5", "tanh 4", "tanh 8"]


def compare(student, surrogates, parts):
    """Measure a student's layers 2 and 3 with each surrogate: from name to a Mismatch."""
    smoothed = [
        coordinate_gradient(student, F.mse_loss, part, 0.1, HIDDEN[1:]) for part in parts
    ]
    tables = {}
    for name, surrogate in surrogates.items():
        model = with_surrogate(student, surrogate)
        tables[name] = Mismatch.between(
            [coarse_gradient(model, F.mse_loss, part) for part in parts], smoothed
        )
    return tables


# %% tags=["slow"]
rows = []
for seed in range(5 if FULL else 2):
    lesson = Lesson(seed, width=16)
    parts = cut(lesson.batch(2000 * PARTS), PARTS)
    found = compare(
        lesson.student("binary"), {name: SURROGATES[name] for name in chosen}, parts
    )
    found["ternary, clip"] = compare(lesson.student("ternary"), {"clip": Clip(0, 1)}, parts)[
        "clip"
    ]
    rows.append(
        [[(row.cosine, row.coarse_noise) for row in table.rows] for table in found.values()]
    )
compared = np.array(rows)  # (seeds, names, layers, cosine or noise of the coarse gradient)

# %% [markdown]
# **Predict.** The next cell prints a table in the order of the area, the smallest first. If the area were a good
# judge, how would the columns of cosines have to look? Where do you expect exceptions?
#
# <details><summary>Answer</summary>
#
# They would fall from top to bottom. At the bottom they do: the identity, of infinite area, is the worst. In the
# third layer they nearly do among the binary ones. In the second layer tanh 8, with the smallest area of all, is
# below tanh 4 and below the polynomial, which has almost four times its area, in at least four of the five seeds.
# And ternary beats the three sharp surrogates there although its area is larger.
#
# </details>

# %%
names = list(found)
pairs = [(Binary(), SURROGATES[name]) for name in chosen] + [ACTIVATIONS["ternary"]]
areas = np.array([area(*pair, reach=20.0, points=40_001) for pair in pairs])
order = np.argsort(areas, kind="stable")
print(
    f"{'':15s}area   second layer    third layer   noise of the coarse gradient, second layer"
)
for k in order:
    layers = "   ".join(f"{v.mean():.2f} ±{v.std(ddof=1):.2f}" for v in compared[:, k, :, 0].T)
    print(f"{names[k]:14s}{areas[k]:5.3f}     {layers}   {compared[:, k, 0, 1].mean():4.0%}")

# %%
second, third = (
    {name: compared[:, k, layer, 0] for k, name in enumerate(names)} for layer in (0, 1)
)
size, sharp = dict(zip(names, areas)), ["SwishSign 5", "tanh 4", "tanh 8"]
if FULL:
    assert size["tanh 8"] == min(areas) and 3.5 < size["polynomial"] / size["tanh 8"] < 4
    for better in ("tanh 4", "polynomial"):
        assert np.sum(second["tanh 8"] < second[better]) >= 4
        assert second["tanh 8"].mean() < second[better].mean() - 0.05
    assert all((third[a] > third["polynomial"]).all() for a in sharp[:2])
    assert (third["polynomial"] > third["clip"]).all()
    assert all(
        size[a] < size["ternary, clip"] and (second[a] < second["ternary, clip"]).all()
        for a in sharp
    )
    assert all(
        (cosines["identity"] < cosines[a]).all()
        for cosines in (second, third)
        for a in names[1:]
    )

# %%
# alt: Cosine against the area between staircase and surrogate, second and third layer. In the
#      third layer a smaller area goes with a better cosine; in the second layer it does not.
figure, panels = plt.subplots(1, 2, figsize=(9, 3.8), sharey=True, layout="constrained")
binary = [k for k in order if np.isfinite(areas[k]) and names[k] in chosen]
for axes, cosines, title in zip(panels, (second, third), ("second layer", "third layer")):
    by_seed = np.array([cosines[names[k]] for k in binary])
    axes.plot(areas[binary], by_seed, color=ORANGE, linewidth=0.8, alpha=0.5)
    axes.plot(
        areas[binary],
        by_seed.mean(axis=1),
        "o-",
        color=ORANGE,
        linewidth=2.2,
        label="binary, mean",
    )
    where = [size["ternary, clip"]] * len(compared)
    axes.plot(where, cosines["ternary, clip"], "D", color=BLUE, label="ternary, clip")
    axes.set(
        xlabel="area between staircase and surrogate",
        title=title,
        xlim=(0, 0.28),
        ylim=(0, 1.06),
    )
    for k in binary:
        axes.text(areas[k], 0.03, names[k], rotation=90, ha="center", va="bottom", color=GREY)
panels[0].set(ylabel="cosine (thin: single seeds)")
panels[1].legend(frameon=False, loc="center")
plt.show()

# %% [markdown]
# A reason that fits: behind the third layer there is only its own step, and then all is linear; there a narrow
# surrogate is a good imitation. Behind the second layer there is one more. If a unit of the second layer switches,
# the pre-activations of the third do not creep, they jump by a weight, which is about $\sqrt{2/16} \approx 0.35$
# in size. A surrogate much narrower than this jump misses most of the thresholds it passes.
#
# Do not take from it that sharp surrogates are bad. In the networks 32 wide of the full study, whose jumps are
# smaller, they come out better than the clip, and the area sorts most surrogates rightly. Both sizes show that
# sharp surrogates have the noisier coarse gradient (last column), because they let few samples through, and that
# the area does not show this noise.

# %%
noise = dict(zip(names, compared[:, :, 0, 1].T))
if FULL:
    assert all((noise[name] > 2 * noise["clip"]).all() for name in sharp)
    assert abs(lesson.student("binary").linear3.weight.data.std() - np.sqrt(2 / 16)) < 0.06

# %% [markdown]
# **Try it.** Run the next two cells, and move the step and the window of the surrogate, on seed 0; each move takes
# a second or so. Which of the two layers minds a wide window more? What does the third layer's cosine do when only
# the step changes?


# %%
def turn(eps=0.1, half_width=0.5):
    """Draw the surrogate over the staircase, and two layers' cosines with their intervals."""
    lesson, ramp = Lesson(0, width=16), Clip(0.5 - half_width, 0.5 + half_width)
    student, batch = (
        with_surrogate(lesson.student("binary"), ramp),
        lesson.batch(12_000 if FULL else 2000),
    )
    found = measure(student, F.mse_loss, batch, step=eps, parts=6, layers=HIDDEN[1:])
    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3), layout="constrained")
    z = np.linspace(-1.5, 2.5, 401)
    left.plot(z, Binary()(z), color=GREY)
    left.plot(z, ramp.value(z), "--", color=BLUE, lw=2)
    left.set(
        xlabel="pre-activation $z$",
        ylim=(-1.6, 2.6),
        title="staircase, and dashed the surrogate",
    )
    for row in found.rows:
        ends = [row.low, row.cosine, row.high]
        right.plot([row.layer] * 3, ends, "o-", color=ORANGE, markevery=[1], lw=2)
    right.set(
        xlim=(-0.5, 1.5), ylim=(0, 1.05), title=f"cosine, with its interval, at ε = {eps:g}"
    )
    return figure


# %% tags=["slow"]
# alt: Left, the binary staircase and the surrogate, a ramp between 0 and 1. Right, the cosines
# of the second layer, 0.86, and of the third, 0.91, with their intervals.
sliders(turn, eps=STEPS, half_width=[0.1, 0.2, 0.3, 0.5, 1.0, 2.0])

# %% [markdown]
# The second layer minds the wide window more: with the half-width 2 its cosine falls below 0.4. The third layer's
# cosine is 0.6 with $\varepsilon = 0.01$ and 0.9 with $\varepsilon = 0.1$, for the same gradient of
# back-propagation.

# %% tags=["slow"]
if FULL:
    one_seed = table["binary"][:, 0, :, 0]  # (steps, layers), at the half-width 0.5
    assert abs(one_seed[0, 2] - 0.62) < 0.03 and abs(one_seed[2, 2] - 0.91) < 0.03
    one, one_cut = Lesson(0, width=16), cut(Lesson(0, width=16).batch(12_000), 6)
    wide = compare(one.student("binary"), {"wide": Clip(-1.5, 2.5)}, one_cut)["wide"]
    assert wide["linear2"].cosine < 0.4 < 0.6 < wide["linear3"].cosine

# %% [markdown]
# ## 8. Another smoothing: evolution strategies
#
# Instead of one weight at a time one can move all of them, by $\sigma u$ with a random direction
# $u \sim \mathcal N(0, I)$. (From here on $\sigma$ is a number, the size of the step, not the staircase.)
# That smooths with a Gaussian in all directions instead of a window in one, and
#
# $$ \nabla_w\, \mathrm E_u L(w + \sigma u) = \frac{1}{2\sigma}\, \mathrm E_u \big[
# \big(L(w + \sigma u) - L(w - \sigma u)\big)\, u \big] , $$
#
# estimated by a mean over $K$ random directions, two losses each. The network may be a black box. But each pair of
# losses only tells how steep the loss is along one random direction, and spreads this over all weights.
#
# **Predict.** The second layer has $16 \cdot 16 = 256$ weights, so the CDG takes 512 losses. Let evolution
# strategies have as many, and a step of the same *length*: $\sigma\sqrt{256} = \varepsilon$. Which is noisier?
#
# <details><summary>Answer</summary>
#
# Evolution strategies, by far: 256 random directions do not cover 256 dimensions evenly, as the 256 coordinate
# axes do, and so the sampling of *directions* adds noise even if the loss had none. Four times as many directions
# help, and cost four times as much.
#
# </details>

# %% tags=["slow"]
rng = np.random.default_rng([SEED, 8])  # this section's own, so that it can run again
student, data = Lesson(0, width=16).student("binary"), Lesson(0, width=16).batch(3000)
common = {"layers": ["linear2"], "parts": 6 if FULL else 2}
runs = {"CDG, 512 losses": measure(student, F.mse_loss, data, step=0.1, **common)["linear2"]}
for sigma, count in ((0.1 / 16, 256), (0.1 / 16, 1024), (0.1, 256)):
    options = {"estimator": "evolution", "samples": count, "rng": rng, **common}
    label = f"ES, σ = {sigma:.3f}, {2 * count:,} losses"
    runs[label] = measure(student, F.mse_loss, data, step=sigma, **options)["linear2"]
for label, row in runs.items():
    print(f"{label:28s} noise {row.noise:4.0%}   raw cosine {row.raw:.2f}")
coordinate, equal, four_times, long = runs.values()
if FULL:
    assert coordinate.noise < four_times.noise < equal.noise

# %% [markdown]
# At equal step length evolution strategies are noisier even with four times the losses. The last line makes the
# comparison fair: with $\sigma = \varepsilon$ in *every* weight, the step is 16 times as long, averages over many
# more jumps, and is far less noisy. But it smooths a different, much wider neighbourhood. Whoever names a smoothed
# gradient has to say how much smoothing it has.

# %%
if FULL:
    assert long.noise < 0.6 * equal.noise

# %% [markdown]
# ## Recap
#
# * A staircase network's loss is a staircase in every weight. Averaged over a window of half-width $\varepsilon$
#   along a weight it has a derivative, and that is *exactly*
#   $[L(w+\varepsilon e_i) - L(w-\varepsilon e_i)]/2\varepsilon$.
# * Back-propagation with a surrogate gives the coarse gradient; the cosine between the two, layer by layer, is the
#   mismatch.
# * Where the true gradient is known, both estimates converge to their closed forms as $1/\sqrt N$; the CDG's error
#   grows as $1/\sqrt\varepsilon$ for small steps.
# * Sampling noise lowers a cosine just as mismatch does. Products of different parts of the data are free of it;
#   and where noise hides the answer, say so.
# * In the toy network ternary is next to float and binary is not, in each seed. The area between step and
#   surrogate does not know the network, and here, 16 units wide, ranks surrogates differently from the cosine.
#
# ## Exercises
#
# **★ The CDG of a bias.** duonet measures weights. Write the CDG with respect to a vector of biases, $z = xW + b$,
# for the network of section 1.


# %%
def bias_gradient(x, W, b, v, target, eps):
    """Return [L(b + eps e_j) - L(b - eps e_j)] / 2 eps for each bias; L as in section 1."""
    raise NotImplementedError


# %%
def check_bias_gradient():
    draw = np.random.default_rng(3)
    x, W = draw.standard_normal((50, 4)), draw.standard_normal((4, 3))
    b, v = draw.standard_normal((2, 3))
    target, before = draw.standard_normal(50), b.copy()
    with_ones, stacked = (
        np.hstack([x, np.ones((50, 1))]),
        np.vstack([W, b]),
    )  # weights of an input of ones

    def loss(stacked):
        return np.mean(((with_ones @ stacked >= 0.5) @ v - target) ** 2)

    expected = coordinate_discrete_gradient(loss, stacked, 0.2)[-1]
    assert (
        np.allclose(bias_gradient(x, W, b, v, target, 0.2), expected) and (b == before).all()
    ), "the discrete gradient, and b as it was"


attempt(check_bias_gradient)


# %% tags=["solution"]
def bias_gradient(x, W, b, v, target, eps):
    """Return [L(b + eps e_j) - L(b - eps e_j)] / 2 eps for each bias; L as in section 1."""
    return coordinate_discrete_gradient(
        lambda b: np.mean(((x @ W + b >= 0.5) @ v - target) ** 2), b, eps
    )


# %% [markdown]
# **★★ Evolution strategies.** Write the antithetic estimator of section 8 for any loss and an array of any shape.


# %%
def evolution(loss, W, sigma, directions):
    """Average [L(W + sigma u) - L(W - sigma u)] u / 2 sigma over K directions u."""
    raise NotImplementedError


# %%
def check_evolution():
    draw = np.random.default_rng(4)
    W, slope = draw.standard_normal((2, 2, 3))
    axes = np.sqrt(6) * np.eye(6).reshape(
        6, 2, 3
    )  # along these the mean over u of u uᵀ is the identity
    linear = evolution(lambda W: np.sum(slope * W), W, 0.3, axes)
    assert np.allclose(linear, slope), "a linear loss has its slope"
    random = draw.standard_normal((5, 2, 3))
    slow = sum(
        (np.sum((W + 0.3 * u) ** 3) - np.sum((W - 0.3 * u) ** 3)) * u for u in random
    ) / (5 * 0.6)
    assert np.allclose(evolution(lambda W: np.sum(W**3), W, 0.3, random), slow), (
        "the mean over the directions"
    )


attempt(check_evolution)


# %% tags=["solution"]
def evolution(loss, W, sigma, directions):
    """Average [L(W + sigma u) - L(W - sigma u)] u / 2 sigma over K directions u."""
    return np.mean(
        [(loss(W + sigma * u) - loss(W - sigma * u)) / (2 * sigma) * u for u in directions],
        axis=0,
    )


# %% [markdown]
# **★★ Measure a surrogate of your own.** Write the arctangent surrogate for the step at ½:
# $\mu(z) = \tfrac12 + \tfrac1\pi \arctan(k(z - \tfrac12))$. Test its derivative, then measure it, with lesson and
# parts left over from section 7: `compare(lesson.student("binary"), {"mine": Arctangent(4)}, parts)["mine"]`.
# Which of the surrogates there does it come close to? And what is its area? (Look at the tails before you trust a
# number.)


# %%
class Arctangent(Surrogate):
    """Rise from 0 to 1 around 1/2 as an arctangent of slope k / pi."""

    def __init__(self, k):
        self.k = k

    def value(self, x):
        """Compute 1/2 + arctan(k (x - 1/2)) / pi."""
        raise NotImplementedError

    def derivative(self, x):
        """Compute the derivative of `value`."""
        raise NotImplementedError


# %%
from duonet.gradcheck import check_surrogate


def check_arctangent():
    for k in (1, 4):
        mine = Arctangent(k)
        assert np.allclose(mine.value(np.array([0.5, 0.5 + 1 / k])), [1 / 2, 3 / 4]), (
            "1/2 + arctan(k (z - 1/2)) / pi"
        )
        check_surrogate(mine)


attempt(check_arctangent)


# %% tags=["solution"]
class Arctangent(Surrogate):
    """Rise from 0 to 1 around 1/2 as an arctangent of slope k / pi."""

    def __init__(self, k):
        self.k = k

    def value(self, x):
        """Compute 1/2 + arctan(k (x - 1/2)) / pi."""
        return 0.5 + np.arctan(self.k * (x - 0.5)) / np.pi

    def derivative(self, x):
        """Compute the derivative of `value`."""
        return self.k / np.pi / (1 + (self.k * (x - 0.5)) ** 2)


# %% [markdown]
# **★★★ In training.** `lesson.train(student, steps=100)` trains a student and returns it with its error. Repeat
# section 6 after training, for binary and ternary. Which cells of the table turn into dots, and why do they turn
# up there?
#
# **★★★ A measurement of the measurement.** `row.low` and `row.high` claim to hold the true cosine in 95 of 100
# cases. Use the network of section 4 to put that to the test: 200 batches, several sizes. When do they fail, and
# to which side?
#
# ## References
#
# * H. Kim, K. Kim, J. Kim, J.-J. Kim, [*BinaryDuo: Reducing Gradient Mismatch in Binary Activation Network by
#   Coupling Binary Activations*](https://arxiv.org/abs/2002.06517), ICLR 2020. Introduces the coordinate discrete
#   gradient as a measure of mismatch, and draws the consequence: couple, train, decouple.
# * P. Yin, J. Lyu, S. Zhang, S. Osher, Y. Qi, J. Xin, [*Understanding Straight-Through Estimator in Training
#   Activation Quantized Neural Nets*](https://arxiv.org/abs/1903.05662), ICLR 2019. The network of section 4;
#   proves when following a coarse gradient goes downhill, and when it does not.
# * Y. Bengio, N. Léonard, A. Courville, [*Estimating or Propagating Gradients Through Stochastic Neurons for
#   Conditional Computation*](https://arxiv.org/abs/1308.3432), 2013. Where the straight-through estimator was
#   first studied.
# * T. Salimans, J. Ho, X. Chen, S. Sidor, I. Sutskever, [*Evolution Strategies as a Scalable Alternative to
#   Reinforcement Learning*](https://arxiv.org/abs/1703.03864), 2017. The antithetic estimator of section 8, at
#   scale.
# * K. Choromanski and others, *Structured Evolution with Compact Architectures for Scalable Policy Optimization*,
#   ICML 2018. Orthogonal directions make that estimator less noisy; duonet has them as `directions="orthogonal"`.
# * C. Spearman, *The Proof and Measurement of Association between Two Things*, American Journal of
#   Psychology 15, 1904. Noise lowers a correlation, and how to undo it: section 5, a hundred years earlier.
