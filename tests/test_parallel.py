import io
import multiprocessing
import os
import subprocess
import sys
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from duonet import Tensor, check_gradients, data, parallel, progress, workers
from duonet import functional as F

PROGRAM = """
import hashlib, numpy as np
from duonet import Tensor, functional as F, models, optim, parallel
parallel.CHUNK_BYTES = 1 << 16  # many chunks
rng = np.random.default_rng(0)
digest = hashlib.sha256()
for build, widths, shape in (
    (lambda variant, widths, in_shape, rng: models.mlp(variant, 784, widths, rng=rng), (512, 300), (28, 28, 1)),
    (models.vgg7, (32, 64, 64, 40, 48, 16), (16, 16, 3)),
    (models.resnet20, (8, 16, 32), (16, 16, 3)),
    (models.alexnet, (8, 12, 16, 16, 16, 24, 24), (64, 64, 3)),
):
    model = build("baseline", widths, in_shape=shape, rng=np.random.default_rng(0))
    optimizer = optim.AdamW(model.parameters(), 1e-2)
    for _ in range(2):
        x = Tensor(rng.standard_normal((24, *shape), dtype="float32"))
        loss = F.softmax_cross_entropy(model(x), rng.integers(0, 10, 24))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    for tensor in [loss, *model.state_dict().values()]:
        digest.update(np.asarray(getattr(tensor, "data", tensor)).tobytes())
print(digest.hexdigest())
"""


def test_chunks_cover_the_batch_in_order():
    slices = parallel.chunks(10, parallel.CHUNK_BYTES // 3)
    assert [s.stop - s.start for s in slices] == [2, 3, 2, 3]
    assert np.concatenate([np.arange(10)[s] for s in slices]).tolist() == list(range(10))
    assert parallel.chunks(10, 10 * parallel.CHUNK_BYTES) == [slice(i, i + 1) for i in range(10)]


def test_run_keeps_the_order_and_passes_errors_on():
    slices = [slice(i, i + 1) for i in range(20)]
    assert parallel.run(lambda s: s.start, slices) == list(range(20))
    with pytest.raises(ZeroDivisionError):
        parallel.run(lambda s: 1 / s.start, slices)


def test_an_error_waits_until_no_thread_writes_any_more():
    done = []

    def work(chunk):
        if chunk == 0:
            raise ZeroDivisionError
        time.sleep(0.01)
        done.append(chunk)

    with pytest.raises(ZeroDivisionError):
        parallel.run(work, list(range(6)))
    then = len(done)
    time.sleep(0.05)
    assert len(done) == then


def test_two_threads_of_the_user_share_the_pool():
    x = np.random.default_rng(0).standard_normal((64, 12, 12, 8))
    w = np.ones((3, 3, 8, 8))
    expected = F.conv2d(Tensor(x), Tensor(w)).data
    with ThreadPoolExecutor(4) as users:
        for y in users.map(lambda _: F.conv2d(Tensor(x), Tensor(w)).data, range(20)):
            np.testing.assert_array_equal(y, expected)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_computes_with_threads_of_its_own():
    x, w = np.ones((64, 12, 12, 8), "float32"), np.ones((3, 3, 8, 8), "float32")
    expected = F.conv2d(Tensor(x), Tensor(w)).data  # the parent's pool is at work
    context = multiprocessing.get_context("fork")
    with context.Pool(1) as children:
        y = children.apply_async(_convolve, (x, w)).get(timeout=60)
    np.testing.assert_array_equal(y, expected)


def _convolve(x, w):
    return F.conv2d(Tensor(x), Tensor(w)).data


def test_scratch_arrays_that_are_in_use_never_share_memory():
    first = parallel.scratch((4,), np.float64)
    first[:] = 1
    views = [parallel.scratch((4,), np.float64)[1:].reshape(3, 1), parallel.scratch((2,), np.float64)]
    for view in views:
        view[...] = 2
    parallel.scratch((4,), np.float64)[:] = 3
    with ThreadPoolExecutor(1) as other:
        other.submit(lambda: parallel.scratch((4,), np.float64).fill(4)).result()
    assert first.tolist() == [1, 1, 1, 1] and all((view == 2).all() for view in views)


def test_scratch_memory_serves_the_next_array():
    def address(size):
        return parallel.scratch((size,), np.uint8).ctypes.data

    with ThreadPoolExecutor(1) as fresh:  # a thread without scratch arrays yet
        small, large = fresh.submit(lambda: (address(10), address(20))).result()
        assert fresh.submit(lambda: [address(size) for size in (20, 15, 1)]).result() == [large] * 3
        assert fresh.submit(lambda: sum(b.size for b in parallel._mine.buffers)).result() == 20


@pytest.mark.parametrize("stride, padding", [(1, 1), (2, 1), (3, 0)])
def test_convolution_in_many_chunks_has_the_right_gradients(rng, monkeypatch, stride, padding):
    monkeypatch.setattr(parallel, "CHUNK_BYTES", 1)
    x, w = rng.standard_normal((5, 4, 4, 2)), rng.standard_normal((3, 3, 2, 3))
    y = F.conv2d(Tensor(x), Tensor(w), None, stride, padding)
    np.testing.assert_allclose(y.data, F.conv2d_reference(x, w, None, stride, padding))
    check_gradients(lambda x, w: F.conv2d(x, w, None, stride, padding), x, w)


def test_the_number_of_threads_changes_no_bit():
    pytest.importorskip("threadpoolctl")
    digests = set()
    for threads, of_blas in ("13", "22", "31"):
        env = os.environ | {"DUONET_THREADS": threads, "OPENBLAS_NUM_THREADS": of_blas}
        done = subprocess.run([sys.executable, "-c", PROGRAM], env=env, capture_output=True, text=True, check=True)
        digests.add(done.stdout)
    assert len(digests) == 1


@pytest.mark.parametrize("asked", ["0", "-1", "two", "", "1.5"])
def test_a_number_of_threads_that_is_none_is_refused(monkeypatch, asked):
    monkeypatch.setenv("DUONET_THREADS", asked)
    parallel._usual.cache_clear()
    try:
        with pytest.raises(
            ValueError, match=f"DUONET_THREADS must be a whole number from 1 to 9999, got '{asked}'"
        ):
            with parallel.threads():
                pass
    finally:
        parallel._usual.cache_clear()


@pytest.mark.parametrize("n, error", [(0, ValueError), (10_000, ValueError), (1.5, TypeError), ("2", TypeError)])
def test_threads_refuses_a_number_that_is_none(n, error):
    with (
        pytest.raises(error, match="threads: n must be an int at least 1 and at most 9999, got"),
        parallel.threads(n),
    ):
        pass


@pytest.mark.skipif(not workers.can_start(), reason="no thread can be started here")
def test_so_many_threads_work_as_are_asked_for():
    def meet(_):
        meeting.wait(timeout=30)  # fails unless three are here at once
        return threading.get_ident()

    meeting = threading.Barrier(3)
    with parallel.threads(3):
        assert len(set(parallel.run(meet, range(6)))) == 3
        with parallel.threads(1):
            assert set(parallel.run(lambda _: threading.get_ident(), range(6))) == {threading.get_ident()}
            with parallel.threads():  # as the one around it
                assert len(set(parallel.run(lambda _: threading.get_ident(), range(6)))) == 1
        assert len(set(parallel.run(meet, range(6)))) == 3


def test_where_no_thread_can_be_started_the_caller_does_all(monkeypatch):
    def refuse(self):
        raise RuntimeError("can't start new thread")

    toy = data.Dataset(np.zeros((6, 2, 2, 1), "uint8"), np.arange(6))
    monkeypatch.setattr(threading.Thread, "start", refuse)
    workers.can_start.cache_clear()
    try:
        with parallel.threads(3):
            assert parallel.run(lambda i: (i, threading.get_ident()), range(6)) == [
                (i, threading.get_ident()) for i in range(6)
            ]
        batches = [labels.tolist() for x, labels in data.DataLoader(toy, 4, data.Normalize([0], [1]))]
        assert batches == [[0, 1, 2, 3], [4, 5]]
        with pytest.raises(ZeroDivisionError), workers.worker("helper") as helper:
            helper.submit(lambda: 1 / 0).result()
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # as tqdm's, that its monitor cannot start
            progress.tqdm_bar(total=1, file=io.StringIO()).close()
    finally:
        workers.can_start.cache_clear()


def test_threads_see_the_settings_of_their_caller():
    x = np.zeros((64, 64, 64, 16), "float32")
    x[40] = 3e38
    for _ in range(10):
        with np.errstate(over="raise"), pytest.raises(FloatingPointError):
            Tensor(x) + Tensor(x)


def test_scratch_keeps_no_array_that_is_too_large():
    before = len(parallel._mine.buffers)
    parallel.scratch((parallel.KEPT_BYTES + 1,), np.uint8)
    assert len(parallel._mine.buffers) == before
