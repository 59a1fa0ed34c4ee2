"""The process that runs submissions: it starts one process for each task, behind walls, which answers calls.

`worker.py` starts it. It knows neither tests nor seeds nor other submissions, and no word of it counts: what a
submission earns is decided where its calls come from.
"""

import contextlib
import importlib
import importlib.util
import os
import signal
import socket
import sys
import types

import parts
import remote
import sandbox

READY = b"+"
START = (  # a program that knows nothing but what it is told
    "import json, sys; order = json.load(sys.stdin); sys.path[:] = order['path'];"
    "import student; student.main(order, int(sys.argv[1]))"
)


def provide(allowed, places):
    """Import what a submission may import, and of duonet nothing else, lest the library's own op be handed in.

    Parameters
    ----------
    allowed : list of str
    places : dict
        For each allowed name of duonet, the module that defines it.
    """
    for name in {name.split(".")[0] for name in allowed} - {"duonet"}:
        importlib.import_module(name)
    if places:
        package = sys.modules["duonet"] = types.ModuleType("duonet")
        package.__path__ = [os.path.join(folder, "duonet") for folder in sys.path]
        for name, place in places.items():
            setattr(package, name.split(".")[1], getattr(importlib.import_module(place), name.split(".")[1]))
        importlib.import_module("duonet.functional")  # Tensor's operators
        package.__path__ = []  # nothing more of it


class Answers:
    """What the judge asks for first."""

    def __init__(self, text, allowed, home):
        self.text, self.allowed, self.home = text, allowed, home

    def load(self):
        """Import the submission, as much of it as will run."""
        path = os.path.join(self.home, "answers.py")
        with open(path, "wb") as file:
            file.write(self.text)
        sys.path.insert(0, self.home)
        spec = importlib.util.spec_from_file_location("answers", path)
        module = sys.modules["answers"] = importlib.util.module_from_spec(spec)
        parts.run(self.text, self.allowed, vars(module))
        return module

    def bring(self, text):
        """Run a test's own code here, for what must be beside the submission; return it as a module."""
        module = types.ModuleType("brought")
        exec(text, vars(module))
        return module


def run(order, connection):
    """Be the process of one task: go behind the walls, then do what the judge asks."""
    home = order["home"]
    os.setsid()  # a group of its own, so that all of it can be ended
    sandbox.forget_descriptors({connection.fileno()})
    sandbox.go_first()
    if order["walls"]:
        sandbox.enter(home, order["packages"], order["hidden"])
        home = "/home"
    os.environ.clear()
    os.environ.update(order["environment"] | {"HOME": home})
    sandbox.give_up_rights(home)
    sandbox.die_with_parent()
    sandbox.limit(order["limit"], order["walls"])
    os.chdir(home)
    os.register_at_fork(after_in_child=connection.close)  # one voice is enough
    peer = remote.Peer(remote.Channel(connection), judge=False)
    text = bytes.fromhex(order["text"])
    peer.mine.append(Answers(text, set(order["allowed"]), home))
    peer.serve()


def end(child):
    """Kill the process of a task, and whatever it has started."""
    for kill in (os.killpg, os.kill):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            kill(child, signal.SIGKILL)
    sandbox.end_children()


def main(order, descriptor):
    """Start a process for each task that is asked for over a socket, until nobody asks any more."""
    sandbox.die_with_parent()
    sandbox.adopt()
    control = socket.socket(fileno=descriptor)
    sys.path.remove(os.path.dirname(os.path.abspath(__file__)))
    provide(order["allowed"], order["places"])
    control.sendall(READY)
    while True:
        home, descriptors, _, _ = socket.recv_fds(control, 4096, 1)
        if not home:
            break
        child = os.fork()
        if child == 0:
            try:
                run(order | {"home": os.fsdecode(home)}, socket.socket(fileno=descriptors[0]))
            finally:
                os._exit(0)  # no exit handlers of the submission, no waiting for its threads
        os.close(descriptors[0])
        control.recv(1)  # until it is enough
        end(child)
        control.sendall(READY)
    sandbox.end_children()
