"""Directions of evolution strategies: independent, or orthogonal with a lower variance of the estimates."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

DIRECTIONS = ("gaussian", "orthogonal", "orthogonal-fixed", "hadamard")


def draw(rng: np.random.Generator, kind: str, samples: int, size: int) -> Iterator[npt.NDArray[np.float64]]:
    """Draw random directions in the space of the weights, with mean 0 and covariance 1.

    Parameters
    ----------
    rng : numpy.random.Generator
    kind : {"gaussian", "orthogonal", "orthogonal-fixed", "hadamard"}
        As for `evolution_gradient`.
    samples, size : int
        The number of directions, and the number of weights.

    Yields
    ------
    (size,) array

    Examples
    --------
    >>> whole = np.array(list(draw(np.random.default_rng(0), "hadamard", 4, 4)))
    >>> (whole @ whole.T).tolist()
    [[4.0, 0.0, 0.0, 0.0], [0.0, 4.0, 0.0, 0.0], [0.0, 0.0, 4.0, 0.0], [0.0, 0.0, 0.0, 4.0]]
    """
    if kind == "gaussian":
        yield from (rng.standard_normal(size) for _ in range(samples))
        return
    block = 1 << (size - 1).bit_length() if kind == "hadamard" else size
    for start in range(0, samples, block):
        count = min(block, samples - start)
        if kind == "hadamard":
            signs = 1.0 - 2 * rng.integers(0, 2, size)
            yield from (_hadamard_row(k, size) * signs for k in range(count))
            continue
        basis, triangle = np.linalg.qr(rng.standard_normal((size, count)))
        basis *= np.sign(np.diag(triangle))  # without the signs, the directions are not uniform on the sphere
        yield from (basis * np.sqrt(rng.chisquare(size, count) if kind == "orthogonal" else size)).T


def _hadamard_row(k, size):
    """Return the first numbers of row k of the Hadamard matrix: H of twice the size is [[H, H], [H, −H]]."""
    row = np.ones(1)
    while len(row) < size:
        row = np.concatenate([row, -row if k & len(row) else row])
    return row[:size]
