"""`nnexp report`: writes one self-contained page."""

from pathlib import Path

import typer

from nnexp.cli import options as arguments
from nnexp.cli.composing import layout

EXAMPLE = "nnexp report study=disable_bn -o report.html"


def report(  # noqa: PLR0913  one parameter an option
    context: typer.Context,
    runs: arguments.RunSources = None,
    output: arguments.PageFile = Path("report.html"),
    rows: arguments.RowKeys = None,
    cols: arguments.ColumnKeys = None,
    metric: arguments.Metric = "test_accuracy",
    where: arguments.Where = None,
    against: arguments.Against = None,
    margin: arguments.Margin = None,
    paired: arguments.Paired = False,
    best: arguments.Best = None,
    confirm: arguments.Confirm = False,
    title: arguments.Title = "",
    asks: arguments.Asks = "",
    config_dir: arguments.ConfigDir = None,
) -> None:
    """Write one self-contained page: the answer, tables, figures, every run, how to repeat it."""
    from nnexp.cli.report_pages import report_page
    from nnexp.cli.study_plan import as_planned

    asked = {**layout(rows, cols, where), "metric": metric, "against": against, "best": best}
    asked |= {"margin": margin, "paired": paired, "confirm": confirm}
    asked |= as_planned(context, runs or [], config_dir)
    report_page(
        runs or [],
        output,
        **asked,
        title=title,
        question=asks,
        config_dir=config_dir,
    )
