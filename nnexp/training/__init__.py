"""Training: batches → optimizer steps → rows; opens no file and prints nothing."""

from nnexp.training.device import (
    UNTESTED,
    choose_device,
    device_name,
    emulates_bf16,
    peak_memory_mb,
    prepare_process,
)
from nnexp.training.evaluation import EVALUATION_BATCH, evaluate, measure
from nnexp.training.layout import LAYOUTS, choose_layout, lay_out
from nnexp.training.loop import Diverged, EpochRow, fit, raise_if_diverged, train_epoch
from nnexp.training.optimizer import OPTIMIZERS, build_optimizer
from nnexp.training.plan import RunPlan, plan_run
from nnexp.training.schedule import SCHEDULES, learning_rate_at, peak_learning_rate
from nnexp.training.start import build_checked_model, count_parameters, start_state
from nnexp.training.state import EpochTotals, TrainState
from nnexp.training.step import Step, StepSettings, precision, seed_random_layers
from nnexp.training.step_kinds import choose_step, make_step

__all__ = [
    "EVALUATION_BATCH",
    "LAYOUTS",
    "OPTIMIZERS",
    "SCHEDULES",
    "UNTESTED",
    "Diverged",
    "EpochRow",
    "EpochTotals",
    "RunPlan",
    "Step",
    "StepSettings",
    "TrainState",
    "build_checked_model",
    "build_optimizer",
    "choose_device",
    "choose_layout",
    "choose_step",
    "count_parameters",
    "device_name",
    "emulates_bf16",
    "evaluate",
    "fit",
    "lay_out",
    "learning_rate_at",
    "make_step",
    "measure",
    "peak_learning_rate",
    "peak_memory_mb",
    "plan_run",
    "precision",
    "prepare_process",
    "raise_if_diverged",
    "seed_random_layers",
    "start_state",
    "train_epoch",
]
