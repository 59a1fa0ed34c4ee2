"""Training on several processes: shards of a batch, and sums whose order depends on the shards alone.

A batch is always cut into the same shards, whatever the number of processes. Each process has some shards, and
their results are added in a binary tree: ((0 + 1) + (2 + 3)) + ... A process has a whole branch of the tree, so
the number of processes changes no bit. This is the only file that knows mpi4py.
"""

import contextlib
import os
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import numpy as np

from duonet import arguments
from duonet.backend import Array

T = TypeVar("T")
# The variables that mpiexec sets: of MPICH, Intel MPI and Slurm's pmi2; of Open MPI; of Slurm's pmix.
LAUNCHERS = (
    ("PMI_SIZE", "PMI_RANK"),
    ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"),
    ("SLURM_STEP_NUM_TASKS", "PMIX_RANK"),
)
SHORT = 4096  # numbers: in shorter vectors, latency counts and not bytes
TIMEOUT = 600.0  # seconds
INSTALL = 'install it with: pip install "duonet[mpi]"'


class Elsewhere(SystemExit):
    """Another process has failed and prints the reason; this process ends without a message."""


def launched() -> tuple[int, int]:
    """Return the number of mpiexec's processes, and the rank of this process: (1, 0) without mpiexec.

    Returns
    -------
    size, rank : int

    Examples
    --------
    >>> launched()
    (1, 0)
    """
    for names in LAUNCHERS:
        size, rank = (os.environ.get(name, "") for name in names)
        if size.isdecimal() and rank.isdecimal():
            return int(size), int(rank)
    return 1, 0


class World:
    """The processes that train together; by default a single process, without MPI.

    Parameters
    ----------
    comm : mpi4py.MPI.Comm, optional
    timeout : number
        Seconds that a process may wait for the others. After this time it ends all processes, because MPI would
        wait for ever for a process that hangs.

    Attributes
    ----------
    rank, size : int
        The number of this process, from 0, and the number of processes.
    sent : int
        Bytes of arrays that this process has sent.
    seconds : float
        Time of this process in exchanges of arrays.

    Examples
    --------
    >>> world = World()
    >>> world.size, world.share(lambda: 7), world.gather(5)
    (1, 7, [5])
    """

    def __init__(self, comm: Any = None, timeout: float = TIMEOUT):
        self.comm, self.timeout = comm, arguments.number("World", "timeout", timeout, above=0)
        self.rank: int = 0 if comm is None else comm.rank
        self.size: int = 1 if comm is None else comm.size
        self.sent, self.seconds = 0, 0.0
        self._since: float | None = None
        self._agreed_to_end = False
        if self.size > 1:
            threading.Thread(target=self._watch, name="duonet-watchdog", daemon=True).start()

    @classmethod
    def joined(cls, timeout: float = TIMEOUT) -> "World":
        """Return the world of the mpiexec that started this process; without mpiexec, a world of one.

        Raises
        ------
        RuntimeError
            If mpiexec started several processes, but mpi4py is missing or belongs to another MPI, so that each
            process would believe that it is alone. Only the first process raises it; the others end in silence.
        """
        size, rank = launched()
        if size == 1:
            return cls(timeout=timeout)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # the error below is clearer
                from mpi4py import MPI
            seen, library = MPI.COMM_WORLD.size, MPI.Get_library_version().split(",")[0].split("\n")[0][:60]
            problem = f"but mpi4py's library, {library}, sees {seen}: use the mpiexec of that library"
            if seen == size:
                return cls(MPI.COMM_WORLD, timeout)
        except (ImportError, RuntimeError) as error:
            problem = f"but mpi4py cannot be used ({error}); {INSTALL}"
        if rank:
            raise Elsewhere(2)
        raise RuntimeError(f"mpiexec started {size} processes, {problem}")

    def gather(self, value: T) -> list[T]:
        """Return the values of all processes, by rank."""
        if self.size == 1:
            return [value]
        with self._waiting():
            return self.comm.allgather(value)

    def agreed(self, make: Callable[[], T]) -> T:
        """Call `make` in each process; if a call fails, all processes end, and the first failed one prints why."""
        if self.size == 1:
            return make()
        value, error = None, None
        try:
            value = make()
        except Exception as problem:
            error = problem
        failed = self.gather(error is not None)
        if not any(failed):
            return value  # type: ignore[return-value]
        self._agreed_to_end = True
        if error is not None and failed.index(True) == self.rank:
            raise error
        raise Elsewhere(2)

    def share(self, make: Callable[[], T]) -> T:
        """Call `make` in the first process alone, and return its value in all; if it fails, all end."""
        value = self.agreed(lambda: make() if self.rank == 0 else None)
        if self.size == 1:
            return value  # type: ignore[return-value]
        with self._waiting():
            return self.comm.bcast(value)

    def gather_arrays(self, own: Array) -> Array:
        """Return the arrays of all processes, which must have the same shape, as (processes, ...)."""
        if self.size == 1:
            return own[None]
        every = np.empty((self.size, *own.shape), own.dtype)
        with self._exchange(own.nbytes * (self.size - 1)):
            self.comm.Allgather(np.ascontiguousarray(own), every)
        return every

    def sum(self, own: Array, branches: int) -> Array:
        """Add in a tree the vectors of the first of every `size / branches` processes; all get the same bits."""
        if self.size == 1:
            return own
        every = self.size // branches
        if own.size < SHORT:
            return tree(self.gather_arrays(own)[::every])
        # Each process adds a slice, in a fixed order, and sends it to all: as many bytes as a ring all-reduce.
        each = -(-own.size // self.size)
        send, got = np.zeros(each * self.size, own.dtype), np.empty((self.size, each), own.dtype)
        send[: own.size] = own
        total = np.empty_like(send)
        with self._exchange(2 * each * own.itemsize * (self.size - 1)):
            self.comm.Alltoall(send, got)
            self.comm.Allgather(tree(got[::every]), total)
        return total[: own.size]

    def end(self, status: int, say: Callable[[], object]) -> None:
        """Print why this process fails, and end the others, which would wait for it."""
        if self.size == 1 or self._agreed_to_end:
            say()
            return
        time.sleep(self.rank and 2 + self.rank / 4)  # if all fail alike, the message of the first is enough
        say()
        sys.stdout.flush()
        sys.stderr.flush()
        time.sleep(0.5)  # mpiexec drops a message that it has not passed on before the end
        self.comm.Abort(status)

    @contextlib.contextmanager
    def _exchange(self, sent):
        began = time.perf_counter()
        with self._waiting():
            yield
        self.sent += sent
        self.seconds += time.perf_counter() - began

    @contextlib.contextmanager
    def _waiting(self):
        self._since = time.monotonic()
        try:
            yield
        finally:
            self._since = None

    def _watch(self):
        text = f"duonet: process {self.rank} has waited {self.timeout:g} s for the others; all processes end"
        while True:
            time.sleep(min(1.0, self.timeout / 4))
            since = self._since
            if since is not None and time.monotonic() - since > self.timeout:
                self.end(2, lambda: print(text, file=sys.stderr, flush=True))


class Team:
    """The division of a batch into shards, and the shards of this process.

    Parameters
    ----------
    shards : int
        The number of shards, a power of two; at least as many as processes. A batch with fewer than 2 images for
        each shard is cut into fewer shards.
    batch_norm : {"shard", "batch"}
        Batch norm uses the statistics of each shard alone, or of the whole batch. For "batch", each process has
        one shard, and the number of processes changes the result by rounding.
    compress : {"sign"}, optional
        Send one bit for each weight instead of its gradient: `duonet.compression`.
    world : World, optional
        One process by default.

    Raises
    ------
    ValueError
        If `shards` is not a power of two, or the processes cannot share the shards equally.

    Examples
    --------
    >>> team = Team(4)
    >>> [(shard, rows.start, rows.stop) for shard, rows in team.cut(10)]
    [(0, 0, 2), (1, 2, 5), (2, 5, 7), (3, 7, 10)]
    >>> team.sum([np.array([1.0]), np.array([2.0]), np.array([3.0]), np.array([4.0])], 10)
    array([10.])
    """

    def __init__(
        self,
        shards: int = 1,
        *,
        batch_norm: str = "shard",
        compress: str | None = None,
        world: World | None = None,
    ):
        self.world = World() if world is None else arguments.instance("Team", "world", world, World)
        self.shards = arguments.integer("Team", "shards", shards, at_least=1)
        self.batch_norm = arguments.one_of("Team", "batch_norm", batch_norm, ("shard", "batch"))
        self.compress = None if compress is None else arguments.one_of("Team", "compress", compress, ("sign",))
        size = self.world.size
        if shards & (shards - 1):
            raise ValueError(f"Team: shards must be a power of two, got {shards}")
        if size & (size - 1):
            raise ValueError(f"Team: shards cannot be divided among {size} processes; let them be a power of two")
        if size > shards:
            raise ValueError(f"Team: shards must be at least as many as the {size} processes, got {shards}")
        self.rank, self.size = self.world.rank, size
        self.pieces = shards if batch_norm == "shard" else size

    @property
    def places(self) -> range:
        """The numbers of the shards of this process."""
        each = self.pieces // self.size
        return range(self.rank * each, (self.rank + 1) * each)

    def count(self, images: int) -> int:
        """Return the number of shards of a batch, which depends on the number of its images alone."""
        if self.batch_norm == "batch":
            return self.pieces if images >= self.pieces else 1
        count = self.pieces
        while count > 1 and images < 2 * count:
            count //= 2
        return count

    def cut(self, images: int) -> list[tuple[int, slice]]:
        """List (place, rows) of this process's shards of a batch; fewer shards have more distant places."""
        count = self.count(images)
        apart = self.pieces // count
        ends = [images * i // count for i in range(count + 1)]
        return [
            (i * apart, slice(ends[i], ends[i + 1])) for i in range(count) if i * apart in self.places
        ]  # fmt: skip

    def sum(self, parts: Iterable[Array], images: int, like: Array | None = None) -> Array:
        """Add a vector for each shard of a batch, over all processes; all processes get the same bits.

        Parameters
        ----------
        parts : iterable of array
            The vectors of this process's shards, by place. They may be overwritten.
        images : int
            The number of images in the batch.
        like : array, optional
            A vector of the same kind, if this process may have no vector.
        """
        return self.sum_of(parts, self.count(images), like)

    def sum_of(self, parts: Iterable[Array], count: int, like: Array | None = None) -> Array:
        """Add the vectors of `count` shards like `sum`."""
        own = tree(parts)
        if own is None:
            own = np.zeros_like(like)
        return self.world.sum(own, min(count, self.size))

    def every(self, parts: Array, images: int) -> Array:
        """Return the arrays (shards of this process, ...) of all shards of a batch: (shards, ...), by place."""
        count = self.count(images)
        if count < self.size and not len(parts):
            parts = np.zeros((1, *parts.shape[1:]), parts.dtype)
        every = self.world.gather_arrays(parts)[:: self.size // min(count, self.size)]
        return every.reshape(count, *parts.shape[1:])


def tree(parts: Iterable[Array]) -> Any:
    """Add arrays pairwise, ((0 + 1) + (2 + 3)) + ..., in their order; return None if there are no arrays.

    Parameters
    ----------
    parts : iterable of array
        Their number is a power of two. They may be overwritten.

    Returns
    -------
    array

    Examples
    --------
    >>> tree(np.array([[1.0], [2.0], [3.0], [4.0]]))
    array([10.])
    """
    waiting: list[tuple[int, Array]] = []  # sums of 1, 2, 4, ... parts, the largest first
    for part in parts:
        level = 0
        while waiting and waiting[-1][0] == level:
            total = waiting.pop()[1]
            total += part
            part, level = total, level + 1
        waiting.append((level, part))
    return waiting[0][1] if waiting else None
