"""Every method of the shelf against the binary baseline, all else equal, and the gradient mismatch of each.

A contest has two rounds of independent jobs. The first trains each method at each learning rate; accuracy on
validation images chooses the method's rate, and the best methods. The second round has other seeds, and scores its
networks on the test images, once.
"""

import dataclasses
import statistics
from pathlib import Path
from typing import Any

from duonet import arguments, parallel
from duonet.experiments.contestants import OURS, Contestant, chosen
from duonet.experiments.crew import Crew
from duonet.experiments.fields import asked_by, check_fields, settings_of
from duonet.experiments.jobs import Job, Measured, finish
from duonet.experiments.materials import checked, load_splits, try_network
from duonet.experiments.recipes import COMPARED
from duonet.experiments.run_folder import locked
from duonet.experiments.run_settings import RunSettings
from duonet.experiments.studies import Study
from duonet.models.common import WEIGHTS

COUNTED = ("weights", "parameters", "macs", "operations", "mbit", "extra", "weight_bits", "activation_bits")


@dataclasses.dataclass(frozen=True)
class ContestSettings:
    """What all methods have in common; None stands for the model's recipe.

    Attributes
    ----------
    model : str
        A key of `COMPARED`.
    weights : {"float", "binary"}
        With float weights, methods for activations are compared; with binary ones, methods for weights.
    rates : tuple of float
        Learning rates to try with every method; a second stage starts at a quarter of the rate.
    tuning_seeds, seeds, best_seeds : int
        Number of seeds in the first round; in the second; in the second for the best methods, BinaryDuo, its
        architecture from scratch and the baseline. No seed is in both rounds.
    best : int
        Number of methods that count as the best after the first round.
    epochs, images, validation_images, width : int or None
        Epochs of all stages together; numbers of images; width of the first layer.
    measured_seeds, measured_images, coordinates, layers : int
        Size of the mismatch measurement: seeds of the second round, 0 for none; first training images, more than a
        run trains on if need be; weights of each layer; layers, the nearest to the last staircase.
    device : {"cpu", "gpu"}

    Raises
    ------
    BadSetting
        If a setting is wrong; a ValueError that names the setting, the expected and the given value.

    Examples
    --------
    >>> ContestSettings(rates=(0.02, 0.01))
    Traceback (most recent call last):
        ...
    duonet.experiments.fields.BadSetting: contest: rates must be different and in rising order, got (0.02, 0.01)
    """

    model: str = "vgg_deep"
    weights: str = "float"
    rates: tuple = (0.004, 0.008, 0.016, 0.032)
    tuning_seeds: int = 2
    seeds: int = 3
    best_seeds: int = 5
    best: int = 6
    epochs: int | None = None
    images: int | None = None
    validation_images: int | None = None
    width: int | None = None
    measured_seeds: int = 2
    measured_images: int = 3000
    coordinates: int = 48
    layers: int = 3
    device: str = "cpu"

    def __post_init__(self):
        with settings_of("contest", {"model": "model"}):
            arguments.one_of("contest", "model", self.model, COMPARED)
        least = {
            "images": 2 * COMPARED[self.model]["batch_size"], "epochs": 2, "width": 2, "validation_images": 1,
            "tuning_seeds": 1, "seeds": 1, "best_seeds": self.seeds, "best": 0, "measured_seeds": 0,
            "measured_images": 24, "coordinates": 2, "layers": 1,
        }  # fmt: skip
        check_fields("contest", self, least, {"weights": WEIGHTS})
        with settings_of("contest", {"rates": "rates"}):
            rates = list(self.rates)
            if not rates or rates != sorted(rates) or len({f"{rate:g}" for rate in rates}) < len(rates):
                raise ValueError(f"contest: rates must be different and in rising order, got {self.rates}")

    def run(self, row: Contestant, rate: float, seed: int, test: bool) -> RunSettings:
        """Make the settings of one run."""
        names = ("epochs", "images", "validation_images", "width", "device")
        given = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        recipe = COMPARED[self.model] | given
        recipe |= {"lr": rate, "finetune_lr": rate / 4, "finetune_epochs": max(1, round(recipe["epochs"] / 3))}
        return RunSettings(self.model, "fashion-mini", seed=seed, test=test, **recipe, **row.settings).resolved()

    def measured(self, seed: int) -> Measured | None:
        """Return how to measure the mismatch with this seed of the second round; None measures nothing."""
        if seed >= self.tuning_seeds + self.measured_seeds:
            return None
        return Measured(self.measured_images, self.coordinates, self.layers)


def first_round(settings: ContestSettings, rows: list[Contestant]) -> list[Job]:
    """List the jobs that choose the learning rates; they use no test images.

    Parameters
    ----------
    settings : ContestSettings
    rows : list of Contestant

    Returns
    -------
    list of Job

    Examples
    --------
    >>> rows = chosen("float", ("pact",))
    >>> [job.name for job in first_round(ContestSettings(rates=(0.01,), tuning_seeds=1), rows)]
    ['tune-baseline-0.01-0', 'tune-pact-0.01-0']
    """
    return [
        Job(f"tune-{row.name}-{rate:g}-{seed}", settings.run(row, rate, seed, test=False))
        for seed in range(settings.tuning_seeds)
        for rate in settings.rates
        for row in rows
    ]


def second_round(settings: ContestSettings, rows: list[Contestant], rates: dict[str, dict]) -> list[Job]:
    """List the jobs that are scored on the test images: seed after seed, so that methods take turns.

    Parameters
    ----------
    settings : ContestSettings
    rows : list of Contestant
    rates : dict
        The result of `tuned`.

    Returns
    -------
    list of Job
    """
    ranked = sorted(rates, key=lambda name: -max(rates[name]["means"]))
    longer = {*ranked[: settings.best], *OURS}
    jobs, first = [], settings.tuning_seeds
    for i in range(settings.best_seeds):
        for row in rows:
            if row.name in rates and (i < settings.seeds or row.name in longer):
                run = settings.run(row, rates[row.name]["rate"], first + i, test=True)
                jobs.append(Job(f"test-{row.name}-{first + i}", run, settings.measured(first + i)))
    return jobs


def tuned(settings: ContestSettings, rows: list[Contestant], records: dict[str, dict]) -> dict[str, dict]:
    """Choose the learning rate of each method by its mean validation accuracy, the smallest of equally good rates.

    Parameters
    ----------
    settings : ContestSettings
    rows : list of Contestant
    records : dict
        Records of the first round's finished jobs, by name.

    Returns
    -------
    dict
        For each method whose jobs are all finished: `rate`, `means` by rate, and `diverged`, a number of runs.
    """
    found = {}
    for row in rows:
        names = [
            [f"tune-{row.name}-{rate:g}-{seed}" for seed in range(settings.tuning_seeds)]
            for rate in settings.rates
        ]
        if not all(name in records for at in names for name in at):
            continue
        runs = [[records[name] for name in at] for at in names]
        means = [statistics.mean(run["validation"] for run in at) for at in runs]
        lost = sum("diverged" in run for at in runs for run in at)
        found[row.name] = {"rate": settings.rates[means.index(max(means))], "means": means, "diverged": lost}
    return found


@parallel.threads()
def contest(
    settings: ContestSettings,
    out: str | Path,
    names: tuple[str, ...] = (),
    progress: bool = True,
    crew: Crew | None = None,
) -> dict[str, Any]:
    """Compare methods of the shelf, or continue a contest, and write a folder of results.

    Parameters
    ----------
    settings : ContestSettings
    out : str or Path
        A new folder, or the folder of a contest with the same settings and any methods; its finished jobs stay. It
        gets a folder for each run, a record of each job, and results.json.
    names : tuple of str
        Methods to compare with the baseline; all by default.
    progress : bool
        Show progress.
    crew : Crew, optional
        Processes that share the jobs; no accuracy depends on it. By default this process makes them in turn.

    Returns
    -------
    dict
        The content of results.json. `left_out` has the reason for each method that the model cannot take, and
        `failed` the error of each failed job; the other jobs are finished.

    Raises
    ------
    FileExistsError
        If `out` holds something else.
    ValueError
        If a name is unknown, or `out` holds a contest with other settings.
    RunInUse, RuntimeError
        If another process works in `out`; if `device` is "gpu" and there is no GPU.

    Examples
    --------
    >>> results = contest(ContestSettings(model="mlp"), "runs/pact", ("pact",))  # doctest: +SKIP
    """
    rows = chosen(settings.weights, names)
    with asked_by("contest", {}):
        run = settings.run(rows[0], settings.rates[0], 0, True)
        splits = checked(run)
    with asked_by("contest", {"images": "measured_images"}):
        load_splits(dataclasses.replace(run, images=settings.measured_images))
    left_out = {}
    for row in rows[1:]:
        try:
            try_network(settings.run(row, settings.rates[0], 0, False), splits)
        except ValueError as error:  # some methods take layers of one kind alone
            left_out[row.name] = str(error)
    rows = [row for row in rows if row.name not in left_out]
    as_saved = {k: list(v) if isinstance(v, tuple) else v for k, v in dataclasses.asdict(settings).items()}
    fresh: dict[str, Any] = {"names": list(names), "rates": {}, "methods": {}, "failed": {}, "left_out": left_out}
    study = Study("contest", out, as_saved, fresh, progress=progress)
    with locked(study.out), crew or Crew() as crew:
        return _both_rounds(settings, rows, study, progress, crew)


def _both_rounds(settings, rows, study, progress, crew):
    records, failed = finish(first_round(settings, rows), study.out, progress, crew=crew)
    rates = tuned(settings, rows, records)
    study.values |= {"rates": rates, "failed": failed}
    study.save()
    jobs = second_round(settings, rows, rates)
    records, later = finish(jobs, study.out, progress, crew=crew)
    study.values["failed"] = failed | later
    for row in rows:
        if mine := [records[job.name] for job in jobs if job.name in records and _is_of(job, row)]:
            study.values["methods"][row.name] = _merged(row, mine)
    if study.values["failed"]:
        study.save()
        return study.values
    return study.finish()


def _is_of(job, row):
    return job.name.rpartition("-")[0] == f"test-{row.name}"


def _merged(row, records):
    """Put the seeds of one method side by side."""
    good = [record for record in records if "diverged" not in record]
    return {
        "label": row.label,
        "reference": row.reference,
        "seeds": [record["settings"]["seed"] for record in good],
        "accuracy": [record["test"] for record in good],
        "validation": [record["validation"] for record in good],
        "cpu_seconds": [record["cpu_seconds"] for record in good],
        "diverged": len(records) - len(good),
        "mismatch": [{"seed": r["settings"]["seed"], **r["mismatch"]} for r in good if r["measured"]],
        **{name: good[0][name] for name in COUNTED if good},
    }
