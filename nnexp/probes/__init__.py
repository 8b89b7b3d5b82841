"""What is measured inside the network while it trains; measuring never changes what is learned."""

from nnexp.probes.forward_passes import probe_batch
from nnexp.probes.observers import Observers, make_observers
from nnexp.probes.population import evaluate_with_other_statistics
from nnexp.probes.running_statistics import Recorder, batch_statistics, trace_steps
from nnexp.probes.step_probe import ProbeRow, StepProbe, probe_steps, shift_layers
from nnexp.probes.summary import SMALLEST, gradient_spread, summarize_probes

__all__ = [
    "SMALLEST",
    "Observers",
    "ProbeRow",
    "Recorder",
    "StepProbe",
    "batch_statistics",
    "evaluate_with_other_statistics",
    "gradient_spread",
    "make_observers",
    "probe_batch",
    "probe_steps",
    "shift_layers",
    "summarize_probes",
    "trace_steps",
]
