"""Draw the README's picture from the package's own staircases: `python tools/make_picture.py`."""

from pathlib import Path

import numpy as np

from duonet.quant import Binary, Clip, Ternary

FILE = Path(__file__).resolve().parents[1] / "docs" / "static" / "duonet.svg"
SIDE, GAP, LEFT, TOP = 120, 150, 20, 50  # pixels
LOW, HIGH = -0.25, 1.25  # of x
TITLE = (
    "A staircase of three levels is trained, with a ramp's gradient; it equals the sum of two binary staircases"
)


def panel(place, title, staircase, ramp=None, height=1.0):
    """Draw a staircase, and the ramp whose derivative stands in for its own."""
    left = LEFT + place * (SIDE + GAP)
    x = np.linspace(LOW, HIGH, 1501)

    def line(y, more):
        turns = [0, *np.flatnonzero(np.abs(np.diff(y, 2)) > 1e-9) + 1, len(x) - 1]  # where a straight piece ends
        points = " ".join(
            f"{left + SIDE * (x[i] - LOW) / (HIGH - LOW):.1f},{TOP + SIDE * (1 - y[i]):.1f}" for i in turns
        )
        return f'<polyline points="{points}" fill="none" {more}/>'

    lines = [f'<text x="{left + SIDE / 2:.0f}" y="{TOP - 20}">{title}</text>']
    if ramp is not None:
        lines.append(line(ramp.value(x), 'stroke="#b2500f" stroke-width="2" stroke-dasharray="5 4"'))
    lines.append(line(height * staircase(x), 'stroke="#2b6cb0" stroke-width="3"'))
    return lines


def picture():
    """Return the SVG's text."""
    ternary = Ternary()
    halves = [Binary(float(threshold)) for threshold in ternary.thresholds]
    width, height = 2 * LEFT + 3 * SIDE + 2 * GAP, TOP + SIDE + 45
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" role="img">',
        f"<title>{TITLE}</title>",
        f'<rect width="{width}" height="{height}" rx="6" fill="#fff"/>',
        '<g font-family="Verdana,DejaVu Sans,sans-serif" font-size="14" text-anchor="middle" fill="#222">',
        *panel(0, "train: three levels", ternary, Clip(0, 1)),
        *panel(1, "half a step at ¼", halves[0], height=0.5),
        *panel(2, "half a step at ¾", halves[1], height=0.5),
    ]
    middle = TOP + SIDE / 2
    for place, sign, word in ((0, "=", "decouple: exact"), (1, "+", "fine-tune: binary")):
        centre = LEFT + SIDE + place * (SIDE + GAP) + GAP / 2
        lines.append(f'<text x="{centre:.0f}" y="{middle:.0f}" font-size="28">{sign}</text>')
        lines.append(f'<text x="{centre:.0f}" y="{middle + 26:.0f}" font-size="12">{word}</text>')
    note = "dashed: the ramp whose gradient back-propagation takes for the staircase's"
    lines.append(f'<text x="{width / 2:.0f}" y="{height - 12}" font-size="12">{note}</text>')
    return "\n".join([*lines, "</g>", "</svg>", ""])


if __name__ == "__main__":
    FILE.write_text(picture(), encoding="utf-8")
