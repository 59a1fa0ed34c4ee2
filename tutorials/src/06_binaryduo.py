# %% [markdown]
# # Train BinaryDuo end to end, and judge it honestly
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/duonet/duonet/blob/main/tutorials/06_binaryduo.ipynb)
#
# You run the whole method on real images, compare it with the network that it is meant to beat and with controls
# that it may not beat, and find out how much a handful of training runs can say. The method does not have to win.

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

SEED = 0  # of every section's own generator: so its cells can run again, and in any order
FULL = full_run()  # False in a browser, where Python is slow: there this notebook trains less

# %% tags=["hide-input"]
# alt: Six rows, one for each network, with the learning rate as height over nine epochs.
#      BinaryDuo and the restarted baseline start a second, lower hill at epoch 6.
BLUE, SKY, ORANGE, RED, GREEN, GREY = (
    "#0072B2",
    "#56B4E9",
    "#E69F00",
    "#D55E00",
    "#009E73",
    "#808080",
)
one, two = [(0, 9, 1)], [(0, 6, 1), (6, 9, 0.25)]  # stages: start, end, initial rate
plans = [("ternary, full width", one, [ORANGE]), ("baseline, restarted", two, [SKY, SKY])]
plans += [("decoupled from scratch", one, [GREEN]), ("BinaryDuo", two, [ORANGE, RED])]
plans += [("binary baseline", one, [BLUE]), ("float", one, [GREY])]
figure, ax = plt.subplots(figsize=(8.5, 3.6), layout="constrained")
t = np.linspace(0, 1, 100)
for row, (_, stages, colours) in enumerate(plans):
    for (start, end, rate), colour in zip(stages, colours):
        ax.fill_between(
            start + t * (end - start),
            row,
            row + 0.4 * rate * (1 + np.cos(np.pi * t)),
            color=colour,
        )
ax.annotate("ternary activations", (0.6, 3.2), fontsize=9)
ax.annotate("decouple, then fine-tune", (6, 3.4), color=RED, fontsize=9)
ax.set_yticks(np.arange(6) + 0.35, [name for name, _, _ in plans])
ax.set(xlabel="epochs (height: learning rate)", xlim=(0, 9), xticks=range(10), frame_on=False)
plt.show()

# %% [markdown]
# > **Do** Train six kinds of network, each with six seeds, on 2,000 images of clothes: couple, decouple,
# > fine-tune, and run every control that the result needs.
# >
# > **Learn** How to choose settings without looking at the test images, how to compare two methods seed by seed,
# > what a spread, a standard error and a sign test can say, and which control answers which question.
# >
# > **Need** Coupling and decoupling (tutorial 5); for section 10 the cosine of gradient mismatch (tutorial 4);
# > mean and standard deviation; epochs, batches and learning rates.
# >
# > **Time** Runs in 180 s on two cores (measured); an hour and a half to read and work through. In a browser it
# > trains less; the numbers in the text come from the full run.

# %% [markdown]
# ## 1. The claim, and the rules for testing it
#
# *BinaryDuo* (Kim et al., ICLR 2020) is a way to train a network whose activations are binary, 0 or 1. First it
# trains a *coupled* network, whose activations are ternary: 0, ½ or 1. Then it *decouples* each ternary
# activation into two binary ones, without changing the function, and fine-tunes. The claim is that the result is
# more accurate than a binary network of the same size that was trained directly, the *binary baseline*.
#
# A single training run of each would be quick. But two runs always differ a little, and there are many ways to
# make your favourite win. So we write the rules down before we train anything.
#
# 1. **Equal data.** Every method sees the same images, and in the first stage in the same order.
# 2. **Equal training.** Every method trains for 9 epochs in all; BinaryDuo spends 6 of them coupled and 3
#    decoupled.
# 3. **Equal size.** No method has more weights than the baseline.
# 4. **Several seeds.** Every method has the same seeds, and the result of each seed is reported.
# 5. **Choices by validation images.** We look at the test images once, when everything is chosen.
# 6. **Controls.** BinaryDuo differs from the baseline in more than one thing at a time: in the architecture after
#    decoupling, in the restart of the learning rate, and in the coupling itself. One control has the architecture
#    alone, another the restart alone; coupling gets no credit for a gain that a control has as well. The figure
#    above shows the plan: six networks, the same 9 epochs, and the learning rate as the height.
#
# ## 2. Images in three parts
#
# The package holds 15,000 images of Fashion-MNIST: 28×28 grey pixels, 10 kinds of clothes, equally many images of
# each kind. They come in three parts, for three purposes: *training* images to learn from, *validation* images to
# choose settings by, *test* images to say how good the choice is. To be quick, we learn from 2,000 images only.

# %%
from duonet import data

splits = data.fashion_mini()
IMAGES = 2000 if FULL else 500  # to learn from, and to choose by
train_set, validation_set = splits.train.take(IMAGES), splits.validation.take(IMAGES)
normalize = data.Normalize.of(train_set.images)
for name, part in (
    ("training", train_set),
    ("validation", validation_set),
    ("test", splits.test),
):
    print(
        f"{name:10}  {len(part.labels):5,} images, "
        f"{np.bincount(part.labels).min()} of each class"
    )
assert [len(part.labels) for part in (train_set, validation_set, splits.test)] == [
    IMAGES,
    IMAGES,
    5000,
]
assert (
    sum(len(part.labels) for part in (splits.train, splits.validation, splits.test)) == 15_000
)

# %% [markdown]
# `normalize` turns pixels into numbers of mean 0 and standard deviation 1. Its mean and standard deviation come
# from the training images alone. Even these two numbers are learned: if they came from the images by which we
# judge, they would leak a little about those images.
#
# **Your turn.** Write a function that does the same as `normalize`: subtract the mean of the *training* pixels,
# and divide by their standard deviation. (There is one channel, so one mean and one deviation for all pixels.)


# %%
def standardise(images, training_images):
    """Return images on the scale on which the training images have mean 0 and deviation 1."""
    raise NotImplementedError


# %%
def check_standardise():
    ours = standardise(validation_set.images, train_set.images)
    np.testing.assert_allclose(
        ours, normalize(validation_set.images), atol=1e-4, err_msg="not what normalize gives"
    )
    assert abs(ours.mean()) > 1e-4, "the validation images have a mean of their own"
    np.testing.assert_allclose(
        standardise(train_set.images, train_set.images).std(),
        1,
        atol=1e-4,
        err_msg="the deviation of the training images",
    )


attempt(check_standardise)


# %% tags=["solution"]
def standardise(images, training_images):
    """Return images on the scale on which the training images have mean 0 and deviation 1."""
    return (images - training_images.mean()) / training_images.std()


# %% [markdown]
# ## 3. Five networks, one budget
#
# The network is a perceptron. It has six hidden layers of 64 units, each with a linear map, batch norm and an
# activation, and then a linear classifier. Its six quantised activations in a row give the coarse gradient six
# staircases to get wrong. The *variants* differ in the activation: ReLU ("float"), binary
# ("baseline"), ternary at the same widths ("ternary"), ternary at narrower widths ("coupled"). `rng` draws the
# initial weights.

# %%
from duonet import decouple, models, summary


def build(variant, seed):
    """Build a variant with the initial weights of a seed."""
    return models.mlp(variant, widths=(64,) * 6, rng=np.random.default_rng([seed, 0]))


networks = {
    variant: build(variant, SEED) for variant in ("float", "baseline", "ternary", "coupled")
}
networks["decoupled"] = decouple(networks["coupled"])

# %% [markdown]
# **Predict.** Decoupling doubles the inputs of every layer behind a ternary activation, here of every layer but
# the first. Will the decoupled network have exactly twice the weights of the coupled one, more, or less?
#
# <details><summary>Answer</summary>
#
# Less. The first layer reads the image, which is not doubled, and with its 784 inputs it is by far the largest.
#
# </details>

# %%
for name, model in networks.items():
    widths = [
        layer.weight.shape[1] for _, layer in model.modules() if hasattr(layer, "weight")
    ]
    counted = summary(model, (28, 28, 1))
    print(
        f"{name:9} {counted.weights:7,} weights, {counted.parameters:,} learned numbers; "
        f"outputs {widths}"
    )

# %%
weights = {name: summary(model, (28, 28, 1)).weights for name, model in networks.items()}
learned = {name: sum(p.size for p in model.parameters()) for name, model in networks.items()}
assert weights["coupled"] < weights["decoupled"] < 2 * weights["coupled"]
assert 0.99 < weights["decoupled"] / weights["baseline"] <= 1
assert 1 < learned["decoupled"] / learned["baseline"] < 1.01  # two batch norms for one
assert weights["float"] == weights["ternary"] == weights["baseline"] == 71_296

# %% [markdown]
# The decoupled network has no more weights than the baseline. With the numbers of batch norm, which it has twice,
# it has at most 1 % more learned numbers. So rule 3 holds. The narrowing is uneven: the rule of `coupled_widths`
# (tutorial 5) narrows the first layers to 45 and 46 units and spends the saved weights on the others. So the
# decoupled network has another *shape*: narrower in front, with up to 128 binary activations behind. Keep this in
# mind: the shape alone may help or hurt.
#
# ## 4. One epoch by hand
#
# `duonet.fit` does all of our training. To see how it works, we write one epoch ourselves. Batches of 64 images
# come from a `DataLoader`, which shuffles with a generator of its own; two loaders with the same seed give the
# same batches. The optimiser is AdamW. The learning rate falls to zero along half a cosine,
#
# $$\text{rate}(t) = \text{rate}_0 \cdot \tfrac12\left(1 + \cos\frac{\pi t}{T}\right),$$
#
# where $t$ is the time in epochs, which grows by a fraction with every batch, and $T$ is the number of epochs in
# all.

# %%
from duonet import Tensor, optim
from duonet import functional as F


def batches(seed, stage=1):
    """Shuffle the training images into batches, the same ones for every method of a seed."""
    return data.DataLoader(train_set, 64, normalize, rng=np.random.default_rng([seed, stage]))


def epoch_by_hand(model, loader, optimizer, schedule):
    """Train the first epoch."""
    model.train()  # batch norm uses the batch's own mean and variance, and keeps running ones
    for i, (x, labels) in enumerate(loader):
        optimizer.lr = optimizer.base_lr * schedule(i / len(loader))
        loss = F.softmax_cross_entropy(model(Tensor(x)), labels)
        optimizer.zero_grad()  # gradients add up otherwise
        loss.backward()
        optimizer.step()


# %% [markdown]
# **Predict.** We train one copy by hand and one by `fit`, from the same seed. Will the parameters agree to some
# decimals, or to the last bit?
#
# <details><summary>Answer</summary>
#
# To the last bit: both do the same operations on the same numbers in the same order. If two programs for the same
# task differ in the last digits, the order of some operations differs, and it is worth finding out where.
#
# </details>

# %%
from duonet import fit

ours, theirs = build("baseline", SEED), build("baseline", SEED)
epoch_by_hand(ours, batches(SEED), optim.AdamW(ours.parameters(), 0.01), optim.Cosine(1))
optimizer = optim.AdamW(theirs.parameters(), 0.01)
history = fit(
    theirs, batches(SEED), optimizer, epochs=1, schedule=optim.Cosine(1), progress=False
)
for (name, array), other in zip(ours.state_dict().items(), theirs.state_dict().values()):
    np.testing.assert_array_equal(array, other, err_msg=name)
print(f"{len(ours.state_dict())} arrays equal, running means and variances among them")

# %% [markdown]
# **Your turn.** The other half is the accuracy of a model. Set the model to evaluation mode (`model.eval()`:
# batch norm uses its running statistics), go through the batches, take the class with the largest logit, and
# return the share of *images* whose class is right. Beware of averaging the accuracies of batches: the last batch
# may be smaller.


# %%
def accuracy_by_hand(model, loader):
    """Return the share of images that the model classifies right in evaluation mode."""
    raise NotImplementedError


# %%
from duonet import evaluate


def check_accuracy_by_hand():
    loader = data.DataLoader(
        validation_set.take(490), 128, normalize
    )  # the last batch has 106
    for model in (ours, networks["baseline"]):
        model.train()
        assert (
            abs(accuracy_by_hand(model, loader) - evaluate(model, loader).accuracy) < 1e-9
        ), "each image counts once, in evaluation mode"


attempt(check_accuracy_by_hand)


# %% tags=["solution"]
def accuracy_by_hand(model, loader):
    """Return the share of images that the model classifies right in evaluation mode."""
    model.eval()
    hits = [(model(Tensor(x)).data.argmax(axis=1) == labels) for x, labels in loader]
    return np.concatenate(hits).mean()


# %% [markdown]
# From here on the function `train` does all of this: some epochs, a fresh AdamW, a cosine from `rate` to zero. It
# returns the validation accuracy after every epoch, in percent. (The validation batches are kept in a list, so
# that they are normalised once and not after every epoch.)

# %%
FIRST, SECOND = 6, 3  # epochs before and after decoupling
validation = list(data.DataLoader(validation_set, 500, normalize))


def train(model, epochs, rate, seed, stage=1):
    """Train a model for some epochs, and list the validation accuracy (%) after each."""
    optimizer = optim.AdamW(model.parameters(), rate)
    schedule = optim.Cosine(epochs)
    loader = batches(seed, stage)
    history = fit(
        model,
        loader,
        optimizer,
        epochs,
        schedule=schedule,
        validation=validation,
        progress=False,
    )
    return [100 * accuracy for accuracy in history["val_accuracy"]]


# %% [markdown]
# ## 5. Couple, decouple, fine-tune
#
# We run the method once, step by step. **First stage:** train the coupled network for 6 epochs. The next section
# justifies the initial rate of 0.016.

# %% tags=["slow"]
RATE = 0.016
coupled = build("coupled", SEED)
coupled_curve = train(coupled, FIRST, RATE, SEED)
print("validation accuracy after each epoch:", " ".join(f"{a:.1f}" for a in coupled_curve))
assert coupled_curve[-1] > (65 if FULL else 25)

# %% [markdown]
# **Decouple.** One call decouples the network. Does the new network compute the same function? Tutorial 5 proved
# that it does, in real numbers; here we check a trained network on 2,000 validation images. The activations come
# from the same comparisons, but the sums have twice as many terms, in another order. In float64 the difference is
# too small to see. In float32 a sum that lies within a rounding of a threshold can now and then fall on the other
# side.

# %%
import copy

binary = decouple(coupled)
x = normalize(validation_set.images)
for dtype in (np.float64, np.float32):
    pair = [copy.deepcopy(model).astype(dtype).eval() for model in (coupled, binary)]
    before, after = (model(Tensor(x.astype(dtype))).data for model in pair)
    changed = int((before.argmax(axis=1) != after.argmax(axis=1)).sum())
    print(f"{np.dtype(dtype)}: {changed} of {len(x):,} predictions changed")
    assert changed <= (0 if dtype is np.float64 else 4)
    if dtype is np.float64:
        np.testing.assert_allclose(after, before, atol=1e-10)

# %% [markdown]
# So nothing is won or lost yet: all activations are binary now, and the accuracy is still the coupled network's.
# But the network has more freedom to learn. The two copies of an activation shared their weights before, and now
# each copy has its own.
#
# **Second stage:** fine-tune for 3 epochs, with a quarter of the rate. (Two of the three tuned recipes of `duonet
# compare` take a quarter as well, the third an eighth.)

# %% tags=["slow"]
from duonet.experiments.recipes import COMPARED

recipes = [COMPARED[name] for name in ("vgg_deep", "vgg7", "mlp")]
assert [round(recipe["lr"] / recipe["finetune_lr"]) for recipe in recipes] == [4, 8, 4]
tuned_curve = train(binary, SECOND, RATE / 4, SEED, stage=2)
print("validation accuracy after each epoch:", " ".join(f"{a:.1f}" for a in tuned_curve))
print(f"gain of the second stage: {tuned_curve[-1] - coupled_curve[-1]:+.1f} points")
assert tuned_curve[-1] - coupled_curve[-1] > -2 or not FULL

# %% [markdown]
# These steps are BinaryDuo. This run cannot show whether the method causes the gain: three more epochs may have
# improved any network. The controls answer this question.
#
# ### Two ways to get it wrong
#
# Only a network with ternary activations can be decoupled. Give `decouple` a trained baseline, and it refuses.

# %%
from duonet.decoupling import CannotDecouple

try:
    decouple(ours)  # the baseline of section 4
except CannotDecouple as error:
    print(error)
else:
    raise AssertionError("a binary network was decoupled")

# %% [markdown]
# A refusal is the friendly kind of failure. The other kind is silent. `decouple` returns a *new* network with
# parameters of its own.
#
# **Predict.** Someone keeps the optimiser of the first stage, computes the loss of the decoupled network, calls
# `loss.backward()` and `optimizer.step()`. What happens to the decoupled network? Is there an error?
#
# <details><summary>Answer</summary>
#
# Nothing happens to it, and there is no error. The optimiser holds the parameters of the *coupled* network, and
# moves them by the gradients that they still have. The decoupled network does not change, however long one
# trains.
#
# </details>

# %%
old = optim.AdamW(coupled.parameters(), RATE)  # as `train` made it
new = decouple(coupled).train()
start = [p.data.copy() for p in new.parameters()]
images, labels = next(iter(batches(SEED)))
F.softmax_cross_entropy(new(Tensor(images)), labels).backward()
old.step()
assert all(np.array_equal(p.data, s) for p, s in zip(new.parameters(), start))
assert all(p.grad is not None and p.grad.any() for p in new.parameters())
print("gradients everywhere, and not one parameter has moved")

# %% [markdown]
# The remedy is a fresh optimiser for `binary.parameters()`. The running averages of the old optimiser cannot be
# carried over: they belong to weights of other shapes, and the library names these weights. (The message lists
# every array that does not fit; we print its beginning.)

# %%
fresh = optim.AdamW(new.parameters(), RATE / 4)
try:
    fresh.load_state_dict(old.state_dict())
except ValueError as error:
    print(f"{str(error)[:90]} ...")
else:
    raise AssertionError("the state of one network was taken for another")

# %% [markdown]
# **Your turn.** Over both stages the learning rate follows a curve with a jump: the two hills in the row
# "BinaryDuo" of the figure at the top. Write this curve as `rate_at(t, rate)` for a time $t$ in epochs,
# $0 \le t < 9$, with the first stage's cosine from `rate` to 0 over 6 epochs, and the second stage's cosine from
# `rate / 4` to 0 over 3 epochs.


# %%
def rate_at(t, rate):
    """Return the learning rate of the two-stage recipe at time t, in epochs, 0 <= t < 9."""
    raise NotImplementedError


# %%
def check_rate_at():
    for t in np.random.default_rng(1).uniform(0, 9, 50):
        stage, start = (optim.Cosine(6), 0) if t < 6 else (optim.Cosine(3), 6)
        expected = 0.02 * stage(t - start) / (1 if t < 6 else 4)
        assert abs(rate_at(t, 0.02) - expected) < 1e-12, (
            f"at t = {t:.2f}: expected {expected:.5f}"
        )
    assert rate_at(6, 1.0) == 0.25, "the second stage begins at t = 6"


attempt(check_rate_at)


# %% tags=["solution"]
def rate_at(t, rate):
    """Return the learning rate of the two-stage recipe at time t, in epochs, 0 <= t < 9."""
    if t < 6:
        return rate * (1 + np.cos(np.pi * t / 6)) / 2
    return rate / 4 * (1 + np.cos(np.pi * (t - 6) / 3)) / 2


# %% [markdown]
# ## 6. Choose the learning rate, on validation images
#
# Each method is now a function of a rate and a seed that returns a trained network and its validation curve. The
# methods with *two stages* differ in the step between the stages: BinaryDuo calls `decouple`, and the *restarted*
# baseline does nothing. *Decoupled from scratch* is BinaryDuo's architecture with fresh random weights: the same
# network, never coupled.


# %%
def one_stage(model, rate, seed):
    """Train for all the epochs at once."""
    return model, train(model, FIRST + SECOND, rate, seed)


def two_stages(model, rate, seed, between):
    """Train, do something, train on at a quarter of the rate."""
    curve = train(model, FIRST, rate, seed)
    model = between(model)
    return model, curve + train(model, SECOND, rate / 4, seed, stage=2)


def from_scratch(seed):
    """Build the decoupled architecture with fresh weights of its own."""
    model = decouple(build("coupled", seed))
    model.reset_parameters(np.random.default_rng([seed, 0]))
    return model


# %%
METHODS = {
    "float": lambda rate, seed: one_stage(build("float", seed), rate, seed),
    "binary baseline": lambda rate, seed: one_stage(build("baseline", seed), rate, seed),
    "BinaryDuo": lambda rate, seed: two_stages(build("coupled", seed), rate, seed, decouple),
    "decoupled from scratch": lambda rate, seed: one_stage(from_scratch(seed), rate, seed),
    "baseline, restarted": lambda rate, seed: two_stages(
        build("baseline", seed), rate, seed, lambda same: same
    ),
    "ternary, full width": lambda rate, seed: one_stage(build("ternary", seed), rate, seed),
}
COLOURS = dict(zip(METHODS, (GREY, BLUE, RED, GREEN, SKY, ORANGE)))

# %% [markdown]
# A learning rate that suits one method may not suit another. So we try three rates, a factor of ten apart, for
# the baseline, BinaryDuo and its control from scratch, with three seeds (100 to 102) that take no part in the
# comparison later. And we look at validation images only.
#
# **Predict.** At a tenth of a good rate everything learns more slowly. Which loses more, BinaryDuo or the
# baseline, and how does this change a comparison at that rate?
#
# <details><summary>Answer</summary>
#
# BinaryDuo loses less than the baseline, as the figure below shows. (These runs do not say why.) A comparison at
# a rate that is too small flatters BinaryDuo.
#
# </details>

# %% tags=["slow"]
RATES, TUNED = (0.0016, 0.016, 0.16), list(METHODS)[1:4]
TUNING_SEEDS = (100, 101, 102) if FULL else (100,)
tuning = np.array(
    [[[METHODS[m](r, s)[1][-1] for s in TUNING_SEEDS] for r in RATES] for m in TUNED]
)
print(f"{'validation accuracy, %':24}" + "".join(f"{rate:8}" for rate in RATES))
for method, table in zip(TUNED, tuning.mean(axis=2)):
    print(f"{method:24}" + "".join(f"{accuracy:8.1f}" for accuracy in table))
best = [RATES[i] for i in tuning.mean(axis=2).argmax(axis=1)]
print("best for each of the three:", *best)
assert best == [RATE] * 3 or not FULL

# %% tags=["hide-input"]
# alt: Left, validation accuracy at three learning rates for three methods, highest at the
#      middle rate. Right, BinaryDuo's lead over the baseline, larger at the small rate than at
#      the best one, and its lead over the control from scratch.
figure, (ax, gap) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
for method, table in zip(TUNED, tuning):
    ax.plot(RATES, table.mean(axis=1), "-", color=COLOURS[method], label=method)
    ax.plot(RATES, table, "o", color=COLOURS[method], markersize=4)
for other, table in zip(TUNED[::2], tuning[::2]):
    gap.plot(
        RATES,
        (tuning[1] - table).mean(axis=1),
        "o-",
        color=COLOURS[other],
        label=f"over {other}",
    )
gap.axhline(0, color="black", lw=0.8)
for axes, title in ((ax, "validation accuracy, %"), (gap, "BinaryDuo's lead, points")):
    axes.set_xscale("log")
    axes.minorticks_off()
    axes.set_xticks(RATES, RATES)
    axes.set(xlabel="learning rate", title=title)
    axes.legend(frameon=False)
plt.show()

# %% [markdown]
# Dots are runs, and lines are their means. The rate 0.016 is the best for each of the three methods, so all three
# get it. (A finer grid would be better, and needs more seeds, because neighbouring rates differ less.) The other
# three methods get the same rate without tuning, so our findings about them hold at this rate alone. The next
# cell has the lesson of this section.

# %%
lead = dict(zip(RATES, (tuning[1] - tuning[0]).mean(axis=1)))
for rate, points in lead.items():
    print(f"BinaryDuo's lead over the baseline at {rate:6}: {points:.1f} points")
if FULL:
    assert lead[0.0016] > lead[RATE]
    assert (tuning[:, 1] - tuning[:, 0]).mean(
        axis=1
    ).min() > 3  # each method loses by the small rate

# %% [markdown]
# At a tenth of the rate every method is more than 3 points worse, but BinaryDuo loses less than the baseline: its
# lead looks larger than at the rate that suits all three. (Before you trust the lead at ten times the rate, look
# how far the runs of one method lie apart there.) Nobody has to cheat to publish the larger number: a default
# rate without tuning is enough. **A comparison in which the rival is not tuned measures how badly the rival was
# tuned.** The repository's page [docs/compare.md](https://github.com/duonet/duonet/blob/main/docs/compare.md)
# found the same with a deep convolutional network: a lead of 3.7 points at a quarter of the best rate, of which
# 1.4 were left at the best rate (`python tools/tune_compare.py`).
#
# One setting stays untuned: the fine-tuning rate, a quarter of the initial rate. Tuning it would give BinaryDuo
# more tries than the others have.
#
# **Change this.** In `two_stages`, replace the quarter by a half, then by an eighth, and run
# `METHODS["BinaryDuo"](RATE, seed)[1][-1]` for the tuning seeds each time. Does the validation accuracy change by
# more than it differs from seed to seed? Put the quarter back before you continue.
#
# ## 7. The comparison
#
# Everything is chosen. We train six methods with six seeds, 0 to 5. Only now do the test images come in, and each
# trained network sees them once. For each image we keep whether its predicted class was right, which tells more
# than an accuracy.

# %% tags=["slow"]
SEEDS = range(6)
test_x, test_labels = normalize(splits.test.images), splits.test.labels
right = {method: [] for method in METHODS}  # for each seed (5000,) True or False
trained = {}
curves = {method: [] for method in METHODS}
for seed in SEEDS:
    for method, run in METHODS.items():
        model, curve = run(RATE, seed)
        right[method].append(model.eval()(Tensor(test_x)).data.argmax(axis=1) == test_labels)
        curves[method].append(curve)
        trained[method, seed] = model

# %%
accuracy = {
    method: 100 * np.mean(hits, axis=1) for method, hits in right.items()
}  # a number for each seed
print("test accuracy, %        mean ± deviation   seed by seed")
for method, a in accuracy.items():
    print(
        f"{method:24}  {a.mean():.1f} ± {a.std(ddof=1):.1f}     "
        + " ".join(f"{v:.1f}" for v in a)
    )

# %% tags=["hide-input"]
# alt: Left, validation accuracy over nine epochs, the mean of six seeds. Right, test
#      accuracies, a dot for each seed: float far ahead of all quantised methods.
figure, (ax, bars) = plt.subplots(
    1, 2, figsize=(10, 4), layout="constrained", width_ratios=(3, 2)
)
for row, (method, table) in enumerate(curves.items()):
    ax.plot(
        range(1, 10),
        np.mean(table, axis=0),
        "o-",
        color=COLOURS[method],
        markersize=3.5,
        label=method,
    )
    bars.plot(
        accuracy[method], [row] * 6, "o", color=COLOURS[method], alpha=0.5, markeredgewidth=0
    )
    bars.plot(
        [accuracy[method].mean()], [row], "|", color="black", markersize=16, markeredgewidth=2
    )
ax.axvline(FIRST, color="0.7", ls="--", lw=1)
ax.set(
    xlabel="epoch (dashed: decoupling, restart)",
    ylabel="validation accuracy, %, mean of six seeds",
)
ax.set(ylim=(45, 85))
ax.legend(frameon=False, fontsize=9, ncols=2, loc="lower right")
bars.set_yticks(range(6), METHODS)
bars.invert_yaxis()
bars.set(xlabel="test accuracy, % (bar: mean)")
plt.show()

# %% [markdown]
# The float network is far ahead of all quantised networks. The few levels are not the only difference: the float
# network has ReLU, and the ramp of tutorial 3, a float activation as well, was closer to ternary. How far apart
# are the quantised methods, compared with the seeds of one method? The next section answers with numbers. At the
# dashed line the learning rate of the two-stage methods starts again, larger than just before the line; their
# curves rise from epoch 7 to 9, while the rate falls to zero once more.

# %%
means = {method: a.mean() for method, a in accuracy.items()}
spreads = {method: a.std(ddof=1) for method, a in accuracy.items()}
if FULL:
    assert means["float"] > max(m for method, m in means.items() if method != "float") + 2
    assert all(0 < s < 4 for s in spreads.values())
    rise = {
        method: np.mean([curve[8] - curve[6] for curve in table])
        for method, table in curves.items()
    }
    assert rise["BinaryDuo"] > 0 and rise["baseline, restarted"] > 0
    print(
        f"spread over the seeds: from {min(spreads.values()):.1f} "
        f"to {max(spreads.values()):.1f} points"
    )

# %% [markdown]
# ## 8. How sure can six seeds make us?
#
# The same seed gives every method the same batches. So the fair measure is the *paired difference*: for each seed
# $j$, $d_j = a_j - b_j$, the accuracy of one method minus the accuracy of the other. Of $n$ differences we take
# the mean $\bar d$ and its *standard error*,
#
# $$\text{error} = \frac{\text{deviation of the } d_j}{\sqrt n}, \qquad
# \text{deviation} = \sqrt{\frac{1}{n-1} \sum_j (d_j - \bar d)^2}.$$
#
# The deviation says how much one run differs from another. The error says how far the mean of $n$ runs typically
# is from the mean of infinitely many. A table that prints "±" should say which of the two it means. In this
# tutorial it means the deviation.
#
# **Your turn.** Write a function that returns the mean and the error.


# %%
def paired(a, b):
    """Return mean and standard error of the differences a - b, seed by seed."""
    raise NotImplementedError


# %%
def check_paired():
    draw = np.random.default_rng(2)
    for n in (3, 10):
        a, b = draw.normal(0, 5, n), draw.normal(1, 5, n)
        expected = (a - b).mean(), (a - b).std(ddof=1) / n**0.5
        np.testing.assert_allclose(
            paired(a, b), expected, err_msg="mean of the differences, and its standard error"
        )
        mean, error = paired(
            a + 1000 * np.arange(n), b + 1000 * np.arange(n)
        )  # hard and easy seeds
        np.testing.assert_allclose(
            (mean, error), expected, err_msg="what both share must not matter"
        )


attempt(check_paired)


# %% tags=["solution"]
def paired(a, b):
    """Return mean and standard error of the differences a - b, seed by seed."""
    d = np.asarray(a) - np.asarray(b)
    return d.mean(), d.std(ddof=1) / np.sqrt(len(d))


# %% [markdown]
# The mean of few runs lies within two standard errors of the truth less often than one thinks, because the
# deviation itself is estimated from few runs. For normally distributed differences, *Student's t* distribution
# gives the right factor for an interval that covers the truth 95 times in 100: 4.303 for three runs, 2.571 for
# six. These numbers come from a table; a simulation checks them, and shows how little six runs tell about their
# own deviation.

# %%
rng = np.random.default_rng(SEED)  # this section's own, so that it can run again
STUDENT = {3: 4.303, 6: 2.571}
for n, factor in STUDENT.items():
    runs = rng.standard_normal((100_000, n))  # the truth is 0, the deviation 1
    deviation = runs.std(axis=1, ddof=1)
    covered = np.abs(runs.mean(axis=1)) < factor * deviation / np.sqrt(n)
    low, high = np.quantile(deviation, (0.025, 0.975))
    print(
        f"{n} runs: covered {100 * covered.mean():.1f} %; "
        f"deviation, 95 % of the time: {low:.2f} to {high:.2f}"
    )
    assert abs(covered.mean() - 0.95) < 0.004
assert 0.38 < low < 0.44 and 1.5 < high < 1.7

# %% [markdown]
# The factors hold. But with six runs the deviation that we estimate may be anything from 0.4 to 1.6 times the
# true deviation, and 5 times in 100 it lies outside even this range. Now we compare BinaryDuo with the
# baseline. An interval that does not contain 0 earns a verdict, "ahead" or "behind"; any other is "not settled".


# %%
def interval(d):
    """Return the mean of paired differences and the 95 % interval around it."""
    reach = STUDENT[len(d)] * d.std(ddof=1) / np.sqrt(len(d))
    return d.mean(), d.mean() - reach, d.mean() + reach


def verdict(d):
    """Say what the interval of the differences allows to say."""
    _, low, high = interval(d)
    return "ahead" if low > 0 else "behind" if high < 0 else "not settled"


gain = accuracy["BinaryDuo"] - accuracy["binary baseline"]
print("BinaryDuo minus baseline, seed by seed:", " ".join(f"{d:+.1f}" for d in gain))
print(
    "mean {:+.1f}, 95 % interval {:+.1f} .. {:+.1f} points:".format(*interval(gain)),
    verdict(gain),
)

# %% [markdown]
# The verdict has limits. It is about *this* network, 2,000 images, 9 epochs, and the same 5,000 test
# images. And it is about these six runs.
#
# **Predict.** We train the baseline of seed 0 once more, with the same batches and the same initial weights,
# except that each weight of the first layer is moved to the next larger float32, by about one part in ten
# million. On how many of 100 validation images will the two trained networks disagree? On how many will two
# networks with different seeds disagree?
#
# <details><summary>Answer</summary>
#
# On about as many: a rounding has the effect of a new seed. Somewhere a pre-activation lies so close to its
# threshold that the last digit decides, an activation flips from 0 to 1, and from there on the two runs part.
#
# </details>

# %% tags=["slow"]
moved = build("baseline", 0)
first = moved.linear1.weight.data
first[:] = np.nextafter(first, np.float32(1))
train(moved, FIRST + SECOND, RATE, seed=0)
models_compared = trained["binary baseline", 0], moved, trained["binary baseline", 1]
same, after_rounding, after_seed = (
    model.eval()(Tensor(x)).data.argmax(axis=1) for model in models_compared
)
rounding, seeds = (100 * np.mean(same != other) for other in (after_rounding, after_seed))
print(
    f"different predictions: {rounding:.0f} of 100 after a rounding, "
    f"{seeds:.0f} of 100 after another seed"
)
assert rounding > 0.5 * seeds > 4 or not FULL

# %% [markdown]
# So on another machine, which rounds sums in another order, the whole table above changes as if the seeds had
# changed, and a verdict can change. The machine has no defect. This sensitivity is one more reason to report the
# interval, and to believe no difference of a few tenths of a point. It also shows how little two methods have in
# common when they share a seed: the paired interval is valid either way, but here pairing cannot narrow it much.
#
# ### What three seeds would have said
#
# The repository's own pages report three runs. Six seeds contain 20 different sets of three. We ask each of the
# 20 what it would have reported.
#
# **Predict.** With three seeds, how large a deviation could a gain of one point have and still be "ahead" by our
# interval? Use the factor 4.303.
#
# <details><summary>Answer</summary>
#
# The interval reaches $4.303 \cdot s / \sqrt3 \approx 2.5\,s$ to either side. For it to stay above 0 with a mean
# of one point, the deviation $s$ must be below 0.4 points.
#
# </details>

# %%
from itertools import combinations

triples = [gain[list(chosen)] for chosen in combinations(range(6), 3)]
reported = np.array([d.mean() for d in triples])
print(
    f"{len(triples)} sets of three report gains from {reported.min():+.1f} "
    f"to {reported.max():+.1f} points"
)
print(f"all three seeds positive: {sum((d > 0).all() for d in triples)} of 20")
print(f"settled by the interval:  {sum(verdict(d) != 'not settled' for d in triples)} of 20")
assert len(triples) == 20 and abs(reported.mean() - gain.mean()) < 1e-9
assert abs(1 / (4.303 / np.sqrt(3)) - 0.40) < 0.005 and abs(4.303 / np.sqrt(3) - 2.5) < 0.02

# %%
wide = reported.max() - reported.min()
print(f"the luckiest and the unluckiest three seeds differ by {wide:.1f} points")
ordered = np.sort(gain)
np.testing.assert_allclose(wide, ordered[3:].mean() - ordered[:3].mean())

# %% [markdown]
# Method, network and data were the same in all 20 reports: the luckiest three are the upper half of the
# differences, the unluckiest the lower half. Choosing the seeds after the runs is choosing the result. (A loop
# over seeds that stops "when it looks good" chooses the result as well.)
#
# ### A test that assumes less: signs
#
# Student's t assumes normal differences. The *sign test* only counts. If neither method were better, each
# difference would be positive or negative by the toss of a coin, independently of the other seeds. The *p-value*
# is the probability that $n$ coins fall at least as unevenly as ours, in either direction. Leave out differences
# of exactly 0, and let $k$ be the smaller of the two counts. Then
#
# $$p = \min\Bigl(1,\; 2 \cdot 2^{-n} \sum_{i=0}^{k} \binom{n}{i}\Bigr).$$
#
# **Predict.** All three of three seeds favour the new method. What is $p$? How many seeds, all in agreement,
# does it take to come below 0.05?
#
# <details><summary>Answer</summary>
#
# Three coins fall all alike with probability $2 \cdot \tfrac18 = 0.25$: no three seeds can give less. Five seeds
# in agreement give 0.0625, and six give 0.03125. So this test needs at least six seeds to come below 0.05.
#
# </details>
#
# **Your turn.** Write the sign test. `math.comb(n, i)` is $\binom{n}{i}$.


# %%
def sign_test(d):
    """Return the two-sided p-value of the differences d; zeros are left out."""
    raise NotImplementedError


# %%
from itertools import product


def check_sign_test():
    for d in (
        [1, 2, 3],
        [-1, -2, -3, -4, -5],
        [3, -1, 2, 5, 0.0],
        [1, -1],
        [2, 1, 4, -9, 3, 3, 8],
    ):
        signs = np.sign(d)[np.sign(d) != 0]
        coins = np.array(list(product((-1, 1), repeat=len(signs)))).sum(
            axis=1
        )  # every way they can fall
        expected = np.mean(np.abs(coins) >= abs(signs.sum()))
        assert abs(sign_test(np.array(d)) - expected) < 1e-12, f"{d}: expected {expected}"


attempt(check_sign_test)

# %% tags=["solution"]
import math


def sign_test(d):
    """Return the two-sided p-value of the differences d; zeros are left out."""
    positive, n = np.sum(d > 0), np.sum(d != 0)
    k = min(positive, n - positive)
    return min(1.0, 2 * sum(math.comb(int(n), i) for i in range(k + 1)) / 2 ** int(n))


# %% [markdown]
# For our six differences we count all $2^6 = 64$ ways in which six coins can fall. If one seed of the six
# disagrees with the rest, $p$ is already $2 \cdot (1 + 6)/64 \approx 0.22$.

# %%
signs = np.sign(gain[gain != 0])
coins = np.array(list(product((-1, 1), repeat=len(signs)))).sum(axis=1)
p = np.mean(np.abs(coins) >= abs(signs.sum()))
print(f"{(gain > 0).sum()} of 6 seeds favour BinaryDuo: p = {p:.3f}")
smallest = {n: 2 / 2**n for n in (3, 5, 6, 10)}
print(
    "the smallest p there can be:",
    ", ".join(f"{n} seeds {v:.4f}" for n, v in smallest.items()),
)
assert abs(2 * (1 + 6) / 64 - 0.22) < 0.002
assert (
    smallest[3] == 0.25
    and smallest[5] == 0.0625
    and smallest[6] == 0.03125
    and p >= smallest[6]
)

# %% [markdown]
# The sign test may disagree with the interval above. The sign test uses less, the signs without the sizes, and
# assumes less. Where the two disagree, an honest report gives both results.
#
# ### How many seeds would settle half a point?
#
# To find a true gain $g$ with probability 80 %, by a test that errs in 5 % of the cases without a gain, one
# needs about
#
# $$n = \left(\frac{(1.96 + 0.84)\, s}{g}\right)^2$$
#
# runs, where $s$ is the deviation of the paired differences (1.96 and 0.84 are the 97.5 % and 80 % points of a
# normal distribution; Student's larger factors make a small $n$ a little too small). Our measured deviation is
# itself uncertain: by the simulation above, the true deviation may be anything from about 0.6 to 2.5 times as
# large.

# %%
s = gain.std(ddof=1)
for name, deviation in (
    ("at the lower end", s / high),
    ("as measured", s),
    ("at the upper end", s / low),
):
    needed = int(np.ceil(((1.96 + 0.84) * deviation / 0.5) ** 2))
    print(
        f"deviation {deviation:.2f} points ({name}): {needed:4} seeds "
        "to settle a gain of 0.5 points"
    )
assert 0.58 < 1 / high < 0.66 and 2.3 < 1 / low < 2.6

# %% [markdown]
# Compare these numbers with our six seeds. The number of seeds grows with the square of the deviation: twice the
# spread takes four times the seeds. (Section 11 has runs with a smaller spread.)
#
# ### The other source of chance: the test images
#
# The seeds vary the initial weights and the order of the batches, and nothing else. Other test images would have
# given other accuracies. All six seeds are judged by the same images, so more seeds do not reduce this
# uncertainty. To see how large it is, average for each image over the seeds: the share of seeds in which
# BinaryDuo was right, minus the share in which the baseline was right. Then take the standard error over the
# images.

# %%
per_image = 100 * (
    np.mean(right["BinaryDuo"], axis=0) - np.mean(right["binary baseline"], axis=0)
)
by_images = per_image.std(ddof=1) / np.sqrt(len(per_image))
by_seeds = gain.std(ddof=1) / np.sqrt(len(gain))
np.testing.assert_allclose(per_image.mean(), gain.mean())
print(
    f"standard error of the gain: {by_seeds:.2f} points by the seeds, "
    f"{by_images:.2f} by the test images"
)
assert 0.1 < by_images < 1

# %% [markdown]
# Compare the two errors: the second does not fall to 0, however many seeds one runs. And there are sources of
# chance that we have not varied at all, first among them the 2,000 training images. An honest interval names the
# sources that it covers.
#
# ## 9. What is the gain made of?
#
# BinaryDuo differs from the baseline in several ways. Each control shows one of them.
#
# | comparison | what differs | question |
# |---|---|---|
# | BinaryDuo − baseline | everything | is the method worth it? |
# | decoupled from scratch − baseline | the shape of the network | is it the architecture? |
# | BinaryDuo − decoupled from scratch | coupled first, and a restart | is it the training? |
# | restarted − baseline | the learning rate starts twice | is it the restart? |
# | BinaryDuo − restarted | all but the restart | is it more than the restart? |
# | ternary − BinaryDuo | a third level, full width | how far is BinaryDuo from the network that it imitates? |
#
# **Predict.** "BinaryDuo beats the baseline, so coupling helps." Which comparison of the table could contradict
# the conclusion, even if the first half of the sentence is true?
#
# <details><summary>Answer</summary>
#
# BinaryDuo − decoupled from scratch. If the same architecture does as well without ever having been coupled, the
# gain comes from the architecture.
#
# </details>

# %%
PAIRS = [("BinaryDuo", "binary baseline"), ("decoupled from scratch", "binary baseline")]
PAIRS += [("BinaryDuo", "decoupled from scratch"), ("baseline, restarted", "binary baseline")]
PAIRS += [("BinaryDuo", "baseline, restarted"), ("ternary, full width", "BinaryDuo")]
differences = {f"{a} − {b}": accuracy[a] - accuracy[b] for a, b in PAIRS}
for name, d in differences.items():
    print("{:41} {:+5.1f}  ({:+.1f} .. {:+.1f})".format(name, *interval(d)), verdict(d))

# %% tags=["hide-input"]
# alt: Six paired differences of test accuracy between two methods, each with a dot for every
#      seed, the mean, and the 95 percent interval; the line at zero tells ahead from behind.
figure, ax = plt.subplots(figsize=(9, 3.8), layout="constrained")
for row, d in enumerate(differences.values()):
    mean, begin, end = interval(d)
    colour = {"ahead": GREEN, "behind": RED, "not settled": GREY}[verdict(d)]
    ax.plot([begin, end], [row, row], color=colour, lw=7, alpha=0.35, solid_capstyle="butt")
    ax.plot(d, np.full(6, row), "o", color=colour, markersize=4)
    ax.plot([mean], [row], "|", color="black", markersize=16, markeredgewidth=2)
ax.axvline(0, color="black", lw=0.8)
ax.set_yticks(range(len(differences)), differences)
ax.invert_yaxis()
ax.set(
    xlabel="difference in test accuracy, points (dots: seeds; band: 95 % interval; bar: mean)"
)
plt.show()

# %% [markdown]
# Green is "ahead", red "behind", grey "not settled". The second and third rows add up to the first, seed by seed:
# the gain is the part of the architecture plus the part of the training.

# %%
whole, shape, training, restart = [differences[f"{a} − {b}"] for a, b in PAIRS[:4]]
np.testing.assert_allclose(shape + training, whole)
parts = f"{shape.mean():+.1f} by the architecture, {training.mean():+.1f} by the training"
print(f"of {whole.mean():+.1f} points: {parts}")
words = {"ahead": "helps", "behind": "hurts", "not settled": "is not settled by six seeds"}
for name, d in {
    "the whole method": whole,
    "coupling + restart": training,
    "a restart": restart,
}.items():
    print(f"{name}: {words[verdict(d)]}")
if FULL:
    assert restart.mean() < whole.mean()

# %% [markdown]
# The lines above are computed: they report the results of your run. Whatever your run found, three things hold.
# The restart alone does less than the whole method, so it does not explain the method's gain. The control
# "decoupled from scratch" has to be subtracted before coupling gets any credit. (The rest is coupling *and*
# restart: one may help while the other hurts. An exercise below separates them.) And "not settled" does not prove
# that there is no effect: it says only that an effect is not proved.
#
# ### Six questions at once
#
# If six intervals of 95 % were independent, at least one of them would miss its true value about one time in
# four. (They are not independent: they share runs.) *Bonferroni's* remedy holds in any case. Let each interval
# miss only 0.05/6 of the time; then at least one of the six misses at most 0.05 of the time. The price is a
# larger factor in place of 2.571. The simulation of section 8 gives this factor.

# %%
rng = np.random.default_rng([SEED, 9])  # this section's own, so that it can run again
runs = rng.standard_normal((400_000, 6))
distance = (
    np.abs(runs.mean(axis=1)) * np.sqrt(6) / runs.std(axis=1, ddof=1)
)  # from 0, in standard errors
factor = np.quantile(distance, 1 - 0.05 / 6)
print(f"at least one of six misses: {1 - 0.95**6:.2f}; factor for six at once: {factor:.1f}")
for name, d in differences.items():
    all_at_once = abs(d.mean()) > factor * d.std(ddof=1) / np.sqrt(6)
    print(
        f"{name:41} alone: {verdict(d):12} "
        f"all six at once: {verdict(d) if all_at_once else 'not settled'}"
    )
assert abs(1 - 0.95**6 - 0.26) < 0.006 and abs(factor - 4.22) < 0.05

# %% [markdown]
# Which column counts? The first row is the question of section 1, asked before any run; a single question that is
# named in advance needs no such correction. Whoever goes through all the rows and reports those that are "ahead"
# or "behind" has asked six questions, and must take the right column.

# %% [markdown]
# ## 10. The mismatch, before and after
#
# The method's explanation is *gradient mismatch*: ternary activations give a coarse gradient that fits the loss
# better. Tutorial 4 has the instrument. The cosine between the coarse gradient and the coordinate discrete
# gradient is 1 where they agree. Noise lowers the cosine just as mismatch does, but measurements on several parts
# of the images show how much noise there is, so that we can take it out. We measure on 8,000 images that no
# network here was trained on: the other 6,000 training images and the 2,000 validation images. We take two seeds,
# four trained networks, and two layers of each network: the last hidden layer, `linear6`, with one staircase
# behind it, and the classifier. We sample 128 weights of each layer.
#
# **Predict.** What is the cosine of the last layer, the classifier, and why?
#
# <details><summary>Answer</summary>
#
# It is 1. There is no staircase behind the classifier: the loss is smooth in its weights, and back-propagation is
# exact there (up to the curvature over a step of 0.1). So the classifier is the control of the instrument.
#
# </details>

# %% tags=["slow"]
from duonet.mismatch import measure

unseen = [part[2000:] for part in splits.train], splits.validation[:2]
images, labels = (np.concatenate(parts) for parts in zip(*unseen))
batch = normalize(images), labels
assert len(labels) == 8000
LAYERS, NETWORKS = ("linear6", "classifier"), ("baseline", "coupled", "decoupled", "BinaryDuo")
mismatch = {}
for seed in (0, 1):
    halfway = build("coupled", seed)
    train(halfway, FIRST, RATE, seed)  # the first stage of section 7 once more
    baseline, tuned = trained["binary baseline", seed], trained["BinaryDuo", seed]
    for name, model in zip(NETWORKS, (baseline, halfway, decouple(halfway), tuned)):
        draw = {"coordinates": 128 if FULL else 16, "rng": np.random.default_rng(seed)}
        mismatch[name, seed] = measure(
            model.eval(),
            F.softmax_cross_entropy,
            batch,
            step=0.1,
            parts=8,
            layers=LAYERS,
            **draw,
        )

# %%
print("                   linear6: raw   without noise   95 % interval    noise   classifier")
for (name, seed), result in mismatch.items():
    row, last = (result[layer] for layer in LAYERS)
    read = f"{row.raw:12.2f} {row.cosine:15.2f}    {row.low:5.2f} .. {row.high:4.2f}"
    read += f" {100 * row.noise:7.0f} %"
    print(f"{name:9} seed {seed} {read} {last.cosine:12.2f}")
assert all(abs(result["classifier"].cosine - 1) < 0.01 for result in mismatch.values())

# %% [markdown]
# The column "noise" is the noise's share of the smoothed gradient's squared length. The classifier has the cosine
# 1, so the instrument works. In `linear6`, compare the raw cosines of the coupled networks with those of the
# baselines. Higher raw cosines alone would not mean much, because noise lowers a raw cosine. Then compare the
# intervals without noise: do the intervals of the baselines lie below the intervals of the coupled networks, in
# both seeds? A NaN says that noise hides the value, and an interval that is wider than ±0.25 says little.
# Decoupling changes the window of the surrogate and the meaning of a step of 0.1, because each copy has half the
# weight; fine-tuning then moves the weights. Are the cosines of the decoupled and fine-tuned networks nearer to
# the coupled networks or to the baselines?
#
# Values with little noise can support or contradict the explanation, but only in *this* layer, the easiest layer.
# Layers further in front are noisier still, as
# [docs/mismatch.md](https://github.com/duonet/duonet/blob/main/docs/mismatch.md) shows for a deep network on
# these images, and two seeds are few. Nor does a higher cosine alone explain a higher accuracy: in tutorial 3 the
# identity as surrogate trained a binary network to a higher accuracy than the clip, and yet its cosine was the
# worst in the toy network of tutorial 4.
#
# ## 11. Larger runs, read in the same way
#
# The repository has two larger comparisons, with the commands that produce them. From
# [docs/training.md](https://github.com/duonet/duonet/blob/main/docs/training.md),
# `duonet train vgg7 fashion-mnist --width 16 --epochs 20` with 55,000 training images and three seeds: BinaryDuo
# 88.68 ± 0.22, baseline 87.61 ± 0.01, restarted baseline 87.51 ± 0.15. From
# [docs/compare.md](https://github.com/duonet/duonet/blob/main/docs/compare.md),
# `duonet compare --seeds 3 --ablation` with 4,000 images and a convolutional network of nine quantised
# activations: BinaryDuo 82.55 ± 0.97, baseline 81.46 ± 0.81, decoupled from scratch 82.45 ± 0.82. (± is the
# deviation.) The pages give means and deviations, so we take the error of a difference of two independent means,
# the root of the summed squares. The right factor for two groups of three is at most the factor of one group,
# 4.303; we take 4.303, to be on the safe side.
#
# **Predict.** The first comparison has a lead over the baseline and a lead over the restarted baseline. The
# second has a lead over the baseline and a lead over the control "from scratch". Which of these four leads are
# settled?
#
# <details><summary>Answer</summary>
#
# The first two leads are settled: they are more than a point, at a spread of a fifth of a point. The other two
# are not: at a spread of almost a point, three seeds settle neither a lead of a tenth of a point nor a lead of a
# whole point.
#
# </details>

# %%
pages = {"training.md, over baseline": ((88.68, 0.22), (87.61, 0.01))}
pages["training.md, over restarted"] = ((88.68, 0.22), (87.51, 0.15))
pages["compare.md, over baseline"] = ((82.55, 0.97), (81.46, 0.81))
pages["compare.md, over from scratch"] = ((82.55, 0.97), (82.45, 0.82))
for name, ((mean, s), (other, t)) in pages.items():
    reach = STUDENT[3] * np.hypot(s, t) / np.sqrt(3)
    print(
        f"{name:30} {mean - other:+.2f}  "
        f"({mean - other - reach:+.2f} .. {mean - other + reach:+.2f})"
    )
    assert (mean - other > reach) == name.startswith("training")

# %% [markdown]
# Three seeds are few, but how much they can say depends on the spread. With more data and a longer training,
# BinaryDuo was more than a point ahead of both baselines. In the smaller comparison three seeds do not settle a
# lead of the same size. So its page repeats the comparison with eight seeds, and takes differences seed by seed:
# 1.1 ± 0.3 over the baseline and −0.1 ± 0.4 over BinaryDuo's own architecture from scratch, where ± is the error
# of the mean. Now the lead is settled, and the architecture alone has it as well. The first comparison has no
# control "from scratch", so it is open whether coupling itself helps there. For CIFAR-10 docs/training.md has this
# control: the control has most of the lead after 20 epochs (three seeds), and all of it after 60 (one seed).
#
# ## Recap
#
# * BinaryDuo is three calls: train a coupled network, `decouple`, train again *with a fresh optimiser*.
# * Decoupling changed no prediction in float64. Whatever the method gains, it gains by training.
# * A fair comparison has equal images, epochs and weights, tunes every method that it ranks, and is tested once.
# * A learning rate that is too small flattered BinaryDuo. Tune the rival.
# * A mean without its spread says nothing. Three seeds cannot give a sign test below $p = 0.25$; six can reach
#   0.031.
# * Subtract the controls before coupling gets the credit: architecture and restart. Six questions need wider
#   intervals than one question.
# * "Not settled" is a result. So is a method that does not win.
#
# ## Exercises
#
# **★ Seeds needed.** Write the formula of section 8 as a function that returns a whole number, rounded up.


# %%
def seeds_needed(gain, deviation):
    """Return how many seeds find a true gain with probability 80 % at a level of 5 %."""
    raise NotImplementedError


# %%
def check_seeds_needed():
    assert seeds_needed(0.5, 1.0) == 32 and seeds_needed(1.0, 1.0) == 8, (
        "the formula of section 8, rounded up"
    )
    draw = np.random.default_rng(3)
    for gain, deviation in (
        (0.5, 0.9),
        (1.1, 1.7),
    ):  # does it keep its promise? (z test, known deviation)
        n = seeds_needed(gain, deviation)
        means = draw.normal(gain, deviation, (20_000, n)).mean(axis=1)
        assert 0.78 < np.mean(means > 1.96 * deviation / np.sqrt(n)) < 0.85, (
            "it must find the gain in 80 % of studies"
        )


attempt(check_seeds_needed)


# %% tags=["solution"]
def seeds_needed(gain, deviation):
    """Return how many seeds find a true gain with probability 80 % at a level of 5 %."""
    return int(np.ceil(((1.96 + 0.84) * deviation / gain) ** 2))


# %% [markdown]
# **★★ A test between the two.** The sign test throws the sizes away; Student's t assumes a normal distribution.
# The *sign-flip test* does neither: if neither method were better, every $d_j$ could as well have had the other
# sign. Go through all $2^n$ ways to flip signs. The p-value is the share of them whose mean is at least as far
# from 0 as ours. (Compare with `>=` and a tolerance of `1e-9`: our own signs must count.)


# %%
def flip_test(d):
    """Return the two-sided p-value of the sign-flip test of the differences d."""
    raise NotImplementedError


# %%
def check_flip_test():
    assert flip_test(np.array([1.0, 2.0, 3.0])) == 0.25, "only + + + and - - - are as far out"
    assert flip_test(np.array([1.0, -1.0])) == 1, "no pattern is nearer to 0"
    assert flip_test(np.array([3.0, -1.0, 2.0])) == 0.5, (
        "4 of 8 patterns have a sum of at least 4 in size"
    )
    d = np.random.default_rng(4).normal(0.5, 1, 9)
    assert flip_test(d) == flip_test(-d) == flip_test(10 * d), "sign and unit do not matter"
    assert flip_test(np.abs(d)) == 2 / 2**9, "all alike: 2 patterns of 512"


attempt(check_flip_test)


# %% tags=["solution"]
def flip_test(d):
    """Return the two-sided p-value of the sign-flip test of the differences d."""
    signs = np.array(list(product((-1, 1), repeat=len(d))))
    return np.mean(np.abs((signs * d).mean(axis=1)) >= abs(d.mean()) - 1e-9)


# %% [markdown]
# **★★ What looking at the test images buys.** Someone tries $k$ settings that are equally good in truth, and
# reports the best. The test accuracies differ only by chance, with deviation $s$. How many points does this
# choice gain, on average? Estimate the expected maximum of $k$ normal numbers of mean 0 and deviation $s$ from
# 20,000 draws. (For $k = 2$ it is $s/\sqrt\pi$.)


# %%
def optimism(k, s, rng):
    """Estimate the expected maximum of k normal numbers of mean 0 and deviation s."""
    raise NotImplementedError


# %%
def check_optimism():
    draw = np.random.default_rng(5)
    assert abs(optimism(1, 2.0, draw)) < 0.06, "a single try gains nothing"
    assert abs(optimism(2, 1.0, draw) - 1 / np.sqrt(np.pi)) < 0.03, "k = 2: s / sqrt(pi)"
    assert abs(optimism(3, 2.0, draw) - 3 / np.sqrt(np.pi)) < 0.06, "k = 3: 1.5 s / sqrt(pi)"
    assert 3.0 < optimism(10, 2.0, draw) < 3.2, "k = 10: about 1.54 s"


attempt(check_optimism)


# %% tags=["solution"]
def optimism(k, s, rng):
    """Estimate the expected maximum of k normal numbers of mean 0 and deviation s."""
    return rng.normal(0, s, (20_000, k)).max(axis=1).mean()


# %% [markdown]
# **★★ The missing row.** BinaryDuo's training differs from the control's in two ways, coupling and restart. Train
# "decoupled from scratch, restarted": one line with `two_stages` and `from_scratch`, six seeds. Before you run
# it, ask: is it fair to add a control *after* the results are known? Decide first what each outcome would mean.
# ([docs/compare.md](https://github.com/duonet/duonet/blob/main/docs/compare.md) has this row.)
#
# **★★★ Depth.** Repeat sections 6 to 9 with two hidden layers, and with ten. Tune each by validation images
# first. Write down what you expect before you run them: at which depth is there more mismatch to reduce?
#
# **★★★ A network with convolutions.** `duonet compare --seeds 3 --ablation` on the command line runs a deep
# convolutional network, with one more control than ours. It takes far longer than this notebook: start it before a
# break. Read its `results.json`, and put its paired differences into `interval` and `verdict`.
#
# ## References
#
# * H. Kim, K. Kim, J. Kim, J.-J. Kim: *BinaryDuo: Reducing Gradient Mismatch in Binary Activation Network by
#   Coupling Binary Activations*, ICLR 2020, [arXiv 2002.06517](https://arxiv.org/abs/2002.06517). The method,
#   and the claim that this tutorial tests on a small scale.
# * H. Xiao, K. Rasul, R. Vollgraf: *Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning
#   Algorithms*, 2017, [arXiv 1708.07747](https://arxiv.org/abs/1708.07747). The images.
# * J. Demšar: *Statistical Comparisons of Classifiers over Multiple Data Sets*, Journal of Machine Learning
#   Research 7, 2006. Which tests fit comparisons of learning methods, the sign test among them, and what they
#   assume.
# * T. G. Dietterich: *Approximate Statistical Tests for Comparing Supervised Classification Learning
#   Algorithms*, Neural Computation 10(7), 1998. The sources of chance of section 8, and tests that mistake one
#   for another.
# * X. Bouthillier et al.: *Accounting for Variance in Machine Learning Benchmarks*, MLSys 2021, [arXiv
#   2103.03098](https://arxiv.org/abs/2103.03098). How much seeds, data and settings each add to the spread.
# * I. Loshchilov, F. Hutter: *SGDR: Stochastic Gradient Descent with Warm Restarts*, ICLR 2017, [arXiv
#   1608.03983](https://arxiv.org/abs/1608.03983). The cosine, and the restarts that make the restarted baseline a
#   control of its own.
# * I. Loshchilov, F. Hutter: *Decoupled Weight Decay Regularization*, ICLR 2019, [arXiv
#   1711.05101](https://arxiv.org/abs/1711.05101). AdamW. (Its "decoupled" has nothing to do with ours.)
