"""Tiny folders of pictures for the tests of what reads them."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nnexp.data import load_images
from nnexp.settings import ConfigError, DataConfig

CLASSES = ("ant", "bee", "cat")


def draw(path: Path, seed: int, size: tuple[int, int] = (32, 32)) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def make_photos(root: Path) -> Path:
    """Write three classes of eight pictures to train on and four to test on."""
    for label, name in enumerate(CLASSES):
        for k in range(8):
            draw(root / "train" / name / f"{k}.png", 100 * label + k)
        for k in range(4):
            draw(root / "test" / name / f"{k}.png", 1000 + 100 * label + k)
    return root


def folder_config(photos: Path, cache: Path) -> DataConfig:
    return DataConfig(name="folder", root=str(photos), cache_dir=str(cache), val_images=6)


def refusal(config: DataConfig) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        load_images(config)
    assert caught.value.remedy
    return caught.value
