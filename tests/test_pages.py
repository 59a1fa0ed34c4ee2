"""What Markdown would misread, what a reader who sees no image would miss, and what a shell would not run."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
OTHERS = {"site", "site-packages", "node_modules"}  # the README's virtual environment lies inside the clone
PAGES = [path for path in sorted(ROOT.rglob("*.md")) if not OTHERS & set(path.relative_to(ROOT).parts)]
SOURCES = sorted((ROOT / "tutorials" / "src").glob("*.py"))
GENERIC = re.compile(r"(an? |the )?(alt|chart|diagram|figure|graph|image|picture|plot|screenshot)s?\W*$", re.I)


def text(path):
    """Return the Markdown of a page, or that of a tutorial's source, without blocks of code."""
    content = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        content = "\n".join(line[2:] if line.startswith("# ") else "" for line in content.splitlines())
    return re.sub(r"^ *```.*?^ *```", "", content, flags=re.M | re.S)


def misread(content):
    """List the lines that begin with a number and a full stop and follow no item before it: lists by accident."""
    found, items = [], set()
    for line in content.splitlines():
        if item := re.match(r"([ >]*)(\d+)[.)] ", line):
            place, number = item.group(1), int(item.group(2))
            if number != 1 and (place, number - 1) not in items:
                found.append(line)
            items.add((place, number))
    return found


@pytest.mark.parametrize("path", PAGES + SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_line_becomes_a_list_by_accident_and_images_have_words(path):
    assert not misread(text(path))
    for words in re.findall(r"!\[([^\]]*)\]\(", text(path)):
        assert len(words.split()) >= 2 and not GENERIC.match(words), words


@pytest.mark.parametrize("line", ["  1998. In three pages.", "27. If the weights are binary", "> 4) four"])
def test_a_number_that_a_line_begins_with_by_accident_is_found(line):
    assert misread(f"1. One\n2. Two\nSee the review of\n{line}\n") == [line]


@pytest.mark.parametrize("folder", ["duonet", "tutorials/src", "benchmarks", "docs/instructor", None])
def test_extras_are_quoted_because_zsh_takes_brackets_for_a_pattern(folder):
    paths = PAGES if folder is None else sorted((ROOT / folder).rglob("*.py"))
    assert paths
    for path in paths:
        content = path.read_text(encoding="utf-8").replace(r"\"", '"')
        assert not re.search(r"pip install[^\"'\n]*[\w.]\[", content), path


def commented(content):
    """List the commands with a comment: typed into zsh, as on macOS, or into cmd, `#` begins none, and they fail."""
    blocks = re.findall(r"```sh\n(.*?)```", content, re.S)
    commands = [line for block in blocks if not block.startswith("#!") for line in block.splitlines()]
    return [line for line in commands if re.search(r"(^| )#", line)]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_work_as_pasted(path):
    assert not commented(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("command", ["pytest  # all tests", "# all tests"])
def test_a_command_with_a_comment_is_found(command):
    assert commented(f"```sh\n{command}\n```\n```sh\n#!/bin/sh\n#SBATCH\n```") == [command]
