# %% [markdown]
# # Build reverse-mode autodiff in an afternoon
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/duonet/duonet/blob/main/tutorials/01_autodiff.ipynb)
#
# Training a network needs the slope of one number, the loss, with respect to every weight. You will write the
# machine that finds all slopes in one walk backwards, in a few dozen lines, and then learn to distrust it: a
# gradient check that cannot fail is worth nothing.

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

# %% tags=["hide-input"]
# alt: Left, the graph of a small network: leaves x, w and b, a product, a sum, a quantiser
#      marked as a surrogate, and a total. Right, the error of a difference quotient against
#      its step, on logarithmic axes: a V, with rounding to the left and curvature to the
#      right.
from duonet import Tensor
from duonet.quant import Clip, Ternary, quantize
from duonet.viz import plot_graph

leaves = {
    name: Tensor(np.ones(n), requires_grad=True)
    for name, n in {"x": (5, 3), "w": (3, 4), "b": 4}.items()
}
steps, points = np.logspace(-14, -1, 53), np.random.default_rng(SEED).uniform(0.5, 1.5, 200)
slopes = [(np.exp(np.sin(points + h)) - np.exp(np.sin(points - h))) / (2 * h) for h in steps]
errors = [
    np.sqrt(np.mean((slope - np.cos(points) * np.exp(np.sin(points))) ** 2))
    for slope in slopes
]

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4.6), layout="constrained")
plot_graph(
    quantize(leaves["x"] @ leaves["w"] + leaves["b"], Ternary(), Clip(0, 1)).sum(),
    axes=left,
    names=leaves,
)
left.set_title("what backward walks through")
right.loglog(steps, errors, color="#123a6b")
right.set(
    xlabel="step h",
    ylabel="error of a difference quotient",
    title="what its gradients are checked against",
)
right.text(2e-14, 1e-9, "h too small:\nrounding", color="0.35")
right.text(1e-4, 1e-10, "h too large:\ncurvature", color="0.35")
plt.show()

# %% [markdown]
# > **Do** write a tape, the walk back through it, and a gradient check; break each of them in the ways they break
# > in real code; train a small network on images with what you wrote.
# >
# > **Learn** why gradients multiply along paths and add over paths, why the order of the walk matters, what the
# > step does to a difference quotient, and which wrong gradients a careless check accepts.
# >
# > **Need** Python, NumPy with broadcasting, the chain rule, and an idea of what a neural network is. No earlier
# > tutorial.
# >
# > **Time** Runs in 5 s on two cores (measured); three hours to read and work through.

# %% [markdown]
# ## 1. Multiply along a path, add over the paths
#
# Take two numbers $a$ and $b$ and compute, in three small steps,
#
# $$u = a\,b, \qquad v = u + a, \qquad L = v^2 .$$
#
# $L$ stands for the loss. Each step has *local* derivatives, which know nothing of the other steps:
#
# $$\frac{\partial u}{\partial a} = b, \quad \frac{\partial u}{\partial b} = a, \quad
# \frac{\partial v}{\partial u} = 1, \quad \frac{\partial v}{\partial a} = 1, \quad
# \frac{\partial L}{\partial v} = 2v .$$
#
# The chain rule says how they combine. A nudge to $a$ travels to $L$ along every path that leads there. Along one
# path the local derivatives multiply; over several paths the products add.
#
# **Predict.** How many paths lead from $a$ to $L$, and how many from $b$? What is $\partial L / \partial a$ in
# terms of $v$ and $b$?
#
# <details><summary>Answer</summary>
#
# Two paths lead from $a$ to $L$: through $u$ and $v$, with the product $b \cdot 1 \cdot 2v$, and straight to $v$,
# with $1 \cdot 2v$. So $\partial L / \partial a = 2v\,(b + 1)$. One path leads from $b$, with
# $a \cdot 1 \cdot 2v$.
#
# </details>

# %%
a, b = 3.0, 5.0
u = a * b
v = u + a
L = v**2

by_path = [b * 1 * 2 * v, 1 * 2 * v]  # a -> u -> v -> L, and a -> v -> L
dL_da, dL_db = sum(by_path), a * 1 * 2 * v
print(
    f"v = {v:g}, L = {L:g};  dL/da = {by_path[0]:g} + {by_path[1]:g} = {dL_da:g},  "
    f"dL/db = {dL_db:g}"
)
assert (dL_da, dL_db) == (216, 108)

# %% [markdown]
# We need not trust the algebra. Move $a$ a little to both sides and see how much $L$ moves: the quotient is the
# slope.


# %%
def loss(a, b):
    """Compute L as above."""
    return (a * b + a) ** 2


h = 1e-5
moved = [
    (loss(a + h, b) - loss(a - h, b)) / (2 * h),
    (loss(a, b + h) - loss(a, b - h)) / (2 * h),
]
print(f"by moving a: {moved[0]:.4f}, by moving b: {moved[1]:.4f}")
assert np.allclose(moved, [dL_da, dL_db], rtol=1e-8)

# %% [markdown]
# Both agree. Now let a program do the bookkeeping.
#
# We write $\mathrm{dy}$ for $\partial L / \partial y$, the gradient of the loss with respect to some value $y$. It
# always has the shape of $y$. For the op that computed $y$, $\mathrm{dy}$ is the *upstream gradient*: it comes
# from the side of the loss. All that an op must know is how to turn $\mathrm{dy}$ into the gradients of its
# inputs, and that needs only its own local derivatives:
#
# $$y = f(a, b) \quad\Longrightarrow\quad \mathrm{da} = \mathrm{dy}\,\frac{\partial y}{\partial a}, \qquad
# \mathrm{db} = \mathrm{dy}\,\frac{\partial y}{\partial b} .$$
#
# ## 2. A tape in a few lines
#
# A `Value` holds an array and remembers how it came about: its *parents*, and the *rule* by which `dy` goes back
# to them. A value that nobody computed, a *leaf*, has no parents, and a rule that returns nothing.


# %%
class Value:
    """An array, the values it was computed from, and the rule that carries dy back to them."""

    def __init__(self, data, parents=(), rule=lambda dy: ()):
        self.data = np.asarray(data, dtype=np.float64)
        self.parents, self.rule = parents, rule
        self.grad = np.zeros_like(self.data)


def add(a, b):
    """y = a + b.   da = dy, db = dy."""
    return Value(a.data + b.data, (a, b), lambda dy: (dy, dy))


def mul(a, b):
    """y = a b.   da = dy b, db = dy a."""
    return Value(a.data * b.data, (a, b), lambda dy: (dy * b.data, dy * a.data))


# %% [markdown]
# Look at `mul`. The forward pass computes the product; the rule is a function made on the spot, and it *remembers*
# `a` and `b`, because its formula needs them. That is the whole secret of a tape: going forwards, each op leaves
# behind what going backwards will need. (It is also where the memory goes when networks are trained.)
#
# Record the example of Section 1, with the square as a product, and use the rules by hand, from the loss
# backwards. At the loss itself $\mathrm{dL} = \partial L / \partial L = 1$.

# %%
a, b = Value(3.0), Value(5.0)
u = mul(a, b)
v = add(u, a)
L = mul(v, v)

dv = sum(L.rule(1.0))  # L uses v twice: both gradients are for v
du, da_direct = v.rule(dv)
da_through_u, db = u.rule(du)
print(
    f"dv = {dv:g}; da = {da_through_u:g} + {da_direct:g} = {da_through_u + da_direct:g}; "
    f"db = {db:g}"
)
assert (da_through_u + da_direct, db) == (dL_da, dL_db)

# %% [markdown]
# These are the same 216 and 108. Nothing in `mul` or `add` knows about paths. The products along a path arise
# because each rule multiplies the gradient that it receives; we took the sums over paths ourselves.
#
# **Change this.** Copy the cell, leave out its assertion, which knows the old numbers, and record `v = add(u, u)`.
# Which lines of the lower half must change, and what do `da` and `db` become?
#
# <details><summary>Answer</summary>
#
# Now $v = 2ab = 30$ and $\mathrm{dv} = 60$. Both gradients from `v.rule` are for `u`, and
# `du = sum(v.rule(dv))` gives 120. Only `u` leads to `a`, so `da` is $120 \cdot 5 = 600$, and `db` is
# $120 \cdot 3 = 360$.
#
# </details>
#
# ### Exercise: divide
#
# Write `div`, in the style of `mul`. The check calls the rule with a random upstream gradient. (It draws from a
# generator of its own, as all checks do, so that the cells below show the same numbers whether you solve it or
# not.)


# %%
def div(a, b):
    """y = a / b, with the rule that carries dy back to a and b."""
    raise NotImplementedError


# %%
def check_div():
    draw = np.random.default_rng(SEED)
    a, b, dy = draw.uniform(1, 2, (3, 4))
    parents = (Value(a), Value(b))
    y = div(*parents)
    assert np.allclose(y.data, a / b), "the value is a / b"
    right = tuple(y.parents) == parents
    assert right, "the parents are a and b, in this order"
    da, db = y.rule(dy)
    h = 1e-6
    assert np.allclose(da, dy * ((a + h) / b - (a - h) / b) / (2 * h)), "da is wrong"
    assert np.allclose(db, dy * (a / (b + h) - a / (b - h)) / (2 * h)), "db is wrong"


attempt(check_div)


# %% tags=["solution"]
def div(a, b):
    """y = a / b.   da = dy / b, db = -dy a / b²."""
    return Value(a.data / b.data, (a, b), lambda dy: (dy / b.data, -dy * a.data / b.data**2))


# %% [markdown]
# ## 3. Why the order matters
#
# Who calls the rules? The obvious program follows the definition: when a gradient arrives at a value, add it to
# the gradient that the value already has, and pass it on to the parents at once. Let it return how many visits it
# made.


# %%
def backward_by_paths(value, dy):
    """Add dy to a value's gradient, visit its parents at once; return the number of visits."""
    value.grad = value.grad + dy
    visits = 1
    for parent, gradient in zip(value.parents, value.rule(dy)):
        visits += backward_by_paths(parent, gradient)
    return visits


a, b = Value(3.0), Value(5.0)  # the example of Section 2 once more
u = mul(a, b)
v = add(u, a)
L = mul(v, v)
visits = backward_by_paths(L, 1.0)
print(
    f"a.grad = {a.grad:g}, b.grad = {b.grad:g}, "
    f"after {visits} visits to {len({a, b, u, v, L})} values"
)
assert (a.grad, b.grad, visits) == (216, 108, 11)

# %% [markdown]
# The gradients are right, but the walk made 11 visits to 5 values: `L` once, and `v` twice, because `L` uses `v`
# twice. So it visits everything below `v` twice as often as well. This walk visits a value once for every *path*
# that leads to it from the loss.
#
# **Predict.** Start from $y = x$ and double it with `y = add(y, y)`, $k$ times. How many visits does the walk make
# for $k = 1, 2, 3$? For $k = 40$?
#
# <details><summary>Answer</summary>
#
# The walk visits the last value once, the value before it twice, the next one 4 times, and so on:
# $1 + 2 + 4 + \dots + 2^k = 2^{k+1} - 1$. For $k = 40$ this is two million million.
#
# </details>


# %%
def doubled(x, times):
    """Double a value with `y = y + y`, this many times."""
    y = x
    for _ in range(times):
        y = add(y, y)
    return y


for k in (1, 2, 3, 10):
    visits = backward_by_paths(doubled(Value(1.0), k), 1.0)
    print(f"{k:2} doublings, {k + 1:2} values: {visits:4} visits")
    assert visits == 2 ** (k + 1) - 1
days = (2**41 - 1) / 1e6 / 86400
print(f"40 doublings, 41 values: {2**41 - 1:,} visits; at a million a second, {days:.0f} days")
assert 2e12 < 2**41 - 1 < 2.3e12 and round(days) == 25

# %% [markdown]
# Real networks have such graphs: every shortcut of a residual network doubles the number of paths.
#
# So visit every value only *once*. The next program goes from value to value in the order in which it meets them,
# and never goes to one a second time.


# %%
def backward_too_early(y, dy):
    """Visit every value once, in the order in which they are met."""
    y.grad, queue, seen = dy, [y], {id(y)}
    for value in queue:  # which grows on the way
        for parent, gradient in zip(value.parents, value.rule(value.grad)):
            parent.grad = parent.grad + gradient
            if id(parent) not in seen:
                seen.add(id(parent))
                queue.append(parent)


a, b = Value(3.0), Value(5.0)
v = add(mul(a, b), a)
backward_too_early(mul(v, v), 1.0)
print(f"a.grad = {a.grad:g}, b.grad = {b.grad:g}")
assert (a.grad, b.grad) == (216, 108)

# %% [markdown]
# The gradients are right, with five visits. Are they always right?
#
# **Predict.** Let $s = a\,a$, $t = s + a$, $L = s\,t$, at $a = 3$. By hand, $L = a^4 + a^3$, so
# $\mathrm{da} = 4a^3 + 3a^2 = 135$. What does `backward_too_early` say, and which value does it visit too early?
#
# <details><summary>Answer</summary>
#
# It meets $s$ and $t$ together, as the parents of $L$, and visits $s$ first. At that moment $s$ has only the
# gradient that came from $L$ directly, $t = 12$, and hands on $12 \cdot 2a = 72$. Then $t$ is visited. It sends 9
# to $s$, which will not be visited again, and 9 to $a$. So $a$ ends with $72 + 9 = 81$; the missing
# $9 \cdot 2a = 54$ never left $s$.
#
# </details>

# %%
a = Value(3.0)
s = mul(a, a)
t = add(s, a)
L = mul(s, t)
backward_too_early(L, 1.0)
print(f"a.grad = {a.grad:g}, but 4a³ + 3a² = {4 * 3**3 + 3 * 3**2}")
assert a.grad == 81 and 135 - 81 == 9 * 2 * 3

# %% [markdown]
# A value may hand its gradient on only when that is *complete*: after every value that uses it has been visited.
# An order in which each value comes before its parents is called a *topological order*, and a graph without cycles
# always has one.
#
# A depth-first walk finds it. A value is *finished* when all its parents are. Listing the values as they finish
# puts parents first, and that list reversed is what we need. The walk keeps a stack of its own instead of calling
# itself, because Python gives up on deep recursion, and graphs may be deep.


# %%
def topological_order(y):
    """List y and all values below it, each before its parents."""
    finished, seen, stack = [], set(), [(y, False)]
    while stack:
        value, parents_are_finished = stack.pop()
        if parents_are_finished:
            finished.append(value)
        elif id(value) not in seen:
            seen.add(id(value))
            stack.append(
                (value, True)
            )  # comes up again when everything pushed after it is finished
            stack.extend((parent, False) for parent in value.parents)
    return finished[::-1]


names = {id(L): "L", id(t): "t", id(s): "s", id(a): "a"}
print([names[id(value)] for value in topological_order(L)])
assert topological_order(L) == [L, t, s, a]

# %% [markdown]
# Now $s$ waits for $t$. The walk back is then a plain loop.


# %%
def backward_in_order(y, dy):
    """Set the gradient of y, which is dy, and of every value below it: one visit each."""
    order = topological_order(y)
    for value in order:
        value.grad = np.zeros_like(value.data)
    y.grad = y.grad + dy
    for value in order:
        for parent, gradient in zip(value.parents, value.rule(value.grad)):
            parent.grad = parent.grad + gradient


backward_in_order(L, 1.0)
assert a.grad == 135
x = Value(1.0)
backward_in_order(doubled(x, 40), 1.0)
print(f"40 doublings: x.grad = {x.grad:,.0f}, which is 2 ** 40: {x.grad == 2**40}")
assert x.grad == 2**40

# %% [markdown]
# An instant has replaced twenty-five days, and the sum over a million million paths is exact. This is
# *reverse-mode automatic differentiation*, or back-propagation: the sum over all paths, regrouped so that what
# they share is computed once. However many leaves there are, one walk finds the gradients of all.
#
# A chain of 10,000 ops is no problem for this walk. The program that calls itself fails on it.

# %%
x = y = Value(1.0)
for _ in range(10_000):
    y = add(y, Value(0.0))
backward_in_order(y, 1.0)
assert x.grad == 1
try:
    backward_by_paths(y, 1.0)
    raise AssertionError("recursion should have failed")
except RecursionError:
    print(f"with a stack of its own: x.grad = {x.grad:g}\nby recursion: RecursionError")

# %% [markdown]
# ### Exercise: count the visits without making them
#
# Write `count_visits(y)`: how many visits `backward_by_paths` would make from `y`. One loop in topological order
# is enough. (Think of `backward_in_order` with every local derivative 1.)


# %%
def count_visits(y):
    """Return the number of visits that backward_by_paths(y, dy) would make."""
    raise NotImplementedError


# %%
def check_count_visits():
    draw = np.random.default_rng(SEED)
    assert count_visits(Value(1.0)) == 1, "a leaf is one visit"
    assert count_visits(doubled(Value(1.0), 40)) == 2**41 - 1, (
        "40 doublings double the visits 40 times"
    )
    values = [Value(1.0)]
    for _ in range(12):
        values.append(add(*(values[i] for i in draw.integers(0, len(values), 2))))
    for value in values:
        assert count_visits(value) == backward_by_paths(value, 1.0), (
            "it counts other visits than backward_by_paths makes"
        )


attempt(check_count_visits)


# %% tags=["solution"]
def count_visits(y):
    """Return the number of visits that backward_by_paths(y, dy) would make."""
    visits = {id(y): 1}
    for value in topological_order(y):
        for parent in value.parents:
            visits[id(parent)] = visits.get(id(parent), 0) + visits[id(value)]
    return sum(visits.values())


# %% [markdown]
# ## 4. Used twice: add, and do not share
#
# `backward_in_order` says `parent.grad = parent.grad + gradient`, which makes a new array each time. That looks
# wasteful: why not keep the first gradient that arrives, and add later ones into it with `+=`?


# %%
def backward_in_place(y, dy):
    """Walk as before, but keep the first gradient that arrives and add the others into it."""
    gradients = {id(y): dy}
    for value in topological_order(y):
        value.grad = gradients[id(value)]
        for parent, gradient in zip(value.parents, value.rule(value.grad)):
            if id(parent) in gradients:
                gradients[id(parent)] += gradient
            else:
                gradients[id(parent)] = gradient


# %% [markdown]
# **Predict.** Let $y = (a + b) + a$. The gradients are $\mathrm{da} = 2\,\mathrm{dy}$ and
# $\mathrm{db} = \mathrm{dy}$. The new walk gets one of them wrong. Which one, and why? (What does the rule of
# `add` return?)
#
# <details><summary>Answer</summary>
#
# `db`. The rule of `add` returns `dy` itself for both inputs, the *same array* twice. So $a + b$, $a$ and then $b$
# all hold one array, and when the second gradient for $a$ is added into it, it doubles for all of them.
#
# </details>

# %%
a, b = Value([1.0]), Value([1.0])
y = add(add(a, b), a)
for walk in (backward_in_order, backward_in_place):
    walk(y, np.ones(1))
    print(f"{walk.__name__:18} da = {a.grad[0]:g}, db = {b.grad[0]:g}")
assert a.grad == 2 and b.grad == 2  # in place: db should be 1

# %% [markdown]
# Two values must not share an array that either of them may change. The bug is nasty because most graphs hide it:
# it shows only where a rule hands out one array twice *and* a receiver is used again. duonet's tape adds into new
# arrays for the same reason.
#
# ## 5. Broadcast forwards, sum backwards
#
# A layer adds a bias $b$ of shape $(C)$ to an array $x$ of shape $(N, C)$, and NumPy *broadcasts* $b$: it behaves
# as if every row had a copy of its own. The upstream gradient has the shape of the result, $(N, C)$, but `db` must
# have the shape of $b$.
#
# **Predict.** Let $x$ be $(4, 3)$, $b$ be $(3)$, and $L$ the sum of all twelve numbers of $y = x + b$. What is
# `db`?
#
# <details><summary>Answer</summary>
#
# Every $b_c$ was used four times, once a row, so four paths lead from $b_c$ to $L$, each with the product 1.
# Gradients add over paths: `db` is $(4, 4, 4)$. For any upstream gradient it is `dy.sum(axis=0)`.
#
# </details>
#
# So the gradient of a broadcast is a sum: over the axes that were put in front, and over those that were stretched
# from length 1. This is the same for every op, so it belongs in the walk, once, and not in the rules.


# %%
def unbroadcast(gradient, shape):
    """Sum a gradient over the axes along which an array of this shape was broadcast."""
    in_front = gradient.ndim - len(shape)
    gradient = gradient.sum(
        axis=tuple(range(in_front))
    )  # over no axis, where the tuple is empty
    stretched = tuple(i for i, n in enumerate(shape) if n == 1 and gradient.shape[i] != 1)
    return gradient.sum(axis=stretched, keepdims=True)


def backward(y, dy):
    """Set the gradient of y, which is dy, and of every value below it: one visit each."""
    order = topological_order(y)
    for value in order:
        value.grad = np.zeros_like(value.data)
    y.grad = y.grad + dy
    for value in order:
        for parent, gradient in zip(value.parents, value.rule(value.grad)):
            parent.grad = parent.grad + unbroadcast(np.asarray(gradient), parent.data.shape)


# %% [markdown]
# Try it on both kinds at once: a row $(3)$, which gets an axis in front, and a column $(4, 1)$, which is
# stretched.

# %%
rng = np.random.default_rng([SEED, 5])  # this section's own, so that it can run again
x, row, column = Value(np.zeros((4, 3))), Value(np.zeros(3)), Value(np.zeros((4, 1)))
upstream = rng.standard_normal((4, 3))
backward(add(add(x, row), column), upstream)
assert np.array_equal(x.grad, upstream)
assert np.allclose(row.grad, upstream.sum(axis=0))
assert np.allclose(column.grad, upstream.sum(axis=1, keepdims=True))
backward(add(x, row), np.ones((4, 3)))
print("the gradient of a row added to four rows:", row.grad)
assert (row.grad == 4).all()

# %% [markdown]
# Without `unbroadcast` the gradient of the row would have had the shape $(4, 3)$, and a step of gradient descent,
# `row - 0.1 * gradient`, would have turned three numbers into a $(4, 3)$ array: by broadcasting, without a word.
#
# Three more ops and the engine can train a network. For the matrix product $y = x\,w$, with $x\,(N, C)$ and
# $w\,(C, K)$, the rule in indices is
#
# $$y_{nk} = \sum_c x_{nc}\,w_{ck} \quad\Longrightarrow\quad
# \mathrm{dx}_{nc} = \sum_k \mathrm{dy}_{nk}\,w_{ck}, \qquad \mathrm{dw}_{ck} = \sum_n x_{nc}\,\mathrm{dy}_{nk} ,$$
#
# which are matrix products again: $\mathrm{dx} = \mathrm{dy}\,w^\top$ and $\mathrm{dw} = x^\top \mathrm{dy}$.


# %%
def matmul(x, w):
    """y = x w.   dx = dy wᵀ, dw = xᵀ dy."""
    return Value(x.data @ w.data, (x, w), lambda dy: (dy @ w.data.T, x.data.T @ dy))


def tanh(x):
    """y = tanh x.   dx = dy (1 - y²)."""
    y = np.tanh(x.data)
    return Value(y, (x,), lambda dy: (dy * (1 - y**2),))


def total(x):
    """y = Σ x.   dx = dy, for every element."""
    return Value(x.data.sum(), (x,), lambda dy: (np.full(x.data.shape, dy),))


# %% [markdown]
# `tanh` remembers its *output*, in terms of which the rule is cheap. And `total` is broadcasting seen from the
# other side: a sum forwards is a copy backwards, as a copy forwards was a sum backwards.
#
# ### Exercise: the mean over a batch
#
# Write `batch_mean`, $y_c = \frac{1}{N} \sum_n x_{nc}$, which takes $(N, C)$ to $(C)$. What does one element of
# $x$ get?


# %%
def batch_mean(x):
    """y = mean of x over its first axis, with its rule; dx has the shape of x."""
    raise NotImplementedError


# %%
def check_batch_mean():
    draw = np.random.default_rng(SEED)
    x, dy = draw.standard_normal((4, 3)), draw.standard_normal(3)
    parent = Value(x)
    y = batch_mean(parent)
    assert np.allclose(y.data, x.mean(axis=0)), "the mean over the batch, axis 0"
    right = tuple(y.parents) == (parent,)
    assert right, "the only parent is x"
    (dx,) = y.rule(dy)
    assert dx.shape == (4, 3), "dx must have the shape of x"
    assert np.allclose(dx, [[dy[c] / 4 for c in range(3)] for n in range(4)]), (
        "every sample gets dy / N"
    )


attempt(check_batch_mean)


# %% tags=["solution"]
def batch_mean(x):
    """y = mean of x over its first axis.   dx = dy / N, for every row."""
    n = len(x.data)
    return Value(
        x.data.mean(axis=0), (x,), lambda dy: (np.broadcast_to(dy / n, x.data.shape),)
    )


# %% [markdown]
# ## 6. Draw the graph
#
# duonet's engine is the engine that you have just written, with error messages and a GPU. Its `Tensor` is our
# `Value`; leaves say `requires_grad=True`; common ops are operators, as in `x @ w + b`. Here is one small network
# in both, with a random upstream gradient:

# %%
import duonet.functional as F

rng = np.random.default_rng([SEED, 6])  # this section's own, so that it can run again
shapes = {"x": (5, 3), "w": (3, 4), "b": (4,), "v": (4, 2)}
arrays = {name: rng.standard_normal(shape) for name, shape in shapes.items()}
dy = rng.standard_normal((5, 2))

ours = {name: Value(array) for name, array in arrays.items()}
backward(matmul(tanh(add(matmul(ours["x"], ours["w"]), ours["b"])), ours["v"]), dy)

theirs = {name: Tensor(array, requires_grad=True) for name, array in arrays.items()}
y = F.tanh(theirs["x"] @ theirs["w"] + theirs["b"]) @ theirs["v"]
y.backward(dy)
for name in shapes:
    assert np.allclose(ours[name].grad, theirs[name].grad, rtol=1e-12, atol=1e-13), name
print("all four gradients agree, to 12 digits")

# %% [markdown]
# What do the ops leave behind? `duonet.viz` lists and draws the graph of a tensor. It must be asked *before* the
# walk back, because `backward` frees the arrays that an op remembered as soon as it has used them. Here we ask
# too late:

# %%
from duonet.viz import graph_mermaid, graph_text

try:
    graph_text(y)
except RuntimeError as error:
    print(error)

# %% [markdown]
# So compute it again. Each line is an op or a leaf; it comes after the lines it needs, whose numbers are in
# brackets.


# %%
def network(x, w, b, v):
    """Compute tanh(x w + b) v."""
    return F.tanh(x @ w + b) @ v


y = network(**theirs)
text = graph_text(y, names=theirs)
print(text)
words = "x w matmul(1,2) b add(3,4) tanh(5) v matmul(6,7)"
assert [line.split()[1] for line in text.splitlines()] == words.split()

# %% [markdown]
# From the bottom up, the list is a topological order. Here is the same graph as source for
# [Mermaid](https://mermaid.js.org), which GitHub draws if a code block is marked `mermaid`:

# %%
source = graph_mermaid(y, names=theirs)
print(source)
assert source.count("-->") == 7

# %% [markdown]
# Seven arrows: the four leaves and all ops but the last are each used once. Every op here is marked *exact*: its
# rule is the derivative of its forward pass. This course is about ops that are not.
#
# A *quantiser*, or *staircase*, takes few values. The *ternary* one is 0 below ¼, ½ from there on, and 1 from ¾
# on. Its derivative is zero wherever it exists, so by the chain rule no gradient gets through, and nothing in
# front of it learns. The usual way out is to use the derivative of another function, a *surrogate*, in the
# backward pass:
#
# $$y = \mathrm{staircase}(x), \qquad \mathrm{dx} = \mathrm{dy} \cdot \mathrm{surrogate}'(x) .$$
#
# With `Clip(0, 1)` the surrogate is $\min(\max(x, 0), 1)$, whose slope is 1 between 0 and 1 and 0 elsewhere. Put
# it in the place of tanh:


# %%
# alt: Two graphs of small networks. All ops of the left one have exact backward passes; in the
#      right one a quantiser stands in the place of tanh and is marked as a surrogate.
def quantised_network(x, w, b, v):
    """Compute quantize(x w + b) v, with a staircase where `network` has tanh."""
    return quantize(x @ w + b, Ternary(), Clip(0, 1)) @ v


figure, panels = plt.subplots(1, 2, figsize=(9, 5.5), layout="constrained")
for axes, build in zip(panels, (network, quantised_network)):
    plot_graph(build(**theirs), axes=axes, names=theirs)
    axes.set_title(build.__name__.replace("_", " "))
plt.show()
kinds = [line.split()[-1] for line in graph_text(quantised_network(**theirs)).splitlines()]
assert kinds.count("surrogate") == 1 and kinds.count("leaf") == 4

# %% [markdown]
# One box differs. All that lies *above* it in the picture, `x`, `w` and `b`, gets its gradient through the
# surrogate: from there on the walk carries something that is not the derivative of the loss. `v` does not lie
# above it, and its gradient is exact.
#
# **Predict.** Add one more leaf, `quantize(x @ w + b, ...) @ v + x @ u`. Which leaves get exact gradients?
#
# <details><summary>Answer</summary>
#
# `v` and `u`. `w` and `b` lie behind the quantiser. `x` is reached on two paths, and the sum of an exact and a
# surrogate contribution is not the derivative either.
#
# </details>
#
# So for `v` the formula of the matrix product holds unchanged: $\mathrm{dv} = q^\top \mathrm{dy}$, where $q$ is
# the output of the quantiser. The next cell checks this. The quantiser puts out no ½ there, because none of its
# 20 inputs lies between ¼ and ¾.
#
# **Change this.** Halve these inputs: write `(x @ w + b) / 2` for `x @ w + b` in `quantised_network`, and do the
# same in the next cell. Which values does the quantiser put out now?
#
# <details><summary>Answer</summary>
#
# 0, ½ and 1, because some of the halved inputs lie between ¼ and ¾. The assertion still holds.
#
# </details>

# %%
y = quantised_network(**theirs)
theirs["v"].zero_grad()  # a leaf of duonet's adds up gradients until told to forget
y.backward(dy)
q = quantize(theirs["x"] @ theirs["w"] + theirs["b"], Ternary(), Clip(0, 1)).data
print("values that the quantiser puts out:", np.unique(q))
assert q.size == 20 and np.allclose(theirs["v"].grad, q.T @ dy)

# %% [markdown]
# ## 7. Slopes by central differences
#
# How do we know that a rule is right? By comparing with something that does not use rules: move an input and look,
#
# $$f'(x) \approx \frac{f(x + h) - f(x - h)}{2h} .$$
#
# Taylor's formula gives the error. In this *central* quotient the second derivative cancels, and
# $\tfrac{1}{6} h^2 f'''(x)$ is left. In the *one-sided* quotient $(f(x + h) - f(x)) / h$ it does not, and the
# error is about $\tfrac{1}{2} h f''(x)$. Both say: make $h$ small.
#
# **Predict.** Then why not $h = 10^{-14}$?
#
# <details><summary>Answer</summary>
#
# Because $f(x + h)$ and $f(x - h)$ are rounded to about 16 digits, and with such an $h$ they agree in nearly all
# of them. The difference of two rounded numbers is off by about $\varepsilon\,|f|$, with
# $\varepsilon \approx 10^{-16}$, and dividing by $2h$ makes that about $\varepsilon\,|f| / h$. A small $h$ makes
# one error small and the other large.
#
# </details>
#
# We look at both errors for $f(x) = e^{\sin x}$, whose slope $\cos x\, e^{\sin x}$ we know, at 200 random points
# between ½ and 1½. (`points`, and the list `steps` of all $h$, come from the cell of the figure at the top.)


# %%
def quotient_error(h, dtype, one_sided=False):
    """Return the root mean square error of a quotient of exp(sin x), in this dtype."""
    x, h = points.astype(dtype), dtype(h)
    right, left = x + h, x if one_sided else x - h
    quotient = (np.exp(np.sin(right)) - np.exp(np.sin(left))) / (h if one_sided else 2 * h)
    slope = np.cos(points) * np.exp(np.sin(points))
    return np.sqrt(np.mean((quotient - slope) ** 2))


curves = {
    "one-sided, float64": [quotient_error(h, np.float64, one_sided=True) for h in steps],
    "central, float64": [quotient_error(h, np.float64) for h in steps],
    "central, float32": [quotient_error(h, np.float32) for h in steps],
}

# %% [markdown]
# With both axes logarithmic, a power of $h$ is a straight line, and the power its slope.

# %%
# alt: Error of a difference quotient against its step, on logarithmic axes: three V-shaped
#      curves. The central quotient in float64 is best near a step of one hundred-thousandth;
#      float32 stays far worse.
figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
for (name, curve), style, color in zip(
    curves.items(), (":", "-", "--"), ("#5d8a3a", "#123a6b", "#b2500f")
):
    axes.loglog(steps, curve, style, color=color, linewidth=2, label=name)
axes.axvline(1e-5, color="0.7", linewidth=1)
axes.annotate(" h = 10⁻⁵", (1e-5, 3e-12), color="0.4")
axes.set(xlabel="step h", ylabel="error of the slope", ylim=(1e-12, 30))
axes.legend(frameon=False, loc="lower left")
plt.show()
one_sided, central, central32 = curves.values()
assert 1e-6 < steps[np.argmin(central)] < 1e-4 and min(central) < 1e-9
assert 1e-10 < min(one_sided) < 1e-7 and min(central32) > 1e-6

# %% [markdown]
# Every curve is a V. On the right is the quotient's own error, which falls as $h$ or as $h^2$; on the left is
# rounding, which rises as $1/h$. (The dashed curve turns flat where $x \pm h$ is $x$: the quotient is 0 and the
# error the slope itself.) The central quotient in float64 is best near $h = 10^{-5}$, and that is no accident: the
# sum of both errors, $\tfrac{1}{6} h^2 |f'''| + \varepsilon |f| / h$, is smallest where
# $h^3 = 3\,\varepsilon\,|f| / |f'''|$. For a function with $|f|$ and $|f'''|$ of one size, and
# $\varepsilon = 1.1 \cdot 10^{-16}$, half the distance from 1 to the next number:

# %%
half_spacing = np.finfo(np.float64).eps / 2
print(f"best h, by the formula: {(3 * half_spacing) ** (1 / 3):.1e}")
assert 6e-6 < (3 * half_spacing) ** (1 / 3) < 8e-6
error64, error32 = quotient_error(1e-5, np.float64), quotient_error(1e-5, np.float32)
print(f"error at h = 1e-5: {error64:.0e} in float64, {error32:.0e} in float32")
assert error64 < 1e-9 and 1e-3 < error32 < 0.05

# %% [markdown]
# At $h = 10^{-5}$ more than nine digits are good in float64, and about two in float32. Gradient checks are done in
# float64.
#
# ### Exercise: cancel once more
#
# Call the central quotient $D(h) = f'(x) + \tfrac{1}{6} h^2 f'''(x) + O(h^4)$. What is $D(2h)$? Combine the two so
# that the term with $h^2$ goes away, and write it as `extrapolated`. (This is *Richardson extrapolation*. The
# check makes $h$ half as large and expects a sixteenth of the error.)


# %%
def extrapolated(f, x, h):
    """Return the slope of f at x from four values of f, up to an error of order h⁴."""
    raise NotImplementedError


# %%
def check_extrapolated():
    draw = np.random.default_rng(SEED)
    x = draw.uniform(-1, 1, 5)
    for f, slope in ((np.exp, np.exp(x)), (np.sin, np.cos(x))):
        coarse, fine = (np.abs(extrapolated(f, x, h) - slope) for h in (0.04, 0.02))
        assert (coarse < 1e-5).all(), "not the slope, or not as good as it should be"
        assert np.allclose(coarse / fine, 16, rtol=0.05), (
            "half the step should have a sixteenth of the error"
        )


attempt(check_extrapolated)


# %% tags=["solution"]
def extrapolated(f, x, h):
    """Return the slope of f at x: D(2h) has four times the error of D(h)."""
    near, far = ((f(x + k * h) - f(x - k * h)) / (2 * k * h) for k in (1, 2))
    return (4 * near - far) / 3


# %% [markdown]
# For an array, move one element at a time. The op's result is an array too; we make one number of it by choosing
# an upstream gradient `dy` and taking $L = \sum \mathrm{dy} \cdot y$, because the gradient of this $L$ with
# respect to $y$ is just `dy`.


# %%
def difference_quotients(f, x, dy, h=1e-5):
    """Slopes of L(x) = Σ dy f(x), by central differences, one element of x at a time."""
    slopes = np.zeros_like(x)
    for index in np.ndindex(x.shape):
        step = np.zeros_like(x)
        step[index] = h
        slopes[index] = ((dy * f(x + step)).sum() - (dy * f(x - step)).sum()) / (2 * h)
    return slopes


def of_w(w):
    """Compute the network's output as a function of its first weights alone."""
    return np.tanh(arrays["x"] @ w + arrays["b"]) @ arrays["v"]


slopes = difference_quotients(of_w, arrays["w"], dy)
agree = np.allclose(slopes, ours["w"].grad, rtol=0, atol=1e-8)
print(f"{slopes.size} slopes; all within 1e-8 of backward's: {agree}")
assert agree

# %% [markdown]
# Here the engine is right. The package has the same loop, for functions of tensors:

# %%
from duonet import numerical_gradient

x = arrays["x"]
(library,) = numerical_gradient(F.tanh, x, dy=x, step=1e-5)
agree = np.allclose(difference_quotients(np.tanh, x, x), library, rtol=0, atol=1e-9)
print("within 1e-9 of ours:", agree)
assert agree

# %% [markdown]
# This check costs two forward passes for every number of the input, while `backward` needs one walk for all of
# them. The check is good for small arrays, and no way to train.
#
# A check can be cheaper. Move the whole array at once, along a random direction $r$ of length 1: the slope of $L$
# along $r$ must be $\sum \mathrm{dx} \cdot r$. Two forward passes, and if `dx` is wrong in any element, the two
# numbers differ almost surely.

# %%
rng = np.random.default_rng([SEED, 7])  # this section's own, so that it can run again
w, dw, h = arrays["w"], ours["w"].grad, 1e-5
r = rng.standard_normal(w.shape)
r /= np.linalg.norm(r)
slope = ((dy * of_w(w + h * r)).sum() - (dy * of_w(w - h * r)).sum()) / (2 * h)
spoilt = dw.copy()
spoilt.flat[np.abs(dw).argmax()] *= 1.01
print(
    f"along r: {slope:.6f};  backward: {(dw * r).sum():.6f};  "
    f"one element 1 % off: {(spoilt * r).sum():.6f}"
)
assert abs(slope - (dw * r).sum()) < 1e-8 < 1e-5 < abs(slope - (spoilt * r).sum())

# %% [markdown]
# ## 8. An op of your own
#
# In duonet an op is a `Function` with two static methods. `forward(ctx, ...)` gets raw arrays and returns one;
# what the backward pass needs, it writes on `ctx`, in plain sight. `backward(ctx, dy)` returns one gradient for
# each input. The tape does the rest: the order, the sums, `unbroadcast`. Here is $y = \ln(1 + e^x)$, called
# *softplus*, whose slope is $1 / (1 + e^{-x})$.

# %%
from duonet import Function, check_gradients
from duonet.gradcheck import GradientError


class Softplus(Function):
    """y = ln(1 + e^x).   dx = dy / (1 + e^-x)."""

    @staticmethod
    def forward(ctx, x):
        ctx.x = x
        return np.logaddexp(0, x)

    @staticmethod
    def backward(ctx, dy):
        return dy / (1 + np.exp(-ctx.x))


rng = np.random.default_rng([SEED, 8])  # this section's own, so that it can run again
check_gradients(Softplus.apply, rng.standard_normal((3, 4)))

# %% [markdown]
# No news is good news: `check_gradients` raises an error or says nothing. It draws a random upstream gradient,
# takes the slope along two random directions with $h = 10^{-5}$, and asks for agreement to six digits.
#
# What does it say when a sign is lost?


# %%
class WrongSoftplus(Softplus):
    """Softplus with e^x for e^-x in the backward pass."""

    @staticmethod
    def backward(ctx, dy):
        return dy / (1 + np.exp(ctx.x))


try:
    check_gradients(WrongSoftplus.apply, np.array([-1.0, 0.0, 2.0]))
    raise AssertionError("the wrong gradient should have been refused")
except GradientError as error:
    print(error)
    assert "index" in str(error)

# %% [markdown]
# First the slope that gave it away, then every element, worst first. At $x = 0$ the difference is only rounding:
# there $e^x = e^{-x}$, and the wrong rule is right. Remember this exception.
#
# ### Exercise: swish
#
# Write *swish*, $y = x\,\sigma(x)$ with $\sigma(x) = 1 / (1 + e^{-x})$, as a `Function`. You may use
# $\sigma' = \sigma\,(1 - \sigma)$. Choose what `ctx` remembers.


# %%
class Swish(Function):
    """y = x s(x), with s(x) = 1 / (1 + e^-x)."""

    @staticmethod
    def forward(ctx, x):
        raise NotImplementedError

    @staticmethod
    def backward(ctx, dy):
        raise NotImplementedError


# %%
def check_swish():
    draw = np.random.default_rng(SEED)
    x = draw.standard_normal((3, 4))
    assert np.allclose(Swish.apply(Tensor(x)).data, x / (1 + np.exp(-x))), (
        "the value is x / (1 + exp(-x))"
    )
    check_gradients(Swish.apply, x)


attempt(check_swish)


# %% tags=["solution"]
class Swish(Function):
    """y = x s(x), with s(x) = 1 / (1 + e^-x).   dx = dy (s + x s (1 - s))."""

    @staticmethod
    def forward(ctx, x):
        ctx.x, ctx.s = x, 1 / (1 + np.exp(-x))
        return ctx.x * ctx.s

    @staticmethod
    def backward(ctx, dy):
        return dy * (ctx.s + ctx.x * ctx.s * (1 - ctx.s))


# %% [markdown]
# ## 9. Checks that cannot fail
#
# A check that passes tells you something only if it would have failed had the rule been wrong. Here is a check as
# one might write it in a hurry: sum the output, call `backward`, compare with difference quotients. It looks
# reasonable.


# %%
def careless_check(op, x, tolerance=1e-4):
    """Say whether the backward pass of op(x).sum() agrees with difference quotients."""
    leaf = Tensor(x, requires_grad=True)
    y = op(leaf)
    y.sum().backward()
    slopes = difference_quotients(lambda x: op(Tensor(x)).data, x, np.ones_like(y.data))
    return np.allclose(leaf.grad, slopes, rtol=tolerance, atol=tolerance)


# %% [markdown]
# Beside it we put `check_gradients`, and print the messages of both.


# %%
def verdict(op, x):
    """Return the first line of what check_gradients says of an op at x, or "accepted"."""
    try:
        check_gradients(op, x)
    except (AssertionError, TypeError) as error:
        return f"{type(error).__name__}: {error}".splitlines()[0]
    return "accepted"


def ask_both(op, x, tolerance=1e-4):
    """Print and return whether the careless check accepts an op, and the other's verdict."""
    careless, said = careless_check(op, x, tolerance), verdict(op, x)
    print(f"careless check:  {'accepted' if careless else 'refused'}\ncheck_gradients: {said}")
    return careless, said


rng = np.random.default_rng([SEED, 9])  # this section's own, so that it can run again
right_and_wrong = [
    ask_both(op, rng.standard_normal(5)) for op in (Softplus.apply, WrongSoftplus.apply)
]
assert [careless for careless, _ in right_and_wrong] == [True, False]


# %% [markdown]
# Both accept the right softplus and refuse the wrong one, at random inputs. Now six wrong backward passes that the
# careless check accepts.
#
# **Predict.** The first wrong rule, for $y = e^x$, forgets the upstream gradient: it returns $e^x$ where
# $\mathrm{dy}\,e^x$ is right. Why does the careless check not notice?
#
# <details><summary>Answer</summary>
#
# The gradient of `y.sum()` with respect to `y` is an array of ones. With `dy` all ones, forgetting `dy` changes
# nothing.
#
# </details>

# %%
from duonet.functional.arithmetic import Exp


class ForgetsUpstream(Exp):
    """y = e^x, with dx = e^x."""

    @staticmethod
    def backward(ctx, dy):
        return ctx.y


x = rng.standard_normal(5)
careless, said = ask_both(ForgetsUpstream.apply, x)
assert careless and said.startswith("GradientError")

# %% [markdown]
# An upstream gradient of ones has a second trap. The *softmax* $y_i = e^{x_i} / \sum_j e^{x_j}$ adds up to 1
# whatever $x$ is, so the gradient of `y.sum()` is zero, and the laziest rule of all passes:


# %%
class LazySoftmax(Function):
    """y = softmax of x, with dx = 0."""

    @staticmethod
    def forward(ctx, x):
        return np.exp(x) / np.exp(x).sum()

    @staticmethod
    def backward(ctx, dy):
        return 0 * dy


careless, said = ask_both(LazySoftmax.apply, x)
assert careless and said.startswith("GradientError")

# %% [markdown]
# A random upstream gradient reveals both mistakes. It does not reveal the next one. A rule for $y = \max(x, 0)$,
# the *ReLU*, that always returns zero is right wherever $x$ is negative. If all test inputs are negative, the
# check compares two zeros, which cannot disagree. `check_gradients` refuses to call this a pass:

# %%
from duonet.functional.activation import ReLU


class NoGradient(ReLU):
    """y = max(x, 0), with dx = 0."""

    @staticmethod
    def backward(ctx, dy):
        return 0 * dy


negative = -rng.uniform(1, 2, 5)
careless, said = ask_both(NoGradient.apply, negative)
assert careless and "this check cannot fail" in said

# %% [markdown]
# **Predict.** At $x = 0$ the ReLU has a *kink*: slope 0 on the left, 1 on the right. What does a central
# difference say there? Which wrong rule does that let pass, in a test whose input is an array of zeros?
#
# <details><summary>Answer</summary>
#
# $(\max(h, 0) - \max(-h, 0)) / 2h = \tfrac{1}{2}$, for every $h$. So a rule
# $\mathrm{dx} = \tfrac{1}{2}\mathrm{dy}$, wrong everywhere else, passes, and the usual right one, which takes 0 at
# the kink, does not.
#
# </details>


# %%
class HalfSlope(ReLU):
    """y = max(x, 0), with dx = dy / 2."""

    @staticmethod
    def backward(ctx, dy):
        return dy / 2


zeros = np.zeros(3)
careless, said = ask_both(HalfSlope.apply, zeros)
assert careless and not careless_check(F.relu, zeros)
assert said.startswith("NonDifferentiablePoint")

# %% [markdown]
# At a kink there is no gradient to compare with, and `check_gradients` says where the kink is instead of taking
# sides. (The slopes in its message are the slopes of the loss: a random upstream gradient multiplies them.)
#
# In float32 even the right rule fails the careless check, because the quotients have two good digits. The hurried
# remedy is a larger tolerance, and then a rule that is 2 % off passes.


# %%
class TooSteep(Exp):
    """y = e^x, with dx = 1.02 dy e^x."""

    @staticmethod
    def backward(ctx, dy):
        return 1.02 * Exp.backward(ctx, dy)


single = x.astype(np.float32)
print("the right rule, at tolerance 1e-4, is accepted:", careless_check(F.exp, single))
careless, said = ask_both(TooSteep.apply, single, tolerance=0.2)
assert careless and not careless_check(F.exp, single)
assert said.startswith("TypeError") and verdict(TooSteep.apply, x).startswith("GradientError")

# %% [markdown]
# Remember the sixth mistake, because no check can find it. Only another input can. Take $y = x^2$ with the rule
# $\mathrm{dx} = 2\,\mathrm{dy}$, where the factor $x$ was lost. The test input is `np.ones(3)`, as in so many
# tests.


# %%
class LostFactor(Function):
    """y = x², with dx = 2 dy."""

    @staticmethod
    def forward(ctx, x):
        return x**2

    @staticmethod
    def backward(ctx, dy):
        return 2 * dy


assert ask_both(LostFactor.apply, np.ones(3)) == (True, "accepted")
careless, said = ask_both(LostFactor.apply, rng.standard_normal(3))
assert not careless and said.startswith("GradientError")

# %% [markdown]
# At ones even `check_gradients` accepts it, and it is right to: *at that point* the gradient is $2\,\mathrm{dy}$.
# A check speaks about the inputs you give it. So give it random ones, of both signs, in shapes where no two axes
# are equal. All six together:

# %%
cases = {
    ForgetsUpstream: x,
    LazySoftmax: x,
    NoGradient: negative,
    HalfSlope: zeros,
    TooSteep: single,
    LostFactor: np.ones(3),
}
print(
    f"{'wrong rule':16} {'careless':>9} "
    f"{'check_gradients, same input':>28} {'random input':>16}"
)
for op, careless_input in cases.items():
    careless = careless_check(op.apply, careless_input, 0.2 if op is TooSteep else 1e-4)
    same, random = (
        verdict(op.apply, at).split(":")[0] for at in (careless_input, rng.standard_normal(5))
    )
    print(
        f"{op.__name__:16} {'accepted' if careless else 'refused':>9} {same:>28} {random:>16}"
    )
    assert (
        careless and random == "GradientError" and (same == "accepted") == (op is LostFactor)
    )

# %% [markdown]
# ### Exercise: write a check that none of them passes
#
# Write `careful_check(forward, backward, n)` on raw arrays: `forward(x)` takes $n$ numbers to $n$ numbers,
# `backward(x, dy)` returns `dx`. It returns True or False. The test gives it right rules, some of them not
# elementwise, and wrong ones.


# %%
def careful_check(forward, backward, n):
    """Say whether backward(x, dy) is the gradient of Σ dy · forward(x), for n elements."""
    raise NotImplementedError


# %%
def check_careful_check():
    pairs = {
        "exp": (np.exp, lambda x, dy: dy * np.exp(x)),
        "cumsum": (np.cumsum, lambda x, dy: dy[::-1].cumsum()[::-1]),
        "exp, upstream ignored": (np.exp, lambda x, dy: np.exp(x)),
        "exp, zero": (np.exp, lambda x, dy: 0 * dy),
        "exp, 0.1 % off": (np.exp, lambda x, dy: 1.001 * dy * np.exp(x)),
        "square, right at 1": (np.square, lambda x, dy: 2 * dy),
        "cumsum, not reversed": (np.cumsum, lambda x, dy: dy.cumsum()),
    }
    for name, (forward, backward) in pairs.items():
        assert bool(careful_check(forward, backward, 6)) == (name in ("exp", "cumsum")), (
            f"the rule of {name}"
        )


attempt(check_careful_check)


# %% tags=["solution"]
def careful_check(forward, backward, n):
    """Say whether backward(x, dy) is the gradient of Σ dy · forward(x), for n elements."""
    (x, dy, r), h = np.random.default_rng(SEED).standard_normal((3, n)), 1e-5
    slope = (dy @ forward(x + h * r) - dy @ forward(x - h * r)) / (2 * h)
    return abs(backward(x, dy) @ r - slope) < 1e-6 * abs(slope) + 1e-8


# %% [markdown]
# ## 10. The gradient that no check can match
#
# **Predict.** What will `check_gradients` say to the ternary quantiser of Section 6, at inputs away from its
# thresholds?
#
# <details><summary>Answer</summary>
#
# The slope of a staircase is zero there, and `backward` says 1 between 0 and 1. An honest check must refuse; this
# one recognises the op and says why.
#
# </details>

# %%
x = np.array([-0.4, 0.1, 0.4, 0.9, 1.3])


def ternary(x):
    """Quantise to 0, ½ and 1, with the clip's derivative backwards."""
    return quantize(x, Ternary(), Clip(0, 1))


leaf = Tensor(x, requires_grad=True)
ternary(leaf).sum().backward()
(numerical,) = numerical_gradient(ternary, x)
print(f"backward:  {leaf.grad}\nnumerical: {numerical}\n\n{verdict(ternary, x)}")
assert np.array_equal(leaf.grad, [0, 1, 1, 1, 0]) and not numerical.any()
assert verdict(ternary, x).startswith("SurrogateGradient")

# %% [markdown]
# This failure is no bug. The backward pass of a quantised op is not the derivative of its forward pass, *on
# purpose*; the resulting gradient is called *coarse*, and its distance from the truth *gradient mismatch*. What
# can still be checked is that the code multiplies by the surrogate's derivative as it should. With
# `against="surrogate"` the surrogate stands in for the staircase forwards as well; the op is then an ordinary one,
# and the check passes.

# %%
check_gradients(ternary, x, against="surrogate")
print("passed")

# %% [markdown]
# How did `check_gradients` recognise the op? It looked through the graph, as `graph_text` does, for an op that
# says `exact = False`. That is a declaration, which an op can forget:


# %%
class Undeclared(Function):
    """y = 1 from ½ on, else 0; dx = dy between 0 and 1, a surrogate's, but `exact` is True."""

    @staticmethod
    def forward(ctx, x):
        ctx.inside = (x > 0) & (x < 1)
        return np.where(x >= 0.5, 1.0, 0.0)

    @staticmethod
    def backward(ctx, dy):
        return dy * ctx.inside


print(f"{graph_text(Undeclared.apply(leaf))}\n\n{verdict(Undeclared.apply, x)}")
assert verdict(Undeclared.apply, x).startswith("GradientError")

# %% [markdown]
# The drawing believes the declaration, and the check does not: it finds an ordinary wrong gradient, with slope 0
# forwards. Write `exact = False` into the class, and both say *surrogate*.

# %% [markdown]
# Both functions and both slopes in one picture, the staircase solid, the surrogate dashed:

# %%
# alt: Above, the ternary staircase and the clip through its steps. Below, their slopes: zero
#      for the staircase, one between 0 and 1 for the clip.
grid = np.linspace(-0.6, 1.6, 881)
leaf = Tensor(grid, requires_grad=True)
quantised = ternary(leaf)
quantised.backward(np.ones_like(grid))
figure, (above, below) = plt.subplots(
    2, 1, figsize=(7, 4.6), sharex=True, layout="constrained"
)
above.plot(grid, quantised.data, color="#123a6b", linewidth=2, label="forwards: staircase")
above.plot(
    grid, np.clip(grid, 0, 1), "--", color="#b2500f", linewidth=2, label="surrogate: clip"
)
below.plot(
    grid,
    np.zeros_like(grid),
    color="#123a6b",
    linewidth=2,
    label="slope of the staircase (but at ¼ and ¾)",
)
below.plot(
    grid, leaf.grad, "--", color="#b2500f", linewidth=2, label="backwards: slope of the clip"
)
above.set(ylabel="y")
below.set(xlabel="x", ylabel="dx, for dy = 1", ylim=(-0.1, 1.6))
above.legend(frameon=False, loc="upper left")
below.legend(frameon=False, loc="upper left", ncols=2, fontsize=9)
plt.show()

# %% [markdown]
# Is the coarse gradient then an invention? Not quite. Look at the staircase from further away: take the central
# difference with the *large* step $h = \tfrac{1}{4}$.

# %%
inside = grid[
    np.abs(grid * 4 - np.round(grid * 4)) > 1e-9
]  # not just on a threshold, moved by h
(wide,) = numerical_gradient(ternary, inside, step=0.25)
window = ((inside > 0) & (inside < 1)).astype(float)
print("wide difference of the staircase == slope of the clip:", np.array_equal(wide, window))
assert np.array_equal(wide, window)

# %% [markdown]
# For one quantiser, seen with a step of ¼, the clip's slope is exactly right: every window of width ½ with its
# centre between 0 and 1 (but for ½ itself, with a threshold at either end) holds one threshold, and there the
# staircase rises by ½. So a surrogate says what the staircase does *on a larger scale*. In a network the
# quantisers are stacked, and what follows them bends; then this no longer holds, and how wrong the coarse gradient
# is has to be measured. `duonet.mismatch` measures this, with such wide differences of the loss itself. This
# course is about gradient mismatch.
#
# ## 11. Train a network
#
# The engine is complete, and it has been checked. Now let it learn something: to tell ten kinds of clothes apart,
# in images of Fashion-MNIST, which come with the package. 1,000 images are there to learn from, and 1,000 others
# show whether the network has learned more than its own examples. An image is a row of 28 · 28 = 784 numbers. Its
# target is a row of ten numbers: 1 at the place of its class, 0 elsewhere.

# %%
from duonet.data import fashion_mini

splits = fashion_mini()
images, unseen = (
    part.images[:1000].reshape(1000, 784) / 255 for part in (splits.train, splits.validation)
)
labels, unseen_labels = splits.train.labels[:1000], splits.validation.labels[:1000]
images, unseen = images - images.mean(), unseen - images.mean()  # so that pixels lie around 0
targets = np.eye(10)[labels]
print(
    "images",
    images.shape,
    "targets",
    targets.shape,
    "images of each class",
    np.bincount(labels)[0],
)
assert (np.bincount(labels) == 100).all() and (targets.argmax(axis=1) == labels).all()

# %% [markdown]
# The network has one hidden layer of 32 units, $y = \tanh(x\,w + b)\,v + c$. The loss is the squared distance of
# $y$ from the target, as a mean over the images. Every op in it is one that you have met: `matmul`, `add`, `tanh`,
# `mul` and `total`.


# %%
def outputs(parameters, x):
    """Compute tanh(x w + b) v + c, of shape (images, 10)."""
    w, b, v, c = parameters
    return add(matmul(tanh(add(matmul(Value(x), w), b)), v), c)


def squared_distance(parameters, x, target):
    """Compute the squared distance from the target, as a mean over the images."""
    difference = add(outputs(parameters, x), Value(-target))
    return mul(total(mul(difference, difference)), Value(1 / len(x)))


def accuracy(parameters, x, labels):
    """Return the share of images whose largest output is that of their class."""
    return np.mean(outputs(parameters, x).data.argmax(axis=1) == labels)


# %% [markdown]
# **Predict.** At first $w$ and $v$ are small random numbers, and $b$ and $c$ are 0. So the outputs are nearly 0.
# What is the loss then, and what is the accuracy?
#
# <details><summary>Answer</summary>
#
# Of the ten differences nine are nearly 0, and one is nearly −1. So the loss is about 1. The network knows
# nothing, so about one guess of ten is right.
#
# </details>


# %%
def untrained(seed):
    """Draw small random weights; biases are 0."""
    rng = np.random.default_rng([SEED, seed])
    w, v = rng.normal(0, 1 / 28, (784, 32)), rng.normal(0, 0.02, (32, 10))
    return [Value(array) for array in (w, np.zeros(32), v, np.zeros(10))]


start = untrained(seed=5)
first = squared_distance(start, images, targets).data
print(f"loss {first:.2f}, accuracy {accuracy(start, images, labels):.2f}")
assert 0.9 < first < 1.2 and accuracy(start, images, labels) < 0.2

# %% [markdown]
# Training repeats four steps. Take 50 images. Compute their loss, which records the tape. Walk back. Then move
# every parameter a little against its gradient:
#
# $$w \leftarrow w - \text{rate} \cdot \mathrm{dw} .$$
#
# This is *gradient descent* on small batches. After all images have been used once, an *epoch*, they are shuffled.


# %%
def train(parameters, epochs=10, rate=0.05):
    """Train by gradient descent; return loss and both accuracies at the start and by epoch."""
    shuffle, history = np.random.default_rng(SEED), []
    for epoch in range(epochs + 1):
        loss = squared_distance(parameters, images, targets).data
        right = (
            accuracy(parameters, images, labels),
            accuracy(parameters, unseen, unseen_labels),
        )
        history.append((float(loss), *right))
        for batch in shuffle.permutation(1000).reshape(20, 50) if epoch < epochs else ():
            backward(squared_distance(parameters, images[batch], targets[batch]), 1.0)
            for parameter in parameters:
                parameter.data = parameter.data - rate * parameter.grad
    return np.array(history)


# %%
# alt: Left, the loss falls over ten epochs, from one to 0.4. Right, the accuracy rises from
#      one in ten to about three in four, nearly as high on new images as on those that the
#      network learns from.
history = train(untrained(seed=5))
loss, seen, new = history[-1]
print(
    f"after {len(history) - 1} epochs: loss {loss:.2f}, accuracy {seen:.2f}, "
    f"on new images {new:.2f}"
)
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
left.plot(history[:, 0], color="#123a6b", linewidth=2)
right.plot(history[:, 1], color="#123a6b", linewidth=2, label="images it learns from")
right.plot(history[:, 2], "--", color="#b2500f", linewidth=2, label="images it has not seen")
left.set(xlabel="epoch", ylabel="loss", ylim=(0, 1.1))
right.set(xlabel="epoch", ylabel="accuracy", ylim=(0, 1))
right.legend(frameon=False, loc="lower right")
plt.show()
assert loss < history[0, 0] and seen > 0.5 and new > 0.5

# %% [markdown]
# The loss falls, and the accuracy rises, on new images as well. The network names about three of four new images
# rightly. Its training used nothing but the ops and the walk of this tutorial. (From tutorial 3 on,
# `duonet.fit` runs this loop.)
#
# **Change this.** Train with the rates 0.01 and 0.1, by `train(untrained(seed=5), rate=0.01)`. Then take another
# seed. Which of the two changes more: the rate, or the seed?
#
# <details><summary>Answer</summary>
#
# The rate. With 0.01 the network learns more slowly: after ten epochs it is more than 10 points behind. Another
# seed begins from other weights, and ends within a few points of the first.
#
# </details>
#
# ## Recap
#
# * Local derivatives multiply along a path and add over paths. Each op needs only a rule from `dy` to its inputs'
#   gradients.
# * Visit each value once, in topological order: earlier is wrong, and following paths takes exponential time.
# * Add gradients into new arrays; sum them over broadcast axes; both centrally, in the walk.
# * Central differences, $h = 10^{-5}$, float64. A smaller step is worse.
# * A check is worth what it could have refused: random upstream gradient, random inputs away from kinks, not zero
#   against zero.
# * A quantised op fails the check on purpose. That difference is the gradient mismatch.
# * Training is a loop: compute the loss of a batch, walk back, move each parameter a little against its gradient.
#
# ## Exercises
#
# **★ Maximum.** Write `maximum(a, b)` for our engine. Where $a = b$ there is a kink; let `a` take the gradient
# there.


# %%
def maximum(a, b):
    """y = the larger of a and b in each element; a takes dy where they are equal."""
    raise NotImplementedError


# %%
def check_maximum():
    a, b, dy = Value([1.0, 4.0, 2.0]), Value([3.0, -1.0, 2.0]), np.array([5.0, 6.0, 7.0])
    y = maximum(a, b)
    assert y.data.tolist() == [3, 4, 2], "the larger of the two, element by element"
    backward(y, dy)
    assert a.grad.tolist() == [0, 6, 7] and b.grad.tolist() == [5, 0, 0], (
        "dy goes to the larger, and at a tie to a"
    )


attempt(check_maximum)


# %% tags=["solution"]
def maximum(a, b):
    """y = max(a, b).   da = dy where a >= b, db = dy elsewhere."""
    a_wins = a.data >= b.data
    return Value(
        np.where(a_wins, a.data, b.data), (a, b), lambda dy: (dy * a_wins, dy * ~a_wins)
    )


# %% [markdown]
# **★★ The whole Jacobian.** One walk gives the gradient of *one* number. If $y$ has $m$ elements and $x$ has $n$,
# how do you get all $m \times n$ derivatives $\partial y_i / \partial x_j$ out of `backward`, and in how many
# walks?


# %%
def jacobian(f, x):
    """Return the (m, n) array of dy_i / dx_j; f takes a Value of shape (n,) to shape (m,)."""
    raise NotImplementedError


# %%
def check_jacobian():
    draw = np.random.default_rng(SEED)
    x, c = draw.standard_normal((2, 4))
    found = jacobian(lambda v: mul(add(mul(v, v), total(v)), Value(c)), x)
    assert np.allclose(found, c[:, None] * (2 * np.diag(x) + 1)), (
        "row i has the slopes of output i"
    )


attempt(check_jacobian)


# %% tags=["solution"]
def jacobian(f, x):
    """Return the (m, n) array of dy_i / dx_j: one walk for each of the m elements of y."""
    leaf = Value(x)
    y = f(leaf)
    rows = []
    for dy in np.eye(len(y.data)):
        backward(y, dy)
        rows.append(leaf.grad)
    return np.stack(rows)


# %% [markdown]
# **★★ Normalise.** Somebody wrote $y = x / \lVert x \rVert$ as a `Function` with
# $\mathrm{dx} = \mathrm{dy} / \lVert x \rVert$, and forgot that the length depends on $x$ too. Derive the missing
# term, and correct the rule. (For which upstream gradients is the wrong rule right?)


# %%
class Normalise(Function):
    """y = x / |x|, where |x| is the root of the sum of all squares."""

    @staticmethod
    def forward(ctx, x):
        raise NotImplementedError

    @staticmethod
    def backward(ctx, dy):
        raise NotImplementedError


# %%
def check_normalise():
    draw = np.random.default_rng(SEED)
    x = draw.standard_normal(5)
    assert np.allclose(Normalise.apply(Tensor(x)).data, x / np.sqrt(x @ x)), (
        "x over its length"
    )
    check_gradients(Normalise.apply, x)


attempt(check_normalise)


# %% tags=["solution"]
class Normalise(Function):
    """y = x / |x|.   dx = (dy - y Σ dy y) / |x|; the sum is 0 if dy is perpendicular to x."""

    @staticmethod
    def forward(ctx, x):
        ctx.length = np.sqrt((x * x).sum())
        ctx.y = x / ctx.length
        return ctx.y

    @staticmethod
    def backward(ctx, dy):
        return (dy - ctx.y * (dy * ctx.y).sum()) / ctx.length


# %% [markdown]
# **★★ A step into the complex plane.** For a smooth function that NumPy can evaluate at complex numbers,
# $f(x + ih) = f(x) + ih f'(x) - \tfrac{1}{2} h^2 f''(x) - \dots$ with $i^2 = -1$. So the imaginary part divided by
# $h$ is the slope, up to $h^2$, and nothing is subtracted. What does that mean for the left arm of the V? Write
# it, with $h = 10^{-20}$.


# %%
def complex_step(f, x, h=1e-20):
    """Return the slopes of f at each element of x, from the imaginary part of f(x + ih)."""
    raise NotImplementedError


# %%
def check_complex_step():
    found = complex_step(lambda x: np.exp(np.sin(x)), points)
    error = np.abs(found - np.cos(points) * np.exp(np.sin(points)))
    assert error.max() < 1e-14, "this should be good to rounding"


attempt(check_complex_step)


# %% tags=["solution"]
def complex_step(f, x, h=1e-20):
    """Return the slopes of f at each element of x: nothing cancels, so h may be tiny."""
    return f(x + 1j * h).imag / h


# %% [markdown]
# **★★★ Fool the careful one.** `check_gradients`, at random inputs, can still accept a wrong backward pass. Find
# three ways that could happen by accident in real code, and say what would catch each.
#
# <details><summary>Answer</summary>
#
# For example: a rule wrong only where inputs are large or tiny, as where $e^x$ overflows (give it such inputs as
# well); one wrong only in float32 or for arrays that are not contiguous (compare its results with those in
# float64, and with a contiguous copy); one wrong only for a stride or a padding that the test does not use (test
# every option); a confusion of two axes in an input where both have the same length and the op is symmetric (let
# no two axes be equal); a *forward* pass that computes the wrong thing, with the right gradient of the wrong thing
# (compare the forward pass with loops).
#
# </details>
#
# ## References
#
# * A. G. Baydin, B. A. Pearlmutter, A. A. Radul, J. M. Siskind, *Automatic differentiation in machine learning: a
#   survey*, Journal of Machine Learning Research 18(153), 2018. Where reverse mode stands among its relatives; the
#   place to read on.
# * A. Griewank, A. Walther, *Evaluating Derivatives*, second edition, SIAM, 2008. The book: what a walk costs in
#   time and memory, and how to trade one for the other.
# * D. E. Rumelhart, G. E. Hinton, R. J. Williams, *Learning representations by back-propagating errors*, Nature
#   323, 1986. The same walk, as neural networks met it: four pages.
# * A. Karpathy, [micrograd](https://github.com/karpathy/micrograd), 2020. A scalar engine in a hundred lines;
#   compare it with yours.
# * W. Squire, G. Trapp, *Using complex variables to estimate derivatives of real functions*, SIAM Review
#   40(1), 1998. The exercise on the complex step, in three pages.
# * Y. Bengio, N. Léonard, A. Courville, *Estimating or propagating gradients through stochastic neurons for
#   conditional computation*, [arXiv:1308.3432](https://arxiv.org/abs/1308.3432), 2013. Early on gradients through
#   steps, and on why one might believe in them.
# * H. Kim, K. Kim, J. Kim, J.-J. Kim, *BinaryDuo: Reducing Gradient Mismatch in Binary Activation Network by
#   Coupling Binary Activations*, ICLR 2020, [arXiv:2002.06517](https://arxiv.org/abs/2002.06517). The effect of
#   the mismatch on training, and a way to reduce it; this course builds up to this paper.
