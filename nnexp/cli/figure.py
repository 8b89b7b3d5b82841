"""`nnexp figure`: draws runs into a file."""

from nnexp.cli import options as arguments
from nnexp.cli.composing import layout

EXAMPLE = "nnexp figure error study=batch_size -o error.svg"


def figure(  # noqa: PLR0913  one parameter an option
    kind: arguments.FigureKind,
    runs: arguments.RunSources = None,
    output: arguments.FigureFile = None,
    rows: arguments.RowKeys = None,
    cols: arguments.ColumnKeys = None,
    metric: arguments.Metric = "test_accuracy",
    where: arguments.Where = None,
    best: arguments.Best = None,
    confirm: arguments.Confirm = False,
    layer: arguments.Layer = None,
    intervals: arguments.Intervals = False,
    config_dir: arguments.ConfigDir = None,
) -> None:
    """Draw runs into a file: against batch size or learning rate, over epochs, by channel."""
    from nnexp.cli.report_pages import figure_page

    figure_page(
        kind,
        runs or [],
        output,
        **layout(rows, cols, where),
        metric=metric,
        config_dir=config_dir,
        best=best,
        confirm=confirm,
        layer=layer,
        intervals=intervals,
    )
