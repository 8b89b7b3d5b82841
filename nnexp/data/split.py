"""Chooses which images of a source train, validate and test a run; between sources and batches."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.random import Philox
from torch import Tensor

from nnexp.data.cache import Examples, Source
from nnexp.settings import ConfigError, DataConfig

CLASS_ORDER_KEY = 0x6E6E657870  # "nnexp": the same splits for every run, whatever its seed

Channels = tuple[float, float, float]  # a number for red, green, blue, in units of 0 to 1


@dataclass(frozen=True, slots=True)
class Split:
    """Images and their labels, on one device.

    Args:
        images: uint8, (N, 3, 32, 32), RGB.
        labels: int64, (N,), index into `Images.classes`.
    """

    images: Tensor
    labels: Tensor

    def to(self, device: torch.device | str) -> "Split":
        """Return the same split on `device`."""
        return Split(self.images.to(device), self.labels.to(device))

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, slots=True, kw_only=True)
class Images:
    """Everything a run sees, and the numbers that normalize it.

    Args:
        mean: Of each channel over the pixels of `train`, in units of 0 to 1.
        std: Likewise; of the population, not of a sample.
        fingerprint: Digest of the whole source's content; see `nnexp.data.cache.fingerprint`.
        place: Where the decoded images lie, for people to read.
    """

    name: str
    classes: tuple[str, ...]
    train: Split
    val: Split
    test: Split
    mean: Channels
    std: Channels
    fingerprint: str
    place: str

    @property
    def splits(self) -> dict[str, Split]:
        """The three splits by name."""
        return {"train": self.train, "val": self.val, "test": self.test}

    @property
    def counts(self) -> dict[str, int]:
        """The number of images of each split."""
        return {name: len(split) for name, split in self.splits.items()}

    def to(self, device: torch.device | str) -> "Images":
        """Return the same images with every split on `device`."""
        return replace(self, **{name: split.to(device) for name, split in self.splits.items()})


def split_images(source: Source, config: DataConfig) -> Images:
    """Return the images that `config` asks of `source`, balanced over the classes.

    Each class is shuffled by a Philox key of its own. Its first images are for validation, the
    next ones train: so at one `val_images` a smaller `train_images` is a part of a larger one, and
    the seed of a run moves no image from one split to another.

    Raises:
        ConfigError: There are fewer images than `config` asks for, or no two differ.
    """
    train, val = _train_and_val(source.train.labels, len(source.classes), config)
    wanted, given = config.test_images, len(source.test.labels)
    if wanted is not None and wanted > given:
        raise ConfigError(
            f"data.test_images cannot be {wanted}", f"{config.name} has {given} test images"
        )
    members = _shuffled_classes(source.test.labels, len(source.classes))
    quotas = class_quotas(list(map(len, members)), given if wanted is None else wanted)
    test = _sorted(m[:quota] for m, quota in zip(members, quotas, strict=True))
    train_split = _take(source.train, train)
    mean, std = channel_statistics(train_split.images)
    if min(std) == 0:
        raise ConfigError(
            "the training images cannot be normalized: a channel has one value in every pixel",
            "look at the pictures, or choose more with data.train_images",
        )
    return Images(
        name=config.name,
        classes=source.classes,
        train=train_split,
        val=_take(source.train, val),
        test=_take(source.test, test),
        mean=mean,
        std=std,
        fingerprint=source.fingerprint,
        place=source.place,
    )


def class_quotas(counts: list[int], total: int) -> list[int]:
    """Return how many of `total` images each class gives, as equal as its size allows.

    A class that has run out is passed over, so unequal classes are as balanced as they can be,
    and no class ever gives less to a larger total.
    """
    quotas = [0] * len(counts)
    while total > 0:
        open_classes = [k for k, count in enumerate(counts) if quotas[k] < count]
        room = min(counts[k] - quotas[k] for k in open_classes)
        share = max(1, min(total // len(open_classes), room))
        for k in open_classes[:total]:
            quotas[k] += share
            total -= share
    return quotas


def channel_statistics(images_NCHW: Tensor) -> tuple[Channels, Channels]:
    """Return each channel's mean and population standard deviation, in units of 0 to 1.

    Summed as integers: exact, whatever the order and the number of threads.
    """
    values = np.arange(256, dtype=np.int64)
    means, stds = [], []
    for channel in range(3):
        histogram = sum(
            np.bincount(chunk[:, channel].reshape(-1).numpy(), minlength=256)
            for chunk in images_NCHW.split(1000)
        )
        count, total = int(np.sum(histogram)), int((histogram * values).sum())
        squares = int((histogram * values**2).sum())
        means.append(total / count / 255)
        stds.append((count * squares - total**2) ** 0.5 / count / 255)
    return (means[0], means[1], means[2]), (stds[0], stds[1], stds[2])


def _train_and_val(
    labels: np.ndarray, num_classes: int, config: DataConfig
) -> tuple[np.ndarray, np.ndarray]:
    members = _shuffled_classes(labels, num_classes)
    counts = list(map(len, members))
    # One image of every class is kept back: a class that is only validated cannot be learned.
    spare = [count - 1 for count in counts]
    if config.val_images > sum(spare):
        raise ConfigError(
            f"data.val_images cannot be {config.val_images}",
            f"{config.name} has {sum(counts)} training images: choose at most {sum(spare)}",
        )
    val = class_quotas(spare, config.val_images)
    left = [count - quota for count, quota in zip(counts, val, strict=True)]
    wanted = sum(left) if config.train_images is None else config.train_images
    if wanted > sum(left):
        raise ConfigError(
            f"data.train_images cannot be {wanted}",
            f"{sum(left)} training images are left beside data.val_images={config.val_images}",
        )
    train = class_quotas(left, wanted)
    return (
        _sorted(m[v : v + t] for m, v, t in zip(members, val, train, strict=True)),
        _sorted(m[:v] for m, v in zip(members, val, strict=True)),
    )


def _shuffled_classes(labels: np.ndarray, num_classes: int) -> list[np.ndarray]:
    """Return each class's indices, in an order that depends on the class and its size alone."""
    shuffled = []
    for label in range(num_classes):
        indices = np.flatnonzero(labels == label)
        words = Philox(key=[CLASS_ORDER_KEY, label]).random_raw(len(indices))
        shuffled.append(indices[np.argsort(words, kind="stable")])
    return shuffled


def _sorted(parts: Iterable[np.ndarray]) -> np.ndarray:
    return np.sort(np.concatenate(list(parts)))  # sorted: the mapped file is read in one sweep


def _take(examples: Examples, indices: np.ndarray) -> Split:
    # Indexing by an array copies what is chosen out of the mapped file, and nothing else.
    return Split(
        torch.from_numpy(examples.images[indices]),
        torch.from_numpy(examples.labels[indices]),
    )
