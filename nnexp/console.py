"""Where results go: rich tables on a terminal, plain lines where another program reads them."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Any, TextIO, cast

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


def duration(seconds: float) -> str:
    """Return seconds as `h:mm:ss`, or `m:ss` below an hour."""
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def percent(share: float | None) -> str:
    """Return a share as a percentage, or a dash where there is none."""
    return "–" if share is None else f"{100 * share:.2f} %"
