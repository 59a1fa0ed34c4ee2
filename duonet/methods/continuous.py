"""A clip whose window shrinks until it is a step, with true gradients throughout: Sakr et al."""

import math

from duonet import arguments, backend, exact
from duonet import functional as F
from duonet.methods.learned_range import LEAST, LearnedRange
from duonet.methods.shelf import listed
from duonet.schedule import time_of
from duonet.tensor import Function, Tensor


class Window(Function):
    """y = α clip(x/(mα) + ½, 0, 1).   dx = dy/m, dm = −dy x/m², dα = dy/2 inside the window; dα = dy above it."""

    @staticmethod
    def forward(ctx, x, m, alpha):
        z = x / (m * alpha) + x.dtype.type(0.5)
        ctx.kept = (z > 0) & (z < 1), z >= 1, x, m
        return alpha * z.clip(0, 1)

    @staticmethod
    def backward(ctx, dy):
        inside, above, x, m = ctx.kept
        dx = exact.select(inside, dy) / m
        return dx, -dx * exact.select(inside, x) / m, exact.select(inside, dy) / 2 + exact.select(above, dy)


class StepInWindow(Window):
    """y = α 1[x ≥ 0], with the gradients of the window around the step."""

    exact = False
    smooth = Window.forward

    @staticmethod
    def forward(ctx, x, m, alpha):
        Window.forward(ctx, x, m, alpha)
        return alpha * (x >= 0)


@listed(4, "continuous", "activations", "Sakr et al., True Gradient-Based Training of Deep Binary Networks, 2018")
class ContinuousBinary(LearnedRange):
    """Binary activations that start as a clip with a window that shrinks in training: y = clip(x/m + α/2, 0, α).

    Inside the window |x| < mα/2: dx = dy/m, dm = −Σ dy x/m², dα = Σ dy/2; above it dα = Σ dy. A penalty λ m²
    shrinks m, and the clip steepens towards the step α 1[x ≥ 0]. Evaluation always uses the step. From epoch
    `start`, training uses the step as well, with its true gradient: x and m get none, so the layers below stay as
    they are while the layers above continue. `in_turn` sets the times, from the input on.

    Parameters
    ----------
    width, height : number
        The first m and α. In use, both are at least 2^-10.
    decay : number
        λ.
    start : number, optional
        Time of the step in epochs; by default training never uses the step.
    hard : bool
        Whether training uses the step; kept up to date.

    Raises
    ------
    TypeError, ValueError
        If a number is out of bounds.

    Notes
    -----
    A step in place of the clip costs α²/12 in mean square, for inputs spread evenly over the window. The
    coordinate discrete gradient does the same to a loss: it replaces a step by its average over the window.

    References
    ----------
    Sakr et al., True Gradient-Based Training of Deep Binary Activated Neural Networks via Continuous Binarization,
    ICASSP 2018. We do not know its λ, starts and epochs; m = α = 1, λ = 0.01 and the times are ours.

    Examples
    --------
    >>> act = ContinuousBinary(width=0.5)
    >>> x = Tensor([-0.3, -0.1, 0.0, 0.1, 0.2, 0.3])
    >>> act(x).data
    array([0. , 0.3, 0.5, 0.7, 0.9, 1. ], dtype=float32)
    >>> act.eval()(x).data
    array([0., 0., 1., 1., 1., 1.], dtype=float32)
    """

    samplewise = by_channel = rising = True
    bits = 1

    def __init__(
        self,
        width: float = 1.0,
        height: float = 1.0,
        decay: float = 0.01,
        start: float | None = None,
        hard: bool = False,
    ):
        super().__init__()
        self.width = arguments.number("ContinuousBinary", "width", width, at_least=LEAST)
        self.height = arguments.number("ContinuousBinary", "height", height, at_least=LEAST)
        self.decay = arguments.number("ContinuousBinary", "decay", decay, at_least=0)
        if start is not None:
            start = arguments.number("ContinuousBinary", "start", start, at_least=0)
        self.start, self.hard = start, arguments.instance("ContinuousBinary", "hard", hard, bool)
        self._learn(m=self.width, alpha=self.height)

    def before_step(self, epochs: float) -> dict[str, float]:
        """Become the step at epoch `start`."""
        epochs = time_of(type(self).__name__, epochs)
        self.hard = epochs >= (math.inf if self.start is None else self.start)
        return {"hard": float(self.hard)}

    def forward(self, x: Tensor) -> Tensor:
        """Quantise an input of any shape to 0 and α, or clip it in training before `hard`; the shape stays."""
        m, alpha = (F.clip(number, LEAST, math.inf) for number in (self.m, self.alpha))
        if self.training and self.hard:
            return alpha * Tensor((x.data >= 0).astype(x.dtype))
        return (Window if self.training else StepInWindow).apply(x, m, alpha)

    def after_step(self) -> None:
        """Raise m and α to the least value in use: below it they would have no gradient."""
        for number in (self.m, self.alpha):
            backend.get_xp(number.data).maximum(number.data, LEAST, out=number.data)
            number.changed()

    def penalty(self) -> Tensor | None:
        """Return λ m²; None once training uses the step."""
        return None if self.hard else self.m * self.m * self.decay

    def _settings(self):
        return "" if self.start is None else f"a step from epoch {self.start:g}"
