"""A pytest plugin that takes from Python what WebAssembly lacks: python -m pytest -p tests.webassembly.

There are no threads, processes, sockets, ctypes or POSIX modules there, and one core. A test that asks for any of
them itself is skipped; where duonet asks, it gets the error that it would get there.
"""

import builtins
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np  # noqa: F401  it needs ctypes itself
import pytest

ABSENT = {"ctypes", "fcntl", "grp", "pwd", "resource", "termios"}


def refuse(error, what):
    """Return a function that raises an error where duonet asked for it, and skips a test that asked itself."""

    def refusing(*args, **options):
        frame = sys._getframe(1)
        while frame is not None and not {"duonet", "tests"} & set(Path(frame.f_code.co_filename).parts[-4:]):
            frame = frame.f_back
        if frame is not None and "tests" in Path(frame.f_code.co_filename).parts:
            pytest.skip(f"the test itself needs {what}, which WebAssembly has not")
        raise error

    return refusing


def without(real):
    """Return an `__import__` that refuses the modules of ABSENT to duonet, and to what locks its files."""

    def importing(name, caller=None, *rest, **options):
        asking = (caller or {}).get("__name__", "").split(".")[0]
        if name.split(".")[0] in ABSENT and asking in {"duonet", "filelock"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return real(name, caller, *rest, **options)

    return importing


assert "duonet" not in sys.modules, "duonet was imported before the threads were taken away"
threading.Thread.start = refuse(RuntimeError("can't start new thread"), "a thread")
for missing in {"fork", "forkpty", "posix_spawn", "sched_getaffinity"} & set(dir(os)):
    delattr(os, missing)
os.cpu_count = lambda: 1
subprocess.Popen.__init__ = refuse(OSError(138, "WebAssembly does not support processes"), "a process")
socket.socket.connect = refuse(OSError(138, "WebAssembly does not support sockets"), "a socket")
builtins.__import__ = without(builtins.__import__)
