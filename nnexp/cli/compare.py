"""`nnexp compare`: compares runs in tables."""

import typer

from nnexp.cli import options as arguments
from nnexp.cli.composing import layout, say_own_configs

EXAMPLE = "nnexp compare --rows norm --cols batch_size --against batch"


def compare(  # noqa: PLR0913  one parameter an option
    context: typer.Context,
    runs: arguments.RunSources = None,
    rows: arguments.RowKeys = None,
    cols: arguments.ColumnKeys = None,
    metric: arguments.Metric = "test_accuracy",
    where: arguments.Where = None,
    sort: arguments.Sort = None,
    against: arguments.Against = None,
    margin: arguments.Margin = None,
    paired: arguments.Paired = False,
    best: arguments.Best = None,
    confirm: arguments.Confirm = False,
    everything: arguments.Everything = False,
    as_csv: arguments.AsCsv = False,
    as_markdown: arguments.AsMarkdown = False,
    as_latex: arguments.AsLatex = False,
    as_json: arguments.AsJson = False,
    config_dir: arguments.ConfigDir = None,
) -> None:
    """Compare runs in tables: mean and deviation over seeds, the best, differences."""
    from nnexp.cli.compare_page import choose_form, compare_page
    from nnexp.cli.study_plan import as_planned
    from nnexp.compare.comparison import Question

    asked = {**layout(rows, cols, where), "metric": metric, "against": against, "best": best}
    asked |= {"margin": margin, "paired": paired, "confirm": confirm}
    asked |= as_planned(context, runs or [], config_dir)
    question = Question(**asked, sort=sort, everything=everything)
    form = choose_form(csv=as_csv, md=as_markdown, tex=as_latex, json=as_json)
    if any(source.startswith("study=") for source in runs or []):
        say_own_configs()
    compare_page(runs or [], question, form, config_dir)
