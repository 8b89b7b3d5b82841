"""The words after a command: Hydra's flags apart, and every override known before Hydra sees it."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Glob, Override, QuotedString, Sweep
from hydra.errors import HydraException

from nnexp.settings.choices import Choices, read_choices
from nnexp.settings.errors import ConfigError, no_such_option
from nnexp.settings.extras import check_extra
from nnexp.settings.identity import flatten
from nnexp.settings.messages import no_such_setting
from nnexp.settings.plugins import names_plugins
from nnexp.settings.suggestions import nearest_keys

INFO = ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath", "aliases")
# Hydra's flags that make sense here, and what may follow: None nothing, () one word of any kind.
FLAGS: dict[str, tuple[str, ...] | None] = {
    "--multirun": None,
    "--run": None,
    "--resolve": None,
    "--hydra-help": None,
    "--cfg": ("job", "hydra", "all"),
    "--package": (),
    "--config-name": (),
    "--config-dir": (),
    "--info": INFO,
}
MODES = ("--multirun", "--run", "--cfg", "--info")  # one of them at a time
SHORT = {
    "-m": "--multirun",
    "-r": "--run",
    "-c": "--cfg",
    "-p": "--package",
    "-cn": "--config-name",
    "-cd": "--config-dir",
    "-i": "--info",
}


def split_words(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return Hydra's flags and the overrides; Hydra 1.3 wants the flags in front.

    Raises:
        ConfigError: A flag is none of Hydra's, or its value is missing or wrong.
    """
    flags: list[str] = []
    overrides: list[str] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if not word.startswith("-"):
            overrides.append(word)
            continue
        flag, has_value, value = word.partition("=")
        flag = SHORT.get(flag, flag)
        if flag not in FLAGS:
            raise no_such_flag(word, rest[0] if rest else "", read_choices())
        flags.append(flag)
        if FLAGS[flag] is None:
            continue
        if not has_value and rest and (flag != "--info" or rest[0] in INFO):
            value = rest.pop(0)
        if value or flag != "--info":
            _check_value(flag, value)
            flags.append(value)
    _check_together(flags)
    return flags, overrides


def plugins_named(words: Iterable[str]) -> list[str]:
    """Return the plug-ins that the overrides name, which have to be lists of plain names."""
    named: list[str] = []
    for word in filter(names_plugins, words):
        value = parse_word(word).value()
        for one in value.list if isinstance(value, ChoiceSweep) else [value]:
            if not isinstance(one, list) or "$" in str(one):
                raise ConfigError(
                    f"plugins cannot be {word.partition('=')[2]!r}",
                    "it needs a list of files and modules: plugins=[FILE.py]",
                )
            named += map(str, one)
    return named


def value_of(flag: str, flags: Sequence[str]) -> str | None:
    """Return what follows a flag, or None where the flag is not given."""
    return flags[flags.index(flag) + 1] if flag in flags else None


def _check_value(flag: str, value: str) -> None:
    takes = FLAGS[flag]
    if not value or (takes and value not in takes):
        remedy = f"it needs one of {', '.join(takes)}" if takes else f"write {flag} VALUE"
        problem = f"{flag} cannot be {value!r}" if value else f"{flag} has no value"
        raise ConfigError(problem, remedy)


def _check_together(flags: Sequence[str]) -> None:
    """Refuse flags that Hydra cannot follow at once."""
    modes = [flag for flag in dict.fromkeys(flags) if flag in MODES]
    if len(modes) > 1:
        raise ConfigError(f"{' and '.join(modes)} do not go together", "give one of them")
    for flag in ("--resolve", "--package"):
        if flag in flags and "--cfg" not in flags:
            raise ConfigError(f"{flag} shows nothing by itself", f"add --cfg job to {flag}")


def no_such_flag(
    word: str, after: str, choices: Choices, form: str = "settings are written"
) -> ConfigError:
    """Return the error for `--epochs 3`: settings are words without dashes."""
    flag, has_value, value = word.partition("=")
    key = flag.lstrip("-").replace("-", "_")
    value = value if has_value else after
    if not value or "=" in value or value.startswith("-"):
        value = "VALUE"
    near = [key] if key in choices.keys else nearest_keys(key, choices.keys)
    written = f"{form} {near[0]}={value}" if near else "-h lists the options"
    return ConfigError(f"no option {flag}", written)


def check_overrides(words: Sequence[str], choices: Choices, *, sweep: bool) -> list[Override]:
    """Return the overrides, parsed; each names something that is there.

    Raises:
        ConfigError: One is not KEY=VALUE, names no setting or no option of its group, or names
            several values outside a sweep.
    """
    overrides: list[Override] = []
    for index, word in enumerate(words):
        _check_form(word, words[index + 1 :])
        override = parse_word(word, as_added(word, choices))
        _check_known(override, word, choices)
        if override.key_or_group == "study" and override.is_sweep_override():
            raise ConfigError("study names several grids", "sweep one at a time")
        if not sweep and override.is_sweep_override():
            _refuse_several(override.key_or_group, word, choices)
        overrides.append(override)
    return overrides


def check_length(overrides: Iterable[Override], max_steps: int | None) -> None:
    """Refuse typed epochs beside `max_steps`, the composed one or typed values of it.

    Raises:
        ConfigError: Both would decide how long a run is.
    """
    typed = {one.key_or_group for one in overrides if one.value() is not None}
    if "epochs" in typed and (max_steps is not None or "max_steps" in typed):
        raise ConfigError(
            "epochs and max_steps are both set", "each decides the other: leave one out"
        )


def as_typed(overrides: Iterable[Override]) -> list[str]:
    """Return the overrides as Hydra takes them."""
    return [one.input_line for one in overrides if one.input_line]


def as_added(word: str, choices: Choices) -> str:
    """Write `norm.at.conv1=layer` as `++norm.at.conv1=layer`: its keys are not in the schema."""
    return f"++{word}" if _is_in_dict(word.partition("=")[0], choices) else word


def parse_word(word: str, added: str = "") -> Override:
    """Return a word as Hydra reads it, or what `as_added` made of it."""
    parser = OverridesParser.create()
    try:
        return parser.parse_override(added or word)
    except HydraException as error:
        key, _, value = word.partition("=")
        try:
            parser.parse_override(f"{key}=0")
        except HydraException:
            raise ConfigError(
                f"{key!r} cannot be a setting",
                "settings are written KEY=VALUE, with letters, digits, _ and . in KEY",
            ) from error
        quoted = f'"{value}"'
        if value.startswith("[") and value.endswith("]"):
            quoted = "[" + ",".join(f'"{one.strip()}"' for one in value[1:-1].split(",")) + "]"
        raise ConfigError(f"cannot read {word!r}", f"quote the value: '{key}={quoted}'") from error


def _check_form(word: str, rest: Sequence[str]) -> None:
    """Refuse what is not KEY=VALUE; the words after it tell what was meant."""
    key, has_value, value = word.partition("=")
    behind = "".join(rest[:2] if rest[:1] == ["="] else rest[:1]).lstrip("=")
    if "=" in behind or behind.startswith("-"):
        behind = ""
    written = f"settings are written {key}={behind or 'VALUE'}"
    if not word.isprintable():
        raise ConfigError(f"cannot read {word!r}", "it has a character that is not text")
    if not key:
        raise ConfigError(f"{word!r} names no setting", "settings are written KEY=VALUE")
    if has_value and (not value.strip() or "???" in value):
        raise ConfigError(f"{word!r} has no value", written)
    if not has_value and not word.startswith("~"):
        if ":" in word:
            written = f"settings are written {word.replace(':', '=', 1)}"
        raise ConfigError(f"{word!r} has no '='", written)
    if value.rstrip().endswith(","):
        meant = (word + behind).rstrip(", ")
        raise ConfigError(f"{word!r} ends with a comma", f"did you mean {meant}")


def _is_in_dict(key: str, choices: Choices) -> bool:
    """Return whether a key is a setting, or inside one, whose keys are the user's own."""
    dicts = (name for name, setting in choices.settings.items() if setting.kind is dict)
    return any(f"{key}.".startswith(f"{name}.") for name in dicts)


def _check_known(override: Override, word: str, choices: Choices) -> None:
    """Refuse a key that is nowhere, at any level, and an option that its group has not."""
    key = override.key_or_group
    value = None if override.is_delete() else override.value()
    check_extra(key, value)
    for one in (key, *flatten({key: value})):
        _check_key(one, word, choices)
    _check_prefix(override, word, choices)
    if override.is_delete() or isinstance(value, dict):
        return
    if key in choices.groups:
        for name in _names(value):
            if name not in choices.groups[key]:
                raise no_such_option(key, name, key, choices.groups[key])
        if isinstance(value, list):  # Hydra would lay one over the other
            several = ",".join(map(str, value))
            raise ConfigError(f"{key} takes one name", f"to run each: nnexp sweep {key}={several}")
    elif key in choices.parts:
        raise ConfigError(f"{key} is several settings", f"write one of them: {key}.KEY=VALUE")


def _check_key(key: str, word: str, choices: Choices) -> None:
    if "_target_" in key.split("."):
        raise ConfigError(f"no setting {key!r}", "names stand for code in nnexp, not for paths")
    if key.split(".")[0] == "code":
        raise ConfigError("code cannot be set", "nnexp fills it: plugins=[FILE.py]")
    if key.startswith("norm.at.") and key.count(".") > 2:
        remedy = "a block's name has no dots: norm.at.BLOCK=NORM"
        raise ConfigError(f"no block {key[8:]!r}", remedy)
    is_known = key in choices.keys or key in choices.parts or _is_in_dict(key, choices)
    if not is_known and not key.startswith(("hydra.", "hydra/")):
        raise no_such_setting(key, word.partition("=")[2], choices)


def _check_prefix(override: Override, word: str, choices: Choices) -> None:
    """Refuse to add what is there, and to take away what every run needs."""
    key = override.key_or_group
    if key not in choices.settings and key not in choices.parts:
        return  # a group of the user's own: Hydra knows whether it can be added
    if override.is_delete():
        remedy = "norm=none trains without one" if key == "norm" else f"write {key}=VALUE"
        raise ConfigError(f"{key} cannot be taken away", remedy)
    forced_group = override.is_force_add() and key in choices.groups
    if override.is_add() or (forced_group and not isinstance(override.value(), dict)):
        raise ConfigError(f"{key} is there already", f"write {word.lstrip('+')}, without +")


def _names(value: Any) -> Iterator[str]:
    """Yield every option that a group's value names; none for sweeps that only Hydra can list."""
    if isinstance(value, ChoiceSweep):
        value = value.list
    if isinstance(value, list):
        for one in value:
            yield from _names(one)
    elif isinstance(value, QuotedString):
        yield value.text
    elif not isinstance(value, (Glob, Sweep)):
        yield "null" if value is None else str(value)


def _refuse_several(key: str, word: str, choices: Choices) -> None:
    remedy = "use nnexp sweep, or add -m"
    if key in choices.settings and choices.settings[key].kind is list:
        remedy = f"a list is written {key}=[{word.partition('=')[2]}]; to run each, {remedy}"
    raise ConfigError(f"{key} names several values", remedy)
