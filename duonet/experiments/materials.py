"""The parts of a run, images, batches and network, and a check that they fit together."""

import dataclasses
from typing import Any, cast

import numpy as np

from duonet import backend, data, models, sources
from duonet.experiments import own
from duonet.experiments.fields import BadSetting, check_device, settings_of
from duonet.experiments.methods import METHODS
from duonet.experiments.run_settings import RunSettings
from duonet.methods import find, in_turn
from duonet.models.common import WEIGHTS
from duonet.module import Module
from duonet.nn import QuantActivation
from duonet.quant import Quantizer
from duonet.tensor import Tensor
from duonet.watching import watch

SCORED_AT_ONCE = 250  # images
LOADED = {"name": "dataset", "folder": "data", "size": "size", "grey": "grey"}  # arguments of data.load


def checked(settings: RunSettings) -> data.Splits:
    """Load the images of a run, and refuse a run that cannot be trained here, before anything is written.

    Parameters
    ----------
    settings : RunSettings
        Resolved.

    Returns
    -------
    duonet.data.Splits

    Raises
    ------
    ValueError
        If there are fewer images than the settings need, or the network does not take them.
    RuntimeError
        If `device` is "gpu" and there is no GPU.

    Examples
    --------
    >>> splits = checked(RunSettings("mlp", "fashion-mini", images=640).resolved())  # doctest: +SKIP
    """
    check_device("train", settings.device)
    if settings.tf32:
        backend.allow_tf32()  # before anything is computed
    splits = load_splits(settings)
    height, width = splits.train.images.shape[1:3]
    most = max(type(settings).padding, height, width)
    for name, value in (("padding", settings.padding), ("cutout", settings.cutout)):
        if value > most:
            problem = f"must be at most {most} for images of {height}×{width}, got {value}"
            raise BadSetting("train", name, problem)
    try_network(settings, splits)
    normalize = data.Normalize.of(splits.train.images)
    for dataset, rng in ((splits.train, np.random.default_rng(0)), (splits.validation, None), (splits.test, None)):
        make_loader(settings, dataset, normalize, rng)
    return splits


def make_loader(
    settings: RunSettings, dataset: data.Dataset, normalize: data.Normalize, rng: np.random.Generator | None = None
) -> data.DataLoader:
    """Make the batches of a data set: with `rng` shuffled and augmented, to train on; else in order, to score.

    Parameters
    ----------
    settings : RunSettings
        Resolved.
    dataset : duonet.data.Dataset
    normalize : duonet.data.Normalize
    rng : numpy.random.Generator, optional

    Returns
    -------
    duonet.data.DataLoader
    """
    if rng is None:
        return data.DataLoader(dataset, SCORED_AT_ONCE, normalize, device=settings.device)
    augment, batch_size = settings.augment(), cast(int, settings.batch_size)  # of resolved settings
    return data.DataLoader(dataset, batch_size, normalize, rng=rng, augment=augment, device=settings.device)


def load_splits(settings: RunSettings) -> data.Splits:
    """Load the images that a run with these settings uses.

    Parameters
    ----------
    settings : RunSettings

    Returns
    -------
    duonet.data.Splits

    Raises
    ------
    ValueError
        If there are fewer images than the settings need.
    """
    size = None if settings.size is None else (settings.size, settings.size)
    with settings_of("train", LOADED):
        splits = data.load(settings.dataset, settings.data, size, settings.grey)
    for part, name in (("train", "images"), ("validation", "validation_images")):
        wanted, there = getattr(settings, name), len(getattr(splits, part).labels)
        if wanted is None:
            continue
        if wanted > there:
            raise BadSetting("train", name, f"must be at most the {there} of {settings.dataset}, got {wanted}")
        splits = splits._replace(**{part: getattr(splits, part).take(wanted)})
    return splits


def take_from_shelf(model: Module, settings: RunSettings) -> None:
    """Put methods of the shelf into a network, in place of its quantised activations and weight quantisers.

    Parameters
    ----------
    model : Module
    settings : RunSettings

    Raises
    ------
    BadSetting
        If the network has none, or the method does not come in that number of bits.
    """
    rng = np.random.default_rng([settings.seed, 0, 1])  # methods that draw get other numbers than the weights
    for kind, bits in (("activations", settings.activation_bits), ("weights", settings.weight_bits)):
        name = getattr(settings, kind)
        if name is None or name in WEIGHTS:
            continue
        entry = own.entry("train", kind, name) if own.is_own(name) else find(name)
        layers = [layer for _, layer in model.modules() if getattr(layer, "weight_quantizer", None) is not None]
        places: list[Any] = _activations(model) if kind == "activations" else layers
        if not places:
            raise BadSetting("train", kind, f"{name} has no place in the {settings.method} network")
        for place in places:
            try:
                quantizer = entry.make(rng, settings.epochs, bits)
            except BadSetting:
                raise
            except ValueError as error:
                raise BadSetting("train", f"{kind[:-1]}_bits", f": {error}") from None
            if kind == "activations":
                parent, child = place
                setattr(parent, child, quantizer)
                continue
            try:
                sources.give(place, quantizer, None if entry.latent is None else entry.latent())
            except ValueError as error:
                raise BadSetting("train", kind, f": {name}: {error}") from None
    if settings.surrogate is not None:
        _give_surrogate(model, settings, own.surrogate("train", settings.surrogate))
    if settings.epochs is not None:
        in_turn(model, settings.epochs)


def _give_surrogate(model, settings, surrogate):
    """Put another surrogate into every activation that is a plain staircase."""
    places = [place for place in _activations(model) if type(getattr(*place)) is QuantActivation]
    if not places:
        where = f"has no place in the {settings.method} network"
        raise BadSetting("train", "surrogate", f"{settings.surrogate} {where}: no activation is a staircase")
    for parent, name in places:
        setattr(parent, name, QuantActivation(getattr(parent, name).staircase, surrogate))


def _activations(model):
    children = [(module, *child) for _, module in model.modules() for child in module.children()]
    return [(module, name) for module, name, child in children if isinstance(child, QuantActivation)]


def try_network(settings: RunSettings, splits: data.Splits) -> None:
    """Build the networks of both stages, to find out whether that is possible.

    Parameters
    ----------
    settings : RunSettings
    splits : duonet.data.Splits

    Raises
    ------
    ValueError
        If the model has no place for a method, or its network cannot be decoupled.
    """
    model, second = build_network(settings, splits), METHODS[settings.method].second
    named = [name for name in own.SETTINGS if own.is_own(getattr(settings, name))]
    for name in named:
        _check_kept(model, name, getattr(settings, name))
        others = [other for other in named if other != name]  # which may fail too
        bits = [f"{other[:-1]}_bits" for other in others if other != "surrogate"]
        less: dict[str, Any] = dict.fromkeys(others + bits)
        alone = dataclasses.replace(settings, **less)
        _check_works(build_network(alone, splits), splits, name, getattr(settings, name))
    if second is not None:
        second(model.eval())


def _check_kept(model, setting, name):
    """Refuse a network that no checkpoint could rebuild, before an epoch has been trained."""
    try:
        problem = own.ambiguous(model)
    except (ValueError, TypeError, AttributeError) as error:
        problem = str(error)
    if problem:
        raise BadSetting("train", setting, f"is {name}, which no file can rebuild: {problem}")


def _check_works(model, splits, setting, name):
    """Refuse a user's class that fails on two images, forward or backward, before an epoch has been trained."""
    images = data.Normalize.of(splits.train.images)(splits.train.images[:2])
    images = Tensor(backend.to_device(images, backend.device_of(model.parameters()[0].data)))
    try:
        with watch(model, _check_output):
            for training in (False, True):
                model.train(training)(images).sum().backward()
    except Exception as error:  # of any kind: the class is the user's
        what = f"{type(error).__name__}: {error}"
        raise BadSetting("train", setting, f"is {name}, which fails on images: {what:.300}") from error


def _check_output(path, module, inputs, output):
    if type(module).__module__.split(".")[0] == "duonet" or not isinstance(module, Quantizer):
        return
    shape = inputs[0].shape
    if not isinstance(output, Tensor) or output.shape != shape:
        got = f"a Tensor of shape {output.shape}" if isinstance(output, Tensor) else type(output).__name__
        raise TypeError(f"{path} must return a Tensor of shape {shape}, as its input, got {got}")


def build_network(settings: RunSettings, splits: data.Splits) -> Module:
    """Build the network that the first stage trains.

    Parameters
    ----------
    settings : RunSettings
    splits : duonet.data.Splits

    Returns
    -------
    Module
        On the settings' device.

    Raises
    ------
    BadSetting
        If a setting does not fit the model or the images.
    """
    method = METHODS[settings.method]
    variant = cast(str, method.variant)  # of a method that can be trained
    place = "dataset" if settings.size is None else "size"
    with settings_of("train", {"shortcut": "shortcut", "widths": "width", "in_shape": place}):
        model = models.build(
            settings.model, variant, splits.train.images.shape[1:], len(splits.class_names),
            rng=np.random.default_rng([settings.seed, 0]), width=settings.width, shortcut=settings.shortcut,
            weights=settings.weights if settings.weights in (None, *WEIGHTS) else "binary",
        )  # fmt: skip
    take_from_shelf(model, settings)
    if method.begin is not None:
        model = method.begin(model, np.random.default_rng([settings.seed, 0]))
    return model.to(settings.device)
