"""Where results go: rich tables on a terminal, plain lines where another program reads them."""

import typer
from rich.console import Console
from rich.table import Table

PIPED_WIDTH = 10_000  # no line of a table is folded where another program reads it


def open_console() -> Console:
    """Return standard output, as wide as the terminal or wide enough for any reader."""
    console = Console(highlight=False, soft_wrap=False)
    return console if console.is_terminal else Console(highlight=False, width=PIPED_WIDTH)


def print_table(console: Console, table: Table) -> None:
    """Print a table and an empty line, without a box where nobody looks at it."""
    if not console.is_terminal:
        table.box = None
    console.print(table)
    console.print()


def say(text: str) -> None:
    """Print one message to standard error."""
    typer.echo(f"nnexp: {text}", err=True)
