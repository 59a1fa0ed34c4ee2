"""One training run in a folder of its own, which can be stopped at any moment and resumed to the last bit."""

import contextlib
import dataclasses
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from duonet import data, parallel
from duonet.backend import Array
from duonet.checkpoint import save_checkpoint
from duonet.costs import summary
from duonet.experiments import own
from duonet.experiments.difference import decoupling_difference
from duonet.experiments.environment import versions
from duonet.experiments.fields import BadSetting, settings_of
from duonet.experiments.materials import build_network, checked, make_loader
from duonet.experiments.methods import METHODS
from duonet.experiments.opening import check_resumed, opened, saved_settings, write_settings
from duonet.experiments.run_folder import (
    COSTS,
    check_about,
    check_agreement,
    check_network,
    check_progress,
    writing,
)
from duonet.experiments.run_settings import RunSettings
from duonet.experiments.scoring import BEST, describe_input, digest, load_run
from duonet.files import replacing
from duonet.history import History
from duonet.module import Module
from duonet.stopping import early_stop
from duonet.team import Team, World
from duonet.text import tell
from duonet.train import evaluate, fit

__all__ = ["saved_settings", "train"]

LAST, FIRST = "last.npz", "first_stage.npz"

DATA = ("data_sha256", "class_names")  # the content of the images, wherever they lie


@parallel.threads()
def train(
    settings: RunSettings,
    out: str | Path,
    resume: bool = False,
    on_epoch: Callable[[list[dict[str, Any]]], object] | None = None,
    progress: bool = True,
    prepare: Callable[[Module, Array], None] | None = None,
    label: str | None = None,
    world: World | None = None,
) -> dict[str, Any]:
    """Train one network, in two stages if the method has two.

    Parameters
    ----------
    settings : RunSettings
    out : str or Path
        A new folder or, with `resume`, the folder of a run. The run writes these files, each whole: settings.toml;
        last.npz, to resume from; best.npz, the network of the epoch that `settings.select` chooses: the best
        validation accuracy, the earliest of equals, or the last epoch; first_stage.npz, the same for the first
        stage; history.csv; and at the end result.json.
    resume : bool
        Continue the run in `out`. It ends with the same bits as a run that was never stopped.
    on_epoch : callable, optional
        Called with the rows of the history after every epoch.
    progress : bool
        Show progress.
    prepare : callable, optional
        Called with the new network and the normalised training images before the first epoch.
    label : str, optional
        Name of the run in the display of progress, if it is one of several; the method by default.
    world : World, optional
        The processes that train together; each calls this function. Only the first reads and writes the folder.

    Returns
    -------
    dict
        The content of result.json. Each network that is a result is scored once on the test images: the selected
        epoch's, and for BinaryDuo also the coupled network and its decoupled form.

    Raises
    ------
    FileExistsError
        If `out` exists, is not empty, and `resume` is not set.
    RunInUse
        If another process is training there.
    CannotWrite
        If the disk is full, or the folder cannot be written to; all earlier files are whole.
    ValueError
        If there is nothing to resume, or settings or data differ from the run's; the message names the
        differences. Data are compared by content: they may lie elsewhere now, under another name.
    TrainingDiverged
        If the loss or a parameter becomes infinite or NaN.
    RuntimeError
        If `device` is "gpu" and there is no GPU.

    Examples
    --------
    >>> settings = RunSettings("mlp", "fashion-mini", epochs=4)
    >>> train(settings, "runs/a")["test_accuracy"]  # doctest: +SKIP
    """
    world = World() if world is None else world
    out, settings = Path(out), world.agreed(settings.resolved)
    if resume:
        world.share(lambda: check_resumed(out, settings))
    splits, team = world.agreed(lambda: (checked(settings), _team(settings, world)))
    with contextlib.ExitStack() as stack:
        world.share(lambda: stack.enter_context(opened(out, resume)))
        run = _Run(settings, splits, out, on_epoch, progress, prepare, label, team)
        run.take_up()
        world.share(lambda: write_settings(out, settings, resume))
        return run.run()


def _team(settings, world):
    if world.size > 1 and settings.device != "cpu":
        raise BadSetting("train", "device", f"must be cpu for several processes, got {settings.device}")
    with settings_of("train", {"shards": "shards"}):
        return Team(settings.shards, batch_norm=settings.batch_norm, compress=settings.compress, world=world)


class _Run:
    """The state of one run: its data, its folder and the rows of all its epochs."""

    def __init__(self, settings, splits, out, on_epoch, progress, prepare, label, team):
        self.settings, self.splits, self.out = settings, splits, out
        self.on_epoch, self.prepare, self.label = on_epoch, prepare, label
        self.world, self.progress = team.world, progress and team.rank == 0
        divided = settings.shards > 1 or settings.compress is not None
        self.team = team if divided else None  # an undivided batch takes the ordinary way
        self.method = METHODS[settings.method]
        self.normalize = data.Normalize.of(splits.train.images)
        self.stages = settings.stages()
        self.stop = None if settings.early_stop is None else early_stop(settings.early_stop, "val_accuracy")
        self.earlier = []  # rows of the stage before this one
        self.about = {
            "settings": dataclasses.asdict(settings),
            **describe_input(splits, self.normalize),
            "data_sha256": digest(splits[:3]),
            "place": None if settings.dataset in data.NAMES else os.path.realpath(settings.dataset),
        }
        self.saved = None
        self.world.agreed(self._check_images)

    def _check_images(self):
        if self.world.gather(self.about["data_sha256"])[0] != self.about["data_sha256"]:
            raise ValueError(
                f"process {self.world.rank} has other images in {self.settings.dataset} than the first process"
            )

    def take_up(self):
        """Load the last checkpoint in the folder, if it is whole and belongs to this run and these images."""
        self.saved = self.world.share(self._last)

    def _last(self):
        path = self.out / LAST
        if not path.exists():
            return None
        self.saved = own.load(path, self.settings.device)
        about = self.saved.about
        if not isinstance(about, dict) or any(about.get(k) != self.about[k] for k in DATA):
            raise ValueError(f"{self.out} was started with other images than those of {self.settings.dataset}")
        check_about(path, about)
        check_agreement(path, about, self.settings)
        check_progress(path, self.saved, [epochs for epochs, _, _ in self.stages], self.stop)
        check_network(path, self.saved.model, about, self.settings.device)
        return self.saved

    def run(self):
        """Train the remaining epochs, and return the result."""
        started = time.perf_counter()
        if self.progress and self.label is None and not (self.out / "result.json").exists():
            tell(f"stop at any moment; continue with: duonet train --resume {self.out}")
        saved = self.saved
        at = 0 if saved is None else saved.about["stage"] - 1
        for i in range(at, len(self.stages)):
            self._stage(i, saved)
            saved = None
        return self._finish(time.perf_counter() - started)

    def _stage(self, i, saved):
        """Train stage `i` from the start, or from a checkpoint within it."""
        epochs, lr, schedule = self.stages[i]
        if saved is None:
            model = self._first_network() if i == 0 else self._second_network()
            optimizer = self.settings.make_optimizer(model.parameters(), lr)
            rng, history = np.random.default_rng([self.settings.seed, i + 1]), History()
        else:
            model, optimizer, history = saved.model, saved.optimizer, saved.history
            rng, self.earlier = saved.generators["loader"], saved.about["earlier"]
        best = self.out / (BEST if i == len(self.stages) - 1 else FIRST)

        def keep(history):
            if self.world.rank:
                return None  # the first process decides
            about = self.about | {"stage": i + 1, "earlier": self.earlier}
            accuracies = history["val_accuracy"]
            # The selected network first: a run killed between the files repeats this epoch, and writes both again.
            if self.settings.select == "last" or accuracies.index(max(accuracies)) == len(accuracies) - 1:
                self._save(best, model, history=history, about=about)
            self._save(
                self.out / LAST, model, optimizer=optimizer, schedule=schedule, generators={"loader": rng},
                history=history, about=about,
            )  # fmt: skip
            self._report(i, history)
            return self._stopped(history)

        if not self._stopped(history):
            fit(
                model, self._loader(self.splits.train, rng), optimizer, epochs, schedule=schedule,
                validation=self._loader(self.splits.validation), history=history, team=self.team, on_epoch=keep,
                label=self._label(i), progress=self.progress, clip=self.settings.clip,
            )  # fmt: skip
        if self.world.rank == 0:
            self._report(i, history)
        self.earlier = self._rows(i, history)

    def _stopped(self, history):
        return self.stop is not None and len(history) > 0 and self.stop(history)

    def _label(self, i):
        label = self.label or self.settings.method
        return f"{label}, stage {i + 1}" if len(self.stages) > 1 else label

    def _first_network(self):
        model = build_network(self.settings, self.splits)
        if self.prepare is not None:
            self.prepare(model, self.normalize(self.splits.train.images))
        return model

    def _second_network(self):
        """Make the second stage's network from the selected network of the first stage."""
        return self.method.second(self._load(FIRST, "cpu")).train().to(self.settings.device)

    def _loader(self, dataset, rng=None):
        return make_loader(self.settings, dataset, self.normalize, rng)

    def _rows(self, i, history):
        return self.earlier + [{"stage": i + 1, **row} for row in history.rows]

    def _report(self, i, history):
        rows = self._rows(i, history)
        with writing(self.out / "history.csv"):
            History(rows).save(self.out / "history.csv")
        if self.on_epoch is not None:
            self.on_epoch(rows)

    def _save(self, path, model, **what):
        with writing(path):
            save_checkpoint(path, model, **what)

    def _finish(self, seconds):
        stage = [row for row in self.earlier if row["stage"] == len(self.stages)]
        last = self.settings.select == "last"
        chosen = stage[-1] if last else max(stage, key=lambda row: row["val_accuracy"])
        networks = self._score() if self.settings.test else []
        result = {
            "settings": dataclasses.asdict(self.settings),
            "test_accuracy": networks[-1]["accuracy"] if networks else None,
            "test_loss": networks[-1]["loss"] if networks else None,
            "best_epoch": chosen["epoch"],
            "val_accuracy": chosen["val_accuracy"],
            "networks": networks,
            "training_seconds": sum(row["seconds"] for row in self.earlier),
            "seconds_since_resumed": seconds,
            "versions": versions(),
        }
        if networks and self.method.on_the_way:
            result["decoupling"] = decoupling_difference(
                self._load(FIRST), self._second_network(), self.splits.test, self._loader
            )
        self.world.share(lambda: self._write(result))
        return result

    def _write(self, result):
        with writing(self.out / "result.json"), replacing(self.out / "result.json") as part:
            part.write_text(json.dumps(result, indent=1) + "\n")

    def _score(self):
        """Score every network that is a result on the test images."""
        made = [str(sum(row["stage"] == i + 1 for row in self.earlier)) for i in range(len(self.stages))]
        named = []
        if self.method.on_the_way:
            coupled, decoupled = self.method.on_the_way
            named = [
                (coupled, made[0], self._load(FIRST), 1),
                (decoupled, made[0], self._second_network(), None),
            ]
        named.append((self.settings.method, " + ".join(made), self._load(BEST), len(self.stages)))
        rows = []
        for name, epochs, model, stage in named:
            score = evaluate(model, self._loader(self.splits.test), team=self.team)
            curve = [row["val_accuracy"] for row in self.earlier if row["stage"] == stage]
            counted = summary(model, self.splits.train.images.shape[1:])
            costs = {key: getattr(counted, key) for key in COSTS}
            rows.append({"name": name, "epochs": epochs, **score._asdict(), "validation": curve, **costs})
        return rows

    def _load(self, name, device=None):
        def load():
            return load_run(self.out / name, device or self.settings.device, self.settings)[0].model

        return self.world.share(load).eval()
