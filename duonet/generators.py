"""Random generators as plain JSON values, and back. A state is checked: a wrong one crashes the interpreter."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from duonet import arguments

# For each bit generator, the fields of its state: the largest integer, and the count of integers, None for one.
FLAG, SHORT, LONG = (1, None), (2**32 - 1, None), (2**128 - 1, None)
LEFT = {"has_uint32": FLAG, "uinteger": SHORT}  # half of the last draw, kept for the next one
PCG = {"state": {"state": LONG, "inc": LONG}} | LEFT
STATES = {
    "PCG64": PCG,
    "PCG64DXSM": PCG,
    "MT19937": {"state": {"key": (2**32 - 1, 624), "pos": (624, None)}},
    "Philox": {
        "state": {"counter": (2**64 - 1, 4), "key": (2**64 - 1, 2)},
        "buffer": (2**64 - 1, 4),
        "buffer_pos": (4, None),
    }
    | LEFT,
    "SFC64": {"state": {"state": (2**64 - 1, 4)}} | LEFT,
}


class Generators:
    """Random generators by number: a generator in use in two places stays one object.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> generators = Generators()
    >>> generators.number(rng), generators.number(np.random.default_rng(1)), generators.number(rng)
    (0, 1, 0)
    >>> Generators.of(generators.states()).get(0).random() == rng.random()
    True
    """

    def __init__(self):
        self.found = []

    @classmethod
    def of(cls, states: Iterable[dict[str, Any]]) -> "Generators":
        """Rebuild generators from `states()`; an impossible state raises ValueError."""
        generators = cls()
        for state in states:
            kind = state.get("bit_generator") if isinstance(state, dict) else None
            if not (isinstance(kind, str) and kind in STATES):
                raise ValueError(f"unknown bit generator {kind!r:.60}")
            fields = {name: value for name, value in state.items() if name != "bit_generator"}
            checked = _checked(kind, "state", fields, STATES[kind])
            if STATES[kind] is PCG and checked["state"]["inc"] % 2 == 0:
                raise ValueError(f"{kind}: inc in its state must be odd")
            bits = getattr(np.random, kind)(0)
            bits.state = {"bit_generator": kind} | checked
            generators.found.append(np.random.Generator(bits))
        return generators

    def number(self, rng: np.random.Generator) -> int:
        """Return the number of a generator; a new generator gets the next number."""
        for i, known in enumerate(self.found):
            if known is rng:
                return i
        self.found.append(rng)
        return len(self.found) - 1

    def get(self, number: int) -> np.random.Generator:
        """Return the generator of a number; an unknown number raises ValueError."""
        return self.found[arguments.integer("generators", "number", number, at_least=0, below=len(self.found))]

    def states(self) -> list[dict[str, Any]]:
        """List the state of each generator, as values that JSON can hold."""
        return [_plain(rng.bit_generator.state) for rng in self.found]


def _checked(kind, name, value, field):
    """Return a state after a check of all its integers; lists become arrays."""
    if isinstance(field, dict):
        if not isinstance(value, dict) or value.keys() != field.keys():
            raise ValueError(f"{kind}: {name} of the generator must hold {', '.join(field)}")
        return {key: _checked(kind, key, value[key], field[key]) for key in field}
    largest, count = field
    if count is None:
        return arguments.integer(kind, f"{name} of the generator", value, at_least=0, at_most=largest)
    if not isinstance(value, list) or len(value) != count:
        raise ValueError(f"{kind}: {name} of the generator must be a list of {count} ints")
    return np.array([_checked(kind, name, number, (largest, None)) for number in value], np.uint64)


def _plain(state):
    if isinstance(state, dict):
        return {key: _plain(value) for key, value in state.items()}
    return state.tolist() if isinstance(state, (np.ndarray, np.generic)) else state
