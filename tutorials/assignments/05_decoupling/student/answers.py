"""Assignment 5: decoupling.

Fill in every function that raises NotImplementedError, with NumPy alone. Channels are the last axis of every
array, and where they are doubled the order is that of blocks: all channels of copy 1, then all of copy 2. An array
that you are given is never modified.
"""

import numpy as np

# Task 1: a ternary activation is two binary ones


def decoupled_activation(h):
    """Task 1 (18 points). Return the two binary activations that together are the ternary one.

    ternary(h) = ½ · 1[h >= ¾] + ½ · 1[h >= ¼]. Copy 1 is the one that fires at ¾, copy 2 the one that fires at ¼.

    Parameters
    ----------
    h : numpy.ndarray
        (..., C)

    Returns
    -------
    numpy.ndarray
        (..., 2 C), of zeros and ones in the dtype of `h`: copy 1, then copy 2.
    """
    raise NotImplementedError("task 1: decoupled_activation")


def counterexamples(ternary, copy1, copy2, thresholds):
    """Task 1, continued. Prove ternary = ½ copy1 + ½ copy2 for three staircases, or return where it fails.

    A staircase changes at its thresholds alone. So if all changes of the three are at `thresholds`, it is enough
    to look at each of these, and at the float64 number just below and just above it (`np.nextafter`): there are no
    other cases. Functions that agree at all those points agree everywhere.

    Parameters
    ----------
    ternary, copy1, copy2 : callable
        From a float64 array to an array of its shape.
    thresholds : sequence of float

    Returns
    -------
    numpy.ndarray
        Those of the points at which the two sides differ, rising; of size 0 where the identity holds.
    """
    raise NotImplementedError("task 1: counterexamples")


# Task 2: the layer that reads it


def decouple_linear(w):
    """Task 2 (16 points). Return the weight that gives, on doubled inputs, what w gives on ternary ones.

    With a = ½ (a_1 + a_2):  a w = [a_1 a_2] w'.

    Parameters
    ----------
    w : numpy.ndarray
        (C, OUT)

    Returns
    -------
    numpy.ndarray
        (2 C, OUT)
    """
    raise NotImplementedError("task 2: decouple_linear")


def decouple_conv(w):
    """Task 2, continued. Return the kernels that give, on doubled channels, what w gives on ternary ones.

    Parameters
    ----------
    w : numpy.ndarray
        (KH, KW, C, OC)

    Returns
    -------
    numpy.ndarray
        (KH, KW, 2 C, OC)
    """
    raise NotImplementedError("task 2: decouple_conv")


def decouple_flattened(w, channels):
    """Task 2, continued. Return the weight of a linear layer that reads flattened images.

    (N, H, W, C) images were flattened to (N, H W C), so of the inputs each pixel has C neighbours in a row, one
    for each channel. After decoupling the images are (N, H, W, 2 C): the copies alternate from pixel to pixel.

    Parameters
    ----------
    w : numpy.ndarray
        (H W C, OUT)
    channels : int
        C.

    Returns
    -------
    numpy.ndarray
        (H W 2 C, OUT)
    """
    raise NotImplementedError("task 2: decouple_flattened")


# Task 3: the batch norm before it


def decouple_norm_by_threshold(gamma, beta, mean, var):
    """Task 3 (16 points). Return the doubled batch norm, unshifted, and the thresholds of the two copies.

    A batch norm computes h = gamma (x − mean) / √var + beta in each channel; var includes the usual eps. Now it
    reads its input twice over, and each of its 2 C outputs is compared with a threshold of its own. Nothing is
    computed anew, so this form is exact in every precision.

    Parameters
    ----------
    gamma, beta, mean, var : numpy.ndarray
        (C,)

    Returns
    -------
    gamma, beta, mean, var, thresholds : numpy.ndarray
        (2 C,), in the dtype of what they come from; the thresholds in that of `beta`.
    """
    raise NotImplementedError("task 3: decouple_norm_by_threshold")


def decouple_norm_by_beta(gamma, beta, mean, var):
    """Task 3, continued. Return the doubled batch norm whose copies both fire at ½: the authors' form.

    1[h >= ¾] = 1[h − ¼ >= ½], and 1[h >= ¼] = 1[h + ¼ >= ½]. So the shift can be put into beta. It is the same
    function on paper; in floating point beta − ¼ is rounded, and a value next to a threshold can fall to its other
    side.

    Parameters
    ----------
    gamma, beta, mean, var : numpy.ndarray
        (C,)

    Returns
    -------
    gamma, beta, mean, var : numpy.ndarray
        (2 C,)
    """
    raise NotImplementedError("task 3: decouple_norm_by_beta")


# Task 4: a whole network


def decouple_network(network):
    """Task 4 (22 points). Return the decoupled network: the same function, with binary activations alone.

    A network is a list of layers, each a tuple of its kind and its arrays:

        ("conv", w)                        kernels (KH, KW, C, OC), stride 1, no padding
        ("linear", w)                      (IN, OUT)
        ("norm", gamma, beta, mean, var)   (C,) each: gamma (x − mean) / √var + beta
        ("ternary",)  ("relu",)
        ("pool",)                          2×2 max pool
        ("flatten",)                       (N, H, W, C) to (N, H W C)
        ("replicate",)                     (..., C) to (..., 2 C): all channels, and all channels once more
        ("binary", thresholds)             1[x >= thresholds], (C,): only in the decoupled network

    In the network given, a "norm" stands right before each "ternary", and after it, perhaps behind "pool" and
    "flatten", a "conv" or "linear" reads it. Then

    * before that norm a "replicate" is put in, and the norm is doubled as in `decouple_norm_by_threshold`;
    * "ternary" becomes "binary";
    * the "conv" or "linear" that reads it gets doubled inputs; behind a "flatten", pixel by pixel.

    All else is kept as it is, among it a norm before a "relu", and what reads that. (Why may a max pool stand
    between the two? The copies of a channel rise together.)

    Parameters
    ----------
    network : list of tuple

    Returns
    -------
    list of tuple
    """
    raise NotImplementedError("task 4: decouple_network")


# Task 5: what does change, the backward pass


def coupled_backward(h, dy):
    """Task 5 (12 points). Return the gradient that a ternary activation hands back.

    dh = dy · 1[0 < h < 1].

    Parameters
    ----------
    h : numpy.ndarray
        (..., C), what the activation read.
    dy : numpy.ndarray
        (..., C), the gradient with respect to its output.

    Returns
    -------
    numpy.ndarray
        (..., C)
    """
    raise NotImplementedError("task 5: coupled_backward")


def decoupled_backward(h, dy):
    """Task 5, continued. Return the gradient that reaches h through both binary copies.

    A binary activation that fires at ½ passes the gradient on where 0 < x < 1, that is, within ½ of its threshold.
    Copy 1 fires at ¾ and copy 2 at ¼, and their windows have moved with their thresholds. Both read the same h.

    With the weights that read them halved, dy of either copy is half of what it was: what is the window now? Draw
    it; it is wider than (0, 1).

    Parameters
    ----------
    h : numpy.ndarray
        (..., C), what both copies read.
    dy : numpy.ndarray
        (..., 2 C), the gradient with respect to their outputs.

    Returns
    -------
    numpy.ndarray
        (..., C)
    """
    raise NotImplementedError("task 5: decoupled_backward")


# Task 6: at equal cost


def count_weights(channels, kernels, doubled):
    """Task 6 (16 points). Return the number of weights of a chain of conv and linear layers.

    Layer l has k_l × k_l kernels (k_l = 1 for a linear one) from c_{l−1} channels to c_l: k_l² c_{l−1} c_l
    weights, and twice as many where its inputs are doubled.

    Parameters
    ----------
    channels : sequence of L + 1 int
        c_0 (of the images), c_1, ..., c_L (the classes).
    kernels : sequence of L int
        k_1, ..., k_L.
    doubled : sequence of L bool
        Whether the layer reads decoupled activations.

    Returns
    -------
    int
    """
    raise NotImplementedError("task 6: count_weights")


def coupled_widths(widths, count, budget):
    """Task 6, continued. Return the widths of a coupled network that, once decoupled, keeps within a budget.

    Each width is divided by √2 and rounded down, but is at least 1. Then the last one is made to fill the budget:

    * while the network has more weights than the budget, the last width shrinks by 1;
    * while it is below its old width, and the network would keep within the budget, it grows by 1.

    Parameters
    ----------
    widths : sequence of int
        Of the baseline's layers with quantised activations.
    count : callable
        From a list of coupled widths to the weights of the decoupled network; rises with each width.
    budget : int
        Weights of the baseline. Large enough that the last width need not shrink below 1.

    Returns
    -------
    list of int
    """
    raise NotImplementedError("task 6: coupled_widths")
