"""The training loop: batches in, one row out per epoch; it opens no file and prints nothing."""

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from nnexp.data import Images, batch_sizes, epoch_plan, train_batches
from nnexp.settings import ExperimentConfig
from nnexp.training.evaluation import evaluate
from nnexp.training.schedule import learning_rate_at, peak_learning_rate
from nnexp.training.state import EpochTotals, TrainState
from nnexp.training.step import StepSettings, train_step

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
    """Someone who looks on and changes nothing."""

    def note_start(self, state: TrainState) -> None:
        """Steps of an epoch are about to be taken."""
        ...

    def watching(self, state: TrainState) -> AbstractContextManager[None]:
        """One step is taken inside the block."""
        ...


def fit(
    state: TrainState,
    images: Images,
    config: ExperimentConfig,
    observer: Observer,
    after_batch: Callable[[], None],
) -> Iterator[EpochRow]:
    """Train from where `state` stands to the last epoch, yielding one row after each.

    `after_batch` is called whenever `state` is whole: after each step and each evaluated batch.
    It may raise to stop the run; `fit` on the same state goes on from there.

    Raises:
        Diverged: The loss of a step, or on the validation split, was not finite.
    """
    while state.epoch < config.epochs:
        rate = train_epoch(state, images, config, observer, after_batch)
        yield _close_epoch(state, images, config, rate, after_batch)


def train_epoch(
    state: TrainState,
    images: Images,
    config: ExperimentConfig,
    observer: Observer,
    after_batch: Callable[[], None],
) -> float:
    """Take the steps that are left of the epoch, and return the last learning rate."""
    sizes = batch_sizes(len(images.train), config.batch_size)
    total_steps = len(sizes) * config.epochs
    peak = peak_learning_rate(config.optimizer, config.batch_size)
    settings = StepSettings(
        seed=config.seed, precision=config.precision, clip_norm=config.optimizer.clip_norm
    )
    look = 1 if state.device.type == "cpu" else DIVERGENCE_CHECK
    state.model.train()
    observer.note_start(state)
    for batch, labels in train_batches(
        images.train,
        epoch_plan(config.seed, state.epoch, len(images.train)),
        config.batch_size,
        images.mean,
        images.std,
        augment=config.data.augment,
        start=state.step - state.epoch * len(sizes),
    ):
        rate = learning_rate_at(state.step, total_steps, peak, config.schedule)
        with observer.watching(state):
            train_step(state, batch, labels, rate, settings)
        if state.step % look == 0:
            raise_if_diverged(state)
        after_batch()
    raise_if_diverged(state)
    after_batch()
    return learning_rate_at(state.step - 1, total_steps, peak, config.schedule)


def raise_if_diverged(state: TrainState) -> None:
    """Wait for the device, and raise if any loss so far was not finite.

    Raises:
        Diverged: With the first such step.
    """
    step = int(state.first_bad_step.item())
    if step >= 0:
        raise Diverged(step)


def _close_epoch(
    state: TrainState,
    images: Images,
    config: ExperimentConfig,
    rate: float,
    after_batch: Callable[[], None],
) -> EpochRow:
    val_loss, val_accuracy = evaluate(
        state.model, images.val, images, config.precision, after_batch
    )
    if not math.isfinite(val_loss):
        raise Diverged(state.step)
    num_images, totals = len(images.train), state.totals
    num_steps = state.step // (state.epoch + 1)
    row = EpochRow(
        epoch=state.epoch + 1,
        step=state.step,
        images=num_images * (state.epoch + 1),
        learning_rate=rate,
        train_loss=totals.loss.item() / num_images,
        train_accuracy=totals.correct.item() / num_images,
        val_loss=val_loss,
        val_accuracy=val_accuracy,
        gradient_norm=totals.gradient_norm.item() / num_steps,
    )
    state.epoch += 1
    state.totals = EpochTotals.zeros(state.device)
    return row
