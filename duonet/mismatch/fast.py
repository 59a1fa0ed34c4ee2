"""The coordinate discrete gradient of a sequential model without repeating the whole forward pass.

Moving one weight W[..., i, j] by ε moves one output channel, z_j, by ε times the input of this weight.
So the part of the network before the layer is run once; the layers after it that treat every channel by itself
(pooling, batch norm, activations) are run on channel j alone. Behind a staircase, the channel has changed for few
samples, and in few ways: with binary activations, a linear layer's channel changes in one way per sample,
whichever weight was moved. Only the distinct changed rows pass through the rest of the network, together. The
losses equal the losses of full forward passes, up to the rounding of z.
"""

import copy
import functools
from typing import Any

import numpy as np
import numpy.typing as npt

from duonet import backend, nn, parallel
from duonet.coupling import kind
from duonet.mismatch.chain import CannotServe, chain, table
from duonet.mismatch.objective import Objective
from duonet.quant import Staircase
from duonet.tape import no_grad
from duonet.tensor import Tensor

BLOCK_BYTES = 1 << 25  # rows go through the rest of the network in blocks of about this much memory


class FastForm:
    """Losses of a sequential model after moving single weights of one layer.

    Parameters
    ----------
    objective : Objective
    path : str
        A Linear or Conv2d layer.
    memory : float
        Limit of the working memory, MiB.

    Raises
    ------
    CannotServe
        If the model is not a chain of known layers, or a staircase is more than thresholds and levels; if the
        layer's weights are quantised or shared, or the loss itself reads them.
    ValueError
        If the memory limit is too small for one coordinate.

    Examples
    --------
    >>> from duonet import functional as F
    >>> from duonet.mismatch.objective import Objective
    >>> rng = np.random.default_rng(0)
    >>> model = nn.Sequential(nn.Linear(3, 2, rng=rng), nn.ReLU()).eval()
    >>> x = rng.standard_normal((5, 3), dtype="float32")
    >>> form = FastForm(Objective(model, F.mse_loss, (x, np.zeros((5, 2), "float32"))), "0", memory=1)
    >>> up, down = form.losses(np.array([4]), step=0.1)[0]
    >>> bool(up != down)
    True
    """

    def __init__(self, objective: Objective, path: str, memory: float = 512):
        self.objective, self.path, self.memory = objective, path, memory
        layers, at = chain(objective.model, path)
        self.layer = layers[at]
        end = at + 1
        while end < len(layers) and _rises_by_channel(layers[end]):
            end += 1
        self.before, self.own, self.rest = layers[:at], layers[at + 1 : end], layers[end:]
        self._run_unmoved()
        self._refuse_other_readers()
        self._share_memory()
        _Channel(self, 0, 0.0)

    def losses(self, coordinates: npt.NDArray[Any], step: float) -> npt.NDArray[Any]:
        """Compute the losses with each weight moved up and down.

        Parameters
        ----------
        coordinates : array of int
            Flat indices into the layer's weight.
        step : float
            ε.

        Returns
        -------
        numpy.ndarray
            (len(coordinates), 2): L(w + ε e_i) and L(w − ε e_i), float64.
        """
        out = np.empty((len(coordinates), 2))
        rows, channels = np.divmod(coordinates, self.layer.weight.shape[-1])
        for j in np.unique(channels):
            places = np.flatnonzero(channels == j)
            channel = _Channel(self, int(j), step)
            for start in range(0, len(places), self.together):
                some = places[start : start + self.together]
                out[some] = self._losses_of_rows(channel, rows[some])
        return out

    def _losses_of_rows(self, channel, rows):
        """Compute the losses (len(rows), 2) for weights that feed the same output channel."""
        copies, samples, patches = channel.changes(rows)
        losses = np.full(2 * len(rows), self.objective.at_start)
        if not len(copies):
            return losses.reshape(-1, 2)
        xp = backend.get_xp(copies)
        first, inverse = _distinct(samples, patches)
        outputs = self._outputs(channel, samples[first], patches[first])
        changed = self.objective.rows_of(outputs, samples[first])
        if changed is not None:  # a mean over the samples: the changed samples move it
            moved = changed[inverse] - self.objective.rows_at_start[samples]
            losses += backend.to_device(xp.bincount(copies, moved, len(losses)), "cpu") / len(self.output)
            return losses.reshape(-1, 2)
        bounds = xp.searchsorted(copies, xp.arange(2 * len(rows) + 1)).tolist()
        for k in range(2 * len(rows)):
            here = slice(bounds[k], bounds[k + 1])
            if here.start < here.stop:  # else no sample changes
                output = self.output.copy()
                output[samples[here]] = outputs[inverse[here]]
                losses[k] = self.objective.of_output(output)
        return losses.reshape(-1, 2)

    def _outputs(self, channel, samples, patches):
        """Run the rest of the network on rows of the batch in which one channel has been replaced."""
        xp = backend.get_xp(patches)
        parts = []
        for start in range(0, len(samples), self.block):
            some = slice(start, start + self.block)
            row = self.entering[samples[some]]
            row[..., channel.indices] = patches[some]
            parts.append(_run(self.rest, row))
        return xp.concatenate(parts)

    def _run_unmoved(self):
        """Keep the arrays that the moved copies share: input and output of the layer and of the layers behind."""
        xp = backend.get_xp(self.objective.x)
        x = _run(self.before, self.objective.x)
        self.z = _run([self.layer], x)
        self.entering = _run(self.own, self.z)
        self.output = _run(self.rest, self.entering)
        if x.ndim == 4:
            pad = self.layer.padding
            x = xp.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
        self.inputs = xp.ascontiguousarray(xp.moveaxis(x, -1, 0))  # one input channel after the other
        reach = xp.abs(self.inputs).max(axis=0)
        self.reach = functools.reduce(xp.maximum, (self.column(row, reach) for row in self._window()))

    def _refuse_other_readers(self):
        """Refuse a loss that changes with the weight although the output stays: it reads the weight itself."""
        weight = self.layer.weight
        start = weight.data
        try:
            weight.data = start + 1
            changed = self.objective.of_output(self.output) != self.objective.at_start
        except ValueError:  # the loss is not finite there
            changed = True
        finally:
            weight.data = start
        if changed:
            raise CannotServe("the loss reads its weight itself")

    def _window(self):
        """List the weight rows of the first input channel: one for each position in the window."""
        return range(0, self.layer.weight.data[..., 0].size, self.layer.weight.shape[-2])

    def column(self, row: int, image: npt.NDArray[Any] | None = None) -> npt.NDArray[Any]:
        """Return the inputs that one weight multiplies.

        Parameters
        ----------
        row : int
            The weight's flat index among the weights of its output channel.
        image : array, optional
            One channel, (N,) or (N, H, W), in place of the weight's input channel.

        Returns
        -------
        array
            (N,) in a linear layer, (N, OH, OW) in a convolution.
        """
        position, i = divmod(int(row), self.layer.weight.shape[-2])
        plane = self.inputs[i] if image is None else image
        if self.z.ndim == 2:
            return plane
        p, q = divmod(position, self.layer.weight.shape[1])
        stride, (oh, ow) = self.layer.stride, self.z.shape[1:3]
        return plane[:, p : p + stride * oh : stride, q : q + stride * ow : stride]

    def _share_memory(self):
        """Decide how many coordinates and how many rows go together under the memory limit."""
        samples = len(self.z)
        kept = sum(a.nbytes for a in (self.inputs, self.z, self.entering, self.output, self.reach))
        free = self.memory * 2**20 - kept
        # In the worst case every sample changes, and differently, in both of a coordinate's copies.
        forming = 2 * 5 * max(self.z[..., 0].nbytes, self.entering[..., 0].nbytes)
        changed = 2 * (4 * self.entering[..., 0].nbytes + 3 * self.output.nbytes + 64 * samples)
        row = 4 * _largest_row(self.rest, self.entering[:1])
        self.formed_at_once = max(1, int(min(free / 4, BLOCK_BYTES) / 2 // forming))
        self.together = int(free / 2 // changed)
        self.block = max(1, int(min(free / 4, BLOCK_BYTES) // row))
        needed = (kept + max(8 * forming, 2 * changed, 4 * row)) / 2**20
        if needed > self.memory:
            raise ValueError(
                f"mismatch: memory of {self.memory:g} MiB is too small for one coordinate of {self.path}, which "
                f"needs {needed:.1f} MiB for {samples} samples; raise memory or measure on a smaller batch"
            )


class _Channel:
    """One output channel of the layer, and the next layers, which treat each channel by itself."""

    def __init__(self, form, j, step):
        xp = backend.get_xp(form.z)
        self.form, self.step = form, step
        self.indices, self.layers, channels = [j], [], form.z.shape[-1]
        for layer in form.own:
            self.layers.append(_narrow(layer, self.indices, channels))
            if kind(layer) is nn.Replicate:
                self.indices = [k + copy * channels for copy in range(layer.copies) for k in self.indices]
                channels *= layer.copies
        z = form.z[..., j : j + 1]
        # All these layers rise or fall with z, so a sample that neither extreme changes cannot change.
        reach = step * form.reach[..., None]
        unmoved = form.entering[..., self.indices]
        up, down = self.run(z + reach), self.run(z - reach)
        if up.shape != unmoved.shape:
            raise CannotServe("a layer behind it does not treat its channels one by one, as its class says")
        changed = (up != unmoved) | (down != unmoved)
        self.samples = xp.flatnonzero(changed.reshape(len(z), -1).any(axis=1))
        self.z, self.unmoved = z[self.samples], unmoved[self.samples]

    def run(self, z):
        """Run z, (M, OH, OW, 1) or (M, 1), through the layers that treat channels one by one."""
        return _run(self.layers, z)

    def changes(self, rows):
        """Find where the moved weights change the channel.

        Returns copies (sorted; copy 2k moves weight k up, copy 2k + 1 moves it down), the samples that change in
        them, and the channel's new values there, (M, ..., len(indices)).
        """
        xp = backend.get_xp(self.z)
        if not len(self.samples):
            return self.samples, self.samples, self.unmoved

        def work(some):
            moves = xp.stack([self.form.column(row)[self.samples] for row in rows[some]])[..., None]
            moves *= moves.dtype.type(self.step)
            z = xp.stack([self.z + moves, self.z - moves], axis=1)
            y = self.run(z.reshape(-1, *z.shape[3:])).reshape(-1, *self.unmoved.shape)
            changed = (y != self.unmoved).reshape(len(y), len(self.samples), -1).any(axis=2)
            copies, places = xp.nonzero(changed)
            return copies + 2 * some.start, self.samples[places], y[copies, places]

        at_once = self.form.formed_at_once
        parts = parallel.run(work, [slice(k, k + at_once) for k in range(0, len(rows), at_once)])
        return tuple(xp.concatenate(part) for part in zip(*parts))


def _run(layers, x):
    with no_grad():
        x = Tensor(x)
        for layer in layers:
            x = layer(x)
    return x.data


def _distinct(samples, patches):
    """Find the different pairs (sample, patch): the first place of each, and for every pair its number among them.

    A 64-bit hash of the bits tells pairs apart; then each pair is compared with the first pair of its hash.
    """
    xp = backend.get_xp(patches)
    flat = xp.ascontiguousarray(patches.reshape(len(patches), -1))
    bits = flat.view(f"u{flat.itemsize}")
    factors = np.random.default_rng(0).integers(0, 2**64, flat.shape[1] + 1, dtype=np.uint64)
    keys = samples.astype(np.uint64) * xp.asarray(factors[0])
    block = max(1, (1 << 19) // flat.shape[1])  # products in uint64 take some memory
    for start in range(0, len(flat), block):
        some = slice(start, start + block)
        keys[some] += (bits[some] * xp.asarray(factors[1:])).sum(axis=1, dtype=np.uint64)
    _, first, inverse = xp.unique(keys, return_index=True, return_inverse=True)
    for start in range(0, len(flat), block):
        some = slice(start, start + block)
        stands = first[inverse[some]]
        if (bits[some] != bits[stands]).any() or (
            samples[some] != samples[stands]
        ).any():  # two pairs with one hash: about one run in a billion
            return xp.arange(len(flat)), xp.arange(len(flat))
    return first, inverse


def _largest_row(layers, x):
    """Return the bytes of the largest array that one row makes in the layers."""
    largest = x.nbytes
    for layer in layers:
        x = _run([layer], x)
        largest = max(largest, x.nbytes)
    return largest


def _rises_by_channel(layer):
    return layer.known("by_channel") and layer.known("rising") and not list(layer.children())


def _narrow(layer, indices, channels):
    """Return a layer that acts on some of the layer's channels alone."""
    new = copy.copy(layer)
    for name, value in vars(layer).items():
        if isinstance(value, Tensor) and value.shape[-1:] == (channels,):
            setattr(new, name, Tensor(value.data[..., indices]))
        elif isinstance(value, Staircase):
            setattr(new, name, table(value, lambda threshold: threshold[indices]))
    return new
