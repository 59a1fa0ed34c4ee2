"""What is loaded is looked at before anything is changed."""

import numpy as np
import pytest

from duonet import Parameter, Tensor, nn
from duonet.state import fitting

LIKE = {"w": np.zeros(2, "float32"), "n": np.array([3])}
GOOD = {"w": np.array([1, 2], "float32"), "n": np.array([4])}


@pytest.mark.parametrize(
    "name, value, problem",
    [
        ("w", np.array([1e300, 0.0]), "w holds numbers beyond the range of float32"),
        ("w", np.array([None, None]), "w has dtype object, expected float32"),
        ("w", None, "w is a NoneType, expected an array"),
        ("w", np.array(["1", "2"]), "w has dtype <U1, expected float32"),
        ("w", ["1", "2"], "w is a list, expected an array"),
        ("w", np.array([1, 2j]), "w has dtype complex128, expected float32"),
        ("w", np.array([1, 2]), "w has dtype int64, expected float32"),
        ("w", np.array([True, False]), "w has dtype bool, expected float32"),
        ("w", np.ma.masked_array([1.0, 2.0], [0, 1]), "w is a MaskedArray, expected an array"),
        ("w", Tensor([1.0, 2.0]), "w is a Tensor, expected an array"),
        ("w", np.ones(3), r"w has shape \(3,\), expected \(2,\)"),
        ("n", np.array([4.5]), "n has dtype float64, expected int64"),
        ("n", np.array([2**63], "uint64"), "n has dtype uint64, expected int64"),
        ("more", np.ones(1), "unexpected more"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(name, value, problem):
    with pytest.raises(ValueError, match=f"^Scale: {problem}$"):
        fitting("Scale", GOOD | {name: value}, LIKE)


def test_what_fits_is_copied_in_the_dtype_of_its_place():
    arrays = fitting("Scale", GOOD | {"w": np.array([0.1, np.inf])}, LIKE)
    assert arrays["w"].dtype == np.float32 and arrays["w"].tolist() == [np.float32(0.1), np.inf]
    assert not np.shares_memory(fitting("Scale", GOOD, LIKE)["w"], GOOD["w"])
    with pytest.raises(ValueError, match="^Scale: missing n$"):
        fitting("Scale", {"w": GOOD["w"]}, LIKE)
    with pytest.raises(TypeError, match="^Scale: expected a dict from name to array, got list$"):
        fitting("Scale", [1], LIKE)


def test_narrow_integers_are_not_wrapped():
    with pytest.raises(ValueError, match="n holds numbers beyond the range of int8"):
        fitting("Scale", {"n": np.array([300])}, {"n": np.array([1], "int8")})


def test_a_module_changes_nothing_when_one_array_does_not_fit(rng):
    model = nn.Linear(2, 2, rng=rng)
    before, held = model.state_dict(), model.weight.data
    state = {"weight": np.ones((2, 2)), "bias": np.array([1e300, 0])}
    with pytest.raises(
        ValueError, match="load_state_dict: Linear: bias holds numbers beyond the range of float32"
    ):
        model.load_state_dict(state)
    assert model.weight.data is held and np.array_equal(held, before["weight"])


def test_a_network_that_diverged_is_saved_and_loaded_as_it_is():
    class Scale(nn.Module):
        def __init__(self):
            super().__init__()
            self.factor = Parameter([1.0, 2.0])

    one, other = Scale(), Scale()
    one.factor.data[:] = np.nan, np.inf
    other.load_state_dict(one.state_dict())
    np.testing.assert_array_equal(other.factor.data, [np.nan, np.inf])
