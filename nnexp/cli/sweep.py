"""`nnexp sweep`: trains every combination of settings."""

from typing import TYPE_CHECKING

import typer

from nnexp.cli import options as arguments
from nnexp.cli.composing import layout, say_own_configs
from nnexp.settings.errors import ConfigError

if TYPE_CHECKING:
    from nnexp.sweeps.precision import Precision
    from nnexp.sweeps.runner import SweepOptions

EXAMPLE = "nnexp sweep norm=batch,group,none batch_size=2,32 seed=0,1,2 scale=laptop"


def sweep(  # noqa: PLR0913  one parameter an option
    overrides: arguments.Overrides = None,
    dry_run: arguments.DryRun = False,
    jobs: arguments.Jobs = None,
    devices: arguments.Devices = None,
    timeout: arguments.Timeout = None,
    fail_fast: arguments.FailFast = False,
    retry_failed: arguments.RetryFailed = False,
    rerun: arguments.Rerun = False,
    until_interval: arguments.UntilInterval = None,
    rows: arguments.RowKeys = None,
    cols: arguments.ColumnKeys = None,
    metric: arguments.Metric = "test_accuracy",
    against: arguments.Against = None,
    most_seeds: arguments.MostSeeds = 30,
    hours: arguments.Hours = None,
    config_dir: arguments.ConfigDir = None,
) -> None:
    """Train every combination of settings with several values, such as norm=batch,none seed=0,1.

    Runs that have a result already are not trained again.
    """
    if (rows or cols or against) and until_interval is None and not dry_run:
        raise ConfigError(
            "--rows, --cols and --against ask for a comparison, which a sweep does not make",
            "add --until-interval or --dry-run, or ask nnexp compare when the sweep is done",
        )
    from nnexp.compare import Question
    from nnexp.sweeps.precision import Precision
    from nnexp.sweeps.runner import SweepOptions

    options = SweepOptions(
        jobs=jobs,
        devices=devices.split(",") if devices else (),
        timeout=timeout,
        fail_fast=fail_fast,
        retry_failed=retry_failed,
        rerun=rerun,
    )
    question = Question(**layout(rows, cols, None), metric=metric, against=against)
    wanted = Precision(reach=until_interval, question=question, most_seeds=most_seeds, hours=hours)
    start_sweep(overrides, config_dir, options, wanted, only_list=dry_run)


def start_sweep(
    overrides: list[str] | None,
    config_dir: str | None,
    options: "SweepOptions",
    wanted: "Precision",
    *,
    only_list: bool = False,
) -> None:
    """List the runs of a sweep, or train them, and exit with what came of it."""
    from nnexp.cli.sweep_page import dry_run, sweep_command

    say_own_configs()
    words = [*(["--config-dir", config_dir] if config_dir else []), *(overrides or [])]
    command = dry_run if only_list else sweep_command
    raise typer.Exit(command(words, options, wanted))
