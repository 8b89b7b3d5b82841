"""A run's plan: how many steps it takes and how high its learning rate goes."""

import math
from dataclasses import dataclass

from nnexp.data import batch_sizes
from nnexp.settings import ExperimentConfig
from nnexp.training.schedule import peak_learning_rate


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPlan:
    """What follows from the settings and the number of training images."""

    steps_per_epoch: int
    total_steps: int
    peak_learning_rate: float  # scaled with the batch size

    @property
    def epochs(self) -> int:
        """How many there are, the last one possibly cut."""
        return math.ceil(self.total_steps / self.steps_per_epoch)


def plan_run(config: ExperimentConfig, num_images: int) -> RunPlan:
    """Return the plan of a run with `num_images` training images."""
    steps_per_epoch = len(batch_sizes(num_images, config.batch_size))
    return RunPlan(
        steps_per_epoch=steps_per_epoch,
        total_steps=config.max_steps or steps_per_epoch * (config.epochs or 0),
        peak_learning_rate=peak_learning_rate(config.optimizer, config.batch_size),
    )
