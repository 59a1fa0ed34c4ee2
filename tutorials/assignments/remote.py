"""Calls between the process that judges and the one that runs a submission, which is not to be trusted.

A test calls a submission as if it were beside it: it gives and gets numbers, texts, arrays, functions, and what
one side changes in an array while it has it, the other sees. No code travels, and nothing that arrives is run:
whatever a submission sends, it can only be a value.
"""

import builtins
import json
import struct
import time

import numpy as np
from values import Proxy, Values, index, methods

MOST = 2**25  # bytes of a message
REASON = 1000  # characters of an error


class Lost(Exception):
    """The other side is gone, is late, or sends what is no message; nothing more will come of it."""


class Channel:
    """Messages over a socket, up to a deadline of `time.monotonic`."""

    def __init__(self, socket, deadline=None):
        self.socket, self.deadline = socket, deadline
        self.why = None  # nothing more comes: "late", "ended", "garbled"

    def _moving(self, move):
        """Send or receive; after a failure for good."""
        try:
            if self.why is None and self.deadline is not None:
                self.socket.settimeout(max(self.deadline - time.monotonic(), 1e-3))
            if self.why is None:
                return move()
        except TimeoutError:
            self.why = "late"
        except OSError:
            self.why = "ended"
        except (ValueError, RecursionError, MemoryError):  # no JSON, or too much of it
            self.why = "garbled"
        raise Lost(self.why)

    def send(self, message):
        """Send what JSON can hold."""
        data = json.dumps(message).encode()
        self._moving(lambda: self.socket.sendall(struct.pack("!I", len(data)) + data))

    def receive(self):
        """Wait for a message, and return it."""
        return self._moving(lambda: json.loads(self._bytes(struct.unpack("!I", self._bytes(4))[0])))

    def _bytes(self, count):
        if count > MOST:
            raise ValueError("too long")
        data = bytearray()
        while len(data) < count:
            part = self.socket.recv(min(count - len(data), 2**18))
            if not part:
                raise OSError("closed")
            data += part
            if self.deadline is not None and time.monotonic() > self.deadline:
                raise TimeoutError  # byte by byte is late too
        return bytes(data)


class Function(Proxy):
    """A function or class of the judge's, as a submission sees it: to be called, as are its public methods."""

    def __init__(self, peer, number, name, methods):
        self.__name__ = name
        self._call = lambda method, args, options: peer.ask("call", number, method, args, options)
        self._number = number
        for method in methods:
            setattr(self, method, Function._method(self._call, method))

    @staticmethod
    def _method(call, method):
        return lambda *args, **options: call(method, args, options)

    def __call__(self, *args, **options):
        """Have the judge call it."""
        return self._call(None, args, options)


class Thing(Proxy):
    """An object of the submission's process, as a test sees it: attributes, calls, iteration and arithmetic."""

    __slots__ = ("_peer", "_number", "_things", "_name")

    def __init__(self, peer, number):
        object.__setattr__(self, "_peer", peer)
        object.__setattr__(self, "_number", number)
        object.__setattr__(self, "_things", {})  # to ask for a function over and over takes long
        object.__setattr__(self, "_name", "")

    def __getattr__(self, name):
        if name.startswith("__") and name != "__name__":  # __array_interface__ would hand NumPy an address
            raise AttributeError(name)
        if name in self._things:
            return self._things[name]
        value = self._peer.ask("get", self._number, name)
        if isinstance(value, Thing):
            object.__setattr__(value, "_name", f"{self._name}.{name}".lstrip("."))
            self._things[name] = value
        return value

    def __array__(self, *rest, **options):
        # As an element of an array it would be asked for its difference to what is expected.
        raise TypeError("an object of the submission, where numbers are expected")

    def __setattr__(self, name, value):
        self._things.pop(name, None)
        self._peer.ask("set", self._number, name, [value])

    def __call__(self, *args, **options):
        """Call it, over there."""
        if not self._peer.active:
            self._peer.calling = self._name
        return self._peer.ask("call", self._number, None, args, options)

    def __iter__(self):
        return iter(self._peer.ask("list", self._number))

    def __len__(self):
        return len(list(self))

    def __bool__(self):
        return True

    def __repr__(self):
        return "an object of the submission"

    def __add__(self, other):
        return self._peer.ask("call", self._number, "__add__", [other])

    def __sub__(self, other):
        return self._peer.ask("call", self._number, "__sub__", [other])

    def __mul__(self, other):
        return self._peer.ask("call", self._number, "__mul__", [other])


class Process(Thing):
    """A submission's process, as the judge sees it."""

    def may_change(self, may):
        """Say whether the submission may change what it is given."""
        self._peer.may_change = may


class Peer(Values):
    """One end of a channel.

    Parameters
    ----------
    channel : Channel
    judge : bool
        The judge's end may do everything with the other's objects. The other may call functions that it was
        given, and public methods of classes that it was given.
    """

    def __init__(self, channel, judge):
        super().__init__(judge)
        self.channel = channel
        self.may_change = False  # what a submission is given: a test could expect what comes of the change
        self.active = []  # for each call, of either side, that has not returned: the keys of what went with it
        self.calling = ""  # of the functions of a submission that a test calls, the last

    def proxy(self, number, name, methods):
        """Return what stands here for an object of the other side."""
        return Thing(self, index(number)) if self.judge else Function(self, number, name, methods)

    def ask(self, do, what, name=None, args=(), options=None):
        """Have the other side do something with an object of its own, and return what comes of it."""
        keys = []
        message = {"do": do, "what": what, "name": name, "args": self.encode(tuple(args), keys)}
        message["options"] = self.encode(dict(options or {}), keys)
        if self.judge:
            message["numpy"] = np.geterr()  # an errstate reaches over there
        self.active.append(keys)
        self.given.append(keys)
        before = {key: self.seen[key] for key in keys}
        try:
            self._send(message)
            answer = self._receive()
            while "do" in answer:
                self._serve(answer)
                answer = self._receive()
        finally:
            self.active.pop()
            self.given.pop()
        error = None
        with _lost_if_garbled(self.channel):
            if "error" in answer:
                error = rebuilt(*answer["error"])
            else:
                value = self.decode(answer["value"], [])
        if (
            self.judge
            and not self.may_change
            and any(self._content(self.shared[key], []) != before[key] for key in before)
        ):
            raise AssertionError("it modified an array or a list that it was given")
        if error is not None:
            raise error
        return value

    def serve(self):
        """Do what the other side asks, for ever."""
        while True:
            self._serve(self._receive())

    def _serve(self, request):
        keys = []
        with _lost_if_garbled(self.channel):
            args, options = self.decode(request["args"], keys), self.decode(request["options"], keys)
            what = self.mine[index(request["what"])]
            do, name = str(request["do"]), request["name"]
        self.active.append(keys)
        try:
            try:
                if self.judge:
                    value = self._called(what, do, name, args, options)
                else:
                    with np.errstate(**request["numpy"]):
                        value = self._done(what, do, name, args, options)
                reply = {"value": self.encode(value, [])}
            except Lost:
                raise
            except BaseException as error:  # SystemExit is none of Exception's
                reply = {"error": described(error)}
            self._send(reply)
        finally:
            self.active.pop()

    def _called(self, what, do, name, args, options):
        """Do what a submission asks of the judge: call what it was given."""
        if do != "call" or not callable(what) or isinstance(what, np.ndarray):
            raise TypeError("it can be called, and nothing else")
        if name is not None and name not in methods(what):
            raise AttributeError(name)
        return (what if name is None else getattr(what, name))(*args, **options)

    def _done(self, what, do, name, args, options):
        """Do what the judge asks."""
        if do == "get":
            return getattr(what, name)
        if do == "set":
            return setattr(what, name, *args)
        if do == "list":
            return list(what)
        return (what if name is None else getattr(what, name))(*args, **options)

    def _send(self, message):
        changed = self.changed(key for keys in self.active for key in keys)
        self.channel.send(message | {"changed": changed})

    def _receive(self):
        message = self.channel.receive()
        with _lost_if_garbled(self.channel):
            self.change(message["changed"])
        return message


class _lost_if_garbled:
    """Whatever is wrong with a message ends the exchange."""

    def __init__(self, channel):
        self.channel = channel

    def __enter__(self):
        return self

    def __exit__(self, kind, error, traceback):
        if isinstance(error, Exception) and not isinstance(error, Lost):
            self.channel.why = self.channel.why or "garbled"
            raise Lost(self.channel.why) from error


def described(error):
    """Return an error's name and text."""
    try:
        return [str(type(error).__name__)[:REASON], str(error)[:REASON]]
    except BaseException:
        return [str(type(error).__name__)[:REASON], ""]


def rebuilt(name, text):
    """Return an error of this name and text, of Python's own class where it has one that ends no process."""
    base = getattr(builtins, str(name), None)
    stops = (StopIteration, StopAsyncIteration)  # would end a test's loop in peace
    if not (isinstance(base, type) and issubclass(base, Exception)) or issubclass(base, stops):
        base = Exception
    says = {"__init__": lambda self, *parts: None, "__str__": lambda self: str(text)}
    return type(str(name).replace("\0", "?") or "Exception", (base,), says)()
