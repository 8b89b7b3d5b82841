"""A source: ten shapes in random colours on random ground, drawn when asked for, the same forever.

Only the shape tells the class. Position, turn, stretch and area, the two colours and which of
them is brighter, shading, noise and the specks around follow one law in all ten classes.
"""

import math

import numpy as np
from numpy.random import Philox

from nnexp.data.cache import (
    Examples,
    Progress,
    Source,
    cache_home,
    cached,
    fingerprint,
    report_nothing,
)
from nnexp.data.shapes import SHAPES
from nnexp.settings import DataConfig

CLASSES = tuple(SHAPES)
COUNTS = {"train": 50_000, "test": 10_000}
STREAMS = {"train": 0, "test": 1}  # the first word of an image's Philox key
SIDE = 32
CHUNK = 256  # images drawn at a time: their pixels stay in the processor's cache
FINGERPRINTED = 100  # images of each half under the fingerprint: all would be drawn only for it
DRAWN_EACH_TIME = 10_000  # up to so many images, drawing is over in about a second

SPECKS = 2
GRID = 5  # shading: values at 5×5 points, joined linearly
UNIFORMS = 32  # words for the numbers of an image; then its shading, then its noise
SHADING = 3 * GRID * GRID
NOISE_WORDS = 3 * SIDE * SIDE // 8
TURNS = 64  # an eighth of a turn either way, in steps
# Rounded so that a last-digit difference between two cosines cannot show.
DIRECTIONS = np.array(
    [
        [
            round(part((step + 0.5 - TURNS / 2) / TURNS * math.pi / 2) * 2**14) / 2**14
            for part in (math.cos, math.sin)
        ]
        for step in range(TURNS)
    ],
    dtype=np.float32,
)


class DrawnImages:
    """uint8 images (N, 3, 32, 32) of one half, drawn when they are indexed.

    Image i is a function of (half, i) alone: all its randomness is
    `Philox(key=[0 for train, 1 for test, i]).random_raw(…)`, and its class is i mod 10.
    """

    def __init__(self, half: str, progress: Progress = report_nothing) -> None:
        self.half = half
        self.progress = progress

    def __getitem__(self, chosen: np.ndarray | slice) -> np.ndarray:
        indices = np.arange(COUNTS[self.half])[chosen]
        images = np.empty((len(indices), 3, SIDE, SIDE), np.uint8)
        for start in range(0, len(indices), CHUNK):
            chunk = indices[start : start + CHUNK]
            images[start : start + CHUNK] = _draw(STREAMS[self.half], chunk)
            self.progress(f"drawing {self.half} images", start + len(chunk), len(indices))
        return images


def load_synthetic(config: DataConfig, progress: Progress) -> Source:
    """Return the shapes: drawn as they are asked for, or through the cache where many are."""
    wanted = (
        (config.train_images or COUNTS["train"])
        + config.val_images
        + (config.test_images or COUNTS["test"])
    )
    if wanted <= DRAWN_EACH_TIME:
        return _source(progress)
    return cached(cache_home(config) / "synthetic", lambda: _source(progress), progress)


def _source(progress: Progress) -> Source:
    return Source(
        classes=CLASSES,
        train=_examples("train", progress),
        test=_examples("test", progress),
        fingerprint=fingerprint(CLASSES, _examples("train"), _examples("test"), FINGERPRINTED),
        fingerprinted=FINGERPRINTED,
        place="drawn when asked for",
    )


def _examples(half: str, progress: Progress = report_nothing) -> Examples:
    labels = np.arange(COUNTS[half], dtype=np.int64) % len(CLASSES)
    return Examples(DrawnImages(half, progress), labels)


def _draw(stream: int, indices: np.ndarray) -> np.ndarray:
    words = np.stack(
        [
            Philox(key=[stream, int(index)]).random_raw(UNIFORMS + SHADING + NOISE_WORDS)
            for index in indices
        ]
    )
    # 24 bits fill a float32 exactly.
    uniforms = (words[:, : UNIFORMS + SHADING] >> 40).astype(np.float32) / np.float32(2**24)
    numbers, shading = uniforms[:, :UNIFORMS], uniforms[:, UNIFORMS:]
    noise = words[:, UNIFORMS + SHADING :].astype("<u8").view(np.uint8)
    noise = noise.reshape(-1, 3, SIDE, SIDE).astype(np.float32) / 127.5 - 1

    inked, ground, specks = _colours(numbers)
    images = np.empty_like(noise)
    images[:] = ground
    for k in range(SPECKS):
        cover = _speck(numbers[:, 21 + 3 * k : 24 + 3 * k])[:, None]
        images += cover * (specks[:, k] - images)
    images += _shapes(numbers, indices % len(CLASSES))[:, None] * (inked - images)
    images += _shade(shading) * _between(numbers[:, 12], 4, 28)
    images += noise * _between(numbers[:, 13], 5, 25)
    return (images + 0.5).clip(0, 255).astype(np.uint8)


def _colours(numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return colours of shape and ground (n, 3, 1, 1) and of the specks (n, SPECKS, 3, 1, 1).

    Shape and ground lie on opposite sides of a random colour; a coin says which is the brighter.
    """
    middle = 70 + 115 * numbers[:, 0:3]
    strength = 30 + 45 * numbers[:, 3:4]
    side = np.where(numbers[:, 20:21] < 0.5, np.float32(-1), np.float32(1))
    half = (strength * side * (0.3 + 0.7 * numbers[:, 4:7]))[:, :, None, None]
    middle = middle[:, :, None, None]
    speck_colours = 255 * numbers[:, 14 : 14 + 3 * SPECKS].reshape(-1, SPECKS, 3, 1, 1)
    return middle + half, middle - half, speck_colours


def _shapes(numbers: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return how much of each pixel the shape covers, 0 to 1, (n, 32, 32)."""
    cover = np.empty((len(labels), SIDE, SIDE), np.float32)
    for label, shape in enumerate(SHAPES.values()):
        which = np.flatnonzero(labels == label)
        mine = numbers[which]
        size = np.sqrt((90 + 140 * mine[:, 7]) / np.float32(shape.area))
        stretch = 1 + 0.2 * mine[:, 8]
        room = (SIDE / 2 - size * stretch * np.float32(shape.reach)).clip(min=0)
        x, y = _centred(mine[:, 9], mine[:, 10], room)
        cosine, sine = DIRECTIONS[(mine[:, 11] * TURNS).astype(np.int64)].T[:, :, None, None]
        scale = (1 / size)[:, None, None]
        along = (x * cosine + y * sine) * (scale / stretch[:, None, None])
        across = (y * cosine - x * sine) * (scale * stretch[:, None, None])
        distance = shape.distance(along, across) * size[:, None, None]
        cover[which] = (0.5 - distance).clip(0, 1)
    return cover


def _speck(numbers: np.ndarray) -> np.ndarray:
    x, y = _centred(numbers[:, 0], numbers[:, 1], np.float32(SIDE / 2))
    radius = (1 + 2.5 * numbers[:, 2])[:, None, None]
    return (0.5 + radius - np.sqrt(x * x + y * y)).clip(0, 1)


def _centred(
    across: np.ndarray, down: np.ndarray, room: np.ndarray | np.float32
) -> tuple[np.ndarray, np.ndarray]:
    """Return pixel coordinates (n, 1, 32) and (n, 32, 1) around a centre up to `room` off."""
    pixels = np.arange(SIDE, dtype=np.float32) - np.float32((SIDE - 1) / 2)
    x = pixels[None, None, :] - ((2 * across - 1) * room)[:, None, None]
    y = pixels[None, :, None] - ((2 * down - 1) * room)[:, None, None]
    return x, y


def _shade(values: np.ndarray) -> np.ndarray:
    """Return smooth fields between −1 and 1, (n, 3, 32, 32), through random values on a grid."""
    grid = 2 * values.reshape(-1, 3, GRID, GRID) - 1
    places = np.arange(SIDE, dtype=np.float32) * np.float32((GRID - 1) / SIDE)
    low = places.astype(np.int64)
    share = places - low
    rows = grid[:, :, low] * (1 - share)[:, None] + grid[:, :, low + 1] * share[:, None]
    return rows[..., low] * (1 - share) + rows[..., low + 1] * share


def _between(numbers: np.ndarray, low: float, high: float) -> np.ndarray:
    return (low + (high - low) * numbers)[:, None, None, None]
