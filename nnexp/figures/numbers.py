"""The numbers that a figure shows → a CSV file beside it, one row for each mark."""

import csv
from collections.abc import Sequence
from pathlib import Path

from nnexp.compare.columns import Row
from nnexp.console import as_csv_cell
from nnexp.figures.drawing import check_ending
from nnexp.rundir import UnreadableError, read_text
from nnexp.settings import ConfigError

FIRST = "panel"  # the first column of every file written here, and of no table of a run


def numbers_path(figure: Path) -> Path:
    """Return where the numbers of a figure are written: `x.csv` beside `x.png`.

    Raises:
        ConfigError: The file is none of a figure's, or its numbers would replace another file,
            as they would a run's own table.
    """
    check_ending(figure)
    path = figure.with_suffix(".csv")
    try:
        text = read_text(path)
    except UnreadableError:
        text = ""
    if path.exists() and not (text or "").startswith(FIRST):
        raise ConfigError(
            f"{path} is not the numbers of a figure",
            f"they would replace it: write the figure elsewhere than {figure}",
        )
    return path


def write_numbers(rows: Sequence[Row], path: Path) -> None:
    """Write a figure's numbers; no text in them is a formula to a spreadsheet."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(rows[0] if rows else [FIRST])
        writer.writerows(map(as_csv_cell, row.values()) for row in rows)
