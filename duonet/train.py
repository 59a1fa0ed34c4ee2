"""Training and evaluation loops."""

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, Protocol, TypeAlias

from duonet import arguments, backend, functional, parallel
from duonet.diagnosis import TrainingDiverged, check_input, check_loss, check_parameters, first_not_finite
from duonet.fusing import fused
from duonet.history import History
from duonet.module import Module
from duonet.optim import Constant, Optimizer
from duonet.penalties import Penalties
from duonet.progress import Bar
from duonet.sharding import Shards
from duonet.stepping import Stepping
from duonet.stopping import clip_gradients
from duonet.tape import no_grad
from duonet.team import Team
from duonet.tensor import Tensor
from duonet.totals import Score, Totals
from duonet.watching import evaluating

__all__ = ["Loader", "Score", "TrainingDiverged", "evaluate", "fit"]

Batches: TypeAlias = Iterable[tuple[Any, Any]]  # of pairs of x and labels, such as a DataLoader
Loss: TypeAlias = Callable[[Tensor, Any], Tensor]


class Loader(Protocol):
    """The batches for `fit`, such as a DataLoader: each iteration is an epoch of pairs (x, labels).

    Attributes
    ----------
    images : int
        The number of images of an epoch; `len` is the number of batches.
    """

    images: int

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[tuple[Any, Any]]: ...


@parallel.threads()
def evaluate(
    model: Module, loader: Batches, loss: Loss = functional.softmax_cross_entropy, team: Team | None = None
) -> Score:
    """Score a model in evaluation mode, without a tape. Afterwards every layer has its former mode.

    Parameters
    ----------
    model : Module
        Returns logits (N, C).
    loader : iterable
        Yields (x, labels) arrays.
    loss : callable
        (logits, labels) to a scalar Tensor, the mean over the batch.
    team : Team, optional
        A team of several processes, each of which scores a share of the batches.

    Returns
    -------
    Score

    Raises
    ------
    ValueError
        If the loader yields no batch, numbers that are not finite, or unequal numbers of images and labels.
    TypeError
        If an argument is of the wrong kind, or the loader yields anything but pairs.

    Examples
    --------
    >>> import numpy as np
    >>> from duonet import nn
    >>> batches = [(np.array([[3.0, 1.0], [0.0, 1.0]], "float32"), np.array([0, 0]))]
    >>> evaluate(nn.Flatten(), batches).accuracy
    0.5
    """
    arguments.instance("evaluate", "model", model, Module)
    if team is not None:
        arguments.instance("evaluate", "team", team, Team)
    totals, parts = Totals("evaluate"), []
    rank, size = (0, 1) if team is None else (team.rank, team.size)
    with no_grad(), evaluating(model):
        run, _ = fused(model)
        for i, (x, labels) in enumerate(_pairs("evaluate", loader)):
            if i % size != rank:
                continue
            x = Tensor(x)
            parts.append((i, Totals("evaluate")))
            parts[-1][1].see(x.data)
            logits = run(x)
            parts[-1][1].add(loss(logits, labels), logits, labels)
    every = parts if team is None else sum(team.world.gather(parts), [])
    for _, part in sorted(every, key=lambda part: part[0]):
        totals.include(part)
    if not totals.finite:
        raise ValueError("evaluate: the loader yields inputs that are not finite")
    if totals.spoilt:
        raise ValueError("evaluate: the loader yields labels that are not finite")
    return totals.read()


@parallel.threads()
def fit(
    model: Module,
    loader: Loader,
    optimizer: Optimizer,
    epochs: int,
    *,
    schedule: Callable[[float], float] | None = None,
    validation: Batches | None = None,
    loss: Loss = functional.softmax_cross_entropy,
    history: History | None = None,
    team: Team | None = None,
    on_epoch: Callable[[History], object] | None = None,
    clip: float | None = None,
    frozen: Sequence[Module] = (),
    label: str = "",
    progress: bool = True,
) -> History:
    """Train a model.

    Parameters
    ----------
    model : Module
        Returns logits (N, C).
    loader : sized iterable
        Yields (x, labels) arrays, one epoch for each iteration; `len` is the number of batches and `images`
        the number of images.
    optimizer : Optimizer
        An optimiser of the model's parameters.
    epochs : int
        The number of epochs in all, including the epochs of `history`.
    schedule : callable, optional
        From time in epochs to a factor on the optimiser's `base_lr`, at every step; constant by default.
        Modules receive the time as well: see `Module.before_step`.
    validation : iterable, optional
        Scored after every epoch.
    loss : callable
        As in `evaluate`. The penalties of the model's layers are added to the loss, but not to the loss shown.
        After every step of the optimiser, `fit` calls each module's `after_step`.
    history : History, optional
        The history of earlier epochs; `fit` continues after these epochs and appends to the history.
    team : Team, optional
        Cuts each batch into shards, which go through the model one by one, or in several processes. Weights
        depend on the number of shards, but not on the number of processes. Every process gives the same arguments.
    on_epoch : callable, optional
        Called with the `History` after every epoch, for example to save a checkpoint. If it returns True, the
        training ends; see `early_stop`.
    clip : number, optional
        The largest norm of a step's gradient over all parameters: see `clip_gradients`.
    frozen : sequence of Module
        Layers of the model that stay in evaluation mode, such as a batch norm that keeps its statistics. Their
        parameters still change if the optimiser has them.
    label : str
        A text in front of the progress bar.
    progress : bool
        A bar for every epoch in a terminal or notebook, a line for every epoch elsewhere.

    Returns
    -------
    History
        Columns epoch, lr, loss, accuracy, seconds, and with `validation` val_loss, val_accuracy. Loss and
        accuracy are means over the epoch's batches, during which the weights change. Without classes, see `Score`,
        there is no accuracy. If modules have penalties, `penalty` is their mean, and loss does not contain it.
        Numbers that depend on time have columns of their names, with means over their modules at the last step.

    Raises
    ------
    TrainingDiverged
        If the loss or a parameter becomes infinite or NaN.
    ValueError
        If an input, a label that the loss uses, a penalty or the model is not finite, if a number is out of range,
        if the optimiser has no parameter of the model, or if a layer cannot be divided into shards.
    TypeError
        If an argument is of the wrong kind, or the loader yields anything but pairs.
    BaseException
        An exception that ends the training early, even Ctrl-C, has the finished epochs' `History` as `history`.

    Examples
    --------
    >>> import numpy as np
    >>> from duonet import data, nn, optim
    >>> rng = np.random.default_rng(0)
    >>> toy = data.Dataset(np.array([0, 255] * 8, "uint8").reshape(16, 1, 1, 1), np.array([0, 1] * 8))
    >>> loader = data.DataLoader(toy, 4, data.Normalize.of(toy.images), rng=rng)
    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(1, 2, rng=rng))
    >>> history = fit(model, loader, optim.Adam(model.parameters(), 0.5), epochs=3, progress=False)
    >>> history["accuracy"][-1]
    1.0
    """
    schedule = Constant() if schedule is None else schedule
    history = History() if history is None else history
    if clip is not None:
        arguments.number("fit", "clip", clip, above=0)
    if team is not None:
        arguments.instance("fit", "team", team, Team)
    if not isinstance(frozen, (list, tuple)):
        raise TypeError(f"fit: frozen must be a list of layers, got {type(frozen).__name__}")
    known = {id(module) for _, module in model.modules()} if isinstance(model, Module) else set()
    if not all(id(layer) in known for layer in frozen):
        raise ValueError("fit: frozen must be layers of the model")
    called = {"schedule": schedule, "loss": loss} | ({} if on_epoch is None else {"on_epoch": on_epoch})
    epochs, begun = _check_arguments(model, loader, optimizer, epochs, history, **called), len(history)
    try:
        for epoch in range(begun, epochs):
            started = time.perf_counter()
            bar = Bar(f"{label} {epoch + 1}/{epochs}".strip(), loader.images, progress)
            with bar:
                score, penalty, numbers = _train_epoch(
                    model, loader, optimizer, schedule, loss, epoch, epoch == begun, bar, team, clip, frozen
                )
            row = {**numbers, "epoch": epoch + 1, "lr": optimizer.lr, **score._asdict(), "penalty": penalty}
            row["seconds"] = time.perf_counter() - started
            if validation is not None:
                score = evaluate(model, validation, loss, team)
                row |= {"val_loss": score.loss, "val_accuracy": score.accuracy}
            history.append(**{name: value for name, value in row.items() if value is not None})
            bar.summarise(row)
            # Processes may answer differently, but none may continue alone: the answer of the first counts.
            ended = on_epoch is not None and on_epoch(history) is True
            if ended if team is None else team.world.share(partial(bool, ended)):
                break
    except BaseException as error:
        with contextlib.suppress(AttributeError, TypeError):  # for an exception without attributes
            error.history = history  # type: ignore[attr-defined]
        raise
    return history


def _train_epoch(model, loader, optimizer, schedule, loss, epoch, first, bar, team, clip, frozen):
    """Make one step for each batch; return the epoch's score, its mean penalty and the numbers set by time."""
    totals = Totals("fit")
    model.train()
    for layer in frozen:
        layer.eval()
    run, _ = fused(model)
    penalties, stepping = Penalties(model), Stepping(model)
    shards = None if team is None else Shards(model, optimizer, team)
    if shards is not None:
        penalties = stepping = shards
    for i, (x, labels) in enumerate(_pairs("fit", loader)):
        now = epoch + i / len(loader)
        optimizer.lr = optimizer.base_lr * schedule(now)
        stepping.before(now)
        x = Tensor(x)
        totals.see(x.data)
        # A number read from a GPU stalls it, so it is read there only now and then.
        looked_at = backend.device_of(x.data) == "cpu" or bar.due()
        if looked_at:
            check_input(totals, x.data, epoch, i)
        if shards is not None:
            shards.gradients(run, x.data, labels, loss, totals, epoch, i, first and i == 0)
        else:
            logits = run(x)
            value = loss(logits, labels)
            totals.add(value, logits, labels)
            if looked_at:
                check_loss(totals, model, x, labels, epoch, i, first and i == 0)
            value = penalties.added(value, looked_at)
            optimizer.zero_grad()
            value.backward()
        if clip is not None:
            clip_gradients(optimizer.parameters, clip)
        optimizer.step()
        stepping.after()
        bar.advance(len(x.data), totals)
    if shards is not None:
        shards.finish()
    score = totals.read()
    check_input(totals, x.data, epoch, i)
    check_loss(totals, model, x, labels, epoch, i, False)
    check_parameters(model, epoch)
    return score, penalties.mean(), stepping.numbers


def _check_arguments(model, loader, optimizer, epochs, history, **called):
    arguments.instance("fit", "model", model, Module)
    arguments.instance("fit", "optimizer", optimizer, Optimizer)
    if not all(hasattr(loader, name) for name in ("__iter__", "__len__", "images")):
        raise TypeError(f"fit: loader needs a length and `images`, as a DataLoader, got {type(loader).__name__}")
    arguments.instance("fit", "history", history, History)
    for name, given in called.items():
        if not callable(given):
            raise TypeError(f"fit: {name} must be callable, got {type(given).__name__}")
    if not {id(p) for p in optimizer.parameters} & {id(p) for p in model.parameters()}:
        raise ValueError("fit: the optimizer has no parameter of the model, so it would train nothing")
    if (where := first_not_finite(model)) is not None:
        raise ValueError(f"fit: {where} is not finite before the first step, so it is not the learning rate")
    return arguments.integer("fit", "epochs", epochs, at_least=0)


def _pairs(name, loader):
    """Yield the loader's batches, each a pair: a Dataset would unpack as well, if it held two images."""
    if not hasattr(loader, "__iter__"):
        raise TypeError(f"{name}: loader must yield (x, labels), got {type(loader).__name__}")
    for batch in loader:
        if not isinstance(batch, (tuple, list)) or len(batch) != 2:
            raise TypeError(f"{name}: the loader must yield pairs (x, labels), got {type(batch).__name__}")
        yield batch
