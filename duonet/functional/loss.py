"""Losses: one number for a batch. Shapes must agree exactly; nothing broadcasts here."""

import numpy.typing as npt

from duonet import arguments, backend, exact
from duonet.tensor import Function, Operand, Tensor


def softmax_cross_entropy(logits: Tensor, labels: Tensor | npt.ArrayLike) -> Tensor:
    """Average the negative log-probability of the right class: y = −mean ln softmax(logits)[label].

    dlogits = dy (softmax(logits) − onehot(labels)) / N.

    Parameters
    ----------
    logits : Tensor
        (N, C)
    labels : array of int
        (N,), each in 0..C−1.

    Raises
    ------
    TypeError, ValueError
        If shapes do not fit, `logits` is empty, or a label is not an integer in 0..C−1.

    Examples
    --------
    >>> softmax_cross_entropy(Tensor([[0.0, 0.0]]), [1]).data.round(4)
    np.float32(0.6931)
    """
    return SoftmaxCrossEntropy.apply(logits, onehot=_onehot("softmax_cross_entropy", logits, labels))


class SoftmaxCrossEntropy(Function):
    @staticmethod
    def forward(ctx, logits, *, onehot):
        xp = backend.get_xp(logits)
        shifted = logits - logits.max(axis=1, keepdims=True)
        exponentials = xp.exp(shifted)
        sums = exact.total(exponentials, axis=1, keepdims=True)
        ctx.softmax, ctx.onehot = exponentials / sums, onehot
        losses = exact.wide(exact.select(onehot != 0, shifted - xp.log(sums)))
        return exact.narrow(-losses.sum() / len(logits), logits.dtype)

    @staticmethod
    def backward(ctx, dy):
        return exact.chain(dy / len(ctx.onehot), ctx.softmax - ctx.onehot)


def mse_loss(prediction: Tensor, target: Operand) -> Tensor:
    """Average the squared difference: y = mean (prediction − target)², of two equal shapes.

    dprediction = 2 dy (prediction − target) / n, dtarget = −dprediction, over n elements.
    """
    return MSELoss.apply(prediction, target)


class MSELoss(Function):
    name = "mse_loss"

    @staticmethod
    def forward(ctx, prediction, target):
        if prediction.shape != target.shape:
            raise ValueError(f"mse_loss: prediction {prediction.shape} and target {target.shape} differ in shape")
        if not prediction.size:
            raise ValueError(f"mse_loss: prediction {prediction.shape} is empty: there is no mean")
        ctx.difference = prediction - target
        return exact.narrow((exact.wide(ctx.difference) ** 2).mean(), prediction.dtype)

    @staticmethod
    def backward(ctx, dy):
        dprediction = ctx.difference * (2 * dy / ctx.difference.size)
        return dprediction, -dprediction


def squared_hinge_loss(logits: Tensor, labels: Tensor | npt.ArrayLike) -> Tensor:
    """Average over classes and images: y = mean max(0, 1 − t logits)², t = 1 for the right class, else −1.

    dlogits = −2 dy t max(0, 1 − t logits) / (N C). The shapes, the errors and
    the argument `labels` are as in `softmax_cross_entropy`.

    References
    ----------
    The loss of Hubara et al., Binarized Neural Networks, NeurIPS 2016.

    Examples
    --------
    >>> squared_hinge_loss(Tensor([[2.0, 0.5]]), [0]).item()
    1.125
    """
    return SquaredHingeLoss.apply(logits, onehot=_onehot("squared_hinge_loss", logits, labels))


class SquaredHingeLoss(Function):
    @staticmethod
    def forward(ctx, logits, *, onehot):
        ctx.sign = 2 * onehot - 1
        ctx.short = backend.get_xp(logits).maximum(1 - ctx.sign * logits, 0)
        return exact.narrow((exact.wide(ctx.short) ** 2).mean(), logits.dtype)

    @staticmethod
    def backward(ctx, dy):
        return exact.chain(-2 * dy / ctx.short.size, ctx.sign * ctx.short)


def _onehot(name, logits, labels):
    """Check logits (N, C) against integer labels (N,) and return the (N, C) matrix with a 1 at each label."""
    logits, labels = (x.data if isinstance(x, Tensor) else x for x in (logits, labels))
    xp = backend.get_xp(arguments.array(name, "logits", logits))
    labels = labels if backend.is_array(labels) else xp.asarray(labels)
    arguments.array(name, "labels", labels, arguments.NUMBERS)
    if logits.ndim != 2 or labels.shape != (len(logits),):
        raise ValueError(f"{name}: expected logits (N, C) and labels (N,), got {logits.shape} and {labels.shape}")
    if backend.get_xp(labels) is not xp:
        raise TypeError(
            f"{name}: logits is on the {backend.device_of(logits)} but labels is on the "
            f"{backend.device_of(labels)}; move one of them first"
        )
    if labels.dtype.kind not in "iu":
        raise TypeError(f"{name}: labels must be integers, got {labels.dtype}")
    if not logits.size:
        raise ValueError(f"{name}: logits {logits.shape} are empty: there is no mean")
    classes = logits.shape[1]
    # A look at a GPU array would stall the training step, so the loader checks labels there.
    if backend.device_of(labels) == "cpu" and labels.size and not 0 <= labels.min() <= labels.max() < classes:
        raise ValueError(f"{name}: labels must lie in 0..{classes - 1}, got {labels.min()}..{labels.max()}")
    return (labels[:, None] == xp.arange(classes)).astype(logits.dtype)


def _cross_entropy_rows(logits, labels):
    xp = backend.get_xp(logits)
    shifted = logits - logits.max(axis=1, keepdims=True)
    return xp.log(xp.exp(shifted).sum(axis=1)) - shifted[xp.arange(len(logits)), xp.asarray(labels)]


def _squared_error_rows(prediction, target):
    return ((prediction - target) ** 2).reshape(len(prediction), -1).mean(axis=1)


# From raw arrays to the (N,) losses of the samples, whose mean is the loss: for estimators of few samples.
softmax_cross_entropy.rows = _cross_entropy_rows  # type: ignore[attr-defined]
mse_loss.rows = _squared_error_rows  # type: ignore[attr-defined]
