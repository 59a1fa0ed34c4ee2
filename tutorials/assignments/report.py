"""What is told of graded submissions: a table, a summary of the class, Gradescope's results.json, a CSV file."""

import csv
import json
from collections import Counter
from statistics import mean, median
from typing import NamedTuple

from assignment import GradingTest

from duonet.files import replacing

FORMULA = "=+-@\t\r\n＝＋－＠"  # what a spreadsheet may take a cell that begins with it for
AGAIN = "as above"


class Outcome(NamedTuple):
    """What came of one grading test: whether it passed, and why not."""

    test: GradingTest
    passed: bool
    reason: str = ""

    @property
    def score(self):
        """Points earned: all or none."""
        return self.test.points if self.passed is True else 0


def printable(text):
    """Return text that does nothing to a terminal, a table or a parser; two texts stay two."""
    return "".join(
        c if c.isprintable() and c != "\\" else c.encode("unicode_escape", "surrogatepass").decode() for c in text
    )


def totals(outcomes):
    """Return the points earned and the points there are, for each task in order."""
    earned, most = Counter(), Counter()
    for outcome in outcomes:
        earned[outcome.test.task] += outcome.score
        most[outcome.test.task] += outcome.test.points
    return [(task, earned[task], most[task]) for task in sorted(most)]


def table(name, outcomes):
    """Return what is printed of one submission: its points, and of each failure where to look and why.

    A reason that costs several tests, as an import that is not allowed does, is told once.
    """
    tasks, told = totals(outcomes), set()

    def once(reason):
        again = reason in told
        told.add(reason)
        return AGAIN if again else reason

    lines = [f"{name}: {sum(t[1] for t in tasks)} of {sum(t[2] for t in tasks)} points"]
    for task, earned, most in tasks:
        lines.append(f"  task {task}  {earned:3d} of {most:3d}")
        reasons = [outcome.reason for outcome in outcomes if outcome.test.task == task]
        if len(reasons) > 1 and not earned and len(set(reasons)) == 1:  # as at a time limit
            lines.append(f"    all tests: {once(reasons[0])}")
            continue
        for outcome in outcomes:
            if outcome.test.task == task and not outcome.passed:
                lines.append(f"    {outcome.test.name} (-{outcome.test.points}): {outcome.test.hint}")
                lines.append(f"      {once(outcome.reason)}")
    return "\n".join(lines)


def lost(outcomes):
    """Return where a submission lost points and why, in one line; what costs several tests stands there once."""
    whole = Counter(outcome.test.task for outcome in outcomes)
    failed = {}
    for outcome in outcomes:
        if not outcome.passed:
            failed.setdefault(outcome.reason, []).append(outcome.test)
    said = []
    for reason, tests in failed.items():
        count = Counter(test.task for test in tests)
        names = [
            f"task {t.task}" if count[t.task] == whole[t.task] else f"task {t.task} {spoken(t)}" for t in tests
        ]
        said.append(f"{', '.join(dict.fromkeys(names))} (-{sum(test.points for test in tests)}): {reason}")
    return "; ".join(said)


def summary(graded):
    """Return what is printed of a class: mean, median, how many have how many points, what most of them lost."""
    most = sum(outcome.test.points for outcome in next(iter(graded.values())))
    scores = [sum(outcome.score for outcome in outcomes) for outcomes in graded.values()]
    lines = [f"{len(scores)} submissions: mean {mean(scores):.1f}, median {median(scores):g} of {most} points"]
    count = Counter(min(10 * score // most, 9) for score in scores)
    for tenth in range(10):
        low, high = -(-most * tenth // 10), most if tenth == 9 else -(-most * (tenth + 1) // 10) - 1
        bar = "#" * -(-40 * count[tenth] // len(scores))
        lines.append(f"  {low:3d} to {high:3d}  {count[tenth]:3d}  {bar}".rstrip())
    failed = Counter(outcome.test for outcomes in graded.values() for outcome in outcomes if not outcome.passed)
    for test, times in failed.most_common(3):
        lines.append(f"  lost by {times:3d}: task {test.task}, {test.name} (-{test.points}): {test.hint}")
    return "\n".join(lines)


def spoken(test):
    """Return the name of a test in words."""
    return test.name.removeprefix("test_").replace("_", " ")


def cell(text):
    """Return text as a cell that no spreadsheet computes."""
    return f"'{text}" if text.lstrip(" ")[:1] in tuple(FORMULA) else text


def results(outcomes, seed):
    """Return Gradescope's results.json of one submission, as a dict."""
    tests, count = [], Counter()
    for outcome in outcomes:
        task = outcome.test.task
        count[task] += 1
        tests.append(
            {
                "name": f"task {task}: {spoken(outcome.test)}",
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


def write_json(path, graded, seed, several=None):
    """Write one submission's results as Gradescope reads them, or several under their names."""
    every = {name: results(outcomes, seed) for name, outcomes in graded.items()}
    several = len(every) > 1 if several is None else several
    whole = {"submissions": every} if several else next(iter(every.values()))
    with replacing(path) as part:
        part.write_text(json.dumps(whole, indent=2) + "\n", encoding="utf-8")


def write_csv(path, graded, seed):
    """Write one row for each submission, as Excel opens it: with a byte order mark, and without live formulas."""
    tasks = [f"task {task}" for task, _, _ in totals(next(iter(graded.values())))]
    with replacing(path) as part, open(part, "w", newline="", encoding="utf-8-sig") as file:
        writer = csv.writer(file)  # its line ends, CR LF, are Excel's, and it quotes a cell that has either
        writer.writerow(["submission", "total", *tasks, "seed", "reason"])
        for name, outcomes in graded.items():
            earned = [points for _, points, _ in totals(outcomes)]
            writer.writerow([cell(name), sum(earned), *earned, seed, cell(lost(outcomes))])
