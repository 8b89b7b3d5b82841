from itertools import pairwise

import numpy as np
import pytest
import torch

from nnexp.data.cache import Examples, Source
from nnexp.data.sources import SOURCES, load_images
from nnexp.data.split import channel_statistics, class_quotas, split_images
from nnexp.settings import ConfigError, DataConfig


def numbered(per_class: list[int]) -> Source:
    """Return a source whose image i shows the number i, in classes of the given sizes.

    The images of its test half also show a white pixel.
    """
    labels = np.repeat(np.arange(len(per_class)), per_class)
    images = np.zeros((len(labels), 3, 32, 32), np.uint8)
    images[:, :, 0, 0] = np.arange(len(labels))[:, None]
    test_images = images.copy()
    test_images[:, :, 0, 1] = 255
    return Source(
        classes=tuple("abcdef"[: len(per_class)]),
        train=Examples(images, labels),
        test=Examples(test_images, labels),
        fingerprint="",
    )


def split_numbers(per_class: list[int], **settings: int) -> dict[str, set[int]]:
    images = split_images(numbered(per_class), DataConfig(name="folder", **settings))
    splits = {"train": images.train, "val": images.val, "test": images.test}
    for split in splits.values():
        numbers = split.images[:, 0, 0, 0].long()
        expected = torch.repeat_interleave(torch.arange(len(per_class)), torch.tensor(per_class))
        assert torch.equal(split.labels, expected[numbers])
    return {name: set(split.images[:, 0, 0, 0].tolist()) for name, split in splits.items()}


def per_class(numbers: set[int], size: int) -> list[int]:
    return np.bincount([number // size for number in numbers]).tolist()


def test_splits_are_balanced_and_disjoint_and_leave_nothing_out() -> None:
    splits = split_numbers([40, 40, 40], val_images=30)
    assert per_class(splits["val"], 40) == [10, 10, 10]
    assert per_class(splits["train"], 40) == [30, 30, 30]
    assert splits["train"] | splits["val"] == set(range(120))
    assert not splits["train"] & splits["val"]
    assert splits["test"] == set(range(120))


def test_images_that_validate_are_of_the_training_half_of_the_source() -> None:
    images = split_images(numbered([40, 40, 40]), DataConfig(name="folder", val_images=30))
    shown = {name: set(one.images[:, 0, 0, 1].tolist()) for name, one in images.splits.items()}
    assert shown == {"train": {0}, "val": {0}, "test": {255}}


def test_what_does_not_divide_goes_to_the_first_classes() -> None:
    splits = split_numbers([40, 40, 40], val_images=31, train_images=50, test_images=8)
    assert per_class(splits["val"], 40) == [11, 10, 10]
    assert per_class(splits["train"], 40) == [17, 17, 16]
    assert per_class(splits["test"], 40) == [3, 3, 2]


def test_a_smaller_run_sees_a_part_of_what_a_larger_one_sees() -> None:
    small = split_numbers([40, 40, 40], val_images=30, train_images=20, test_images=10)
    large = split_numbers([40, 40, 40], val_images=30, train_images=70, test_images=50)
    assert small["val"] == large["val"]
    assert small["train"] < large["train"]
    assert small["test"] < large["test"]


def test_the_choice_is_shuffled_and_the_same_forever() -> None:
    splits = split_numbers([40, 40, 40], val_images=12)
    assert sorted(splits["val"]) == [1, 5, 8, 27, 44, 47, 65, 76, 85, 89, 98, 103]


def test_unequal_classes_are_as_balanced_as_they_can_be() -> None:
    assert class_quotas([3, 50, 20], 9) == [3, 3, 3]
    assert class_quotas([3, 50, 20], 21) == [3, 9, 9]
    assert class_quotas([3, 50, 20], 60) == [3, 37, 20]
    assert class_quotas([5, 5, 5], 2) == [1, 1, 0]
    assert class_quotas([5, 5], 0) == [0, 0]


def test_no_class_gives_less_to_a_larger_total() -> None:
    counts = [3, 12, 7, 7]
    divided = [class_quotas(counts, total) for total in range(sum(counts) + 1)]
    assert [sum(quotas) for quotas in divided] == list(range(30))
    for smaller, larger in pairwise(divided):
        assert all(a <= b for a, b in zip(smaller, larger, strict=True))


def test_validation_leaves_every_class_something_to_learn_from() -> None:
    splits = split_numbers([2, 60, 60], val_images=40)
    assert len({number for number in splits["train"] if number < 2}) == 1


@pytest.mark.parametrize(
    ("settings", "problem", "remedy"),
    [
        ({"val_images": 118}, "data.val_images cannot be 118", "choose at most 117"),
        (
            {"val_images": 20, "train_images": 101},
            "data.train_images cannot be 101",
            "100 training images are left",
        ),
        (
            {"val_images": 20, "test_images": 121},
            "data.test_images cannot be 121",
            "120 test images",
        ),
    ],
)
def test_more_images_than_there_are_is_refused_with_how_many_there_are(
    settings: dict[str, int], problem: str, remedy: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        split_numbers([40, 40, 40], **settings)
    assert caught.value.problem == problem
    assert remedy in caught.value.remedy


def test_statistics_are_exact_over_many_images() -> None:
    images = torch.zeros(2500, 3, 32, 32, dtype=torch.uint8)
    images[1250:, 1] = 255
    images[:, 2, :16] = 51
    assert channel_statistics(images) == ((0.0, 0.5, 0.1), (0.0, 0.5, 0.1))


def test_images_that_are_all_alike_are_refused() -> None:
    examples = Examples(np.zeros((8, 3, 32, 32), np.uint8), np.arange(8) % 2)
    source = Source(classes=("a", "b"), train=examples, test=examples, fingerprint="")
    with pytest.raises(ConfigError, match="one value in every pixel"):
        split_images(source, DataConfig(name="folder", val_images=2))


def test_images_are_normalized_by_the_training_images_that_are_used() -> None:
    rng = np.random.default_rng(0)
    examples = Examples(rng.integers(0, 256, (30, 3, 32, 32), dtype=np.uint8), np.arange(30) % 3)
    source = Source(classes=("a", "b", "c"), train=examples, test=examples, fingerprint="")
    images = split_images(source, DataConfig(name="folder", val_images=3, train_images=9))
    pixels = images.train.images.numpy().astype(np.float64) / 255
    assert len(pixels) == 9
    np.testing.assert_allclose(images.mean, pixels.mean((0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(images.std, pixels.std((0, 2, 3)), rtol=1e-12)


IMAGES, LABELS = np.zeros((4, 3, 32, 32), np.uint8), np.arange(4) % 2


@pytest.mark.parametrize(
    ("images", "labels", "problem"),
    [
        (IMAGES / 255, LABELS, "images of a data source cannot be float64 of the shape (4, 3,"),
        (IMAGES.transpose(0, 2, 3, 1), LABELS, "cannot be uint8 of the shape (4, 32, 32, 3)"),
        (torch.from_numpy(IMAGES), LABELS, "cannot be torch.uint8 of the shape (4, 3, 32, 32)"),
        (IMAGES, LABELS[:-1], "a data source has 4 images and 3 labels"),
        (IMAGES, LABELS.astype(str), "labels of a data source cannot be <U"),
        (IMAGES, LABELS.tolist(), "labels of a data source cannot be list"),
        (IMAGES, LABELS + 1, "labels of a data source cannot be from 1 to 2 with 2 classes"),
    ],
)
def test_what_a_data_source_cannot_give_is_refused(images, labels, problem) -> None:
    def give() -> Source:
        examples = Examples(images, labels)
        return Source(classes=("a", "b"), train=examples, test=examples, fingerprint="")

    with pytest.raises(ConfigError) as refused:
        give()
    assert problem in refused.value.problem
    assert refused.value.remedy.startswith("give ")


def test_a_data_source_has_to_return_a_source(monkeypatch) -> None:
    monkeypatch.setitem(SOURCES, "nothing", lambda config, progress: None)
    with pytest.raises(ConfigError, match=r"SOURCES\['nothing'\] returns NoneType"):
        load_images(DataConfig(name="nothing"))
