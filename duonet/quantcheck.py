"""`check_quantizer`: tests whether a quantiser keeps the promises of its class."""

import copy
import tempfile
from pathlib import Path

import numpy as np

from duonet import arguments, backend
from duonet.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from duonet.description import describe
from duonet.generators import Generators
from duonet.gradcheck import GradientError, check_gradients
from duonet.quant import Quantizer
from duonet.tape import no_grad
from duonet.tensor import Tensor

FLOAT = 32
ROUNDING = 64 * np.finfo(np.float64).eps


class QuantizerError(AssertionError):
    """A quantiser breaks a promise of its class; the message names the clause."""


def check_quantizer(quantizer: Quantizer, shape: tuple[int, ...] = (1000, 4), seed: int = 0) -> None:
    """Test every promise of a quantiser, and raise with the first broken clause.

    Dtype, shape and input stay unchanged; training is deterministic or draws numbers, as the tag states, and
    evaluation neither draws nor changes the state; values need as many bits and scales as stated; backward is the
    gradient of the surrogate and reaches the input and every Parameter; a projection changes weights in place;
    every other stated tag holds; a checkpoint restores it; a GPU, where there is one, gives the values of the CPU.

    Parameters
    ----------
    quantizer : Quantizer
        It stays unchanged: the tests use copies.
    shape : tuple of int
        The shape of the input, (..., C), with the C of thresholds or ranges for each channel. The input should be
        large enough to meet every level.
    seed : int
        Draws inputs; printed with every failure.

    Raises
    ------
    QuantizerError
        If the quantiser breaks a promise; the message names the promise.
    TypeError
        If `quantizer` is not a Quantizer.

    Notes
    -----
    A scale that is computed from the input and kept from the tape has no surrogate gradient to compare with. Such
    a quantiser is a `Function` with `exact = False` and a `smooth`, unless its backward pass is not the gradient
    of any function.

    Examples
    --------
    >>> from duonet import quant
    >>> check_quantizer(quant.LayerScaleSign())
    >>> class Liar(quant.LayerScaleSign):
    ...     bits = 2
    >>> check_quantizer(Liar())
    Traceback (most recent call last):
        ...
    duonet.quantcheck.QuantizerError: check_quantizer: Liar: bits is 2, but 2 values need 1 (seed=0)
    """
    arguments.instance("check_quantizer", "quantizer", quantizer, Quantizer)
    x = np.random.default_rng(seed).standard_normal(shape)
    for clause in (_kept, _draws, _values, _gradient, _projected, _tags, _comes_back, _on_gpu):
        try:
            problem = clause(_copy(quantizer), x)
        except (ValueError, TypeError, RuntimeError, GradientError, CheckpointError) as error:
            problem = f"{error}".splitlines()[0]
        if problem:
            raise QuantizerError(f"check_quantizer: {type(quantizer).__name__}: {problem} (seed={seed})")


def _copy(quantizer, dtype=np.float64, generators=()):
    """Copy a quantiser, but share its generators."""
    return copy.deepcopy(quantizer, {id(rng): rng for rng in generators}).astype(dtype)


def _of(quantizer, x):
    with no_grad():
        return quantizer(Tensor(x)).data


def _kept(quantizer, x):
    for dtype in (np.float32, np.float64):
        for given in (x.astype(dtype), np.asfortranarray(x.astype(dtype))):
            for training in (True, False):
                before = given.copy()
                tensor = Tensor(given, requires_grad=True)
                y = _copy(quantizer, dtype).train(training)(tensor)
                if (y.dtype, y.shape) != (given.dtype, given.shape):
                    return f"{given.dtype} of shape {given.shape} became {y.dtype} of shape {y.shape}"
                y.backward(np.ones_like(given))
                if not np.array_equal(given, before):
                    return "it modified its input"
    return ""


def _values(quantizer, x):
    """Compare bits and scales with the values of two inputs: the scales define the groups that share levels."""
    bits, scales, channels = quantizer.known("bits"), quantizer.scales(x.shape), x.shape[-1]
    if bits == FLOAT:
        return ""
    ys = [_of(quantizer.eval(), given).reshape(-1, channels) for given in (x, 3 * x)]
    own = any(tensor.shape[-1:] == (channels,) for _, tensor in quantizer._tensors()) and channels > 1
    counts = {
        0: _most([np.concatenate(ys)], own),
        1: _most(ys, own),
        channels: _most(ys, True),
    }
    if counts[channels] > 2**bits:
        return f"bits is {bits}, but one scale has {counts[channels]} values"
    needed, used = min(n for n in counts if counts[n] <= 2**bits), counts.get(scales, counts[1])
    if used <= 2 ** (bits - 1):
        return f"bits is {bits}, but {used} values need {(used - 1).bit_length()}"
    if not (needed == scales or needed < channels and 1 < scales < channels):
        return f"scales({x.shape}) is {scales}, but the values need {needed}"
    return ""


def _most(ys, by_channel):
    """Return the largest count of different values that share a scale."""
    return max(len(np.unique(part)) for y in ys for part in (y.T if by_channel else [y]))


def _gradient(quantizer, x):
    quantizer.train()
    parameters = dict(quantizer.named_parameters())
    tensor = Tensor(x, requires_grad=True)
    quantizer(tensor).backward(np.ones_like(x))
    for name, leaf in {"the input": tensor, **parameters}.items():
        if leaf.grad is None or not np.isfinite(leaf.grad).all():
            return f"no finite gradient reaches {name}"
    penalty = quantizer.penalty()
    if penalty is not None and not (isinstance(penalty, Tensor) and penalty.shape == ()):
        return "penalty() must return a Tensor without axes, or None"
    for parameter in parameters.values():
        parameter.zero_grad()
        parameter.requires_grad = False
    quantizer(Tensor(x, requires_grad=True)).backward(np.ones_like(x))
    if any(parameter.grad is not None for parameter in parameters.values()):
        return "a frozen Parameter got a gradient"
    quantizer.eval()

    def function(x, *values):
        for path, value in zip(parameters, values):
            *above, name = path.split(".")
            owner = dict(quantizer.modules())[".".join(above)]
            setattr(owner, name, value)
        return quantizer(x)

    rows = np.sort(x.reshape(-1, x.shape[-1]), axis=0)
    few = rows[np.linspace(0, len(rows) - 1, 6).astype(int)]  # both ends: there a range has a gradient
    try:
        check_gradients(function, few, *(p.data for p in parameters.values()), against="surrogate")
    except ValueError as error:
        if "no smooth function behind it" not in str(error):
            raise
    return ""


def _projected(quantizer, x):
    weight = Tensor(x.copy())
    before = weight.data
    quantizer.project(weight)
    if weight.data is not before or not np.isfinite(before).all():
        return "project() must change the weight in place, and leave it finite"
    if not weight._changes[0] and not np.array_equal(before, x):
        return "project() changes the weight without a call of weight.changed()"
    return ""


def _draws(quantizer, x):
    held = [value for _, module in quantizer.modules() for value in vars(module).values()]
    generators = [value for value in held if isinstance(value, np.random.Generator)]
    one, other = (_of(_copy(quantizer, generators=generators).train(), x) for _ in range(2))
    if np.array_equal(one, other) != quantizer.known("deterministic"):
        return f"deterministic is {quantizer.known('deterministic')}, but training mode shows the opposite"
    state = quantizer.eval().state_dict()
    if not np.array_equal(_of(quantizer, x), _of(quantizer, x)):
        return "it draws in evaluation mode"
    if any(not np.array_equal(array, state[path]) for path, array in quantizer.state_dict().items()):
        return "its state changes in evaluation mode"
    return ""


def _tags(quantizer, x):
    quantizer.eval()
    for tag, holds in HOLDS.items():
        if quantizer.known(tag) and not holds(lambda x: _of(quantizer, x), x):
            return f"its tag states {tag}, but its values contradict it"
    return ""


def _others_change(q, x):
    moved = x.copy()
    moved[..., 1:] = moved[::-1, ..., 1:]
    return np.array_equal(q(x)[..., 0], q(moved)[..., 0])


def _rises_or_falls(q, x):
    change = np.diff(q(np.sort(x, axis=0)), axis=0).reshape(-1, x.shape[-1])
    return all((column >= 0).all() or (column <= 0).all() for column in change.T)


def _halves(q, w):
    stacked = np.concatenate([w, w], axis=-2)
    return np.allclose(q(stacked / 2), np.concatenate([q(w), q(w)], axis=-2) / 2, rtol=ROUNDING, atol=0)


def _same_size(q, w):
    return (np.ptp(np.abs(q(w)).reshape(-1, w.shape[-1]), axis=0) == 0).all()


HOLDS = {
    "samplewise": lambda q, x: np.array_equal(q(x)[1:], q(x[1:])),
    "by_channel": _others_change,
    "rising": _rises_or_falls,
    "keeps_levels": lambda q, x: np.isin(q(x), np.append(x, 0)).all(),
    "copywise": lambda q, x: np.array_equal(q(np.concatenate([x, x], -1)), np.concatenate([q(x), q(x)], -1)),
    "translates": lambda q, x: np.allclose(q(x + 0.5), q(x) + 0.5),
    "homogeneous": _halves,
    "two_valued": _same_size,
}


def _comes_back(quantizer, x):
    _of(quantizer.train(), x)  # so that the state differs from the initial state
    classes = {}
    describe(quantizer, Generators(), classes=classes)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "quantizer.npz"
        save_checkpoint(path, quantizer)
        twin = load_checkpoint(path, classes=classes.values()).model
    if not np.array_equal(_of(quantizer.eval(), x), _of(twin.eval(), x)):
        return "a checkpoint restores another function"
    return ""


def _on_gpu(quantizer, x):
    if not backend.gpu_available():
        return ""
    here, there = (_of(_copy(quantizer).to(at).eval(), backend.to_device(x, at)) for at in ("cpu", "gpu"))
    if backend.device_of(there) != "gpu":
        return "its values are not on the GPU, where the input is"
    if not np.allclose(here, backend.to_device(there, "cpu"), rtol=ROUNDING, atol=0):
        return "its values on the GPU differ from those on the CPU"
    return ""
