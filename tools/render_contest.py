"""Write the tables and figures of docs/methods_compared.md again, from the results of `duonet contest`.

python tools/render_contest.py                                     # from the kept results
python tools/render_contest.py float=runs/FLOAT binary=runs/BINARY  # keep the results of two studies first
"""

import json
import re
import sys
from pathlib import Path

from one_line import one_line

from duonet.experiments import contest_tables
from duonet.experiments.figures import plot_contest
from duonet.experiments.study_file import read_study
from duonet.files import replacing

DOCS = Path(__file__).parent.parent / "docs"
PAGE, END = "methods_compared.md", "<!-- end -->\n"


def kept():
    """List (name, results) of the studies that the docs have."""
    found = sorted(DOCS.glob("methods_compared_*.json"))
    return [(path.stem.removeprefix("methods_compared_"), read_study("contest", path)) for path in found]


def page(text, studies):
    """Fill the place of every table of every study, from a comment that names both to the next end mark."""
    for name, results in studies:
        for table, lines in contest_tables(results).items():
            mark = f"<!-- {name} {table} -->\n"
            if mark in text:
                before, rest = text.split(mark, 1)
                if END not in rest:
                    raise ValueError(f"contest: docs/{PAGE} must end {mark.strip()} by {END.strip()}")
                text = f"{before}{mark}```text\n{lines}\n```\n{END}{rest.split(END, 1)[1]}"
    return text


def asked(words):
    """Read the studies that the command line names."""
    found = {}
    for word in words:
        name, _, folder = word.partition("=")
        if not re.fullmatch(r"\w+", name) or not folder:
            raise ValueError(f"contest: expected NAME=FOLDER, got {word!r}")
        found[name] = read_study("contest", folder)
    return found


def main(words):
    """Write results, page and pictures, or only an error message."""
    with one_line("contest"):
        new = asked(words)
        studies = dict(kept()) | new
        text = page((DOCS / PAGE).read_text(encoding="utf-8"), studies.items())
        for name, results in studies.items():
            plot_contest(results, DOCS / f"methods_compared_{name}.png")
        for name, results in new.items():
            with replacing(DOCS / f"methods_compared_{name}.json") as part:
                part.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        with replacing(DOCS / PAGE) as part:
            part.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
