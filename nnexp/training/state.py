"""What training changes, so what a checkpoint holds."""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn


@dataclass(slots=True)
class EpochTotals:
    """Sums over the steps of the unfinished epoch, on the device, in float64."""

    loss: Tensor  # of the mean loss of each image
    correct: Tensor
    gradient_norm: Tensor  # of each step

    @classmethod
    def zeros(cls, device: torch.device) -> "EpochTotals":
        """Return totals of no step."""
        return cls(*(torch.zeros((), dtype=torch.float64, device=device) for _ in range(3)))

    def add(self, loss: Tensor, correct: Tensor, gradient_norm: Tensor, num_images: int) -> None:
        """Add a step of `num_images` images; nothing waits for a device."""
        if self.loss.device.type == "cpu":  # numbers are the same, and quicker than small tensors
            self.loss.fill_(self.loss.item() + loss.item() * num_images)
            self.correct.fill_(self.correct.item() + correct.item())
            self.gradient_norm.fill_(self.gradient_norm.item() + gradient_norm.item())
            return
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
