"""Make `duonet/data/fashion_mini.npz`, the package's subset of Fashion-MNIST.

    python tools/make_fashion_mini.py [SOURCE [OUT]]

SOURCE holds the four idx files of Fashion-MNIST, gzipped or not; by default it is the folder of
Debian's package `dataset-fashion-mnist`. The same source gives the same bytes.
"""

import gzip
import hashlib
import io
import os
import sys
import zipfile
from pathlib import Path

import numpy as np

SOURCE = Path("/usr/share/datasets/fashion-mnist")
OUT = Path(__file__).resolve().parents[1] / "duonet" / "data" / "fashion_mini.npz"
SEED = 20200
TRAIN_PER_CLASS, TEST_PER_CLASS = 1000, 500


def read_idx(path):
    """Read one idx file of unsigned bytes."""
    raw = path.read_bytes()
    raw = gzip.decompress(raw) if path.suffix == ".gz" else raw
    axes = raw[3]
    shape = [int.from_bytes(raw[4 + 4 * i : 8 + 4 * i], "big") for i in range(axes)]
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * axes).reshape(shape)


def read(source, part):
    """Read the images and labels of one part, "train" or "t10k"."""
    found = [sorted(source.glob(f"{part}-{kind}-ubyte*")) for kind in ("images-idx3", "labels-idx1")]
    if not all(found):
        sys.exit(f"{source}: no {part} images and labels there")
    return [read_idx(paths[0]) for paths in found]


def choose(images, labels, per_class, seen, rng):
    """Pick `per_class` images of each class, none twice or in `seen`, in the order 0, 1, ..., 9, 0, 1, ..."""
    chosen = [[] for _ in range(10)]
    for i in rng.permutation(len(images)):
        key, into = images[i].tobytes(), chosen[labels[i]]
        if len(into) < per_class and key not in seen:
            seen.add(key)
            into.append(i)
    order = np.array(chosen).T.ravel()
    return images[order], labels[order]


def main(source, out):
    """Write the subset and print its sha256."""
    rng, seen = np.random.default_rng(SEED), set()
    arrays = {}
    for name, part, per_class in (("test", "t10k", TEST_PER_CLASS), ("train", "train", TRAIN_PER_CLASS)):
        arrays[f"{name}_images"], arrays[f"{name}_labels"] = choose(*read(source, part), per_class, seen, rng)
    part = out.with_suffix(".part")
    with zipfile.ZipFile(part, "w") as archive:
        for name, array in arrays.items():
            member = io.BytesIO()
            np.lib.format.write_array(member, array, allow_pickle=False)
            info = zipfile.ZipInfo(f"{name}.npy")  # dated 1980, so that the bytes do not depend on the clock
            archive.writestr(info, member.getvalue(), zipfile.ZIP_DEFLATED, 9)
    os.replace(part, out)
    print(hashlib.sha256(out.read_bytes()).hexdigest(), out.stat().st_size)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else SOURCE, Path(sys.argv[2]) if len(sys.argv) > 2 else OUT)
