"""What travels between two processes, as JSON: numbers, texts, arrays and lists by value, all else by a number.

An array or a list that was handed over is the same one whenever it comes again.
"""

import base64

import numpy as np

KINDS = "biufcSU"  # of the arrays that travel as bytes
LONGEST = 4096  # bits of an int


class Proxy:
    """Stands for an object of the other process; `_number` is what it is known by."""

    __slots__ = ()


class Values:
    """The objects that two processes know of each other, as one of them sees it.

    Parameters
    ----------
    judge : bool
        Whether this is the judge's side, which does not trust what it reads.
    """

    def __init__(self, judge):
        self.judge = judge
        self.mine, self.numbers = [], {}  # objects that the other side knows by number
        self.shared, self.keys = {}, {}  # key: array or list; id of one: key
        self.seen = {}  # key: contents that both sides know
        self.given = []  # for each call of the other side that has not returned, the keys of what went with it

    def proxy(self, number, name, methods):
        """Return what stands here for an object of the other side."""
        raise NotImplementedError

    def encode(self, value, keys):
        """Return a value as JSON; the keys of arrays and lists in it are added to `keys`."""
        if isinstance(value, np.generic):
            value = np.asarray(value)
            return ["n", value.dtype.str, _text(value)] if value.dtype.kind in KINDS else self._export(value)
        for kind in (bool, int, float, str):
            if isinstance(value, kind) and not (kind is int and value.bit_length() > LONGEST):
                return kind(value)
        if value is None:
            return None
        if isinstance(value, complex):
            return self.encode(np.complex128(value), keys)
        if isinstance(value, tuple):
            return ["t", [self.encode(part, keys) for part in value]]
        if isinstance(value, dict) and all(isinstance(key, str) for key in value):
            return ["d", [[key, self.encode(part, keys)] for key, part in value.items()]]
        if isinstance(value, np.ndarray) and value.dtype.kind not in KINDS:
            return ["o", list(value.shape), [self.encode(part, keys) for part in value.ravel().tolist()]]
        if isinstance(value, (np.ndarray, list)):
            key = self._key(value)
            keys.append(key)
            content = self._content(self.shared[key], keys)
            new = None if self.seen.get(key) == content else content
            self.seen[key] = self._content(self.shared[key], [])  # again: what is in a list is known by now
            return ["s", key, new, self._view(value)]
        if isinstance(value, Proxy):
            return ["y", value._number]
        return self._export(value)

    def decode(self, value, keys):
        """Return what JSON stands for, or raise ValueError or the like."""
        if not isinstance(value, list):
            if isinstance(value, dict):
                raise ValueError("no value")
            return value
        kind, *rest = value
        if kind == "n":
            return _array(rest[0], [], rest[1])[()]
        if kind == "t":
            return tuple(self.decode(part, keys) for part in rest[0])
        if kind == "d":
            return {str(key): self.decode(part, keys) for key, part in rest[0]}
        if kind == "o":
            parts = [self.decode(part, keys) for part in rest[1]]
            array = np.empty(len(parts), object)
            array[:] = parts if all(np.isscalar(part) for part in parts) else [*map(repr, parts)]
            return array.reshape(rest[0])
        if kind == "s":
            key, content, view = rest
            keys.append(key)
            return self._take(key, content, view, keys)
        if kind == "y":
            return self.mine[index(rest[0])]
        if kind == "m":
            return self.proxy(*rest)
        raise ValueError("no value")

    def _export(self, value):
        number = self.numbers.get(id(value))
        if number is None:
            number = self.numbers[id(value)] = len(self.mine)
            self.mine.append(value)
        name = str(getattr(value, "__name__", type(value).__name__)) if self.judge else ""
        return ["m", number, name, methods(value) if self.judge else []]

    def _key(self, value):
        """Return the key of an array or list, a new one where it is new or no longer what it was."""
        key = self.keys.get(id(value))
        if key is not None and isinstance(value, np.ndarray):
            known = self.shared[key]
            if (value.shape, value.dtype) != (known.shape, known.dtype):
                key = None
        if key is None:
            key = self.keys[id(value)] = 2 * len(self.mine) + self.judge
            self.shared[key] = np.asarray(value) if isinstance(value, np.ndarray) else value
            self.mine.append(value)  # alive, so that nothing else gets its id
        return key

    def _content(self, value, keys):
        if isinstance(value, list):
            return ["l", [self.encode(part, keys) for part in value]]
        return [value.dtype.str, list(value.shape), _text(value), value.flags.writeable]

    def _view(self, value):
        """Say of an array whether it lies in another that the judge handed out: which, where, and its strides."""
        base = value.base if isinstance(value, np.ndarray) and not self.judge else None
        key = self.keys.get(id(base))
        if base is None or key is None or key % 2 == self.judge:
            return None
        start, first = (a.__array_interface__["data"][0] for a in (base, value))
        return [key, first - start, list(value.strides)]

    def _take(self, key, content, view, keys):
        """Return the array or list of this key, with these contents if there are any."""
        if content is None:
            return self.shared[key]
        if self.judge and key in self.shared and key % 2 and not self._has(key):
            # What it changes in an array of the judge's that it no longer has, it changes in a copy.
            self.keys.pop(id(self.shared.pop(key)), None)
        if key in self.shared:
            value = self.shared[key]
            if content[0] == "l":
                value[:] = [self.decode(part, keys) for part in content[1]]
            else:
                new = _array(*content[:3])
                if not isinstance(value, np.ndarray) or (new.shape, new.dtype) != (value.shape, value.dtype):
                    raise ValueError("another array than it was")
                value[...] = new
        else:
            if not isinstance(key, int) or (key % 2 == self.judge and key not in self.seen):
                raise ValueError("a key that is not the sender's")
            if content[0] == "l":
                value = [self.decode(part, keys) for part in content[1]]
            else:
                value = _array(*content[:3])
                owner = self.shared.get(view[0]) if view and self.judge else None
                if isinstance(owner, np.ndarray) and owner.flags.c_contiguous and owner.flags.writeable:
                    inside = np.ndarray(value.shape, value.dtype, owner, int(view[1]), view[2])  # checks bounds
                    value = inside if inside.tobytes() == value.tobytes() else value  # to look, not to write
                value.flags.writeable = bool(content[3])
            self.shared[key], self.keys[id(value)] = value, key
        self.seen[key] = self._content(value, [])
        return value

    def changed(self, keys):
        """Return the new contents of those arrays and lists that are no longer as the other side knows them."""
        changes = {}
        for key in dict.fromkeys(keys):
            content = self._content(self.shared[key], [])
            if content != self.seen[key]:
                changes[key] = self.seen[key] = content
        return list(changes.items())

    def change(self, changes):
        """Take over the other side's changes."""
        for key, content in changes:
            if key not in self.shared:
                raise ValueError("a change of something unknown")
            self._take(key, content, None, [])

    def _has(self, key):
        """Whether the other side has been given this and not yet returned."""
        return any(key in keys for keys in self.given)


def index(number):
    """Return a number of an object, or of elements, if it is one."""
    if not isinstance(number, int) or number < 0:
        raise ValueError("no number of an object")
    return number


def methods(value):
    """Return the public functions of a class; anything else has none."""
    names = vars(value) if isinstance(value, type) else ()
    return [name for name in names if not name.startswith("_") and callable(getattr(value, name))]


def _text(array):
    return base64.b64encode(array.tobytes()).decode()


def _array(dtype, shape, text):
    """Return an array of bytes in base 64."""
    dtype = np.dtype(dtype)
    if dtype.kind not in KINDS or dtype.hasobject:
        raise ValueError("no such array")
    return np.frombuffer(base64.b64decode(text), dtype).reshape([index(n) for n in shape]).copy()
