"""Independent pieces of a study: settings in, a record out, in any order and any process.

A job trains one network in a folder of its own, where it can be stopped and resumed, and measures it. It returns
plain values; only the caller writes what the study keeps.
"""

import dataclasses
import json
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from duonet import data, functional, nn
from duonet.costs import summary
from duonet.experiments.crew import Crew, Task
from duonet.experiments.materials import build_network, load_splits
from duonet.experiments.real_network import take_statistics
from duonet.experiments.run_folder import COSTS, made_settings
from duonet.experiments.run_settings import RunSettings
from duonet.experiments.scoring import load_run
from duonet.experiments.study_file import JOB, MEASURED, check_shape
from duonet.experiments.training import train
from duonet.files import replacing
from duonet.mismatch import Mismatch, measure
from duonet.mismatch.objective import weighted_layers
from duonet.module import Module
from duonet.quant import Quantizer
from duonet.sources import shape_of
from duonet.text import tell
from duonet.train import TrainingDiverged


@dataclasses.dataclass(frozen=True)
class Measured:
    """How to measure the mismatch of a job's network, before and after training.

    Attributes
    ----------
    images, coordinates, layers, parts : int
        Numbers of first training images, more than the run trains on if need be; of weights in a layer; of layers,
        the nearest to the last staircase; of disjoint parts of the images.
    step : float
        ε of the coordinate discrete gradient.
    """

    images: int
    coordinates: int
    layers: int = 3
    parts: int = 6
    step: float = 0.1


@dataclasses.dataclass(frozen=True)
class Job:
    """One run of a study, as settings alone: it can be pickled and compared, and any process can do it.

    Attributes
    ----------
    name : str
        Name of its folder and its record; no two jobs of a study share it.
    run : RunSettings
    measured : Measured or None
        How to measure the mismatch; None measures nothing.
    """

    name: str
    run: RunSettings
    measured: Measured | None = None


def perform(job: Job, folder: str | Path) -> dict[str, Any]:
    """Make one job's run, or continue it, and return its record.

    Parameters
    ----------
    job : Job
    folder : str or Path
        The run's folder: a new folder, or the folder of the same job.

    Returns
    -------
    dict
        `validation` accuracy, and `test` accuracy or None; `cpu_seconds`, the processor's time for training (None
        for a continued run); the network's costs; `mismatch`, rows for each layer at the `start` and when
        `trained`. A run whose loss became infinite has `diverged`, a message, and a `validation` accuracy of 0.
    """
    folder, run = Path(folder), job.run.resolved()
    begun = (folder / "settings.toml").is_file()
    # At the start, a second network with the same weights is measured in place of the one to train.
    mismatch = {"start": _mismatch(job, None)} if job.measured else {}
    started = time.process_time()
    try:
        found = train(run, folder, resume=begun, progress=False)
    except TrainingDiverged as error:
        return {"diverged": str(error), "validation": 0.0}
    spent = None if begun else time.process_time() - started
    saved, about = load_run(folder, settings=run)
    model = saved.model
    if job.measured:
        mismatch["trained"] = _mismatch(job, model)
    record = {"validation": found["val_accuracy"], "test": found["test_accuracy"], "cpu_seconds": spent}
    return {**record, **_costs(model, tuple(about["in_shape"])), "mismatch": mismatch}


def _costs(model, shape):
    """Count the network's costs; `extra` counts its numbers besides weights, without running averages."""
    counted = summary(model, shape)
    learned = counted.parameters - counted.weights
    kept = sum(m.size for _, q in model.modules() if isinstance(q, Quantizer) for _, m in q.named_buffers())
    layers = [m for _, m in model.modules() if isinstance(m, (nn.Conv2d, nn.Linear)) and m.weight_quantizer]
    scales = sum(layer.weight_quantizer.scales(shape_of(layer)) for layer in layers)
    costs = {name: getattr(counted, name) for name in COSTS}
    return costs | {"operations": counted.total.operations, "mbit": counted.mbit, "extra": learned + kept + scales}


def _mismatch(job, model):
    """Measure the layers in front of the last staircases; if `model` is None, of a network before training."""
    wanted, run = job.measured, job.run.resolved()
    splits, more = load_splits(run), load_splits(dataclasses.replace(run, images=wanted.images)).train
    images = data.Normalize.of(splits.train.images)(more.images)
    if model is None:
        model = build_network(run, splits)
        take_statistics(model, images)
    found = measure(
        model.eval(), functional.softmax_cross_entropy, (images, more.labels),
        step=wanted.step, parts=wanted.parts, layers=before_staircases(model)[-wanted.layers :],
        coordinates=wanted.coordinates, rng=np.random.default_rng([job.run.seed, 13]),
    )  # fmt: skip
    rows = Mismatch(found.rows).to_dict()["layers"]
    return [
        {name: float(f"{v:.6g}") if isinstance(v, float) else v for name, v in row.items() if name != "note"}
        for row in rows
    ]


def before_staircases(model: Module) -> list[str]:
    """List the layers with weights that have a quantised activation behind them, in the order of the network.

    Parameters
    ----------
    model : Module

    Returns
    -------
    list of str

    Examples
    --------
    >>> from duonet.models import mlp
    >>> before_staircases(mlp("baseline", inputs=4, widths=(8, 8, 8), classes=3, rng=np.random.default_rng(0)))
    ['linear1', 'linear2', 'linear3']
    """
    paths = [path for path, _ in model.modules()]
    weights = {path for path, m in model.modules() if isinstance(m, (nn.Conv2d, nn.Linear))}
    of_weights = {id(m.weight_quantizer) for path, m in model.modules() if path in weights}
    steps = [p for p, m in model.modules() if isinstance(m, Quantizer) and id(m) not in of_weights]
    if not steps:
        return []
    last = paths.index(steps[-1])
    return [path for path in weighted_layers(model) if paths.index(path) < last]


def finish(
    jobs: Iterable[Job],
    out: str | Path,
    progress: bool = True,
    act: Callable[[Job, Path], dict[str, Any]] = perform,
    *,
    crew: Crew | None = None,
) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """Make all jobs that are not finished, and keep a record of each.

    Parameters
    ----------
    jobs : iterable of Job
    out : str or Path
        A folder with a folder for each run in `runs`, and a record of each finished job in `jobs`.
    progress : bool
        Print the name of each job that begins.
    act : callable
        Makes a job in a folder, and returns its record.
    crew : Crew, optional
        Shares the jobs; by default this process makes one after the other.

    Returns
    -------
    records : dict
        From the names of finished jobs to their records, with their settings, in the order of `jobs`.
    failed : dict
        From the names of failed jobs to their errors.

    Raises
    ------
    ValueError
        If a record is damaged, or belongs to a job with other settings.
    """
    out, jobs, crew = Path(out), list(jobs), crew or Crew()
    records = {job.name: found for job in jobs if (found := _kept(out, job)) is not None}
    waiting = {job.name: job for job in jobs if job.name not in records}
    failed = {}

    def tasks():
        for i, job in enumerate(jobs):
            if job.name in waiting:
                if progress and crew.alone:
                    tell(f"{i + 1} of {len(jobs)}: {job.name}")
                yield Task(job.name, act, (job,), out / "runs" / job.name)

    for (name, *_), found, error in crew.each(tasks(), "contest", len(records), progress):
        if error is not None:
            failed[name] = f"{type(error).__name__}: {error}"
            continue
        records[name] = found | _settings(waiting[name])
        _keep(_path(out, waiting[name]), records[name])
    return {job.name: records[job.name] for job in jobs if job.name in records}, failed


def _path(out, job):
    return out / "jobs" / f"{job.name}.json"


def _kept(out, job):
    path = _path(out, job)
    if not path.is_file():
        return None
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        settings, measured = record["settings"], record["measured"]
        found = Job(job.name, made_settings(path, settings), None if measured is None else Measured(**measured))
        if not isinstance(record["validation"], float) or not 0 <= record["validation"] <= 1:
            raise ValueError(f"validation cannot be {record['validation']!r:.60}")
        if "diverged" not in record:
            scored = {"test": float} if job.run.test else {}
            check_shape(record, JOB | scored | (MEASURED if job.measured else {}), "the record")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        why = str(error).removeprefix(f"{path} is damaged: ")
        raise ValueError(f"{path} is damaged: {why}; remove the file to do the job again") from None
    if found != dataclasses.replace(job, run=job.run.resolved()):
        raise ValueError(f"{path} belongs to a job with other settings")
    return record


def _settings(job):
    measured = None if job.measured is None else dataclasses.asdict(job.measured)
    return {"settings": dataclasses.asdict(job.run.resolved()), "measured": measured}


def _keep(path, found):
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as part:
        part.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
