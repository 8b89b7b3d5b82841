"""How the steps of a run are executed: one operation after another, replayed, or compiled."""

from collections.abc import Callable

import torch

from nnexp.norms import NORMS
from nnexp.settings import ConfigError, ExperimentConfig
from nnexp.training.replay import CudaGraphs, ReplayedStep
from nnexp.training.state import TrainState
from nnexp.training.step import Step, StepSettings


def choose_step(config: ExperimentConfig, device: torch.device) -> str:
    """Return `eager`, `captured` or `compiled`; `auto` is eager, on every device.

    Raises:
        ConfigError: The device or the settings cannot have it.
    """
    if config.step == "captured" and device.type != "cuda":
        raise ConfigError(
            f"step=captured needs a CUDA device, and this run is on {device}",
            "there is nothing to gain elsewhere: leave step out",
        )
    if config.step == "compiled":
        _check_compiled(config, device)
    return "eager" if config.step == "auto" else config.step


def make_step(
    state: TrainState,
    config: ExperimentConfig,
    kind: str = "eager",
    note: Callable[[str], None] = lambda text: None,
) -> Step:
    """Return what takes the steps of a run.

    Args:
        state: What the steps change; as the run begins or goes on.
        config: The settings.
        kind: As `choose_step` returns it.
        note: Is told, in one line, where captured steps give way to eager ones.
    """
    settings = StepSettings(
        seed=config.seed, precision=config.precision, clip_norm=config.optimizer.clip_norm
    )
    if kind == "captured":
        return ReplayedStep(state, settings, CudaGraphs(state.device).record, note)
    return Step(state, settings, compiled=kind == "compiled")


def _check_compiled(config: ExperimentConfig, device: torch.device) -> None:
    """Refuse what cannot be compiled, or would be compiled otherwise at a traced step.

    Raises:
        ConfigError: With the way on.
    """
    names = [config.norm.name, *config.norm.at.values()]
    unstored = [name for name in names if not _stores_statistics(name)]
    if config.trace.points and unstored:
        raise ConfigError(
            f"step=compiled cannot trace norm={unstored[0]}: to look at it would change its bits",
            "add trace.points=0",
        )
    if device.type != "cpu":
        return
    from torch._inductor.cpp_builder import get_cpp_compiler
    from torch._inductor.exc import InvalidCxxCompiler

    try:
        get_cpp_compiler()
    except (InvalidCxxCompiler, RuntimeError):
        raise ConfigError(
            "step=compiled needs a C++ compiler, and none was found",
            "install one (g++ or clang), or leave step out",
        ) from None


def _stores_statistics(norm: str) -> bool:
    statistic = NORMS[norm].statistic
    return statistic is not None and statistic.stored
