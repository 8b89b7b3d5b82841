"""Two run folders → what differs between them: settings, results, epochs, environment."""

from rich.markup import escape
from rich.table import Table

from nnexp.compare.diff import diff_runs
from nnexp.console import Console, open_console, print_table
from nnexp.rundir import RunDir


def diff_page(first: RunDir, second: RunDir) -> None:
    """Print what differs, or `nothing`."""
    console = open_console()
    differences = diff_runs(first, second)
    if not differences:
        console.print("nothing differs: settings, results, every epoch and environment are equal")
        return
    table = Table("part", "what", pad_edge=False)
    for run in (first, second):
        table.add_column(escape(run.path.name), overflow="fold")
    for one in differences:
        table.add_row(*(escape(text) for text in (one.part, one.name, one.first, one.second)))
    _print_places(console, first, second)
    print_table(console, table)


def _print_places(console: Console, first: RunDir, second: RunDir) -> None:
    """Say which column is which where both runs have one name."""
    if first.path.name == second.path.name:
        console.print(f"left {escape(str(first.path))}, right {escape(str(second.path))}")
