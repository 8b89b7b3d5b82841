"""The training loop: batches in, one row out per epoch; it opens no file and prints nothing."""

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

from nnexp.data import Images, batch_sizes, epoch_plan, train_batches
from nnexp.settings import ExperimentConfig
from nnexp.training.evaluation import evaluate
from nnexp.training.plan import RunPlan
from nnexp.training.schedule import learning_rate_at
from nnexp.training.state import TrainState
from nnexp.training.step import Step

DIVERGENCE_CHECK = 50  # steps between two looks at a device's loss; the CPU looks every step


class Diverged(Exception):  # noqa: N818  an outcome, not an error
    """The loss stopped being finite."""

    def __init__(self, step: int) -> None:
        super().__init__(f"the loss was not finite at step {step}")
        self.step = step


@dataclass(frozen=True, slots=True)
class EpochRow:
    """What one epoch came to; the fields are the columns of `metrics.csv`."""

    epoch: int
    step: int
    images: int  # seen since the start
    learning_rate: float  # of the epoch's last step
    train_loss: float  # mean over the images as they were trained on: augmented, weights moving
    train_accuracy: float
    val_loss: float
    val_accuracy: float
    gradient_norm: float  # mean over the steps, before clipping


class Observer(Protocol):
    """Is shown every step and changes nothing; see `nnexp.probes`."""

    def note_start(self, state: TrainState) -> None:
        """Steps of an epoch are about to be taken."""
        ...

    def watching(self, state: TrainState) -> AbstractContextManager[bool]:
        """One step is taken inside the block; give whether a hook looks into its forward pass."""
        ...


def fit(
    step: Step,
    images: Images,
    config: ExperimentConfig,
    plan: RunPlan,
    observer: Observer,
    after_batch: Callable[[], None],
) -> Iterator[EpochRow]:
    """Train from where the state of `step` stands to the last epoch, yielding a row after each.

    The last epoch ends with the last step of the plan, possibly before all images were seen.

    `after_batch` is called whenever that state is whole: after each step and each evaluated batch.
    It may raise to stop the run; `fit` on the same state goes on from there.

    Raises:
        Diverged: The loss of a step, or on the validation split, was not finite.
    """
    state = step.state
    sizes = batch_sizes(len(images.train), config.batch_size)
    while state.epoch < plan.epochs:
        rate = train_epoch(step, images, config, plan, observer, after_batch)
        loss, accuracy = evaluate(state.model, images.val, images, config.precision, after_batch)
        if not math.isfinite(loss):
            raise Diverged(state.step)
        steps = state.step - state.epoch * plan.steps_per_epoch  # fewer where the epoch is cut
        num_images = sum(sizes[:steps])
        row = EpochRow(
            epoch=state.epoch + 1,
            step=state.step,
            images=len(images.train) * state.epoch + num_images,
            learning_rate=rate,
            train_loss=state.totals.loss.item() / num_images,
            train_accuracy=state.totals.correct.item() / num_images,
            val_loss=loss,
            val_accuracy=accuracy,
            gradient_norm=state.totals.gradient_norm.item() / steps,
        )
        state.epoch += 1
        state.totals.reset()
        yield row


def train_epoch(
    step: Step,
    images: Images,
    config: ExperimentConfig,
    plan: RunPlan,
    observer: Observer,
    after_batch: Callable[[], None],
) -> float:
    """Take the steps that are left of the epoch, and return the last learning rate."""
    state, schedule, peak = step.state, config.schedule, plan.peak_learning_rate
    look = 1 if state.device.type == "cpu" else DIVERGENCE_CHECK
    state.model.train()
    observer.note_start(state)
    batches = train_batches(
        images.train,
        epoch_plan(config.seed, state.epoch, len(images.train)),
        config.batch_size,
        images.mean,
        images.std,
        augment=config.data.augment,
        start=state.step - state.epoch * plan.steps_per_epoch,
    )
    for batch, labels in islice(batches, plan.total_steps - state.step):
        rate = learning_rate_at(state.step, plan.total_steps, peak, schedule)
        with observer.watching(state) as looks_inside:
            step(batch, labels, rate, eagerly=looks_inside)
        if state.step % look == 0:
            raise_if_diverged(state)
        after_batch()
    raise_if_diverged(state)
    after_batch()
    return learning_rate_at(state.step - 1, plan.total_steps, peak, schedule)


def raise_if_diverged(state: TrainState) -> None:
    """Wait for the device, and raise if any loss so far was not finite.

    Raises:
        Diverged: With the first such step.
    """
    bad_step = int(state.first_bad_step.item())
    if bad_step >= 0:
        raise Diverged(bad_step)
