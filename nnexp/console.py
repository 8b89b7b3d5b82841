"""Where results go: rich tables on a terminal, plain lines where another program reads them.

All that nnexp prints passes here, and loses what could steer a terminal: names, reasons and logs
may come from others.
"""

import csv
import io
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Any, TextIO, cast

import rich.console
import typer
from rich.segment import Segment
from rich.table import Table

PIPED_WIDTH = 10_000  # no line of a table is folded where another program reads it
FORMULA = ("=", "+", "-", "@", "\t")  # what a spreadsheet computes when a cell begins with it
SEQUENCE = r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)"  # of a terminal
CONTROL = r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]"
NOT_PRINTED = re.compile(f"{SEQUENCE}|{CONTROL}")
SURROGATE = re.compile("[\ud800-\udfff]")  # what stands for a byte that is no text


def printable(text: str) -> str:
    """Return text without what would steer a terminal or turn the direction of reading.

    Line breaks and tabs stay; a byte that is no text becomes `�`.
    """
    if text.isprintable():  # as most is
        return text
    return SURROGATE.sub("\ufffd", NOT_PRINTED.sub("", text))


class Console(rich.console.Console):
    """A console that prints no control characters but its own."""

    def render(
        self, renderable: rich.console.RenderableType, options: Any = None
    ) -> Iterable[Segment]:
        """Yield what is printed, the text of each part cleaned."""
        for segment in super().render(renderable, options):
            text = segment.text if segment.control else printable(segment.text)
            yield segment._replace(text=text)


def open_console() -> Console:
    """Return standard output, as wide as the terminal or wide enough for any reader."""
    console = Console(highlight=False, soft_wrap=False)
    return console if console.is_terminal else Console(highlight=False, width=PIPED_WIDTH)


def plain_table(*texts: str, numbers: Sequence[str] = ()) -> Table:
    """Return a table without a box: columns of texts by their headings, then columns of numbers."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in texts:
        table.add_column(heading, overflow="fold")
    for heading in numbers:
        table.add_column(heading, justify="right")
    return table


def print_table(console: Console, table: Table) -> None:
    """Print a table and an empty line, without a box where nobody looks at it."""
    if not console.is_terminal:
        table.box = None
    console.print(table)
    console.print()


def write(text: str = "", *, end: str = "\n") -> None:
    """Write text to standard output as it is, without control characters."""
    typer.echo(printable(text) + end, nl=False)


def write_csv(
    columns: Sequence[str], rows: Iterable[Mapping[str, Any]], header: bool = True
) -> None:
    """Write rows as CSV to standard output; no text in it is a formula to a spreadsheet.

    A column that a row lacks is empty there.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    if header:
        writer.writerow(map(as_csv_cell, columns))
    writer.writerows([as_csv_cell(row.get(column)) for column in columns] for row in rows)
    write(text.getvalue(), end="")


def as_csv_cell(value: Any) -> Any:
    """Return a text that a spreadsheet would compute behind an apostrophe, all else as it is."""
    if not isinstance(value, str) or not value.startswith(FORMULA):
        return value
    try:
        float(value)
    except ValueError:
        return f"'{value}"
    return value


def say(text: str) -> None:
    """Print one message to standard error."""
    typer.echo(f"nnexp: {printable(text)}", err=True)


class _ForgivingStream:
    """A text stream that discards all text from the first on that cannot be written."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write, or discard."""
        try:
            return self._stream.write(text)
        except OSError:
            self._discard()
            return len(text)

    def flush(self) -> None:
        """Flush, or discard."""
        try:
            self._stream.flush()
        except OSError:
            self._discard()

    def _discard(self) -> None:
        # Python writes what is still in the buffer when the process ends; that must not fail.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)


@contextmanager
def forgiving_output() -> Iterator[None]:
    """Discard what cannot be printed inside the block: a training does not depend on its reader.

    The disk behind a redirection may be full, the reader of a pipe or the terminal gone.
    """
    with redirect_stdout(_forgiving(sys.stdout)), redirect_stderr(_forgiving(sys.stderr)):
        try:
            yield
        finally:
            for stream in (sys.stdout, sys.stderr):
                if stream is not None:
                    stream.flush()


def _forgiving(stream: TextIO | None) -> TextIO:
    # None is what Python has for a stream that was closed before the process began.
    return cast("TextIO", stream and _ForgivingStream(stream))


def say_error(problem: str, remedy: str = "") -> None:
    """Print what is wrong and what would do to standard error."""
    typer.secho("nnexp: ", fg="red", bold=True, nl=False, err=True)
    typer.echo(printable(problem), err=True)
    if remedy:
        typer.echo(f"       {printable(remedy)}", err=True)


def duration(seconds: float) -> str:
    """Return seconds as `h:mm:ss`, or `m:ss` below an hour."""
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def percent(share: float | None) -> str:
    """Return a share as a percentage, or a dash where there is none."""
    return "–" if share is None else f"{100 * share:.2f} %"


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: `1 run`, `3 runs`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
