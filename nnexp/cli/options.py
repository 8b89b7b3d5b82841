"""What the commands take: arguments and options, each with its help."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from nnexp.cli import completion

Overrides = Annotated[
    list[str] | None,
    Argument(
        metavar="KEY=VALUE",
        help="Settings: [bold]norm=group batch_size=8[/]; [bold]nnexp configs[/] lists them.",
        autocompletion=completion.complete_override,
    ),
]
UntilInterval = Annotated[
    float | None,
    Option(
        help="Add seeds until every interval of the comparison is ± this or narrower, in points.",
        metavar="POINTS",
        min=0,
    ),
]
MostSeeds = Annotated[int, Option(help="With --until-interval: stop at this many seeds.", min=2)]
Hours = Annotated[
    float | None,
    Option(help="With --until-interval: begin no more seeds after these hours.", min=0),
]
ConfigDir = Annotated[
    str | None, Option("--config-dir", "-cd", help="One more folder of config files.")
]
Multirun = Annotated[
    bool, Option("--multirun", "-m", help="Run every combination: norm=batch,none seed=0,1.")
]
DryRun = Annotated[
    bool, Option("--dry-run", "-n", help="List the runs and the time they take; train none.")
]
Jobs = Annotated[
    int | None,
    Option("--jobs", "-j", help="Runs at a time; without it, what cores and free memory allow."),
]
Devices = Annotated[
    str | None, Option(help="Where to train, one run on each at a time: cuda:0,cuda:1.")
]
Timeout = Annotated[
    float | None, Option(help="Stop a run after so many seconds and count it as failed.")
]
FailFast = Annotated[bool, Option("--fail-fast", help="Stop all runs when one fails.")]
RetryFailed = Annotated[
    bool, Option("--retry-failed", help="Also train the runs that failed in an earlier sweep.")
]
Rerun = Annotated[
    bool, Option("--rerun", help="Delete these runs, finished ones too, and train them again.")
]
Groups = Annotated[
    list[str] | None,
    Argument(
        metavar="GROUP[=OPTION]",
        help="A group such as norm, or one of its options such as norm=group.",
        autocompletion=completion.complete_choice,
    ),
]
OneRun = Annotated[
    str,
    Argument(
        metavar="RUN",
        help="The folder or the name of a run.",
        autocompletion=completion.complete_run,
    ),
]
RunSources = Annotated[
    list[str] | None,
    Argument(
        metavar="RUN",
        help="Run folders, folders of runs, results.csv files, patterns with *; without any, the "
        "folder [bold]runs[/]. [bold]study=NAME[/] keeps only the runs of that study.",
        autocompletion=completion.complete_run,
    ),
]
RowKeys = Annotated[
    str | None,
    Option(
        "--rows",
        help="Settings with one row for each value: norm,model.",
        autocompletion=completion.complete_key,
    ),
]
ColumnKeys = Annotated[
    str | None,
    Option(
        "--cols",
        help="Settings with one column for each value.",
        autocompletion=completion.complete_key,
    ),
]
Metric = Annotated[
    str,
    Option(
        help="What to compare; the command compare takes several: test_accuracy,seconds.",
        autocompletion=completion.complete_metric,
    ),
]
Where = Annotated[
    list[str] | None,
    Option(
        help="Only the runs with norm=batch,none or norm!=none; can be given several times.",
        autocompletion=completion.complete_condition,
    ),
]
Sort = Annotated[
    str | None,
    Option(
        help="Sort the rows by a setting or by the metric; -KEY reverses the order.",
        autocompletion=completion.complete_order,
    ),
]
Everything = Annotated[
    bool, Option("--all", help="Also show the settings that are equal in every run.")
]
Against = Annotated[
    str | None,
    Option(
        help="Also show the differences to this norm, or to KEY=VALUE, with their intervals.",
        autocompletion=completion.complete_baseline,
    ),
]
Margin = Annotated[
    float | None,
    Option(
        help="A difference that does not matter, in points: marks what is as good as the baseline.",
        min=0,
    ),
]
Paired = Annotated[
    bool,
    Option("--paired", help="Compare runs seed by seed, whatever their correlation."),
]
Best = Annotated[
    str | None,
    Option(
        metavar="KEY",
        help="In each cell, only the value of KEY with the best validation accuracy.",
        autocompletion=completion.complete_key,
    ),
]
Confirm = Annotated[
    bool,
    Option("--confirm", help="With --best: only seeds that took no part in choosing."),
]
FigureKind = Annotated[
    str,
    Argument(
        metavar="KIND",
        help="[bold]error[/] (over batch size), [bold]rates[/] (over learning rate), "
        "[bold]dots[/] (a dot for each seed), [bold]curves[/] (over the epochs), [bold]traces[/] "
        "(running statistics), [bold]heatmap[/] (running statistics of each channel), "
        "[bold]probes[/] (measurements inside the network).",
        autocompletion=completion.complete_kind,
    ),
]
FigureFile = Annotated[
    Path | None,
    Option("--output", "-o", help="The file: .png, .svg or .pdf; without it, KIND.png."),
]
Layer = Annotated[str | None, Option(help="Only this layer, for traces and heatmap.")]
Intervals = Annotated[
    bool,
    Option(
        "--intervals",
        help="Draw the 95 % interval of each mean, taken by itself, instead of the standard "
        "deviation; for error, rates, dots and curves.",
    ),
]
PageFile = Annotated[Path, Option("--output", "-o", help="The page, an .html file.")]
Title = Annotated[str, Option(help="The title of the page.")]
Asks = Annotated[str, Option("--question", help="The question below the title.")]
AsCsv = Annotated[bool, Option("--csv", help="Print CSV, in full precision.")]
AsMarkdown = Annotated[bool, Option("--md", help="Print Markdown.")]
AsLatex = Annotated[bool, Option("--tex", help="Print LaTeX.")]
AsJson = Annotated[bool, Option("--json", help="Print JSON, in full precision.")]
