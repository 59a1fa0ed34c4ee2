"""Write the tables and figures of docs/methods_compared.md anew from what `duonet contest` found.

python tools/render_contest.py                                     # from the kept results
python tools/render_contest.py float=runs/FLOAT binary=runs/BINARY  # keep those of two studies first
"""

import json
import sys
from pathlib import Path

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
    """Fill the place of every table of every study: a comment that names both, up to the next that ends it."""
    for name, results in studies:
        for table, lines in contest_tables(results).items():
            mark = f"<!-- {name} {table} -->\n"
            if mark in text:
                before, rest = text.split(mark, 1)
                text = f"{before}{mark}```text\n{lines}\n```\n{END}{rest.split(END, 1)[1]}"
    return text


def main(words):
    for word in words:
        name, folder = word.split("=", 1)
        results = json.dumps(read_study("contest", folder), indent=1) + "\n"
        with replacing(DOCS / f"methods_compared_{name}.json") as part:
            part.write_text(results, encoding="utf-8")
    studies = kept()
    text = page((DOCS / PAGE).read_text(encoding="utf-8"), studies)
    with replacing(DOCS / PAGE) as part:
        part.write_text(text, encoding="utf-8")
    for name, results in studies:
        plot_contest(results, DOCS / f"methods_compared_{name}.png")


if __name__ == "__main__":
    main(sys.argv[1:])
