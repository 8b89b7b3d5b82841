"""A training step that is recorded once for each shape of a batch and replayed: CUDA graphs.

What a recording reads or changes stays at one place in memory: the batch, the learning rate and
the number of finished steps are copied there before each replay, and weights, buffers, optimizer
state and totals are changed in place.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

import torch
from torch import Tensor

from nnexp.training.state import TrainState
from nnexp.training.step import Step, StepSettings, seed_random_layers, set_learning_rate

WARM_UP = 3  # runs before a capture, in which libraries allocate and choose kernels
CHECKED = 3  # replays of a new recording that are compared with eager steps


class Recording(Protocol):
    """Work that was recorded, such as a `torch.cuda.CUDAGraph`."""

    def replay(self) -> None:
        """Do the same work again, on the same tensors."""
        ...


Recorder = Callable[[Callable[[], None]], Recording]  # does the work at least once, and records it


class ReplayedStep(Step):
    """A step that replays recordings, with the bytes of eager steps at the same learning rate.

    The first step is eager, so that the optimizer has its state, and so is each that a hook looks
    into. The first replays of each recording are compared with eager steps, bit for bit. Where
    they differ, or recording fails, all later steps are eager, and `note` is told so.
    """

    def __init__(
        self,
        state: TrainState,
        settings: StepSettings,
        record: Recorder,
        note: Callable[[str], None],
    ) -> None:
        super().__init__(state, settings)
        self.note = note
        self._record: Recorder | None = record  # None: steps are eager from now on
        self._works: dict[torch.Size, _Work] = {}
        # The fused kernels of a GPU read a rate in float32, those of a CPU one in float64.
        kind = torch.float64 if state.device.type == "cpu" else torch.float32
        groups = state.optimizer.param_groups
        self._rates = [torch.zeros((), dtype=kind, device=state.device) for _ in groups]
        self._finished = torch.zeros((), dtype=torch.int64, device=state.device)
        self._expected = 0  # value of `_finished`, known to the host
        self._is_first = True

    def __call__(
        self, images: Tensor, labels: Tensor, learning_rate: float, *, eagerly: bool = False
    ) -> None:
        """Take one step; see `Step`."""
        state = self.state
        set_learning_rate(state.optimizer, learning_rate)
        for group, rate in zip(state.optimizer.param_groups, self._rates, strict=True):
            group["lr"] = rate.fill_(group["lr"])
        if self._expected != state.step:
            self._finished.fill_(state.step)
        if self._record is None or self._is_first or eagerly:
            self._seed()
            self.body(images, labels)
        else:
            self._replay(images, labels, self._record)
        self._is_first = False
        state.step += 1
        self._expected = state.step

    def body(self, images: Tensor, labels: Tensor) -> None:
        """Do the work of a step on the device alone; all that outlives it is changed in place."""
        loss, correct, gradient_norm = self.update(images, labels)
        state = self.state
        state.totals.add_on_device(loss, correct, gradient_norm, len(labels))
        self._finished += 1
        first_bad = ~torch.isfinite(loss) & (state.first_bad_step < 0)
        state.first_bad_step += first_bad * (self._finished + 1)  # from -1 to this step's number

    def _replay(self, images: Tensor, labels: Tensor, record: Recorder) -> None:
        work = self._works.get(images.shape)
        if work is None:
            work = self._works[images.shape] = _Work(images, labels)
        work.take(images, labels)
        if work.recording is None and not self._record_work(work, record):
            self._seed()
            self.body(work.images, work.labels)
        elif work.unchecked:
            self._check(work)
        else:
            self._seed()
            work.replay()

    def _record_work(self, work: "_Work", record: Recorder) -> bool:
        """Record the body on a shape of batches, and return whether that was possible."""
        with self._changing_nothing():
            self.state.optimizer.zero_grad(set_to_none=True)
            try:
                with _capturable(self.state.optimizer):
                    work.recording = record(lambda: self.body(work.images, work.labels))
            except (RuntimeError, AssertionError) as error:  # as PyTorch and a device raise them
                first_line = (str(error).splitlines() or [""])[0]
                self._go_on_eagerly(
                    f"the step cannot be captured ({type(error).__name__}: {first_line})"
                )
        return work.recording is not None

    def _check(self, work: "_Work") -> None:
        """Take one step both ways, and keep the eager one where they differ."""
        before = self._values()
        self._seed()
        self.body(work.images, work.labels)
        eager = self._values()
        self._put_back(before)
        self._seed()
        work.replay()
        work.unchecked -= 1
        if not all(map(_same_bits, self._values(), eager)):
            self._put_back(eager)
            self._go_on_eagerly("a captured step differs from an eager one")

    def _go_on_eagerly(self, reason: str) -> None:
        self._record = None
        self._works.clear()
        self.note(f"{reason}; this run goes on with eager steps")

    def _seed(self) -> None:
        seed_random_layers(self.settings.seed, self.state.step, self.state.device)

    def _tensors(self) -> list[Tensor]:
        """Return what training changes, as it is bound now: a user's layer may bind it anew."""
        return [*self.state.tensors(), self._finished]

    def _values(self) -> list[Tensor]:
        return [tensor.detach().clone() for tensor in self._tensors()]

    def _put_back(self, values: list[Tensor]) -> None:
        for tensor, value in zip(self._tensors(), values, strict=True):
            tensor.detach().copy_(value)

    @contextmanager
    def _changing_nothing(self) -> Iterator[None]:
        """Bring every tensor that training changes back, at the end of the block, to what it was.

        Warm-up and capture run forward passes, which move running statistics too. Generators need
        no such care: each step seeds them.
        """
        before = self._values()
        try:
            yield
        finally:
            self._put_back(before)


class _Work:
    """The recording for one shape of batches, and the batch that it reads."""

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        self.images = torch.empty_like(images)
        self.labels = torch.empty_like(labels)
        self.recording: Recording | None = None
        self.unchecked = CHECKED

    def take(self, images: Tensor, labels: Tensor) -> None:
        """Copy a batch to where the recording reads it."""
        self.images.copy_(images)
        self.labels.copy_(labels)

    def replay(self) -> None:
        """Do the recorded work on the batch."""
        assert self.recording is not None
        self.recording.replay()


class CudaGraphs:
    """Records work as CUDA graphs that share one stream and one pool of memory."""

    def __init__(self, device: torch.device) -> None:
        self._stream = torch.cuda.Stream(device)
        self._pool = torch.cuda.graph_pool_handle()

    def record(self, work: Callable[[], None]) -> Recording:
        """Warm up and capture, both on the stream aside that PyTorch asks for.

        The seed of the default generator is a value that each replay reads, so that seeding it
        between replays decides their dropout.
        """
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.device(self._stream.device):
            usual = torch.cuda.current_stream()
            self._stream.wait_stream(usual)
            try:
                with torch.cuda.stream(self._stream):  # left after a capture that failed, too
                    for _ in range(WARM_UP):
                        work()
                    with torch.cuda.graph(graph, pool=self._pool, stream=self._stream):
                        work()
            except RuntimeError:
                # PyTorch 2.10 leaves the generator in the middle of the capture: dropout would fail
                fresh = torch.Generator(self._stream.device)
                torch.cuda.default_generators[fresh.device.index].graphsafe_set_state(fresh)
                raise
            finally:
                usual.wait_stream(self._stream)
        return graph


@contextmanager
def _capturable(optimizer: torch.optim.Optimizer) -> Iterator[None]:
    """Tell the optimizer that it is captured; Adam refuses otherwise, and warns if it is not."""
    groups = [group for group in optimizer.param_groups if "capturable" in group]
    before = [group["capturable"] for group in groups]
    try:
        for group in groups:
            group["capturable"] = True
        yield
    finally:
        for group, value in zip(groups, before, strict=True):
            group["capturable"] = value


def _same_bits(first: Tensor, second: Tensor) -> bool:
    """Return whether two tensors are equal to the bit, for which a NaN equals itself."""
    ours, theirs = (one.detach().reshape(-1).view(torch.uint8) for one in (first, second))
    return torch.equal(ours, theirs)
