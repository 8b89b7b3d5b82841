"""`nnexp configs`: lists what can be typed, and what each of it means."""

import re
import sys
from collections.abc import Iterator, Sequence
from operator import attrgetter
from typing import Any

from nnexp.cli import options as arguments
from nnexp.cli.composing import say_own_configs
from nnexp.console import Console, write
from nnexp.settings import ConfigError, flatten, names_in, nearest, no_such_option
from nnexp.settings.choices import Choices, Setting, explain_option, read_choices, remarks
from nnexp.settings.plugins import names_plugins

EXAMPLE = "nnexp configs norm=group"

Row = tuple[str, str]  # what to type, what it means


def configs(groups: arguments.Groups = None, config_dir: arguments.ConfigDir = None) -> None:
    """List the groups with their options, or what one group or one option sets."""
    say_own_configs()
    plugins = [word for word in groups or [] if names_plugins(word)]
    groups = [word for word in groups or [] if word not in plugins]
    choices = read_choices(config_dir, _named(plugins) if plugins else ())
    rows = [] if groups else list(_overview(choices))
    for group in groups:
        if "=" in group:
            rows += _option_rows(group, plugins, choices)
        else:
            rows += _group_rows(group, choices)
    if sys.stdout.isatty():
        _print_table(rows, choices)
    else:
        for word, meaning in rows:
            write(f"{word}\t{meaning}".rstrip())


def _named(words: Sequence[str]) -> list[str]:
    from nnexp.settings.overrides import plugins_named  # imports Hydra, which a list can do without

    return plugins_named(words)


def _overview(choices: Choices) -> Iterator[Row]:
    """Yield every option of every group, then the settings that are in no group."""
    for group in sorted(choices.groups):
        yield from _options(group, choices)
    for key, setting in choices.settings.items():
        if key not in choices.groups and key.partition(".")[0] not in choices.groups:
            yield _setting_row(setting, setting.default)


def _group_rows(group: str, choices: Choices) -> Iterator[Row]:
    if group not in choices.groups and group not in choices.parts:
        near = nearest(group, {*choices.groups, *choices.parts})
        remedy = f"did you mean {near}" if near else f"groups: {', '.join(sorted(choices.groups))}"
        raise ConfigError(f"no group {group!r}", remedy)
    yield from _options(group, choices)
    for key, setting in choices.settings.items():
        if key.startswith(f"{group}."):
            yield _setting_row(setting, setting.default)


def _option_rows(wanted: str, plugins: Sequence[str], choices: Choices) -> Iterator[Row]:
    """Yield what the option's file says, sweeps and sets, and all that it moves."""
    from nnexp.settings.compose import compose_each, read_grid

    group, _, option = wanted.partition("=")
    if group not in choices.groups:
        yield from _group_rows(group, choices)  # raises: no such group
        return
    if option not in choices.groups[group]:
        raise no_such_option(group, option, group, choices.groups[group])
    word = wanted if names_in(group) else f"+{wanted}"
    jobs = [[*plugins], [*plugins, word]]
    usual, chosen = compose_each(jobs, choices.config_dir)
    set_there = _keys_in_file(group, option, choices)
    first, *more = remarks(choices.groups[group][option]) or [""]
    yield word, first
    yield from (("", line) for line in more)
    for key, values in read_grid(jobs[1], choices.config_dir).items():
        yield f"{key.lstrip('+')}={values}", _explained(key.lstrip("+"), choices)
    for key, setting in choices.settings.items():
        value = attrgetter(key)(chosen)
        is_set = any(f"{one}.".startswith(f"{key}.") for one in set_there)
        if key == "code" or value == {}:
            continue  # it is not typed
        if is_set or key.startswith(f"{group}.") or value != attrgetter(key)(usual):
            yield _setting_row(setting, value)


def _keys_in_file(group: str, option: str, choices: Choices) -> set[str]:
    import yaml

    file = choices.groups[group][option]
    if isinstance(file, str):
        return set()  # a plug-in's, whose values are all in its group
    text = file.read_text("utf-8")
    prefix = "" if re.search(r"^# *@package +_global_", text, re.MULTILINE) else f"{group}."
    tree = yaml.safe_load(text) or {}
    moved = re.findall(r"^ *- override /(\w+):", text, re.MULTILINE)
    tree.pop("defaults", None)
    return {*flatten(tree, prefix), *(f"{name}.name" for name in moved)}


def _explained(key: str, choices: Choices) -> str:
    """Return what a key of a grid decides, itself or by the name in its files."""
    setting = choices.settings.get(key) or choices.settings.get(f"{key}.name")
    return setting.meaning if setting else ""


def _options(group: str, choices: Choices) -> Iterator[Row]:
    default = choices.settings.get(f"{group}.name") or choices.settings.get(group)
    for option, file in choices.groups.get(group, {}).items():
        usual = default is not None and option == default.default
        yield f"{group}={option}", f"{explain_option(file)}{'  (the default)' if usual else ''}"


def _setting_row(setting: Setting, value: Any) -> Row:
    import yaml  # only where it is needed: nnexp -h is quick

    shown = yaml.safe_dump(value, default_flow_style=True).removesuffix("...\n").strip()
    return f"{setting.key}={shown}", setting.meaning


def _print_table(rows: list[Row], choices: Choices) -> None:
    """Print two columns, a blank line between groups."""
    from rich.markup import escape
    from rich.table import Table

    table = Table("type", "what it is", box=None, pad_edge=False, header_style="dim")
    block = None
    for word, meaning in rows:
        head = re.split(r"[.=]", word.lstrip("+"))[0]
        here = head if head in choices.groups or head in choices.parts else ""
        if block not in (None, here):
            table.add_row()
        block = here
        table.add_row(f"[bold]{escape(word)}[/]", escape(meaning))
    Console(highlight=False).print(table)
