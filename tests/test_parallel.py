import os
import subprocess
import sys

import numpy as np
import pytest

from duonet import Tensor, check_gradients, parallel
from duonet import functional as F

PROGRAM = """
import hashlib, numpy as np
from duonet import Tensor, functional as F
rng = np.random.default_rng(0)
x = Tensor(rng.standard_normal((40, 14, 14, 24), dtype="float32"), requires_grad=True)
w = Tensor(rng.standard_normal((3, 3, 24, 12), dtype="float32"), requires_grad=True)
y = F.conv2d(x, w, padding=1)
y.backward(y.data)
print(hashlib.sha256(b"".join(a.tobytes() for a in (y.data, x.grad, w.grad))).hexdigest())
"""


def test_chunks_cover_the_batch_in_order():
    slices = parallel.chunks(10, parallel.CHUNK_BYTES // 3)
    assert [s.stop - s.start for s in slices] == [3, 3, 3, 1]
    assert np.concatenate([np.arange(10)[s] for s in slices]).tolist() == list(range(10))
    assert parallel.chunks(10, 10 * parallel.CHUNK_BYTES) == [slice(i, i + 1) for i in range(10)]


def test_run_keeps_the_order_and_passes_errors_on():
    slices = [slice(i, i + 1) for i in range(20)]
    assert parallel.run(lambda s: s.start, slices) == list(range(20))
    with pytest.raises(ZeroDivisionError):
        parallel.run(lambda s: 1 / s.start, slices)


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
    for threads in ("1", "2", "3"):
        env = os.environ | {"DUONET_THREADS": threads}
        done = subprocess.run([sys.executable, "-c", PROGRAM], env=env, capture_output=True, text=True, check=True)
        digests.add(done.stdout)
    assert len(digests) == 1
