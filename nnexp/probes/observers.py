"""Joins all that is measured in a network: the training loop shows it steps, it gives rows."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from nnexp.data import Images
from nnexp.probes.forward_passes import probe_batch
from nnexp.probes.running_statistics import ChannelRow, Recorder, TraceRow
from nnexp.probes.step_probe import ProbeRow, StepProbe, probe_steps
from nnexp.settings import ExperimentConfig
from nnexp.training import RunPlan, TrainState


@dataclass(frozen=True, slots=True)
class Observers:
    """The recorder of running statistics, and the probe of single steps."""

    recorder: Recorder
    probe: StepProbe

    def note_start(self, state: TrainState) -> None:
        """Note what there is to see before the first step."""
        self.recorder.note_start(state)

    @contextmanager
    def watching(self, state: TrainState) -> Iterator[bool]:
        """Look at the step taken inside the block; give whether a hook looks into it."""
        # The recorder inside: it must not take the probe's passes for the step's own.
        with self.probe.watching(state), self.recorder.watching(state) as looks_inside:
            yield looks_inside

    def drain(self) -> Mapping[str, Sequence[TraceRow | ChannelRow | ProbeRow]]:
        """Return the rows since the last call, by the name of their table, and forget them."""
        traces, channels = self.recorder.drain()
        return {"traces": traces, "channels": channels, "probes": self.probe.drain()}


def make_observers(
    state: TrainState, images: Images, config: ExperimentConfig, plan: RunPlan
) -> Observers:
    """Return the observers that `config` asks for; `images` lie where the network does."""
    recorder = Recorder(
        state.model, plan, points=config.trace.points, channels=config.trace.channels
    )
    probe = StepProbe(
        probe_batch(images, config.probe.images if config.probe.points else 0),
        steps=probe_steps(plan.total_steps, config.probe.points),
        steps_per_epoch=plan.steps_per_epoch,
        seed=config.seed,
        similarity=config.probe.similarity,
        landscape=config.probe.landscape,
    )
    return Observers(recorder, probe)
