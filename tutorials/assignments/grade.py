"""Grade submissions of an assignment.

    python tutorials/assignments/grade.py 01 SUBMISSION... [--json FILE] [--csv FILE] [--seed N] [--limit SECONDS]

A submission is a folder that holds answers.py, or that file itself; nothing else of it is used. Each task runs in
a process of its own: an endless loop or a crash costs that task, and at import all of them. The grader continues,
and exits with 0 however many points were lost. What judges runs in another process, and where Linux allows, the
submission sees neither files nor network (README.md).
"""

import argparse
import contextlib
import multiprocessing
import os
import secrets
import signal
import stat
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, islice
from multiprocessing import forkserver
from pathlib import Path
from unittest import mock

import sandbox
import worker
from assignment import UsageError, find, grading_tests
from progress import Progress
from report import Outcome, lost, printable, results, summary, table, totals, write_csv, write_json  # noqa: F401

LIMIT = 60.0  # seconds for one task
MARGIN = 60.0  # seconds for one submission beyond those of its tasks
LARGEST = 2**20  # bytes of an answers.py
ENVIRONMENT = {
    **dict.fromkeys(worker.ONE_THREAD, "1"),
    "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
    "PYTEST_ADDOPTS": "",
    "PYTEST_PLUGINS": "",
}
NO_WALLS = "grade: no namespaces here: submissions see files and the network; use a container (README.md)"


class Unusable(Exception):
    """Why a submission cannot be run at all, in a few words."""


def read(path):
    """Return the bytes of the answers in a submission, a folder or a file, or raise Unusable.

    A link may lead to a neighbour's work, or to what only the grader may read.
    """
    try:
        folder = path if path.is_dir() else path.parent
        path = path / "answers.py" if path.is_dir() else path
        for part in (folder, path):
            if part.is_symlink():
                raise Unusable(f"{printable(part.name)} is a link; hand in the file itself")
        if not path.is_file():
            raise Unusable(f"there is no file answers.py{instead(folder)}")
        with open(
            path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NOFOLLOW | os.O_NONBLOCK)
        ) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise Unusable("there is no file answers.py")
            text = file.read(LARGEST + 1)
    except OSError as error:
        raise Unusable(f"answers.py cannot be read: {error.strerror}") from error
    if len(text) > LARGEST:
        raise Unusable(f"{printable(path.name)} is larger than {LARGEST:,} bytes")
    return text


def instead(folder):
    """Name a file that may have been meant, at most one folder further down, for the message to the student."""
    near = islice(chain(folder.glob("*"), folder.glob("*/*")), 1000)
    meant = [path for path in near if path.name.lower().startswith("answers") and path.is_file()]
    names = sorted(str(path.relative_to(folder)) for path in meant)
    return f"; there is {printable(names[0])}" if names else ""


def start_server():
    """Start the process that every judge is forked from, so that NumPy, pytest and duonet load once."""
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload(["numpy.random", "numpy.testing", "pytest", "duonet", "worker"])
    with mock.patch.dict(os.environ, ENVIRONMENT):  # that process's, not this one's
        forkserver.ensure_running()
    return server


def walls_possible():
    """Whether the system grants namespaces. Call it before there are threads."""
    with scratch() as folder:
        return sandbox.possible(folder)


@contextlib.contextmanager
def scratch():
    """Give a new empty folder, and delete it afterwards whatever is in it by then."""
    folder = Path(tempfile.mkdtemp(prefix="grade-"))
    folder.chmod(0o711)  # a submission that runs as nobody has a folder in it
    try:
        yield folder
    finally:
        with contextlib.suppress(OSError):
            sandbox.remove(folder)


def grade(server, file, tests, path, seed, limit, walls):
    """Grade one submission in a process of its own; return the list of outcomes, one for each test."""
    try:
        text = read(path)
        with scratch() as place:
            found = judged(server, (file, tests, text, place, seed, limit, walls), limit)
    except (Unusable, OSError) as error:
        return [Outcome(test, False, str(error)) for test in tests]
    if isinstance(found, str):
        why = f"over the time limit of the whole submission, or its judge ended{found}"
        return [Outcome(test, False, why) for test in tests]
    return [
        Outcome(test, passed is True, "" if passed is True else printable(why))
        for test, (passed, why) in zip(tests, found, strict=True)
    ]


def judged(server, arguments, limit):
    """Run a judge, and return what it says, or if it does not answer in time at which test it is, in words."""
    receiver, sender = server.Pipe(duplex=False)
    process = server.Process(target=worker.judge, args=(*arguments, sender))
    process.start()
    sender.close()
    until = time.monotonic() + len({test.task for test in arguments[1]}) * limit + MARGIN
    found = ""
    try:
        with receiver:
            while isinstance(found, str) and receiver.poll(max(until - time.monotonic(), 0)):
                found = receiver.recv()
    except (EOFError, OSError):
        pass
    finally:
        _end(process)
    return found


def _end(process):
    """End a judge, whatever it is at."""
    process.join(MARGIN / 6)
    process.kill()
    process.join()
    process.close()


def named(paths):
    """Return the submissions by name: the folder's name, or the whole path where two folders share one."""
    short = {}
    for path in dict.fromkeys(paths):
        if not os.path.lexists(path):
            raise UsageError(f"there is no {printable(str(path))}")
        whole = path.absolute()
        short[path] = whole.parent.name if whole.name == "answers.py" else whole.name
    count = Counter(short.values())
    return {printable(name if count[name] == 1 else str(path)): path for path, name in short.items()}


def grade_all(folder, submissions, seed, limit, show, walls=None, advance=lambda: None):
    """Grade submissions, as many at a time as there are cores; `show` each in order, and return all.

    Parameters
    ----------
    folder : Path
        Of the assignment.
    submissions : dict
        Name and path.
    seed : int
    limit : float
        Seconds for a task.
    show : callable
        Takes a name and outcomes. If it raises, nothing more is begun, and what has begun is ended.
    walls : bool, optional
        Whether to use namespaces; if they are to be had, by default.
    advance : callable, optional
        Called from any thread when one more submission is graded, in whatever order.

    Returns
    -------
    dict
        Name and list of Outcome.
    """
    walls = walls_possible() if walls is None else walls
    server = start_server()
    tests = grading_tests(folder)  # here, once: CPython 3.11 fails where several threads parse
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        graded, begun, ended = {}, {}, False
        try:
            begun |= {
                name: pool.submit(grade, server, folder / "test_grading.py", tests, path, seed, limit, walls)
                for name, path in submissions.items()
            }
            for one in begun.values():
                one.add_done_callback(lambda one: one.cancelled() or ended or advance())
            for name, outcomes in begun.items():
                graded[name] = outcomes.result()
                show(name, graded[name])
        except BaseException:
            ended = True  # what is ended now is not graded
            pool.shutdown(wait=False, cancel_futures=True)
            while not all(one.done() for one in begun.values()):
                for process in multiprocessing.active_children():
                    process.kill()  # and with it what it has started
                time.sleep(0.05)
            raise
    return graded


def positive(text):
    """Read seconds."""
    seconds = float(text)
    if not 0 < seconds < float("inf"):
        raise ValueError
    return seconds


def whole(text):
    """Read a seed."""
    seed = int(text)
    if seed < 0:
        raise ValueError
    return seed


def say(text):
    """Print, in any encoding; whoever no longer listens does not stop the grading."""
    try:
        print(
            text.encode(sys.stdout.encoding or "ascii", "backslashreplace").decode(sys.stdout.encoding or "ascii"),
            flush=True,
        )
    except (OSError, ValueError, AttributeError):  # a closed pipe, a closed stream, none
        sys.stdout = open(os.devnull, "w", encoding="utf-8")


@contextlib.contextmanager
def stopping():
    """Take a request to end, or a closed terminal, as Ctrl-C; leave alone what is ignored, as under nohup."""

    def stop(number, frame):
        raise KeyboardInterrupt

    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    for number, handler in before.items():
        if handler is signal.SIG_DFL:
            signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def check_outputs(*files):
    """Raise UsageError where a file could not be written once all is graded."""
    files = [file for file in files if file]
    for file in files:
        if not file.absolute().parent.is_dir():
            raise UsageError(f"there is no folder {printable(str(file.parent))}")
        if file.is_dir():
            raise UsageError(f"{printable(str(file))} is a folder")
        if not os.access(file if file.exists() else file.absolute().parent, os.W_OK):
            raise UsageError(f"{printable(str(file))} cannot be written")
    if len(files) != len({file.absolute() for file in files}):
        raise UsageError("both files have one name")


def main():
    """Grade what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("number", help="as 01")
    parser.add_argument("submissions", nargs="+", type=Path, metavar="SUBMISSION")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write Gradescope's results.json")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write one row for each submission")
    parser.add_argument(
        "--seed", type=whole, metavar="N", help="draws the cases; a fresh one, printed, by default"
    )
    parser.add_argument("--limit", type=positive, default=LIMIT, metavar="SECONDS", help="for one task; 60")
    arguments = parser.parse_args()
    seed = secrets.randbelow(2**32) if arguments.seed is None else arguments.seed
    graded, interrupted = {}, False

    def show(name, outcomes):
        graded[name] = outcomes
        with progress.aside():
            say("\n" + table(name, outcomes))

    try:
        folder, submissions = find(arguments.number), named(arguments.submissions)
        check_outputs(arguments.json, arguments.csv)
        walls = walls_possible()
        if not walls:
            print(NO_WALLS, file=sys.stderr)
        say(f"{folder.name}, seed {seed}")
        try:
            with stopping(), Progress(len(submissions)) as progress:
                grade_all(folder, submissions, seed, arguments.limit, show, walls, progress.advance)
        except KeyboardInterrupt:
            interrupted = True
        if len(graded) > 1:
            say("\n" + summary(graded))
        if graded and arguments.json:
            write_json(arguments.json, graded, seed, len(submissions) > 1)
        if graded and arguments.csv:
            write_csv(arguments.csv, graded, seed)
    except (UsageError, OSError) as error:
        sys.exit(f"grade: {error}")
    if interrupted:
        sys.exit(f"grade: interrupted; {len(graded)} of {len(submissions)} are graded, and written")


if __name__ == "__main__":
    main()
