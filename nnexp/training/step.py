"""Takes one optimizer step; a faster way to run it would replace `train_step`."""

import hashlib
import math
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


def train_step(
    state: TrainState, images: Tensor, labels: Tensor, learning_rate: float, settings: StepSettings
) -> None:
    """Take one optimizer step on `images` (N, C, H, W), and add what came of it to the totals.

    Nothing here waits for the device or branches on a value that lives on it: the loss, the
    number of right answers and the gradient norm are added up where they are.
    """
    seed_random_layers(settings.seed, state.step, state.device)
    set_learning_rate(state.optimizer, learning_rate)
    with precision(settings.precision, state.device):
        logits = state.model(images)
    loss = F.cross_entropy(logits.float(), labels)
    state.optimizer.zero_grad(set_to_none=True)
    loss.backward()
    gradient_norm = _clip_gradients(state, settings.clip_norm)
    state.optimizer.step()
    loss, logits = loss.detach(), logits.detach()
    correct = (logits.argmax(dim=1) == labels).sum()
    state.totals.add(loss, correct, gradient_norm, len(labels))
    _note_bad_step(state, loss)
    state.step += 1


def seed_random_layers(seed: int, step: int, device: torch.device) -> None:
    """Make dropout and stochastic depth of a step a function of (seed, step) alone.

    So a resumed run needs no generator state, and no probe can disturb what comes after it.
    """
    words = hashlib.blake2b(f"{seed}/{step}".encode(), digest_size=8).digest()
    mixed = int.from_bytes(words, "little") >> 1
    if device.type == "cuda":
        torch.cuda.default_generators[device.index or 0].manual_seed(mixed)
    torch.default_generator.manual_seed(mixed)


def set_learning_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    """Set the rate of every parameter group."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate


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
