"""A generator's state comes from a file: outside its bounds it would crash the interpreter."""

import copy
import json

import numpy as np
import pytest

from duonet.generators import STATES, Generators


def state(kind, draws=3):
    rng = np.random.Generator(getattr(np.random, kind)(7))
    rng.integers(0, 9, draws, dtype=np.uint32)
    generators = Generators()
    generators.number(rng)
    return rng, json.loads(json.dumps(generators.states()))[0]


def fields(value, path=()):
    """Yield the path of every field of a state, and of the first and last entry of its lists."""
    for key in value if isinstance(value, dict) else sorted({0, len(value) - 1}):
        yield (*path, key)
        if isinstance(value[key], (dict, list)):
            yield from fields(value[key], (*path, key))


@pytest.mark.parametrize("kind", STATES)
@pytest.mark.parametrize("draws", [0, 1, 2, 700])
def test_every_kind_goes_on_with_the_same_numbers(kind, draws):
    rng, saved = state(kind, draws)
    twin = Generators.of([saved]).get(0)
    for draw in (
        lambda g: g.integers(0, 9, 5, dtype=np.uint32),
        lambda g: g.standard_normal(1000),
        lambda g: g.permutation(9),
    ):
        np.testing.assert_array_equal(draw(twin), draw(rng))


@pytest.mark.parametrize("kind", STATES)
def test_a_field_out_of_bounds_or_of_another_type_is_refused(kind):
    _, saved = state(kind)
    wrong = (
        -1,
        2**128,
        10**4000,
        0.5,
        1.0,
        float("nan"),
        float("inf"),
        True,
        None,
        "1",
        [],
        [1] * 3,
        {},
        {"a": 1},
    )
    for path in fields(saved):
        for value in wrong:
            spoilt = copy.deepcopy(saved)
            holder = spoilt
            for key in path[:-1]:
                holder = holder[key]
            holder[path[-1]] = value
            with pytest.raises((ValueError, TypeError)):
                Generators.of([spoilt])
            if isinstance(holder, dict):
                del holder[path[-1]]
                with pytest.raises((ValueError, TypeError)):
                    Generators.of([spoilt])
    with pytest.raises(ValueError, match="state of the generator must hold"):
        Generators.of([saved | {"more": 1}])


@pytest.mark.parametrize(
    "kind, path, value",
    [
        ("MT19937", ("state", "pos"), 625),
        ("MT19937", ("state", "key", 5), 2**32),
        ("MT19937", ("state", "key"), [1] * 623),
        ("Philox", ("buffer_pos",), 5),
        ("Philox", ("buffer",), [1] * 5),
        ("Philox", ("state", "key", 1), 2**64),
        ("SFC64", ("state", "state"), [1] * 3),
        ("SFC64", ("has_uint32",), 2),
        ("PCG64", ("uinteger",), 2**32),
        ("PCG64", ("state", "inc"), 2),
        ("PCG64DXSM", ("state", "state"), 2**128),
    ],
)
def test_the_bounds_are_those_of_each_kind(kind, path, value):
    _, saved = state(kind)
    holder = saved
    for key in path[:-1]:
        holder = holder[key]
    holder[path[-1]] = value
    with pytest.raises(ValueError, match=f"{kind}: {next(k for k in reversed(path) if isinstance(k, str))}"):
        Generators.of([saved])


def test_what_is_no_generator_is_refused():
    for states in (
        ["PCG64"],
        [{}],
        [{"bit_generator": ["PCG64"]}],
        [{"bit_generator": "default_rng"}],
        [None],
        [[]],
    ):
        with pytest.raises(ValueError, match="unknown bit generator"):
            Generators.of(states)
    generators = Generators.of([state("PCG64")[1]])
    for number in (-1, 1, True, 0.0, None, "0"):
        with pytest.raises((ValueError, TypeError), match="number must be an int"):
            generators.get(number)
