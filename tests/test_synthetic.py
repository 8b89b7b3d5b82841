from pathlib import Path

import numpy as np
import pytest

from nnexp.data import load_images, synthetic
from nnexp.data.shapes import SHAPES, Shape
from nnexp.data.synthetic import DrawnImages
from nnexp.settings import DataConfig

SMOKE = DataConfig(name="synthetic", train_images=1000, val_images=250, test_images=500)


def ridge_accuracy(train: np.ndarray, train_y: np.ndarray, x: np.ndarray, y: np.ndarray) -> float:
    """Return how often least squares on standardized features names the class."""
    mean, std = train.mean(0), train.std(0)
    features = [np.c_[(part - mean) / std, np.ones(len(part))] for part in (train, x)]
    targets = np.eye(10)[train_y]
    weights = np.linalg.solve(
        features[0].T @ features[0] + 1e-3 * np.eye(features[0].shape[1]),
        features[0].T @ targets,
    )
    return float(((features[1] @ weights).argmax(1) == y).mean())


def colours(images: np.ndarray) -> np.ndarray:
    """Return each image's mean colour, and the squares and products of its parts."""
    mean = images.mean((2, 3)) / 255
    products = mean[:, :, None] * mean[:, None, :]
    return np.c_[mean, products.reshape(-1, 9)[:, [0, 1, 2, 4, 5, 8]]]


def test_the_pictures_never_change() -> None:
    images = load_images(SMOKE)
    assert images.fingerprint == "4a00d8dc0dc3c5571c927b5bafa4057fbdf06f42a9aeadc1d604abe12bd4e21f"


def test_an_image_depends_on_its_split_and_index_alone() -> None:
    train = DrawnImages("train")
    block = train[:300]
    assert np.array_equal(train[np.array([299, 7])], block[[299, 7]])
    assert not np.array_equal(block[:10], DrawnImages("test")[:10])
    assert len({image.tobytes() for image in block}) == 300


def test_no_class_can_be_told_by_its_colours() -> None:
    train, test = DrawnImages("train")[:4000], DrawnImages("test")[:3000]
    labels = np.arange(4000) % 10
    accuracy = ridge_accuracy(colours(train), labels, colours(test), labels[:3000])
    assert 0.08 < accuracy < 0.12


def test_the_test_of_colours_would_find_a_colour_that_tells() -> None:
    train, test = DrawnImages("train")[:2000], DrawnImages("test")[:1000]
    labels = np.arange(2000) % 10
    tint = (labels * 6).astype(np.uint8)[:, None, None, None]
    train, test = np.minimum(train, 190) + tint, np.minimum(test, 190) + tint[:1000]
    assert ridge_accuracy(colours(train), labels, colours(test), labels[:1000]) > 0.15


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_a_shape_covers_the_area_and_stays_within_the_reach_it_names(shape: Shape) -> None:
    ticks = (np.arange(800) + 0.5) / 200 - 2
    x, y = np.meshgrid(ticks, ticks)
    inside = shape.distance(x, y) <= 0
    assert inside.sum() / 200**2 == pytest.approx(shape.area, rel=0.01)
    assert np.hypot(x, y)[inside].max() == pytest.approx(shape.reach, rel=0.01)


def test_every_class_is_a_shape_of_its_own() -> None:
    """Turned and scaled to one area, no two shapes cover the same ground."""
    ticks = (np.arange(200) + 0.5) / 100 - 1
    x, y = np.meshgrid(ticks, ticks)
    covers = []
    for shape in SHAPES.values():
        size = np.sqrt(0.8 / shape.area)
        covers.append(shape.distance(x / size, y / size) <= 0)
    for first in range(10):
        for second in range(first):
            both = (covers[first] & covers[second]).sum() / (covers[first] | covers[second]).sum()
            assert both < 0.9


def test_a_smoke_run_draws_only_the_images_it_needs() -> None:
    drawn = set()
    images = load_images(SMOKE, lambda what, done, total: drawn.add((what, total)))
    assert drawn == {
        ("drawing train images", 1000),
        ("drawing train images", 250),
        ("drawing test images", 500),
    }
    assert (len(images.train), len(images.val), len(images.test)) == (1000, 250, 500)


def test_a_cached_image_is_the_drawn_image(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(synthetic, "COUNTS", {"train": 400, "test": 200})
    config = DataConfig(name="synthetic", val_images=50, cache_dir=str(tmp_path))
    drawn = load_images(config)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(synthetic, "DRAWN_EACH_TIME", 0)
    load_images(config)
    cached = load_images(config)
    assert cached.place == str(tmp_path / "synthetic")
    assert cached.fingerprint == drawn.fingerprint
    for name in ("train", "val", "test"):
        assert getattr(cached, name).images.equal(getattr(drawn, name).images)
        assert getattr(cached, name).labels.equal(getattr(drawn, name).labels)
