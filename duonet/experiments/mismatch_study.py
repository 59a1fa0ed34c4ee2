"""The paper's study of gradient mismatch: precision against surrogate, in a toy problem and on real images.

Every cosine is computed on disjoint parts of the samples and corrected for noise (`duonet.mismatch.statistics`).
Without the correction, noise alone makes a small step, or a layer near the input, look like mismatch.
"""

import dataclasses
import functools
from pathlib import Path
from typing import Any

import numpy as np

from duonet import arguments, functional, parallel
from duonet.experiments import own, real_network
from duonet.experiments.crew import Crew
from duonet.experiments.fields import BadSetting, asked_by, check_fields, settings_of
from duonet.experiments.records import Part, Records, record, unheard
from duonet.experiments.run_folder import locked
from duonet.experiments.toy import ACTIVATIONS, REFERENCE_STEP, SURROGATES, WIDTH, Lesson, area, with_surrogate
from duonet.mismatch import Mismatch, coarse_gradient, coordinate_gradient, measure, sample_coordinates, yin
from duonet.mismatch.objective import cut

# Number of weights to measure in a layer where all would take long: the fast form needs few distinct rows.
SAMPLED = {"float": 48, "4 bits": 128, "3 bits": 256}
LEAST = {
    "seeds": 1, "width": 2, "parts": 3, "training_steps": 1, "network_epochs": 2, "network_images": 128,
    "measured_images": 4 * real_network.PARTS, "coordinates": 2,
}  # fmt: skip
TRUTH_PARTS = 20  # more than elsewhere: here the intervals themselves are put to the test
ANGLES = tuple(np.pi * k / 10 for k in range(1, 10))


@dataclasses.dataclass(frozen=True)
class MismatchSettings:
    """How much to measure.

    Attributes
    ----------
    seeds : int
        Number of runs, with seeds 0, 1, ...; each has its own teacher, student, data and networks.
    width : int
        Width of the toy networks' input and hidden layers.
    steps : tuple of float
        ε of the coordinate discrete gradient.
    samples : int
        Toy samples for one measurement.
    parts : int
        Disjoint parts that the samples are cut into.
    training_steps : int
        Training steps of the toy student, which is measured before and after them.
    network_images, network_epochs : int
        Images and epochs that train `compare`'s network.
    network_steps : tuple of float
        ε for that network.
    measured_images : int
        Images for one measurement of that network.
    coordinates : int
        Number of weights to measure in each layer of that network.
    directions : tuple of float
        Numbers of directions of evolution strategies, as multiples of the number of weights.
    activations, surrogate : str
        One more precision, and one more surrogate for binary activations, in the toy problem; names as in
        `RunSettings`.

    Raises
    ------
    BadSetting
        If a setting is wrong; a ValueError that names the setting, the expected and the given value.

    Examples
    --------
    >>> MismatchSettings(steps=(0.5,))
    Traceback (most recent call last):
        ...
    duonet.experiments.fields.BadSetting: mismatch: steps must hold 0.1, got (0.5,)
    """

    seeds: int = 2
    width: int = WIDTH
    steps: tuple = (0.01, 0.1, 0.5)
    samples: int = 5_000
    parts: int = 5
    training_steps: int = 100
    network_images: int = 1000
    network_epochs: int = 6
    network_steps: tuple = (0.1,)
    measured_images: int = 600
    coordinates: int = 24
    directions: tuple = (1,)
    activations: str | None = None
    surrogate: str | None = None

    def __post_init__(self):
        check_fields("mismatch", self, LEAST, {})
        with settings_of("mismatch", {"samples": "samples"}):
            arguments.integer("mismatch", "samples", self.samples, at_least=100 * self.parts)
        if self.measured_images > self.network_images:
            problem = f"must be at most the {self.network_images} training images, got {self.measured_images}"
            raise BadSetting("mismatch", "measured_images", problem)
        if REFERENCE_STEP not in self.steps:
            raise BadSetting("mismatch", "steps", f"must hold {REFERENCE_STEP}, got {self.steps}")


FULL = MismatchSettings(
    seeds=5,
    steps=(0.01, 0.03, 0.1, 0.3, 0.5),
    samples=24_000,
    parts=10,
    network_images=4000,
    measured_images=4000,
    coordinates=48,
    directions=(0.25, 1),
)


@parallel.threads()
def mismatch(
    settings: MismatchSettings, out: str | Path, progress: bool = True, crew: Crew | None = None
) -> dict[str, Any]:
    """Run the study and write a folder of results.

    Parameters
    ----------
    settings : MismatchSettings
    out : str or Path
        A new folder, or a folder of the same study, which continues with its missing parts.
    progress : bool
        Show a bar for each part in a terminal; elsewhere print a line when a part begins.
    crew : Crew, optional
        Processes that share the parts; in results.json only seconds and memory depend on it. By default this
        process does one part after the other.

    Returns
    -------
    dict
        The content of results.json. If a crew shared the parts, `failed` has the error of each failed part; the
        other parts are finished.

    Raises
    ------
    FileExistsError
        If `out` holds something else.
    ValueError
        If `out` holds a study with other settings.
    RunInUse
        If another process works in `out`.

    Examples
    --------
    >>> results = mismatch(MismatchSettings(seeds=1), "runs/mismatch")  # doctest: +SKIP
    """
    with asked_by("mismatch", {"images": "network_images", "epochs": "network_epochs"}):
        real_network.check_images(settings)
    records = Records(settings, out, {"areas": _areas(settings)}, parts(settings), progress)
    with locked(records.out), crew or Crew() as crew:
        return records.measure(crew, progress)


def parts(settings: MismatchSettings) -> list[Part]:
    """List the independent pieces of the study, in the order of their rows in the results.

    Parameters
    ----------
    settings : MismatchSettings

    Returns
    -------
    list of Part

    Examples
    --------
    >>> some = parts(MismatchSettings(seeds=1))
    >>> len(some), some[1].name, some[1].where
    (15, 'seed 0: toy, float', {'kind': 'toy', 'activation': 'float', 'seed': 0})
    """
    seeds = range(settings.seeds)
    found = [part for seed in seeds for part in _toy_parts(settings, seed)]
    return found + [part for seed in seeds for part in real_network.parts(settings, seed)]


def _toy_parts(settings, seed):
    """List the pieces that measure small networks with one seed."""
    rows = [("ground truth", {"kind": "truth"}, functools.partial(_ground_truth, settings, seed))]
    rows += [
        (f"toy, {name}", {"kind": "toy", "activation": name}, functools.partial(_toy, settings, seed, name))
        for name in _precisions(settings)
    ]
    rows += [("evolution strategies", {"kind": "evolution"}, functools.partial(_evolution, settings, seed))]
    return [Part(f"seed {seed}: {name}", where | {"seed": seed}, work) for name, where, work in rows]


def _ground_truth(settings, seed, tick=unheard):
    """Measure the two-layer network whose cosines are known, at several angles."""
    rows = []
    rng = np.random.default_rng([seed, 10])
    v, v_star = rng.uniform(0.5, 1.5, (2, 8))
    for theta in ANGLES:
        w_star, w = np.eye(10)[0], np.cos(theta) * np.eye(10)[0] + np.sin(theta) * np.eye(10)[1]
        z = rng.standard_normal((settings.samples, 8, 10))
        batch = z.reshape(-1, 8, 1, 10), ((z @ w_star >= 0) @ v_star)[:, None]
        smoothed = _population_gradient(v, w, v_star, w_star, REFERENCE_STEP)
        pieces = cut(batch, TRUTH_PARTS)
        measured = [
            coordinate_gradient(yin.step_network(v, w), yin.half_squared_error, piece, REFERENCE_STEP, ["w"])
            for piece in pieces
        ]
        for name in yin.SURROGATES:
            model = yin.step_network(v, w, name)
            coarse = [coarse_gradient(model, yin.half_squared_error, piece, ["w"]) for piece in pieces]
            row = Mismatch.between(coarse, measured)["w"]
            expected = yin.expected_coarse_gradient(name, v, w, v_star, w_star)
            exact = expected @ smoothed / np.linalg.norm(expected) / np.linalg.norm(smoothed)
            rows.append(record("truth", row, seed=seed, theta=theta, surrogate=name, exact=float(exact)))
        tick(1 / len(ANGLES))
    return rows


def _population_gradient(v, w, v_star, w_star, step):
    """Compute the coordinate discrete gradient of the population loss, in closed form."""
    losses = [
        [yin.population_loss(v, w + sign * step * e, v_star, w_star) for sign in (1, -1)] for e in np.eye(len(w))
    ]
    return np.array([up - down for up, down in losses]) / (2 * step)


def _toy(settings, seed, activation, tick=unheard):
    """Measure a student of one precision before and after training, a binary one with every surrogate."""
    rows = []
    lesson = Lesson(seed, settings.width)
    pieces = cut(lesson.batch(settings.samples), settings.parts)
    share = 1 / (2 * len(settings.steps))
    student = lesson.student(activation)
    for state in ("start", "trained"):
        error = None
        if state == "trained":
            student, error = lesson.train(student, settings.training_steps)
        rng = np.random.default_rng([seed, 11])
        chosen = sample_coordinates(student, SAMPLED.get(activation), rng)
        models = {"clip": student}
        if activation == "binary":
            models |= {
                name: with_surrogate(student, surrogate) for name, surrogate in _surrogates(settings).items()
            }
        coarse = {
            name: [coarse_gradient(model, functional.mse_loss, piece) for piece in pieces]
            for name, model in models.items()
        }
        for step in settings.steps:
            smoothed = [
                coordinate_gradient(student, functional.mse_loss, piece, step, coordinates=chosen)
                for piece in pieces
            ]
            for name in models:
                where = {"activation": activation, "surrogate": name, "state": state, "step": step, "error": error}
                found = Mismatch.between(coarse[name], smoothed, rng).rows
                rows += [record("toy", row, seed=seed, **where) for row in found]
            tick(share)
    return rows


def _evolution(settings, seed, tick=unheard):
    """Measure one layer of the binary student with every estimator, at the same samples and number of losses.

    σ is either the coordinate step, in every weight at once, or so small that the whole step has that length.
    """
    rows = []
    lesson = Lesson(seed, settings.width)
    batch = lesson.batch(settings.samples // 4, stream=1)
    student = lesson.student("binary")
    size = student.linear2.weight.size
    common = {"layers": ["linear2"], "parts": settings.parts}

    def add(name, losses, step, **options):
        row = measure(student, functional.mse_loss, batch, step=step, **common, **options)["linear2"]
        rows.append(record("evolution", row, seed=seed, estimator=name, losses=losses, step=step))

    add("coordinate", 2 * size, REFERENCE_STEP)
    for multiple in settings.directions:
        directions = int(multiple * size)
        for step in (REFERENCE_STEP, REFERENCE_STEP / size**0.5):
            for kind in ("gaussian", "orthogonal"):
                rng = np.random.default_rng([seed, 12])
                options = {"samples": directions, "directions": kind, "rng": rng, "estimator": "evolution"}
                add(kind, 2 * directions, step, **options)
                tick(0.25 / len(settings.directions))
    return rows


def _precisions(settings):
    """Return the staircase and the surrogate of each precision by name; None for float."""
    name = settings.activations
    return ACTIVATIONS | ({} if name is None else {name: own.pair("mismatch", name)})


def _surrogates(settings):
    """Return the surrogates for binary activations by name."""
    name = settings.surrogate
    return SURROGATES | ({} if name is None else {name: own.surrogate("mismatch", name)})


def _areas(settings):
    """List the indirect measure, the area between staircase and surrogate; None where it is infinite."""
    binary = ACTIVATIONS["binary"][0]
    pairs = [("binary", name, binary, surrogate) for name, surrogate in _surrogates(settings).items()]
    pairs += [
        (name, "clip", *pair)
        for name, pair in _precisions(settings).items()
        if pair and name not in ("binary", "sign")
    ]
    rows = []
    for activation, name, staircase, surrogate in pairs:
        value = area(staircase, surrogate)
        rows.append({"activation": activation, "surrogate": name, "area": value if np.isfinite(value) else None})
    return rows
