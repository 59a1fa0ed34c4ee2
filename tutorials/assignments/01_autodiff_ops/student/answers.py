"""Assignment 1: the ops of an autodiff engine, and the walk back through its graph.

An op is a class with two static methods on NumPy arrays, as in duonet:

* `forward(ctx, ...)` returns y, and writes on `ctx` whatever the backward pass will need, as `ctx.x = x`;
* `backward(ctx, dy)` gets dy, the gradient of the loss with respect to y, and returns a **tuple** with the
  gradient of the loss with respect to each input, in the order of the inputs and each of its input's shape.

No method may modify an array that it was given.
"""

import numpy as np


class Context:
    """What a forward pass leaves for its backward pass: attributes of your own choice."""


def unbroadcast(gradient, shape):
    """Task 1 (18 points). Sum a gradient over the axes along which an input of `shape` was broadcast.

    When an input of shape (3,) meets one of shape (2, 3), NumPy repeats it: each of its numbers has a part in two
    places of the output. Its gradient is the sum of the gradients of both places. An axis was broadcast if the
    input does not have it (it is then a leading axis of `gradient`), or has it with length 1.

    Parameters
    ----------
    gradient : numpy.ndarray
        Gradient with respect to the input as it was after broadcasting.
    shape : tuple of int
        Shape of the input before broadcasting; () for a single number.

    Returns
    -------
    numpy.ndarray
        Of shape `shape`.
    """
    raise NotImplementedError("task 1: unbroadcast")


class Add:
    """Task 1, continued. y = a + b.   da = dy, db = dy, each un-broadcast."""

    @staticmethod
    def forward(ctx, a, b):
        """Return a + b; the two shapes broadcast together."""
        raise NotImplementedError("task 1: Add.forward")

    @staticmethod
    def backward(ctx, dy):
        """Return (da, db)."""
        raise NotImplementedError("task 1: Add.backward")


class Mul:
    """Task 1, continued. y = a b, element by element.   da = dy b, db = dy a, each un-broadcast."""

    @staticmethod
    def forward(ctx, a, b):
        """Return a * b; the two shapes broadcast together."""
        raise NotImplementedError("task 1: Mul.forward")

    @staticmethod
    def backward(ctx, dy):
        """Return (da, db)."""
        raise NotImplementedError("task 1: Mul.backward")


class MatMul:
    """Task 2 (12 points). y = x w, the matrix product.

    y[n, o] = Σ over i of x[n, i] w[i, o]. Write down ∂y[n, o] / ∂x[n, i], multiply by dy[n, o], sum over what is
    not an index of x, and read the result as a matrix product again; likewise for w. The shapes must fit.
    """

    @staticmethod
    def forward(ctx, x, w):
        """Return y (N, OUT) for x (N, IN) and w (IN, OUT)."""
        raise NotImplementedError("task 2: MatMul.forward")

    @staticmethod
    def backward(ctx, dy):
        """Return (dx, dw), of shapes (N, IN) and (IN, OUT), for dy (N, OUT)."""
        raise NotImplementedError("task 2: MatMul.backward")


class Exp:
    """Task 3 (16 points). y = eˣ, element by element.   dx = dy y."""

    @staticmethod
    def forward(ctx, x):
        """Return eˣ."""
        raise NotImplementedError("task 3: Exp.forward")

    @staticmethod
    def backward(ctx, dy):
        """Return (dx,)."""
        raise NotImplementedError("task 3: Exp.backward")


class Log:
    """Task 3, continued. y = ln x, element by element, for x > 0.   dx = dy / x."""

    @staticmethod
    def forward(ctx, x):
        """Return ln x."""
        raise NotImplementedError("task 3: Log.forward")

    @staticmethod
    def backward(ctx, dy):
        """Return (dx,)."""
        raise NotImplementedError("task 3: Log.backward")


class ReLU:
    """Task 3, continued. y = max(x, 0), element by element.   dx = dy where x > 0, else 0.

    At x = 0 there is no derivative. The kink takes 0 here, as in duonet.
    """

    @staticmethod
    def forward(ctx, x):
        """Return max(x, 0)."""
        raise NotImplementedError("task 3: ReLU.forward")

    @staticmethod
    def backward(ctx, dy):
        """Return (dx,)."""
        raise NotImplementedError("task 3: ReLU.backward")


class Max:
    """Task 4 (16 points). y = the largest x along one axis, which y does not have any more.

    Only the largest element had a part in y, so it receives all of dy, and the others 0. If k elements tie for the
    maximum, each of them receives dy / k.
    """

    @staticmethod
    def forward(ctx, x, *, axis):
        """Return the maximum of x along `axis`, an int that may be negative: (2, 5, 3) and axis 1 give (2, 3)."""
        raise NotImplementedError("task 4: Max.forward")

    @staticmethod
    def backward(ctx, dy):
        """Return (dx,), where dx has the shape of x."""
        raise NotImplementedError("task 4: Max.backward")


class SoftmaxCrossEntropy:
    """Task 5 (18 points). y = −(1/N) Σ over n of ln p[n, labels[n]], with p = softmax(logits), row by row.

    p[n, c] = exp(logits[n, c]) / Σ over k of exp(logits[n, k]).   dlogits = dy (p − onehot(labels)) / N, where
    onehot(labels) is (N, C) with a 1 at each row's label and 0 elsewhere.

    exp(1000) overflows, and ln 0 is −∞. Adding the same number to all logits of a row changes no probability:
    choose it so that the largest exponent is 0, and write ln p without taking the logarithm of a p that may be 0.
    """

    @staticmethod
    def forward(ctx, logits, *, labels):
        """Return the loss, a single number, for logits (N, C) and labels (N,), integers from 0 to C − 1."""
        raise NotImplementedError("task 5: SoftmaxCrossEntropy.forward")

    @staticmethod
    def backward(ctx, dy):
        """Return (dlogits,), where dlogits is (N, C) and dy a single number."""
        raise NotImplementedError("task 5: SoftmaxCrossEntropy.backward")


class Tensor:
    """An array that remembers how it was computed. There is nothing to write here.

    Attributes
    ----------
    data : numpy.ndarray
    grad : numpy.ndarray or None
        For a leaf, what `backward` has left so far; None before.
    op : type or None
        The op that computed it; None for a leaf.
    ctx : Context
        Of that op's forward pass.
    parents : tuple of Tensor
        The inputs of that op.
    """

    def __init__(self, data, op=None, ctx=None, parents=()):
        self.data = np.asarray(data)
        self.grad = None
        self.op, self.ctx, self.parents = op, ctx, parents


def apply(op, *parents, **options):
    """Run an op on Tensors, and return a Tensor that remembers it. There is nothing to write here."""
    ctx = Context()
    return Tensor(op.forward(ctx, *(parent.data for parent in parents), **options), op, ctx, parents)


def backward(output, dy):
    """Task 6 (20 points). Carry dy, the gradient with respect to `output`, back to the leaves of its graph.

    Each leaf's `grad` becomes what it was before (None counts as 0) plus the gradient with respect to that leaf.

    * A Tensor may be used more than once: its gradient is the sum of what all its uses send back. So an op's
      backward pass runs exactly once, after all that was computed from its output has had its turn. An order in
      which each Tensor comes after everything that was computed from it is called topological.
    * A network may be deeper than Python's recursion limit (1,000 calls): walk with a list as your own stack.
    * `dy` and what a backward pass returns may be one and the same array (see `Add`): adding to it in place would
      change other gradients too, and no leaf's `grad` may be an array that anything else holds.

    Parameters
    ----------
    output : Tensor
    dy : numpy.ndarray
        Of its shape.
    """
    raise NotImplementedError("task 6: backward")
