"""What the commands take: arguments and options, each with its help."""

from pathlib import Path
from typing import Annotated

import typer

from nnexp.cli.completion import (
    complete_choice,
    complete_condition,
    complete_key,
    complete_kind,
    complete_metric,
    complete_override,
    complete_run,
)

Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="KEY=VALUE",
        help="Settings: [bold]norm=group batch_size=8[/]; [bold]nnexp configs[/] lists them.",
        autocompletion=complete_override,
        show_default=False,
    ),
]
ConfigDir = Annotated[
    str | None,
    typer.Option("--config-dir", "-cd", help="One more folder of configs.", show_default=False),
]
Multirun = Annotated[
    bool, typer.Option("--multirun", "-m", help="Run every combination of comma lists.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", "-n", help="List the runs, train none.")]
Jobs = Annotated[
    int | None,
    typer.Option(
        "--jobs",
        "-j",
        help="Runs at a time; unset: as many as cores and free memory allow.",
        show_default=False,
    ),
]
Devices = Annotated[
    str | None,
    typer.Option(help="One slot for each: cuda:0,cuda:1.", show_default=False),
]
Timeout = Annotated[
    float | None,
    typer.Option(help="Seconds after which a run counts as failed.", show_default=False),
]
FailFast = Annotated[bool, typer.Option("--fail-fast", help="Stop all runs when one fails.")]
RetryFailed = Annotated[
    bool, typer.Option("--retry-failed", help="Also try again what failed before.")
]
Rerun = Annotated[
    bool, typer.Option("--rerun", help="Delete these runs and train them anew, finished ones too.")
]
Groups = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="GROUP[=OPTION]",
        help="A group, or one of its options.",
        autocompletion=complete_choice,
        show_default=False,
    ),
]
RunSources = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="RUN",
        help="Folders of runs, single runs, results.csv files, globs; [bold]runs[/] if none. "
        "[bold]study=NAME[/] takes of them what belongs to a study.",
        show_default=False,
        autocompletion=complete_run,
    ),
]
RowKeys = Annotated[
    str | None,
    typer.Option(
        "--rows",
        help="Settings that make the rows: norm,model.",
        show_default=False,
        autocompletion=complete_key,
    ),
]
ColumnKeys = Annotated[
    str | None,
    typer.Option(
        "--cols",
        help="Settings that make the columns.",
        show_default=False,
        autocompletion=complete_key,
    ),
]
Metric = Annotated[
    str,
    typer.Option(
        help="The figure in the cells; compare takes several: a,b.", autocompletion=complete_metric
    ),
]
Where = Annotated[
    list[str] | None,
    typer.Option(
        help="Only these runs: norm=batch,none or norm!=none; may be repeated.",
        show_default=False,
        autocompletion=complete_condition,
    ),
]
Sort = Annotated[
    str | None,
    typer.Option(
        help="Rows by a setting or by the metric; -KEY reverses the order.",
        show_default=False,
        autocompletion=complete_key,
    ),
]
Everything = Annotated[
    bool, typer.Option("--all", help="Also the settings that are equal in every run.")
]
Against = Annotated[
    str | None,
    typer.Option(
        help="Differences to this norm, or to KEY=VALUE, with intervals and p-values.",
        show_default=False,
        autocompletion=complete_condition,
    ),
]
Margin = Annotated[
    float | None,
    typer.Option(
        help="A difference that does not matter, in points: marks what is as good as the baseline.",
        show_default=False,
        min=0,
    ),
]
Best = Annotated[
    str | None,
    typer.Option(
        "--best",
        metavar="KEY",
        help="Each cell at its best value of KEY, by validation accuracy.",
        show_default=False,
        autocompletion=complete_key,
    ),
]
Confirm = Annotated[
    bool,
    typer.Option("--confirm", help="With --best: only seeds that took no part in choosing."),
]
FigureKind = Annotated[
    str,
    typer.Argument(
        metavar="KIND",
        help="[bold]error[/] (against batch size), [bold]rates[/] (against learning rate), "
        "[bold]dots[/] (the table, each seed), [bold]curves[/] (over the epochs), [bold]traces[/], "
        "[bold]heatmap[/] (single channels), [bold]probes[/] (inside the network).",
        show_default=False,
        autocompletion=complete_kind,
    ),
]
FigureFile = Annotated[
    Path | None,
    typer.Option(
        "--output", "-o", help="The file: .png, .svg or .pdf; KIND.png if none.", show_default=False
    ),
]
Layer = Annotated[
    str | None, typer.Option(help="This layer alone: traces, heatmap.", show_default=False)
]
PageFile = Annotated[Path, typer.Option("--output", "-o", help="The page, an .html file.")]
Title = Annotated[str, typer.Option(help="What the page is headed by.", show_default=False)]
Asks = Annotated[
    str, typer.Option("--question", help="The question below the title.", show_default=False)
]
AsCsv = Annotated[bool, typer.Option("--csv", help="Print CSV, in full precision.")]
AsMarkdown = Annotated[bool, typer.Option("--md", help="Print Markdown.")]
AsLatex = Annotated[bool, typer.Option("--tex", help="Print LaTeX.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, in full precision.")]
