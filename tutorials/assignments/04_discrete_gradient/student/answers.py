"""Assignment 4: the discrete gradient, and how far the coarse one is from it.

Fill in every function that raises NotImplementedError, with NumPy alone. All arrays are float64. An array that you
are given is never modified, but for the weight in task 1, which is put back.
"""

import numpy as np

# Task 1: the coordinate discrete gradient


def coordinate_difference(loss, w, index, step):
    """Task 1 (18 points). Return the coordinate discrete gradient of one weight, with a step that is not small.

    g_i = [L(w + ε e_i) − L(w − ε e_i)] / (2ε), with e_i the i-th unit vector.

    `loss` looks at the array `w` itself. So move w[index], in place, and put the old value back: the same bits,
    and also where `loss` raises an error, which then goes on to the caller. Undoing the moves is not enough: in
    floating point (w + ε) − ε need not be w.

    Parameters
    ----------
    loss : callable
        Takes nothing; returns the loss, a float, for what `w` holds at that moment.
    w : numpy.ndarray
        The weights, any shape.
    index : tuple of int
        Of one weight: w[index] is a number.
    step : float
        ε > 0.

    Returns
    -------
    float
    """
    raise NotImplementedError("task 1: coordinate_difference")


def layer_gradient(loss, w, step):
    """Task 1, continued. Return the coordinate discrete gradient of all weights of a layer, one at a time.

    Parameters
    ----------
    loss, w, step
        As for `coordinate_difference`.

    Returns
    -------
    numpy.ndarray
        Shape of `w`.
    """
    raise NotImplementedError("task 1: layer_gradient")


# Task 2: what it is the gradient of


def window_average(f, x, step, cells):
    """Task 2 (14 points). Return the average of f over the window [x − ε, x + ε], by the midpoint rule.

    Cut the window into `cells` equal cells and take the mean of f at their middles. As `cells` grows this becomes
    (1/2ε) ∫ f(s) ds from x − ε to x + ε. Its derivative is the central difference [f(x + ε) − f(x − ε)] / (2ε):
    show that on paper, from the two limits of the integral. So the discrete gradient of a loss is the gradient of
    a smoothed loss.

    Parameters
    ----------
    f : callable
        From an array to an array of its shape.
    x : numpy.ndarray
        Any shape: the middles of the windows.
    step : float
        ε > 0, half the width of the window.
    cells : int

    Returns
    -------
    numpy.ndarray
        Shape of `x`.
    """
    raise NotImplementedError("task 2: window_average")


def smoothed_staircase(x, thresholds, levels, step):
    """Task 2, continued. Return the average of a staircase over [x − ε, x + ε], exactly.

    The staircase is levels[k] where x has reached exactly k of the thresholds (x >= threshold). A single step from
    0 to 1 at t is 1 on a fraction of the window that rises from 0, where the window ends at t, to 1, where it
    begins there: the ramp min(max((x − t + ε) / (2ε), 0), 1). This is a clip: smoothing a step gives the surrogate
    of the straight-through estimator. A staircase is a sum of steps, and so is its average.

    Parameters
    ----------
    x : numpy.ndarray
        Any shape.
    thresholds : sequence of K floats
        Rising.
    levels : sequence of K + 1 floats
    step : float
        ε > 0. The windows of two thresholds may overlap.

    Returns
    -------
    numpy.ndarray
        Shape of `x`.
    """
    raise NotImplementedError("task 2: smoothed_staircase")


# Task 3: the coarse gradient


def forward(x, weights, staircase):
    """Task 3 (22 points). Run a quantised multi-layer perceptron, and keep what its backward pass needs.

    With a_0 = x, layer l computes z_l = a_{l−1} W_l, and a_l = staircase(z_l) is what the next one reads. The last
    z is the output; it is not quantised.

    Parameters
    ----------
    x : numpy.ndarray
        (N, IN)
    weights : list of L numpy.ndarray
        W_1 (IN, H_1), W_2 (H_1, H_2), ..., W_L (H_{L−1}, OUT).
    staircase : callable
        From an array to an array of its shape.

    Returns
    -------
    inputs : list of L numpy.ndarray
        a_0, ..., a_{L−1}: what each layer reads.
    sums : list of L numpy.ndarray
        z_1, ..., z_L: what each layer computes.
    """
    raise NotImplementedError("task 3: forward")


def coarse_gradients(x, target, weights, staircase, slope):
    """Task 3, continued. Return the coarse gradient of every layer by back-propagation with a surrogate.

    The loss is L = 1/(2N) Σ (output − target)², summed over samples and outputs. Backwards,
    dz_L = (z_L − target) / N, dW_l = a_{l−1}ᵀ dz_l, da_{l−1} = dz_l W_lᵀ, and in the place of the staircase's
    derivative, which is zero, that of the surrogate: dz_l = da_l · slope(z_l).

    Parameters
    ----------
    x : numpy.ndarray
        (N, IN)
    target : numpy.ndarray
        (N, OUT)
    weights : list of L numpy.ndarray
        As for `forward`.
    staircase : callable
    slope : callable
        The surrogate's derivative, from an array to an array of its shape.

    Returns
    -------
    list of L numpy.ndarray
        dW_1, ..., dW_L, each of the shape of its weight.
    """
    raise NotImplementedError("task 3: coarse_gradients")


# Task 4: compare the two


def cosines(coarse, discrete):
    """Task 4 (16 points). Return the cosine of the angle between two gradients, for each layer by itself.

    cos = c · g / (|c| |g|), the layer's weights taken as one long vector. Where either is all zero there is no
    angle: NaN, without a warning.

    Parameters
    ----------
    coarse, discrete : list of numpy.ndarray
        One array for each layer, of any shape; both lists alike.

    Returns
    -------
    list of float
    """
    raise NotImplementedError("task 4: cosines")


def corrected_cosine(c1, c2, g1, g2):
    """Task 4, continued. Return the cosine of two gradients that are known with noise, the noise taken out.

    A gradient measured on some samples is the true one plus noise, and noise lowers a cosine just as mismatch
    does: |c|² is too large by that of the noise. Measured twice, on halves that share no sample, the noises are
    independent, and products across the halves are right on average:

        c · g from (c1 · g2 + c2 · g1) / 2,   |c|² from c1 · c2,   |g|² from g1 · g2.

    Return c · g / √(|c|² |g|²) from these; it may exceed 1, leave it. NaN unless both squares are positive: then
    the noise hides the value.

    Parameters
    ----------
    c1, c2 : numpy.ndarray
        The coarse gradient of one layer on each half, any shape.
    g1, g2 : numpy.ndarray
        The discrete gradient on each half, same shape.

    Returns
    -------
    float
    """
    raise NotImplementedError("task 4: corrected_cosine")


# Task 5: another estimator


def evolution_gradient(loss, w, sigma, directions):
    """Task 5 (14 points). Return the evolution-strategies gradient, antithetic form, and its standard error.

    Each direction u_k gives one estimate, t_k = [L(w + σ u_k) − L(w − σ u_k)] / (2σ) · u_k. The gradient is their
    mean over the K directions; for u ~ N(0, I) it estimates the gradient of E L(w + σu). The standard error of
    each of its elements is s / √K, with s the sample standard deviation (divisor K − 1) of that element of t_1,
    ..., t_K.

    Parameters
    ----------
    loss : callable
        From a weight array to the loss, a float.
    w : numpy.ndarray
        Any shape.
    sigma : float
        σ > 0.
    directions : numpy.ndarray
        (K, *w.shape), K >= 2.

    Returns
    -------
    gradient, stderr : numpy.ndarray
        Both of the shape of `w`.
    """
    raise NotImplementedError("task 5: evolution_gradient")


# Task 6: a network whose gradient is known


def population_loss(v, w, v_star, w_star):
    """Task 6 (16 points). Return the exact mean loss of a two-layer network of steps.

    The network is vᵀσ(Zw), with σ(x) = 1[x >= 0] and an (m, n) matrix Z of independent N(0, 1) entries; its
    teacher is the same with v* and w*; the loss is ½ (vᵀσ(Zw) − v*ᵀσ(Zw*))². With θ the angle between w and w*, 1
    the vector of m ones and I the identity, its mean over Z is

        ⅛ [vᵀ(I + 11ᵀ)v − 2 vᵀ((1 − 2θ/π) I + 11ᵀ)v* + v*ᵀ(I + 11ᵀ)v*].

    No step of it is left: averaged over Z, the loss has a gradient wherever w is not parallel to w*. Where it is,
    take care: rounding must not carry the cosine beyond 1, where there is no angle.

    Parameters
    ----------
    v, v_star : numpy.ndarray
        (m,)
    w, w_star : numpy.ndarray
        (n,), of any positive length.

    Returns
    -------
    float

    References
    ----------
    Yin et al., Understanding Straight-Through Estimator in Training Activation Quantized Neural Nets, ICLR 2019.
    """
    raise NotImplementedError("task 6: population_loss")


def true_gradient(v, w, v_star, w_star):
    """Task 6, continued. Return ∂/∂w of `population_loss`.

    Only θ depends on w. With P = I − wwᵀ/|w|², which takes away the part along w,

        ∂L/∂w = − (vᵀv*) / (2π |w|) · P w* / |P w*|.

    Parameters
    ----------
    v, v_star : numpy.ndarray
        (m,)
    w, w_star : numpy.ndarray
        (n,), not parallel.

    Returns
    -------
    numpy.ndarray
        (n,)
    """
    raise NotImplementedError("task 6: true_gradient")
