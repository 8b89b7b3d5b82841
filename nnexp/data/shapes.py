"""The ten shapes of the synthetic images, as signed distances to their outlines.

Each takes coordinates in which the shape has its textbook size and returns a distance that is
negative inside, in the same unit. Only + − × ÷, square roots, minima and maxima, all of which
IEEE 754 rounds in one way: the same bits on every machine.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Shape:
    """A shape by its distance function.

    Args:
        distance: (x, y) → signed distance.
        area: What it covers; images scale by it, so that no class covers more than another.
        reach: Distance of its farthest point from the origin.
    """

    distance: Callable[[np.ndarray, np.ndarray], np.ndarray]
    area: float
    reach: float


# Unit vectors at 90° + k·72°.
STAR_NORMALS = (
    (0.0, 1.0),
    (-0.95105652, 0.30901699),
    (-0.58778525, -0.80901699),
    (0.58778525, -0.80901699),
    (0.95105652, 0.30901699),
)


def _star(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    # Inside the pentagram at most one of the five lines is crossed: the second largest decides.
    first = second = np.full_like(x, -9)
    for normal_x, normal_y in STAR_NORMALS:
        along = x * normal_x + y * normal_y
        second = np.maximum(second, np.minimum(first, along))
        first = np.maximum(first, along)
    return second - 0.30901699


def _hourglass(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    x, y = np.abs(x), np.abs(y)
    return np.maximum(y - 1, (x - y) * 0.70710678)


def _plus(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    x, y = np.abs(x), np.abs(y)
    return np.maximum(np.minimum(x, y) - 0.32, np.maximum(x, y) - 1)


def _crescent(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    bite = x - 0.5
    return np.maximum(np.sqrt(x * x + y * y) - 1, 0.8 - np.sqrt(bite * bite + y * y))


def _square(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.maximum(np.abs(x), np.abs(y)) - 1


SHAPES = {
    "bars": Shape(
        lambda x, y: np.maximum(np.abs(x) - 1, np.abs(np.abs(y) - 0.675) - 0.325), 2.6, 1.4142
    ),
    "corner": Shape(lambda x, y: np.maximum(_square(x, y), np.minimum(x, y) + 0.3), 2.31, 1.4142),
    "crescent": Shape(_crescent, 1.5295, 1.0),
    "disc": Shape(lambda x, y: np.sqrt(x * x + y * y) - 1, 3.1416, 1.0),
    "hourglass": Shape(_hourglass, 2.0, 1.4142),
    "plus": Shape(_plus, 2.1504, 1.05),
    "ring": Shape(lambda x, y: np.abs(np.sqrt(x * x + y * y) - 0.75) - 0.25, 2.3562, 1.0),
    "square": Shape(_square, 4.0, 1.4142),
    "star": Shape(_star, 1.1226, 1.0),
    "triangle": Shape(
        lambda x, y: np.maximum(y, np.abs(x) * 0.8660254 - y * 0.5) - 0.5, 1.2990, 1.0
    ),
}
