"""What is told of graded submissions: a table, Gradescope's results.json, a CSV file."""

import csv
import json
from collections import Counter
from typing import NamedTuple

from assignment import GradingTest

from duonet.files import replacing


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
    """Return what is printed of one submission: its points, and of each failure where to look and why."""
    tasks = totals(outcomes)
    lines = [f"{name}: {sum(t[1] for t in tasks)} of {sum(t[2] for t in tasks)} points"]
    for task, earned, most in tasks:
        lines.append(f"  task {task}  {earned:3d} of {most:3d}")
        reasons = [outcome.reason for outcome in outcomes if outcome.test.task == task]
        if len(reasons) > 1 and not earned and len(set(reasons)) == 1:  # as at a time limit
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


def write_json(path, graded, seed, several=None):
    """Write one submission's results as Gradescope reads them, or several under their names."""
    every = {name: results(outcomes, seed) for name, outcomes in graded.items()}
    several = len(every) > 1 if several is None else several
    whole = {"submissions": every} if several else next(iter(every.values()))
    with replacing(path) as part:
        part.write_text(json.dumps(whole, indent=2) + "\n", encoding="utf-8")


def write_csv(path, graded, seed):
    """Write one row for each submission."""
    tasks = [f"task {task}" for task, _, _ in totals(next(iter(graded.values())))]
    with replacing(path) as part, open(part, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["submission", "total", *tasks, "seed"])
        for name, outcomes in graded.items():
            earned = [points for _, points, _ in totals(outcomes)]
            cell = f"'{name}" if name.startswith(("=", "+", "-", "@")) else name  # a spreadsheet would compute it
            writer.writerow([cell, sum(earned), *earned, seed])
