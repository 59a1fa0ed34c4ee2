"""When the compiled twins run, and that NumPy's do where they cannot."""

import os
import subprocess
import sys

import numpy as np
import pytest

from duonet import Tensor, cli, compiled, engine, plain_ops, smooth_forward
from duonet.quant import Binary, Clip, Staircase, Uniform, quantize

needs_numba = pytest.mark.skipif(bool(compiled.why_not()), reason=compiled.why_not() or "never")

STEP = (
    "import numpy as np\n"
    "from duonet import Tensor, functional as F\n"
    "from duonet.quant import Binary, Clip, quantize\n"
    "y = F.conv2d(quantize(Tensor(np.ones((2, 4, 4, 8), 'float32')), Binary(), Clip(0, 1)),\n"
    "             Tensor(np.ones((3, 3, 8, 8), 'float32')))\n"
    "assert (y.data == 72).all()\n"
)
NO_NUMBA = (
    "import sys\n"
    "class Refuse:\n"
    "    def find_spec(self, name, *rest):\n"
    "        if name.split('.')[0] == 'numba':\n"
    "            raise {error}\n"
    "sys.meta_path.insert(0, Refuse())\n"
)


def in_child(program):
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)


def test_importing_the_package_imports_no_numba():
    done = in_child("import sys, duonet; assert 'numba' not in sys.modules and 'duonet.compiled' in sys.modules")
    assert not done.returncode, done.stderr


def test_without_numba_nothing_is_said():
    done = in_child(NO_NUMBA.format(error="ModuleNotFoundError(name, name=name)") + STEP)
    assert not done.returncode and not done.stderr, done.stderr


def test_a_broken_numba_is_named_in_one_line():
    done = in_child(NO_NUMBA.format(error="ImportError('Numba needs NumPy 2.5 or less.\\n')") + STEP)
    assert not done.returncode, done.stderr
    said = [line for line in done.stderr.splitlines() if "Warning" in line]
    assert len(said) == 1 and "Numba needs NumPy 2.5 or less." in said[0] and "NumPy's twins run" in said[0]


@needs_numba
def test_a_cache_folder_that_cannot_be_written_is_named_in_one_line():
    nowhere = "from numba.core import caching\ncaching.CacheImpl._locator_classes = []\n"
    done = in_child(nowhere + STEP)
    assert not done.returncode, done.stderr
    said = [line for line in done.stderr.splitlines() if "Warning" in line]
    assert len(said) == 1 and "cannot compile here (cannot cache function" in said[0], done.stderr


def test_the_version_says_which_kernels_are_in_force(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["--version"])
    said = capsys.readouterr().out
    assert not stop.value.code and said.count("\n") == 1
    assert f"kernels on the CPU: {compiled.in_force()}" in said
    without = NO_NUMBA.format(error="ModuleNotFoundError(name, name=name)")
    done = in_child(without + "from duonet import cli\ncli.main(['--version'])")
    assert 'kernels on the CPU: NumPy\'s (numba is not installed; pip install "duonet[compiled]")' in done.stdout


@needs_numba
def test_the_first_compilation_is_said_once_and_on_a_terminal_alone(monkeypatch, capsys):
    from duonet.compiled import running

    notice = running._Notice()

    class Event:
        data = {"dispatcher": running.kernel(lambda start, stop: None)}

    Event.data["dispatcher"].py_func.__module__ = "duonet.compiled.conv"
    monkeypatch.setattr(running._Notice, "said", False)
    notice.on_start(Event)
    assert not capsys.readouterr().err
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    notice.on_start(Event)
    notice.on_start(Event)
    assert capsys.readouterr().err.count("compiling for this machine") == 1


FORKED = """
import os, threading
import numpy as np
from duonet import Tensor, functional as F, parallel
from duonet.quant import Binary, Clip, quantize
{}

def step():
    x = Tensor(np.ones((4, 6, 6, 8), 'float32'), requires_grad=True)
    w = Tensor(np.ones((3, 3, 8, 8), 'float32'), requires_grad=True)
    with parallel.threads(2):
        y = F.conv2d(quantize(x, Binary(), Clip(0, 1)), w)
        y.backward(np.ones(y.shape, 'float32'))
    good.append((y.data == 72).all() and (w.grad == 64).all())

good = []
step()
child = os.fork()
step()
if child == 0:
    os._exit(not all(good))
assert os.waitpid(child, 0)[1] == 0
threads = [threading.Thread(target=step) for _ in range(4)]
[t.start() for t in threads]
[t.join() for t in threads]
assert all(good) and len(good) == 6
"""


@needs_numba
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.parametrize("shared", ["", "from duonet.compiled import running; running.SHARED = 0"])
def test_a_forked_child_and_several_threads_compute_on(shared):
    done = in_child(FORKED.format(shared))
    assert not done.returncode, done.stderr


def test_what_is_known_of_an_array_is_known_of_no_other():
    x = engine.attach(np.ones((2, 3)), levels=(0, 1))
    assert engine.known(x, "levels") == (0, 1)
    for other in (x.copy(), x[:], x.reshape(-1), x.T):
        assert engine.known(other, "levels") is None
    engine.attach(x, more=1)
    assert engine.known(x, "levels") == (0, 1) and engine.known(x, "more") == 1
    with pytest.raises(ValueError, match="read-only"):
        x[0] = 2
    x.flags.writeable = True  # who insists may write; nothing is known from then on
    assert engine.known(x, "levels") is None


def test_nothing_is_kept_of_an_array_that_is_gone():
    before = len(engine._attached)
    x = engine.attach(np.ones(3), levels=(0, 1))
    assert len(engine._attached) == before + 1
    del x
    assert len(engine._attached) == before


@needs_numba
def test_an_activation_says_its_levels_unless_they_are_many_or_plain_or_smooth():
    x = Tensor(np.ones((2, 3), "float32"))

    def levels(staircase):
        return engine.known(quantize(x, staircase, Clip(0, 1)).data, "levels")

    class Own(Staircase):
        def __call__(self, x):
            return x / 3

    assert levels(Binary()) == (0, 1)
    assert levels(Uniform(2)) is None and levels(Own([0], [0, 1])) is None
    assert levels(lambda x: x + 1) is None
    with plain_ops():
        assert levels(Binary()) is None
    with smooth_forward():
        assert levels(Binary()) is None
    with engine.without("compiled"):
        assert levels(Binary()) is None
