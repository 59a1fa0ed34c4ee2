"""The instructor's folder: decks that are true to their sources and fit their pages, hours that add up, a workflow that works."""

import functools
import html
import io
import json
import re
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "docs" / "instructor"
sys.path[:0] = [str(FOLDER), str(ROOT / "tutorials" / "assignments")]
import make_slides  # noqa: E402
import release  # noqa: E402

DECKS = {path.stem: path.read_text(encoding="utf-8") for path in sorted(make_slides.DECKS.glob("week*.md"))}
QUESTIONS = re.split(r"^## \d+\. ", (FOLDER / "questions.md").read_text(encoding="utf-8"), flags=re.M)[1:]
PROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
REPOSITORY = re.search(r'^Repository = "(.+)"', PROJECT, re.M).group(1)
PLAN = (FOLDER / "index.md").read_text(encoding="utf-8")
figures = functools.cache(make_slides.figures)
each = pytest.mark.parametrize("week", DECKS)


@functools.cache
def tutorial(number):
    """What a notebook says and prints, and the numbers of its sections."""
    (path,) = (ROOT / "tutorials").glob(f"{number:02d}_*.ipynb")
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    said = ["".join(cell["source"]) for cell in cells]
    printed = ["".join(output.get("text", "")) for cell in cells for output in cell.get("outputs", [])]
    text = "\n".join(said + printed).replace("\\%", "%")
    return text, set(re.findall(r"^## (\d+)\.", text, re.M))


def untrue(text):
    """The numbers of a text that none of its sources has, and the sections that its sources do not have."""
    (source,) = re.findall(r"^\*Source: (.*)\*$", text, re.M)
    told, lost = "", []
    for number, sections in re.findall(r"tutorials? (\d)(?:, sections? ([\d, and]+))?", source):
        said, there = tutorial(int(number))
        told += said
        lost += [f"section {section}" for section in re.findall(r"\d+", sections) if section not in there]
    for page in re.findall(r"[\w/]+\.md", source):
        told += (ROOT / page).read_text(encoding="utf-8")
    stated = re.findall(r"\d[\d,]*\.\d+|\d+(?:,\d{3})+", re.sub(r"\d+_\d+\.png", "", text.replace(source, "")))
    return lost + [number for number in stated if number not in told]


def test_the_seconds_of_the_tutorials_are_those_of_the_index():
    index = (ROOT / "README.md").read_text(encoding="utf-8")
    seconds = {int(n): int(s) for n, s in re.findall(r"^\| (\d) \[.*\| (\d+) s \|$", index, re.M)}
    assert seconds.pop(6) == 180 and {seconds.pop(n) for n in (3, 4)} == {75} and max(seconds.values()) == 15
    said = "tutorial 6 computes for three minutes, tutorials 3 and 4 for 75 seconds each, and every other tutorial"
    assert f"{said} for at most 15 seconds" in " ".join(PLAN.split())


@each
def test_a_deck_has_about_fifteen_slides_with_notes_and_sources_that_bear_them_out(week):
    slides = make_slides.slides(DECKS[week])
    assert 14 <= len(slides) <= 17 and slides[0].source.startswith(f"# Week {week[-1]}: ")
    for slide in slides[1:]:
        assert slide.source.startswith("## ") and len(slide.notes) > 60, slide
        if "tutorials" not in slide.source.split("*Source: ")[1]:
            assert not untrue(f"{slide.notes}\n\n{slide.source}"), slide


@each
def test_every_figure_of_a_deck_is_a_tutorials_and_is_described(week):
    shown = re.findall(r"!\[(.*?)\]\((.*?)\)", DECKS[week])
    assert len(shown) >= 4
    for words, address in shown:
        assert address.removeprefix("build/") in figures() and len(words) > 60, address
    assert not [path for path in FOLDER.rglob("*.png") if "build" not in path.parts], (
        "a picture that is stored twice"
    )


@each
def test_the_page_of_a_deck_holds_its_figures_their_descriptions_and_the_notes(week):
    page = make_slides.as_html(DECKS[week], figures())
    slides = make_slides.slides(DECKS[week])
    assert page.count("<section>") == page.count("<aside>") == len(slides) and "build/" not in page
    read = html.unescape(page)
    assert all(f'alt="{words}"' in read for words in re.findall(r"!\[(.*?)\]", DECKS[week]))
    assert all(slide.notes in read for slide in slides)
    assert page.count("data:image/png;base64,iVBOR") == DECKS[week].count("](build/")


@each
def test_every_slide_fits_its_page(week):
    pytest.importorskip("reportlab", reason="the PDF needs reportlab: pip install -e .[course]")
    import slides_pdf

    written = io.BytesIO()
    slides_pdf.write("A title", [slide.source for slide in make_slides.slides(DECKS[week])], figures(), written)
    assert written.getvalue().startswith(b"%PDF-") and written.getvalue().count(b"/Type /Page\n") == len(
        make_slides.slides(DECKS[week])
    )


@pytest.mark.parametrize(
    "source, words",
    [
        ("## Long\n\n" + "- one more line\n" * 20, "A title: slide 2: .* points too high"),
        ("## Wide\n\n```text\n" + "x" * 100 + "\n```", "points too wide"),
        ("## Full\n\n" + "- a line\n" * 8 + "\n![x](build/03_7.png)", "for the figure"),
        ("## \u4e2d", "the fonts have no"),
        ("## Quote\n\n> a quotation", "a slide cannot hold a blockquote"),
        ("## Link\n\n[a](b)", "a paragraph cannot hold a link"),
    ],
)
def test_a_slide_that_does_not_fit_is_refused_by_its_number(source, words, tmp_path):
    pytest.importorskip("reportlab", reason="the PDF needs reportlab: pip install -e .[course]")
    import slides_pdf

    with pytest.raises(ValueError, match=words):
        slides_pdf.write("A title", ["# One", source], figures(), tmp_path / "a.pdf")
    assert not list(tmp_path.iterdir())


def test_the_builder_writes_figures_and_pages_and_refuses_a_week_that_is_not_there(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(make_slides.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(sys, "argv", ["make_slides.py", "4", "--out", str(tmp_path / "out")])
    make_slides.main()
    assert {path.name for path in (tmp_path / "out").iterdir()} == {*figures(), "week4.html"}
    assert "no PDF without reportlab" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["make_slides.py", "5"])
    with pytest.raises(SystemExit):
        make_slides.main()
    assert "no week 5; there are 1, 2, 3, 4" in capsys.readouterr().err


def test_there_are_ten_questions_each_with_an_answer_that_its_source_bears_out():
    assert len(QUESTIONS) == 10
    for text in QUESTIONS:
        question, answer = text.split("**Answer.**")
        parts = re.findall(r"\([a-d]\)", question)
        assert len(parts) >= 2 and parts == re.findall(r"\([a-d]\)", answer), text
        assert not untrue(text), text


HOURS = {"an hour": 1, "an hour and a quarter": 1.25, "an hour and a half": 1.5, "two hours": 2, "three hours": 3}
WRITTEN = {"½": 0.5, "¼": 0.25, "¾": 0.75}


def written(hours):
    """A number of hours as the page writes it."""
    fractions = {value: sign for sign, value in WRITTEN.items()}
    return f"{int(hours)}{fractions.get(hours % 1, '')}"


def test_the_plans_hours_are_those_of_the_tutorials_boxes():
    taken = {}
    for number in range(1, 10):
        (words,) = re.findall(r"\*\*Time\*\* Runs in .*?; ([\w ]+) to read", tutorial(number)[0])
        taken[number] = HOURS[words]
    assert f"add up to {written(sum(taken.values()))} hours" in PLAN
    rows = re.findall(
        rf"^\| (\d) \| \[.*?\]\({REPOSITORY}/blob/main/docs/instructor/slides/week(\d)\.md\) \| ([\d, ]+) \| (\S+) \|",
        PLAN,
        re.M,
    )
    assert [week for week, *_ in rows] == [week for _, week, *_ in rows] == ["1", "2", "3", "4"]
    for _, _, numbers, hours in rows:
        assert hours == written(sum(taken[int(number)] for number in numbers.split(", ")))
    whole = 4 * 1.5 + sum(taken.values()) - taken[7]
    assert f"works {int(whole + 10)} to {int(whole + 15)} hours in all" in PLAN


def test_the_students_workflow_is_sound_and_what_it_calls_exists():
    workflow = yaml.safe_load((FOLDER / "classroom.yml").read_text(encoding="utf-8"))
    assert set(workflow[True]) == {"push", "workflow_dispatch"}  # `on` is a truth value to YAML 1.1
    steps = workflow["jobs"]["tests"]["steps"]
    ours = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))
    used = {step["uses"] for step in ours["jobs"]["ci"]["steps"] if "uses" in step}
    assert {step["uses"] for step in steps if "uses" in step} <= used
    install, test = (step["run"] for step in steps if "run" in step)
    assert install == "pip install -r requirements.txt"
    bundle = release.bundle(ROOT / "tutorials" / "assignments" / "01_autodiff_ops")
    assert test == "python -m pytest -q test_public.py" and {"requirements.txt", "test_public.py"} <= bundle.keys()


@pytest.mark.parametrize("page", sorted(FOLDER.glob("*.md")), ids=lambda page: page.stem)
def test_what_a_page_names_is_there(page):
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!http)([^)#]+)", text):
        assert (FOLDER / target).exists(), target
    for target in re.findall(r"(?:tutorials|docs)/[\w/]+\.(?:py|yml|md)", text):
        assert (ROOT / target).exists(), target
    scripts = (ROOT / "tutorials" / "assignments" / "README.md").read_text(encoding="utf-8")
    assert page.stem not in ("gradescope", "nbgrader") or f"\n## {page.stem}\n" in scripts.lower()
