"""BLAS has one thread while the package computes, and as many as before afterwards."""

import importlib
import multiprocessing
import os
import threading
from unittest.mock import MagicMock

import numpy as np
import pytest

import duonet
from duonet import Function, Tensor, blas, cli, data, experiments, models, nn, optim, parallel
from duonet import functional as F
from duonet.quant import Binary, Clip

threadpoolctl = pytest.importorskip("threadpoolctl")
BLAS_THREADS = 2


def of_blas():
    return {library["num_threads"] for library in threadpoolctl.threadpool_info() if library["user_api"] == "blas"}


@pytest.fixture(autouse=True)
def two():
    """Give BLAS two threads, on any machine."""
    with threadpoolctl.threadpool_limits(BLAS_THREADS, user_api="blas"):
        if of_blas() != {BLAS_THREADS}:
            pytest.skip("this BLAS cannot be told")
        yield


class Look(Function):
    """The identity, which writes down how many threads BLAS has."""

    seen = []

    @staticmethod
    def forward(ctx, x):
        Look.seen.append(("forward", of_blas()))
        return x.copy()

    @staticmethod
    def backward(ctx, dy):
        Look.seen.append(("backward", of_blas()))
        return dy


class Looking(nn.Module):
    def forward(self, x):
        Look.seen.append(("layer", of_blas()))
        return Look.apply(x)


@pytest.fixture
def net(rng):
    Look.seen.clear()
    return nn.Sequential(
        nn.Linear(3, 4, rng=rng),
        nn.BatchNorm(4),
        nn.QuantActivation(Binary(0.5), Clip(0, 1)),
        Looking(),
        nn.Linear(4, 2, rng=rng),
    )


def loader():
    images = np.arange(48, dtype="uint8").reshape(16, 1, 1, 3)
    dataset = data.Dataset(images, np.arange(16) % 2)
    return [(x.reshape(len(x), 3), y) for x, y in data.DataLoader(dataset, 8, data.Normalize.of(images))]


class Sized(list):
    images = 16


def by_hand(net):
    x, labels = loader()[0]
    F.softmax_cross_entropy(net(Tensor(x)), labels).backward()


def fit(net, **options):
    duonet.fit(net, Sized(loader()), optim.SGD(net.parameters(), 0.1), 1, progress=False, **options)


def measure(net):
    duonet.mismatch.measure(
        net.eval(), F.softmax_cross_entropy, loader()[0], coordinates=2, rng=np.random.default_rng(0)
    )


WORKS = {
    "an op": lambda net: Look.apply(Tensor([1.0])),
    "a step by hand": by_hand,
    "fit": fit,
    "evaluate": lambda net: duonet.evaluate(net, loader()),
    "measure": measure,
    "many chunks": lambda net: (Look.apply(Tensor([1.0])), Tensor(np.ones((1 << 14, 256), "float32")) + 1),
}


@pytest.mark.parametrize("name", WORKS)
def test_products_of_the_users_own_have_the_same_bits_before_and_after(name, net, rng):
    a, b = rng.standard_normal((333, 777), dtype="float32"), rng.standard_normal((777, 555), dtype="float32")
    before = a @ b
    WORKS[name](net)
    assert of_blas() == {BLAS_THREADS}
    np.testing.assert_array_equal(a @ b, before)
    assert Look.seen and all(threads == {1} for _, threads in Look.seen)


def test_whatever_the_loops_call_finds_blas_held(net):
    seen = []

    def loss(*pair):
        seen.append(of_blas())
        return F.softmax_cross_entropy(*pair)

    fit(net, loss=loss, on_epoch=lambda _: seen.append(of_blas()))
    duonet.evaluate(net.eval(), loader(), loss)
    duonet.mismatch.coarse_gradient(net, loss, loader()[0])
    duonet.mismatch.coordinate_gradient(net, loss, loader()[0], coordinates=1, rng=np.random.default_rng(0))
    duonet.mismatch.evolution_gradient(net, loss, loader()[0], samples=2, rng=np.random.default_rng(0))
    assert len(seen) > 8 and all(threads == {1} for threads in seen)


class Stop(Exception):
    pass


RUN = MagicMock(seeds=1)
RUN.runs.return_value = [("run", RUN)]


@pytest.mark.parametrize(
    "function, arguments, begins_with",
    [
        (experiments.train, (RUN, "new"), "checked"),
        (experiments.compare, (RUN, "new"), "checked"),
        (experiments.mismatch, (experiments.MismatchSettings(), "new"), "Records"),
        (experiments.score, ("run", "mnist"), "load_run"),
        (experiments.predict, ("run", ["image"]), "load_run"),
        (duonet.mismatch.measure, (nn.Linear(1, 1, rng=np.random.default_rng(0)), None, None), "weighted_layers"),
    ],
)
def test_studies_hold_blas_from_the_first_moment(function, arguments, begins_with, monkeypatch, tmp_path):
    def look(*args, **options):
        assert of_blas() == {1}
        raise Stop

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(importlib.import_module(function.__module__), begins_with, look)
    with pytest.raises(Stop):
        function(*arguments)
    assert of_blas() == {BLAS_THREADS}


def test_chunks_of_plain_arrays_find_blas_held():
    assert all(threads == {1} for threads in parallel.run(lambda _: of_blas(), range(6)))
    assert all(threads == {1} for threads in parallel.run(lambda _: of_blas(), range(2)))


def test_a_command_holds_blas_and_lets_go(monkeypatch, capsys):
    seen = []
    summary = cli.costs._summary
    monkeypatch.setattr(cli.costs, "_summary", lambda options: seen.append(of_blas()) or summary(options))
    assert cli.main(["summary", "mlp"]) == 0
    assert seen == [{1}] and of_blas() == {BLAS_THREADS}
    assert cli.main(["compare", "--images", "1"]) == 2 and of_blas() == {BLAS_THREADS}


def test_a_command_called_from_a_program_leaves_its_allocator_alone(monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(parallel, "keep_memory", lambda: asked.append(True))
    cli.main(["summary", "mlp"])
    assert not asked
    monkeypatch.setattr("sys.argv", ["duonet", "summary", "mlp"])
    cli.main()
    assert asked


def test_an_exception_lets_go(net):
    with pytest.raises(ValueError), duonet.threads(2):
        raise ValueError
    with pytest.raises(ValueError, match="finite"):
        duonet.evaluate(net, [(np.full((2, 3), np.nan, "float32"), [0, 1])])
    with pytest.raises(ZeroDivisionError):
        fit(net, on_epoch=lambda history: 1 / 0)
    with pytest.raises(ValueError):
        net(Tensor(np.ones((2, 5), "float32")))
    with pytest.raises(RuntimeError, match="freed"):
        y = Tensor([1.0], requires_grad=True) * 2
        y.backward(np.ones(1, "float32"))
        y.backward(np.ones(1, "float32"))
    assert of_blas() == {BLAS_THREADS}


def test_nested_uses_let_go_with_the_outermost():
    with duonet.threads(3):
        with duonet.threads():
            assert of_blas() == {1}
        Tensor([1.0]) + 1
        assert of_blas() == {1}
    assert of_blas() == {BLAS_THREADS}


def test_it_is_put_back_to_what_it_was_each_time():
    for n in (3, 1, 2):
        with threadpoolctl.threadpool_limits(n, user_api="blas"):
            with duonet.threads():
                assert of_blas() == {1}
            assert of_blas() == {n}


@pytest.fixture
def holder():
    """A thread that holds BLAS until it is told to let go, and lives on."""
    inside, leave, left, end = (threading.Event() for _ in range(4))

    def hold():
        with duonet.threads():
            inside.set()
            leave.wait(60)
        left.set()
        end.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    assert inside.wait(60)
    yield lambda: (leave.set(), left.wait(60))
    leave.set()
    end.set()
    thread.join(60)


def test_of_several_threads_the_last_one_lets_go(holder):
    with duonet.threads():
        Tensor([1.0]) + 1
    assert of_blas() == {1}  # the other still computes
    with duonet.threads():
        holder()
        assert of_blas() == {1}
    assert of_blas() == {BLAS_THREADS}


def test_many_threads_that_come_and_go_leave_nothing_behind(rng):
    x = Tensor(rng.standard_normal((8, 8), dtype="float32"))

    def work():
        for _ in range(200):
            Look.apply(x @ x)

    Look.seen.clear()
    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(n == {1} for _, n in Look.seen)
    assert of_blas() == {BLAS_THREADS}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_is_not_held_by_a_thread_that_it_does_not_have(holder):
    assert of_blas() == {1}
    with multiprocessing.get_context("fork").Pool(1) as children:
        assert children.apply_async(_before_and_after).get(timeout=60) == [{BLAS_THREADS}, {1}, {BLAS_THREADS}]
    assert of_blas() == {1}
    holder()
    assert of_blas() == {BLAS_THREADS}


def _before_and_after():
    seen = [of_blas()]
    with duonet.threads():
        seen.append(of_blas())
    return [*seen, of_blas()]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_forked_inside_lets_go_where_it_leaves():
    with duonet.threads():
        child = os.fork()
        inside = of_blas()
    if not child:  # the test must not go on twice
        os._exit(0 if (inside, of_blas()) == ({1}, {BLAS_THREADS}) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert of_blas() == {BLAS_THREADS}


def test_without_threadpoolctl_nothing_is_shared_out(monkeypatch):
    monkeypatch.setattr(blas, "_limits", lambda: None)
    with duonet.threads(4):
        assert of_blas() == {BLAS_THREADS}
        assert set(parallel.run(lambda _: threading.get_ident(), range(8))) == {threading.get_ident()}


class Fake:
    """A library as threadpoolctl shows it, with a number of threads of each thread's own, or one for all."""

    internal_api = "openblas"

    def __init__(self, layer):
        self.threading_layer = layer
        self.numbers = threading.local() if layer == "openmp" else self
        self.own = BLAS_THREADS

    @property
    def num_threads(self):
        return getattr(self.numbers, "own", BLAS_THREADS)

    def set_num_threads(self, n):
        self.numbers.own = n

    def clear_controlling_thread(self, force=False):
        pass


@pytest.mark.parametrize("layer", ["pthreads", "openmp"])
def test_it_is_held_for_the_threads_that_share_the_work_too(monkeypatch, layer):
    library = Fake(layer)
    limits = [(blas._LimitOfEachThread if blas._each_thread(library) else blas._Limit)(library)]
    monkeypatch.setattr(blas, "_limits", lambda: limits)

    def meet(_):
        meeting.wait(timeout=30)
        return library.num_threads

    meeting = threading.Barrier(2)
    with duonet.threads(2):
        assert set(parallel.run(meet, range(6))) == {1}
    assert library.num_threads == BLAS_THREADS
    with duonet.threads(2):
        assert set(parallel.run(meet, range(6))) == {1}


def test_a_model_is_the_same_inside_and_outside(rng):
    x = rng.standard_normal((64, 784), dtype="float32")
    model = models.mlp("baseline", widths=(512, 300), rng=rng).eval()
    outside = model(Tensor(x.reshape(64, 28, 28, 1))).data
    with duonet.threads(1):
        np.testing.assert_array_equal(model(Tensor(x.reshape(64, 28, 28, 1))).data, outside)
