"""What is shown of an epoch where nobody watches: a line at its end, and one every half minute before."""

import time
from typing import NamedTuple

import pytest

from duonet.progress import LINE_SECONDS, Bar


class Totals(NamedTuple):
    loss: float = 0.5
    accuracy: float = 0.25

    def read(self):
        return self


@pytest.mark.parametrize("progress", [True, False])
def test_a_long_epoch_prints_lines_into_a_pipe(progress, monkeypatch, capsys):
    now = 100.0
    monkeypatch.setattr(time, "perf_counter", lambda: now)
    with Bar("run 1/2", 1000, progress) as bar:
        for _ in range(9):
            now += LINE_SECONDS / 3
            bar.advance(100, Totals())
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == (2 if progress else 0)
    assert not progress or lines[0] == "run 1/2: 400 of 1,000 images, loss 0.500, accuracy 25.0 %"
