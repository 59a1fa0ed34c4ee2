"""Training in stages: each quantiser begins at its own time, as in Bi-Real Net or from bottom to top."""

from duonet import arguments, nn
from duonet.backend import Array
from duonet.methods.continuous import ContinuousBinary
from duonet.methods.plain import sign_polynomial
from duonet.methods.shelf import listed
from duonet.methods.weight_signs import BiRealWeights
from duonet.module import Module, join
from duonet.quant import Quantizer
from duonet.schedule import time_of
from duonet.tensor import Tensor


def _of_quantizer(tag):
    def said(self: "Later") -> object:
        return self.quantizer.known(tag)

    return property(said)


class Later(Quantizer):
    """A quantiser that begins at a set time: in training y = before(x) until the time, and y = q(x) after it.

    In evaluation y = q(x) at all times. Bits and tags are q's, `two_valued` once it has begun. `begun` is saved.

    Parameters
    ----------
    quantizer : Quantizer
        The quantiser q.
    start : number
        Its time in epochs, by the clock of `fit`.
    before : Module, optional
        A float layer, such as `nn.Clip(-1, 1)`; y = x by default.
    cut : bool
        Whether q lets no gradient through in training. The layers below are then frozen: a parameter without a
        gradient does not move.
    begun : bool

    Examples
    --------
    >>> later = Later(sign_polynomial(), start=2, before=nn.Clip(-1, 1))
    >>> later(Tensor([-3.0, 0.5])).data
    array([-1. ,  0.5], dtype=float32)
    >>> later.before_step(2)
    {'begun': 1.0}
    >>> later(Tensor([-3.0, 0.5])).data
    array([-1.,  1.], dtype=float32)
    """

    samplewise, by_channel, rising = map(_of_quantizer, ("samplewise", "by_channel", "rising"))
    bits, deterministic, in_training = map(_of_quantizer, ("bits", "deterministic", "in_training"))
    homogeneous = _of_quantizer("homogeneous")

    def __init__(
        self,
        quantizer: Quantizer,
        start: float,
        before: Module | None = None,
        cut: bool = False,
        begun: bool = False,
    ):
        super().__init__()
        self.quantizer = arguments.instance("Later", "quantizer", quantizer, Quantizer)
        self.start = arguments.number("Later", "start", start, at_least=0)
        self.before = None if before is None else arguments.instance("Later", "before", before, Module)
        self.cut = arguments.instance("Later", "cut", cut, bool)
        self.begun = arguments.instance("Later", "begun", begun, bool)

    @property
    def waiting(self) -> bool:
        """Whether another layer still stands in for the quantiser."""
        return self.training and not self.begun

    @property
    def two_valued(self) -> bool:  # type: ignore[override]
        """The quantiser's tag once it has begun."""
        return not self.waiting and self.quantizer.known("two_valued")

    def before_step(self, epochs: float) -> dict[str, float]:
        """Begin at epoch `start`."""
        self.begun = time_of(type(self).__name__, epochs) >= self.start
        return {"begun": float(self.begun)}

    def forward(self, x: Tensor) -> Tensor:
        """Quantise an input of any shape that the quantiser takes; the shape stays."""
        if self.waiting:
            return x if self.before is None else self.before(x)
        return self.quantizer(x.detach() if self.cut and self.training else x)

    def begin(self, weight: Array) -> None:
        """Start the quantiser's learned numbers from a layer's first weights."""
        self.quantizer.begin(weight)

    def project(self, weight: Tensor) -> None:
        """Project as the quantiser does, once it has begun."""
        if self.begun:
            self.quantizer.project(weight)

    def scales(self, shape: tuple[int, ...]) -> int:
        """Return the quantiser's count of scales."""
        return self.quantizer.scales(shape)

    def _settings(self):
        return f"from epoch {self.start:g}" + (", cut" if self.cut else "")


def bottom_to_top(model: Module, epochs: float) -> Module:
    """Turn a network's activations into staircases one after the other, the lowest first; layers below freeze.

    In each phase the layers below the newest staircase are quantised and stay as they are. The layers above learn
    with float activations, clipped to the range of the levels. So no gradient passes a staircase, and there is no
    gradient mismatch; but the lower layers learn for float activations above them.

    Parameters
    ----------
    model : Module
        With n activations of staircases. Changed in place: each is put into a `Later`; activation i of n begins at
        i · epochs / (n + 1).
    epochs : number
        Epochs of the whole training.

    Returns
    -------
    Module
        The model.

    Raises
    ------
    ValueError
        If there is no such activation, or it is trained in stages already.

    References
    ----------
    Lin, Talathi, Overcoming Challenges in Fixed Point Training of Deep Convolutional Networks, 2016, its third
    proposal. The lengths of the phases are ours.

    Examples
    --------
    >>> bottom_to_top(nn.Sequential(sign_polynomial(), sign_polynomial()), epochs=30)
    Sequential()
      0: Later(from epoch 10, cut)
        quantizer: QuantActivation(Sign(), Polynomial())
        before: Clip(-1.0, 1.0)
      1: Later(from epoch 20, cut)
        quantizer: QuantActivation(Sign(), Polynomial())
        before: Clip(-1.0, 1.0)
    """
    epochs = arguments.number("bottom_to_top", "epochs", epochs, above=0)
    _put_off("bottom_to_top", model, epochs, cut=True)
    return in_turn(model, epochs)


def in_turn(model: Module, epochs: float) -> Module:
    """Set the times of the activations that freeze the layers below: one after the other, from the input.

    Parameters
    ----------
    model : Module
        With n layers `ContinuousBinary`, or `Later` with `cut`. Changed in place: number i begins at
        i · epochs / (n + 1). Other layers stay as they are.
    epochs : number
        Epochs of the whole training.

    Returns
    -------
    Module
        The model.

    Examples
    --------
    >>> in_turn(nn.Sequential(ContinuousBinary(), nn.ReLU(), ContinuousBinary()), 30)
    Sequential()
      0: ContinuousBinary(a step from epoch 10)
      1: ReLU()
      2: ContinuousBinary(a step from epoch 20)
    """
    epochs = arguments.number("in_turn", "epochs", epochs, above=0)
    modules = arguments.instance("in_turn", "model", model, Module).modules()
    layers = [m for _, m in modules if isinstance(m, ContinuousBinary) or (isinstance(m, Later) and m.cut)]
    for i, layer in enumerate(layers, 1):
        layer.start = i * epochs / (len(layers) + 1)
    return model


def bi_real_stages(model: Module, epochs: float) -> Module:
    """Train float, then with binary activations, then with binary weights as well, each for a third of the epochs.

    Parameters
    ----------
    model : Module
        With activations of staircases. Changed in place: each activation is put into a `Later` behind a clip to
        the range of its levels, and each quantiser of weights into a `Later` as well.
    epochs : number
        Epochs of the whole training.

    Returns
    -------
    Module
        The model.

    Raises
    ------
    ValueError
        If there is no such activation, or it is trained in stages already.

    References
    ----------
    Liu et al., Bi-Real Net, ECCV 2018, section 3.3; the folders of liuzechun/Bi-Real-net give the order. We do not
    know how long a stage takes there. After the last stage the authors do what `renew_statistics` does.

    Examples
    --------
    >>> bi_real_stages(nn.Sequential(sign_polynomial()), epochs=30)
    Sequential()
      0: Later(from epoch 10)
        quantizer: QuantActivation(Sign(), Polynomial())
        before: Clip(-1.0, 1.0)
    """
    epochs = arguments.number("bi_real_stages", "epochs", epochs, above=0)
    _put_off("bi_real_stages", model, epochs / 3)
    for _, layer in list(model.modules()):
        if (quantizer := vars(layer).get("weight_quantizer")) is not None:
            layer.weight_quantizer = Later(quantizer, 2 * epochs / 3)
    return model


def settled(model: Module) -> Module:
    """Replace every `Later` by its quantiser, after the training.

    Parameters
    ----------
    model : Module
        Changed in place.

    Returns
    -------
    Module
        The model, which can now be folded, decoupled and packed like any other.

    Raises
    ------
    ValueError
        If a quantiser has not begun; the message names it, and nothing is changed.

    Examples
    --------
    >>> settled(nn.Sequential(Later(sign_polynomial(), 3, begun=True)))
    Sequential()
      0: QuantActivation(Sign(), Polynomial())
    """
    places = _places("settled", model, Later)
    for path, _, name, child in places:
        if not child.begun:
            raise ValueError(f"settled: {join(path, name)} begins at epoch {child.start:g}, and has not begun")
    for _, module, name, child in places:
        setattr(module, name, child.quantizer)
    return model


def _places(owner, model, kind):
    """List (path of the parent, parent, name, child) of the children of a class, the lowest first."""
    return [
        (path, module, name, child)
        for path, module in arguments.instance(owner, "model", model, Module).modules()
        for name, child in module.children()
        if isinstance(child, kind)
    ]


def _put_off(owner, model, start, **more):
    """Put each activation that is a staircase into a `Later`, behind a clip to the range of its levels."""
    if _places(owner, model, Later):
        raise ValueError(f"{owner}: the model is trained in stages already")
    if not (places := _places(owner, model, nn.QuantActivation)):
        raise ValueError(f"{owner}: the model has no activation that is a staircase")
    for _, parent, name, activation in places:
        levels = activation.staircase.levels
        clip = nn.Clip(float(levels[0]), float(levels[-1]))
        setattr(parent, name, Later(activation, start, clip, **more))


@listed(13, "bi-real-staged", "activations", "Liu et al., Bi-Real Net, ECCV 2018")
def bi_real_staged(epochs: float = 30) -> Later:
    """Make Bi-Real Net's sign, a clip in the first third of a training; `bi_real_stages` changes a whole network.

    Parameters
    ----------
    epochs : number
        Epochs of the whole training.

    Returns
    -------
    Later

    Examples
    --------
    >>> bi_real_staged(60).start
    20.0
    """
    epochs = arguments.number("bi_real_staged", "epochs", epochs, above=0)
    return Later(sign_polynomial(), epochs / 3, nn.Clip(-1, 1))


@listed(13, "bi-real-staged-weights", "weights", "Liu et al., Bi-Real Net, ECCV 2018")
def bi_real_staged_weights(epochs: float = 30) -> Later:
    """Make Bi-Real Net's weights, float in the first two thirds of a training.

    Parameters
    ----------
    epochs : number
        Epochs of the whole training.

    Returns
    -------
    Later

    Examples
    --------
    >>> bi_real_staged_weights(60).start
    40.0
    """
    epochs = arguments.number("bi_real_staged_weights", "epochs", epochs, above=0)
    return Later(BiRealWeights(), 2 * epochs / 3)


@listed(19, "bottom-to-top", "activations", "Lin, Talathi, Overcoming Challenges in Fixed Point Training, 2016")
def frozen_below(epochs: float = 30) -> Later:
    """Make an activation that is a clip in half of a training, and then a sign that freezes the layers below.

    `in_turn` spreads the times of several activations; `bottom_to_top` changes a whole network.

    Parameters
    ----------
    epochs : number
        Epochs of the whole training.

    Returns
    -------
    Later

    Examples
    --------
    >>> frozen_below(60)
    Later(from epoch 30, cut)
      quantizer: QuantActivation(Sign(), Polynomial())
      before: Clip(-1, 1)
    """
    epochs = arguments.number("frozen_below", "epochs", epochs, above=0)
    return Later(sign_polynomial(), epochs / 2, nn.Clip(-1, 1), cut=True)
