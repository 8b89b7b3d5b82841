"""`nnexp train`: trains one network, or resumes it."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from nnexp.cli import options as arguments
from nnexp.cli.composing import say_own_configs
from nnexp.cli.messages import say_error
from nnexp.cli.sweep import start_sweep
from nnexp.settings import ConfigError, find_folder

if TYPE_CHECKING:
    from nnexp.settings import ExperimentConfig

EXAMPLE = "nnexp train model=vgg16 norm=group batch_size=32 scale=laptop"


def train(
    overrides: arguments.Overrides = None,
    multirun: arguments.Multirun = False,
    config_dir: arguments.ConfigDir = None,
) -> None:
    """Train one network, or resume a run that was stopped.

    Hydra's flags work as in any Hydra application: --cfg job, --info, --resolve, --package.
    """
    if multirun:
        from nnexp.sweeps.precision import Precision
        from nnexp.sweeps.runner import SweepOptions

        start_sweep(overrides, config_dir, SweepOptions(), Precision())
        return
    from nnexp.settings.compose import run_hydra

    say_own_configs()
    flags = ["--config-dir", config_dir] if config_dir else []
    codes = run_hydra([*flags, *(overrides or [])], partial(_train_one, flags))
    raise typer.Exit(exit_code(codes))


def _train_one(flags: Sequence[str], config: "ExperimentConfig", argv: list[str]) -> int:
    """Train what Hydra has composed; return the exit code."""
    from nnexp.rundir import RunDir
    from nnexp.settings import run_id

    try:
        run = RunDir(Path(config.runs_dir) / run_id(config))
        if config.data.name == "folder" and not run.result.exists():
            find_folder(config.data.root)  # before torch is imported, which takes seconds
        from nnexp.cli.terminal import train_command

        code = train_command(config, [*flags, *argv])
    except ConfigError as error:
        code = say_error(error)
    if code >= 128:  # a signal: it means the sweep, not only the run
        raise SystemExit(code)
    return code


def exit_code(codes: Sequence[int]) -> int:
    """Return the exit code for all runs together: that of a single run, else 1 if any failed."""
    return codes[0] if len(codes) == 1 else int(any(codes))
