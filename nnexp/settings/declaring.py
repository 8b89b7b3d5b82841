"""How a setting is declared: its default, what it means, and the values that it takes."""

import copy
import math
import re
from collections.abc import Iterator
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

from nnexp.settings.configs import names_in
from nnexp.settings.errors import ConfigError, no_such_option
from nnexp.settings.tables import TABLES

MOST = 10_000_000  # of anything that is counted: with more, no run ends or fits into memory
PLAIN = re.compile(r"[\w.+-]+")  # a name that is one of a table, here or elsewhere
EXAMPLES = {str: "a text", list: "a list: {key}={list}", dict: "a name for each: {key}.a=b"}


def setting(default: Any, meaning: str, **limits: Any) -> Any:
    """Declare a field of the settings.

    Args:
        default: Its value where nothing is said.
        meaning: What it decides, in one line.
        limits: Any of the limits of `Setting`: `at_least`, `at_most`, `above`, `below`, `listed`,
            `group`; and `identity=False` for what does not change what a run learns.
    """
    metadata = {"meaning": meaning, **limits}
    if isinstance(default, (list, dict)):
        return field(default_factory=lambda: copy.copy(default), metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """One setting: its dotted name, what it takes, its default, and what it decides."""

    key: str
    part: type  # the class that declares it
    hint: Any
    kind: type  # int, float, bool, str, list or dict
    optional: bool
    default: Any
    meaning: str
    at_least: float = -math.inf
    at_most: float = math.inf
    above: float = -math.inf
    below: float = math.inf
    listed: tuple[str, ...] = ()
    group: str = ""  # its values are names of this group
    identity: bool = True  # it changes what a run learns

    @property
    def words(self) -> list[str]:
        """The values that can be listed; none where any number or text will do."""
        if self.group and self.kind is str:
            return list(known_names(self.group))
        return ["true", "false"] if self.kind is bool else list(self.listed)

    def limits(self, value: Any = None) -> str:
        """Return the numbers that it takes; of a whole number the bound that `value` broke."""
        if self.kind is int:
            if value is not None and value > self.at_most:
                return f"a whole number of at most {self.at_most}"
            return f"a whole number of at least {self.at_least}"
        if self.above > -math.inf:
            return f"a number above {self.above}"
        if self.below < math.inf:
            return f"a number from {self.at_least} to below {self.below}"
        if self.at_most < math.inf:
            return f"a number from {self.at_least} to {self.at_most}"
        return f"a number of at least {self.at_least}"

    def check(self, value: Any) -> None:
        """Refuse a value outside the limits, and say what would do."""
        if value is None and self.optional:
            return
        if self.group and self.kind is str and not PLAIN.fullmatch(str(value)):
            raise no_such_option(self.group, str(value), self.key, self.words)
        is_other_kind = not isinstance(value, (int, float) if self.kind is float else self.kind)
        if is_other_kind or (self.listed and value not in self.listed):
            raise ConfigError(f"{self.key} cannot be {value!r}", self.needs())
        numbers: Any = [value] if self.kind in (int, float) else []
        if self.kind is list and math.isfinite(self.at_least):
            numbers = value
        for one in numbers:
            # false for not-a-number too
            if not (self.at_least <= one <= self.at_most and self.above < one < self.below):
                raise ConfigError(f"{self.key} cannot be {one!r}", f"it needs {self.limits(one)}")

    def needs(self) -> str:
        """Return what it takes, as a remedy says it."""
        if self.kind in (int, float):
            text = self.limits()
        elif self.words:
            text = f"one of {', '.join(self.words)}"
        else:
            usual = str(self.default or "[a,b]").replace(" ", "")
            text = EXAMPLES[self.kind].format(key=self.key, list=usual)
        return f"it needs {text}, or null" if self.optional else f"it needs {text}"


def known_names(group: str) -> tuple[str, ...]:
    """Return the names that code exists for: one packaged file each, and what tables hold."""
    return tuple(sorted({*names_in(group), *TABLES.get(group, ())}))


def declared(part: type, prefix: str = "") -> Iterator[Setting]:
    """Yield every setting that a part of the settings declares."""
    types = get_type_hints(part)
    for item in fields(part):
        hint, key = types[item.name], prefix + item.name
        if is_dataclass(hint):
            yield from declared(hint, f"{key}.")  # pyright: ignore[reportArgumentType]
            continue
        optional = isinstance(hint, UnionType)
        inner = [one for one in get_args(hint) if one is not NoneType]
        kind: Any = inner[0] if optional else get_origin(hint) or hint
        factory = item.default_factory
        limits: dict[str, Any] = {"at_most": MOST} if kind is int else {}
        yield Setting(
            key=key,
            part=part,
            hint=hint,
            kind=kind,
            optional=optional,
            default=item.default if factory is MISSING else factory(),
            **limits | item.metadata,
        )
