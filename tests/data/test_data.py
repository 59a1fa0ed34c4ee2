import hashlib
import threading
import time

import numpy as np
import pytest

from duonet import data
from duonet.data import (
    Compose,
    DataError,
    DataLoader,
    Dataset,
    Normalize,
    cutout,
    fashion,
    fashion_mini,
    pad_and_crop,
    random_flip,
)

SHA256 = "d2a49f9d0691ba14768b6fe0e3cf9b52c62d62a31cddb46e5ea607246ad2e202"


@pytest.fixture(scope="module")
def splits():
    return fashion_mini()


def toy(n=10):
    return Dataset(np.arange(n, dtype="uint8").reshape(n, 1, 1, 1).repeat(3, axis=2), np.arange(n))


def change_one_pixel(path):
    with np.load(path) as file:
        arrays = dict(file)
    arrays["train_images"][0, 0, 0] ^= 1
    np.savez(path, **arrays)


def plain(images):
    return images.astype("float32")


def test_the_packaged_file_is_the_released_one():
    assert hashlib.sha256(fashion.PATH.read_bytes()).hexdigest() == SHA256
    assert fashion.PATH.with_name("fashion_mini_LICENSE.txt").read_text().count("Zalando SE") == 1


def test_shapes_dtypes_and_balanced_classes(splits):
    for part, n in ((splits.train, 8000), (splits.validation, 2000), (splits.test, 5000)):
        assert part.images.shape == (n, 28, 28, 1) and part.images.dtype == np.uint8
        assert part.labels.shape == (n,) and part.labels.dtype == np.int64
        for prefix in (10, 500, n):
            assert (np.bincount(part.labels[:prefix], minlength=10) == prefix // 10).all()
    assert len(splits.class_names) == 10


def test_no_image_appears_twice_in_or_across_the_splits(splits):
    images = [image.tobytes() for part in splits[:3] for image in part.images]
    assert len(set(images)) == len(images) == 15_000


def test_these_are_pictures_of_clothes(splits):
    """Trousers are dark in the middle of the bottom row's gap, bags are wide: class means differ as they should."""
    mean = {
        name: splits.train.images[splits.train.labels == i].mean((0, 3))
        for i, name in enumerate(splits.class_names)
    }
    assert mean["trouser"][14, 0] < 5 and mean["bag"][20, 3] > 60
    assert mean["sneaker"][:8].mean() < 10 < mean["shirt"][:8].mean()


@pytest.mark.parametrize(
    "spoil, message",
    [
        (lambda p: p.write_bytes(p.read_bytes()[:1000]), r"is damaged \(its sha256"),
        (lambda p: p.write_bytes(b"x" + p.read_bytes()[1:]), r"is damaged \(its sha256"),
        (change_one_pixel, r"is damaged \(its sha256"),
        (lambda p: p.unlink(), "cannot be read"),
    ],
)
def test_a_missing_or_damaged_file_is_named(tmp_path, monkeypatch, spoil, message):
    path = tmp_path / "fashion_mini.npz"
    path.write_bytes(fashion.PATH.read_bytes())
    monkeypatch.setattr(fashion, "PATH", path)
    assert len(fashion_mini().train.labels) == 8000
    spoil(path)
    with pytest.raises(DataError, match=f"fashion_mini: .*fashion_mini.npz {message}.*reinstall duonet"):
        fashion_mini()


def test_take():
    assert toy().take(3).labels.tolist() == [0, 1, 2]
    for n in (0, 11):
        with pytest.raises(ValueError, match=f"take: n must be from 1 to 10, the number of images, got {n}"):
            toy().take(n)


def test_an_epoch_is_every_image_once_in_an_order_of_its_own():
    loader = DataLoader(toy(), 4, plain, rng=np.random.default_rng(0))
    epochs = [[int(label) for _, labels in loader for label in labels] for _ in range(2)]
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(10))
    assert epochs[0] != epochs[1] != list(range(10))
    again = DataLoader(toy(), 4, plain, rng=np.random.default_rng(0))
    assert [int(label) for _, labels in again for label in labels] == epochs[0]


def test_images_stay_with_their_labels_and_without_rng_the_order_is_kept():
    for rng in (None, np.random.default_rng(0)):
        for x, labels in DataLoader(toy(), 3, plain, rng=rng):
            assert x.dtype == np.float32 and x.shape[1:] == (1, 3, 1)
            np.testing.assert_array_equal(x[:, 0, 0, 0], labels)
    assert [labels.tolist() for _, labels in DataLoader(toy(5), 2, plain)] == [[0, 1], [2, 3], [4]]


def test_a_last_batch_of_one_is_left_out_of_training_alone():
    train, test = DataLoader(toy(9), 4, plain, rng=np.random.default_rng(0)), DataLoader(toy(9), 4, plain)
    assert len(train) == 2 and train.images == 8 == sum(len(y) for _, y in train)
    assert len(test) == 3 and test.images == 9 == sum(len(y) for _, y in test)


def test_augmentation_is_applied_to_pixels_before_normalising():
    seen = []

    def invert(images, rng):
        seen.append(images.dtype)
        return 255 - images

    x, labels = next(iter(DataLoader(toy(), 10, plain, rng=np.random.default_rng(0), augment=invert)))
    assert seen == [np.uint8]
    np.testing.assert_array_equal(x[:, 0, 0, 0], 255 - labels)


def test_labels_of_any_integer_type_come_out_as_int64():
    small = Dataset(toy().images, toy().labels.astype("uint8"))
    labels = next(iter(DataLoader(small, 4, plain)))[1]
    assert labels.dtype == np.int64 and labels.tolist() == [0, 1, 2, 3]


def test_writing_into_a_batch_leaves_the_data_alone():
    loader = DataLoader(Dataset(np.zeros((4, 2, 2, 1), "uint8"), np.arange(4)), 2, Normalize([0], [1]))
    for x, labels in loader:
        x[...], labels[...] = 9, 0
    assert [labels.tolist() for _, labels in loader] == [[0, 1], [2, 3]]

    def brighten(x):
        x += 1
        return x.astype("float32")

    with pytest.raises(ValueError, match="read-only"):
        list(DataLoader(loader.dataset, 2, brighten))
    assert loader.dataset.images.max() == 0


def test_what_comes_back_from_the_users_functions_is_looked_at():
    toy, keep, rng = (
        Dataset(np.zeros((4, 2, 2, 1), "uint8"), np.arange(4)),
        Normalize([0], [1]),
        np.random.default_rng(0),
    )
    with pytest.raises(ValueError, match="DataLoader: augment and normalize made 1 images of 2"):
        list(DataLoader(toy, 2, keep, rng=rng, augment=lambda x, rng: x[:1]))
    for normalize in (lambda x: None, lambda x: x):
        with pytest.raises(TypeError, match="DataLoader: what normalize returns must be"):
            list(DataLoader(toy, 2, normalize))
    for labels in (np.array([0, 1, 2, -1]), np.array([0, 1, 2, 2**63], "uint64")):
        with pytest.raises(ValueError, match="DataLoader: labels must not be negative"):
            DataLoader(Dataset(toy.images, labels), 2, keep)


def test_random_flip_mirrors_about_half_the_images_and_spares_the_input(rng):
    images = rng.integers(0, 256, (400, 3, 5, 2)).astype("uint8")
    before = images.copy()
    flipped = random_flip(images, np.random.default_rng(1))
    np.testing.assert_array_equal(images, before)
    same = [np.array_equal(a, b) for a, b in zip(flipped, images)]
    mirrored = [np.array_equal(a, b[:, ::-1]) for a, b in zip(flipped, images)]
    assert all(s != m for s, m in zip(same, mirrored)) and 150 < sum(mirrored) < 250


def test_pad_and_crop_is_a_shift_that_brings_in_zeros(rng):
    images = rng.integers(1, 256, (200, 5, 6, 2)).astype("uint8")
    before = images.copy()
    cropped = pad_and_crop(images, np.random.default_rng(1), 2)
    assert cropped.shape == images.shape and cropped.dtype == np.uint8
    shifts = set()
    for image, crop in zip(images, cropped):
        padded = np.pad(image, ((2, 2), (2, 2), (0, 0)))
        found = [(i, j) for i in range(5) for j in range(5) if np.array_equal(padded[i : i + 5, j : j + 6], crop)]
        assert len(found) == 1
        shifts.add(found[0])
    assert len(shifts) == 25
    np.testing.assert_array_equal(images, before)
    np.testing.assert_array_equal(pad_and_crop(images, rng, 0), images)


def test_cutout_blacks_out_one_square_that_may_hang_over():
    images = np.full((400, 7, 9, 2), 5, "uint8")
    before = images.copy()
    out = cutout(images, np.random.default_rng(0), 3)
    np.testing.assert_array_equal(images, before)
    sizes = set()
    for image in out:
        black = image[..., 0] == 0
        assert (black == (image[..., 1] == 0)).all() and set(np.unique(image)) <= {0, 5}
        rows, columns = np.flatnonzero(black.any(1)), np.flatnonzero(black.any(0))
        assert black[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all(), "a rectangle"
        sizes.add((len(rows), len(columns)))
    assert max(sizes) == (3, 3) and {(2, 3), (3, 2), (2, 2)} <= sizes, "cut off at the edges"
    assert (out == 0).any(0).all(), "it can be anywhere"
    np.testing.assert_array_equal(cutout(images, np.random.default_rng(0), 0), images)


def test_compose_runs_one_after_the_other_with_one_generator():
    images = np.random.default_rng(1).integers(0, 256, (6, 8, 8, 1)).astype("uint8")
    rng = np.random.default_rng(2)
    expected = cutout(pad_and_crop(random_flip(images, rng), rng), rng)
    both = Compose(random_flip, pad_and_crop, cutout)
    np.testing.assert_array_equal(both(images, np.random.default_rng(2)), expected)
    assert not np.array_equal(expected, images)


def test_the_next_batch_is_prepared_while_one_is_in_use():
    started = threading.Semaphore(0)

    def slow(images):
        started.release()
        return images.astype("float32")

    batches = iter(DataLoader(toy(), 2, slow))
    next(batches)
    assert started.acquire(timeout=10) and started.acquire(timeout=10), "the second was begun, unasked"
    assert len(list(batches)) == 4


def test_an_epoch_draws_what_it_would_without_a_thread_and_never_for_the_next():
    rng, twin = np.random.default_rng(3), np.random.default_rng(3)
    loader = DataLoader(toy(), 4, plain, rng=rng, augment=random_flip)
    got = np.concatenate([x for x, _ in loader])
    order = twin.permutation(10)
    expected = [random_flip(toy().images[order[i : i + 4]], twin) for i in (0, 4, 8)]
    np.testing.assert_array_equal(got, np.concatenate(expected))
    assert rng.random() == twin.random()


def noisy(images, rng):
    time.sleep(rng.random() / 500)  # long enough for the other thread to draw, if one does
    return random_flip(images, rng)


def shared_with_the_model(rng):
    """What a loop sees that draws from the loader's generator, as Dropout does, and leaves its last epoch early."""
    seen = []
    for _ in range(2):
        for x, _ in DataLoader(toy(12), 3, plain, rng=rng, augment=noisy):
            seen += [*x.ravel(), rng.random()]
            time.sleep(rng.random() / 500)
    next(iter(DataLoader(toy(12), 3, plain, rng=rng, augment=noisy)))
    return seen


def two_iterators(rng):
    loader = DataLoader(toy(12), 3, plain, rng=rng, augment=noisy)
    return [value for pair in zip(loader, loader) for x, _ in pair for value in x.ravel()]


@pytest.mark.parametrize("loop", [shared_with_the_model, two_iterators])
def test_a_generator_may_be_shared_every_run_draws_the_same(loop):
    def run():
        rng = np.random.default_rng(5)
        return loop(rng), rng.random()

    first = run()
    assert all(run() == first for _ in range(7))


def test_only_the_caller_draws():
    threads = set()

    def flip(images, rng):
        threads.add(threading.current_thread())
        return random_flip(images, rng)

    list(DataLoader(toy(), 2, plain, rng=np.random.default_rng(0), augment=flip))
    assert threads == {threading.current_thread()}


def test_an_error_in_the_thread_reaches_the_loop_and_leaving_early_ends_the_thread():
    def broken(images):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(DataLoader(toy(), 2, broken))
    before = threading.active_count()
    for _ in DataLoader(toy(), 2, plain):
        break
    assert threading.active_count() <= before


def test_normalize_gives_the_training_images_mean_0_and_deviation_1(splits):
    x = Normalize.of(splits.train.images)(splits.train.images)
    assert x.dtype == np.float32
    assert abs(x.mean(dtype="float64")) < 1e-4 and x.std(dtype="float64") == pytest.approx(1, abs=1e-4)
    two = np.stack([np.full((2, 2), 10), np.full((2, 2), 30)]).astype("uint8")[..., None].repeat(2, axis=3)
    two[..., 1] *= 2
    np.testing.assert_allclose(Normalize.of(two)(two)[0, 0, 0], [-1, -1])


@pytest.mark.parametrize(
    "make, message",
    [
        (
            lambda: DataLoader(Dataset(np.zeros((2, 3, 3)), np.zeros(2, int)), 1, plain),
            r"images must be uint8 \(N, H, W, C\), got float64",
        ),
        (lambda: DataLoader(Dataset(toy().images, np.zeros(3, int)), 1, plain), r"labels must be ints \(10,\)"),
        (lambda: DataLoader(Dataset(toy().images, np.zeros(10)), 1, plain), "labels must be ints"),
        (lambda: DataLoader(toy(), 0, plain), "DataLoader: batch_size must be an int at least 1, got 0"),
        (lambda: DataLoader(Dataset(toy().images[:0], toy().labels[:0]), 1, plain), "there are no images"),
        (
            lambda: DataLoader(toy(), 2, plain, device="tpu"),
            "DataLoader: device must be one of cpu, gpu, got 'tpu'",
        ),
        (lambda: DataLoader(toy(), 2, plain, augment=random_flip), "augment needs rng"),
        (lambda: DataLoader(toy(1), 4, plain, rng=np.random.default_rng(0)), "one image cannot be shuffled"),
        (lambda: Normalize([0], [0]), "std must be positive"),
        (
            lambda: Normalize([0, 0], [1, np.nan]),
            r"Normalize: std must be positive and finite .* got \[1.0, nan\]",
        ),
        (lambda: Normalize([0], [np.inf]), "Normalize: std must be positive and finite"),
        (lambda: Normalize([np.nan], [1]), "Normalize: mean must be finite in every channel"),
        (lambda: Normalize([-np.inf], [1]), "Normalize: mean must be finite in every channel"),
        (lambda: Normalize([0], [1e-300]), "Normalize: float32 cannot hold 1 / std or mean / std"),
        (lambda: Normalize([0], [1e300]), "Normalize: float32 cannot hold"),
        (lambda: Normalize([1e300], [1]), "Normalize: float32 cannot hold"),
        (lambda: Normalize.of(toy().images[:0]), "Normalize.of: there are no images"),
        (lambda: Normalize([0, 0], [1]), r"one entry a channel, \(C,\), got shapes \(2,\) and \(1,\)"),
        (lambda: Normalize([0] * 3, [1] * 3)(toy().images), r"uint8 \(N, H, W, 3\), got uint8 \(10, 1, 3, 1\)"),
        (lambda: Normalize([0], [1])(toy().images / 2), r"uint8 \(N, H, W, 1\), got float64"),
        (lambda: Normalize.of(toy().images[0]), r"Normalize.of: images must be \(N, H, W, C\)"),
        (lambda: random_flip(toy().images[0], None), r"random_flip: images must be .* shape \(1, 3, 1\)"),
        (lambda: pad_and_crop(toy().images[0], None), r"pad_and_crop: images must be .* shape \(1, 3, 1\)"),
        (lambda: cutout(toy().images[0], None), r"cutout: images must be .* shape \(1, 3, 1\)"),
        (lambda: cutout(toy().images, None, -1), "cutout: size must be an int at least 0, got -1"),
        (lambda: pad_and_crop(toy().images, None, -1), "padding must be an int at least 0, got -1"),
    ],
)
def test_bad_input_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: DataLoader(toy(), 2.5, plain), "DataLoader: batch_size must be an int at least 1, got float 2.5"),
        (
            lambda: DataLoader(toy(), True, plain),
            "DataLoader: batch_size must be an int at least 1, got bool True",
        ),
        (lambda: DataLoader(toy(), 2, None), "DataLoader: normalize must be callable, got NoneType"),
        (
            lambda: DataLoader(toy(), 2, plain, rng=np.random.default_rng(0), augment="flip"),
            "DataLoader: augment must be callable, got str",
        ),
        (lambda: DataLoader(toy(), 2, plain, rng=3), "DataLoader: rng must be a numpy.random.Generator, got int"),
        (
            lambda: pad_and_crop(toy().images, None, 1.5),
            "pad_and_crop: padding must be an int at least 0, got float 1.5",
        ),
    ],
)
def test_a_wrong_type_is_refused(make, message):
    with pytest.raises(TypeError, match=message):
        make()


def test_public_names():
    assert {"fashion_mini", "DataLoader", "Normalize"} <= set(data.__all__)
