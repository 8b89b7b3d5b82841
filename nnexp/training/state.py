"""What training changes, so what a checkpoint holds."""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn


def device_of_sums(device: torch.device) -> torch.device:
    """Return where sums in float64 are kept: on the device, or on the host where it has no such."""
    return torch.device("cpu") if device.type == "mps" else device


@dataclass(slots=True)
class EpochTotals:
    """Sums over the steps of the unfinished epoch, in float64, where `device_of_sums` says."""

    loss: Tensor  # of the mean loss of each image
    correct: Tensor
    gradient_norm: Tensor  # of each step

    @classmethod
    def zeros(cls, device: torch.device) -> "EpochTotals":
        """Return totals of no step."""
        device = device_of_sums(device)
        return cls(*(torch.zeros((), dtype=torch.float64, device=device) for _ in range(3)))

    def reset(self) -> None:
        """Make them totals of no step, in place."""
        for total in (self.loss, self.correct, self.gradient_norm):
            total.zero_()

    def add(self, loss: Tensor, correct: Tensor, gradient_norm: Tensor, num_images: int) -> None:
        """Add a step of `num_images` images; nothing waits for a device that has float64."""
        if self.loss.device.type == "cpu":  # numbers are the same, and quicker than small tensors
            self.loss.fill_(self.loss.item() + loss.item() * num_images)
            self.correct.fill_(self.correct.item() + correct.item())
            self.gradient_norm.fill_(self.gradient_norm.item() + gradient_norm.item())
        else:
            self.add_on_device(loss, correct, gradient_norm, num_images)

    def add_on_device(
        self, loss: Tensor, correct: Tensor, gradient_norm: Tensor, num_images: int
    ) -> None:
        """Add a step of `num_images` images by operations on tensors alone."""
        self.loss += loss.double() * num_images
        self.correct += correct
        self.gradient_norm += gradient_norm.double()


@dataclass(slots=True)
class TrainState:
    """Everything that changes while training, so also everything a checkpoint holds.

    Random numbers are not among it: order, crops, flips and dropout are functions of the seed
    and of `epoch` or `step`.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    device: torch.device
    epoch: int = 0  # epochs finished
    step: int = 0  # optimizer steps finished
    totals: EpochTotals = field(init=False)
    first_bad_step: Tensor = field(init=False)  # first step whose loss was not finite, or -1
    parameters: list[nn.Parameter] = field(init=False)  # the model's, which are slow to collect

    def __post_init__(self) -> None:
        self.parameters = list(self.model.parameters())
        self.totals = EpochTotals.zeros(self.device)
        self.first_bad_step = torch.full((), -1, dtype=torch.int64, device=self.device)

    def tensors(self) -> list[Tensor]:
        """Return every tensor that a step changes: none is ever replaced after the first step."""
        slots = (values.values() for values in self.optimizer.state.values())
        return [
            *self.parameters,
            *self.model.buffers(),
            *(value for values in slots for value in values if isinstance(value, Tensor)),
            *(self.totals.loss, self.totals.correct, self.totals.gradient_norm),
            self.first_bad_step,
        ]
