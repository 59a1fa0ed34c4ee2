"""Rows of registers: every operation, at every width, against NumPy."""

import numpy as np
import pytest

from duonet import compiled

if compiled.why_not():
    pytest.skip(compiled.why_not(), allow_module_level=True)

import numba  # noqa: E402

from duonet.compiled import rows  # noqa: E402
from duonet.compiled.rows import add, byte, fma, load, number, outer, put, repeated, store, zero  # noqa: E402


@pytest.mark.parametrize("lanes", [4, 8, 24])
def test_operations_on_rows(rng, lanes):
    @numba.njit
    def compute(a, places, out):
        x, y = load(a, byte(places, 0), lanes), load(a, 3, lanes)
        store(out, 0, add(x, y))
        store(out, lanes, fma(number(a, 2), x, y))
        both = outer(outer(repeated(zero(lanes), 2), a, 0, 1, x), a, 4, 2, y)
        put(out, 2 * lanes, lanes, both)
        store(out, 4 * lanes, zero(lanes))

    a = rng.integers(-8, 9, 300).astype("float32")
    out = np.full(5 * lanes, np.nan, "float32")
    compute(a, np.array([200], np.uint8), out)
    x, y = a[200 : 200 + lanes], a[3 : 3 + lanes]
    expected = x + y, a[2] * x + y, a[0] * x + a[4] * y, a[1] * x + a[6] * y, 0 * x
    np.testing.assert_array_equal(out.reshape(5, lanes), expected)


def test_widths_that_no_registers_make_up_are_refused():
    with pytest.raises(ValueError, match="multiple of 4, got 6"):
        rows.Row(6)
