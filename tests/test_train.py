import numpy as np
import pytest

from duonet import Tensor, data, evaluate, fit, nn, optim
from duonet import functional as F
from duonet.quant import Binary, Clip
from duonet.train import History, TrainingDiverged


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
    monkeypatch.setattr("duonet.train.REFRESH_SECONDS", 0)  # on a GPU the loss is read no more often than that
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
    model[1].bias.data[0] = np.nan
    with (
        pytest.raises(TrainingDiverged, match="parameter 1.weight is not finite after epoch 1"),
        np.errstate(invalid="ignore"),
    ):
        fit(model, loader, optimizer, 1, progress=False)


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
