"""What single optimizer steps do to the network: shift, drift, gradients through the depth."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor, nn

from nnexp.norms import norm_layers, spec_of
from nnexp.probes.activations import note_norm, note_similarity
from nnexp.probes.forward_passes import (
    ProbeBatch,
    Weights,
    evaluating,
    loss_at,
    modules_seen,
    weights_of,
)
from nnexp.probes.landscape import note_landscape
from nnexp.probes.running_statistics import batch_statistics, trace_steps
from nnexp.probes.time_points import TimePoint
from nnexp.probes.weights import (
    effective_rate,
    is_weight_layer,
    length,
    matched_step,
    normalized_by_filter,
    rate_of_step,
)
from nnexp.training import TrainState, seed_random_layers


@dataclass(frozen=True, slots=True)
class ProbeRow:
    """One quantity of one layer at one step; docs/probes.md has the formulas."""

    epoch: int  # epochs finished
    step: int  # optimizer steps finished before the step that is looked at
    layer: str  # empty for the network as a whole
    quantity: str
    value: float


@dataclass(slots=True)
class _View:
    """The network in one training-mode pass over the probe batch."""

    finished: list[str] = field(default_factory=list)  # modules, in the order they were done
    # Of each weight layer:
    inputs: dict[str, tuple[Tensor, Tensor]] = field(default_factory=dict)  # channel mean, std
    deviations: dict[str, Tensor] = field(default_factory=dict)  # of all of its output
    gradients: dict[str, Tensor] = field(default_factory=dict)  # of its weights

    def look(self, path: str, module: nn.Module, given: Tensor, output: Tensor) -> None:
        """Take in a module that is done."""
        self.finished.append(path)
        if is_weight_layer(module):
            mean, variance = batch_statistics(given)
            self.inputs[path] = (mean, variance.sqrt())
            self.deviations[path] = output.std()


def probe_steps(total_steps: int, points: int) -> frozenset[int]:
    """Return at most `points` steps from 0 to the last but one, even in log of the step's number.

    Each stands for the step that follows it, so the last one is `total_steps - 1`.
    """
    if points == 0:
        return frozenset()
    return frozenset(step - 1 for step in trace_steps(total_steps, points + 1) if step > 0)


class StepProbe:
    """Looks at the network on one fixed batch, before and after chosen optimizer steps.

    All passes are in training mode (but for `loss`), in float32, with the dropout of that step,
    and leave weights, gradients and buffers exactly as they were; each step seeds the generators
    itself. Formulas, sources and deviations: docs/probes.md.
    """

    def __init__(
        self,
        batch: ProbeBatch,
        *,
        steps: frozenset[int],
        steps_per_epoch: int,
        seed: int,
        similarity: bool = False,
        landscape: bool = False,
    ) -> None:
        self.batch = batch
        self.steps = steps
        self.steps_per_epoch = steps_per_epoch
        self.seed = seed
        self.similarity = similarity
        self.landscape = landscape
        self._points: list[TimePoint] = []

    @contextmanager
    def watching(self, state: TrainState) -> Iterator[None]:
        """Look before and after the step taken inside the block, if it is due."""
        if state.step not in self.steps:
            yield
            return
        model, point = state.model, TimePoint(state.step // self.steps_per_epoch, state.step)
        old = {name: weight.clone() for name, weight in weights_of(model).items()}
        view = self._look_before(state, old, point)
        yield
        seed_random_layers(self.seed, point.step, state.device)
        _note_drift(point, view, self._after(model))
        _note_updates(point, list(view.gradients), old, weights_of(model))
        _note_rates(point, view, state, old)
        self._note_shifts(point, view, state, old)
        self._points.append(point)

    def drain(self) -> list[ProbeRow]:
        """Return the rows since the last call and forget them."""
        points, self._points = self._points, []
        rows: list[ProbeRow] = []
        for point in points:
            values = torch.stack([value.float() for value in point.values]).tolist()
            rows += [
                ProbeRow(point.epoch, point.step, layer, quantity, value)
                for (layer, quantity), value in zip(point.names, values, strict=True)
            ]
        return rows

    def _look_before(self, state: TrainState, old: Weights, point: TimePoint) -> _View:
        """Note what the weights before the step are like, and return what they will need."""
        with evaluating(state.model), torch.no_grad():
            point.note("", "loss", loss_at(state.model, old, self.batch))
        seed_random_layers(self.seed, point.step, state.device)
        view = self._before(state.model, old, point)
        for layer, gradient in view.gradients.items():
            norm, size = length(gradient), length(old[f"{layer}.weight"])
            point.note(layer, "activation_std", view.deviations[layer])
            point.note(layer, "gradient_norm", norm)
            point.note(layer, "relative_gradient", norm / size)
            point.note(layer, "scaled_gradient", norm * size)
        if self.landscape:
            note_landscape(point, old, partial(self._loss_and_gradient, state, point.step))
        return view

    def _before(self, model: nn.Module, old: Weights, point: TimePoint) -> _View:
        """Return the pass at the old weights, with every weight layer's gradient."""
        paths = [path for path, module in model.named_modules() if is_weight_layer(module)]
        leaves = {f"{path}.weight": _leaf(old[f"{path}.weight"]) for path in paths}
        view, norms = _View(), dict(norm_layers(model))
        blocks = _blocks(model) if self.similarity else ()

        def look(path: str, module: nn.Module, given: Tensor, output: Tensor) -> None:
            view.look(path, module, given, output)
            if path in norms:
                note_norm(point, path, spec_of(module), given, output)
            if path in blocks:
                note_similarity(point, path, output)

        with modules_seen(model, look):
            loss = loss_at(model, {**old, **leaves}, self.batch)
        gradients = torch.autograd.grad(loss, list(leaves.values()))
        by_path = dict(zip(paths, gradients, strict=True))
        view.gradients = {path: by_path[path] for path in view.finished if path in by_path}
        return view

    def _loss_and_gradient(
        self, state: TrainState, step: int, weights: Weights
    ) -> tuple[Tensor, Sequence[Tensor]]:
        """Return the loss at any weights and its gradient by each, with the dropout of the step."""
        seed_random_layers(self.seed, step, state.device)
        leaves = {name: _leaf(weight) for name, weight in weights.items()}
        loss = loss_at(state.model, leaves, self.batch)
        gradients = torch.autograd.grad(loss, list(leaves.values()), materialize_grads=True)
        return loss.detach(), gradients

    @torch.no_grad()
    def _after(self, model: nn.Module) -> _View:
        """Return the pass at the weights as they are now."""
        view = _View()
        with modules_seen(model, view.look):
            loss_at(model, weights_of(model), self.batch)
        return view

    def _note_shifts(self, point: TimePoint, view: _View, state: TrainState, old: Weights) -> None:
        """Note what the step of the earlier layers does, at its own length and at the matched."""
        new = weights_of(state.model)
        matched = matched_step(state.model, old, new, view.finished)
        for layer in shift_layers(list(view.gradients)):
            gradient = view.gradients[layer]
            size = length(gradient)
            for quantity, moved in (("covariate_shift", new), ("matched_shift", matched)):
                seed_random_layers(self.seed, point.step, state.device)
                there = self._gradient_after_the_earlier_moved(
                    state.model, layer, old, moved, view.finished
                )
                point.note(layer, quantity, length(there - gradient) / size)
                if moved is new:
                    dot = (gradient.double() * there.double()).sum()
                    point.note(layer, "shift_cosine", dot / (size * length(there)))

    def _gradient_after_the_earlier_moved(
        self,
        model: nn.Module,
        layer: str,
        old: Weights,
        moved: Weights,
        finished: Sequence[str],
    ) -> Tensor:
        """Return the layer's gradient where all before it has moved, it and the rest are old."""
        earlier = set(finished[: finished.index(layer)])
        mixed = {name: (moved if _owner(name) in earlier else old)[name] for name in old}
        mixed[f"{layer}.weight"] = _leaf(old[f"{layer}.weight"])
        loss = loss_at(model, mixed, self.batch)
        (gradient,) = torch.autograd.grad(loss, [mixed[f"{layer}.weight"]])
        return gradient


def shift_layers(layers: Sequence[str]) -> list[str]:
    """Return the first, the middle and the last of the layers that a shift can be measured at.

    The very first layer has none before it, so its shift is 0; the last one is the classifier.
    Both are left out, the classifier only where others are left.
    """
    hidden = layers[1:-1] or layers[1:]
    places = sorted({0, len(hidden) // 2, len(hidden) - 1}) if hidden else []
    return [hidden[place] for place in places]


def _note_drift(point: TimePoint, before: _View, after: _View) -> None:
    for layer, (mean, deviation) in list(before.inputs.items())[1:]:  # the first one sees images
        alive = deviation > 0  # a channel that is 0 everywhere has no unit to measure in
        moved = (after.inputs[layer][0] - mean).abs() / deviation
        drift = torch.where(alive, moved, 0).sum() / alive.sum()
        point.note(layer, "activation_drift", drift)


def _note_updates(point: TimePoint, layers: Sequence[str], old: Weights, new: Weights) -> None:
    for layer in layers:
        name = f"{layer}.weight"
        point.note(layer, "update_ratio", length(new[name] - old[name]) / length(old[name]))


def _note_rates(point: TimePoint, view: _View, state: TrainState, old: Weights) -> None:
    rate = rate_of_step(state.optimizer)
    by_filter = normalized_by_filter(state.model, view.finished)
    for layer in view.gradients:
        value = effective_rate(old[f"{layer}.weight"], rate, by_filter=layer in by_filter)
        point.note(layer, "effective_rate", value)


def _leaf(weight: Tensor) -> Tensor:
    return weight.detach().requires_grad_()


def _owner(name: str) -> str:
    """Return the path of the module that a parameter belongs to."""
    return name.rpartition(".")[0]


def _blocks(model: nn.Module) -> set[str]:
    """Return the network's parts that hold a weight layer."""
    return {
        name for name, part in model.named_children() if any(map(is_weight_layer, part.modules()))
    }
