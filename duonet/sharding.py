"""A training step in shards: each shard passes through the network alone, and their gradients are added.

Each shard has its own copy of the state that a forward pass changes: buffers such as running averages, and random
generators. At the start of an epoch the buffers are the model's; at its end the model gets their mean, and the
model's own generators have drawn once.
"""

import contextlib
import copy
import math
import pickle
import zlib
from typing import Any

import numpy as np

from duonet import backend, shared_norm
from duonet.backend import Array
from duonet.compression import SignVote
from duonet.diagnosis import check_loss
from duonet.module import Module
from duonet.optim import Optimizer
from duonet.penalties import Penalties
from duonet.stepping import Stepping
from duonet.team import Team
from duonet.tensor import Tensor
from duonet.totals import Totals, as_array

FIGURES = 4  # of a shard: loss, hits, whether there are no hits, penalty
PLAIN = (bool, int, float, str, tuple, np.ndarray, np.generic)


class Shards:
    """The shards of a model in this process, during an epoch. `fit` makes one such object for each epoch.

    Parameters
    ----------
    model : Module
    optimizer : Optimizer
    team : Team

    Raises
    ------
    ValueError
        If the result would depend on more than the shards; the message names the layer.

    Examples
    --------
    >>> from duonet import functional, nn, optim
    >>> model = nn.Sequential(nn.Linear(1, 2, rng=np.random.default_rng(0)))
    >>> shards, totals = Shards(model, optim.SGD(model.parameters(), 0.1), Team(2)), Totals("fit")
    >>> x, labels = np.ones((4, 1), "float32"), np.array([0, 1, 0, 1])
    >>> shards.gradients(model, x, labels, functional.softmax_cross_entropy, totals, epoch=0, step=0)
    >>> totals.images, model[0].bias.grad.shape
    (4, (2,))
    """

    def __init__(self, model: Module, optimizer: Optimizer, team: Team):
        self.model, self.optimizer, self.team = model, optimizer, team
        self.stepping, self.penalties = Stepping(model), Penalties(model)
        self.buffers = list(model.named_buffers())
        self.generators = _generators(model)
        shared_norm.check(model, team, [path for path, _ in self.generators])
        self.values = {place: [buffer.data.copy() for _, buffer in self.buffers] for place in team.places}
        seeds = [int(rng.integers(2**63)) for _, rng in self.generators]
        self.states = {
            place: [_state(rng, seed, place) for (_, rng), seed in zip(self.generators, seeds)]
            for place in team.places
        }
        hooked = [m for _, m in model.modules() if _has_hooks(m)]
        inside = {id(buffer) for module in hooked for _, buffer in module.named_buffers()}
        self.followed = [i for i, (_, buffer) in enumerate(self.buffers) if id(buffer) in inside]
        self.most = 1  # the largest number of shards of a batch so far
        self.penalty, self.images = 0.0, 0
        ends = np.cumsum([0, *(p.size for p in optimizer.parameters)]).tolist()
        self.parts = [slice(*pair) for pair in zip(ends, ends[1:])]
        self.dtype = np.result_type(np.float32, *(p.dtype for p in optimizer.parameters))
        self.vote = SignVote(team, self.parts, self.dtype) if team.compress == "sign" else None
        self.fresh = True

    @property
    def numbers(self) -> dict[str, float]:
        """The numbers that depend on time, at the latest step."""
        return self.stepping.numbers

    def before(self, epochs: float) -> None:
        """Call `before_step` of every module with the time in epochs."""
        with self._everywhere():
            self.stepping.before(epochs)

    def after(self) -> None:
        """Call `after_step` of every module, once for all shards."""
        with self._everywhere():
            self.stepping.after()

    def mean(self) -> float | None:
        """Return the mean of the penalties; None if no module has any."""
        return self.penalty / max(self.images, 1) if self.penalties.modules else None

    def gradients(
        self,
        run: Module,
        x: Array,
        labels: Any,
        loss: Any,
        totals: Totals,
        epoch: int,
        step: int,
        first: bool = False,
    ) -> None:
        """Leave the gradient of a batch's mean loss in the parameters, and add its score to `totals`.

        Parameters
        ----------
        run : Module
            The model, or its fused form.
        x, labels : array
            The whole batch, in every process.
        loss : callable
        totals : Totals
        epoch, step : int
        first : bool
            Whether no step has been made yet.
        """
        labels, figures = as_array(labels), []
        run = run if self.team.batch_norm == "shard" else self.model  # fused layers have no forward of their own
        images, parameters = len(labels), self.optimizer.parameters
        self.most = max(self.most, self.team.count(images))

        def passes():
            for place, rows in self.team.cut(images):
                with self._at(place):
                    figures.append(self._pass(run, x, labels, rows, loss, (epoch, step, first)))
                yield place, self._vector()

        nothing = np.zeros(self.parts[-1].stop, self.dtype)
        with shared_norm.whole_batch(self.model, self.team, images):
            if self.vote is None:
                total = self.team.sum((vector for _, vector in passes()), images, nothing)
            else:
                total = self.vote.sum(passes(), images)
        found = self.team.sum(figures, images, np.zeros(FIGURES + len(parameters)))
        score, there = found[:FIGURES], found[FIGURES:]
        total = backend.to_device(total, backend.device_of(parameters[0].data))
        for parameter, part, count in zip(parameters, self.parts, there):
            grad = total[part].reshape(parameter.shape).astype(parameter.dtype, copy=False)
            parameter.grad = grad if count else None
        totals.loss = totals.loss + score[0]
        totals.hits = None if score[2] or totals.hits is None else totals.hits + score[1]
        totals.images += images
        self.penalty, self.images = self.penalty + score[3], self.images + images

    def finish(self) -> None:
        """Give the model the mean of its shards' buffers, and check that all processes hold the same weights.

        Raises
        ------
        ValueError
            If a buffer without floats has changed; the message names the buffer.
        RuntimeError
            If the processes differ.
        """
        team = self.team
        used = [self.values[place] for place in team.places if place % (team.pieces // self.most) == 0]
        for values in used:
            for (path, buffer), value in zip(self.buffers, values):
                if buffer.dtype.kind != "f" and not np.array_equal(buffer.numpy(), _host(value)):
                    raise ValueError(
                        f"fit: buffer {path} changes in training and holds no floats; shards have no mean"
                    )
        flat = [np.concatenate([np.zeros(0), *(_host(value).ravel() for value in values)]) for values in used]
        # All processes agree, except on a small last batch that the first process had alone.
        if team.batch_norm == "batch":
            flat = [values * (self.most if team.rank == 0 else 0) for values in flat]
        shapes = next(s for s in team.world.gather([v.shape for v in used[0]] if used else None) if s is not None)
        ends = np.cumsum([0, *map(math.prod, shapes)]).tolist()
        mean = team.sum_of(flat, self.most, np.zeros(ends[-1])) / self.most
        for (_, buffer), shape, start, end in zip(self.buffers, shapes, ends, ends[1:]):
            if buffer.dtype.kind == "f":
                value = mean[start:end].reshape(shape).astype(buffer.dtype)
                buffer.data = backend.to_device(value, backend.device_of(buffer.data))
        every = team.world.gather(self._digest() if team.size > 1 else 0)
        if len({*every}) > 1:
            raise RuntimeError(
                "fit: the processes no longer hold the same weights: they need one duonet, NumPy and kind of CPU"
            )

    def _digest(self):
        digest = 0
        for _, tensor in (*self.model.named_parameters(), *self.buffers):
            digest = zlib.crc32(np.ascontiguousarray(tensor.numpy()).view(np.uint8), digest)
        return digest

    def _pass(self, run, x, labels, rows, loss, when):
        """Run forwards and backwards with one shard; return its figures."""
        images, here = len(labels), rows.stop - rows.start
        part, penalties, before = Totals("fit"), copy.copy(self.penalties), self._plain()
        shard = Tensor(x[rows])
        logits = run(shard)
        value = loss(logits, labels[rows])
        part.add(value, logits, labels[rows])
        if not np.isfinite(float(part.loss)):
            shared_norm.undo(self.model)  # the other processes would have to take part in the next lines
        check_loss(part, self.model, shard, labels, *when)
        value = penalties.added(value)
        self.optimizer.zero_grad()
        value.backward(backend.get_xp(value.data).asarray(here / images, value.dtype))
        self._refuse_hidden(before)
        hits, penalty = (0 if n is None else float(n) for n in (part.hits, penalties.mean()))
        there = [p.grad is not None for p in self.optimizer.parameters]
        return np.array([float(part.loss), hits, part.hits is None, penalty * here, *there], np.float64)

    def _vector(self):
        """Return all gradients as one vector."""
        parameters = self.optimizer.parameters
        vector = backend.get_xp(parameters[0].data).zeros(self.parts[-1].stop, self.dtype)
        for parameter, part in zip(parameters, self.parts):
            if parameter.grad is not None:
                vector[part] = parameter.grad.reshape(-1)
        return vector if self.vote is None else _host(vector)

    @contextlib.contextmanager
    def _at(self, place):
        """Give the model a shard's buffers and its generators' states in the block."""
        buffers, generators = [b for _, b in self.buffers], [rng.bit_generator for _, rng in self.generators]
        values, states = [b.data for b in buffers], [bits.state for bits in generators]
        _put(buffers, self.values[place], generators, self.states[place])
        try:
            yield
        finally:
            self.values[place], self.states[place] = [b.data for b in buffers], [bits.state for bits in generators]
            _put(buffers, values, generators, states)

    @contextlib.contextmanager
    def _everywhere(self):
        """Copy the block's changes of the model's buffers to all shards."""
        before = [self.buffers[i][1].data.copy() for i in self.followed]
        yield
        for i, old in zip(self.followed, before):
            path, buffer = self.buffers[i]
            if _same(buffer.data, old):
                continue
            for values in self.values.values():
                if not _same(values[i], old):
                    raise ValueError(f"fit: buffer {path} changes both in a shard's pass and between the steps")
                values[i] = buffer.data.copy()

    def _plain(self):
        """Return the numbers and arrays of modules beside their tensors, each once."""
        if not self.fresh:
            return {}
        return {
            (path, module, name): _bits(value)
            for path, module in self.model.modules()
            for name, value in vars(module).items()
            if isinstance(value, PLAIN)
        }

    def _refuse_hidden(self, before):
        self.fresh = False
        for (path, module, name), value in before.items():
            if _bits(getattr(module, name)) != value:
                raise ValueError(
                    f"fit: {path} {type(module).__name__}: {name} changes in a forward pass, so its shards would "
                    "depend on each other; make it a buffer"
                )


def _bits(value):
    """Return a value as bytes, in which NaN equals itself; None for a tuple with functions."""
    with contextlib.suppress(pickle.PicklingError, AttributeError, TypeError):
        return pickle.dumps(value)


def _has_hooks(module):
    return any(getattr(type(module), name) is not getattr(Module, name) for name in ("before_step", "after_step"))


def _put(buffers, values, generators, states):
    for buffer, value in zip(buffers, values):
        buffer.data = value
    for bits, state in zip(generators, states):
        bits.state = state


def _same(a, b):
    return a.shape == b.shape and bool((a == b).all())


def _host(array):
    return backend.to_device(array, "cpu")


def _generators(model):
    """List (path, generator) for the generators of all modules, each once."""
    found = {}
    for path, module in model.modules():
        for value in vars(module).values():
            if isinstance(value, np.random.Generator):
                found.setdefault(id(value), (path, value))
    return list(found.values())


def _state(rng, seed, place):
    """Return the state of a new generator of the same kind."""
    return type(rng.bit_generator)(np.random.SeedSequence([seed, place])).state
