"""Grade submissions of an assignment.

    python tutorials/assignments/grade.py 01 SUBMISSION... [--json FILE] [--csv FILE] [--seed N] [--limit SECONDS]

A submission is a folder that holds answers.py, or that file itself; nothing else of it is used. Each task runs in
a process of its own: an endless loop or a crash costs that task, and at import all of them. The grader goes on,
and exits with 0 however many points were lost. This is no sandbox against malice (README.md).
"""

import argparse
import contextlib
import csv
import json
import multiprocessing
import os
import secrets
import shutil
import signal
import sys
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import forkserver
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import worker
from assignment import GradingTest, UsageError, find, grading_tests

from duonet.files import replacing

LIMIT = 60.0  # seconds for one task
LARGEST = 2**20  # bytes of an answers.py
MESSAGE = 2**16  # bytes of what one task reports
ONE_THREAD = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "DUONET_THREADS")
ENVIRONMENT = {
    **dict.fromkeys(ONE_THREAD, "1"),  # several tasks run side by side
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
    "PYTEST_ADDOPTS": "",
    "PYTEST_PLUGINS": "",
}


class Unusable(Exception):
    """Why a submission cannot be run at all, in a few words."""


class Outcome(NamedTuple):
    """What came of one grading test: `reason` is None if it passed."""

    test: GradingTest
    reason: str | None

    @property
    def passed(self):
        """Whether the test passed. A reason may be empty, as that of an exception without a name."""
        return self.reason is None

    @property
    def score(self):
        """Points earned: all or none."""
        return self.test.points if self.passed else 0


def read(path):
    """Return the bytes of the answers in a submission, a folder or a file, or raise Unusable."""
    path = path / "answers.py" if path.is_dir() else path
    if path.is_symlink():
        raise Unusable(f"{path.name} is a link; hand in the file itself")
    if not path.is_file():
        raise Unusable("there is no file answers.py")
    try:
        with open(path, "rb") as file:
            text = file.read(LARGEST + 1)
    except OSError as error:
        raise Unusable(f"{path.name} cannot be read: {error.strerror}") from error
    if len(text) > LARGEST:
        raise Unusable(f"{path.name} is larger than {LARGEST:,} bytes")
    return text


def start_server():
    """Start the process that every task's process is forked from, so that NumPy, pytest and duonet load once."""
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload(["numpy.random", "numpy.testing", "pytest", "duonet"])
    with mock.patch.dict(os.environ, ENVIRONMENT):  # that process's, not this one's
        forkserver.ensure_running()
    return server


def run_task(server, folder, text, task, seed, limit):
    """Grade one task of one submission in a process of its own.

    Returns
    -------
    reasons : dict
        For each grading test that ran, None if it passed, else why not.
    otherwise : str
        Why the others did not run.
    """
    nonce = secrets.token_hex(16)
    with tempfile.TemporaryDirectory(prefix="grade-", ignore_cleanup_errors=True) as scratch:
        scratch = Path(scratch)
        for name in ("home", "tests"):
            (scratch / name).mkdir()
        (scratch / "home" / "answers.py").write_bytes(text)
        shutil.copy(folder / "test_grading.py", scratch / "tests")
        (scratch / "tests" / "pytest.ini").touch()  # so that pytest looks no further
        receiver, sender = server.Pipe(duplex=False)
        process = server.Process(target=worker.grade, args=(scratch, task, seed, nonce, sender))
        process.start()
        sender.close()
        process.join(limit)
        late = process.is_alive()
        end(process)
        reasons = message(receiver, nonce)
    if late:
        return {}, f"over the time limit of {limit:g} s"
    if reasons is None:
        return {}, "the process ended before its tests did, as by os._exit or a crash"
    if worker.MUST_FAIL not in reasons:
        return {}, "not run: the submission ended the tests"
    if reasons[worker.MUST_FAIL] is None:
        return {}, "a test that must fail has passed: the submission changed what judges it"
    return reasons, "not run"


def end(process):
    """Kill a process and whatever it started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.join()
    process.close()


def message(receiver, nonce):
    """Return the reasons that a process sent, or None if it sent nothing that can be trusted."""
    with receiver:
        try:
            sent = json.loads(receiver.recv_bytes(MESSAGE)) if receiver.poll() else {}
            reasons = sent["reasons"] if sent["nonce"] == nonce else None
            return {name: None if reason is None else printable(reason) for name, reason in reasons.items()}
        except (EOFError, OSError, ValueError, LookupError, TypeError, AttributeError):
            return None


def printable(text):
    """Return text that does nothing to a terminal."""
    return "".join(c if c.isprintable() else "?" for c in text)


def grade(server, pool, folder, path, seed, limit):
    """Begin to grade one submission; return a function that waits for the list of outcomes, one for each test."""
    tests = grading_tests(folder)
    try:
        text = read(path)
    except Unusable as error:
        why = str(error)
        return lambda: [Outcome(test, why) for test in tests]
    tasks = {
        task: pool.submit(run_task, server, folder, text, task, seed, limit) for task in {t.task for t in tests}
    }

    def outcomes():
        for test in tests:
            reasons, otherwise = tasks[test.task].result()
            yield Outcome(test, reasons.get(test.name, otherwise))

    return lambda: list(outcomes())


def totals(outcomes):
    """Return the points earned and the points there are, for each task in order."""
    earned, most = Counter(), Counter()
    for outcome in outcomes:
        earned[outcome.test.task] += outcome.score
        most[outcome.test.task] += outcome.test.points
    return [(task, earned[task], most[task]) for task in sorted(most)]


def table(name, outcomes):
    """Return what is printed of one submission: its points, and of each failure where to look and why."""
    tasks = totals(outcomes)
    lines = [f"{name}: {sum(t[1] for t in tasks)} of {sum(t[2] for t in tasks)} points"]
    for task, earned, most in tasks:
        lines.append(f"  task {task}  {earned:3d} of {most:3d}")
        reasons = [outcome.reason for outcome in outcomes if outcome.test.task == task]
        if len(reasons) > 1 and reasons[0] is not None and len(set(reasons)) == 1:  # as at a time limit
            lines.append(f"    all tests: {reasons[0]}")
            continue
        for outcome in outcomes:
            if outcome.test.task == task and not outcome.passed:
                lines.append(f"    {outcome.test.name} (-{outcome.test.points}): {outcome.test.hint}")
                lines.append(f"      {outcome.reason}")
    return "\n".join(lines)


def results(outcomes, seed):
    """Return Gradescope's results.json of one submission, as a dict."""
    tests, count = [], Counter()
    for outcome in outcomes:
        task = outcome.test.task
        count[task] += 1
        tests.append(
            {
                "name": f"task {task}: {outcome.test.name.removeprefix('test_').replace('_', ' ')}",
                "number": f"{task}.{count[task]}",
                "score": outcome.score,
                "max_score": outcome.test.points,
                "status": "passed" if outcome.passed else "failed",
                "output": "" if outcome.passed else f"{outcome.test.hint}\n{outcome.reason}",
                "visibility": "visible",
            }
        )
    score = sum(outcome.score for outcome in outcomes)
    return {"score": score, "output": f"seed {seed}", "visibility": "visible", "tests": tests}


def named(paths):
    """Return the submissions by name: the folder's name, or the whole path where two folders share one."""
    short = {}
    for path in dict.fromkeys(paths):
        if not path.exists() and not path.is_symlink():
            raise UsageError(f"there is no {path}")
        whole = path.absolute()
        short[path] = whole.parent.name if whole.name == "answers.py" else whole.name
    count = Counter(short.values())
    return {name if count[name] == 1 else str(path): path for path, name in short.items()}


def write_json(path, graded, seed):
    """Write one submission's results as Gradescope reads them, or several under their names."""
    every = {name: results(outcomes, seed) for name, outcomes in graded.items()}
    whole = {"submissions": every} if len(every) > 1 else next(iter(every.values()))
    with replacing(path) as part:
        part.write_text(json.dumps(whole, indent=2) + "\n", encoding="utf-8")


def write_csv(path, graded, seed):
    """Write one row for each submission."""
    tasks = [f"task {task}" for task, _, _ in totals(next(iter(graded.values())))]
    with replacing(path) as part, open(part, "w", newline="", encoding="utf-8", errors="backslashreplace") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["submission", "total", *tasks, "seed"])
        for name, outcomes in graded.items():
            earned = [points for _, points, _ in totals(outcomes)]
            writer.writerow([name, sum(earned), *earned, seed])


def grade_all(folder, submissions, seed, limit, show):
    """Grade submissions, as many tasks at a time as there are cores; `show` each in order, and return all."""
    server = start_server()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        begun = {name: grade(server, pool, folder, path, seed, limit) for name, path in submissions.items()}
        graded = {}
        try:
            for name, outcomes in begun.items():
                graded[name] = outcomes()
                show(name, graded[name])
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in multiprocessing.active_children():
                end(process)
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
    sys.stdout.reconfigure(errors="backslashreplace")  # folders may have any name
    try:
        folder, submissions = find(arguments.number), named(arguments.submissions)
        for file in (arguments.json, arguments.csv):
            if file and not file.absolute().parent.is_dir():
                raise UsageError(f"there is no folder {file.parent}")
        print(f"{folder.name}, seed {seed}", flush=True)
        graded = grade_all(
            folder, submissions, seed, arguments.limit, lambda *one: print("\n" + table(*one), flush=True)
        )
        if arguments.json:
            write_json(arguments.json, graded, seed)
        if arguments.csv:
            write_csv(arguments.csv, graded, seed)
    except (UsageError, OSError) as error:
        sys.exit(f"grade: {error}")
    except KeyboardInterrupt:
        sys.exit("grade: interrupted; nothing was written")


if __name__ == "__main__":
    main()
