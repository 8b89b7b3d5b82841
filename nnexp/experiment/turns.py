"""Trains the runs of one process one after the other, since they share PyTorch's generators."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from nnexp.settings import ConfigError

_turn = threading.RLock()
_is_training = False  # only the thread that holds the lock sets it, or sees it set


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """Wait until no other thread of this process trains.

    Raises:
        ConfigError: This thread is training: a listener tries to train inside its run.
    """
    global _is_training
    with _turn:
        if _is_training:
            raise ConfigError(
                "nnexp.run was called inside another run", "call it after that run has returned"
            )
        _is_training = True
        try:
            yield
        finally:
            _is_training = False
