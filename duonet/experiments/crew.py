"""Do the tasks of a study in this process, one after the other, or on workers of Dask (`duonet[scale]`).

Only this file knows Dask, which finds a worker for each task, and another worker if that one dies.
"""

import asyncio
import contextlib
import importlib.util
import logging
import os
import pickle
import queue
import signal
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from duonet import arguments, parallel, workers
from duonet.experiments.fields import BadSetting, settings_of
from duonet.experiments.run_folder import writing
from duonet.files import replacing
from duonet.progress import Tally
from duonet.version import VERSION

ANSWER_SECONDS = 10  # the longest wait for a scheduler
# Written in this order, the files make a run that can be resumed, whenever the writing stops.
FIRST, LAST = "settings.toml", ("last.npz", "result.json")
CONFIG = {
    "distributed.deploy.lost-worker-timeout": "365d",  # else a busy machine's worker that starts again is given up
    "distributed.admin.large-graph-warning-threshold": "1TB",  # the files of a large network come with its task
}
LOGS = ("distributed", "distributed.client", "tornado", "tornado.application", "asyncio")


class Task(NamedTuple):
    """A call that depends on no other task, and may be made in any process.

    Attributes
    ----------
    name : str
        No two tasks of a study share it.
    work : callable
        An importable function that returns a picklable value.
    arguments : tuple
    folder : Path or None
        The folder for the work's files. The work takes a folder after its arguments: this one if the process is
        alone; on a worker a temporary folder with copies of the files, which come back as bytes.
    """

    name: str
    work: Callable[..., Any]
    arguments: tuple[Any, ...] = ()
    folder: Path | None = None


class OtherVersion(RuntimeError):
    """A worker has another version of duonet, whose results may differ."""


class SchedulerLost(RuntimeError):
    """The scheduler does not answer, or has stopped answering."""


class WorkerDied(RuntimeError):
    """Every worker that got the task died."""


class Crew:
    """Does tasks in this process or in several; the values are the same to the last bit.

    A crew is a context manager: it starts its workers at the first task, and stops them at the end.

    Parameters
    ----------
    workers : int
        Processes on this machine, each with one thread unless `DUONET_THREADS` is set. They listen on 127.0.0.1
        alone. A script that starts them must do so under `if __name__ == "__main__":`. With 1, everything happens
        in this process, without Dask.
    scheduler : str, optional
        Address of a Dask scheduler instead, such as "tcp://10.0.0.1:8786", whose workers do the tasks.

    Raises
    ------
    BadSetting
        If `workers` is not 1 to 9,999, both arguments are given, or Dask is missing; a ValueError.

    Examples
    --------
    >>> with Crew() as crew:
    ...     [value for task, value, error in crew.each([Task("a", max, (1, 2)), Task("b", abs, (-3,))])]
    [2, 3]
    """

    def __init__(self, workers: int = 1, scheduler: str | None = None) -> None:
        with settings_of("Crew", {"workers": "workers", "scheduler": "scheduler"}):
            self.workers = arguments.integer("Crew", "workers", workers, at_least=1, at_most=9999)
            if scheduler is not None:
                arguments.instance("Crew", "scheduler", scheduler, str)
        self.scheduler = scheduler
        if scheduler is not None and workers != 1:
            raise BadSetting("Crew", "workers", "cannot be given with a scheduler, which has its own")
        if not self.alone and importlib.util.find_spec("distributed") is None:
            name = "workers" if scheduler is None else "scheduler"
            raise BadSetting("Crew", name, 'needs Dask, which is not installed: pip install "duonet[scale]"')
        self._stack = contextlib.ExitStack()
        self._client: Any = None

    @property
    def alone(self) -> bool:
        """Whether this process does everything, with its own folders and its own display of progress."""
        return self.workers == 1 and self.scheduler is None

    def __enter__(self) -> "Crew":
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()
        self._client = None

    def each(
        self, tasks: Iterable[Task], title: str = "", done: int = 0, progress: bool = True
    ) -> Iterator[tuple[Task, Any, Exception | None]]:
        """Do the tasks, and yield each at its end, in any order, with its files in its folder.

        Parameters
        ----------
        tasks : iterable of Task
        title : str
            Title of the bar.
        done : int
            Number of other tasks of the study that were finished before, for the bar.
        progress : bool
            Show a bar for all tasks in a terminal, or a line for each elsewhere. One process alone shows none.

        Yields
        ------
        (Task, value, error)
            The work's value and None, or None and its error. The other tasks continue.

        Raises
        ------
        OtherVersion, SchedulerLost, CannotWrite
            If a worker has another duonet, the scheduler is lost, or a file cannot be written; finished tasks
            are kept.
        """
        if self.alone:
            for task in tasks:
                yield task, *_tried(task)
        elif tasks := list(tasks):
            self.connect()
            with Tally(title, done, done + len(tasks), progress) as tally:
                yield from self._shared_out(tasks, tally)

    def connect(self) -> None:
        """Reach the scheduler, or start the workers, now rather than at the first task.

        Raises
        ------
        OtherVersion, SchedulerLost
            If a worker has another version of duonet, or the scheduler does not answer.
        """
        if not self.alone and self._client is None:
            self._client = self._start()

    def _start(self):
        import dask
        from distributed import Client, LocalCluster

        self._stack.enter_context(dask.config.set(CONFIG))
        self._stack.enter_context(_silent(*LOGS))
        if self.scheduler is None:
            env = {"DUONET_THREADS": os.environ.get("DUONET_THREADS", "1")}
            with _ctrl_c_later():
                cluster = LocalCluster(
                    n_workers=self.workers, threads_per_worker=1, processes=True, host="127.0.0.1", memory_limit=0,
                    dashboard_address="127.0.0.1:0", env=env, silence_logs=logging.CRITICAL,
                )  # fmt: skip
                address = self._stack.enter_context(cluster)
        else:
            address = self.scheduler
            try:
                with workers.worker("caller") as thread:
                    thread.submit(asyncio.run, _call(address)).result()
            except Exception as error:  # of a name, a protocol, a certificate
                silent = isinstance(error, (OSError, asyncio.TimeoutError))
                why = "no Dask scheduler answers there" if silent else " ".join(str(error).split())
                raise SchedulerLost(f"scheduler {address}: {why}") from None
        client = self._stack.enter_context(Client(address, timeout=ANSWER_SECONDS, set_as_default=False))
        for worker, found in client.run(_version, on_error="return").items():
            if found != VERSION:
                found = f"duonet {found}" if isinstance(found, str) else f"no usable duonet ({found})"
                raise OtherVersion(f"the worker {worker} has {found}, and this is duonet {VERSION}")
        return client

    def _shared_out(self, tasks, tally):
        client, waiting, running, ended = self._client, tasks[::-1], {}, queue.SimpleQueue()
        try:
            while waiting or running:
                # No more than can run: Dask blames a worker's death on every task that the worker had.
                while waiting and len(running) < self._room():
                    future = self._submit(waiting[-1])
                    running[future.key] = future, waiting.pop()
                    future.add_done_callback(ended.put)
                try:
                    future, task = running[ended.get(timeout=1).key]
                except queue.Empty:
                    tally.show()
                    continue
                value, error = self._collected(future, task)
                del running[future.key]
                tally.add(task.name, error is not None)
                yield task, value, error
        finally:
            if running and client.status == "running":
                client.cancel([future for future, _ in running.values()], force=True)

    def _room(self):
        try:
            threads = sum(self._client.nthreads().values())
        except OSError:
            raise self._lost() from None
        if threads == 0 and self.scheduler is not None:
            warnings.warn(f"no worker has joined {self.scheduler} yet; waiting for one", stacklevel=2)
        return max(1, threads)

    def _lost(self):
        return SchedulerLost("the connection to Dask's scheduler is lost; finished tasks are kept")

    def _submit(self, task):
        call = pickle.dumps((task.work, task.arguments, None if task.folder is None else _packed(task.folder)))
        key = f"{task.name}-{os.urandom(8).hex()}"
        return self._client.submit(_on_worker, VERSION, call, key=key, pure=False)

    def _collected(self, future, task):
        """Take a task's value and bring its files, or take its error."""
        from distributed import KilledWorker

        try:
            value, files = future.result()
        except (OtherVersion, KeyboardInterrupt):
            raise
        except BaseException as error:  # in some versions a cancelled future's error is not an Exception
            if future.status == "cancelled" or self._client.status != "running":
                raise self._lost() from None
            if isinstance(error, KilledWorker):
                error = WorkerDied("every worker that got the task died, perhaps because memory ran out")
            if not isinstance(error, Exception):
                raise
            return None, error
        future.release()
        if task.folder is not None:
            _bring(files, task.folder)
        return value, None


async def _call(address):
    """Connect once and give up in time; a client would wait for minutes if another program listens there."""
    from distributed import Security
    from distributed.comm import connect

    secured = Security().get_connection_args("client")
    if address.startswith("tls://") and secured["ssl_context"] is None:
        raise ValueError("tls needs certificates: distributed.comm.tls in Dask's configuration")
    connection = await asyncio.wait_for(connect(address, timeout=ANSWER_SECONDS, **secured), ANSWER_SECONDS + 1)
    connection.abort()


@contextlib.contextmanager
def _silent(*names):
    """Keep Dask's logs off the terminal, where an error is one sentence."""
    levels = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


@contextlib.contextmanager
def _ctrl_c_later():
    """Let Ctrl-C wait for the end of the block; threads and processes that start in it never get Ctrl-C."""
    if not hasattr(signal, "pthread_sigmask"):  # on Windows
        yield
        return
    from multiprocessing import resource_tracker  # which WebAssembly lacks

    resource_tracker.ensure_running()  # its start, with the first process, would undo what follows
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _tried(task):
    try:
        return task.work(*task.arguments, *(() if task.folder is None else (task.folder,))), None
    except Exception as error:  # of any kind: the other tasks continue
        return None, error


def _version():
    return VERSION


def _on_worker(version, call):
    """Do a task in a worker's process, which only values leave."""
    if version != VERSION:
        raise OtherVersion(f"a worker has duonet {VERSION}, but the study runs on duonet {version}")
    os.environ.setdefault("DUONET_THREADS", "1")  # before the first product
    parallel.keep_memory()
    work, given, files = pickle.loads(call)
    if files is None:
        return work(*given), None
    with tempfile.TemporaryDirectory(prefix="duonet-") as folder:
        for name, content in files.items():
            Path(folder, name).write_bytes(content)
        value = work(*given, Path(folder))
        return value, _packed(Path(folder))


def _packed(folder):
    """Read the files of a folder, if it exists; hidden files are left out."""
    if not folder.is_dir():
        return {}
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file() and path.name[0] != "."}


def _bring(files, folder):
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    for name in sorted(files, key=lambda name: (name != FIRST, *(name == last for last in LAST[::-1]), name)):
        with writing(folder / name), replacing(folder / name) as part:
            part.write_bytes(files[name])
