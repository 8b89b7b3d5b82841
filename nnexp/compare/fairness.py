"""Grids' rows → what makes comparing them unfair, in words."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from nnexp.compare.columns import SETTINGS, Row, shown
from nnexp.compare.grid import Layout
from nnexp.compare.selection import goes_with, grouped, in_order, varying
from nnexp.console import counted
from nnexp.rundir import ENVIRONMENT, FINAL
from nnexp.settings.sharing import shareable_folder

UNFAIR = "not a fair comparison"
UNKNOWN = "unknown"
MOST_VALUES = 4  # that one line lists
# What no table is about unless the user says so, even where its rows show it.
HELD_EQUAL = (
    *("epochs", "max_steps", "precision", "memory_format", "step", "tf32", "deterministic", "code"),
    *(key for key in SETTINGS if key.startswith("data.")),
)
# What a name implies, since no other reads these settings, or since its YAML sets them.
IMPLIED = {
    "norm": ("num_groups", "channels_per_group", "options"),
    "model": ("dropout", "stochastic_depth", "options"),
    "data": ("options",),
    "optimizer": ("learning_rate", "weight_decay", "momentum", "beta1", "beta2", "options"),
    "schedule": ("milestones", "factor", "options"),
}
CODE = ("commit", "dirty")  # said together
MAY_BE_NONE = ("cuda", "cudnn")  # of a PyTorch without CUDA
ALWAYS_WAS = {"step": "eager"}  # of runs from before it was recorded

Rivals = list[list[Row]]  # rows that a table compares with each other
Lines = Iterator[tuple[str, str]]  # what differs, and the line that says so


def find_unfair(rows: Sequence[Row], layout: Layout, asked: Sequence[str]) -> dict[str, str]:
    """Return what differs among runs that a table compares, each with the line that says so.

    What the user `asked` for is what the table is about, and not named; neither is what an entry
    implies, such as norm.num_groups. What is unknown counts as different from all that is known.
    """
    ended = [row for row in rows if row["status"] in FINAL]
    rivals = [members for _, members in grouped(ended, [*layout.layers, *layout.columns])]
    rivals = [members for members in rivals if len(members) > 1]
    return {
        **dict(_settings(rivals, _subjects(ended, layout, asked))),
        **dict(() if "steps" in asked else _steps(rivals)),
        **dict(_environments(rivals)),
    }


def _subjects(rows: Sequence[Row], layout: Layout, asked: Sequence[str]) -> set[str]:
    """Return the settings that a table is about, and what these imply.

    Where nobody asked for its rows, they are what varies by itself, not along with another row.
    """
    known = list(asked)
    for key in layout.rows:
        if key not in HELD_EQUAL and not goes_with(rows, key, known):
            known.append(key)
    groups = {key.removesuffix(".name") for key in known}
    return {*known, *(f"{one}.{leaf}" for one in groups for leaf in IMPLIED.get(one, ()))}


def _settings(rivals: Rivals, subjects: set[str]) -> Lines:
    changing = {key for members in rivals for key in varying(members)}
    for key in SETTINGS:
        if key in changing and key not in subjects:
            yield from _difference(rivals, key, lambda row, key=key: shown(row[key]))


def _steps(rivals: Rivals) -> Lines:
    """Name the batch sizes whose finished runs took unequal numbers of steps."""
    alike: dict[str, Rivals] = {}
    for members in rivals:
        done = [row for row in members if row["status"] == "done" and row.get("steps") is not None]
        for (size, *_), rows in grouped(
            done, ["batch_size", "epochs", "max_steps", "data.train_images"]
        ):
            alike.setdefault(size, []).append(rows)
    for size, groups in alike.items():
        name = f"the number of steps at batch_size={size}"
        yield from _difference(groups, name, lambda row: shown(row["steps"]))


def _environments(rivals: Rivals) -> Lines:
    known = [[row for row in members if _is_known(row)] for members in rivals]
    yield from _unknown(rivals)
    for name in ENVIRONMENT:
        if name not in CODE:
            key = f"environment.{name}"
            yield from _difference(known, key, lambda row, name=name: _made_with(row, name))
    yield from _codes(known)
    tries = [row.get("environments") for members in rivals for row in members]
    if mixed := sum(isinstance(count, (int, float)) and count > 1 for count in tries):
        line = f"{UNFAIR}: {counted(mixed, 'run')} resumed in another environment than at the start"
        yield "environments", line


def _unknown(rivals: Rivals) -> Lines:
    """Say once which runs are without any environment, as those of an old results.csv are."""
    rows = [row for members in rivals for row in members]
    unknown = [row for row in rows if not _is_known(row)]
    if not unknown:
        return
    folders = {shareable_folder(row["folder"]) for row in unknown}
    tables = sorted(name for name in folders if name.endswith(".csv"))
    where = f" ({', '.join(tables)})" if 0 < len(tables) <= 2 else ""
    whole = f"{len(unknown)} of {counted(len(rows), 'run')}"
    yield (
        "environment",
        f"not known to be a fair comparison: {whole}{where} do not say with which versions, "
        "device and images they were made",
    )


def _codes(rivals: Rivals) -> Lines:
    """Say once that runs were made by different code, and what to do."""
    rows = [row for members in rivals for row in members]
    commits = sorted({row["environment.commit"][:7] for row in rows if row["environment.commit"]})
    touched = f"if git diff {' '.join(commits[:2])} touches training, " if len(commits) > 1 else ""
    for name, line in _difference(rivals, "commit", _code):
        yield name, f"{line}; {touched}train these runs again with --rerun and one commit"


def _code(row: Row) -> str:
    commit = row["environment.commit"]
    changed = " with uncommitted changes" if row["environment.dirty"] == "true" else ""
    return f"{commit[:7]}{changed}" if commit else UNKNOWN


def _is_known(row: Row) -> bool:
    return any(row.get(f"environment.{name}") is not None for name in ENVIRONMENT)


def _made_with(row: Row, name: str) -> str:
    value = row.get(f"environment.{name}")
    if value is None and row.get("environment.torch") and name in ALWAYS_WAS:
        return ALWAYS_WAS[name]
    if value is None:
        return "none" if name in MAY_BE_NONE and row.get("environment.torch") else UNKNOWN
    return f"{value[:12]}…" if len(value) == 64 else value


def _difference(rivals: Rivals, name: str, value_of: Callable[[Row], str]) -> Lines:
    """Yield one line where rows that are compared have several values."""
    counts = Counter[str]()
    for members in rivals:
        values = Counter(map(value_of, members))
        if len(values) > 1:
            counts += values
    if counts:
        values = in_order((value,) for value in counts)
        listed = [f"{value} in {counted(counts[value], 'run')}" for (value,) in values]
        more = len(listed) - MOST_VALUES
        tail = [f"{more} more"] if more > 0 else []
        yield name, f"{UNFAIR}: {name} differs: {', '.join([*listed[:MOST_VALUES], *tail])}"
