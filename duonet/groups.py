"""Parameter groups of an optimiser: a rate and a weight decay for each parameter."""

import fnmatch
from collections.abc import Iterable, Iterator, Mapping, Set
from typing import Any, Protocol

from duonet import arguments
from duonet.tensor import Parameter


class HasParameters(Protocol):
    """The input of `by_path`, such as a Module."""

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """Yield (path, Parameter)."""


def by_path(
    model: HasParameters, *, rates: dict[str, float] | None = None, decays: dict[str, float] | None = None
) -> dict[str, Any]:
    """Choose rates and weight decays by the paths of parameters, as arguments of an optimiser.

    Parameters
    ----------
    model : Module
        The optimiser is to update its `parameters()`.
    rates, decays : dict, optional
        From a pattern, such as ``"*.gamma"``, to the factor on the learning rate or to the weight decay of the
        parameters whose paths match; if several patterns match, the first counts.

    Returns
    -------
    dict
        `rates` and `decays`, a number for each parameter.

    Raises
    ------
    TypeError, ValueError
        If a number is not finite or negative, or a pattern matches no path; the message lists the paths.

    Examples
    --------
    >>> from duonet import methods, nn, optim
    >>> model = nn.Sequential({"norm": nn.BatchNorm(2), "act": methods.PACT()})
    >>> chosen = by_path(model, rates={"*.alpha": 0.1}, decays={"norm.*": 0})
    >>> chosen
    {'rates': (1.0, 1.0, 0.1), 'decays': (0, 0, None)}
    >>> optimizer = optim.SGD(model.parameters(), 0.1, weight_decay=1e-4, **chosen)
    """
    paths = [path for path, _ in model.named_parameters()]
    return {"rates": _chosen("rates", rates, paths, 1.0), "decays": _chosen("decays", decays, paths, None)}


def _chosen(name, patterns, paths, otherwise):
    chosen = dict.fromkeys(paths, otherwise)
    patterns = {} if patterns is None else arguments.instance("by_path", name, patterns, dict)
    for pattern, value in reversed(patterns.items()):
        arguments.instance("by_path", f"each pattern of {name}", pattern, str)
        if not (fits := fnmatch.filter(paths, pattern)):
            raise ValueError(f"by_path: {name}: {pattern!r} fits none of the parameters {', '.join(paths)}")
        chosen |= dict.fromkeys(fits, arguments.number("by_path", f"{name}[{pattern!r}]", value, at_least=0))
    return tuple(chosen.values())


def of_each(
    owner: str, name: str, values: Iterable[float | None] | None, count: int, otherwise: float | None
) -> tuple[float | None, ...]:
    """Return a number for each parameter.

    Parameters
    ----------
    owner, name : str
        The optimiser and the argument, for messages.
    values : iterable of number or None, optional
    count : int
        The number of parameters.
    otherwise : number or None
        The number in place of None.

    Returns
    -------
    tuple

    Raises
    ------
    TypeError, ValueError
        If there are not as many numbers as parameters, or a number is not finite or negative.

    Examples
    --------
    >>> of_each("SGD", "rates", None, 2, 1.0), of_each("SGD", "rates", [0.5, None], 2, 1.0)
    ((1.0, 1.0), (0.5, 1.0))
    """
    if values is None:
        return (otherwise,) * count
    ordered = isinstance(values, Iterable) and not isinstance(values, (Mapping, Set))
    if not ordered or len(values := tuple(values)) != count:
        got = len(values) if isinstance(values, tuple) else f"{values!r:.60}"
        raise ValueError(f"{owner}: {name} must hold a number for each of the {count} parameters, got {got}")
    return tuple(
        otherwise if value is None else arguments.number(owner, f"{name}[{i}]", value, at_least=0)
        for i, value in enumerate(values)
    )
