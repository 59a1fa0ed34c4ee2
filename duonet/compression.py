"""Gradients of one bit: the messages of workers in a step, with 32 times fewer bytes than gradients.

The staircase of binary activations is applied to gradients. A worker sends the sign of each number and one scale
for each parameter. It keeps the rest, and adds it to its next gradient.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from duonet.team import Team, tree


class SignVote:
    """Signs with error feedback, summed over the shards of a team: a vote, weighted by the scales.

    e ← e + g;   q = α sign(e), α = mean |e| of each parameter, sign(0) = +1;   e ← e − q.   A tree adds
    the q of all shards. A message is packed: a bit for each number, and the scales.

    Parameters
    ----------
    team : Team
    parts : sequence of slice
        The place of each parameter in the vector of all parameters.
    dtype : dtype
        The vector's dtype.

    References
    ----------
    Bernstein et al., signSGD: Compressed Optimisation for Non-Convex Problems, ICML 2018; Karimireddy et al.,
    Error Feedback Fixes SignSGD, ICML 2019, the source of the scaled sign, here for each parameter.

    Examples
    --------
    >>> vote = SignVote(Team(1), [slice(0, 2), slice(2, 4)])
    >>> vote.sum([(0, np.array([3.0, -1.0, 0.0, 0.0]))], 2)
    array([ 2., -2.,  0.,  0.], dtype=float32)
    >>> vote.sum([(0, np.zeros(4))], 2)  # the rest of the first step
    array([1., 1., 0., 0.], dtype=float32)
    """

    def __init__(self, team: Team, parts: Sequence[slice], dtype: npt.DTypeLike = np.float32):
        self.team, self.parts, self.dtype = team, list(parts), np.dtype(dtype)
        self.errors: dict[int, npt.NDArray[Any]] = {}

    def sum(self, gradients: Iterable[tuple[int, npt.NDArray[Any]]], images: int) -> npt.NDArray[Any]:
        """Return the sum of the messages of all shards.

        Parameters
        ----------
        gradients : iterable of (place, vector)
            Place and gradient of each of this process's shards.
        images : int
            The number of images in the batch.

        Returns
        -------
        vector
            The same in every process.
        """
        bits, scales = [], []
        for place, gradient in gradients:
            error = self.errors.setdefault(place, np.zeros(self.parts[-1].stop, self.dtype))
            error += gradient
            bits.append(np.packbits(error >= 0))
            scales.append(np.array([abs(error[part]).sum() / max(error[part].size, 1) for part in self.parts]))
            error -= self._sent(bits[-1], scales[-1].astype(self.dtype))
        packed = np.array(bits, np.uint8).reshape(len(bits), -(-self.parts[-1].stop // 8))
        scale = np.array(scales, self.dtype).reshape(len(bits), len(self.parts))
        every = zip(self.team.every(packed, images), self.team.every(scale, images))
        return tree(self._sent(*sent) for sent in every)

    def _sent(self, packed, scales):
        """Return the numbers of a message of signs and scales."""
        signs = np.unpackbits(packed, count=self.parts[-1].stop).astype(self.dtype)
        signs *= 2
        signs -= 1
        for part, scale in zip(self.parts, scales):
            signs[part] *= scale
        return signs
