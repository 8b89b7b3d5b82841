"""`results.csv`: one row per run of a folder, rebuilt whole and replaced in one step."""

import csv
import fcntl
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from nnexp.rundir.files import open_own_file, remove_scratch_files, replacing
from nnexp.rundir.folder import RunDir
from nnexp.rundir.reading import UnreadableError, read_object
from nnexp.rundir.records import read_config, read_result
from nnexp.settings import result_head, shareable


def write_results_view(runs_dir: Path) -> Path:
    """Rebuild `results.csv`, one row per run that has ended or failed, and return its path.

    The file is a view: it is replaced whole, under a lock, and nobody appends to it.
    """
    view = runs_dir / "results.csv"
    handle = open_own_file(runs_dir / ".results.lock", os.O_RDWR)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        remove_scratch_files(runs_dir, view.name)
        folders = sorted(
            {path.parent for path in runs_dir.glob("*/status.json")}
            | {path.parent for path in runs_dir.glob("*/result.json")}
        )
        rows = [row for folder in folders if (row := _row_of(RunDir(folder)))]
        columns = list(dict.fromkeys(column for row in rows for column in row))
        with (
            replacing(view) as scratch,
            scratch.open("w", encoding="utf-8", errors="replace", newline="") as file,
        ):
            writer = csv.DictWriter(file, columns, lineterminator="\n")
            writer.writeheader()
            writer.writerows({key: _cell(value) for key, value in row.items()} for row in rows)
    finally:
        os.close(handle)
    return view


def _row_of(run: RunDir) -> dict[str, Any]:
    """Return the row of a run: its result, or where it failed its settings and the reason.

    A folder that cannot be read has none: a run must not fail because of another.
    """
    with suppress(UnreadableError):
        if result := read_result(run):
            return {**result, **shareable(result)}
        status = read_object(run.status) or {}
        if status.get("status") == "failed":
            head: dict[str, Any] = {"run_id": run.path.name, "status": "failed"}
            with suppress(UnreadableError):
                if config := read_config(run):
                    head = result_head(config, "failed")
            return {**head, "reason": None, **shareable(status)}
    return {}


def _cell(value: object) -> object:
    return json.dumps(value) if isinstance(value, (list, dict)) else value
