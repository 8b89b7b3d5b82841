"""A run's folder: which file holds what, how it is written, who may write it."""

from nnexp.console import printable
from nnexp.rundir.files import (
    make_folder,
    naming_full_disk,
    open_own_file,
    read_json,
    replacing,
    sync_folder,
    write_json,
)
from nnexp.rundir.folder import DiskFullError, RunDir, RunError
from nnexp.rundir.lock import (
    BusyError,
    empty_folder,
    explaining_refusals,
    is_locked,
    locked,
    read_status,
    with_lock,
)
from nnexp.rundir.reading import (
    LARGEST_TABLE,
    SAVE_AS_UTF8,
    UnreadableError,
    parse_cells,
    read_object,
    read_text,
)
from nnexp.rundir.records import (
    finished_result,
    is_at_chance,
    read_config,
    read_result,
    result_is_at_chance,
    wrong_type,
    wrong_value,
)
from nnexp.rundir.results import write_results_view
from nnexp.rundir.status import FINAL, STATUSES, append_log, write_status
from nnexp.rundir.tables import (
    append_rows,
    read_table,
    read_table_cells,
    read_table_columns,
    read_tables,
    restore_tables,
)

__all__ = [
    "FINAL",
    "LARGEST_TABLE",
    "SAVE_AS_UTF8",
    "STATUSES",
    "BusyError",
    "DiskFullError",
    "RunDir",
    "RunError",
    "UnreadableError",
    "append_log",
    "append_rows",
    "empty_folder",
    "explaining_refusals",
    "finished_result",
    "is_at_chance",
    "is_locked",
    "locked",
    "make_folder",
    "naming_full_disk",
    "open_own_file",
    "parse_cells",
    "printable",
    "read_config",
    "read_json",
    "read_object",
    "read_result",
    "read_status",
    "read_table",
    "read_table_cells",
    "read_table_columns",
    "read_tables",
    "read_text",
    "replacing",
    "restore_tables",
    "result_is_at_chance",
    "sync_folder",
    "with_lock",
    "write_json",
    "write_results_view",
    "write_status",
    "wrong_type",
    "wrong_value",
]
