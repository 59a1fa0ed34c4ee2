"""What a release consists of: links that work away from the repository, and the files that its own tests need."""

import importlib.util
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def absolute():
    pytest.importorskip("setuptools", reason="setup.py needs setuptools, which a fresh environment may lack")
    spec = importlib.util.spec_from_file_location("duonet_setup", ROOT / "setup.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.absolute


def links(text):
    return re.findall(r"\]\(([^)]+)\)", text)


def test_links_of_the_description_lead_to_files_of_the_repository(absolute):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    relative = [link for link in links(text) if not re.match(r"\w+:|#", link)]
    assert relative and all((ROOT / link.split("#")[0]).exists() for link in relative)
    there = links(absolute(text))
    assert all(re.match(r"https?:|#", link) for link in there)
    assert sum("/blob/main/" in link or "/raw/main/" in link for link in there) == len(relative)


def test_a_figure_is_shown_raw_and_other_addresses_stay(absolute):
    where = "https://github.com/duonet/duonet"
    assert absolute("![a](b.png)") == f"![a]({where}/raw/main/b.png)"
    assert absolute("[a](b.md#c)") == f"[a]({where}/blob/main/b.md#c)"
    for text in ("[a](https://example.org)", "[a](#below)", "[a](mailto:a@example.org)"):
        assert absolute(text) == text


def test_a_source_archive_holds_every_file_that_git_does():
    """By the patterns of MANIFEST.in, and by what setuptools adds."""
    git = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if git.returncode:
        pytest.skip("this is no clone, so what belongs to it is not known")
    words = [line.split() for line in (ROOT / "MANIFEST.in").read_text().splitlines()]
    named = {name for verb, *names in words if verb == "include" for name in names}
    named |= {"LICENSE", "MANIFEST.in", "README.md", "pyproject.toml", "setup.py"}
    grown = {name for verb, *names in words if verb == "graft" for name in names} | {"duonet"}
    left = {name for name in git.stdout.splitlines() if name.split("/")[0] not in grown} - named
    assert left <= {".gitignore", ".devcontainer/devcontainer.json", ".github/workflows/ci.yml"}
