# %% [markdown]
# # Derive convolution and batch norm, forwards and backwards
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/duonet/duonet/blob/main/tutorials/02_conv_batchnorm.ipynb)
#
# Two layers do most of the work in an image network. You write both from their definitions, derive their
# gradients on paper, and check every line against numerical gradients and against `duonet`.

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

from duonet import Function, Tensor, check_gradients, functional
from duonet.exercise import attempt, full_run

SEED = 0  # of every section's own generator: so its cells can run again, and in any order
FULL = full_run()  # False in a browser, which has one thread and no measured floors

# %% tags=["hide-input"]
# alt: Above, a window of a 3 by 3 image becomes a row of the matrix cols, and its product with
#      the kernel one number of y. Below, backwards: the middle pixel was copied into four
#      rows, so its gradient is a sum of four numbers.
index = np.lib.stride_tricks.sliding_window_view(np.arange(9).reshape(3, 3), (2, 2)).reshape(
    4, 4
)
kernel, dy = np.arange(1, 5), np.arange(10, 50, 10)
dcols = np.outer(dy, kernel)
panels = [
    np.arange(9),
    index,
    index @ kernel,
    np.bincount(index.ravel(), dcols.ravel()),
    dcols,
    dy,
]
marks = [
    np.isin(panels[0], index[3]),
    index == index[3],
    dy == 40,
    panels[0] == 4,
    index == 4,
    dy > 0,
]
titles = (
    "x",
    "gather →  cols, a window a row",
    "multiply →  y",
    "dx  ← scatter-add",
    "dcols  ← multiply",
    "dy",
)
fig, axes = plt.subplots(
    2, 3, figsize=(7.5, 5.6), width_ratios=[3, 4, 2], layout="constrained"
)
for k, (ax, values, marked, title) in enumerate(zip(axes.flat, panels, marks, titles)):
    side = int(np.sqrt(values.size))
    shades = np.where(marked, 0.5, 0.1).reshape(side, -1)
    ax.pcolormesh(
        shades,
        cmap=("Blues", "Oranges")[k // 3],
        vmin=0,
        vmax=1,
        edgecolors="white",
        linewidth=3,
    )
    for (row, column), value in np.ndenumerate(values.reshape(side, -1)):
        ax.text(column + 0.5, row + 0.5, f"{value:g}", ha="center", va="center", fontsize=13)
    ax.set(title=title, xticks=[], yticks=[], aspect="equal", ylim=(side, 0), frame_on=False)
plt.show()

# %% [markdown]
# > **Do** write a convolution as six loops, as a gather and one matrix product, and its backward pass; write
# > batch norm and its gradient twice, once node by node and once in closed form.
# >
# > **Learn** why the backward pass of copying is adding; why a convolution is a matrix product, and what makes
# > the product fast; why batch norm's gradient is a projection; why binary networks put batch norm before every
# > quantiser.
# >
# > **Need** NumPy, the chain rule, the product of two matrices, and tutorial 1: `Tensor`, `Function`, the
# > upstream gradient `dy`, `check_gradients`.
# >
# > **Time** Runs in 10 s on two cores (measured); an hour and a half to read and work through. In a browser it
# > only prints the ratios that it measures; the floors of section 5 hold for the full run.
#
# The figure shows the first half in miniature. The upper row is the forward pass: a window of the image x becomes
# a row of the matrix `cols`, and its product with the kernel becomes one number of y. The lower row is the
# backward pass: the pixel in the middle was copied into four rows, so its gradient is the sum of the four marked
# numbers.
#
# These words and shapes are used throughout. A batch of images is `x (N, H, W, C)`: N images of H rows and W
# columns, with C numbers (*channels*) at every pixel; the channels come last. A bank of kernels is
# `w (KH, KW, C, OC)`: each of the OC kernels is a small image of KH rows and KW columns with C channels. The
# result is `y (N, OH, OW, OC)`. L is the loss, one number; `dy` is the gradient of L with respect to `y`, the
# *upstream gradient*, and has the shape of `y`. From it we want to compute `dx` and `dw`, the gradients with
# respect to `x` and `w`.

# %% [markdown]
# ## 1. A convolution by hand
#
# Take one image of 3 × 3 pixels with one channel, and one kernel of 2 × 2. Lay the kernel on the image's top left
# corner, multiply the numbers that lie on top of each other, and add the products: the sum is y[0, 0]. Then move
# the kernel by one pixel.
#
# $$x = \begin{pmatrix} 1 & 2 & 3 \\ 4 & 5 & 6 \\ 7 & 8 & 9 \end{pmatrix} \qquad
# w = \begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix} \qquad
# y_{00} = 1\cdot1 + 2\cdot2 + 4\cdot3 + 5\cdot4 = 37$$
#
# In symbols, with i, j for the place of the window and p, q for the place inside it:
#
# $$y_{ij} = \sum_{p=0}^{KH-1} \sum_{q=0}^{KW-1} x_{i+p,\; j+q}\; w_{pq}$$
#
# **Predict.** How large is y, and what is its last value, at the bottom right?
#
# <details><summary>Answer</summary>
#
# The kernel has two places along each axis, so y is 2 × 2. At the bottom right it lies on 5, 6, 8, 9:
# 5·1 + 6·2 + 8·3 + 9·4 = 77.
#
# </details>

# %%
x = np.arange(1.0, 10.0).reshape(3, 3)
w = np.array([[1.0, 2.0], [3.0, 4.0]])
y = np.zeros((2, 2))
for i in range(2):
    for j in range(2):
        for p in range(2):
            for q in range(2):
                y[i, j] += x[i + p, j + q] * w[p, q]
assert y[0, 0] == 37 and y[1, 1] == 77
print(y)

# %% [markdown]
# A mathematician's convolution turns the kernel by half a turn first; the same operation without the turn is
# called cross-correlation. In deep learning it is called convolution as well, and since the kernel is learned,
# nothing is lost. The turned kernel comes back by itself in the backward pass, as the last exercise shows.
#
# Two options decide where the windows lie. With *stride* s the kernel moves s pixels at a time. With *padding*
# P the image first gets P rows and columns of zeros on each side, so that the kernel may hang over the edge.
#
# **Exercise (★).** How many windows fit along one axis? Work out the number for an axis of `size` pixels and a
# kernel of `k` pixels, with stride and padding, then check it.


# %%
def windows_along(size, k, stride, padding):
    """Return how many windows of k pixels fit, `stride` apart, with padding on both ends."""
    raise NotImplementedError


# %%
def check_windows_along():
    for size in range(4, 10):
        for k, stride, padding in np.ndindex(5, 4, 3):
            k, stride = k + 1, stride + 1
            if k <= size + 2 * padding:
                x, w = Tensor(np.ones((1, size, 1, 1))), Tensor(np.ones((k, 1, 1, 1)))
                y = functional.conv2d(x, w, stride=stride, padding=padding)
                assert windows_along(size, k, stride, padding) == y.shape[1], (
                    f"size {size}, kernel {k}, stride {stride}, padding {padding}"
                )


attempt(check_windows_along)


# %% tags=["solution"]
def windows_along(size, k, stride, padding):
    """Windows start at 0, stride, 2 stride ...; the last at size + 2 padding − k at most."""
    return (size + 2 * padding - k) // stride + 1


# %% [markdown]
# Here is the whole definition. Window (i, j) starts at pixel (s i, s j) of the padded image; the sum runs over
# the kernel's rows p, columns q and the channels c, and there is one y for each kernel o:
#
# $$y_{n,i,j,o} = \sum_{p,\,q,\,c} x^{\text{padded}}_{n,\; s\,i+p,\; s\,j+q,\; c}\; w_{p,q,c,o}$$
#
# The formula has seven indices. We leave the images n to NumPy's slice and write six loops for the others.
# `np.ndindex(OH, OW, OC)` runs through three nested loops, so the two `for` lines below are the six.


# %%
def pad(x, padding):
    """Put `padding` zeros around both image axes."""
    return np.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))


def conv_loops(x, w, stride=1, padding=0):
    x, (KH, KW, C, OC) = pad(x, padding), w.shape
    OH, OW = (x.shape[1] - KH) // stride + 1, (x.shape[2] - KW) // stride + 1
    y = np.zeros((len(x), OH, OW, OC), x.dtype)
    for i, j, o in np.ndindex(OH, OW, OC):
        for p, q, c in np.ndindex(KH, KW, C):
            y[:, i, j, o] += x[:, stride * i + p, stride * j + q, c] * w[p, q, c, o]
    return y


# %% [markdown]
# `duonet.functional` keeps a version with six loops as well, `conv2d_reference`. It adds in the same order as our
# version, so the two must agree to the last bit. The fast version, `duonet.functional.conv2d`, adds in another
# order. The last digits of a floating-point sum depend on the order, so the fast version must agree to 1e-12. On
# small whole numbers no sum is ever rounded, and it must agree in every bit.

# %%
rng = np.random.default_rng(SEED)  # this section's own, so that it can run again
x, w = rng.standard_normal((2, 7, 6, 3)), rng.standard_normal((3, 2, 3, 4))
options = {"stride": 2, "padding": 1}
y = conv_loops(x, w, **options)
library = functional.conv2d(Tensor(x), Tensor(w), **options).data
assert np.array_equal(y, functional.conv2d_reference(x, w, **options))
np.testing.assert_allclose(y, library, rtol=1e-12, atol=1e-12)
whole_x, whole_w = np.round(9 * x), np.round(9 * w)
whole = functional.conv2d(Tensor(whole_x), Tensor(whole_w), **options).data
assert np.array_equal(conv_loops(whole_x, whole_w, **options), whole)
print(x.shape, "convolved with", w.shape, "gives", y.shape)

# %% [markdown]
# ## 2. Windows as rows: a gather
#
# Six loops of Python are slow: every step pays for the interpreter and does one multiplication for each image. But
# look at the formula again. If the numbers of each window stood in one row, the sum over p, q, c would be the sum
# in a matrix product. So we write each window as a row. The matrix of windows is called `cols` (the operation has
# been called *im2col*, image to columns, since a time when windows were columns); it has one row for each window
# and one column for each place in it:
#
# $$\text{cols}\;(N \cdot OH \cdot OW,\; KH \cdot KW \cdot C)$$
#
# NumPy can build `cols` in one indexing step. For every window and every place inside it, `rows` holds the
# pixel's row s i + p, and `columns` holds its column s j + q. The index has four axes: window (i, j) and place
# (p, q). (`np.ogrid[:a, :b]` gives the numbers 0 to a − 1 as a column and 0 to b − 1 as a row; their sum is a
# table.)


# %%
def window_index(H, W, KH, KW, stride=1):
    """Return row and column of place (p, q) of window (i, j), in shapes that broadcast."""
    i, p = np.ogrid[: (H - KH) // stride + 1, :KH]
    j, q = np.ogrid[: (W - KW) // stride + 1, :KW]
    rows, columns = stride * i + p, stride * j + q
    return rows[:, None, :, None], columns[None, :, None, :]


rows, columns = window_index(3, 3, 2, 2)
small = np.arange(1.0, 10.0).reshape(1, 3, 3, 1)
windows = small[:, rows, columns]
assert windows.shape == (1, 2, 2, 2, 2, 1), "N, OH, OW, KH, KW, C"
cols = windows.reshape(4, 4)
assert cols[0].tolist() == [1, 2, 4, 5]
print(cols)

# %% [markdown]
# The four rows are the four windows of section 1. To fetch numbers from computed places, as
# `small[:, rows, columns]` does, is called a *gather*. A gather calculates nothing: every number of cols is a
# copy of a number of x.
#
# **Predict.** The figure at the top showed that the pixel in the middle is copied four times. How often is a
# pixel in a corner copied, and how often a pixel in the middle of an edge? How many numbers does cols hold for
# each number of x, when the image is large and the kernel 3 × 3 with stride 1?
#
# <details><summary>Answer</summary>
#
# A corner lies in one window, the middle of an edge in two. In a large image nearly every pixel lies at each of
# the 9 places of some window, so cols is 9 times as large as x. Speed has a price in memory.
#
# </details>
#
# A gather is a *linear map*: every output is a sum of inputs with fixed coefficients, here a single 1 among
# zeros. So it has a matrix, G, with cols = G x when cols and x are written as long vectors. Column k of G is the
# gather of the k-th unit image, which is 1 at one pixel and 0 elsewhere.

# %%
units = np.eye(9).reshape(9, 3, 3, 1)
G = units[:, rows, columns].reshape(9, 16).T
assert np.array_equal(G @ small.ravel(), cols.ravel())
assert np.array_equal(G.sum(axis=1), np.ones(16)), "each entry of cols is a copy of one pixel"
copies = G.sum(axis=0).reshape(3, 3)
assert copies[1, 1] == 4 and copies[0, 0] == 1 and copies[0, 1] == 2
many_rows, many_columns = window_index(100, 100, 3, 3)
assert (28 * 28 * 3 * 3 * 16) * (28 * 28 * 16) > 1_000_000_000, (
    "entries of G for a larger image"
)
assert 8.5 < many_rows.size * many_columns.size / 100**2 < 9, "numbers in cols for each pixel"

# %% tags=["hide-input"]
# alt: Left, the matrix of the gather: sixteen rows with a single 1 each. Right, its column
#      sums: a corner pixel was copied once, an edge pixel twice, the middle pixel four times.
BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "0.45"
fig, (left, right) = plt.subplots(
    1, 2, figsize=(7.5, 4.4), width_ratios=[1.3, 1], layout="constrained"
)
left.imshow(G, cmap="Blues", vmax=1.3, aspect="auto")
left.set(
    title="G: one row for each entry of cols",
    xlabel="pixel of x",
    ylabel="entry of cols (window by window)",
)
left.set(xticks=range(9), yticks=range(16))
left.hlines([3.5, 7.5, 11.5], -0.5, 8.5, color=ORANGE, lw=1.5)
right.imshow(copies, cmap="Blues", vmax=8)
for (row, column), value in np.ndenumerate(copies):
    right.text(column, row, f"{value:g}", ha="center", va="center", fontsize=14)
right.set(
    title="Column sums of G:\ncopies made of each pixel",
    xlabel="column of x",
    ylabel="row of x",
)
right.set(xticks=range(3), yticks=range(3))
plt.show()

# %% [markdown]
# The left panel shows the matrix of the gather, 16 × 9; the lines separate the four windows. Every row has a
# single 1. The right panel shows its column sums, one for each pixel: the number of windows that hold this pixel.
#
# Nobody stores G: for a single image of 28 × 28 pixels and 16 channels and a 3 × 3 kernel it would have over a
# billion entries, nearly all 0. But G shows at once what the backward pass must be.
#
# ### The backward pass of a gather is a scatter-add
#
# Let `dcols` be the gradient of L with respect to cols. A small change δx of the image changes cols by G δx,
# hence the loss by
#
# $$\delta L = \text{dcols}^\top (G\, \delta x) = (G^\top \text{dcols})^\top \delta x
# \qquad\Longrightarrow\qquad dx = G^\top \text{dcols}.$$
#
# Row k of Gᵀ has a 1 at every place to which pixel k was copied. So dx at a pixel is the *sum* of dcols over all
# its copies: each copy influences the loss, and the influences add up. Where the gather read from
# `rows, columns`, the backward pass *adds into* the same places. This is called a *scatter-add*, and for windows
# *col2im*. In NumPy it is `np.add.at`.
#
# **Predict.** Let dcols be all ones. What is dx for the 3 × 3 image? And what would
# `dx[:, rows, columns] += dcols` give instead of `np.add.at`?
#
# <details><summary>Answer</summary>
#
# Gᵀ times ones is the vector of column sums of G: 1 at the corners, 2 at the edges, 4 in the middle. The `+=`
# reads all old values, adds, and writes all of them back; where an index occurs several times the last write
# wins. Every pixel is written as 0 + 1, so dx would be all ones: contributions are lost, and no error says so.
#
# </details>

# %%
dx, wrong = np.zeros((1, 3, 3, 1)), np.zeros((1, 3, 3, 1))
dcols = np.ones((1, 2, 2, 2, 2, 1))
np.add.at(dx, (slice(None), rows, columns), dcols)
wrong[:, rows, columns] += dcols
assert np.array_equal(dx.ravel(), G.T @ dcols.ravel())
assert np.array_equal(dx[0, :, :, 0], copies) and np.array_equal(wrong, np.ones((1, 3, 3, 1)))
print(dx[0, :, :, 0])

# %% [markdown]
# The backward pass of a linear map is the transposed map, and a test of this needs no derivative: for random
# images x and random z of cols' shape, ⟨G x, z⟩ = ⟨x, Gᵀ z⟩, where ⟨a, b⟩ is the sum of the products. We put both
# maps into functions and test them in this way, with a stride of 2.


# %%
def im2col(x, KH, KW, stride):
    """Gather: (N, H, W, C) to (N OH OW, KH KW C)."""
    rows, columns = window_index(x.shape[1], x.shape[2], KH, KW, stride)
    return x[:, rows, columns].reshape(-1, KH * KW * x.shape[3])


def col2im(cols, shape, KH, KW, stride):
    """Scatter-add, the transpose of im2col: (N OH OW, KH KW C) to shape = (N, H, W, C)."""
    N, H, W, C = shape
    rows, columns = window_index(H, W, KH, KW, stride)
    x = np.zeros(shape, cols.dtype)
    np.add.at(
        x,
        (slice(None), rows, columns),
        cols.reshape(N, len(rows), columns.shape[1], KH, KW, C),
    )
    return x


# %%
rng = np.random.default_rng([SEED, 2])  # this section's own, so that it can run again
x, z = rng.standard_normal((2, 7, 6, 3)), rng.standard_normal((2 * 3 * 2, 3 * 3 * 3))
forwards = (im2col(x, 3, 3, 2) * z).sum()
backwards = (x * col2im(z, x.shape, 3, 3, 2)).sum()
assert abs(forwards - backwards) < 1e-12 * abs(x).sum()
assert np.array_equal(im2col(x, 3, 3, 2), functional.im2col(x, 3, 3, 2, 0, 0))
np.testing.assert_allclose(
    col2im(z, x.shape, 3, 3, 2), functional.col2im(z, x.shape, 3, 3, 2, 0), rtol=1e-12
)
print("im2col and col2im are each other's transpose, and equal to duonet's")

# %% [markdown]
# **Exercise (★★).** `np.add.at` is safe but slow, because it goes through the indices one by one. There is a
# faster way. For one fixed place (p, q), different windows hold *different* pixels, and these pixels form a
# regular pattern: every `stride`-th row from p and every `stride`-th column from q. So a plain `+=` on a slice is
# right, once for each of the KH · KW places. Write col2im in this way.


# %%
def col2im_slices(cols, shape, KH, KW, stride):
    """As col2im, by one += on a slice of the image for each place (p, q) of the kernel."""
    raise NotImplementedError


# %%
def check_col2im_slices():
    for KH, KW, stride in ((1, 1, 1), (2, 3, 1), (3, 3, 2), (2, 2, 3)):
        rng = np.random.default_rng(SEED)
        z = rng.standard_normal(im2col(np.zeros((2, 7, 6, 3)), KH, KW, stride).shape)
        expected = col2im(z, (2, 7, 6, 3), KH, KW, stride)
        np.testing.assert_allclose(
            col2im_slices(z, (2, 7, 6, 3), KH, KW, stride),
            expected,
            rtol=1e-12,
            atol=1e-12,
            err_msg=f"not what col2im makes, kernel {KH} by {KW}, stride {stride}",
        )


attempt(check_col2im_slices)


# %% tags=["solution"]
def col2im_slices(cols, shape, KH, KW, stride):
    """Place (p, q) of window (i, j) is pixel (stride i + p, stride j + q)."""
    N, H, W, C = shape
    OH, OW = (H - KH) // stride + 1, (W - KW) // stride + 1
    cols, x = cols.reshape(N, OH, OW, KH, KW, C), np.zeros(shape, cols.dtype)
    for p, q in np.ndindex(KH, KW):
        x[:, p : p + stride * OH : stride, q : q + stride * OW : stride] += cols[:, :, :, p, q]
    return x


# %% [markdown]
# ## 3. One matrix product
#
# The windows are rows now. Flatten the kernels in the same way: `w.reshape(KH·KW·C, OC)` has one column for each
# kernel, and its rows have the order of cols' columns, since both were flattened from the axes (p, q, c). Then
#
# $$\underbrace{y}_{N \cdot OH \cdot OW \,\times\, OC} \;=\;
# \underbrace{\text{cols}}_{N \cdot OH \cdot OW \,\times\, KH \cdot KW \cdot C} \;\;
# \underbrace{w}_{KH \cdot KW \cdot C \,\times\, OC}$$
#
# A general matrix product, or GEMM, is one of the most carefully optimised routines; NumPy calls a BLAS library
# for it. Because the channels come last, y needs only a reshape to become a batch of images again.


# %%
def conv_gemm(x, w, stride=1, padding=0):
    """Convolve by one gather and one matrix product."""
    x, (KH, KW, _, OC) = pad(x, padding), w.shape
    OH, OW = (x.shape[1] - KH) // stride + 1, (x.shape[2] - KW) // stride + 1
    y = im2col(x, KH, KW, stride) @ w.reshape(-1, OC)
    return y.reshape(len(x), OH, OW, OC)


rng = np.random.default_rng([SEED, 3])  # this section's own, so that it can run again
x, w = rng.standard_normal((2, 7, 6, 3)), rng.standard_normal((3, 2, 3, 4))
np.testing.assert_allclose(
    conv_gemm(x, w, **options), conv_loops(x, w, **options), rtol=1e-12, atol=1e-12
)
assert np.array_equal(conv_gemm(whole_x, whole_w, **options), whole)
print("one product equals six loops: to 1e-12, and on whole numbers to the bit")

# %% [markdown]
# ## 4. The backward pass, by the same steps in reverse
#
# The forward pass has three steps: pad, gather, multiply. Each step has a backward pass of its own, and these run
# in reverse order.
#
# **Multiply.** Write r for a row of cols, k for a column: $y_{ro} = \sum_k \text{cols}_{rk}\, w_{ko}$. Which
# outputs depend on $w_{ko}$? Every $y_{ro}$ does, for each r with the slope $\text{cols}_{rk}$. The chain rule
# adds up these contributions. In the same way, every $y_{ro}$ depends on $\text{cols}_{rk}$, for each o with the
# slope $w_{ko}$:
#
# $$dw_{ko} = \sum_r \text{cols}_{rk}\, dy_{ro} \qquad\qquad \text{dcols}_{rk} = \sum_o dy_{ro}\, w_{ko}$$
#
# As matrices, these sums are products again: **dw = colsᵀ dy** and **dcols = dy wᵀ**. (If you forget which factor
# is transposed, the shapes allow only one way.)
#
# **Gather.** By section 2, dx of the padded image is col2im(dcols).
#
# **Pad.** A zero in the border is a constant and no part of x, so we drop its gradient: we cut the border off.
#
# **Predict.** x is (2, 7, 6, 3), w is (3, 2, 3, 4), stride 2, padding 1. What are the shapes of cols and dcols?
#
# <details><summary>Answer</summary>
#
# OH = (7 + 2 − 3) // 2 + 1 = 4 and OW = (6 + 2 − 2) // 2 + 1 = 4, so there are 2 · 4 · 4 = 32 windows of
# 3 · 2 · 3 = 18 numbers: (32, 18). A gradient always has the shape of its variable, so dcols is (32, 18) as
# well.
#
# </details>


# %%
class ScratchConv(Function):
    @staticmethod
    def forward(ctx, x, w, *, stride=1, padding=0):
        ctx.x, ctx.w, ctx.stride, ctx.padding = x, w, stride, padding
        return conv_gemm(x, w, stride, padding)

    @staticmethod
    def backward(ctx, dy):
        x, (KH, KW, C, OC), P = pad(ctx.x, ctx.padding), ctx.w.shape, ctx.padding
        dy = dy.reshape(-1, OC)
        cols = im2col(x, KH, KW, ctx.stride)
        dw = (cols.T @ dy).reshape(KH, KW, C, OC)
        dcols = dy @ ctx.w.reshape(-1, OC).T
        dx = col2im(dcols, x.shape, KH, KW, ctx.stride)
        return dx[:, P : dx.shape[1] - P, P : dx.shape[2] - P], dw


# %% [markdown]
# The backward pass gathers cols again instead of keeping it: cols is KH · KW times as large as x, and memory
# costs more than copying. Now `check_gradients` checks the op, with a random upstream gradient, for several
# strides and paddings. Then we compare with the library's gradients for the same dy. (`gradients` runs an op on
# the tape and returns the gradients of its inputs.)

# %%
from functools import partial

rng = np.random.default_rng([SEED, 4])  # this section's own, so that it can run again
x, w = rng.standard_normal((2, 7, 6, 3)), rng.standard_normal((3, 2, 3, 4))
for stride, padding in ((1, 0), (1, 1), (2, 1), (3, 2)):
    check_gradients(partial(ScratchConv.apply, stride=stride, padding=padding), x, w)


def gradients(op, *inputs, dy):
    tensors = [Tensor(a, requires_grad=True) for a in inputs]
    op(*tensors).backward(dy)
    return [t.grad for t in tensors]


dy = rng.standard_normal((2, 4, 4, 4))
ours = gradients(partial(ScratchConv.apply, **options), x, w, dy=dy)
library = gradients(partial(functional.conv2d, **options), x, w, dy=dy)
for a, b in zip(ours, library):
    np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)
print("dx", ours[0].shape, "and dw", ours[1].shape, "equal duonet's to 1e-12")

# %% [markdown]
# Suppose that the scatter were the `+=` that loses contributions. The forward pass would still be right, and
# training would even run. Only a gradient check finds the mistake. We plant it, and print the first lines of the
# check's message.


# %%
class LossyConv(ScratchConv):
    @staticmethod
    def backward(ctx, dy):
        x, (KH, KW, C, OC) = ctx.x, ctx.w.shape
        dcols = dy.reshape(-1, OC) @ ctx.w.reshape(-1, OC).T
        _, dw = ScratchConv.backward(ctx, dy)
        rows, columns = window_index(x.shape[1], x.shape[2], KH, KW)
        dx = np.zeros_like(x)
        dx[:, rows, columns] += dcols.reshape(len(x), len(rows), columns.shape[1], KH, KW, C)
        return dx, dw


try:
    check_gradients(LossyConv.apply, x, w)
except AssertionError as error:
    print("\n".join(str(error).splitlines()[:5]))
else:
    raise AssertionError("the planted mistake was not found")

# %% [markdown]
# The check compares slopes along a random direction, finds that they differ, and then lists the coordinates, the
# worst first.
#
# **Exercise (★★).** The loops alone lead to the same backward pass. In `y[:, i, j, o] += x[…] * w[p, q, c, o]`,
# one y gets its share from one x. Backwards, this x gets its share from this y, over the same six loops. Write dx
# and dw in this way, without im2col (stride s, no padding).


# %%
def conv_backward_loops(dy, x, w, stride):
    """Return dx and dw by the six loops of conv_loops."""
    raise NotImplementedError


# %%
def check_conv_backward_loops():
    rng = np.random.default_rng(SEED)
    for stride in (1, 2):
        x, w = rng.standard_normal((2, 5, 6, 2)), rng.standard_normal((2, 3, 2, 3))
        dy = rng.standard_normal(conv_loops(x, w, stride).shape)
        expected = gradients(partial(functional.conv2d, stride=stride), x, w, dy=dy)
        dx, dw = conv_backward_loops(dy, x, w, stride)
        for name, found, right in zip(("dx", "dw"), (dx, dw), expected):
            np.testing.assert_allclose(
                found, right, rtol=1e-10, atol=1e-10, err_msg=f"{name}, with stride {stride}"
            )


attempt(check_conv_backward_loops)


# %% tags=["solution"]
def conv_backward_loops(dy, x, w, stride):
    """Each product x w gives x the share dy w, and w the share dy x, summed over images."""
    dx, dw = np.zeros_like(x), np.zeros_like(w)
    for i, j, o in np.ndindex(dy.shape[1:]):
        for p, q, c in np.ndindex(w.shape[:3]):
            row, column = stride * i + p, stride * j + q
            dx[:, row, column, c] += dy[:, i, j, o] * w[p, q, c, o]
            dw[p, q, c, o] += (dy[:, i, j, o] * x[:, row, column, c]).sum()
    return dx, dw


# %% [markdown]
# ## 5. Why one product is fast
#
# All versions above do the same arithmetic: for each output KH · KW · C multiplications and as many additions,
# counted together as *flops* (floating-point operations),
#
# $$\text{flops} = 2 \cdot N \cdot OH \cdot OW \cdot KH \cdot KW \cdot C \cdot OC.$$
#
# They differ in two other numbers. The first is the number of *Python statements*: each statement costs a
# fraction of a microsecond at least, however little it does. The second is the number of *bytes moved*: each
# NumPy call reads its inputs from memory and writes its result to memory. The number of flops for each byte moved
# is called *arithmetic intensity*. If a core can do F flops a second and memory delivers B bytes a second, then
# the time is at least the larger of flops / F and bytes / B. Below an intensity of F / B the core waits for
# memory, however fast the core is.
#
# Take a layer of a small network, and count as if nothing stayed in fast memory between two calls. In the loops a
# statement reads x, writes the product, reads the product, reads y and writes y: 5 N numbers of 4 bytes
# (float32). The matrix version has two statements. The gather reads x and writes cols; the product reads cols and
# w and writes y.
#
# The library goes one step further. It takes a *chunk* of a few images at a time, so few that their cols, about a
# megabyte, stay in the core's own fast memory, the *cache*. Then only x, w and y travel, for two statements a
# chunk. And several threads share the chunks. (The library has other tricks: for few channels it unrolls only the
# width of the windows, and for many channels it needs fewer multiplications. `docs/speed.md` in the repository
# lists them.)

# %%
from duonet import parallel

N, H, W, C, OC, KH, KW = 128, 28, 28, 16, 16, 3, 3  # padding 1, so OH = H and OW = W
flops = 2 * N * H * W * KH * KW * C * OC
x_size, w_size, y_size = N * H * W * C, KH * KW * C * OC, N * H * W * OC
cols_size = N * H * W * KH * KW * C
chunks = parallel.chunks(N, 4 * cols_size // N)
statements = {
    "six loops": H * W * KH * KW * C * OC,
    "one product": 2,
    "chunks": 2 * len(chunks),
}
moved = {
    "six loops": 4 * 5 * N * statements["six loops"],
    "one product": 4 * (x_size + 2 * cols_size + w_size + y_size),
    "chunks": 4 * (x_size + w_size + y_size),
}
intensity = {step: flops / moved[step] for step in moved}
print(len(chunks), "chunks of at most", max(c.stop - c.start for c in chunks), "images")

# %% [markdown]
# **Predict.** cols is 9 times as large as x. By about what factor do the chunks cut the bytes moved by the one
# product?
#
# <details><summary>Answer</summary>
#
# Count in units of x: y is just as large (OC = C), and w is tiny. One product moves 1 for x, 9 + 9 for writing
# and reading cols, and 1 for y: 20 in all. Chunks move 1 + 1. The factor is 10.
#
# </details>

# %%
assert 9.9 < moved["one product"] / moved["chunks"] < 10.1
assert statements["six loops"] > 1_000_000 and statements["chunks"] < 200
assert (
    intensity["six loops"] < 0.2
    and 3 < intensity["one product"] < 4
    and 30 < intensity["chunks"] < 40
)
counted = sum(1 for _ in np.ndindex(H, W, KH, KW, C, OC))
assert counted == statements["six loops"], "the formula, counted"

# %% tags=["hide-input"]
# alt: Bars on logarithmic axes. Six loops take over a million Python statements and a tenth of
#      a flop for each byte moved; one product takes two statements; chunks that fit the cache
#      do ten times as many flops for each byte as one product.
fig, axes = plt.subplots(1, 2, figsize=(7.5, 3), layout="constrained", sharey=True)
panels = [(statements, "Python statements"), (intensity, "flops for each byte moved")]
for ax, (numbers, label) in zip(axes, panels):
    bars = ax.barh(
        list(numbers), list(numbers.values()), color=[GREY, BLUE, ORANGE], height=0.6
    )
    texts = [f"{v:,.0f}" if v >= 10 or v == 2 else f"{v:.1f}" for v in numbers.values()]
    ax.bar_label(bars, texts, padding=4, bbox={"fc": "white", "ec": "none", "pad": 0.5})
    ax.set(xscale="log", xlabel=label)
    ax.spines[["top", "right"]].set_visible(False)
axes[0].set(xlim=(0.7, 3e8), ylabel="version")
axes[1].set(xlim=(0.03, 400))
axes[1].axvline(10, color="black", ls=":", lw=1)
axes[1].text(11, -0.4, "F / B = 10", fontsize=9)
axes[0].invert_yaxis()
plt.show()

# %% [markdown]
# Both axes are logarithmic. In the left panel fewer is better: the matrix product does away with over a million
# statements. In the right panel more is better. The dotted line is an example: F / B for a core that does 100
# billion flops a second and gets 10 billion bytes a second from memory. Your core will differ. One product over
# the whole batch lies left of the line and waits for memory; chunks lie right of the line and wait for
# arithmetic.
#
# So far this is a model. Does the clock agree? Timings jump about on a shared machine, so `measure` lets the
# versions take turns, several times, and takes the median of each. The loops get a smaller layer, because they
# take so long. No two runs have the same ratios, so we print a floor in place of each ratio, a round number well
# below the ratio that we expect; `more_than` makes sure that the ratio is above its floor.
#
# To be fair to the one product, `conv_views` gathers faster than an index can. `sliding_window_view` copies
# nothing: it only says where in memory each window lies. The reshape then copies, and since the channels come
# last, it copies runs of neighbouring numbers.

# %%
from time import perf_counter


def measure(*versions, turns=9):
    """Return the median seconds of each version; in turns, so that a slow moment hits all."""
    for version in versions:
        version()  # the first turn warms up
    seconds = [[] for _ in versions]
    for _ in range(turns):
        for version, times in zip(versions, seconds):
            began = perf_counter()
            version()
            times.append(perf_counter() - began)
    return np.median(seconds, axis=1)


# %%
def more_than(floor, slow, fast):
    if not FULL:
        return f"{slow / fast:.1f} times as fast"
    assert slow / fast > floor, f"only {slow / fast:.2f} times"
    return f"more than {floor} times as fast" if floor > 1 else "faster"


# %% tags=["slow"]
def conv_views(x, w, padding):
    """As conv_gemm for stride 1, the windows not by an index but as a view."""
    x, (KH, KW, C, OC) = pad(x, padding), w.shape
    windows = np.lib.stride_tricks.sliding_window_view(x, (KH, KW), axis=(1, 2)).transpose(
        0, 1, 2, 4, 5, 3
    )
    return (windows.reshape(-1, KH * KW * C) @ w.reshape(-1, OC)).reshape(
        *windows.shape[:3], OC
    )


rng = np.random.default_rng([SEED, 5])  # this section's own, so that it can run again
little = [
    a.astype("float32")
    for a in (rng.standard_normal((16, 10, 10, 4)), rng.standard_normal((3, 3, 4, 8)))
]
np.testing.assert_allclose(
    conv_views(*little, 1), conv_loops(*little, 1, 1), rtol=1e-4, atol=1e-4
)
loops, product = measure(
    lambda: conv_loops(*little, 1, 1), lambda: conv_gemm(*little, 1, 1), turns=5
)
print("six loops → one product:", more_than(20, loops, product))

# %% tags=["slow"]
x, w = (
    rng.standard_normal(shape).astype("float32") for shape in ((N, H, W, C), (KH, KW, C, OC))
)
images, kernels = Tensor(x), Tensor(w)
by_index, by_view, chunked = measure(
    lambda: conv_gemm(x, w, 1, 1),
    lambda: conv_views(x, w, 1),
    lambda: functional.conv2d(images, kernels, padding=1),
)
print("one product, gathered by an index → library's chunks:", more_than(2, by_index, chunked))
print("one product, gathered by a view → library's chunks:", more_than(1, by_view, chunked))

# %% [markdown]
# The first exercise at the end asks for the exact ratios on your machine. The second gain has three causes: the
# cache, the threads (the library gives BLAS one thread and shares out the chunks itself), and, with as few
# channels as here, the unrolling of the width alone.
#
# ### When every input is 0 or 1: four products in one look-up
#
# The networks of this course have activations of 0 and 1. A row of cols then multiplies nothing: it *selects*
# rows of w, and their sum is the row of y. Take the bits four at a time. Four bits have only 16 patterns, and each
# pattern selects one of 16 sums of four rows of w. Compute these 16 sums once and keep them in a table. From then
# on four multiplications and four additions are one look-up and one addition.
#
# Here is an example with four inputs and one output. Let w be 3, −1, 2, 5, and read the bits 1, 0, 1, 1 as a
# number: the first bit counts 1, the others count 2, 4 and 8. The number is 1 + 4 + 8 = 13, and entry 13 of the
# table is 3 + 2 + 5 = 10.
#
# The trick is called the *method of the four Russians*, after Arlazarov, Dinic, Kronrod and Faradžev, who
# multiplied matrices of bits with it in 1970.
#
# **Predict.** A table for four rows of w costs 16 sums. How many windows must look up sums before the table pays
# for itself, if we count additions of rows?
#
# <details><summary>Answer</summary>
#
# Without the table a window adds four rows, and with the table it adds one row: each window saves three
# additions. The 16 sums cost at most one addition each, because every pattern is a smaller pattern plus one more
# row. So the table pays for itself after 6 windows. A layer has thousands of windows.
#
# </details>
#
# **Exercise (★★).** Multiply a matrix of zeros and ones by a matrix of weights with tables.


# %%
def product_by_tables(bits, w):
    """Multiply zeros and ones (M, K) by w (K, OC): 16 sums for every four rows of w."""
    raise NotImplementedError


# %%
def check_product_by_tables():
    bits, w = np.array([[1, 0, 1, 1]]), np.array([[3], [-1], [2], [5]])
    assert product_by_tables(bits, w).tolist() == [[10]], "the example by hand gives 10"
    rng = np.random.default_rng(SEED)
    bits, w = rng.integers(0, 2, (50, 24)), rng.integers(-9, 10, (24, 5))
    assert np.array_equal(product_by_tables(bits, w), bits @ w), (
        "whole numbers agree in every bit"
    )


attempt(check_product_by_tables)


# %% tags=["solution"]
def product_by_tables(bits, w):
    """Look up K / 4 sums for each row of bits, and add them."""
    patterns = np.arange(16)[:, None] >> np.arange(4) & 1  # row n holds the bits of n
    tables = patterns @ w.reshape(-1, 4, w.shape[1])  # (K / 4, 16, OC)
    numbers = bits.reshape(len(bits), -1, 4) @ [1, 2, 4, 8]  # (M, K / 4)
    return sum(table[column] for table, column in zip(tables, numbers.T))


# %% [markdown]
# In NumPy the tables gain nothing: each look-up copies rows of the table to memory and each addition reads them
# back. A compiled loop keeps the row of y in the core's registers and adds the table's row to it. The optional
# kernels in `duonet/compiled` do that, for y and for dw, and `docs/speed.md` shows what they gain.
#
# ## 6. Batch norm forwards
#
# A convolution's outputs may be large or small, around 0 or far from 0, and their place and size change while the
# weights learn. *Batch norm* gives every channel a fixed place and size. Take the values of one channel over the
# whole batch: all images, all pixels, M = N · OH · OW numbers $x_1, \dots, x_M$. Then
#
# $$\mu = \frac1M \sum_m x_m \qquad v = \frac1M \sum_m (x_m - \mu)^2 \qquad \sigma = \sqrt{v + \varepsilon} \qquad
# \hat x_m = \frac{x_m - \mu}{\sigma} \qquad y_m = \gamma\, \hat x_m + \beta$$
#
# μ is the mean, v the variance, ε a small number (10⁻⁵) that keeps us from dividing by 0. γ and β are learned,
# one of each for every channel. In code x is (M, C), with one column for each channel; a reshape gives images
# (N, H, W, C) this shape. The cell ends with an example of M = 8 values.


# %%
def norm_forward(x, gamma, beta, eps=1e-5):
    """(M, C) to (M, C), and what the backward pass needs."""
    mean = x.mean(axis=0)
    centred = x - mean
    var = (centred**2).mean(axis=0)
    sigma = np.sqrt(var + eps)
    xhat = centred / sigma
    return gamma * xhat + beta, (centred, sigma, xhat)


x = np.array([2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0]).reshape(8, 1)
y, (_, sigma, xhat) = norm_forward(x, gamma=1, beta=0, eps=0)
assert x.mean() == 5 and sigma == 2
assert xhat.ravel().tolist() == [-1.5, -0.5, -0.5, -0.5, 0, 0, 1, 2]
print(xhat.ravel())

# %% [markdown]
# The mean is 5 and σ = 2. The value 9 lies 4 above the mean, so its x̂ is 2. The x̂ of a channel always sum to 0,
# and their squares have the mean v / (v + ε): 1 if ε = 0, a little less otherwise. Remember these two facts,
# because the gradient rests on them.

# %%
rng = np.random.default_rng([SEED, 6])  # this section's own, so that it can run again
x, gamma, beta = (
    rng.standard_normal((3, 4, 4, 2)) * [1, 9] + 5,
    rng.standard_normal(2),
    rng.standard_normal(2),
)
y, (_, sigma, xhat) = norm_forward(x.reshape(-1, 2), gamma, beta)
library = functional.batch_norm(Tensor(x), Tensor(gamma), Tensor(beta)).data
np.testing.assert_allclose(y.reshape(x.shape), library, rtol=1e-12, atol=1e-12)
assert abs(xhat.sum(axis=0)).max() < 1e-12 * xhat.size
np.testing.assert_allclose((xhat**2).mean(axis=0), (sigma**2 - 1e-5) / sigma**2, rtol=1e-12)
print("equal to duonet's to 1e-12")

# %% [markdown]
# **Predict.** Add 3 to every value of x, or multiply every value by 10: what happens to y, in each case, if
# ε = 0?
#
# <details><summary>Answer</summary>
#
# Nothing. Adding 3 moves the mean by 3 as well, so x − μ does not change. Multiplying by 10 multiplies both x − μ
# and σ by 10. Batch norm forgets where the values lay and how far they spread.
#
# </details>

# %%
x = rng.standard_normal((12, 1))
y = norm_forward(x, gamma=1, beta=0, eps=0)[0]
np.testing.assert_allclose(norm_forward(x + 3, gamma=1, beta=0, eps=0)[0], y, atol=1e-12)
np.testing.assert_allclose(norm_forward(10 * x, gamma=1, beta=0, eps=0)[0], y, atol=1e-12)
print("y has not changed")

# %% [markdown]
# ## 7. Backwards, node by node
#
# All M values of a channel meet in μ and in v, so $x_1$ influences every $y_m$. The computational graph of
# tutorial 1 keeps track of this: take one small step for each node, then go backwards through the nodes, and add
# up wherever a value was used twice. As with dy, dc is the gradient of L with respect to c, and so on; each line
# uses the lines below it.
#
# | forwards | backwards, from the bottom up |
# |---|---|
# | μ = mean(x) | dμ = −Σ dc, then dx = dc + dμ / M (x was used in c and in μ) |
# | c = x − μ | dc = dx̂ / σ + dv · 2c / M (c was used in x̂ and in v) |
# | v = mean(c²) | dv = dσ / (2σ) |
# | σ = √(v + ε) | dσ = −Σ dx̂ · c / σ² |
# | x̂ = c / σ | dx̂ = γ dy |
# | y = γ x̂ + β | dβ = Σ dy, dγ = Σ dy · x̂ |
#
# Three of the slopes need a derivation. x̂ = c / σ has the slope 1/σ in c and −c/σ² in σ. σ² = v + ε gives 2σ
# ∂σ/∂v = 1, so the slope of σ in v is 1/(2σ). And v is a mean of squares, with the slope 2c/M in each c.
#
# Each sum is there because a single number (μ, σ, γ, β) was copied to all M values: copying forwards is adding
# backwards, as in section 2. A mean does the reverse, so its backward pass copies one number, divided by M, to
# all values.
#
# **Exercise (★).** As a warm-up, take the first two rows only: y = x − mean(x), for each column of x (M, C). What
# is dx?


# %%
def centre_backward(dy):
    """Return dx of y = x − x.mean(axis=0)."""
    raise NotImplementedError


# %%
def check_centre_backward():
    dy = np.random.default_rng(SEED).standard_normal((7, 3))
    (expected,) = gradients(lambda x: x - x.mean(axis=0), np.zeros((7, 3)), dy=dy)
    np.testing.assert_allclose(
        centre_backward(dy), expected, atol=1e-12, err_msg="x acts by itself and by the mean"
    )


attempt(check_centre_backward)


# %% tags=["solution"]
def centre_backward(dy):
    """x is used directly, which gives dy, and in the mean, which gives each x −Σ dy / M."""
    return dy - dy.mean(axis=0)


# %% [markdown]
# Now we write the whole table, line by line.


# %%
def norm_backward_nodes(dy, gamma, kept):
    centred, sigma, xhat = kept
    M = len(dy)
    dbeta = dy.sum(axis=0)
    dgamma = (dy * xhat).sum(axis=0)
    dxhat = gamma * dy
    dsigma = -(dxhat * centred / sigma**2).sum(axis=0)
    dvar = dsigma / (2 * sigma)
    dcentred = dxhat / sigma + dvar * 2 * centred / M
    dmean = -dcentred.sum(axis=0)
    dx = dcentred + dmean / M
    return dx, dgamma, dbeta


# %% [markdown]
# There are two judges: the tape, which walks the same graph of `duonet`'s small ops, and `functional.batch_norm`,
# a single op whose gradient was worked out by hand. All three must agree to a relative 1e-10.


# %%
def composed(x, gamma, beta):
    """Batch norm as a graph of small ops; the tape finds the backward pass."""
    centred = x - x.mean(axis=0)
    sigma = ((centred * centred).mean(axis=0) + 1e-5) ** 0.5
    return gamma * (centred / sigma) + beta


rng = np.random.default_rng([SEED, 7])  # this section's own, so that it can run again
gamma, beta = rng.standard_normal((2, 2))
x, dy = 3 * rng.standard_normal((48, 2)) + 5, rng.standard_normal((48, 2))
by_nodes = norm_backward_nodes(dy, gamma, norm_forward(x, gamma, beta)[1])
by_tape = gradients(composed, x, gamma, beta, dy=dy)
by_library = gradients(functional.batch_norm, x, gamma, beta, dy=dy)
for ours, tape, library in zip(by_nodes, by_tape, by_library):
    np.testing.assert_allclose(ours, tape, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(ours, library, rtol=1e-10, atol=1e-12)
print("nodes, tape and duonet's batch norm agree")

# %% [markdown]
# ## 8. The closed form, and what it means
#
# Substitute the table's lines into each other. From dx̂ = γ dy and c = σ x̂,
#
# $$d\sigma = -\sum_m \gamma\, dy_m \frac{\sigma \hat x_m}{\sigma^2}
#           = -\frac{\gamma}{\sigma} \sum_m dy_m\, \hat x_m$$
#
# $$dc = \frac{\gamma}{\sigma} dy + \frac{d\sigma}{2\sigma} \cdot \frac{2 \sigma \hat x}{M}
#    = \frac{\gamma}{\sigma}\bigl(dy - \hat x \cdot \text{mean}(dy\, \hat x)\bigr).$$
#
# Last, dx = dc − mean(dc). The x̂ have mean 0, so mean(dc) = γ/σ · mean(dy), and
#
# $$\boxed{\;dx = \frac{\gamma}{\sigma}\Bigl(dy - \text{mean}(dy)
#          - \hat x \cdot \text{mean}(dy\, \hat x)\Bigr)\;}$$
#
# Six lines of code for dx have become one.


# %%
def closed_form(dy, xhat, gamma, sigma):
    return gamma / sigma * (dy - dy.mean(axis=0) - xhat * (dy * xhat).mean(axis=0))


def norm_with(formula):
    """Make batch norm as an op whose backward pass is dx = formula(dy, xhat, gamma, sigma)."""

    class Norm(Function):
        @staticmethod
        def forward(ctx, x, gamma, beta):
            y, (_, ctx.sigma, ctx.xhat) = norm_forward(x, gamma, beta)
            ctx.gamma = gamma
            return y

        @staticmethod
        def backward(ctx, dy):
            dx = formula(dy, ctx.xhat, ctx.gamma, ctx.sigma)
            return dx, (dy * ctx.xhat).sum(axis=0), dy.sum(axis=0)

    return Norm.apply


# %%
rng = np.random.default_rng([SEED, 8])  # this section's own, so that it can run again
x, dy = 3 * rng.standard_normal((48, 2)) + 5, rng.standard_normal((48, 2))
gamma, beta = rng.standard_normal((2, 2))
_, kept = norm_forward(x, gamma, beta)
centred, sigma, xhat = kept
dx = closed_form(dy, xhat, gamma, sigma)
np.testing.assert_allclose(dx, norm_backward_nodes(dy, gamma, kept)[0], rtol=1e-10, atol=1e-12)
check_gradients(norm_with(closed_form), x, gamma, beta)
print("the two derivations agree, and with the numerical gradient")

# %% [markdown]
# What does the closed form mean? Write **1** for the vector of M ones and take ε = 0. Then **1** and x̂ are
# perpendicular (the x̂ sum to 0), and both have squared length M. So mean(dy) · **1** is the part of dy along
# **1**, and x̂ · mean(dy x̂) is the part along x̂. The closed form *removes* these two parts and scales the rest:
# up to the factor γ/σ, dx is the orthogonal projection of dy onto the vectors perpendicular to **1** and to x̂,
#
# $$dx = \frac{\gamma}{\sigma}\, P\, dy, \qquad
# P = I - \frac{\mathbf 1 \mathbf 1^\top}{M} - \frac{\hat x \hat x^\top}{M},
# \qquad P^2 = P.$$
#
# The gradient had to be a projection. Section 6 showed that y, and hence the loss, does not change when a
# constant is added to x, a step along **1**, or when x is stretched about its mean, a step along x̂. Along a
# direction in which the loss does not change, the gradient has no component.
#
# **Predict.** The projection takes 2 directions away from M. What is dx if the batch has only two values a
# channel, M = 2?
#
# <details><summary>Answer</summary>
#
# There are only two directions, and the projection takes both away: dx = 0 for every dy (if ε = 0). Two different
# values always become −1 and +1, however far apart they were, so the loss cannot depend on them.
#
# </details>

# %%
M = 12
x, dy = rng.standard_normal((M, 1)), rng.standard_normal((M, 1))
_, (_, sigma, xhat) = norm_forward(x, gamma=1, beta=0, eps=0)
P = np.eye(M) - np.ones((M, M)) / M - xhat @ xhat.T / M
dx = closed_form(dy, xhat, 1, sigma)
np.testing.assert_allclose(dx, P @ dy / sigma, atol=1e-12)
np.testing.assert_allclose(P @ P, P, atol=1e-12)
assert abs(np.trace(P) - (M - 2)) < 1e-12, "its trace: the number of directions it keeps"
assert abs(dx.sum()) < 1e-12 and abs((dx * xhat).sum()) < 1e-12
_, (_, sigma, xhat) = norm_forward(x[:2], gamma=1, beta=0, eps=0)
np.testing.assert_allclose(closed_form(dy[:2], xhat, 1, sigma), 0, atol=1e-12)
print("P keeps", M - 2, "of", M, "directions; with two values it keeps none")

# %% [markdown]
# With ε > 0 the sum of dx is still exactly 0, but scaling x now has a small effect on y. So a small part of dy
# along x̂ remains, the fraction ε / σ². The next cell asserts this.
#
# There is a second picture of the same projection. Plot dy over x, one point for each value. A straight line
# a + b x is a combination of **1** and x̂. Removing the parts along both means removing the best such line:
# mean(dy) + x̂ mean(dy x̂) is the *least-squares line* of dy over x, and σ dx / γ are the residuals, the
# distances of dy from this line.

# %%
x, dy = rng.standard_normal((30, 1)), rng.standard_normal((30, 1))
dy += 0.8 * x + 0.7  # with a slope and an offset that batch norm will take out
_, (_, sigma, xhat) = norm_forward(x, gamma=1, beta=0, eps=0)
slope, offset = np.polyfit(x[:, 0], dy[:, 0], 1)
line = dy.mean() + xhat * (dy * xhat).mean()
np.testing.assert_allclose(line, slope * x + offset, atol=1e-12)
np.testing.assert_allclose(sigma * closed_form(dy, xhat, 1, sigma), dy - line, atol=1e-12)
_, (_, sigma, xhat) = norm_forward(x, gamma=1, beta=0, eps=0.1)
remains = (sigma * closed_form(dy, xhat, 1, sigma) * xhat).sum() / (dy * xhat).sum()
assert (
    abs(remains - 0.1 / sigma**2) < 1e-12
    and abs(closed_form(dy, xhat, 1, sigma).sum()) < 1e-12
)

# %% tags=["hide-input"]
# alt: Left, upstream gradients over x with their least-squares line. Right, what batch norm
#      passes on: the residuals, without offset and trend.
fig, (left, right) = plt.subplots(1, 2, figsize=(7.5, 3.3), layout="constrained", sharey=True)
ends = np.array([x.min(), x.max()])
left.vlines(x, line, dy, color=GREY, lw=1)
left.plot(ends, slope * ends + offset, color=ORANGE, lw=2, label="least-squares line")
left.plot(x, dy, "o", color=BLUE, label="dy")
left.legend(frameon=False)
left.set(title="Upstream gradient", xlabel="x", ylabel="dy, and dx · σ / γ")
right.vlines(x, 0, dy - line, color=GREY, lw=1)
right.axhline(0, color=ORANGE, lw=2)
right.plot(x, dy - line, "o", color=BLUE)
right.set(title="What batch norm passes on: the residuals", xlabel="x")
for ax in (left, right):
    ax.spines[["top", "right"]].set_visible(False)
plt.show()

# %% [markdown]
# The left panel shows 30 values of dy with an offset and a trend. In the right panel both are gone. A layer
# before batch norm never hears "all of you, go up" or "spread out more". β and γ grant these two wishes in its
# place: dβ = Σ dy and dγ = Σ dy x̂ are just the two parts that batch norm takes out.
#
# **Predict.** Networks with batch norm leave out the bias of the convolution before it. What would the gradient
# of this bias be?
#
# <details><summary>Answer</summary>
#
# The bias adds one constant to all values of a channel, so its gradient is the sum of dx over the channel: 0,
# always. The bias would never learn, and need not learn: batch norm would subtract it again, and β does its work.
#
# </details>

# %%
x, w, b = (
    rng.standard_normal((4, 6, 6, 3)),
    rng.standard_normal((3, 3, 3, 5)),
    rng.standard_normal(5),
)
ones, zeros = Tensor(np.ones(5)), Tensor(np.zeros(5))
dy = rng.standard_normal((4, 4, 4, 5))
_, dw, db = gradients(
    lambda *xwb: functional.batch_norm(functional.conv2d(*xwb), ones, zeros), x, w, b, dy=dy
)
assert abs(db).max() < 1e-12 * abs(dy).sum() < abs(dw).max()
print("the bias' gradient is 0, to rounding; that of the weights is not")

# %% [markdown]
# **Exercise (★★): change this.** Some networks leave out the centring: *RMS norm* is x̂ = x / σ with
# σ = √(mean(x²) + ε), and y = γ x̂. Change the derivation, then write dx of RMS norm. Which direction does it
# remove from dy? (`gamma` and `sigma` are (C,).)


# %%
def rms_backward(dy, xhat, gamma, sigma):
    """Return dx of y = gamma · x / sqrt(mean(x²) + eps), the mean over axis 0."""
    raise NotImplementedError


# %%
def check_rms_backward():
    rng = np.random.default_rng(SEED)
    x, dy, gamma = (
        rng.standard_normal((9, 2)) + 1,
        rng.standard_normal((9, 2)),
        np.array([2.0, -3.0]),
    )
    sigma = np.sqrt((x * x).mean(axis=0) + 0.1)
    (expected,) = gradients(
        lambda x: x / ((x * x).mean(axis=0) + 0.1) ** 0.5 * gamma, x, dy=dy
    )
    np.testing.assert_allclose(
        rms_backward(dy, x / sigma, gamma, sigma),
        expected,
        rtol=1e-10,
        atol=1e-12,
        err_msg="sigma depends on x too, and no mean is subtracted",
    )


attempt(check_rms_backward)


# %% tags=["solution"]
def rms_backward(dy, xhat, gamma, sigma):
    """Without the mean, dc is dx already: only the part along xhat goes."""
    return gamma / sigma * (dy - xhat * (dy * xhat).mean(axis=0))


# %% [markdown]
# ## 9. Ways to get it wrong
#
# **A forgotten dependence.** It is easy to treat μ as a constant and to forget that it depends on x. Then the
# term mean(dy) is missing. If σ is taken for a constant, the last term is missing. One can make both mistakes as
# well. The forward pass is right in each case. We make the first mistake on purpose and look at the check's
# table.


# %%
def forgets_mean(dy, xhat, gamma, sigma):
    return gamma / sigma * (dy - xhat * (dy * xhat).mean(axis=0))


def forgets_sigma(dy, xhat, gamma, sigma):
    return gamma / sigma * (dy - dy.mean(axis=0))


def forgets_both(dy, xhat, gamma, sigma):
    return gamma / sigma * dy


# %%
x = np.array([2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0]).reshape(8, 1)
one, zero = np.ones(1), np.zeros(1)
try:
    check_gradients(norm_with(forgets_mean), x, one, zero)
except AssertionError as error:
    print(error)
else:
    raise AssertionError("the planted mistake was not found")

# %% [markdown]
# Look down the last column: every coordinate is off by the same amount. This amount is the signature of the
# mistake, because one number is missing for the whole channel, γ/σ · mean(dy). A constant error points to a
# forgotten mean; an error that grows with x̂ points to a forgotten scale. The next cell asserts both signatures.

# %%
rng = np.random.default_rng([SEED, 9])  # this section's own, so that it can run again
dy = rng.standard_normal((8, 1))
_, (_, sigma, xhat) = norm_forward(x, one, zero)
right = closed_form(dy, xhat, one, sigma)
of_mean = forgets_mean(dy, xhat, one, sigma) - right
of_sigma = forgets_sigma(dy, xhat, one, sigma) - right
np.testing.assert_allclose(of_mean, dy.mean() / sigma[0], rtol=1e-10)
np.testing.assert_allclose(of_sigma, xhat * (dy * xhat).mean() / sigma, rtol=1e-10, atol=1e-12)
for formula in (forgets_mean, forgets_sigma, forgets_both):
    try:
        check_gradients(norm_with(formula), x, one, zero)
    except AssertionError:
        print(f"{formula.__name__}: caught")
    else:
        raise AssertionError(f"{formula.__name__} was not caught")

# %% [markdown]
# **Predict.** `check_gradients` draws a random upstream gradient. Suppose it used dy = 1 everywhere, that is,
# L = Σ y. What is the correct dx then, and which wrong backward pass would go unnoticed?
#
# <details><summary>Answer</summary>
#
# dy = **1** lies wholly along **1**, so the correct dx is 0. A backward pass that forgets σ gives
# γ/σ · (1 − 1) = 0 too, and so does one that returns zeros without looking at dy. Both agree with the numerical
# gradient. Ones are the worst upstream gradient for batch norm: a check can only refuse to call two zeros a pass,
# as `check_gradients` does in tutorial 1.
#
# </details>

# %%
ones = np.ones((8, 1))
np.testing.assert_allclose(closed_form(ones, xhat, one, sigma), 0, atol=1e-12)
np.testing.assert_allclose(forgets_sigma(ones, xhat, one, sigma), 0, atol=1e-12)
assert (
    abs(closed_form(dy, xhat, one, sigma) - forgets_sigma(dy, xhat, one, sigma)).max() > 0.01
)
print(
    "with dy = 1 the right gradient and a wrong one are both 0; with a random dy they differ"
)

# %% [markdown]
# **A batch of one.** With M = 1 the mean is the value itself, so x̂ = 0 and the output is β for every input. The
# library refuses to train on such a batch, and says why. A single *image* is allowed, because its pixels make
# M = H · W.

# %%
try:
    functional.batch_norm(Tensor(np.ones((1, 4))), Tensor(np.ones(4)), Tensor(np.zeros(4)))
except ValueError as error:
    print(error)
else:
    raise AssertionError("a batch of one value was accepted")
functional.batch_norm(
    Tensor(rng.standard_normal((1, 3, 3, 4))), Tensor(np.ones(4)), Tensor(np.zeros(4))
)

# %% [markdown]
# **Evaluation mode.** A trained network may get a single image, and its class must not depend on the other images
# of a batch. So during training batch norm keeps *running averages* of μ and of the variance. They start at mean
# 0 and variance 1, and each batch moves them a tenth of the way to its own values (`momentum=0.1`). In evaluation
# the running averages replace the batch's values. Then μ and σ *are* constants, and the gradient is γ/σ · dy:
# `forgets_both` is the right formula in evaluation, and wrong only in training.
#
# **Predict.** A channel has mean 5 in every batch. What is the running mean after one batch, and after 20?
#
# <details><summary>Answer</summary>
#
# After one batch it is 0.1 · 5 = 0.5. After k batches the start still has the weight 0.9ᵏ, so the running mean is
# 5 (1 − 0.9ᵏ): about 4.39 after 20 batches. A network that is evaluated after only a few batches uses statistics
# that it never saw.
#
# </details>

# %%
x, dy = 2 * rng.standard_normal((64, 1)), rng.standard_normal((64, 1))
x += 5 - x.mean()
state = {"running_mean": np.zeros(1), "running_var": np.ones(1)}
for k in range(1, 21):
    functional.batch_norm(Tensor(x), Tensor(one), Tensor(zero), **state)
    assert np.isclose(state["running_mean"][0], 5 * (1 - 0.9**k))
    assert k > 1 or np.isclose(state["running_mean"][0], 0.5)
assert round(state["running_mean"][0], 2) == 4.39
(dx,) = gradients(
    lambda x: functional.batch_norm(x, Tensor(one), Tensor(zero), **state, training=False),
    x,
    dy=dy,
)
np.testing.assert_allclose(dx, dy / np.sqrt(state["running_var"] + 1e-5), rtol=1e-12)
print("running mean after 20 batches:", state["running_mean"].round(2))

# %% [markdown]
# ## 10. Why batch norm stands before every quantiser
#
# In a binary-activation network a convolution is followed by batch norm and then by a *quantiser*: `Binary()`
# gives 1 where its input h, the *pre-activation*, is at least ½, and 0 elsewhere. Its derivative is 0 wherever it
# exists, so training replaces it by the derivative of a *surrogate*: `Clip(0, 1)` lets dy pass where 0 < h < 1,
# its *window*, and stops it elsewhere (tutorial 3 is about such surrogates, tutorial 4 about their cost). So two
# things depend on the values of h: whether the outputs are a mixture of 0 and 1, and what share of the gradient
# passes.
#
# Take 64 images and two layers with the initial weights that BinaryDuo's authors use. We look at the
# pre-activations h of the second layer, without and with batch norm, for images at three scales: unchanged, ten
# times darker and ten times brighter.

# %%
from duonet.data import fashion_mini
from duonet.nn.init import binaryduo_normal
from duonet.quant import Binary, Clip

pixels = fashion_mini().train.images[:64].astype("float32") / 255
draws = np.random.default_rng(SEED)
w1, w2 = binaryduo_normal(draws, (3, 3, 1, 16), 1), binaryduo_normal(draws, (3, 3, 16, 32), 1)


def layer(x, w, norm):
    """Convolve, then batch norm with γ = 1 and β = 0 if it is wanted."""
    h = functional.conv2d(Tensor(x), Tensor(w), padding=1).data.reshape(-1, w.shape[3])
    h = norm_forward(h, np.float32(1), np.float32(0))[0] if norm else h
    return h.reshape(*x.shape[:3], -1)


# %% [markdown]
# **Predict.** With batch norm, h has mean 0 and variance 1 in every channel. If it were normally distributed,
# what share would lie in the window from 0 to 1? And does the share depend on the scale of the images?
#
# <details><summary>Answer</summary>
#
# About 34 %: a normal variable lies within one standard deviation of its mean in 68 % of all cases, and the
# window is one half of that. The share does not depend on the scale, because y does not (section 6), except
# through ε.
#
# </details>

# %%
scales, share, hidden = (0.1, 1, 10), {}, {}
for norm in (False, True):
    for scale in scales:
        binary = Binary()(layer(np.float32(scale) * pixels, w1, norm))
        h = hidden[norm, scale] = layer(binary, w2, norm)
        share[norm, scale] = Clip(0, 1).derivative(h).mean()
    print(
        "batch norm" if norm else "none      ",
        [f"{100 * share[norm, s]:.0f} %" for s in scales],
    )
assert all(0.29 < share[True, s] < 0.39 for s in scales)
assert max(share[True, s] for s in scales) - min(share[True, s] for s in scales) < 0.01
assert (
    share[False, 0.1] == 0 and 0.05 < share[False, 1] < 0.07 and 0.25 < share[False, 10] < 0.27
)
assert (hidden[False, 1] == 0).mean() > 0.8 and (hidden[False, 1] >= 0.5).mean() < 0.001
assert (hidden[True, 1] >= 0.5).mean() > 0.25

# %% tags=["hide-input"]
# alt: Two histograms of pre-activations with the surrogate's window shaded. Without batch norm
#      nearly all values are at 0 and 6 % lie in the window; with batch norm 33 % do.
fig, axes = plt.subplots(1, 2, figsize=(7.5, 3.3), layout="constrained", sharey=True)
bins = np.linspace(-2.5, 2.5, 51)
for ax, norm in zip(axes, (False, True)):
    ax.axvspan(0, 1, color=ORANGE, alpha=0.15, lw=0)
    ax.hist(
        hidden[norm, 1].ravel(),
        bins,
        color=BLUE,
        weights=np.full(hidden[norm, 1].size, 1 / hidden[norm, 1].size),
    )
    ax.axvline(0.5, color="black", ls=":", lw=1.5)
    ax.set(
        title="With batch norm" if norm else "Without batch norm",
        xlabel="pre-activation h of the second layer",
        yscale="log",
    )
    ax.text(-2.6, 1.2, f"{100 * share[norm, 1]:.0f} % in the window", fontsize=10)
    ax.spines[["top", "right"]].set_visible(False)
axes[0].set(ylabel="share of values (log)", ylim=(1e-5, 3))
plt.show()

# %% [markdown]
# The shaded strip is the surrogate's window, and the dotted line is the threshold ½. Without batch norm over 80 %
# of the second layer's pre-activations are exactly 0, because all outputs of the first layer around them are 0,
# and fewer than one in a thousand reach the threshold. The layer's output is 0 almost everywhere, and 6 % of the
# gradient passes. This share depends on the brightness of the images: with images ten times darker nothing
# passes, and with images ten times brighter a quarter passes.
#
# With batch norm a third of the gradient passes at every scale, over a quarter of the outputs are 1, and γ and β
# can move and widen the distribution under the window where this helps. A float network may learn to live with
# badly scaled layers; a network whose quantiser has a *fixed* window needs its inputs in that window.
#
# Batch norm also explains how BinaryDuo can shift thresholds: an amount added to β moves all pre-activations of a
# channel by just this amount relative to the threshold. In this way a ternary activation is split into two binary
# activations, with β − ¼ and β + ¼.

# %% [markdown]
# ## Recap
#
# * A convolution is a gather, which lays windows out as rows, and one matrix product: y = cols w.
# * Backwards it is two products and a scatter-add: dw = colsᵀ dy, dcols = dy wᵀ, dx = col2im(dcols). Copying
#   forwards is adding backwards; `+=` with a repeated index loses contributions.
# * One product replaces a million statements; chunks that fit the cache then cut the bytes moved.
# * Bits select rows: where the inputs are 0 or 1, one look-up in a table of 16 sums does four products.
# * Batch norm's gradient is dx = γ/σ (dy − mean(dy) − x̂ mean(dy x̂)): dy without its parts along **1** and x̂,
#   the residuals of a straight line. The loss does not change along those two directions.
# * Two derivations that agree, a random upstream gradient and a numerical gradient find mistakes that training
#   would hide.
# * Before a quantiser, batch norm places the pre-activations in the surrogate's window.
#
# Tutorial 3 shows what the quantiser does to the gradient.

# %% [markdown]
# ## Exercises
#
# **1 (★) Your own ratios.** Print `loops / product`, `by_index / chunked` and `by_view / chunked` of section 5's
# measurements. Then measure `functional.conv2d` as it is and inside `with plain_ops():` (from `duonet`), which
# makes the library take the whole batch at once. Do this for C = OC = 16, and for 64. (This exercise has no test:
# your machine is the judge.)
#
# **2 (★) A bias.** y = conv(x, w) + b with b (OC,). Which sum is db? Check it against the library.


# %%
def bias_gradient(dy):
    """Return db (OC,) for dy (N, OH, OW, OC)."""
    raise NotImplementedError


# %%
def check_bias_gradient():
    rng = np.random.default_rng(SEED)
    x, w, dy = (
        rng.standard_normal(shape) for shape in ((2, 4, 5, 3), (2, 2, 3, 4), (2, 3, 4, 4))
    )
    expected = gradients(functional.conv2d, x, w, np.zeros(4), dy=dy)[2]
    np.testing.assert_allclose(
        bias_gradient(dy), expected, rtol=1e-12, err_msg="a channel's bias acts in every place"
    )


attempt(check_bias_gradient)


# %% tags=["solution"]
def bias_gradient(dy):
    """b[o] is copied to every pixel of every image, so their gradients are added."""
    return dy.sum(axis=(0, 1, 2))


# %% [markdown]
# **3 (★★) Max pooling.** y is the largest value of each 2 × 2 window. The windows lie side by side (stride 2),
# and H and W are even. Each dy goes to the largest pixel of its window; if several pixels are equally large, it
# goes to the first of them, row by row. A reshape to (N, OH, 2, OW, 2, C) puts the windows on axes of their own.


# %%
def max_pool_backward(dy, x):
    """Return dx of 2 × 2 max pooling."""
    raise NotImplementedError


# %%
def check_max_pool_backward():
    rng = np.random.default_rng(SEED)
    x, dy = (
        rng.integers(0, 3, (3, 6, 8, 2)).astype(float),
        rng.standard_normal((3, 3, 4, 2)),
    )  # many ties
    (expected,) = gradients(functional.max_pool2d, x, dy=dy)
    assert np.array_equal(max_pool_backward(dy, x), expected), (
        "dy goes to the first of the largest"
    )


attempt(check_max_pool_backward)


# %% tags=["solution"]
def max_pool_backward(dy, x):
    """argmax names the first of several largest values, and put_along_axis writes dy there."""
    N, H, W, C = x.shape
    windows = (
        x.reshape(N, H // 2, 2, W // 2, 2, C).transpose(0, 1, 3, 5, 2, 4).reshape(*dy.shape, 4)
    )
    dwindows = np.zeros_like(windows)
    np.put_along_axis(dwindows, windows.argmax(axis=-1)[..., None], dy[..., None], axis=-1)
    return dwindows.reshape(*dy.shape, 2, 2).transpose(0, 1, 4, 2, 5, 3).reshape(x.shape)


# %% [markdown]
# **4 (★★) Fold it.** In evaluation batch norm is γ (h − μ)/√(v + ε) + β with constants, and the convolution
# before it is linear. So the two are one convolution with other weights and a bias. Find these weights and this
# bias. (`mean` and `var` are the running averages.)


# %%
def fold_norm(w, gamma, beta, mean, var, eps):
    """Return w', b' such that conv(x, w') + b' = batch_norm(conv(x, w)) in evaluation."""
    raise NotImplementedError


# %%
def check_fold_norm():
    rng = np.random.default_rng(SEED)
    x, w, four = (
        rng.standard_normal((2, 5, 5, 3)),
        rng.standard_normal((3, 3, 3, 4)),
        rng.standard_normal((4, 4)),
    )
    gamma, beta, mean, var = four[0], four[1], four[2], four[3] ** 2
    h = functional.conv2d(Tensor(x), Tensor(w))
    expected = functional.batch_norm(
        h, Tensor(gamma), Tensor(beta), mean, var, training=False, eps=0.1
    ).data
    folded, bias = fold_norm(w, gamma, beta, mean, var, 0.1)
    found = functional.conv2d(Tensor(x), Tensor(folded), Tensor(bias)).data
    np.testing.assert_allclose(
        found, expected, rtol=1e-10, atol=1e-12, err_msg="not what conv and norm give together"
    )


attempt(check_fold_norm)


# %% tags=["solution"]
def fold_norm(w, gamma, beta, mean, var, eps):
    """The factor belongs to the output channel, which is w's last axis."""
    scale = gamma / np.sqrt(var + eps)
    return w * scale, beta - mean * scale


# %% [markdown]
# **5 (★★★) Layer norm.** It normalises each *row* of x (M, C) over its C channels, where batch norm takes each
# column; γ and β still belong to channels. Write its dx. (`sigma` is (M, 1), `gamma` (C,). Where does γ go, now
# that it differs along the axis of the means?)


# %%
def layer_norm_backward(dy, xhat, gamma, sigma):
    """Return dx of y = gamma · xhat + beta, with xhat normalised along axis 1."""
    raise NotImplementedError


# %%
def normalize_rows(x):
    centred = x - x.mean(axis=1, keepdims=True)
    return centred / ((centred * centred).mean(axis=1, keepdims=True) + 0.1) ** 0.5


def check_layer_norm_backward():
    rng = np.random.default_rng(SEED)
    x, dy, gamma = (
        rng.standard_normal((6, 5)),
        rng.standard_normal((6, 5)),
        rng.standard_normal(5),
    )
    centred = x - x.mean(axis=1, keepdims=True)
    sigma = np.sqrt((centred**2).mean(axis=1, keepdims=True) + 0.1)
    (expected,) = gradients(lambda x: normalize_rows(x) * gamma, x, dy=dy)
    found = layer_norm_backward(dy, centred / sigma, gamma, sigma)
    np.testing.assert_allclose(
        found, expected, rtol=1e-10, atol=1e-12, err_msg="means are over a row here"
    )


attempt(check_layer_norm_backward)


# %% tags=["solution"]
def layer_norm_backward(dy, xhat, gamma, sigma):
    """gamma cannot leave the means, so it goes in with dy; the rest is transposed."""
    return closed_form((gamma * dy).T, xhat.T, 1, sigma[:, 0]).T


# %% [markdown]
# **6 (★★★) The kernel turns.** For stride 1, dx is itself a convolution: the convolution of the padded dy with
# the kernels turned by half a turn, their inputs and outputs exchanged. Derive this: which windows hold pixel
# (a, b), and at which place? Then write dx with `conv_gemm`, for square kernels of size K and padding P < K,
# without any scatter.


# %%
def dx_as_convolution(dy, w, padding):
    """Return dx of a convolution with stride 1 as a convolution of dy."""
    raise NotImplementedError


# %%
def check_dx_as_convolution():
    rng = np.random.default_rng(SEED)
    for K, P in ((2, 0), (3, 1), (3, 2)):
        x, w = rng.standard_normal((2, 5, 6, 3)), rng.standard_normal((K, K, 3, 4))
        dy = rng.standard_normal(conv_loops(x, w, 1, P).shape)
        expected = gradients(partial(functional.conv2d, padding=P), x, w, dy=dy)[0]
        np.testing.assert_allclose(
            dx_as_convolution(dy, w, P),
            expected,
            rtol=1e-10,
            atol=1e-12,
            err_msg=f"kernel {K} by {K}, padding {P}: flip the kernel, and pad dy",
        )


attempt(check_dx_as_convolution)


# %% tags=["solution"]
def dx_as_convolution(dy, w, padding):
    """Pixel a is place p of window i = a + P − p: as i grows, p runs backwards."""
    return conv_gemm(dy, w[::-1, ::-1].swapaxes(2, 3), padding=len(w) - 1 - padding)


# %% [markdown]
# ## References
#
# * K. Chellapilla, S. Puri, P. Simard, [High Performance Convolutional Neural Networks for Document
#   Processing](https://inria.hal.science/inria-00112631), IWFHR 2006. Convolution unrolled into one matrix
#   product, forwards and backwards, on CPU and GPU.
# * V. Dumoulin, F. Visin, [A guide to convolution arithmetic for deep
#   learning](https://arxiv.org/abs/1603.07285), 2016. Drawings of every case of stride and padding, and of the
#   transposed convolution, which is section 4's dx.
# * S. Ioffe, C. Szegedy, [Batch Normalization: Accelerating Deep Network Training by Reducing Internal Covariate
#   Shift](https://arxiv.org/abs/1502.03167), ICML 2015. The layer; compare its list of gradients with section
#   7's table.
# * S. Santurkar, D. Tsipras, A. Ilyas, A. Madry, [How Does Batch Normalization Help
#   Optimization?](https://arxiv.org/abs/1805.11604), NeurIPS 2018. Doubts the explanation in that paper's title,
#   with experiments, and its bound on the gradient contains the two removed parts of section 8.
# * S. Williams, A. Waterman, D. Patterson, [Roofline: An Insightful Visual Performance Model for Multicore
#   Architectures](https://doi.org/10.1145/1498765.1498785), Communications of the ACM 52(4), 2009. The model of
#   section 5 comes from this paper.
# * V. L. Arlazarov, E. A. Dinic, M. A. Kronrod, I. A. Faradžev, On economical construction of the transitive
#   closure of an oriented graph, Soviet Mathematics Doklady 11(5), 1970. The tables of section 5.
# * H. Kim, K. Kim, J. Kim, J.-J. Kim, [BinaryDuo: Reducing Gradient Mismatch in Binary Activation Network by
#   Coupling Binary Activations](https://arxiv.org/abs/2002.06517), ICLR 2020. The networks that this course
#   builds up to.
