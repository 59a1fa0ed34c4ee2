"""The package's description elsewhere: the README, with links that lead back to the repository."""

import re
from pathlib import Path

from setuptools import setup

REPOSITORY = "https://github.com/duonet/duonet"


def absolute(text):
    """Return Markdown whose relative links and figures point into the repository."""
    text = re.sub(r"(!\[[^\]]*\]\()(?!\w+:|#)", rf"\g<1>{REPOSITORY}/raw/main/", text)
    return re.sub(r"(\]\()(?!\w+:|#)", rf"\g<1>{REPOSITORY}/blob/main/", text)


if __name__ == "__main__":
    readme = (Path(__file__).parent / "README.md").read_text(encoding="utf-8")
    setup(long_description=absolute(readme), long_description_content_type="text/markdown")
