"""Takes the optimizer steps of a run; `replay.py` has a step that a device can replay."""

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from nnexp.training.state import TrainState


@dataclass(frozen=True, slots=True, kw_only=True)
class StepSettings:
    """What is the same in every step of a run."""

    seed: int
    precision: str = "fp32"  # fp32, or bf16
    clip_norm: float | None = None


class Step:
    """Takes the optimizer steps of one run: made once, called for each batch."""

    def __init__(
        self, state: TrainState, settings: StepSettings, *, compiled: bool = False
    ) -> None:
        self.state = state
        self.settings = settings
        # With dynamic shapes the kernels would depend on which batch size came first, so a resumed
        # run could differ from one that was not interrupted.
        self.forward: Callable[[Tensor], Tensor] = (
            torch.compile(state.model, dynamic=False) if compiled else state.model
        )

    def __call__(
        self, images: Tensor, labels: Tensor, learning_rate: float, *, eagerly: bool = False
    ) -> None:
        """Take one step on `images` (N, C, H, W), and add what came of it to the totals.

        Nothing here waits for the device or branches on a value that lives on it: the loss, the
        number of right answers and the gradient norm are added up where they are.

        Args:
            images: float32, normalized, on the device.
            labels: int64 (N,).
            learning_rate: Of this step.
            eagerly: Do not replay this one, since a hook looks into the forward pass.
        """
        state = self.state
        seed_random_layers(self.settings.seed, state.step, state.device)
        set_learning_rate(state.optimizer, learning_rate)
        loss, correct, gradient_norm = self.update(images, labels)
        state.totals.add(loss, correct, gradient_norm, len(labels))
        _note_bad_step(state, loss)
        state.step += 1

    def update(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Update the weights; return mean loss, right answers and gradient norm, on the device."""
        state = self.state
        with precision(self.settings.precision, state.device):
            logits = self.forward(images)
        loss = F.cross_entropy(logits.float(), labels)
        state.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        gradient_norm = _clip_gradients(state, self.settings.clip_norm)
        state.optimizer.step()
        correct = (logits.detach().argmax(dim=1) == labels).sum()
        return loss.detach(), correct, gradient_norm


def seed_random_layers(seed: int, step: int, device: torch.device) -> None:
    """Make dropout and stochastic depth of a step a function of (seed, step) alone.

    So a resumed run needs no generator state, and no probe can disturb what comes after it.
    """
    words = hashlib.blake2b(f"{seed}/{step}".encode(), digest_size=8).digest()
    mixed = int.from_bytes(words, "little") >> 1
    if device.type == "mps":
        torch.mps.manual_seed(mixed)
    elif device.type != "cpu":
        generators = torch.get_device_module(device).default_generators
        generators[device.index or 0].manual_seed(mixed)
    torch.default_generator.manual_seed(mixed)


def set_learning_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    """Set the rate of every parameter group, where it has an `lr_scale` times that."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate * group.get("lr_scale", 1.0)


def precision(name: str, device: torch.device) -> torch.autocast:
    """Return the context in which a forward pass runs: bf16 casts convolutions, fp32 nothing."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=name == "bf16")


def _clip_gradients(state: TrainState, clip_norm: float | None) -> Tensor:
    """Return the global gradient norm before clipping, and clip where a limit is set."""
    parameters = [p for p in state.parameters if p.grad is not None]
    gradients = [p.grad for p in parameters if p.grad is not None]
    # What `get_total_norm` computes, without its search for devices: 5 % of a step at batch size 2.
    norms = torch._foreach_norm(gradients)  # pyright: ignore[reportPrivateImportUsage]
    norm = torch.linalg.vector_norm(torch.stack(norms))
    if clip_norm is not None:
        torch.nn.utils.clip_grads_with_norm_(parameters, clip_norm, norm)
    return norm


def _note_bad_step(state: TrainState, loss: Tensor) -> None:
    """Remember the number of the first step whose loss was not finite."""
    if state.device.type == "cpu":
        if not math.isfinite(loss.item()) and state.first_bad_step.item() < 0:
            state.first_bad_step.fill_(state.step + 1)
        return
    first_bad = ~torch.isfinite(loss) & (state.first_bad_step < 0)
    state.first_bad_step += first_bad * (state.step + 2)  # from -1 to this step's number
