"""Where results go: rich tables on a terminal, plain lines where another program reads them."""

import os

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


class SteadyConsole(Console):
    """A console whose reader may go away: a run is more than what it prints."""

    def on_broken_pipe(self) -> None:
        """Say nothing more, instead of ending the process."""
        self.quiet = True
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.file.fileno())


def duration(seconds: float) -> str:
    """Return seconds as `h:mm:ss`, or `m:ss` below an hour."""
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def percent(share: float | None) -> str:
    """Return a share as a percentage, or a dash where there is none."""
    return "–" if share is None else f"{100 * share:.2f} %"
