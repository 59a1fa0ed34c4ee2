# %% [markdown]
# # Meet the family: build PACT from nothing, and find its place among its kin
#
# [![Open in
# Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/duonet/duonet/blob/main/tutorials/08_meet_the_family.ipynb)
#
# Every few months somebody publishes another way to round activations, and most of them are one idea away from
# the staircases you know. Here you build one of the best known, PACT. Its idea is that training itself should
# decide where to clip. You check its gradient, train with it, and add it to the table of all the others.

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
DARK, LIGHT, WARM = "#123a6b", "#7aa6d8", "#b2500f"
plt.rc("legend", frameon=False)
plt.rc("axes.spines", top=False, right=False)

# %% tags=["hide-input"]
# alt: Left, the four levels of PACT for two ends of the range, with the clip behind them.
#      Right, a histogram of inputs: only those beyond the end of the range move it.
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3), layout="constrained")
x = np.linspace(-0.5, 4, 1801)
for alpha, color in ((3.0, DARK), (1.5, WARM)):
    left.plot(
        x,
        np.floor(3 * np.clip(x / alpha, 0, 1) + 0.5) / 3 * alpha,
        color=color,
        lw=2,
        label=f"α = {alpha}",
    )
    left.plot(x, np.clip(x, 0, alpha), "--", color=color, lw=1)
left.set(title="four levels up to α, and the clip behind them", xlabel="x", ylabel="y")
left.legend()
batch = np.random.default_rng(SEED).standard_normal(3000) + 0.5
right.hist(batch, np.linspace(-3, 4.5, 60), color="0.8")
right.axvspan(1.5, 4.5, color=WARM, alpha=0.2, lw=0)
right.set(title="only inputs beyond α move α", xlabel="x", yticks=[])
right.axvline(1.5, color=WARM, lw=2)
plt.show()

# %% [markdown]
# > **Do** Build the forward and the backward pass of PACT, check them against finite differences of the right
# > function, make a layer of it that equals the library's, train with it while you watch its range move, and give
# > it a row in the table of methods.
# >
# > **Learn** What the methods of the literature share and where they differ; how a range gets a gradient through a
# > staircase; what makes a learned range grow and what makes it shrink.
# >
# > **Need** Staircase and surrogate (tutorial 3), an op with a forward and a backward pass (tutorials 1 and 2).
# >
# > **Time** Runs in 15 s on two cores (measured); an hour and a half to read and work through.

# %% [markdown]
# ## 1. Three questions to every method
#
# A quantised activation answers three questions. Which **levels** does it have? Which **gradient** replaces the
# staircase's own gradient, which is zero? And **what is learned or follows the data**, if anything?
# `duonet.methods` holds the answers of the literature, each as a small class. Here are six of them in a table.

# %%
from duonet import methods
from duonet.experiments.shelf import shelf_rows


def show(rows):
    for row in rows:
        learns = ", ".join([*row["learns"], *row["follows"]]) or "nothing"
        print(
            f"[{row['reference']}] {row['method']:20} bits: {row['activation_bits']}, "
            f"learns: {learns}"
        )


names = (
    "bnn-activations",
    "dorefa-activations",
    "hwgq",
    "pact",
    "qil-activations",
    "lq-activations",
)
show(shelf_rows(methods.find(name) for name in names))

# %% [markdown]
# The numbers in brackets are those of BinaryDuo's list of references. BNN has two levels and learns nothing.
# DoReFa-Net has four on a fixed range. HWGQ chose its levels once, for inputs that batch norm made Gaussian. The
# others adapt: QIL learns where an interval begins and ends, LQ-Nets fits its levels to every batch. PACT, number
# 12, learns one number, the end of its range. It is the smallest of the methods that learn, so it comes first.

# %% [markdown]
# ## 2. Forwards
#
# PACT clips x to the range from 0 to α, and puts n + 1 even levels on that range, with n = 2^k − 1 for k bits:
#
# $$y = \frac{\alpha}{n}\, R\!\left(\frac{n}{\alpha}\, \mathrm{clip}(x, 0, \alpha)\right),$$
#
# where R rounds to the nearest whole number, and halves upwards, as `>=` in tutorial 3 does.
#
# **Predict.** α = 6 and 2 bits. What are the levels, and what becomes of 0.9, 1.1, 3.0, 5.1 and 7.0?
#
# <details><summary>Answer</summary>
#
# n = 3, so the levels are 0, 2, 4 and 6. 0.9 is nearer to 0, 1.1 to 2. 3.0 lies half way between 2 and 4, and
# goes up. 5.1 becomes 6, and so does 7.0, which was clipped.
#
# </details>
#
# **Exercise (★).** Write it.


# %%
def pact(x, alpha, bits):
    """Levels 0, α/n, 2α/n ... α with n = 2^bits − 1; a half is rounded upwards."""
    raise NotImplementedError


# %%
def check_pact():
    assert np.allclose(pact(np.array([0.9, 1.1, 3.0, 5.1, 7.0]), 6.0, 2), [0, 2, 4, 6, 6]), (
        "clipped at alpha = 6, levels 0, 2, 4, 6"
    )
    assert np.allclose(
        pact(np.array([-0.5, 0.1, 0.2, 0.5, 0.9]), 1.0, 2), [0, 0, 1 / 3, 2 / 3, 1]
    ), "clipped at alpha = 1, levels 0, 1/3, 2/3, 1"
    assert pact(np.array([1.0]), 2.0, 1)[0] == 2, "a half is rounded upwards"
    x = np.linspace(-1, 3, 999)
    for bits in (1, 2, 3):
        assert len(np.unique(pact(x, 2.0, bits).round(9))) == 2**bits, (
            f"{bits} bits have {2**bits} levels"
        )


attempt(check_pact)


# %% tags=["solution"]
def pact(x, alpha, bits):
    """np.round would round a half to the even neighbour."""
    n = 2**bits - 1
    return np.floor(n * np.clip(x / alpha, 0, 1) + 0.5) * alpha / n


# %% [markdown]
# ## 3. Backwards: what does α have to do with the loss?
#
# The staircase has no slope, so a surrogate takes its place: the clip that it stands on, dashed in the figure.
# It has two inputs, x and α, and ordinary derivatives with respect to both:
#
# $$\mathrm{clip}(x, 0, \alpha) = \begin{cases}0 & x \le 0\\ x & 0 < x < \alpha\\ \alpha & x \ge \alpha\end{cases}
# \qquad \frac{\partial}{\partial x} = \mathbf 1[0 < x < \alpha], \qquad
# \frac{\partial}{\partial \alpha} = \mathbf 1[x \ge \alpha].$$
#
# For an input inside the range, moving α changes nothing, at least for the clip. Beyond the range every output
# *is* α. One α serves a whole layer, so its gradient is a sum: dα = Σ dy over all inputs beyond the range.
#
# **Predict.** A batch of four inputs, −1, 0.5, 2 and 9, meets α = 1.5, and dy = (1, 1, −3, 1). What are dx and dα?
#
# <details><summary>Answer</summary>
#
# Only 0.5 lies inside: dx = (0, 1, 0, 0). 2 and 9 lie beyond: dα = −3 + 1 = −2. A step of gradient descent makes
# α larger: the input 2 asks for a larger output three times as strongly as the input 9 asks for a smaller one.
#
# </details>
#
# **Exercise (★★).** Write the backward pass.


# %%
def pact_backward(x, alpha, dy):
    """Return dx, of x's shape, and dα, one number."""
    raise NotImplementedError


# %%
def check_pact_backward():
    dx, dalpha = pact_backward(np.array([-1, 0.5, 2, 9]), 1.5, np.array([1.0, 1, -3, 1]))
    assert np.array_equal(dx, [0, 1, 0, 0]), f"dx is {dx}"
    assert dalpha == -2, f"dα is {dalpha}"
    dx, dalpha = pact_backward(np.full((2, 3), 5.0), 5.0, np.ones((2, 3)))
    assert not dx.any() and dalpha == 6, "x = α lies beyond the range: y is α there"
    dx, dalpha = pact_backward(np.zeros(3), 5.0, np.ones(3))
    assert not dx.any() and dalpha == 0, "x = 0 lies outside of the range"


attempt(check_pact_backward)


# %% tags=["solution"]
def pact_backward(x, alpha, dy):
    return dy * ((x > 0) & (x < alpha)), np.sum(dy * (x >= alpha))


# %% [markdown]
# ## 4. Check it against the right function
#
# Finite differences of the staircase are zero, so they cannot agree with a surrogate's gradient (tutorial 3). The
# clip is the function whose derivative we claim. To have it checked by the library, we write PACT as a
# `Function`: `forward` is what the network computes, `smooth` the function that `backward` is the derivative of.


# %%
from duonet import Function, Tensor, check_gradients
from duonet.gradcheck import GradientError


class Pact(Function):
    exact = False  # backward is not the derivative of forward, and says so

    @staticmethod
    def forward(ctx, x, alpha, *, bits):
        ctx.x, ctx.alpha = x, alpha
        n = 2**bits - 1
        return np.floor(n * np.clip(x / alpha, 0, 1) + np.float32(0.5)) / n * alpha

    @staticmethod
    def smooth(ctx, x, alpha, *, bits):
        ctx.x, ctx.alpha = x, alpha
        return np.clip(x, 0, alpha)

    @staticmethod
    def backward(ctx, dy):
        x, alpha = ctx.x, ctx.alpha
        return dy * ((x > 0) & (x < alpha)), np.sum(dy * (x >= alpha))


# %% [markdown]
# **Predict.** Two checks: one against the surrogate, one against the staircase itself. What do they say?
#
# <details><summary>Answer</summary>
#
# The first passes. The second must fail, because a small step changes nothing on a staircase. The library refuses
# the second check and says why.
#
# </details>

# %%
rng = np.random.default_rng(SEED)  # this section's own, so that it can run again
x, alpha = rng.uniform(-1, 4, 50), np.array(2.0)
function = lambda x, alpha: Pact.apply(x, alpha, bits=2)
check_gradients(function, x, alpha, against="surrogate")
try:
    check_gradients(function, x, alpha)
    failed = False
except (GradientError, ValueError) as error:
    failed = True
    print(str(error).splitlines()[0])
assert failed, "a staircase has no gradient to agree with"

# %% [markdown]
# ## 5. A layer
#
# A layer that learns α holds it as a `Parameter`. As a `Quantizer` it also states its bits, so that `summary` and
# the table can count them, and two properties as tags: every number is treated by itself, and larger inputs never
# give smaller outputs.

# %%
from duonet import Parameter
from duonet.quant import Quantizer


class OurPACT(Quantizer):
    samplewise = by_channel = rising = True

    def __init__(self, bits=2, start=2.5):
        super().__init__()
        self.bits, self.start = bits, start
        self.alpha = Parameter(np.float32(start))

    def forward(self, x):
        return Pact.apply(x, self.alpha, bits=self.bits)


# %% [markdown]
# Compare it with the library's PACT, which is shorter still, because all methods with a learned range share one
# rule, `methods.in_range`. The two agree in every bit of y and of dx. dα is a sum, which the library adds up in
# another way, so the two agree in the digits that float32 has.

# %%
rng = np.random.default_rng([SEED, 5])  # this section's own, so that it can run again
x = rng.standard_normal((256, 16)).astype("float32") * 2
dy = rng.integers(-4, 5, x.shape).astype("float32")
passed = {}
for layer in (OurPACT(), methods.PACT()):
    leaf = Tensor(x, requires_grad=True)
    y = layer(leaf)
    y.backward(dy)
    passed[type(layer).__name__] = y.data, leaf.grad, layer.alpha.grad
ours, theirs = passed.values()
assert all(np.array_equal(a, b) for a, b in zip(ours[:2], theirs[:2]))
assert np.isclose(ours[2], theirs[2], atol=1e-3)
print(f"dα of both: {ours[2]:.3f}")

# %% [markdown]
# The library has a battery of checks for every `Quantizer`: its bits suffice for its values, its gradient is its
# surrogate's and reaches every Parameter, its tags hold, and it comes back from a checkpoint.

# %%
from duonet import check_quantizer

check_quantizer(OurPACT())
print("all checks passed")

# %% [markdown]
# ## 6. Watch α move
#
# Now we put the layer into a network: two hidden layers with batch norm in front of PACT, on 2,000 images of
# Fashion-MNIST. We train the network twice, with α starting at 1 and at 8.
#
# **Predict.** Behind batch norm the inputs have mean 0 and standard deviation 1. What happens to α = 8 in the
# first steps?
#
# <details><summary>Answer</summary>
#
# Nothing: no input lies beyond 8, so dα = 0. At first most outputs are 0: the lowest threshold of 2 bits is
# α/6 = 1⅓, which one input in eleven reaches. Only the scale of batch norm can spread the inputs over the range.
# So PACT adds a penalty on α.
#
# </details>

# %%
from duonet import data, fit, nn, optim

images = data.fashion_mini()
normalize = data.Normalize.of(images.train.images)
train = images.train.take(2000)

# %% [markdown]
# `fit` calls a function of ours after every epoch, which notes both α.


# %%
def trained(kind, epochs=6, **settings):
    """Train with two such layers; return both α after every epoch, and the accuracy."""
    rng, acts = np.random.default_rng(SEED), [kind(2, **settings) for _ in range(2)]
    widths, layers = (784, 64, 64), [nn.Flatten()]
    for inputs, outputs, act in zip(widths, widths[1:], acts):
        layers += [nn.Linear(inputs, outputs, rng=rng, bias=False), nn.BatchNorm(outputs), act]
    model = nn.Sequential(*layers, nn.Linear(64, 10, rng=rng))
    alphas = [[float(act.alpha.data) for act in acts]]
    note = lambda history: alphas.append([float(act.alpha.data) for act in acts])
    loader = data.DataLoader(train, 50, normalize, rng=rng)
    steps = optim.Adam(model.parameters(), 0.01)
    history = fit(model, loader, steps, epochs, on_epoch=note, progress=False)
    return np.array(alphas), history["accuracy"][-1]


# %% tags=["slow"]
runs = {start: trained(OurPACT, start=start) for start in (1.0, 8.0)}
for start, (alphas, accuracy) in runs.items():
    print(f"α from {start}: to {alphas[-1].round(1)}, accuracy in training {accuracy:.2f}")
(low, low_accuracy), (high, high_accuracy) = runs.values()
assert (low[-1] > low[0]).all(), "a narrow range grows"
assert (abs(high[-1] - 8) < 0.5).all(), "a wide one hardly moves"
assert low_accuracy > high_accuracy
assert (
    abs(np.mean(np.random.default_rng(SEED).standard_normal(100_000) >= 8 / 6) - 1 / 11)
    < 0.005
)

# %% [markdown]
# The narrow range grew. The wide range had no reason to shrink, since inputs inside the range give α no gradient.
# PACT's answer is a penalty: the loss gains the term λα², which always pulls α down, while inputs beyond the range
# can push it up.
#
# **Exercise (★★).** If a module has a method `penalty()`, `fit` adds its result to the loss. Give our layer such a
# method: it returns λα² as a Tensor.


# %%
class PulledPACT(OurPACT):
    def __init__(self, bits=2, start=2.5, decay=0.01):
        super().__init__(bits, start)
        self.decay = decay

    def penalty(self):
        raise NotImplementedError


# %%
def check_penalty():
    layer = PulledPACT(2, 3.0, decay=0.5)
    penalty = layer.penalty()
    assert isinstance(penalty, Tensor) and penalty.shape == (), "a Tensor without axes"
    assert float(penalty.data) == 4.5, f"½ · 3² is 4.5, not {float(penalty.data)}"
    penalty.backward()
    assert float(layer.alpha.grad) == 3, "its gradient, 2 λ α, reaches α"


attempt(check_penalty)


# %% tags=["solution"]
class PulledPACT(OurPACT):
    def __init__(self, bits=2, start=2.5, decay=0.01):
        super().__init__(bits, start)
        self.decay = decay

    def penalty(self):
        return self.alpha * self.alpha * self.decay


# %% [markdown]
# The library's PACT has the same penalty, so we can train with it even while your exercise is open. The figure
# shows α after every epoch: solid lines for the first layer, dashed lines for the second.

# %% tags=["slow"]
# alt: The learned end of the range over six epochs. From 1 it grows to about 1.5; from 8 it
#      stays, and with a penalty it falls.
pulled, pulled_accuracy = trained(methods.PACT, start=8, decay=0.01)
figure, ax = plt.subplots(figsize=(7, 3), layout="constrained")
for alphas, color, label in (
    (low, DARK, "from 1"),
    (high, WARM, "from 8"),
    (pulled, LIGHT, "from 8, with a penalty"),
):
    ax.plot(alphas[:, 0], color=color, lw=2, label=label)
    ax.plot(alphas[:, 1], "--", color=color, lw=2)
ax.set(xlabel="epochs", ylabel="α", ylim=(0, 9))
ax.legend()
plt.show()
print(f"accuracy in training with a penalty: {pulled_accuracy:.2f}")
assert (pulled[-1] < 6.5).all(), "the penalty shrinks the range"

# %% [markdown]
# ## 7. A row in the table
#
# The table of methods is made from the classes themselves. An `Entry` names reference, kind and source; the table
# takes everything else from an object, or tries it out. Here is our row beside the library's.

# %%
entry = methods.Entry(12, "ours", "activations", "Choi et al., 2018", OurPACT, {})
rows = shelf_rows([entry, methods.find("pact")])
show(rows)
same = ("reference", "kind", "activation_bits", "weight_bits", "learns", "follows")
assert all(rows[0][key] == rows[1][key] for key in same)

# %% [markdown]
# In a terminal, `duonet methods` prints the whole table, and `duonet methods pact` the page of one method. With
# `@methods.listed(...)` above it, a class joins the table, and the tests run on it like on every other row. Which
# method is *best* is another question, which no table of properties can answer. A fair answer needs the same
# network, images and budget for every method, a learning rate tuned for each by the same rule, and several seeds
# (tutorial 6 says why). `duonet contest` makes this comparison; `docs/methods_compared.md` has its results.

# %% [markdown]
# ## Recap
#
# * Methods differ in their levels, in their surrogate, and in what is learned or follows the data.
# * PACT learns the end α of its range. Through the clip, dx = dy inside the range, and dα = Σ dy beyond it.
# * Check a quantiser's gradient against the function whose gradient it claims to be.
# * A range that is too narrow can grow by itself; a range that is too wide needs a penalty to shrink.
# * A class that keeps its promises gets a row in the table, made from the class itself.

# %% [markdown]
# ## Exercises
#
# **1 (★).** Multiply x and α by the same c > 0. What becomes of y, and why does a network with batch norm behind
# the next layer not care where α starts, as long as x can follow?
#
# <details><summary>Answer</summary>
#
# y is multiplied by c as well: y(cx; cα) = c y(x; α). The next layer's sums are then c times as large, and batch
# norm divides by their standard deviation. But x *cannot* follow at once: its scale is a parameter too, and the
# network has to learn it.
#
# </details>

# %%
rng = np.random.default_rng([SEED, 8])  # this section's own, so that it can run again
x = rng.uniform(-1, 5, 1000).astype("float32")
layer = methods.PACT(2, start=2.0)
wide = methods.PACT(2, start=8.0)
assert np.array_equal(wide(Tensor(4 * x)).data, 4 * layer(Tensor(x)).data)

# %% [markdown]
# **2 (★★).** A variant of PACT differentiates α/n · R(n x/α) as a product. It keeps the value of R, and takes the
# derivative of R to be 1. Inside the range this gives dα = S(z) − z, with z = x/α and S(z) = y/α: the error of
# rounding. Beyond the range dα = 1 as before. Write this gradient.


# %%
def residue(x, alpha, bits):
    """Return the derivative by α: S(z) − z inside the range, 1 beyond it, 0 below."""
    raise NotImplementedError


# %%
def check_residue():
    found = residue(np.array([-1, 0.6, 1.0, 1.8, 2.0, 7.0]), 2.0, 2)
    expected = [0, 1 / 3 - 0.3, 2 / 3 - 0.5, 0.1, 1, 1]
    assert np.allclose(found, expected), (
        f"expected {np.round(expected, 3)}, got {np.round(found, 3)}"
    )


attempt(check_residue)


# %% tags=["solution"]
def residue(x, alpha, bits):
    """z − z is 0 at both ends, so that one formula would do but for what lies outside."""
    n, z = 2**bits - 1, x / alpha
    rounded = np.floor(n * np.clip(z, 0, 1) + 0.5) / n
    return np.where(z >= 1, 1, np.where(z <= 0, 0, rounded - z))


# %% [markdown]
# **3 (★★★).** BinaryDuo splits a ternary activation into two binary ones (tutorial 5). PACT's staircase of k bits
# starts at 0 too, so it is a sum of n steps, each a binary activation of its own. Write it as that sum.


# %%
def as_copies(x, alpha, bits):
    """Return (n, ...) arrays of 0 and α/n, one for each threshold, whose sum is PACT."""
    raise NotImplementedError


# %%
def check_as_copies():
    x = np.random.default_rng(SEED).uniform(-1, 4, 500)
    for bits in (1, 2, 3):
        copies = as_copies(x, 3.0, bits)
        assert copies.shape == (2**bits - 1, 500), "a copy for each threshold"
        assert all(len(np.unique(copy)) <= 2 for copy in copies), "each of two levels"
        expected = methods.PACT(bits, start=3.0).astype("float64")(Tensor(x)).data
        assert np.allclose(np.sum(copies, axis=0), expected), "their sum is PACT"


attempt(check_as_copies)


# %% tags=["solution"]
def as_copies(x, alpha, bits):
    """Thresholds lie half-way between the levels: (i − ½) α/n."""
    n = 2**bits - 1
    return np.stack([(x >= (i - 0.5) * alpha / n) * (alpha / n) for i in range(1, n + 1)])


# %% [markdown]
# ## References
#
# * J. Choi, Z. Wang, S. Venkataramani, P. I-J. Chuang, V. Srinivasan, K. Gopalakrishnan, [PACT: Parameterized
#   Clipping Activation for Quantized Neural Networks](https://arxiv.org/abs/1805.06085), 2018.
# * I. Hubara, M. Courbariaux, D. Soudry, R. El-Yaniv, Y. Bengio, [Binarized Neural
#   Networks](https://arxiv.org/abs/1602.02830), NeurIPS 2016.
# * S. Zhou and others, [DoReFa-Net](https://arxiv.org/abs/1606.06160), 2016. Levels on a fixed range.
# * Z. Cai, X. He, J. Sun, N. Vasconcelos, [Deep Learning with Low Precision by Half-wave Gaussian
#   Quantization](https://arxiv.org/abs/1702.00953), CVPR 2017. HWGQ.
# * D. Zhang, J. Yang, D. Ye, G. Hua, [LQ-Nets](https://arxiv.org/abs/1807.10029), ECCV 2018.
# * S. Jung and others, [Learning to Quantize Deep Networks by Optimizing Quantization Intervals with Task
#   Loss](https://arxiv.org/abs/1808.05779), CVPR 2019. QIL.
# * H. Kim, K. Kim, J. Kim, J.-J. Kim, [BinaryDuo](https://arxiv.org/abs/2002.06517), ICLR 2020.
