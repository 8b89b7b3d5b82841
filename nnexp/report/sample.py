"""Rows → those whose run folders are read for figures: of very many, the lowest seeds."""

from collections.abc import Sequence
from pathlib import Path

from nnexp.compare.columns import Row

MOST_READ = 400  # runs whose tables are read: each takes a few milliseconds


def readable(rows: Sequence[Row]) -> tuple[list[Row], list[str]]:
    """Return the rows whose folders are here, and a line that says if only some are taken."""
    here = [row for row in rows if Path(row["folder"]).is_dir()]
    if len(here) <= MOST_READ:
        return here, []
    lowest = {row["run_id"] for row in sorted(here, key=lambda row: row["seed"])[:MOST_READ]}
    said = f"Curves, probes and channels are drawn of {MOST_READ} of {len(here)} runs, the lowest"
    return [row for row in here if row["run_id"] in lowest], [f"{said} seeds first."]
