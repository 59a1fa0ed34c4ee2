"""Whatever stdout and stderr are, a command ends with its status, and the streams are as they were."""

import io
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from duonet import nn, optim
from duonet.cli import main
from duonet.cli.streams import usable
from duonet.methods import entries
from duonet.train import fit

DOCS = Path(__file__).parents[2] / "docs"
SHOW = ["compare", "--show", str(DOCS / "compare.json")]


class Sink(io.BytesIO):
    """Keeps its bytes beyond its end."""

    def close(self):
        self.kept = self.getvalue()
        super().close()


def printed(arguments, encoding, monkeypatch, name="stdout"):
    sink = Sink()
    stream = io.TextIOWrapper(sink, encoding=encoding, errors="strict")
    with monkeypatch.context() as patch:
        patch.setattr(sys, name, stream)
        status = main(arguments)
        assert getattr(sys, name) is stream and stream.errors == "strict"
        stream.close()
    return status, sink.kept.decode(encoding)


@pytest.mark.parametrize(
    "encoding, sign",
    [("utf-8", "±"), ("cp1252", "±"), ("latin-1", "±"), ("cp932", "±"), ("ascii", "+-"), ("utf-16", "±")],
)
def test_a_table_reaches_every_encoding(encoding, sign, monkeypatch):
    status, text = printed(SHOW, encoding, monkeypatch)
    assert status == 0 and f"81.46 {sign} 0.81" in text and len(text.splitlines()) == 15


GREEK = {
    "α": "alpha",
    "Σ": "Sigma",
    "ε": "eps",
    "²": "^2",
    "₁": "_1",
    "⅓": "1/3",
    "⁻": "^-",
    "ᵀ": "^T",
    "犬": r"\u72ac",
}


@pytest.mark.parametrize("character", GREEK)
def test_a_formula_stays_readable_in_ascii(character):
    assert character.encode("ascii", "duonet.readable").decode() == GREEK[character]


@pytest.mark.parametrize("encoding", ["cp1252", "cp932", "ascii"])
@pytest.mark.parametrize("words", [
    ["methods", *(entry.name for entry in entries())], ["summary", "resnet20"],
    ["contest", "--show", str(DOCS / "methods_compared_float.json")],
], ids=lambda words: words[0])  # fmt: skip
def test_tables_and_formulas_reach_every_encoding(words, encoding, monkeypatch):
    status, text = printed(words, encoding, monkeypatch)
    escapes = set(re.findall(r"\\[xuU][0-9a-f]{2}", text))
    assert not status and len(text) > 500 and escapes <= {r"\xe9"}, "a letter of a name is not exchanged"


@pytest.mark.parametrize("encoding", ["cp1252", "cp932", "ascii"])
def test_the_tables_of_mismatch_reach_every_encoding(encoding, monkeypatch):
    status, text = printed(["mismatch", "--show", str(DOCS / "mismatch.json")], encoding, monkeypatch)
    assert status == 0 and len(text) > 3000 and "\\x" not in text and "\\u" not in text
    assert "activation  " in text and (" eps " in text or " ε " in text)


def test_an_error_reaches_every_encoding_and_moves_no_cursor(monkeypatch):
    status, text = printed(["summary", "犬\x1b[2J\n±"], "ascii", monkeypatch, "stderr")
    assert status == 2 and text.startswith("duonet: summary: \\u72ac\\x1b[2J\\n+- is neither a file nor")
    with pytest.raises(SystemExit):
        printed(["summary", "mlp", "--犬\x1b[2J"], "ascii", monkeypatch, "stderr")


@pytest.mark.parametrize("name", ["stdout", "stderr"])
@pytest.mark.parametrize("kind", ["missing", "closed"])
def test_a_missing_or_closed_stream_swallows_what_is_printed(kind, name, monkeypatch):
    stream = None
    if kind == "closed":
        stream = io.StringIO()
        stream.close()
    with monkeypatch.context() as patch:
        patch.setattr(sys, name, stream)
        statuses = main(SHOW), main(["summary", "nosuch"])
        assert getattr(sys, name) is stream
    assert statuses == (0, 2)


def test_streams_that_cannot_be_set_are_left_alone(monkeypatch):
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    with usable():
        print("±")
    assert sys.stdout.getvalue() == "±\n"


@pytest.mark.parametrize("progress", [True, False])
@pytest.mark.parametrize("names", [["stderr"], ["stdout"], ["stdout", "stderr"]])
def test_fit_needs_no_stream(names, progress, monkeypatch):
    rng = np.random.default_rng(0)
    model = nn.Linear(3, 2, rng=rng)
    batches = [(rng.standard_normal((4, 3), dtype="float32"), rng.integers(0, 2, 4))]

    class Loader(list):
        images = 4
        dataset = (np.zeros((4, 3)), np.zeros(4, int))

    with monkeypatch.context() as patch:
        for name in names:
            patch.setattr(sys, name, None)
        history = fit(model, Loader(batches), optim.SGD(model.parameters(), lr=0.1), 1, progress=progress)
    assert len(history.rows if hasattr(history, "rows") else list(history)) == 1


REDIRECTED = {
    "2>&-": (["summary", "mlp"], 0),
    ">&-": (["summary", "mlp"], 0),
    ">&- 2>&-": (["summary", "nosuch"], 2),
    "<&- >&- 2>&-": (["summary", "mlp"], 0),
    "| true": (["summary", "mlp"], 1),
    ">/dev/full": (["summary", "mlp"], 2),
}


@pytest.mark.skipif(os.name == "nt" or not Path("/dev/full").exists(), reason="redirects as a POSIX shell does")
@pytest.mark.parametrize("redirect", REDIRECTED)
def test_no_traceback_however_the_shell_redirects(redirect, tmp_path):
    arguments, status = REDIRECTED[redirect]
    words = f"set -o pipefail; {sys.executable} -m duonet {' '.join(arguments)} {redirect}"
    if redirect.startswith("|"):
        words = f"{sys.executable} -c 'import time; time.sleep(0)'; {words}"
    result = subprocess.run(["bash", "-c", words], capture_output=True, text=True, timeout=120)
    assert "Traceback" not in result.stderr and "Exception ignored" not in result.stderr, result.stderr
    assert result.returncode in ((0, 1) if status == 1 else (status,))
