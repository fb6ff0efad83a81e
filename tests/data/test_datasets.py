"""Data sets, splits, the pool, augmentation and batches."""

import collections

import numpy as np
import pytest
import torch

from data import DATASETS, splits
from data.active_dataset import load_active_dataset
from data.augment import ImageStore, channel_statistics, make_shift_windows, translate_images
from data.batches import (
    BatchLoader,
    BatchOptions,
    batches_of_used_images,
    cycle_indices,
    make_shuffled_batches,
)
from data.pool import Pool, Targets, targets_from_labels
from data.state import State
from tests.archives import SIZES, WRITERS, colour_images, grey_images
from tests.benchmarks.harness import PeakMemory
from utils.arrays import as_read_only
from utils.errors import UserError


@pytest.mark.parametrize("name", [name for name, spec in DATASETS.items() if not spec.is_custom])
def test_every_data_set_keeps_the_contract(name, archives):
    spec = DATASETS[name]
    for images in spec.load(str(archives)):
        n = len(images.labels)
        assert images.pixels.dtype == torch.uint8 and images.labels.dtype == np.int64
        assert images.pixels.shape == (n, spec.channels, spec.size, spec.size)
        assert set(np.unique(images.labels)) <= set(range(spec.num_classes))
        assert images.pixels.max() > 200


@pytest.mark.parametrize("name", WRITERS)
def test_readers_read_what_was_written(name, archives):
    for part, images in zip(SIZES, DATASETS[name].load(str(archives)), strict=True):
        if "mnist" in name:
            pixels, labels = grey_images(part, size=28)
            pixels = np.pad(pixels, ((0, 0), (2, 2), (2, 2)))[:, None]
        else:
            pixels, labels = colour_images(part)
        np.testing.assert_array_equal(images.pixels, pixels)
        np.testing.assert_array_equal(images.labels, labels)


@pytest.mark.parametrize("name", WRITERS)
def test_missing_and_damaged_files(name, tmp_path, archives):
    with pytest.raises(UserError, match=f"run `sh data/install_datasets.sh {name}`"):
        DATASETS[name].load(str(tmp_path))
    for path in [p for p in archives.rglob("*") if p.is_file()]:
        copy = tmp_path / path.relative_to(archives)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes()[:100])
    with pytest.raises(UserError, match="cannot be read"):
        DATASETS[name].load(str(tmp_path))


def test_digits_have_fixed_parts():
    train, test = DATASETS["digits"].load("")
    assert (len(train.labels), len(test.labels)) == (1437, 360)
    assert np.abs(np.bincount(test.labels) - 36).max() <= 1
    again, _ = DATASETS["digits"].load("")
    assert torch.equal(train.pixels, again.pixels)


@pytest.mark.parametrize("size", [2, 10, 37, 100])
def test_balanced_splits(size):
    labels = np.random.default_rng(0).permutation(np.arange(200) % 10)
    split = splits.draw_balanced_split(labels, size, 3)
    assert len(np.unique(split)) == size
    counts = np.bincount(labels[split], minlength=10)
    assert counts.max() - counts.min() <= 1
    np.testing.assert_array_equal(split, splits.draw_balanced_split(labels, size, 3))
    assert (split != splits.draw_balanced_split(labels, size, 4)).any()
    with pytest.raises(UserError, match="size is 200"):
        splits.draw_balanced_split(labels, 201, 0)


def test_a_split_never_changes():
    """The indices of one split: a change here changes every published number."""
    labels = np.arange(40) % 4
    assert splits.draw_balanced_split(labels, 6, 0).tolist() == [6, 11, 21, 22, 23, 24]


def test_split_files(home):
    labels = np.arange(40) % 4
    path = splits.split_path("toy", 8, 7)
    assert path == home / "toy" / "8_balanced_labels" / "07.txt"
    assert splits.write_split(path, labels, 8, 7) and not splits.write_split(path, labels, 8, 7)
    split = splits.read_split(path, labels, 4, 8)
    np.testing.assert_array_equal(split, splits.draw_balanced_split(labels, 8, 7))
    assert path.read_text().splitlines()[0] == f"{split[0]} {labels[split[0]]}"
    path.write_text("1 1\n")
    with pytest.raises(UserError, match=r"07\.txt exists with different"):
        splits.write_split(path, labels, 8, 7)
    assert path.read_text() == "1 1\n"


def test_pool():
    empty = Pool.make_unlabeled(4)
    pool = empty.reveal_labels(np.array([2, 0]), np.array([2, 3]))
    assert pool.labels.tolist() == [3, -1, 2, -1] and pool.labeled_order.tolist() == [2, 0]
    assert empty.labels.tolist() == [-1] * 4 and pool.labeled_indices.tolist() == [0, 2]
    for picks, problem in (
        ([4], "outside"),
        ([-1], "outside"),
        ([1, 1], "twice"),
        ([2], "already has"),
    ):
        with pytest.raises(ValueError, match=problem):
            pool.reveal_labels(np.array(picks), np.zeros(len(picks), int))
    later = pool.reveal_labels(np.array([3]), np.array([0]))
    assert later.labels.tolist() == [3, -1, 2, 0] and later.labeled_order.tolist() == [2, 0, 3]
    with pytest.raises(ValueError, match="already"):
        later.reveal_labels(np.array([3]), np.array([0]))  # of class 0
    assert later.reveal_labels(np.array([]), np.array([])).labeled_order.tolist() == [2, 0, 3]
    targets = targets_from_labels(pool, 4)
    assert targets.weights.dtype == targets.class_weights.dtype == np.float32
    assert targets.weights.tolist() == [1, 0, 1, 0] and targets.class_weights.tolist() == [1] * 4


def test_translation_against_a_loop_over_pixels():
    images = torch.arange(2 * 3 * 5 * 6, dtype=torch.uint8).reshape(2, 3, 5, 6)
    shifts = np.array([[2, -1], [-2, 2], [0, 1]])
    picked = np.array([1, 0, 1])
    moved = translate_images(make_shift_windows(images, 2), picked, shifts)

    def reflect(i, size):
        i = -i if i < 0 else i
        return 2 * (size - 1) - i if i >= size else i

    for b, (image, (dx, dy)) in enumerate(zip(picked, shifts, strict=True)):
        for y in range(5):
            for x in range(6):
                source = images[image, :, reflect(y - dy, 5), reflect(x - dx, 6)]
                assert torch.equal(moved[b, :, y, x], source)


def test_image_batches():
    pixels = torch.randint(256, (50, 3, 8, 8), dtype=torch.uint8, generator=torch.manual_seed(0))
    mean, std = channel_statistics(pixels)
    images = ImageStore(pixels, mean, std, max_shift=2, flip=True)
    plain = images.plain_batch(slice(None))
    torch.testing.assert_close(plain.mean(dim=(0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(plain.std(dim=(0, 2, 3)), torch.ones(3), atol=1e-2, rtol=0)
    many = np.zeros(3000, dtype=int)
    batch = images.weak_batch(many, np.random.default_rng(0))
    counts = collections.Counter(tuple(image.flatten().tolist()) for image in batch)
    assert len(counts) == 25 * 2  # every shift, flipped or not
    assert min(counts.values()) > 25  # 60 expected
    expected = {
        tuple(variant.flatten().tolist())
        for y in range(5)
        for x in range(5)
        for image in [images.normalise(images.windows[0:1, y, x])]
        for variant in (image, image.flip(3))
    }
    assert set(counts) == expected
    unshifted = ImageStore(pixels, mean, std)
    assert torch.equal(unshifted.weak_batch(np.arange(50), np.random.default_rng(0)), plain)


@pytest.mark.parametrize(
    "count, batch, sizes", [(10, 32, [10]), (64, 32, [32, 32]), (97, 32, [25, 24, 24, 24])]
)
def test_one_pass(count, batch, sizes):
    indices = np.arange(count) * 3
    batches = make_shuffled_batches(indices, batch, np.random.default_rng(0))
    assert [len(b) for b in batches] == sizes
    assert sorted(np.concatenate(batches).tolist()) == indices.tolist()


@pytest.mark.parametrize("count, steps", [(10, 7), (100, 2), (100, 9)])
def test_fixed_steps(count, steps):
    batches = make_shuffled_batches(np.arange(count), 32, np.random.default_rng(0), steps)
    assert len(batches) == steps and {len(b) for b in batches} == {min(32, count)}
    uses = np.bincount(np.concatenate(batches), minlength=count)
    assert uses.max() - uses.min() <= 1


def test_cycle_indices_uses_all_before_any_again():
    order = cycle_indices(np.arange(7), 17, np.random.default_rng(0))
    assert sorted(order[:7]) == sorted(order[7:14]) == list(range(7)) and len(set(order[14:])) == 3


def test_targets_and_weights_belong_to_their_images():
    """Each image's only pixel is its index."""
    pixels = torch.arange(20, dtype=torch.uint8).reshape(20, 1, 1, 1)
    images = ImageStore(pixels, [0.0], [1.0])
    labels = np.arange(20) % 3
    weights = np.linspace(0, 1, 20, dtype=np.float32)
    class_weights = np.array([1, 10, 100], dtype=np.float32)
    rng = np.random.default_rng(0)
    epoch_batches = make_shuffled_batches(np.arange(20), 6, rng)
    hard = BatchLoader(images, Targets(labels, weights, class_weights), epoch_batches, rng)
    soft_targets = Targets(labels, weights, class_weights, np.eye(20, dtype=np.float32))
    soft = BatchLoader(images, soft_targets, epoch_batches, rng)
    assert len(hard) == len(epoch_batches) == 4
    for ((x, y, w),), ((_, z, _),) in zip(hard, soft, strict=True):
        index = (x.flatten() * 255).round().long()
        assert torch.equal(y, index % 3) and torch.equal(z.argmax(dim=1), index)
        torch.testing.assert_close(w, (index / 19) * torch.tensor([1.0, 10, 100])[index % 3])


def test_weights_of_unused_images_are_zero():
    """A label of -1 is not a class: the weight of the last class must not be used."""
    images = ImageStore(torch.zeros(3, 1, 1, 1, dtype=torch.uint8), [0.0], [1.0])
    class_weights = np.array([2, np.inf], dtype=np.float32)
    targets = Targets(np.array([0, -1, -1]), np.array([1, 0, 0], np.float32), class_weights)
    batches = BatchLoader(images, targets, [np.arange(3)], np.random.default_rng(0))
    ((batch,),) = batches
    assert batch.weights.tolist() == [2, 0, 0]


def test_augmentations_and_subsets_of_a_batch():
    """Two augmentations of the same images, or of different images; a subset of all images."""
    pixels = torch.arange(20, dtype=torch.uint8).reshape(20, 1, 1, 1)
    images = ImageStore(pixels, [0.0], [1.0]).subset(np.arange(5, 20)).subset(np.arange(10))
    targets = targets_from_labels(Pool(np.arange(10) % 3 - 1, np.arange(3)), 2)
    epoch_batches = [np.array([4, 2]), (np.array([1, 7, 3]), np.array([9]))]
    rng = np.random.default_rng(0)
    both, apart = BatchLoader(images, targets, epoch_batches, rng, ("weak", "plain"))
    shades = [(batch.images.flatten() * 255).round().long().tolist() for batch in (*both, *apart)]
    assert shades == [[9, 7], [9, 7], [6, 12, 8], [14]]
    assert apart[0].targets.tolist() == [0, 0, -1] and apart[1].weights.tolist() == [0]
    assert (images.plain_batch(slice(0, 2)) * 255).flatten().round().tolist() == [5, 6]
    assert images.pixels.flatten().tolist() == list(range(5, 15)) and len(images) == 10


def test_arrays_of_a_state_are_read_only():
    labels = np.array([0, -1, 2])
    pool = Pool(labels, np.array([0, 2]))
    targets = targets_from_labels(pool, 3)
    state = State(pool, queried=np.array([1]), targets=targets, carry_over={"x": np.zeros(2)})
    arrays = [pool.labels, pool.labeled_order, targets.labels, targets.weights]
    arrays += [targets.class_weights, state.queried, state.carry_over["x"], state.pool.labels]
    for array in arrays:
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1
    labels[1] = 1
    assert pool.labels.tolist() == [0, -1, 2]  # the pool has a copy
    later = state.reveal_labels(np.array([1]))
    assert later.pool.labels.tolist() == [0, 1, 2] and state.pool.labels.tolist() == [0, -1, 2]
    assert later.queried is None and later.pool.labeled_order.tolist() == [0, 2, 1]
    with pytest.raises(ValueError, match="without a query"):
        later.reveal_labels(np.array([1]))


def test_batch_options():
    """By default one pass in batches of at most 32."""
    pool = Pool(np.arange(65) % 3, np.arange(65))
    targets = targets_from_labels(pool, 3)
    for options, sizes in (
        (BatchOptions(), [22, 22, 21]),
        (BatchOptions(steps_per_epoch=5), [32] * 5),
        (BatchOptions(batch_size=50), [33, 32]),
    ):
        batches = batches_of_used_images(targets, pool, np.random.default_rng(0), batch=options)
        assert [len(batch) for batch in batches] == sizes


def test_as_read_only_copies_where_the_data_could_be_written():
    owner = np.arange(3)
    view, whole = owner[:], as_read_only(owner)
    view.flags.writeable = False
    assert as_read_only(whole) is whole
    part, buffer = whole[1:], np.frombuffer(bytearray(8), dtype=np.int64)
    assert as_read_only(part) is part
    buffer.flags.writeable = False
    for array in (owner, view, buffer):  # numpy does not own the bytes of the last one
        copy = as_read_only(array)
        assert copy is not array and not copy.flags.writeable and (copy == array).all()


def test_sequence_of_states():
    state = State.initial(np.array([2, 0], dtype=np.int32), 4)
    assert state.queried.dtype == np.int64
    state = state.reveal_labels(np.array([1, 0]))
    state = state.after_epoch(5, 0.25).after_epoch(5, 0.5)
    assert (state.cycle, state.epoch, state.steps, state.loss) == (0, 2, 10, 0.5)
    later = state.next_cycle(np.array([3]), {"x": np.ones(4)})
    assert (later.cycle, later.epoch, later.steps, later.evaluated) == (1, 0, 0, False)
    assert (
        later.queried.tolist() == [3] and later.targets is None and list(later.carry_over) == ["x"]
    )
    assert later.pool.labels.tolist() == [0, -1, 1, -1]


def test_statistics_of_many_images_need_little_memory():
    pixels = torch.randint(256, (20_000, 3, 32, 32), dtype=torch.uint8)  # 59 MiB
    with PeakMemory() as peak:
        mean, std = channel_statistics(pixels)
    assert peak.added < 150  # the images as float64 would be 470
    values = pixels[:, 1].numpy() / 255
    assert mean[1] == pytest.approx(values.mean(), abs=1e-12)
    assert std[1] == pytest.approx(values.std(), abs=1e-12)


def test_validation_set_is_not_in_the_training_set(home):
    spec = DATASETS["digits"]
    options = {"split": 77, "size": 20, "rng": np.random.default_rng(0), "device": "cpu"}
    dataset = load_active_dataset(spec, "", name="digits", validation=True, **options)
    train, _ = spec.load("")
    images, labels = dataset.eval_sets["val_"]
    assert len(images) == 500 and np.bincount(labels).tolist() == [50] * 10
    assert len(dataset.images) == len(dataset.dataset_indices) == 1437 - 500
    assert torch.equal(dataset.images.pixels, train.pixels[dataset.dataset_indices])
    np.testing.assert_array_equal(dataset.oracle.labels, train.labels[dataset.dataset_indices])
    split = splits.draw_balanced_split(train.labels, 20, 77)
    assert not splits.split_path("digits", 20, 77).exists()  # a run writes it when it starts
    np.testing.assert_array_equal(dataset.dataset_indices[dataset.initial_indices], split)
    with pytest.raises(UserError, match="--use-val-set needs 50 images of class"):
        splits.draw_validation_set(np.arange(100) % 2, np.arange(10), 50, options["rng"])
