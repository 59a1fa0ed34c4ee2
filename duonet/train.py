"""Training and evaluation loops."""

import csv
import sys
import time
from typing import NamedTuple

import numpy as np

from duonet import backend, functional, parallel
from duonet.files import replacing
from duonet.nn.watching import evaluating, observe
from duonet.optim import Constant
from duonet.tape import no_grad
from duonet.tensor import Tensor

REFRESH_SECONDS = 0.5


class TrainingDiverged(ArithmeticError):
    """The loss or a parameter became infinite or NaN; the message says when and in which layer."""


class Score(NamedTuple):
    """How well a model does on a data set.

    Attributes
    ----------
    loss : float
        Mean over the images.
    accuracy : float
        Share of the images classified right, 0 to 1.
    """

    loss: float
    accuracy: float


class History:
    """One row of figures for every finished epoch.

    Parameters
    ----------
    rows : iterable of dict
        The epochs so far.

    Examples
    --------
    >>> history = History()
    >>> history.append(epoch=1, loss=0.5)
    >>> history.append(epoch=2, loss=0.25)
    >>> history["loss"], len(history)
    ([0.5, 0.25], 2)
    """

    def __init__(self, rows=()):
        self.rows = list(rows)

    def append(self, **row):
        """Add the figures of one epoch."""
        self.rows.append(row)

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, name):
        """Return one column, a list with an entry for each epoch."""
        return [row[name] for row in self.rows]

    def save(self, path):
        """Write the rows as CSV, replacing an older file only when done."""
        with replacing(path) as part, open(part, "w", newline="") as file:
            writer = csv.DictWriter(file, self.rows[0])
            writer.writeheader()
            writer.writerows(self.rows)


def evaluate(model, loader, loss=functional.softmax_cross_entropy):
    """Score a model, in evaluation mode and without a tape. Every layer's mode is put back afterwards.

    Parameters
    ----------
    model : Module
        Returns logits (N, C).
    loader : iterable
        Yields (x, labels) arrays.
    loss : callable
        (logits, labels) to a scalar Tensor, the mean over the batch.

    Returns
    -------
    Score

    Raises
    ------
    ValueError
        If the loader yields nothing.

    Examples
    --------
    >>> from duonet import nn
    >>> batches = [(np.array([[3.0, 1.0], [0.0, 1.0]], "float32"), np.array([0, 0]))]
    >>> evaluate(nn.Flatten(), batches).accuracy
    0.5
    """
    parallel.settle()
    totals = _Totals()
    with no_grad(), evaluating(model):
        for x, labels in loader:
            logits = model(Tensor(x))
            totals.add(loss(logits, labels).data, logits.data, labels)
    return totals.read("evaluate")


def fit(
    model,
    loader,
    optimizer,
    epochs,
    *,
    schedule=None,
    validation=None,
    loss=functional.softmax_cross_entropy,
    history=None,
    on_epoch=None,
    label="",
    progress=True,
):
    """Train a model.

    Parameters
    ----------
    model : Module
        Returns logits (N, C).
    loader : sized iterable
        Yields (x, labels) arrays, one epoch for each iteration; `len` is the number of batches and `images`
        the number of images.
    optimizer : Optimizer
    epochs : int
    schedule : callable, optional
        From time in epochs to a factor on the optimiser's `base_lr`, applied at every step; constant by default.
    validation : iterable, optional
        Scored after every epoch.
    loss : callable
        (logits, labels) to a scalar Tensor, the mean over the batch.
    history : History, optional
        Of the epochs that have been trained already; `fit` goes on after them and appends to it.
    on_epoch : callable, optional
        Called with the `History` after every epoch, to save what should survive an interruption.
    label : str
        Shown in front of the progress bar.
    progress : bool
        A bar for every epoch in a terminal or notebook, a line for every epoch elsewhere.

    Returns
    -------
    History
        Columns epoch, lr, loss, accuracy, seconds, and with `validation` val_loss, val_accuracy. Loss and
        accuracy are means over the epoch's own batches, while the weights change.

    Raises
    ------
    TrainingDiverged
        If the loss or a parameter becomes infinite or NaN.

    Examples
    --------
    >>> from duonet import data, nn, optim
    >>> rng = np.random.default_rng(0)
    >>> toy = data.Dataset(np.array([0, 255] * 8, "uint8").reshape(16, 1, 1, 1), np.array([0, 1] * 8))
    >>> loader = data.DataLoader(toy, 4, data.Normalize.of(toy.images), rng=rng)
    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(1, 2, rng=rng))
    >>> history = fit(model, loader, optim.Adam(model.parameters(), 0.5), epochs=3, progress=False)
    >>> history["accuracy"][-1]
    1.0
    """
    parallel.settle()
    schedule = schedule or Constant()
    history = History() if history is None else history
    for epoch in range(len(history), epochs):
        started = time.perf_counter()
        bar = _Bar(f"{label} {epoch + 1}/{epochs}".strip(), loader.images, progress)
        totals = _Totals()
        model.train()
        with bar:
            for i, (x, labels) in enumerate(loader):
                optimizer.lr = optimizer.base_lr * schedule(epoch + i / len(loader))
                logits = model(Tensor(x))
                value = loss(logits, labels)
                totals.add(value.data, logits.data, labels)
                # Reading a number off a GPU stalls it, so there it is read only now and then.
                if backend.device_of(value.data) == "cpu" or bar.due():
                    _check_loss(totals, model, x, epoch, i)
                optimizer.zero_grad()
                value.backward()
                optimizer.step()
                bar.advance(len(labels), totals)
            score = totals.read("fit")
            _check_loss(totals, model, x, epoch, i)
            _check_parameters(model, epoch)
        row = {"epoch": epoch + 1, "lr": optimizer.lr, **score._asdict()}
        row["seconds"] = time.perf_counter() - started
        if validation is not None:
            score = evaluate(model, validation, loss)
            row |= {"val_loss": score.loss, "val_accuracy": score.accuracy}
        history.append(**row)
        bar.summarise(row)
        if on_epoch is not None:
            on_epoch(history)
    return history


class _Totals:
    """Sums of loss and hits, kept as 0-d arrays where they are: reading them is what would stall a GPU."""

    def __init__(self):
        self.loss = self.hits = self.images = 0

    def add(self, loss, logits, labels):
        self.loss = self.loss + loss * len(labels)
        self.hits = self.hits + (logits.argmax(axis=1) == labels).sum()
        self.images += len(labels)

    def read(self, name="fit"):
        if self.images == 0:
            raise ValueError(f"{name}: the loader yields no images")
        return Score(float(self.loss) / self.images, float(self.hits) / self.images)


def _check_loss(totals, model, x, epoch, step):
    """Stop with the place where a non-finite number first shows, if the loss is not finite."""
    if np.isfinite(float(totals.loss)):
        return
    where = _first_bad_parameter(model)
    if where is None:
        with no_grad(), observe(model) as records:
            model(Tensor(x))
        bad = (path for path, r in records.items() if path and not _all_finite(r.output))
        path = next(bad, None)
        where = "no layer's output: it arises in the loss" if path is None else f"the output of {path}"
    raise TrainingDiverged(
        f"fit: the loss is not finite in epoch {epoch + 1}, step {step + 1}; the first non-finite numbers are in "
        f"{where}. A smaller learning rate is the usual cure"
    )


def _check_parameters(model, epoch):
    """Stop if a parameter is not finite: a staircase turns NaN into a level, so the loss may never show it."""
    where = _first_bad_parameter(model)
    if where is not None:
        raise TrainingDiverged(
            f"fit: {where} is not finite after epoch {epoch + 1}. A smaller learning rate is the usual cure"
        )


def _first_bad_parameter(model):
    return next((f"parameter {path}" for path, p in model.named_parameters() if not _all_finite(p.data)), None)


def _all_finite(array):
    return bool(backend.get_xp(array).isfinite(array).all())


class _Bar:
    """A tqdm bar for one epoch where someone watches, else one printed line at its end."""

    def __init__(self, text, images, progress):
        self.text, self.images, self.progress = text, images, progress
        self.last = time.perf_counter()
        self.done = 0
        self.bar = None

    def __enter__(self):
        watched = sys.stderr.isatty() or "ipykernel" in sys.modules
        if self.progress and watched:
            from tqdm.auto import tqdm

            self.bar = tqdm(total=self.images, desc=self.text, unit=" images", leave=False, mininterval=0)
        return self

    def __exit__(self, *error):
        if self.bar is not None:
            self.bar.close()

    def due(self):
        return time.perf_counter() - self.last > REFRESH_SECONDS

    def advance(self, images, totals):
        self.done += images
        if not self.due() and self.done < self.images:
            return
        self.last = time.perf_counter()
        if self.bar is not None:
            score = totals.read()
            self.bar.set_postfix_str(
                f"loss {score.loss:.3f}, accuracy {100 * score.accuracy:.1f} %", refresh=False
            )
            self.bar.update(self.done - self.bar.n)

    def summarise(self, row):
        if not self.progress:
            return
        line = f"{self.text}: loss {row['loss']:.3f}, accuracy {100 * row['accuracy']:.1f} %"
        if "val_accuracy" in row:
            line += f", validation {100 * row['val_accuracy']:.1f} %"
        line += f", {self.images / row['seconds']:.0f} images/s"
        if self.bar is None:
            print(line, flush=True)
        else:
            self.bar.write(line)
