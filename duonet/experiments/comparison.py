"""The paper's comparison on real images: binary baseline, coupled, decoupled and fine-tuned, and the controls.

A comparison is a list of training runs and a table. Every method gets the same images, the same number of epochs
in all and at most the baseline's weights. Test images are used once, after training; they choose nothing.
"""

import dataclasses
import statistics
from pathlib import Path
from typing import Any

from duonet import arguments, parallel
from duonet.experiments.crew import Crew
from duonet.experiments.fields import asked_by, check_fields, settings_of
from duonet.experiments.materials import checked
from duonet.experiments.methods import METHODS
from duonet.experiments.own import is_own
from duonet.experiments.recipes import COMPARED
from duonet.experiments.run_folder import COSTS, locked
from duonet.experiments.run_settings import RunSettings
from duonet.experiments.studies import Study, failure
from duonet.models.common import WEIGHTS
from duonet.text import aligned

USUAL = ("float", "baseline", "binaryduo", "control")
ABLATION = ("ternary", "restarted", "control_restarted")
THREE = ("binaryduo3", "control3")


@dataclasses.dataclass(frozen=True)
class CompareSettings:
    """What to compare; None stands for the model's recipe.

    Attributes
    ----------
    model : str
        A key of `COMPARED`.
    seeds : int
        Number of runs of each method, with seeds 0, 1, ...
    epochs, images, width : int or None
        Epochs of both stages together; number of training images; width of the baseline's first layer, to which
        the other layers keep their proportion.
    weights : str
        Weights of the quantised networks: "float", "binary" or `module:Name`; the float network has float weights.
    activations : str
        A method of the shelf, or `module:Name`, in place of the baseline's activations.
    surrogate : str
        Surrogate of all staircases, as in `RunSettings`.
    ablation : bool
        Train full-width ternary and restarted networks as well.
    three : bool
        Train 2-bit networks as well, decoupled into three copies, and the decoupled architecture from scratch.
    device : {"cpu", "gpu"}
    tf32 : bool
        Round the factors of the GPU's float32 products to TF32; see `duonet.backend.allow_tf32`.

    Raises
    ------
    BadSetting
        If a setting is wrong; a ValueError that names the setting, the expected and the given value.

    Examples
    --------
    >>> [name for name, run in CompareSettings(model="mlp").runs()]
    ['float-0', 'baseline-0', 'binaryduo-0', 'control-0']
    """

    model: str = "vgg_deep"
    seeds: int = 1
    epochs: int | None = None
    images: int | None = None
    width: int | None = None
    weights: str = "float"
    activations: str | None = None
    surrogate: str | None = None
    ablation: bool = False
    three: bool = False
    device: str = "cpu"
    tf32: bool = False

    def __post_init__(self):
        with settings_of("compare", {"model": "model"}):
            arguments.one_of("compare", "model", self.model, COMPARED)
        least = {"seeds": 1, "epochs": 2, "images": 2 * COMPARED[self.model]["batch_size"], "width": 2}
        check_fields("compare", self, least, {} if is_own(self.weights) else {"weights": WEIGHTS})
        with asked_by("compare", {}):
            self.runs()  # refuses all other wrong settings

    def runs(self) -> list[tuple[str, RunSettings]]:
        """List the runs, (name, RunSettings), in the order in which they are made."""
        given = {name: getattr(self, name) for name in ("epochs", "images", "width", "device", "tf32")}
        recipe = COMPARED[self.model] | {name: value for name, value in given.items() if value is not None}
        second = max(1, round(recipe["epochs"] / 3))  # about two thirds before decoupling, one third after
        return [
            (
                f"{method}-{seed}",
                RunSettings(
                    self.model, "fashion-mini", method, seed=seed, finetune_epochs=second,
                    weights="float" if method == "float" else self.weights,
                    activations=self.activations if method == "baseline" else None,
                    surrogate=None if method == "float" else self.surrogate, **recipe,
                ),
            )
            for seed in range(self.seeds)
            for method in USUAL + (ABLATION if self.ablation else ()) + (THREE if self.three else ())
        ]  # fmt: skip


@parallel.threads()
def compare(
    settings: CompareSettings, out: str | Path, progress: bool = True, crew: Crew | None = None
) -> dict[str, Any]:
    """Run the comparison, or continue it, and write a folder of results.

    Parameters
    ----------
    settings : CompareSettings
    out : str or Path
        A new folder, or a folder of the same comparison: finished runs are kept, and a stopped run continues. It
        gets a folder for each run, and results.json.
    progress : bool
        Show progress.
    crew : Crew, optional
        Processes that share the runs; in results.json only the seconds depend on it. By default this process makes
        one run after the other.

    Returns
    -------
    dict
        The content of results.json. If a crew shared the runs, `failed` has the error of each failed run by name;
        the other runs are finished.

    Raises
    ------
    FileExistsError
        If `out` holds something else.
    ValueError
        If `out` holds a comparison with other settings.
    RunInUse, RuntimeError
        If another process works in `out`; if `device` is "gpu" and there is no GPU.

    Examples
    --------
    >>> print(compare_table(compare(CompareSettings(model="mlp"), "runs/small")))  # doctest: +SKIP
    """
    runs = settings.runs()
    with asked_by("compare", {}):
        for _, run in runs[: len(runs) // settings.seeds]:
            checked(run.resolved())
    stages = next(run.resolved().stages() for _, run in runs if run.two_stages)
    fresh: dict[str, Any] = {"images": runs[0][1].images, "stages": [epochs for epochs, _, _ in stages]}
    fresh |= {"methods": {}, "decoupling": []}
    study = Study("compare", out, dataclasses.asdict(settings), fresh, progress=progress)
    with locked(study.out), crew or Crew() as crew:
        return _share(dict(runs), study, crew, progress)


def _share(runs, study, crew, progress):
    """Make the unfinished runs in any order, and keep all results in the order of the runs."""
    found = {name: study.finished(name, run) for name, run in runs.items()}
    tasks = [study.task(name, runs[name], progress and crew.alone) for name in runs if found[name] is None]
    failed: dict[str, str] = {}
    study.values |= {"methods": _rows(found), "decoupling": _differences(runs, found)}
    study.values.pop("failed", None)
    for task, result, error in crew.each(tasks, "compare", len(runs) - len(tasks), progress):
        if error is not None and crew.alone:
            raise error
        if error is not None:
            failed[task.name] = failure(runs[task.name], error)
            continue
        found[task.name] = result
        study.values |= {"methods": _rows(found), "decoupling": _differences(runs, found)}
        study.save()
    if failed:
        study.values["failed"] = failed
        study.save()
        return study.values
    return study.finish()


def _rows(found):
    """Put the networks of all finished runs into their methods' rows."""
    rows: dict[str, dict] = {}
    named = ((network, result) for result in found.values() if result for network in result["networks"])
    for network, result in named:
        own = result["settings"].get("activations")
        label = METHODS[network["name"]].label + (f", {own}" if own else "")
        row = rows.setdefault(
            network["name"],
            {"name": label, "epochs": network["epochs"], "accuracy": [], "loss": []}
            | {"validation": []} | {name: network[name] for name in COSTS},
        )  # fmt: skip
        for name in ("accuracy", "loss", "validation"):
            row[name].append(network[name])
        row["mean"] = statistics.mean(row["accuracy"])
        row["std"] = statistics.stdev(row["accuracy"]) if len(row["accuracy"]) > 1 else None
    return {name: rows[name] for name in METHODS if name in rows}


def _differences(runs, found):
    """List what decoupling changed in each run that decouples."""
    results = [(runs[name].seed, result) for name, result in found.items() if result]
    return [{"seed": seed, **result["decoupling"]} for seed, result in results if "decoupling" in result]


def compare_table(results: dict[str, Any]) -> str:
    """Lay the results out as an aligned table.

    Parameters
    ----------
    results : dict
        The result of `compare`, finished or not.

    Returns
    -------
    str
        Accuracies are means over the seeds ± their standard deviation.

    Examples
    --------
    >>> row = {"name": "float network", "mean": 0.875, "std": 0.01, "epochs": "12", "weights": 5000, "macs": 2e6}
    >>> print(compare_table({"methods": {"float": row | {"weight_bits": 32, "activation_bits": 32}}}))
    method         test accuracy %  epochs  weights  W bits  A bits    MACs
    -----------------------------------------------------------------------
    float network     87.50 ± 1.00      12    5,000   float   float  2.00 M
    """
    rows = [("method", "test accuracy %", "epochs", "weights", "W bits", "A bits", "MACs")]
    for row in results["methods"].values():
        accuracy = f"{100 * row['mean']:.2f}"
        if row["std"] is not None:
            accuracy += f" ± {100 * row['std']:.2f}"
        bits = ["float" if b == 32 else str(b) for b in (row["weight_bits"], row["activation_bits"])]
        rows.append(
            (row["name"], accuracy, row["epochs"], f"{row['weights']:,}", *bits, f"{row['macs'] / 1e6:.2f} M")
        )
    return aligned(rows)
