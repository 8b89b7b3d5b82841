"""`nnexp diff`: says what differs between two runs."""

from nnexp.cli import options as arguments

EXAMPLE = "nnexp diff vgg16-batch-bs128-s0-44136fa3 runs/vgg16-none-*"


def diff(first: arguments.OneRun, second: arguments.OneRun) -> None:
    """Say what differs between two runs: settings, results, epochs, environment."""
    from rich.markup import escape
    from rich.table import Table

    from nnexp.compare import find_run
    from nnexp.compare.diff import diff_runs
    from nnexp.console import open_console, print_table

    console, runs = open_console(), [find_run(first), find_run(second)]
    differences = diff_runs(*runs)
    if not differences:
        console.print("nothing differs: settings, results, every epoch and environment are equal")
        return
    table = Table("part", "what", pad_edge=False)
    for run in runs:
        table.add_column(escape(run.path.name), overflow="fold")
    for one in differences:
        table.add_row(*map(escape, (one.part, one.name, one.first, one.second)))
    left, right = (str(run.path) for run in runs)
    if runs[0].path.name == runs[1].path.name:  # else the headings say which column is which
        console.print(f"left {escape(left)}, right {escape(right)}")
    print_table(console, table)
