"""Build the slide decks: the notebooks' figures, and of each `slides/weekN.md` one HTML page and one PDF.

    python docs/instructor/make_slides.py              every deck, into docs/instructor/slides/build
    python docs/instructor/make_slides.py 2 --out OUT  week 2, into OUT

A deck is Markdown in Marp's form: slides stand between lines of `---`, the speaker's notes in comments. A deck
names a figure by its place: `build/03_7.png` is the figure in section 7 of tutorial 3, and section 0 is the figure
under the title. The PDF needs reportlab: `pip install -e ".[course]"`. Figures and HTML need no extra.
"""

import argparse
import base64
import html
import importlib.util
import json
import re
import sys
from pathlib import Path
from typing import NamedTuple

from markdown_it import MarkdownIt

HERE = Path(__file__).resolve().parent
NOTEBOOKS = HERE.parents[1] / "tutorials"
DECKS = HERE / "slides"
MARKDOWN = MarkdownIt("commonmark", {"html": False}).enable("table")
PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title><style>
body {{ margin: 0 auto; padding: 1rem; max-width: 60rem; font-family: sans-serif; color: #222; background: #eee }}
section {{ container-type: inline-size; aspect-ratio: 16 / 9; margin-top: 1.5rem; overflow: hidden;
  background: #fff }}
section > div {{ font-size: 2.3cqw; line-height: 1.35; height: 100%; padding: 3cqw 5cqw; box-sizing: border-box;
  display: flex; flex-direction: column }}
h1, h2 {{ margin: 0 0 .5em; line-height: 1.15; color: #1a3f6f }}
h1 {{ font-size: 1.7em }}
h2 {{ font-size: 1.3em }}
p, ul, ol, table, pre {{ margin: 0 0 .6em }}
ul, ol {{ padding-left: 1.5em }}
td, th {{ padding: .1em 1.2em .1em 0; text-align: left }}
code {{ font-size: .85em }}
p:has(> img) {{ flex: 1; min-height: 0; text-align: center }}
img {{ max-width: 100%; max-height: 100%; object-fit: contain }}
section:not(:first-of-type) p:last-child {{ margin: auto 0 0; font-size: .6em; color: #666 }}
aside {{ padding: .5rem 1rem; background: #ddd }}
@page {{ size: 320mm 180mm; margin: 0 }}
@media print {{
  body {{ padding: 0; max-width: none }}
  section {{ margin: 0; break-after: page }}
  aside {{ display: none }}
}}
</style></head><body>
{body}
</body></html>
"""


class Slide(NamedTuple):
    """One slide: its Markdown, and what the speaker says."""

    source: str
    notes: str


def slides(deck):
    """Return the slides of a deck's text, which begins with Marp's front matter."""
    matter = re.match(r"---\nmarp: true\n.*?\n---\n", deck, re.S)
    if not matter:
        raise ValueError("a deck begins with Marp's front matter")
    found = []
    for part in re.split(r"^---$", deck[matter.end() :], flags=re.M):
        notes = re.findall(r"<!--(.*?)-->", part, re.S)
        found.append(Slide(re.sub(r"<!--.*?-->", "", part, flags=re.S).strip(), "\n".join(notes).strip()))
    return found


def title(deck):
    """Return the title of a deck, the heading of its first slide."""
    return slides(deck)[0].source.partition("\n")[0].removeprefix("# ")


def figures():
    """Return the figures of the committed notebooks, as name and PNG; a section's second figure ends in `_2`."""
    found = {}
    for path in sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb")):
        section, seen = "0", {}
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            source = "".join(cell["source"])
            if cell["cell_type"] == "markdown":
                section = (re.findall(r"^## (\d+)\.", source, re.M) or [section])[-1]
            for output in cell.get("outputs", []):
                if "image/png" in output.get("data", {}):
                    seen[section] = seen.get(section, 0) + 1
                    name = f"{path.name[:2]}_{section}" + (f"_{seen[section]}" if seen[section] > 1 else "")
                    found[f"{name}.png"] = base64.b64decode("".join(output["data"]["image/png"]))
    return found


def as_html(deck, drawn):
    """Return a deck as one HTML page that holds its figures; the notes stand below each slide."""

    def inlined(match):
        return f'src="data:image/png;base64,{base64.b64encode(drawn[match.group(1)]).decode()}"'

    body = []
    for slide in slides(deck):
        shown = re.sub(r'src="build/([\w.]+)"', inlined, MARKDOWN.render(slide.source))
        body.append(f"<section><div>{shown}</div></section>\n<aside>{html.escape(slide.notes)}</aside>")
    return PAGE.format(title=html.escape(title(deck)), body="\n".join(body))


def main():
    """Build what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weeks", nargs="*", help="as 2; every week when none is given")
    parser.add_argument("--out", type=Path, default=DECKS / "build", help="the folder to write into")
    arguments = parser.parse_args()
    decks = {path.stem[4:]: path for path in sorted(DECKS.glob("week*.md"))}
    if unknown := set(arguments.weeks) - set(decks):
        parser.error(f"no week {', '.join(sorted(unknown))}; there are {', '.join(decks)}")
    drawn = figures()
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name, png in drawn.items():
        (arguments.out / name).write_bytes(png)
    pdf = importlib.util.find_spec("reportlab") is not None
    for path in (decks[week] for week in arguments.weeks or decks):
        deck = path.read_text(encoding="utf-8")
        (arguments.out / f"{path.stem}.html").write_text(as_html(deck, drawn), encoding="utf-8")
        if pdf:
            import slides_pdf

            sources = [slide.source for slide in slides(deck)]
            slides_pdf.write(title(deck), sources, drawn, arguments.out / f"{path.stem}.pdf")
        print(f"{path.stem}: {len(slides(deck))} slides")
    print(f"in {arguments.out}" + ("" if pdf else '; no PDF without reportlab: pip install -e ".[course]"'))


if __name__ == "__main__":
    sys.exit(main())
