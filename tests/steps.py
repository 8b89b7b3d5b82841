"""Steps of a run, eager and replayed, and whether they leave the same bits."""

import torch

from nnexp.data import epoch_plan, load_images, train_batches
from nnexp.training import Step, StepSettings, TrainState, learning_rate_at, plan_run, start_state
from nnexp.training.replay import ReplayedStep

CPU = torch.device("cpu")


class Again:
    """The work itself, done once more at each replay."""

    def __init__(self, work):
        self.replay = work
        work()


def state_of(config, device=CPU) -> TrainState:
    state = start_state(config, 10, device)
    state.model.train()
    return state


def settings_of(config) -> StepSettings:
    return StepSettings(
        seed=config.seed, precision=config.precision, clip_norm=config.optimizer.clip_norm
    )


def replayed(state, config, record=Again) -> tuple[ReplayedStep, list[str]]:
    notes: list[str] = []
    return ReplayedStep(state, settings_of(config), record, notes.append), notes


def batches_of(config, steps: int, device=CPU):
    """Yield batches as a run has them, with their rates; each epoch has a last one of its own."""
    images = load_images(config.data).to(device)
    plan, step, epoch = plan_run(config, len(images.train)), 0, 0
    while True:
        order = epoch_plan(config.seed, epoch, len(images.train))
        where = (config.batch_size, images.mean, images.std)
        for batch, labels in train_batches(images.train, order, *where):
            if step == steps:
                return
            peak = plan.peak_learning_rate
            yield batch, labels, learning_rate_at(step, steps, peak, config.schedule)
            step += 1
        epoch += 1


def train(step: Step, config, steps: int, eager: frozenset[int] = frozenset()) -> Step:
    """Take steps, and begin the totals anew after each twenty of them."""
    for batch, labels, rate in batches_of(config, steps, step.state.device):
        rate = torch.tensor(rate, dtype=torch.float32).item() if batch.is_cuda else rate
        step(batch, labels, rate, eagerly=step.state.step in eager)
        if step.state.step % 20 == 0:
            step.state.totals.reset()
    return step


def assert_same_bits(first: TrainState, second: TrainState) -> None:
    ours, theirs = first.tensors(), second.tensors()
    assert len(ours) == len(theirs)
    for mine, other in zip(ours, theirs, strict=True):
        one, two = (tensor.detach().reshape(-1).view(torch.uint8) for tensor in (mine, other))
        assert torch.equal(one, two)


def assert_equal_to_eager(config, steps: int, record, eager: frozenset[int] = frozenset()) -> None:
    expected = train(Step(state_of(config), settings_of(config)), config, steps)
    step, notes = replayed(state_of(config), config, record)
    train(step, config, steps, eager)
    assert notes == []
    assert_same_bits(step.state, expected.state)
