"""Keeps nnexp's use of Hydra apart: from other threads, and from a program that uses Hydra too."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton
from hydra.core.utils import JobRuntime
from hydra.version import VersionBase

STATE = (GlobalHydra, HydraConfig, JobRuntime, VersionBase)  # of which a process has one each
_turn = threading.RLock()


@contextmanager
def own_hydra() -> Iterator[None]:
    """Give this thread Hydra as if nobody had used it; afterwards its state is as it was before."""
    known = Singleton._instances
    with _turn:
        before = {one: known.pop(one) for one in STATE if one in known}
        try:
            yield
        finally:
            for one in STATE:
                known.pop(one, None)
            known.update(before)
