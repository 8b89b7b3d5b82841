"""A small source of images, put into the cache by processes at the same time.

Nothing of pytest is imported here: each of the processes imports this module.
"""

from multiprocessing.synchronize import Barrier
from pathlib import Path

import numpy as np

from nnexp.data.cache import Examples, Source, cached, fingerprint, report_nothing

PATIENCE = 60  # seconds


def tiny_source(fill: int) -> Source:
    images = np.full((4, 3, 32, 32), fill, np.uint8)
    examples = Examples(images, np.arange(4, dtype=np.int64) % 2)
    return Source(
        classes=("a", "b"),
        train=examples,
        test=examples,
        fingerprint=fingerprint("ab", examples, examples),
    )


def build_with_others(place: Path, everyone: Barrier) -> None:
    """Build a cache; decode only when all others decode, so that nobody has put it in place."""

    def decode() -> Source:
        everyone.wait(PATIENCE)
        return tiny_source(5)

    source = cached(place, decode, report_nothing)
    raise SystemExit(0 if np.asarray(source.train.images).min() == 5 else 3)
