"""BatchNorm's running mean and variance over the steps, and their like for the other norms."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from nnexp.norms import norm_layers
from nnexp.probes.time_points import TimePoint
from nnexp.training import RunPlan, TrainState

STATISTICS = ("running_mean", "running_var")


@dataclass(frozen=True, slots=True)
class TraceRow:
    """One quantity of one layer at one step, summed up over its channels."""

    epoch: int  # epochs finished
    step: int  # optimizer steps finished
    layer: str
    quantity: str  # running_mean, running_var; batch_mean, batch_var where nothing is stored
    channels: int
    mean: float
    std: float  # over all channels, dividing by their number
    min: float
    max: float


@dataclass(frozen=True, slots=True)
class ChannelRow:
    """One quantity of one channel at one step, exactly."""

    epoch: int
    step: int
    layer: str
    quantity: str
    channel: int
    value: float


def trace_steps(total_steps: int, points: int) -> frozenset[int]:
    """Return at most `points` steps from 0 to `total_steps`, even in log after step 0.

    One point is the last step, two are the first and the last.
    """
    if points < 3:
        return frozenset((total_steps, 0)[:points])
    if points - 2 > total_steps * math.log(total_steps) + 1:  # less than a step apart, even last
        return frozenset(range(total_steps + 1))
    spaced = np.geomspace(1, total_steps, points - 1)
    return frozenset({0, total_steps, *np.unique(np.rint(spaced)).astype(np.int64).tolist()})


class Recorder:
    """Notes the running statistics of every norm layer at chosen steps.

    For a layer with stored statistics it copies the layer's own buffers, after the step. For any
    other norm it takes the mean and the unbiased variance of each channel over the batch, at the
    layer's input in that step's forward pass: what BatchNorm would have been shown there. Such a
    layer has no row at step 0, where no batch has passed yet.
    """

    def __init__(self, model: nn.Module, plan: RunPlan, *, points: int, channels: int = 0) -> None:
        self.steps = trace_steps(plan.total_steps, points)
        self.steps_per_epoch = plan.steps_per_epoch
        self.channels = channels
        layers = norm_layers(model)
        self._stored = [(name, layer) for name, layer in layers if stored_statistics(layer)]
        self._unstored = [(name, layer) for name, layer in layers if not stored_statistics(layer)]
        self._points: list[TimePoint] = []

    def note_start(self, state: TrainState) -> None:
        """Note the statistics before the first step, if this is before the first step."""
        if state.step == 0 and 0 in self.steps and not self._points:
            self._points.append(self._read_buffers(TimePoint(0, 0)))

    @contextmanager
    def watching(self, state: TrainState) -> Iterator[bool]:
        """Note the statistics of the step taken inside the block, if it is due.

        Gives whether a hook looks into the step's forward pass; stored statistics need none.
        """
        step = state.step + 1
        if step not in self.steps:
            yield False
            return
        point = TimePoint(step // self.steps_per_epoch, step)
        handles = [
            layer.register_forward_pre_hook(_batch_statistics(point, name))
            for name, layer in self._unstored
        ]
        try:
            yield bool(handles)
        finally:
            for handle in handles:
                handle.remove()
        self._points.append(self._read_buffers(point))

    def drain(self) -> tuple[list[TraceRow], list[ChannelRow]]:
        """Return the rows since the last call and forget them."""
        points, self._points = self._points, []
        rows: list[TraceRow] = []
        channel_rows: list[ChannelRow] = []
        for point in points:
            for (layer, quantity), values in zip(point.names, _to_host(point), strict=True):
                where = (point.epoch, point.step, layer, quantity)
                rows.append(TraceRow(*where, len(values), *_summary(values)))
                channel_rows += [
                    ChannelRow(*where, channel, float(values[channel]))
                    for channel in range(min(self.channels, len(values)))
                ]
        return rows, channel_rows

    def _read_buffers(self, point: TimePoint) -> TimePoint:
        for name, layer in self._stored:
            for quantity, values in stored_statistics(layer).items():
                point.note(name, quantity, values.detach().clone())
        return point


def stored_statistics(layer: nn.Module) -> dict[str, Tensor]:
    """Return the buffers that evaluation uses, each (C,): no mean where none is subtracted."""
    buffers = dict(layer.named_buffers(recurse=False))
    return {name: buffers[name] for name in STATISTICS if name in buffers}


def _batch_statistics(point: TimePoint, name: str) -> Callable[..., None]:
    def hook(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        mean, variance = batch_statistics(inputs[0].detach().float())
        point.note(name, "batch_mean", mean)
        point.note(name, "batch_var", variance)

    return hook


def batch_statistics(x_NCHW: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and unbiased variance of each channel over the batch, each (C,).

    They are what one step of BatchNorm with momentum 1 stores: its kernel takes a fraction of the
    time of `torch.var_mean` over these axes.
    """
    mean, variance = (x_NCHW.new_zeros(x_NCHW.shape[1]) for _ in range(2))
    with torch.no_grad():
        torch.batch_norm(x_NCHW, None, None, mean, variance, True, 1.0, 1e-5, False)
    return mean, variance


def _to_host(point: TimePoint) -> list[np.ndarray]:
    """Return the vectors of a time point on the host, moved there in one transfer."""
    if not point.values:
        return []
    lengths = [len(vector) for vector in point.values]
    flat = torch.cat(point.values).cpu().numpy()
    return np.split(flat, np.cumsum(lengths)[:-1])


def _summary(values: np.ndarray) -> tuple[float, float, float, float]:
    wide = values.astype(np.float64)
    with np.errstate(invalid="ignore"):  # in a run that diverges, statistics are infinite too
        return float(wide.mean()), float(wide.std()), float(wide.min()), float(wide.max())
