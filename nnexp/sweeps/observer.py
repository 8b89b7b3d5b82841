"""Who is told how a sweep goes; nothing an observer does changes a result."""

from collections.abc import Iterable, Sequence

from nnexp.sweeps.jobs import Job


class SweepObserver:
    """Is told how a sweep goes; a subclass overrides what it wants to hear of."""

    def planning(self, jobs: list[list[str]]) -> Iterable[list[str]]:
        """The settings of the jobs come next; return the jobs, perhaps wrapped to count them."""
        return jobs

    def planned(self, jobs: Sequence[Job], todo: Sequence[Job]) -> None:
        """The runs of the sweep are known, and which of them are to be trained."""

    def begun(self, slots: Sequence[str | None], threads: Sequence[int]) -> None:
        """Training begins: the device of each slot, and the numbers of threads that runs have."""

    def note(self, text: str) -> None:
        """Something the user should know, in one line."""

    def started(self, job: Job) -> None:
        """A run has its process."""

    def waits(self, job: Job) -> None:
        """Another process trains the run."""

    def ended(self, job: Job, seconds: float) -> None:
        """The run's process is gone; the job says how."""

    def stopping(self, reason: str, running: int) -> None:
        """No more runs are begun, and those that go on are asked to save their state."""

    def tick(self, running: Sequence[Job]) -> None:
        """Called a few times a second while runs are trained."""

    def closed(self) -> None:
        """Nothing more is trained."""
