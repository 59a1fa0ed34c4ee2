import numpy as np
import pytest

from duonet import Tensor, data, evaluate, fit, nn, optim
from duonet import functional as F
from duonet.history import History
from duonet.quant import Binary, Clip
from duonet.train import TrainingDiverged


def striped(n=64, seed=0):
    """Images whose left or right half is bright, which is the label."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 2
    images = rng.integers(0, 60, (n, 4, 4, 1))
    for image, label in zip(images, labels):
        image[:, 2 * label : 2 * label + 2] += 150
    return data.Dataset(images.astype("uint8"), labels)


def setting(seed=0, lr=0.05, act=None, device="cpu"):
    rng = np.random.default_rng(seed)
    act = act or nn.QuantActivation(Binary(), Clip(0, 1))
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 8, rng=rng), nn.BatchNorm(8), act, nn.Linear(8, 2, rng=rng))
    model.to(device)
    loader = data.DataLoader(striped(), 16, data.Normalize.of(striped().images), rng=rng, device=device)
    return model, loader, optim.Adam(model.parameters(), lr)


def test_fit_learns_and_records_every_epoch(device):
    model, loader, optimizer = setting(device=device)
    held_out = data.DataLoader(striped(32, 1), 32, loader.normalize, device=device)
    seen = []
    history = fit(
        model,
        loader,
        optimizer,
        5,
        schedule=optim.Cosine(5),
        validation=held_out,
        on_epoch=lambda h: seen.append(len(h)),
        progress=False,
    )
    assert history["epoch"] == seen == [1, 2, 3, 4, 5]
    assert history["loss"][-1] < history["loss"][0]
    assert history["val_accuracy"][-1] == evaluate(model, held_out).accuracy == 1
    assert history["lr"][0] > history["lr"][-1] > 0
    assert set(history.rows[0]) == {"epoch", "lr", "loss", "accuracy", "seconds", "val_loss", "val_accuracy"}


def test_the_same_seed_trains_the_same_bits(device):
    states = []
    for _ in range(2):
        model, loader, optimizer = setting(device=device)
        fit(model, loader, optimizer, 2, progress=False)
        states.append(model.state_dict())
    assert all(np.array_equal(states[0][k], states[1][k]) for k in states[0])


def test_loss_and_accuracy_are_means_over_images_also_with_a_smaller_last_batch(device):
    model, loader, _ = setting(device=device)
    whole = data.DataLoader(loader.dataset, 64, loader.normalize, device=device)
    parts = data.DataLoader(loader.dataset, 24, loader.normalize, device=device)
    a, b = evaluate(model, whole), evaluate(model, parts)
    assert a.accuracy == b.accuracy and a.loss == pytest.approx(b.loss)
    logits = Tensor(model.eval()(Tensor(next(iter(whole))[0])).numpy())
    assert a.loss == pytest.approx(F.softmax_cross_entropy(logits, loader.dataset.labels).item())
    assert a.accuracy == (logits.data.argmax(1) == loader.dataset.labels).mean()


def test_evaluate_puts_the_mode_of_every_layer_back():
    model, loader, _ = setting()
    model[2].eval()
    evaluate(model, loader)
    assert [m.training for _, m in model.modules()] == [True, True, True, False, True, True]


def test_a_loader_without_batches_is_refused():
    model, loader, optimizer = setting()

    class Nothing:
        images = 0

        def __len__(self):
            return 0

        def __iter__(self):
            return iter(())

    with pytest.raises(ValueError, match="fit: the loader yields no images"):
        fit(model, Nothing(), optimizer, 1, progress=False)
    with pytest.raises(ValueError, match="evaluate: the loader yields no images"):
        evaluate(model, Nothing())


def test_evaluate_leaves_model_and_mode_alone():
    model, loader, _ = setting()
    before = model.state_dict()
    evaluate(model, loader)
    assert model.training
    assert all(np.array_equal(before[k], v) for k, v in model.state_dict().items())
    with pytest.raises(ValueError, match="evaluate: the loader yields no images"):
        evaluate(model, [])


def test_a_nan_loss_stops_and_names_the_step_and_the_layer(device, monkeypatch):
    monkeypatch.setattr("duonet.progress.REFRESH_SECONDS", 0)  # on a GPU the loss is read no more often than that
    model, loader, optimizer = setting(act=nn.ReLU(), device=device)

    class Poison(nn.Module):
        steps = 0

        def forward(self, x):
            self.steps += 1
            return x * (np.float32(np.nan) if self.steps > 6 else np.float32(1))

    setattr(model, "3", Poison())
    with pytest.raises(TrainingDiverged, match="not finite in epoch 2, step 3; .* the output of 3"):
        fit(model, loader, optimizer, 3, progress=False)


def test_a_parameter_that_became_nan_is_named_though_the_staircase_hides_it(device):
    model, loader, optimizer = setting(device=device)

    def loss(logits, labels):
        model[1].bias.data[0] = np.nan
        return F.softmax_cross_entropy(logits, labels)

    with (
        pytest.raises(TrainingDiverged, match="parameter 1.weight is not finite after epoch 1"),
        np.errstate(invalid="ignore"),
    ):
        fit(model, loader, optimizer, 1, loss=loss, progress=False)


def test_ctrl_c_leaves_the_last_finished_epochs_files_whole(tmp_path):
    model, loader, optimizer = setting()
    path = tmp_path / "history.csv"

    def stop_in_the_third_epoch(logits, labels):
        if optimizer.steps[0] == 2 * len(loader) + 1:
            raise KeyboardInterrupt
        return F.softmax_cross_entropy(logits, labels)

    with pytest.raises(KeyboardInterrupt):
        fit(
            model,
            loader,
            optimizer,
            5,
            loss=stop_in_the_third_epoch,
            on_epoch=lambda h: h.save(path),
            progress=False,
        )
    assert len(path.read_text().splitlines()) == 3 and list(tmp_path.iterdir()) == [path]


def test_history_is_saved_as_csv(tmp_path):
    history = History()
    history.append(epoch=1, loss=0.5)
    history.append(epoch=2, loss=0.25)
    history.save(tmp_path / "h.csv")
    assert (tmp_path / "h.csv").read_text().split() == ["epoch,loss", "1,0.5", "2,0.25"]


def test_without_a_terminal_every_epoch_prints_one_line(capsys):
    model, loader, optimizer = setting()
    fit(model, loader, optimizer, 2, label="toy", validation=loader)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 and lines[0].startswith("toy 1/2: loss ")
    assert "accuracy" in lines[1] and "validation" in lines[1] and "images/s" in lines[1]


def test_in_a_terminal_there_is_a_bar(capsys, monkeypatch, device):
    import sys

    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    model, loader, optimizer = setting(device=device)
    fit(model, loader, optimizer, 1, label="toy")
    captured = capsys.readouterr()
    assert "toy 1/1" in captured.err and "accuracy" in captured.err
    assert "toy 1/1: loss" in captured.out


class Batches(list):
    """Batches as they are, as a loader has them."""

    images = 8


def regression(labels):
    x = np.linspace(-1, 1, 24, dtype=np.float32).reshape(8, 3)
    model = nn.Sequential(nn.Linear(3, labels.shape[1], rng=np.random.default_rng(0)))
    return model, Batches([(x[:5], labels[:5]), (x[5:], labels[5:])]), optim.SGD(model.parameters(), 0.1)


@pytest.mark.parametrize("columns", [1, 2, 5])
def test_without_classes_there_is_no_accuracy(columns, capsys, tmp_path):
    labels = np.arange(8 * columns, dtype=np.float32).reshape(8, columns) / 40
    model, loader, optimizer = regression(labels)
    history = fit(model, loader, optimizer, 3, loss=F.mse_loss, validation=loader)
    assert set(history.rows[0]) == {"epoch", "lr", "loss", "seconds", "val_loss"}
    assert history["loss"][-1] < history["loss"][0]
    assert "accuracy" not in capsys.readouterr().out
    score = evaluate(model, loader, F.mse_loss)
    expected = ((model(Tensor(np.concatenate([x for x, _ in loader]))).data - labels) ** 2).mean()
    assert score.accuracy is None and score.loss == pytest.approx(expected, rel=1e-5)
    history.save(tmp_path / "h.csv")
    assert (tmp_path / "h.csv").read_text().splitlines()[0] == "epoch,lr,loss,seconds,val_loss"


def test_outputs_that_do_not_fit_the_labels_are_refused():
    model = nn.Sequential(nn.Linear(3, 2, rng=np.random.default_rng(0)))
    batch = (np.zeros((4, 3), np.float32), np.array([1]))
    with pytest.raises(ValueError, match=r"evaluate: the model returns \(4, 2\) for labels \(1,\)"):
        evaluate(model, [batch], lambda logits, labels: (logits * logits).mean())
    with pytest.raises(
        ValueError, match=r"evaluate: the loss must be one Tensor without axes, got shape \(4, 2\)"
    ):
        evaluate(model, [batch], lambda logits, labels: logits)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_an_input_that_is_not_finite_is_named_and_not_the_learning_rate(value, device):
    """Staircases turn it into a level, so the loss may never show it, but the gradients do."""
    model, loader, optimizer = setting(device=device)
    batches = Batches((x.copy(), labels) for x, labels in loader)
    batches[1][0][2, 1, 1, 0] = value
    with pytest.raises(ValueError, match="the input is not finite: .*image .* step .* in epoch 1") as error:
        fit(model, batches, optimizer, 2, progress=False)
    assert "learning rate" not in str(error.value)
    if device == "cpu":
        assert "image 2 of step 2" in str(error.value)
        assert all(np.isfinite(value).all() for value in model.state_dict().values()), "no weight is spoilt"
    with pytest.raises(ValueError, match="evaluate: the loader yields inputs that are not finite"):
        evaluate(model, batches)


def test_a_loss_that_is_infinite_before_any_step_is_not_the_learning_rates():
    model, loader, optimizer = setting()

    def endless(logits, labels):
        return F.softmax_cross_entropy(logits, labels) * np.float32(np.inf)

    with pytest.raises(
        TrainingDiverged, match="they arise in the loss. No step has been made yet, so it is not the"
    ):
        fit(model, loader, optimizer, 1, loss=endless, progress=False)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_label_that_is_not_finite_is_blamed_for_the_loss_it_spoils(bad):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(3, 4, 2)).astype("f"), rng.normal(size=(3, 4, 1)).astype("f")
    y[2, 1] = bad
    batches = Batches(zip(x, y))
    model = nn.Linear(2, 1, rng=rng)
    optimizer = optim.SGD(model.parameters(), 0.1)
    with pytest.raises(ValueError, match="the labels are not finite: label 1 of step 3 in epoch 1") as error:
        fit(model, batches, optimizer, 2, loss=F.mse_loss, progress=False)
    assert "learning rate" not in str(error.value)
    with pytest.raises(ValueError, match="evaluate: the loader yields labels that are not finite"):
        evaluate(model, batches, F.mse_loss)

    def known(y, labels):
        there = np.isfinite(labels)
        return F.mse_loss(y * there.astype("f"), np.where(there, labels, 0).astype("f"))

    assert np.isfinite(fit(model, batches, optimizer, 2, loss=known, progress=False)["loss"]).all()
    assert np.isfinite(evaluate(model, batches, known).loss), "a loss may pass over labels that are missing"


@pytest.mark.parametrize("name", ["running_mean", "running_var"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_running_averages_that_are_not_finite_stop_the_training(name, bad):
    model, loader, optimizer = setting()
    before = model.state_dict()
    getattr(model[2], name).data[1] = bad
    with pytest.raises(ValueError, match=f"fit: running average 2.{name} is not finite before the first step"):
        fit(model, loader, optimizer, 1, progress=False)
    model.load_state_dict(before)

    def loss(logits, labels):
        getattr(model[2], name).data[1] = bad
        return F.softmax_cross_entropy(logits, labels)

    with (
        pytest.raises(TrainingDiverged, match=f"running average 2.{name} is not finite after epoch 1"),
        np.errstate(all="ignore"),
    ):
        fit(model, loader, optimizer, 2, loss=loss, progress=False)


@pytest.mark.parametrize("end", [KeyboardInterrupt, RuntimeError, SystemExit])
@pytest.mark.parametrize("where", ["loss", "callback"])
def test_what_ends_the_training_carries_the_finished_epochs(end, where):
    model, loader, optimizer = setting()
    calls = []

    def loss(logits, labels):
        calls.append(labels)
        if where == "loss" and len(calls) == 2 * len(loader) + 2:
            raise end
        return F.softmax_cross_entropy(logits, labels)

    def on_epoch(history):
        if where == "callback" and len(history) == 2:
            raise end

    for given in (None, History()):
        calls.clear()
        with pytest.raises(end) as error:
            fit(model, loader, optimizer, 5, loss=loss, on_epoch=on_epoch, history=given, progress=False)
        assert error.value.history["epoch"] == [1, 2] and (given is None or given is error.value.history)


def test_a_diverged_training_keeps_its_history():
    model, loader, optimizer = setting(act=nn.ReLU())
    optimizer.base_lr = 1e30
    with pytest.raises(TrainingDiverged, match="A smaller learning rate is") as error, np.errstate(all="ignore"):
        fit(model, loader, optimizer, 50, progress=False)
    assert len(error.value.history) < 50


def test_a_history_with_other_columns_or_none_is_saved(tmp_path):
    path = tmp_path / "h.csv"
    history = History([{"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": 0.25, "val_loss": 1.0}, {"epoch": 3}])
    history.save(path)
    assert path.read_text().splitlines() == ["epoch,loss,val_loss", "1,0.5,", "2,0.25,1.0", "3,,"]
    assert history["val_loss"] == [None, 1.0, None]
    with pytest.raises(KeyError):
        history["speed"]
    History().save(path)
    assert path.read_text() == "" and History()["loss"] == []


@pytest.mark.parametrize(
    "change, message",
    [
        ({"epochs": -1}, "fit: epochs must be an int at least 0, got -1"),
        ({"epochs": True}, "fit: epochs must be an int at least 0, got bool True"),
        ({"epochs": 2.0}, "fit: epochs must be an int at least 0, got float 2.0"),
        ({"epochs": float("nan")}, "fit: epochs must be an int at least 0, got float nan"),
        ({"loader": [1]}, "fit: loader needs a length and `images`, as a DataLoader, got list"),
        ({"loader": None}, "fit: loader needs a length and `images`, as a DataLoader, got NoneType"),
        ({"loader": Batches([striped(2).images])}, "fit: the loader must yield pairs"),
        ({"model": print}, "fit: model must be a Module, got builtin_function_or_method"),
        ({"optimizer": None}, "fit: optimizer must be an Optimizer, got NoneType"),
        (
            {"optimizer": setting()[2]},
            "fit: the optimizer has no parameter of the model, so it would train nothing",
        ),
        ({"history": []}, "fit: history must be a History, got list"),
    ],
)
def test_arguments_of_fit_without_meaning_are_refused(change, message):
    model, loader, optimizer = setting()
    words = {"model": model, "loader": loader, "optimizer": optimizer, "epochs": 1} | change
    with pytest.raises((TypeError, ValueError), match=message):
        fit(**words, progress=False)


def test_arguments_of_evaluate_without_meaning_are_refused():
    model, loader, _ = setting()
    for bad, message in ((3, "loader must yield"), (striped(2), "must yield pairs"), ([None], "must yield pairs")):
        with pytest.raises(TypeError, match=f"evaluate: .*{message}"):
            evaluate(model, bad)
    with pytest.raises(TypeError, match="evaluate: model must be a Module, got function"):
        evaluate(lambda x: x, loader)


def test_numpy_integers_and_no_epochs_are_epochs():
    model, loader, optimizer = setting()
    assert len(fit(model, loader, optimizer, np.int64(1), progress=False)) == 1
    assert len(fit(model, loader, optimizer, 0, progress=False)) == 0


@pytest.mark.parametrize("name", ["schedule", "loss", "on_epoch"])
@pytest.mark.parametrize("given", [5, 0, [], "x"])
def test_fit_refuses_what_it_cannot_call_before_it_trains(name, given):
    model, loader, optimizer = setting()
    before = model[1].weight.data.copy()
    with pytest.raises(TypeError, match=f"fit: {name} must be callable, got {type(given).__name__}"):
        fit(model, loader, optimizer, 1, progress=False, **{name: given})
    assert np.array_equal(model[1].weight.data, before)
