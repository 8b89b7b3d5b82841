"""Tables of names: what stands behind `norm.name`, `model.name`, …, with a user's own entries."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple, Self, TypeVar

from nnexp.settings.errors import ConfigError, no_such_option
from nnexp.settings.values import quoted

Entry = TypeVar("Entry")
IN_PYTHON = ""  # the source of an entry that no plug-in brought
_source: ContextVar[str] = ContextVar("source", default=IN_PYTHON)
TABLES: dict[str, "Table[Any]"] = {}  # group → its table, once the module that makes it is imported


class Addition(NamedTuple):
    """What is known of an entry that nnexp does not bring itself."""

    source: str  # the plug-in that it comes from, or IN_PYTHON
    about: str = ""
    values: Mapping[str, Any] = {}


class Table(dict[str, Entry]):
    """Names and what they stand for; later entries are the user's own and part of a run's record.

    Args:
        group: The settings that choose from the table: `"norm"` for `norm.name`.
        entries: nnexp's own.
        kind: The class of every entry.
    """

    def __init__(
        self, group: str, entries: Mapping[str, Entry], kind: type[Entry] | None = None
    ) -> None:
        super().__init__(entries)
        self.group = group
        self.kind = kind
        self.own = dict(entries)
        self.noted: dict[str, Addition] = {}
        TABLES[group] = self

    def add(
        self, name: str, entry: Entry, *, about: str = "", values: Mapping[str, Any] | None = None
    ) -> None:
        """Enter `entry` under `name`.

        Args:
            about: What `nnexp configs` and completion say of it, in one line.
            values: Settings of the group that differ from their defaults where it is chosen.

        Raises:
            ConfigError: The entry is of another kind than those of the table.
        """
        if self.kind is not None and not isinstance(entry, self.kind):
            table, kind = f"{self.group.upper()}S[{name!r}]", self.kind.__name__
            given = getattr(entry, "__name__", quoted(entry))
            raise ConfigError(
                f"{table} must be a {kind}, not {given}", f"write {table} = {kind}(…)"
            )
        super().__setitem__(name, entry)
        self.noted[name] = Addition(_source.get(), about, values or {})

    def __setitem__(self, name: str, entry: Entry) -> None:
        """Enter `entry` under `name`, and note where it comes from."""
        self.add(name, entry)

    def update(self, *others: Any, **named: Entry) -> None:
        """Enter several, as `add` does."""
        for name, entry in dict[str, Entry](*others, **named).items():
            self.add(name, entry)

    def __ior__(self, others: Any) -> Self:
        """Enter several, as `add` does."""
        self.update(others)
        return self

    def __missing__(self, name: str) -> Entry:
        """Say which names there are.

        Raises:
            ConfigError: There is no such entry.
        """
        raise no_such_option(self.group, name, self.group, self)


def additions(group: str) -> dict[str, Addition]:
    """Return what is known of every entry of a group that nnexp does not bring itself."""
    table = TABLES.get(group)
    if table is None:
        return {}
    own, noted = table.own, table.noted
    added = [name for name, entry in table.items() if own.get(name) is not entry]
    return {name: noted.get(name, Addition(IN_PYTHON)) for name in added}


@contextmanager
def entries_from(source: str) -> Iterator[None]:
    """Note `source` at every entry that is made meanwhile."""
    token = _source.set(source)
    try:
        yield
    finally:
        _source.reset(token)
