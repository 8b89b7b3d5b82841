"""The command line: parse, call one function, print what it returned."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from nnexp import __version__
from nnexp.cli import options as arguments
from nnexp.settings import ConfigError, find_folder

if TYPE_CHECKING:
    from nnexp.settings import ExperimentConfig
    from nnexp.settings.compose import Task
    from nnexp.sweeps.runner import SweepOptions

app = typer.Typer(
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
# Click's own, which Typer keeps to itself.
USAGE_ERROR = cast("type[Exception]", typer.BadParameter.__mro__[1])
TO_HYDRA = {"ignore_unknown_options": True}  # its flags are checked in nnexp/settings/overrides.py


def _say_version(wanted: bool) -> None:
    """Print the version and leave."""
    if wanted:
        from nnexp.console import write

        write(f"nnexp {__version__}")
        raise typer.Exit


Version = Annotated[
    bool,
    typer.Option(
        "--version", help="Say which nnexp this is.", callback=_say_version, is_eager=True
    ),
]


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line; what the user can put right ends in two lines and exit code 2."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        code = app(words or ["--help"], prog_name="nnexp", standalone_mode=False) or 0
    except ConfigError as error:
        code = say_error(error)
    except typer.Abort:
        code = 130
    except USAGE_ERROR as error:
        code = say_error(_usage_problem(error, words))
    sys.exit(code)


def say_error(error: ConfigError) -> int:
    """Print what is wrong and what would do to standard error; return the exit code for it."""
    from nnexp import console

    console.say_error(error.problem, error.remedy)
    return 2


def composed(overrides: list[str] | None, config_dir: str | None) -> "ExperimentConfig":
    """Return the settings that a command's words give; every command but a sweep reads them so."""
    from nnexp.settings.compose import compose_config

    say_own_configs()
    return compose_config(overrides or [], config_dir)


def say_own_configs() -> None:
    """Tell the user that configs of the current folder take part."""
    from nnexp.settings.choices import MARKER, own_configs

    if own := own_configs():
        from nnexp.console import forgiving_output, say

        with forgiving_output():
            say(f"{own} goes before the packaged configs (it has a {MARKER})")


@app.callback(epilog="Example: nnexp train model=vgg16 norm=none data=synthetic scale=smoke")
def nnexp(version: Version = False) -> None:
    """What a normalization layer does to the training of a convolutional network."""


@app.command(
    context_settings=TO_HYDRA,
    epilog="Example: nnexp train model=vgg16 norm=group batch_size=32 scale=laptop",
)
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

        _sweep(overrides, config_dir, SweepOptions())
    else:
        _run(overrides, config_dir)


@app.command(
    context_settings=TO_HYDRA,
    epilog="Example: nnexp sweep norm=batch,group,none batch_size=2,32 seed=0,1,2 scale=laptop",
)
def sweep(  # noqa: PLR0913  one parameter an option
    overrides: arguments.Overrides = None,
    dry_run: arguments.DryRun = False,
    jobs: arguments.Jobs = None,
    devices: arguments.Devices = None,
    timeout: arguments.Timeout = None,
    fail_fast: arguments.FailFast = False,
    retry_failed: arguments.RetryFailed = False,
    rerun: arguments.Rerun = False,
    config_dir: arguments.ConfigDir = None,
) -> None:
    """Train every combination of comma lists: what is missing of them, several at a time."""
    from nnexp.sweeps.runner import SweepOptions

    options = SweepOptions(
        jobs=jobs,
        devices=devices.split(",") if devices else (),
        timeout=timeout,
        fail_fast=fail_fast,
        retry_failed=retry_failed,
        rerun=rerun,
    )
    _sweep(overrides, config_dir, options, dry_run=dry_run)


@app.command(epilog="Example: nnexp configs norm=group")
def configs(groups: arguments.Groups = None, config_dir: arguments.ConfigDir = None) -> None:
    """List the choices of every group, or the settings of a group or of an option."""
    from nnexp.cli.configs_page import configs_command

    say_own_configs()
    configs_command(groups or [], config_dir)


@app.command(epilog="Example: nnexp show model=resnet18 norm=group batch_size=8")
def show(overrides: arguments.Overrides = None, config_dir: arguments.ConfigDir = None) -> None:
    """Show a model before training: layers, parameters, and every norm site."""
    from nnexp.cli.pages import show_page

    show_page(composed(overrides, config_dir))


@app.command(epilog="Example: nnexp data data=folder data.root=photos")
def data(overrides: arguments.Overrides = None, config_dir: arguments.ConfigDir = None) -> None:
    """Fetch, verify and describe the images."""
    config = composed(overrides, config_dir)
    if config.data.name == "folder":
        find_folder(config.data.root)
    from nnexp.cli.pages import data_page

    data_page(config)


@app.command(epilog="Example: nnexp traces runs/vgg16-batch-* -o traces.svg")
def traces(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders of runs.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The figure: .png, .svg or .pdf.", show_default=False),
    ] = None,
    layer: Annotated[str | None, typer.Option(help="This layer alone.", show_default=False)] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV, draw nothing.")] = False,
) -> None:
    """Draw how running means and variances move over the steps of a run."""
    from nnexp.cli.pages import traces_page

    traces_page(runs, output, layer, as_csv)


@app.command(epilog="Example: nnexp compare --rows norm --cols batch_size --against batch")
def compare(  # noqa: PLR0913  one parameter an option
    runs: arguments.RunSources = None,
    rows: arguments.RowKeys = None,
    cols: arguments.ColumnKeys = None,
    metric: arguments.Metric = "test_accuracy",
    where: arguments.Where = None,
    sort: arguments.Sort = None,
    against: arguments.Against = None,
    best: arguments.Best = None,
    everything: arguments.Everything = False,
    as_csv: arguments.AsCsv = False,
    as_markdown: arguments.AsMarkdown = False,
    as_latex: arguments.AsLatex = False,
    as_json: arguments.AsJson = False,
) -> None:
    """Compare runs in tables: mean and deviation over seeds, the best, paired differences."""
    from nnexp.cli.compare_page import choose_form, compare_page
    from nnexp.compare.comparison import Question

    question = Question(
        rows=rows.split(",") if rows else (),
        columns=cols.split(",") if cols else (),
        metric=metric,
        where=where or (),
        sort=sort,
        against=against,
        best=best,
        everything=everything,
    )
    form = choose_form(csv=as_csv, md=as_markdown, tex=as_latex, json=as_json)
    if any(source.startswith("study=") for source in runs or []):
        say_own_configs()
    compare_page(runs or [], question, form)


@app.command(epilog="Example: nnexp figure error study=batch_size -o error.svg")
def figure(  # noqa: PLR0913  one parameter an option
    kind: arguments.FigureKind,
    runs: arguments.RunSources = None,
    output: arguments.FigureFile = None,
    rows: arguments.RowKeys = None,
    cols: arguments.ColumnKeys = None,
    metric: arguments.Metric = "test_accuracy",
    where: arguments.Where = None,
    best: arguments.Best = None,
    layer: arguments.Layer = None,
) -> None:
    """Draw runs into a file: against batch size or learning rate, over epochs, by channel."""
    from nnexp.cli.report_pages import figure_page

    figure_page(
        kind,
        runs or [],
        output,
        rows=rows.split(",") if rows else (),
        columns=cols.split(",") if cols else (),
        metric=metric,
        where=where or (),
        best=best,
        layer=layer,
    )


@app.command(epilog="Example: nnexp report study=disable_bn -o report.html")
def report(  # noqa: PLR0913  one parameter an option
    runs: arguments.RunSources = None,
    output: arguments.PageFile = Path("report.html"),
    rows: arguments.RowKeys = None,
    cols: arguments.ColumnKeys = None,
    metric: arguments.Metric = "test_accuracy",
    where: arguments.Where = None,
    against: arguments.Against = None,
    best: arguments.Best = None,
    title: arguments.Title = "",
    asks: arguments.Asks = "",
) -> None:
    """Write one self-contained page: the answer, tables, figures, every run, how to repeat it."""
    from nnexp.cli.report_pages import report_page

    report_page(
        runs or [],
        output,
        rows=rows.split(",") if rows else (),
        columns=cols.split(",") if cols else (),
        metric=metric,
        where=where or (),
        against=against,
        best=best,
        title=title,
        question=asks,
    )


@app.command(epilog="Example: nnexp diff vgg16-batch-bs128-s0-44136fa3 runs/vgg16-none-*")
def diff(
    first: Annotated[str, typer.Argument(metavar="A", help="A run's folder or name.")],
    second: Annotated[str, typer.Argument(metavar="B", help="Another.")],
) -> None:
    """Say what differs between two runs: settings, results, epochs, environment."""
    from nnexp.cli.diff_page import diff_page
    from nnexp.compare import find_run

    diff_page(find_run(first), find_run(second))


@app.command(epilog="Example: nnexp runs --watch")
def runs(
    folder: Annotated[str, typer.Argument(metavar="DIR", help="A folder of runs.")] = "runs",
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Look again every moment, until Ctrl-C.")
    ] = False,
) -> None:
    """List every run: its state, its epochs, its newest validation accuracy."""
    from nnexp.cli.runs_page import runs_page

    runs_page(folder, watch=watch)


@app.command(epilog="Example: nnexp logs vgg16-none-bs128-s0-0d1cf2a5 --follow")
def logs(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run's folder or name.")],
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on until the run ends.")
    ] = False,
) -> None:
    """Print what a run has said: its epochs, its warnings, the traceback of a failure."""
    from nnexp.cli.runs_page import logs_page
    from nnexp.compare import find_run

    logs_page(find_run(run), follow=follow)


@app.command(epilog="Example: nnexp bench model=vgg16,resnet18 batch_size=32,128")
def bench(
    overrides: arguments.Overrides = None,
    rounds: Annotated[int, typer.Option(min=1, help="Turns that each contender takes.")] = 5,
    steps: Annotated[int, typer.Option(min=1, help="Steps of a turn.")] = 10,
    textbook: Annotated[bool, typer.Option(help="Also the loop of tutorials.")] = True,
    config_dir: arguments.ConfigDir = None,
) -> None:
    """Measure training speed beside the bare step and the textbook loop; commas make a grid."""
    from nnexp.bench.bench import BenchSettings, differing_in_speed
    from nnexp.cli.pages import bench_page
    from nnexp.settings.compose import compose_jobs

    jobs = differing_in_speed(config for _, config in compose_jobs(overrides or [], config_dir))
    bench_page(jobs, BenchSettings(rounds=rounds, steps=steps, textbook=textbook))


def _sweep(
    overrides: list[str] | None,
    config_dir: str | None,
    options: "SweepOptions",
    *,
    dry_run: bool = False,
) -> None:
    """List the runs of a sweep, or train them, and exit with what came of it."""
    from nnexp.cli.sweep import dry_run as list_runs
    from nnexp.cli.sweep import sweep_command

    say_own_configs()
    flags = ["--config-dir", config_dir] if config_dir else []
    if dry_run:
        list_runs([*flags, *(overrides or [])], options)
        return
    raise typer.Exit(sweep_command([*flags, *(overrides or [])], options))


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


def _find_pictures(config: "ExperimentConfig") -> None:
    """Refuse a folder of pictures that is not there; a run that has its result needs none."""
    from nnexp.rundir import RunDir
    from nnexp.settings import run_id

    run = RunDir(Path(config.runs_dir) / run_id(config))
    if config.data.name == "folder" and not run.result.exists():
        find_folder(config.data.root)


def exit_code(codes: Sequence[int]) -> int:
    """Return the exit code for all runs together: that of a single run, else 1 if any failed."""
    return codes[0] if len(codes) == 1 else int(any(codes))


def _usage_problem(error: Exception, words: Sequence[str]) -> ConfigError:
    """Return Click's complaint as ours."""
    flag = getattr(error, "option_name", None)
    if flag and "No such option" in str(error):
        from nnexp.settings.choices import read_choices
        from nnexp.settings.overrides import no_such_flag

        after = words[words.index(flag) + 1 :] if flag in words else []
        return no_such_flag(flag, after[0] if after else "", read_choices())
    problem, _, meant = str(error).rstrip(".?").partition(". ")
    where = getattr(getattr(error, "ctx", None), "command_path", "nnexp")
    remedy = meant[:1].lower() + meant[1:].replace("'", "") or f"{where} -h shows what there is"
    return ConfigError(problem[:1].lower() + problem[1:], remedy)
