"""Draw the README's badges from pyproject.toml, without a web service: `python tools/make_badges.py`."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BADGE = """<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="20" role="img">
<title>{name}: {value}</title>
<rect width="{width}" height="20" rx="3" fill="#555"/>
<path d="M{left} 0h{last}a3 3 0 0 1 3 3v14a3 3 0 0 1-3 3h-{last}z" fill="#2b6cb0"/>
<g fill="#fff" text-anchor="middle" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11">
<text x="{middle_left}" y="14">{name}</text>
<text x="{middle_right}" y="14">{value}</text>
</g>
</svg>
"""


def badges():
    """Return the text of each badge by its file's name."""
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    python = re.search(r'^requires-python = ">=(.+)"', project, re.M).group(1)
    licence = re.search(r'^license = "(.+)"', project, re.M).group(1)
    shown = {
        "python": ("python", f"{python} or newer"),
        "licence": ("licence", licence),
        "import": ("imports with", "NumPy alone"),
    }
    return {f"{file}.svg": badge(*words) for file, words in shown.items()}


def badge(name, value):
    """Draw a badge: a name on grey, a value on blue."""
    left, right = 6.5 * len(name) + 14, 6.5 * len(value) + 14
    return BADGE.format(
        name=name, value=value, width=left + right, left=left, last=right - 3,
        middle_left=left / 2, middle_right=left + right / 2,
    )  # fmt: skip


if __name__ == "__main__":
    for file, text in badges().items():
        (ROOT / "docs" / "static" / file).write_text(text, encoding="utf-8")
