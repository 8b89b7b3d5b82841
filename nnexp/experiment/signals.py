"""Catches Ctrl-C and SIGTERM while a run trains, so that it stops where its state is whole."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

INTERRUPTIONS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # any other signal is a failure
SIGNAL_EXIT = 128  # a process that a signal stopped exits with this and the signal's number


class Interrupted(Exception):  # noqa: N818  an outcome, not an error
    """A signal asked the run to stop, and the state is whole."""

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.signum = signum


class StopSignal:
    """Remembers the first signal; a second one acts at once, as if nobody listened."""

    def __init__(self) -> None:
        self.signum: int | None = None
        self._before: dict[int, signal._HANDLER] = {}

    def raise_if_set(self) -> None:
        """Raise if a signal has come.

        Raises:
            Interrupted: With the signal.
        """
        if self.signum is not None:
            raise Interrupted(self.signum)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Catch SIGINT and SIGTERM inside the block; outside the main thread, catch nothing."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        for signum in (signal.SIGINT, signal.SIGTERM):
            self._before[signum] = signal.signal(signum, self._note)
        try:
            yield
        finally:
            self._restore()

    def _note(self, signum: int, frame: FrameType | None) -> None:
        self.signum = signum
        self._restore()

    def _restore(self) -> None:
        for signum, handler in self._before.items():
            signal.signal(signum, handler)
