"""Bi-Real Net's last stage: batch norm gets new statistics for the network in evaluation."""

from collections.abc import Iterable
from typing import Any

from duonet import arguments, nn
from duonet.module import Module
from duonet.sources import fill
from duonet.tape import no_grad
from duonet.tensor import Tensor
from duonet.watching import evaluating


def renew_statistics(model: Module, batches: Iterable[tuple[Any, Any]]) -> Module:
    """Set the running mean and variance of every batch norm to their means over batches.

    Batch norm runs as in training, and every other layer as in evaluation, so quantisers act as they are scored.
    While `fit` runs, the averages follow a changing network, and lag behind it if quantisers begin late.

    Parameters
    ----------
    model : Module
        Its averages are changed in place, and nothing else.
    batches : iterable
        Yields (x, labels) arrays, as a DataLoader does; the labels are not used.

    Returns
    -------
    Module
        The model.

    Raises
    ------
    ValueError
        If `batches` is empty, or an average would not be finite. After any error the averages are as before.

    References
    ----------
    Liu et al., Bi-Real Net, ECCV 2018; liuzechun/Bi-Real-net, retrainBN.

    Examples
    --------
    >>> import numpy as np
    >>> model = nn.Sequential(nn.BatchNorm(1))
    >>> batches = [(np.array([[1.0], [3.0]], "float32"), None), (np.array([[2.0], [8.0]], "float32"), None)]
    >>> renew_statistics(model, batches)[0].running_mean.data, model[0].running_var.data
    (array([3.5], dtype=float32), array([10.], dtype=float32))
    """
    modules = arguments.instance("renew_statistics", "model", model, Module).modules()
    norms = [layer for _, layer in modules if isinstance(layer, nn.BatchNorm)]
    averages = [average for norm in norms for average in (norm.running_mean, norm.running_var)]
    before, momenta = [average.data.copy() for average in averages], [norm.momentum for norm in norms]
    count = 0
    try:
        with no_grad(), evaluating(model):
            for count, (x, _) in enumerate(batches, 1):
                for norm in norms:
                    norm.training, norm.momentum = True, 1 / count  # so the running average is the mean so far
                model(Tensor(x))
        if not count:
            raise ValueError("renew_statistics: there are no batches")
        if not all(float(abs(average.data).max()) < float("inf") for average in averages):
            raise ValueError("renew_statistics: the averages would not be finite")
    except BaseException:
        for average, old in zip(averages, before):
            fill(average, old)
        raise
    finally:
        for norm, momentum in zip(norms, momenta):
            norm.momentum = momentum
    return model
