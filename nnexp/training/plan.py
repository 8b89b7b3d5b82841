"""A run's plan: how many steps it takes and how high its learning rate goes."""

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


def plan_run(config: ExperimentConfig, num_images: int) -> RunPlan:
    """Return the plan of a run with `num_images` training images."""
    steps_per_epoch = len(batch_sizes(num_images, config.batch_size))
    return RunPlan(
        steps_per_epoch=steps_per_epoch,
        total_steps=steps_per_epoch * config.epochs,
        peak_learning_rate=peak_learning_rate(config.optimizer, config.batch_size),
    )
