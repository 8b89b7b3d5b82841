"""Finds the source that `data.name` names and returns the images of a run, split."""

from collections.abc import Callable
from functools import partial
from typing import Any

from nnexp.data.cache import Progress, Source, report_nothing
from nnexp.data.cifar import load_cifar
from nnexp.data.folder import load_folder
from nnexp.data.split import Images, split_images
from nnexp.data.synthetic import load_synthetic
from nnexp.settings import ConfigError, DataConfig, Table

SOURCES: Table[Callable[[DataConfig, Progress], Source]] = Table(
    "data",
    {
        "cifar10": partial(load_cifar, "CIFAR10"),
        "cifar100": partial(load_cifar, "CIFAR100"),
        "folder": load_folder,
        "synthetic": load_synthetic,
    },
)


def load_images(config: DataConfig, progress: Progress | None = None) -> Images:
    """Return the images that `config` names, on the host, split into train, val and test.

    Args:
        progress: Called with (what, done, total) while images are fetched and decoded.

    Raises:
        ConfigError: There is no such source, it cannot be read, or it has too few images.
    """
    source = SOURCES[config.name](config, progress or report_nothing)
    if not isinstance(source, Source):
        raise ConfigError(
            f"SOURCES[{config.name!r}] returns {type(source).__name__}", "it must return a Source"
        )
    return split_images(source, config)


def describe_images(images: Images) -> dict[str, Any]:
    """Return the contents of `images.json`: what a trained model needs to classify a picture."""
    return {
        "name": images.name,
        "classes": list(images.classes),
        "size": list(images.train.images.shape[1:]),  # channels, height, width
        "mean": list(images.mean),
        "std": list(images.std),
        "counts": images.counts,
        "sha256": images.fingerprint,
    }
