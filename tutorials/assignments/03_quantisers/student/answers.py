"""Assignment 3: quantisers.

Fill in every function that raises NotImplementedError. NumPy is all you need; of duonet only `Function`, which is
imported below, and in your own experiments `Tensor`. `duonet.quant` holds answers of its own: not here, please.

Throughout, `dy` is the gradient of the loss with respect to an op's output `y`. An array that you are given is
never modified, and a result has the dtype of the array it was computed from.
"""

import numpy as np

from duonet import Function

# Task 1: three staircases


def sign(x):
    """Task 1 (18 points). Return −1 below 0 and +1 from 0 on.

    y = +1 where x >= 0, else −1. So sign(0) = sign(−0) = +1, unlike `np.sign`.

    Parameters
    ----------
    x : numpy.ndarray
        Any shape.

    Returns
    -------
    numpy.ndarray
        Shape and dtype of `x`.
    """
    raise NotImplementedError("task 1: sign")


def binary(x):
    """Task 1, continued. Return 0 below ½ and 1 from ½ on: the binary activation of BinaryDuo.

    y = 1[x >= ½].

    Parameters
    ----------
    x : numpy.ndarray
        Any shape.

    Returns
    -------
    numpy.ndarray
        Shape and dtype of `x`.
    """
    raise NotImplementedError("task 1: binary")


def ternary(x):
    """Task 1, continued. Return 0 below ¼, ½ from ¼ on and 1 from ¾ on: the ternary activation of BinaryDuo.

    y = ½ · 1[x >= ¼] + ½ · 1[x >= ¾]. Rounding 2x does not give this: NumPy rounds halves to the even neighbour.

    Parameters
    ----------
    x : numpy.ndarray
        Any shape.

    Returns
    -------
    numpy.ndarray
        Shape and dtype of `x`.
    """
    raise NotImplementedError("task 1: ternary")


# Task 2: k bits


def uniform(x, bits):
    """Task 2 (14 points). Quantise to 2^bits evenly spaced levels from 0 to 1.

    With n = 2^bits − 1 the thresholds are (k − ½)/n for k = 1, ..., n, and y = r/n, where r is the number of
    thresholds that x has reached (x >= threshold). One bit gives `binary`.

    Parameters
    ----------
    x : numpy.ndarray
        Any shape.
    bits : int
        1 to 8.

    Returns
    -------
    numpy.ndarray
        Shape and dtype of `x`.
    """
    raise NotImplementedError("task 2: uniform")


# Task 3: surrogates


def clip(x, low=0.0, high=1.0):
    """Task 3 (20 points). Return the value and the derivative of the clip, BinaryDuo's surrogate.

    value = min(max(x, low), high); derivative = 1 where low < x < high, else 0: the window is open.

    Parameters
    ----------
    x : numpy.ndarray
        Any shape.
    low, high : float

    Returns
    -------
    value, derivative : numpy.ndarray
        Both of the shape and dtype of `x`.
    """
    raise NotImplementedError("task 3: clip")


def approx_sign(x):
    """Task 3, continued. Return the value and the derivative of ApproxSign, the polynomial surrogate for `sign`.

    value = 2x + x² for −1 <= x < 0, 2x − x² for 0 <= x <= 1, and −1 or +1 beyond. The derivative follows; it is
    continuous, and 0 at both ends of [−1, 1].

    Parameters
    ----------
    x : numpy.ndarray
        Any shape.

    Returns
    -------
    value, derivative : numpy.ndarray
        Both of the shape and dtype of `x`.

    References
    ----------
    Liu et al., Bi-Real Net, ECCV 2018.
    """
    raise NotImplementedError("task 3: approx_sign")


def swish_sign(x, beta):
    """Task 3, continued. Return the value and the derivative of SwishSign, a smooth surrogate for `sign`.

    With s(u) = 1 / (1 + e^−u): value = 2 s(βx) [1 + βx (1 − s(βx))] − 1. Work the derivative out by hand; it is β
    at 0. For |βx| up to 10,000 nothing may overflow or warn: replace s by 2 s(u) − 1 = tanh(u/2) before you begin.

    Parameters
    ----------
    x : numpy.ndarray
        Any shape.
    beta : float
        β > 0, the sharpness.

    Returns
    -------
    value, derivative : numpy.ndarray
        Both of the shape and dtype of `x`.

    References
    ----------
    Darabi et al., BNN+, 2018.
    """
    raise NotImplementedError("task 3: swish_sign")


# Task 4: staircase forwards, surrogate backwards


class Quantise(Function):
    """Task 4 (18 points). An op whose backward pass is, on purpose, not the derivative of its forward pass.

    Use: `Quantise.apply(x, staircase=ternary, surrogate=clip)` for a Tensor x. `ctx` is an object on which
    `forward` may leave attributes for `backward`.
    """

    exact = False  # tells duonet's gradient check that the derivative is a surrogate's

    @staticmethod
    def forward(ctx, x, *, staircase, surrogate):
        """Return y = staircase(x).

        Parameters
        ----------
        ctx : object
        x : numpy.ndarray
            Any shape.
        staircase : callable
            From an array to an array, such as `ternary`.
        surrogate : callable
            From an array to its (value, derivative), such as `clip`.

        Returns
        -------
        numpy.ndarray
            Shape and dtype of `x`.
        """
        raise NotImplementedError("task 4: Quantise.forward")

    @staticmethod
    def backward(ctx, dy):
        """Return dx = dy · surrogate'(x), element by element.

        Parameters
        ----------
        ctx : object
            As `forward` left it.
        dy : numpy.ndarray
            Shape of y.

        Returns
        -------
        numpy.ndarray
            dx, shape of x.
        """
        raise NotImplementedError("task 4: Quantise.backward")


# Task 5: binary weights


class BinaryWeight(Function):
    """Task 5 (16 points). Weights of two values, −α and +α, from a latent weight in float.

    Use: `BinaryWeight.apply(w)` for a Tensor w.
    """

    exact = False

    @staticmethod
    def forward(ctx, w):
        """Return sign(w) · α with one scale for the layer, α = mean |w|; sign(0) = +1.

        Parameters
        ----------
        ctx : object
        w : numpy.ndarray
            The latent weight, any shape.

        Returns
        -------
        numpy.ndarray
            Shape and dtype of `w`.
        """
        raise NotImplementedError("task 5: BinaryWeight.forward")

    @staticmethod
    def backward(ctx, dy):
        """Return dw = dy: the latent weight gets the gradient of the binary one, unchanged.

        Parameters
        ----------
        ctx : object
        dy : numpy.ndarray
            Shape of the weight.

        Returns
        -------
        numpy.ndarray
            dw, shape of the weight.
        """
        raise NotImplementedError("task 5: BinaryWeight.backward")


def latent_step(w, x, dy, lr):
    """Task 5, continued. Return the latent weight of a linear layer after one step of gradient descent.

    The layer computes y = x @ b with the binary weight b of `BinaryWeight`. The gradient of the loss with respect
    to b, db = xᵀ dy, is handed to the latent w unchanged; w, and not b, moves against it by `lr` times that.
    Then w is clamped to [−1, 1], so that none gets so large that its sign can hardly change any more.

    Parameters
    ----------
    w : numpy.ndarray
        (IN, OUT)
    x : numpy.ndarray
        (N, IN)
    dy : numpy.ndarray
        (N, OUT)
    lr : float

    Returns
    -------
    numpy.ndarray
        (IN, OUT)
    """
    raise NotImplementedError("task 5: latent_step")


# Task 6: the surrogate as a finite difference


def central_difference(staircase, x, h):
    """Task 6 (14 points). Return [q(x + h) − q(x − h)] / (2h) of a staircase q.

    As h goes to 0 this is 0 almost everywhere: the staircase's derivative, of no use. With a step as large as the
    stairs it is a window. For `sign` and h = 1 it is 1 where −1 <= x < 1, else 0: the clipped straight-through
    estimator.

    Parameters
    ----------
    staircase : callable
        From an array to an array of its shape.
    x : numpy.ndarray
        Any shape.
    h : float
        h > 0.

    Returns
    -------
    numpy.ndarray
        Shape of `x`.
    """
    raise NotImplementedError("task 6: central_difference")


def matching_step(bits):
    """Task 6, continued. Return the h at which the k-bit staircase's central difference is the window of (0, 1).

    That is, the h for which `central_difference(lambda x: uniform(x, bits), x, h)` is 1 for all 0 < x < 1, and 0
    for x < 0 and x > 1, but for rounding. Draw the staircase for one and two bits first; then find the general
    formula.

    Parameters
    ----------
    bits : int
        1 to 8.

    Returns
    -------
    float
    """
    raise NotImplementedError("task 6: matching_step")


def mismatch_area(staircase, surrogate, low, high, cells):
    """Task 6, continued. Return the area between a staircase and its surrogate: ∫ |q(x) − s(x)| dx, low to high.

    By the midpoint rule: cut the interval into `cells` equal cells, and add up width times |q − s| at each cell's
    middle. This is how the mismatch was judged before gradients were compared: more levels, less area.

    Parameters
    ----------
    staircase : callable
        q, from an array to an array.
    surrogate : callable
        From an array to its (value, derivative); s is the value.
    low, high : float
    cells : int

    Returns
    -------
    float
    """
    raise NotImplementedError("task 6: mismatch_area")
