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

    def __post_init__(self) -> None:
        self.totals = EpochTotals.zeros(self.device)
        self.first_bad_step = torch.full((), -1, dtype=torch.int64, device=self.device)
