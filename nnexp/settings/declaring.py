"""How a setting is declared: its default, what it means, and the values that it takes."""

import copy
import math
import re
from collections.abc import Iterator
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from functools import cache
from operator import attrgetter
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

from nnexp.settings.configs import names_in
from nnexp.settings.errors import ConfigError, no_such_option
from nnexp.settings.tables import TABLES, additions

MOST = 10_000_000  # of anything that is counted: with more, no run ends or fits into memory
PLAIN = re.compile(r"[\w.+-]+")  # a name that is one of a table, here or elsewhere
EXAMPLES = {str: "a text", list: "a list: {key}={list}", dict: "a name for each: {key}.a=b"}


def setting(default: Any, meaning: str, *, share: bool = False, **limits: Any) -> Any:
    """Declare a field of the settings.

    Args:
        default: Its value where nothing is said.
        meaning: What it decides, in one line.
        share: It is a number from 0 to 1.
        limits: Any of the limits of `Setting`: `at_least`, `at_most`, `above`, `below`, `words`,
            `group`; and `identity=False` for what does not change what a run learns.
    """
    if share:
        limits |= {"at_least": 0.0, "at_most": 1.0}
    metadata = {"meaning": meaning, **limits}
    if isinstance(default, (list, dict)):
        return field(default_factory=lambda: copy.copy(default), metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """One setting: its dotted name, what it takes, its default, and what it decides."""

    key: str
    hint: Any
    kind: type  # int, float, bool, str, list or dict
    optional: bool
    default: Any
    meaning: str
    at_least: float | None = None
    at_most: float | None = None
    above: float | None = None
    below: float | None = None
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
            if self.at_most is not None and value is not None and value > self.at_most:
                return f"a whole number of at most {self.at_most}"
            return f"a whole number of at least {self.at_least}"
        if self.above is not None:
            return f"a number above {self.above}"
        if self.below is not None:
            return f"a number from {self.at_least} to below {self.below}"
        if self.at_most is not None:
            return f"a number from {self.at_least} to {self.at_most}"
        return f"a number of at least {self.at_least}"

    def check(self, value: Any) -> None:
        """Refuse a value outside the limits.

        Raises:
            ConfigError: Says what would do.
        """
        if value is None and self.optional:
            return
        if self.group and self.kind is str and not PLAIN.fullmatch(str(value)):
            raise no_such_option(self.group, str(value), self.key, self.words)
        if self.listed and value not in self.listed:
            self._refuse(value, f"one of {', '.join(self.listed)}")
        if self.kind in (list, dict):
            if not isinstance(value, self.kind):
                self._refuse(value, self._example())
            numbers: Any = value if self.kind is list and self.at_least is not None else []
            for one in numbers:
                self._check_number(one)
        elif self.kind in (int, float):
            self._check_number(value)

    def _check_number(self, value: Any) -> None:
        low = -math.inf if self.at_least is None else self.at_least
        high = math.inf if self.at_most is None else self.at_most
        is_inside = (
            low <= value <= high
            and abs(value) < math.inf
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
        )
        if not is_inside:
            self._refuse(value, self.limits(value))

    def _refuse(self, value: Any, needs: str) -> None:
        raise ConfigError(f"{self.key} cannot be {value!r}", f"it needs {needs}")

    def _example(self) -> str:
        usual = str(self.default or "[a,b]").replace(" ", "")
        return EXAMPLES[self.kind].format(key=self.key, list=usual)

    def needs(self) -> str:
        """Return what it takes, as a remedy says it."""
        if self.kind in (int, float):
            text = f"it needs {self.limits()}"
        elif self.words:
            text = f"it needs one of {', '.join(self.words)}"
        else:
            text = f"it needs {self._example()}"
        return f"{text}, or null" if self.optional else text


def known_names(group: str) -> tuple[str, ...]:
    """Return the names that code exists for: one packaged file each, and the user's own entries."""
    return tuple(sorted({*names_in(group), *additions(group)}))


def check_names(config: Any) -> None:
    """Refuse names for which there is no code here; settings that are only read may have them.

    Raises:
        ConfigError: Says which names there are.
    """
    for key, one in settings_of(type(config)).items():
        if not one.group or (one.kind is list and one.group not in TABLES):
            continue  # a table that is made later says itself what it lacks
        value, known = attrgetter(key)(config), known_names(one.group)
        words = {f"{key}.{leaf}": name for leaf, name in value.items()} if one.kind is dict else {}
        for word, name in words.items() or [(key, name) for name in _listed(value)]:
            if name not in known:
                raise no_such_option(one.group, name, word, known)


def _listed(value: Any) -> list[str]:
    """Return the names of a setting that holds one or several."""
    return [value] if isinstance(value, str) else list(value)


@cache
def settings_of(part: type, prefix: str = "") -> dict[str, Setting]:
    """Return every setting that a part of the settings declares, by its dotted name."""
    return {one.key: one for one in _declared(part, prefix)}


def check_limits(part: Any, name: str = "") -> None:
    """Refuse the first value of a part of the settings that is outside its limits.

    Raises:
        ConfigError: Names the setting.
    """
    prefix = f"{name}." if name else ""
    for key, one in settings_of(type(part), prefix).items():
        leaf = key.removeprefix(prefix)
        if "." not in leaf:
            one.check(getattr(part, leaf))


def _declared(part: type, prefix: str) -> Iterator[Setting]:
    types = get_type_hints(part)
    for item in fields(part):
        hint, key = types[item.name], prefix + item.name
        if is_dataclass(hint):
            yield from _declared(hint, f"{key}.")  # pyright: ignore[reportArgumentType]
            continue
        optional = isinstance(hint, UnionType)
        inner = [one for one in get_args(hint) if one is not NoneType]
        kind: Any = inner[0] if optional else get_origin(hint) or hint
        factory = item.default_factory
        metadata = dict(item.metadata)
        if kind is int:
            metadata.setdefault("at_most", MOST)
        yield Setting(
            key=key,
            hint=hint,
            kind=kind,
            optional=optional,
            default=item.default if factory is MISSING else factory(),
            listed=metadata.pop("words", ()),
            **metadata,
        )
