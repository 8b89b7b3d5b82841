"""`nnexp train`: trains one network, or resumes it."""

from collections.abc import Sequence
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
    from nnexp.settings.compose import Task

EXAMPLE = "nnexp train model=vgg16 norm=group batch_size=32 scale=laptop"


def train(
    overrides: arguments.Overrides = None,
    multirun: arguments.Multirun = False,
    config_dir: arguments.ConfigDir = None,
) -> None:
    """Train one network, or go on where an earlier try stopped.

    Hydra's flags work as in any Hydra application: --cfg job, --info, --resolve, --package.
    """
    if multirun:
        from nnexp.sweeps.runner import SweepOptions

        start_sweep(overrides, config_dir, SweepOptions())
    else:
        _run(overrides, config_dir)


def _run(overrides: list[str] | None, config_dir: str | None) -> None:
    """Hand the words to Hydra, train what it composes, and exit with what came of it."""
    from nnexp.settings.compose import run_hydra

    say_own_configs()
    flags = ["--config-dir", config_dir] if config_dir else []
    codes = run_hydra([*flags, *(overrides or [])], _train_one(flags))
    raise typer.Exit(exit_code(codes))


def _train_one(flags: Sequence[str]) -> "Task":
    def train_one(config: "ExperimentConfig", argv: list[str]) -> int:
        try:
            _find_pictures(config)  # before torch is imported, which takes seconds
            from nnexp.cli.terminal import train_command

            code = train_command(config, [*flags, *argv])
        except ConfigError as error:
            code = say_error(error)
        if code >= 128:  # a signal: it means the sweep, not only the run
            raise SystemExit(code)
        return code

    return train_one


def exit_code(codes: Sequence[int]) -> int:
    """Return the exit code for all runs together: that of a single run, else 1 if any failed."""
    return codes[0] if len(codes) == 1 else int(any(codes))


def _find_pictures(config: "ExperimentConfig") -> None:
    """Refuse a folder of pictures that is not there; a run that has its result needs none."""
    from nnexp.rundir import RunDir
    from nnexp.settings import run_id

    run = RunDir(Path(config.runs_dir) / run_id(config))
    if config.data.name == "folder" and not run.result.exists():
        find_folder(config.data.root)
